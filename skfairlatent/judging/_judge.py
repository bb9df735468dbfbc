"""Measure edits with independent classifiers."""

__all__ = ["judge_edits"]

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from skfairlatent._bootstrap import (
    MIN_SHIFT,
    Floats,
    Resampling,
    check_bootstrap,
    interval_of,
    ratio_of,
)
from skfairlatent._user_warnings import warn_user
from skfairlatent.exceptions import UndefinedMetricWarning
from skfairlatent.judging._judgement import EditJudgement, Estimate, Verdict
from skfairlatent.judging._probabilities import Answers, ask, index_of
from skfairlatent.judging._realism import distances, structural_similarities, typical_distance

if TYPE_CHECKING:
    from skfairlatent.counterfactuals import Counterfactuals

UNKNOWN = math.nan, math.nan
Pixels = npt.NDArray[np.uint8]

ONE_ROW = "Intervals are NaN, because a single row cannot be resampled."


def judge_edits(  # noqa: PLR0913 - all but the result are keywords
    result: "Counterfactuals",
    *,
    label_judge: Any,
    sensitive_judge: Any,
    label_class: Any = None,
    sensitive_class: Any = None,
    n_bootstrap: int = 2000,
    confidence: float = 0.95,
    random_state: Any = None,
) -> EditJudgement:
    r"""Measure the effect of edits with classifiers that were not involved in training.

    A label edit should change the label and not the sensitive attribute, and a sensitive edit the
    reverse. The edited model cannot show this itself; independently trained image classifiers, or
    CLIP, can.

    Parameters
    ----------
    result : Counterfactuals
        Decoded edits: ``explainer.explain_label(X).decode()``. Pass them without ``reencode``,
        because the probabilities of the edited latents define the intended direction of each edit.

    label_judge, sensitive_judge : classifier or callable
        Fitted classifiers with ``predict_proba``, or functions. They get decoded images, uint8 of
        shape (m, height, width, channels), at most 512 at a time, and return probabilities of
        shape (m, n_classes), or of shape (m,) for the second of two classes. Without ``classes_``
        the columns are those of ``result.classes`` and of the values of the sensitive attribute.

    label_class, sensitive_class : object, default=None
        Classes whose probability is measured; by default the second of two classes. If there are
        more than two label classes, edit towards it: ``explain_label(X, target_class=...)``.

    n_bootstrap : int, default=2000
        Number of bootstrap draws of rows for the intervals.

    confidence : float, default=0.95
        Confidence level of the intervals.

    random_state : int, RandomState instance or None, default=None
        Seed of the draws. Pass an int for reproducible intervals.

    Returns
    -------
    EditJudgement
        Probabilities, shifts, and their means with intervals.

    Raises
    ------
    TypeError
        If a judge is neither a classifier nor callable, or does not return numbers.
    ValueError
        If the edits are not decoded, a class is not known or has to be named, or a judge does not
        accept images or returns numbers that are not probabilities.

    Warns
    -----
    UndefinedMetricWarning
        If the mean intended shift is below 0.01, or its bootstrap draws include such values: the
        ratio or its interval is then NaN.

    See Also
    --------
    ClipJudge : A judge that needs no training.
    compare_judgements : Compares judgements, such as those of the raw and the fair latent.

    Notes
    -----
    Let :math:`p_L` and :math:`p_S` be the probabilities that the judges give `label_class` and
    `sensitive_class`, :math:`x_i` a decoded original and :math:`x_{ij}` its decoded edits. With
    :math:`\sigma_{ij} = 1` if the edit is to raise the probability of the class, and -1 if it is
    to lower it,

    .. math::
        \ell_{ij} = \sigma_{ij} \, (p_L(x_{ij}) - p_L(x_i)), \quad
        s_{ij} = \sigma_{ij} \, (p_S(x_{ij}) - p_S(x_i)), \quad
        \text{ratio} = \frac{\sum_{ij} s_{ij}}{\sum_{ij} \ell_{ij}}

    The label shift is positive if edits do what they ask for. The same sign on the sensitive
    shift keeps rows that were edited up and down from cancelling: if "attractive" drags "female"
    along, it does so both ways. The ratio of a sensitive edit is the inverse,
    :math:`\sum \ell / \sum s`, and :math:`\sigma` that of the sensitive attribute.

    Intervals are percentiles over draws of rows; a row's edits stay together.

    Examples
    --------
    >>> from sklearn.decomposition import PCA
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from skfairlatent.counterfactuals import CounterfactualExplainer
    >>> from skfairlatent.encoders import PixelFlattener
    >>> from skfairlatent.judging import judge_edits
    >>> rng = np.random.default_rng(0)
    >>> y, s = rng.integers(2, size=(2, 300))
    >>> images = rng.integers(60, 100, size=(300, 12, 12, 3))
    >>> images[:, :, :6] += 80 * y[:, None, None, None]  # bright on the left: y = 1
    >>> images[:, :, 6:] += 80 * s[:, None, None, None]  # bright on the right: s = 1
    >>> encoder = make_pipeline(PixelFlattener(), PCA(4, random_state=0)).fit(images)
    >>> model = make_pipeline(encoder, LogisticRegression()).fit(images, y)
    >>> edits = CounterfactualExplainer(model).fit(images, y).explain_label(images).decode()
    >>> label_judge, sensitive_judge = (
    ...     make_pipeline(PixelFlattener(), LogisticRegression(C=0.01)).fit(images, target)
    ...     for target in (y, s)
    ... )
    >>> judgement = judge_edits(
    ...     edits, label_judge=label_judge, sensitive_judge=sensitive_judge, random_state=0
    ... )
    >>> judgement.mean_label_shift.low > 0.2, abs(judgement.ratio.value) < 0.1
    (True, True)
    """
    check_bootstrap(n_bootstrap, confidence)
    images = _images(result)
    label = _label_verdict(result, images, label_judge, label_class)
    sensitive = _sensitive_verdict(result, images, sensitive_judge, sensitive_class)
    direction = _direction(result, label, sensitive)
    resampling = Resampling(n_bootstrap, random_state)
    shifts = [(direction * verdict.change).mean(axis=1) for verdict in (label, sensitive)]
    estimates = _estimates(result.kind, shifts, resampling, confidence)
    distance = distances(result.original_embeddings, result.embeddings)
    ssim, note = structural_similarities(*images)
    return EditJudgement(
        kind=result.kind,
        label=label,
        sensitive=sensitive,
        strengths=result.strengths,
        direction=direction,
        decision_changed=result.changed,
        distance=distance,
        relative_distance=distance / typical_distance(result.original_embeddings),
        ssim=ssim,
        mean_label_shift=estimates[0],
        mean_sensitive_shift=estimates[1],
        ratio=estimates[2],
        confidence=confidence,
        notes=tuple(text for text in (note, ONE_ROW if len(distance) == 1 else None) if text),
    )


