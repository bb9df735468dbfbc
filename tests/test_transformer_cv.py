"""The search along a path of lambda_di: what it chooses, what it becomes, and how it resumes."""

import pickle
import re
import sys

import numpy as np
import pandas as pd
import pytest
import sklearn
from scipy.stats import norm
from sklearn.base import clone
from sklearn.ensemble import VotingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import make_scorer
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    GroupShuffleSplit,
    StratifiedGroupKFold,
    StratifiedKFold,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.tree import DecisionTreeClassifier

from skfairlatent import FairLatentTransformer, FairLatentTransformerCV
from skfairlatent._path_fits import LambdaPath
from skfairlatent._transformer_cv import _best_within
from skfairlatent.counterfactuals import CounterfactualExplainer
from skfairlatent.datasets import make_biased_embeddings
from skfairlatent.diagnostics import diagnose
from skfairlatent.exceptions import FairLatentWarning
from skfairlatent.inspection import FairnessAccuracyDisplay
from skfairlatent.metrics import fairness_scorers
from skfairlatent.selection import MostAccurateWithin, pareto_front

QUICK = {
    "encoder": None,
    "max_iter": 8,
    "hidden_features": 8,
    "random_state": 0,
    "device": "cpu",
}


def search(**changed):
    given = {"lambdas_di": [0, 3], "cv": 2, "bound": 1.0}
    return FairLatentTransformerCV(**QUICK | given | changed)


@pytest.fixture(scope="module")
def rows():
    data = make_biased_embeddings(400, n_features=6, random_state=0)
    return data.data, data.target, data.sensitive_features


@pytest.fixture(scope="module")
def fitted(rows):
    X, y, s = rows
    return search().fit(X, y, sensitive_features=s)


def test__fit__is_a_transformer_with_the_value_chosen(rows, fitted):
    X, y, s = rows
    assert fitted.lambda_di_ == fitted.lambdas_di_[fitted.best_index_]
    block = fitted.latent(X)[:, fitted.label_slice_]
    np.testing.assert_allclose(block, fitted.transform(X), atol=1e-5)
    np.testing.assert_array_equal(fitted.embed(X), X)
    np.testing.assert_allclose(fitted.inverse_transform(fitted.latent(X)), X, atol=1e-4)
    assert fitted.get_feature_names_out().tolist() == ["fairlatenttransformercv0"]
    alone = FairLatentTransformer(lambda_di=0.0, **QUICK)
    expected = alone.fit_transform(X, y, sensitive_features=s)
    first = search(lambdas_di=[0]).fit_transform(X, y, sensitive_features=s)
    np.testing.assert_array_equal(first, expected)


def test__cv_results__are_those_of_a_search(fitted):
    results = pd.DataFrame(fitted.cv_results_)
    assert results["param_lambda_di"].tolist() == [0.0, 3.0]
    assert results["params"].tolist() == [{"lambda_di": 0.0}, {"lambda_di": 3.0}]
    for name in fairness_scorers():
        folds = results[[f"split{k}_test_{name}" for k in range(fitted.n_splits_)]]
        np.testing.assert_allclose(results[f"mean_test_{name}"], folds.mean(axis=1))
        assert set(results[f"rank_test_{name}"]) <= {1, 2}
    assert (results["mean_fit_time"] > 0).all()
    assert set(pareto_front(fitted.cv_results_)["params"].map(str)) <= set(
        results["params"].map(str)
    )
    display = FairnessAccuracyDisplay.from_search(fitted)
    assert display.best_index == fitted.best_index_
    assert display.bound == fitted.bound


def test__path__lambda_di_trades(rows):
    """The gap falls along the path, though all but one of its fits are short."""
    X, y, s = rows
    found = search(lambdas_di=[0, 3, 10], max_iter=48, input_noise=0.5, refit="equalized_odds")
    found.fit(X, y, sensitive_features=s)
    gaps = -found.cv_results_["mean_test_equalized_odds"]
    assert gaps[0] > 1.3 * gaps[-1]
    assert found.n_iter_ <= 48 / 8


