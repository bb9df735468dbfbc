"""The synthetic embeddings: shapes, truth, and the bias they promise."""

import numpy as np
import pandas as pd
import pytest
from fairlearn.metrics import equalized_odds_difference
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skfairlatent.datasets import make_biased_embeddings


def _mean_equalized_odds(y, predicted, groups):
    """Return the mean, over the two rates, of the gap between groups."""
    return equalized_odds_difference(y, predicted, sensitive_features=groups, agg="mean")


def _cramers_v(first, second):
    table = pd.crosstab(first, second, normalize=True).to_numpy()
    independent = np.outer(table.sum(axis=1), table.sum(axis=0))
    chi_square = ((table - independent) ** 2 / independent).sum()
    return np.sqrt(chi_square / (min(table.shape) - 1))


def test__make_biased_embeddings__has_the_documented_shapes_and_types():
    drawn = make_biased_embeddings(100, 20, n_labels=3, n_groups=4, random_state=0)
    assert drawn.data.shape == (100, 20)
    assert drawn.data.dtype == np.float32
    assert drawn.target.dtype == np.int64
    assert drawn.sensitive_features.name == "group"
    assert drawn.label_factors.shape == (100, 2)
    assert drawn.group_factors.shape == (100, 3 + 8)
    assert drawn.nuisance.shape == (100, 20 - 2 - 11)
    assert set(drawn.target) == {0, 1, 2}
    assert set(drawn.sensitive_features) == {0, 1, 2, 3}


def test__make_biased_embeddings__draws_one_column_for_each_attribute():
    drawn = make_biased_embeddings(4000, n_groups=(2, 3), random_state=0)
    assert list(drawn.sensitive_features.columns) == ["group_0", "group_1"]
    assert drawn.sensitive_features.nunique().tolist() == [2, 3]
    for column in drawn.sensitive_features:
        assert _cramers_v(drawn.target, drawn.sensitive_features[column]) > 0.4


@pytest.mark.parametrize("n_classes", [2, 3, 5])
@pytest.mark.parametrize("correlation", [0.0, 0.3, 0.8])
def test__make_biased_embeddings__correlation_is_cramers_v(n_classes, correlation):
    drawn = make_biased_embeddings(
        20_000, n_labels=n_classes, n_groups=n_classes, correlation=correlation, random_state=1
    )
    measured = _cramers_v(drawn.target, drawn.sensitive_features)
    assert measured == pytest.approx(correlation, abs=0.02)


@pytest.mark.parametrize("correlation", [-1.0, -0.5, 0.0, 0.5, 1.0])
def test__make_biased_embeddings__correlation_is_signed_for_two_by_two(correlation):
    drawn = make_biased_embeddings(20_000, correlation=correlation, random_state=2)
    measured = np.corrcoef(drawn.target, drawn.sensitive_features)[0, 1]
    assert measured == pytest.approx(correlation, abs=0.02)
    assert drawn.target.mean() == pytest.approx(0.5, abs=0.02)
    assert drawn.sensitive_features.mean() == pytest.approx(0.5, abs=0.02)


def test__make_biased_embeddings__repeats_by_seed_and_leaves_the_global_state():
    before = np.random.get_state()[1].copy()  # noqa: NPY002 - the global state is the subject
    first = make_biased_embeddings(50, random_state=7)
    again = make_biased_embeddings(50, random_state=7)
    other = make_biased_embeddings(50, random_state=8)
    np.testing.assert_array_equal(first.data, again.data)
    assert not np.allclose(first.data, other.data)
    np.testing.assert_array_equal(before, np.random.get_state()[1])  # noqa: NPY002


@pytest.mark.parametrize("nonlinear", [True, False])
def test__make_biased_embeddings__one_seed_gives_one_map_whatever_the_correlation(nonlinear):
    biased = make_biased_embeddings(500, nonlinear=nonlinear, random_state=3)
    fair = make_biased_embeddings(500, correlation=0.0, nonlinear=nonlinear, random_state=3)
    same = (biased.sensitive_features == fair.sensitive_features).to_numpy()
    assert 100 < same.sum() < 500
    np.testing.assert_array_equal(biased.group_factors[same], fair.group_factors[same])
    np.testing.assert_allclose(biased.data[same], fair.data[same], atol=1e-5)


