"""Scores of the label as inputs of the flow: where they help, and of which kind."""

__all__ = ["LabelScores", "can_be_scored", "fit_label_scores", "wants_label_scores"]

from functools import reduce

import numpy as np
import torch
from torch import Tensor

from skfairlatent._device import single_thread
from skfairlatent._inputs.additive_model import AdditiveModel, cross_fit
from skfairlatent._inputs.additive_scores import AdditiveScores, additive_scores
from skfairlatent._inputs.folds import FEWEST_OF_A_CLASS
from skfairlatent._inputs.linear_scores import LinearScores, linear_scores
from skfairlatent._inputs.repeats import Distinct
from skfairlatent._training.settings import is_crowded
from skfairlatent._validation.annotations import Annotations

LabelScores = AdditiveScores | LinearScores

# Wider rows are embeddings: a line reads the label, which the flow finds by itself where there
# are rows enough.
MOST_FEATURES_OF_A_TABLE = 256
# Of fewer features the score replaces one: the flow could lose a rare label of two turned columns.
FEWEST_TO_TURN = 5
# Fewer rows say too little for "auto" to take scores.
FEWEST_SAMPLES = 100
# Power of the precision of X: values that are nearer, in standard deviations, count as one. A flow
# brings values back to about a third of that: a step between nearer ones would not come back.
ROUNDING = 0.6
# Numbers that are worth a second thread.
FEWEST_FOR_THREADS = 1_000_000


def wants_label_scores(n_samples: int, n_features: int, annotations: Annotations) -> bool:
    """Return whether scores are likely to help on so many different rows."""
    return (
        n_samples >= FEWEST_SAMPLES
        and (n_features <= MOST_FEATURES_OF_A_TABLE or is_crowded(n_samples, n_features))
        and _n_scores(annotations) <= n_features // 2
    )


def can_be_scored(n_features: int, annotations: Annotations, distinct: Distinct) -> bool:
    """Return whether there are features and rows of each class enough to cross-fit scores."""
    enough = _rarest(annotations, distinct) >= FEWEST_OF_A_CLASS
    return enough and _n_scores(annotations) < n_features


def fit_label_scores(
    x: Tensor, annotations: Annotations, distinct: Distinct, before: LabelScores | None = None
) -> tuple[LabelScores, Tensor]:
    """Fit scores of the labels, and return them with those of the rows.

    Parameters
    ----------
    x : Tensor of shape (n_samples, d)
        Standardised.
    annotations : Annotations
        Labels of the rows.
    distinct : Distinct
        Which rows are repetitions.
    before : AdditiveScores or LinearScores, optional
        Those of the fit that this one goes on from: the same columns then hold the scores, if
        there are as many.

    Returns
    -------
    label_scores : AdditiveScores or LinearScores
    scores : Tensor of shape (n_samples, n_scores), in the precision of `x`
        Standardised, and of models that have not seen the row, so that the flow learns how far
        to trust them.

    Raises
    ------
    ValueError
        If there are too few rows of a class, or too few features.
    """
    if not can_be_scored(x.shape[1], annotations, distinct):
        raise ValueError(
            f"Label scores need at least {FEWEST_OF_A_CLASS} different rows of each class and "
            "more features than class boundaries, but the rarest class has "
            f"{_rarest(annotations, distinct)} rows, and there are {x.shape[1]} features and "
            f"{_n_scores(annotations)} class boundaries: set label_scores=False."
        )
    rows = x.double()
    n_features = x.shape[1]
    only_line = isinstance(before, LinearScores) or n_features > MOST_FEATURES_OF_A_TABLE
    may_turn = n_features >= FEWEST_TO_TURN and not isinstance(before, AdditiveScores)
    with single_thread(x.numel() < FEWEST_FOR_THREADS):
        fits = [
            cross_fit(
                rows.numpy(),
                codes,
                distinct,
                only_line=only_line,
                rounding=torch.finfo(x.dtype).eps ** ROUNDING,
            )
            for codes in annotations.label_codes.T
        ]
        model = reduce(AdditiveModel.beside, (model for model, _ in fits))
        cross_fitted = np.hstack([unseen for _, unseen in fits])
        fitted: LabelScores
        if model.is_line and may_turn:
            fitted, scores = linear_scores(rows, model, cross_fitted)
        else:
            replaced = None if before is None else before.columns
            fitted, scores = additive_scores(rows, model, cross_fitted, replaced)
    return fitted, torch.from_numpy(scores).to(x.dtype)


def _n_scores(annotations: Annotations) -> int:
    return sum(len(classes) - 1 for classes in annotations.classes)


def _rarest(annotations: Annotations, distinct: Distinct) -> int:
    codes, classes = annotations.label_codes[distinct.first], annotations.classes
    return min(
        int(np.bincount(own, minlength=len(values)).min())
        for own, values in zip(codes.T, classes, strict=True)
    )
