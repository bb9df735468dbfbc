"""Any pair of trained torch modules as an encoder of images."""

__all__ = ["TorchEncoder"]

import copy
import math
from collections.abc import Callable, Mapping
from numbers import Integral, Real
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
import numpy.typing as npt
import torch
from sklearn.utils._param_validation import Interval, InvalidParameterError
from torch import Tensor

from skfairlatent._device import resolve_device
from skfairlatent.encoders._base import Array, ImageEncoder, Pixels
from skfairlatent.encoders._chunks import is_out_of_memory
from skfairlatent.encoders._images import ImageSource
from skfairlatent.encoders._torch_modules import Place, borrowed, digest_of, name_of

TorchCallable = Callable[[Tensor], Tensor]

# How networks say that images are of a size that they were not made for.
_MISFITS = (AssertionError, IndexError, RuntimeError, ValueError)
# An example of how to bring the output of each to its shape.
_RESHAPE = {"encoder": "flatten(1)", "decoder": "permute(0, 3, 1, 2)"}


class _Name(str):
    """Text that is shown without quotes, in place of what it names."""

    __slots__ = ()
    __repr__ = str.__str__


class TorchEncoder(ImageEncoder):
    """Encode and decode images with trained torch modules, such as a VAE or an inverted GAN.

    The modules are already trained: `fit` does not change them, and clones share them. Each call
    moves them to `device` in evaluation mode and restores them afterwards, so do not call the
    encoder while they are being trained. Threads that call at the same time wait for one another.

    Parameters
    ----------
    encoder : Module or callable
        Turns images, float32 of shape (n, 3, image_size, image_size) in `value_range`, into
        embeddings of shape (n, d). It should be deterministic: for a VAE, use the mean, as in
        ``lambda x: vae.encode(x).mean``. A function may refer to modules by name, as here; modules
        that it reaches in other ways, such as attributes of an object, must already be in
        evaluation mode and on `device`.

    decoder : Module or callable, optional
        Turns embeddings, float32 of shape (n, d), into images of shape (n, 3, height, width) in
        `value_range`. Without it there is no `inverse_transform`.

    image_size : int
        Height and width in pixels that the encoder takes; other images are resized.

    value_range : tuple of 2 float, default=(-1.0, 1.0)
        Values of black (0) and white (255) in the input and output of the modules; ``(0, 1)`` is
        the other common choice.

    batch_size : int, default=64
        Number of images at a time; halved when memory runs out.

    device : str or torch.device, default="auto"
        Device to compute on. ``"auto"`` uses CUDA if available, then MPS, then the CPU.

    verbose : bool, default=False
        Whether to show a progress bar.

    See Also
    --------
    PixelFlattener : For encoders made of scikit-learn transformers, such as PCA.

    Notes
    -----
    Modules in half or double precision receive images of that precision; embeddings are always
    float32. Autocast is switched off during a call: to use it, enable it inside the function. To
    pickle the encoder, the modules must be picklable, which lambdas are not.

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
        **ImageEncoder._parameter_constraints,
        "encoder": [callable],
        "decoder": [callable, None],
        "image_size": [Interval(Integral, 1, None, closed="left")],
        "value_range": [tuple, list],
    }
    _remedy_for_nan = (
        " Check that value_range is the one it was trained with; if its weights are in half "
        "precision, try model.float()."
    )

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

    def encode_batch(self, images: Pixels) -> Tensor:
        """Encode some images.

        Parameters
        ----------
        images : ndarray of shape (n, image_size, image_size, 3), uint8

        Returns
        -------
        Tensor of shape (n, n_features)

        Raises
        ------
        RuntimeError
            If the encoder fails on images of this size.
        TypeError, ValueError
            If it returns anything but a tensor of this shape.
        """
        values = ValueRange(*self.value_range)
        with borrowed(self.encoder, resolve_device(self.device)) as place:
            embeddings = self._embed(values.to_tensor(images, place))
        return checked(embeddings, len(images), "encoder", ("n", "n_features"))

    def decode_batch(self, embeddings: Array) -> Tensor:
        """Decode some embeddings.

        Parameters
        ----------
        embeddings : ndarray of shape (n, n_features), float32

        Returns
        -------
        Tensor of shape (n, height, width, 3), float32
            From 0 to 1.

        Raises
        ------
        TypeError, ValueError
            If the decoder returns anything but a tensor of shape (n, 3, height, width).
        """
        decoder: Any = self.decoder  # not None: see _require_decoder
        with borrowed(decoder, resolve_device(self.device)) as place:
            images = decoder(as_tensor(embeddings, place))
        shape = ("n", "3", "height", "width")
        return ValueRange(*self.value_range).to_shares(
            checked(images, len(embeddings), "decoder", shape)
        )

    def fingerprint(self) -> str:
        """Tell these weights and their use from others.

        Returns
        -------
        str
            The same on every machine and device, and for a copy. For a function, its name and
            the weights of the modules that it refers to by name.
        """
        use = f"{type(self).__name__}: {self.image_size} {tuple(map(float, self.value_range))}"
        return f"{use} {digest_of(self.encoder)} {digest_of(self.decoder)}"

    def _encode(self, source: ImageSource) -> Array:
        with borrowed(self.encoder, resolve_device(self.device)):  # once for all batches
            return super()._encode(source)

    def _decode(self, embeddings: Array) -> Pixels:
        decoder: Any = self.decoder
        with borrowed(decoder, resolve_device(self.device)):
            return super()._decode(embeddings)

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
        super()._check()
        ValueRange.check(self.value_range)

    def _require_decoder(self) -> None:
        if self.decoder is None:
            raise AttributeError(
                "This TorchEncoder has no inverse_transform, because decoder=None: give a module "
                "that turns embeddings of shape (n, d) into images of shape (n, 3, height, width)."
            )

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


class ValueRange(NamedTuple):
    """The values of black (0) and white (255) for a network."""

    black: float
    white: float

    @staticmethod
    def check(given: Any) -> None:
        """Raise ValueError unless given two finite numbers, the smaller one first."""
        numbers = len(given) == 2 and all(isinstance(value, Real) for value in given)
        if not (numbers and all(map(math.isfinite, given)) and given[0] < given[1]):
            raise ValueError(
                f"value_range={given!r} is not a valid range: pass what black and white are "
                "to the modules, as (-1.0, 1.0) or (0.0, 1.0)."
            )

    def to_tensor(self, pixels: npt.NDArray[np.uint8], place: Place) -> Tensor:
        """Turn pixels of shape (n, height, width, 3) into a tensor (n, 3, height, width)."""
        levels = as_tensor(pixels, Place(place.device, torch.uint8)).permute(0, 3, 1, 2)
        # Contiguous: networks flatten with view, which refuses a permuted tensor.
        images = levels.to(torch.float32, memory_format=torch.contiguous_format)
        return images.mul_((self.white - self.black) / 255).add_(self.black).to(place.dtype)

    def to_shares(self, images: Tensor) -> Tensor:
        """Turn (n, 3, height, width) into (n, height, width, 3), from 0 (black) to 1 (white)."""
        shares = images.sub(self.black).div_(self.white - self.black)
        return shares.permute(0, 2, 3, 1)


def as_tensor(values: npt.NDArray[Any], place: Place) -> Tensor:
    """Return a tensor; of an array that must not be written to, as of a file, a copy."""
    writable = np.require(values, requirements=["C_CONTIGUOUS", "WRITEABLE"])
    return torch.from_numpy(writable).to(place.device, place.dtype)


def checked(output: Any, n_rows: int, name: str, axes: tuple[str, ...]) -> Tensor:
    """Return in float32 what a callable returned, or say what is wrong with it."""
    expected = f"({', '.join(axes)})"
    if not isinstance(output, Tensor):
        raise TypeError(
            f"{name} returned {type(output).__name__}: expected a tensor of shape {expected}. "
            f"Pass a function that takes the part wanted, as {name}=lambda x: model(x)[0]."
        )
    fixed = [n_rows, *(int(axis) if axis.isdecimal() else None for axis in axes[1:])]
    shape = tuple(output.shape)
    fits = len(shape) == len(fixed) and all(
        want in (None, size) for want, size in zip(fixed, shape, strict=True)
    )
    if not fits:
        raise ValueError(
            f"{name} turned n = {n_rows} rows into a tensor of shape {shape}: expected "
            f"{expected}. Pass a function that brings it to this shape, as {name}=lambda x: "
            f"model(x).{_RESHAPE[name]}."
        )
    return output.to(torch.float32)
