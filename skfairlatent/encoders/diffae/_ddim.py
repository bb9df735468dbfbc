"""The noise schedule, and deterministic sampling along it in both directions."""

__all__ = ["Schedule", "decode", "invert", "spaced_steps"]

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
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


def spaced_steps(n_timesteps: int, n_steps: int) -> npt.NDArray[np.int64]:
    """Choose `n_steps` of the training steps 0 to `n_timesteps` - 1, evenly.

    As the official code where that can: with the smallest whole stride that gives so many.
    For other numbers, which it refuses, the strides differ by one.

    Raises
    ------
    ValueError
        If there are not so many steps.

    Examples
    --------
    >>> spaced_steps(1000, 4)
    array([  0, 250, 500, 750])
    """
    if not 1 <= n_steps <= n_timesteps:
        raise ValueError(
            f"n_steps={n_steps}: expected 1 to {n_timesteps}, the steps of the model's training."
        )
    stride = -(-n_timesteps // n_steps)
    if -(-n_timesteps // stride) == n_steps:
        return np.arange(0, n_timesteps, stride)
    return np.arange(n_steps) * n_timesteps // n_steps


@dataclass(frozen=True)
class Schedule:
    """Signal shares at the steps that are visited.

    Parameters
    ----------
    steps : ndarray of shape (n_steps,), int64
        Training steps, rising.
    alphas : ndarray of shape (n_steps,), float64
        Signal share at each of them.
    """

    steps: npt.NDArray[np.int64]
    alphas: npt.NDArray[np.float64]

    @classmethod
    def spaced(cls, n_timesteps: int, n_steps: int) -> "Schedule":
        """Take `n_steps` evenly spaced ones of `n_timesteps`."""
        steps = spaced_steps(n_timesteps, n_steps)
        return cls(steps, alphas_cumprod(n_timesteps)[steps])


def decode(predict: NoisePredictor, x: Tensor, schedule: Schedule) -> Tensor:
    r"""Denoise by DDIM without randomness (Song et al., ICLR 2021, equation 12, sigma = 0).

    With the predicted image :math:`\hat x_0` clipped to [-1, 1] at every step, and the noise
    derived from it anew, as the official code does.

    Parameters
    ----------
    predict : callable
        Noise predicted for images (n, 3, h, w) and steps (n,).
    x : Tensor of shape (n, 3, h, w)
        Noise x_T.
    schedule : Schedule

    Returns
    -------
    Tensor of shape (n, 3, h, w)
        Images in [-1, 1].
    """
    before = np.append(1.0, schedule.alphas[:-1])
    for step, alpha, target in zip(
        schedule.steps[::-1], schedule.alphas[::-1], before[::-1], strict=True
    ):
        x = _move(predict, x, int(step), float(alpha), float(target))
    return x


def invert(predict: NoisePredictor, x: Tensor, schedule: Schedule) -> Tensor:
    """Run DDIM backwards: from images in [-1, 1] to the noise x_T that decodes to them.

    Parameters
    ----------
    predict : callable
        Noise predicted for images (n, 3, h, w) and steps (n,).
    x : Tensor of shape (n, 3, h, w)
        Images in [-1, 1].
    schedule : Schedule

    Returns
    -------
    Tensor of shape (n, 3, h, w)
    """
    after = np.append(schedule.alphas[1:], 0.0)
    for step, alpha, target in zip(schedule.steps, schedule.alphas, after, strict=True):
        x = _move(predict, x, int(step), float(alpha), float(target))
    return x


def _move(predict: NoisePredictor, x: Tensor, step: int, alpha: float, target: float) -> Tensor:
    """Go from signal share `alpha` to `target` along the predicted noise.

    In the official order of operations: dividing by the small noise share of the first steps
    magnifies differences of rounding a hundred times.
    """
    t = torch.full((len(x),), step, dtype=torch.int64, device=x.device)
    signal, noise_to_signal = (1 / alpha) ** 0.5, (1 / alpha - 1) ** 0.5
    scaled = signal * x
    image = (scaled - noise_to_signal * predict(x, t)).clamp(-1, 1)
    noise = (scaled - image) / noise_to_signal
    moved: Tensor = target**0.5 * image + (1 - target) ** 0.5 * noise
    return moved
