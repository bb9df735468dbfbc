"""Settings of the training of a diffusion autoencoder."""

__all__ = ["DiffAETraining"]

import math
import os
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

from sklearn.utils._param_validation import Interval, validate_parameter_constraints

from skfairlatent.encoders.diffae._training.loop import Phase, TrainingPlan

_FROM_0 = [Interval(Real, 0, None, closed="left")]
_PATH = [str, os.PathLike, None]
_CONSTRAINTS: dict[str, list[Any]] = {
    "max_iter": _FROM_0,
    "encoder_epochs": _FROM_0,
    "half_size_epochs": _FROM_0,
    "batch_size": [Interval(Integral, 1, None, closed="left")],
    "learning_rate_init": [Interval(Real, 0, None, closed="neither")],
    "ema_decay": [Interval(Real, 0, 1, closed="left")],
    "high_noise": ["boolean"],
    "linear_weight": _FROM_0,
    "label_weight": _FROM_0,
    "flip": ["boolean"],
    "initial_weights": _PATH,
    "max_seconds": [Interval(Real, 0, None, closed="neither"), None],
    "checkpoint_dir": _PATH,
    "sample_dir": _PATH,
}


@dataclass(frozen=True)
class DiffAETraining:
    """Settings of ``DiffAEEncoder.fit``.

    The defaults suit a GPU and tens of thousands of images. On a CPU, `encoder_epochs` and
    `half_size_epochs` give better models in a few hours, because most steps are then much cheaper.

    Parameters
    ----------
    max_iter : float, default=100
        Number of epochs of the whole model on images of full size.

    encoder_epochs : float, default=0
        Number of epochs, before all others, of the semantic encoder alone: it learns to predict
        the leading principal components of the images through a linear head.

    half_size_epochs : float, default=0
        Number of epochs between the two, in which the U-Net denoises images of half the size.

    batch_size : int, default=32
        Number of images in a step.

    learning_rate_init : float, default=1e-4
        Largest learning rate of Adam. It rises over the first 200 steps, and falls along a cosine
        to a twentieth in the epochs of `max_iter` (or, if that is 0, in the last epochs before).

    ema_decay : float, default=0.9999
        Decay of the moving average of the weights, which is the result of the training.

    high_noise : bool, default=True
        Whether to draw noisy diffusion steps more often and to weight them more. The code matters
        most in these steps, so that the encoder learns more from each image. False gives the
        official loss.

    linear_weight : float, default=1.0
        Weight of the loss of the linear head throughout the training. 0 leaves the head out, as
        in the official code; `encoder_epochs` must then be 0 unless there are labels.

    label_weight : float, default=0.0
        Weight of the loss of a linear head that predicts the labels `y` of ``fit`` from the code,
        throughout the training. 0 ignores `y`, as in the official code. With labels, codes hold
        more information on the labels and on attributes correlated with them, sensitive ones
        included, and more on the training images than on others.

    flip : bool, default=True
        Whether to mirror images at random, with probability 1/2.

    initial_weights : str, path-like or None, default=None
        Weights of a whole model to start from, a name or a path that ``DiffAEEncoder`` accepts,
        such as ``"faces64"`` to train on faces of your own. Their sizes are used if the encoder
        has no `config`. None starts from random weights.

    max_seconds : float or None, default=None
        Time in seconds after which training stops and keeps its result. With `checkpoint_dir`, the
        next fit with the same images and settings continues from there.

    checkpoint_dir : path-like or None, default=None
        Directory for the state of the training, saved about once a minute in a file named by
        images and settings. The file is kept after the training.

    sample_dir : path-like or None, default=None
        Directory for pictures of the progress: originals, their reconstructions, and samples.
        Needs Pillow.

    Raises
    ------
    ValueError
        If a value is not valid.

    Examples
    --------
    >>> from skfairlatent.encoders import DiffAETraining
    >>> DiffAETraining(max_iter=10, encoder_epochs=2).max_iter
    10
    """

    max_iter: float = 100
    encoder_epochs: float = 0
    half_size_epochs: float = 0
    batch_size: int = 32
    learning_rate_init: float = 1e-4
    ema_decay: float = 0.9999
    high_noise: bool = True
    linear_weight: float = 1.0
    label_weight: float = 0.0
    flip: bool = True
    initial_weights: str | os.PathLike[str] | None = None
    max_seconds: float | None = None
    checkpoint_dir: str | os.PathLike[str] | None = None
    sample_dir: str | os.PathLike[str] | None = None

    def __post_init__(self) -> None:
        given = {name: getattr(self, name) for name in _CONSTRAINTS}
        validate_parameter_constraints(_CONSTRAINTS, given, type(self).__name__)
        if self.encoder_epochs and not (self.linear_weight or self.label_weight):
            raise ValueError(
                f"encoder_epochs={self.encoder_epochs} with linear_weight=0 would train nothing: "
                "the encoder alone learns from the linear heads only."
            )

    def plan(self, n_images: int, seed: int) -> TrainingPlan:
        """Return the steps that the epochs come to for so many images."""
        per_epoch = n_images / min(self.batch_size, n_images)
        epochs = (("encoder", self.encoder_epochs, 0), ("half size", self.half_size_epochs, 2))
        phases = (*epochs, ("full size", self.max_iter, 1))
        return TrainingPlan(
            phases=tuple(Phase(name, math.ceil(n * per_epoch), s) for name, n, s in phases if n),
            batch_size=self.batch_size,
            learning_rate=self.learning_rate_init,
            ema_decay=self.ema_decay,
            high_noise=self.high_noise,
            linear_weight=self.linear_weight,
            label_weight=self.label_weight,
            flip=self.flip,
            seed=seed,
        )
