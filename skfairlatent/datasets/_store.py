"""Reading images by name from a folder or a zip, without unpacking and without decoding."""

__all__ = ["ImageStore"]

import io
import os
import zipfile
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from skfairlatent._wording import some_of
from skfairlatent.datasets._files import open_regular
from skfairlatent.datasets._one_image import MAX_BYTES
from skfairlatent.datasets._zips import open_zip, read_member

IMAGE_SUFFIXES = frozenset(
    {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"}
)


class ImageStore:
    """The images of a folder (searched recursively) or of a zip.

    Parameters
    ----------
    path : Path
        An existing folder or zip file.

    Attributes
    ----------
    members : list of str
        Path of every image inside the folder or zip, sorted.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.is_archive = not path.is_dir()
        self._archive: zipfile.ZipFile | None = None
        self._opened_by: int | None = None
        names = self._open().namelist() if self.is_archive else _walk(path)
        # A zip may hold a name twice; as for zipfile, the last one counts.
        self.members = sorted({name for name in names if _is_image(name)})
        if not self.members:
            self.close()
            raise FileNotFoundError(
                f"{str(path)!r} holds no image: expected files ending in {_suffixes()}. "
                "If the images are in a zip, pass the path of the zip."
            )
        self._by_name = _index_names(self.members)

    def __getstate__(self) -> dict[str, Any]:
        """Leave the open archive behind: another process opens its own."""
        return {**self.__dict__, "_archive": None, "_opened_by": None}

    def resolve(self, names: Iterable[str], table: str) -> list[str]:
        """Return the member for each name in a table, with or without folder and suffix.

        Raises
        ------
        FileNotFoundError
            If images are absent.
        ValueError
            If a name fits several images.
        """
        wanted = [self._known_name(name) for name in names]
        absent = [name for name in wanted if name not in self._by_name]
        if absent:
            raise FileNotFoundError(
                f"{len(absent)} of {len(wanted)} images named in {table} are not in "
                f"{str(self.path)!r}: {', '.join(some_of(absent))}. Add the images, "
                "or leave these rows out of the table."
            )
        found: dict[str, str] = {}  # the first name of each image
        for name in wanted:
            member = self._by_name[name]
            if member is None:
                raise ValueError(
                    f"{name!r} in {table} fits several images of {str(self.path)!r}: "
                    "write it with its folder and suffix."
                )
            if member in found:
                raise ValueError(
                    f"{found[member]!r} and {name!r} in {table} are one image, {member!r}: "
                    "keep one row of each."
                )
            found[member] = name
        return list(found)

    def _known_name(self, name: str) -> str:
        """Return the name, without its suffix if only so it is known: PNG copies of JPEGs."""
        stem = PurePosixPath(name)
        if name in self._by_name or stem.suffix.lower() not in IMAGE_SUFFIXES:
            return name
        without = str(stem.with_suffix(""))
        return without if without in self._by_name else name

    def path_of(self, member: str) -> str:
        """Return where the image is on disk; only for folders."""
        return str(self.path / member)

    def name_of(self, member: str) -> str:
        """Return what to call an image in messages."""
        return f"{member!r} in {str(self.path)!r}"

    def open(self, member: str) -> BinaryIO:
        """Open the encoded bytes of one image."""
        if self.is_archive:
            return io.BytesIO(read_member(self._open(), member, self.name_of(member)))
        return open_regular(self.path / member, self.name_of(member), limit=MAX_BYTES)

    def close(self) -> None:
        """Close the archive; reading again opens it again."""
        if self._archive is not None:
            self._archive.close()
            self._archive = None

    def _open(self) -> zipfile.ZipFile:
        # A forked worker shares the file position with its parent, so it opens its own archive.
        if self._archive is None or self._opened_by != os.getpid():
            self._archive = open_zip(self.path)
            self._opened_by = os.getpid()
        return self._archive


def _walk(root: Path) -> list[str]:
    return [
        Path(folder, name).relative_to(root).as_posix()
        for folder, _, names in os.walk(root)
        for name in names
    ]


def _is_image(name: str) -> bool:
    path = PurePosixPath(name)
    # Archives made on a Mac carry a hidden twin of every file, which is not an image.
    hidden = any(part.startswith((".", "__MACOSX")) for part in path.parts)
    return path.suffix.lower() in IMAGE_SUFFIXES and not hidden


def _index_names(members: list[str]) -> dict[str, str | None]:
    """Map full path, file name and stem to the member; None where several share a short name."""
    index: dict[str, str | None] = {}
    for member in members:
        path = PurePosixPath(member)
        for short in {path.name, path.stem, str(path.with_suffix(""))} - {member}:
            index[short] = None if short in index else member
    index.update({member: member for member in members})
    return index


def _suffixes() -> str:
    return ", ".join(sorted(IMAGE_SUFFIXES))
