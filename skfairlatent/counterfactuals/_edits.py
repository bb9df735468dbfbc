"""The goals of edits, and the edits that reach them."""

__all__ = [
    "SURROGATE_ROWS",
    "Edits",
    "Start",
    "check_request",
    "label_terrain",
    "line_edits",
    "log_odds",
    "single_edits",
    "spread",
]

from collections.abc import Sequence
from numbers import Real
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import logit

from skfairlatent.counterfactuals._scores import Floats, Scores, as_affine, fit_affine
from skfairlatent.counterfactuals._search import REACH, Terrain, unit_rows
from skfairlatent.metrics._group_counts import class_positions

Flags = npt.NDArray[np.bool_]

# A classifier that is not linear is imitated on so many rows.
SURROGATE_ROWS = 5000

_IF_FLAT = "nothing changes around them, so that no direction leads towards the class or value"
_IF_FAR = (
    f"no suitable edit was found that is shorter than {REACH:g} times the typical distance of a "
    "row from the mean. To see the effect of edits of given lengths, pass strengths=[1, 2, 5]"
)


class Start(NamedTuple):
    """Rows to be edited.

    ``rows``, of shape (n, width), are the columns of the latents that decide; ``given`` is X.
    """

    embeddings: npt.NDArray[Any]
    latents: npt.NDArray[Any]
    rows: Floats
    given: Any


class Edits(NamedTuple):
    """Moves of shape (n, k, width), whether they do what was asked for, and their lengths.

    Those of length 0 move nothing. ``if_unreached`` says why some may not be made.
    """

    moves: Floats
    reached: Flags
    strengths: Floats
    if_unreached: str


def line_edits(towards: Floats, strengths: Sequence[float]) -> Edits:
    """Return moves in one direction of each row by several lengths."""
    lengths = np.asarray(strengths, dtype=np.float64)
    moves = lengths[None, :, None] * unit_rows(towards)[:, None, :]
    reached = np.repeat(towards.any(axis=1, keepdims=True), len(lengths), axis=1)
    return Edits(moves, reached, np.where(reached, lengths, 0.0), _IF_FLAT)


def single_edits(moves: Floats, reached: Flags) -> Edits:
    """Return one move of each row, of length zero where it would not do what was asked for."""
    moves = np.where(reached[:, None], moves, 0.0)
    lengths = np.linalg.norm(moves, axis=1)[:, None]
    return Edits(moves[:, None], reached[:, None], lengths, _IF_FAR)


def label_terrain(scores: Scores, rows: Floats, width: int) -> Terrain:
    """Return what label edits move over: the classifier, as simple as it is."""
    scale = spread(rows[:, :width])
    affine = as_affine(scores, rows)
    if affine is not None:
        return Terrain(affine, width, scale)
    some = rows[:SURROGATE_ROWS]
    codes = class_positions(scores.predict(some), scores.classes)
    constant = len(np.unique(codes)) < 2  # then nothing shows where another decision begins
    imitation = None if constant else fit_affine(some, codes, len(scores.classes))
    return Terrain(scores, width, scale, imitation)


def spread(rows: Floats) -> Floats:
    return np.asarray(np.maximum(rows.std(axis=0), np.finfo(np.float64).eps))


def check_request(strengths: Any, target_probability: float | None) -> None:
    if strengths is not None:
        if target_probability is not None:
            raise ValueError("Give strengths or target_probability, not both.")
        try:
            lengths = np.asarray(strengths)
        except ValueError:
            lengths = np.array(np.nan)
        are_numbers = lengths.dtype.kind in "iuf" and np.isfinite(lengths).all()
        if lengths.ndim != 1 or not len(lengths) or not are_numbers:
            raise ValueError(
                f"strengths={strengths!r}: expected a list of finite numbers, such as [-1, 0, 1]."
            )
    elif target_probability is not None and not (
        isinstance(target_probability, Real) and 0.0 < float(target_probability) < 1.0
    ):
        raise ValueError(
            f"target_probability={target_probability!r}: expected one number within (0, 1), for "
            "all rows."
        )


def log_odds(probability: float | None) -> float | None:
    return None if probability is None else float(logit(probability))
