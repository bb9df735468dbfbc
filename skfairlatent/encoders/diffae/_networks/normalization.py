"""Group normalisation, with the modulation and the activation that follow it."""

__all__ = ["normalization", "normalized"]

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from skfairlatent.encoders.diffae._config import GROUPS
from skfairlatent.encoders.diffae._networks import fused


def normalization(channels: int, groups: int = GROUPS) -> nn.GroupNorm:
    """Return the group normalisation used throughout."""
    return nn.GroupNorm(min(groups, channels), channels)


def normalized(
    norm: nn.Module,
    x: Tensor,
    scale: Tensor | None = None,
    shift: Tensor | None = None,
    *,
    silu: bool = True,
    offset: Tensor | None = None,
) -> Tensor:
    """Return SiLU of ``scale * norm(x + offset) + shift``.

    Parameters
    ----------
    x : Tensor of shape (n, c, h, w)
    scale, shift : Tensor of shape (n, c), or None
        None for no modulation.
    silu : bool, default=True
        False leaves the activation out.
    offset : Tensor of shape (c,), or None
        The bias that `unbiased` left out, where it did.
    """
    if fused.fusible(x):
        group_norm = cast(nn.GroupNorm, norm)
        return fused.normalized(group_norm, x, scale, shift, silu=silu, offset=offset)
    if offset is not None:
        x = x + offset[:, None, None]
    h: Tensor = norm(x)
    if scale is not None and shift is not None:
        h = _modulated(h, scale[..., None, None], shift[..., None, None])
    # The input is overwritten, unless it is differentiated: a new tensor of some
    # megabytes costs more than the function itself, as memory is handed out page by page.
    return F.silu(h, inplace=not torch.is_grad_enabled()) if silu else h


def _modulated(h: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    if torch.is_grad_enabled():
        return torch.addcmul(shift, h, scale)
    return h.mul_(scale).add_(shift)
