"""Texts in whatever form the user has them."""

__all__ = ["TextSource"]

import hashlib
from typing import Any

import numpy as np
import numpy.typing as npt

from skfairlatent._image_forms import is_column, items_of

_DIGEST_SIZE = 20


class TextSource:
    """Random access to texts, as `ImageSource` gives it to images.

    Parameters
    ----------
    X : list, tuple, Series, array or other column of str

    Raises
    ------
    TypeError, ValueError
        If X is not a column of texts.
    """

    def __init__(self, X: Any) -> None:
        if not is_column(X):
            shape = f" and shape {tuple(X.shape)}" if hasattr(X, "shape") else ""
            remedy = "[X]" if isinstance(X, str) else "the column that holds them, as X['text']"
            raise TypeError(
                f"X of type {type(X).__name__}{shape} is not a column of texts: pass {remedy}. "
                "For images pass kind='image'."
            )
        self._texts = items_of(X)
        if not self._texts:
            raise ValueError("X holds no texts: pass one or more.")
        for row, text in enumerate(self._texts):
            if not isinstance(text, str):
                raise TypeError(
                    f"X[{row}] is {text!r:.40}, not a text: leave it out, or fill in '' if there "
                    "is none. For images pass kind='image'."
                )

    def __len__(self) -> int:
        return len(self._texts)

    def originals(self, rows: slice | npt.NDArray[np.intp]) -> list[str]:
        """Return the texts of these rows."""
        return [str(self._texts[row]) for row in np.arange(len(self))[rows]]

    def digests(self, rows: slice | npt.NDArray[np.intp]) -> list[bytes]:
        """Return 20 bytes for each row that identify its text."""
        return [
            hashlib.blake2b(text.encode(), digest_size=_DIGEST_SIZE).digest()
            for text in self.originals(rows)
        ]
