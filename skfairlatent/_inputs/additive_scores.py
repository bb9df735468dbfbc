"""Additive scores of the label in the place of a few features, without loss."""

__all__ = ["AdditiveScores", "additive_scores"]

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from skfairlatent._inputs.additive_model import AdditiveModel
from skfairlatent._inputs.arrays import like, places
from skfairlatent._inputs.scaling import standardized

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int64]

# By how many of its standard deviations a score changes at least with one of the feature in
# whose place it stands: with less, what is edited would move that feature out of all bounds.
SMALLEST_SLOPE = 0.25
# Edits of a score move the feature in whose place it stands: for one that tells of the label, so
# much of the square of its slope may be lost.
WORTH_OF_SLOPE = 0.2
# Rows on which features are compared.
COMPARED_ROWS = 5000
# A feature of less variance in those rows, where it has about 1 in all, tells nothing there.
SMALLEST_VARIANCE = 1e-9
LAST = 1e9


@dataclass(frozen=True)
class AdditiveScores:
    r"""Replace features by scores that contain them linearly, and bring them back.

    A score is :math:`t = g(x_{rest}) + S^T x_C` for the replaced features C: from t and the other
    features :math:`x_C` follows.

    Parameters
    ----------
    rest : AdditiveModel
        g, which does not look at the replaced features.
    replaced : ndarray of shape (n_scores,), int64
        C, in the place of which the scores stand.
    slopes : ndarray of shape (n_scores, n_scores), float64
        S.
    mean, scale : ndarray of shape (n_scores,), float64
        Mean and standard deviation of the scores in fit, which standardise them.
    """

    rest: AdditiveModel
    replaced: Codes
    slopes: Floats
    mean: Floats
    scale: Floats

    @property
    def columns(self) -> Codes:
        """Return the columns that hold scores."""
        return self.replaced

    def forward(self, x: Tensor) -> Tensor:
        """Return standardised rows with the scores in the place of the replaced features."""
        scores = self.rest.scores(x) + x[:, places(self.replaced)] @ like(x, self.slopes)
        return self.with_scores(x, (scores - like(x, self.mean)) / like(x, self.scale))

    def with_scores(self, x: Tensor, scores: Tensor) -> Tensor:
        """Return the rows with these standardised scores."""
        mapped = x.clone()
        mapped[:, places(self.replaced)] = scores
        return mapped

    def inverse(self, mapped: Tensor) -> Tensor:
        """Return the rows that `forward` maps to these."""
        scores = mapped[:, places(self.replaced)] * like(mapped, self.scale)
        scores = scores + like(mapped, self.mean) - self.rest.scores(mapped)
        x = mapped.clone()
        x[:, places(self.replaced)] = scores @ like(mapped, np.linalg.inv(self.slopes))
        return x


def additive_scores(
    x: Tensor, model: AdditiveModel, cross_fitted: Floats, replaced: Codes | None = None
) -> tuple[AdditiveScores, Floats]:
    """Choose the features that scores replace, and return what stands in their place.

    Parameters
    ----------
    x : Tensor of shape (n_samples, d), float64
        Standardised.
    model : AdditiveModel
    cross_fitted : ndarray of shape (n_samples, n_scores), float64
        Scores of the rows, by models that have not seen the row.
    replaced : ndarray of shape (n_scores,), int64, optional
        The features to replace, if there are as many scores; by default those with which the
        scores lose least.

    Returns
    -------
    additive_scores : AdditiveScores
    scores : ndarray of shape (n_samples, n_scores), float64
        Standardised, for `AdditiveScores.with_scores`.
    """
    slopes, bent = _lines(model, _some(x).numpy())
    _, _, deviation = standardized(cross_fitted)
    if replaced is None or len(replaced) != cross_fitted.shape[1]:
        replaced = _least_lost(slopes / deviation, bent / deviation)
    rest = model.without(replaced)
    matrix = _steep(slopes[replaced], deviation)
    own = [model.of_feature(j).scores(x).numpy() for j in replaced.tolist()]
    scores = cross_fitted - sum(own) + x.numpy()[:, replaced] @ matrix
    scores, mean, scale = standardized(scores)
    return AdditiveScores(rest, replaced, matrix, mean, scale), scores


def _some(x: Tensor) -> Tensor:
    """Return COMPARED_ROWS at most, of all parts: a table may be sorted."""
    if len(x) <= COMPARED_ROWS:
        return x
    generator = torch.Generator().manual_seed(0)
    return x[torch.randperm(len(x), generator=generator)[:COMPARED_ROWS]]


def _lines(model: AdditiveModel, x: Floats) -> tuple[Floats, Floats]:
    """Return slope and remainder of the line through each feature's function, shape (d, k).

    The remainder of a constant feature is such that it is chosen last.
    """
    slopes, bent = np.zeros_like(model.coef), np.full_like(model.coef, LAST)
    centred, rows = x - x.mean(axis=0), torch.from_numpy(x)
    variance = (centred**2).mean(axis=0)
    for j in np.flatnonzero(variance > SMALLEST_VARIANCE).tolist():
        values = model.of_feature(j).scores(rows).numpy()
        values -= values.mean(axis=0)
        slopes[j] = centred[:, j] @ values / (len(x) * variance[j])
        bent[j] = (values - np.outer(centred[:, j], slopes[j])).std(axis=0)
    return slopes, bent


def _least_lost(slopes: Floats, bent: Floats) -> Codes:
    """Return one feature for each score: that of which a line in its place loses least.

    What bends with the feature is lost to all scores, and a line that is too flat is made steeper.
    Both are in standard deviations of the scores.
    """
    flat = np.maximum(SMALLEST_SLOPE - abs(slopes), 0.0)
    lost = flat**2 + (bent**2).sum(axis=1, keepdims=True) - WORTH_OF_SLOPE * slopes**2
    chosen: list[int] = []
    for score in range(slopes.shape[1]):
        lost[chosen] = np.inf
        chosen.append(int(lost[:, score].argmin()))
    return np.array(chosen, dtype=np.int64)


def _steep(slopes: Floats, scale: Floats) -> Floats:
    """Return the slopes with singular values that are large enough to divide by."""
    left, values, right = np.linalg.svd(slopes / scale)
    steep: Floats = (left * np.maximum(values, SMALLEST_SLOPE)) @ right * scale
    return steep
