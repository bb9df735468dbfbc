"""From embeddings to the inputs of the flow and back."""

__all__ = ["FlowInputs"]

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from torch import Tensor

from skfairlatent._inputs.label_scores import LabelScores
from skfairlatent._inputs.scaling import Standardizer


@dataclass(frozen=True)
class FlowInputs:
    """Standardised embeddings, in which scores of the label replace features if there are any."""

    standardizer: Standardizer
    label_scores: LabelScores | None = None

    def forward(self, rows: Tensor) -> Tensor:
        """Return the inputs of embeddings, on their device and in their precision."""
        x = self.standardizer.standardize(rows)
        return x if self.label_scores is None else self.label_scores.forward(x)

    def inverse(self, x: Tensor) -> npt.NDArray[np.floating]:
        """Return the embeddings that have these inputs."""
        return self.standardizer.inverse(self.standardized(x))

    def standardized(self, x: Tensor) -> Tensor:
        """Return the standardised embeddings that have these inputs."""
        return x if self.label_scores is None else self.label_scores.inverse(x)
