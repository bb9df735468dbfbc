"""The base class of image encoders."""

__all__ = ["ImageEncoder"]

import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from numbers import Integral
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
import torch
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils._param_validation import Interval
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_array, check_is_fitted
from torch import Tensor

from skfairlatent._device import neutral_torch_state
from skfairlatent.encoders._cache import EmbeddingCache
from skfairlatent.encoders._chunks import map_chunks
from skfairlatent.encoders._images import ImageSource

Array = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]
# Numbers of rows.
Rows = range | npt.NDArray[np.intp]

_POSITIVE = Interval(Integral, 1, None, closed="left")


def _can_decode(self: "ImageEncoder") -> bool:
    self._require_decoder()
    return True


class ImageEncoder(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator, ABC):
    """Base class of encoders of images.

    A subclass writes `encode_batch` and, if it can decode, `decode_batch`. This class reads
    images in all their forms (arrays, files, PIL images, ``LazyImages``), resizes them, cuts them
    into batches, halves a batch that does not fit in memory, and checks what comes back.

    An encoder that learns from images overrides `fit` as well, and keeps what it learns in
    attributes whose names end in an underscore, as scikit-learn's estimators do.

    Attributes
    ----------
    image_size : int or None
        Height and width in pixels that `encode_batch` takes; other images are resized. None, the
        default, leaves images as they are; all of them must then be of one size. Set it in the
        constructor or in the class.

    batch_size : int
        Images in a batch, by default 64.

    verbose : bool
        Whether to show a progress bar, by default False.

    See Also
    --------
    register_encoder : Give an encoder a name for ``FairLatentTransformer(encoder=name)``.
    TorchEncoder : An encoder made of trained torch modules; no class is needed.

    Notes
    -----
    An encoder whose results depend on more than its attributes, such as a file of weights that
    it names, also has a method ``fingerprint()`` that returns a text for all that its results
    depend on. ``FairLatentTransformer.load`` compares it.

    Examples
    --------
    An encoder that keeps the mean colour of each cell of a grid:

    >>> import numpy as np
    >>> from skfairlatent.encoders import ImageEncoder
    >>> class ColourGrid(ImageEncoder):
    ...     image_size = 32
    ...
    ...     def __init__(self, n_cells=4):
    ...         self.n_cells = n_cells
    ...
    ...     def encode_batch(self, images):
    ...         n, cell = len(images), 32 // self.n_cells
    ...         cells = images.reshape(n, self.n_cells, cell, self.n_cells, cell, 3)
    ...         return cells.mean(axis=(2, 4)).reshape(n, -1) / 255
    ...
    ...     def decode_batch(self, embeddings):
    ...         cells = embeddings.reshape(-1, self.n_cells, self.n_cells, 3)
    ...         return cells.repeat(32 // self.n_cells, 1).repeat(32 // self.n_cells, 2)
    >>> encoder = ColourGrid()
    >>> images = np.random.default_rng(0).integers(256, size=(10, 48, 48, 3), dtype=np.uint8)
    >>> E = encoder.transform(images)
    >>> E.shape, encoder.inverse_transform(E).shape
    ((10, 48), (10, 32, 32, 3))
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "image_size": [_POSITIVE, None],
        "batch_size": [_POSITIVE],
        "device": [str, torch.device],
        "verbose": ["verbose"],
    }
    # Advice when an encoder or a decoder returns NaN.
    _remedy_for_nan: ClassVar[str] = ""

    image_size: int | None = None
    batch_size: int = 64
    verbose: bool | int = False
    cache_dir: str | os.PathLike[str] | None

    @abstractmethod
    def encode_batch(self, images: Pixels) -> Any:
        """Encode some images; `transform` calls this for each batch.

        Parameters
        ----------
        images : ndarray of shape (n, height, width, 3), uint8
            RGB, of `image_size`.

        Returns
        -------
        ndarray or torch.Tensor of shape (n, n_features), float
            Finite embeddings, of the same width for every batch.
        """

    def decode_batch(self, embeddings: Array) -> Any:
        """Decode some embeddings; `inverse_transform` calls this for each batch.

        An encoder that does not define it has no `inverse_transform`.

        Parameters
        ----------
        embeddings : ndarray of shape (n, n_features), float32

        Returns
        -------
        ndarray or torch.Tensor of shape (n, height, width, 3), uint8 or float
            RGB, from 0 to 255 if uint8, otherwise from 0 to 1; values outside are clipped.
        """
        raise NotImplementedError

    def fit(self, X: Any = None, y: Any = None) -> Self:  # noqa: ARG002 - scikit-learn's signature
        """Check the parameters; there is nothing to learn.

        Parameters
        ----------
        X, y : Ignored
            Present for compatibility with scikit-learn.

        Returns
        -------
        self : object
            This object, unchanged.
        """
        self._check()
        return self

    @neutral_torch_state()
    def transform(self, X: Any) -> Array:
        """Encode images.

        Parameters
        ----------
        X : array-like of shape (n_samples, height, width, channels), or list of images or paths
            uint8 from 0 to 255, or floats from 0 to 1. A list may hold arrays, PIL images or
            paths of files, which are read batch by batch. Grey and transparent images are
            converted to RGB; other sizes are scaled, and what does not fit is cut off evenly on
            both sides.

        Returns
        -------
        ndarray of shape (n_samples, n_features), float32
            Embeddings.

        Raises
        ------
        NotFittedError
            If the encoder has to be fitted first.
        ValueError
            If X is not a valid set of images, or if the encoder returns anything but finite
            numbers of shape (n_samples, n_features).
        """
        self._check()
        check_is_fitted(self)
        return self._encode(self._source(X))

    @available_if(_can_decode)  # type: ignore[untyped-decorator]
    @neutral_torch_state()
    def inverse_transform(self, X: Any) -> Pixels:
        """Decode embeddings.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Embeddings.

        Returns
        -------
        ndarray of shape (n_samples, height, width, 3), uint8
            Images, RGB.

        Raises
        ------
        NotFittedError
            If the encoder has to be fitted first.
        ValueError
            If X holds NaN or has another width than `transform` returns, or if the decoder
            returns anything but images of finite numbers.
        """
        self._check()
        check_is_fitted(self)
        E: Array = check_array(X, dtype=np.float32, input_name="X")
        width = self._n_features_out
        if E.shape[1] != width:
            raise ValueError(
                f"X has {E.shape[1]} features, but the encoder makes {width}: pass what transform "
                "returned, or rows of that width."
            )
        return self._decode(E)

    def _encode(self, source: Any) -> Array:
        """Return the embeddings of all rows of a source."""
        return self._encoded(source, self.encode_batch, source.read)

    def _encoded(
        self,
        source: Any,
        encode: Callable[[Any], Any],
        read: Callable[[Any], Any],
        cache_key: Callable[[], str] | None = None,
    ) -> Array:
        """Encode what `read`, a batch ahead in a thread, returns of some rows.

        `cache_key` tells this encoder and its use from others in the cache, if there is one.
        """

        def embed(batch: tuple[Rows, Any]) -> Array:
            rows, given = batch
            return self._as_embeddings(encode(given), rows)

        def take(rows: Any) -> tuple[Rows, Any]:
            return range(len(source))[rows] if isinstance(rows, slice) else rows, read(rows)

        if cache_key is None or self.cache_dir is None:
            return self._map(len(source), embed, "encoding", take)
        cache = EmbeddingCache(self.cache_dir, cache_key())
        return cache.encode(source, embed, self.batch_size, read=take, verbose=bool(self.verbose))

    def _decode(self, embeddings: Array) -> Pixels:
        """Return the images of all embeddings."""

        def decode(rows: slice) -> Pixels:
            return self._as_pixels(self.decode_batch(embeddings[rows]), rows)

        return self._map(len(embeddings), decode, "decoding")

    def _map(
        self,
        n_rows: int,
        call: Callable[[Any], npt.NDArray[Any]],
        desc: str,
        read: Callable[[slice], Any] | None = None,
    ) -> npt.NDArray[Any]:
        """Call for each batch of rows, or of what `read` returns for them; see `map_chunks`."""
        verbose = bool(self.verbose)
        with torch.no_grad():
            return map_chunks(n_rows, self.batch_size, call, read=read, desc=desc, verbose=verbose)

    def _source(self, X: Any) -> ImageSource:
        """Return images to read; those of a method that calls another are checked once."""
        return X if isinstance(X, ImageSource) else ImageSource(X, self.image_size)

    def _as_embeddings(self, output: Any, rows: Rows) -> Array:
        E = _as_numpy(output, np.float32)
        if E.ndim != 2 or len(E) != len(rows):
            raise ValueError(
                f"The encoder turned {len(rows)} images into an array of shape "
                f"{E.shape}: expected (n_images, n_features)."
            )
        # The sum is quicker, and is finite only if all values are.
        with np.errstate(invalid="ignore", over="ignore"):
            total = E.sum()
        if not np.isfinite(total):
            self._require_finite(np.isfinite(E).all(axis=1), rows, "encoder")
        return E

    def _as_pixels(self, output: Any, rows: slice) -> Pixels:
        images = output if isinstance(output, Tensor) else torch.as_tensor(_writable(output))
        if images.ndim != 4 or len(images) != rows.stop - rows.start or images.shape[-1] != 3:
            raise ValueError(
                f"The decoder turned {rows.stop - rows.start} embeddings into an array of shape "
                f"{tuple(images.shape)}: expected (n, height, width, 3)."
            )
        if images.dtype != torch.uint8:
            if not images.is_floating_point():
                raise TypeError(
                    f"The decoder returned images of {images.dtype}: expected uint8 from 0 to "
                    "255, or floats from 0 to 1."
                )
            if not images.sum().isfinite():  # as in _as_embeddings
                finite = images.isfinite().flatten(1).all(dim=1)
                numbers = range(rows.start, rows.stop)
                self._require_finite(finite.cpu().numpy(), numbers, "decoder")
            images = images.mul(255).round_().clamp_(0, 255).to(torch.uint8)
        pixels: Pixels = images.contiguous().cpu().numpy()
        return pixels

    def _require_finite(self, finite: npt.NDArray[np.bool_], rows: Rows, name: str) -> None:
        if not finite.all():
            raise ValueError(
                f"The {name} returned NaN or infinity, first for row "
                f"{rows[int(np.argmin(finite))]}.{self._remedy_for_nan}"
            )

    def _check(self) -> None:
        """Raise an error if a parameter is not valid."""
        self._validate_params()

    def _require_decoder(self) -> None:
        """Raise AttributeError if this encoder cannot decode."""
        if type(self).decode_batch is ImageEncoder.decode_batch:
            raise AttributeError(
                f"{type(self).__name__} has no inverse_transform, because it does not define "
                "decode_batch."
            )

    @property
    @neutral_torch_state()
    def _n_features_out(self) -> int:
        """Width of the embeddings, found by encoding one black image."""
        if self.image_size is None:
            raise ValueError(
                f"The width of the embeddings of {type(self).__name__} is not known, because it "
                "has no image_size: set it in the class or in its constructor."
            )
        black = np.zeros((1, self.image_size, self.image_size, 3), dtype=np.uint8)
        return int(self._as_embeddings(self.encode_batch(black), range(1)).shape[1])

    def _learns(self) -> bool:
        return type(self).fit is not ImageEncoder.fit

    def __sklearn_is_fitted__(self) -> bool:
        """Return whether nothing is left to fit."""
        return not self._learns() or any(
            name.endswith("_") and not name.startswith("_") for name in vars(self)
        )

    def __sklearn_tags__(self) -> Any:
        """Declare that X is images, and whether a fit is needed."""
        tags = super().__sklearn_tags__()
        tags.requires_fit = self._learns()
        tags.input_tags.two_d_array = False
        tags.input_tags.three_d_array = True
        tags.transformer_tags.preserves_dtype = []
        return tags


def _as_numpy(output: Any, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    if isinstance(output, Tensor):
        output = output.detach().to(torch.float32).cpu()
    return np.asarray(output, dtype=dtype)


def _writable(output: Any) -> npt.NDArray[Any]:
    return np.require(output, requirements=["C_CONTIGUOUS", "WRITEABLE"])
