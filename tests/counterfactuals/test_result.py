"""The result: tables, subsets, images, and decisions on images encoded again."""

import pickle
import re
import warnings
from dataclasses import replace

import numpy as np
import pytest
from sklearn.base import BaseEstimator, clone
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler

from skfairlatent import FairLatentTransformer
from skfairlatent.counterfactuals import CounterfactualExplainer
from skfairlatent.counterfactuals._advice import lost_in_decoding
from skfairlatent.counterfactuals._codec import ImageCodec
from skfairlatent.encoders import DiffAEEncoder, PixelFlattener
from skfairlatent.exceptions import FairLatentWarning


@pytest.fixture(scope="module")
def pictures():
    """Return images, bright on the left by label and on the right by group, and both."""
    rng = np.random.default_rng(0)
    y = rng.integers(2, size=300)
    s = np.where(rng.random(300) < 0.8, y, 1 - y)
    images = rng.integers(60, 100, size=(300, 8, 8, 3)).astype(np.uint8)
    images[:, :, :4] += (60 * y[:, None, None, None]).astype(np.uint8)
    images[:, :, 4:] += (60 * s[:, None, None, None]).astype(np.uint8)
    return images, y, s


@pytest.fixture(scope="module")
def encoder(pictures):
    return make_pipeline(PixelFlattener(), PCA(6, random_state=0)).fit(pictures[0])


@pytest.fixture(scope="module")
def explainer(pictures, encoder):
    images, y, s = pictures
    fair = FairLatentTransformer(encoder, max_iter=60, random_state=0)
    fair.fit(images, y, sensitive_features=s)
    classifier = LogisticRegression().fit(fair.transform(images), y)
    return CounterfactualExplainer(fair, classifier).fit(images, y, sensitive_features=s)


def test__frame__one_row_an_edit(explainer, pictures):
    result = explainer.explain_label(pictures[0][:7], strengths=[-1.0, 0.0, 1.0])
    frame = result.to_frame()
    assert frame.shape == (21, 15)
    assert (frame.groupby("row")["strength"].apply(list).map(tuple) == (-1.0, 0.0, 1.0)).all()
    sums = frame["P(label=0)"] + frame["P(label=1)"]
    assert np.allclose(sums, 1.0)
    assert (frame["changed"] == (frame["prediction"] != frame["prediction_before"])).all()
    still = frame[frame["strength"] == 0.0]
    assert np.allclose(still["P(label=1)"], still["P(label=1) before"])


