"""Choosing rows and columns of an attribute table before anything is decoded."""

__all__ = [
    "AttributeTable",
    "RowOptions",
    "read_attributes",
]

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.utils import check_random_state

from skfairlatent._wording import some_of
from skfairlatent.datasets._files import PathLike, require_path
from skfairlatent.datasets._tables import (
    NAME_COLUMNS,
    parse_table,
    read_text,
    reject_rows,
    require_unique,
    require_unique_columns,
)

_SPLIT_COLUMN = "split"
# Beside a gap, pandas has floats for integers, and writes them so.
_WHOLE = re.compile(r"^(-?\d+)\.0+$")


@dataclass(frozen=True)
class RowOptions:
    """Which rows and columns are wanted."""

    split: str | Sequence[str] | None = None
    columns: Sequence[str] | None = None
    max_rows: int | None = None
    random_state: int | np.random.RandomState | None = None


@dataclass(frozen=True)
class AttributeTable:
    """Image names, attributes and, where there is one, the split; rows agree.

    Attributes
    ----------
    names : ndarray of shape (n,), object
    frame : DataFrame of n rows
        Attributes only, with a RangeIndex.
    split : ndarray of shape (n,), object, or None
        As text; None in rows without a split.
    source : str
        Where the table came from, for messages.
    """

    names: NDArray[np.object_]
    frame: pd.DataFrame
    split: NDArray[np.object_] | None
    source: str

    @classmethod
    def from_frame(cls, table: pd.DataFrame, source: str) -> "AttributeTable":
        """Part a table into image names, split and attributes.

        Raises
        ------
        ValueError
            If no column names the images, or a name is missing or given twice.
        """
        column = next((name for name in NAME_COLUMNS if name in table.columns), None)
        if column is None:
            raise ValueError(
                f"{source} has no column that names the images: call it 'image_id'. "
                f"Its columns are {', '.join(some_of(map(str, table.columns)))}."
            )
        require_unique_columns(table.columns, source)
        is_unnamed = table[column].isna() | (table[column] == "")
        reject_rows(table[column], is_unnamed, source, "the name of an image, not NA or a gap")
        names = table[column].astype(str).to_numpy(dtype=object)
        require_unique(names, source)
        has_split = _SPLIT_COLUMN in table.columns
        split = np.array(_as_text(table[_SPLIT_COLUMN]), dtype=object) if has_split else None
        frame = table.drop(columns=[column, *([_SPLIT_COLUMN] if has_split else [])])
        return cls(names, frame.reset_index(drop=True), split, source)

    def take(self, rows: NDArray[np.intp]) -> "AttributeTable":
        """Return the given rows, in the given order."""
        return AttributeTable(
            self.names[rows],
            self.frame.iloc[rows].reset_index(drop=True),
            None if self.split is None else self.split[rows],
            self.source,
        )

    def select(self, options: RowOptions) -> "AttributeTable":
        """Return the wanted rows, in their order, and the wanted columns."""
        rows = self._rows_of(options.split)
        if options.max_rows is not None:
            rows = _limit(rows, options.max_rows, options.random_state)
        chosen = self.take(rows)
        if options.columns is None:
            return chosen
        return AttributeTable(
            chosen.names, chosen.frame[self._columns(options)], chosen.split, self.source
        )

    def _rows_of(self, split: str | Sequence[str] | None) -> NDArray[np.intp]:
        if split is None:
            return np.arange(len(self.names))
        if self.split is None:
            raise ValueError(
                f"split={split!r} was asked for, but {self.source} has no split: leave it out."
            )
        held = pd.Series(self.split)
        present = sorted(held.dropna().unique())
        return np.flatnonzero(held.isin(_wanted_splits(split, present, self.source)))

    def _columns(self, options: RowOptions) -> list[str]:
        if isinstance(options.columns, str):
            raise TypeError(
                f"columns={options.columns!r} is one string: pass a list, [{options.columns!r}]."
            )
        wanted = list(options.columns or ())
        for name in wanted:
            if name not in self.frame.columns:
                known = [str(column) for column in self.frame.columns]
                close = difflib.get_close_matches(str(name), known, n=1) or some_of(known)
                raise ValueError(
                    f"{self.source} has no column {name!r}: did you mean {', '.join(close)}?"
                )
        require_unique_columns(wanted, "columns=")
        return wanted


def read_attributes(attributes: PathLike | pd.DataFrame) -> AttributeTable:
    """Return a table given as a CSV path or as a DataFrame."""
    if isinstance(attributes, pd.DataFrame):
        return AttributeTable.from_frame(attributes, "the attribute table")
    path = require_path(attributes, "a CSV table of attributes, or a pandas DataFrame")
    source = repr(path.name)
    # Names such as 000001 must stay text, and a split of 1 must not become 1.0 beside a gap.
    table = parse_table(read_text(path), source, as_text=(*NAME_COLUMNS, _SPLIT_COLUMN))
    return AttributeTable.from_frame(table, source)


def _wanted_splits(split: Any, present: Iterable[str], source: str) -> list[str]:
    """Return the splits that were asked for as text, which must be present."""
    listed = isinstance(split, Iterable) and not isinstance(split, str)
    wanted = _as_text(split if listed else [split])
    if not wanted or not set(wanted) <= set(present):
        raise ValueError(f"split={split!r} is not in {source}: pass {_one_of(present)}.")
    return [name for name in present if name in wanted]


def _one_of(present: Iterable[str]) -> str:
    return f"one of {', '.join(present)}" if present else "None, as no row has a split"


def _as_text(values: Iterable[Any]) -> list[str | None]:
    """Return each value as text, 1.0 as 1; None where there is none."""

    def text(value: Any) -> str | None:
        if pd.api.types.is_scalar(value) and pd.isna(value):
            return None
        return _WHOLE.sub(r"\1", str(value).strip()) or None

    return [text(value) for value in values]


def _limit(
    rows: NDArray[np.intp], max_rows: int, random_state: int | np.random.RandomState | None
) -> NDArray[np.intp]:
    if isinstance(max_rows, bool) or not isinstance(max_rows, Integral):
        raise TypeError(
            f"At most {max_rows!r} rows were asked for: pass an integer, or None for all."
        )
    if max_rows < 1:
        raise ValueError(
            f"At most {max_rows} rows were asked for: pass 1 or more, or None for all."
        )
    if random_state is None or len(rows) <= max_rows:
        return rows[:max_rows]
    drawn = check_random_state(random_state).choice(rows, max_rows, replace=False)
    return np.sort(drawn).astype(np.intp, copy=False)
