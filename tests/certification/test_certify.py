import itertools

import numpy as np
import pytest

from skfairlatent.certification import certify_cells
from skfairlatent.certification._bounds import least_gap, sampling_slack, worst_on_cells
from skfairlatent.metrics import equalized_odds_difference


@pytest.mark.parametrize(("n_labels", "n_cells"), [(1, 5), (2, 5), (3, 5), (4, 4)])
def test__worst_on_cells__is_that_of_the_worst_of_all_classifiers(n_labels, n_cells):
    rng = np.random.default_rng(n_labels)
    rates = rng.dirichlet(np.ones(n_cells), size=(2, n_labels))
    d = rates[0] - rates[1]
    classes = range(max(n_labels, 2))
    worst = max(
        np.mean([max(abs(d[y, np.array(h) == c].sum()) for c in classes) for y in range(n_labels)])
        for h in itertools.product(classes, repeat=n_cells)
    )
    gap, weights = worst_on_cells(d)
    assert gap == pytest.approx(worst)
    assert (weights * d).sum() == pytest.approx(worst)


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


@pytest.mark.parametrize(
    ("gap", "shape"), [(0.0, (2, 2)), (0.0, (2, 3)), (0.2, (2, 2)), (0.2, (1, 3)), (0.2, (3, 2))]
)
def test__least_gap__exceeds_the_true_gap_no_oftener_than_said(gap, shape):
    rng = np.random.default_rng(2)
    counts, rate = np.full(shape, 400), np.full(shape, 0.4)
    rate[:, -1] += gap
    positive = rng.binomial(counts, rate, size=(400, *shape)) / counts
    rates = np.stack([1 - positive, positive], axis=-1)
    found = np.array([least_gap(each, counts, 0.05) for each in rates])
    assert np.mean(found > gap) <= 0.05
    assert found.mean() >= gap / 2


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
        ({"cells": [0, 1]}, "inconsistent.*cells has 2 rows"),
        ({"cells": []}, "one row or more"),
        ({"cells": np.zeros((4, 2, 2))}, "shape"),
        ({"y": []}, "y has 0 rows"),
        ({"y": [0, 1, 2, 1], "constraints": "true_positive_rate_parity"}, "expected two"),
        ({"probe_rows": [1, 2, 3]}, "probe_rows is a list"),
        ({"probe_rows": ([0, 1], [1, 1], [0, 1])}, "probe_rows: y has one label"),
    ],
)
def test__certify_cells__bad_input_is_named(changed, message):
    given = {"cells": [0, 1, 0, 1], "y": [0, 0, 1, 1], "sensitive_features": [0, 1, 0, 1]}
    with pytest.raises(ValueError, match=message):
        certify_cells(**(given | changed))


def test__certify_cells__continuous_cells_are_refused():
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="n_bins"):
        certify_cells(
            rng.normal(size=100), np.arange(100) % 2, sensitive_features=np.arange(100) // 50
        )


@pytest.mark.parametrize("shape", ["column", "table", "text"])
def test__certify_cells__equal_rows_are_one_cell(shape):
    rng = np.random.default_rng(0)
    y, group, cells = rng.integers(2, size=(3, 400))
    given = {
        "column": cells[:, None] * 0.25,
        "table": np.column_stack([cells, 1 - cells]),
        "text": np.array(["low", "high"], dtype=object)[cells],
    }[shape]
    expected = certify_cells(cells, y, sensitive_features=group)
    found = certify_cells(given, y[:, None], sensitive_features=group)
    assert found.bound == pytest.approx(expected.bound)
    assert found.n_cells == 2


def test__certify_cells__lower_bound_is_below_the_true_gap_and_not_zero():
    rng = np.random.default_rng(0)
    y, group = np.repeat([0, 0, 1, 1], 2000), np.tile(np.repeat([0, 1], 2000), 2)
    cells, others = ((rng.random(8000) < 0.4 + 0.2 * group).astype(int) for _ in range(2))
    found = certify_cells(cells, y, sensitive_features=group, probe_rows=(others, y, group))
    assert 0.1 < found.lower < 0.2 < found.bound


def test__certify_cells__probe_rows_have_the_same_groups():
    y, group = np.arange(40) % 2, np.arange(40) // 20
    with pytest.raises(ValueError, match="give rows with the same"):
        certify_cells(y, y, sensitive_features=group, probe_rows=(y, y, group + 1))


@pytest.mark.parametrize("y", [None, np.full(400, np.nan), np.arange(400) / 7])
def test__certify_cells__demographic_parity_takes_any_labels_or_none(y):
    cells, group, others = np.random.default_rng(0).integers(2, size=(3, 400))
    given = {"sensitive_features": group, "constraints": "demographic_parity"}
    expected = certify_cells(cells, group, **given, probe_rows=(others, group, group))
    found = certify_cells(cells, y, **given, probe_rows=(others, y, group))
    assert (found.bound, found.lower) == (expected.bound, expected.lower)
    with pytest.raises(ValueError, match="y"):
        certify_cells(cells, y, sensitive_features=group)
    with pytest.raises(ValueError, match="y has 399"):
        certify_cells(cells, group[1:], **given)


def test__certify_cells__rows_to_probe_are_others():
    cells, y, group = np.random.default_rng(0).integers([[40], [2], [2]], size=(3, 2000))
    given = {"sensitive_features": group, "constraints": "demographic_parity"}
    with pytest.raises(ValueError, match="probe_rows has the cells, labels and groups that are"):
        certify_cells(cells, y, **given, probe_rows=(cells.copy(), list(y), group.copy()))
    half = (slice(0, 1000), slice(1000, None))
    given["sensitive_features"] = group[half[0]]
    probe_rows = (cells[half[1]], y[half[1]], group[half[1]])
    assert certify_cells(cells[half[0]], y[half[0]], **given, probe_rows=probe_rows).lower == 0


def test__certify_cells__within_the_positive_label():
    rng = np.random.default_rng(0)
    y, group, cells = rng.integers(2, size=(3, 4000))
    cells[y == 0] = group[y == 0]
    given = {"y": y, "sensitive_features": group}
    odds = certify_cells(cells, **given)
    positive = certify_cells(cells, **given, constraints="true_positive_rate_parity")
    assert positive.bound < 0.1
    assert odds.bound > 0.4
    lines = odds.by_label.set_index("label")
    assert lines.loc["0", "plug-in"] == 1.0
    assert lines.loc["1", "plug-in"] == pytest.approx(positive.plug_in)
