"""Features, as the user gives them: what cannot become numbers is refused, by name."""

__all__ = [
    "detach",
    "precisions",
    "reject_columns_without_numbers",
    "reject_far_latents",
    "reject_sparse",
    "warn_about_many_columns",
]

import contextlib
import datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from scipy import sparse

from skfairlatent._user_warnings import warn_user
from skfairlatent._validation.containers import is_nested, is_table, table_columns

# Pixels of the smallest images of faces are more columns than this; embeddings are fewer.
_MANY_COLUMNS = 4096
_FLOATS = (torch.float16, torch.float32, torch.float64)
# More names than this make an error unreadable.
_MAX_NAMED = 8
_EMPTY = np.empty(0)
# Names of float32 in numpy and pandas, pandas' Arrow types, polars and Arrow.
_SINGLE = {"float32", "Float32", "float[pyarrow]", "float"}


def detach(X: Any) -> Any:
    """Return a tensor, or each of a list, as an array, from any device, precision and graph.

    Anything else is returned as it is.
    """
    if isinstance(X, list | tuple) and any(isinstance(row, torch.Tensor) for row in X):
        return [detach(row) for row in X]
    if not isinstance(X, torch.Tensor):
        return X
    values = X.detach().cpu()
    # numpy knows no others.
    is_known = not values.is_floating_point() or values.dtype in _FLOATS
    return (values if is_known else values.float()).numpy()


def precisions(X: Any) -> list[type[np.floating]]:
    """Return the types that X may keep, the first of which it takes if it has neither.

    scikit-learn knows those of arrays. A table of polars, Arrow or pandas' nullable types has
    neither for it, and would always become float64.
    """
    if not is_table(X):
        return [np.float64, np.float32]
    types = X.schema.types if hasattr(X, "column_names") else X.dtypes
    kinds = {str(kind) for kind in set(types)}
    return [np.float32] if kinds and kinds <= _SINGLE else [np.float64, np.float32]


def reject_sparse(X: Any) -> None:
    """Raise TypeError for a sparse matrix, such as one-hot encoders make by themselves."""
    dtypes = X.dtypes if isinstance(X, pd.DataFrame) else ()
    if any(isinstance(dtype, pd.SparseDtype) for dtype in dtypes):
        raise TypeError(
            "Sparse columns were passed for X, but dense data is required: pass "
            "pandas.DataFrame({name: numpy.asarray(X[name]) for name in X}, index=X.index)."
        )
    if sparse.issparse(X):
        raise TypeError(
            f"Sparse data was passed for X, of shape {X.shape}, but dense data is required: use "
            "OneHotEncoder(sparse_output=False), ColumnTransformer(..., sparse_threshold=0), or "
            "TruncatedSVD where the columns are too many."
        )


def reject_columns_without_numbers(X: Any) -> None:
    """Raise ValueError naming the columns that hold text or dates, and what to do."""
    _reject_unequal_rows(X)
    columns = _odd_columns(X)
    dates = [name for name, values in columns if values.dtype.kind in "mM" or _is_date(values)]
    if dates:
        raise ValueError(
            f"X has columns of dates or times: {dates[:_MAX_NAMED]}. Turn them into numbers "
            f"first, such as days, e.g. {_days(X, dates[0])}."
        )
    text = [name for name, values in columns if not _converts(values)]
    if text:
        images = (
            " If it holds paths of images, or texts for an encoder, pass the column itself, "
            f"X[{text[0]!r}]."
        )
        raise ValueError(
            f"X has columns that are not numeric: {text[:_MAX_NAMED]}. Encode them first, e.g. "
            "make_pipeline(make_column_transformer((OneHotEncoder(sparse_output=False), "
            f"{text[:2]}), remainder='passthrough'), FairLatentTransformer())."
            f"{images if is_table(X) and X.shape[1] == 1 else ''}"
        )


def _reject_unequal_rows(X: Any) -> None:
    if not isinstance(X, list | tuple) or not all(is_nested(row) for row in X):
        return
    first = {len(row): number for number, row in reversed(list(enumerate(X)))}
    if len(first) > 1:
        (_, one), (length, other) = sorted(first.items(), key=lambda item: item[1])[:2]
        raise ValueError(
            f"X has rows of unequal length: {len(X[one])} values in row {one} and {length} in row "
            f"{other}. Give every row one value for each feature."
        )


