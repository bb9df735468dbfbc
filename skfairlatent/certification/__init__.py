"""Bounds on the unfairness of any classifier, from held-out rows."""

from skfairlatent.certification._certify import Certificate, certify_cells

__all__ = ["Certificate", "certify_cells"]
