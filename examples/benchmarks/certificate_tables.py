"""Certified mean equalised odds on tables and faces, by cells of three kinds.

    python examples/benchmarks/certificate_tables.py --data DATA

Adult (income by sex), COMPAS (two years by race, two groups) and faces (Attractive by Male). Of
the rows, 40 % are for the fits, 30 % to choose a setting by, 30 % to certify and to score
accuracies on, drawn anew for each seed. "quantiles" is ``FairLatentTransformer(n_bins=k)``, "tree
on block" takes leaves of a decision tree for the label on its label block instead, and "tree on X"
leaves on X itself, without a transformer. Every leaf has 20 rows of each label and group at least.
Decisions are the more frequent label of a cell. Within each level, the setting of most accuracy is
taken whose bound on the rows to choose by keeps to it; "splits" says for how many seeds there is
one, and only those are averaged.
"""

import itertools
from pathlib import Path

import numpy as np
import pandas as pd
from _common import Task, data_parser, load_task, rst_table, source_of
from _tasks import adult, compas
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from skfairlatent import FairLatentTransformer
from skfairlatent._bins import fit_bins
from skfairlatent.certification import certify_cells

FACES = "Attractive by Male"
TABLES = {"Adult": adult, "COMPAS": compas}
LEVELS = (0.05, 0.075, 0.1, 0.15, 0.2, 0.3)
SHARES = (0.4, 0.7)
FEWEST = 20


def load(source, name):
    if name == FACES:
        rows, _ = load_task(source, Task("Attractive", ("Male",), "cnn"))
        return rows.X, rows.y, rows.group
    X, y, group = TABLES[name](Path(source.data, "tabular"))
    return X.to_numpy(np.float32), y.to_numpy(int), group.to_numpy(int)


def parts_of(X, y, group, seed):
    """Return rows to fit, to choose by and to certify, standardised."""
    drawn = np.random.default_rng(seed).permutation(len(y))
    split = np.split(drawn, [int(share * len(y)) for share in SHARES])
    scaler = StandardScaler().fit(X[split[0]])
    return [(scaler.transform(X[rows]), y[rows], group[rows]) for rows in split]


def leaves(block, y, group, k):
    """Return a tree of at most k leaves with enough rows of each label and group."""
    kinds = pd.factorize(pd.Series(y).astype(str) + pd.Series(group).astype(str))[0]
    smallest = FEWEST
    while True:
        tree = DecisionTreeClassifier(
            max_leaf_nodes=k, min_samples_leaf=smallest, random_state=0
        ).fit(block, y)
        counts = pd.crosstab(tree.apply(block), kinds).to_numpy()
        if counts.min() >= FEWEST or len(counts) == 1:
            return tree.apply
        smallest *= 2


def measured(assign, blocks, parts):
    """Return accuracy and bound on the rows to choose by and on those to certify."""
    cells = [assign(block) for block in blocks]
    decisions = pd.Series(parts[0][1]).groupby(cells[0]).mean() > 0.5
    found = {}
    for when, seen, (_, y, group) in zip(("choose", ""), cells[1:], parts[1:], strict=True):
        certificate = certify_cells(seen, y, sensitive_features=group)
        predicted = decisions.reindex(seen, fill_value=False).to_numpy()
        found[f"{when} accuracy".strip()] = (predicted == y).mean()
        found[f"{when} plug-in".strip()] = certificate.plug_in
        found[f"{when} bound".strip()] = certificate.bound
    return found


def lines_of(parts, lambdas, n_bins, seed):
    """Yield a line for each kind of cells, lambda_di and number of cells."""
    blocks = [X for X, *_ in parts]
    _, y, group = parts[0]
    for k in n_bins:
        found = measured(leaves(blocks[0], y, group, k), blocks, parts)
        yield {"by": "tree on X", "lambda_di": np.nan, "cells": k, **found}
    for lambda_di in lambdas:
        fair = FairLatentTransformer(None, lambda_di=lambda_di, random_state=seed)
        Z = [fair.fit_transform(blocks[0], y, sensitive_features=group)]
        Z += [fair.transform(block) for block in blocks[1:]]
        for k in n_bins:
            key = {"lambda_di": lambda_di, "cells": k}
            quantiles = fit_bins(Z[0], y[:, None], k, seed).assign
            yield {"by": "quantiles", **key, **measured(quantiles, Z, parts)}
            tree = leaves(Z[0], y, group, k)
            yield {"by": "tree on block", **key, **measured(tree, Z, parts)}


def raw_accuracy(name, parts):
    model = HistGradientBoostingClassifier(random_state=0)
    if name == FACES:
        model = LogisticRegression(max_iter=1000)
    (X, y, _), _, (X_new, y_new, _) = parts
    return model.fit(X, y).score(X_new, y_new)


def within(table):
    """Return what a choice on other rows gives, for each level and kind of cells."""
    lines = []
    for level, (by, part) in itertools.product(LEVELS, table.groupby("by", sort=False)):
        kept = part[part["choose bound"] <= level]
        if kept.empty:
            continue
        best = kept.loc[kept.groupby("seed")["choose accuracy"].idxmax()]
        means = best[["accuracy", "plug-in", "bound"]].mean()
        lines.append({"within": level, "by": by, "splits": len(best), **means})
    return pd.DataFrame(lines)


def main():
    parser = data_parser(__doc__)
    names = ["Adult", "COMPAS", FACES]
    parser.add_argument("--tables", nargs="+", choices=names, default=names)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--n-bins", type=int, nargs="+", default=[4, 8, 16])
    parser.add_argument("--lambda-di", type=float, nargs="+", default=[0, 1, 3, 10])
    options = parser.parse_args()
    source = source_of(options, parser)
    for name in options.tables:
        rows, lines, raw = load(source, name), [], []
        for seed in range(options.seeds):
            parts = parts_of(*rows, seed)
            raw.append(raw_accuracy(name, parts))
            for line in lines_of(parts, options.lambda_di, options.n_bins, seed):
                print({"seed": seed, **line}, flush=True)
                lines.append({"seed": seed, **line})
        table = pd.DataFrame(lines)
        shown = table.groupby(["by", "lambda_di", "cells"], sort=False, dropna=False)
        means = shown[["accuracy", "plug-in", "bound"]].mean().reset_index()
        title = f"{name}, raw accuracy {np.mean(raw):.3f}, {len(parts[2][1])} rows to certify"
        print(rst_table(title, means))
        print(rst_table(f"{name}, chosen within a level", within(table)))


if __name__ == "__main__":
    main()
