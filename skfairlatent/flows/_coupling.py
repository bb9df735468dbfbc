"""Affine coupling: one part of the vector scales and shifts the other."""

__all__ = ["AffineCoupling"]

import torch
from torch import Tensor, nn

from skfairlatent.flows._base import Bijection

# A log-scale in [-1, 1] a layer keeps the inverse as exact as the forward map in float32, and
# eight layers can still stretch a feature by e^8.
LOG_SCALE_BOUND = 1.0


class AffineCoupling(Bijection):
    r"""Scale and shift the first part of the vector by functions of the second.

    .. math:: z_a = x_a \odot e^{s(x_b)} + t(x_b), \qquad z_b = x_b,

    with (s, t) from one fully connected network, the *conditioner*. s is clamped softly,
    :math:`s = c \tanh(r / c)`, and the conditioner's last layer starts at zero, so that the layer
    starts as the identity. The part that changes comes first because that is where the
    label block of a fair latent lies: the last coupling then acts on it directly.

    Parameters
    ----------
    features : int
        Width d of the vectors, at least 2; the first d - d // 2 features are changed.
    hidden_features : int
        Width of the conditioner's two hidden layers.

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

    def __init__(self, features: int, hidden_features: int) -> None:
        if features < 2:
            raise ValueError(f"A coupling needs at least 2 features to split, got {features}.")
        super().__init__(features)
        self.n_given = features // 2
        self.n_changed = features - self.n_given
        last = nn.Linear(hidden_features, 2 * self.n_changed)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.conditioner = nn.Sequential(
            nn.Linear(self.n_given, hidden_features),
            nn.ReLU(),
            nn.Linear(hidden_features, hidden_features),
            nn.ReLU(),
            last,
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return z and the log-determinant, the sum of s over the features of each row."""
        self._check_width(x)
        changed, given = x.split((self.n_changed, self.n_given), dim=1)
        log_scale, shift = self._log_scale_and_shift(given)
        z = torch.cat((torch.addcmul(shift, changed, log_scale.exp()), given), dim=1)
        return z, log_scale.sum(dim=1)

    def inverse(self, z: Tensor) -> Tensor:
        """Return x."""
        self._check_width(z)
        changed, given = z.split((self.n_changed, self.n_given), dim=1)
        log_scale, shift = self._log_scale_and_shift(given)
        return torch.cat(((changed - shift) * (-log_scale).exp(), given), dim=1)

    def _log_scale_and_shift(self, given: Tensor) -> tuple[Tensor, Tensor]:
        # Under mixed precision the conditioner answers in half; scales are kept in full precision.
        raw, shift = self.conditioner(given).to(given.dtype).chunk(2, dim=1)
        return LOG_SCALE_BOUND * torch.tanh(raw / LOG_SCALE_BOUND), shift
