"""How often a certificate of mean equalised odds misses, on draws whose true gap is known.

    python examples/benchmarks/certificate_coverage.py --draws 1000

"McDiarmid" and "Weissman" are the mean bounds with the slack that these inequalities give on the
same draws; the latter bounds the distance of whole distributions, a union over all samples.
"""

import argparse
import itertools

import numpy as np
import pandas as pd
from _common import rst_table

from skfairlatent.certification._bounds import bound_over_pairs, worst_on_cells

DELTA = 0.05


def true_rates(gap, k, n_labels, n_groups):
    """Return P(cell | label, group): the last group has more of one half of the cells."""
    rates = np.full((n_labels, n_groups, k), 1 / k)
    rates[:, -1] += np.where(np.arange(k) < k // 2, 2, -2) * gap / k
    return rates


def weissman(counts, k):
    """Return the slack of the largest pair of groups in each label."""
    radius = np.sqrt(2 * np.log((2.0**k - 2) * counts.size / DELTA) / counts)
    return np.sort(radius, axis=1)[:, -2:].sum() / 2 / len(counts)


def mcdiarmid(counts):
    scarce = np.sort(1 / counts, axis=1)[:, -2:]
    return np.sqrt(-np.log(DELTA) * scarce.sum() / 2) / len(counts)


def measure(gap, k, n_labels, n_groups, sizes, draws):
    rng = np.random.default_rng(0)
    law = true_rates(gap, k, n_labels, n_groups)
    truth = worst_on_cells(law[:, 0] - law[:, -1])[0]
    counts = np.tile(np.resize(sizes, n_groups), (n_labels, 1))
    found = [
        bound_over_pairs(
            rng.multinomial(counts, law) / counts[..., None], counts, DELTA, worst_on_cells
        )
        for _ in range(draws)
    ]
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
