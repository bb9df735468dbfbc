"""Ways from noise to images and back, by name."""

__all__ = ["SOLVERS", "Solver", "make_solver"]

from typing import Protocol

from torch import Tensor

from skfairlatent.encoders.diffae._solvers.ddim import DDIM
from skfairlatent.encoders.diffae._solvers.dpm_solver import DPMSolver
from skfairlatent.encoders.diffae._solvers.schedule import NoisePredictor


class Solver(Protocol):
    """Visits some of the steps of a model's training, from noise to images and back."""

    def __init__(self, n_timesteps: int, n_steps: int) -> None: ...

    def decode(self, predict: NoisePredictor, x: Tensor) -> Tensor:
        """Denoise x_T of shape (n, 3, h, w) to images in [-1, 1]."""

    def invert(self, predict: NoisePredictor, x: Tensor) -> Tensor:
        """Find the x_T that decodes to images in [-1, 1]."""


# With the steps that bring an image back within about what an eye sees: docs/results/faces64.rst.
SOLVERS: dict[str, tuple[type[Solver], int]] = {"dpmsolver++": (DPMSolver, 10), "ddim": (DDIM, 50)}


def make_solver(name: str, n_timesteps: int, n_steps: int | None) -> Solver:
    """Return a solver of so many steps, or of its default number for None."""
    solver, default = SOLVERS[name]
    return solver(n_timesteps, default if n_steps is None else n_steps)
