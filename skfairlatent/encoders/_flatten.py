"""Images as plain rows of numbers, for encoders made of scikit-learn's parts."""

__all__ = ["PixelFlattener"]

import math
from typing import Any, Self

import numpy as np

from skfairlatent.encoders._base import Array, ImageEncoder, Pixels
from skfairlatent.encoders._images import ImageSource


class PixelFlattener(ImageEncoder):
    """Turn images into rows of pixels and back, so that PCA and the like can encode images.

    Parameters
    ----------
    image_size : int, optional
        Height and width in pixels; other images are resized. By default images are not resized,
        and must have the size of those passed to `fit`.

    Attributes
    ----------
    image_shape_ : tuple of 3 int
        Height, width and 3.

    See Also
    --------
    TorchEncoder : For trained torch modules.

    Notes
    -----
    A row takes 4 bytes for each pixel and colour: 48 KiB for an image of 64 by 64, 1.8 GiB for
    40,000 of them, and a PCA makes a copy or two. ``image_size=32`` takes a quarter.

    The round trip of uint8 images of that size is exact; for floats the error is at most half a
    grey level, 1 / 510.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.decomposition import PCA
    >>> from sklearn.pipeline import make_pipeline
    >>> from skfairlatent.encoders import PixelFlattener
    >>> faces = np.random.default_rng(0).integers(256, size=(20, 8, 8, 3), dtype=np.uint8)
    >>> encoder = make_pipeline(PixelFlattener(), PCA(4, whiten=True)).fit(faces)
    >>> E = encoder.transform(faces)
    >>> E.shape, encoder.inverse_transform(E).shape
    ((20, 4), (20, 8, 8, 3))

    The trained pipeline is an encoder for ``FairLatentTransformer(encoder=encoder)``.
    """

    batch_size = 256

    def __init__(self, image_size: int | None = None) -> None:
        self.image_size = image_size

    def fit(self, X: Any, y: Any = None) -> Self:  # type: ignore[override] # noqa: ARG002 - it needs X
        """Learn the size of the images.

        Parameters
        ----------
        X : array-like of shape (n_samples, height, width, 3), or list of images or of paths
            uint8 from 0 to 255, float from 0 to 1, PIL images, or files.

        y : Ignored
            Present for compatibility with scikit-learn.

        Returns
        -------
        PixelFlattener
            The fitted object.
        """
        self._check()
        self.image_shape_ = (*ImageSource(X, self.image_size).image_size, 3)
        return self

    def encode_batch(self, images: Pixels) -> Array:
        """Turn images into rows, float32 from 0 to 1.

        The order is row by row of the image, the three colours of a pixel side by side.
        """
        return np.divide(images.reshape(len(images), -1), 255, dtype=np.float32)

    def decode_batch(self, embeddings: Array) -> Array:
        """Turn rows back into images, from 0 to 1."""
        return embeddings.reshape(-1, *self.image_shape_)

    def _source(self, X: Any) -> ImageSource:
        source = super()._source(X)
        shape = (*source.image_size, 3)
        if shape != self.image_shape_:
            raise ValueError(
                f"X holds images of shape {shape}, but fit was given {self.image_shape_}: pass "
                "images of that shape, or set PixelFlattener(image_size=...) to have all resized."
            )
        return source

    @property
    def _n_features_out(self) -> int:
        return math.prod(self.image_shape_)
