"""The choice of a candidate by accuracy and fairness, on made-up results and in a search."""

import math
import pickle
import re

import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold

from skfairlatent.exceptions import FairLatentWarning
from skfairlatent.metrics import fairness_scorers
from skfairlatent.selection import MostAccurateWithin, group_stratified_folds, pareto_front

NAN = float("nan")


def _results(accuracy, gap, **more):
    return {
        "params": [{"C": i} for i in range(len(accuracy))],
        "mean_test_accuracy": np.array(accuracy, dtype=float),
        "mean_test_equalized_odds": -np.array(gap, dtype=float),
    } | {f"mean_test_{name}": np.array(scores) for name, scores in more.items()}


class TestMostAccurateWithin:
    @pytest.mark.parametrize(
        ("accuracy", "gap", "chosen"),
        [
            ([0.9, 0.8, 0.7], [0.3, 0.1, 0.0], 1),
            ([0.9, 0.8, 0.7], [0.05, 0.1, 0.0], 0),
            ([0.8, 0.8, 0.8], [0.08, 0.02, 0.02], 1),
            ([0.9, 0.8], [0.3 - 0.2 + 1e-12, 0.0], 0),
            ([NAN, 0.9, 0.7], [0.0, NAN, 0.1], 2),
        ],
        ids=["the bound binds", "all within", "ties: fairest, then first", "rounding", "NaN"],
    )
    def test__call__chooses(self, accuracy, gap, chosen):
        found = MostAccurateWithin(0.1)(_results(accuracy, gap))
        assert type(found) is int
        assert found == chosen

    @pytest.mark.parametrize("seed", range(5))
    def test__call__no_candidate_within_is_more_accurate(self, seed):
        rng = np.random.default_rng(seed)
        accuracy, gap = rng.random(50), rng.random(50)
        chosen = MostAccurateWithin(0.4)(_results(accuracy, gap))
        assert gap[chosen] <= 0.4
        assert accuracy[chosen] == accuracy[gap <= 0.4].max()

    def test__call__none_within_takes_the_fairest_and_warns(self):
        message = r"No candidate has equalized_odds <= 0.05.*odds 0.2 and accuracy 0.8"
        with pytest.warns(FairLatentWarning, match=message):
            assert MostAccurateWithin(0.05)(_results([0.9, 0.7, 0.8], [0.3, 0.2, 0.2])) == 2

    def test__call__other_names(self):
        results = _results([0.9, 0.8], [0.0, 0.0], parity=[-0.5, -0.1], worst=[0.1, 0.2])
        assert MostAccurateWithin(0.2, fairness="parity")(results) == 1
        assert MostAccurateWithin(0.2, accuracy="worst")(results) == 1

    @pytest.mark.parametrize("bound", [-0.1, NAN])
    def test__bound__must_be_a_difference(self, bound):
        with pytest.raises(ValueError, match=f"bound is {bound}: expected the largest"):
            MostAccurateWithin(bound)

    @pytest.mark.parametrize("bound", ["0.1", None, True, [0.1], 1j])
    def test__bound__must_be_a_number(self, bound):
        with pytest.raises(TypeError, match=r"bound is .*, a \w+: expected the largest differ"):
            MostAccurateWithin(bound)

    @pytest.mark.parametrize("bound", [np.float32(0.1), np.float64(0.1), np.int64(0), math.inf])
    def test__bound__may_be_any_number(self, bound):
        assert MostAccurateWithin(bound)(_results([0.9, 0.8], [0.0, 0.0])) == 0

    def test__names__must_be_text(self):
        with pytest.raises(TypeError, match=r"fairness is \['x'\]: expected the name of a score"):
            MostAccurateWithin(0.1, fairness=["x"])

    def test__copies__are_equal(self):
        refit = MostAccurateWithin(0.1, fairness="demographic_parity")
        assert pickle.loads(pickle.dumps(refit)) == refit  # noqa: S301
        assert clone(refit, safe=False) == refit

    def test__grid_search__refits_the_chosen_candidate(self):
        rng = np.random.default_rng(0)
        s = rng.integers(2, size=240)
        X = rng.normal(size=(240, 2)) + s[:, None] * [0.0, 2.0]
        y = (X.sum(axis=1) + rng.normal(size=240) > 1.0).astype(int)
        with sklearn.config_context(enable_metadata_routing=True):
            search = GridSearchCV(
                LogisticRegression(),
                {"C": [1e-4, 1e-2, 1.0]},
                scoring=fairness_scorers(),
                refit=MostAccurateWithin(0.5),
                cv=group_stratified_folds(y, s, random_state=0),
            )
            search = clone(search).fit(X, y, sensitive_features=s)
        gaps = -search.cv_results_["mean_test_equalized_odds"]
        accuracy = np.where(gaps <= 0.5, search.cv_results_["mean_test_accuracy"], -1.0)
        assert search.best_index_ == accuracy.argmax()
        assert search.best_params_["C"] == search.best_estimator_.C


