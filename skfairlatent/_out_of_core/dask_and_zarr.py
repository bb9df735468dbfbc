"""Collections of Dask and arrays of Zarr or HDF5 as X: fitted from a file, mapped by parts."""

__all__ = ["ByParts"]

import copy
import inspect
import pickle
import warnings
from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.utils._set_output import _get_output_config

from skfairlatent._out_of_core.mapped_rows import is_large_map
from skfairlatent._out_of_core.temporary_file import held, in_one_file, is_dask, is_stored
from skfairlatent._validation.annotations import encode_annotations
from skfairlatent._validation.groups import check_length
from skfairlatent.exceptions import FairLatentWarning

Array = npt.NDArray[Any]
Method = Callable[..., Any]


class ByParts:
    """Lets methods of a transformer take X in parts.

    They are wrapped around what scikit-learn's ``set_output`` makes of them, which would put
    all parts together: this class comes before its own among the bases.
    """

    def __init_subclass__(cls, **given: Any) -> None:
        super().__init_subclass__(**given)
        for wrap, names in ((_fitting, _FITS), (_mapping, _MAPS), (_holding, _HOLDS)):
            for name in vars(cls).keys() & names:
                setattr(cls, name, wrap(vars(cls)[name]))


_FITS = {"fit", "fit_transform"}
_MAPS = {"transform", "latent", "inverse_transform"}
_HOLDS = {"embed"}


def _fitting(method: Method) -> Method:
    """Let a fit read X, y and sensitive_features from their parts."""

    @wraps(method)
    def fit(self: Any, X: Any, y: Any = None, *others: Any, **given: Any) -> Any:
        y, *others = map(held, (y, *others))  # type: ignore[assignment]
        given = {name: held(each) for name, each in given.items()}
        if not (is_dask(X) or is_stored(X)):
            return method(self, X, y, *others, **given)
        _reject_other_shape(X)
        transforms, sizes = method.__name__ != "fit", list[int]()
        if transforms and is_dask(X):
            _reject_polars(self)
        self._check_parameters()
        _reject_annotations(X, y, given.get("sensitive_features"))
        with in_one_file(X, sizes) as rows:
            if not (transforms and is_dask(X)):
                return method(self, rows, y, *others, **given)
            if not is_large_map(rows):
                Z = method(self, rows, y, *others, **given)
                return _in_parts(self, np.asarray(Z), X, getattr(rows, "index", None), sizes)
            # Of so many rows fit_transform makes what fit and transform make.
            return self.fit(rows, y, *others, **given).transform(X)

    return fit


def _mapping(method: Method) -> Method:
    """Let a method map the parts of X; those of Dask are mapped when they are asked for."""
    first = [*inspect.signature(method).parameters][1]

    @wraps(method)
    def map_parts(self: Any, *rows: Any, **given: Any) -> Any:
        X = rows[0] if len(rows) == 1 else given.get(first)
        if not (is_dask(X) or is_stored(X)):
            return method(self, *rows, **given)
        given.pop(first, None)
        if is_dask(X):
            _reject_other_shape(X)
            self._check_ready()
            return _mapped(self, method.__name__, X, given)
        with in_one_file(X) as table:
            return method(self, table, **given)

    return map_parts


def _holding(method: Method) -> Method:
    """Let a method that returns X as an array take X in parts."""

    @wraps(method)
    def hold(self: Any, X: Any) -> Any:
        return method(self, held(X))

    return hold


def _mapped(model: Any, name: str, X: Any, given: dict[str, Any]) -> Any:
    """Return what a method makes of the parts of X, as a collection that is not computed yet."""
    import dask  # noqa: PLC0415 - X is of it

    if name == "transform":
        _reject_polars(model)
    twin = copy.copy(model)
    twin.encoder = None  # which is of no use here, and may be large
    check = twin.embed
    if name == "inverse_transform":
        _reject_decoding(model, given)
        given, check = {"decode": False}, twin.inverse_transform
    columns = _columns(model, name)
    # One row tells what is wrong with the columns, and the precision of the result.
    if hasattr(X, "columns"):
        example = check(X._meta_nonempty.iloc[:1], **given)
        meta = pd.DataFrame(np.empty((0, len(columns)), example.dtype), columns=columns)
        meta.index = X._meta.index
    else:
        X = X.rechunk({1: -1})
        example = check(np.ones((1, X.shape[1]), X.dtype), **given)
        meta = np.empty((0, len(columns)), example.dtype)
    # As it is now: it may be fitted again before the parts are mapped.
    parts = {
        "model": dask.delayed(pickle.dumps(twin), pure=True),
        "method": name,
        "like": meta,
        **given,
    }
    map_part = _part_mapper()
    if hasattr(X, "columns"):
        return X.map_partitions(map_part, meta=meta, **parts)
    Z = X.map_blocks(map_part, meta=meta, chunks=(X.chunks[0], (len(columns),)), **parts)
    return _in_container(model, Z) if name == "transform" else Z


