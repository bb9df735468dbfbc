"""Bounds on the unfairness of any classifier, from held-out rows."""

from skfairlatent.certification._certificate import Certificate
from skfairlatent.certification._certify import certify, certify_cells
from skfairlatent.certification._planning import required_rows
from skfairlatent.certification._scorer import certified_scorer

__all__ = ["Certificate", "certified_scorer", "certify", "certify_cells", "required_rows"]
