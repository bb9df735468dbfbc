"""Which way an edit was to move a probability."""

__all__ = ["direction_of"]

from typing import Any

import numpy as np
import numpy.typing as npt


def direction_of(
    original: npt.NDArray[Any], edited: npt.NDArray[Any], column: int
) -> npt.NDArray[np.int8]:
    """Return 1 where edits ask for more of a class, -1 for less, 0 where for neither.

    Strengths do not tell: those of smallest edits are lengths, whichever way they go. What was
    edited does: the model that was explained gives the class more, or less, than before. Of
    several classes an edit is about those two that gain and lose most.

    Parameters
    ----------
    original : ndarray of shape (n, c)
        Probabilities that the model which was explained gives the classes, before.
    edited : ndarray of shape (n, k, c)
        And after.
    column : int
        Which class.

    Returns
    -------
    ndarray of shape (n, k), int8
    """
    change = edited - original[:, None]
    gains = (change.argmax(axis=2) == column) & (change[..., column] > 0)
    loses = (change.argmin(axis=2) == column) & (change[..., column] < 0)
    return np.asarray(gains.astype(np.int8) - loses.astype(np.int8))