def test__automatic_path__is_0_and_equal_ratios():
    lambdas = FairLatentTransformerCV(lambdas_di=4)._lambdas()
    np.testing.assert_allclose(lambdas, [0.0, 0.03, np.sqrt(0.03 * 100), 100.0])
    assert len(FairLatentTransformerCV()._lambdas()) == 16


@pytest.mark.parametrize("constraints", ["demographic_parity", "true_positive_rate_parity"])
def test__constraints__are_what_is_scored(rows, constraints):
    X, y, s = rows
    found = search(constraints=constraints).fit(X, y, sensitive_features=s)
    assert found.rule_ == MostAccurateWithin(1.0, fairness=constraints)
    assert pareto_front(found.cv_results_).columns[1] == constraints


def test__refit__names_a_score_or_chooses(rows):
    X, y, s = rows
    fairest = search(refit="equalized_odds").fit(X, y, sensitive_features=s)
    gaps = fairest.cv_results_["mean_test_equalized_odds"]
    assert fairest.best_index_ == np.argmax(gaps)
    last = search(lambdas_di=[1, 3], max_iter=2, refit=lambda results: len(results["params"]) - 1)
    assert last.fit(X, y, sensitive_features=s).lambda_di_ == 3.0


@pytest.mark.parametrize("chosen", [-1, 2, "0", None])
def test__refit__that_chooses_no_value_says_so(rows, chosen):
    X, y, s = rows
    with pytest.raises(ValueError, match=r"refit returned .*from 0 to 1"):
        search(refit=lambda _: chosen).fit(X, y, sensitive_features=s)


def test__scoring__may_be_one_score_and_need_no_groups(rows):
    X, y, s = rows
    tree = DecisionTreeClassifier(max_depth=1, random_state=0)
    found = search(scoring="roc_auc", classifier=tree).fit(X, y, sensitive_features=s)
    assert found.best_index_ == np.argmax(found.cv_results_["mean_test_score"])
    both = search(scoring=["roc_auc", "f1"], refit="f1").fit(X, y, sensitive_features=s)
    assert {"mean_test_roc_auc", "mean_test_f1"} <= set(both.cv_results_)


def test__scoring__may_leave_out_the_balanced_accuracy(rows):
    X, y, s = rows
    scorers = fairness_scorers()
    del scorers["balanced_accuracy"]
    found = search(scoring=scorers).fit(X, y, sensitive_features=s)
    accuracies = found.cv_results_["mean_test_accuracy"]
    assert accuracies[found.best_index_] == accuracies.max()


def test__groups__are_optional_with_the_warning_of_the_transformer(rows):
    X, y, _ = rows
    with pytest.warns(UserWarning, match="sensitive_features was not given") as caught:
        found = search().fit(X, y)
    assert len(caught) == 1
    assert "mean_test_equalized_odds" not in found.cv_results_


@pytest.mark.filterwarnings("ignore:diagnose found")
def test__pipeline__is_traced_by_what_looks_at_a_model(rows):
    X, y, s = rows
    pipe = make_pipeline(search(), LogisticRegression())
    with sklearn.config_context(enable_metadata_routing=True):
        pipe.fit(X, y, sensitive_features=s)
    edits = CounterfactualExplainer(pipe).fit(X, y, sensitive_features=s).explain_label(X[:3])
    assert len(edits.to_frame()) == 3
    assert len(diagnose(pipe, X, y, sensitive_features=s, random_state=0).blocks) == 4


def test__save__writes_the_transformer_chosen(rows, fitted, tmp_path):
    X = rows[0]
    fitted.save(tmp_path / "fair")
    for load in (FairLatentTransformer.load, FairLatentTransformerCV.load):
        back = load(tmp_path / "fair")
        assert type(back) is FairLatentTransformer
        assert back.lambda_di == fitted.lambda_di_
        np.testing.assert_array_equal(back.transform(X), fitted.transform(X))


def test__pickle__and_clone(rows, fitted):
    back = pickle.loads(pickle.dumps(fitted))  # noqa: S301
    np.testing.assert_array_equal(back.transform(rows[0]), fitted.transform(rows[0]))
    assert back.cv_results_.keys() == fitted.cv_results_.keys()
    assert clone(fitted).get_params() == fitted.get_params()


