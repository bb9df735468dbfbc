"""A fitted transformer as one safetensors file: tensors, and JSON in its header."""

__all__ = ["load", "save"]

import io
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from skfairlatent._checkpoint import replace_file
from skfairlatent._embedding import encoder_fingerprint
from skfairlatent.exceptions import CheckpointError
from skfairlatent.flows import Glow

if TYPE_CHECKING:
    from skfairlatent._transformer import FairLatentTransformer

T = TypeVar("T", bound="FairLatentTransformer")

FORMAT = "skfairlatent.FairLatentTransformer"
# Raised whenever older code could not read the file rightly.
FORMAT_VERSION = 1


def save(transformer: "FairLatentTransformer", path: str | os.PathLike[str]) -> None:
    """Write a fitted transformer to `path`; see ``FairLatentTransformer.save``."""
    weights = transformer.flow_.state_dict()
    tensors = {f"flow.{name}": value.contiguous() for name, value in weights.items()}
    for name in ("mean_", "scale_", "sensitive_mean_"):
        tensors[name] = torch.from_numpy(getattr(transformer, name))
    header = {
        "format": FORMAT,
        "format_version": str(FORMAT_VERSION),
        "state": json.dumps(_state(transformer)),
    }
    replace_file(Path(path), lambda temporary: save_file(tensors, temporary, metadata=header))


def load(cls: type[T], path: str | os.PathLike[str], encoder: Any) -> T:
    """Read a transformer from `path`; see ``FairLatentTransformer.load``."""
    header, tensors = _read(Path(path))
    state = json.loads(header["state"])
    if state["encoder_name"] is not None and encoder is None:
        encoder = state["encoder_name"]
    _check_encoder(path, state["attributes"]["encoder_fingerprint_"], encoder)
    transformer = cls(encoder, **state["parameters"])
    for name, value in state["attributes"].items():
        setattr(transformer, name, value)
    _restore_arrays(transformer, state, tensors)
    flow = Glow(state["n_features"], **state["flow"])
    flow.load_state_dict(
        {k.removeprefix("flow."): v for k, v in tensors.items() if k.startswith("flow.")}
    )
    transformer.flow_ = flow
    return transformer


def _state(transformer: "FairLatentTransformer") -> dict[str, Any]:
    parameters = transformer.get_params(deep=False)
    encoder = parameters.pop("encoder")
    parameters["device"] = str(parameters["device"])
    parameters["checkpoint_dir"] = None
    if not isinstance(parameters["random_state"], int | None):
        parameters["random_state"] = None
    single = isinstance(transformer.classes_, np.ndarray)
    classes: list[npt.NDArray[Any]] = (
        [transformer.classes_] if single else transformer.classes_  # type: ignore[list-item,assignment]
    )
    return {
        "parameters": {name: _plain(value) for name, value in parameters.items()},
        "encoder_name": encoder if isinstance(encoder, str) else None,
        "attributes": {
            "groups_": transformer.groups_,
            "n_iter_": transformer.n_iter_,
            "inverse_error_": transformer.inverse_error_,
            "n_features_in_": transformer.n_features_in_,
            "encoder_fingerprint_": transformer.encoder_fingerprint_,
            "_fitted_on_images": transformer._fitted_on_images,
        },
        "attributes_": transformer.attributes_,
        "feature_names": getattr(transformer, "feature_names_in_", np.empty(0)).tolist(),
        "classes": [{"dtype": c.dtype.str, "values": c.tolist()} for c in classes],
        "single_target": single,
        "history": transformer.history_.to_json(orient="split", double_precision=15),
        "n_label_components": transformer.label_slice_.stop,
        "n_features": transformer.flow_.features,
        "flow": {
            "n_blocks": transformer.flow_.n_blocks,
            "hidden_features": transformer.flow_.hidden_features,
        },
    }


def _restore_arrays(
    transformer: "FairLatentTransformer", state: dict[str, Any], tensors: dict[str, Tensor]
) -> None:
    classes: list[npt.NDArray[Any]] = [
        np.array(column["values"], dtype=column["dtype"]) for column in state["classes"]
    ]
    transformer.classes_ = classes[0] if state["single_target"] else classes
    transformer.attributes_ = [(name, values) for name, values in state["attributes_"]]
    transformer.history_ = pd.read_json(io.StringIO(state["history"]), orient="split")
    if state["feature_names"]:
        transformer.feature_names_in_ = np.array(state["feature_names"], dtype=object)
    width, n_features = state["n_label_components"], state["n_features"]
    transformer.label_slice_ = slice(0, width)
    transformer.sensitive_slice_ = slice(width, n_features)
    for name in ("mean_", "scale_", "sensitive_mean_"):
        setattr(transformer, name, tensors[name].numpy())


def _read(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist or is no file.")
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            _check_header(path, header)
            return header, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise CheckpointError(
            f"{path} is damaged or is no safetensors file ({error}); expected a file written by "
            "FairLatentTransformer.save."
        ) from error


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


def _check_encoder(path: str | os.PathLike[str], expected: str | None, encoder: Any) -> None:
    given = encoder_fingerprint(encoder)
    if given != expected:
        raise CheckpointError(
            f"{path} was fitted with the encoder {expected}, got {given}: pass the same one as "
            "FairLatentTransformer.load(path, encoder=...)."
        )


def _plain(value: Any) -> Any:
    """Turn numpy scalars, which JSON does not know, into Python's."""
    return value.item() if isinstance(value, np.generic) else value
