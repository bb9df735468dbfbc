"""The folds in which scores of the label are cross-fitted."""

__all__ = ["FEWEST_OF_A_CLASS", "N_FOLDS", "SEED", "folds"]

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from skfairlatent._inputs.repeats import Distinct

Codes = npt.NDArray[np.int64]

# Each row's scores come from models that were fitted without its fold.
N_FOLDS = 3
# The same folds each time: an interrupted fit finds the same scores again.
SEED = 0
# A model of one fold learns from about so many rows at most: more would cost time for little.
MOST_ROWS = 50_000
# Different rows of a class that there must be: each fold is then scored on as many as there are
# folds.
FEWEST_OF_A_CLASS = 3 * N_FOLDS


def folds(classes: Codes, distinct: Distinct) -> Iterator[tuple[Codes, Codes]]:
    """Yield the rows to fit on, MOST_ROWS at most, and the rows to score, for each fold.

    Repetitions of a row share its fold: otherwise the scores of rows that were repeated, to give
    a rare class more weight for instance, would come from models that know the row.
    """
    fold = _stratified(classes[distinct.first])[distinct.of_row]
    rng = np.random.default_rng(SEED)
    for each in range(N_FOLDS):
        training, left_out = np.flatnonzero(fold != each), np.flatnonzero(fold == each)
        yield _some_of(training, classes, rng), left_out


def _stratified(classes: Codes) -> Codes:
    from sklearn.model_selection import StratifiedKFold  # noqa: PLC0415 - slow to import

    fold = np.empty(len(classes), dtype=np.int64)
    split = StratifiedKFold(N_FOLDS, shuffle=True, random_state=SEED)
    for each, (_, left_out) in enumerate(split.split(classes, classes)):
        fold[left_out] = each
    return fold


def _some_of(rows: Codes, classes: Codes, rng: np.random.Generator) -> Codes:
    """Return about MOST_ROWS rows, if there are more: the share of each class, however rare."""
    if len(rows) <= MOST_ROWS:
        return rows
    rows = rng.permutation(rows)
    of_each = [rows[classes[rows] == code] for code in range(classes.max() + 1)]
    sizes = [max(len(own) * MOST_ROWS // len(rows), FEWEST_OF_A_CLASS) for own in of_each]
    return np.concatenate([own[:size] for own, size in zip(of_each, sizes, strict=True)])
