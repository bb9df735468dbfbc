"""The kernels for CUDA, written with torch, under the same names."""

import torch
from torch.nn import functional as F


def affine(x, scale, shift, *, silu):
    u = x * scale[:, None] + shift[:, None]
    return F.silu(u) if silu else u


def _inner_gradient(gradient, x, scale, shift, silu):
    u = x * scale[:, None] + shift[:, None]
    s = u.sigmoid()
    return gradient * s * (1 + u * (1 - s)) if silu else gradient


def affine_gradient_sums(gradient, x, scale, shift, *, silu):
    inner = _inner_gradient(gradient, x, scale, shift, silu)
    return inner.sum(1), (inner * x).sum(1)


def affine_gradient(gradient, x, scale, shift, offset, slope, *, silu):
    inner = _inner_gradient(gradient, x, scale, shift, silu)
    return inner * scale[:, None] + offset[:, None] + slope[:, None] * x


def spread_to_four(x, factor):
    return factor * x.repeat_interleave(2, 1).repeat_interleave(2, 2)


def coefficients(x, weight, bias, scale, shift, groups, eps, offset=None):  # noqa: PLR0917
    values = x if offset is None else x + offset
    grouped = values.unflatten(2, (groups, -1))
    variance, mean = torch.var_mean(grouped, dim=(1, 3), correction=0)
    each = x.shape[2] // groups
    inverse = (variance + eps).rsqrt().repeat_interleave(each, 1)
    mean = mean.repeat_interleave(each, 1)
    a = inverse * weight
    b = bias - mean * a + (0 if offset is None else offset * a)
    if scale is not None:
        a, b = a * scale, b * scale + shift
    return a, b, mean, inverse


def affine_halved(x, scale, shift):
    y = affine(x.flatten(1, 2), scale, shift, silu=True).view_as(x)
    return tuple(F.avg_pool2d(each.permute(0, 3, 1, 2), 2).permute(0, 2, 3, 1) for each in (y, x))


def add(x, offset, y):
    y += offset if x is None else offset + x


def sum_of_four(x, factor):
    return factor * x.unflatten(2, (-1, 2)).unflatten(1, (-1, 2)).sum((2, 4))
