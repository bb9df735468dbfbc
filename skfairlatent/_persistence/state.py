"""The state of a transformer, as numpy arrays and values that JSON has."""

__all__ = ["SavedState", "from_picklable", "only_ours", "to_picklable"]

import inspect
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from numbers import Integral
from types import NoneType
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from sklearn import config_context
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError

from skfairlatent._bins import LabelBins
from skfairlatent._files.plain_json import as_plain
from skfairlatent._inputs.additive_model import AdditiveModel
from skfairlatent._inputs.additive_scores import AdditiveScores
from skfairlatent._inputs.heavy_tails import HeavyTails
from skfairlatent._inputs.label_scores import LabelScores
from skfairlatent._inputs.linear_scores import LinearScores
from skfairlatent._inputs.scaling import as_rows
from skfairlatent._seen_rows import Buckets, SeenRows
from skfairlatent.exceptions import CheckpointError
from skfairlatent.flows import Glow

Array = npt.NDArray[Any]
Kind = type | tuple[type, ...]

# Where scikit-learn keeps what set_output and set_fit_request were told.
_OUTPUT, _REQUESTS = "_sklearn_output_config", "_metadata_request"
# Attributes that are not pickled as they are; the last one only saves time.
_LEFT_OUT = (_OUTPUT, _REQUESTS, "_scored_rows")
# Containers that transform may return.
_OUTPUTS = ("default", "pandas", "polars")
# Name of the state in pickles, beside the parameters.
_STATE = "saved_state"
# Largest side of an image in pixels: larger ones would fill the memory with images of nobody.
_MAX_SIDE = 4096
# Kinds of classes: booleans, integers, floats and text.
_CLASS_KINDS = "biufU"
# Whoever writes a file can put anything into it, and each thing fails in its own way.
_NOT_OURS = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)


@dataclass(frozen=True)
class SavedState:
    """A transformer taken apart.

    Parameters
    ----------
    values : dict
        Values that JSON can hold.
    arrays : dict of str to ndarray
        They may share the memory of the transformer.
    """

    values: dict[str, Any] = field(default_factory=dict)
    arrays: dict[str, Array] = field(default_factory=dict)

    @classmethod
    def of(cls, estimator: BaseEstimator) -> Self:
        """Take a transformer apart, without its encoder and what belongs to this machine."""
        parameters = estimator.get_params(deep=False)
        encoder = parameters.pop("encoder")
        parameters["checkpoint_dir"] = None
        if not isinstance(parameters["random_state"], Integral):
            parameters["random_state"] = None
        fitted = _take_apart(vars(estimator))
        named = {"encoder_name": encoder if isinstance(encoder, str) else None}
        return cls({"parameters": as_plain(parameters), **named, **fitted.values}, fitted.arrays)

    def restore(self, estimator: BaseEstimator) -> None:
        """Give an estimator all but the parameters.

        Raises
        ------
        ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError
            If something is missing or is not what belongs there; see `only_ours`.
        """
        present = self.values.keys() | self.arrays.keys()
        for name, part in PARTS.items():
            if part.only_with is None or part.only_with in present:
                setattr(estimator, name, part.read(self))
        _restore_config(estimator, self.values)

    @property
    def n_features(self) -> int:
        """Width of the embeddings."""
        return int(_checked(self.values, "n_features_in_", int))

    @property
    def n_label_components(self) -> int:
        """Width of the label block."""
        width = int(_checked(self.values, "n_label_components", int))
        if not 1 <= width < self.n_features:
            raise ValueError(f"n_label_components is {width} of {self.n_features}")
        return width

    @property
    def image_shape(self) -> tuple[int, ...] | None:
        """Shape of the images of fit, as far as it is known; version 0.1 wrote none."""
        shape = self.values.get("image_shape")
        if shape is None:
            return None
        if len(shape) != 3 or not all(isinstance(n, int) and 0 < n <= _MAX_SIDE for n in shape):
            raise ValueError(f"image_shape is {shape!r}")
        return tuple(shape)


