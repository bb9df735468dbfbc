"""Content of a file of weights, whatever wrote it and however it names things."""

__all__ = [
    "FACTOR",
    "FORMAT",
    "MEAN",
    "FileContent",
    "is_finite",
    "read_content",
    "read_statistics",
    "select_network",
]

import json
import os
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from skfairlatent._files.tensors import DIGEST, read_tensors, verify
from skfairlatent.encoders.diffae._statistics import LatentStatistics
from skfairlatent.encoders.diffae._weights.torch_bounds import Checksums
from skfairlatent.encoders.diffae._weights.torch_files import (
    GIVE_WEIGHTS,
    load_torch_file,
    require_weights_file,
)
from skfairlatent.exceptions import CheckpointError

FORMAT = "skfairlatent-diffae-2"
# Without a digest, which came with the second.
_FIRST_FORMAT = "skfairlatent-diffae-1"
_REMEDY = "download or copy it again"
# FORMAT of skfairlatent._persistence.save_load, which imports this package and not the reverse.
_TRANSFORMER_FORMAT = "skfairlatent.FairLatentTransformer"
MEAN, FACTOR = "statistics.mean", "statistics.factor"
# A covariance of so many features takes 256 MB.
_MAX_WIDTH = 8192
_OFFICIAL_MEAN, _OFFICIAL_STD = "conds_mean", "conds_std"
# In this order: an average over the training is taken rather than the last step's weights.
_PREFIXES = ("ema_model.", "model.", "module.", "_orig_mod.")
# Beside the network: noise for pictures during training, codes, and a prior of codes.
_NOT_OF_NETWORK = ("conds", "latent_net.", "n_averaged", "statistics.", "x_T")
_ONLY_OF_U_NET = ("time_embed.", "output_blocks.")
_GIVE_STATISTICS = (
    "give statistics= the path of the model's latent.pkl or latent.ckpt, or of weights that hold "
    "statistics of codes"
)
_NOTES = ("epoch", "global_step", "pytorch-lightning_version")


@dataclass(frozen=True)
class FileContent:
    """Content of a file. Tensors may be views of it: copy what is to stay.

    Parameters
    ----------
    tensors : dict
        By the names of the file.
    settings : mapping
        Sizes of the model, among other things, as far as the file tells.
    metadata : dict of str
        Notes of whoever wrote the file.
    is_ours : bool
        Whether the settings are exactly those of a `DiffAEConfig`.
    checksums : set of tuple (int, int), or None
        Sizes and CRCs of what the tensors lie in, if the file has any.
    """

    tensors: dict[str, Tensor]
    settings: Mapping[str, Any]
    metadata: dict[str, str]
    is_ours: bool = False
    checksums: Checksums | None = None
    _whole: set[int] = field(default_factory=set)

    def require_whole(self, name: str, tensor: Tensor) -> Tensor:
        """Return a tensor of the file whose bytes are those that were written.

        Raises
        ------
        ValueError
            If they are not, or if it claims to be larger than they are.
        """
        storage = tensor.untyped_storage()
        if tensor.numel() * tensor.itemsize > storage.nbytes():
            raise ValueError(f"{name} is larger than its stored data")
        if self.checksums is not None and storage.data_ptr() not in self._whole:
            content = torch.empty(0, dtype=torch.uint8, device="cpu").set_(storage).numpy()
            if content.size and (content.size, zlib.crc32(content.data)) not in self.checksums:
                raise ValueError(f"{name} is damaged: download or copy the file again")
            self._whole.add(storage.data_ptr())
        return tensor

    @property
    def statistics(self) -> LatentStatistics | None:
        """Mean and spread of the codes, if the file has them.

        Raises
        ------
        ValueError
            If they are not statistics.
        """
        if MEAN in self.tensors:
            mean, factor = self._array(MEAN), self._array(FACTOR)
            if mean.ndim != 1 or factor.ndim != 2 or len(mean) != len(factor):
                raise ValueError(f"statistics of shapes {mean.shape} and {factor.shape}")
            return LatentStatistics(mean, factor)
        if _OFFICIAL_MEAN not in self.tensors:
            return None
        # Lightning holds them as rows.
        mean, std = (self._array(n).reshape(-1) for n in (_OFFICIAL_MEAN, _OFFICIAL_STD))
        if mean.shape != std.shape or (std < 0).any():
            raise ValueError("conds_mean and conds_std are not means and standard deviations")
        return LatentStatistics.independent(mean, std)

    def _array(self, name: str) -> np.ndarray[Any, np.dtype[np.float32]]:
        if name not in self.tensors:
            raise ValueError(f"{name} is missing")
        tensor = self.require_whole(name, self.tensors[name])
        if max(tensor.shape, default=0) > _MAX_WIDTH:
            raise ValueError(f"{name} is of shape {tuple(tensor.shape)}, too large for statistics")
        array = tensor.to(torch.float32, copy=True).numpy()
        if not np.isfinite(array).all():
            raise ValueError(f"{name} is not finite")
        return array


