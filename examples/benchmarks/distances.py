"""Which form of the group distance is the most accurate at equal equalised odds?

    python examples/benchmarks/distances.py --data DATA --out results

``FairLatentTransformer`` with its defaults, over ``lambda_di``, once for each ``distance``, in
front of a linear classifier and of a network with one hidden layer. Frontiers are drawn and
compared as in ``peers.py``. Results are kept in ``OUT/distances.jsonl``, where an interrupted run
goes on.
"""

import argparse

from _common import (
    Store,
    Task,
    add_data_arguments,
    add_run_arguments,
    code_fingerprint,
    measure_all,
    provenance,
    rst_table,
    source_of,
)
from joblib import delayed
from peers import OURS, compare, line, measure_representation, to_frame, with_levels_named

FORMS = ["energy", "sliced_wasserstein", "moment", "contrastive"]


def plan(options, source, task):
    """Return every run: what identifies it, and the call that makes it."""
    parts = []
    for form in options.distances:
        for value in options.lambda_di:
            for seed in options.seeds:
                key = {"task": task.name, "split": source.split, "max_rows": source.max_rows}
                key |= {"method": form, "value": value, "seed": seed, "code": code_fingerprint()}
                params = {**options.params, "distance": form}
                key["params"] = str(sorted(params.items()))
                given = source, task, OURS, value, seed, params
                parts.append((key, delayed(measure_representation)(*given)))
    return parts


def build_parser():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_data_arguments(parser)
    parser.add_argument("--label", default="Attractive")
    parser.add_argument("--sensitive", nargs="+", default=["Male"])
    parser.add_argument("--embeddings", default="cnn")
    parser.add_argument("--distances", nargs="+", choices=FORMS, default=FORMS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--lambda-di", nargs="+", type=float, default=[1.0, 3.0, 10.0, 30.0])
    parser.add_argument("--levels", nargs="+", type=float, default=[0.02, 0.03, 0.05, 0.10])
    add_run_arguments(parser)
    return parser


def main(arguments=None):
    """Measure and print."""
    parser = build_parser()
    options = parser.parse_args(arguments)
    source = source_of(options, parser)
    task = Task(options.label, tuple(options.sensitive), options.embeddings)
    options.out.mkdir(parents=True, exist_ok=True)
    store = Store(options.out / "distances.jsonl", fresh=options.fresh)
    frame = to_frame(measure_all(plan(options, source, task), store, options.jobs, line))
    frame.to_csv(options.out / "distances_runs.csv", index=False)
    table = with_levels_named(compare(frame, options.levels), options.levels)
    table = table.rename(columns={"method": "distance"})
    text = f"{provenance(options)}\n\n" + rst_table(f"{task.title}: accuracy at equal EO", table)
    print(text)
    (options.out / "distances.rst").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
