"""Logistic regression for scores of classes."""

__all__ = ["STRENGTHS", "fit_line", "log_odds"]

import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.exceptions import ConvergenceWarning

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int64]

# Inverse strengths of the penalty: the first is near the best where the label is hard to tell.
STRENGTHS = (0.05, 0.5, 5.0)
MAX_ITER = 300


def fit_line(x: Floats, classes: Codes, C: float = STRENGTHS[0]) -> tuple[Floats, Floats]:
    """Return coefficients of shape (d, n_classes - 1) and intercepts of logistic regression."""
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415 - slow to import

    model = LogisticRegression(C=C, max_iter=MAX_ITER)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # close is enough
        model.fit(x, classes)
    coef, intercept = model.coef_, model.intercept_
    if len(coef) > 1:
        coef, intercept = coef[1:] - coef[0], intercept[1:] - intercept[0]
    return np.ascontiguousarray(coef.T), intercept


def log_odds(model: Any, rows: Floats) -> Floats:
    """Return the log-odds of each class but the first, shape (n, n_classes - 1)."""
    scores = np.asarray(model.decision_function(rows), dtype=np.float64)
    return scores[:, None] if scores.ndim == 1 else scores[:, 1:] - scores[:, :1]
