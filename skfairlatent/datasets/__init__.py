"""Data sets to learn and to measure on: synthetic embeddings with known factors, and loaders."""

from skfairlatent.datasets._synthetic import make_biased_embeddings

__all__ = ["make_biased_embeddings"]
