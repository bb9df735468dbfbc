"""Glow over vectors: ActNorm, rotation and affine coupling, repeated."""

__all__ = ["Glow"]

from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import torch
from torch import Tensor, nn

from skfairlatent.flows._actnorm import ActNorm
from skfairlatent.flows._affine_rotation import affine_rotation
from skfairlatent.flows._base import Bijection, matmul_precision, without_autocast
from skfairlatent.flows._coupling import AffineCoupling
from skfairlatent.flows._rotation import Rotation


class Glow(Bijection):
    r"""A normalizing flow over vectors, `n_blocks` steps of Glow.

    One step is ActNorm, a learned rotation and an affine coupling. Before use, :meth:`initialize`
    sets every ActNorm from a batch.

    Parameters
    ----------
    features : int
        Width d of the vectors, at least 2.
    n_blocks : int, default=4
        Number of steps.
    hidden_features : int, default=256
        Width of the two hidden layers of each coupling's conditioner.

    References
    ----------
    D. P. Kingma and P. Dhariwal, "Glow: Generative Flow with Invertible 1x1 Convolutions",
    NeurIPS 2018, arXiv:1807.03039.

    Examples
    --------
    >>> import torch
    >>> x = torch.randn(200, 6) @ torch.randn(6, 6)
    >>> flow = Glow(6, n_blocks=3, hidden_features=16)
    >>> _ = flow.initialize(x)
    >>> z, log_det = flow(x)
    >>> tuple(z.shape), tuple(log_det.shape)
    ((200, 6), (200,))
    >>> bool(torch.allclose(flow.inverse(z), x, atol=1e-4))
    True
    """

    def __init__(self, features: int, n_blocks: int = 4, hidden_features: int = 256) -> None:
        super().__init__(features)
        self.n_blocks, self.hidden_features = n_blocks, hidden_features
        self.blocks = nn.ModuleList(_GlowBlock(features, hidden_features) for _ in range(n_blocks))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return z of shape (n, d) and the log-determinant of shape (n,)."""
        self._check_width(x)
        log_det = x.new_zeros(len(x))
        for block in self.blocks:
            x, block_log_det = block(x)
            log_det = log_det + block_log_det
        return x, log_det

    def transform(self, x: Tensor) -> Tensor:
        """Return z of shape (n, d) alone."""
        z: Tensor = self(x)[0]
        return z

    def inverse(self, z: Tensor) -> Tensor:
        """Return x of shape (n, d)."""
        self._check_width(z)
        for block in reversed(self.blocks):
            z = cast("_GlowBlock", block).inverse(z)
        return z

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Compute every block's matrix once for all calls inside the ``with`` block.

        The weights must not change meanwhile.
        """
        blocks = [cast("_GlowBlock", block) for block in self.blocks]
        try:
            for block in blocks:
                block.freeze()
            yield
        finally:
            for block in blocks:
                block.thaw()

    def initialize(self, x: Tensor) -> Tensor:
        """Set every ActNorm, one after the other, from the batch `x` of shape (n, d)."""
        for block in self.blocks:
            x = cast("_GlowBlock", block).initialize(x)
        return x


class _GlowBlock(Bijection):
    """ActNorm, rotation and coupling, the first two applied as one matrix."""

    def __init__(self, features: int, hidden_features: int) -> None:
        super().__init__(features)
        self.actnorm = ActNorm(features)
        self.rotation = Rotation(features)
        self.coupling = AffineCoupling(features, hidden_features)
        self._frozen: tuple[Tensor, Tensor, Tensor, Tensor] | None = None

    def freeze(self) -> None:
        self.actnorm.check_initialized()
        rotation = self.rotation.matrix()
        weight = (self.actnorm.log_scale.exp()[:, None] * rotation).T
        bias = self.actnorm.shift @ rotation
        inverse_weight = rotation * (-self.actnorm.log_scale).exp()[:, None]
        inverse_bias = -self.actnorm.shift * (-self.actnorm.log_scale).exp()
        self._frozen = weight, bias, inverse_weight, inverse_bias

    def thaw(self) -> None:
        self._frozen = None

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        self.actnorm.check_initialized()
        z, log_det = self.coupling.forward_(self._rotated(x))
        return z, log_det + self.actnorm.log_scale.sum()

    def inverse(self, z: Tensor) -> Tensor:
        x = self.coupling.inverse(z)
        frozen = self._frozen
        if frozen:
            return nn.functional.linear(x, *frozen[2:])
        return self.actnorm.inverse(self.rotation.inverse(x))

    @torch.no_grad()
    def initialize(self, x: Tensor) -> Tensor:
        rotated, _ = self.rotation(self.actnorm.initialize(x))
        return self.coupling.initialize(rotated)

    def _rotated(self, x: Tensor) -> Tensor:
        if self._frozen:
            return nn.functional.linear(x, *self._frozen[:2]).to(x.dtype)
        norm, precision = self.actnorm, matmul_precision(x)
        with without_autocast(x):
            factors = self.rotation.factors()
            return affine_rotation(x, norm.log_scale, norm.shift, factors, precision)
