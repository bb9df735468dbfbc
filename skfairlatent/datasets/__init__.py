"""Data sets to learn and to measure on: synthetic embeddings with known factors, and loaders."""

from skfairlatent.datasets._celeba import load_celeba, load_celeba_hq
from skfairlatent.datasets._embeddings import load_embeddings
from skfairlatent.datasets._folder import load_image_folder
from skfairlatent.datasets._images import LazyImages
from skfairlatent.datasets._synthetic import make_biased_embeddings
from skfairlatent.datasets._tabular import load_adult, load_compas
from skfairlatent.datasets._utkface import load_utkface

__all__ = [
    "LazyImages",
    "load_adult",
    "load_celeba",
    "load_celeba_hq",
    "load_compas",
    "load_embeddings",
    "load_image_folder",
    "load_utkface",
    "make_biased_embeddings",
]
