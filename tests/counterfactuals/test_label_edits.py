"""Label edits: they flip, are the smallest where that can be known, and hold the other block."""

import numpy as np
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LinearRegression, LogisticRegression, RidgeClassifier
from sklearn.multioutput import MultiOutputClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler
from sklearn.svm import SVC, LinearSVC
from sklearn.tree import DecisionTreeClassifier

from skfairlatent import FairLatentTransformer
from skfairlatent.counterfactuals import CounterfactualExplainer
from skfairlatent.exceptions import FairLatentWarning

# Round trip of the flow in float64, and the tolerance that the issue asks for.
ROUND_TRIP = 1e-4
# An edit ends so far beyond the boundary that rounding does not bring it back, in log-odds.
MARGIN = 2e-3
PROBABILITY = 1e-4


def boundary_distance(classifier, rows):
    """Return the distance of rows to the boundary of a linear classifier of two classes."""
    return np.abs(classifier.decision_function(rows)) / np.linalg.norm(classifier.coef_)


def test__smallest_edit__flips_every_decision_of_a_linear_classifier(explainer, faces):
    result = explainer.explain_label(faces[0])
    assert explainer.is_linear_
    assert result.changed.all()
    assert result.reached.all()


def test__smallest_edit__decision_holds_for_the_embedding_given_back(explainer, pipe, faces):
    result = explainer.explain_label(faces[0])
    again = pipe.predict(result.embeddings[:, 0])
    assert (again == result.predictions[:, 0]).all()


def test__smallest_edit__is_the_projection_on_the_boundary(explainer, pipe, faces):
    result = explainer.explain_label(faces[0])
    expected = boundary_distance(pipe[-1], pipe[0].transform(faces[0]))
    beyond = MARGIN / np.linalg.norm(pipe[-1].coef_)
    assert np.abs(result.strengths[:, 0] - expected).max() < beyond


@pytest.mark.parametrize("how", [{}, {"strengths": [-1.0, 2.0]}, {"target_probability": 0.9}])
def test__label_edit__holds_the_sensitive_block(explainer, fair, faces, how):
    result = explainer.explain_label(faces[0][:50], **how)
    block = fair.sensitive_slice_
    assert (result.latents[..., block] == result.original_latents[:, None, block]).all()


def test__strength_zero__gives_the_embedding_back(explainer, faces):
    result = explainer.explain_label(faces[0], strengths=[0.0])
    assert np.abs(result.embeddings[:, 0] - faces[0]).max() < ROUND_TRIP
    assert not result.changed.any()


def test__strengths__move_along_the_unit_normal(explainer, pipe, faces):
    strengths = [-2.0, 0.5, 3.0]
    result = explainer.explain_label(faces[0][:20], strengths=strengths)
    normal = pipe[-1].coef_[0] / np.linalg.norm(pipe[-1].coef_)
    moved = result.latents - result.original_latents[:, None]
    assert np.allclose(moved[..., pipe[0].label_slice_] @ normal, strengths)
    assert np.allclose(np.linalg.norm(moved, axis=2), np.abs(strengths))


def test__strengths__towards_the_first_class_are_the_opposite(explainer, faces):
    ahead = explainer.explain_label(faces[0][:20], strengths=[1.0])
    back = explainer.explain_label(faces[0][:20], strengths=[-1.0], target_class=0)
    assert np.allclose(ahead.latents, back.latents)


@pytest.mark.parametrize("probability", [0.05, 0.5, 0.99])
def test__target_probability__is_met_from_both_sides(explainer, faces, probability):
    result = explainer.explain_label(faces[0], target_class=1, target_probability=probability)
    assert np.abs(result.probabilities[:, 0, 1] - probability).max() < PROBABILITY


def test__target_probability__is_that_of_the_other_class(explainer, faces):
    result = explainer.explain_label(faces[0], target_probability=0.9)
    assert result.changed.all()
    assert np.abs(result.probabilities[:, 0].max(axis=1) - 0.9).max() < PROBABILITY


def test__target_class__leaves_those_who_have_it(explainer, faces):
    result = explainer.explain_label(faces[0], target_class=1)
    there = result.original_predictions == 1
    assert (result.predictions == 1).all()
    assert (result.strengths[there] == 0.0).all()
    assert (result.strengths[~there] > 0.0).all()


@pytest.mark.parametrize(
    "classifier",
    [
        make_pipeline(StandardScaler(), LogisticRegression()),
        RidgeClassifier(),
        LinearSVC(),
        SVC(kernel="linear"),
    ],
    ids=lambda c: type(c).__name__,
)
@pytest.mark.filterwarnings("ignore:.*has no predict_proba")
def test__linear_classifiers__are_recognised_and_flip(faces, fair, classifier):
    X, y, _ = faces
    explainer = CounterfactualExplainer(fair, classifier.fit(fair.transform(X), y)).fit(X)
    assert explainer.is_linear_
    assert explainer.explain_label(X[:300]).changed.all()


