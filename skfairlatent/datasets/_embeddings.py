"""Embeddings stored as bytes, joined with a table of attributes."""

import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.utils import Bunch

from skfairlatent.datasets._files import PathLike, open_regular, require_file, require_path
from skfairlatent.datasets._rows import AttributeTable, RowOptions, read_attributes
from skfairlatent.datasets._zips import check_ratio

__all__ = ["load_embeddings"]

_KEYS = ("codes", "scale", "offset", "image_id")
# By name, or by numpy's letter for all of a kind; the first is what messages name.
_DTYPES = {
    "codes": ("uint8",),
    "scale": ("float32", "f"),
    "offset": ("float32", "f"),
    "image_id": ("text", "U", "S", "i", "u"),
}
# What numpy and zipfile raise on damaged bytes; MemoryError where a header promises too much.
_UNREADABLE = (
    *(OSError, ValueError, EOFError, TypeError, RuntimeError, MemoryError, OverflowError),
    *(AttributeError, zipfile.BadZipFile, zlib.error),
)


def load_embeddings(
    folder: PathLike,
    attributes: PathLike | pd.DataFrame | None = None,
    *,
    split: str | Sequence[str] | None = None,
    columns: Sequence[str] | None = None,
    max_samples: int | None = None,
    random_state: int | np.random.RandomState | None = None,
) -> Bunch:
    """Load embeddings computed earlier, with the attributes of the images they came from.

    Embeddings are kept as one byte a feature: ``codes * scale + offset``.

    Parameters
    ----------
    folder : path-like
        An ``embeddings.npz``, or a folder that holds one, with the entries ``codes``
        (n, n_features) uint8, ``scale`` and ``offset`` (n_features,) of finite floats, and
        ``image_id`` (n,) of text or integers.
    attributes : path-like or DataFrame, default=None
        The table of attributes, with a column ``image_id``; rows may be in another order, and
        more than the embeddings. By default ``attributes.csv`` beside the embeddings.
    split : str or sequence of str, default=None
        Keep the rows of these splits, compared as text. Rows without a split belong to none.
    columns : sequence of str, default=None
        Keep these attributes; all by default.
    max_samples : int, default=None
        Keep at most so many rows: the first ones, or with ``random_state`` a random choice.
    random_state : int, RandomState instance or None, default=None
        Draws ``max_samples`` rows at random; they keep their order.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        With the entries:

        data : ndarray of shape (n, n_features), float32
            The embeddings.
        frame : DataFrame of n rows
            The attributes.
        image_id : ndarray of shape (n,), object
            The name of each image.
        split : ndarray of shape (n,), object, or None
            The split of each row as text, None where it has none, if the table has splits.

    Raises
    ------
    FileNotFoundError
        If the embeddings or the table are absent.
    ValueError
        If a file is corrupt, lacks an entry or holds one of another type or shape, or names an
        image that the table does not.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> import numpy as np, pandas as pd
    >>> from skfairlatent.datasets import load_embeddings
    >>> table = pd.DataFrame({"image_id": ["a", "b"], "smiling": [0, 1]})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.savez(
    ...         pathlib.Path(folder, "embeddings.npz"), image_id=["b", "a"],
    ...         codes=np.array([[0, 2], [4, 6]], dtype=np.uint8),
    ...         scale=np.full(2, 0.5, dtype=np.float32), offset=np.full(2, -1, dtype=np.float32),
    ...     )
    ...     stored = load_embeddings(folder, table)
    >>> stored.data.tolist(), stored.frame["smiling"].tolist()
    ([[-1.0, 0.0], [1.0, 2.0]], [1, 0])
    """
    root = require_path(folder, "a folder of embeddings, or an embeddings.npz")
    file = root if not root.is_dir() else require_file(root, ["embeddings.npz"], "embeddings")
    given = _default_table(file.parent) if attributes is None else attributes
    table = read_attributes(given)
    stored = _read_codes(file)
    joined = _join(table, _as_text(stored["image_id"]), file.name)
    chosen = joined.select(RowOptions(split, columns, max_samples, random_state))
    rows = pd.Index(joined.names).get_indexer(chosen.names)
    return Bunch(
        data=_decode(stored, rows),
        frame=chosen.frame,
        image_id=chosen.names,
        split=chosen.split,
    )


