"""Early stopping: which rows it watches, when it ends a training, and which epoch it keeps."""

__all__ = ["EarlyStopping", "hold_out"]

import math
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from skfairlatent._training.settings import FitSettings

# Steps without an improvement before training stops early, at least.
PATIENCE_STEPS = 100
# Rows of a cell that can be shared between training and validation: two for each.
FEWEST_ROWS = 4


@dataclass(frozen=True)
class EarlyStopping:
    """The rule of early stopping; epochs are counted from 1.

    Parameters
    ----------
    patience : int
        Epochs without an improvement after which training ends.
    warm_up : int
        Epochs in which the step size rises. They are not judged: the loss of a flow that has
        learnt nothing may be the lowest.
    tol : float
        By how much the validation loss must fall to count as an improvement.
    """

    patience: int
    warm_up: int
    tol: float

    @classmethod
    def of(cls, settings: FitSettings, n_batches: int, warm_up: int) -> Self | None:
        """Return the rule that the settings ask for, with so many batches an epoch."""
        if not settings.early_stopping:
            return None
        # An epoch of few rows is a step or two.
        fewest = math.ceil(PATIENCE_STEPS / n_batches)
        return cls(max(settings.n_iter_no_change, fewest), warm_up, settings.tol)

    def is_better(self, epoch: int, loss: float, best_loss: float) -> bool:
        """Tell whether an epoch's weights are kept instead of the best before."""
        return epoch > self.warm_up and loss < best_loss - self.tol

    def is_over(self, epoch: int, best_epoch: int) -> bool:
        """Tell whether training ends after an epoch."""
        return epoch - max(best_epoch, self.warm_up) >= self.patience


def hold_out(
    cells: npt.NDArray[np.int64], settings: FitSettings
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64] | None]:
    """Return the rows to train on, and a share of every cell to watch if that is asked for."""
    rows = np.arange(len(cells))
    if not settings.early_stopping:
        return rows, None
    smallest = int(np.bincount(cells).min())
    share = settings.validation_fraction
    if smallest < math.ceil(2.0 / min(share, 1.0 - share)):
        # A cell of fewer rows would leave one or none for validation, and the validation loss
        # would then say nothing of it; or for training.
        change = f", or {'a larger' if share < 0.5 else 'a smaller'} validation_fraction"
        rows_of = f"{smallest} row{'s' * (smallest > 1)}"
        raise ValueError(
            f"early_stopping=True and validation_fraction={share:g} hold out that share of every "
            f"(label, group) cell and train on the rest, two rows at least on either side, but "
            f"the smallest cell has {rows_of}: set early_stopping=False"
            f"{change * (smallest >= FEWEST_ROWS)}."
        )
    from sklearn.model_selection import train_test_split  # noqa: PLC0415 - slow to import

    training, held_out = train_test_split(
        rows, test_size=settings.validation_fraction, stratify=cells, random_state=settings.seed
    )
    return training, held_out
