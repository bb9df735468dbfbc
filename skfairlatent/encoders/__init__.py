"""Encoders: from images to embeddings and, where they can decode, back."""

from typing import TYPE_CHECKING

from skfairlatent._lazy_imports import imported_later
from skfairlatent.encoders._registry import ENCODERS, register_encoder

if TYPE_CHECKING:
    from skfairlatent.encoders._autoencoder_kl import AutoencoderKLEncoder
    from skfairlatent.encoders._base import ImageEncoder
    from skfairlatent.encoders._flatten import PixelFlattener
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

# Where what is imported when it is asked for lies: tables and embeddings need no encoder, and all
# of them take about half of the time to import the package.
_LATER = {
    "AutoencoderKLEncoder": "skfairlatent.encoders._autoencoder_kl",
    "ImageEncoder": "skfairlatent.encoders._base",
    "PixelFlattener": "skfairlatent.encoders._flatten",
    "TorchEncoder": "skfairlatent.encoders._torch",
    "TransformersEncoder": "skfairlatent.encoders._transformers",
    "diffae": "skfairlatent.encoders.diffae",
    "OFFICIAL_CONFIGS": "skfairlatent.encoders.diffae",
    "DiffAEConfig": "skfairlatent.encoders.diffae",
    "DiffAEEncoder": "skfairlatent.encoders.diffae",
    "DiffAETraining": "skfairlatent.encoders.diffae",
    "convert_weights": "skfairlatent.encoders.diffae",
    "download_weights": "skfairlatent.encoders.diffae",
    "make_faces": "skfairlatent.encoders.diffae",
}

if not TYPE_CHECKING:  # a type checker would take any name for one of this module
    __getattr__ = imported_later(__name__, _LATER)


def __dir__() -> list[str]:
    return sorted(globals().keys() | _LATER.keys())
