"""Accuracy against fairness: the frontier, the chosen candidate, the bound and the error bars."""

import numpy as np
import pytest
import sklearn
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, RandomizedSearchCV, StratifiedKFold

from skfairlatent.exceptions import UndefinedMetricWarning
from skfairlatent.inspection import FairnessAccuracyDisplay
from skfairlatent.metrics import fairness_scorers
from skfairlatent.selection import MostAccurateWithin, pareto_front

ACCURACY, GAP = [0.9, 0.8, 0.7, 0.75], [0.3, 0.1, 0.0, 0.2]
NAN = float("nan")


@pytest.fixture(scope="module")
def search(data):
    """A search over a plain classifier, scored by every fairness scorer."""
    cells = [
        f"{a} {b}" for a, b in zip(data.target, data.sensitive_features["gender"], strict=True)
    ]
    with sklearn.config_context(enable_metadata_routing=True):
        return GridSearchCV(
            LogisticRegression(max_iter=1000),
            {"C": [1e-4, 1e-3, 1e-2, 1.0]},
            scoring=fairness_scorers(),
            refit=MostAccurateWithin(0.2),
            cv=list(StratifiedKFold(2).split(data.data, cells)),
        ).fit(data.data, data.target, sensitive_features=data.sensitive_features["gender"])


class TestFromSearch:
    def test__from_search__draws_every_candidate(self, search):
        display = FairnessAccuracyDisplay.from_search(search)
        points = np.vstack([dots.get_offsets() for dots in display.ax_.collections[-3:-1]])
        results = search.cv_results_
        expected = np.column_stack(
            (-results["mean_test_equalized_odds"], results["mean_test_accuracy"])
        )
        np.testing.assert_allclose(np.unique(points, axis=0), np.unique(expected, axis=0))
        assert display.front.tolist() == pareto_front(results).index.tolist()

    def test__from_search__marks_and_describes_the_chosen(self, search, texts):
        display = FairnessAccuracyDisplay.from_search(search)
        assert display.best_index == search.best_index_
        chosen = display.ax_.collections[-1].get_offsets()[0]
        best = search.cv_results_["mean_test_accuracy"][search.best_index_]
        assert chosen[1] == pytest.approx(best)
        written = " ".join(texts(display.ax_))
        assert f"chosen: accuracy {best:.3f}" in written
        assert f"C = {search.best_params_['C']:g}" in written
        assert "shaded: within 0.2" in written

    @pytest.mark.parametrize(
        "fairness",
        [name for name in fairness_scorers() if name not in ("accuracy", "balanced_accuracy")],
    )
    def test__from_search__any_fairness_score(self, search, fairness, texts):
        display = FairnessAccuracyDisplay.from_search(search, fairness=fairness)
        values = search.cv_results_[f"mean_test_{fairness}"]
        np.testing.assert_allclose(display.fairness, np.abs(values))
        assert display.greater_is_better == (fairness == "worst_group_accuracy")
        label = display.ax_.get_xlabel()
        assert ("fairer →" in label) == display.greater_is_better
        assert ("← fairer" in label) != display.greater_is_better
        # The bound is one on equalised odds.
        assert ("shaded" in " ".join(texts(display.ax_))) == (fairness == "equalized_odds")

    def test__from_search__other_accuracy_without_a_rule(self, data):
        with sklearn.config_context(enable_metadata_routing=True):
            found = RandomizedSearchCV(
                LogisticRegression(max_iter=1000),
                {"C": [0.1, 1.0]},
                n_iter=2,
                scoring=fairness_scorers(),
                refit=False,
                cv=2,
            ).fit(data.data, data.target, sensitive_features=data.sensitive_features["gender"])
        display = FairnessAccuracyDisplay.from_search(found, accuracy="worst_group_accuracy")
        assert display.best_index is None
        assert display.ax_.get_ylabel() == "worst-group accuracy"

    def test__from_search__error_bars_are_the_spread_over_folds(self, search):
        display = FairnessAccuracyDisplay.from_search(search)
        (bars,) = display.ax_.containers
        horizontal = np.array([line[:, 0] for line in bars[2][0].get_segments()])
        spread = search.cv_results_["std_test_equalized_odds"]
        np.testing.assert_allclose(np.ptp(horizontal, axis=1) / 2, spread)
        plain = FairnessAccuracyDisplay.from_search(search).plot(error_bars=False)
        assert not plain.ax_.containers


