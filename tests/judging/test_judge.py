"""judge_edits: signs, ratios, intervals, verdicts, and what judges may answer."""

import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity
from sklearn.exceptions import NotFittedError, UndefinedMetricWarning
from sklearn.linear_model import LogisticRegression

from skfairlatent.counterfactuals import Counterfactuals
from skfairlatent.judging import compare_judgements, judge_edits

# Below the window of SSIM, which would take most of the time here.
SIDE = 2
# One grey level, the finest that an image shows.
GREY = 1 / 255
# Intervals of 95 % that hold the truth, out of REPEATS: fewer than this by chance once in 1000.
REPEATS, LEAST_COVERAGE = 120, 0.86


def red(images):
    """Judge of the label: the first class's complement is how red the image is."""
    return images[..., 0].mean(axis=(1, 2)) / 255


def green(images):
    return images[..., 1].mean(axis=(1, 2)) / 255


JUDGES = {"label_judge": red, "sensitive_judge": green}


def pictures(label, group):
    """Return images whose red is the label's probability, whose green is the group's."""
    label, group = np.broadcast_arrays(label, group)
    out = np.zeros((*label.shape, SIDE, SIDE, 3), dtype=np.uint8)
    out[..., 0] = np.rint(255 * label)[..., None, None]
    out[..., 1] = np.rint(255 * group)[..., None, None]
    return out


def two(p):
    return np.stack((1 - np.asarray(p), np.asarray(p)), axis=-1)


def made(label, edited_label, group, edited_group, kind="label", classes=(0, 1)):
    """Return counterfactuals that the judges `red` and `green` see exactly so."""
    label, group = np.asarray(label, dtype=float), np.asarray(group, dtype=float)
    edited_label, edited_group = (
        np.asarray(values, dtype=float).reshape(len(label), -1)
        for values in (edited_label, edited_group)
    )
    n, k = edited_label.shape
    rng = np.random.default_rng(0)
    original = rng.normal(size=(n, 4))
    return Counterfactuals(
        kind=kind,
        name="label" if kind == "label" else "sex",
        strengths=np.ones((n, k)),
        reached=np.ones((n, k), dtype=bool),
        latents=original[:, None] + np.zeros((n, k, 4)),
        embeddings=original[:, None] + np.full((n, k, 4), 0.5),
        original_latents=original,
        original_embeddings=original,
        classes=np.array(classes),
        predictions=(edited_label > 0.5).astype(int),
        original_predictions=(label > 0.5).astype(int),
        probabilities=two(edited_label),
        original_probabilities=two(label),
        sensitive_values={"sex": ["f", "m"]},
        sensitive_probabilities={"sex": two(edited_group)},
        original_sensitive_probabilities={"sex": two(group)},
        images=pictures(edited_label, edited_group),
        original_images=pictures(label, group),
    )


def rows_with_ratio(ratio, n, seed, noise=0.05):
    """Return counterfactuals, up and down, whose groups move by `ratio` times the labels."""
    rng = np.random.default_rng(seed)
    up = rng.integers(2, size=n)
    label = np.where(up, 0.2, 0.8)
    shift = np.where(up, 1, -1) * rng.uniform(0.2, 0.6, size=n)
    group_shift = ratio * shift + rng.normal(0, noise, size=n)
    return made(label, label + shift, np.full(n, 0.5), 0.5 + group_shift)


def test__judge_edits__shifts_are_those_of_the_formula():
    result = made([0.2, 0.8], [[0.4, 0.6], [0.6, 0.4]], [0.4, 0.6], [[0.4, 0.6], [0.6, 0.2]])
    found = judge_edits(result, **JUDGES, random_state=0)
    assert found.direction.tolist() == [[1, 1], [-1, -1]]
    np.testing.assert_allclose(found.label_shift, [[0.2, 0.4], [0.2, 0.4]], atol=GREY)
    np.testing.assert_allclose(found.sensitive_shift, [[0.0, 0.2], [0.0, 0.4]], atol=GREY)
    assert found.ratio.value == pytest.approx(0.6 / 1.2, abs=0.02)
    assert found.mean_label_shift.value == pytest.approx(0.3, abs=GREY)
    assert found.label.flipped.tolist() == [[False, True], [False, True]]
    assert found.sensitive.flipped.tolist() == [[False, True], [False, True]]
    assert (found.label.name, found.sensitive.name) == (1, "m")


