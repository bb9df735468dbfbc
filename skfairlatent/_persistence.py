"""A fitted transformer as one safetensors file: tensors, and JSON in its header."""

__all__ = ["load", "save"]

import json
import os
import re
from numbers import Integral
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from safetensors.torch import save as to_bytes
from sklearn import config_context
from sklearn.exceptions import NotFittedError
from torch import Tensor

from skfairlatent._bins import LabelBins
from skfairlatent._embedding import encoder_fingerprint, is_same_encoder, probe_codes
from skfairlatent._files.tensors import digest_of, read_tensors
from skfairlatent._files.writing import replace_file
from skfairlatent._seen_rows import SeenRows
from skfairlatent.exceptions import CheckpointError
from skfairlatent.flows import Glow

if TYPE_CHECKING:
    from skfairlatent._transformer import FairLatentTransformer

T = TypeVar("T", bound="FairLatentTransformer")

FORMAT = "skfairlatent.FairLatentTransformer"
# Raised whenever older code could not read the file rightly.
FORMAT_VERSION = 1

# Arrays that are tensors of the file, and attributes that are JSON as they are, with their types.
_ARRAYS = ("mean_", "scale_", "sensitive_mean_")
# What the encoder made of a few images of nobody: it is recognised by them.
_CODES = "encoder_codes"
# What is made of arrays alone, by the prefix of their names; version 0.1 wrote none.
_PARTS = {"bins.": "bins_", "seen.": "_seen_rows"}
_PLAIN: dict[str, type | tuple[type, ...]] = {
    "groups_": list,
    "n_iter_": int,
    "inverse_error_": float,
    "n_features_in_": int,
    "encoder_fingerprint_": (str, NoneType),
    "_fitted_on_images": bool,
}
# Methods that take metadata, and what transform may return.
_ROUTED = ("fit", "inverse_transform")
_OUTPUTS = ("default", "pandas", "polars")
# Eight digits are enough to see that two differ.
_LONG_DIGEST = re.compile(r"([0-9a-f]{8})[0-9a-f]{24,}")
# Of an image, in pixels: larger ones would fill the memory with images of nobody.
_MAX_SIDE = 4096
# What classes may be: booleans, integers, floats and text.
_CLASS_KINDS = "biufU"
# Whoever writes a file can put anything into it, and each thing fails in its own way.
_NOT_OURS = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)


def save(transformer: "FairLatentTransformer", path: str | os.PathLike[str]) -> None:
    """Write a fitted transformer to `path`; see ``FairLatentTransformer.save``."""
    weights = transformer.flow_.state_dict()
    tensors = {f"flow.{name}": value.contiguous() for name, value in weights.items()}
    tensors |= {name: torch.tensor(getattr(transformer, name), device="cpu") for name in _ARRAYS}
    for prefix, attribute in _PARTS.items():
        if getattr(transformer, attribute) is not None:
            part = vars(getattr(transformer, attribute))
            tensors |= {prefix + k: torch.tensor(v, device="cpu") for k, v in part.items()}
    state = json.dumps(_state(transformer))
    codes = probe_codes(transformer.encoder, _image_shape(transformer))
    if codes is not None:
        tensors[_CODES] = torch.from_numpy(codes)
    header = {
        "format": FORMAT,
        "format_version": str(FORMAT_VERSION),
        "state": state,
        "digest": digest_of(state, tensors),
    }
    replace_file(path, to_bytes(tensors, metadata=header), "The transformer")


def load(cls: type[T], path: str | os.PathLike[str], encoder: Any, *, check_encoder: bool) -> T:
    """Read a transformer from `path`; see ``FairLatentTransformer.load``."""
    header, tensors = _read(Path(path).expanduser())
    try:
        state = json.loads(header["state"])
        if state["encoder_name"] is not None and encoder is None:
            encoder = state["encoder_name"]
        if check_encoder:
            _check_encoder(Path(path), state, tensors, encoder)
        return _rebuild(cls, state, tensors, encoder)
    except (CheckpointError, NotFittedError):
        raise
    except _NOT_OURS as error:
        raise CheckpointError(
            f"{path} does not hold what FairLatentTransformer.save writes "
            f"({type(error).__name__}: {error}); save the transformer again."
        ) from error


def _rebuild(cls: type[T], state: dict[str, Any], tensors: dict[str, Tensor], encoder: Any) -> T:
    # A file must not say where to write.
    transformer = cls(encoder, **{**state["parameters"], "checkpoint_dir": None})
    transformer._validate_params()
    _restore_attributes(transformer, state)
    _restore_sklearn(transformer, state)
    _restore_arrays(transformer, state, tensors)
    transformer.flow_ = _restore_flow(state, tensors)
    transformer.bins_ = _restore_bins(state, _arrays("bins.", tensors))
    transformer._seen_rows = _restore_seen_rows(_arrays("seen.", tensors))
    transformer._fitted_image_shape = _restore_shape(state)
    return transformer


