"""Tables of text: decoded, checked line by line, and only then parsed by pandas."""

__all__ = [
    "NAME_COLUMNS",
    "first_row",
    "parse_table",
    "read_text",
    "reject_rows",
    "require_columns",
    "require_numbers",
    "require_unique",
    "require_unique_columns",
]

import bz2
import codecs
import csv
import gzip
import io
import lzma
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from skfairlatent._wording import some_of
from skfairlatent.datasets._files import Place, open_regular
from skfairlatent.datasets._zips import open_zip, read_member

# Names of the column that names images.
NAME_COLUMNS = ("image_id", "file_name", "filename", "image")

# Unpacked; CelebA's largest table has 26 MiB.
_MAX_BYTES = 1 << 30
_UNPACK: dict[str, Callable[[Any], Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
_DELIMITERS = ",;\t"
# As pandas and R write the numbers of rows, once pandas has named what has no name.
_INDEX_NAMES = ("", "Unnamed: 0")


def read_text(path: Place) -> str:
    """Return the text of a file in UTF-8, or UTF-16 with its mark, packed by gzip or not.

    Raises
    ------
    IsADirectoryError
        If it is a folder.
    ValueError
        If it is not a regular file, is empty, or holds no such text.
    """
    data = _read_bytes(path)
    is_utf16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    is_utf16 &= not data.startswith(codecs.BOM_UTF32_LE)  # which begins alike
    if b"\0" in data and not is_utf16:
        line = data.count(b"\n", 0, data.index(b"\0")) + 1
        raise ValueError(
            f"{path.name!r} is not text (line {line} holds a null byte): copy it again, unpack it "
            "if it is an archive, and save a spreadsheet as 'CSV UTF-8'."
        )
    try:
        text = data.decode("utf-16" if is_utf16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ValueError(
            f"{path.name!r} is not text in UTF-8 (line {line}: {error.reason}): save it again in "
            "that encoding, which Excel calls 'CSV UTF-8'."
        ) from error
    if not text.strip():
        raise ValueError(f"{path.name!r} is empty: copy it again.")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def first_row(text: str) -> list[str]:
    """Return the fields of the first row, without the spaces around them."""
    try:
        _, row = next(_rows(text, _delimiter(text)), (0, []))
    except csv.Error:  # which parsing names
        return []
    return [field.strip() for field in row]


def parse_table(
    text: str,
    source: str,
    *,
    names: Sequence[str] | None = None,
    spaced: bool = False,
    as_text: Collection[str] = (),
) -> pd.DataFrame:
    """Parse a table whose rows have as many fields as its header.

    Parameters
    ----------
    text : str
        The table; fields are parted by commas, semicolons or tabs, whichever the first row has
        most of.
    source : str
        Where it came from, for messages.
    names : sequence of str, default=None
        The columns of a table without a header.
    spaced : bool, default=False
        Fields are parted by spaces.
    as_text : collection of str, default=()
        Columns that stay text, even if they hold numbers.

    Returns
    -------
    DataFrame
        At least one row, without the column of row numbers that pandas and R write.

    Raises
    ------
    ValueError
        If a row has more or fewer fields than the header, if the header has a name twice, if
        quotes do not close, or if there is no row.
    """
    delimiter = None if spaced else _delimiter(text)
    try:
        header = _check_widths(text, delimiter, source, names)
        require_unique_columns([name.strip() for name in header if name.strip()], source)
        table = pd.read_csv(
            io.StringIO(text),
            sep=delimiter or r"\s+",
            header=0 if names is None else None,
            names=names,
            index_col=False,  # or pandas takes a column for it by itself
            skipinitialspace=True,
            quoting=csv.QUOTE_NONE if spaced else csv.QUOTE_MINIMAL,
            dtype={name: str for name in header if name.strip() in as_text},
            low_memory=False,
        )
    except (pd.errors.ParserError, pd.errors.EmptyDataError, csv.Error) as error:
        raise ValueError(
            f"{source} cannot be read as a table ({str(error).strip()}): copy it again."
        ) from error
    table.columns = table.columns.str.strip()
    first = table.columns[0]
    if first in _INDEX_NAMES and pd.to_numeric(table[first], errors="coerce").notna().all():
        table = table.drop(columns=first)
    return table


def require_columns(table: pd.DataFrame, needed: Sequence[str], source: str) -> None:
    """Raise ValueError if a column is absent."""
    absent = [name for name in needed if name not in table.columns]
    if absent:
        raise ValueError(
            f"{source} lacks the columns {', '.join(absent)}: pass the published file."
        )


def require_numbers(
    table: pd.DataFrame,
    column: str,
    source: str,
    allowed: Sequence[int] | tuple[float, float],
) -> pd.Series:
    """Return a column as whole numbers, each within a range or from a list.

    Parameters
    ----------
    source : str
        Where the table came from, for messages.
    allowed : tuple of two floats, or list of int
        The least and the most, or all that are allowed.
    """
    given = table[column]
    is_bool = pd.api.types.is_bool_dtype(given)  # which would pass for 0 and 1
    values = pd.to_numeric(given.astype(str) if is_bool else given, errors="coerce")
    if isinstance(allowed, tuple):
        low, high = allowed
        good = values.between(low, high) & (values % 1 == 0)  # which infinity fails
        expected = "a whole number" if np.isinf(low) else f"a whole number from {low:g}"
        expected += "" if np.isinf(high) else f" to {high:g}"
    else:
        good, expected = values.isin(allowed), " or ".join(map(str, allowed))
    reject_rows(given, ~good, source, expected)
    return values


def reject_rows(values: pd.Series, is_bad: Any, source: str, expected: str) -> None:
    """Raise ValueError that names the first bad value, its column and its row."""
    bad = np.flatnonzero(np.asarray(is_bad))
    if len(bad) == 0:
        return
    value = values.iloc[bad[0]]
    held = "no value" if pd.isna(value) else repr(str(value))
    raise ValueError(
        f"{source} holds {held} in row {bad[0] + 1} of column {values.name!r} "
        f"({len(bad)} of {len(values)} rows are wrong there): expected {expected}."
    )


def require_unique(names: Any, source: str) -> None:
    """Raise ValueError if an image is named twice."""
    repeated = pd.Index(names)[pd.Index(names).duplicated()].unique()
    if len(repeated):
        shown = ", ".join(some_of(map(str, repeated)))
        raise ValueError(f"{source} names {shown} more than once: keep one row of each.")


def require_unique_columns(columns: Sequence[Any] | pd.Index, source: str) -> None:
    """Raise ValueError if two columns have one name."""
    repeated = pd.Index(columns)[pd.Index(columns).duplicated()]
    if len(repeated):
        raise ValueError(
            f"{source} has more than one column {repeated[0]!r}: give each another name."
        )


def _read_bytes(path: Place) -> bytes:
    name = repr(path.name)
    if isinstance(path, zipfile.Path):
        return read_member(path.root, path.at, name)
    if path.suffix.lower() == ".zip":
        return _read_only_member(path, name)
    unpack = _UNPACK.get(path.suffix.lower())
    with open_regular(path, name, limit=_MAX_BYTES) as file:
        try:
            data: bytes = (unpack(file) if unpack else file).read(_MAX_BYTES + 1)
        except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
            raise ValueError(f"{name} cannot be read ({error}): copy it again.") from error
    if len(data) > _MAX_BYTES:
        raise ValueError(
            f"{name} unpacks to more than {_MAX_BYTES >> 20} MiB: no table is read that large."
        )
    return data


def _read_only_member(path: Path, name: str) -> bytes:
    with open_zip(path) as archive:
        members = [member for member in archive.namelist() if not member.startswith("__MACOSX/")]
        if len(members) != 1:
            raise ValueError(f"{name} holds {len(members)} files: unpack it and pass the table.")
        return read_member(archive, members[0], name)


def _delimiter(text: str) -> str:
    line = next(line for line in io.StringIO(text) if line.strip())
    return max(
        _DELIMITERS, key=lambda delimiter: len(next(csv.reader([line], delimiter=delimiter)))
    )


def _rows(text: str, delimiter: str | None) -> Iterator[tuple[int, list[str]]]:
    """Yield the number of its line and its fields for each row that is not blank."""
    if delimiter is None:
        for number, line in enumerate(io.StringIO(text), start=1):
            if fields := line.split():
                yield number, fields
        return
    reader = csv.reader(io.StringIO(text), delimiter=delimiter, skipinitialspace=True, strict=True)
    for row in reader:
        if row not in ([], [""]):
            yield reader.line_num, row


def _check_widths(
    text: str, delimiter: str | None, source: str, names: Sequence[str] | None
) -> list[str]:
    """Return the header, as written, if each row has as many fields and there is one."""
    rows = _rows(text, delimiter)
    header = list(names) if names is not None else next(rows)[1]
    n_rows = 0
    for number, row in rows:
        n_rows += 1
        if len(row) != len(header):
            shown = ", ".join(some_of(header))
            raise ValueError(
                f"{source} has {len(row)} fields in line {number} and {len(header)} columns "
                f"({shown}): each column needs one name, and each row one value for it, if empty."
            )
    if n_rows == 0:
        raise ValueError(f"{source} holds no rows below its header: copy it again.")
    return header