@pytest.mark.parametrize("rows", [slice(2, 5), np.array([2, 3, 4]), np.arange(7) // 2 == 1, 3])
def test__subset__is_that_of_each_part(explainer, pictures, rows):
    result = explainer.explain_label(pictures[0][:7]).decode()
    expected = np.atleast_1d(np.arange(7)[rows])
    part = result[rows]
    assert len(part) == len(expected)
    assert (part.images == result.images[expected]).all()
    name = next(iter(result.sensitive_values))
    assert (
        part.sensitive_probabilities[name] == result.sensitive_probabilities[name][expected]
    ).all()


def test__images__of_no_edit_are_the_decoded_originals(explainer, pictures):
    result = explainer.explain_label(pictures[0][:5], strengths=[0.0, 2.0]).decode()
    assert result.images.shape == (5, 2, 8, 8, 3)
    assert result.images.dtype == np.uint8
    assert (result.images[:, 0] == result.original_images).all()
    assert (result.images[:, 1] != result.original_images).any()


def test__label_edit__shows_on_the_side_of_the_label(explainer, pictures):
    images = pictures[0][:100]
    edits = explainer.explain_label(images, strengths=[-2.0, 2.0]).decode().images.astype(float)
    change = np.abs(edits[:, 1] - edits[:, 0]).mean(axis=(0, 1, 3))
    assert change[:4].mean() > 1.5 * change[4:].mean()


def test__reencode__tells_what_images_became(explainer, pictures):
    result = explainer.explain_label(pictures[0][:100], target_probability=0.9).decode()
    again = result.reencode()
    # Pixels are rounded and clipped, so that nearly all is kept, not all.
    assert (again.predictions == result.predictions).mean() > 0.9
    assert not np.array_equal(again.latents, result.latents)
    with pytest.raises(ValueError, match=r"call decode\(\) first"):
        explainer.explain_label(pictures[0][:3]).reencode()


def test__encoder_as_first_step__is_found(pictures, encoder):
    images, y, s = pictures
    steps = {
        StandardScaler(): {},
        FairLatentTransformer(None, max_iter=10): {"sensitive_features": s},
    }
    for step, given in steps.items():
        codes = encoder.transform(images)
        latents = step.fit(codes, y, **given).transform(codes)
        model = make_pipeline(encoder, step, LogisticRegression().fit(latents, y))
        explainer = CounterfactualExplainer(model).fit(images, y, sensitive_features=s)
        result = explainer.explain_label(images[:4], strengths=[0.0]).decode()
        expected = encoder.inverse_transform(encoder.transform(images[:4]))
        assert _difference(result.images[:, 0], expected) <= 1


def test__embeddings_only__cannot_be_decoded_without_an_encoder(pipe, faces):
    result = CounterfactualExplainer(pipe).fit(faces[0]).explain_label(faces[0][:3])
    assert result.images is None
    with pytest.raises(TypeError, match=r"CounterfactualExplainer\(model, encoder=...\)"):
        result.decode()


def test__encoder_of_no_images__is_refused(faces):
    X, y, _ = faces
    model, narrow = LogisticRegression().fit(X, y), PCA(12).fit(X)
    result = CounterfactualExplainer(model, encoder=narrow).fit(X).explain_label(X[:3])
    with pytest.raises(
        TypeError, match=r"PCA decodes to arrays of shape \(3, 12\), not to images"
    ):
        result.decode()


def test__embeddings_of_an_encoder__decode_through_it(pictures, encoder):
    images, y, _ = pictures
    codes = encoder.transform(images)
    model = LogisticRegression().fit(codes, y)
    explainer = CounterfactualExplainer(model, encoder=encoder).fit(codes)
    assert explainer.explain_label(codes[:3]).decode().images.shape == (3, 1, 8, 8, 3)


@pytest.mark.parametrize("step", [StandardScaler(), PCA(3, random_state=0)])
@pytest.mark.parametrize("of_images", [True, False])
@pytest.mark.parametrize("is_fair", [True, False])
def test__steps_after_the_encoder__are_undone_before_decoding(
    pictures, encoder, is_fair, of_images, step
):
    """And what they leave out is kept."""
    images, y, s = pictures
    codes = encoder.transform(images)
    steps = [clone(step).fit(codes)]
    if is_fair:
        fair = FairLatentTransformer(None, max_iter=5, random_state=0)
        steps.append(fair.fit(steps[0].transform(codes), y, sensitive_features=s))
    latents = make_pipeline(*steps).transform(codes)
    steps.append(LogisticRegression().fit(latents, y))
    model = make_pipeline(encoder, *steps) if of_images else make_pipeline(*steps)
    X = images if of_images else codes
    explainer = CounterfactualExplainer(model, encoder=encoder).fit(X, y, sensitive_features=s)
    result = explainer.explain_label(X[:4], strengths=[0.0, 1.0]).decode()
    assert _difference(result.images[:, 0], encoder.inverse_transform(codes[:4])) <= 1
    # An edit changes the codes only in directions that the steps let through.
    change = encoder.transform(result.images[:, 1]) - encoder.transform(result.images[:, 0])
    let_through = steps[0].inverse_transform(steps[0].transform(change + codes.mean(axis=0)))
    off = np.linalg.norm(let_through - codes.mean(axis=0) - change, axis=1)
    assert (off < 0.05 * np.linalg.norm(change, axis=1)).all()
    assert np.abs(result.reencode().original_embeddings - result.original_embeddings).max() < 0.2


def test__step_that_cannot_be_undone__is_named(pictures, encoder):
    codes, y = encoder.transform(pictures[0]), pictures[1]
    model = make_pipeline(Normalizer(), LogisticRegression()).fit(codes, y)
    explainer = CounterfactualExplainer(model, encoder=encoder).fit(codes)
    with pytest.raises(TypeError, match="Normalizer, between the encoder and them, has no inv"):
        explainer.explain_label(codes[:2]).decode()


def test__diffae__noise_of_the_originals_brings_them_back():
    encoder = DiffAEEncoder(n_steps=4)
    images = encoder.sample(3, random_state=0)
    codes = encoder.transform(images)
    y = np.array([0, 1, 0])
    model = LogisticRegression().fit(codes, y)
    explainer = CounterfactualExplainer(model, encoder=encoder).fit(codes)
    noise = encoder.invert(images, codes)
    result = explainer.explain_label(codes, strengths=[0.0]).decode(x_T=noise, n_corrections=0)
    expected = encoder.inverse_transform(codes, x_T=noise)
    assert _difference(result.images[:, 0], expected) <= 1
    # Given the images themselves, it is found without being asked for.
    given = CounterfactualExplainer(make_pipeline(encoder, model)).fit(images)
    with pytest.warns(FairLatentWarning, match=r"differ from the given images .* n_steps .*now 4"):
        own = given.explain_label(list(images), strengths=[0.0])[1:3].decode(n_corrections=0)
    assert _difference(own.images, result.images[1:3]) <= 3  # inverted in other batches
    with pytest.raises(ValueError, match="x_T has 2 rows: expected 3"):
        result.decode(x_T=noise[:2])


def test__diffae__in_a_pipeline_of_its_own_keeps_the_noise_of_images():
    encoder = DiffAEEncoder()
    images = encoder.sample(4, random_state=0)
    inner = make_pipeline(encoder, PCA(3)).fit(images)
    y = np.array([0, 1] * 2)
    fair = FairLatentTransformer(inner, n_label_components=1, max_iter=1, random_state=0)
    with pytest.warns(FairLatentWarning):
        fair.fit(images, y)
    model = make_pipeline(fair, LogisticRegression().fit(fair.transform(images), y))
    explainer = CounterfactualExplainer(model).fit(images, y)
    result = explainer.explain_label(images[:2], strengths=[0.0]).decode(n_corrections=0)
    away = np.abs(result.original_images.astype(float) - images[:2]).mean()
    assert away < 2  # of 255 levels; drawn noise gives another face, 20 away


def pickled(value):
    return pickle.loads(pickle.dumps(value))  # noqa: S301 - made here


@pytest.mark.parametrize("is_fair", [True, False])
def test__pickled__they_decode_as_before(explainer, pictures, is_fair):
    images = pictures[0]
    if not is_fair:
        raw = make_pipeline(clone(explainer.model.encoder), LogisticRegression())
        explainer = CounterfactualExplainer(raw.fit(images, pictures[1])).fit(images)
    again = pickled(explainer)
    result = again.explain_label(images[:3])
    expected = explainer.explain_label(images[:3]).decode()
    np.testing.assert_array_equal(result.latents, expected.latents)
    found = pickled(result).decode()
    np.testing.assert_array_equal(found.images, expected.images)


def test__search__stands_for_what_it_found_best(explainer, pictures):
    images, y, s = pictures
    model = make_pipeline(explainer.model, LogisticRegression())
    model[-1].fit(explainer.model.transform(images), y)
    search = GridSearchCV(model, {})
    search.best_estimator_ = model
    found = CounterfactualExplainer(search).fit(images, y, sensitive_features=s)
    expected = CounterfactualExplainer(model).fit(images, y, sensitive_features=s)
    np.testing.assert_array_equal(
        found.explain_label(images[:3]).latents, expected.explain_label(images[:3]).latents
    )


def test__diffae__corrected_images_are_nearer_to_the_edit():
    encoder = DiffAEEncoder("faces64_unsupervised", n_steps=5)
    images = encoder.sample(2, random_state=0)
    codes = encoder.transform(images)
    model = LogisticRegression().fit(codes, [0, 1])
    result = CounterfactualExplainer(model, encoder=encoder).fit(codes).explain_label(codes)
    noise = encoder.invert(images, codes)
    missed = []
    for n_corrections in (0, 1, 2):
        found = result.decode(x_T=noise, n_corrections=n_corrections).reencode().embeddings
        missed.append(np.linalg.norm(found - result.embeddings, axis=2))
    assert (missed[2] < missed[1]).all()
    assert (missed[1] < missed[0]).all()
    assert missed[2].mean() < missed[0].mean() / 2


class Garbling(BaseEstimator):
    """Decodes to images in which it then finds `factor` times what was decoded."""

    def __init__(self, factor):
        self.factor = factor

    def fit(self, X, y=None):  # noqa: ARG002 - scikit-learn's
        return self

    def transform(self, X):
        return (X.reshape(len(X), -1)[:, :12].astype(np.float64) - 128) / 50

    def inverse_transform(self, X):
        levels = (128 + 50 * self.factor * np.asarray(X)).round().clip(0, 255)
        return levels.astype(np.uint8).reshape(-1, 2, 2, 3)

    def __sklearn_is_fitted__(self):
        return True


def missed_by(factor, n_corrections):
    """Return how far what is found in the images of edits is from the edits, shape (8,)."""
    codes, y = np.random.default_rng(0).normal(size=(40, 12)), np.arange(40) % 2
    model = LogisticRegression().fit(codes, y)
    explainer = CounterfactualExplainer(model, encoder=Garbling(factor)).fit(codes)
    result = explainer.explain_label(codes[:8]).decode(n_corrections=n_corrections)
    return np.linalg.norm(result.reencode().embeddings - result.embeddings, axis=2)[:, 0]


def test__corrections__make_up_for_a_decoder_that_understates():
    missed = [missed_by(0.6, n_corrections).mean() for n_corrections in range(4)]
    # Each takes away three fifths; images are whole levels, a fiftieth.
    assert np.all(np.diff(missed) < 0)
    assert missed[2] < 0.3 * missed[0]


def test__corrections__that_lead_away_are_not_taken():
    assert (missed_by(3.0, 2) <= missed_by(3.0, 0)).all()


def understated(factor):
    """Return label edits of twelve rows, decoded to `factor` times what is asked."""
    codes, y = np.random.default_rng(0).normal(size=(40, 12)), np.arange(40) % 2
    model = LogisticRegression().fit(codes, y)
    explainer = CounterfactualExplainer(model, encoder=Garbling(factor)).fit(codes)
    return explainer.explain_label(codes[:12]).decode(n_corrections=0)


@pytest.mark.parametrize("factor", [0.8, 1.0])
def test__shown__is_the_share_of_an_edit_that_the_encoder_finds_in_its_image(factor):
    result = understated(factor)
    assert result.shown.shape == (12, 1)
    assert np.median(result.shown) == pytest.approx(factor, abs=0.1)
    # What was found when decoding is what encoding again finds.
    again = result.reencode()
    found = Garbling(factor).transform(result.images[:, 0])
    np.testing.assert_array_equal(again.embeddings[:, 0], found)


def test__edits_that_show_in_part__are_named_with_a_remedy():
    with pytest.warns(FairLatentWarning, match=r"hold 3\d% of the edits of 'label'.*PCA\(128"):
        result = understated(0.3)
    assert np.median(result.shown) < 0.4


def test__shown__is_nan_where_nothing_was_edited():
    codes, y = np.random.default_rng(0).normal(size=(40, 12)), np.arange(40) % 2
    explainer = CounterfactualExplainer(
        LogisticRegression().fit(codes, y), encoder=Garbling(0.6)
    ).fit(codes)
    result = explainer.explain_label(codes[:3], strengths=[0.0, 2.0]).decode(n_corrections=0)
    assert np.isnan(result.shown[:, 0]).all()
    assert np.isfinite(result.shown[:, 1]).all()


class Mixing(Garbling):
    """Decodes so that what the second code changes shows in the first."""

    def inverse_transform(self, X):
        mixed = np.array(X, dtype=np.float64)
        mixed[:, 0] += self.factor * mixed[:, 1]
        return super().inverse_transform(mixed / self.factor)


@pytest.mark.parametrize("factor", [1e-3, 1.0])
def test__decisions_that_decoding_changes__are_named_after_sensitive_edits(factor):
    rng = np.random.default_rng(0)
    y, s = rng.integers(2, size=(2, 200))
    codes = rng.normal(scale=0.3, size=(200, 12))
    codes[:, 0] += y - 0.5
    codes[:, 1] += s - 0.5
    fair = FairLatentTransformer(
        label_scores=False, max_iter=30, n_blocks=1, hidden_features=8, random_state=0
    )
    classifier = LogisticRegression().fit(fair.fit_transform(codes, y, sensitive_features=s), y)
    explainer = CounterfactualExplainer(fair, classifier, encoder=Mixing(factor))
    edits = explainer.fit(codes, y, sensitive_features=s).explain_sensitive(codes[:60])
    assert not edits.changed.any()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = edits.decode(n_corrections=0)
    is_lossy = result.reencode().changed.mean() > 0.1
    found = [text for text in map(str, (each.message for each in caught)) if "decisions" in text]
    assert is_lossy == (factor == 1.0)
    assert len(found) == is_lossy
    assert all("edits of 'sensitive_feature_0' leave the label block as it is" in t for t in found)


@pytest.mark.parametrize(
    ("encoder", "undo", "remedy"),
    [
        ("faces64", (), r"Use DiffAEEncoder\('faces64_unsupervised'\), and put PCA\(128,"),
        ("faces64", (PCA(),), r"Use DiffAEEncoder\('faces64_unsupervised'\)\.$"),
        ("faces64_unsupervised", (), r"Put PCA\(128"),
        ("faces64_unsupervised", (PCA(),), "Use an encoder whose decoder"),
    ],
)
def test__lost_in_decoding__proposes_what_is_not_in_use_yet(encoder, undo, remedy):
    codec = ImageCodec(DiffAEEncoder(encoder), undo)
    (text,) = lost_in_decoding("sex", np.full(12, 0.2), None, codec)
    assert re.search(remedy, text)
    assert lost_in_decoding("sex", np.full(9, 0.2), np.ones(9, dtype=bool), codec) == []


class Ignoring(Garbling):
    """Decodes everything to one image, or nearly."""

    def inverse_transform(self, X):
        return super().inverse_transform(0.05 * np.asarray(X))


def test__repetitive_counterfactuals__are_named():
    images = np.random.default_rng(0).integers(256, size=(40, 2, 2, 3), dtype=np.uint8)
    y = np.arange(40) % 2
    for encoder, is_repetitive in ((Garbling(1.0), False), (Ignoring(1.0), True)):
        model = make_pipeline(encoder, LogisticRegression()).fit(images, y)
        edits = CounterfactualExplainer(model).fit(images, y).explain_label(images)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            result = edits.decode(n_corrections=0)
        texts = [str(each.message) for each in caught]
        assert (
            any(text.startswith("Repetitive counterfactuals") for text in texts) == is_repetitive
        )
        assert edits.variety > 0.5
        assert len(result) == 40


class OfFloats(Garbling):
    """Takes and decodes images of floats, in whatever range."""

    def transform(self, X):
        return np.asarray(X).reshape(len(X), -1)

    def inverse_transform(self, X):
        return np.asarray(X).reshape(-1, 2, 2, 3)


@pytest.mark.parametrize("lowest", [-1.0, 0.0])
def test__decode__images_of_floats_are_not_taken_for_repetitive(lowest):
    images, y = np.random.default_rng(0).uniform(lowest, size=(40, 2, 2, 3)), np.arange(40) % 2
    model = make_pipeline(OfFloats(1.0), LogisticRegression()).fit(images, y)
    result = CounterfactualExplainer(model).fit(images, y).explain_label(images).decode()
    np.testing.assert_allclose(result.original_images, images)


def test__reencode__encodes_the_images_that_there_are():
    result = understated(1.0)
    darker = replace(result, images=result.images // 2)
    found = Garbling(1.0).transform(darker.images[:, 0])
    np.testing.assert_array_equal(darker.reencode().embeddings[:, 0], found)


def test__corrections__fewer_than_none_are_refused(explainer, pictures):
    with pytest.raises(ValueError, match="n_corrections == -1, must be >= 0"):
        explainer.explain_label(pictures[0][:2]).decode(n_corrections=-1)


def _difference(images, expected):
    """Return the largest difference in levels of 255: kernels round differently by batch."""
    return np.abs(images.astype(int) - expected.astype(int)).max()
