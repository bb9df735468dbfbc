"""A cache of embeddings on disk, so that each image is encoded once."""

__all__ = ["EmbeddingCache"]

import contextlib
import hashlib
import os
import sqlite3
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self, TypeAlias

import filelock
import numpy as np
import numpy.typing as npt

from skfairlatent._user_warnings import UserLine
from skfairlatent.encoders._chunks import map_chunks
from skfairlatent.encoders._images import ImageSource
from skfairlatent.encoders._texts import TextSource
from skfairlatent.exceptions import CheckpointError

FILE_NAME = "embeddings.sqlite3"
# Old versions of sqlite3 take 999 values in one question.
_ROWS_PER_QUESTION = 500
# How long to wait, in seconds, for another process that is writing; one write takes milliseconds.
_PATIENCE = 60.0
# Page size of a new file, in bytes: of sqlite's own 4096, 512 floats would leave half free.
_PAGE_SIZE = f"PRAGMA page_size = {2**15}"
_CREATE = """CREATE TABLE IF NOT EXISTS checked_embeddings (fingerprint TEXT NOT NULL,
digest BLOB NOT NULL, checksum INTEGER NOT NULL, embedding BLOB NOT NULL,
PRIMARY KEY (fingerprint, digest))"""
_FIND = (
    "SELECT digest, checksum, embedding FROM checked_embeddings "
    "WHERE fingerprint = ? AND digest IN "
)
_STORE = "INSERT OR REPLACE INTO checked_embeddings VALUES (?, ?, ?, ?)"
# The same on every machine, for a folder that several share.
STORED = np.dtype("<f4")
# A process that is killed loses no more than this; committing each batch took longer than some
# encoders do.
_SECONDS_TO_COMMIT = 2.0
_ROWS_TO_COMMIT = 1000
# Beginnings of the names of sqlite errors that waiting or more space do not mend.
_NOT_A_CACHE = ("SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_ERROR")

Embeddings: TypeAlias = npt.NDArray[np.float32]
Indices: TypeAlias = npt.NDArray[np.intp]


class DistinctImages:
    """The distinct images of a source, with the embeddings that are known so far.

    Attributes
    ----------
    digests : list of bytes
        Digest of each distinct image.
    rows : ndarray of int
        The first row with each.
    places : ndarray of shape (len(source),), int
        Which distinct image each row is.
    embeddings : ndarray of shape (len(digests), d), float32
    """

    def __init__(
        self, source: ImageSource | TextSource, batch_size: int, *, verbose: bool
    ) -> None:
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


