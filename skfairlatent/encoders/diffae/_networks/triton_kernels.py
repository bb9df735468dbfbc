"""Kernels for CUDA that read and write features once, where torch goes over them many times.

Features are tensors (n, pixels, channels), contiguous: what (n, channels, h, w) with channels last
in memory looks like. A program takes some pixels of one image with all their channels.
Numbers are computed in float32 whatever they are stored in.
"""

__all__ = [
    "add",
    "affine",
    "affine_gradient",
    "affine_gradient_sums",
    "affine_halved",
    "coefficients",
    "spread_to_four",
    "sum_of_four",
]

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

# Numbers in a tile, and programs at work: enough of both to keep memory busy.
TILE = 4096
PROGRAMS = 2048
# Parts of an image that are summed apart; one program adds up all of a group's.
MOST_PARTS = 256


@triton.jit
def _tile(first, n_pixels, n_channels, PIXELS: tl.constexpr, CHANNELS: tl.constexpr):
    """Return offsets within an image, and which of them exist."""
    pixels = first + tl.arange(0, PIXELS)
    channels = tl.arange(0, CHANNELS)
    there = (pixels[:, None] < n_pixels) & (channels[None, :] < n_channels)
    return pixels[:, None] * n_channels + channels[None, :], there


@triton.jit
def _sigmoid(u):
    return 1.0 / (1.0 + tl.exp(-u))


@triton.jit
def _through_silu(gradient, u, SILU: tl.constexpr):
    """Return the gradient of u from that of silu(u)."""
    if SILU:
        s = _sigmoid(u)
        gradient = gradient * s * (1.0 + u * (1.0 - s))
    return gradient


