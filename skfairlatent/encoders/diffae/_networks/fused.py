"""Normalisation with what follows it, and changes of resolution, each as one function on CUDA.

torch treats features with channels last in memory by many kernels one after another there; memory
is what they wait for. Encoding and training spent four fifths of their time so.
"""

__all__ = [
    "added",
    "doubled",
    "fusible",
    "halved",
    "inferring",
    "normalized",
    "normalized_and_halved",
]

import functools
import importlib.util
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn


def fusible(x: Tensor) -> bool:
    """Tell whether features (n, c, h, w) can be treated by the functions of this file."""
    return (
        x.device.type == "cuda"
        and x.dim() == 4
        and x.is_contiguous(memory_format=torch.channels_last)
        and not torch.compiler.is_compiling()
        and _triton_is_there()
    )


def inferring(x: Tensor) -> bool:
    """Tell whether features can be treated by the functions that have no gradients."""
    return not torch.is_grad_enabled() and fusible(x)


def normalized(
    norm: nn.GroupNorm,
    x: Tensor,
    scale: Tensor | None = None,
    shift: Tensor | None = None,
    *,
    silu: bool,
    offset: Tensor | None = None,
) -> Tensor:
    """Return ``scale * norm(x + offset) + shift``, or SiLU of it.

    Parameters
    ----------
    x : Tensor of shape (n, c, h, w)
        With channels last in memory.
    scale, shift : Tensor of shape (n, c), or None
    offset : Tensor of shape (c,), or None
        Not differentiated.
    """
    features: Tensor = _Normalized.apply(  # type: ignore[no-untyped-call]
        x, norm.weight, norm.bias, scale, shift, norm.num_groups, norm.eps, silu, offset
    )
    return features


def normalized_and_halved(norm: nn.GroupNorm, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return SiLU of ``norm(x)`` and x itself, both `halved`; without gradients."""
    pixels = _pixels(x)
    a, b, _, _ = _kernels().coefficients(
        pixels, norm.weight, norm.bias, None, None, norm.num_groups, norm.eps
    )
    rows = x.permute(0, 2, 3, 1).contiguous()
    h, x = _kernels().affine_halved(rows, a, b)
    return h.permute(0, 3, 1, 2), x.permute(0, 3, 1, 2)


def added(x: Tensor | None, change: Tensor, offset: Tensor) -> Tensor:
    """Return ``x + change + offset``; overwrites `change`, and has no gradients.

    Parameters
    ----------
    x : Tensor of shape (n, c, h, w), or None for nothing
    change : Tensor of shape (n, c, h, w)
        With channels last in memory.
    offset : Tensor of shape (c,)
    """
    result = _pixels(change)
    _kernels().add(None if x is None else _pixels(x), offset, result)
    return _features(result, change.shape)


def halved(x: Tensor) -> Tensor:
    """Average squares of 2 x 2 pixels: (n, c, h, w) to (n, c, h/2, w/2)."""
    return _resized(x, "sum_of_four", "spread_to_four", 0.25)


def doubled(x: Tensor) -> Tensor:
    """Copy each pixel to four: (n, c, h, w) to (n, c, 2h, 2w)."""
    return _resized(x, "spread_to_four", "sum_of_four", 1.0)


class _Normalized(torch.autograd.Function):
    """Group normalisation, an affine map per image and channel, and SiLU.

    All but SiLU is one affine map of each channel of each image, ``u = a x + b``, whose
    coefficients come from sums over the pixels. So is all but SiLU of the gradient.
    """

    @staticmethod
    def forward(  # noqa: PLR0913, PLR0917 - what a normalisation and a modulation need
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        scale: Tensor | None,
        shift: Tensor | None,
        groups: int,
        eps: float,
        silu: bool,
        offset: Tensor | None,
    ) -> Tensor:
        pixels = _pixels(x)
        if scale is not None and shift is not None:
            scale, shift = scale.float().contiguous(), shift.float().contiguous()
        a, b, mean, inverse = _kernels().coefficients(
            pixels, weight, bias, scale, shift, groups, eps, offset
        )
        y = _kernels().affine(pixels, a, b, silu=silu)
        ctx.save_for_backward(pixels, weight, bias, scale, a, b, mean, inverse)
        ctx.groups, ctx.silu, ctx.shape = groups, silu, x.shape
        return _features(y, x.shape)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        pixels, weight, bias, scale, a, b, mean, inverse = ctx.saved_tensors
        gradient = _pixels(gradients[0])
        n, n_pixels, channels = pixels.shape
        # Sums over pixels of the gradient of u, and of its product with the normalised x.
        plain, with_x = _kernels().affine_gradient_sums(gradient, pixels, a, b, silu=ctx.silu)
        with_x = (with_x - mean * plain) * inverse
        # u = scale (weight x' + bias) + shift, with x' = (x - mean) * inverse.
        d_scale = d_shift = None
        by_plain, by_x = plain, with_x
        if scale is not None:
            d_scale = torch.addcmul(bias * plain, weight, with_x)
            d_shift = plain
            by_plain, by_x = plain * scale, with_x * scale
        d_weight, d_bias = by_x.sum(0), by_plain.sum(0)
        count = n_pixels * (channels // ctx.groups)
        means = torch.stack((by_plain, by_x)) * (weight / count)
        means = means.view(2, n, ctx.groups, -1).sum(3)
        mean_plain, mean_x = (_per_channel(value, channels) for value in means)
        slope = -inverse.square() * mean_x
        offset = -inverse * mean_plain - slope * mean
        d_x = _kernels().affine_gradient(gradient, pixels, a, b, offset, slope, silu=ctx.silu)
        nothing = (None,) * 4
        return _features(d_x, ctx.shape), d_weight, d_bias, d_scale, d_shift, *nothing


class _Resized(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, kernel: str, opposite: str, factor: float) -> Tensor:
        ctx.opposite, ctx.factor = opposite, factor
        return _between_sizes(kernel, x, factor)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        return _between_sizes(ctx.opposite, gradients[0], ctx.factor), None, None, None


def _between_sizes(kernel: str, x: Tensor, factor: float) -> Tensor:
    y: Tensor = getattr(_kernels(), kernel)(x.permute(0, 2, 3, 1).contiguous(), factor)
    features: Tensor = y.permute(0, 3, 1, 2)
    return features


def _resized(x: Tensor, kernel: str, opposite: str, factor: float) -> Tensor:
    y: Tensor = _Resized.apply(x, kernel, opposite, factor)  # type: ignore[no-untyped-call]
    return y


def _pixels(x: Tensor) -> Tensor:
    """View features (n, c, h, w), channels last, as (n, h * w, c)."""
    return x.permute(0, 2, 3, 1).contiguous().flatten(1, 2)


def _features(pixels: Tensor, shape: torch.Size) -> Tensor:
    """View (n, h * w, c) as features (n, c, h, w)."""
    n, channels, height, width = shape
    return pixels.view(n, height, width, channels).permute(0, 3, 1, 2)


def _per_channel(values: Tensor, channels: int) -> Tensor:
    """Repeat values of groups (n, groups) for their channels: (n, channels)."""
    return values.repeat_interleave(channels // values.shape[1], dim=1)


@functools.cache
def _triton_is_there() -> bool:
    """Tell whether torch came with Triton: not on every system."""
    return importlib.util.find_spec("triton") is not None


def _kernels() -> ModuleType:
    from skfairlatent.encoders.diffae._networks import triton_kernels  # noqa: PLC0415 - needs Triton

    return triton_kernels