def test__tables__keep_the_names_of_columns(rows):
    X, y, s = rows
    table = pd.DataFrame(X, columns=list("abcdef"))
    found = search(lambdas_di=[1], max_iter=2).fit(table, y, sensitive_features=s)
    assert found.feature_names_in_.tolist() == list("abcdef")
    found.fit(X, y, sensitive_features=s)
    assert not hasattr(found, "feature_names_in_")


class Halves:
    """An encoder that counts the images that it is given."""

    def __init__(self):
        self.n_encoded = 0

    def transform(self, X):
        self.n_encoded += len(X)
        return np.asarray(X, dtype=np.float32).reshape(len(X), -1)[:, :6] / 255


def test__images__are_encoded_once(rows):
    _, y, s = rows
    images = np.random.default_rng(0).integers(256, size=(400, 2, 2, 3), dtype=np.uint8)
    encoder = Halves()
    found = search(encoder=encoder, lambdas_di=[1], max_iter=2).fit(
        images, y, sensitive_features=s
    )
    assert encoder.n_encoded == 400
    assert found.transform(images[:5]).shape == (5, 1)
    with pytest.raises(ValueError, match="y has 2 label columns"):
        found.fit(images, np.c_[y, y], sensitive_features=s)
    assert encoder.n_encoded == 405


class Interrupted(BaseException):
    pass


def test__checkpoint__an_interrupted_search_goes_on(rows, tmp_path, monkeypatch):
    X, y, s = rows
    expected = search(lambdas_di=[0, 1, 3], max_iter=3).fit(X, y, sensitive_features=s)
    model = search(lambdas_di=[0, 1, 3], max_iter=3, checkpoint_dir=tmp_path)
    n_fits = 0
    point = LambdaPath._point

    def fails_in_the_fifth(path, *args):
        nonlocal n_fits
        n_fits += 1
        if n_fits == 5:
            raise Interrupted
        return point(path, *args)

    monkeypatch.setattr(LambdaPath, "_point", fails_in_the_fifth)
    with pytest.raises(Interrupted):
        model.fit(X, y, sensitive_features=s)
    assert not hasattr(model, "cv_results_")
    model.fit(X, y, sensitive_features=s)
    assert n_fits == 2 * 3 + 1 + model.best_index_ + 1
    for name in fairness_scorers():
        np.testing.assert_array_equal(
            model.cv_results_[f"mean_test_{name}"], expected.cv_results_[f"mean_test_{name}"]
        )
    np.testing.assert_array_equal(model.transform(X), expected.transform(X))
    assert not list(tmp_path.iterdir())


def accuracy(model, X, y):
    return float(np.mean(model.predict(X) == y))


def error_rate(model, X, y):
    return -float(np.mean(model.predict(X) != y))


@pytest.mark.parametrize(
    "changed",
    [
        {"scoring": error_rate},
        {"classifier": VotingClassifier([("a", LogisticRegression(C=1e-4))])},
    ],
)
def test__checkpoint__of_another_scorer_or_classifier_is_left_alone(
    rows, tmp_path, monkeypatch, changed
):
    X, y, s = rows
    first = {
        "lambdas_di": [0, 3],
        "max_iter": 3,
        "scoring": accuracy,
        "classifier": VotingClassifier([("a", LogisticRegression())]),
    }
    expected = search(**first | changed).fit(X, y, sensitive_features=s)
    interrupt(search(**first, checkpoint_dir=tmp_path), rows, monkeypatch)
    found = search(**first | changed, checkpoint_dir=tmp_path).fit(X, y, sensitive_features=s)
    for name in ("split0_test_score", "split1_test_score"):
        np.testing.assert_array_equal(found.cv_results_[name], expected.cv_results_[name])


THRESHOLD = 0.5


def chosen(model, X):
    return model.predict_proba(X)[:, 1] > THRESHOLD


def share_chosen(model, X, _):
    return float(np.mean(chosen(model, X)))