def _part_mapper() -> Method:
    """Return a function that a worker of Dask can read without this package.

    It then reports that the package is missing. A function that it cannot read it never answers.
    """

    def map_part(part: Any, model: bytes, method: str, like: Any, **given: Any) -> Any:
        if part.shape[0] == 0:
            return like
        values = np.asarray(getattr(pickle.loads(model), method)(part, **given))  # noqa: S301
        if isinstance(like, pd.DataFrame):
            return pd.DataFrame(values, part.index, like.columns).astype(like.dtypes)
        return values.astype(like.dtype, copy=False)

    return map_part


def _in_parts(model: Any, Z: Array, X: Any, index: Any, sizes: list[int]) -> Any:
    """Return what is known of all rows as a collection with the parts of X."""
    if index is None:
        import dask.array as da  # noqa: PLC0415

        return _in_container(model, da.from_array(Z, chunks=(tuple(sizes), Z.shape[1:])))
    import dask.dataframe as dd  # noqa: PLC0415

    table = pd.DataFrame(Z, index, _columns(model, "transform"))
    ends = np.cumsum(sizes)
    parts = [table.iloc[end - size : end] for end, size in zip(ends, sizes, strict=True)]
    return dd.from_map(copy.copy, parts, meta=table.iloc[:0], divisions=X.divisions)


def _in_container(model: Any, Z: Any) -> Any:
    """Return an array of Dask as a table, if set_output asks for tables of pandas."""
    if _get_output_config("transform", model)["dense"] != "pandas":
        return Z
    import dask.dataframe as dd  # noqa: PLC0415

    return dd.from_dask_array(Z, columns=_columns(model, "transform"))


def _columns(model: Any, method: str) -> list[str]:
    if method == "transform":
        return list(model.get_feature_names_out())
    width = range(model.n_features_in_)
    if method == "latent":
        return [f"{type(model).__name__.lower()}{i}" for i in width]
    return list(getattr(model, "feature_names_in_", [f"x{i}" for i in width]))


def _reject_annotations(X: Any, y: Any, sensitive_features: Any) -> None:
    """Refuse labels and groups that cannot be fitted before X is read, which may take hours."""
    n_rows = X.shape[0]
    if not isinstance(n_rows, int):  # which Dask does not know
        n_rows = len(y) if hasattr(y, "__len__") else 0
        if y is not None and hasattr(sensitive_features, "__len__"):
            check_length("sensitive_features", len(sensitive_features), n_rows, "y")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FairLatentWarning)  # which the fit gives
        encode_annotations(range(n_rows), y, sensitive_features)


def _reject_other_shape(X: Any) -> None:
    n_dimensions = getattr(X, "ndim", 0)
    if not isinstance(n_dimensions, int) or n_dimensions != 2:  # a Delayed has any attribute
        raise TypeError(
            f"X is a {type(X).__name__} of Dask, which does not have two dimensions: expected an "
            "array or a DataFrame of embeddings. Encode images or texts first, as by "
            "X.map_partitions(encoder.transform); see 'Many rows' in the user guide."
        )


def _reject_polars(model: Any) -> None:
    if _get_output_config("transform", model)["dense"] == "polars":
        raise ValueError(
            "set_output(transform='polars') cannot be followed for a collection of Dask, which "
            "holds arrays or tables of pandas: call set_output(transform='default')."
        )


def _reject_decoding(model: Any, given: dict[str, Any]) -> None:
    if given.get("x_T") is not None or (model._fitted_on_images and given.get("decode", True)):
        raise TypeError(
            "A collection of Dask is not decoded to images: pass decode=False for embeddings, "
            "without x_T, and decode the rows that you look at."
        )
