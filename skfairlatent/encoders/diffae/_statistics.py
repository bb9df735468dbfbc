"""Mean and spread of semantic codes: what a plausible code looks like."""

__all__ = ["LatentStatistics"]

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

# Directions of the covariance that are kept; the rest is taken to be constant.
MAX_RANK = 128

Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class LatentStatistics:
    """A normal distribution of codes.

    Parameters
    ----------
    mean : ndarray of shape (d,), float32
    factor : ndarray of shape (d, rank), float32
        The covariance is ``factor @ factor.T``.
    """

    mean: Array
    factor: Array

    @classmethod
    def fit(cls, codes: Array) -> "LatentStatistics":
        """Measure codes of shape (n, d)."""
        mean = codes.mean(axis=0, dtype=np.float64)
        centred = codes - mean
        _, scales, directions = np.linalg.svd(centred, full_matrices=False)
        rank = min(MAX_RANK, len(scales))
        factor = directions[:rank].T * scales[:rank] / max(len(codes) - 1, 1) ** 0.5
        return cls(mean.astype(np.float32), factor.astype(np.float32))

    @classmethod
    def independent(cls, mean: Array, std: Array) -> "LatentStatistics":
        """Take means and standard deviations of shape (d,), as the official files hold them."""
        return cls(mean.astype(np.float32), np.diag(std.astype(np.float32)))

    def sample(
        self, n_samples: int, generator: np.random.Generator, temperature: float = 1.0
    ) -> Array:
        """Draw codes of shape (n_samples, d); the first ones do not depend on how many."""
        drawn = generator.standard_normal((n_samples, self.factor.shape[1]), dtype=np.float32)
        drawn *= temperature
        return self.mean + drawn @ self.factor.T
