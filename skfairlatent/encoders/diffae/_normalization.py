"""Group normalisation that is not slow where groups are narrow and images small."""

__all__ = ["GroupNorm"]

import torch
from torch import Tensor, nn

# torch walks through small feature maps group by group, and through groups of fewer numbers than
# a vector register holds one number at a time.
SMALL_MAP = 16 * 16
NARROW_GROUP = 8


class GroupNorm(nn.GroupNorm):
    """Group normalisation (Wu & He, ECCV 2018), with torch's parameters and results.

    Without gradients, on a CPU and with channels last in memory, small maps with narrow groups are
    treated as rows of channels, in a half to a quarter of torch's time.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Normalise features of shape (n, channels, h, w)."""
        if not self._is_slow_in_torch(input):
            return super().forward(input)
        n, c, height, width = input.shape
        rows = input.permute(0, 2, 3, 1).view(n, height * width, c)
        centred = rows - self._over_groups(rows.mean(dim=1))
        variance = self._over_groups(centred.square().mean(dim=1))
        centred.mul_((variance + self.eps).rsqrt_() * self.weight).add_(self.bias)
        return centred.view(n, height, width, c).permute(0, 3, 1, 2)

    def _is_slow_in_torch(self, x: Tensor) -> bool:
        if torch.compiler.is_compiling() or torch.is_grad_enabled() or x.dim() != 4:
            return False
        narrow = x.shape[1] < NARROW_GROUP * self.num_groups
        small = x.shape[2] * x.shape[3] <= SMALL_MAP
        laid_out = x.is_contiguous(memory_format=torch.channels_last)
        plain = x.device.type == "cpu" and x.dtype == self.weight.dtype == torch.float32
        return narrow and small and laid_out and plain

    def _over_groups(self, means: Tensor) -> Tensor:
        """Average over the channels of each group: (n, channels) to (n, 1, channels)."""
        n, c = means.shape
        groups = means.view(n, self.num_groups, -1).mean(dim=2, keepdim=True)
        return groups.expand(n, self.num_groups, c // self.num_groups).reshape(n, 1, c)