class ShareChosen:
    def __call__(self, model, X, _):
        return self.of(chosen(model, X))

    def of(self, is_chosen):
        return float(np.mean(is_chosen))


HERE = sys.modules[__name__]


@pytest.mark.parametrize(
    ("scorer", "where", "name", "value"),
    [
        (share_chosen, HERE, "THRESHOLD", 0.9),
        (share_chosen, HERE, "chosen", lambda model, X: model.predict(X) == 0),
        (ShareChosen(), ShareChosen, "of", lambda _, is_chosen: float(np.sum(is_chosen))),
    ],
    ids=["number", "function", "method"],
)
def test__checkpoint__of_a_scorer_that_calls_other_code_is_left_alone(
    rows, tmp_path, monkeypatch, scorer, where, name, value
):
    X, y, s = rows
    given = {"lambdas_di": [0, 3], "max_iter": 1, "scoring": scorer}
    interrupt(search(**given, checkpoint_dir=tmp_path), rows, monkeypatch)
    monkeypatch.setattr(where, name, value)
    expected = search(**given).fit(X, y, sensitive_features=s)
    found = search(**given, checkpoint_dir=tmp_path).fit(X, y, sensitive_features=s)
    for key in ("split0_test_score", "split1_test_score"):
        np.testing.assert_array_equal(found.cv_results_[key], expected.cv_results_[key])


def distance(model, X, y):
    return -float(np.abs(model.predict(X) - y).mean())


def share_of_b(*_, sensitive_features):
    return float(np.mean(np.asarray(sensitive_features) == "b"))


def far_labels(y, s):
    return np.array([0, 10])[y], s


def renamed_groups(y, s):
    return y, np.array(["b", "c"])[s]


@pytest.mark.parametrize(
    ("score", "renamed"), [(distance, far_labels), (share_of_b, renamed_groups)]
)
def test__checkpoint__of_other_labels_or_groups_with_the_same_codes_is_left_alone(
    rows, tmp_path, monkeypatch, score, renamed
):
    X, (y, s) = rows[0], (np.unique(each, return_inverse=True)[1] for each in rows[1:])
    given = {"lambdas_di": [0, 3], "max_iter": 1, "refit": lambda _: 0, "scoring": score}
    if score is share_of_b:
        with sklearn.config_context(enable_metadata_routing=True):
            given["scoring"] = make_scorer(score).set_score_request(sensitive_features=True)
    interrupt(
        search(**given, checkpoint_dir=tmp_path), (X, y, np.array(["a", "b"])[s]), monkeypatch
    )
    y, s = renamed(y, s)
    expected = search(**given).fit(X, y, sensitive_features=s)
    found = search(**given, checkpoint_dir=tmp_path).fit(X, y, sensitive_features=s)
    for key in ("split0_test_score", "split1_test_score"):
        np.testing.assert_array_equal(found.cv_results_[key], expected.cv_results_[key])


def evaluated(model, X, y):
    return float(eval("np.mean")(model.predict(X) == y))  # noqa: S307


def test__checkpoint__is_not_kept_of_a_scorer_that_cannot_be_followed(rows, tmp_path, monkeypatch):
    given = {"lambdas_di": [0, 3], "max_iter": 1, "scoring": evaluated}
    with pytest.warns(FairLatentWarning, match="what eval gives .* begins anew") as caught:
        interrupt(search(**given, checkpoint_dir=tmp_path), rows, monkeypatch)
    assert len(caught) == 1
    assert not list(tmp_path.iterdir())


def normal_score(model, X, _):
    return float(norm.cdf(model.decision_function(X)).mean())


def test__checkpoint__is_found_though_scorers_draw_from_the_generator_of_the_process(
    rows, tmp_path, monkeypatch
):
    X, y, s = rows
    given = {"lambdas_di": [0, 3], "max_iter": 1, "refit": lambda _: 0, "scoring": normal_score}
    interrupt(search(**given, checkpoint_dir=tmp_path), rows, monkeypatch)
    norm.rvs()  # as another process, it has another state
    fits = count_fits(monkeypatch)
    search(**given, checkpoint_dir=tmp_path).fit(X, y, sensitive_features=s)
    assert len(fits) == 2
    assert not list(tmp_path.iterdir())


