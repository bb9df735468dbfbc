"""Finding the files of a data set, with errors that say where they were looked for."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TypeAlias

__all__ = ["PathLike", "find_file", "require_file", "require_path"]

PathLike: TypeAlias = str | os.PathLike[str]


def require_path(path: PathLike, what: str) -> Path:
    """Return ``path`` as a Path, or raise FileNotFoundError naming ``what`` was expected there."""
    found = Path(path).expanduser()
    if not found.exists():
        msg = f"{str(found)!r} does not exist: pass the path of {what}."
        raise FileNotFoundError(msg)
    return found


def find_file(root: Path, candidates: Iterable[str]) -> Path | None:
    """Return the first of ``candidates``, paths relative to ``root``, that exists."""
    for candidate in candidates:
        if (root / candidate).exists():
            return root / candidate
    return None


def require_file(root: Path, candidates: Iterable[str], what: str) -> Path:
    """Return the first of ``candidates`` under ``root``, or raise FileNotFoundError."""
    names = list(candidates)
    found = find_file(root, names)
    if found is None:
        msg = f"No {what} in {str(root)!r}: expected one of {', '.join(names)} there."
        raise FileNotFoundError(msg)
    return found
