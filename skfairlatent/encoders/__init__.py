"""Encoders: from images to embeddings and, where they can decode, back."""

from importlib import import_module
from typing import TYPE_CHECKING

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

# Modules of what is imported when it is asked for: tables and embeddings need no encoder, and all
# of them take about half of the time to import the package.
_LATER = {
    "AutoencoderKLEncoder": "_autoencoder_kl",
    "ImageEncoder": "_base",
    "PixelFlattener": "_flatten",
    "TorchEncoder": "_torch",
    "TransformersEncoder": "_transformers",
}

if not TYPE_CHECKING:  # a type checker would take any name for one of this module

    def __getattr__(name: str) -> object:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"{__name__}.{_LATER.get(name, 'diffae')}"), name)


def __dir__() -> list[str]:
    return sorted(globals().keys() | set(__all__))