@pytest.mark.parametrize(
    "classifier",
    [
        MLPClassifier((16,), max_iter=30, random_state=0),
        HistGradientBoostingClassifier(max_iter=20),
        SVC(),
        make_pipeline(PolynomialFeatures(2), LogisticRegression()),
        KNeighborsClassifier(15),
    ],
    ids=lambda c: type(c).__name__,
)
@pytest.mark.filterwarnings("ignore:.*has no predict_proba", "ignore:Stochastic Optimizer")
def test__other_classifiers__flip_on_a_way_not_far_from_the_shortest(faces, fair, classifier):
    X, y, _ = faces
    Z = fair.transform(X)
    explainer = CounterfactualExplainer(fair, classifier.fit(Z, y)).fit(X)
    result = explainer.explain_label(X[:200])
    assert not explainer.is_linear_
    assert result.changed.all()
    # Few rows have one of another decision much nearer than the edit goes.
    decisions = classifier.predict(Z)
    gaps = np.linalg.norm(Z[None] - Z[:200, None], axis=2)
    gaps[decisions[None] == decisions[:200, None]] = np.inf
    assert np.quantile(result.strengths[:, 0] / gaps.min(axis=1), 0.8) < 1.5


@pytest.mark.parametrize(
    "classifier",
    [
        RandomForestClassifier(20, random_state=0),
        HistGradientBoostingClassifier(max_iter=20),
        DecisionTreeClassifier(max_depth=5, random_state=0),
    ],
    ids=lambda c: type(c).__name__,
)
@pytest.mark.filterwarnings("ignore:.*rows were not changed")
def test__probabilities_in_steps__nobody_ends_below_the_target(faces, fair, classifier):
    X, y, _ = faces
    explainer = CounterfactualExplainer(fair, classifier.fit(fair.transform(X), y)).fit(X)
    result = explainer.explain_label(X[:300], target_class=1, target_probability=0.8)
    above = result.original_probabilities[:, 1] > 0.8
    assert above.sum() >= 10  # both ways are gone
    reached = result.reached[:, 0]
    assert reached[~above].mean() > 0.9
    assert reached[above].mean() > 0.9
    assert (result.probabilities[reached, 0, 1] >= 0.8 - PROBABILITY).all()


@pytest.mark.filterwarnings("ignore:.*has no predict_proba")
def test__calibrated_classifier__reaches_its_own_probability(faces, fair):
    X, y, _ = faces
    Z = fair.transform(X)
    calibrated = CalibratedClassifierCV(FrozenEstimator(LinearSVC().fit(Z, y))).fit(Z, y)
    explainer = CounterfactualExplainer(fair, calibrated).fit(X)
    result = explainer.explain_label(X[:200], target_class=1, target_probability=0.7)
    assert np.abs(calibrated.predict_proba(result.latents[:, 0, :1])[:, 1] - 0.7).max() < 1e-3


def test__several_classes__edit_is_exactly_the_nearest_boundary(blobs):
    X, y = blobs
    classifier = LogisticRegression().fit(X, y)
    result = CounterfactualExplainer(classifier).fit(X).explain_label(X)
    scores = X @ classifier.coef_.T + classifier.intercept_
    own = scores.argmax(axis=1)
    apart = np.linalg.norm(classifier.coef_[own][:, None] - classifier.coef_[None], axis=2)
    with np.errstate(invalid="ignore"):
        distances = (scores.max(axis=1)[:, None] - scores) / apart
    nearest = np.nanmin(distances, axis=1)
    assert result.changed.all()
    assert np.abs(result.strengths[:, 0] - nearest).max() < MARGIN


def test__several_classes__any_can_be_asked_for(blobs):
    X, y = blobs
    explainer = CounterfactualExplainer(LogisticRegression().fit(X, y)).fit(X)
    for name in explainer.classes_:
        assert (explainer.explain_label(X, target_class=name).predictions == name).all()
    sure = explainer.explain_label(X, target_class="n", target_probability=0.8)
    assert np.abs(sure.probabilities[:, 0, 1] - 0.8).max() < PROBABILITY


def test__output_full__label_edits_still_move_the_label_block_only(faces):
    X, y, s = faces
    fair = FairLatentTransformer(output="full", label_scores=False, max_iter=10, random_state=0)
    fair.fit(X, y, sensitive_features=s)
    classifier = LogisticRegression().fit(fair.transform(X), y)
    explainer = CounterfactualExplainer(fair, classifier).fit(X)
    result = explainer.explain_label(X[:100], strengths=[1.0])
    block = fair.sensitive_slice_
    assert (result.latents[..., fair.label_slice_] != result.original_latents[:, None, :1]).all()
    assert (result.latents[..., block] == result.original_latents[:, None, block]).all()


