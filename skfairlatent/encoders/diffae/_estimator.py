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
from skfairlatent.encoders._cache import EmbeddingCache
from skfairlatent.encoders._images import ImageSource
from skfairlatent.encoders.diffae._codec import PRECISIONS, Codec
from skfairlatent.encoders.diffae._config import DiffAEConfig
from skfairlatent.encoders.diffae._model import Model, load_model
from skfairlatent.encoders.diffae._solvers.choose import SOLVERS, Solver, make_solver
from skfairlatent.encoders.diffae._training.fit import fit_network
from skfairlatent.encoders.diffae._training.options import DiffAETraining


class DiffAEEncoder(ImageEncoder):
    r"""Images to the semantic codes of a diffusion autoencoder, and back.

    The semantic encoder gives each image a code, ``z_sem``; a diffusion model decodes it, starting
    from noise ``x_T``. The noise holds the details that the code leaves out: `invert` recovers
    it from an image, for faithful reconstructions and edits; drawn at random it gives
    another image with the same code.

    Parameters
    ----------
    weights : str, path-like or None, default="faces64"
        ``"faces64"``: the model for faces at 64 x 64 that ships with the package; see
        its model card in the user guide for what it is and is not for.
        ``"faces64_unsupervised"``: the same before it was trained on with labels; its codes tell
        less, and edits of them show better in images. The name of an official
        model (see ``OFFICIAL_CONFIGS``): looked up in the cache folder or downloaded from a
        mirror. A path: a checkpoint of the official code (``last.ckpt``, whose averaged
        weights are taken), a state dict, or a safetensors file. None: no weights; `fit`
        trains them.

    config : DiffAEConfig or None, default=None
        Sizes of the network. Only needed to train, or for weights that do not tell.

    statistics : path-like or None, default=None
        ``latent.pkl`` or ``latent.ckpt`` of an official model, from which `sample` draws.

    solver : {"auto", "dpmsolver++", "ddim"}, default="auto"
        Of the differential equation that leads from noise to images. ``"dpmsolver++"`` is of
        second order (Lu et al., 2022) and in ten steps nearer to the solution than ``"ddim"``,
        that of the official code, in fifty. ``"auto"`` takes ``"ddim"`` for checkpoints of the
        official code, so that results are those of its authors, and ``"dpmsolver++"`` for weights
        that this package has trained or written.

    n_steps : int or None, default=None
        Steps of decoding and of inversion, 2 to 1,000. Time is proportional to it. None takes 10
        of ``"dpmsolver++"`` or 50 of ``"ddim"``. Noise that was found with some steps brings
        images back with as many of the same solver.

    chunk_size : int, default=64
        Images on the device at a time. Halved when memory runs out.

    precision : {"auto", "float32", "float16", "bfloat16"}, default="auto"
        ``"auto"`` takes half precision where the hardware is made for it and it moves codes and
        predicted noise by at most 1 %: float16 on CUDA, bfloat16 on a CPU.

    cache_dir : path-like or None, default=None
        Directory that keeps the codes of images already seen, by the content of the image and of
        the weights, so that a grid search, its folds and its workers encode each image once.
        It holds codes and digests, no images.

    training : DiffAETraining or None, default=None
        Settings of `fit`; None takes their defaults.

    device : str or torch.device, default="auto"
        ``"auto"`` takes CUDA, then MPS, then the CPU.

    verbose : bool, default=False
        Show progress bars.

    random_state : int, default=0
        Seed of training, of `sample`, and of the noise that `inverse_transform` starts from where
        none is given: the same code gives the same image.

    Attributes
    ----------
    model_ : skfairlatent.encoders.diffae.Model
        The trained weights, only after a fit with ``weights=None``.

    history_ : DataFrame
        Losses by step, only after such a fit.

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
        """Train a diffusion autoencoder on images, with ``weights=None``.

        With weights given there is nothing to train: images are checked, and that is all, so that
        a pretrained encoder in a pipeline stays what it is.

        Parameters
        ----------
        X : images
            As for `transform`.

        y : array-like of shape (n_samples,) or (n_samples, n_labels), default=None
            Labels, numbers or strings, of any number of classes. Only used with
            ``training.label_weight``: otherwise the training needs none, and looks at none.

        Returns
        -------
        self : DiffAEEncoder

        Raises
        ------
        ValueError
            For images that cannot be read or do not fit, or labels that are missing, before
            training starts.
        TypeError
            If ``training.initial_weights`` hold the semantic encoder only.
        CheckpointError
            If they are damaged, or of other sizes than `config`.
        TrainingDivergedError
            If the loss stays non-finite at a lower learning rate.

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
        """Return the semantic codes of some images, shape (n, d), float32."""
        return self._codec().encode(images)

    def decode_batch(self, embeddings: Array) -> Pixels:
        """Return the images of some codes, from noise of `random_state`."""
        return self.inverse_transform(embeddings)

    @property
    def image_size(self) -> int:  # type: ignore[override]
        """Height and width in pixels of the images of these weights."""
        return self._model().config.image_size

    @property
    def batch_size(self) -> int:  # type: ignore[override]
        """Images on the device at a time: `chunk_size`."""
        return self.chunk_size

    def _encode(self, source: ImageSource) -> Array:
        codec = self._codec()
        if self.cache_dir is None:
            return self._map(len(source), codec.encode, "encoding", source.read)
        # Precisions differ by up to 1 %: each has codes of its own.
        cache = EmbeddingCache(self.cache_dir, f"{self.fingerprint()}:{codec.precision}")
        return cache.encode(
            source, codec.encode, self.chunk_size, read=source.read, verbose=bool(self.verbose)
        )

    @neutral_torch_state()
    def inverse_transform(self, X: Any, *, x_T: Any = None) -> Pixels:
        """Decode codes to images.

        Parameters
        ----------
        X : array-like of shape (n_samples, d)
            Semantic codes.

        x_T : array-like of shape (n_samples, size, size, 3) or (1, size, size, 3), default=None
            Noise to start from, as `invert` gives it with the same `solver` and `n_steps`; a
            single one is used for all codes. None draws it from `random_state`.

        Returns
        -------
        ndarray of shape (n_samples, size, size, 3), uint8
            Images.

        Raises
        ------
        TypeError
            If the weights hold the semantic encoder only.
        ValueError
            If a shape does not fit the model, or a value is not finite.
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
        """Find the noise ``x_T`` from which images are decoded.

        Parameters
        ----------
        X : images
            As for `transform`.

        codes : array-like of shape (n_samples, d), default=None
            Their semantic codes, if they are known.

        Returns
        -------
        ndarray of shape (n_samples, size, size, 3), float32
            To be passed to `inverse_transform`, with these codes or edited ones.
        """
        model, codec = self._model(), self._codec()
        model.require_decoder()
        source, solver = self._source(X), self._solver(model)
        given = self.transform(source) if codes is None else model.check_codes(codes)
        if len(given) != len(source):
            raise ValueError(
                f"got {len(source)} images and {len(given)} codes: give one for each."
            )
        return self._map(
            len(source),
            lambda rows: codec.invert(source.read(rows), given[rows], solver),
            "inverting",
        )

    @neutral_torch_state()
    def reconstruct(self, X: Any) -> Pixels:
        """Encode, invert and decode images: what the model keeps of them.

        Parameters
        ----------
        X : images
            As for `transform`.

        Returns
        -------
        ndarray of shape (n_samples, size, size, 3), uint8
            Reconstructions.
        """
        source = self._source(X)
        codes = self.transform(source)
        return self.inverse_transform(codes, x_T=self.invert(source, codes))

    @neutral_torch_state()
    def sample(
        self, n_samples: int = 1, *, temperature: float = 1.0, random_state: int | None = None
    ) -> Pixels:
        """Draw images of nobody: codes from a normal distribution, and noise, decoded.

        Parameters
        ----------
        n_samples : int, default=1
            How many.

        temperature : float, default=1.0
            Factor of codes and noise: less gives images of fewer flaws, nearer to the average.

        random_state : int or None, default=None
            Seed; None takes that of the encoder.

        Returns
        -------
        ndarray of shape (n_samples, size, size, 3), uint8
            Images.

        Raises
        ------
        TypeError
            If the weights hold the semantic encoder only.
        ValueError
            If the weights came without the statistics of their codes, or a number is out of range.
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
        """Write the weights as safetensors, to be given as `weights` again.

        Parameters
        ----------
        path : path-like
            A file that is there is replaced once the new one is complete.

        encoder_only : bool, default=False
            Leave the U-Net out: a fraction of the size, and all that `transform` needs.

        half : bool, default=False
            Round to 16 bits.
        """
        if not encoder_only:
            self._model().require_decoder()
        self._model().write(path, encoder_only=encoder_only, half=half)

    @neutral_torch_state()
    def fingerprint(self) -> str:
        """Return what tells these weights from others, whatever file they came from."""
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
