"""Additive scores of classes: piecewise linear functions of single features, cross-fitted."""

__all__ = ["AdditiveModel", "cross_fit"]

import math
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import log_softmax
from torch import Tensor

from skfairlatent._inputs.arrays import like
from skfairlatent._inputs.folds import N_FOLDS, SEED, folds
from skfairlatent._inputs.linear_model import STRENGTHS, fit_line, log_odds
from skfairlatent._inputs.repeats import Distinct

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int64]

# A feature of at most so many values, which are no more than scikit-learn's histograms hold, has
# a step for each; of others quantiles are taken.
MOST_VALUES, QUANTILES = 255, 32
# Knots of all features together.
MOST_KNOTS = 8192
# A table of so many places of rows on segments is held at once: 32 MB in float64.
MOST_PLACES = 2**22
# A step rises over this share of the distance between two values, in its middle: what rounding
# does to the values is then of no consequence.
RISING = 0.2
# Quantiles that are nearer, in standard deviations, would make the functions steep there.
SMALLEST_STEP = 0.02
# Shares of the boosted functions in the scores that are compared; the line has the rest.
SHARES_OF_BOOSTING = (0.0, 0.5, 1.0)
# Boosting, or a line with a weaker penalty, is taken if it lowers the log loss by more than this
# share: a line alone turns all features a little instead of replacing one.
WORTH_CHANGE = 0.01
# Share of the rows on which boosting stops, and at least a row of each class.
HELD_OUT = 0.1
# Larger step sizes let the boosting of small classes diverge; such scores lose the comparison.
BOOSTING: dict[str, Any] = {
    "learning_rate": 0.3,
    "max_iter": 150,
    "max_leaf_nodes": 8,
    "l2_regularization": 1.0,
    "interaction_cst": "no_interactions",
    "early_stopping": True,
    "n_iter_no_change": 5,
    "random_state": SEED,
}


