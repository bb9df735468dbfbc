"""Rows that cannot be taken to where they should go are exactly as they were."""

import pickle

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import FixedThresholdClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from skfairlatent.counterfactuals import CounterfactualExplainer
from skfairlatent.encoders import PixelFlattener
from skfairlatent.exceptions import FairLatentWarning


def assert_unreached_are_as_before(result):
    """In every field, bit for bit."""
    still = ~result.reached
    rows = np.nonzero(still)[0]
    assert still.any()
    assert (result.strengths[still] == 0.0).all()
    assert not result.changed[still].any()
    for name in ("latents", "embeddings", "predictions", "probabilities", "images"):
        after = getattr(result, name)
        if after is not None:
            before = getattr(result, f"original_{name}")
            assert after[still].tobytes() == before[rows].tobytes()
    for name, before in result.original_sensitive_probabilities.items():
        after = result.sensitive_probabilities[name]
        assert after[still].tobytes() == before[rows].tobytes()
    frame = result.to_frame()
    left = frame[~frame["reached"]]
    assert (left["prediction"] == left["prediction_before"]).all()
    assert not left["changed"].any()


@pytest.mark.parametrize(
    "classifier",
    [
        LogisticRegression(C=1e-3),
        RandomForestClassifier(5, max_depth=3, random_state=0),
        make_pipeline(StandardScaler(), LogisticRegression(C=1e-3)),
    ],
)
@pytest.mark.parametrize("target_class", [None, 0])
@pytest.mark.parametrize("target_probability", [0.8, 0.9999])
def test__label_edit__leaves_what_it_cannot_take_there(
    fair, faces, classifier, target_class, target_probability
):
    X, y, s = faces
    classifier.fit(fair.transform(X), y)
    explainer = CounterfactualExplainer(fair, classifier).fit(X, y, sensitive_features=s)
    rows = np.vstack((X[:30], 1e6 * X[:1]))
    with pytest.warns(FairLatentWarning, match=r"of 31 rows were not changed"):
        result = explainer.explain_label(
            rows, target_class=target_class, target_probability=target_probability
        )
    assert_unreached_are_as_before(result)
    # The advice of the warning moves them, as far as is asked.
    moved = explainer.explain_label(X[:30], target_class=target_class, strengths=[1, 2, 5])
    assert (moved.strengths == [1.0, 2.0, 5.0])[moved.reached[:, 0]].all()


def test__several_classes__each_row_is_moved_or_as_before(blobs):
    X, y = blobs
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.02)).fit(X, y)
    explainer = CounterfactualExplainer(model).fit(X)
    with pytest.warns(FairLatentWarning, match="were not changed"):
        result = explainer.explain_label(X, target_class="s", target_probability=0.999)
    assert_unreached_are_as_before(result)


@pytest.mark.parametrize("target_value", [None, 1, "each"])
def test__sensitive_edit__leaves_what_it_cannot_take_there(explainer, faces, target_value):
    X, _, _ = faces
    rows = np.vstack((X[:8], 1e6 * X[:1], -1e6 * X[:1]))
    each = np.arange(10) % 2 if target_value == "each" else target_value
    with pytest.warns(FairLatentWarning, match="of 10 rows were not changed"):
        result = explainer.explain_sensitive(
            rows, target_value=each, target_probability=1.0 - 1e-15
        )
    assert_unreached_are_as_before(result)


@pytest.fixture(scope="module")
def of_pictures():
    rng = np.random.default_rng(0)
    images = rng.integers(60, 100, size=(120, 4, 4, 3)).astype(np.uint8)
    y = np.arange(120) % 2
    images[:, :, :2] += (30 * y[:, None, None, None]).astype(np.uint8)
    model = make_pipeline(PixelFlattener(), PCA(4, random_state=0), LogisticRegression(C=1e-4))
    return CounterfactualExplainer(model.fit(images, y)).fit(images), images


def test__images__of_what_is_left_are_the_originals(of_pictures):
    explainer, images = of_pictures
    with pytest.warns(FairLatentWarning, match="were not changed"):
        result = explainer.explain_label(images[:20], target_class=0, target_probability=0.999)
    assert_unreached_are_as_before(result.decode())
    assert_unreached_are_as_before(result.decode().reencode())


def test__strength_zero__is_the_row_bit_for_bit(of_pictures):
    explainer, images = of_pictures
    result = explainer.explain_label(images[:5], strengths=[-1.0, 0.0]).decode().reencode()
    assert (result.images[:, 1] == result.original_images).all()
    assert result.latents[:, 1].tobytes() == result.original_latents.tobytes()
    assert (result.latents[:, 0] != result.original_latents).any()
    assert (result.probabilities[:, 1] == result.original_probabilities).all()


@pytest.mark.filterwarnings("ignore:.*rows were not changed")
@pytest.mark.parametrize(
    "classifier",
    [
        FixedThresholdClassifier(LogisticRegression(), threshold=0.2),
        FixedThresholdClassifier(LogisticRegression(), threshold=0.8),
        FixedThresholdClassifier(SVC(), threshold=0.5, response_method="decision_function"),
    ],
)
def test__other_threshold__edits_go_to_where_the_decision_changes(fair, faces, classifier):
    X, y = faces[0][:300], faces[1][:300]
    Z = fair.transform(X)
    explainer = CounterfactualExplainer(fair, classifier.fit(Z, y))
    if not hasattr(classifier, "predict_proba"):
        with pytest.warns(UserWarning, match="no predict_proba"):
            explainer.fit(X)
    else:
        explainer.fit(X)
    result = explainer.explain_label(X[:40])
    assert (result.changed == result.reached).all()
    assert result.reached.mean() > 0.9
    if hasattr(classifier.estimator_, "coef_"):
        score = classifier.estimator_.decision_function(Z[:40])
        edge = np.log(classifier.threshold / (1 - classifier.threshold))
        nearest = np.abs(score - edge) / np.linalg.norm(classifier.estimator_.coef_)
        assert np.abs(result.strengths[:, 0] - nearest).max() < 0.02
    to_one = explainer.explain_label(X[:40], target_class=explainer.classes_[1])
    assert ((to_one.predictions == explainer.classes_[1]) == to_one.reached).all()
    there = to_one.original_predictions == explainer.classes_[1]
    assert (to_one.strengths[there] == 0.0).all()


def test__reached__is_what_rounding_left_of_it(fair, faces):
    """Far out, the next number of 32 bits is further away than the boundary's margin."""
    X, y, _ = faces
    explainer = CounterfactualExplainer(fair, LogisticRegression().fit(fair.transform(X), y))
    rows = (X[:40] * np.geomspace(1.0, 1e8, 40)[:, None]).astype(np.float32)
    with pytest.warns(FairLatentWarning, match="were not changed"):
        result = explainer.fit(X).explain_label(rows)
    assert (result.changed == result.reached).all()
    assert 0 < result.reached.sum() < 40


def test__explainer__pickled_before_decisions_were_compared_still_explains(explainer, faces):
    older = pickle.loads(pickle.dumps(explainer))  # noqa: S301 - made here
    del older._decides_by_score
    expected = explainer.explain_label(faces[0][:5])
    np.testing.assert_array_equal(older.explain_label(faces[0][:5]).latents, expected.latents)