def _images(result: "Counterfactuals") -> tuple[Pixels, Pixels]:
    """Return the decoded originals and edits."""
    if not hasattr(result, "original_images"):
        raise TypeError(
            f"result is of type {type(result).__name__}: expected Counterfactuals, as "
            "CounterfactualExplainer(model).fit(X, y).explain_label(X).decode() returns them."
        )
    if not len(result):
        raise ValueError("result has no rows: explain one or more.")
    if result.images is None or result.original_images is None:
        raise ValueError(
            "result has no images to show to judges: pass result.decode(), which needs an encoder "
            "that can decode."
        )
    return result.original_images, result.images


def _label_verdict(
    result: "Counterfactuals", images: tuple[Pixels, Pixels], judge: Any, label_class: Any
) -> Verdict:
    known, parameter = result.classes.tolist(), "label_class"
    wanted = known[index_of(label_class, known, parameter=parameter, owner="result.classes")]
    answers = ask(judge, *images, name="label_judge", classes=known)
    at = index_of(wanted, answers.classes, parameter=parameter, owner="label_judge")
    return _verdict(answers, at, wanted)


def _sensitive_verdict(
    result: "Counterfactuals", images: tuple[Pixels, Pixels], judge: Any, sensitive_class: Any
) -> Verdict:
    name, parameter = "sensitive_judge", "sensitive_class"
    answers = ask(judge, *images, name=name, classes=_sensitive_values(result))
    at = index_of(sensitive_class, answers.classes, parameter=parameter, owner=name)
    return _verdict(answers, at, answers.classes[at])


