"""Asking a judge: any classifier of images, or a function, and what it must answer."""

__all__ = ["Answers", "ask", "index_of"]

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sklearn.exceptions import NotFittedError

from skfairlatent._bootstrap import Floats
from skfairlatent._validation.groups import as_text
from skfairlatent.encoders._chunks import map_chunks
from skfairlatent.metrics._group_counts import class_positions

# Images that a judge is shown at a time: few enough for what it computes between.
CHUNK = 512
# Rounding that half precision may add to probabilities.
TOLERANCE = 1e-2


@dataclass(frozen=True)
class Answers:
    """Probabilities that a judge gives to originals and edits.

    Parameters
    ----------
    classes : list
        Classes of the columns.
    original : ndarray of shape (n, n_classes)
        Probabilities before.
    edited : ndarray of shape (n, k, n_classes)
        Probabilities after.
    """

    classes: list[Any]
    original: Floats
    edited: Floats

    @property
    def flipped(self) -> npt.NDArray[np.bool_]:
        """Whether another class is the likeliest after the edit, shape (n, k)."""
        before, after = self.original.argmax(axis=-1), self.edited.argmax(axis=-1)
        return np.asarray(after != before[:, None])


def ask(
    judge: Any,
    original: npt.NDArray[np.uint8],
    edited: npt.NDArray[np.uint8],
    *,
    name: str,
    classes: Sequence[Any] | None,
) -> Answers:
    """Show a judge originals of shape (n, H, W, C) and edits of shape (n, k, H, W, C).

    Parameters
    ----------
    judge : object
        With ``predict_proba``, or a function that returns probabilities.
    original, edited : ndarray, uint8
        The images that it is shown.
    name : str
        Its name in errors.
    classes : sequence or None
        Classes of its columns if it has no ``classes_``; None for 0, 1, ...

    Raises
    ------
    TypeError
        If it cannot be asked, or answers with something other than numbers.
    ValueError
        If it takes no images, or its answers are not probabilities or not of these classes.
    """
    call = _callable_of(judge, name)
    n, k = edited.shape[:2]
    before = _probabilities(call, original, name)
    after = _probabilities(call, edited.reshape(n * k, *edited.shape[2:]), name)
    n_classes = before.shape[1]
    known = getattr(judge, "classes_", classes)
    known = list(range(n_classes)) if known is None else np.asarray(known).tolist()
    if len(known) != n_classes:
        raise ValueError(
            f"{name} gives {n_classes} probabilities an image, and the classes are {known}: give "
            "it an attribute classes_ that names its columns, or one column for each of these."
        )
    return Answers(known, before, after.reshape(n, k, n_classes))


def index_of(wanted: Any, classes: Sequence[Any], *, parameter: str, owner: str) -> int:
    """Return where a class stands among others, as it is or, failing that, as text.

    Parameters
    ----------
    wanted : object
        The class; None for the second of two.
    classes : sequence
        Among which.
    parameter, owner : str
        Parameter that it was given as, and owner of the classes, for errors.
    """
    if wanted is None:
        if len(classes) == 2:
            return 1
        raise ValueError(
            f"{owner} has {len(classes)} classes: say which to follow, as "
            f"{parameter}={classes[-1]!r}."
        )
    at = class_positions([wanted], classes)[0]
    if at < 0:
        at = class_positions([as_text(wanted)], [as_text(known) for known in classes])[0]
    if at >= 0:
        return int(at)
    raise ValueError(
        f"{parameter}={wanted!r} is not a class of {owner}, which knows {list(classes)}: name "
        "one of these, or give a judge of the same classes; of a ClipJudge, they are the keys of "
        "prompts."
    )


def _callable_of(judge: Any, name: str) -> Any:
    call = getattr(judge, "predict_proba", None) if not isinstance(judge, type) else None
    if call is None and callable(judge) and not isinstance(judge, type):
        call = judge
    if call is None:
        raise TypeError(
            f"{name}={judge!r} cannot be asked: give a fitted classifier with predict_proba, or a "
            "function from images, uint8 of shape (n, height, width, channels), to probabilities."
        )
    return call


def _probabilities(call: Any, images: npt.NDArray[np.uint8], name: str) -> Floats:
    return map_chunks(
        len(images),
        CHUNK,
        lambda rows: _checked(_answer(call, images[rows], name), rows.stop - rows.start, name),
        desc=f"asking {name}",
    )


def _answer(call: Any, images: npt.NDArray[np.uint8], name: str) -> Any:
    """Ask, and say what judges are shown where one cannot take it."""
    try:
        return call(images)
    except NotFittedError as error:
        raise NotFittedError(f"{name} is not fitted yet: fit it first. {error}") from error
    except ValueError as error:
        raise ValueError(
            f"{name} refused images, uint8 of shape (n, height, width, channels), here "
            f"{images.shape}: {error} If it takes flat rows, fit and give "
            "make_pipeline(PixelFlattener(), classifier), from skfairlatent.encoders."
        ) from error


def _checked(answer: Any, n_rows: int, name: str) -> Floats:
    """Return an answer as float64 of shape (n_rows, n_classes), or say what is wrong with it."""
    if isinstance(answer, torch.Tensor):
        answer = answer.detach().cpu()
    values = _as_numbers(answer, name)
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim == 1:
        values = np.column_stack((1.0 - values, values))
    if values.ndim != 2 or len(values) != n_rows:
        raise ValueError(
            f"{name} turned {n_rows} images into an array of shape {np.shape(answer)}: expected "
            "probabilities of shape (n_images, n_classes), or (n_images,) of the second of two."
        )
    if np.isnan(values).any():
        raise ValueError(f"{name} returned NaN for some images: expected probabilities.")
    in_range = (values >= -TOLERANCE) & (values <= 1.0 + TOLERANCE)
    if not in_range.all() or not (np.abs(values.sum(axis=1) - 1.0) <= TOLERANCE).all():
        raise ValueError(
            f"{name} returned numbers that are not probabilities (from {values.min():.4g} to "
            f"{values.max():.4g}, rows adding up to {values.sum(axis=1).min():.4g} and more). If "
            "these are logits, apply a softmax over the classes; if predicted classes, pass "
            "predict_proba instead of predict."
        )
    return values


def _as_numbers(answer: Any, name: str) -> Floats:
    values = np.asarray(answer)
    if values.dtype == object:
        values = np.array(values.tolist())  # numbers kept as objects are numbers all the same
    if values.dtype.kind not in "biuf":  # text too that would read as numbers: classes "0", "1"
        raise TypeError(
            f"{name} returned values such as {values.ravel()[:1].tolist()}: expected "
            "probabilities. For a classifier, pass predict_proba or the classifier, not predict."
        )
    return values.astype(np.float64)
