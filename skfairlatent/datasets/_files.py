"""Finding and opening the files of a data set, with errors that say where and what they are."""

__all__ = [
    "PathLike",
    "Place",
    "check_size",
    "find_file",
    "open_regular",
    "require_file",
    "require_path",
]

import os
import stat
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO, TypeAlias, TypeVar, cast

PathLike: TypeAlias = str | os.PathLike[str]
# A folder or a file, on disk or in a zip.
Place: TypeAlias = Path | zipfile.Path

_Folder = TypeVar("_Folder", bound=Place)


def require_path(path: PathLike, what: str) -> Path:
    """Return ``path`` as a Path, or raise FileNotFoundError naming ``what`` was expected there."""
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"A {type(path).__name__} is not a path: pass the path of {what}.")
    if not os.fspath(path):
        raise ValueError(f"The path is empty: pass the path of {what}; '.' is the current folder.")
    try:
        found = Path(path).expanduser()
        exists = found.exists()
    except (OSError, RuntimeError, ValueError) as error:  # too long, no such user, a null byte
        raise FileNotFoundError(
            f"{str(path)!r} cannot be looked up ({error}): pass the path of {what}."
        ) from error
    if not exists:
        raise FileNotFoundError(f"{str(found)!r} does not exist: pass the path of {what}.")
    return found


def find_file(root: _Folder, candidates: Iterable[str]) -> _Folder | None:
    """Return the first of ``candidates``, paths relative to ``root``, that exists."""
    for candidate in candidates:
        if (root / candidate).exists():
            return cast(_Folder, root / candidate)
    return None


def require_file(root: _Folder, candidates: Iterable[str], what: str) -> _Folder:
    """Return the first of ``candidates`` in the folder ``root``, or raise FileNotFoundError."""
    names = list(candidates)
    if not root.is_dir():
        raise NotADirectoryError(
            f"{str(root)!r} is not a folder: pass the folder of the unpacked files."
        )
    found = find_file(root, names)
    if found is None:
        raise FileNotFoundError(
            f"No {what} in {str(root)!r}: expected one of {', '.join(names)} there."
        )
    return found


def open_regular(path: PathLike, name: str, *, limit: int | None = None) -> BinaryIO:
    """Open a file for reading; pipes and devices, whose reading may never end, are refused.

    Parameters
    ----------
    path : path-like
        The file, or a link to it.
    name : str
        Its name in messages.
    limit : int or None, default=None
        The most bytes that it may have.

    Raises
    ------
    FileNotFoundError, IsADirectoryError
        If the path leads nowhere, or to a folder.
    ValueError
        If it is not a regular file, or larger than `limit`.
    """
    try:
        status = os.stat(path)  # noqa: PTH116 - 100,000 paths need not become objects
    except OSError as error:
        raise FileNotFoundError(
            f"{name} does not exist, or is a broken link ({error.strerror}): pass the path of a "
            "file."
        ) from error
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(f"{name} is a folder: pass the path of a file.")
    if not stat.S_ISREG(status.st_mode):
        raise ValueError(
            f"{name} is not a regular file but a pipe, a socket or a device: copy it into a file."
        )
    check_size(status.st_size, name, limit)
    return open(path, "rb")  # noqa: PTH123 - the caller closes it


def check_size(size: int, name: str, limit: int | None) -> None:
    """Raise ValueError if a file is larger than it may be."""
    if limit is not None and size > limit:
        raise ValueError(
            f"{name} has {size >> 20} MiB: at most {limit >> 20} MiB are read; make it smaller."
        )
