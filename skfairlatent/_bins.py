"""The label block cut into cells, so that what any classifier reads from it can be bounded."""

__all__ = ["LabelBins", "as_transformed", "fit_bins"]

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.exceptions import ConvergenceWarning

Floats = npt.NDArray[np.floating]
Codes = npt.NDArray[np.int64]

# Scores closer than this, in standard deviations, may change order with the rounding of float32.
ROUNDING = 1e-5
# Share of the rows that may lie so close to a threshold.
MOST_TIED = 1e-3


@dataclass(frozen=True, eq=False)
class LabelBins:
    """Cells of a label block: a row lies in the cell whose affine score of it is largest.

    Parameters
    ----------
    weights : ndarray of shape (n_bins, width), float64
        Slope of each cell's score.
    offsets : ndarray of shape (n_bins,), float64
        Score of each cell at the origin.
    centroids : ndarray of shape (n_bins, width), float64
        Mean of the training rows of each cell.
    """

    weights: Floats
    offsets: Floats
    centroids: Floats

    def assign(self, Z: Floats) -> Codes:
        """Return the cell of each row, shape (n,), from 0 to n_bins - 1.

        Parameters
        ----------
        Z : ndarray of shape (n, n_columns)
            Label blocks, or latents, which begin with them.
        """
        block = Z[:, : self.weights.shape[1]].astype(np.float64)
        cells: Codes = (block @ self.weights.T + self.offsets).argmax(axis=1)
        return cells

    def apply(self, Z: Floats) -> Floats:
        """Return Z with each row's label block replaced by the centroid of its cell."""
        cut = Z.copy()
        cut[:, : self.weights.shape[1]] = self.centroids[self.assign(Z)]
        return cut


def as_transformed(transformer: Any, Z: Floats) -> Floats:
    """Return label blocks, or latents, as `transform` returns them: cut if there are cells."""
    bins = getattr(transformer, "bins_", None)
    return Z if bins is None else bins.apply(Z)


def fit_bins(block: Floats, label_codes: Codes, n_bins: int, seed: int) -> LabelBins:
    """Cut a label block into at most `n_bins` cells, each with a row at least.

    The rows are projected on the directions that tell the labels apart, by least squares. One
    direction is cut at quantiles, several into the cells of the means that k-means finds.

    Parameters
    ----------
    block : ndarray of shape (n, width)
        Label blocks of the training rows.
    label_codes : ndarray of shape (n, n_label_columns), int64
        Their labels.
    n_bins : int
        At least 2.
    seed : int
        Seed of k-means.

    Returns
    -------
    LabelBins
        With fewer cells where the rows have fewer distinct values.
    """
    block = block.astype(np.float64)
    n_bins = min(n_bins, len(block))
    directions = _label_directions(block, label_codes)
    scores = block @ directions
    if scores.shape[1] == 1:
        thresholds = _thresholds(scores[:, 0], n_bins)
        # The slopes 0, 1, 2, ... make the largest score count the thresholds below a row.
        slopes = np.arange(len(thresholds) + 1.0)[:, None]
        offsets = -np.append(0.0, np.cumsum(thresholds))
    else:
        means = _means(scores, n_bins, seed)
        slopes, offsets = 2.0 * means, -np.square(means).sum(axis=1)
    bins = LabelBins(slopes @ directions.T, offsets, np.zeros((len(offsets), block.shape[1])))
    cells, codes = np.unique(bins.assign(block), return_inverse=True)
    sums = np.zeros((len(cells), block.shape[1]))
    np.add.at(sums, codes, block)
    return LabelBins(bins.weights[cells], bins.offsets[cells], sums / np.bincount(codes)[:, None])


def _thresholds(scores: Floats, n_bins: int) -> Floats:
    """Return increasing thresholds near the quantiles, where few rows lie.

    Many rows may have one score, up to the rounding of their batch: a threshold at that score
    would cut them by their rounding. The nearest gap between scores is cut instead.
    """
    ordered = np.sort(scores)
    ranks = np.arange(1, n_bins) * len(ordered) / n_bins
    quantiles = np.quantile(ordered, np.arange(1, n_bins) / n_bins)
    rounding = ROUNDING * ordered.std()
    first = np.searchsorted(ordered, quantiles - rounding, "left")
    last = np.searchsorted(ordered, quantiles + rounding, "right")
    is_tied = last - first > MOST_TIED * len(ordered)
    gaps = np.flatnonzero(np.diff(ordered) > rounding)
    # Of scores that are all alike there is none, and nothing to cut.
    nearest = [gaps[np.abs(gaps + 1 - rank).argmin()] for rank in ranks[is_tied] if len(gaps)]
    middles = [(ordered[gap] + ordered[gap + 1]) / 2 for gap in nearest]
    return np.unique(np.append(quantiles[~is_tied], middles))


def _label_directions(block: Floats, label_codes: Codes) -> Floats:
    """Return the slopes of the labels' indicators on the block, shape (width, n_directions)."""
    if block.shape[1] == 1:
        return np.ones((1, 1))
    from sklearn.preprocessing import label_binarize  # noqa: PLC0415 - slow to import

    indicators = np.hstack(
        [label_binarize(codes, classes=np.unique(codes)) for codes in label_codes.T]
    )
    slopes, *_ = np.linalg.lstsq(block - block.mean(axis=0), indicators, rcond=None)
    return np.asarray(slopes)


def _means(scores: Floats, n_bins: int, seed: int) -> Floats:
    from sklearn.cluster import KMeans  # noqa: PLC0415 - slow to import, and seldom needed

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer distinct rows than means
        found = KMeans(n_bins, n_init=3, random_state=seed).fit(scores)
    return np.asarray(found.cluster_centers_)
