"""How often a certificate of mean equalised odds misses, on draws whose true gap is known.

    python examples/benchmarks/certificate_coverage.py --draws 1000

"McDiarmid" and "Weissman" are the mean bounds with the slack that these inequalities give on the
same draws; the latter bounds the distance of whole distributions, a union over all samples.

"FARE" is the mean bound by the rule of Jovanovic et al. (ICML 2023, arXiv:2210.07213), for two
groups and two labels. With w the inverse of twice a group's share of a label's rows, and P(group |
cell) the share of the group in a cell, the best balanced accuracy of an adversary is the sum over
cells of P(cell) * max over groups of w * P(group | cell), and the gap is twice that, minus 1. One
half of the rows bounds P(group | cell) by the intervals of Clopper and Pearson, all cells at once,
the other half bounds the sum by Hoeffding's inequality with an error of 0.005; either label takes
half of the error. The shares of the groups, for which FARE takes the training rows and an error of
0.005, are given here. "all rows" is a kinder reading, in which all rows serve both parts, and the
terms of the sum may be any from 1/2 to the largest w.
"""

import argparse
import itertools

import numpy as np
import pandas as pd
from _common import rst_table
from scipy.stats import beta

from skfairlatent.certification._bounds import bound_over_pairs, worst_on_cells

DELTA = 0.05
FARE_SUM_ERROR = 0.005


def true_rates(gap, k, n_labels, n_groups):
    """Return P(cell | label, group): the last group has more of one half of the cells."""
    rates = np.full((n_labels, n_groups, k), 1 / k)
    rates[:, -1] += np.where(np.arange(k) < k // 2, 2, -2) * gap / k
    return rates


def weissman(counts, k):
    """Return the slack of the largest pair of groups in each label."""
    radius = np.sqrt(2 * np.log((2.0**k - 2) * counts.size / DELTA) / counts)
    return np.sort(radius, axis=1)[:, -2:].sum() / 2 / len(counts)


def fare(first, second, *, is_kind=False):
    """Return the bound by two parts of the rows, as numbers of shape (2 labels, 2 groups, k)."""
    shares = (first + second).sum(axis=2)
    weights = shares.sum(axis=1, keepdims=True) / (2 * shares)
    rows = first.sum(axis=1, keepdims=True)
    error = (DELTA / len(first) - FARE_SUM_ERROR) / first.shape[2]
    upper = beta.isf(error / 2, first + 1, rows - first)
    upper = np.where(first == rows, 1.0, upper)
    worst = (weights[..., None] * upper).max(axis=1)
    worst = np.minimum(worst, weights.max(axis=1, keepdims=True))
    cells = second.sum(axis=1)
    n = cells.sum(axis=1)
    width = weights.max(axis=1) - 0.5 if is_kind else np.ptp(worst, axis=1)
    slack = width * np.sqrt(-np.log(FARE_SUM_ERROR) / (2 * n))
    accuracy = (cells * worst).sum(axis=1) / n + slack
    return float(np.minimum(2 * accuracy - 1, 1).mean())


def mcdiarmid(counts):
    scarce = np.sort(1 / counts, axis=1)[:, -2:]
    return np.sqrt(-np.log(DELTA) * scarce.sum() / 2) / len(counts)


def measure(gap, k, n_labels, n_groups, sizes, draws):
    rng = np.random.default_rng(0)
    law = true_rates(gap, k, n_labels, n_groups)
    truth = worst_on_cells(law[:, 0] - law[:, -1])[0]
    counts = np.tile(np.resize(sizes, n_groups), (n_labels, 1))
    found, by_fare = [], []
    for _ in range(draws):
        first = rng.multinomial(counts // 2, law)
        second = rng.multinomial(counts - counts // 2, law)
        rates = (first + second) / counts[..., None]
        found.append(bound_over_pairs(rates, counts, DELTA, worst_on_cells))
        if counts.shape == (2, 2):
            total = first + second
            by_fare.append([fare(first, second), fare(total, total, is_kind=True)])
    plug_in, bounds = (np.array([each[i] for each in found]) for i in (0, 1))
    return {
        "true gap": truth,
        "cells": k,
        "labels": n_labels,
        "groups": n_groups,
        "rows": ":".join(map(str, sizes)),
        "misses": float((bounds < truth - 1e-12).mean()),
        "plug-in": float(plug_in.mean()),
        "bound": float(bounds.mean()),
        **dict(zip(("FARE", "all rows"), np.mean(by_fare or [[np.nan] * 2], axis=0), strict=True)),
        "McDiarmid": float((plug_in + mcdiarmid(counts)).mean()),
        "Weissman": float(np.minimum(plug_in + weissman(counts, k), 1).mean()),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=1000)
    draws = parser.parse_args().draws
    gaps, cells = (0, 0.03, 0.1, 0.3), (2, 4, 8, 16)
    settings = [(gap, k, 2, 2, (1000,)) for gap, k in itertools.product(gaps, cells)]
    settings += [(gap, k, 2, 2, (100, 2000)) for gap, k in itertools.product((0.1, 0.3), (2, 8))]
    settings += [(0.3, 4, n_labels, 2, (500,)) for n_labels in (3, 4)]
    settings += [(0.3, 4, 2, n_groups, (500,)) for n_groups in (3, 4, 5)]
    settings += [(0.3, 4, 3, 3, (500,)), (0.3, 4, 2, 2, (10_000,)), (0.3, 4, 2, 2, (30,))]
    table = pd.DataFrame([measure(*each, draws) for each in settings])
    print(rst_table(f"{draws} draws a line, confidence 95 %", table))


if __name__ == "__main__":
    main()
