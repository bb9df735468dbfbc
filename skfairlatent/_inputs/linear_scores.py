"""Linear scores of the label as features of their own, without loss."""

__all__ = ["LinearScores", "linear_scores"]

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from torch import Tensor

from skfairlatent._inputs.additive_model import AdditiveModel
from skfairlatent._inputs.arrays import like
from skfairlatent._inputs.scaling import standardized

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int64]

# A score that differs from those before by less than this share says nothing of its own.
OWN_SHARE = 1e-6


@dataclass(frozen=True)
class LinearScores:
    r"""Turn the features so that the first ones are scores of the label, and turn them back.

    Householder reflections :math:`x \mapsto x - 2 v_i v_i^T x`, one after another, make the first
    features of scores :math:`W^T x`: distances and angles stay what they are, so that a change of
    a score is spread over all features that it depends on.

    Parameters
    ----------
    reflections : ndarray of shape (n_scores, d), float64
        v, of length 1, or 0 where nothing is to be turned.
    mean, scale : ndarray of shape (n_scores,), float64
        Mean and standard deviation of the scores in fit, which standardise them.
    """

    reflections: Floats
    mean: Floats
    scale: Floats

    @property
    def columns(self) -> Codes:
        """Return the columns that hold scores."""
        return np.arange(len(self.mean))

    def forward(self, x: Tensor) -> Tensor:
        """Return standardised rows with the scores in the first columns."""
        turned = _turn(x, self.reflections)
        first = turned[:, : len(self.mean)]
        first.sub_(like(x, self.mean)).div_(like(x, self.scale))
        return turned

    def with_scores(self, x: Tensor, scores: Tensor) -> Tensor:
        """Return the rows with these standardised scores."""
        turned = _turn(x, self.reflections)
        turned[:, : len(self.mean)] = scores
        return turned

    def inverse(self, mapped: Tensor) -> Tensor:
        """Return the rows that `forward` maps to these."""
        x = mapped.clone()
        first = x[:, : len(self.mean)]
        first.mul_(like(x, self.scale)).add_(like(x, self.mean))
        return _turn(x, self.reflections[::-1])


def linear_scores(
    x: Tensor, model: AdditiveModel, cross_fitted: Floats
) -> tuple[LinearScores, Floats]:
    """Return the turn that belongs to a line, and what stands in the place of its scores.

    Parameters
    ----------
    x : Tensor of shape (n_samples, d), float64
        Standardised.
    model : AdditiveModel
        A line.
    cross_fitted : ndarray of shape (n_samples, n_scores), float64
        Scores of the rows, by models that have not seen the row.

    Returns
    -------
    linear_scores : LinearScores
    scores : ndarray of shape (n_samples, n_scores), float64
        Standardised, for `LinearScores.with_scores`.
    """
    reflections, first = _reflections(model.coef)
    # What models that have not seen the row say instead, in the directions of the new features.
    change = cross_fitted - model.scores(x).numpy()
    own = _turn(x, reflections).numpy()[:, : len(reflections)]
    scores = own + change @ np.linalg.pinv(first, rcond=OWN_SHARE)
    scores, mean, scale = standardized(scores)
    return LinearScores(reflections, mean, scale), scores


def _reflections(coef: Floats) -> tuple[Floats, Floats]:
    """Return vectors that turn the scores into the first features, and their weights there.

    The weights make scores of those features: ``x @ coef`` is ``turned[:, :n_scores] @ first``.
    """
    turned = coef.copy()
    n_features, n_scores = coef.shape
    reflections = np.zeros((n_scores, n_features))
    for i in range(n_scores):
        rest = turned[i:, i]
        length = np.linalg.norm(rest)
        if length > OWN_SHARE * np.linalg.norm(turned[:, i]):
            vector = reflections[i, i:]
            vector[:] = rest / length
            vector[0] -= 1.0
            vector /= max(float(np.linalg.norm(vector)), np.finfo(float).tiny)
        turned -= 2.0 * np.outer(reflections[i], reflections[i] @ turned)
    return reflections, turned[:n_scores]


def _turn(x: Tensor, reflections: Floats) -> Tensor:
    turned = x.clone()
    for vector in reflections:
        v = like(x, vector)
        turned.addr_(turned @ v, v, alpha=-2.0)
    return turned
