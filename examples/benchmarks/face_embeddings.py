"""How fair is any classifier on Z_Y? Every task, classifier and probe on real face embeddings.

    python examples/benchmarks/face_embeddings.py --data DATA --out results
    python examples/benchmarks/face_embeddings.py --render results/face_embeddings_runs.csv

For each task, value of ``lambda_di`` and seed the transformer is fitted once, with its defaults
unless ``--params`` says otherwise, and four kinds of classifier are trained on the label block,
and on the raw embedding. Finished parts are kept in ``OUT/face_embeddings.jsonl`` and not computed
again by the next run with the same settings and the same code, so an interrupted run goes on
where it stopped. The figures go to ``OUT/face_embeddings_runs.csv``; ``--render`` writes the
tables of such a file beside it.

The raw embedding does not depend on the seed of the transformer: it is measured once.
"""

import itertools
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from _common import (
    CLASSIFIERS,
    Store,
    Task,
    add_run_arguments,
    cell_weights,
    code_fingerprint,
    data_parser,
    fit_classifier,
    load_task,
    measure_all,
    noise_floor,
    rst_table,
    scores,
    source_of,
)
from joblib import delayed

from skfairlatent import FairLatentTransformer
from skfairlatent.diagnostics import group_leakage

TASKS = {
    task.name: task
    for task in (
        Task("Attractive", ("Male",), "cnn"),
        Task("Big_Nose", ("Male",), "cnn"),
        Task("Wavy_Hair", ("Male",), "cnn"),
        Task("Attractive", ("Young",), "cnn"),
        Task("Blond_Hair", ("Male",), "cnn"),
        Task("Attractive", ("Male", "Young"), "cnn"),
        Task("Attractive", ("Male",), "diffae32"),
    )
}
# Classifiers of these labels are trained with cell-balanced weights, on Z_Y and on raw alike.
WEIGHTED_LABELS = {"Blond_Hair"}
WEIGHTED = " [1]_"
PROBES = ("mlp", "boosting")
SHORT = {
    "LogisticRegression": "logistic regression",
    "MLPClassifier": "MLP",
    "HistGradientBoostingClassifier": "boosting",
    "SVC": "SVC",
}
SCORES = {"accuracy": "accuracy", "eo": "EO", "dp": "DP", "wga": "worst cell"}


def is_weighted(task):
    return TASKS[task].label in WEIGHTED_LABELS


def measure_classifier(name, train, test, seed, *, weighted):
    """Train one classifier and score it, beside what sampling alone would show."""
    start = time.perf_counter()
    weights = cell_weights(train.y, train.group) if weighted else None
    model = fit_classifier(name, train.X, train.y, weights=weights, seed=seed)
    predicted = model.predict(test.X)
    floor, floor_95 = noise_floor(test.y, predicted, test.group)
    return {
        **scores(test.y, predicted, test.group),
        "eo_floor": floor,
        "eo_floor_95": floor_95,
        "seconds": time.perf_counter() - start,
    }


def measure_leakage(train, test, probes, seed):
    """Return what each probe reads of the (crossed) group within label, on unseen rows."""
    held_out = test.X, test.y, test.group
    table = group_leakage(
        train.X,
        train.y,
        sensitive_features=train.group,
        held_out=held_out,
        probes=probes,
        random_state=seed,
    )
    return {probe: float(row["balanced_accuracy"]) for (_, probe), row in table.iterrows()}


def measure_raw(source, task, part):
    """Measure one part of the raw embedding: a classifier, or ``"leak"``."""
    train, test = load_task(source, task)
    if part == "leak":
        return {"leak": measure_leakage(train, test, ("linear", *PROBES), 0)}
    weighted = is_weighted(task.name)
    return {"classifiers": {part: measure_classifier(part, train, test, 0, weighted=weighted)}}


