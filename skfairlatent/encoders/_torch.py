"""Any pair of trained torch modules as an encoder of images."""

__all__ = ["TorchEncoder"]

import copy
from collections.abc import Callable, Mapping
from numbers import Integral
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
import torch
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils._param_validation import Interval, InvalidParameterError
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_array
from torch import Tensor

from skfairlatent._device import neutral_torch_state, resolve_device
from skfairlatent.encoders._borrowing import borrowed, digest_of, name_of
from skfairlatent.encoders._chunks import is_out_of_memory, map_chunks
from skfairlatent.encoders._images import ImageSource
from skfairlatent.encoders._tensors import ValueRange, as_embeddings, as_tensor

TorchCallable = Callable[[Tensor], Tensor]

# How networks say that images are of a size that they were not made for.
_MISFITS = (AssertionError, IndexError, RuntimeError, ValueError)


def _can_decode(self: "TorchEncoder") -> bool:
    if self.decoder is None:
        raise AttributeError(
            "This TorchEncoder has no inverse_transform, because decoder=None: give a module that "
            "turns embeddings of shape (n, d) into images of shape (n, 3, height, width)."
        )
    return True


class _Name(str):
    """Text that is shown without quotes, in place of what it names."""

    __slots__ = ()
    __repr__ = str.__str__


