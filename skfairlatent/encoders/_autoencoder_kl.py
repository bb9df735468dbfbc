"""The variational autoencoders of diffusers as encoders that decode."""

__all__ = ["AutoencoderKLEncoder"]

import functools
import os
from numbers import Integral
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
import numpy.typing as npt
import torch
from sklearn.utils import gen_batches
from sklearn.utils._param_validation import Interval
from sklearn.utils.validation import check_array, check_is_fitted
from torch import Tensor, nn

from skfairlatent._device import neutral_torch_state, resolve_device
from skfairlatent._files.hugging_face import (
    CONFIG,
    extra_module,
    find_model,
    json_of,
    last_change,
    load_checked,
)
from skfairlatent._files.tensors import digest_of
from skfairlatent.encoders import _torch_modules
from skfairlatent.encoders._base import Array, ImageEncoder, Pixels
from skfairlatent.encoders._images import ImageSource
from skfairlatent.encoders._torch import ValueRange, as_tensor
from skfairlatent.encoders._torch_modules import borrowed
from skfairlatent.exceptions import CheckpointError

WEIGHTS = "diffusion_pytorch_model"
# Only the autoencoder of a whole image generator is downloaded.
FILES = (CONFIG, f"{WEIGHTS}*.safetensors", f"vae/{CONFIG}", f"vae/{WEIGHTS}*.safetensors")
# The network's values of black and white.
RANGE = ValueRange(-1.0, 1.0)
# Latents of at least so many images are held at a time while the components are fitted.
IMAGES_HELD = 256
# Variation below this share of the first component, or of the mean, is rounding.
SMALLEST_SHARE = 1e-5


