"""How far an edit went from its original: in the embedding, and as an image."""

__all__ = ["NO_SSIM", "distances", "structural_similarities", "typical_distance"]

import importlib
import math
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.spatial.distance import pdist

from skfairlatent._bootstrap import Floats

# Rows between which distances are taken to find the typical one.
MAX_ROWS = 500
# Side of the Gaussian window of Wang et al., in pixels.
WINDOW = 11
NO_SSIM = "ssim is NaN, because scikit-image is not installed: pip install scikit-image."
TOO_SMALL = f"ssim is NaN, because its window is {WINDOW} pixels wide and the images are smaller."


def distances(original: npt.NDArray[Any], edited: npt.NDArray[Any]) -> Floats:
    """Return the Euclidean distance of each edit, shape (n, k, d), to its original, (n, d)."""
    difference = edited.astype(np.float64) - original[:, None].astype(np.float64)
    return np.asarray(np.linalg.norm(difference, axis=2))


def typical_distance(rows: npt.NDArray[Any]) -> float:
    """Return the median distance between two rows; NaN if there is none above zero."""
    chosen = np.unique(np.linspace(0, len(rows) - 1, MAX_ROWS).round().astype(np.intp))
    between = pdist(rows[chosen].astype(np.float64))
    median = float(np.median(between)) if len(between) else math.nan
    return median if median > 0.0 else math.nan


def structural_similarities(
    original: npt.NDArray[np.uint8], edited: npt.NDArray[np.uint8]
) -> tuple[Floats, str | None]:
    """Return the SSIM of each edit to its original, and why it is NaN if it is.

    With the Gaussian window of Wang, Bovik, Sheikh and Simoncelli, "Image quality assessment:
    from error visibility to structural similarity" (IEEE TIP 2004); the mean over the colours.

    Parameters
    ----------
    original : ndarray of shape (n, H, W, C), uint8
    edited : ndarray of shape (n, k, H, W, C), uint8

    Returns
    -------
    similarities : ndarray of shape (n, k)
        1 for equal images.
    note : str or None
    """
    missing = np.full(edited.shape[:2], np.nan)
    if min(original.shape[1:3]) < WINDOW:
        return missing, TOO_SMALL
    try:
        metrics: Any = importlib.import_module("skimage.metrics")
    except ImportError:
        return missing, NO_SSIM
    found = [
        [
            metrics.structural_similarity(
                before,
                after,
                channel_axis=-1,
                data_range=255,
                gaussian_weights=True,
                sigma=1.5,
                use_sample_covariance=False,
            )
            for after in edits
        ]
        for before, edits in zip(original, edited, strict=True)
    ]
    return np.asarray(found, dtype=np.float64), None