@pytest.mark.parametrize("constraints", ["demographic_parity", "true_positive_rate_parity"])
def test__search__is_judged_by_the_criterion_it_was_scored_by(constraints):
    X, y, s = _rows_with_a_small_group(9)
    with sklearn.config_context(enable_metadata_routing=True):
        search = GridSearchCV(
            LogisticRegression(),
            {"C": [1e-3, 1.0]},
            scoring=fairness_scorers(constraints),
            refit=MostAccurateWithin(1.0),
            cv=group_stratified_folds(y, s, constraints=constraints, random_state=0),
        ).fit(X, y, sensitive_features=s)
    front = pareto_front(search.cv_results_)
    assert front.columns.tolist()[:2] == ["accuracy", constraints]
    assert search.best_index_ == front.index[-1]


class TestParetoFront:
    @pytest.mark.parametrize("seed", range(5))
    def test__front__is_what_no_candidate_dominates(self, seed):
        rng = np.random.default_rng(seed)
        # A coarse grid, so that ties and duplicates occur.
        accuracy, gap = rng.integers(8, size=(2, 40)) / 8
        better = (accuracy[:, None] >= accuracy) & (gap[:, None] <= gap)
        strictly = (accuracy[:, None] > accuracy) | (gap[:, None] < gap)
        expected = np.flatnonzero(~(better & strictly).any(axis=0))
        front = pareto_front(_results(accuracy, gap))
        assert sorted(front.index) == expected.tolist()
        assert front["equalized_odds"].is_monotonic_increasing
        assert front["accuracy"].is_monotonic_increasing

    @pytest.mark.parametrize("bound", [0.1, 0.3, 0.7])
    def test__front__holds_every_choice_within_a_bound(self, bound):
        rng = np.random.default_rng(0)
        results = _results(*rng.random((2, 30)))
        assert MostAccurateWithin(bound)(results) in pareto_front(results).index

    def test__front__columns_and_params(self):
        front = pareto_front(_results([0.8, 0.9], [0.1, 0.2]))
        assert front.columns.tolist() == ["accuracy", "equalized_odds", "params"]
        assert front["params"].tolist() == [{"C": 0}, {"C": 1}]
        assert front["equalized_odds"].tolist() == [0.1, 0.2]

    def test__front__leaves_out_nan(self):
        front = pareto_front(_results([NAN, 0.9, 0.7], [0.0, NAN, 0.1]))
        assert front.index.tolist() == [2]


def _raised(results):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - matched by those who call
        pareto_front(results)
    return str(caught.value)


def _warned(results):
    """Return what is said of results of a search that would be lost with an error."""
    with pytest.warns(FairLatentWarning) as caught:
        chosen = MostAccurateWithin(0.1)(results)
    scores = results.get("mean_test_accuracy", [NAN])
    assert chosen == (0 if np.isnan(scores).all() else np.nanargmax(scores))
    (each,) = caught
    assert "is taken, so that the search keeps its results" in str(each.message)
    assert each.filename == __file__
    return str(each.message)


@pytest.mark.parametrize("said_of", [_raised, _warned])
class TestNothingToJudge:
    def test__unknown_score__names_those_there_are(self, said_of):
        results = {"mean_test_accuracy": [0.9], "mean_test_f1": [0.8]}
        assert "no score 'equalized_odds': there is accuracy, f1" in said_of(results)

    def test__single_metric_search__says_to_use_the_scorers(self, said_of):
        said = said_of({"mean_test_score": [0.9]})
        assert "there is score. Pass scoring=fairness_scorers" in said

    def test__positive_difference__is_refused(self, said_of):
        said = said_of(_results([0.9, 0.8], [-0.3, 0.1]))
        assert "positive for some candidates (largest 0.3" in said

    def test__all_nan__names_the_scores(self, said_of):
        said = said_of(_results([0.9, NAN], [NAN, 0.1]))
        assert "No candidate has both 'accuracy' and 'equalized_odds'" in said

    def test__fairness_nan_in_all_means__names_both_causes(self, said_of):
        said = said_of(_results([0.8, 0.9], [NAN, NAN]))
        assert re.search(r"got no sensitive_features.*If it got them, a fold without rows", said)

    def test__nothing_at_all__takes_the_first(self, said_of):
        assert "No candidate has both" in said_of(_results([NAN, NAN], [NAN, NAN]))


