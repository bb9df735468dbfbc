"""Which form of the group distance is the most accurate at equal equalised odds?

    python examples/benchmarks/distances.py --data DATA --out results

``FairLatentTransformer`` with its defaults, over ``lambda_di``, once for each ``distance``, in
front of a linear classifier and of a network with one hidden layer. Frontiers are drawn and
compared as in ``peers.py``. Results are kept in ``OUT/distances.jsonl``, where an interrupted run
goes on.
"""

from _common import add_run_arguments, code_fingerprint, provenance, rst_table
from joblib import delayed
from peers import (
    OURS,
    compare,
    frontier_parser,
    measure_representation,
    measured,
    with_levels_named,
)

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
    parser = frontier_parser(__doc__)
    parser.add_argument("--distances", nargs="+", choices=FORMS, default=FORMS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--lambda-di", nargs="+", type=float, default=[1.0, 3.0, 10.0, 30.0])
    add_run_arguments(parser)
    return parser


def main(arguments=None):
    """Measure and print."""
    parser = build_parser()
    options = parser.parse_args(arguments)
    _, task, frame = measured(options, parser, plan, "distances")
    frame.to_csv(options.out / "distances_runs.csv", index=False)
    table = with_levels_named(compare(frame, options.levels), options.levels)
    table = table.rename(columns={"method": "distance"})
    text = f"{provenance(options)}\n\n" + rst_table(f"{task.title}: accuracy at equal EO", table)
    print(text)
    (options.out / "distances.rst").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