def test__judge_edits__rows_edited_down_do_not_cancel_rows_edited_up():
    up = judge_edits(made([0.2] * 3, [0.7] * 3, [0.4] * 3, [0.6] * 3), **JUDGES)
    down = judge_edits(made([0.7] * 3, [0.2] * 3, [0.6] * 3, [0.4] * 3), **JUDGES)
    both = judge_edits(made([0.2, 0.7], [0.7, 0.2], [0.4, 0.6], [0.6, 0.4]), **JUDGES)
    for found in (down, both):
        assert found.mean_label_shift.value == pytest.approx(up.mean_label_shift.value)
        assert found.mean_sensitive_shift.value == pytest.approx(up.mean_sensitive_shift.value)


def test__judge_edits__following_the_other_label_class_turns_the_ratio_round():
    result = rows_with_ratio(0.3, 40, seed=0)
    second = judge_edits(result, **JUDGES, random_state=0)
    first = judge_edits(result, **JUDGES, label_class=0, random_state=0)
    np.testing.assert_allclose(first.label_shift, second.label_shift, atol=1e-12)
    np.testing.assert_allclose(first.sensitive_shift, -second.sensitive_shift, atol=1e-12)
    other = judge_edits(result, **JUDGES, sensitive_class="f", random_state=0)
    assert other.ratio.value == pytest.approx(-second.ratio.value)


@pytest.mark.slow
def test__judge_edits__intervals_cover_the_true_ratio():
    covered = 0
    for seed in range(REPEATS):
        result = rows_with_ratio(0.3, 60, seed)
        found = judge_edits(result, **JUDGES, n_bootstrap=300, random_state=seed).ratio
        covered += found.low <= 0.3 <= found.high
    assert LEAST_COVERAGE <= covered / REPEATS < 1.0


def test__judge_edits__edits_of_a_row_stay_together_in_the_draws():
    few = rows_with_ratio(0.3, 20, seed=1)
    repeated = replace(
        few,
        **{
            name: np.repeat(getattr(few, name), 5, axis=1)
            for name in ("strengths", "reached", "embeddings", "predictions", "probabilities")
        },
        images=np.repeat(few.images, 5, axis=1),
    )
    expected = judge_edits(few, **JUDGES, random_state=0)
    found = judge_edits(repeated, **JUDGES, random_state=0)
    np.testing.assert_allclose(found.ratio, expected.ratio)


def test__judge_edits__same_random_state_same_intervals():
    result = rows_with_ratio(0.3, 30, seed=0)
    first, again, other = (judge_edits(result, **JUDGES, random_state=r) for r in (0, 0, 1))
    assert first.ratio == again.ratio
    assert first.ratio != other.ratio
    assert first.ratio.low < first.ratio.value < first.ratio.high
    narrow = judge_edits(result, **JUDGES, confidence=0.5, random_state=0).ratio
    assert first.ratio.low < narrow.low < narrow.high < first.ratio.high


@pytest.mark.parametrize("after", [0.5, 0.3])
def test__judge_edits__no_label_shift_gives_nan_and_a_warning(after):
    # The explained model sees a rise; the judge sees none, or a fall.
    result = replace(
        made([0.5] * 9, [after] * 9, [0.3] * 9, [0.7] * 9),
        probabilities=two(np.full((9, 1), 0.9)),
    )
    with pytest.warns(UndefinedMetricWarning, match="ratio and its interval are NaN"):
        found = judge_edits(result, **JUDGES, random_state=0)
    assert np.isnan(found.ratio).all()
    assert found.mean_sensitive_shift.value == pytest.approx(0.4, abs=GREY)


