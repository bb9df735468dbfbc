"""Linear layers whose first weights are drawn from a given generator."""

__all__ = ["draw_weights", "make_linear"]

import math

import torch
from torch import nn

Weighted = nn.Linear | nn.Conv1d | nn.Conv2d


class Linear(nn.Linear):
    """A linear layer that draws no weights when it is made."""

    def reset_parameters(self) -> None:
        """Leave the weights to `draw_weights`."""


def make_linear(
    n_inputs: int,
    n_outputs: int,
    *,
    generator: torch.Generator | None = None,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> nn.Linear:
    """Return a linear layer as torch makes it, without touching torch's own generator.

    Parameters
    ----------
    generator : torch.Generator, optional
        Source of the random weights; torch's own if None.
    device, dtype : optional
        Device and dtype of the weights; torch's defaults if not given.
    """
    layer = Linear(n_inputs, n_outputs, device=device, dtype=dtype)
    draw_weights(layer, generator)
    return layer


def draw_weights(layer: Weighted, generator: torch.Generator | None) -> None:
    """Draw the weights of a layer as torch does when it makes one; none on the meta device."""
    if layer.weight.is_meta:  # where to draw takes milliseconds, and leaves nothing
        return
    nn.init.kaiming_uniform_(layer.weight, a=math.sqrt(5), generator=generator)
    if layer.bias is not None:
        bound = 1 / math.sqrt(layer.weight[0].numel())
        nn.init.uniform_(layer.bias, -bound, bound, generator=generator)
