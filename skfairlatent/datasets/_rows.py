"""Choosing rows and columns of an attribute table before anything is decoded."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.utils import check_random_state

from skfairlatent.datasets._files import PathLike, require_path

__all__ = ["AttributeTable", "RowOptions", "read_attributes"]

_NAME_COLUMNS = ("image_id", "file_name", "filename", "image")
_SPLIT_COLUMN = "split"


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
        column = next((name for name in _NAME_COLUMNS if name in table.columns), None)
        if column is None:
            msg = (
                f"{source} has no column that names the images: call it 'image_id'. "
                f"Its columns are {', '.join(map(str, table.columns[:10]))}."
            )
            raise ValueError(msg)
        if table[column].isna().any():
            msg = f"{source} has rows without a {column}: name their image or drop them."
            raise ValueError(msg)
        names = table[column].astype(str).to_numpy(dtype=object)
        repeated = pd.Series(names)[pd.Series(names).duplicated()].unique()
        if len(repeated):
            msg = f"{source} names {', '.join(repeated[:5])} more than once: keep one row of each."
            raise ValueError(msg)
        has_split = _SPLIT_COLUMN in table.columns
        split = table[_SPLIT_COLUMN].to_numpy(dtype=object) if has_split else None
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
        wanted = [split] if isinstance(split, str) else list(split)
        if self.split is None:
            msg = f"split={split!r} was asked for, but {self.source} has no split: leave it out."
            raise ValueError(msg)
        present = sorted(set(self.split))
        unknown = [name for name in wanted if name not in present]
        if unknown:
            msg = f"split={split!r} is not in {self.source}: pass one of {', '.join(present)}."
            raise ValueError(msg)
        return np.flatnonzero(np.isin(self.split.astype(str), wanted))

    def _columns(self, options: RowOptions) -> list[str]:
        if isinstance(options.columns, str):
            msg = f"columns={options.columns!r} is one string: pass a list, [{options.columns!r}]."
            raise TypeError(msg)
        wanted = list(options.columns or ())
        for name in wanted:
            if name not in self.frame.columns:
                known = [str(column) for column in self.frame.columns]
                close = difflib.get_close_matches(name, known, n=1) or known[:10]
                msg = f"{self.source} has no column {name!r}: did you mean {', '.join(close)}?"
                raise ValueError(msg)
        return wanted


def read_attributes(attributes: PathLike | pd.DataFrame) -> AttributeTable:
    """Return a table given as a CSV path or as a DataFrame."""
    if isinstance(attributes, pd.DataFrame):
        return AttributeTable.from_frame(attributes, "the attribute table")
    path = require_path(attributes, "a CSV table of attributes")
    # Names such as 000001 must stay text.
    table = pd.read_csv(path, dtype=dict.fromkeys(_NAME_COLUMNS, str))
    return AttributeTable.from_frame(table, repr(path.name))


def _limit(
    rows: NDArray[np.intp], max_rows: int, random_state: int | np.random.RandomState | None
) -> NDArray[np.intp]:
    if max_rows < 1:
        msg = f"At most {max_rows} rows were asked for: pass 1 or more, or None for all."
        raise ValueError(msg)
    if random_state is None or len(rows) <= max_rows:
        return rows[:max_rows]
    drawn = check_random_state(random_state).choice(rows, max_rows, replace=False)
    return np.sort(drawn).astype(np.intp, copy=False)