def read_content(path: str | os.PathLike[str], remedy: str = GIVE_WEIGHTS) -> FileContent:
    """Read a safetensors file, a Lightning checkpoint, or a state dict of torch.save.

    Parameters
    ----------
    path : path-like
    remedy : str
        Advice for the error if there is no file.

    Raises
    ------
    CheckpointError
        If the file is none of those, is damaged, or needs code to be read.
    FileNotFoundError, IsADirectoryError
        If there is no file.
    """
    found = require_weights_file(path, remedy)
    if found.suffix == ".safetensors" or _looks_like_safetensors(found):
        return _read_safetensors(found)
    content, checksums = load_torch_file(found)
    if not isinstance(content, Mapping):
        raise CheckpointError(
            f"{found} holds a {type(content).__name__}: expected a state dict or a Lightning "
            "checkpoint. Save the tensors alone: torch.save(model.state_dict(), 'weights.pt')."
        )
    state = content.get("state_dict")
    settings = content.get("hyper_parameters")
    return FileContent(
        _tensors_of(state if isinstance(state, Mapping) else content),
        settings if isinstance(settings, Mapping) else {},
        {k: str(content[k]) for k in _NOTES if isinstance(content.get(k), str | int | float)},
        checksums=checksums,
    )


def read_statistics(path: str | os.PathLike[str]) -> LatentStatistics:
    """Read mean and spread of the codes.

    Parameters
    ----------
    path : path-like
        The official ``latent.pkl`` or ``latent.ckpt``, or a file that `write_weights` wrote.

    Raises
    ------
    CheckpointError
        If the file is damaged or holds no statistics.
    FileNotFoundError, IsADirectoryError
        If there is no file.
    """
    try:
        statistics = read_content(path, _GIVE_STATISTICS).statistics
    except CheckpointError:
        raise
    except (TypeError, RuntimeError, ValueError) as error:
        raise CheckpointError(f"{path}: {error}; download or copy it again.") from error
    if statistics is None:
        raise CheckpointError(
            f"{path} holds no statistics of codes: expected conds_mean and conds_std, as the "
            "official latent.pkl and latent.ckpt hold them."
        )
    return statistics


def select_network(
    tensors: Mapping[str, Tensor], encoder_only: bool
) -> tuple[dict[str, Tensor], bool]:
    """Pick the tensors of the network, by the network's own names.

    Parameters
    ----------
    tensors : mapping
        By the names of a file.
    encoder_only : bool
        Leave the U-Net out.

    Returns
    -------
    tensors : dict
        Without prefixes; those of the semantic encoder by its own names if it is alone.
    encoder_only : bool
        Whether the semantic encoder is alone.
    """
    names = {name: name for name in tensors}
    while prefix := next((p for p in _PREFIXES if any(n.startswith(p) for n in names)), None):
        names = {n.removeprefix(prefix): old for n, old in names.items() if n.startswith(prefix)}
    names = {new: old for new, old in names.items() if not new.startswith(_NOT_OF_NETWORK)}
    is_whole = any(name.startswith(_ONLY_OF_U_NET) for name in names)
    if is_whole and encoder_only:
        names = {new: old for new, old in names.items() if new.startswith("encoder.")}
    if encoder_only or not is_whole:
        names = {new.removeprefix("encoder."): old for new, old in names.items()}
    return {new: tensors[old] for new, old in names.items()}, encoder_only or not is_whole


def is_finite(value: Tensor) -> bool:
    """Tell whether all numbers are finite, in one pass and without memory, unlike ``isfinite``."""
    # NaN anywhere makes both of them NaN.
    return all(bool(end.isfinite()) for end in value.aminmax())


def _read_safetensors(path: Path) -> FileContent:
    metadata, tensors = read_tensors(path, _REMEDY)
    # Either tells that there was a digest, should the other be damaged.
    if DIGEST in metadata or metadata.get("format") == FORMAT:
        verify(path, metadata, tensors, _REMEDY)
    metadata.pop(DIGEST, None)
    is_ours = "config" in metadata
    try:
        settings = json.loads(metadata.pop("config", "{}"))
    except (RecursionError, ValueError) as error:
        raise CheckpointError(
            f"{path} has a config that is not valid JSON ({error}); {_REMEDY}."
        ) from None
    if not isinstance(settings, dict):
        raise CheckpointError(f"{path} has a config that is not a dictionary: {settings!r:.80}.")
    written = metadata.pop("format", FORMAT)
    if written == _TRANSFORMER_FORMAT:
        raise CheckpointError(
            f"{path} holds a fitted FairLatentTransformer, not weights of an encoder: load it by "
            f"FairLatentTransformer.load({str(path)!r})."
        )
    if written.startswith("skfairlatent") and written not in (FORMAT, _FIRST_FORMAT):
        raise CheckpointError(
            f"{path} has the format {written!r}, this version of skfairlatent reads {FORMAT!r}: "
            "read it with the version that wrote it."
        )
    return FileContent(tensors, settings, metadata, is_ours)


def _looks_like_safetensors(path: Path) -> bool:
    with path.open("rb") as file:
        start = file.read(9)
    return start[8:] == b"{" and int.from_bytes(start[:8], "little") < path.stat().st_size


def _tensors_of(state: Mapping[Any, Any]) -> dict[str, Tensor]:
    # Exactly these types: others, such as sparse or quantised ones, are not weights of ours.
    kinds = (Tensor, torch.nn.Parameter)
    return {k: v.detach() for k, v in state.items() if isinstance(k, str) and type(v) in kinds}
