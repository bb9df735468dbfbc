"""Edits of a latent that show why a decision was made, and whether it was fair."""

from skfairlatent.counterfactuals._explainer import CounterfactualExplainer
from skfairlatent.counterfactuals._result import Counterfactuals

__all__ = ["CounterfactualExplainer", "Counterfactuals"]