def _odd_columns(X: Any) -> list[tuple[Any, npt.NDArray[Any]]]:
    """Return the columns of X whose type is not a number's."""
    if isinstance(X, pd.DataFrame):
        odd = [i for i, dtype in enumerate(X.dtypes) if not pd.api.types.is_numeric_dtype(dtype)]
        return [(X.columns[i], _plain(X.iloc[:, i])) for i in odd]
    if is_table(X):
        return [each for each in table_columns(X) if each[1].dtype.kind not in "biuf"]
    is_array = hasattr(X, "dtype") and hasattr(X, "ndim")
    first = X[0] if isinstance(X, list) and len(X) and isinstance(X[0], list | tuple) else ()
    is_text = any(isinstance(value, str) for value in first)
    values = np.asarray(X, dtype=object if is_text else None) if is_array or is_text else _EMPTY
    if values.dtype.kind not in "OUS" or values.ndim != 2:
        return []
    # scikit-learn reports other objects.
    named = (str, bytes, datetime.date, datetime.timedelta)
    return [
        (number, column)
        for number, column in enumerate(values.T)
        if any(isinstance(value, named) for value in column)
    ]


def _plain(column: Any) -> npt.NDArray[Any]:
    dtype = column.dtype
    if pd.api.types.is_datetime64_any_dtype(dtype):
        return np.empty(0, dtype="datetime64[ns]")
    if pd.api.types.is_timedelta64_dtype(dtype):
        return np.empty(0, dtype="timedelta64[ns]")
    if isinstance(dtype, pd.CategoricalDtype):
        return np.array(["category"])  # whatever stands for its categories
    return np.asarray(column, dtype=object)


def _days(X: Any, name: Any) -> str:
    """Return the code that counts days from 1970 on: each table has a first date of its own."""
    if isinstance(X, pd.DataFrame):
        values = X.iloc[:, list(X.columns).index(name)]  # names may repeat
        return f"X.assign(**{{{name!r}: {_days_of_pandas(values, f'X[{name!r}]')}}})"
    if hasattr(X, "with_columns"):
        return f"X.with_columns({_days_of_polars(X[name].dtype, f'polars.col({name!r})')})"
    if is_table(X):
        code = _days_of_pandas(X.to_pandas()[name], f"X[{name!r}]")
        return f"X.to_pandas().assign(**{{{name!r}: lambda X: {code}}})"
    array = "X" if isinstance(X, np.ndarray) else "numpy.array(X, dtype=object)"
    column = f"{array}[:, {name}]"
    return _days_of_pandas(pd.Series(np.asarray(X, dtype=object)[:, name], dtype=object), column)


def _days_of_pandas(values: "pd.Series[Any]", code: str) -> str:
    day, first = " / pandas.Timedelta(days=1)", "pandas.Timestamp('1970-01-01')"
    if values.dtype == object and _is_span(values):
        return f"pandas.to_timedelta({code}){day}"
    if values.dtype.kind == "m":
        return f"{code}{day}"
    if isinstance(values.dtype, pd.PeriodDtype):
        return f"({code}.dt.to_timestamp() - {first}){day}"
    if isinstance(values.dtype, np.dtype) and values.dtype.kind == "M":
        return f"({code} - {first}){day}"
    # With a time zone, or perhaps.
    return f"(pandas.to_datetime({code}, utc=True) - {first[:-1]}, tz='UTC')){day}"


def _days_of_polars(dtype: Any, code: str) -> str:
    kind = str(dtype).partition("(")[0]
    if kind in {"Date", "Datetime"}:
        return f"{code}.dt.timestamp('ms') / 86_400_000"
    if kind == "Duration":
        return f"{code}.dt.total_milliseconds() / 86_400_000"
    return f"{code}.cast(polars.Int64)"


def _is_span(values: "pd.Series[Any]") -> bool:
    return any(isinstance(value, datetime.timedelta) for value in values.dropna().iloc[:1])


def _is_date(values: npt.NDArray[Any]) -> bool:
    return len(values) > 0 and isinstance(
        values[0], datetime.date | datetime.timedelta | pd.Period
    )


def _converts(values: npt.NDArray[Any]) -> bool:
    """Tell whether values are numbers as objects, or what scikit-learn turns into numbers."""
    for convert in (pd.to_numeric, lambda column: column.astype(np.float64)):
        with contextlib.suppress(TypeError, ValueError):
            convert(values)
            return True
    return False


def reject_far_latents(embeddings: npt.NDArray[Any]) -> None:
    """Raise ValueError, by row, if latents were mapped back to no finite number."""
    finite = np.isfinite(embeddings)
    if not finite.all():
        row = int(finite.all(axis=1).argmin())
        raise ValueError(
            f"Row {row} of Z lies too far from the latents of the rows of fit to be mapped back: "
            "expected numbers such as latent(X) returns. Edit it by less, or as float64."
        )


def warn_about_many_columns(n_features: int) -> None:
    """Warn if a flow over so many columns takes hours and gigabytes, as over pixels."""
    if n_features > _MANY_COLUMNS:
        warn_user(
            f"X has {n_features} columns, and time and memory of the fit grow with the square of "
            "that. Reduce them first, as by sklearn.decomposition.PCA(512); pass pixels as "
            "images, of shape (n, height, width, 3), to an encoder of images."
        )
