"""Deterministic sampling as the official code does it, in both directions."""

__all__ = ["DDIM"]

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from skfairlatent.encoders.diffae._solvers.schedule import NoisePredictor, alphas_cumprod

MIN_STEPS = 2


class DDIM:
    r"""DDIM without randomness (Song et al., ICLR 2021, equation 12, sigma = 0).

    With the predicted image :math:`\hat x_0` clipped to [-1, 1] at every step, and the noise
    derived from it anew, as the official code does.

    Parameters
    ----------
    n_timesteps : int
        Steps of the model's training.
    n_steps : int
        How many of them are visited, evenly spaced.
    """

    def __init__(self, n_timesteps: int, n_steps: int) -> None:
        self.steps = spaced_steps(n_timesteps, n_steps)
        self.alphas = alphas_cumprod(n_timesteps)[self.steps]

    def decode(self, predict: NoisePredictor, x: Tensor) -> Tensor:
        """Denoise x_T of shape (n, 3, h, w) to images in [-1, 1]."""
        before = np.append(1.0, self.alphas[:-1])
        for step, alpha, target in zip(
            self.steps[::-1], self.alphas[::-1], before[::-1], strict=True
        ):
            x = _move(predict, x, int(step), float(alpha), float(target))
        return x

    def invert(self, predict: NoisePredictor, x: Tensor) -> Tensor:
        """Run backwards: from images in [-1, 1], shape (n, 3, h, w), to x_T."""
        after = np.append(self.alphas[1:], 0.0)
        for step, alpha, target in zip(self.steps, self.alphas, after, strict=True):
            x = _move(predict, x, int(step), float(alpha), float(target))
        return x


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
    if not MIN_STEPS <= n_steps <= n_timesteps:  # one would not leave the noise
        raise ValueError(
            f"n_steps={n_steps}: expected {MIN_STEPS} to {n_timesteps}, the steps of the model's "
            "training."
        )
    stride = -(-n_timesteps // n_steps)
    if -(-n_timesteps // stride) == n_steps:
        return np.arange(0, n_timesteps, stride)
    return np.arange(n_steps) * n_timesteps // n_steps


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
