"""Writing embeddings to the table of a cache, without losing what cannot be written."""

__all__ = ["STORED", "EmbeddingWriter"]

import sqlite3
import time
import zlib
from pathlib import Path
from typing import Self

import numpy as np

from skfairlatent._user_warnings import UserLine
from skfairlatent.encoders._distinct import Embeddings

# The same on every machine, for a folder that several share.
STORED = np.dtype("<f4")
# A process that is killed loses no more than this; committing each batch took longer than some
# encoders do.
_SECONDS_TO_COMMIT = 2.0
_ROWS_TO_COMMIT = 1000
_STORE = "INSERT OR REPLACE INTO checked_embeddings VALUES (?, ?, ?, ?)"


class EmbeddingWriter:
    """Stores embeddings, many at a time: each commit waits for the disk.

    It gives up when that fails for the first time, for computing them is what took long.
    """

    def __init__(self, connection: sqlite3.Connection, path: Path, fingerprint: str) -> None:
        self._connection = connection
        self._path = path
        self._fingerprint = fingerprint
        self._waiting: list[tuple[str, bytes, int, bytes]] = []
        self._last_commit = time.monotonic()
        self._works = True

    def add(self, digests: list[bytes], embeddings: Embeddings) -> None:
        """Store these soon."""
        stored = embeddings.astype(STORED, copy=False)
        self._waiting += [
            (self._fingerprint, digest, zlib.crc32(each), each)
            for digest, each in zip(digests, map(np.ndarray.tobytes, stored), strict=True)
        ]
        late = time.monotonic() - self._last_commit >= _SECONDS_TO_COMMIT
        if late or len(self._waiting) >= _ROWS_TO_COMMIT:
            self._commit()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._commit()  # after an interruption as well

    def _commit(self) -> None:
        rows, self._waiting = self._waiting, []
        if not self._works:
            return
        try:
            with self._connection:  # one transaction
                self._connection.executemany(_STORE, rows)
        except sqlite3.DatabaseError as error:
            self._works = False
            UserLine.find().warn(
                f"Embeddings can no longer be stored in {self._path} ({error}). They are returned "
                "all the same, but encoded again next time: free some space, or pass the path of "
                "a folder that can be written."
            )
        self._last_commit = time.monotonic()
