"""Scores of the label as inputs of the flow: where they help, and of which kind."""

__all__ = ["LabelScores", "fit_label_scores", "wants_label_scores"]

from functools import reduce

import numpy as np
import numpy.typing as npt
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
FEWEST_SAMPLES = 50
# Scores that do not go with the label by so many standard errors, where rows are repetitions of
# others, tell nothing of rows that are new: those may be people who are no repetitions at all.
LEAST_AGREEMENT = 2.0
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


def fit_label_scores(
    x: Tensor,
    annotations: Annotations,
    distinct: Distinct,
    before: LabelScores | None = None,
    *,
    required: bool = True,
) -> tuple[LabelScores, Tensor] | None:
    """Fit scores of the labels, and return them with those of the rows, if there can be any.

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
    required : bool, default=True
        Raise an error if there can be none. Otherwise None is returned.

    Returns
    -------
    label_scores : AdditiveScores or LinearScores
    scores : Tensor of shape (n_samples, n_scores), in the precision of `x`
        Standardised, and of models that have not seen the row, so that the flow learns how far
        to trust them.

    Raises
    ------
    ValueError
        If there are too few rows of a class, or too few features, or if rows repeat others, of
        which scores that were fitted to the rest tell nothing.
    """
    n_rare = _rarest(annotations, distinct)
    if n_rare < FEWEST_OF_A_CLASS or _n_scores(annotations) >= x.shape[1]:
        message = (
            f"Label scores need at least {FEWEST_OF_A_CLASS} different rows of each class and "
            f"more features than class boundaries, but the rarest class has {n_rare} rows, and "
            f"there are {x.shape[1]} features and {_n_scores(annotations)} class boundaries: set "
            "label_scores=False."
        )
        if required:
            raise ValueError(message)
        return None
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
        if len(distinct.first) < len(x) and not _agree(cross_fitted, annotations, distinct):
            message = (
                f"label_scores=True, but {len(x) - len(distinct.first)} rows of X repeat others, "
                "of which scores that were fitted to the rest tell nothing: set "
                "label_scores='auto'."
            )
            if required:
                raise ValueError(message)
            return None
        fitted: LabelScores
        if model.is_line and may_turn:
            fitted, scores = linear_scores(rows, model, cross_fitted)
        else:
            replaced = None if before is None else before.columns
            fitted, scores = additive_scores(rows, model, cross_fitted, replaced)
    return fitted, torch.from_numpy(scores).to(x.dtype)


def _agree(
    cross_fitted: npt.NDArray[np.float64], annotations: Annotations, distinct: Distinct
) -> bool:
    """Return whether some score is clearly higher for its class, among rows that are repeated.

    Nothing is asked if these are no more than half of the rows, or of one class, as where a rare
    one was drawn more often.
    """
    size = np.bincount(distinct.of_row)
    repeated = distinct.first[size > 1]
    if 2 * size[size > 1].sum() <= len(distinct.of_row):
        return True
    known = [
        (score[repeated], (codes[repeated] == of_class).astype(float))
        for score, (codes, of_class) in zip(cross_fitted.T, _boundaries(annotations), strict=True)
    ]
    found = [
        np.corrcoef(score, is_class)[0, 1] if np.ptp(score) > 0 else 0.0
        for score, is_class in known
        if np.ptp(is_class) > 0
    ]
    return not found or max(found) * len(repeated) ** 0.5 > LEAST_AGREEMENT


def _boundaries(annotations: Annotations) -> list[tuple[npt.NDArray[np.int64], int]]:
    """Return the codes and the class of each score: a class of a label against its first one."""
    return [
        (codes, of_class)
        for codes, classes in zip(annotations.label_codes.T, annotations.classes, strict=True)
        for of_class in range(1, len(classes))
    ]


def _n_scores(annotations: Annotations) -> int:
    return len(_boundaries(annotations))


def _rarest(annotations: Annotations, distinct: Distinct) -> int:
    codes, classes = annotations.label_codes[distinct.first], annotations.classes
    return min(
        int(np.bincount(own, minlength=len(values)).min())
        for own, values in zip(codes.T, classes, strict=True)
    )
