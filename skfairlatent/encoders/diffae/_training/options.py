"""How a diffusion autoencoder is trained: the user's side of it."""

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

    Defaults suit a GPU and tens of thousands of images. Without one, `encoder_epochs` and
    `half_size_epochs` get more out of few hours: most steps are then many times cheaper.

    Parameters
    ----------
    max_iter : float, default=100
        Epochs of the whole model at full size.

    encoder_epochs : float, default=0
        Epochs before those of the semantic encoder alone, which learns the leading principal
        components of the images by a linear head.

    half_size_epochs : float, default=0
        Epochs between the two, in which the U-Net denoises images of half the size.

    batch_size : int, default=32
        Images of a step.

    learning_rate_init : float, default=1e-4
        Largest step size of Adam; it rises over 200 steps, and in the epochs of `max_iter`, or
        the last ones before if these are 0, it falls along a cosine to a twentieth.

    ema_decay : float, default=0.9999
        Of the moving average of the weights, which is what is kept.

    high_noise : bool, default=True
        Draw noisy diffusion steps more often and weigh them more. The code matters most there:
        the encoder learns more from each image. False is the official loss.

    linear_weight : float, default=1.0
        Weight of the linear head throughout the training; 0 leaves it out, as the official code
        does (and then `encoder_epochs` must be 0, unless there are labels).

    label_weight : float, default=0.0
        Weight of a linear head that reads the labels in `y` of ``fit`` from the code, throughout
        the training. 0 ignores `y`: the code is then learnt from images alone, as in the official
        code. Codes tell more of what such labels are about, of other attributes too that go
        together with them, and so more of sensitive ones. Codes of the images trained on tell
        more than those of others.

    flip : bool, default=True
        Mirror every second image.

    initial_weights : str, path-like or None, default=None
        Weights of a whole model that training starts from, by name or path as those of
        ``DiffAEEncoder``, whose sizes are taken where it has no `config`: ``"faces64"`` for faces
        of your own. None starts from random ones.

    max_seconds : float or None, default=None
        Stop after this time; what is there is kept, and with `checkpoint_dir` the next fit of the
        same images and settings goes on.

    checkpoint_dir : path-like or None, default=None
        Directory that keeps the state about once a minute, in a file named by images and settings.
        It is left there after the training.

    sample_dir : path-like or None, default=None
        Directory for pictures made whenever the state is kept: rows of originals, their
        reconstructions, and samples. Needs Pillow.

    Raises
    ------
    ValueError
        If a number is out of its range, or no number.

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
