"""Diffusion autoencoders: networks, weights, sampling, training and the encoder itself."""

from skfairlatent.encoders.diffae._config import OFFICIAL_CONFIGS, DiffAEConfig
from skfairlatent.encoders.diffae._estimator import DiffAEEncoder
from skfairlatent.encoders.diffae._faces import make_faces
from skfairlatent.encoders.diffae._training.options import DiffAETraining
from skfairlatent.encoders.diffae._weights.download import download_weights
from skfairlatent.encoders.diffae._weights.read import convert_weights

__all__ = [
    "OFFICIAL_CONFIGS",
    "DiffAEConfig",
    "DiffAEEncoder",
    "DiffAETraining",
    "convert_weights",
    "download_weights",
    "make_faces",
]