@pytest.mark.parametrize("choose", [MostAccurateWithin(0.1), pareto_front])
def test__nan_in_some_folds__others_are_compared(choose):
    folds = {
        "split0_test_equalized_odds": np.array([NAN, NAN]),
        "split1_test_equalized_odds": np.array([-0.2, -0.1]),
        "split2_test_equalized_odds": np.array([-0.2, 0.0]),
    }
    with pytest.warns(FairLatentWarning, match=r"'equalized_odds' is NaN in 1 of 3 fo") as caught:
        found = choose(_results([0.9, 0.8], [NAN, NAN]) | folds)
    assert "group_stratified_folds" in str(caught[0].message)
    assert "'accuracy'" not in str(caught[0].message)
    assert (found == 1) if isinstance(found, int) else found.index.tolist() == [1, 0]


@pytest.mark.parametrize("choose", [MostAccurateWithin(0.1), pareto_front])
def test__search_instead_of_its_results__is_an_error_that_says_so(choose):
    with pytest.raises(TypeError, match=r"of type GridSearchCV: .* as search\.cv_results_"):
        choose(GridSearchCV(LogisticRegression(), {"C": [1]}))


def test__nan_in_some_folds__of_some_candidates_are_not_compared():
    folds = {
        "split0_test_equalized_odds": np.array([NAN, -0.05]),
        "split1_test_equalized_odds": np.array([0.0, -0.05]),
    }
    assert MostAccurateWithin(0.1)(_results([0.9, 0.8], [NAN, 0.05]) | folds) == 1


@pytest.mark.parametrize("routing", [False, True])
@pytest.mark.filterwarnings("ignore:Scoring failed", "ignore:One or more of the test scores")
def test__grid_search__scorers_without_groups_says_how_to_pass_them(routing):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(40, 2)), np.arange(40) % 2
    search = GridSearchCV(
        LogisticRegression(),
        {"C": [0.1, 1.0]},
        cv=2,
        scoring=fairness_scorers(),
        refit=MostAccurateWithin(0.1),
    )
    message = r"enable_metadata_routing=True\), then search\.fit\(X, y, sensitive_features=s\)"
    with (
        sklearn.config_context(enable_metadata_routing=routing),
        pytest.warns(FairLatentWarning, match=message),
    ):
        search.fit(X, y)
    assert len(search.cv_results_["params"]) == 2
    assert search.best_estimator_.predict(X).shape == (40,)


def _search(cv):
    return GridSearchCV(
        LogisticRegression(),
        {"C": [1e-3, 1.0]},
        scoring=fairness_scorers(),
        refit=MostAccurateWithin(1.0),
        cv=cv,
    )


def _rows_with_a_small_group(n_small):
    rng = np.random.default_rng(0)
    y, s = np.arange(200) % 2, np.where(np.arange(200) % 4 < 2, "a", "b")
    s[: 2 * n_small] = "c"  # as many of each label
    return rng.normal(size=(200, 2)) + y[:, None], y, s


@pytest.mark.filterwarnings("ignore:One or more of the test scores", "ignore:.* is undefined")
@pytest.mark.slow
def test__grid_search__keeps_its_results_where_folds_lack_a_cell():
    X, y, s = _rows_with_a_small_group(2)
    s[0] = "a"  # one row is left of (0, c)
    folds = StratifiedKFold(5, shuffle=True, random_state=0).split(X, y)
    with (
        sklearn.config_context(enable_metadata_routing=True),
        pytest.warns(FairLatentWarning, match="'equalized_odds' is NaN in [1-4] of 5 folds"),
    ):
        search = _search(list(folds)).fit(X, y, sensitive_features=s)
    assert len(search.cv_results_["params"]) == 2
    assert search.predict(X).shape == (200,)


