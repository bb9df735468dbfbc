"""Reading members of a zip whose sizes may be lies."""

__all__ = ["as_folder", "open_zip", "read_member"]

import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from skfairlatent.datasets._files import Place, check_size, open_regular
from skfairlatent.datasets._one_image import MAX_BYTES

# Python unpacks other methods without a bound, and no tool picks them by itself.
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)

# A file that shrinks to less than this part is not a picture but zeros, unless it is small.
_MAX_RATIO = 200
_SMALL = 16 << 20


def open_zip(path: Path) -> zipfile.ZipFile:
    """Open a zip, or raise ValueError naming it."""
    open_regular(path, repr(str(path))).close()
    try:
        return zipfile.ZipFile(path)
    except (zipfile.BadZipFile, NotImplementedError, UnicodeDecodeError) as error:
        raise ValueError(
            f"{str(path)!r} cannot be read as a zip file ({error}): pass a folder or a zip of "
            "images, and copy a zip that was cut short again."
        ) from error


@contextmanager
def as_folder(path: Path) -> Iterator[Place]:
    """Give a folder as it is, and a zip as the folder that it would unpack to.

    If that holds one folder and nothing else, it is the one.
    """
    if path.is_dir():
        yield path
        return
    with open_zip(path) as archive:
        place = zipfile.Path(archive)
        inner = [p for p in place.iterdir() if p.name != "__MACOSX" and p.name[:1] != "."]
        while len(inner) == 1 and inner[0].is_dir():
            place = inner[0]
            inner = list(place.iterdir())
        yield place


def read_member(archive: zipfile.ZipFile, member: str, name: str) -> bytes:
    """Return the bytes of one member, never more than it declares nor than an image may have.

    Raises
    ------
    ValueError
        If it is damaged or encrypted, too large, or unpacks to far more than it takes in the zip.
    """
    entry = archive.getinfo(member)
    if entry.compress_type not in _METHODS:
        raise ValueError(
            f"{name} is packed by method {entry.compress_type}, not by the usual deflate: unpack "
            "the archive and pass the folder."
        )
    check_size(entry.file_size, name, MAX_BYTES)
    _check_ratio(entry, name)
    try:
        with archive.open(entry) as file:
            data = file.read(entry.file_size)  # without a number, all is unpacked at once
            file.read(1)  # compares the checksum, also of what is empty
    except (OSError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(
            f"{name} cannot be read ({error}): "
            "copy the archive again; encrypted archives must be unpacked first."
        ) from error
    return data


def _check_ratio(entry: zipfile.ZipInfo, name: str) -> None:
    """Raise ValueError if a member unpacks to far more than it takes in the zip."""
    if entry.file_size > max(_SMALL, _MAX_RATIO * entry.compress_size):
        raise ValueError(
            f"{name} takes {entry.compress_size >> 10} KiB and unpacks to "
            f"{entry.file_size >> 20} MiB, as zeros made to fill memory do: unpack it yourself "
            "if you trust it."
        )