def test__judge_edits__a_label_shift_that_may_be_none_gives_no_interval():
    label_shift = np.array([0.4] * 5 + [-0.3] * 4)
    result = replace(
        made([0.5] * 9, 0.5 + label_shift, [0.3] * 9, [0.5] * 9),
        probabilities=two(np.full((9, 1), 0.9)),
    )
    with pytest.warns(UndefinedMetricWarning, match="The interval of the ratio is NaN"):
        found = judge_edits(result, **JUDGES, random_state=0)
    assert np.isfinite(found.ratio.value)
    assert np.isnan(found.ratio[1:]).all()


def test__judge_edits__edits_that_were_not_made_count_as_no_shift():
    result = made([0.2] * 8, [0.6, 0.2] * 4, [0.5] * 8, [0.7, 0.5] * 4)
    found = judge_edits(result, **JUDGES, random_state=0)
    assert found.direction.ravel().tolist() == [1, 0] * 4
    assert found.mean_label_shift.value == pytest.approx(0.2, abs=GREY)
    assert found.ratio.value == pytest.approx(0.5, abs=0.01)


def test__judge_edits__sensitive_edits_divide_by_the_sensitive_shift():
    result = made([0.5, 0.5], [0.54, 0.46], [0.2, 0.8], [0.6, 0.4], kind="sensitive")
    found = judge_edits(result, **JUDGES, random_state=0)
    assert found.direction.tolist() == [[1], [-1]]
    assert found.mean_sensitive_shift.value == pytest.approx(0.4, abs=GREY)
    assert found.ratio.value == pytest.approx(0.04 / 0.4, abs=0.01)
    turned = judge_edits(result, **JUDGES, sensitive_class="f", random_state=0)
    assert turned.ratio.value == pytest.approx(-found.ratio.value)


def test__judge_edits__of_several_classes_follows_edits_about_the_one_named():
    before = np.array([[0.8, 0.1, 0.1], [0.8, 0.1, 0.1], [0.1, 0.1, 0.8]])
    after = np.array([[[0.1, 0.2, 0.7]], [[0.1, 0.7, 0.2]], [[0.2, 0.7, 0.1]]])
    result = replace(
        made([0.2, 0.2, 0.6], [0.6, 0.6, 0.2], [0.5] * 3, [0.6] * 3, classes=("a", "b", "c")),
        probabilities=after,
        original_probabilities=before,
    )
    judges = {
        "label_judge": lambda x: np.column_stack((1 - red(x), 0 * red(x), red(x))),
        "sensitive_judge": green,
        "label_class": "c",
    }
    with pytest.raises(ValueError, match=r"result.classes has 3 classes.*label_class='c'"):
        judge_edits(result, **judges | {"label_class": None})
    few_draws = 1  # which may be of rows that are about other classes only
    found = judge_edits(result, **judges, n_bootstrap=few_draws, random_state=0)
    assert found.direction.ravel().tolist() == [1, 0, -1]


def test__judge_edits__judges_are_matched_by_the_names_of_their_classes(halves):
    result = halves.explainer.explain_label(halves.images[:20]).decode()
    named = judge_edits(result, **halves.judges, random_state=0)
    assert named.sensitive.name == "b"

    class Reversed:
        classes_ = np.array([1, 0])

        def predict_proba(self, images):
            return halves.judges["label_judge"].predict_proba(images)[:, ::-1]

    judges = halves.judges | {"label_judge": Reversed()}
    again = judge_edits(result, **judges, random_state=0)
    np.testing.assert_allclose(again.label_shift, named.label_shift)