def classifier_of(seed):
    """Build anew what holds a function, whose repr says where it lies in memory."""

    def square(Z):
        return Z**2

    tree = DecisionTreeClassifier(max_depth=2, random_state=np.random.RandomState(seed))
    return make_pipeline(FunctionTransformer(square), tree)


@pytest.mark.parametrize(("seed", "n_fits"), [(0, 2), (1, 5)])
def test__checkpoint__is_found_with_a_classifier_that_was_built_anew(
    rows, tmp_path, monkeypatch, seed, n_fits
):
    X, y, s = rows
    given = {"lambdas_di": [0, 3], "max_iter": 1, "refit": lambda _: 0, "checkpoint_dir": tmp_path}
    interrupt(search(**given, classifier=classifier_of(0)), rows, monkeypatch)
    n_left = len(list(tmp_path.iterdir()))
    fits = count_fits(monkeypatch)
    search(**given, classifier=classifier_of(seed)).fit(X, y, sensitive_features=s)
    assert len(fits) == n_fits
    assert len(list(tmp_path.iterdir())) == (0 if seed == 0 else n_left)


def interrupt(model, rows, monkeypatch):
    """Stop a search in its fourth fit, which is the last on a fold."""
    X, y, s = rows
    with monkeypatch.context() as patch:
        count_fits(patch, most=3)
        with pytest.raises(Interrupted):
            model.fit(X, y, sensitive_features=s)


def count_fits(patch, most=None):
    fit, fits = FairLatentTransformer.fit_transform, []

    def counts(self, *args, **given):
        if len(fits) == most:
            raise Interrupted
        fits.append(self)
        return fit(self, *args, **given)

    patch.setattr(FairLatentTransformer, "fit_transform", counts)
    return fits


def test__grid_search__can_be_over_it(rows):
    X, y, s = rows
    pipe = make_pipeline(search(lambdas_di=[1], max_iter=2), LogisticRegression())
    with sklearn.config_context(enable_metadata_routing=True):
        grid = GridSearchCV(pipe, {"fairlatenttransformercv__lambda_g": [0.1, 1.0]}, cv=2)
        grid.fit(X, y, sensitive_features=s)
    assert len(grid.cv_results_["params"]) == 2


def results_of(balanced_accuracy):
    return {
        "mean_test_accuracy": np.array([0.950, 0.951, 0.952]),
        "mean_test_balanced_accuracy": np.array(balanced_accuracy),
        "mean_test_equalized_odds": -np.array([0.1, 0.04, 0.0]),
        "param_lambda_di": np.ma.array([0.1, 1.0, 10.0]),
    }


def test__alike__candidates_are_left_out_unless_all_are():
    rule = MostAccurateWithin(0.05)
    some, all_alike = results_of([0.56, 0.55, 0.501]), results_of([0.5, 0.5, 0.5])
    assert rule(some) == 2
    assert _best_within(rule, some, "equalized_odds", 2) == 1
    assert _best_within(rule, all_alike, "equalized_odds", 2) == 2
    del some["mean_test_balanced_accuracy"]
    assert _best_within(rule, some, "equalized_odds", 2) == 2


def test__alike__is_named_where_nothing_else_is_within_the_bound():
    results = results_of([0.56, 0.55, 0.501])
    with pytest.warns(FairLatentWarning, match=r"as lambda_di=10 does.*lambda_di=1, with .* 0.04"):
        assert _best_within(MostAccurateWithin(0.02), results, "equalized_odds", 2) == 1
    results["mean_test_equalized_odds"][1] = -0.02 - 1e-12  # what rounding adds to the bound
    assert _best_within(MostAccurateWithin(0.02), results, "equalized_odds", 2) == 1  # no warning
    results["mean_test_equalized_odds"][1:] = -0.04, -0.03
    with pytest.warns(FairLatentWarning, match="No candidate has equalized_odds <= 0.02"):
        assert _best_within(MostAccurateWithin(0.02), results, "equalized_odds", 2) == 1


