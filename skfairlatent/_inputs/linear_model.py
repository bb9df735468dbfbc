"""Logistic regression for scores of classes, and the folds in which scores are cross-fitted."""

__all__ = ["FEWEST_OF_A_CLASS", "N_FOLDS", "SEED", "fit_line", "folds", "log_odds"]

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.exceptions import ConvergenceWarning

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int64]

# Each row's scores come from models that were fitted without its fold.
N_FOLDS = 3
# The same folds each time: an interrupted fit finds the same scores again.
SEED = 0
# A model of one fold learns from about so many rows at most: more would cost time for little.
MOST_ROWS = 50_000
# Rows of a class that there must be: then each fold is scored on so many as there are folds.
FEWEST_OF_A_CLASS = 3 * N_FOLDS
PARAMETERS: dict[str, Any] = {"C": 0.05, "max_iter": 300}


def fit_line(x: Floats, classes: Codes) -> tuple[Floats, Floats]:
    """Return coefficients of shape (d, n_classes - 1) and intercepts of logistic regression."""
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415 - slow to import

    model = LogisticRegression(**PARAMETERS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # close is enough
        model.fit(x, classes)
    ends = log_odds(model, np.vstack([np.zeros(x.shape[1]), np.eye(x.shape[1])]))
    return ends[1:] - ends[0], ends[0]


def log_odds(model: Any, rows: Floats) -> Floats:
    """Return the log-odds of each class but the first, shape (n, n_classes - 1)."""
    scores = np.asarray(model.decision_function(rows), dtype=np.float64)
    return scores[:, None] if scores.ndim == 1 else scores[:, 1:] - scores[:, :1]


def folds(classes: Codes) -> Iterator[tuple[Codes, Codes]]:
    """Yield the rows to fit on, MOST_ROWS at most, and the rows to score, for each fold."""
    from sklearn.model_selection import StratifiedKFold  # noqa: PLC0415 - slow to import

    rng = np.random.default_rng(SEED)
    split = StratifiedKFold(N_FOLDS, shuffle=True, random_state=SEED)
    for training, left_out in split.split(classes, classes):
        yield _some_of(training, classes, rng), left_out


def _some_of(rows: Codes, classes: Codes, rng: np.random.Generator) -> Codes:
    """Return about MOST_ROWS rows, if there are more: the share of each class, however rare."""
    if len(rows) <= MOST_ROWS:
        return rows
    rows = rng.permutation(rows)
    of_each = [rows[classes[rows] == code] for code in range(classes.max() + 1)]
    sizes = [max(len(own) * MOST_ROWS // len(rows), FEWEST_OF_A_CLASS) for own in of_each]
    return np.concatenate([own[:size] for own, size in zip(of_each, sizes, strict=True)])
