"""Writing the weights of diffusion autoencoders."""

__all__ = ["RESERVED", "write_weights"]

import json
import os
from collections.abc import Mapping

import torch
from torch import Tensor

from skfairlatent._files.tensors import DIGEST, pack
from skfairlatent._files.writing import replace_file
from skfairlatent.encoders.diffae._config import DiffAEConfig
from skfairlatent.encoders.diffae._networks.networks import DiffusionAutoencoder, SemanticEncoder
from skfairlatent.encoders.diffae._statistics import LatentStatistics
from skfairlatent.encoders.diffae._weights.files import FACTOR, FORMAT, MEAN, is_finite

# Keys of the metadata that are ours.
RESERVED = ("format", "config", DIGEST)
_DTYPES = (torch.float32, torch.float16)


def write_weights(
    path: str | os.PathLike[str],
    network: DiffusionAutoencoder | SemanticEncoder,
    *,
    config: DiffAEConfig | None = None,
    statistics: LatentStatistics | None = None,
    dtype: torch.dtype = torch.float32,
    encoder_only: bool = False,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write a safetensors file that `read_weights` reads, in one step.

    Parameters
    ----------
    path : path-like
        Replaced if it exists, once the new file is whole.
    config : DiffAEConfig, optional
        Needed for a `SemanticEncoder`, which does not know it.
    statistics : LatentStatistics, optional
        Statistics of the codes.
    dtype : torch.dtype, default=torch.float32
        Or float16, for half the size; weights are read as float32 again.
    encoder_only : bool, default=False
        Leave the U-Net out: such a file encodes, and cannot decode.
    metadata : mapping of str, optional
        Notes, such as the licence.

    Raises
    ------
    ValueError
        If an argument or the weights cannot be written.
    OSError
        If the path is a folder, the disk is full or the place is not writable; what was there is
        unchanged.
    """
    config = config or getattr(network, "config", None)
    if config is None:
        raise ValueError(
            "a SemanticEncoder does not know its sizes: pass config=DiffAEConfig(...)."
        )
    notes = dict(metadata or {})
    _check_arguments(dtype, notes)
    tensors = _named(network, encoder_only)
    tensors = {name: _narrowed(name, value, dtype) for name, value in tensors.items()}
    if statistics is not None:
        tensors[MEAN] = torch.from_numpy(statistics.mean.copy())
        tensors[FACTOR] = torch.from_numpy(statistics.factor.copy())
    header = {**notes, "format": FORMAT, "config": json.dumps(config.to_dict())}
    replace_file(path, pack(tensors, header), "The file of weights")


def _check_arguments(dtype: torch.dtype, metadata: Mapping[str, str]) -> None:
    if dtype not in _DTYPES:
        raise ValueError(f"dtype={dtype} is not supported: pass torch.float32 or torch.float16.")
    for name, value in metadata.items():
        if name in RESERVED or not isinstance(value, str):
            raise ValueError(
                f"metadata {name!r}: {value!r} cannot be kept: values are text, and "
                f"{', '.join(RESERVED)} are written anyway."
            )


def _named(
    network: DiffusionAutoencoder | SemanticEncoder, encoder_only: bool
) -> dict[str, Tensor]:
    if isinstance(network, DiffusionAutoencoder) and not encoder_only:
        return dict(network.state_dict())
    encoder = network.encoder if isinstance(network, DiffusionAutoencoder) else network
    return {f"encoder.{name}": value for name, value in encoder.state_dict().items()}


def _narrowed(name: str, value: Tensor, dtype: torch.dtype) -> Tensor:
    # In rows: a network for images may lie in memory with channels last.
    narrowed = value.detach().to("cpu", dtype).contiguous()
    if not is_finite(narrowed):
        raise ValueError(f"{name} is not finite in {dtype}, and cannot be written.")
    return narrowed