def _state(transformer: "FairLatentTransformer") -> dict[str, Any]:
    parameters = transformer.get_params(deep=False)
    encoder = parameters.pop("encoder")
    parameters["device"] = str(parameters["device"])
    parameters["checkpoint_dir"] = None
    if not isinstance(parameters["random_state"], Integral):
        parameters["random_state"] = None
    single = isinstance(transformer.classes_, np.ndarray)
    classes: list[npt.NDArray[Any]] = (
        [transformer.classes_] if single else transformer.classes_  # type: ignore[list-item,assignment]
    )
    history = transformer.history_.astype(object).where(transformer.history_.notna(), None)
    return {
        "parameters": {name: _plain(value) for name, value in parameters.items()},
        "encoder_name": encoder if isinstance(encoder, str) else None,
        "image_shape": _image_shape(transformer),
        "output": getattr(transformer, "_sklearn_output_config", {}).get("transform"),
        "requests": _requests(transformer),
        "attributes": {name: getattr(transformer, name) for name in _PLAIN},
        "attributes_": transformer.attributes_,
        "feature_names": getattr(transformer, "feature_names_in_", np.empty(0)).tolist(),
        "classes": [{"dtype": c.dtype.str, "values": c.tolist()} for c in classes],
        "single_target": single,
        "history": history.to_dict("list"),
        "n_label_components": transformer.label_slice_.stop,
        "flow": {
            "n_blocks": transformer.flow_.n_blocks,
            "hidden_features": transformer.flow_.hidden_features,
        },
    }


def _requests(transformer: "FairLatentTransformer") -> dict[str, dict[str, Any]]:
    """Return the metadata that methods ask for, if scikit-learn was told otherwise."""
    if "_metadata_request" not in vars(transformer):
        return {}
    routing = transformer.get_metadata_routing()
    return {method: dict(getattr(routing, method).requests) for method in _ROUTED}


def _restore_sklearn(transformer: "FairLatentTransformer", state: dict[str, Any]) -> None:
    """Restore what set_output and set_fit_request were told; version 0.1 wrote none of it."""
    if (output := state.get("output")) is not None:
        if output not in _OUTPUTS:
            raise ValueError(f"output is {output!r}")
        transformer.set_output(transform=output)
    # The methods are there only while routing is switched on; they check what they are given.
    with config_context(enable_metadata_routing=True):
        for method, asked in state.get("requests", {}).items():
            if method not in _ROUTED:
                raise ValueError(f"{method!r} asks for metadata")
            getattr(transformer, f"set_{method}_request")(**asked)


def _restore_attributes(transformer: "FairLatentTransformer", state: dict[str, Any]) -> None:
    for name, kind in _PLAIN.items():
        value = state["attributes"][name]
        if not isinstance(value, kind):
            raise TypeError(f"{name} is {value!r}")
        setattr(transformer, name, value)
    classes = [_restore_classes(column) for column in state["classes"]]
    transformer.classes_ = classes[0] if state["single_target"] else classes
    transformer.attributes_ = [(str(name), list(values)) for name, values in state["attributes_"]]
    transformer.history_ = pd.DataFrame(state["history"]).astype(float).astype({"epoch": int})
    if names := state["feature_names"]:
        if len(names) != transformer.n_features_in_ or not all(isinstance(n, str) for n in names):
            raise ValueError(f"feature_names is {names!r}")
        transformer.feature_names_in_ = np.array(names, dtype=object)


def _restore_classes(column: dict[str, Any]) -> npt.NDArray[Any]:
    dtype = np.dtype(column["dtype"])
    if dtype.kind not in _CLASS_KINDS:
        raise TypeError(f"classes are of type {dtype}")
    return np.array(column["values"], dtype=dtype).reshape(-1)


def _restore_arrays(
    transformer: "FairLatentTransformer", state: dict[str, Any], tensors: dict[str, Tensor]
) -> None:
    width, n_features = state["n_label_components"], transformer.n_features_in_
    if not 1 <= width < n_features:
        raise ValueError(f"n_label_components is {width} of {n_features}")
    transformer.label_slice_ = slice(0, width)
    transformer.sensitive_slice_ = slice(width, n_features)
    for name, length in zip(_ARRAYS, (n_features, n_features, n_features - width), strict=True):
        _check_tensor(name, tensors[name], torch.Size([length]), torch.float64)
        setattr(transformer, name, tensors[name].numpy())
    if not (transformer.scale_ > 0).all():
        raise ValueError("scale_ is not positive")


