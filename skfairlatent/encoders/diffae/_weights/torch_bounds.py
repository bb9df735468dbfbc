"""Bounds on what a file of torch.save may make its reader do, looked at before it is read."""

__all__ = ["BoundError", "Checksums", "check_pickles", "check_zip"]

import io
import pickle
import pickletools
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

# Sizes in bytes and CRCs of the parts of a file.
Checksums = frozenset[tuple[int, int]]

# A checkpoint takes 110 bytes and 40 operations for each tensor, those of its optimizer included;
# settings and the state of callbacks take some thousands.
MAX_PICKLE_BYTES = 64 << 20
MAX_OPERATIONS = 200_000
_OPERATIONS_OF_SETTINGS, _OPERATIONS_OF_PART = 50_000, 200
# Objects in a pickle, each counted as often as it is named: hashing walks through all of them.
MAX_VISITS = 20_000_000
MAX_DEPTH = 500
# In the older format: a magic number, a version, the machine, the content, and names of storages.
_LEGACY_PICKLES = 5
_SMALL = 1 << 20
_PUT = {"PUT", "BINPUT", "LONG_BINPUT"}
_GET = {"GET", "BINGET", "LONG_BINGET"}
_FILLED = {"APPEND", "APPENDS", "SETITEM", "SETITEMS", "ADDITEMS", "BUILD"}
# It allocates as much as it is asked to, and weights hold none.
_BYTEARRAYS = {"builtins bytearray", "__builtin__ bytearray"}


class BoundError(Exception):
    """A file asks for more than weights ever do."""


class _Extent(NamedTuple):
    """How many objects one holds, itself included, and how deep they lie."""

    size: int = 1
    depth: int = 1


def check_zip(path: Path) -> Checksums | None:
    """Check a zip of torch.save, without its tensors; return the checksums of its parts.

    Raises
    ------
    BoundError
        If its parts are packed, overlap or share a name, or its pickle is too large.
    zipfile.BadZipFile
        If it, or a part other than a tensor, is damaged.
    """
    with zipfile.ZipFile(path) as archive:
        parts = archive.infolist()
        _check_directory(parts, path.stat().st_size)
        checksums = frozenset((part.file_size, part.CRC) for part in parts)
        # torch can be told to write none.
        has_checksums = any(part.CRC for part in parts)
        limit = _OPERATIONS_OF_SETTINGS + _OPERATIONS_OF_PART * len(parts)
        for part in parts:
            if not has_checksums:
                del part.CRC
            if part.filename.endswith("data.pkl"):
                check_pickles(io.BytesIO(archive.read(part)), 1, limit)
            elif part.file_size < _SMALL and "/data/" not in part.filename:
                archive.read(part)
        return checksums if has_checksums else None


def _check_directory(parts: Sequence[zipfile.ZipInfo], n_bytes: int) -> None:
    if any(part.compress_type != zipfile.ZIP_STORED for part in parts):
        raise BoundError("it holds compressed parts, which torch.save never writes")
    if len({part.filename for part in parts}) < len(parts):
        raise BoundError("it holds two parts of one name")
    if sum(part.file_size for part in parts) > n_bytes:
        raise BoundError("its parts would be larger than it is itself")
    for part in parts:
        if part.filename.endswith("data.pkl") and part.file_size > MAX_PICKLE_BYTES:
            raise BoundError(f"its data.pkl has {part.file_size} bytes")


def check_pickles(
    file: BinaryIO, n_pickles: int = _LEGACY_PICKLES, max_operations: int = MAX_OPERATIONS
) -> None:
    """Walk through the pickles at the beginning of a file, and build nothing.

    The walk ends where the content is not a pickle: reading it will fail there as well.

    Raises
    ------
    BoundError
        If reading them would take too long, or too much memory.
    pickle.UnpicklingError
        If they need what allocates at will.
    """
    walk = _Walk(max_operations)
    try:
        for _ in range(n_pickles):
            walk.through(file)
    except (AttributeError, LookupError, ValueError):
        return


class _Walk:
    """The stack of an unpickler, with extents instead of objects."""

    def __init__(self, max_operations: int) -> None:
        self.max_operations = max_operations
        self.n_operations = 0
        self.n_visits = 0

    def through(self, file: BinaryIO) -> None:
        self.stack: list[_Extent] = []
        self.marks: list[int] = []
        self.memo: dict[int, _Extent] = {}
        for opcode, argument, _ in pickletools.genops(file):
            self.n_operations += 1
            if self.n_operations > self.max_operations:
                raise BoundError(f"it holds more than {self.max_operations} pickled objects")
            self._follow(opcode, argument)

    def _follow(self, opcode: pickletools.OpcodeInfo, argument: object) -> None:
        if opcode.name == "GLOBAL" and argument in _BYTEARRAYS:
            raise pickle.UnpicklingError("GLOBAL builtins.bytearray")
        if opcode.name == "MARK":
            self.marks.append(len(self.stack))
        elif opcode.name in _PUT:
            self.memo[argument] = self.stack[-1]  # type: ignore[index]
        elif opcode.name in _GET:
            self.stack.append(self.memo[argument])  # type: ignore[index]
        else:
            taken = self._take(opcode)
            self.stack += [self._joined(taken, opcode.name in _FILLED)] * len(opcode.stack_after)

    def _take(self, opcode: pickletools.OpcodeInfo) -> list[_Extent]:
        n_below = len(opcode.stack_before)
        start = len(self.stack)
        if pickletools.markobject in opcode.stack_before:
            n_below = opcode.stack_before.index(pickletools.markobject)
            start = self.marks.pop()
        taken = self.stack[start - n_below :]
        del self.stack[start - n_below :]
        return taken

    def _joined(self, taken: Sequence[_Extent], fills_first: bool) -> _Extent:
        first, rest = (taken[0], taken[1:]) if fills_first else (_Extent(), taken)
        added = sum(each.size for each in rest)
        depth = max((first.depth, *(each.depth + 1 for each in rest)))
        self.n_visits += added
        if self.n_visits > MAX_VISITS or depth > MAX_DEPTH:
            raise BoundError("its pickled objects lie within one another without end")
        return _Extent(first.size + added, depth)