def test__make_biased_embeddings__label_factor_is_independent_of_the_group_given_the_label():
    drawn = make_biased_embeddings(20_000, random_state=4)
    for label in (0, 1):
        rows = drawn.target == label
        factor = drawn.label_factors[rows, 0]
        group = drawn.sensitive_features[rows].to_numpy()
        gap = factor[group == 1].mean() - factor[group == 0].mean()
        assert abs(gap) < 0.06


def test__make_biased_embeddings__without_strength_holds_no_group():
    drawn = make_biased_embeddings(4000, group_strength=0.0, correlation=0.0, random_state=5)
    probe = LogisticRegression().fit(drawn.data[:2000], drawn.sensitive_features[:2000])
    assert probe.score(drawn.data[2000:], drawn.sensitive_features[2000:]) < 0.55


@pytest.mark.parametrize("seed", [0, 1, 2])
def test__make_biased_embeddings__plain_classifier_is_unfair_and_a_fair_one_exists(seed):
    drawn = make_biased_embeddings(8000, random_state=seed)
    train, test = slice(0, 4000), slice(4000, None)
    y, groups = drawn.target[test], drawn.sensitive_features[test]
    plain = LogisticRegression(max_iter=500).fit(drawn.data[train], drawn.target[train])
    fair = LogisticRegression().fit(drawn.label_factors[train], drawn.target[train])
    unfair_prediction = plain.predict(drawn.data[test])
    fair_prediction = fair.predict(drawn.label_factors[test])
    assert 0.78 < np.mean(unfair_prediction == y) < 0.88
    assert 0.2 < _mean_equalized_odds(y, unfair_prediction, groups) < 0.4
    assert np.mean(fair_prediction == y) > np.mean(unfair_prediction == y) - 0.05
    assert _mean_equalized_odds(y, fair_prediction, groups) < 0.06


@pytest.mark.slow
def test__make_biased_embeddings__group_survives_linear_erasure_only_when_nonlinear():
    scores = {}
    for nonlinear in (True, False):
        drawn = make_biased_embeddings(
            4000, 16, correlation=0.0, nonlinear=nonlinear, random_state=0
        )
        groups = drawn.sensitive_features.to_numpy()
        means = [drawn.data[groups == code].mean(axis=0) for code in (0, 1)]
        centred = drawn.data - np.stack(means)[groups]
        probe = make_pipeline(
            StandardScaler(),
            MLPClassifier((32,), early_stopping=True, max_iter=60, random_state=0),
        )
        probe.fit(centred[:3000], groups[:3000])
        scores[nonlinear] = probe.score(centred[3000:], groups[3000:])
    assert scores[True] > 0.75
    assert scores[False] < 0.56


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"n_samples": 0}, ValueError, "n_samples=0 is too small: pass 1 or more"),
        ({"n_samples": 2.5}, TypeError, "n_samples=2.5 is a float: pass an integer"),
        ({"n_labels": 1}, ValueError, "n_labels=1 is too small: pass 2 or more"),
        ({"n_groups": 1}, ValueError, "n_groups=1 is too small: pass 2 or more"),
        ({"n_groups": "two"}, TypeError, "n_groups='t' is a str: pass an integer"),
        ({"n_groups": None}, TypeError, "n_groups=None is a NoneType: pass an integer"),
        ({"n_groups": ()}, ValueError, "n_groups is empty"),
        ({"n_groups": (2, 1)}, ValueError, "n_groups=1 is too small"),
        ({"n_features": 3}, ValueError, "n_features=3 cannot hold.*pass n_features=6 or more"),
        ({"correlation": 1.5}, ValueError, r"correlation=1.5 is out of range.*\[-1, 1\]"),
        ({"correlation": float("nan")}, ValueError, "correlation=nan is out of range"),
        ({"correlation": "high"}, TypeError, "correlation='high' is a str: pass a number"),
        ({"group_strength": -1}, ValueError, "group_strength=-1 is out of range"),
        ({"label_strength": float("inf")}, ValueError, "label_strength=inf is out of range"),
    ],
)
def test__make_biased_embeddings__says_what_to_pass(arguments, error, message):
    with pytest.raises(error, match=message):
        make_biased_embeddings(**arguments)