@pytest.mark.parametrize(
    "judge",
    [
        lambda x: red(x)[:, None],
        lambda x: two(red(x)),
        lambda x: two(red(x)).tolist(),
        lambda x: two(red(x)).astype(object),
        lambda x: torch.from_numpy(two(red(x)).astype(np.float32)).requires_grad_(),
    ],
)
def test__judge_edits__a_function_may_answer_in_several_forms(judge):
    result = rows_with_ratio(0.3, 10, seed=0)
    expected = judge_edits(result, **JUDGES, random_state=0)
    found = judge_edits(result, label_judge=judge, sensitive_judge=green, random_state=0)
    np.testing.assert_allclose(found.label_shift, expected.label_shift, atol=1e-6)


def test__judge_edits__judges_see_uint8_images_a_bounded_number_at_a_time():
    seen = []

    def judge(images):
        seen.append((images.shape, images.dtype))
        return red(images)

    judge_edits(rows_with_ratio(0.3, 700, seed=0), label_judge=judge, sensitive_judge=green)
    assert all(dtype == np.uint8 for _, dtype in seen)
    assert [shape[0] for shape, _ in seen] == [512, 188, 512, 188]


@pytest.mark.parametrize(
    ("judge", "error", "message"),
    [
        (3, TypeError, "cannot be asked"),
        (LogisticRegression, TypeError, "cannot be asked"),
        (lambda x: 5 * two(red(x)), ValueError, "apply a softmax"),
        (lambda x: np.full(len(x), 2), ValueError, "if predicted classes, pass predict_proba"),
        (lambda x: np.full(len(x), "neutral"), TypeError, r"\['neutral'\].*pass predict_proba"),
        (lambda x: np.full(len(x), "1", dtype=object), TypeError, "pass predict_proba"),
        (lambda _: None, TypeError, "expected probabilities"),
        (lambda x: two(red(x)) * np.nan, ValueError, "label_judge returned NaN for some"),
        (lambda x: two(red(x))[:1], ValueError, "expected probabilities of shape"),
        (lambda x: np.stack([two(red(x))] * 2), ValueError, "expected probabilities of shape"),
        (lambda x: np.eye(3)[np.zeros(len(x), int)], ValueError, "gives 3 probabilities"),
    ],
)
def test__judge_edits__judges_that_cannot_judge_are_refused(judge, error, message):
    result = rows_with_ratio(0.3, 5, seed=0)
    with pytest.raises(error, match=message):
        judge_edits(result, label_judge=judge, sensitive_judge=green)


@pytest.mark.parametrize("as_function", [False, True])
def test__judge_edits__a_classifier_of_flat_rows_is_told_to_flatten(as_function):
    result = rows_with_ratio(0.3, 5, seed=0)
    flat = result.original_images.reshape(5, -1)
    judge = LogisticRegression().fit(flat, [0, 1, 0, 1, 0])
    message = r"label_judge refused images.*make_pipeline\(PixelFlattener\(\), classifier\)"
    with pytest.raises(ValueError, match=message):
        judge_edits(
            result,
            label_judge=judge.predict_proba if as_function else judge,
            sensitive_judge=green,
        )


def test__judge_edits__names_what_is_wrong_with_the_rest():
    result = rows_with_ratio(0.3, 5, seed=0)
    with pytest.raises(ValueError, match=r"result.decode\(\)"):
        judge_edits(replace(result, images=None), **JUDGES)
    with pytest.raises(ValueError, match=r"label_class='x' is not a class of result.classes"):
        judge_edits(result, **JUDGES, label_class="x")
    with pytest.raises(ValueError, match="sensitive_class='x' is not a class of sensitive_judge"):
        judge_edits(result, **JUDGES, sensitive_class="x")
    with pytest.raises(ValueError, match="n_bootstrap=0"):
        judge_edits(result, **JUDGES, n_bootstrap=0)
    with pytest.raises(ValueError, match="confidence=95"):
        judge_edits(result, **JUDGES, confidence=95)
    with pytest.raises(ValueError, match="result has no rows: explain one or more"):
        judge_edits(result[:0], **JUDGES)
    for other in (None, result.original_images):
        with pytest.raises(TypeError, match=r"expected Counterfactuals, as .*\.decode\(\)"):
            judge_edits(other, **JUDGES)
    with pytest.raises(TypeError, match="expected two or more by name"):
        compare_judgements({"a": 1, "b": 2})
    with pytest.raises(NotFittedError, match="label_judge is not fitted yet: fit it first"):
        judge_edits(result, label_judge=LogisticRegression(), sensitive_judge=green)


