"""Displays in scikit-learn's style; they need ``pip install "skfairlatent[plot]"``."""

from ._counterfactuals import CounterfactualDisplay
from ._fairness_accuracy import FairnessAccuracyDisplay
from ._group_scores import GroupScoresDisplay
from ._latent_covariance import LatentCovarianceDisplay
from ._training_curves import TrainingCurvesDisplay

__all__ = [
    "CounterfactualDisplay",
    "FairnessAccuracyDisplay",
    "GroupScoresDisplay",
    "LatentCovarianceDisplay",
    "TrainingCurvesDisplay",
]
