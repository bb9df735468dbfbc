import itertools

import numpy as np
import pytest

from skfairlatent.certification import certify_cells
from skfairlatent.certification._bounds import sampling_slack, worst_mean_gap
from skfairlatent.metrics import equalized_odds_difference


@pytest.mark.parametrize(("n_labels", "n_cells"), [(1, 5), (2, 5), (3, 5), (4, 4)])
def test__worst_mean_gap__is_that_of_the_worst_of_all_classifiers(n_labels, n_cells):
    rng = np.random.default_rng(n_labels)
    rates = rng.dirichlet(np.ones(n_cells), size=(2, n_labels))
    d = rates[0] - rates[1]
    classes = range(max(n_labels, 2))
    worst = max(
        np.mean([max(abs(d[y, np.array(h) == c].sum()) for c in classes) for y in range(n_labels)])
        for h in itertools.product(classes, repeat=n_cells)
    )
    assert worst_mean_gap(d) == pytest.approx(worst)


def test__certify_cells__plug_in_is_the_metric_of_the_worst_lookup_table():
    rng = np.random.default_rng(0)
    cells, y, group = (
        rng.integers(3, size=300),
        rng.integers(2, size=300),
        rng.integers(3, size=300),
    )
    found = certify_cells(cells, y, sensitive_features=group).plug_in
    gaps = [
        equalized_odds_difference(y, np.array(h)[cells], agg="mean", sensitive_features=group)
        for h in itertools.product((0, 1), repeat=3)
        if 0 < sum(h) < 3
    ]
    assert found == pytest.approx(max(gaps))


@pytest.mark.parametrize("p", [0.02, 0.3, 0.5, 0.9])
@pytest.mark.parametrize("counts", [(40, 40, 40, 40), (20, 400)])
def test__sampling_slack__is_exceeded_no_oftener_than_said(p, counts):
    rng = np.random.default_rng(0)
    signs = np.resize([1, -1], len(counts))
    rates = rng.binomial(counts, p, size=(40_000, len(counts))) / counts
    weight = 2 / len(counts)
    shortfall = -weight * (signs * (rates - p)).sum(axis=1)
    assert np.mean(shortfall > sampling_slack(counts, weight, 0.05)) <= 0.05


@pytest.mark.parametrize("gap", [0.0, 0.2])
def test__certify_cells__bound_is_missed_no_oftener_than_said(gap):
    rng = np.random.default_rng(1)
    y, group = np.repeat([0, 0, 1, 1], 150), np.tile(np.repeat(["a", "b"], 150), 2)
    first, second = np.array([0.5, 0.5]), np.array([0.5 + gap, 0.5 - gap])
    misses = 0
    for _ in range(200):
        cells = np.where(group == "a", rng.choice(2, 600, p=first), rng.choice(2, 600, p=second))
        misses += certify_cells(cells, y, sensitive_features=group).bound < gap
    assert misses <= 10


def test__certify_cells__one_row_of_a_group_in_each_label_says_nothing():
    rng = np.random.default_rng(0)
    group = np.r_[np.zeros(400), np.ones(2)]
    certificate = certify_cells(
        rng.integers(2, size=402), np.arange(402) % 2, sensitive_features=group
    )
    assert certificate.bound == 1
    assert "says nothing" in str(certificate)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"confidence": 95}, "confidence=95"),
        ({"confidence": 1}, "confidence=1"),
        ({"constraints": "parity"}, "constraints='parity'"),
        ({"sensitive_features": [0, 0, 0, 0]}, "one group only"),
        ({"y": [0, 0, 0, 0]}, "one label only"),
        ({"y": [0, 1, 1, 1]}, "no rows"),
        ({"cells": [0, 1, np.nan, 1]}, "missing values"),
        ({"cells": [0, 1]}, "inconsistent"),
    ],
)
def test__certify_cells__bad_input_is_named(changed, message):
    given = {"cells": [0, 1, 0, 1], "y": [0, 0, 1, 1], "sensitive_features": [0, 1, 0, 1]}
    with pytest.raises(ValueError, match=message):
        certify_cells(**(given | changed))
