"""Rates and gaps: as fairlearn and `skfairlatent.metrics` have them, in the data and in draws."""

import numpy as np
import pandas as pd
import pytest
from fairlearn.metrics import (
    MetricFrame,
    demographic_parity_ratio,
    false_positive_rate,
    selection_rate,
    true_positive_rate,
    true_positive_rate_difference,
)
from sklearn.metrics import accuracy_score

from skfairlatent import metrics
from skfairlatent._validation.groups import EncodedColumn
from skfairlatent.report._rates import rate_tables, resample
from skfairlatent.report._rows import check_rows
from skfairlatent.report.sections.gaps import verdict

EXACT = 1e-12
N = 500


def drawn(n_labels, n_groups, n=N, seed=0):
    """Labels and two models' decisions, which both depend on the group."""
    rng = np.random.default_rng(seed)
    y, group = rng.integers(n_labels, size=n), rng.integers(n_groups, size=n)
    decided = [
        np.where(rng.random(n) < 0.5 + 0.4 * (group == 0), y, rng.integers(n_labels, size=n))
        for _ in range(2)
    ]
    return y, *decided, group


def tables_of(y, before, after, group, n_labels, n_bootstrap=50):
    names = [f"g{i}" for i in range(group.max() + 1)]
    decisions = resample(
        [y, before, after],
        group,
        [str(i) for i in range(n_labels)],
        n_bootstrap,
        np.random.RandomState(0),
    )
    return rate_tables(decisions, [EncodedColumn(None, group, names, "s")], 0.95)


def test__rate_tables__agree_with_metric_frame_on_two_classes():
    y, before, after, group = drawn(2, 3)
    overall, by_group, _ = tables_of(y, before, after, group, 2)
    for model, decided in (("before", before), ("after", after)):
        frame = MetricFrame(
            metrics={
                "accuracy": accuracy_score,
                "true_positive_rate": true_positive_rate,
                "false_positive_rate": false_positive_rate,
                "selection_rate": selection_rate,
            },
            y_true=y,
            y_pred=decided,
            sensitive_features=group,
        )
        for metric in frame.by_group:
            found = by_group[model].xs(metric, level="metric")
            np.testing.assert_allclose(found, frame.by_group[metric], atol=EXACT)
            assert overall.loc[metric, model] == pytest.approx(frame.overall[metric], abs=EXACT)
    counts = by_group["before"].xs("count", level="metric")
    np.testing.assert_array_equal(counts, np.bincount(group))


def test__rate_tables__take_each_of_several_classes_for_positive_in_turn():
    y, before, after, group = drawn(3, 2)
    _, by_group, _ = tables_of(y, before, after, group, 3)
    for label in range(3):
        frame = MetricFrame(
            metrics={
                "hits": true_positive_rate,
                "false": false_positive_rate,
                "s": selection_rate,
            },
            y_true=(y == label).astype(int),
            y_pred=(after == label).astype(int),
            sensitive_features=group,
        )
        for short, name in (
            ("hits", "true_positive_rate"),
            ("false", "false_positive_rate"),
            ("s", "selection_rate"),
        ):
            found = by_group["after"].xs(f"{name} of {label}", level="metric")
            np.testing.assert_allclose(found, frame.by_group[short], atol=EXACT)


@pytest.mark.parametrize(("n_labels", "n_groups"), [(2, 2), (2, 5), (4, 3)])
def test__differences__agree_with_the_metrics_of_the_package(n_labels, n_groups):
    y, before, after, group = drawn(n_labels, n_groups)
    found = tables_of(y, before, after, group, n_labels)[2].loc["s"]
    of_group = {"sensitive_features": group}
    for model, decided in (("before", before), ("after", after)):
        expected = [
            metrics.equalized_odds_difference(y, decided, **of_group),
            metrics.demographic_parity_difference(y, decided, **of_group),
            metrics.worst_group_accuracy_score(y, decided, **of_group),
        ]
        if n_labels == 2:
            expected += [
                demographic_parity_ratio(y, decided, **of_group),
                true_positive_rate_difference(y, decided, **of_group),
            ]
        np.testing.assert_allclose(found[model], expected, atol=EXACT)
    np.testing.assert_allclose(found["change"], found["after"] - found["before"], atol=EXACT)


