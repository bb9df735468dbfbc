"""Edits of a latent that show why a decision was made, and whether it was fair."""

from ._explainer import CounterfactualExplainer
from ._result import Counterfactuals

__all__ = ["CounterfactualExplainer", "Counterfactuals"]