def _as_text(ids: NDArray[Any]) -> NDArray[np.str_]:
    # Bytes that are no text become names that no table has.
    return np.char.decode(ids, "utf-8", "replace") if ids.dtype.kind == "S" else ids.astype(str)


def _decode(stored: dict[str, NDArray[Any]], rows: NDArray[np.intp]) -> NDArray[np.float32]:
    decoded = stored["codes"][rows].astype(np.float32)
    decoded *= stored["scale"].astype(np.float32)
    decoded += stored["offset"].astype(np.float32)
    return decoded


def _read_codes(file: Path) -> dict[str, NDArray[Any]]:
    name = repr(str(file))
    # Opened here, because np.load leaves a file open that turns out to be cut short.
    with open_regular(file, name) as opened:
        try:
            with np.load(opened, allow_pickle=False) as archive:
                for entry in archive.zip.infolist():
                    check_ratio(entry, name)
                stored = {key: archive[key] for key in _KEYS if key in archive}
        except _UNREADABLE as error:
            msg = f"{name} cannot be read as an npz file ({error}): copy it again."
            raise ValueError(msg) from error
    absent = [key for key in _KEYS if key not in stored]
    if absent:
        msg = f"{name} lacks {', '.join(absent)}: expected {', '.join(_KEYS)}."
        raise ValueError(msg)
    _check_codes(stored, name)
    return stored


def _check_codes(stored: dict[str, NDArray[Any]], name: str) -> None:
    codes = stored["codes"]
    width = codes.shape[-1:]
    if (
        codes.ndim != 2
        or stored["scale"].shape != width
        or stored["offset"].shape != width
        or stored["image_id"].shape != codes.shape[:1]
        or codes.size == 0
    ):
        shapes = ", ".join(f"{key} {stored[key].shape}" for key in _KEYS)
        msg = f"{name} holds {shapes}: expected (n, d), (d,), (d,) and (n,), one row or more."
        raise ValueError(msg)
    for key, kinds in _DTYPES.items():
        if stored[key].dtype.name not in kinds and stored[key].dtype.kind not in kinds:
            msg = f"{name} holds {key} of dtype {stored[key].dtype}: expected {kinds[0]}."
            raise ValueError(msg)
    scale, offset = (stored[key].astype(np.float64) for key in ("scale", "offset"))
    largest = np.finfo(np.float32).max / 255  # of a byte
    if not (np.abs(scale) + np.abs(offset) / 255 <= largest).all():
        msg = f"{name} holds NaN or numbers too large in scale or offset: save it again."
        raise ValueError(msg)


def _join(table: AttributeTable, image_ids: NDArray[np.str_], source: str) -> AttributeTable:
    """Return the table's rows in the order of the embeddings."""
    if len(np.unique(image_ids)) != len(image_ids):
        msg = f"{source!r} holds several embeddings of one image_id: keep one of each."
        raise ValueError(msg)
    rows = pd.Index(table.names).get_indexer(image_ids.astype(object))
    absent = image_ids[rows < 0]
    if len(absent):
        msg = (
            f"{len(absent)} of {len(image_ids)} embeddings in {source!r} have no row in "
            f"{table.source}: {', '.join(absent[:5])}. Pass the table they were made from."
        )
        raise ValueError(msg)
    return table.take(rows)


def _default_table(folder: Path) -> Path:
    try:
        return require_file(folder, ["attributes.csv"], "attribute table")
    except FileNotFoundError as error:
        msg = f"{error} Pass the table as attributes=, a path or a DataFrame."
        raise FileNotFoundError(msg) from None