class TorchEncoder(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Images to embeddings and back by trained torch modules: a VAE, a GAN with its inverter.

    The modules are trained already, and `fit` leaves them as they are; clones share them. For
    the time of a call they are put into evaluation mode and on `device`, and afterwards back to
    how they were, so do not call while they are being trained. Of threads that call at once, one
    after the other has them.

    Parameters
    ----------
    encoder : Module or callable
        Turns images, float32 of shape (n, 3, image_size, image_size) in `value_range`, into
        embeddings of shape (n, d). It should give the same result every time: of a VAE, take the
        mean and do not draw, as in ``lambda x: vae.encode(x).mean``. A function may refer to
        modules by name, as here; those hidden deeper, as in an attribute of another object, have
        to be in evaluation mode and on `device` already.

    decoder : Module or callable, optional
        Turns embeddings, float32 of shape (n, d), into images of shape (n, 3, height, width) in
        `value_range`. Without it there is no `inverse_transform`.

    image_size : int
        Height and width in pixels that the encoder takes; other images are resized.

    value_range : tuple of 2 float, default=(-1.0, 1.0)
        What black (0) and white (255) are to the modules; ``(0, 1)`` is the other usual choice.

    batch_size : int, default=64
        Images at a time. Halved when memory runs out.

    device : str or torch.device, default="auto"
        Where to compute: ``"auto"`` takes CUDA, then MPS, then the CPU.

    verbose : bool, default=False
        Show a progress bar.

    See Also
    --------
    PixelFlattener : For encoders made of scikit-learn's parts, such as PCA.

    Notes
    -----
    Modules in half or double precision are given images of that precision; what comes out is
    float32 either way. Autocast around a call is off in it: put it into the function, if it is
    wanted. Pickling needs modules that can be pickled, which functions in place
    (lambdas) cannot.

    Examples
    --------
    >>> import numpy as np
    >>> from torch import nn
    >>> from skfairlatent.encoders import TorchEncoder
    >>> faces = np.random.default_rng(0).integers(256, size=(10, 8, 8, 3), dtype=np.uint8)
    >>> encode = nn.Sequential(nn.Flatten(), nn.Linear(192, 4))
    >>> decode = nn.Sequential(nn.Linear(4, 192), nn.Unflatten(1, (3, 8, 8)))
    >>> encoder = TorchEncoder(encode, decode, image_size=8, device="cpu")
    >>> E = encoder.transform(faces)
    >>> E.shape, encoder.inverse_transform(E).shape
    ((10, 4), (10, 8, 8, 3))
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "encoder": [callable],
        "decoder": [callable, None],
        "image_size": [Interval(Integral, 1, None, closed="left")],
        "value_range": [tuple, list],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "device": [str, torch.device],
        "verbose": ["verbose"],
    }

    # The same weights can be used otherwise: codes of made-up images are compared as well.
    _tells_weights_only = True

    def __init__(
        self,
        encoder: TorchCallable,
        decoder: TorchCallable | None = None,
        *,
        image_size: int,
        value_range: tuple[float, float] = (-1.0, 1.0),
        batch_size: int = 64,
        device: str | torch.device = "auto",
        verbose: bool = False,
    ) -> None:
        self.encoder = encoder
        self.decoder = decoder
        self.image_size = image_size
        self.value_range = value_range
        self.batch_size = batch_size
        self.device = device
        self.verbose = verbose

    def fit(self, X: Any = None, y: Any = None) -> Self:  # noqa: ARG002 - scikit-learn's signature
        """Check the parameters; the modules are trained already.

        Parameters
        ----------
        X, y : Ignored
            Here for scikit-learn's sake.

        Returns
        -------
        TorchEncoder
            This object, unchanged.
        """
        self._check()
        return self

    @neutral_torch_state()
    def transform(self, X: Any) -> npt.NDArray[np.float32]:
        """Encode images.

        Parameters
        ----------
        X : array-like of shape (n_samples, height, width, 3), or list of images or of paths
            uint8 from 0 to 255, float from 0 to 1, PIL images, or files.

        Returns
        -------
        ndarray of shape (n_samples, n_features), float32

        Raises
        ------
        RuntimeError
            If the encoder fails on images of this size.
        ValueError
            If the encoder returns anything but finite numbers of shape (n_samples, n_features).
        """
        self._check()
        source = ImageSource(X, self.image_size)
        return self._encode(len(source), source.read, verbose=bool(self.verbose))

    @available_if(_can_decode)  # type: ignore[untyped-decorator]
    @neutral_torch_state()
    def inverse_transform(self, X: Any) -> npt.NDArray[np.uint8]:
        """Decode embeddings.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Embeddings.

        Returns
        -------
        ndarray of shape (n_samples, height, width, 3), uint8
            Images, RGB. Values of the decoder outside `value_range` are clipped.

        Raises
        ------
        ValueError
            If X holds NaN or has another width than `transform` returns, or if the decoder
            returns anything but finite numbers of shape (n_samples, 3, height, width).
        """
        self._check()
        E: npt.NDArray[np.float32] = check_array(X, dtype=np.float32, input_name="X")
        width = self._n_features_out
        if E.shape[1] != width:
            raise ValueError(
                f"X has {E.shape[1]} features, but the encoder makes {width}: pass what transform "
                "returned, or rows of that width."
            )
        values = ValueRange(*self.value_range)
        decoder: Any = self.decoder  # not None: see _can_decode
        with borrowed(decoder, resolve_device(self.device)) as place:
            return map_chunks(
                len(E),
                self.batch_size,
                lambda rows: values.to_pixels(decoder(as_tensor(E[rows], place)), rows),
                desc="decoding",
                verbose=bool(self.verbose),
            )

    def fingerprint(self) -> str:
        """Tell these weights and their use from others.

        Returns
        -------
        str
            The same on every machine and device, and for a copy. Of a function, its name and
            the weights of the modules that it refers to by name.
        """
        use = f"{type(self).__name__}: {self.image_size} {tuple(map(float, self.value_range))}"
        return f"{use} {digest_of(self.encoder)} {digest_of(self.decoder)}"

    def _encode(
        self, n_rows: int, read: Callable[[slice], npt.NDArray[np.uint8]], *, verbose: bool = False
    ) -> npt.NDArray[np.float32]:
        values = ValueRange(*self.value_range)
        with borrowed(self.encoder, resolve_device(self.device)) as place:

            def encode(chunk: tuple[slice, npt.NDArray[np.uint8]]) -> npt.NDArray[np.float32]:
                rows, pixels = chunk
                return as_embeddings(self._embed(values.to_tensor(pixels, place)), rows)

            return map_chunks(
                n_rows,
                self.batch_size,
                encode,
                read=lambda rows: (rows, read(rows)),
                desc="encoding",
                verbose=verbose,
            )

    def _embed(self, images: Tensor) -> Tensor:
        try:
            return self.encoder(images)
        except _MISFITS as error:
            if is_out_of_memory(error):
                raise
            raise RuntimeError(
                f"encoder ({name_of(self.encoder)}) failed on images of shape "
                f"{tuple(images.shape)} ({type(error).__name__}: {error}): check that "
                f"image_size={self.image_size} is the size that it was trained with."
            ) from error

    def _check(self) -> None:
        for name in ("encoder", "decoder"):
            given = getattr(self, name)
            if isinstance(given, type):
                raise TypeError(
                    f"{name}={given.__name__} is a class: pass a trained instance of it."
                )
            # scikit-learn would write out all the weights of a state dict.
            if isinstance(given, Mapping):
                raise InvalidParameterError(
                    f"The {name!r} parameter of TorchEncoder is of type "
                    f"{type(given).__name__}: pass a trained module, or another callable. A state "
                    "dict is weights alone: put them into a module by its load_state_dict."
                )
        self._validate_params()
        ValueRange.check(self.value_range)

    @property
    @neutral_torch_state()
    def _n_features_out(self) -> int:
        """Width of the embeddings, found by encoding one black image."""
        black = np.zeros((1, self.image_size, self.image_size, 3), dtype=np.uint8)
        return int(self._encode(1, lambda rows: black[rows]).shape[1])

    def __repr__(self, N_CHAR_MAX: int = 700) -> str:
        """Name the modules: all their layers would hide the rest, in error messages too."""
        bare: Any = copy.copy(self)
        bare.encoder = _Name(name_of(self.encoder))
        bare.decoder = None if self.decoder is None else _Name(name_of(self.decoder))
        return str(super(TorchEncoder, bare).__repr__(N_CHAR_MAX))

    def __sklearn_clone__(self) -> Self:
        """Return a twin with the same modules: they are trained already, and stay so."""
        bare: Any = copy.copy(self)
        bare.encoder = bare.decoder = None
        twin: Self = super(TorchEncoder, bare).__sklearn_clone__()
        twin.encoder, twin.decoder = self.encoder, self.decoder
        return twin

    def __sklearn_is_fitted__(self) -> bool:
        """Tell ``check_is_fitted`` that nothing is left to fit."""
        return True

    def __sklearn_tags__(self) -> Any:
        """Declare that X is images and that no fit is needed."""
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        tags.input_tags.two_d_array = False
        tags.transformer_tags.preserves_dtype = []
        return tags