@triton.jit
def _sums_kernel(
    x, first_sums, second_sums, n_pixels, n_channels, pixels_each,
    PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    image, part = tl.program_id(0).to(tl.int64), tl.program_id(1)
    channels = tl.arange(0, CHANNELS)
    # Whole tiles are added up, and summed once: every sum over pixels makes all threads wait.
    first_sum = tl.zeros((PIXELS, CHANNELS), dtype=tl.float32)
    second_sum = tl.zeros((PIXELS, CHANNELS), dtype=tl.float32)
    start = part * pixels_each
    end = tl.minimum(start + pixels_each, n_pixels)
    for first in range(start, end, PIXELS):
        offsets, there = _tile(first, end, n_channels, PIXELS, CHANNELS)
        values = tl.load(x + image * n_pixels * n_channels + offsets, mask=there, other=0.0)
        values = values.to(tl.float32)
        first_sum += values
        second_sum += values * values
    out = (image * tl.num_programs(1) + part) * n_channels + channels
    tl.store(first_sums + out, tl.sum(first_sum, axis=0), mask=channels < n_channels)
    tl.store(second_sums + out, tl.sum(second_sum, axis=0), mask=channels < n_channels)


@triton.jit
def _coefficients_kernel(
    first_sums, second_sums, weight, bias, scale, shift, offset, a_out, b_out, mean_out,
    inverse_out, n_parts, n_pixels, n_groups, channels_each, eps, MODULATED: tl.constexpr,
    OFFSET: tl.constexpr, PARTS: tl.constexpr, GROUPS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """Turn sums over the pixels into the affine map of each channel, some groups a program."""
    image = tl.program_id(0).to(tl.int64)
    group = tl.program_id(1) * GROUPS + tl.arange(0, GROUPS)[:, None]
    own = tl.arange(0, CHANNELS)[None, :]
    known = (group < n_groups) & (own < channels_each)
    n_channels = n_groups * channels_each
    channels = group * channels_each + own
    parts = tl.arange(0, PARTS)[:, None, None]
    at = (image * n_parts + parts) * n_channels + channels[None, :, :]
    there = (parts < n_parts) & known[None, :, :]
    first = tl.sum(tl.load(first_sums + at, mask=there, other=0.0), axis=0)
    second = tl.sum(tl.load(second_sums + at, mask=there, other=0.0), axis=0)
    if OFFSET:
        more = tl.load(offset + channels, mask=known, other=0.0).to(tl.float32)
        second += more * (2.0 * first + n_pixels * more)
        first += n_pixels * more
    count = n_pixels * channels_each
    mean = (tl.sum(first, axis=1) / count)[:, None]
    variance = tl.maximum((tl.sum(second, axis=1) / count)[:, None] - mean * mean, 0.0)
    inverse = 1.0 / tl.sqrt(variance + eps)
    a = inverse * tl.load(weight + channels, mask=known, other=0.0).to(tl.float32)
    b = tl.load(bias + channels, mask=known, other=0.0).to(tl.float32) - mean * a
    if OFFSET:
        b += more * a
    out = image * n_channels + channels
    if MODULATED:
        factor = tl.load(scale + out, mask=known, other=0.0)
        a = a * factor
        b = b * factor + tl.load(shift + out, mask=known, other=0.0)
    tl.store(a_out + out, a, mask=known)
    tl.store(b_out + out, b, mask=known)
    nothing = tl.zeros((GROUPS, CHANNELS), dtype=tl.float32)
    tl.store(mean_out + out, nothing + mean, mask=known)
    tl.store(inverse_out + out, nothing + inverse, mask=known)


@triton.jit
def _affine_kernel(
    x, scale, shift, y, n_pixels, n_channels,
    SILU: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    image = tl.program_id(0).to(tl.int64)
    channels = tl.arange(0, CHANNELS)
    known = channels < n_channels
    a = tl.load(scale + image * n_channels + channels, mask=known, other=0.0)[None, :]
    b = tl.load(shift + image * n_channels + channels, mask=known, other=0.0)[None, :]
    offsets, there = _tile(tl.program_id(1) * PIXELS, n_pixels, n_channels, PIXELS, CHANNELS)
    base = image * n_pixels * n_channels
    u = tl.load(x + base + offsets, mask=there, other=0.0).to(tl.float32) * a + b
    if SILU:
        u = u * _sigmoid(u)
    tl.store(y + base + offsets, u.to(y.dtype.element_ty), mask=there)


@triton.jit
def _gradient_sums_kernel(
    gradient, x, scale, shift, first_sums, second_sums, n_pixels, n_channels, pixels_each,
    SILU: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    image, part = tl.program_id(0).to(tl.int64), tl.program_id(1)
    channels = tl.arange(0, CHANNELS)
    known = channels < n_channels
    a = tl.load(scale + image * n_channels + channels, mask=known, other=0.0)[None, :]
    b = tl.load(shift + image * n_channels + channels, mask=known, other=0.0)[None, :]
    first_sum = tl.zeros((CHANNELS,), dtype=tl.float32)
    second_sum = tl.zeros((CHANNELS,), dtype=tl.float32)
    base = image * n_pixels * n_channels
    start = part * pixels_each
    end = tl.minimum(start + pixels_each, n_pixels)
    for first in range(start, end, PIXELS):
        offsets, there = _tile(first, end, n_channels, PIXELS, CHANNELS)
        values = tl.load(x + base + offsets, mask=there, other=0.0).to(tl.float32)
        inner = tl.load(gradient + base + offsets, mask=there, other=0.0).to(tl.float32)
        inner = _through_silu(inner, values * a + b, SILU)
        first_sum += tl.sum(inner, axis=0)
        second_sum += tl.sum(inner * values, axis=0)
    out = (image * tl.num_programs(1) + part) * n_channels + channels
    tl.store(first_sums + out, first_sum, mask=known)
    tl.store(second_sums + out, second_sum, mask=known)


@triton.jit
def _gradient_kernel(
    gradient, x, scale, shift, offset, slope, out, n_pixels, n_channels,
    SILU: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    image = tl.program_id(0).to(tl.int64)
    channels = tl.arange(0, CHANNELS)
    known = channels < n_channels
    row = image * n_channels + channels
    a = tl.load(scale + row, mask=known, other=0.0)[None, :]
    b = tl.load(shift + row, mask=known, other=0.0)[None, :]
    c = tl.load(offset + row, mask=known, other=0.0)[None, :]
    d = tl.load(slope + row, mask=known, other=0.0)[None, :]
    offsets, there = _tile(tl.program_id(1) * PIXELS, n_pixels, n_channels, PIXELS, CHANNELS)
    base = image * n_pixels * n_channels
    values = tl.load(x + base + offsets, mask=there, other=0.0).to(tl.float32)
    inner = tl.load(gradient + base + offsets, mask=there, other=0.0).to(tl.float32)
    inner = _through_silu(inner, values * a + b, SILU)
    result = inner * a + c + d * values
    tl.store(out + base + offsets, result.to(out.dtype.element_ty), mask=there)


@triton.jit
def _four_kernel(
    small, large, factor, height, width, n_channels,
    SPREAD: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """Copy pixels of `small` to four each of `large`, or sum these."""
    image = tl.program_id(0).to(tl.int64)
    channels = tl.arange(0, CHANNELS)[None, :]
    pixels = (tl.program_id(1) * PIXELS + tl.arange(0, PIXELS))[:, None]
    there = (pixels < height * width) & (channels < n_channels)
    at_small = small + (image * height * width + pixels) * n_channels + channels
    row, column = pixels // width, pixels % width
    corner = (image * 2 * height + 2 * row) * 2 * width + 2 * column
    at_large = large + corner * n_channels + channels
    below = 2 * width * n_channels
    if SPREAD:
        values = tl.load(at_small, mask=there, other=0.0).to(tl.float32) * factor
        values = values.to(large.dtype.element_ty)
        tl.store(at_large, values, mask=there)
        tl.store(at_large + n_channels, values, mask=there)
        tl.store(at_large + below, values, mask=there)
        tl.store(at_large + below + n_channels, values, mask=there)
    else:
        values = tl.load(at_large, mask=there, other=0.0).to(tl.float32)
        values += tl.load(at_large + n_channels, mask=there, other=0.0).to(tl.float32)
        values += tl.load(at_large + below, mask=there, other=0.0).to(tl.float32)
        values += tl.load(at_large + below + n_channels, mask=there, other=0.0).to(tl.float32)
        tl.store(at_small, (values * factor).to(small.dtype.element_ty), mask=there)


@triton.jit
def _affine_halved_kernel(
    x, scale, shift, y, plain, height, width, n_channels,
    PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """Average four pixels of SiLU of the affine map of x, and of x itself."""
    image = tl.program_id(0).to(tl.int64)
    channels = tl.arange(0, CHANNELS)
    known = channels < n_channels
    a = tl.load(scale + image * n_channels + channels, mask=known, other=0.0)[None, :]
    b = tl.load(shift + image * n_channels + channels, mask=known, other=0.0)[None, :]
    pixels = (tl.program_id(1) * PIXELS + tl.arange(0, PIXELS))[:, None]
    there = (pixels < height * width) & known[None, :]
    at_small = (image * height * width + pixels) * n_channels + channels[None, :]
    row, column = pixels // width, pixels % width
    corner = (image * 2 * height + 2 * row) * 2 * width + 2 * column
    at_large = x + corner * n_channels + channels[None, :]
    mapped = tl.zeros((PIXELS, CHANNELS), dtype=tl.float32)
    unmapped = tl.zeros((PIXELS, CHANNELS), dtype=tl.float32)
    for down in tl.static_range(2):
        for right in tl.static_range(2):
            step = (2 * down * width + right) * n_channels
            values = tl.load(at_large + step, mask=there, other=0.0).to(tl.float32)
            u = values * a + b
            mapped += u * _sigmoid(u)
            unmapped += values
    tl.store(y + at_small, (0.25 * mapped).to(y.dtype.element_ty), mask=there)
    tl.store(plain + at_small, (0.25 * unmapped).to(plain.dtype.element_ty), mask=there)


@triton.jit
def _add_kernel(
    x, offset, y, n_pixels, n_channels,
    WITH_X: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    image = tl.program_id(0).to(tl.int64)
    channels = tl.arange(0, CHANNELS)
    more = tl.load(offset + channels, mask=channels < n_channels, other=0.0).to(tl.float32)
    offsets, there = _tile(tl.program_id(1) * PIXELS, n_pixels, n_channels, PIXELS, CHANNELS)
    offsets += image * n_pixels * n_channels
    values = tl.load(y + offsets, mask=there, other=0.0).to(tl.float32) + more[None, :]
    if WITH_X:
        values += tl.load(x + offsets, mask=there, other=0.0).to(tl.float32)
    tl.store(y + offsets, values.to(y.dtype.element_ty), mask=there)


def coefficients(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    scale: Tensor | None,
    shift: Tensor | None,
    groups: int,
    eps: float,
    offset: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Express the group normalisation of ``x + offset``, and its modulation, as ``a * x + b``.

    Parameters
    ----------
    x : Tensor of shape (n, pixels, channels)
    weight, bias : Tensor of shape (channels,)
    scale, shift : Tensor of shape (n, channels), float32, contiguous, or None
    offset : Tensor of shape (channels,) or None

    Returns
    -------
    a, b, mean, inverse : Tensor of shape (n, channels), float32
        The map, and each channel's mean and inverse standard deviation.
    """
    n, n_pixels, n_channels = x.shape
    first, second = _sums_of_parts(_sums_kernel, x)
    n_parts, channels_each = first.shape[1], n_channels // groups
    block = {
        "PARTS": triton.next_power_of_2(n_parts),
        "CHANNELS": triton.next_power_of_2(channels_each),
    }
    room = max(1, TILE // 2 // (block["PARTS"] * block["CHANNELS"]))
    block["GROUPS"] = min(room, triton.next_power_of_2(groups))
    # Where there is nothing to pass any tensor will do: it is not read.
    inputs = (weight, bias, *(weight if t is None else t for t in (scale, shift, offset)))
    a, b, mean, inverse = x.new_empty(4, n, n_channels, dtype=torch.float32)
    with torch.cuda.device_of(x):
        _coefficients_kernel[n, triton.cdiv(groups, block["GROUPS"])](
            first, second, *inputs, a, b, mean, inverse,
            n_parts, n_pixels, groups, channels_each, eps,
            MODULATED=scale is not None, OFFSET=offset is not None, **block,
        )  # fmt: skip
    return a, b, mean, inverse


def affine(x: Tensor, scale: Tensor, shift: Tensor, *, silu: bool) -> Tensor:
    """Return ``x * scale + shift``, or SiLU of it; scale and shift are (n, channels), float32."""
    y = torch.empty_like(x)
    _over_tiles(_affine_kernel, x, (x, scale, shift, y), SILU=silu)
    return y


def affine_halved(x: Tensor, scale: Tensor, shift: Tensor) -> tuple[Tensor, Tensor]:
    """Average squares of 2 x 2 pixels of ``silu(x * scale + shift)``, and of x: (n, h, w, c)."""
    n, height, width, channels = x.shape
    y, plain = x.new_empty(2, n, height // 2, width // 2, channels)
    sizes = _sizes(channels)
    with torch.cuda.device_of(x):
        grid = (n, triton.cdiv(y.shape[1] * y.shape[2], sizes["PIXELS"]))
        _affine_halved_kernel[grid](
            x, scale, shift, y, plain, y.shape[1], y.shape[2], channels, **sizes
        )
    return y, plain


def add(x: Tensor | None, offset: Tensor, y: Tensor) -> None:
    """Add an offset (channels,), and x if there is one, to y in place."""
    _over_tiles(_add_kernel, y, (y if x is None else x, offset, y), WITH_X=x is not None)


def affine_gradient_sums(
    gradient: Tensor, x: Tensor, scale: Tensor, shift: Tensor, *, silu: bool
) -> tuple[Tensor, Tensor]:
    """Return the gradients of `affine` with respect to shift and scale, (n, channels) each."""
    return _summed(_gradient_sums_kernel, gradient, x, scale, shift, SILU=silu)


def affine_gradient(
    gradient: Tensor,
    x: Tensor,
    scale: Tensor,
    shift: Tensor,
    offset: Tensor,
    slope: Tensor,
    *,
    silu: bool,
) -> Tensor:
    """Return the gradient of `affine` with respect to x, plus ``offset + slope * x``."""
    out = torch.empty_like(x)
    inputs = (gradient, x, scale, shift, offset, slope, out)
    _over_tiles(_gradient_kernel, x, inputs, SILU=silu)
    return out


def sum_of_four(x: Tensor, factor: float) -> Tensor:
    """Sum squares of 2 x 2 pixels times a factor: (n, 2h, 2w, c) to (n, h, w, c)."""
    n, height, width, channels = x.shape
    y = x.new_empty(n, height // 2, width // 2, channels)
    _between_sizes(y, x, factor, spread=False)
    return y


def spread_to_four(x: Tensor, factor: float) -> Tensor:
    """Copy each pixel, times a factor, to four: (n, h, w, c) to (n, 2h, 2w, c)."""
    n, height, width, channels = x.shape
    y = x.new_empty(n, 2 * height, 2 * width, channels)
    _between_sizes(x, y, factor, spread=True)
    return y


def _sizes(n_channels: int) -> dict[str, int]:
    channels = triton.next_power_of_2(n_channels)
    return {"PIXELS": max(1, TILE // channels), "CHANNELS": channels}


def _summed(kernel: Any, *tensors: Tensor, **flags: bool) -> tuple[Tensor, Tensor]:
    first, second = _sums_of_parts(kernel, *tensors, **flags).sum(dim=2)
    return first, second


def _sums_of_parts(kernel: Any, *tensors: Tensor, **flags: bool) -> Tensor:
    """Return two sums over the pixels of each part of an image, (2, n, n_parts, channels)."""
    n, n_pixels, n_channels = tensors[0].shape
    sizes = _sizes(n_channels)
    n_tiles = triton.cdiv(n_pixels, sizes["PIXELS"])
    most = min(MOST_PARTS, max(1, PROGRAMS // n))
    tiles_each = triton.cdiv(n_tiles, most)
    n_parts = triton.cdiv(n_tiles, tiles_each)
    parts = tensors[0].new_empty(2, n, n_parts, n_channels, dtype=torch.float32)
    pixels_each = tiles_each * sizes["PIXELS"]
    with torch.cuda.device_of(tensors[0]):
        kernel[n, n_parts](*tensors, *parts, n_pixels, n_channels, pixels_each, **flags, **sizes)
    return parts


def _over_tiles(kernel: Any, x: Tensor, tensors: tuple[Tensor, ...], **flags: bool) -> None:
    n, n_pixels, n_channels = x.shape
    sizes = _sizes(n_channels)
    with torch.cuda.device_of(x):
        grid = (n, triton.cdiv(n_pixels, sizes["PIXELS"]))
        kernel[grid](*tensors, n_pixels, n_channels, **flags, **sizes)


def _between_sizes(small: Tensor, large: Tensor, factor: float, *, spread: bool) -> None:
    n, height, width, n_channels = small.shape
    sizes = _sizes(n_channels)
    with torch.cuda.device_of(small):
        grid = (n, triton.cdiv(height * width, sizes["PIXELS"]))
        _four_kernel[grid](small, large, factor, height, width, n_channels, SPREAD=spread, **sizes)