def test__intervals__are_those_of_drawing_rows():
    y, before, after, group = drawn(2, 2, n=300)
    found = tables_of(y, before, after, group, 2, n_bootstrap=2000)[2].loc["s"]
    rng = np.random.default_rng(1)
    rows = rng.integers(len(y), size=(2000, len(y)))
    gaps = []
    for row in rows:
        rates = [before[row][group[row] == g].mean() for g in range(2)]
        gaps.append(abs(rates[0] - rates[1]))
    expected = np.quantile(gaps, [0.025, 0.975])
    interval = found.loc["demographic_parity_difference", ["before_low", "before_high"]]
    # The standard error of such a quantile is about 0.004 at so many draws.
    np.testing.assert_allclose(interval.astype(float), expected, atol=0.015)


def test__intervals__of_a_change_are_paired():
    y, before, _, group = drawn(2, 2)
    found = tables_of(y, before, before.copy(), group, 2)[2]
    assert (found[["change", "change_low", "change_high"]] == 0).all(axis=None)


def test__empty_cells__give_nan_and_say_which():
    y, before, after, group = drawn(2, 2)
    y[group == 1] = 0
    _, by_group, differences = tables_of(y, before, after, group, 2)
    row = differences.loc[("s", "equalized_odds_difference")]
    assert np.isnan([row["before"], row["after_low"], row["change"]]).all()
    assert "(label 1, group 'g1')" in row["note"]
    assert verdict(row) == f"The change cannot be measured on these rows. {row['note']}"
    assert np.isnan(by_group.loc[("s", "g1", "true_positive_rate"), "before"])
    known = differences.loc[("s", "demographic_parity_difference")]
    assert np.isfinite(known["before_low"])
    assert known["note"] == ""


@pytest.mark.parametrize(("n_rows", "size"), [(3, "3 rows"), (1, "1 row")])
def test__small_cells__have_a_value_and_say_why_it_has_no_interval(n_rows, size):
    y, before, after, group = drawn(2, 2)
    y[group == 1] = 0
    y[np.flatnonzero(group == 1)[:n_rows]] = 1
    found = tables_of(y, before, after, group, 2, n_bootstrap=1000)[2].loc["s"]
    row = found.loc["equalized_odds_difference"]
    assert np.isfinite([row["before"], row["after"], row["change"]]).all()
    assert np.isnan([row["before_low"], row["after_low"], row["change_low"]]).all()
    why = f"No interval: in some draws a (label, group) cell of {size} is empty."
    assert row["note"] == found.loc["worst_group_accuracy", "note"] == why
    assert found.loc["demographic_parity_difference", "note"] == ""
    assert verdict(row).endswith(f"is due to chance cannot be said. {why}")


def test__small_groups__say_why_there_is_no_interval():
    y, before, after, _ = drawn(2, 2)
    group = (np.arange(N) < 2).astype(int)
    found = tables_of(y, before, after, group, 2, n_bootstrap=1000)[2].loc["s"]
    row = found.loc["demographic_parity_difference"]
    assert np.isfinite(row["change"])
    assert row["note"] == "No interval: in some draws a group of 2 rows is empty."


def test__labels_that_do_not_occur__are_no_empty_cells():
    y, before, after, group = drawn(2, 2)
    found = tables_of(y, before, after, group, 3)[2].loc["s"]
    expected = metrics.equalized_odds_difference(y, before, sensitive_features=group)
    assert found.loc["equalized_odds_difference", "before"] == pytest.approx(expected, abs=EXACT)


def test__check_rows__keeps_attributes_of_one_name_and_the_label_apart():
    y = pd.Series(np.arange(80) % 2, name="a")
    s = pd.DataFrame(np.column_stack([np.arange(80) // k % 2 for k in (2, 4, 8)]))
    s.columns = ["a", "a", "a x a_2"]
    rows = check_rows(np.zeros((80, 2)), y, s, np.array([0, 1]))
    assert rows.attributes == ["a", "a_2", "a x a_2"]
    names = [grouping.label for grouping in rows.groupings()]
    assert len({*names, rows.label_name}) == 5


def test__rate_tables__say_why_there_is_no_ratio():
    y, _, after, group = drawn(2, 2)
    differences = tables_of(y, 0 * y, after, group, 2)[2].loc["s"]
    assert np.isnan(differences.loc["demographic_parity_ratio", "before"])
    notes = differences["note"]
    assert notes["demographic_parity_ratio"].startswith("Undefined: a model selects nobody.")
    assert not notes["demographic_parity_difference"]
