"""Reading and writing the weights of diffusion autoencoders."""

__all__ = [
    "Weights",
    "build",
    "convert_weights",
    "read_statistics",
    "read_weights",
    "write_weights",
]

import os
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from skfairlatent._device import neutral_torch_state
from skfairlatent._wording import some_of
from skfairlatent.encoders.diffae._config import DiffAEConfig
from skfairlatent.encoders.diffae._networks.networks import DiffusionAutoencoder, SemanticEncoder
from skfairlatent.encoders.diffae._statistics import LatentStatistics
from skfairlatent.encoders.diffae._weights.files import (
    FileContent,
    is_finite,
    read_content,
    read_statistics,
    select_network,
)
from skfairlatent.encoders.diffae._weights.find_config import (
    differences,
    empty_network,
    find_config,
)
from skfairlatent.encoders.diffae._weights.write import write_weights
from skfairlatent.exceptions import CheckpointError

PathLike = str | os.PathLike[str]
Network = DiffusionAutoencoder | SemanticEncoder

_READABLE = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
# Whoever writes a file can put anything into it, and each thing fails in its own way.
_NOT_OURS = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)


@dataclass(frozen=True)
class Weights:
    """Weights of a diffusion autoencoder or of its semantic encoder, checked against its sizes.

    Parameters
    ----------
    config : DiffAEConfig
        Sizes of the network.
    tensors : dict
        float32, by the names of `DiffusionAutoencoder`, or of `SemanticEncoder` if
        `encoder_only`.
    statistics : LatentStatistics or None
        Statistics of the codes, if the file has them.
    metadata : dict of str
        Notes of whoever wrote the file.
    is_ours : bool
        Whether this package wrote the file.
    """

    config: DiffAEConfig
    tensors: dict[str, Tensor]
    statistics: LatentStatistics | None
    encoder_only: bool
    metadata: dict[str, str]
    is_ours: bool


def read_weights(
    path: PathLike, config: DiffAEConfig | None = None, *, encoder_only: bool = False
) -> Weights:
    """Read weights; nothing in the file is executed.

    Parameters
    ----------
    path : path-like
        A Lightning checkpoint of the official code (averaged weights are taken), a state dict,
        or a safetensors file, of the whole model or of the semantic encoder.
    config : DiffAEConfig, optional
        Sizes of the network; by default those that the file holds, or those of the official
        model that its tensors fit.
    encoder_only : bool, default=False
        Read the semantic encoder alone, which takes a fifth of the memory.

    Raises
    ------
    CheckpointError
        If the file is damaged, hostile, or does not hold such a model.
    FileNotFoundError, IsADirectoryError
        If there is no file.
    """
    content = read_content(path)
    tensors, encoder_only = select_network(content.tensors, encoder_only)
    try:
        found = config or find_config(content, tensors, encoder_only)
        _check_depth(found, len(tensors), encoder_only)
        expected = empty_network(found, encoder_only).state_dict()
        _check_names(tensors, expected, differences(found, content) if config else "")
        statistics = content.statistics
        if statistics is not None and len(statistics.mean) != found.embed_channels:
            raise ValueError(
                f"its statistics are of {len(statistics.mean)} features, not "
                f"{found.embed_channels}"
            )
        taken = {name: _taken(name, tensors[name], content) for name in expected}
    except CheckpointError:
        raise
    except _NOT_OURS as error:
        reason = str(error).removesuffix(".")
        raise CheckpointError(
            f"{path} is not a valid file of weights: {reason}. Pass the weights of a diffusion "
            "autoencoder, and config=DiffAEConfig(...) if the file does not hold its sizes."
        ) from error
    return Weights(found, taken, statistics, encoder_only, content.metadata, content.is_ours)


def build(weights: Weights) -> Network:
    """Return the network, in eval mode and without gradients.

    It shares the memory of `weights`: nothing is initialised and then overwritten.
    """
    network = empty_network(weights.config, weights.encoder_only)
    network.load_state_dict(weights.tensors, assign=True)
    return network.requires_grad_(False).eval()


@neutral_torch_state()
def convert_weights(
    source: PathLike,
    target: PathLike,
    *,
    config: DiffAEConfig | None = None,
    statistics: PathLike | None = None,
    dtype: torch.dtype = torch.float32,
    encoder_only: bool = True,
) -> None:
    """Convert weights of any supported format to a small safetensors file.

    The official ffhq256 ``last.ckpt`` of 2.7 GB becomes 121 MB with the semantic encoder.

    Parameters
    ----------
    source : path-like
        Weights in any format that ``DiffAEEncoder(weights=...)`` accepts.
    target : path-like
        File to write.
    config : DiffAEConfig, optional
        Sizes of the network; by default those that `source` holds, or those of the official model
        that its tensors fit.
    statistics : path-like, optional
        The official ``latent.pkl`` or ``latent.ckpt``; by default the statistics in `source`.
    dtype : {torch.float32, torch.float16}, default=torch.float32
        Precision to write.
    encoder_only : bool, default=True
        Whether to leave the U-Net out.

    Raises
    ------
    CheckpointError
        If a file is damaged or does not hold such weights.
    FileNotFoundError
        If a file does not exist.
    """
    weights = read_weights(source, config, encoder_only=encoder_only)
    write_weights(
        target,
        build(weights),
        config=weights.config,
        statistics=read_statistics(statistics) if statistics else weights.statistics,
        dtype=dtype,
        metadata=weights.metadata,
    )


def _check_depth(config: DiffAEConfig, n_tensors: int, encoder_only: bool) -> None:
    """Refuse a file that asks for more blocks than it has tensors, before they are made."""
    n_blocks = len(config.enc_channel_mult) * config.enc_num_res_blocks
    if not encoder_only:
        n_blocks += len(config.channel_mult) * config.num_res_blocks
    if n_blocks > n_tensors:
        raise ValueError(f"{n_tensors} tensors are not enough for {n_blocks} blocks")


def _check_names(
    tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor], differences: str
) -> None:
    missing = [name for name in expected if name not in tensors]
    others = [name for name in tensors if name not in expected]
    misshapen = [
        f"{name} {tuple(tensors[name].shape)} instead of {tuple(value.shape)}"
        for name, value in expected.items()
        if name in tensors and tensors[name].shape != value.shape
    ]
    kinds = {"missing": missing, "not known": others, "of another shape": misshapen}
    found = [
        f"{len(names)} tensors are {kind}: {', '.join(some_of(names))}"
        for kind, names in kinds.items()
        if names
    ]
    if found:
        if differences:
            found.append(f"its sizes are not those of config, or the official name: {differences}")
        raise ValueError("; ".join(found))


def _taken(name: str, value: Tensor, content: FileContent) -> Tensor:
    """Copy: a tensor of a file may stay a view of it, which can change or go away."""
    if value.dtype not in _READABLE or value.device.type != "cpu" or value.is_sparse:
        raise ValueError(
            f"{name} is {value.dtype}, {value.layout}, on {value.device}: expected floating point"
        )
    content.require_whole(name, value)
    copied = value.to(torch.float32, copy=True, memory_format=torch.contiguous_format)
    if not is_finite(copied):
        raise ValueError(f"{name} holds NaN or infinity")
    return copied
