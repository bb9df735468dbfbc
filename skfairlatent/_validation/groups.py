"""Sensitive features, one column or several, as groups with codes and names."""

__all__ = [
    "EncodedColumn",
    "EncodedColumns",
    "as_text",
    "check_length",
    "encode_columns",
    "reject_ids",
    "split_columns",
    "unique_name",
]

from collections.abc import Collection
from functools import cached_property
from numbers import Number
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.utils.multiclass import type_of_target

from skfairlatent._validation.containers import (
    is_table,
    missing_rows,
    reject_container,
    reject_name,
    reject_nested,
    table_columns,
)

# So few values are not names of rows, however few the rows.
MANY_VALUES = 20
# Words of errors, by the name of the values.
_PART = {"sensitive_features": "attribute", "y": "label"}
_IF_CONTINUOUS = {
    "sensitive_features": "expected groups. Cut it into groups first, e.g. "
    "pandas.cut(age, [0, 30, 60, 120]).astype(str)",
    "y": "expected class labels. Cut a score into classes first, e.g. y = y > threshold, or "
    "pandas.qcut(y, 3, labels=False)",
}


class EncodedColumn(NamedTuple):
    """One sensitive attribute, or one column of labels, as integers.

    Parameters
    ----------
    name : str or None
        The column's name; None when the input had none.

    codes : ndarray of shape (n_samples,), int64
        Position of each row's value in `values`.

    values : list of str
        The values that occur: sorted as numbers if they are numbers, else as text.

    label : str
        Name of the attribute everywhere: its own, or ``sensitive_feature_0`` by its
        position if it has none, as fairlearn does. No two attributes share one.
    """

    name: str | None
    codes: npt.NDArray[np.int64]
    values: list[str]
    label: str

    def counts(self) -> dict[str, int]:
        """Return the rows of each value."""
        counts = np.bincount(self.codes, minlength=len(self.values))
        return dict(zip(self.values, counts.tolist(), strict=True))


class EncodedColumns(tuple[EncodedColumn, ...]):
    """Columns that `encode_columns` encoded once; it returns them as they are when given them.

    Examples
    --------
    >>> import pandas as pd
    >>> from skfairlatent._validation.groups import encode_columns
    >>> columns = encode_columns(pd.DataFrame({"Male": [1, 0, 1], "Young": [0, 1, 1]}))
    >>> columns.crossed.values
    ['Male=0, Young=1', 'Male=1, Young=0', 'Male=1, Young=1']
    >>> columns.crossed.codes.tolist(), columns.crossed.label
    ([1, 0, 2], 'Male x Young')
    """

    @cached_property
    def crossed(self) -> EncodedColumn:
        """All columns crossed into one; a single column as it is.

        Only combinations that occur are values. They are sorted column by column, numbers as
        numbers, and are called ``"Male=1, Young=0"`` where the columns are named and ``"1, 0"``
        where they are not. Commas and backslashes inside a value are preceded by a backslash, so
        that two combinations never share a name.
        """
        if len(self) == 1:
            return self[0]
        codes = self[0].codes
        for column in self[1:]:
            # Compressed after every column, so that the product of many widths cannot overflow.
            _, codes = np.unique(codes * len(column.values) + column.codes, return_inverse=True)
        _, first_rows = np.unique(codes, return_index=True)
        names = [", ".join(_cell_label(column, row) for column in self) for row in first_rows]
        labels = [column.label for column in self]
        label = unique_name(" x ".join(labels), labels)
        return EncodedColumn(None, codes.astype(np.int64), names, label)

    def at(self, rows: npt.NDArray[Any]) -> "EncodedColumns":
        """Return some of the rows, by a mask or by positions, with the values that occur there."""
        found = []
        for column in self:
            kept, codes = np.unique(column.codes[rows], return_inverse=True)
            values = [column.values[code] for code in kept]
            found.append(column._replace(codes=codes.astype(np.int64), values=values))
        return EncodedColumns(found)


def check_length(name: str, given: int, expected: int, other: str = "X") -> None:
    """Raise ValueError unless there is one label or group for each row, by the user's names."""
    if given != expected:
        raise ValueError(
            f"Found input variables with inconsistent numbers of samples: {other} has {expected} "
            f"rows and {name} has {given}. Give {name} one value (or row) for each row of "
            f"{other}, in the same order."
        )


def reject_ids(where: str, n_values: int, n_rows: int) -> None:
    """Raise ValueError if a column has so many values that they name the rows."""
    if n_values > MANY_VALUES and 2 * n_values > n_rows:
        raise ValueError(
            f"{where} has {n_values} different values in {n_rows} rows, as an identifier has: "
            "expected few values with many rows each. Pass the right column, cut numbers into "
            "classes, as by pandas.qcut(values, 3, labels=False), or merge rare values."
        )


def unique_name(name: str, taken: Collection[str]) -> str:
    """Return `name`, or if it is taken, the name with the first number that makes it another."""
    found, number = name, 2
    while found in taken:
        found, number = f"{name}_{number}", number + 1
    return found


