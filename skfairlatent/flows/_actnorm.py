"""Activation normalisation: one scale and one shift a feature, started from data."""

__all__ = ["ActNorm"]

from typing import Any, cast

import torch
from torch import Tensor, nn

from skfairlatent.flows._base import Bijection

# A feature that hardly varies in the first batch would get an enormous scale, which the other
# layers could not undo; its scale is limited as if it had this standard deviation.
STD_FLOOR = 1e-3


class ActNorm(Bijection):
    r"""Scale and shift every feature: :math:`z = x \odot e^{s} + b`.

    The first batch, given explicitly to :meth:`initialize`, sets s and b so that it leaves with
    mean 0 and standard deviation 1 (Kingma and Dhariwal 2018, section 3.1). Using the layer before
    that is an error rather than a silent initialisation by whatever batch happens to come first.
    The flag is a buffer, so that ``state_dict`` carries it.

    Parameters
    ----------
    features : int
        Width d of the vectors.
    device, dtype : optional
        Device and dtype of the parameters; torch's defaults if not given.

    Attributes
    ----------
    log_scale, shift : Parameter of shape (d,)
        s and b above.

    References
    ----------
    D. P. Kingma and P. Dhariwal, "Glow: Generative Flow with Invertible 1x1 Convolutions",
    NeurIPS 2018, arXiv:1807.03039.

    Examples
    --------
    >>> import torch
    >>> layer = ActNorm(3)
    >>> x = 5 + 2 * torch.randn(100, 3)
    >>> z = layer.initialize(x)
    >>> bool(torch.allclose(layer.inverse(z), x, atol=1e-5))
    True
    """

    initialized: Tensor

    def __init__(
        self,
        features: int,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(features)
        self.log_scale = nn.Parameter(torch.zeros(features, device=device, dtype=dtype))
        self.shift = nn.Parameter(torch.zeros(features, device=device, dtype=dtype))
        self.register_buffer("initialized", torch.tensor(False, device=device))
        # `forward` reads this: reading the buffer would wait for a GPU, and stop vmap and compile.
        self._ready = False
        self.register_load_state_dict_post_hook(_read_flag)  # type: ignore[no-untyped-call]

    @torch.no_grad()
    def initialize(self, x: Tensor) -> Tensor:
        """Set scale and shift from the batch `x` of shape (n, d), n at least 2."""
        self._check_width(x)
        if x.ndim != 2 or len(x) < 2:
            raise ValueError(
                "ActNorm needs at least 2 rows, of shape (n, d), to initialise from, got "
                f"{tuple(x.shape)}."
            )
        std, mean = torch.std_mean(x, dim=0)
        self.log_scale.copy_(-std.clamp_min(STD_FLOOR).log())
        self.shift.copy_(-mean * self.log_scale.exp())
        self.initialized.fill_(True)
        self._ready = True
        return x * self.log_scale.exp() + self.shift

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return z and the log-determinant, the same for every vector: the sum of s."""
        self._check_width(x)
        self.check_initialized()
        z = x * self.log_scale.exp() + self.shift
        return z, self.log_scale.sum().expand(x.shape[:-1])

    def inverse(self, z: Tensor) -> Tensor:
        """Return x."""
        self._check_width(z)
        self.check_initialized()
        return (z - self.shift) * (-self.log_scale).exp()

    def check_initialized(self) -> None:
        """Raise RuntimeError if neither `initialize` nor a loaded state has set the layer."""
        if not self._ready:
            raise RuntimeError(
                "This ActNorm is not initialised: call initialize(batch), or load a state dict, "
                "before forward or inverse."
            )


def _read_flag(layer: nn.Module, _: Any) -> None:
    """Take over from a loaded state whether the layer is initialised."""
    flag = cast("ActNorm", layer).initialized
    cast("ActNorm", layer)._ready = not flag.is_meta and bool(flag)