def test__judge_edits__distance_is_relative_to_that_between_rows():
    result = rows_with_ratio(0.3, 30, seed=0)
    found = judge_edits(result, **JUDGES, random_state=0)
    np.testing.assert_allclose(found.distance, 1.0)  # 0.5 in each of four columns
    scaled = replace(
        result,
        embeddings=10 * result.embeddings,
        original_embeddings=10 * result.original_embeddings,
    )
    again = judge_edits(scaled, **JUDGES, random_state=0)
    np.testing.assert_allclose(again.distance, 10.0)
    np.testing.assert_allclose(again.relative_distance, found.relative_distance)
    swapped = replace(
        result,
        embeddings=np.roll(result.original_embeddings, 1, axis=0)[:, None],
    )
    typical = judge_edits(swapped, **JUDGES, random_state=0).relative_distance
    assert np.median(typical) == pytest.approx(1.0, abs=0.3)


def test__judge_edits__a_single_row_has_no_intervals_and_says_so():
    found = judge_edits(made([0.2], [0.6], [0.5], [0.6]), **JUDGES)
    assert found.ratio.value == pytest.approx(0.25, abs=0.01)
    assert np.isnan(found.ratio[1:]).all()
    assert np.isnan(found.relative_distance).all()
    assert "single row" in found.notes[-1]


def test__judge_edits__ssim_is_that_of_scikit_image(halves):
    result = halves.explainer.explain_label(halves.images[:3], strengths=[0.0, 2.0]).decode()
    found = judge_edits(result, **halves.judges, random_state=0).ssim
    np.testing.assert_allclose(found[:, 0], 1.0)
    expected = structural_similarity(
        result.original_images[1],
        result.images[1, 1],
        channel_axis=-1,
        data_range=255,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
    )
    assert found[1, 1] == pytest.approx(expected)
    assert found[1, 1] < 1.0


def test__judge_edits__without_scikit_image_ssim_is_nan_with_a_note(halves, monkeypatch):
    result = halves.explainer.explain_label(halves.images[:3]).decode()
    monkeypatch.setitem(sys.modules, "skimage.metrics", None)
    found = judge_edits(result, **halves.judges)
    assert np.isnan(found.ssim).all()
    assert "pip install scikit-image" in found.notes[0]


def test__judge_edits__images_too_small_for_ssim_are_noted():
    found = judge_edits(rows_with_ratio(0.3, 5, seed=0), **JUDGES)
    assert np.isnan(found.ssim).all()
    assert "the images are smaller" in found.notes[0]


def test__judge_edits__tables_have_a_row_an_edit_and_one_in_all(halves):
    result = halves.explainer.explain_label(halves.images[:5], strengths=[-2.0, 2.0]).decode()
    found = judge_edits(result, **halves.judges, random_state=0)
    frame, summary = found.to_frame(), found.summary()
    assert len(frame) == 10
    assert frame["row"].tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    np.testing.assert_allclose(
        frame["label_shift"], frame["direction"] * (frame["label_after"] - frame["label_before"])
    )
    assert len(summary) == 1
    assert summary.loc[0, "ratio"] == found.ratio.value
    assert summary.loc[0, "sensitive_shift"] == pytest.approx(frame["sensitive_shift"].mean())
    assert summary.loc[0, "label_flipped"] == pytest.approx(frame["label_flipped"].mean())
    assert summary.loc[0, ["n_rows", "n_edits"]].tolist() == [5, 10]
    assert repr(found).startswith("<EditJudgement of 5 rows, label edits: label_shift +")