class TestFront:
    def test__front__of_gaps(self):
        assert FairnessAccuracyDisplay(ACCURACY, GAP).front.tolist() == [2, 1, 0]

    def test__front__of_scores(self):
        display = FairnessAccuracyDisplay(ACCURACY, 1 - np.array(GAP), greater_is_better=True)
        assert display.front.tolist() == [2, 1, 0]

    @pytest.mark.parametrize("greater_is_better", [False, True])
    def test__plot__the_line_is_the_best_accuracy_within_each_bound(self, greater_is_better):
        rng = np.random.default_rng(0)
        accuracy, fairness = rng.random((2, 30))
        display = FairnessAccuracyDisplay(
            accuracy, fairness, greater_is_better=greater_is_better
        ).plot()
        (line,) = (line for line in display.ax_.lines if line.get_drawstyle() == "steps-post")
        x, y = line.get_data()
        for bound, best in zip(x, y, strict=True):
            allowed = fairness >= bound if greater_is_better else fairness <= bound
            assert best == accuracy[allowed].max()


class TestPlot:
    def test__plot__candidates_without_scores_are_left_out(self, texts):
        display = FairnessAccuracyDisplay([0.9, NAN, 0.7], [0.3, 0.1, NAN], best_index=1).plot()
        assert display.front.tolist() == [0]
        assert "1 candidate (2 without scores left out)" in texts(display.ax_)
        assert "chosen" not in " ".join(texts(display.ax_))

    def test__plot__one_candidate_beyond_the_bound(self, texts):
        display = FairnessAccuracyDisplay([0.8], [0.1], best_index=0, bound=0.2).plot()
        assert "1 candidate" in texts(display.ax_)
        low, high = display.ax_.get_xlim()
        assert low < 0
        assert high > 0.2

    def test__plot__only_parameters_that_vary_are_written(self, texts):
        params = [{"fair__lambda_di": 1 / 3, "fair__n_blocks": 2}, {"fair__lambda_di": 1.0}]
        params[1]["fair__n_blocks"] = 2
        display = FairnessAccuracyDisplay([0.8, 0.7], [0.1, 0.2], params=params, best_index=0)
        written = " ".join(texts(display.plot().ax_))
        assert "lambda_di = 0.3333" in written
        assert "n_blocks" not in written

    def test__plot__many_parameters_and_candidates_stay_legible(self, texts):
        rng = np.random.default_rng(0)
        params = [{f"p{i}": int(j) for i in range(9)} for j in range(60)]
        display = FairnessAccuracyDisplay(
            rng.random(60),
            rng.random(60),
            accuracy_std=np.full(60, 0.1),
            params=params,
            best_index=3,
        ).plot()
        assert "and 5 more" in " ".join(texts(display.ax_))
        (bars,) = display.ax_.containers
        assert len(bars[2][0].get_segments()) <= len(display.front) + 1

    def test__plot__values_of_parameters_may_be_arrays(self, texts):
        params = [{"class_weight": np.array([1, 2])}, {"class_weight": None}]
        display = FairnessAccuracyDisplay([0.8, 0.7], [0.1, 0.2], params=params, best_index=0)
        assert "class_weight = [1 2]" in " ".join(texts(display.plot().ax_))


class TestErrors:
    def test__from_search__not_fitted(self):
        with pytest.raises(ValueError, match="expected a fitted search"):
            FairnessAccuracyDisplay.from_search(GridSearchCV(LogisticRegression(), {"C": [1]}))

    def test__from_search__no_such_score(self, search):
        with pytest.raises(ValueError, match=r"no score 'recall': there is accuracy, bal"):
            FairnessAccuracyDisplay.from_search(search, fairness="recall")

    def test__from_search__scored_by_one_metric(self, data):
        found = GridSearchCV(LogisticRegression(max_iter=1000), {"C": [1.0]}, cv=2)
        found.fit(data.data, data.target)
        with pytest.raises(ValueError, match=r"scoring=fairness_scorers\(\)"):
            FairnessAccuracyDisplay.from_search(found)

    def test__init__lengths_differ(self):
        with pytest.raises(ValueError, match="Lengths differ"):
            FairnessAccuracyDisplay([0.8, 0.7], [0.1])

    @pytest.mark.parametrize("scores", [([NAN], [0.1]), ([0.9, 0.8], [NAN, float("inf")])])
    def test__plot__says_that_scores_are_undefined(self, scores, texts):
        with pytest.warns(UndefinedMetricWarning, match="No candidate has both"):
            display = FairnessAccuracyDisplay(*scores, best_index=0, bound=0.1).plot()
        assert "undefined" in texts(display.ax_)
        assert not len(display.front)

    def test__plot__draws_the_candidates_that_have_scores(self):
        display = FairnessAccuracyDisplay(
            [0.9, NAN, 0.7], [0.2, 0.1, float("inf")], accuracy_std=[float("inf"), 0.1, NAN]
        ).plot()
        assert np.isfinite(display.ax_.get_xlim() + display.ax_.get_ylim()).all()
        display.figure_.draw_without_rendering()
