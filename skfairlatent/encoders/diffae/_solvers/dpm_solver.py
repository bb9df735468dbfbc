"""Deterministic sampling of second order: as close as DDIM in a tenth of the steps."""

__all__ = ["DPMSolver"]

from itertools import pairwise

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from skfairlatent.encoders.diffae._solvers.schedule import NoisePredictor, alphas_cumprod


class DPMSolver:
    r"""DPM-Solver++ (2M) of Lu et al. (2022, arXiv:2211.01095, algorithm 2).

    It integrates the same differential equation as DDIM. From time s to t, with
    :math:`x_u = \alpha_u x_0 + \sigma_u \epsilon`, :math:`\lambda_u = \log(\alpha_u / \sigma_u)`
    and :math:`h = \lambda_t - \lambda_s`:

    .. math:: x_t = \frac{\sigma_t}{\sigma_s} x_s - \alpha_t (e^{-h} - 1) D, \qquad
              D = \hat x_s + \frac{h}{2 h_{\text{before}}} (\hat x_s - \hat x_{\text{before}})

    where :math:`\hat x` is the predicted image, clipped to [-1, 1]; DDIM is :math:`D = \hat x_s`.
    The same formula, with negative h, leads from images to noise.

    Parameters
    ----------
    n_timesteps : int
        Steps of the model's training.
    n_steps : int
        How many of them are visited, the first and the last among them, evenly spaced in
        lambda.
    """

    def __init__(self, n_timesteps: int, n_steps: int) -> None:
        alphas = alphas_cumprod(n_timesteps)
        log_ratios = np.log(alphas / (1 - alphas)) / 2
        self.steps = steps_even_in(log_ratios, n_steps)
        self.alphas, self.log_ratios = alphas[self.steps], log_ratios[self.steps]

    def decode(self, predict: NoisePredictor, x: Tensor) -> Tensor:
        """Denoise x_T of shape (n, 3, h, w) to images in [-1, 1]."""
        x = self._walk(predict, x, range(len(self.steps) - 1, -1, -1))
        return self._image(predict, x, 0)

    def invert(self, predict: NoisePredictor, x: Tensor) -> Tensor:
        """Run backwards: from images in [-1, 1], shape (n, 3, h, w), to x_T."""
        return self._walk(predict, x, range(len(self.steps)))

    def _walk(self, predict: NoisePredictor, x: Tensor, visits: range) -> Tensor:
        before: tuple[Tensor, float] | None = None
        for start, end in pairwise(visits):
            image = self._image(predict, x, start)
            h = float(self.log_ratios[end] - self.log_ratios[start])
            ahead = image
            if before is not None:
                ahead = image + h / (2 * before[1]) * (image - before[0])
            alpha, target = self.alphas[start], self.alphas[end]
            kept = float(((1 - target) / (1 - alpha)) ** 0.5)
            x = kept * x - float(target**0.5 * np.expm1(-h)) * ahead
            before = image, h
        return x

    def _image(self, predict: NoisePredictor, x: Tensor, visit: int) -> Tensor:
        t = torch.full((len(x),), int(self.steps[visit]), dtype=torch.int64, device=x.device)
        alpha = float(self.alphas[visit])
        image: Tensor = (x - (1 - alpha) ** 0.5 * predict(x, t)) / alpha**0.5
        return image.clamp(-1, 1)


def steps_even_in(values: npt.NDArray[np.float64], n_steps: int) -> npt.NDArray[np.int64]:
    """Choose `n_steps` different steps, first and last included, where `values` fall evenly.

    Where more are asked for than there are steps near a value, the next ones are taken.

    Raises
    ------
    ValueError
        If there are not so many steps, or it is less than two.

    Examples
    --------
    >>> import numpy as np
    >>> steps_even_in(np.array([8.0, 4.0, 3.5, 3.0, 2.5, 0.0]), 3)
    array([0, 1, 5])
    """
    n_timesteps = len(values)
    if not 2 <= n_steps <= n_timesteps:
        raise ValueError(
            f"n_steps={n_steps}: expected 2 to {n_timesteps}, the steps of the model's training."
        )
    wanted = np.linspace(values[0], values[-1], n_steps)
    nearest = np.interp(-wanted, -values, np.arange(n_timesteps)).round().astype(np.int64)
    order = np.arange(n_steps)
    # Each at least one after the one before, and none so late that others find no place.
    spread = np.maximum.accumulate(nearest - order) + order
    return np.minimum(spread, n_timesteps - n_steps + order)
