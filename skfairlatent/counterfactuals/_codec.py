"""From images to embeddings and back, with the steps of a pipeline between encoder and them."""

__all__ = ["Decoded", "ImageCodec"]

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from sklearn.pipeline import Pipeline
from sklearn.utils.metaestimators import available_if

from skfairlatent._embedding import noise_given
from skfairlatent._image_forms import holds_images
from skfairlatent._names import nameless

Array = npt.NDArray[Any]

IMAGE_DIMENSIONS = 4


def _can_decode(codec: "ImageCodec") -> bool:
    return codec.can_decode


def _can_invert(codec: "ImageCodec") -> bool:
    return hasattr(codec.encoder, "invert")


class Decoded(NamedTuple):
    """Images, and the embeddings that the encoder finds in them; None if it encodes nothing."""

    images: Array
    found: Array | None


@dataclass(frozen=True)
class ImageCodec:
    """An encoder with the steps between its codes and embeddings, as one encoder.

    Parameters
    ----------
    encoder : object or None
        Turns images into codes and back; None if it is not known.
    undo : tuple of object
        Steps that turn codes into embeddings.
    """

    encoder: Any = None
    undo: tuple[Any, ...] = ()

    @classmethod
    def of(cls, encoder: Any, undo: tuple[Any, ...] = ()) -> "ImageCodec":
        """Take a pipeline apart that begins with an encoder which finds the noise of images.

        The pipeline itself can neither find nor take noise.
        """
        if isinstance(encoder, Pipeline) and hasattr(encoder[0], "invert"):
            encoder, *between = [step for _, step in encoder.steps if step != "passthrough"]
            undo = (*between, *undo)
        return cls(encoder, undo)

    @property
    def can_decode(self) -> bool:
        """Whether embeddings can be turned into images."""
        return all(hasattr(step, "inverse_transform") for step in (self.encoder, *self.undo))

    def check_can_decode(self) -> None:
        """Raise TypeError, with a remedy, if embeddings cannot be turned into images."""
        if self.can_decode:
            return
        if not hasattr(self.encoder, "inverse_transform"):
            raise TypeError(
                "These embeddings cannot be decoded: no encoder with inverse_transform is known. "
                "Give one, as CounterfactualExplainer(model, encoder=...). Tables have no images: "
                "use the embeddings of the result."
            )
        steps = [type(s).__name__ for s in self.undo if not hasattr(s, "inverse_transform")]
        raise TypeError(
            f"These embeddings cannot be decoded: {', '.join(steps)}, between the encoder and "
            "them, has no inverse_transform. Leave it out, or use a step that has one."
        )

    @nameless
    def codes(self, X: Any) -> Array:
        """Return what the encoder makes of images, or rows of such codes as they are."""
        return np.asarray(self.encoder.transform(X) if holds_images(X) else X)

    @nameless
    def undone(self, embeddings: Array) -> Array:
        """Return the codes that embeddings stand for."""
        codes = embeddings
        for step in reversed(self.undo):
            codes = step.inverse_transform(codes)
        return np.asarray(codes)

    @nameless
    def transform(self, images: Array) -> Array:
        """Return the embeddings of images."""
        codes = self.encoder.transform(images)
        for step in self.undo:
            codes = step.transform(codes)
        return np.asarray(codes)

    @available_if(_can_decode)  # type: ignore[untyped-decorator]
    @nameless
    def inverse_transform(self, embeddings: Array, *, x_T: Any = None, left_out: Any = 0) -> Array:
        """Return the images that embeddings stand for, shape (n, height, width, channels).

        Parameters
        ----------
        embeddings : ndarray of shape (n, n_features)
        x_T : ndarray, optional
            Noise to decode from.
        left_out : ndarray of shape (n, width of the codes), optional
            The part of the codes that `undo` lost, to be kept.
        """
        given = noise_given(self.encoder, x_T)
        codes = self.undone(embeddings) + left_out
        images = np.asarray(self.encoder.inverse_transform(codes, **given))
        if images.ndim != IMAGE_DIMENSIONS:
            raise TypeError(
                f"{type(self.encoder).__name__} decodes to arrays of shape {images.shape}, not to "
                "images, (n, height, width, channels): give an encoder of images, or use the "
                "embeddings of the result."
            )
        return images

    @available_if(_can_invert)  # type: ignore[untyped-decorator]
    def invert(self, images: Any, codes: Array | None = None) -> Array:
        """Return the noise that images are decoded from with these codes of the encoder."""
        return np.asarray(self.encoder.invert(images, codes))

    def corrected(
        self, embeddings: Array, n_corrections: int, *, x_T: Any = None, left_out: Any = 0
    ) -> Decoded:
        """Return images like `inverse_transform`, in which the encoder finds the embeddings.

        The codes that it finds in decoded images differ a little. `n_corrections` times, what it
        misses is added to what is decoded; of each row the image is kept in which it misses the
        least.
        """
        images: Array = self.inverse_transform(embeddings, x_T=x_T, left_out=left_out)
        if not hasattr(self.encoder, "transform"):
            return Decoded(images, None)
        found = self.transform(images)
        asked, seen = embeddings, found
        for _ in range(n_corrections):
            asked = asked + (embeddings - seen)
            candidates = self.inverse_transform(asked, x_T=x_T, left_out=left_out)
            seen = self.transform(candidates)
            is_nearer = _distance(seen, embeddings) < _distance(found, embeddings)
            images = np.where(is_nearer[:, None, None, None], candidates, images)
            found = np.where(is_nearer[:, None], seen, found)
        return Decoded(images, found)


def _distance(rows: Array, others: Array) -> Array:
    return np.asarray(np.linalg.norm(rows - others, axis=1))
