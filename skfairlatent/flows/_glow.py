"""Glow over vectors: ActNorm, rotation and affine coupling, repeated."""

__all__ = ["FrozenGlow", "Glow"]

import math
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from skfairlatent.flows._actnorm import ActNorm
from skfairlatent.flows._affine_rotation import affine_rotation
from skfairlatent.flows._base import Bijection, matmul_precision, without_autocast
from skfairlatent.flows._coupling import AffineCoupling
from skfairlatent.flows._fused_coupling import couple_
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
    generator : torch.Generator, optional
        Source of the random rotations and weights; torch's own if None.
    device, dtype : optional
        Device and dtype of the parameters; torch's defaults if not given.

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

    def __init__(
        self,
        features: int,
        n_blocks: int = 4,
        hidden_features: int = 256,
        *,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(features)
        self.n_blocks, self.hidden_features = n_blocks, hidden_features
        self.blocks = nn.ModuleList(
            _GlowBlock(features, hidden_features, generator, device, dtype)
            for _ in range(n_blocks)
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return z of shape (..., d) and the log-determinant of shape (...,)."""
        self._check_width(x)
        log_det = x.new_zeros(x.shape[:-1])
        for block in self.blocks:
            x, block_log_det = block(x)
            log_det = log_det + block_log_det
        return x, log_det

    def fused(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return what `forward` does for `x` of shape (n, d), in fewer passes over memory.

        An optimisation, with gradients of its own: differentiable once, and closed to
        ``torch.func``.
        """
        self._check_width(x)
        log_det = x.new_zeros(len(x))
        for block in self.blocks:
            x, block_log_det = cast("_GlowBlock", block).fused(x)
            log_det = log_det + block_log_det
        return x, log_det

    def transform(self, x: Tensor) -> Tensor:
        """Return z of shape (..., d) alone."""
        z: Tensor = self(x)[0]
        return z

    def log_prob(self, x: Tensor) -> Tensor:
        """Return the log-density of `x` of shape (..., d), in nats, shape (...,).

        That of the flow whose z is standard normal.
        """
        z, log_det = self.forward(x)
        log_normal = -0.5 * (z.square().sum(dim=-1) + self.features * math.log(2 * math.pi))
        return log_normal + log_det

    def sample(self, n_samples: int, *, generator: torch.Generator | None = None) -> Tensor:
        """Draw vectors from the density of :meth:`log_prob`.

        Parameters
        ----------
        n_samples : int
            How many.
        generator : torch.Generator, optional
            On the device of the flow; torch's own if there is none.

        Returns
        -------
        Tensor of shape (n_samples, d)
        """
        weight = next(self.parameters())
        z = torch.randn(
            n_samples, self.features, generator=generator, device=weight.device, dtype=weight.dtype
        )
        return self.inverse(z)

    def inverse(self, z: Tensor) -> Tensor:
        """Return x of shape (..., d)."""
        self._check_width(z)
        for block in reversed(self.blocks):
            z = cast("_GlowBlock", block).inverse(z)
        return z

    def frozen(self) -> "FrozenGlow":
        """Return the same map with every block's matrix computed once, for many calls.

        This flow stays as it is: threads that share it do not disturb one another. Weights that
        change afterwards are not seen.
        """
        return FrozenGlow([cast("_GlowBlock", block).frozen() for block in self.blocks])

    def initialize(self, x: Tensor) -> Tensor:
        """Set every ActNorm, one after the other, from the batch `x` of shape (n, d)."""
        for block in self.blocks:
            x = cast("_GlowBlock", block).initialize(x)
        return x

    @torch.no_grad()
    def lead(self, directions: Tensor) -> None:
        """Turn the latent such that its first features are those along some directions.

        Of a flow that is initialised and not yet trained, which is linear.

        Parameters
        ----------
        directions : Tensor of shape (n_directions, d)
            In the latent, fewer than d: ``z @ directions.T`` is then made of as many first
            features of z; that along which the directions are longest comes first.
        """
        base = cast("_GlowBlock", self.blocks[-1]).rotation.base
        axes = torch.linalg.svd(directions.double(), full_matrices=False).Vh
        base.copy_(torch.ormqr(*torch.geqrf(axes.T), base.double(), left=False))


class FrozenGlow:
    """A flow whose matrices are computed; made by `Glow.frozen`."""

    def __init__(self, blocks: list["_FrozenBlock"]) -> None:
        self.blocks = blocks

    def transform(self, x: Tensor, columns: slice = slice(None)) -> Tensor:
        """Return these columns of z of shape (n, d); the last block computes no others."""
        *first, last = self.blocks
        for block in first:
            x = block.transform(x)
        return last.transform_to(x, columns)

    def inverse(self, z: Tensor) -> Tensor:
        """Return x of shape (n, d)."""
        for block in reversed(self.blocks):
            z = block.inverse(z)
        return z


class _FrozenBlock(NamedTuple):
    coupling: AffineCoupling
    weight: Tensor
    bias: Tensor
    inverse_weight: Tensor
    inverse_bias: Tensor

    def transform(self, x: Tensor) -> Tensor:
        rotated = nn.functional.linear(x, self.weight, self.bias).to(x.dtype)
        return couple_(self.coupling, rotated)[0]

    def transform_to(self, x: Tensor, columns: slice) -> Tensor:
        """Return these columns of ``transform(x)``, without the others where they can be left out.

        Of the part that the coupling changes, no column depends on another.
        """
        n_changed = self.coupling.n_changed
        start, stop, step = columns.indices(len(self.bias))
        if not start < stop <= n_changed or step != 1:
            return self.transform(x)[:, columns]
        given = nn.functional.linear(x, self.weight[n_changed:], self.bias[n_changed:])
        rotated = nn.functional.linear(x, self.weight[columns], self.bias[columns])
        return self.coupling.changed(rotated, given, columns)

    def inverse(self, z: Tensor) -> Tensor:
        x = self.coupling.inverse(z)
        return nn.functional.linear(x, self.inverse_weight, self.inverse_bias)


class _GlowBlock(Bijection):
    """ActNorm, rotation and coupling."""

    def __init__(
        self,
        features: int,
        hidden_features: int,
        generator: torch.Generator | None,
        device: torch.device | str | None,
        dtype: torch.dtype | None,
    ) -> None:
        super().__init__(features)
        self.actnorm = ActNorm(features, device=device, dtype=dtype)
        self.rotation = Rotation(features, generator=generator, device=device, dtype=dtype)
        self.coupling = AffineCoupling(
            features, hidden_features, generator=generator, device=device, dtype=dtype
        )

    def frozen(self) -> _FrozenBlock:
        self.actnorm.check_initialized()
        rotation, norm = self.rotation.matrix(), self.actnorm
        scale, inverse_scale = norm.log_scale.exp(), (-norm.log_scale).exp()
        return _FrozenBlock(
            self.coupling,
            weight=(scale[:, None] * rotation).T,
            bias=norm.shift @ rotation,
            inverse_weight=rotation * inverse_scale[:, None],
            inverse_bias=-norm.shift * inverse_scale,
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        scaled, log_det = self.actnorm(x)
        z, coupling_log_det = self.coupling(self.rotation(scaled)[0])
        return z, log_det + coupling_log_det

    def fused(self, x: Tensor) -> tuple[Tensor, Tensor]:
        self.actnorm.check_initialized()
        z, log_det = couple_(self.coupling, self._rotated(x))
        return z, log_det + self.actnorm.log_scale.sum()

    def inverse(self, z: Tensor) -> Tensor:
        return self.actnorm.inverse(self.rotation.inverse(self.coupling.inverse(z)))

    @torch.no_grad()
    def initialize(self, x: Tensor) -> Tensor:
        rotated, _ = self.rotation(self.actnorm.initialize(x))
        return self.coupling.initialize(rotated)

    def _rotated(self, x: Tensor) -> Tensor:
        norm, precision = self.actnorm, matmul_precision(x)
        with without_autocast(x):
            factors = self.rotation.factors()
            return affine_rotation(x, norm.log_scale, norm.shift, factors, precision)
