"""Scores of the label in the place of a few features, without loss."""

__all__ = ["LabelScores", "fit_label_scores", "wants_label_scores"]

from dataclasses import dataclass
from functools import reduce

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from skfairlatent._device import single_thread
from skfairlatent._inputs.additive_model import FEWEST_OF_A_CLASS, AdditiveModel, cross_fit
from skfairlatent._validation.annotations import Annotations

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int64]

# Where "auto" takes scores: wide embeddings are linear already, and few rows say little.
MOST_FEATURES, FEWEST_SAMPLES = 256, 500
# By how many of its standard deviations a score changes at least with one of the feature in
# whose place it stands: with less, what is edited would move that feature out of all bounds.
SMALLEST_SLOPE = 0.25
# Numbers that are worth a second thread.
FEWEST_FOR_THREADS = 1_000_000
# Rows on which features are compared.
COMPARED_ROWS = 5000
# A feature of less variance in those rows, where it has about 1 in all, tells nothing there.
SMALLEST_VARIANCE = 1e-9


@dataclass(frozen=True)
class LabelScores:
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

    def forward(self, x: Tensor) -> Tensor:
        """Return standardised rows with the scores in the place of the replaced features."""
        scores = self.rest.scores(x) + x[:, self._places] @ self._like(x, self.slopes)
        return self.with_scores(x, (scores - self._like(x, self.mean)) / self._like(x, self.scale))

    def with_scores(self, x: Tensor, scores: Tensor) -> Tensor:
        """Return the rows with these standardised scores."""
        mapped = x.clone()
        mapped[:, self._places] = scores
        return mapped

    def inverse(self, mapped: Tensor) -> Tensor:
        """Return the rows that `forward` maps to these."""
        scores = mapped[:, self._places] * self._like(mapped, self.scale)
        scores = scores + self._like(mapped, self.mean) - self.rest.scores(mapped)
        x = mapped.clone()
        x[:, self._places] = scores @ self._like(mapped, np.linalg.inv(self.slopes))
        return x

    @property
    def _places(self) -> list[int]:
        """Return `replaced`, not as an array, which may be read-only: torch warns of such."""
        return [int(j) for j in self.replaced]

    @staticmethod
    def _like(x: Tensor, array: npt.NDArray[np.floating]) -> Tensor:
        return torch.tensor(array, dtype=x.dtype, device=x.device)


def wants_label_scores(x: Tensor, annotations: Annotations) -> bool:
    """Return whether scores are likely to help on these rows."""
    return (
        len(x) >= FEWEST_SAMPLES
        and x.shape[1] <= MOST_FEATURES
        and _n_scores(annotations) <= x.shape[1] // 2
        and _rarest(annotations) >= FEWEST_OF_A_CLASS
    )


def fit_label_scores(
    x: Tensor, annotations: Annotations, replaced: Codes | None = None
) -> tuple[LabelScores, Tensor]:
    """Fit scores of the labels, and return them with those of the rows.

    Parameters
    ----------
    x : Tensor of shape (n_samples, d)
        Standardised.
    annotations : Annotations
        Labels of the rows.
    replaced : ndarray of shape (n_scores,), int64, optional
        The features to replace, if there are as many scores; by default those that the scores
        depend on most, linearly.

    Returns
    -------
    label_scores : LabelScores
    scores : Tensor of shape (n_samples, n_scores), in the precision of `x`
        Standardised, and of models that have not seen the row, so that the flow learns how far
        to trust them.

    Raises
    ------
    ValueError
        If there are too few rows of a class, or too few features.
    """
    if _n_scores(annotations) >= x.shape[1] or _rarest(annotations) < FEWEST_OF_A_CLASS:
        raise ValueError(
            f"Label scores need at least {FEWEST_OF_A_CLASS} rows of each class and more "
            f"features than class boundaries, but the rarest class has {_rarest(annotations)} "
            f"rows, and there are {x.shape[1]} features and {_n_scores(annotations)} class "
            "boundaries: set label_scores=False."
        )
    rows = x.double().numpy()
    with single_thread(rows.size < FEWEST_FOR_THREADS):
        fits = [cross_fit(rows, codes) for codes in annotations.label_codes.T]
    model = reduce(AdditiveModel.beside, (model for model, _ in fits))
    scores = np.hstack([scores for _, scores in fits])
    slopes, bent = _lines(model, rows[:COMPARED_ROWS])
    if replaced is None or len(replaced) != scores.shape[1]:
        replaced = _most_linear(slopes, bent)
    rest = model.without(replaced)
    matrix = _steep(slopes[replaced], scores.std(axis=0))
    own = [model.of_feature(j).scores(torch.from_numpy(rows)).numpy() for j in replaced.tolist()]
    scores = scores - sum(own) + rows[:, replaced] @ matrix
    mean, spread = scores.mean(axis=0), scores.std(axis=0)
    fitted = LabelScores(rest, replaced, matrix, mean, np.where(spread > 0, spread, 1.0))
    return fitted, torch.from_numpy((scores - fitted.mean) / fitted.scale).to(x.dtype)


def _lines(model: AdditiveModel, x: Floats) -> tuple[Floats, Floats]:
    """Return slope and remainder of the line through each feature's function, shape (d, k)."""
    slopes, bent = np.zeros_like(model.coef), np.zeros_like(model.coef)
    centred, rows = x - x.mean(axis=0), torch.from_numpy(x)
    variance = (centred**2).mean(axis=0)
    for j in np.flatnonzero(variance > SMALLEST_VARIANCE).tolist():
        values = model.of_feature(j).scores(rows).numpy()
        values -= values.mean(axis=0)
        slopes[j] = centred[:, j] @ values / (len(x) * variance[j])
        bent[j] = (values - np.outer(centred[:, j], slopes[j])).std(axis=0)
    return slopes, bent


def _most_linear(slopes: Floats, bent: Floats) -> Codes:
    """Return one feature for each score: that which it depends on most, but for the bends."""
    gains = slopes**2 - bent**2
    chosen: list[int] = []
    for score in range(slopes.shape[1]):
        gains[chosen] = -np.inf
        chosen.append(int(gains[:, score].argmax()))
    return np.array(chosen, dtype=np.int64)


def _steep(slopes: Floats, scale: Floats) -> Floats:
    """Return the slopes with singular values that are large enough to divide by."""
    left, values, right = np.linalg.svd(slopes / scale)
    steep: Floats = (left * np.maximum(values, SMALLEST_SLOPE)) @ right * scale
    return steep


def _n_scores(annotations: Annotations) -> int:
    return sum(len(classes) - 1 for classes in annotations.classes)


def _rarest(annotations: Annotations) -> int:
    return min(int(np.bincount(codes).min()) for codes in annotations.label_codes.T)
