"""The distinct images among many, told by their digests."""

__all__ = ["DistinctImages", "Embeddings", "Indices"]

from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from skfairlatent.encoders._chunks import map_chunks
from skfairlatent.encoders._images import ImageSource
from skfairlatent.exceptions import CheckpointError

Embeddings: TypeAlias = npt.NDArray[np.float32]
Indices: TypeAlias = npt.NDArray[np.intp]


class DistinctImages:
    """The distinct images of a source, with the embeddings that are known so far.

    Attributes
    ----------
    digests : list of bytes
        Of each distinct image.
    rows : ndarray of int
        The first row with each.
    places : ndarray of shape (len(source),), int
        Which distinct image each row is.
    embeddings : ndarray of shape (len(digests), d), float32
    """

    def __init__(self, source: ImageSource, batch_size: int, *, verbose: bool) -> None:
        keys: npt.NDArray[np.void] = map_chunks(
            len(source),
            batch_size,
            lambda rows: np.array([np.void(each) for each in source.digests(rows)]),
            desc="look up",
            verbose=verbose,
        )
        seen: dict[bytes, int] = {}
        self.places = np.array([seen.setdefault(key.tobytes(), len(seen)) for key in keys])
        self.digests = list(seen)
        self.rows: Indices = np.unique(self.places, return_index=True)[1]
        self.embeddings: Embeddings = np.empty((0, 0), dtype=np.float32)
        self._known = np.zeros(len(seen), dtype=bool)

    @property
    def missing(self) -> Indices:
        """The distinct images whose embeddings are not known."""
        return np.flatnonzero(~self._known)

    def of_all_rows(self) -> Embeddings:
        """Return the embeddings of all rows of the source; none may be missing."""
        if len(self.digests) == len(self.places):
            return self.embeddings
        repeated: Embeddings = self.embeddings[self.places]
        return repeated

    def put(self, which: Indices, embeddings: Embeddings, path: Path) -> None:
        """Take the embeddings of these distinct images; `path` is named if widths differ."""
        if not self._known.any():
            self.embeddings = np.empty((len(self.digests), embeddings.shape[1]), dtype=np.float32)
        if embeddings.shape[1] != self.embeddings.shape[1]:
            raise CheckpointError(
                f"{path} holds embeddings {self.embeddings.shape[1]} wide, and others of the same "
                f"fingerprint are {embeddings.shape[1]} wide: delete it and encode again."
            )
        self.embeddings[which] = embeddings
        self._known[which] = True
