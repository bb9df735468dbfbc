"""What limits decoded edits, as text: they look alike, do not show, or decoding adds others."""

__all__ = ["lost_in_decoding", "repetitive", "variety_of"]

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
# Median share of an edit that its image shows, and share of decisions that change though the
# classifier does not see what is edited: between those of the two models that ship, on faces.
SHOWN_SHARE = 0.7
LOST_SHARE = 0.1


def repetitive(images: Array, before: Array) -> list[str]:
    """Find edits that all look alike: images of shape (n, k, ...), and those before, (n, ...)."""
    variety = variety_of(images, before)
    if len(images) < MIN_ROWS or not variety < ALIKE:
        return []
    return [
        f"Repetitive counterfactuals: the decoded edits of {len(images)} rows vary "
        f"{100 * variety:.1g}% as much as the images before, so that all show nearly the same. "
        "The codes hold too little of an image, or the decoder ignores them: use an encoder with "
        "wider codes, or train it for longer."
    ]


def variety_of(edited: Array, original: Array) -> float:
    """Return the variance of edits, shape (n, k, ...), in units of that of rows, (n, ...)."""
    after, before = (rows.astype(np.float64).var(axis=0).mean() for rows in (edited, original))
    return float(after / before) if before > 0 else np.nan


def lost_in_decoding(
    name: str, shown: Array | None, changed: Array | None, codec: ImageCodec
) -> list[str]:
    """Find what decoding loses of edits and of decisions.

    Parameters
    ----------
    name : str
        Attribute that was edited.
    shown : ndarray of shape (n, k) or None
        Share of each edit that its image shows; NaN where nothing was edited.
    changed : ndarray of shape (n, k), bool, or None
        Whether the decision on each image is another, if the classifier does not see what the
        edits move.
    codec : ImageCodec
        What decoded the images.
    """
    found = []
    share = np.nanmedian(shown) if shown is not None and np.isfinite(shown).any() else 1.0
    if shown is not None and len(shown) >= MIN_ROWS and share < SHOWN_SHARE:
        found.append(
            f"Edits show in part: once encoded again, decoded images hold {share:.0%} "
            f"of the edits of {name!r} (median of `shown`). {_remedy(codec)}"
        )
    if changed is not None and len(changed) >= MIN_ROWS and changed.mean() > LOST_SHARE:
        found.append(
            f"Decoding changes decisions: edits of {name!r} leave the label block as it is, and "
            f"yet {changed.mean():.0%} of the decisions change once the images are encoded "
            f"again. The cause is the decoder, not the classifier. {_remedy(codec)}"
        )
    return found


def _remedy(codec: ImageCodec) -> str:
    """Say which encoder or step makes images show more of an edit."""
    weights = getattr(codec.encoder, "weights", None)
    other = f"DiffAEEncoder({SHIPPED_TO_EXPLAIN!r})"
    begin = f"Use {other}" if weights in SHIPPED and weights != SHIPPED_TO_EXPLAIN else ""
    if codec.undo:
        return f"{begin or 'Use an encoder whose decoder keeps more of its codes'}."
    between = "PCA(128, whiten=True) between the encoder and the transformer"
    return f"{begin}, and put {between}." if begin else f"Put {between}."