@dataclass(frozen=True)
class AdditiveModel:
    r"""Scores that add up functions of single features, linear between knots, and a line.

    .. math:: \sum_i r_i \, \mathrm{clip}((x_{j_i} - l_i) / w_i, 0, 1) + C^T x + b

    Parameters
    ----------
    features : ndarray of shape (n_segments,), int64
        The feature j of each segment between two knots.
    left, width : ndarray of shape (n_segments,), float64
        Where the segment begins, and its width.
    rises : ndarray of shape (n_segments, n_scores), float64
        By how much the scores rise along the segment.
    coef : ndarray of shape (d, n_scores), float64
    intercept : ndarray of shape (n_scores,), float64
    """

    features: Codes
    left: Floats
    width: Floats
    rises: Floats
    coef: Floats
    intercept: Floats

    def scores(self, x: Tensor) -> Tensor:
        """Return the scores of rows, shape (n, n_scores), in their precision."""
        scores = torch.addmm(like(x, self.intercept), x, like(x, self.coef))
        if self.is_line:
            return scores
        left, width, rises = (like(x, part) for part in (self.left, self.width, self.rises))
        features = torch.tensor(self.features, device=x.device)
        n_rows = max(1, MOST_PLACES // len(features))
        for piece, found in zip(x.split(n_rows), scores.split(n_rows), strict=True):
            places = piece[:, features].sub_(left).div_(width).clamp_(0.0, 1.0)
            found.addmm_(places, rises)
        return scores

    @property
    def is_line(self) -> bool:
        """Return whether the model has no steps."""
        return not self.rises.any()

    def of_feature(self, feature: int) -> "AdditiveModel":
        """Return what the model makes of one feature, without the intercept."""
        others = np.arange(len(self.coef)) != feature
        return replace(self.without(np.flatnonzero(others)), intercept=0.0 * self.intercept)

    def without(self, features: Codes) -> "AdditiveModel":
        """Return the model without its functions of some features, and without level segments."""
        kept = ~np.isin(self.features, features) & self.rises.any(axis=1)
        coef = self.coef.copy()
        coef[features] = 0.0
        segments = (self.features[kept], self.left[kept], self.width[kept], self.rises[kept])
        return AdditiveModel(*segments, coef, self.intercept)

    def beside(self, other: "AdditiveModel") -> "AdditiveModel":
        """Return the scores of this model and then those of another with the same segments."""
        return self._with(
            [np.hstack(pair) for pair in zip(self._parts, other._parts, strict=True)]
        )

    @property
    def _parts(self) -> tuple[Floats, Floats, Floats]:
        return self.rises, self.coef, self.intercept

    def _with(self, parts: list[Floats]) -> "AdditiveModel":
        rises, coef, intercept = parts
        return replace(self, rises=rises, coef=coef, intercept=intercept)


def cross_fit(
    x: Floats, classes: Codes, distinct: Distinct, *, only_line: bool, rounding: float = 0.0
) -> tuple[AdditiveModel, Floats]:
    """Fit log-odds of classes against the first, and score each row by models without it.

    Multinomial logistic regression, of a table with the penalty that suits it best, or boosted
    functions of single features, or the mean of both, if the log loss on the rows that the models
    have not seen is clearly smaller.

    Parameters
    ----------
    x : ndarray of shape (n_samples, d), float64
        Standardised.
    classes : ndarray of shape (n_samples,), int64
        From 0 to the number of classes less 1.
    distinct : Distinct
        Which rows are repetitions: they are scored by models that know none of them.
    only_line : bool
        Leave boosting out.
    rounding : float, default=0.0
        Values that are nearer, in standard deviations, count as one.

    Returns
    -------
    model : AdditiveModel
        The mean of the models of all folds, for new rows.
    scores : ndarray of shape (n_samples, n_classes - 1), float64
        Scores of the given rows, each from the fold that it was left out of.
    """
    grid, rows = _Grid.none(x) if only_line else _Grid.of(x, rounding), torch.from_numpy(x)
    n_scores = int(classes.max())
    linear, boosted = (np.zeros((len(x), n_scores)) for _ in range(2))
    lines: list[AdditiveModel] = []
    boostings: list[AdditiveModel] = []
    codes = None if only_line else grid.codes(x)
    C = STRENGTHS[0]
    for training, left_out in folds(classes, distinct):
        if not lines and not only_line:
            C = _strength(x, classes, training, left_out)
        lines.append(grid.line(*fit_line(x[training], classes[training], C)))
        linear[left_out] = lines[-1].scores(rows[left_out]).numpy()
        if codes is not None:
            boostings.append(_boosting(codes[training], classes[training], grid))
            boosted[left_out] = boostings[-1].scores(rows[left_out]).numpy()
    share = 0.0 if only_line else _share_of_boosting(linear, boosted, classes)
    models = [*lines, *boostings]
    weights = np.repeat([1.0 - share, share], N_FOLDS)[: len(models)] / N_FOLDS
    return _weighted_sum(models, weights), share * boosted + (1.0 - share) * linear


def _strength(x: Floats, classes: Codes, training: Codes, left_out: Codes) -> float:
    """Return the strength of the penalty with which a line predicts best in the first fold."""
    losses = {}
    for C in STRENGTHS:
        coef, intercept = fit_line(x[training], classes[training], C)
        losses[C] = _log_loss(x[left_out] @ coef + intercept, classes[left_out])
    return _best(losses)


def _best(losses: dict[float, float]) -> float:
    """Return where the loss is least, if that is clearly less than the first."""
    best, first = min(losses, key=losses.__getitem__), next(iter(losses))
    return best if losses[best] < (1.0 - WORTH_CHANGE) * losses[first] else first


def _share_of_boosting(linear: Floats, boosted: Floats, classes: Codes) -> float:
    losses = {s: _log_loss(s * boosted + (1.0 - s) * linear, classes) for s in SHARES_OF_BOOSTING}
    return _best(losses)


def _weighted_sum(models: list[AdditiveModel], weights: Floats) -> AdditiveModel:
    """Return the weighted sum of models with the same segments."""
    same_parts = zip(*(model._parts for model in models), strict=True)
    return models[0]._with(
        [sum(w * part for w, part in zip(weights, parts, strict=True)) for parts in same_parts]
    )


class _Grid(NamedTuple):
    """The knots of each feature, and whether it has no values between them."""

    knots: list[Floats]
    stepped: list[bool]

    @classmethod
    def none(cls, x: Floats) -> "_Grid":
        """Return one without knots."""
        return cls([np.zeros(0)] * x.shape[1], [False] * x.shape[1])

    @classmethod
    def of(cls, x: Floats, rounding: float) -> "_Grid":
        """Return a knot for each value or quantile, of values that are so near for one."""
        distinct = [np.unique(column) for column in x.T]
        most = MOST_VALUES
        if sum(min(len(values), most) for values in distinct) > MOST_KNOTS:
            most = QUANTILES
        stepped = [len(values) <= most for values in distinct]
        shares = np.linspace(0.0, 1.0, QUANTILES)
        knots = [
            _apart(values, rounding)
            if few
            else _apart(np.quantile(column, shares, method="nearest"), SMALLEST_STEP)
            for values, few, column in zip(distinct, stepped, x.T, strict=True)
        ]
        return cls(knots, stepped)

    def codes(self, x: Floats) -> Codes:
        """Return the nearest knot of each value."""
        columns = zip(self.knots, x.T, strict=True)
        return np.stack([_nearest(knots, column) for knots, column in columns], axis=1)

    def line(self, coef: Floats, intercept: Floats) -> AdditiveModel:
        """Return the model of a line."""
        n_knots = sum(len(each) for each in self.knots)
        return self.model(np.zeros((n_knots, len(intercept))), coef, intercept)

    def model(self, heights: Floats, coef: Floats, intercept: Floats) -> AdditiveModel:
        """Return the model with these scores at the knots, all features after one another."""
        sizes = [len(each) for each in self.knots]
        knots, features = np.concatenate(self.knots), np.repeat(np.arange(len(sizes)), sizes)
        inside = features[1:] == features[:-1]
        left, gap = knots[:-1][inside], np.diff(knots)[inside]
        share = np.where(np.repeat(self.stepped, sizes)[1:][inside], RISING, 1.0)
        left += gap * (1.0 - share) / 2.0
        rises = np.diff(heights, axis=0)[inside]
        return AdditiveModel(features[1:][inside], left, gap * share, rises, coef, intercept)


def _apart(values: Floats, step: float) -> Floats:
    """Return sorted values without those that are nearer than `step` to one before."""
    if np.diff(values).min(initial=np.inf) >= step:
        return values
    kept = [values[0]]
    for value in values[1:]:
        if value - kept[-1] >= step:
            kept.append(value)
    return np.array(kept)


def _nearest(knots: Floats, column: Floats) -> Codes:
    return np.searchsorted(knots[:-1] + np.diff(knots) / 2, column)


def _boosting(codes: Codes, classes: Codes, grid: _Grid) -> AdditiveModel:
    """Return a boosted model without interactions, read off at every knot.

    Each of its trees has one feature: rows that differ from a first one in one feature show it.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier  # noqa: PLC0415 - slow to import

    held_out = max(math.ceil(HELD_OUT * len(codes)), int(classes.max()) + 1)
    model = HistGradientBoostingClassifier(**BOOSTING, validation_fraction=held_out)
    model.fit(codes, classes)
    knots = grid.knots
    n_knots = [len(each) for each in knots]
    features = np.repeat(np.arange(len(knots)), n_knots)
    rows = np.zeros((len(features), len(knots)))
    rows[np.arange(len(features)), features] = np.concatenate([np.arange(n) for n in n_knots])
    heights = log_odds(model, rows)
    return grid.model(heights, np.zeros((len(knots), heights.shape[1])), heights[0])


def _log_loss(log_odds: Floats, classes: Codes) -> float:
    logs = log_softmax(np.column_stack([np.zeros(len(log_odds)), log_odds]), axis=1)
    return float(-logs[np.arange(len(logs)), classes].mean())
