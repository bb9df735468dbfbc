"""Group metrics against fairlearn and by their properties; scorers in real searches."""

import pickle

import fairlearn.metrics
import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_validate
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from skfairlatent.exceptions import UndefinedMetricWarning
from skfairlatent.metrics import (
    demographic_parity_difference,
    demographic_parity_ratio,
    equalized_odds_difference,
    fairness_scorer,
    fairness_scorers,
    true_positive_rate_difference,
    worst_group_accuracy_score,
)

EXACT = 1e-12
METRICS = [
    worst_group_accuracy_score,
    equalized_odds_difference,
    demographic_parity_difference,
]
NAMES = [
    "accuracy",
    "balanced_accuracy",
    "equalized_odds",
    "equalized_odds_worst",
    "demographic_parity",
    "worst_group_accuracy",
]

UNROUTED = ("accuracy", "balanced_accuracy")


def _random_case(seed, n_labels=2, n_groups=3, n_rows=300):
    """Labels, predictions, groups and weights with every (label, group) cell populated."""
    rng = np.random.default_rng(seed)
    cells = np.arange(n_rows) % (n_labels * n_groups)
    y_true, group = cells % n_labels, cells // n_labels
    y_pred = np.where(rng.random(n_rows) < 0.5, y_true, rng.integers(n_labels, size=n_rows))
    return y_true, y_pred, group, rng.uniform(0.1, 2.0, n_rows)


def _task(n_rows=240):
    """Features, a label and a group correlated with it, every cell populated."""
    rng = np.random.default_rng(0)
    s = rng.integers(2, size=n_rows)
    X = rng.normal(size=(n_rows, 3)) + s[:, None] * [1.0, 0.0, 0.5]
    y = (X[:, 0] + rng.normal(size=n_rows) > 0.5).astype(int)
    return X, y, np.where(s == 1, "b", "a")


def _folds(y, s):
    """Three folds, each with every (label, group) cell."""
    cells = [f"{label}{group}" for label, group in zip(y, s, strict=True)]
    return list(StratifiedKFold(3).split(cells, cells))


@pytest.fixture
def routing():
    with sklearn.config_context(enable_metadata_routing=True):
        yield


