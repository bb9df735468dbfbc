"""How often a certificate of mean equalised odds misses, on draws whose true gap is known.

python examples/benchmarks/certificate_coverage.py --draws 1000
"""

import argparse
import itertools

import numpy as np
import pandas as pd
from _common import rst_table

from skfairlatent.certification import certify_cells
from skfairlatent.certification._bounds import worst_on_cells


def true_rates(gap, k, n_labels, n_groups):
    """Return P(cell | label, group): the last group has more of one half of the cells."""
    rates = np.full((n_labels, n_groups, k), 1 / k)
    rates[:, -1] += np.where(np.arange(k) < k // 2, 2, -2) * gap / k
    return rates


def measure(gap, k, n_labels, n_groups, sizes, draws, seed=0):
    rng = np.random.default_rng(seed)
    rates = true_rates(gap, k, n_labels, n_groups)
    truth = worst_on_cells(rates[:, 0] - rates[:, -1])[0]
    counts = np.resize(sizes, n_groups)
    y = np.repeat(np.arange(n_labels), counts.sum())
    group = np.tile(np.repeat(np.arange(n_groups), counts), n_labels)
    found = []
    for _ in range(draws):
        cells = [
            rng.choice(k, counts[g], p=rates[label, g])
            for label in range(n_labels)
            for g in range(n_groups)
        ]
        found.append(certify_cells(np.concatenate(cells), y, sensitive_features=group))
    bounds = np.array([each.bound for each in found])
    plug_in = np.array([each.plug_in for each in found])
    hoeffding = np.sqrt(np.log(20) * n_labels * np.sort(1 / counts)[-2:].sum() / 2) / n_labels
    return {
        "true gap": truth,
        "k": k,
        "labels": n_labels,
        "groups": n_groups,
        "rows a cell": ":".join(map(str, sizes)),
        "misses": float((bounds < truth - 1e-12).mean()),
        "plug-in": float(plug_in.mean()),
        "bound": float(bounds.mean()),
        "by McDiarmid": float((plug_in + hoeffding).mean()),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=1000)
    draws = parser.parse_args().draws
    settings = [
        (g, k, 2, 2, (1000,)) for g, k in itertools.product((0, 0.03, 0.1, 0.3), (2, 8, 16))
    ]
    settings += [(0.1, 4, 2, 2, (100, 2000)), (0.1, 4, 3, 2, (500,)), (0.1, 4, 2, 3, (500,))]
    table = pd.DataFrame([measure(*each, draws) for each in settings])
    print(rst_table(f"{draws} draws a line, confidence 95 %", table))


if __name__ == "__main__":
    main()
