"""The settings of a fit, and the values that ``"auto"`` stands for."""

__all__ = [
    "FitSettings",
    "auto_hidden_features",
    "auto_input_noise",
    "auto_learning_rate",
    "auto_steps",
    "is_crowded",
    "is_small",
]

import math
import os
from dataclasses import dataclass

import torch
from torch import Tensor

# max_iter="auto" means at least so many steps and at least so many epochs.
STEPS, MANY_STEPS = 200, 400
AUTO_EPOCHS = 5
LEARNING_RATE = 2e-3
# Features for each row up to which little is memorised; above it "auto" takes a narrower
# network and more noise.
CROWDED = 0.025
# Beside scores of the label, rows count as so many times fewer for the width.
SCORES_CROWD = 6
# With fewer rows, each is seen more often than it takes to memorise it.
FEW_ROWS = 3000
# Width of the conditioners where rows abound, and the least.
WIDEST, NARROWEST = 256, 16
# Of few features so many times the square: a wide network bends two columns until they lose the
# label, as on the table "Default" of ISLR.
UNITS_PER_PAIR = 8
SMALLEST_NOISE, LARGEST_NOISE = 1.0, 3.0
# Networks of fewer inputs times units than this gain nothing from a second thread or from half
# precision on a CPU, and lose by them.
SMALL_NETWORK = 15_000
# Noise on scores of the label, which are those of rows that their models have not seen.
NOISE_OF_SCORES = 0.1


@dataclass(frozen=True)
class FitSettings:
    """The estimator's parameters that matter for training; names and meanings are its own.

    `scores` are the columns that hold scores of the label. `weights` holds the
    ``lambda_`` parameters by the names of the loss terms; ``max_iter=None`` stands for as many
    epochs as make `steps`. `seed_is_new` says that the user did not set the seed: a resumed fit
    then takes the seed of its checkpoint.
    """

    n_label_components: int
    n_blocks: int
    hidden_features: int
    weights: dict[str, float]
    distance: str
    constraints: str
    input_noise: float
    max_iter: int | None
    steps: int
    batch_size: int
    learning_rate: float
    early_stopping: bool
    validation_fraction: float
    n_iter_no_change: int
    tol: float
    verbose: bool
    checkpoint_dir: str | os.PathLike[str] | None
    seed: int
    seed_is_new: bool = False
    scores: tuple[int, ...] = ()

    def n_epochs(self, n_batches: int) -> int:
        """Return the number of epochs, given the batches of one."""
        return self.auto_epochs(n_batches) if self.max_iter is None else self.max_iter

    def auto_epochs(self, n_batches: int) -> int:
        """Return the number of epochs of ``max_iter="auto"``, whatever `max_iter` is."""
        return max(AUTO_EPOCHS, math.ceil(self.steps / n_batches))

    def noise(self, n_columns: int) -> Tensor:
        """Return the standard deviation of the noise of each column, shape (n_columns,)."""
        noise = torch.full((n_columns,), self.input_noise, dtype=torch.float32)
        noise[list(self.scores)] = min(self.input_noise, NOISE_OF_SCORES)
        return noise


def auto_hidden_features(n_samples: int, n_features: int, *, with_scores: bool) -> int:
    """Return the width of the conditioners: a power of two, smaller where X is.

    Beside a score of the label, which holds most of what X tells of it, a wide network mostly
    memorises.
    """
    times = SCORES_CROWD if with_scores else 1
    wanted = WIDEST / max(1.0, times * _crowding(n_samples, n_features))
    wanted = min(wanted, UNITS_PER_PAIR * n_features**2)
    return int(min(max(2 ** round(math.log2(wanted)), NARROWEST), WIDEST))


def auto_input_noise(n_samples: int, n_features: int) -> float:
    """Return the noise of training, in standard deviations: more where rows are few."""
    return min(max(SMALLEST_NOISE, math.sqrt(_crowding(n_samples, n_features))), LARGEST_NOISE)


def auto_steps(n_samples: int, *, with_scores: bool) -> int:
    """Return the least number of steps: more where many rows correct a score of the label."""
    return MANY_STEPS if with_scores and n_samples >= FEW_ROWS else STEPS


def auto_learning_rate(n_samples: int, *, with_scores: bool) -> float:
    """Return the largest step size, in inverse proportion to the least number of steps."""
    return LEARNING_RATE * STEPS / auto_steps(n_samples, with_scores=with_scores)


def is_crowded(n_samples: int, n_features: int) -> bool:
    """Return whether so few rows for each feature are memorised."""
    return _crowding(n_samples, n_features) > 1.0


def is_small(n_features: int, hidden_features: int) -> bool:
    """Return whether a network is too small for threads and half precision on a CPU."""
    return n_features * hidden_features < SMALL_NETWORK


def _crowding(n_samples: int, n_features: int) -> float:
    """Return how easily rows are memorised: above 1 that is to be made harder.

    Features for each row count, and how often each row is seen, as the steps are no fewer.
    """
    return n_features / n_samples / CROWDED * max(1.0, math.sqrt(FEW_ROWS / n_samples))
