"""What limits decoded edits, as text: they look alike, do not show, or decoding adds others."""

__all__ = ["decisions_lost", "hardly_shown", "repetitive", "variety_of"]

from typing import Any

import numpy as np
import numpy.typing as npt

from skfairlatent.counterfactuals._codec import ImageCodec
from skfairlatent.encoders.diffae._model import SHIPPED, SHIPPED_TO_EXPLAIN

Array = npt.NDArray[Any]

# Of fewer rows nothing is said.
MIN_ROWS = 10
# Share of the variance of the images before: with less, edits look alike.
ALIKE = 0.1
# Median share of an edit that its image shows: with less, images say little of it.
SHOWN_SHARE = 0.5
# Share of decisions that change though the classifier does not see what is edited.
LOST_SHARE = 0.05


def repetitive(images: Array, before: Array) -> list[str]:
    """Find edits that all look alike: images of shape (n, k, ...), and those before, (n, ...)."""
    variety = variety_of(images, before)
    if len(images) < MIN_ROWS or not variety < ALIKE:
        return []
    return [
        f"Repetitive counterfactuals: the decoded edits of {len(images)} rows vary {variety:.1%} "
        "as much as the images before, so that all show nearly the same. The codes hold too "
        "little of an image, or the decoder ignores them: use an encoder with wider codes, or "
        "train it for longer."
    ]


def variety_of(edited: Array, original: Array) -> float:
    """Return the variance of edits, shape (n, k, ...), in units of that of rows, (n, ...)."""
    after, before = (rows.astype(np.float64).var(axis=0).mean() for rows in (edited, original))
    return float(after / before) if before > 0 else np.nan


def hardly_shown(name: str, shown: Array, codec: ImageCodec) -> list[str]:
    """Find edits of which decoded images show little, given the share shown of each."""
    known = shown[np.isfinite(shown)]
    if len(known) < MIN_ROWS or not np.median(known) < SHOWN_SHARE:
        return []
    return [
        f"Edits hardly show: once encoded again, decoded images hold {np.median(known):.0%} of "
        f"the edits of {name!r} (median of `shown`), and so they say little of them. "
        f"{_remedy(codec)}"
    ]


def decisions_lost(name: str, changed: Array, codec: ImageCodec) -> list[str]:
    """Find decisions that decoding changes, where edits leave alone what the classifier sees."""
    if len(changed) < MIN_ROWS or not changed.mean() > LOST_SHARE:
        return []
    return [
        f"Decoding changes decisions: edits of {name!r} leave the label block as it is, and yet "
        f"{changed.mean():.0%} of the decisions change once the images are encoded again. The "
        f"cause is the decoder, not the classifier. {_remedy(codec)}"
    ]


def _remedy(codec: ImageCodec) -> str:
    """Say which encoder or step makes images show more of an edit."""
    weights = getattr(codec.encoder, "weights", None)
    other = f"DiffAEEncoder({SHIPPED_TO_EXPLAIN!r})"
    begin = f"Use {other}" if weights in SHIPPED and weights != SHIPPED_TO_EXPLAIN else ""
    if codec.undo:
        return f"{begin or 'Use an encoder whose decoder keeps more of its codes'}."
    between = "PCA(128, whiten=True) between the encoder and the transformer"
    return f"{begin}, and put {between}." if begin else f"Put {between}."