def _verdict(answers: Answers, at: int, name: Any) -> Verdict:
    return Verdict(name, answers.original[:, at], answers.edited[..., at], answers.flipped)


def _sensitive_values(result: "Counterfactuals") -> list[str] | None:
    """Return the values of the attribute, if there is no doubt which one is meant."""
    known = dict(result.sensitive_values)
    if result.kind == "sensitive":
        return known[result.name]
    return next(iter(known.values())) if len(known) == 1 else None


def _direction(
    result: "Counterfactuals", label: Verdict, sensitive: Verdict
) -> npt.NDArray[np.int8]:
    if result.kind == "label":
        before, after = result.original_probabilities, result.probabilities
        return direction_of(before, after, result.classes.tolist().index(label.name))
    name = result.name
    at = index_of(
        sensitive.name,
        result.sensitive_values[name],
        parameter="sensitive_class",
        owner=f"the sensitive attribute {name!r} of result",
    )
    before = result.original_sensitive_probabilities[name]
    return direction_of(before, result.sensitive_probabilities[name], at)


def _estimates(
    kind: str, shifts: list[Floats], resampling: Resampling, confidence: float
) -> list[Estimate]:
    """Return the means of label and sensitive shift over rows, and the ratio of the two."""
    means = np.column_stack(shifts).mean(axis=0)
    draws = resampling.means(np.column_stack(shifts))
    asked, other = (0, 1) if kind == "label" else (1, 0)
    ratio = float(ratio_of(means[other], means[asked]))
    draws_of_ratio = ratio_of(draws[:, other], draws[:, asked])
    columns = [*zip(means.tolist(), draws.T, strict=True), (ratio, draws_of_ratio)]
    can_resample = len(shifts[0]) > 1
    found = [
        Estimate(value, *(interval_of(drawn, confidence) if can_resample else UNKNOWN))
        for value, drawn in columns
    ]
    _warn_if_undefined(kind, float(means[asked]), found[2], can_resample=can_resample)
    return found


def _warn_if_undefined(kind: str, mean: float, ratio: Estimate, *, can_resample: bool) -> None:
    if math.isnan(ratio.value):
        what = "The ratio and its interval are"
    elif can_resample and math.isnan(ratio.low):
        what = "The interval of the ratio is"
    else:
        return
    message = (
        f"{what} NaN: the mean {kind} shift that the judge sees is {mean:.4f}, and to divide by "
        f"it, it has to be {MIN_SHIFT} or more, in every draw. Make stronger edits, judge more "
        "rows, or check that the judge can distinguish the classes on such images."
    )
    warn_user(message, UndefinedMetricWarning)


def direction_of(
    original: npt.NDArray[Any], edited: npt.NDArray[Any], column: int
) -> npt.NDArray[np.int8]:
    """Return 1 where edits ask for more of a class, -1 for less, 0 where for neither.

    Strengths do not tell: those of smallest edits are lengths, whichever way they go. The edited
    values do: the model that was explained gives the class more, or less, than before. Among
    several classes an edit is about those two that gain and lose most.

    Parameters
    ----------
    original : ndarray of shape (n, c)
        Probabilities that the model which was explained gives the classes, before.
    edited : ndarray of shape (n, k, c)
        And after.
    column : int
        Which class.

    Returns
    -------
    ndarray of shape (n, k), int8
    """
    change = edited - original[:, None]
    gains = (change.argmax(axis=2) == column) & (change[..., column] > 0)
    loses = (change.argmin(axis=2) == column) & (change[..., column] < 0)
    return np.asarray(gains.astype(np.int8) - loses.astype(np.int8))
