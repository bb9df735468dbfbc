"""Images as plain rows of numbers, for encoders made of scikit-learn's parts."""

__all__ = ["PixelFlattener"]

import math
from numbers import Integral
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils._param_validation import Interval
from sklearn.utils.validation import check_array, check_is_fitted

from skfairlatent.encoders._chunks import map_chunks
from skfairlatent.encoders._images import ImageSource

# Images at a time: what lies between input and result stays small.
CHUNK = 256


class PixelFlattener(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Images to rows of pixels and back, so that PCA and its like become encoders.

    Parameters
    ----------
    image_size : int, optional
        Height and width in pixels; other images are resized. By default images are taken as they
        are, and must all be of the size of those that were given to `fit`.

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

    The round trip of uint8 images of that size is exact, that of floats is off by at most half a
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

    Trained, it is what ``FairLatentTransformer(encoder=encoder)`` asks for.
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "image_size": [Interval(Integral, 1, None, closed="left"), None],
    }

    def __init__(self, image_size: int | None = None) -> None:
        self.image_size = image_size

    def fit(self, X: Any, y: Any = None) -> Self:  # noqa: ARG002 - scikit-learn's signature
        """Learn the size of the images.

        Parameters
        ----------
        X : array-like of shape (n_samples, height, width, 3), or list of images or of paths
            uint8 from 0 to 255, float from 0 to 1, PIL images, or files.

        y : Ignored
            Here for scikit-learn's sake.

        Returns
        -------
        PixelFlattener
            The fitted object.
        """
        self._validate_params()
        self.image_shape_ = (*ImageSource(X, self.image_size).image_size, 3)
        return self

    def transform(self, X: Any) -> npt.NDArray[np.float32]:
        """Turn images into rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, height, width, 3), or list of images or of paths
            uint8 from 0 to 255, float from 0 to 1, PIL images, or files.

        Returns
        -------
        ndarray of shape (n_samples, height * width * 3), float32
            From 0 to 1: row by row of the image, the three colours of a pixel side by side.

        Raises
        ------
        ValueError
            If the images are of another size than those given to `fit`, and `image_size` is None.
        """
        check_is_fitted(self)
        source = ImageSource(X, self.image_size)
        shape = (*source.image_size, 3)
        if shape != self.image_shape_:
            raise ValueError(
                f"X holds images of shape {shape}, but fit was given {self.image_shape_}: pass "
                "images of that shape, or set PixelFlattener(image_size=...) to have all resized."
            )
        white = np.float32(255)
        return map_chunks(
            len(source),
            CHUNK,
            lambda pixels: pixels.reshape(len(pixels), -1) / white,
            read=source.read,
            desc="flattening",
        )

    def inverse_transform(self, X: Any) -> npt.NDArray[np.uint8]:
        """Turn rows back into images.

        Parameters
        ----------
        X : array-like of shape (n_samples, height * width * 3)
            Pixels from 0 to 1; what lies outside is clipped.

        Returns
        -------
        ndarray of shape (n_samples, height, width, 3), uint8
            Images, RGB.

        Raises
        ------
        ValueError
            If X holds NaN, or its rows are no images of the shape that `fit` was given.
        """
        check_is_fitted(self)
        rows = check_array(X, dtype=[np.float32, np.float64], input_name="X")
        if rows.shape[1] != self._n_features_out:
            raise ValueError(
                f"X has {rows.shape[1]} features, but images of shape {self.image_shape_} have "
                f"{self._n_features_out}: pass what transform returned, or rows of that width."
            )
        return map_chunks(
            len(rows),
            CHUNK,
            lambda chunk: _pixels(rows[chunk]).reshape(-1, *self.image_shape_),
            desc="unflattening",
        )

    @property
    def _n_features_out(self) -> int:
        return math.prod(self.image_shape_)

    def __sklearn_tags__(self) -> Any:
        """Declare that X is images."""
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.transformer_tags.preserves_dtype = []
        return tags


def _pixels(values: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    levels = values * 255
    np.clip(np.rint(levels, out=levels), 0, 255, out=levels)
    return levels.astype(np.uint8)
