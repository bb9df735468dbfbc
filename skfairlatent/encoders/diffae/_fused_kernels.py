"""Kernels for CUDA that read and write features once, where torch goes over them many times.

Features are tensors (n, pixels, channels), contiguous: what (n, channels, h, w) with channels last
in memory looks like. A program takes some pixels of one image with all their channels.
Numbers are computed in float32 whatever they are stored in.
"""

__all__ = [
    "affine",
    "affine_gradient",
    "affine_gradient_sums",
    "channel_sums",
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
    first_sum = tl.zeros((CHANNELS,), dtype=tl.float32)
    second_sum = tl.zeros((CHANNELS,), dtype=tl.float32)
    start = part * pixels_each
    end = tl.minimum(start + pixels_each, n_pixels)
    for first in range(start, end, PIXELS):
        offsets, there = _tile(first, end, n_channels, PIXELS, CHANNELS)
        values = tl.load(x + image * n_pixels * n_channels + offsets, mask=there, other=0.0)
        values = values.to(tl.float32)
        first_sum += tl.sum(values, axis=0)
        second_sum += tl.sum(values * values, axis=0)
    out = (image * tl.num_programs(1) + part) * n_channels + channels
    tl.store(first_sums + out, first_sum, mask=channels < n_channels)
    tl.store(second_sums + out, second_sum, mask=channels < n_channels)


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


def channel_sums(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return sums over pixels of the values and of their squares, (n, channels) each, float32."""
    return _summed(_sums_kernel, x)


def affine(x: Tensor, scale: Tensor, shift: Tensor, *, silu: bool) -> Tensor:
    """Return ``x * scale + shift``, or SiLU of it; scale and shift are (n, channels), float32."""
    y = torch.empty_like(x)
    _over_tiles(_affine_kernel, x, (x, scale, shift, y), SILU=silu)
    return y


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
    n, n_pixels, n_channels = tensors[0].shape
    sizes = _sizes(n_channels)
    n_tiles = triton.cdiv(n_pixels, sizes["PIXELS"])
    tiles_each = triton.cdiv(n_tiles, max(1, PROGRAMS // n))
    n_parts = triton.cdiv(n_tiles, tiles_each)
    parts = tensors[0].new_empty(2, n, n_parts, n_channels, dtype=torch.float32)
    pixels_each = tiles_each * sizes["PIXELS"]
    with torch.cuda.device_of(tensors[0]):
        kernel[n, n_parts](*tensors, *parts, n_pixels, n_channels, pixels_each, **flags, **sizes)
    first, second = parts.sum(dim=2)
    return first, second


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
