"""Classes that a classifier on the label block no longer finds."""

__all__ = ["LOST_SHARE", "lost_decisions"]

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict

from skfairlatent._validation.groups import EncodedColumn, encode_columns
from skfairlatent.diagnostics._probe_rows import Floats, scaler

# Share of what is found of a class before mitigation: with less after, the class was lost.
LOST_SHARE = 0.25
# Of classes of which less is found from all of Z, nothing is said.
SMALLEST_RECALL = 0.05
N_FOLDS = 3
MOST_ROWS = 3000
SEED = 0  # of the rows and the folds: the result does not depend on the probes' seed


def lost_decisions(
    Z: Floats,
    label: slice,
    y: Any,
    n_bins: int | None = None,
    found_by_model: Callable[[str], float] | None = None,
) -> list[str]:
    """Find classes that hardly anybody is given by a classifier on the label block.

    A label block may rank people and yet move nobody across the threshold: where a class is rare,
    a small gap between the groups may only mean that everybody is decided alike. A logistic
    regression on all of Z, which an invertible map made of X, stands for the model before.

    Parameters
    ----------
    Z : ndarray of shape (n_samples, d)
    label : slice
        The label block.
    y : array-like of shape (n_samples,) or (n_samples, n_labels)
    n_bins : int, optional
        Into how many cells the label block was cut, if it was.
    found_by_model : callable, optional
        The share of a class that the model's own decisions find; nothing is said of a class that
        these do find, as with class weights.

    Returns
    -------
    list of str
    """
    more_cells = ""
    if n_bins is not None:
        more_cells = f"Raise n_bins={n_bins}, so that a cell may hold mostly rare labels. "
    rows = np.random.default_rng(SEED).permutation(len(Z))[:MOST_ROWS]
    return [
        text
        for column in encode_columns(y, "y")
        for text in _lost(Z[rows], label, column.codes[rows], column, more_cells, found_by_model)
    ]


def _lost(
    Z: Floats,
    label: slice,
    codes: npt.NDArray[np.int64],
    column: EncodedColumn,
    more_cells: str,
    found_by_model: Callable[[str], float] | None,
) -> list[str]:
    counts = np.bincount(codes, minlength=len(column.values))
    if counts.min() < N_FOLDS:
        return []
    before, after = (_recalls(part, codes) for part in (Z, Z[:, label]))
    name = "y" if column.name is None else column.name
    return [
        f"Decided alike: a logistic regression on the label block finds {new:.1%} of those whose "
        f"{name} is {value!r}, where one on all of Z finds {old:.1%}: nearly everybody is "
        f"decided alike. {more_cells}Lower lambda_di, or train the classifier with "
        "class_weight='balanced'."
        for value, old, new in zip(column.values, before, after, strict=True)
        if old >= SMALLEST_RECALL
        and new < LOST_SHARE * old
        and (found_by_model is None or found_by_model(value) < LOST_SHARE * old)
    ]


def _recalls(Z: Floats, codes: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Return the share of each class that is found, in folds that the model was not fitted on."""
    folds = StratifiedKFold(N_FOLDS, shuffle=True, random_state=SEED)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        found = cross_val_predict(
            LogisticRegression(C=0.1, max_iter=200), scaler().fit_transform(Z), codes, cv=folds
        )
    return np.bincount(codes, weights=found == codes) / np.bincount(codes)
