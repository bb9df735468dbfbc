"""Reading images by name from a folder or a zip, without unpacking and without decoding."""

import os
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any

__all__ = ["ImageStore"]

_SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"})
_N_NAMED = 5


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
        self.members = sorted(name for name in names if _is_image(name))
        if not self.members:
            self.close()
            msg = (
                f"{str(path)!r} holds no image: expected files ending in {_suffixes()}. "
                "If the images are in a zip, pass the path of the zip."
            )
            raise FileNotFoundError(msg)
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
            shown = ", ".join(absent[:_N_NAMED]) + (", ..." if len(absent) > _N_NAMED else "")
            msg = (
                f"{len(absent)} of {len(wanted)} images named in {table} are not in "
                f"{str(self.path)!r}: {shown}. Add the images, or leave these rows out of "
                "the table."
            )
            raise FileNotFoundError(msg)
        found = [self._by_name[name] for name in wanted]
        for name, member in zip(wanted, found, strict=True):
            if member is None:
                msg = (
                    f"{name!r} in {table} fits several images of {str(self.path)!r}: "
                    "write it with its folder and suffix."
                )
                raise ValueError(msg)
        return [member for member in found if member is not None]

    def _known_name(self, name: str) -> str:
        """Return the name, without its suffix if only so it is known: PNG copies of JPEGs."""
        stem = PurePosixPath(name)
        if name in self._by_name or stem.suffix.lower() not in _SUFFIXES:
            return name
        without = str(stem.with_suffix(""))
        return without if without in self._by_name else name

    def path_of(self, member: str) -> str:
        """Return where the image is on disk; only for folders."""
        return str(self.path / member)

    def read(self, member: str) -> bytes:
        """Return the encoded bytes of one image."""
        if not self.is_archive:
            return (self.path / member).read_bytes()
        try:
            return self._open().read(member)
        except (RuntimeError, zipfile.BadZipFile, zlib.error) as error:
            msg = (
                f"{member!r} in {str(self.path)!r} cannot be read ({error}): "
                "copy the archive again; encrypted archives must be unpacked first."
            )
            raise ValueError(msg) from error

    def close(self) -> None:
        """Close the archive; reading again opens it again."""
        if self._archive is not None:
            self._archive.close()
            self._archive = None

    def _open(self) -> zipfile.ZipFile:
        # A forked worker shares the file position with its parent, so it opens its own archive.
        if self._archive is None or self._opened_by != os.getpid():
            try:
                self._archive = zipfile.ZipFile(self.path)
            except zipfile.BadZipFile as error:
                msg = f"{str(self.path)!r} is not a zip file: pass a folder or a zip of images."
                raise ValueError(msg) from error
            self._opened_by = os.getpid()
        return self._archive


def _walk(root: Path) -> list[str]:
    return [path.relative_to(root).as_posix() for path in root.rglob("*")]


def _is_image(name: str) -> bool:
    path = PurePosixPath(name)
    # Archives made on a Mac carry a hidden twin of every file, which is no image.
    hidden = any(part.startswith((".", "__MACOSX")) for part in path.parts)
    return path.suffix.lower() in _SUFFIXES and not hidden


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
    return ", ".join(sorted(_SUFFIXES))
