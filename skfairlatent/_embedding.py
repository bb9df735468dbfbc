"""From what the user gives as X to embeddings, and back."""

__all__ = [
    "check_encoder",
    "decode_embeddings",
    "encode",
    "encoder_fingerprint",
    "encoder_twin",
    "image_encoder",
    "image_shape",
    "is_same_encoder",
    "noise_given",
    "probe_codes",
]

import copy
import inspect
import pickle
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol, runtime_checkable

import joblib
import numpy as np
import numpy.typing as npt
import torch
from sklearn.exceptions import NotFittedError

from skfairlatent._identity import (
    Codes,
    alike_codes,
    codes_of_probes,
    digest_of_values,
    kind_of,
    same_codes,
)
from skfairlatent._image_forms import first_of, is_column, shape_of
from skfairlatent.encoders._registry import ENCODERS, check_name

# Before the digest in a fingerprint.
_NAME = re.compile(r"\S+:(?=[0-9a-f]{32})")


@runtime_checkable
class Encoder(Protocol):
    """The methods of a pluggable encoder; ``inverse_transform`` is optional."""

    def transform(self, X: Any) -> Any:
        """Return embeddings of shape (n_samples, d)."""


def image_shape(X: Any) -> tuple[int, ...] | None:
    """Return the shape of one of these images, if they are arrays in an array or a list."""
    shape = shape_of(first_of(X)) if is_column(X) else shape_of(X)[1:]
    return tuple(map(int, shape)) if len(shape) == 3 else None


def check_encoder(encoder: Any) -> None:
    """Raise ValueError or TypeError unless `encoder` is a known name, None or an encoder."""
    if isinstance(encoder, str):
        check_name(encoder)
        return
    if encoder is not None and (isinstance(encoder, type) or not isinstance(encoder, Encoder)):
        raise TypeError(
            f"encoder={_shown(encoder)} has no usable transform method: use 'diffae', None for "
            "embeddings, or a fitted object with transform (and, to decode, inverse_transform). "
            "Networks of torch become one by skfairlatent.encoders.TorchEncoder(encoder, decoder)."
        )


def encoder_twin(encoder: Any) -> Any:
    """Return a copy of a trained encoder whose parameters can be set without changing the other.

    Fitted attributes are shared, not copied. Whatever `encoder` is made of and lists among its
    parameters is copied alike: steps of a Pipeline, parts of a FeatureUnion.

    Raises
    ------
    TypeError
        If it has no parameters, as the name of an encoder has none.
    """
    if isinstance(encoder, type) or not hasattr(encoder, "set_params"):
        is_name = isinstance(encoder, str)
        remedy = "; pass encoder=DiffAEEncoder() or another object" if is_name else ""
        raise TypeError(
            f"Parameters encoder__... cannot be set, as encoder={_shown(encoder)} has no "
            f"set_params{remedy}."
        )
    twin = copy.copy(encoder)
    for name, value in encoder.get_params(deep=False).items():
        if _has_parameters(value):
            setattr(twin, name, encoder_twin(value))
        elif isinstance(value, list) and any(isinstance(part, tuple) for part in value):
            setattr(twin, name, [_twin_of_named(part) for part in value])
    return twin


def _twin_of_named(named: Any) -> Any:
    """Copy the estimator in (name, estimator), or of a ColumnTransformer (name, ..., columns)."""
    if not isinstance(named, tuple):
        return named
    return tuple(encoder_twin(part) if _has_parameters(part) else part for part in named)


def _has_parameters(value: Any) -> bool:
    return hasattr(value, "get_params") and not isinstance(value, type)


@contextmanager
def _trained(encoder: Any) -> Iterator[None]:
    """Say of an encoder that is not fitted what to do, also where it once was."""
    try:
        yield
    except NotFittedError as error:
        raise NotFittedError(
            f"encoder={encoder!r} is not fitted, and fit does not train it: call "
            "encoder.fit(images) first. If that was done: scikit-learn forgets it of an encoder "
            "that is copied, as one in a search's grid of parameters is; pass "
            "sklearn.frozen.FrozenEstimator(encoder) there, after encoder.fit(images)."
        ) from error


def _shown(encoder: Any) -> str:
    """Return what to call an encoder: of a network the class, as its layers fill a screen."""
    if isinstance(encoder, torch.nn.Module):
        return f"{type(encoder).__name__}(...)"
    return repr(encoder)


def encode(encoder: Any, images: Any, device: str | torch.device) -> npt.NDArray[Any]:
    """Return the embeddings of images, shape (n_samples, d)."""
    with _trained(encoder):
        embeddings = np.asarray(image_encoder(encoder, device).transform(images))
    if embeddings.ndim != 2 or len(embeddings) != len(images):
        raise ValueError(
            f"encoder={encoder!r} turned {len(images)} images into an array of shape "
            f"{embeddings.shape}: its transform must return shape (n_samples, n_features)."
        )
    return embeddings


def decode_embeddings(
    encoder: Any, embeddings: npt.NDArray[Any], device: str | torch.device, x_T: Any = None
) -> Any:
    """Return the images that embeddings stand for, decoded from noise if it is given."""
    decoder = image_encoder(encoder, device)
    if not hasattr(decoder, "inverse_transform"):
        raise TypeError(
            f"encoder={encoder!r} has no inverse_transform, so latents cannot be decoded to "
            "images: use an encoder that can decode, or pass decode=False for embeddings."
        )
    given = noise_given(decoder, x_T)
    with _trained(encoder):
        return decoder.inverse_transform(embeddings, **given)


