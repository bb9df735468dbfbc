"""A fitted transformer as one safetensors file: tensors, and JSON in its header."""

__all__ = ["load", "save"]

import json
import os
import re
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors.torch import save as to_bytes
from sklearn.base import BaseEstimator
from torch import Tensor

from skfairlatent._embedding import encoder_fingerprint, is_same_encoder, probe_codes
from skfairlatent._files.tensors import digest_of, read_tensors
from skfairlatent._files.writing import replace_file
from skfairlatent._persistence.state import SavedState, only_ours
from skfairlatent.exceptions import CheckpointError

T = TypeVar("T", bound=BaseEstimator)

FORMAT = "skfairlatent.FairLatentTransformer"
# Raised whenever older code could not read the file rightly.
FORMAT_VERSION = 2
_READABLE = ("1", "2")

# Name of the codes of a few images of nobody, by which the encoder is recognised.
_CODES = "encoder_codes"
# Eight digits are enough to see that two differ.
_LONG_DIGEST = re.compile(r"([0-9a-f]{8})[0-9a-f]{24,}")


def save(path: str | os.PathLike[str], state: SavedState, encoder: Any) -> None:
    """Write a transformer to `path`, with what tells `encoder` from others."""
    tensors = {name: torch.tensor(array).contiguous() for name, array in state.arrays.items()}
    codes = probe_codes(encoder, state.image_shape)
    if codes is not None:
        tensors[_CODES] = torch.from_numpy(codes)
    text = json.dumps(state.values)
    header = {
        "format": FORMAT,
        "format_version": str(FORMAT_VERSION),
        "state": text,
        "digest": digest_of(text, tensors),
    }
    replace_file(path, to_bytes(tensors, metadata=header), "The transformer")


def load(cls: type[T], path: str | os.PathLike[str], encoder: Any, *, check_encoder: bool) -> T:
    """Read an estimator of class `cls` from `path`; see ``FairLatentTransformer.load``."""
    header, tensors = _read(Path(path).expanduser())
    with only_ours(os.fspath(path), "save the transformer again"):
        values = json.loads(header["state"])
        if values["encoder_name"] is not None and encoder is None:
            encoder = values["encoder_name"]
        arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
        state = SavedState(_flat(values), arrays)
        if check_encoder:
            _check_encoder(Path(path), state, encoder)
        # A file must not say where to write.
        estimator: T = cls(encoder, **{**values["parameters"], "checkpoint_dir": None})
        estimator._validate_params()
        state.restore(estimator)
        return estimator


def _flat(values: dict[str, Any]) -> dict[str, Any]:
    """Return the values as they are written now: format 1 kept some of them one level deeper."""
    flat = {**values.get("attributes", {}), **values}
    return {name: value for name, value in flat.items() if name != "feature_names" or value}


def _read(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder: pass the file that save wrote.")
    if not path.is_file():
        found = "is not a regular file" if path.exists() else "does not exist"
        raise FileNotFoundError(f"{path} {found}: pass the file that save wrote.")
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
    if header.get("format_version") not in _READABLE:
        raise CheckpointError(
            f"{path} has format version {header.get('format_version')}, this version of "
            f"skfairlatent reads {' and '.join(_READABLE)}; load it with the version that wrote "
            "it, and fit or save again."
        )


def _check_encoder(path: Path, state: SavedState, encoder: Any) -> None:
    expected, used = (state.values[name] for name in ("encoder_fingerprint_", "_fitted_on_images"))
    codes = state.arrays.get(_CODES)
    if is_same_encoder(encoder, expected, codes, state.image_shape, used=used):
        return
    given = encoder_fingerprint(encoder, used=used)
    shown = [None if name is None else _LONG_DIGEST.sub(r"\1", name) for name in (expected, given)]
    got = f"{shown[1]}, which makes other codes" if given == expected else shown[1]
    raise CheckpointError(
        f"{path} was fitted with the encoder {shown[0]}, got {got}: pass the same one as "
        "FairLatentTransformer.load(path, encoder=...). If you know that it makes the same codes, "
        "pass check_encoder=False as well."
    )