class AutoencoderKLEncoder(ImageEncoder):
    r"""Encode and decode images with the autoencoder of a latent diffusion model.

    The variational autoencoder, as most image generators have one, turns an image into a small
    picture of channels, which is too wide for a flow. This encoder takes its whitened principal
    components, and :meth:`invert` gives what they leave out, so that an edit keeps all that was
    not edited.

    Parameters
    ----------
    name_or_path : str or path-like
        A folder written by ``AutoencoderKL.save_pretrained`` of diffusers, or by that of a
        pipeline that has such an autoencoder in ``vae``; or the name of one on the Hugging Face
        hub, which is found in the local cache of the hub.

    image_size : int, default=256
        Height and width in pixels of the images that are encoded and decoded; others are resized.
        A multiple of the factor by which the network makes images smaller, such as 8.

    n_components : int, default=256
        Width of the embeddings, less than the number of images that `fit` is given.

    local_files_only : bool, default=True
        Whether to use local files only. If False, a model that is missing is downloaded.

    batch_size : int, default=8
        Number of images at a time; halved when memory runs out.

    cache_dir : path-like or None, default=None
        Directory for embeddings, keyed by the content of the image and by the fitted encoder.

    device : str or torch.device, default="auto"
        Device to compute on. ``"auto"`` uses CUDA if available, then MPS, then the CPU.

    verbose : bool, default=False
        Whether to show a progress bar.

    Attributes
    ----------
    mean_ : ndarray of shape (n_values,), float32
        Mean latent, of n_values = channels * height * width.

    components_ : ndarray of shape (n_components, n_values), float32
        Orthonormal directions of most variance.

    scale_ : ndarray of shape (n_components,), float32
        Standard deviation along each.

    latent_shape_ : tuple of 3 int
        Channels, height and width of a latent.

    See Also
    --------
    DiffAEEncoder : A diffusion autoencoder, whose embedding is a vector by itself.

    Notes
    -----
    With the mean :math:`h` of the latent distribution, :math:`e = W (h - \mu) / \sigma` is the
    embedding, and :math:`h = \mu + W^T (\sigma e) + r` is decoded, with the residual :math:`r` of
    `invert`, or 0. The components are those of scikit-learn's ``IncrementalPCA``, which holds the
    latents of a few hundred images at a time.

    This class needs diffusers: ``pip install "skfairlatent[vae]"``. Weights are read from
    safetensors files only. Pickles hold the components, and the network is read again from its
    folder.

    Examples
    --------
    >>> from skfairlatent import FairLatentTransformer
    >>> from skfairlatent.encoders import AutoencoderKLEncoder
    >>> encoder = AutoencoderKLEncoder("/models/sd-vae-ft-mse", image_size=256)
    >>> encoder = encoder.fit(images)  # doctest: +SKIP
    >>> fair = FairLatentTransformer(encoder)
    >>> fair.fit(images, y, sensitive_features=s)  # doctest: +SKIP
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **ImageEncoder._parameter_constraints,
        "name_or_path": [str, os.PathLike],
        "image_size": [Interval(Integral, 1, None, closed="left")],
        "n_components": [Interval(Integral, 2, None, closed="left")],
        "local_files_only": ["boolean"],
        "cache_dir": [str, os.PathLike, None],
    }

    def __init__(  # noqa: PLR0913 - an estimator is configured by its constructor
        self,
        name_or_path: str | os.PathLike[str],
        *,
        image_size: int = 256,
        n_components: int = 256,
        local_files_only: bool = True,
        batch_size: int = 8,
        cache_dir: str | os.PathLike[str] | None = None,
        device: str | torch.device = "auto",
        verbose: bool | int = False,
    ) -> None:
        self.name_or_path = name_or_path
        self.image_size = image_size
        self.n_components = n_components
        self.local_files_only = local_files_only
        self.batch_size = batch_size
        self.cache_dir = cache_dir
        self.device = device
        self.verbose = verbose

    @neutral_torch_state()
    def fit(self, X: Any, y: Any = None) -> Self:  # type: ignore[override] # noqa: ARG002 - needs X
        """Find the principal components of the latents of images.

        Parameters
        ----------
        X : images
            Images, in any form that `transform` accepts; more than `n_components` of them.

        y : Ignored
            Present for compatibility with scikit-learn.

        Returns
        -------
        self : AutoencoderKLEncoder
            The fitted encoder.

        Raises
        ------
        ImportError
            If diffusers is not installed.
        FileNotFoundError
            If the model is not on this machine; the message says how to download it.
        CheckpointError
            If the files are damaged, or not those of an ``AutoencoderKL``.
        ValueError
            If there are not more images than components, or fewer values in a latent, or if the
            images are alike, so that they do not vary along so many components.
        """
        from sklearn.decomposition import IncrementalPCA  # noqa: PLC0415 - slow to import

        self._check()
        source = self._source(X)
        first = self._latents(source.read(slice(0, 1)))
        if not self.n_components <= min(len(source) - 1, first[0].numel()):
            raise ValueError(
                f"n_components={self.n_components} needs more images than components, and at "
                f"least as many values in a latent, but there are {len(source)} images and "
                f"{first[0].numel()} values: pass more images, or set a smaller n_components."
            )
        pca = IncrementalPCA(self.n_components)
        held = max(self.n_components, IMAGES_HELD)
        for rows in gen_batches(len(source), held, min_batch_size=self.n_components):
            latents = self._all_latents(source, rows).reshape(rows.stop - rows.start, -1)
            with np.errstate(invalid="ignore"):  # of images that are all alike, see below
                pca.partial_fit(latents)
        self.latent_shape_ = tuple(first.shape[1:])
        self.mean_ = pca.mean_.astype(np.float32)
        self.components_ = pca.components_.astype(np.float32)
        spread = np.sqrt(pca.explained_variance_)
        varied = spread > SMALLEST_SHARE * max(spread[0], np.abs(pca.mean_).max())
        if not varied.all():
            raise ValueError(
                f"The images vary along {varied.sum()} components only, as where many are alike, "
                f"and n_components={self.n_components}: pass more images that differ, or set a "
                "smaller n_components."
            )
        self.scale_ = spread.astype(np.float32)
        self._fitted_with = self._network().digest, self.image_size
        return self

    def encode_batch(self, images: Pixels) -> Array:
        """Encode some images.

        Parameters
        ----------
        images : ndarray of shape (n, image_size, image_size, 3), uint8

        Returns
        -------
        ndarray of shape (n, n_components), float32
        """
        return self._components_of(self._latents(images).numpy())

    def decode_batch(self, embeddings: Array) -> Tensor:
        """Decode some embeddings, without a residual.

        Parameters
        ----------
        embeddings : ndarray of shape (n, n_components), float32

        Returns
        -------
        Tensor of shape (n, image_size, image_size, 3), float32
            From 0 to 1.
        """
        return self._pictures(self._latents_of(embeddings))

    @neutral_torch_state()
    def inverse_transform(self, X: Any, *, x_T: Any = None) -> Pixels:
        """Decode embeddings to images.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_components)
            Embeddings.

        x_T : array-like of shape (n_samples, channels, height, width), default=None
            The part of each image that the components leave out, from `invert`; None stands
            for 0, and details are then those of a mean image. It has the name that the noise
            of a :class:`DiffAEEncoder` has, which also holds what an embedding leaves out.

        Returns
        -------
        ndarray of shape (n_samples, image_size, image_size, 3), uint8
            Images.

        Raises
        ------
        ValueError
            If a shape does not fit, or a value is not finite.
        """
        self._check()
        network = self._fitted_network()
        E = self._embeddings(X)
        kept = None if x_T is None else self._residuals(x_T, len(E))

        def decode(rows: slice) -> Pixels:
            latents = self._latents_of(E[rows])
            if kept is not None:
                latents = latents + kept[rows]
            return self._as_pixels(self._pictures(latents), rows)

        with borrowed(network, resolve_device(self.device)):  # once for all batches
            return self._map(len(E), decode, "decoding")

    @neutral_torch_state()
    def invert(self, X: Any, codes: Any = None) -> Array:
        """Return what the components leave out of the latents of images.

        Parameters
        ----------
        X : images
            Images, in any form that `transform` accepts.

        codes : array-like of shape (n_samples, n_components), default=None
            Embeddings of the images; computed if not given.

        Returns
        -------
        ndarray of shape (n_samples, channels, height, width), float32
            Residuals to pass to `inverse_transform` with these embeddings or with edited ones.
        """
        self._check()
        self._fitted_network()
        source = self._source(X)
        latents = self._all_latents(source, slice(0, len(source)))
        E = self._components_of(latents) if codes is None else self._embeddings(codes)
        if len(E) != len(latents):
            raise ValueError(
                f"got {len(latents)} images and {len(E)} codes: pass one code for each image."
            )
        return latents - self._latents_of(E)

    @neutral_torch_state()
    def fingerprint(self) -> str:
        """Return what tells this encoder from others, wherever its files are."""
        check_is_fitted(self)
        arrays = {"mean": self.mean_, "components": self.components_, "scale": self.scale_}
        fitted = digest_of(str(self.image_size), {k: torch.tensor(v) for k, v in arrays.items()})
        return f"{type(self).__name__}:{self._network().digest}:{fitted[:32]}"

    def _encode(self, source: ImageSource) -> Array:
        with borrowed(self._fitted_network(), resolve_device(self.device)):  # once for all batches
            return self._encoded(source, self.encode_batch, source.read, self.fingerprint)

    def _all_latents(self, source: ImageSource, rows: slice) -> Array:
        """Return the latents of some images, batch by batch."""

        def read(part: slice) -> Pixels:
            return source.read(slice(rows.start + part.start, rows.start + part.stop))

        with borrowed(self._network().module, resolve_device(self.device)):
            return self._map(
                rows.stop - rows.start,
                lambda images: self._latents(images).numpy(),
                "encoding",
                read,
            )

    def _latents(self, images: Pixels) -> Tensor:
        """Return the means of the latent distributions, shape (n, channels, h, w), on the CPU."""
        network = self._network().module
        factor = 2 ** (len(network.config.block_out_channels) - 1)
        if self.image_size % factor:
            nearest = max(1, self.image_size // factor) * factor
            raise ValueError(
                f"image_size={self.image_size} is not a multiple of {factor}, by which this model "
                f"makes images smaller: set image_size={nearest}."
            )
        with borrowed(network, resolve_device(self.device)) as place, torch.no_grad():
            found: Tensor = network.encode(RANGE.to_tensor(images, place)).latent_dist.mean
        return found.float().cpu()

    def _pictures(self, latents: Array) -> Tensor:
        network = self._network().module
        with borrowed(network, resolve_device(self.device)) as place, torch.no_grad():
            found: Tensor = network.decode(as_tensor(latents, place)).sample
        return RANGE.to_shares(found.float())

    def _components_of(self, latents: Array) -> Array:
        rows = latents.reshape(len(latents), -1) - self.mean_
        found: Array = (rows @ self.components_.T) / self.scale_
        return found

    def _latents_of(self, embeddings: Array) -> Array:
        rows = (embeddings * self.scale_) @ self.components_ + self.mean_
        latents: Array = rows.reshape(-1, *self.latent_shape_)
        return latents

    def _embeddings(self, X: Any) -> Array:
        E: Array = check_array(X, dtype=np.float32, input_name="X")
        if E.shape[1] != len(self.scale_):
            raise ValueError(
                f"X has {E.shape[1]} features, but the encoder makes {len(self.scale_)}: pass "
                "what transform returned, or rows of that width."
            )
        return E

    def _residuals(self, x_T: Any, n_rows: int) -> npt.NDArray[np.float32]:
        kept = np.asarray(x_T, dtype=np.float32)
        expected = (n_rows, *self.latent_shape_)
        if kept.shape != expected or not np.isfinite(kept).all():
            raise ValueError(
                f"x_T of shape {kept.shape} is not a valid residual: expected finite numbers of "
                f"shape {expected}, as invert(images) returns them."
            )
        return kept

    def _fitted_network(self) -> Any:
        """Return the network, if it is that of the components."""
        check_is_fitted(self)
        network = self._network()
        if self._fitted_with != (network.digest, self.image_size):
            raise ValueError(
                f"The encoder was fitted with other weights than those of {self.name_or_path}, or "
                f"with another image_size than {self.image_size}: call fit(images) again."
            )
        return network.module

    def _network(self) -> "_Network":
        folder = find_model(
            "name_or_path",
            self.name_or_path,
            "stabilityai/sd-vae-ft-mse",
            files=FILES,
            local_files_only=self.local_files_only,
        )
        folder = folder if not (folder / "vae").is_dir() else folder / "vae"
        return _load(folder.resolve(), last_change(folder))

    @property
    def _n_features_out(self) -> int:
        return len(self.scale_)


class _Network(NamedTuple):
    """An autoencoder, and what tells its weights from others."""

    module: Any
    digest: str


@functools.lru_cache(maxsize=2)
def _load(folder: Path, changed: int) -> _Network:  # noqa: ARG001 - part of the key
    config = json_of(folder / CONFIG)
    kind = config.get("_class_name")
    if kind != "AutoencoderKL":
        found = f"holds {kind!r}" if kind else f"has no {CONFIG} that says what the model is"
        raise CheckpointError(
            f"{folder} {found}: pass a folder as AutoencoderKL.save_pretrained of diffusers "
            "writes it, or one with such a folder 'vae' in it."
        )
    channels = config.get("in_channels", 3), config.get("out_channels", 3)
    if channels != (3, 3):
        raise CheckpointError(
            f"{folder} holds an autoencoder with {channels[0]} channels in and {channels[1]} out: "
            "pass one for images in colour, which have 3."
        )
    diffusers = extra_module("diffusers", "AutoencoderKLEncoder", "vae")
    network: nn.Module = load_checked(
        diffusers, "AutoencoderKL", folder, weights=WEIGHTS, low_cpu_mem_usage=False
    )[0]
    return _Network(network, _torch_modules.digest_of(network))
