"""Inference on a CPU piece by piece, so that features stay in the processor's cache."""

__all__ = ["bytes_per_image", "in_pieces"]

from collections.abc import Callable

import torch
from torch import Tensor

from skfairlatent.encoders.diffae._config import DiffAEConfig

# Bytes of the widest features of a piece: with a few of them alive, about what a last-level cache
# holds. And for tensors beyond 32 MiB the system hands out new pages each time.
PIECE_BYTES = 16 * 2**20
FLOAT_BYTES = 4


def bytes_per_image(config: DiffAEConfig, mults: tuple[int, ...]) -> int:
    """Return the size of the widest features of an image, in bytes.

    Parameters
    ----------
    mults : tuple of int
        Multipliers of the channels at each level of the network.
    """
    pixels = [(config.image_size >> level) ** 2 for level in range(len(mults))]
    widest = max(n * mult for n, mult in zip(pixels, mults, strict=True))
    return widest * config.model_channels * FLOAT_BYTES


def in_pieces(function: Callable[..., Tensor], image_bytes: int, *tensors: Tensor) -> Tensor:
    """Map tensors with the same first dimension, a few rows at a time where that is faster.

    Only on a CPU, and only without gradients: training needs all features anyway.

    Parameters
    ----------
    function : callable
        Treats every row by itself.
    image_bytes : int
        Size of the widest features of a row.
    *tensors : Tensor
    """
    size = max(1, PIECE_BYTES // image_bytes)
    first = tensors[0]
    if len(first) <= size or first.device.type != "cpu" or torch.is_grad_enabled():
        return function(*tensors)
    pieces = zip(*(tensor.split(size) for tensor in tensors), strict=True)
    return torch.cat([function(*piece) for piece in pieces])
