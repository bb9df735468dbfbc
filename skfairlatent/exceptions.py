"""Errors whose text is the remedy, and the warnings of the package."""

__all__ = [
    "CheckpointError",
    "FairLatentError",
    "FairLatentWarning",
    "TrainingDivergedError",
    "UndefinedMetricWarning",
]

from sklearn.exceptions import UndefinedMetricWarning


class FairLatentError(Exception):
    """Base class of the errors that only this package raises."""


class CheckpointError(FairLatentError, ValueError):
    """A save file cannot be read: corrupt, foreign, or of another version."""


class TrainingDivergedError(FairLatentError, RuntimeError):
    """The loss became non-finite again after the learning rate was lowered."""


class FairLatentWarning(UserWarning):
    """Something about the fit or the data limits what fairness was achieved."""
