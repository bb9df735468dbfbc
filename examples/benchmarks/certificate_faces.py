"""Certified gaps of any classifier on the cells of faces, and classifiers that try to break them.

    python examples/benchmarks/certificate_faces.py --data DATA

For each task a transformer with cells is fitted on part of the train split and certified on the
validation split, or on so many rows cut from train (``--calibration``). On 5,000 rows more, cut
from train as well, it is attacked: by trees on the cells that guess the group ("trees"), and by
that table from cells to decisions which is worst on the rows to certify ("worst table"). "attack
on raw" is a linear classifier on the embedding that guesses the group. Accuracies are those of
linear classifiers, on the validation split. ``--seeds`` says how often the cut and the fit are
drawn; a line has means over these draws, and "bounds from" and "to" are their extremes.
"""

import itertools
from typing import NamedTuple

import numpy as np
import pandas as pd
from _common import Task, data_parser, load_task, rst_table, source_of
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from skfairlatent import FairLatentTransformer
from skfairlatent._bins import fit_bins
from skfairlatent.certification import certify
from skfairlatent.metrics import equalized_odds_difference

TASKS = {
    task.name.removesuffix("-cnn"): task
    for task in (
        Task("Attractive", ("Male",), "cnn"),
        Task("Big_Nose", ("Male",), "cnn"),
        Task("Wavy_Hair", ("Male",), "cnn"),
        Task("Attractive", ("Young",), "cnn"),
        Task("Young", ("Male",), "cnn"),
    )
}
N_ATTACKED = 5_000
DEPTHS = (2, 4, 8)


class Part(NamedTuple):
    X: np.ndarray
    y: np.ndarray
    group: np.ndarray

    def take(self, rows):
        return Part(*(each[rows] for each in self))


def gap(rows, predicted):
    return equalized_odds_difference(rows.y, predicted, agg="mean", sensitive_features=rows.group)


def attack(model, fit, other, see):
    """Return the gap, on other rows, of a model that was trained to guess the group."""
    return gap(other, model.fit(see(fit.X), fit.group).predict(see(other.X)))


def worst_table(fair, chosen_on, other):
    """Return the gap, on other rows, of the table from cells to decisions worst on the first."""
    seen, cells = (fair.bins_.assign(fair.latent(rows.X)) for rows in (chosen_on, other))
    n_cells = len(fair.bins_.centroids)
    tables = [np.array(t) for t in itertools.product((0, 1), repeat=n_cells)]
    tables = [table for table in tables if 0 < table.sum() < n_cells]
    worst = max(tables, key=lambda table: gap(chosen_on, table[seen]))
    return gap(other, worst[cells])


def split(source, task, n_calibration, seed):
    """Return the rows to fit, to certify and to attack, and those of the validation split."""
    train, valid = (
        Part(rows.X, rows.y, rows.sensitive.to_numpy().ravel()) for rows in load_task(source, task)
    )
    drawn = np.random.default_rng(seed).permutation(len(train.y))
    attacked, calibration, fit = np.split(drawn, [N_ATTACKED, N_ATTACKED + n_calibration])
    calibration = train.take(calibration) if n_calibration else valid
    return train.take(fit), calibration, train.take(attacked), valid


def with_cells(fit, seed, lambdas, n_bins):
    """Yield what a fit with ``n_bins=k`` gives, for one fit of each lambda_di."""
    for lambda_di in lambdas:
        fair = FairLatentTransformer(None, lambda_di=lambda_di, random_state=seed)
        block = fair.fit_transform(fit.X, fit.y, sensitive_features=fit.group)
        for k in n_bins:
            fair.n_bins, fair.bins_ = k, fit_bins(block, fit.y[:, None], k, seed)
            yield fair, lambda_di, k


def measure(source, task, n_calibration, seed, lambdas, n_bins):
    """Yield a line for each setting, certified on the validation split or on rows of train."""
    fit, calibration, other, valid = split(source, task, n_calibration, seed)
    scale = StandardScaler().fit(fit.X.astype(np.float64)).transform
    raw = RidgeClassifier().fit(scale(fit.X), fit.y).score(scale(valid.X), valid.y)
    raw_attack = attack(RidgeClassifier(class_weight="balanced"), fit, other, scale)
    for fair, lambda_di, k in with_cells(fit, seed, lambdas, n_bins):
        Z = fair.transform(fit.X)
        found = certify(fair, calibration.X, calibration.y, sensitive_features=calibration.group)
        trees = [
            DecisionTreeClassifier(max_depth=depth, class_weight="balanced", random_state=0)
            for depth in DEPTHS
        ]
        yield {
            "task": task.title.removesuffix(", cnn"),
            "lambda_di": lambda_di,
            "cells": k,
            "rows": len(calibration.y),
            "raw accuracy": raw,
            "accuracy": LogisticRegression().fit(Z, fit.y).score(fair.transform(valid.X), valid.y),
            "plug-in": found.plug_in,
            "bound": found.bound,
            "trees": max(attack(each, fit, other, fair.transform) for each in trees),
            "worst table": worst_table(fair, calibration, other),
            "attack on raw": raw_attack,
        }


def summed_up(lines):
    """Return a line for each setting, with means over the draws."""
    drawn = pd.DataFrame(lines).groupby(["task", "lambda_di", "cells", "rows"], sort=False)
    table = drawn.mean().reset_index()
    extremes = drawn["bound"].agg(["min", "max"]).to_numpy()
    at = list(table).index("bound") + 1
    table.insert(at, "bounds from", extremes[:, 0])
    table.insert(at + 1, "to", extremes[:, 1])
    return table


def main(arguments=None):
    parser = data_parser(__doc__)
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--calibration", type=int, nargs="+", default=[0, 15_000])
    parser.add_argument("--n-bins", type=int, nargs="+", default=[4, 8])
    parser.add_argument("--lambda-di", type=float, nargs="+", default=[10.0])
    parser.add_argument("--seeds", type=int, default=1)
    options = parser.parse_args(arguments)
    source = source_of(options, parser)
    lines = []
    for name, n_rows, seed in itertools.product(
        options.tasks, options.calibration, range(options.seeds)
    ):
        settings = options.lambda_di, options.n_bins
        for line in measure(source, TASKS[name], n_rows, seed, *settings):
            print(line, flush=True)
            lines.append(line)
    print(rst_table("Faces, confidence 95 %", summed_up(lines)))


if __name__ == "__main__":
    main()
