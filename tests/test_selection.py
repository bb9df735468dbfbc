"""The choice of a candidate by accuracy and fairness, on made-up results and in a search."""

import pickle

import numpy as np
import pytest
import sklearn
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold

from skfairlatent.exceptions import FairLatentWarning
from skfairlatent.metrics import fairness_scorers
from skfairlatent.selection import MostAccurateWithin, pareto_front

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

    def test__copies__are_equal(self):
        refit = MostAccurateWithin(0.1, fairness="demographic_parity")
        assert pickle.loads(pickle.dumps(refit)) == refit  # noqa: S301
        assert clone(refit, safe=False) == refit

    def test__grid_search__refits_the_chosen_candidate(self):
        rng = np.random.default_rng(0)
        s = rng.integers(2, size=240)
        X = rng.normal(size=(240, 2)) + s[:, None] * [0.0, 2.0]
        y = (X.sum(axis=1) + rng.normal(size=240) > 1.0).astype(int)
        cells = 2 * y + s
        with sklearn.config_context(enable_metadata_routing=True):
            search = GridSearchCV(
                LogisticRegression(),
                {"C": [1e-4, 1e-2, 1.0]},
                scoring=fairness_scorers(),
                refit=MostAccurateWithin(0.5),
                cv=list(StratifiedKFold(3).split(cells, cells)),
            )
            search = clone(search).fit(X, y, sensitive_features=s)
        gaps = -search.cv_results_["mean_test_equalized_odds"]
        accuracy = np.where(gaps <= 0.5, search.cv_results_["mean_test_accuracy"], -1.0)
        assert search.best_index_ == accuracy.argmax()
        assert search.best_params_["C"] == search.best_estimator_.C


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


@pytest.mark.parametrize("choose", [MostAccurateWithin(0.1), pareto_front])
class TestErrors:
    def test__unknown_score__names_those_there_are(self, choose):
        results = {"mean_test_accuracy": [0.9], "mean_test_f1": [0.8]}
        with pytest.raises(ValueError, match="no score 'equalized_odds': there is accuracy, f1"):
            choose(results)

    def test__single_metric_search__says_to_use_the_scorers(self, choose):
        with pytest.raises(ValueError, match=r"there is score\. Pass scoring=fairness_scorers"):
            choose({"mean_test_score": [0.9]})

    def test__positive_difference__is_refused(self, choose):
        with pytest.raises(ValueError, match=r"positive for some candidates \(largest 0.3\)"):
            choose(_results([0.9, 0.8], [-0.3, 0.1]))

    def test__all_nan__is_an_error(self, choose):
        with pytest.raises(ValueError, match="No candidate has both 'accuracy' and 'equalized_od"):
            choose(_results([0.9, NAN], [NAN, 0.1]))

    def test__nan_in_some_folds__names_empty_cells_only(self, choose):
        folds = {
            "split0_test_equalized_odds": np.array([NAN, NAN]),
            "split1_test_equalized_odds": np.array([-0.1, -0.2]),
        }
        with pytest.raises(ValueError, match=r"A fold without rows in a \(label") as caught:
            choose(_results([0.9, 0.8], [NAN, NAN]) | folds)
        assert "sensitive_features" not in str(caught.value)

    def test__fairness_nan_in_all_means__names_both_causes(self, choose):
        message = r"got no sensitive_features.*If it got them, a fold without rows"
        with pytest.raises(ValueError, match=message):
            choose(_results([0.9, 0.8], [NAN, NAN]))


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
        pytest.raises(ValueError, match=message),
    ):
        search.fit(X, y)
