"""Blocks of both networks, with the official names of their tensors."""

__all__ = [
    "STARTS_AT_ZERO",
    "Attention",
    "Conditioned",
    "DownSample",
    "Dropout",
    "ResBlock",
    "UpSample",
    "zeroed",
]

from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from skfairlatent.encoders.diffae._config import GROUPS
from skfairlatent.encoders.diffae._networks import fused
from skfairlatent.encoders.diffae._networks.normalization import normalization, normalized
from skfairlatent.encoders.diffae._networks.winograd import Conv3x3, unbiased

Module = TypeVar("Module", bound=nn.Module)

# Mark of the layers that start at zero.
STARTS_AT_ZERO = "starts_at_zero"


def added(x: Tensor, change: Tensor, offset: Tensor | None = None) -> Tensor:
    """Return ``x + change + offset``; `change`, which nothing else needs, may be overwritten."""
    if offset is not None:
        return fused.added(x, change, offset)
    if torch.is_grad_enabled() or change.dtype != torch.result_type(x, change):
        return x + change
    return change.add_(x)


def zeroed(layer: Module) -> Module:
    """Start a layer at zero, so that its residual block starts as the identity."""
    setattr(layer, STARTS_AT_ZERO, True)
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


class Dropout(nn.Dropout):
    """Dropout that draws from `generator`, if it is given one: torch's draws from its own only."""

    generator: torch.Generator | None = None

    def forward(self, input: Tensor) -> Tensor:
        """Set a share `p` of the features to zero while training, and scale up the others."""
        if not self.training or not self.p:
            return input
        kept = torch.empty_like(input).bernoulli_(1 - self.p, generator=self.generator)
        return input * kept.div_(1 - self.p)

    def __getstate__(self) -> dict[str, Any]:
        """Leave the generator out of copies and files: it is that of one training."""
        return {name: value for name, value in self.__dict__.items() if name != "generator"}


class UpSample(nn.Module):
    """Double height and width, each pixel four times."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, c, h, w) to (n, c, 2h, 2w)."""
        if fused.fusible(x):
            return fused.doubled(x)
        return F.interpolate(x, scale_factor=2, mode="nearest")


class DownSample(nn.Module):
    """Halve height and width, each pixel the mean of four."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, c, h, w) to (n, c, h/2, w/2)."""
        if fused.fusible(x):
            return fused.halved(x)
        return F.avg_pool2d(x, 2)


class ResBlock(nn.Module):
    r"""A residual block, conditioned by time and semantic code where it has a width for them.

    With both, the second normalisation is modulated twice (Preechakul et al., "Diffusion
    Autoencoders", CVPR 2022, equation 6):
    :math:`z_s (t_s \, \mathrm{GroupNorm}(h) + t_b)`, where the scales are learnt as deviations
    from 1. Without, there is no second convolution at all: the block of the semantic encoder.

    Parameters
    ----------
    channels, out_channels : int
        Numbers of channels of the input (lateral features included) and of the output.
    embed_channels : int or None
        Width of time embedding and semantic code; None for a block without them.
    dropout : float
        Before the second convolution.
    resample : nn.Module or None
        Changes the resolution of both branches before the first convolution.
    groups : int
        Number of groups of the normalisations.
    """

    def __init__(
        self,
        channels: int,
        out_channels: int,
        embed_channels: int | None = None,
        dropout: float = 0.0,
        resample: nn.Module | None = None,
        groups: int = GROUPS,
    ) -> None:
        super().__init__()
        self.in_layers = nn.Sequential(
            normalization(channels, groups), nn.SiLU(), Conv3x3(channels, out_channels)
        )
        self.resample = resample
        self.conditioned = embed_channels is not None
        if embed_channels is not None:
            self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(embed_channels, 2 * out_channels))
            self.cond_emb_layers = nn.Sequential(
                nn.SiLU(), nn.Linear(embed_channels, out_channels)
            )
            self.out_layers = nn.Sequential(
                normalization(out_channels, groups),
                nn.SiLU(),
                Dropout(dropout),
                zeroed(Conv3x3(out_channels, out_channels)),
            )
        self.skip_connection: nn.Module = nn.Identity()
        if out_channels != channels:
            self.skip_connection = nn.Conv2d(channels, out_channels, 1)

    def forward(self, x: Tensor, time: Tensor | None = None, code: Tensor | None = None) -> Tensor:
        """Map features of shape (n, c, h, w); `time` and `code` are (n, embed_channels)."""
        h, x = self._activated(x)
        h, offset = unbiased(self.in_layers[2], h)
        if self.conditioned:
            h, offset = self._modulated(h, offset, time, code)
        x, skip_offset = unbiased(self.skip_connection, x)
        if skip_offset is not None:
            offset = skip_offset if offset is None else offset + skip_offset
        return added(x, h, offset)

    def _activated(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return SiLU of the normalised x, and x, both at the resolution of the result."""
        norm = cast(nn.GroupNorm, self.in_layers[0])
        if isinstance(self.resample, DownSample) and fused.inferring(x):
            return fused.normalized_and_halved(norm, x)
        h = normalized(norm, x)
        if self.resample is None:
            return h, x
        return self.resample(h), self.resample(x)

    def _modulated(
        self, h: Tensor, offset: Tensor | None, time: Tensor | None, code: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        if time is None or code is None:
            raise ValueError("a conditioned block needs time and code")
        scale, shift = self.emb_layers(time).chunk(2, dim=1)
        by_code = 1 + self.cond_emb_layers(code)
        # Both modulations as one: a multiplication and an addition over the features.
        scale, shift = (1 + scale) * by_code, shift * by_code
        norm, _, dropout, convolution = self.out_layers
        h = normalized(norm, h, scale, shift, offset=offset)
        return unbiased(convolution, dropout(h))


class Attention(nn.Module):
    """Self-attention among the pixels, each head with its own queries, keys and values.

    Parameters
    ----------
    channels : int
        A multiple of `num_heads`.
    groups : int
        Number of groups of the normalisation.
    """

    def __init__(self, channels: int, num_heads: int, groups: int = GROUPS) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.norm = normalization(channels, groups)
        self.qkv = nn.Conv1d(channels, 3 * channels, 1)
        self.proj_out = zeroed(nn.Conv1d(channels, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Map features of shape (n, c, h, w)."""
        n, c, height, width = x.shape
        # Pixels as rows: with channels last in memory this is a view, and so are the heads.
        pixels = normalized(self.norm, x, silu=False).flatten(2).transpose(1, 2)
        qkv = F.linear(pixels, self.qkv.weight.squeeze(2), self.qkv.bias)
        heads = qkv.view(n, height * width, self.num_heads, 3, c // self.num_heads)
        queries, keys, values = heads.permute(3, 0, 2, 1, 4)
        mixed = F.scaled_dot_product_attention(queries, keys, values)
        rows = mixed.transpose(1, 2).reshape(n, height * width, c)
        projection = self.proj_out
        rows = F.linear(rows, projection.weight.squeeze(2), projection.bias)
        return added(x, rows.transpose(1, 2).reshape(n, c, height, width))


class Conditioned(nn.Sequential):
    """Layers in a row, of which the residual blocks also get time and code."""

    def forward(self, x: Tensor, time: Tensor | None = None, code: Tensor | None = None) -> Tensor:
        """Map features of shape (n, c, h, w)."""
        for layer in self:
            x = layer(x, time, code) if isinstance(layer, ResBlock) else layer(x)
        return x
