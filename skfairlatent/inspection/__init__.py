"""Displays in scikit-learn's style; they need ``pip install "skfairlatent[plot]"``."""

from skfairlatent.inspection._counterfactuals import CounterfactualDisplay
from skfairlatent.inspection._fairness_accuracy import FairnessAccuracyDisplay
from skfairlatent.inspection._group_scores import GroupScoresDisplay
from skfairlatent.inspection._latent_covariance import LatentCovarianceDisplay
from skfairlatent.inspection._training_curves import TrainingCurvesDisplay

__all__ = [
    "CounterfactualDisplay",
    "FairnessAccuracyDisplay",
    "GroupScoresDisplay",
    "LatentCovarianceDisplay",
    "TrainingCurvesDisplay",
]
