"""Containers that may hold rows: scikit-learn slices them row by row, and they hide nothing."""

__all__ = [
    "is_nested",
    "is_table",
    "missing_rows",
    "reject_container",
    "reject_name",
    "reject_nested",
    "reject_other_order",
    "table_columns",
]

from collections.abc import Collection, Iterator, Mapping, Set, ValuesView
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import sparse

_UNSUITABLE: tuple[tuple[Any, str, str], ...] = (
    (Mapping, "which is not sliced row by row", "pandas.DataFrame({})"),
    (Set, "which has no order", "a list, or a column of the table"),
    (Iterator, "which can be read once only", "list({})"),
    (ValuesView, "which is not sliced row by row", "list({})"),
    (pd.MultiIndex, "which is not a table", "{}.to_frame(index=False)"),
)

# Keys of the dictionaries that stand for images in Parquet files.
_ENCODED = {"bytes", "path"}


def reject_container(name: str, values: Any) -> None:
    """Refuse what has no order of rows, is read once, or would lose its mask.

    In a cross-validation scikit-learn passes a dictionary whole, beside the rows of a fold.

    Parameters
    ----------
    name : str
        Name of the values in messages: X, y, ...
    values : object
        As the user gave them.

    Raises
    ------
    TypeError
        For dictionaries, sets, iterators and the like.
    ValueError
        For a masked array with masked values.
    """
    if sparse.issparse(values):  # before dictionaries: one of its forms is one
        if name != "X":  # of which there are other remedies
            _refuse(name, values, "which is sparse", "{}.toarray()")
        return
    for kind, why, remedy in _UNSUITABLE:
        if isinstance(values, kind):
            _refuse(name, values, why, _entry_of(values) or remedy)
    _reject_form(name, values)
    _reject_masked(name, values)
    if isinstance(values, list | tuple):
        if any(isinstance(row, Mapping) and not row.keys() <= _ENCODED for row in values):
            _refuse(name, values, "of dictionaries", "pandas.DataFrame({})")
        for row in values:
            _reject_masked(name, row)


def _entry_of(values: Any) -> str:
    """Return the code that takes the rows out of a dictionary, as a network or a file gives them.

    That is its first entry of two dimensions, or else of more; none if its entries are columns.
    """
    entries = values.items() if isinstance(values, Mapping) else ()
    shapes = {key: getattr(entry, "shape", ()) for key, entry in entries}
    deep = [key for key, shape in shapes.items() if len(shape) > 1]
    first = min(deep, key=lambda key: len(shapes[key]), default=None)
    return f"{{}}[{first!r}]" if deep else ""


def is_table(values: Any) -> bool:
    """Tell a table of pandas, polars or Arrow."""
    return hasattr(values, "columns") or hasattr(values, "column_names")


def table_columns(table: Any) -> list[tuple[Any, npt.NDArray[Any]]]:
    """Return the name and the values of each column, in order.

    Column by column: a conversion of the whole table would turn numbers beside text into text.
    By position, not by name, because names may repeat.
    """
    if hasattr(table, "column_names") and hasattr(table, "to_pandas"):
        table = table.to_pandas()
    rows = table.iloc if hasattr(table, "iloc") else table
    return [(name, np.asarray(rows[:, i])) for i, name in enumerate(table.columns)]


def _reject_form(name: str, values: Any) -> None:
    if hasattr(values, "collect") and not hasattr(values, "__len__"):
        _refuse(name, values, "whose rows are not there yet", "{}.collect()")
    if getattr(getattr(values, "dtype", None), "names", None):
        _refuse(name, values, "with fields instead of columns", "pandas.DataFrame({})")


def _refuse(name: str, values: Any, why: str, remedy: str) -> None:
    raise TypeError(
        f"{name} is of type {type(values).__name__}, {why}: pass {remedy.format(name)} instead."
    )


def _reject_masked(name: str, values: Any) -> None:
    if isinstance(values, np.ma.MaskedArray) and np.ma.is_masked(values):
        n_masked = int(np.ma.getmaskarray(values).sum())
        raise ValueError(
            f"{name} has {n_masked} masked value(s), which count as missing. "
            f"Drop their rows, or fill them in, as by {name}.filled(0)."
        )


def reject_nested(where: str, values: npt.NDArray[Any], advice: str) -> None:
    """Raise ValueError if the values of a column are lists and the like."""
    if values.dtype != object:
        return
    for row, value in enumerate(values):
        if is_nested(value):
            raise ValueError(
                f"{where} holds lists, or the like: {type(value).__name__} at row {row}. "
                f"Expected one value in each row: {advice}."
            )


def reject_name(name: str, values: Any) -> None:
    """Raise TypeError if the user gave the name of a column instead of the column."""
    if isinstance(values, str):
        given = repr(values[:40])
        raise TypeError(
            f"{name}={given} is a name: pass the column itself, e.g. {name}=X[{given}], and "
            "leave it out of X."
        )


def is_nested(value: Any) -> bool:
    """Tell a list, a set, an array and the like from a single value."""
    is_one = isinstance(value, str | bytes) or value is np.ma.masked
    return isinstance(value, Collection) and not is_one


def missing_rows(values: npt.NDArray[Any]) -> npt.NDArray[np.intp]:
    """Return the positions of missing values: NaN, None, NA, NaT, and what was masked."""
    missing = np.asarray(pd.isna(values))
    if values.dtype == object:
        missing = missing | np.array([value is np.ma.masked for value in values], dtype=bool)
    return np.flatnonzero(missing)


def reject_other_order(**tables: Any) -> None:
    """Raise ValueError if tables name the same rows in different orders.

    Rows are matched by position, as everywhere in scikit-learn. An index that differs in any
    other way says nothing about that; one in another order says that it went wrong.

    Parameters
    ----------
    **tables : object
        Values given, by the user's names; those without an index of pandas are passed over.
    """
    indexed = [
        (name, table.index)
        for name, table in tables.items()
        if isinstance(getattr(table, "index", None), pd.Index)
    ]
    for name, index in indexed[1:]:
        first, expected = indexed[0]
        if index.equals(expected) or len(index) != len(expected):
            continue
        if index.is_unique and expected.is_unique and index.isin(expected).all():
            raise ValueError(
                f"{name} has the index of {first} in another order, and rows are matched by "
                f"position. Match them by index, as by {name}.loc[{first}.index], or if the "
                f"positions are right, pass {name}.reset_index(drop=True) and "
                f"{first}.reset_index(drop=True)."
            )