@pytest.mark.parametrize("splitter", [GroupKFold(2), GroupShuffleSplit(2, random_state=0)])
def test__cv__that_needs_groups_is_refused_with_what_works(rows, splitter):
    X, y, s = rows
    groups = np.arange(400) // 4
    with pytest.raises(ValueError, match=r"needs groups.*cv=list\(Group") as caught:
        search(cv=splitter, encoder=Halves()).fit(X, y, sensitive_features=s)
    remedy = re.search(r"as cv=(.*)\.$", str(caught.value))[1]
    folds = eval(remedy)  # noqa: S307 - what the message says to type
    assert not set(groups[folds[0][0]]) & set(groups[folds[0][1]])
    found = search(cv=folds, lambdas_di=[1], max_iter=1).fit(X, y, sensitive_features=s)
    assert found.n_splits_ == 2


class TestBadInput:
    @pytest.fixture(autouse=True)
    def _no_fit(self, monkeypatch):
        def fails(*_, **__):
            pytest.fail("something was fitted")

        monkeypatch.setattr(FairLatentTransformer, "fit_transform", fails)

    @pytest.mark.parametrize(
        ("changed", "message"),
        [
            ({"lambdas_di": 1}, "'lambdas_di' parameter .* must be"),
            ({"lambdas_di": []}, "lambdas_di is .*expected a number of values"),
            ({"lambdas_di": [-1, 1]}, "lambdas_di is .*finite values >= 0"),
            ({"lambdas_di": [[1, 2]]}, "lambdas_di is .*expected a number of values"),
            ({"lambdas_di": ["a"]}, "lambdas_di is .*expected a number of values"),
            ({"lambdas_di": [np.nan]}, "lambdas_di is .*finite values"),
            ({"bound": -0.1}, "'bound' parameter"),
            ({"classifier": 3}, "'classifier' parameter"),
            ({"refit": "recall"}, "refit='recall' needs recall"),
            ({"scoring": ["f1", "roc_auc"]}, "needs 'accuracy' and 'equalized_odds'"),
            ({"scoring": "no such"}, "no such"),
            ({"n_label_components": 6}, "leaves no room"),
            ({"constraints": "parity"}, "'constraints' parameter"),
        ],
    )
    def test__parameters__are_checked_before_any_fit(self, rows, changed, message):
        X, y, s = rows
        with pytest.raises(ValueError, match=message):
            search(**changed).fit(X, y, sensitive_features=s)

    def test__cells_too_small_for_the_folds__are_named_before_any_fit(self, rows):
        X, y, s = rows
        s = np.where(np.arange(400) < 3, "c", s.astype(str))
        with pytest.raises(ValueError, match="have fewer rows than the 3 folds"):
            search(cv=3).fit(X, y, sensitive_features=s)
        with pytest.raises(ValueError, match=r"Fold 2 of 5 has no rows of \(label"):
            search(cv=StratifiedKFold(5)).fit(X, y, sensitive_features=s)

    @pytest.mark.parametrize("name", ["lambda_di", "warm_start", "lambda_other"])
    def test__parameters_that_are_not_its_own(self, name):
        with pytest.raises(TypeError, match=f"FairLatentTransformerCV .*{name}"):
            FairLatentTransformerCV(**{name: 1.0})


def test__fit__warns_of_folds_that_share_people_unless_they_are_folds_by_person(recwarn):
    rng = np.random.default_rng(0)
    people = np.repeat(np.arange(120), 4)
    X, s = rng.normal(size=(120, 6))[people], rng.integers(0, 2, 120)[people]
    y = (X[:, 0] + rng.normal(size=len(X)) > 0).astype(int)
    with pytest.warns(FairLatentWarning, match=r"of the 480 rows that folds score repeat rows"):
        search(lambdas_di=[0, 3], max_iter=1).fit(X, y, sensitive_features=s)
    recwarn.clear()
    by_person = list(StratifiedGroupKFold(3).split(X, 2 * y + s, people))
    search(lambdas_di=[0, 3], max_iter=1, cv=by_person).fit(X, y, sensitive_features=s)
    assert not [each for each in recwarn if "folds" in str(each.message)]