class TestGroupStratifiedFolds:
    def test__search__has_all_scores(self):
        X, y, s = _rows_with_a_small_group(3)
        with sklearn.config_context(enable_metadata_routing=True):
            search = _search(group_stratified_folds(y, s, random_state=0))
            search.fit(X, y, sensitive_features=s)
        scores = [v for k, v in search.cv_results_.items() if "_test_" in k]
        assert np.isfinite(scores).all()

    def test__folds__hold_every_cell_and_every_row_once(self):
        _, y, s = _rows_with_a_small_group(5)
        table = pd.DataFrame({"sex": s, "old": np.arange(200) % 7 < 3})
        folds = group_stratified_folds(y, table, 2, random_state=0)
        assert len(folds) == 2
        tests = [test for _, test in folds]
        assert sorted(np.concatenate(tests)) == list(range(200))
        for train, test in folds:
            assert not set(train) & set(test)
            assert len({(y[i], s[i], table["old"][i]) for i in test}) == 12
        again = group_stratified_folds(y, table, 2, random_state=0)
        assert all((a == b).all() for a, b in zip(tests, [test for _, test in again], strict=True))

    def test__small_cells__are_named_before_anything_is_fitted(self):
        _, y, s = _rows_with_a_small_group(2)
        message = (
            r"2 \(label, group\) cell\(s\) have fewer rows than the 5 folds: "
            r"\(label 0, group 'c'\) has 2, \(label 1, group 'c'\) has 2\. "
            r".*use 2 folds, merge these groups"
        )
        with pytest.raises(ValueError, match=message):
            group_stratified_folds(y, s, 5)
        # Each remedy, on what caused it.
        assert len(group_stratified_folds(y, s, 2)) == 2
        assert len(group_stratified_folds(y, np.where(s == "c", "b", s), 5)) == 5
        assert len(group_stratified_folds(y[s != "c"], s[s != "c"], 5)) == 5

    def test__identifiers__are_refused_by_count(self):
        with pytest.raises(ValueError, match="y has 9000 different values in 9000 rows"):
            group_stratified_folds(range(9000), np.arange(9000) % 2)
        with pytest.raises(ValueError, match="sensitive_features has 9000 different values"):
            group_stratified_folds(np.arange(9000) % 2, range(9000))

    def test__rows_in_another_order__are_an_error(self):
        y, s = pd.Series([0, 1] * 20), pd.Series([0, 0, 1, 1] * 10)
        with pytest.raises(ValueError, match="sensitive_features has the index of y in another"):
            group_stratified_folds(y, s[::-1])
        assert len(group_stratified_folds(y, s[::-1].loc[y.index])) == 3

    def test__criterion__needs_its_own_cells_only(self):
        _, y, s = _rows_with_a_small_group(9)
        y[s == "c"] = [1] * 17 + [0]
        with pytest.raises(ValueError, match=r"\(label 0, group 'c'\) has 1"):
            group_stratified_folds(y, s)
        for constraints in ("demographic_parity", "true_positive_rate_parity"):
            folds = group_stratified_folds(y, s, constraints=constraints, random_state=0)
            for _, test in folds:
                assert set(s[test][y[test] == 1]) == {"a", "b", "c"}
        few = np.arange(200) % 100 == 0
        with pytest.raises(ValueError, match=r"^1 group\(s\) have fewer .*: group 'True' has 2\."):
            group_stratified_folds(y, few, constraints="demographic_parity")
        with pytest.raises(ValueError, match="y has 3 classes: the true positive rate is of two"):
            group_stratified_folds(np.arange(200) % 3, s, constraints="true_positive_rate_parity")

    def test__cells_without_rows__are_named_as_well(self):
        _, y, s = _rows_with_a_small_group(9)
        s[(s == "c") & (y == 1)] = "a"
        with pytest.raises(ValueError, match=r"\(label 1, group 'c'\) has 0\. ") as caught:
            group_stratified_folds(y, s)
        assert "n_splits=0" not in str(caught.value)

    @pytest.mark.parametrize(
        ("changed", "error", "message"),
        [
            ({"n_splits": 1}, ValueError, "n_splits == 1, must be >= 2"),
            ({"constraints": "parity"}, ValueError, "constraints is 'parity': expected one of"),
            ({"n_splits": 2.0}, TypeError, "n_splits must be an instance of int"),
            ({"y": np.zeros(200)}, ValueError, r"y has one value only \('0'\)"),
            ({"sensitive_features": ["a"] * 200}, ValueError, "sensitive_features has one value"),
            ({"y": [0, 1]}, ValueError, "y has 2 rows and sensitive_features has 200"),
            ({"y": np.linspace(0, 1, 200)}, ValueError, "^y holds real numbers such as 0:"),
            ({"sensitive_features": None}, ValueError, "sensitive_features is None"),
        ],
    )
    def test__bad_input__is_named(self, changed, error, message):
        _, y, s = _rows_with_a_small_group(9)
        with pytest.raises(error, match=message):
            group_stratified_folds(**({"y": y, "sensitive_features": s} | changed))