def measure_latent(source, task, seed, params, classifiers):
    """Fit the transformer, then measure every classifier and probe on its blocks."""
    train, test = load_task(source, task)
    start = time.perf_counter()
    fair = FairLatentTransformer(**{"random_state": seed, **params})
    fair.fit(train.X, train.y, sensitive_features=train.sensitive)
    fit_seconds = time.perf_counter() - start
    Z_train, Z_test = fair.latent(train.X), fair.latent(test.X)
    label, sensitive = fair.label_slice_, fair.sensitive_slice_
    blocks = [
        (train._replace(X=Z_train[:, block]), test._replace(X=Z_test[:, block]))
        for block in (label, sensitive)
    ]
    weighted = is_weighted(task.name)
    return {
        "classifiers": {
            name: measure_classifier(name, *blocks[0], seed, weighted=weighted)
            for name in classifiers
        },
        "leak": measure_leakage(*blocks[0], PROBES, seed),
        "readable": measure_leakage(*blocks[1], ("linear",), seed)["linear"],
        "round_trip": round_trip_error(fair, test.X, Z_test),
        "fit_seconds": fit_seconds,
        "threads": torch.get_num_threads(),
        "width": Z_test[:, label].shape[1],
    }


def round_trip_error(fair, X, Z):
    """Return the largest error of a row, relative to the norm of the standardised row."""
    error = np.linalg.norm((fair.inverse_transform(Z) - X) / fair.scale_, axis=1)
    return float((error / np.linalg.norm((X - fair.mean_) / fair.scale_, axis=1)).max())


def plan(options, source):
    """Return every part of the benchmark: what identifies it, and the call that measures it."""
    rows = {"split": source.split, "max_rows": source.max_rows}
    given = FairLatentTransformer(**options.params).get_params()
    settings = {"params": str(sorted(given.items())), "code": code_fingerprint()}
    wanted = list(itertools.product(options.lambda_di, options.seeds))
    parts = []
    for name in options.tasks:
        task = TASKS[name]
        for part in [*options.classifiers, "leak"]:
            key = {"task": name, "raw": part, **rows}
            parts.append((key, delayed(measure_raw)(source, task, part)))
        for value, seed in wanted:
            key = {"task": name, "lambda_di": value, "seed": seed}
            key["classifiers"] = options.classifiers
            params = {**options.params, "lambda_di": value}
            call = delayed(measure_latent)(source, task, seed, params, options.classifiers)
            parts.append(({**key, **rows, **settings}, call))
    return parts


def line(key, found):
    """Describe a finished part in one line."""
    what = f"raw {key['raw']}" if "raw" in key else f"{key['lambda_di']:g}, seed {key['seed']}"
    said = [
        f"{name[:3]} {figures['accuracy']:.3f}/{figures['eo']:.3f}"
        for name, figures in found.get("classifiers", {}).items()
    ]
    said += [f"leak {probe} {value:.3f}" for probe, value in found.get("leak", {}).items()]
    if "fit_seconds" in found:
        said.append(f"Z_S {found['readable']:.3f}, fit {found['fit_seconds']:.0f} s")
    return f"{key['task']}, {what}: accuracy/EO {', '.join(said)}"


def to_frame(measured):
    """Return one row for each task, value of the dial, seed and classifier."""
    rows = []
    for key, found in measured:
        leak = {f"leak_{probe}": value for probe, value in found.get("leak", {}).items()}
        whole = {
            name: found[name]
            for name in ("readable", "round_trip", "fit_seconds", "threads", "width")
            if name in found
        }
        common = {"task": key["task"], "lambda_di": key.get("lambda_di"), "seed": key.get("seed")}
        classifiers = found.get("classifiers") or {"": {}}
        rows += [
            {**common, "classifier": name, **figures, **leak, **whole}
            for name, figures in classifiers.items()
        ]
    return pd.DataFrame(rows)