def noise_given(encoder: Any, x_T: Any) -> dict[str, Any]:
    """Return noise as what to pass to the ``inverse_transform`` of an encoder.

    Raises
    ------
    ValueError
        If it decodes without noise; of a Pipeline, if all its steps do.
    """
    if x_T is None:
        return {}
    steps = [step for _, step in getattr(encoder, "steps", [("encoder", encoder)])]
    if not any(map(_takes_noise, steps)):
        raise ValueError(
            f"encoder={_shown(encoder)} has no noise to decode from: leave x_T out, which is for "
            "a DiffAEEncoder or an AutoencoderKLEncoder."
        )
    return {"x_T": x_T}


def _takes_noise(step: Any) -> bool:
    if not hasattr(step, "inverse_transform"):
        return False
    parameters = inspect.signature(step.inverse_transform).parameters.values()
    return any(each.name == "x_T" or each.kind is each.VAR_KEYWORD for each in parameters)


def encoder_fingerprint(encoder: Any, *, used: bool = True) -> str | None:
    """Return what tells this encoder from others: its class, and a digest of what it holds.

    An encoder may say itself what that is, by a method ``fingerprint``: weights matter, where
    they are computed does not. A name alone stands for an encoder that was not `used`,
    because there were embeddings already: its weights are then not even read.
    """
    if encoder is None or (isinstance(encoder, str) and not used):
        return encoder
    if isinstance(encoder, str):
        return encoder_fingerprint(image_encoder(encoder, "cpu"))
    if hasattr(encoder, "fingerprint"):
        with _trained(encoder):
            return str(encoder.fingerprint())
    return f"{kind_of(encoder)}:{digest_of_values(encoder)}"


def probe_codes(encoder: Any, shape: tuple[int, ...] | None) -> Codes | None:
    """Return what an encoder makes of made-up images; None if its fingerprint is its own word.

    They tell encoders apart, and the same ones from others, where a digest of what they hold
    cannot: one that counts its calls, was moved to another version of a library, or computes
    otherwise with the same weights. None too of an encoder that draws at random.
    """
    if not _is_probed(encoder):
        return None
    codes = codes_of_probes(encoder, shape)
    again = None if codes is None else codes_of_probes(encoder, shape)
    return None if codes is None or again is None or not alike_codes(codes, again) else codes


def _is_probed(encoder: Any) -> bool:
    is_own_word = hasattr(encoder, "fingerprint") and not _tells_weights_only(encoder)
    return not (encoder is None or isinstance(encoder, str) or is_own_word)


def _tells_weights_only(encoder: Any) -> bool:
    """Tell whether the fingerprint leaves out how the weights are used, as TorchEncoder's does."""
    return getattr(encoder, "_tells_weights_only", False) is True


def is_same_encoder(
    encoder: Any,
    fingerprint: str | None,
    codes: Codes | None,
    shape: tuple[int, ...] | None,
    *,
    used: bool,
) -> bool:
    """Tell whether this encoder is the one that a fingerprint and codes of probes are of.

    Parameters
    ----------
    encoder : object, str or None
    fingerprint : str or None
        As `encoder_fingerprint` gives it, or as version 0.1 did.
    codes : ndarray or None
        As `probe_codes` gave them for images of this `shape`; None if there are none.
    shape : tuple of 3 int, or None
    used : bool
        As for `encoder_fingerprint`.
    """
    given = encoder_fingerprint(encoder, used=used)
    if codes is None or not _is_probed(encoder):
        return given == fingerprint or _was_of_first(encoder, fingerprint)
    found = codes_of_probes(encoder, shape)
    if _without_names(given) == _without_names(fingerprint):
        return found is None or alike_codes(codes, found)
    return not _tells_weights_only(encoder) and same_codes(codes, found)


def _without_names(fingerprint: str | None) -> str:
    """Return the digests alone: the same function may be written in two places."""
    return _NAME.sub("", fingerprint or "")


def _was_of_first(encoder: Any, fingerprint: str | None) -> bool:
    return (
        _is_probed(encoder)
        and not hasattr(encoder, "fingerprint")
        and _first_fingerprint(encoder) == fingerprint
    )


def _first_fingerprint(encoder: Any) -> str:
    """Return the fingerprint of version 0.1, for its files: a hash of all that pickle keeps."""
    try:
        return f"{kind_of(encoder)}:{joblib.hash(encoder)}"
    except (AttributeError, TypeError, pickle.PicklingError):
        return kind_of(encoder)


def image_encoder(encoder: Any, device: str | torch.device) -> Any:
    """Return the object that encodes: `encoder` itself, or the one that a name stands for."""
    if encoder is None:
        raise ValueError(
            "X holds images, but encoder=None takes embeddings only: give "
            "FairLatentTransformer(encoder=...) an object with transform, or encode X first."
        )
    if isinstance(encoder, str):
        check_name(encoder)
        return ENCODERS[encoder](device=device)
    return encoder