class EmbeddingCache:
    """The file ``embeddings.sqlite3`` in a directory, shared by encoders and by processes.

    It holds embeddings and the digests of the pixels that they belong to, no pixels. An
    embedding may still tell much about a face: keep the file as carefully as the images.
    Among several processes one encodes at a time, and the others then find what it stored, so that
    the workers of a grid search never encode the same image twice. Embeddings are stored
    every few seconds, and on an interruption: the next run goes on from there.

    Parameters
    ----------
    directory : path-like
        Made when it is first needed.
    fingerprint : str
        Digest of all that embeddings depend on besides the pixels: weights and their use.
    """

    def __init__(self, directory: str | os.PathLike[str], fingerprint: str) -> None:
        if not os.fspath(directory):
            raise ValueError("cache_dir='' is empty: pass a folder; '.' is the current one.")
        self.path = Path(directory).expanduser() / FILE_NAME
        self.fingerprint = fingerprint

    def encode(
        self,
        source: ImageSource | TextSource,
        encode_rows: Callable[[Any], npt.NDArray[Any]],
        batch_size: int,
        *,
        read: Callable[[Indices], Any] | None = None,
        verbose: bool = False,
    ) -> Embeddings:
        """Return the embeddings of all images; only those not stored yet are encoded.

        Parameters
        ----------
        source : ImageSource
            Read once to recognise the images; equal images are encoded once.
        encode_rows : callable
            Takes row numbers, or what `read` returned for them, and returns the embeddings of
            shape (k, d).
        batch_size : int
            Images to hold, to encode and to store at a time; halved when memory runs out.
        read : callable, optional
            Takes row numbers and returns what `encode_rows` needs, as ``source.read`` does. It
            runs one batch ahead, in a thread.
        verbose : bool, default=False
            Whether to show a progress bar.

        Returns
        -------
        ndarray of shape (n, d), float32

        Warns
        -----
        FairLatentWarning
            If embeddings could not be stored, as on a full disk: they are returned all the same.

        Raises
        ------
        CheckpointError
            If the file is damaged or is not a cache.
        OSError
            If the file cannot be opened or made, before anything is encoded.
        """
        images = DistinctImages(source, batch_size, verbose=verbose)
        with self._open() as connection:
            self._look_up(connection, images)
            if images.missing.size:
                with self._alone():
                    self._look_up(connection, images)  # another may just have stored them
                    missing = images.missing

                    def take(chunk: slice) -> tuple[Indices, Any]:
                        rows = images.rows[missing[chunk]]
                        return missing[chunk], rows if read is None else read(rows)

                    def keep(taken: tuple[Indices, Any]) -> Indices:
                        which, given = taken
                        embeddings = encode_rows(given)
                        images.put(which, embeddings, self.path)
                        store.add([images.digests[i] for i in which], embeddings)
                        return which

                    if missing.size:
                        with EmbeddingWriter(connection, self.path, self.fingerprint) as store:
                            map_chunks(
                                missing.size,
                                batch_size,
                                keep,
                                read=take,
                                desc="encode",
                                verbose=verbose,
                            )
        return images.of_all_rows()

    def _look_up(self, connection: sqlite3.Connection, images: DistinctImages) -> None:
        """Put the embeddings that are stored to those that are missing."""
        place = {images.digests[i]: i for i in images.missing}
        digests = list(place)
        for start in range(0, len(digests), _ROWS_PER_QUESTION):
            asked = digests[start : start + _ROWS_PER_QUESTION]
            marks = ",".join("?" * len(asked))
            with self._explained():
                answers = connection.execute(
                    f"{_FIND} ({marks})", [self.fingerprint, *asked]
                ).fetchall()
            for digest, checksum, stored in answers:
                if not stored or zlib.crc32(stored) != checksum:
                    raise self._damaged("an embedding is not what was stored")
                embedding = np.frombuffer(stored, dtype=STORED)
                images.put(np.array([place[digest]]), embedding[np.newaxis], self.path)

    @contextlib.contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        with self._explained():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(self.path, timeout=_PATIENCE)
        # One flipped bit makes text of bytes: then the checksum tells, too.
        connection.text_factory = bytes
        with contextlib.closing(connection):
            with self._explained():
                connection.execute(_PAGE_SIZE)
                connection.execute(_CREATE)
            yield connection

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Let one process at a time encode with this fingerprint."""
        name = hashlib.blake2b(self.fingerprint.encode(), digest_size=8).hexdigest()
        lock = filelock.FileLock(self.path.with_name(f"{name}.lock"))
        # A folder that can only be read, or a file system without locks: at worst, two processes
        # encode the same images.
        with contextlib.suppress(OSError, NotImplementedError):
            lock.acquire()
        try:
            yield
        finally:
            lock.release()

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (FileExistsError, NotADirectoryError) as error:
            raise NotADirectoryError(
                f"cache_dir={str(self.path.parent)!r} is a file, or is in one: pass the path of a "
                "folder, which is made if there is none."
            ) from error
        except (OSError, sqlite3.DatabaseError) as error:
            name = getattr(error, "sqlite_errorname", "")
            if name.startswith(_NOT_A_CACHE):
                raise self._damaged(error) from error
            raise OSError(
                f"{self.path} cannot be used to keep embeddings ({error}): free some space, pass "
                "the path of a folder that can be written, or encode without a cache."
            ) from error

    def _damaged(self, error: object) -> CheckpointError:
        return CheckpointError(
            f"{self.path} cannot be read as a cache of embeddings ({error}): delete it and encode "
            "again, or use another folder."
        )