def score_table(runs):
    """Lay out the scores: a row for each task and classifier, a column for each figure."""
    rows = []
    for (task, classifier), those in runs[runs["classifier"] != ""].groupby(
        ["task", "classifier"], sort=False
    ):
        rows.append(
            {
                "task": TASKS[task].title + (WEIGHTED if is_weighted(task) else ""),
                "classifier": SHORT[classifier],
                **{title: along(those, name) for name, title in SCORES.items()},
                "by chance": those["eo_floor_95"].mean(),
            }
        )
    table = pd.DataFrame(rows)
    table["task"] = table["task"].where(~table["task"].duplicated(), "\\")
    return table


def along(runs, name):
    """Write a figure from the raw embedding to the largest value of the dial."""
    means = runs.groupby("lambda_di", dropna=False)[name].mean().sort_index(na_position="first")
    return " → ".join(f"{value:.3f}" for value in means)


def latent_table(runs):
    """Lay out what does not depend on the classifier, one row a task."""
    rows = []
    for task, those in runs.groupby("task", sort=False):
        raw = those[those["lambda_di"].isna() & (those["classifier"] == "")]
        latent = those[those["lambda_di"].notna()].drop_duplicates(["lambda_di", "seed"])
        rows.append(
            {
                "task": TASKS[task].title,
                "width of Z_Y": f"{latent['width'].iloc[0]:.0f}",
                "leak, MLP": along(pd.concat((raw, latent)), "leak_mlp"),
                "leak, boosting": along(pd.concat((raw, latent)), "leak_boosting"),
                "read from Z_S": f"{raw['leak_linear'].iloc[0]:.3f} → "
                + along(latent, "readable"),
                "round trip": f"{latent['round_trip'].max():.0e}",
                "fit, s": f"{latent['fit_seconds'].mean():.0f}",
            }
        )
    return pd.DataFrame(rows)


def spread(runs):
    """Say how far seeds lie apart."""
    latent = runs[runs["lambda_di"].notna()]
    deviation = latent.groupby(["task", "lambda_di", "classifier"])[["accuracy", "eo"]].std(ddof=0)
    return (
        f"The standard deviation over seeds is at most {deviation['accuracy'].max():.3f} for "
        f"accuracy and {deviation['eo'].max():.3f} for EO."
    )


def report(runs):
    """Write the tables as RST."""
    values = ", ".join(f"{value:g}" for value in sorted(runs["lambda_di"].dropna().unique()))
    tables = [
        rst_table(f"From the embedding to lambda_di={values}", score_table(runs)),
        spread(runs) + "\n",
        rst_table("What the blocks hold", latent_table(runs)),
    ]
    return "\n".join(tables)


def render(path):
    """Write the tables of a file of runs beside it, and return them."""
    text = report(pd.read_csv(path).fillna({"classifier": ""}))
    path.with_name(path.stem.removesuffix("_runs") + ".txt").write_text(text, encoding="utf-8")
    return text


def build_parser():
    parser = data_parser(__doc__)
    parser.add_argument("--tasks", nargs="+", choices=list(TASKS), default=list(TASKS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument(
        "--classifiers", nargs="+", choices=list(CLASSIFIERS), default=list(CLASSIFIERS)
    )
    parser.add_argument("--lambda-di", nargs="+", type=float, default=[3.0, 30.0])
    parser.add_argument("--render", type=Path, help="make tables of the runs in this file")
    add_run_arguments(parser)
    return parser


def main(arguments=None):
    parser = build_parser()
    options = parser.parse_args(arguments)
    if options.render is not None:
        print(render(options.render))
        return
    source = source_of(options, parser)
    options.out.mkdir(parents=True, exist_ok=True)
    store = Store(options.out / "face_embeddings.jsonl", fresh=options.fresh)
    frame = to_frame(measure_all(plan(options, source), store, options.jobs, line))
    frame = frame.assign(code=code_fingerprint())
    path = options.out / "face_embeddings_runs.csv"
    frame.to_csv(path, index=False, float_format="%.7g")
    print("\n" + render(path))


if __name__ == "__main__":
    main()
