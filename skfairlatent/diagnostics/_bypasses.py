"""Whether a model decides by more than the label block."""

__all__ = ["bypass_warnings"]

import copy
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.utils import _safe_indexing
from sklearn.utils._set_output import _wrap_data_with_container

from skfairlatent._find_transformer import BesideError, UntracedError, steps_of

MOST_ROWS = 200  # whose decisions are compared
MOST_HELD = 10  # of them give the label block that all are given
ROUNDING = 1e-5  # differences that batches add to a score, as a share of the largest score


def bypass_warnings(
    model: Any, transformer: Any, prepare: Callable[[Any], Any], X: Any, n_samples: int
) -> list[str]:
    """Say so if a model decides by more than the label block, or if nothing can tell.

    The steps of a pipeline tell. Where they do not, as within a vote, the model does so if it
    gives rows with one and the same label block different decisions.

    Parameters
    ----------
    model : object
        Fitted, with a transformer.
    transformer : object
        The one in it.
    prepare : callable
        From X to what the transformer is given.
    X : array-like
        Input of the model.
    n_samples : int
        Number of rows of X.

    Returns
    -------
    list of str
    """
    is_full = getattr(transformer, "output", "label") == "full"
    untraced = None
    try:
        line = steps_of(model)
    except BesideError:
        return [_AROUND]
    except UntracedError as error:
        untraced = error
    else:
        if not is_full:
            return []
        if line[-2:-1] == [transformer] and hasattr(line[-1], "predict"):
            return [_FULL]
    sees_more = _sees_more(model, transformer, prepare, X, n_samples)
    if sees_more:
        return [_FULL if is_full else _AROUND]
    if sees_more is None and untraced is not None:
        return [
            "Not measured: whether the model decides by more than the label block, because "
            f"{type(model).__name__} gives all rows the same decision, or a copy of it fails. "
            f"{untraced.remedy}"
        ]
    return []


_AROUND = (
    "Bypass: the model decides by more than the label block: other columns, or other models, "
    "reach the decision around the FairLatentTransformer. Let all columns go through it, or leave "
    "them out."
)
_FULL = (
    "Bypass: output='full' gives the classifier the sensitive block beside the label block. Set "
    "output='label', and fit again."
)


def _sees_more(
    model: Any, transformer: Any, prepare: Callable[[Any], Any], X: Any, n_samples: int
) -> bool | None:
    """Tell whether decisions differ between rows that are all given one label block.

    None if the model gives all rows the same decision anyway, or cannot be asked.
    """
    if not hasattr(model, "predict"):
        return False
    positions = np.linspace(0, n_samples - 1, min(n_samples, MOST_ROWS)).astype(int)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            rows = _safe_indexing(X, positions)
            if not _differ(_decisions(model, rows)):
                return None
            # One row of each decision: a vote may be settled by one of them, whatever else.
            _, firsts = np.unique(np.asarray(model.predict(rows)), axis=0, return_index=True)
            prepared = prepare(rows)
            return any(
                _differ(_decisions(_holding(model, transformer, prepared, first), rows))
                for first in firsts[:MOST_HELD]
            )
    except Exception:  # noqa: BLE001 - a user's model may raise anything
        return None


def _holding(model: Any, transformer: Any, prepared: Any, row: int) -> Any:
    """Return a copy of a model whose transformer gives all rows the label block of one."""
    label, held = transformer.label_slice_, copy.copy(transformer)
    given = _safe_indexing(prepared, [row])
    for name in ("transform", "latent"):
        method = getattr(transformer, name)
        block = np.asarray(method(given))[:, label]
        setattr(held, name, _Held(transformer, method, label, block))
    return copy.deepcopy(model, {id(transformer): held})


class _Held:
    """A method of a transformer whose result has the same label block in all rows."""

    def __init__(self, transformer: Any, method: Any, label: slice, block: Any) -> None:
        self.transformer, self.method, self.label, self.block = transformer, method, label, block

    def __call__(self, X: Any) -> Any:
        Z = self.method(X)
        held = np.array(Z)
        held[:, self.label] = self.block
        if isinstance(Z, np.ndarray):
            return held
        return _wrap_data_with_container("transform", held, Z, self.transformer)


def _decisions(model: Any, rows: Any) -> npt.NDArray[Any]:
    """Return the finest that a model tells of rows, shape (n_rows, n_values)."""
    names = ("predict_proba", "decision_function", "predict")
    found = getattr(model, next(name for name in names if hasattr(model, name)))(rows)
    found = np.hstack(found) if isinstance(found, list) else np.asarray(found)
    return found.reshape(len(found), -1)


def _differ(decisions: npt.NDArray[Any]) -> bool:
    if decisions.dtype.kind != "f":
        return bool((decisions != decisions[0]).any())
    return bool(np.ptp(decisions, axis=0).max() > ROUNDING * np.abs(decisions).max())
