"""Encoders by name, for ``FairLatentTransformer(encoder=name)``."""

__all__ = ["ENCODERS", "check_name", "register_encoder"]

from collections.abc import Callable
from typing import Any


def _class_of_diffae() -> Any:
    from skfairlatent.encoders.diffae import DiffAEEncoder  # noqa: PLC0415 - slow to import

    return DiffAEEncoder


def _diffae(device: Any) -> Any:
    return _class_of_diffae()(device=device)


# The encoder of each name: a class or a function that is called with device=...
ENCODERS: dict[str, Callable[..., Any]] = {"diffae": _diffae}


def register_encoder(name: str, factory: Callable[..., Any]) -> None:
    """Give an encoder a name, to be used as ``FairLatentTransformer(encoder=name)``.

    A name lasts as long as the process: register it again before a saved model that uses it is
    loaded, and in each worker process.

    Parameters
    ----------
    name : str
        A name that is not taken.

    factory : callable
        Called as ``factory(device=device)`` whenever images are encoded or decoded, with the
        device of the transformer. Returns a trained encoder: any object with ``transform``, such
        as an :class:`~skfairlatent.encoders.ImageEncoder`. A class whose constructor takes
        `device` is a factory.

    Raises
    ------
    TypeError
        If `name` is not a text, or `factory` cannot be called.
    ValueError
        If the name is empty, or is taken by another factory.

    Examples
    --------
    >>> from skfairlatent import FairLatentTransformer
    >>> from skfairlatent.encoders import DiffAEEncoder, register_encoder
    >>> def unsupervised(device):
    ...     return DiffAEEncoder("faces64_unsupervised", device=device)
    >>> register_encoder("unsupervised", unsupervised)
    >>> fair = FairLatentTransformer(encoder="unsupervised")
    """
    if not isinstance(name, str):
        raise TypeError(f"name={name!r} is not a text: pass the name of the encoder.")
    if not callable(factory):
        raise TypeError(
            f"factory={factory!r} cannot be called: pass a function that takes device=... and "
            "returns the encoder, such as lambda device: encoder."
        )
    if not name.strip():
        raise ValueError(f"name={name!r} is empty: pass the name of the encoder.")
    taken = ENCODERS.setdefault(name, factory)
    # The class that "diffae" stands for may be registered under that name again.
    if taken is not factory and not (taken is _diffae and factory is _class_of_diffae()):
        raise ValueError(f"name={name!r} is taken: pass another name.")


def check_name(name: str) -> None:
    """Raise ValueError if no encoder has this name."""
    if name not in ENCODERS:
        known = ", ".join(map(repr, ENCODERS))
        raise ValueError(
            f"encoder={name!r} is not known: use one of {known}, None for embeddings, or any "
            "object with a transform method. A name of your own is made known by "
            "skfairlatent.encoders.register_encoder(name, factory); weights of that name are "
            f"read by DiffAEEncoder({name!r})."
        )
