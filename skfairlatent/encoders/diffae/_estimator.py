"""The diffusion autoencoder as a scikit-learn transformer."""

__all__ = ["DiffAEEncoder"]

import math
import os
from numbers import Integral, Real
from typing import Any, ClassVar, Self

import numpy as np
import torch
from sklearn.utils import check_scalar
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from skfairlatent._device import neutral_torch_state, resolve_device
from skfairlatent.encoders._base import Array, ImageEncoder, Pixels
from skfairlatent.encoders._images import ImageSource
from skfairlatent.encoders.diffae._codec import PRECISIONS, Codec
from skfairlatent.encoders.diffae._config import DiffAEConfig
from skfairlatent.encoders.diffae._model import Model, load_model
from skfairlatent.encoders.diffae._solvers.registry import SOLVERS, Solver, make_solver
from skfairlatent.encoders.diffae._training.fit import fit_network
from skfairlatent.encoders.diffae._training.options import DiffAETraining


class DiffAEEncoder(ImageEncoder):
    r"""Images to the semantic codes of a diffusion autoencoder, and back.

    The semantic encoder gives each image a code, ``z_sem``; a diffusion model decodes it, starting
    from noise ``x_T``. The noise holds the details that the code leaves out: `invert` recovers it
    from an image, for faithful reconstructions and edits. Random noise gives another image with
    the same code.

    Parameters
    ----------
    weights : str, path-like or None, default="faces64"
        Weights to use:

        - ``"faces64"``: the model for faces of 64 x 64 pixels that ships with the package; its
          model card in the user guide describes its limits.
        - ``"faces64_unsupervised"``: the same model trained without labels. Its codes hold less
          information on attributes, and edits of them show better in images.
        - The name of an official model (a key of ``OFFICIAL_CONFIGS``), read from the cache folder
          or downloaded from a mirror.
        - A path: a checkpoint of the official code (``last.ckpt``, with averaged weights), a state
          dict, or a safetensors file.
        - None: `fit` trains the weights.

    config : DiffAEConfig or None, default=None
        Sizes of the network. Needed for training, and for weights without settings.

    statistics : path-like or None, default=None
        ``latent.pkl`` or ``latent.ckpt`` of an official model, which `sample` draws from.

    solver : {"auto", "dpmsolver++", "ddim"}, default="auto"
        Solver of the differential equation from noise to images. ``"dpmsolver++"`` has second
        order (Lu et al., 2022) and is closer to the solution in ten steps than ``"ddim"``, the
        solver of the official code, in fifty. ``"auto"`` uses ``"ddim"`` for checkpoints of the
        official code, to reproduce its results, and ``"dpmsolver++"`` for weights trained or
        written by this package.

    n_steps : int or None, default=None
        Number of steps of decoding and of inversion, from 2 to 1,000; time is proportional to it.
        None means 10 for ``"dpmsolver++"`` and 50 for ``"ddim"``. Decode with the solver and the
        number of steps that the noise was found with.

    chunk_size : int, default=64
        Number of images on the device at a time; halved when memory runs out.

    precision : {"auto", "float32", "float16", "bfloat16"}, default="auto"
        Precision of the network. ``"auto"`` uses half precision (float16 on CUDA, bfloat16 on a
        CPU) if the hardware supports it natively and codes and predicted noise change by at most
        1 %.

    cache_dir : path-like or None, default=None
        Directory for the codes of images, keyed by the content of the image and of the weights, so
        that the folds and workers of a grid search encode each image once. It holds codes and
        digests, no images.

    training : DiffAETraining or None, default=None
        Settings of `fit`; None means the defaults.

    device : str or torch.device, default="auto"
        Device to compute on. ``"auto"`` uses CUDA if available, then MPS, then the CPU.

    verbose : bool, default=False
        Whether to show progress bars.

    random_state : int, default=0
        Seed of training, of `sample`, and of the noise that `inverse_transform` starts from by
        default, so that the same code gives the same image.

    Attributes
    ----------
    model_ : skfairlatent.encoders.diffae.Model
        The trained model. Only with ``weights=None``.

    history_ : DataFrame
        Losses of each step. Only with ``weights=None``.

    See Also
    --------
    TorchEncoder : Any encoder and decoder written in torch.

    References
    ----------
    K. Preechakul, N. Chatthee, S. Wizadwongsa, S. Suwajanakorn, "Diffusion Autoencoders: Toward a
    Meaningful and Decodable Representation", CVPR 2022, arXiv:2111.15640.

    C. Lu, Y. Zhou, F. Bao, J. Chen, C. Li, J. Zhu, "DPM-Solver++: Fast Solver for Guided Sampling
    of Diffusion Probabilistic Models", 2022, arXiv:2211.01095.

    Examples
    --------
    >>> from skfairlatent.encoders import DiffAEEncoder
    >>> encoder = DiffAEEncoder(n_steps=2)
    >>> images = encoder.sample(2)
    >>> images.shape, images.dtype
    ((2, 64, 64, 3), dtype('uint8'))
    >>> encoder.transform(images).shape
    (2, 512)
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **ImageEncoder._parameter_constraints,
        "weights": [str, os.PathLike, None],
        "config": [DiffAEConfig, None],
        "statistics": [str, os.PathLike, None],
        "solver": [StrOptions({"auto", *SOLVERS})],
        "n_steps": [Interval(Integral, 2, None, closed="left"), None],
        "chunk_size": [Interval(Integral, 1, None, closed="left")],
        "precision": [StrOptions(set(PRECISIONS))],
        "cache_dir": [str, os.PathLike, None],
        "training": [DiffAETraining, None],
        "random_state": [Interval(Integral, 0, None, closed="left")],
    }

    def __init__(  # noqa: PLR0913 - an estimator is configured by its constructor
        self,
        weights: str | os.PathLike[str] | None = "faces64",
        *,
        config: DiffAEConfig | None = None,
        statistics: str | os.PathLike[str] | None = None,
        solver: str = "auto",
        n_steps: int | None = None,
        chunk_size: int = 64,
        precision: str = "auto",
        cache_dir: str | os.PathLike[str] | None = None,
        training: DiffAETraining | None = None,
        device: str | torch.device = "auto",
        verbose: bool | int = False,
        random_state: int = 0,
    ) -> None:
        self.weights = weights
        self.config = config
        self.statistics = statistics
        self.solver = solver
        self.n_steps = n_steps
        self.chunk_size = chunk_size
        self.precision = precision
        self.cache_dir = cache_dir
        self.training = training
        self.device = device
        self.verbose = verbose
        self.random_state = random_state

    @neutral_torch_state()
    def fit(self, X: Any, y: Any = None) -> Self:  # type: ignore[override] # it needs X
        """Train a diffusion autoencoder on images, if ``weights=None``.

        Otherwise the images are only checked, so that a pipeline does not change a pretrained
        encoder.

        Parameters
        ----------
        X : images
            Images, in any form that `transform` accepts.

        y : array-like of shape (n_samples,) or (n_samples, n_labels), default=None
            Labels, numbers or strings, with any number of classes. Only used if
            ``training.label_weight`` is positive.

        Returns
        -------
        self : DiffAEEncoder
            The fitted encoder.

        Raises
        ------
        ValueError
            If images cannot be read or have the wrong size, or labels are missing; raised before
            training starts.
        TypeError
            If ``training.initial_weights`` holds the semantic encoder only.
        CheckpointError
            If ``training.initial_weights`` is damaged or does not have the sizes of `config`.
        TrainingDivergedError
            If the loss is still not finite at a lower learning rate.

        Warns
        -----
        FairLatentWarning
            If the code is wider than the last level of the semantic encoder.
        """
        self._validate_params()
        if self.weights is not None:
            self._source(X)
            return self
        training = self.training or DiffAETraining()
        config = self.config or DiffAEConfig()
        start: DiffAEConfig | Model = config
        if training.initial_weights is not None:
            start = load_model(training.initial_weights, self.config, None)
            config = start.config
        self.model_, self.history_ = fit_network(
            ImageSource(X, config.image_size),
            y,
            start,
            training,
            resolve_device(self.device),
            seed=self.random_state,
            verbose=bool(self.verbose),
        )
        return self

    def encode_batch(self, images: Pixels) -> Array:
        """Encode images to semantic codes of shape (n, d), float32."""
        return self._codec().encode(images)

    def decode_batch(self, embeddings: Array) -> Pixels:
        """Decode codes from the noise given by `random_state`."""
        return self.inverse_transform(embeddings)

    @property
    def image_size(self) -> int:  # type: ignore[override]
        """Height and width in pixels of the images of the model."""
        return self._model().config.image_size

    @property
    def batch_size(self) -> int:  # type: ignore[override]
        """Number of images on the device at a time: `chunk_size`."""
        return self.chunk_size

    def _encode(self, source: ImageSource) -> Array:
        codec = self._codec()  # once for all batches

        def key() -> str:  # precisions differ by up to 1 %: each has codes of its own
            return f"{self.fingerprint()}:{codec.precision}"

        return self._encoded(source, codec.encode, source.read, key)

    @neutral_torch_state()
    def inverse_transform(self, X: Any, *, x_T: Any = None) -> Pixels:
        """Decode codes to images.

        Parameters
        ----------
        X : array-like of shape (n_samples, d)
            Semantic codes.

        x_T : array-like of shape (n_samples, size, size, 3) or (1, size, size, 3), default=None
            Noise to start from, as returned by `invert` with the same `solver` and `n_steps`; a
            single array is used for all codes. None draws it with `random_state`.

        Returns
        -------
        ndarray of shape (n_samples, size, size, 3), uint8
            Images.

        Raises
        ------
        TypeError
            If the weights hold the semantic encoder only.
        ValueError
            If a shape does not match the model, or a value is not finite.
        """
        model, codec = self._model(), self._codec()
        model.require_decoder()
        solver, codes = self._solver(model), model.check_codes(X)
        noise = self._noise(len(codes)) if x_T is None else model.check_noise(x_T, len(codes))
        return self._map(
            len(codes), lambda rows: codec.decode(codes[rows], noise[rows], solver), "decoding"
        )

    @neutral_torch_state()
    def invert(self, X: Any, codes: Any = None) -> Array:
        """Find the noise ``x_T`` that decodes to the given images.

        Parameters
        ----------
        X : images
            Images, in any form that `transform` accepts.

        codes : array-like of shape (n_samples, d), default=None
            Semantic codes of the images; computed if not given.

        Returns
        -------
        ndarray of shape (n_samples, size, size, 3), float32
            Noise to pass to `inverse_transform` with these codes or with edited ones.
        """
        model, codec = self._model(), self._codec()
        model.require_decoder()
        source, solver = self._source(X), self._solver(model)
        given = self.transform(source) if codes is None else model.check_codes(codes)
        if len(given) != len(source):
            raise ValueError(
                f"got {len(source)} images and {len(given)} codes: pass one code for each image."
            )
        return self._map(
            len(source),
            lambda rows: codec.invert(source.read(rows), given[rows], solver),
            "inverting",
        )

    @neutral_torch_state()
    def reconstruct(self, X: Any) -> Pixels:
        """Encode, invert and decode images, to see what the model preserves.

        Parameters
        ----------
        X : images
            Images, in any form that `transform` accepts.

        Returns
        -------
        ndarray of shape (n_samples, size, size, 3), uint8
            Reconstructed images.
        """
        source = self._source(X)
        codes = self.transform(source)
        return self.inverse_transform(codes, x_T=self.invert(source, codes))

    @neutral_torch_state()
    def sample(
        self, n_samples: int = 1, *, temperature: float = 1.0, random_state: int | None = None
    ) -> Pixels:
        """Generate images by decoding codes drawn from a normal distribution.

        Parameters
        ----------
        n_samples : int, default=1
            Number of images.

        temperature : float, default=1.0
            Factor of codes and noise. Values below 1 give images with fewer flaws that are closer
            to the average.

        random_state : int or None, default=None
            Seed; None uses that of the encoder.

        Returns
        -------
        ndarray of shape (n_samples, size, size, 3), uint8
            Generated images, which show no real person.

        Raises
        ------
        TypeError
            If the weights hold the semantic encoder only.
        ValueError
            If the weights have no statistics of codes, or a parameter is out of range.
        """
        check_scalar(n_samples, "n_samples", Integral, min_val=1)
        check_scalar(temperature, "temperature", Real, min_val=0)
        if not math.isfinite(temperature):
            raise ValueError(f"{temperature=}: expected a finite number, 0 or more.")
        if random_state is not None:
            check_scalar(random_state, "random_state", Integral, min_val=0)
        self._model().require_decoder()
        seed = self.random_state if random_state is None else random_state
        statistics = self._model().require_statistics(self.weights)
        codes = statistics.sample(n_samples, np.random.default_rng(seed), temperature)
        return self.inverse_transform(codes, x_T=temperature * self._noise(n_samples, seed))

    @neutral_torch_state()
    def save_weights(
        self,
        path: str | os.PathLike[str],
        *,
        encoder_only: bool = False,
        half: bool = False,
    ) -> None:
        """Save the weights as a safetensors file, which `weights` accepts.

        Parameters
        ----------
        path : path-like
            File to write; an existing file is replaced once the new one is complete.

        encoder_only : bool, default=False
            Whether to save the semantic encoder only, which is enough for `transform` and takes a
            fraction of the space.

        half : bool, default=False
            Whether to round the weights to 16 bits.
        """
        if not encoder_only:
            self._model().require_decoder()
        self._model().write(path, encoder_only=encoder_only, half=half)

    @neutral_torch_state()
    def fingerprint(self) -> str:
        """Return an identifier of the weights, independent of the file they came from."""
        return f"DiffAEEncoder:{self._model().fingerprint}"

    def _model(self) -> Model:
        self._validate_params()
        if self.weights is None:
            check_is_fitted(self, "model_")
            return self.model_
        return load_model(self.weights, self.config, self.statistics)

    def _codec(self) -> Codec:
        model = self._model()
        device = resolve_device(self.device)
        return Codec(model.network, model.config.image_size, device, self.precision)

    def _solver(self, model: Model) -> Solver:
        name = self.solver
        if name == "auto":
            name = "dpmsolver++" if model.is_ours else "ddim"
        return make_solver(name, model.config.T, self.n_steps)

    def _noise(self, n_samples: int, seed: int | None = None) -> Array:
        """Draw x_T; that of the first images does not depend on how many there are."""
        size = self.image_size
        generator = np.random.default_rng(self.random_state if seed is None else seed)
        return generator.standard_normal((n_samples, size, size, 3), dtype=np.float32)

    @property
    @neutral_torch_state()
    def _n_features_out(self) -> int:
        return self._model().config.embed_channels

    def _learns(self) -> bool:
        return self.weights is None