def encode_columns(sensitive_features: Any, what: str = "sensitive_features") -> EncodedColumns:
    """Encode each column of sensitive features, or of labels, on its own.

    Parameters
    ----------
    sensitive_features : array-like of shape (n_samples,) or (n_samples, n_attributes)
        Strings or numbers, as a list, array, Series or DataFrame; or columns encoded before.

    what : {"sensitive_features", "y"}
        Name of the values in errors.

    Returns
    -------
    EncodedColumns
        One column for each attribute, in the order given.

    Raises
    ------
    ValueError
        If a value is missing, or if there are no rows, no columns or too many dimensions.
    TypeError
        For containers that scikit-learn does not slice, as dictionaries and sets.
    """
    if isinstance(sensitive_features, EncodedColumns):
        return sensitive_features
    columns = split_columns(sensitive_features, what)
    n_rows = len(columns[0][1]) if columns else 0
    if n_rows == 0:
        raise ValueError(
            f"{what} has {n_rows} rows and {len(columns)} columns: expected one value per "
            f"sample, as a column or as a table with one column per {_PART[what]}."
        )
    labels = _labels([name for name, _ in columns])
    alone = len(columns) == 1
    return EncodedColumns(
        _encode(
            column,
            label,
            what if alone and column[0] is None else f"column {column[0] or index!r} of {what}",
            what,
            sensitive_features,
        )
        for index, (column, label) in enumerate(zip(columns, labels, strict=True))
    )


def _labels(names: list[str | None]) -> list[str]:
    """Return what each attribute is called; names that are given once stay as they are."""
    labels: list[str] = []
    for index, name in enumerate(names):
        wanted = f"sensitive_feature_{index}" if name is None else name
        later = [other for other in names[index + 1 :] if other is not None and other != name]
        labels.append(unique_name(wanted, [*labels, *later]))
    return labels


def split_columns(features: Any, what: str) -> list[tuple[str | None, npt.NDArray[Any]]]:
    """Return the name, None if it has none, and the values of each column."""
    if features is None:
        raise ValueError(f"{what} is None: expected one value per sample.")
    reject_name(what, features)
    reject_container(what, features)
    if is_table(features):
        return [(_column_name(name), values) for name, values in table_columns(features)]
    # As objects first: numpy would turn a NaN beside text into the text "nan".
    dtype = object if isinstance(features, list | tuple) else None
    values = np.asarray(features, dtype=dtype)
    if values.ndim == 1:
        return [(_column_name(getattr(features, "name", None)), values)]
    if values.ndim == 2:
        return [(None, values[:, index]) for index in range(values.shape[1])]
    raise ValueError(
        f"{what} has {values.ndim} dimensions (given: {type(features).__name__}): "
        f"expected shape (n_samples,) or (n_samples, n_{_PART[what]}s)."
    )


def _column_name(name: Any) -> str | None:
    """Return the name of a column: as in scikit-learn only text, since 0, 1, ... are positions.

    The parts of a name of several levels are joined.
    """
    if isinstance(name, tuple):
        name = "_".join(str(part) for part in name if str(part).strip())
    return name if isinstance(name, str) and name.strip() else None


def _encode(
    column: tuple[str | None, npt.NDArray[Any]], label: str, where: str, what: str, given: Any
) -> EncodedColumn:
    name, values = column
    reject_nested(where, values, f"give every row the same number of {_PART[what]}s")
    missing = missing_rows(values)
    if len(missing):
        raise ValueError(
            f"{where} has {len(missing)} missing value(s), the first at row {missing[0]}: "
            f"drop these rows{'' if what == 'y' else _as_group(what, given)}."
        )
    uniques, codes = _sorted_unique(values)
    if uniques.dtype.kind == "f":
        if not np.isfinite(uniques).all():
            row = int(np.argmin(np.isfinite(uniques)[codes]))
            raise ValueError(f"{where} holds infinity, at row {row}: {_IF_CONTINUOUS[what]}.")
        if type_of_target(uniques.astype(np.float64)).startswith("continuous"):
            raise ValueError(
                f"{where} holds real numbers such as {uniques[0]:.4g}: {_IF_CONTINUOUS[what]}."
            )
    return EncodedColumn(name, codes, [as_text(value) for value in uniques], label)


def _as_group(name: str, given: Any) -> str:
    """Return how to make missing values a group of what was given."""
    if hasattr(given, "fill_null") and not hasattr(given, "to_pylist"):
        filled = f"{name}.cast(polars.String).fill_null('unknown')"
    else:
        is_arrow = is_table(given) and hasattr(given, "to_pylist")
        table = f"{name}.to_pandas()" if is_arrow else f"pandas.DataFrame({name})"
        filled = f"{table}.astype(object).fillna('unknown')"
    return f", or make them a group of their own, as by {filled}"


def _sorted_unique(values: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64]]:
    if values.dtype == object:
        values = as_numbers_or_text(values)
    uniques, codes = np.unique(values, return_inverse=True)
    return uniques, codes.astype(np.int64)


def as_numbers_or_text(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return values in an array of their own type: of numbers, True being 1, or else of text.

    In a mix, 1 and "1", which would print alike, are one.
    """
    if values.dtype == object:
        found = pd.Series(values).infer_objects().to_numpy()
        if found.dtype == object and all(isinstance(each, Number | np.bool_) for each in found):
            found = pd.Series([each + 0 for each in found]).infer_objects().to_numpy()
        values = found if found.dtype.kind in "biuf" else values
    if values.dtype.kind in "biuf":
        return values
    return np.array([as_text(value) for value in values], dtype=np.str_)


def as_text(value: Any) -> str:
    """Return the text of a value: what reports, saved files and messages call it."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    # A column of integers becomes float in passing through many tools; its groups keep
    # their names.
    is_whole = isinstance(value, float | np.floating) and float(value).is_integer()
    return str(int(value)) if is_whole else str(value)


def _cell_label(column: EncodedColumn, row: int) -> str:
    value = column.values[column.codes[row]].replace("\\", "\\\\").replace(",", "\\,")
    return value if column.name is None else f"{column.name}={value}"
