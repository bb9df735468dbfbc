"""The noise schedule that a model was trained on, and what predicts noise along it."""

__all__ = ["NoisePredictor", "alphas_cumprod"]

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from torch import Tensor

FIRST_BETA, LAST_BETA = 1e-4, 0.02

# Noise predicted for (x_t, t): shapes (n, 3, h, w) and (n,).
NoisePredictor = Callable[[Tensor, Tensor], Tensor]


def alphas_cumprod(n_timesteps: int) -> npt.NDArray[np.float64]:
    """Return the share of signal variance left after each training step, shape (T,).

    The linear betas of Ho et al. (2020), which are for 1,000 steps, scaled for others.
    """
    scale = 1000 / n_timesteps
    betas = np.linspace(scale * FIRST_BETA, scale * LAST_BETA, n_timesteps)
    return np.cumprod(1 - betas, dtype=np.float64)
