"""Writing files in one step, over regular files only; what a killed process left is deleted."""

__all__ = ["replace_file", "require_folder"]

import contextlib
import errno
import os
import re
import stat
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

try:
    import fcntl
except ImportError:  # Windows, where an open file cannot be deleted: that is lock enough
    fcntl = None  # type: ignore[assignment]

# Where a file system knows no locks: nobody writes a file for so long.
SECONDS_TO_WRITE = 3600.0
# Names may have 255 bytes on most file systems: the rest is for the mark of a temporary file.
_MAX_BYTES_OF_NAME = 200
# There may be room later, and what is kept then is better than nothing.
_FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))


def replace_file(
    path: str | os.PathLike[str], content: bytes, what: str, *, durable: bool = True
) -> None:
    """Write a file next to `path`, then put it in its place.

    A link stays one: what it points to is replaced. A file that is replaced keeps its mode, and
    its owner where that is possible; other hard links to it keep the old content. A temporary
    file left by a process that was killed while it wrote is deleted.

    Parameters
    ----------
    path : path-like
        ``~`` is the home folder.
    what : str
        Description of the content, for errors.
    durable : bool, default=True
        Wait until the disk has it: some file systems report a full disk only then.

    Raises
    ------
    OSError
        If `path` is a folder or no regular file, its folder is missing, or writing fails, as on a
        full disk. The file that was at `path` is then still there and whole.
    """
    given = Path(path).expanduser()
    target = Path(os.path.realpath(given))
    try:
        before = _state(given)
        if before is None or stat.S_ISREG(before.st_mode):
            _write(target, before, content, durable=durable)
            return
    except OSError as error:
        needed = f"make room for {len(content)} bytes in an existing, writable folder"
        raise OSError(
            error.errno,
            f"{error.strerror}. {what} was not written, and what was there before is unchanged: "
            f"{needed}, or write elsewhere",
            os.fspath(path),
        ) from error
    if stat.S_ISDIR(before.st_mode):
        code, told = errno.EISDIR, "a folder: pass the path of a file in it"
    else:
        code, told = errno.EINVAL, "a pipe, a device or a socket: pass the path of a file"
    raise OSError(code, f"{what} was not written. This is {told}", os.fspath(path))


def require_folder(name: str, given: str | os.PathLike[str]) -> Path:
    """Return the path of a folder, made if there is none, or say what is wrong with it.

    Parameters
    ----------
    name : str
        Name of the parameter, for errors.
    given : path-like
        ``~`` is the home folder.

    Raises
    ------
    ValueError
        If the path is empty.
    OSError
        If it is a file, cannot be made, or no file can be made in it. A full disk is not an error.
    """
    if not os.fspath(given):
        raise ValueError(f"{name}={given!r} is not the path of a folder; '.' is this one.")
    folder = Path(given).expanduser()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except (FileExistsError, NotADirectoryError) as error:
        raise NotADirectoryError(
            error.errno,
            f"{name} is a file, or is in one: pass the path of a folder, which is made if there "
            "is none",
            os.fspath(given),
        ) from error
    except OSError as error:
        if error.errno not in _FULL:
            raise OSError(
                error.errno,
                f"{name} cannot be written to ({error.strerror}): pass the path of a folder that "
                "can, which is made if there is none",
                os.fspath(given),
            ) from error
    return folder


def _write(target: Path, before: os.stat_result | None, content: bytes, *, durable: bool) -> None:
    if before is not None and not os.access(target, os.W_OK):
        raise PermissionError(errno.EACCES, "The file is read-only")
    if not target.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, f"There is no folder {str(target.parent)!r}")
    _remove_leftovers(target)
    with _temporary(target, before) as (file, temporary):
        file.write(content)
        file.flush()
        if durable:
            os.fsync(file.fileno())
        if os.name == "nt":  # where an open file cannot be renamed
            file.close()
        temporary.replace(target)


def _state(path: Path) -> os.stat_result | None:
    with contextlib.suppress(FileNotFoundError):
        return path.stat()
    return None


@contextlib.contextmanager
def _temporary(target: Path, before: os.stat_result | None) -> Iterator[tuple[BinaryIO, Path]]:
    """Make a file, deleted afterwards unless it was moved; locked as long as it is open."""
    # Not tempfile's: those can be read by nobody else, and a rename keeps that. One that replaces
    # a private file is as private from the beginning.
    mode = 0o666 if before is None else 0o600
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    linked = False
    while not linked:
        path = target.with_name(f"{_beginning(target)}{uuid.uuid4().hex}.tmp")
        opened = os.open(path, flags, mode)
        _lock(opened, wait=True)
        # Before it was locked, another process may have taken it for a leftover.
        linked = fcntl is None or os.fstat(opened).st_nlink > 0
        if not linked:
            os.close(opened)
    with os.fdopen(opened, "wb") as file:
        try:
            if before is not None:
                _take_over(path, before)
            yield file, path
        finally:
            with contextlib.suppress(FileNotFoundError):
                path.unlink()


def _take_over(path: Path, before: os.stat_result) -> None:
    # Only root gives files away, and on Windows nobody.
    with contextlib.suppress(OSError, AttributeError):
        os.chown(path, before.st_uid, before.st_gid)
    path.chmod(stat.S_IMODE(before.st_mode))


def _remove_leftovers(target: Path) -> None:
    """Delete what processes left that were killed while they wrote: as large as the file."""
    ours = re.compile(re.escape(_beginning(target)) + r"[0-9a-f]{32}\.tmp")
    for path in target.parent.iterdir():
        if ours.fullmatch(path.name):
            with contextlib.suppress(OSError):
                _remove_if_abandoned(path)


def _remove_if_abandoned(path: Path) -> None:
    if fcntl is None:
        path.unlink()
        return
    # Whatever lies there by that name: no link is followed, and no pipe waited for.
    opened = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        if _lock(opened):
            path.unlink()
    finally:
        os.close(opened)


def _lock(opened: int, *, wait: bool = False) -> bool:
    """Lock a file; tell whether nobody else holds it, or, where nobody can tell, is likely to."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError:
        return time.time() - os.fstat(opened).st_mtime > SECONDS_TO_WRITE
    return True


def _beginning(target: Path) -> str:
    """Return what the names of temporary files begin with that are to become this one."""
    return f".{os.fsdecode(os.fsencode(target.name)[:_MAX_BYTES_OF_NAME])}."