def test__constant_classifier__says_that_nothing_flips(faces, fair):
    X, y, _ = faces
    constant = DummyClassifier(strategy="most_frequent").fit(fair.transform(X), y)
    explainer = CounterfactualExplainer(fair, constant).fit(X)
    with pytest.warns(FairLatentWarning, match="20 of 20 rows were not changed"):
        result = explainer.explain_label(X[:20])
    assert not result.reached.any()
    assert (result.latents[:, 0] == result.original_latents).all()


def test__uncalibrated__is_said(faces, fair):
    X, y, _ = faces
    classifier = LinearSVC().fit(fair.transform(X), y)
    with pytest.warns(UserWarning, match="LinearSVC has no predict_proba"):
        CounterfactualExplainer(fair, classifier).fit(X)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"strengths": [1.0], "target_probability": 0.5}, "not both"),
        ({"strengths": []}, "expected a list of finite numbers"),
        ({"strengths": [np.nan]}, "expected a list of finite numbers"),
        ({"target_probability": 1.0}, r"expected one number within \(0, 1\)"),
        ({"target_probability": 0}, r"target_probability=0: expected one number"),
        ({"target_probability": np.nan}, r"target_probability=nan: expected one number"),
        ({"target_probability": "0.9"}, r"target_probability='0.9': expected one number"),
        ({"target_probability": [0.5, 0.6, 0.7]}, r"=\[0.5, 0.6, 0.7\]: expected one number"),
        ({"strengths": ["1"]}, "expected a list of finite numbers"),
        ({"strengths": [[1], [1, 2]]}, "expected a list of finite numbers"),
        ({"strengths": "a"}, "expected a list of finite numbers"),
        ({"target_class": "maybe"}, r"not a class of the label: expected one of \[0, 1\]"),
        ({"target_class": [1, 0, 1]}, r"expected one of \[0, 1\], for all rows"),
    ],
)
def test__bad_requests__are_named(explainer, faces, how, message):
    with pytest.raises(ValueError, match=message):
        explainer.explain_label(faces[0][:3], **how)


def test__bad_models__are_named(faces, fair):
    X, y, _ = faces
    with pytest.raises(TypeError, match=r"There is no classifier.*FairLatentTransformer"):
        CounterfactualExplainer(fair).fit(X)
    several = MultiOutputClassifier(LogisticRegression()).fit(fair.transform(X), np.c_[y, 1 - y])
    with pytest.raises(TypeError, match="several labels one at a time"):
        CounterfactualExplainer(fair, several).fit(X)
    pairs = SVC(decision_function_shape="ovo")
    pairs.fit(fair.transform(X), np.arange(len(y)) % 4)
    with (
        pytest.warns(UserWarning, match="no predict_proba"),
        pytest.raises(TypeError, match="decision_function_shape='ovr'"),
    ):
        CounterfactualExplainer(fair, pairs).fit(X)
    with pytest.raises(TypeError, match="LinearRegression is a regressor, and has no decisions"):
        CounterfactualExplainer(fair, LinearRegression().fit(fair.transform(X), y)).fit(X)
    with pytest.raises(TypeError, match="FairLatentTransformer is a class: give a fitted inst"):
        CounterfactualExplainer(FairLatentTransformer).fit(X)
    with pytest.raises(ValueError, match="sensitive_direction='up'"):
        CounterfactualExplainer(
            fair, LogisticRegression().fit(fair.transform(X), y), sensitive_direction="up"
        ).fit(X)


def test__classifier_of_other_columns__is_refused(faces):
    X, y, _ = faces
    narrow = LogisticRegression().fit(X[:, 5:8], y)
    with pytest.raises(
        ValueError, match="X has 12 features, but LogisticRegression is expecting 3"
    ):
        CounterfactualExplainer(narrow).fit(X)


@pytest.mark.parametrize("other", [lambda y: np.where(y == 1, "a", "b"), lambda y: y + 1, np.sqrt])
def test__labels_of_another_column__are_refused(pipe, faces, other):
    X, y, s = faces
    labels = other(np.where(y == 1, 0.5, 0.0)) if other is np.sqrt else other(np.asarray(y))
    with pytest.raises(ValueError, match=r"not a class of the classifier: .* \[0, 1\]"):
        CounterfactualExplainer(pipe).fit(X, labels, sensitive_features=s)


def test__labels_of_another_type__are_the_same(pipe, faces):
    X, y, s = faces
    one, other = (
        CounterfactualExplainer(pipe).fit(X, labels, sensitive_features=s).explain_sensitive(X[:5])
        for labels in (y, np.asarray(y).astype(bool))
    )
    np.testing.assert_array_equal(one.latents, other.latents)