def _arrays(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def _restore_bins(state: dict[str, Any], arrays: dict[str, Tensor]) -> LabelBins | None:
    if not arrays:
        return None
    cells = (len(arrays["offsets"]),)
    block = (*cells, state["n_label_components"])
    for name, shape in {"weights": block, "offsets": cells, "centroids": block}.items():
        _check_tensor(name, arrays[name], torch.Size(shape), torch.float64)
    return LabelBins(**{name: value.numpy() for name, value in arrays.items()})


def _restore_seen_rows(arrays: dict[str, Tensor]) -> SeenRows | None:
    if not arrays:
        return None
    _check_tensor("twin_share", arrays["twin_share"], torch.Size([]), torch.float64)
    n_bytes = len(arrays["bits"])
    _check_tensor("bits", arrays["bits"], torch.Size([max(n_bytes, 1)]), torch.uint8)
    return SeenRows(**{name: value.numpy() for name, value in arrays.items()})


def _restore_flow(state: dict[str, Any], tensors: dict[str, Tensor]) -> Glow:
    weights = {k.removeprefix("flow."): v for k, v in tensors.items() if k.startswith("flow.")}
    n_features, n_blocks = state["attributes"]["n_features_in_"], state["flow"]["n_blocks"]
    if not 1 <= n_blocks <= len(weights):
        raise ValueError(f"n_blocks is {n_blocks}, for {len(weights)} tensors")
    # Without memory and without random numbers: sizes are compared before anything is allocated.
    flow = Glow(
        n_features,
        n_blocks,
        state["flow"]["hidden_features"],
        device="meta",
        dtype=torch.float32,
    )
    expected = flow.state_dict()
    if expected.keys() != weights.keys():
        raise ValueError(f"tensors of the flow: {sorted(expected.keys() ^ weights.keys())[:4]}")
    for name, value in expected.items():
        _check_tensor(name, weights[name], value.shape, value.dtype)
    # Copied, not assigned: the order of a matrix in memory decides how its products are rounded.
    flow = flow.to_empty(device="cpu")
    flow.load_state_dict(weights)
    with torch.no_grad():
        flow.frozen()  # refuses layers that were not initialised
    return flow


def _check_tensor(name: str, value: Tensor, shape: torch.Size, dtype: torch.dtype) -> None:
    if value.shape != shape or value.dtype != dtype:
        raise ValueError(
            f"{name} is {tuple(value.shape)} {value.dtype}, not {tuple(shape)} {dtype}"
        )
    if not bool(value.isfinite().all()):
        raise ValueError(f"{name} is not finite")


def _read(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder: give the file that save wrote.")
    if not path.is_file():
        found = "is no regular file" if path.exists() else "does not exist"
        raise FileNotFoundError(f"{path} {found}: give the file that save wrote.")
    header, views = read_tensors(path, "expected a file written by FairLatentTransformer.save")
    _check_header(path, header)
    # Copies: a tensor may otherwise stay a view of the file, which can change or go away.
    tensors = {name: value.clone() for name, value in views.items()}
    if header.get("digest") != digest_of(header.get("state", ""), tensors):
        raise CheckpointError(
            f"{path} is damaged: its contents are not those that were written. Copy it again from "
            "where it came from, or save the transformer again."
        )
    return header, tensors


def _check_header(path: Path, header: dict[str, str]) -> None:
    if header.get("format") != FORMAT:
        raise CheckpointError(
            f"{path} is a safetensors file of something else; expected one written by "
            "FairLatentTransformer.save."
        )
    if header.get("format_version") != str(FORMAT_VERSION):
        raise CheckpointError(
            f"{path} has format version {header.get('format_version')}, this version of "
            f"skfairlatent reads {FORMAT_VERSION}; load it with the version that wrote it, and "
            "fit or save again."
        )


def _image_shape(transformer: "FairLatentTransformer") -> tuple[int, ...] | None:
    """Return the shape of the images of fit, as far as it is known."""
    return getattr(transformer, "_fitted_image_shape", None)


def _check_encoder(
    path: Path, state: dict[str, Any], tensors: dict[str, Tensor], encoder: Any
) -> None:
    expected, used = (
        state["attributes"][k] for k in ("encoder_fingerprint_", "_fitted_on_images")
    )
    codes = tensors[_CODES].numpy() if _CODES in tensors else None
    shape = _restore_shape(state)
    if is_same_encoder(encoder, expected, codes, shape, used=used):
        return
    given = encoder_fingerprint(encoder, used=used)
    shown = [None if name is None else _LONG_DIGEST.sub(r"\1", name) for name in (expected, given)]
    got = f"{shown[1]}, which makes other codes" if given == expected else shown[1]
    raise CheckpointError(
        f"{path} was fitted with the encoder {shown[0]}, got {got}: pass the same one as "
        "FairLatentTransformer.load(path, encoder=...). If you know that it makes the same codes, "
        "pass check_encoder=False as well."
    )


def _restore_shape(state: dict[str, Any]) -> tuple[int, ...] | None:
    shape = state.get("image_shape")  # version 0.1 wrote none
    if shape is None:
        return None
    if len(shape) != 3 or not all(isinstance(n, int) and 0 < n <= _MAX_SIDE for n in shape):
        raise ValueError(f"image_shape is {shape!r}")
    return tuple(shape)


def _plain(value: Any) -> Any:
    """Turn numpy scalars, which JSON does not know, into Python's."""
    return value.item() if isinstance(value, np.generic) else value
