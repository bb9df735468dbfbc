"""Affine coupling: one part of the vector scales and shifts the other."""

__all__ = ["AffineCoupling"]

from functools import partial
from typing import cast

import torch
from torch import Tensor, nn

from skfairlatent.flows._base import Bijection
from skfairlatent.flows._linear import make_linear


class AffineCoupling(Bijection):
    r"""Scale and shift the first part of the vector by functions of the second.

    .. math:: z_a = x_a \odot e^{s(x_b)} + t(x_b), \qquad z_b = x_b,

    with (s, t) from one fully connected network, the *conditioner*. s is clamped softly,
    :math:`s = \tanh r`: a log-scale in [-1, 1] keeps the inverse as exact as the forward map in
    float32, and eight layers can still stretch a feature by :math:`e^8`. The conditioner's last
    layer starts at zero, so that the coupling starts as the identity. The part that changes comes
    first because that is where the label block of a fair latent lies: the last coupling then acts
    on it directly.

    Parameters
    ----------
    features : int
        Width d of the vectors, at least 2; the first d - d // 2 features are changed.
    hidden_features : int
        Width of the conditioner's two hidden layers.
    generator : torch.Generator, optional
        Source of the random weights; torch's own if None.
    device, dtype : optional
        Device and dtype of the parameters; torch's defaults if not given.

    References
    ----------
    L. Dinh, J. Sohl-Dickstein, S. Bengio, "Density estimation using Real NVP", ICLR 2017,
    arXiv:1605.08803.

    Examples
    --------
    >>> import torch
    >>> layer = AffineCoupling(5, hidden_features=8)
    >>> x = torch.randn(10, 5)
    >>> z, log_det = layer(x)
    >>> bool(torch.equal(z, x)), tuple(log_det.shape)
    (True, (10,))
    """

    def __init__(
        self,
        features: int,
        hidden_features: int,
        *,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        if features < 2:
            raise ValueError(f"A coupling needs at least 2 features to split, got {features}.")
        super().__init__(features)
        self.n_given = features // 2
        self.n_changed = features - self.n_given
        linear = partial(make_linear, generator=generator, device=device, dtype=dtype)
        last = linear(hidden_features, 2 * self.n_changed)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.conditioner = nn.Sequential(
            linear(self.n_given, hidden_features),
            nn.ReLU(),
            linear(hidden_features, hidden_features),
            nn.ReLU(),
            last,
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return z and the log-determinant, the sum of s over the features of each vector."""
        self._check_width(x)
        changed, given = x.split((self.n_changed, self.n_given), dim=-1)
        log_scale, shift = self._log_scale_and_shift(given)
        z = torch.cat((changed * log_scale.exp() + shift, given), dim=-1)
        return z, log_scale.sum(dim=-1)

    def inverse(self, z: Tensor) -> Tensor:
        """Return x."""
        self._check_width(z)
        changed, given = z.split((self.n_changed, self.n_given), dim=-1)
        log_scale, shift = self._log_scale_and_shift(given)
        return torch.cat(((changed - shift) * (-log_scale).exp(), given), dim=-1)

    def changed(self, x: Tensor, given: Tensor, columns: slice) -> Tensor:
        """Return some columns of :math:`z_a`, for which no others of :math:`x_a` are needed.

        Parameters
        ----------
        x : Tensor of shape (..., width of columns)
            These columns of :math:`x_a`.
        given : Tensor of shape (..., d // 2)
            :math:`x_b`.
        columns : slice
            Among the first d - d // 2 features.

        Returns
        -------
        Tensor of shape (..., width of columns)
        """
        last = cast("nn.Linear", self.conditioner[-1])
        hidden = self.conditioner[:-1](given)
        parts = zip(last.weight.chunk(2), last.bias.chunk(2), strict=True)
        raw, shift = (
            nn.functional.linear(hidden, weight[columns], bias[columns]).to(x.dtype)
            for weight, bias in parts
        )
        return x * torch.tanh(raw).exp() + shift

    def _log_scale_and_shift(self, given: Tensor) -> tuple[Tensor, Tensor]:
        # Under mixed precision the conditioner answers in half; scales are kept in full precision.
        raw, shift = self.conditioner(given).to(given.dtype).chunk(2, dim=-1)
        return torch.tanh(raw), shift
