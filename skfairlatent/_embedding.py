"""From what the user gives as X to embeddings, and back."""

__all__ = ["check_encoder", "decode", "encode", "encoder_fingerprint", "holds_images"]

import os
import pickle
from typing import Any, Protocol, runtime_checkable

import joblib
import numpy as np
import numpy.typing as npt


@runtime_checkable
class Encoder(Protocol):
    """What a pluggable encoder offers; ``inverse_transform`` is optional."""

    def transform(self, X: Any) -> Any:
        """Return embeddings of shape (n_samples, d)."""


def holds_images(X: Any) -> bool:
    """Tell whether X is images: a 4-D array, or a list of pictures or of paths to files.

    A list may also be a tuple, an array or a column of a table.
    """
    if hasattr(X, "ndim") and X.ndim != 1:
        return bool(X.ndim == 4)
    is_column = hasattr(X, "iloc")
    if not (is_column or isinstance(X, list | tuple | np.ndarray)) or len(X) == 0:
        return False
    first: Any = X.iloc[0] if is_column else X[0]
    is_picture = hasattr(first, "convert") and hasattr(first, "size")
    return is_picture or isinstance(first, str | os.PathLike) or np.ndim(first) == 3


def check_encoder(encoder: Any) -> None:
    """Raise ValueError or TypeError unless `encoder` is a known name, None or an encoder."""
    if isinstance(encoder, str):
        if encoder == "diffae":
            return
        raise ValueError(
            f"encoder={encoder!r} is not known: use 'diffae', None for embeddings, or any object "
            "with a transform method."
        )
    if encoder is not None and (isinstance(encoder, type) or not isinstance(encoder, Encoder)):
        raise TypeError(
            f"encoder={encoder!r} has no usable transform method: use 'diffae', None for "
            "embeddings, or a fitted object with transform (and, to decode, inverse_transform)."
        )


def encode(encoder: Any, images: Any) -> npt.NDArray[Any]:
    """Return the embeddings of images, shape (n_samples, d)."""
    embeddings = np.asarray(_image_encoder(encoder).transform(images))
    if embeddings.ndim != 2 or len(embeddings) != len(images):
        raise ValueError(
            f"encoder={encoder!r} turned {len(images)} images into an array of shape "
            f"{embeddings.shape}: its transform must return shape (n_samples, n_features)."
        )
    return embeddings


def decode(encoder: Any, embeddings: npt.NDArray[Any]) -> Any:
    """Return the images that embeddings stand for."""
    decoder = _image_encoder(encoder)
    if not hasattr(decoder, "inverse_transform"):
        raise TypeError(
            f"encoder={encoder!r} has no inverse_transform, so latents cannot be decoded to "
            "images; use an encoder that can decode."
        )
    return decoder.inverse_transform(embeddings)


def encoder_fingerprint(encoder: Any) -> str | None:
    """Return what tells this encoder from others: its name, or a hash of its class and state.

    Of an encoder that cannot be pickled, as when it holds a lambda, only the class is known.
    """
    if encoder is None or isinstance(encoder, str):
        return encoder
    kind = f"{type(encoder).__module__}.{type(encoder).__qualname__}"
    try:
        return f"{kind}:{joblib.hash(encoder)}"
    except (AttributeError, TypeError, pickle.PicklingError):
        return kind


def _image_encoder(encoder: Any) -> Any:
    if encoder is None:
        raise ValueError(
            "X holds images, but encoder=None takes embeddings only: give "
            "FairLatentTransformer(encoder=...) an object with transform, or encode X first."
        )
    if encoder == "diffae":
        raise ValueError(
            "X holds images, and the DiffAE encoder is not part of this version: pass embeddings "
            "of shape (n_samples, n_features), or encoder=<object with transform>."
        )
    return encoder