class TestAgainstFairlearn:
    @pytest.mark.parametrize("seed", range(5))
    @pytest.mark.parametrize("agg", ["mean", "worst_case"])
    @pytest.mark.parametrize("weighted", [False, True])
    def test__equalized_odds__is_fairlearns_on_binary_labels(self, seed, agg, weighted):
        y_true, y_pred, group, weight = _random_case(seed)
        options = {"sensitive_features": group, "agg": agg}
        options["sample_weight"] = weight if weighted else None
        theirs = fairlearn.metrics.equalized_odds_difference(y_true, y_pred, **options)
        ours = equalized_odds_difference(y_true, y_pred, **options)
        assert ours == pytest.approx(theirs, abs=EXACT)

    def test__equalized_odds__default_is_fairlearns(self):
        y_true, y_pred, group, _ = _random_case(0)
        theirs = fairlearn.metrics.equalized_odds_difference(
            y_true, y_pred, sensitive_features=group
        )
        ours = equalized_odds_difference(y_true, y_pred, sensitive_features=group)
        assert ours == pytest.approx(theirs, abs=EXACT)

    @pytest.mark.parametrize("seed", range(5))
    @pytest.mark.parametrize("weighted", [False, True])
    def test__demographic_parity__is_fairlearns_on_binary_labels(self, seed, weighted):
        y_true, y_pred, group, weight = _random_case(seed)
        options = {"sensitive_features": group, "sample_weight": weight if weighted else None}
        theirs = fairlearn.metrics.demographic_parity_difference(y_true, y_pred, **options)
        ours = demographic_parity_difference(y_true, y_pred, **options)
        assert ours == pytest.approx(theirs, abs=EXACT)

    @pytest.mark.parametrize("seed", range(3))
    @pytest.mark.parametrize("name", ["demographic_parity_ratio", "true_positive_rate_difference"])
    def test__ratio_and_true_positive_rates__are_fairlearns(self, seed, name):
        y_true, y_pred, group, weight = _random_case(seed)
        given = {"sensitive_features": group, "sample_weight": weight}
        theirs = getattr(fairlearn.metrics, name)(y_true, y_pred, **given)
        ours = {
            "demographic_parity_ratio": demographic_parity_ratio,
            "true_positive_rate_difference": true_positive_rate_difference,
        }[name](y_true, y_pred, **given)
        assert ours == pytest.approx(theirs, abs=EXACT)

    @pytest.mark.parametrize("seed", range(3))
    def test__metrics__cross_columns_as_fairlearn_does(self, seed):
        y_true, y_pred, group, _ = _random_case(seed, n_groups=6)
        table = pd.DataFrame({"a": group // 3, "b": np.array(["x", "y", "z"])[group % 3]})
        options = {"sensitive_features": table}
        theirs = fairlearn.metrics.equalized_odds_difference(y_true, y_pred, **options)
        ours = equalized_odds_difference(y_true, y_pred, **options)
        assert ours == pytest.approx(theirs, abs=EXACT)


class TestValues:
    @pytest.mark.parametrize("seed", range(3))
    def test__multiclass__is_the_documented_formula(self, seed):
        y_true, y_pred, group, weight = _random_case(seed, n_labels=4)
        gaps, shares, accuracies = [], [], []
        for c in range(4):
            of_group = [
                np.average(y_pred[group == g] == c, weights=weight[group == g]) for g in range(3)
            ]
            shares.append(max(of_group) - min(of_group))
        for y in range(4):
            cells = [(y_true == y) & (group == g) for g in range(3)]
            rates = np.array(
                [
                    [np.average(y_pred[cell] == c, weights=weight[cell]) for cell in cells]
                    for c in range(4)
                ]
            )
            gaps.append((rates.max(axis=1) - rates.min(axis=1)).max())
            accuracies.append(rates[y].min())
        options = {"sensitive_features": group, "sample_weight": weight}
        worst = equalized_odds_difference(y_true, y_pred, agg="worst_case", **options)
        mean = equalized_odds_difference(y_true, y_pred, agg="mean", **options)
        parity = demographic_parity_difference(y_true, y_pred, **options)
        accuracy = worst_group_accuracy_score(y_true, y_pred, **options)
        assert worst == pytest.approx(max(gaps), abs=EXACT)
        assert mean == pytest.approx(np.mean(gaps), abs=EXACT)
        assert parity == pytest.approx(max(shares), abs=EXACT)
        assert accuracy == pytest.approx(min(accuracies), abs=EXACT)

    @pytest.mark.parametrize("n_labels", [2, 3])
    def test__perfect_predictions__have_the_best_values(self, n_labels):
        y, _, group, _ = _random_case(0, n_labels)
        assert worst_group_accuracy_score(y, y, sensitive_features=group) == 1.0
        assert equalized_odds_difference(y, y, sensitive_features=group) == 0.0

    def test__constant_predictions__are_fair_but_worst_group_accuracy_is_zero(self):
        y, _, group, _ = _random_case(0)
        ones = np.ones_like(y)
        assert equalized_odds_difference(y, ones, sensitive_features=group) == 0.0
        assert demographic_parity_difference(y, ones, sensitive_features=group) == 0.0
        assert worst_group_accuracy_score(y, ones, sensitive_features=group) == 0.0

    @pytest.mark.parametrize("metric", METRICS)
    def test__metric__ignores_order_and_names(self, metric):
        y_true, y_pred, group, weight = _random_case(1, n_labels=3)
        expected = metric(y_true, y_pred, sensitive_features=group, sample_weight=weight)
        order = np.random.default_rng(1).permutation(len(y_true))
        found = metric(
            np.array(["z", "x", "y"])[y_true][order].tolist(),
            pd.Series(np.array(["z", "x", "y"])[y_pred][order], dtype="category"),
            sensitive_features=pd.Series(group[order]).map({0: "c", 1: "a", 2: "b"}),
            sample_weight=weight[order],
        )
        assert found == pytest.approx(expected, abs=EXACT)

    @pytest.mark.parametrize("metric", METRICS)
    def test__metric__weight_is_repetition(self, metric):
        y_true, y_pred, group, _ = _random_case(2)
        times = np.random.default_rng(2).integers(1, 4, len(y_true))
        repeated = [np.repeat(values, times) for values in (y_true, y_pred, group)]
        expected = metric(repeated[0], repeated[1], sensitive_features=repeated[2])
        found = metric(y_true, y_pred, sensitive_features=group, sample_weight=times)
        assert found == pytest.approx(expected, abs=EXACT)

    @pytest.mark.parametrize("metric", METRICS)
    def test__metric__accepts_frames_columns_and_booleans(self, metric):
        y_true, y_pred, group, _ = _random_case(3)
        expected = metric(y_true, y_pred, sensitive_features=group)
        found = metric(
            y_true.astype(bool),
            y_pred[:, None].astype(float),
            sensitive_features=pd.DataFrame({"group": group}),
        )
        assert type(found) is float
        assert found == pytest.approx(expected, abs=EXACT)


class TestUndefined:
    @pytest.mark.parametrize("metric", METRICS[:2])
    def test__empty_cell__is_nan_and_named(self, metric):
        y, group = [0, 1, 0, 0], ["a", "a", "b", "b"]
        with pytest.warns(UndefinedMetricWarning, match=r"\(label 1, group 'b'\)\. Returning NaN"):
            score = metric(y, [0, 1, 0, 1], sensitive_features=group)
        assert np.isnan(score)

    @pytest.mark.parametrize("metric", METRICS[:2])
    def test__cell_without_weight__is_nan(self, metric):
        y, group = [0, 1, 0, 1], ["a", "a", "b", "b"]
        with pytest.warns(UndefinedMetricWarning, match=r"none with weight.*label 0, group 'a'"):
            score = metric(y, y, sensitive_features=group, sample_weight=[0, 1, 1, 1])
        assert np.isnan(score)

    @pytest.mark.parametrize("metric", METRICS[:2])
    def test__label_only_predicted__is_nan(self, metric):
        with pytest.warns(UndefinedMetricWarning, match=r"label 1, group 'a'.*label 1, group 'b'"):
            score = metric([0, 0], [0, 1], sensitive_features=["a", "b"])
        assert np.isnan(score)

    def test__many_empty_cells__are_not_all_named(self):
        y = np.arange(40) % 2
        with pytest.warns(UndefinedMetricWarning, match="and 32 more"):
            worst_group_accuracy_score(y, y, sensitive_features=np.arange(40))

    def test__equalized_odds__one_label_is_nan(self):
        with pytest.warns(UndefinedMetricWarning, match="hold the label 1 only"):
            score = equalized_odds_difference([1, 1], [1, 1], sensitive_features=["a", "b"])
        assert np.isnan(score)

    @pytest.mark.parametrize("metric", METRICS[1:])
    def test__one_group__has_no_gap(self, metric):
        with pytest.warns(UndefinedMetricWarning, match="one group only, 'a'"):
            score = metric([0, 1], [0, 1], sensitive_features=["a", "a"])
        assert np.isnan(score)

    def test__worst_group_accuracy__one_group_is_defined(self):
        y_true, y_pred = [0, 0, 1, 1], [0, 1, 1, 1]
        assert worst_group_accuracy_score(y_true, y_pred, sensitive_features=["a"] * 4) == 0.5

    def test__demographic_parity__needs_no_label_in_every_group(self):
        y, group = [0, 1, 0, 0], ["a", "a", "b", "b"]
        assert demographic_parity_difference(y, [0, 1, 0, 1], sensitive_features=group) == 0.0

    def test__demographic_parity_ratio__nobody_selected_is_nan(self):
        group = ["a", "a", "b", "b"]
        with pytest.warns(UndefinedMetricWarning, match="never predicted"):
            found = demographic_parity_ratio([0, 1, 0, 1], [0] * 4, sensitive_features=group)
        assert np.isnan(found)

    def test__true_positive_rates__need_positive_rows_of_each_group_only(self):
        y_true, group = [1, 1, 1, 0], ["a", "a", "b", "b"]
        found = true_positive_rate_difference(y_true, [1, 0, 1, 0], sensitive_features=group)
        assert found == pytest.approx(0.5)
        with pytest.warns(UndefinedMetricWarning, match=r"\(label 1, group 'b'\)"):
            found = true_positive_rate_difference(
                [1, 1, 0, 0], [1, 0, 1, 0], sensitive_features=group
            )
        assert np.isnan(found)
        with pytest.raises(ValueError, match="hold 3 labels: the true positive rate is of two"):
            true_positive_rate_difference([0, 1, 2, 1], [0, 1, 2, 1], sensitive_features=group)

    def test__demographic_parity__group_without_weight_is_nan(self):
        with pytest.warns(UndefinedMetricWarning, match=r"no weight in group\(s\) 'b'"):
            score = demographic_parity_difference(
                [0, 1], [0, 1], sensitive_features=["a", "b"], sample_weight=[1, 0]
            )
        assert np.isnan(score)

    def test__warning__points_at_the_caller(self):
        with pytest.warns(UndefinedMetricWarning) as caught:
            demographic_parity_difference([0, 1], [0, 1], sensitive_features=["a", "a"])
        assert caught[0].filename == __file__


class TestInputErrors:
    @pytest.mark.parametrize("metric", METRICS)
    @pytest.mark.parametrize(
        ("changed", "message"),
        [
            ({"y_pred": [0, 1]}, r"Lengths differ: y_true 4, y_pred 2, sensitive_features 4\."),
            ({"sensitive_features": ["a"]}, "sensitive_features 1"),
            ({"sample_weight": [1.0]}, "sample_weight 1"),
            ({"sample_weight": [1, 1, 1, -1]}, r"finite number >= 0.*from -1\.0 to 1\.0"),
            ({"sample_weight": [1, 1, 1, np.nan]}, "finite number >= 0"),
            ({"sensitive_features": ["a", None, "b", "b"]}, "missing value"),
            ({"y_true": [0, 1, None, 1]}, "y_true has missing values"),
            ({"y_pred": [0, 1, np.nan, 1]}, "y_pred has missing values"),
            ({"y_pred": [0.2, 0.9, 0.1, 0.7]}, r"y_pred holds continuous.*predict\(X\)"),
            ({"y_pred": np.full((4, 2), 0.5)}, r"y_pred has shape \(4, 2\).*probabilities"),
            ({"y_pred": None}, "y_pred is None: expected class labels"),
            ({"y_pred": [0, 1, np.inf, 1]}, "y_pred holds infinity: expected class labels"),
            ({"sample_weight": ["a"] * 4}, r"finite number >= 0 per sample, got values such as"),
            ({"sample_weight": 2.0}, r"finite number >= 0 per sample, got shape \(\)"),
            ({"y_pred": ["0", "1", "0", "1"]}, "holds text and the other numbers"),
        ],
    )
    def test__metric__bad_input_is_explained(self, metric, changed, message):
        given = {"y_true": [0, 1, 0, 1], "y_pred": [0, 1, 1, 1]}
        given |= {"sensitive_features": ["a", "a", "b", "b"]} | changed
        with pytest.raises(ValueError, match=message):
            metric(**given)

    def test__equalized_odds__unknown_agg(self):
        with pytest.raises(ValueError, match="agg is 'max': expected 'worst_case' or 'mean'"):
            equalized_odds_difference([0, 1], [0, 1], sensitive_features=[0, 1], agg="max")


class TestRowsThatCannotBeToldApart:
    @pytest.mark.parametrize("metric", METRICS)
    @pytest.mark.parametrize("name", ["y_true", "y_pred", "sensitive_features", "sample_weight"])
    def test__metric__refuses_masked_values(self, metric, name):
        given = {each: np.array([0, 1, 0, 1]) for each in ("y_true", "y_pred")}
        given["sensitive_features"] = np.array([0, 0, 1, 1])
        given[name] = np.ma.array([0, 1, 0, 1], mask=[0, 0, 0, 1])
        with pytest.raises(ValueError, match=f"{name} has 1 masked value"):
            metric(**given)

    @pytest.mark.parametrize("metric", METRICS)
    def test__metric__refuses_an_index_in_another_order(self, metric):
        y, s = pd.Series([0, 1, 0, 1]), pd.Series([0, 0, 1, 1])
        with pytest.raises(
            ValueError, match="sensitive_features has the index of y_true in anoth"
        ):
            metric(y, y, sensitive_features=s[::-1])

    @pytest.mark.parametrize("metric", METRICS)
    def test__metric__refuses_labels_that_name_the_rows(self, metric):
        ids = np.arange(5000)
        with pytest.raises(ValueError, match=r"hold 5000 different labels.*2 groups: too many"):
            metric(ids, ids, sensitive_features=ids % 2)

    def test__cross_validate__a_dictionary_is_never_put_beside_other_rows(self):
        """It has as many columns as a fold has rows: it would pass for rows."""
        y, s = np.arange(30) % 2, np.arange(30) // 2 % 2
        X = np.random.default_rng(0).normal(size=(30, 2))
        with (
            sklearn.config_context(enable_metadata_routing=True),
            pytest.raises(TypeError, match="sensitive_features is of type dict"),
        ):
            cross_validate(
                LogisticRegression(),
                X,
                y,
                params={"sensitive_features": {"a": s}},
                scoring=fairness_scorer("equalized_odds"),
                error_score="raise",
            )


class TestScorers:
    def test__fairness_scorers__names(self):
        assert list(fairness_scorers()) == NAMES

    def test__fairness_scorers__of_each_criterion_hold_its_gap(self):
        for constraints in ("equalized_odds", "demographic_parity", "true_positive_rate_parity"):
            found = fairness_scorers(constraints)
            assert {"accuracy", "balanced_accuracy", constraints} <= set(found)
        with pytest.raises(ValueError, match="constraints is 'parity': expected one of 'equal"):
            fairness_scorers("parity")

    @pytest.mark.parametrize("build_under_routing", [False, True])
    def test__scorers__are_the_metrics_with_differences_negated(self, build_under_routing):
        X, y, s = _task()
        model = LogisticRegression().fit(X, y)
        pred = model.predict(X)
        with sklearn.config_context(enable_metadata_routing=build_under_routing):
            scorers = fairness_scorers()
        odds = equalized_odds_difference
        expected = {
            "accuracy": (pred == y).mean(),
            "balanced_accuracy": np.mean([(pred == y)[y == k].mean() for k in (0, 1)]),
            "equalized_odds": -odds(y, pred, sensitive_features=s, agg="mean"),
            "equalized_odds_worst": -odds(y, pred, sensitive_features=s),
            "demographic_parity": -demographic_parity_difference(y, pred, sensitive_features=s),
            "worst_group_accuracy": worst_group_accuracy_score(y, pred, sensitive_features=s),
        }
        with sklearn.config_context(enable_metadata_routing=True):
            for name, scorer in scorers.items():
                routed = {} if name in UNROUTED else {"sensitive_features": s}
                assert scorer(model, X, y, **routed) == pytest.approx(expected[name], abs=EXACT)

    @pytest.mark.usefixtures("routing")
    @pytest.mark.parametrize("pipeline", [False, True])
    @pytest.mark.slow
    def test__grid_search__scores_every_candidate(self, pipeline):
        X, y, s = _task()
        model, grid = LogisticRegression(), {"C": [0.01, 1.0]}
        if pipeline:
            model = Pipeline([("scale", StandardScaler()), ("clf", model)])
            grid = {"clf__C": [0.01, 1.0]}
        folds = _folds(y, s)
        search = GridSearchCV(model, grid, scoring=fairness_scorers(), refit="accuracy", cv=folds)
        search = clone(search).fit(X, y, sensitive_features=s)
        for row, params in enumerate(search.cv_results_["params"]):
            gaps = []
            for train, test in folds:
                pred = clone(model).set_params(**params).fit(X[train], y[train]).predict(X[test])
                gaps.append(
                    equalized_odds_difference(
                        y[test], pred, sensitive_features=s[test], agg="mean"
                    )
                )
            found = search.cv_results_["mean_test_equalized_odds"][row]
            assert found == pytest.approx(-np.mean(gaps), abs=EXACT)

    @pytest.mark.usefixtures("routing")
    def test__cross_validate__takes_one_scorer_and_a_frame(self):
        X, y, s = _task()
        table = pd.DataFrame({"s": s, "t": "same"})
        scores = cross_validate(
            LogisticRegression(),
            X,
            y,
            scoring=fairness_scorer("demographic_parity"),
            params={"sensitive_features": table},
            cv=_folds(y, s),
            error_score="raise",
        )
        assert (scores["test_score"] < 0).all()

    @pytest.mark.usefixtures("routing")
    @pytest.mark.parametrize("use_weight", [False, True])
    def test__sample_weight__is_used_only_on_request(self, use_weight):
        X, y, s = _task()
        weight = np.where(y == 1, 3.0, 1.0)
        model = LogisticRegression().fit(X, y)
        search = GridSearchCV(
            LogisticRegression().set_fit_request(sample_weight=True),
            {"C": [1.0]},
            scoring=fairness_scorers(sample_weight=use_weight),
            refit="accuracy",
            cv=[(np.arange(len(y)), np.arange(len(y)))],
        ).fit(X, y, sensitive_features=s, sample_weight=weight)
        model = LogisticRegression().fit(X, y, sample_weight=weight)
        expected = demographic_parity_difference(
            y,
            model.predict(X),
            sensitive_features=s,
            sample_weight=weight if use_weight else None,
        )
        found = search.cv_results_["mean_test_demographic_parity"][0]
        assert found == pytest.approx(-expected, abs=EXACT)

    @pytest.mark.usefixtures("routing")
    @pytest.mark.parametrize("name", NAMES)
    def test__scorer__pickles_and_clones(self, name):
        X, y, s = _task()
        model = LogisticRegression().fit(X, y)
        scorer = fairness_scorer(name)
        routed = {} if name in UNROUTED else {"sensitive_features": s}
        expected = scorer(model, X, y, **routed)
        for copy in (pickle.loads(pickle.dumps(scorer)), clone(scorer, safe=False)):  # noqa: S301
            assert copy(model, X, y, **routed) == expected
            assert repr(copy) == repr(scorer)

    @pytest.mark.usefixtures("routing")
    def test__scorer__without_sensitive_features_says_what_to_type(self):
        X, y, _ = _task()
        model = LogisticRegression().fit(X, y)
        with pytest.raises(ValueError, match=r"'equalized_odds' was given no.*enable_metadata"):
            fairness_scorer("equalized_odds")(model, X, y)

    def test__fairness_scorer__unknown_name(self):
        with pytest.raises(ValueError, match="no scorer 'eo': expected one of accuracy, bal"):
            fairness_scorer("eo")
