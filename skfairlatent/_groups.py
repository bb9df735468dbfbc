"""Sensitive features, one column or several, as groups with codes and names."""

__all__ = ["SensitiveColumn", "check_length", "cross_columns", "encode_columns"]

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.utils.multiclass import type_of_target

_PART = {"sensitive_features": "attribute", "y": "label"}
_IF_MISSING = {
    "sensitive_features": "drop these rows, or make them a group of their own, as by "
    "fillna('unknown')",
    "y": "drop these rows",
}
_IF_CONTINUOUS = {
    "sensitive_features": "expected groups. Cut it into groups first, e.g. "
    "pandas.cut(age, [0, 30, 60, 120]).astype(str)",
    "y": "expected class labels. Cut a score into classes first, e.g. y = y > threshold",
}


class SensitiveColumn(NamedTuple):
    """One sensitive attribute, as integers.

    Parameters
    ----------
    name : str or None
        The column's name; None when the input had none.

    codes : ndarray of shape (n_samples,), int64
        Position of each row's value in `values`.

    values : list of str
        The values that occur: sorted as numbers if they are numbers, else as text.
    """

    name: str | None
    codes: npt.NDArray[np.int64]
    values: list[str]


def check_length(name: str, given: int, expected: int, other: str = "X") -> None:
    """Raise ValueError unless there is one label or group for each row, by the user's names."""
    if given != expected:
        raise ValueError(
            f"Found input variables with inconsistent numbers of samples: {other} has {expected} "
            f"rows and {name} has {given}. Give {name} one value (or row) for each row of "
            f"{other}, in the same order."
        )


def cross_columns(
    sensitive_features: Any, what: str = "sensitive_features"
) -> tuple[npt.NDArray[np.int64], list[str]]:
    """Cross the columns of the sensitive features into one group per row.

    Only combinations that occur become groups. They are sorted column by column, numbers as
    numbers, so that the codes do not depend on the order of the rows.

    Parameters
    ----------
    sensitive_features : array-like of shape (n_samples,) or (n_samples, n_attributes)
        Strings or numbers, as a list, array, Series or DataFrame.

    what : {"sensitive_features", "y"}
        What errors call it: labels are crossed as well.

    Returns
    -------
    codes : ndarray of shape (n_samples,), int64
        Position of each row's group in `names`.

    names : list of str
        Of one column its plain values; of several ``"Male=1, Young=0"`` where the columns are
        named and ``"1, 0"`` where they are not. There, commas and backslashes inside a value
        are preceded by a backslash, so that two groups never share a name.

    Raises
    ------
    ValueError
        If a value is missing, or if there are no rows, no columns or too many dimensions.

    Examples
    --------
    >>> import pandas as pd
    >>> from skfairlatent._groups import cross_columns
    >>> codes, names = cross_columns(pd.DataFrame({"Male": [1, 0, 1], "Young": [0, 1, 1]}))
    >>> names
    ['Male=0, Young=1', 'Male=1, Young=0', 'Male=1, Young=1']
    >>> codes.tolist()
    [1, 0, 2]
    """
    columns = encode_columns(sensitive_features, what)
    if len(columns) == 1:
        return columns[0].codes, columns[0].values
    codes = columns[0].codes
    for column in columns[1:]:
        # Compressed after every column, so that the product of many widths cannot overflow.
        _, codes = np.unique(codes * len(column.values) + column.codes, return_inverse=True)
    _, first_rows = np.unique(codes, return_index=True)
    names = [", ".join(_cell_label(column, row) for column in columns) for row in first_rows]
    return codes.astype(np.int64), names