def to_picklable(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Return an estimator's attributes for pickle and skops: what is fitted as arrays and JSON.

    The encoder, and whatever else is not a transformer's own, stays as it is.
    """
    state = _take_apart(attributes)
    others = {n: v for n, v in attributes.items() if n not in {*PARTS, *_LEFT_OUT}}
    plain = {name: _as_text(value) for name, value in others.items()}
    return {**plain, _STATE: {"values": state.values, "arrays": state.arrays}}


def from_picklable(estimator: BaseEstimator, pickled: Mapping[str, Any]) -> None:
    """Give a new estimator what `to_picklable` returned, or what version 0.1 pickled.

    Parameters that were not there then have their default.
    """
    with only_ours("This pickle or skops file", "write it again"):
        others = {name: value for name, value in pickled.items() if name not in {*PARTS, _STATE}}
        vars(estimator).update(_defaults(type(estimator)) | others)
        state = SavedState(**pickled[_STATE]) if _STATE in pickled else _take_apart(pickled)
        if state.arrays:
            state.restore(estimator)
        else:
            _restore_config(estimator, state.values)


def _defaults(kind: type) -> dict[str, Any]:
    parameters = inspect.signature(kind).parameters.values()
    return {each.name: each.default for each in parameters if each.default is not each.empty}


@contextmanager
def only_ours(source: str, remedy: str) -> Iterator[None]:
    """Raise CheckpointError where a source holds something other than a transformer."""
    try:
        yield
    except (CheckpointError, NotFittedError):
        raise
    except _NOT_OURS as error:
        raise CheckpointError(
            f"{source} does not hold what FairLatentTransformer writes "
            f"({type(error).__name__}: {error}); {remedy}."
        ) from error


def _take_apart(attributes: Mapping[str, Any]) -> SavedState:
    written = [part.write(attributes[name]) for name, part in PARTS.items() if name in attributes]
    values = _config(attributes)
    arrays: dict[str, Array] = {}
    for part in written:
        values |= part.values
        arrays |= part.arrays
    return SavedState(as_plain(values), arrays)


def _config(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Return what set_output and set_fit_request were told."""
    by_method = vars(attributes[_REQUESTS]) if _REQUESTS in attributes else {}
    asked = {name: getattr(each, "requests", None) for name, each in by_method.items()}
    return {
        "output": attributes.get(_OUTPUT, {}).get("transform"),
        "requests": {name: dict(requests) for name, requests in asked.items() if requests},
    }


def _restore_config(estimator: BaseEstimator, values: Mapping[str, Any]) -> None:
    """Tell set_output and set_fit_request again; version 0.1 wrote none of it."""
    if (output := values.get("output")) is not None:
        if output not in _OUTPUTS:
            raise ValueError(f"output is {output!r}")
        estimator.set_output(transform=output)
    # The methods are there only while routing is switched on; they check what they are given.
    with config_context(enable_metadata_routing=True):
        for method, asked in values.get("requests", {}).items():
            getattr(estimator, f"set_{method}_request")(**asked)


def _as_text(value: Any) -> Any:
    """Return devices and paths, which skops does not know, as text."""
    return str(value) if isinstance(value, torch.device | os.PathLike) else value


class _Part(NamedTuple):
    """How one fitted attribute is written and read."""

    write: Callable[[Any], SavedState]
    read: Callable[[SavedState], Any]
    # The value or array without which there is no such attribute; None if there always is one.
    only_with: str | None = None


def _value(name: str, kind: Kind) -> _Part:
    """Return the part of an attribute that is JSON as it is, of this type."""
    return _Part(
        lambda value: SavedState({name: value}),
        lambda state: _checked(state.values, name, kind),
    )


def _vector(name: str, length: Callable[[SavedState], int], *, lowest: float = -np.inf) -> _Part:
    """Return the part of an attribute that is a vector of float64, all above `lowest`."""

    def read(state: SavedState) -> Array:
        array = state.arrays[name]
        _check_array(name, array, (length(state),), np.float64)
        if not (array > lowest).all():
            raise ValueError(f"{name} is not above {lowest:g}")
        return array

    return _Part(lambda array: SavedState(arrays={name: array}), read)


def _under(prefix: str, arrays: Mapping[str, Array]) -> SavedState:
    """Return arrays whose names begin so, which `_named` finds again."""
    return SavedState(arrays={f"{prefix}{name}": array for name, array in arrays.items()})


def _named(arrays: Mapping[str, Array], prefix: str) -> dict[str, Array]:
    """Return the arrays whose names begin so, by the rest of their names."""
    return {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}


def _checked(values: Mapping[str, Any], name: str, kind: Kind) -> Any:
    value = values[name]
    if not isinstance(value, kind):
        raise TypeError(f"{name} is {value!r}")
    return value


def _check_array(name: str, array: Array, shape: tuple[int, ...], dtype: npt.DTypeLike) -> None:
    if array.shape != shape or array.dtype != dtype:
        raise ValueError(f"{name} is {array.shape} {array.dtype}, not {shape} {dtype}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} is not finite")


def _check_columns(name: str, numbers: Array, d: int) -> None:
    if not ((numbers >= 0) & (numbers < d)).all():
        raise ValueError(f"{name} are not columns")


def _write_classes(classes: Array | list[Array]) -> SavedState:
    columns = [classes] if isinstance(classes, np.ndarray) else classes
    written = [{"dtype": column.dtype.str, "values": column.tolist()} for column in columns]
    return SavedState({"classes": written, "single_target": columns is not classes})


def _read_classes(state: SavedState) -> Array | list[Array]:
    columns = [_read_column(column) for column in state.values["classes"]]
    return columns[0] if state.values["single_target"] else columns


def _read_column(column: Mapping[str, Any]) -> Array:
    dtype = np.dtype(column["dtype"])
    if dtype.kind not in _CLASS_KINDS:
        raise TypeError(f"classes are of type {dtype}")
    return np.array(column["values"], dtype=dtype).reshape(-1)


def _read_attributes(state: SavedState) -> list[tuple[str, list[Any]]]:
    return [(str(name), list(values)) for name, values in state.values["attributes_"]]


def _read_error(state: SavedState) -> float:
    # JSON has no other way to say that it was not finite.
    error = _checked(state.values, "inverse_error_", (float, NoneType))
    return np.nan if error is None else float(error)


def _read_history(state: SavedState) -> pd.DataFrame:
    columns = {name: np.array(c, np.float64) for name, c in state.values["history"].items()}
    return pd.DataFrame({**columns, "epoch": columns["epoch"].astype(np.int64)})


def _read_feature_names(state: SavedState) -> Array:
    names = state.values["feature_names"]
    if len(names) != state.n_features or not all(isinstance(name, str) for name in names):
        raise ValueError(f"feature_names is {names!r}")
    return np.array(names, dtype=object)


def _write_bins(bins: LabelBins | None) -> SavedState:
    return _under("bins.", {} if bins is None else vars(bins))


def _read_bins(state: SavedState) -> LabelBins | None:
    arrays = _named(state.arrays, "bins.")
    if not arrays:
        return None
    cells = (len(arrays["offsets"]),)
    block = (*cells, state.n_label_components)
    for name, shape in {"weights": block, "offsets": cells, "centroids": block}.items():
        _check_array(name, arrays[name], shape, np.float64)
    return LabelBins(**arrays)


def _write_heavy_tails(tails: HeavyTails | None) -> SavedState:
    return _under("tails.", {} if tails is None else vars(tails))


def _read_heavy_tails(state: SavedState) -> HeavyTails | None:
    arrays = _named(state.arrays, "tails.")
    if not arrays:
        return None
    columns = (len(arrays["columns"]),)
    _check_array("columns", arrays["columns"], columns, np.int64)
    _check_columns("columns", arrays["columns"], state.n_features)
    for name in ("center", "width", "mean", "scale"):
        _check_array(name, arrays[name], columns, np.float64)
    if not (arrays["width"] > 0).all() or not (arrays["scale"] > 0).all():
        raise ValueError("a width or scale of heavy tails is not positive")
    return HeavyTails(**arrays)


def _write_seen_rows(seen: SeenRows) -> SavedState:
    arrays = dict(vars(seen.exact))
    if seen.close is not None:
        arrays |= {f"close.{name}": array for name, array in vars(seen.close).items()}
        arrays["scale"] = seen.scale
    return _under("seen.", arrays)


def _read_seen_rows(state: SavedState) -> SeenRows:
    arrays = _named(state.arrays, "seen.")
    close = _named(arrays, "close.")
    if not close:
        return SeenRows(_read_buckets(arrays))
    scale = arrays.pop("scale")
    _check_array("scale", scale, (state.n_features,), np.float64)
    if not (scale > 0).all():
        raise ValueError("a scale of the rows of fit is not positive")
    exact = {name: array for name, array in arrays.items() if "." not in name}
    return SeenRows(_read_buckets(exact), _read_buckets(close), scale)


def _read_buckets(arrays: dict[str, Array]) -> Buckets:
    _check_array("bits", arrays["bits"], (max(arrays["bits"].size, 1),), np.uint8)
    _check_array("twin_share", arrays["twin_share"], (), np.float64)
    if "twin_error" not in arrays:
        return Buckets.without_error(**arrays)
    _check_array("twin_error", arrays["twin_error"], (), np.float64)
    return Buckets(**arrays)


def _write_scores(scores: LabelScores | None) -> SavedState:
    arrays = {} if scores is None else dict(vars(scores))
    if isinstance(scores, AdditiveScores):
        arrays |= vars(arrays.pop("rest"))
    return _under("scores.", arrays)


def _read_scores(state: SavedState) -> LabelScores | None:
    arrays = _named(state.arrays, "scores.")
    if not arrays:
        return None
    n_scores = len(arrays["mean"])
    for name in ("mean", "scale"):
        _check_array(name, arrays[name], (n_scores,), np.float64)
    if not (arrays["scale"] > 0).all():
        raise ValueError("a scale is not positive")
    if n_scores >= state.n_features:
        raise ValueError("there are as many scores as features")
    read = _read_linear_scores if "reflections" in arrays else _read_additive_scores
    return read(arrays, state.n_features, n_scores)


def _read_linear_scores(arrays: dict[str, Array], d: int, n_scores: int) -> LinearScores:
    _check_array("reflections", arrays["reflections"], (n_scores, d), np.float64)
    length = np.linalg.norm(arrays["reflections"], axis=1)
    if not (np.isclose(length, 1.0) | (length == 0.0)).all():
        raise ValueError("a reflection is not of length 1")
    return LinearScores(**arrays)


def _read_additive_scores(arrays: dict[str, Array], d: int, n_scores: int) -> AdditiveScores:
    segments = len(arrays["features"])
    floats = {
        "left": (segments,),
        "width": (segments,),
        "rises": (segments, n_scores),
        "coef": (d, n_scores),
        "intercept": (n_scores,),
        "slopes": (n_scores, n_scores),
    }
    for name, shape in floats.items():
        _check_array(name, arrays[name], shape, np.float64)
    for name, length in {"features": segments, "replaced": n_scores}.items():
        _check_array(name, arrays[name], (length,), np.int64)
        _check_columns(name, arrays[name], d)
    if not (arrays["width"] > 0).all():
        raise ValueError("a width is not positive")
    own = {name: arrays.pop(name) for name in ("replaced", "slopes", "mean", "scale")}
    return AdditiveScores(AdditiveModel(**arrays), **own)


def _flow(name: str) -> _Part:
    """Return the part of a flow: its sizes are a value, its weights the arrays "<name>.<key>"."""

    def write(flow: Glow) -> SavedState:
        sizes = {"n_blocks": flow.n_blocks, "hidden_features": flow.hidden_features}
        weights = {f"{name}.{key}": value.numpy() for key, value in flow.state_dict().items()}
        return SavedState({name: sizes}, weights)

    return _Part(write, partial(_read_flow, name))


def _read_flow(name: str, state: SavedState) -> Glow:
    sizes, weights = state.values[name], _named(state.arrays, f"{name}.")
    if not 1 <= sizes["n_blocks"] <= len(weights):
        raise ValueError(f"n_blocks is {sizes['n_blocks']}, for {len(weights)} tensors")
    # Without memory and without random numbers: sizes are compared before anything is allocated.
    flow = Glow(state.n_features, **sizes, device="meta", dtype=torch.float32)
    expected = flow.state_dict()
    if expected.keys() != weights.keys():
        raise ValueError(f"tensors of the flow: {sorted(expected.keys() ^ weights.keys())[:4]}")
    for key, value in expected.items():
        dtype = torch.empty(0, dtype=value.dtype).numpy().dtype
        _check_array(key, weights[key], tuple(value.shape), dtype)
        if key.endswith("initialized") and not weights[key]:
            raise ValueError(f"{key} is false")
    # The order of a matrix in memory decides how its products are rounded.
    ordered = {key: as_rows(array) for key, array in weights.items()}
    flow.load_state_dict(ordered, assign=True)
    return flow


# Every fitted attribute; read in this order.
PARTS: dict[str, _Part] = {
    "groups_": _value("groups_", list),
    "n_iter_": _value("n_iter_", int),
    "inverse_error_": _Part(lambda error: SavedState({"inverse_error_": error}), _read_error),
    "n_features_in_": _value("n_features_in_", int),
    "encoder_fingerprint_": _value("encoder_fingerprint_", (str, NoneType)),
    "_fitted_on_images": _value("_fitted_on_images", bool),
    "_fitted_image_shape": _Part(
        lambda shape: SavedState({"image_shape": shape}), lambda state: state.image_shape
    ),
    "classes_": _Part(_write_classes, _read_classes),
    "attributes_": _Part(lambda pairs: SavedState({"attributes_": pairs}), _read_attributes),
    "history_": _Part(lambda frame: SavedState({"history": frame.to_dict("list")}), _read_history),
    "feature_names_in_": _Part(
        lambda names: SavedState({"feature_names": names}), _read_feature_names, "feature_names"
    ),
    "label_slice_": _Part(
        lambda block: SavedState({"n_label_components": block.stop}),
        lambda state: slice(0, state.n_label_components),
    ),
    "sensitive_slice_": _Part(
        lambda _: SavedState(), lambda state: slice(state.n_label_components, state.n_features)
    ),
    "mean_": _vector("mean_", lambda state: state.n_features),
    "scale_": _vector("scale_", lambda state: state.n_features, lowest=0),
    "sensitive_mean_": _vector(
        "sensitive_mean_", lambda state: state.n_features - state.n_label_components
    ),
    "heavy_tails_": _Part(_write_heavy_tails, _read_heavy_tails),
    "label_scores_": _Part(_write_scores, _read_scores),
    "flow_": _flow("flow"),
    "bins_": _Part(_write_bins, _read_bins),
    "_seen_rows": _Part(_write_seen_rows, _read_seen_rows, "seen.bits"),
}
