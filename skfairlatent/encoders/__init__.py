"""Encoders: from images to embeddings and, where they can decode, back."""

from skfairlatent.encoders._autoencoder_kl import AutoencoderKLEncoder
from skfairlatent.encoders._base import ImageEncoder
from skfairlatent.encoders._flatten import PixelFlattener
from skfairlatent.encoders._registry import ENCODERS, register_encoder
from skfairlatent.encoders._torch import TorchEncoder
from skfairlatent.encoders._transformers import TransformersEncoder
from skfairlatent.encoders.diffae import (
    OFFICIAL_CONFIGS,
    DiffAEConfig,
    DiffAEEncoder,
    DiffAETraining,
    convert_weights,
    download_weights,
    make_faces,
)

__all__ = [
    "ENCODERS",
    "OFFICIAL_CONFIGS",
    "AutoencoderKLEncoder",
    "DiffAEConfig",
    "DiffAEEncoder",
    "DiffAETraining",
    "ImageEncoder",
    "PixelFlattener",
    "TorchEncoder",
    "TransformersEncoder",
    "convert_weights",
    "download_weights",
    "make_faces",
    "register_encoder",
]
