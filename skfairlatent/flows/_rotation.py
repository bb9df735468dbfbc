"""A learned rotation: the invertible linear map that keeps float32 exact."""

__all__ = ["Rotation"]

from functools import partial

import torch
from torch import Tensor, nn

from skfairlatent.flows._base import Bijection, without_autocast


class Rotation(Bijection):
    r"""Mix all features by an orthogonal matrix: :math:`z = x Q H_1 \cdots H_r`.

    Q is a fixed random rotation, uniform over the orthogonal group; the
    :math:`H_i = I - 2 v_i v_i^\top / \|v_i\|^2` are learned Householder reflections. Glow's dense
    map, parametrised by an LU decomposition, loses three digits of the round trip in float32 at
    d = 512 after training; an orthogonal one loses none, its inverse is its transpose, and its
    log-determinant is 0. Scales are left to ActNorm.

    The product of the reflections is formed as :math:`I - V T V^\top` (compact WY form), hence
    a learned rotation costs one more thin product of matrices than a fixed one.

    Parameters
    ----------
    features : int
        Width d of the vectors.
    n_reflections : int, default=8
        Number r of learned reflections; 0 leaves the rotation fixed. An odd number would
        make the map a reflection, which is as good.
    generator : torch.Generator, optional
        Source of the random rotation; torch's own if None.
    device, dtype : optional
        Device and dtype of the parameters; torch's defaults if not given.

    Notes
    -----
    Reflections start in pairs of equal vectors, so the map starts at Q.

    References
    ----------
    J. M. Tomczak and M. Welling, "Improving Variational Auto-Encoders using Householder Flow",
    2016, arXiv:1611.09630. C. Bischof and C. Van Loan, "The WY Representation for Products of
    Householder Matrices", SIAM J. Sci. Stat. Comput. 8(1), 1987.

    Examples
    --------
    >>> import torch
    >>> layer = Rotation(4)
    >>> x = torch.randn(10, 4)
    >>> z, log_det = layer(x)
    >>> bool(torch.allclose(z.norm(dim=1), x.norm(dim=1), atol=1e-5))
    True
    """

    base: Tensor

    def __init__(
        self,
        features: int,
        n_reflections: int = 8,
        *,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(features)
        self.n_reflections = n_reflections
        empty = partial(torch.empty, device=device, dtype=dtype)
        self.register_buffer("base", empty(features, features))
        self.vectors = nn.Parameter(empty(n_reflections, features))
        if not self.base.is_meta:
            self._draw(generator)

    @torch.no_grad()
    def _draw(self, generator: torch.Generator | None) -> None:
        q, r = torch.linalg.qr(self.base.normal_(generator=generator))
        # Without the signs of R's diagonal, Q would not be uniform (Mezzadri 2007).
        self.base.copy_(q * r.diagonal().sign())
        # Contiguous: of a view with gaps other numbers are drawn.
        half = self.vectors[::2].contiguous().normal_(generator=generator)
        pairs = half.repeat_interleave(2, dim=0)[: self.n_reflections]
        self.vectors.copy_(nn.functional.normalize(pairs, dim=1))

    def matrix(self) -> Tensor:
        """Return the orthogonal matrix W of z = x W, shape (d, d)."""
        with without_autocast(self.vectors):
            base, left, right = self.factors()
            return torch.addmm(base, left, right, alpha=-1.0)

    def factors(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return Q, A and B of W = Q - A B, of shapes (d, d), (d, r) and (r, d)."""
        base = self._exact_base()
        v = nn.functional.normalize(self.vectors, dim=1)
        # H_1 ... H_r = I - V' T V with T^-1 = strict upper part of V V' plus half its diagonal.
        # (Made where V is: a copy from the CPU could not be part of a CUDA graph.)
        half = 0.5 * torch.eye(len(v), dtype=v.dtype, device=v.device)
        t_inverse = torch.triu(v @ v.T, diagonal=1) + half
        t_v = torch.linalg.solve_triangular(t_inverse, v, upper=True)
        return base, (v @ base.T).T, t_v

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return z and the log-determinant, 0 for every vector."""
        self._check_width(x)
        return self._times(x, self.matrix()), x.new_zeros(x.shape[:-1])

    def inverse(self, z: Tensor) -> Tensor:
        """Return x, by the transpose."""
        self._check_width(z)
        return self._times(z, self.matrix().T)

    def extra_repr(self) -> str:
        """Show the width and the number of reflections in ``repr``."""
        return f"{super().extra_repr()}, n_reflections={self.n_reflections}"

    def _times(self, x: Tensor, matrix: Tensor) -> Tensor:
        # Autocast multiplies in half, and nothing else.
        return (x @ matrix).to(x.dtype)

    def _exact_base(self) -> Tensor:
        """Return Q, orthogonal to the precision of its numbers."""
        q = self.base
        if q.dtype != torch.float64:
            return q
        # Trained in float32 and cast, Q is orthogonal to seven digits only, and its transpose
        # inverts it no better. One Newton-Schulz step squares that error.
        return 1.5 * q - 0.5 * q @ (q.T @ q)
