"""Synthetic embeddings with known factors, and loaders of images with their attributes."""

__all__ = [
    "LazyImages",
    "load_celeba",
    "load_celeba_hq",
    "load_image_folder",
    "load_utkface",
    "make_biased_embeddings",
]

from typing import NoReturn

from skfairlatent.datasets._celeba import load_celeba, load_celeba_hq
from skfairlatent.datasets._folder import load_image_folder
from skfairlatent.datasets._images import LazyImages
from skfairlatent.datasets._synthetic import make_biased_embeddings
from skfairlatent.datasets._utkface import load_utkface

_LEFT = {
    "load_adult": "fairlearn.datasets.fetch_adult, or pandas as in examples/plot_tables.py",
    "load_compas": "pandas.read_csv",
    "load_embeddings": "numpy.load, as in examples/celeba_embeddings.py",
}


def __getattr__(name: str) -> NoReturn:
    if name in _LEFT:
        raise ImportError(f"{__name__} no longer has {name}: use {_LEFT[name]}.")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