def encode_columns(
    sensitive_features: Any, what: str = "sensitive_features"
) -> list[SensitiveColumn]:
    """Encode each sensitive attribute on its own.

    Parameters
    ----------
    sensitive_features : array-like of shape (n_samples,) or (n_samples, n_attributes)
        Strings or numbers, as a list, array, Series or DataFrame.

    what : {"sensitive_features", "y"}
        What errors call it.

    Returns
    -------
    list of SensitiveColumn
        One for each attribute, in the order given.

    Raises
    ------
    ValueError
        If a value is missing, or if there are no rows, no columns or too many dimensions.
    """
    columns = _split_columns(sensitive_features, what)
    n_rows = len(columns[0][1]) if columns else 0
    if n_rows == 0:
        raise ValueError(
            f"{what} has {n_rows} rows and {len(columns)} columns: expected one value per "
            f"sample, as a column or as a table with one column per {_PART[what]}."
        )
    return [_encode(name, values, index, what) for index, (name, values) in enumerate(columns)]


def _split_columns(features: Any, what: str) -> list[tuple[str | None, npt.NDArray[Any]]]:
    if features is None:
        raise ValueError(f"{what} is None: expected one value per sample.")
    if isinstance(features, str):
        raise TypeError(
            f"{what}={features!r} is a name: pass the column itself, e.g. "
            f"{what}=X[{features!r}], and leave it out of X."
        )
    if isinstance(features, dict):
        features = pd.DataFrame(features)
    if hasattr(features, "columns"):
        # Column by column: a conversion of the whole table would turn numbers beside text
        # into text. Positions, not names, because names may repeat.
        table = features.iloc if hasattr(features, "iloc") else features
        # As in scikit-learn, only text names a column: 0, 1, ... are positions.
        names = [name if isinstance(name, str) else None for name in features.columns]
        return [(name, np.asarray(table[:, index])) for index, name in enumerate(names)]
    # As objects first: numpy would turn a NaN beside text into the text "nan".
    dtype = object if isinstance(features, list | tuple) else None
    values = np.asarray(features, dtype=dtype)
    if values.ndim == 1:
        name = getattr(features, "name", None)
        return [(name if isinstance(name, str) else None, values)]
    if values.ndim == 2:
        return [(None, values[:, index]) for index in range(values.shape[1])]
    raise ValueError(
        f"{what} has {values.ndim} dimensions (given: {type(features).__name__}): "
        f"expected shape (n_samples,) or (n_samples, n_{_PART[what]}s)."
    )


def _encode(name: str | None, values: npt.NDArray[Any], index: int, what: str) -> SensitiveColumn:
    where = f"column {index if name is None else name!r} of {what}"
    if values.dtype == object and any(np.ndim(value) for value in values):
        raise ValueError(f"{where} holds lists: give every row the same number of {_PART[what]}s.")
    missing = np.flatnonzero(pd.isna(values))
    if len(missing):
        raise ValueError(
            f"{where} has {len(missing)} missing value(s), the first at row {missing[0]}: "
            f"{_IF_MISSING[what]}."
        )
    uniques, codes = _sorted_unique(values)
    if uniques.dtype.kind == "f" and type_of_target(uniques).startswith("continuous"):
        raise ValueError(
            f"{where} holds real numbers such as {uniques[0]:.4g}: {_IF_CONTINUOUS[what]}."
        )
    return SensitiveColumn(name, codes, [_as_text(value) for value in uniques])


def _sorted_unique(values: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64]]:
    if values.dtype == object:
        inferred = pd.Series(values).infer_objects().to_numpy()
        is_number = inferred.dtype.kind in "biuf"
        # Anything else is compared as text, so that a mix of types has one order and 1 and
        # "1", which would print alike, are one group.
        values = inferred if is_number else np.array([_as_text(value) for value in values])
    uniques, codes = np.unique(values, return_inverse=True)
    return uniques, codes.astype(np.int64)


def _as_text(value: Any) -> str:
    # A column of integers becomes float in passing through many tools; its groups keep
    # their names.
    is_whole = isinstance(value, float | np.floating) and float(value).is_integer()
    return str(int(value)) if is_whole else str(value)


def _cell_label(column: SensitiveColumn, row: int) -> str:
    value = column.values[column.codes[row]].replace("\\", "\\\\").replace(",", "\\,")
    return value if column.name is None else f"{column.name}={value}"
