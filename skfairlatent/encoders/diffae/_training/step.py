"""One optimisation step of a diffusion autoencoder."""

__all__ = ["DiffusionStep"]

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from skfairlatent._device import Generators, autocast_dtype
from skfairlatent._training.cuda_graphs import Replayed
from skfairlatent._training.optimizer import RecordableAdam
from skfairlatent.encoders.diffae._networks.networks import DiffusionAutoencoder
from skfairlatent.encoders.diffae._solvers.schedule import alphas_cumprod
from skfairlatent.encoders.diffae._training.first_weights import draw_dropout_from
from skfairlatent.encoders.diffae._training.label_head import LabelHead, LinearHead

# Weight of the noise loss at high noise: that of a loss on the image itself, bounded by this.
MAX_EXTRA_WEIGHT = 200.0
LOSSES = ("loss", "loss_noise", "loss_linear", "loss_label")


class DiffusionStep:
    """Forward, backward, clipping and update for one batch of images.

    Inputs and outputs live in fixed tensors, so that on CUDA the step is replayed as one graph.

    Parameters
    ----------
    learning_rate : float
        Step size before any schedule.
    high_noise : bool
        Draw noisy steps more often and weigh them more.
    linear_weight : float
        Weight of the loss of the linear head.
    flip : bool
        Mirror every second image.
    generators : Generators
        Sources of the noise, steps, mirroring and dropout of the training.
    label_head : LabelHead or None
        Reads labels from the code.
    label_weight : float
        Weight of its loss.
    """

    def __init__(  # noqa: PLR0913 - one argument a setting
        self,
        network: DiffusionAutoencoder,
        head: LinearHead,
        *,
        batch_size: int,
        learning_rate: float,
        high_noise: bool,
        linear_weight: float,
        flip: bool,
        generators: Generators,
        label_head: LabelHead | None = None,
        label_weight: float = 0.0,
    ) -> None:
        self.network, self.head = network, head
        self.label_head, self.label_weight = label_head, label_weight
        self.linear_weight, self.flip = linear_weight, flip
        self.device, self.generators = next(network.parameters()).device, generators
        draw_dropout_from(generators.on_device, network)
        self.parameters = [*network.parameters(), *head.parameters()]
        n_targets = 0
        if label_head is not None:
            self.parameters += label_head.parameters()
            n_targets = label_head.out_features
        zeros = partial(torch.zeros, dtype=torch.float32, device=self.device)
        self._targets = zeros((batch_size, n_targets))
        self._half = autocast_dtype(self.device)
        size = network.config.image_size
        self._pixels = torch.zeros(
            (batch_size, size, size, 3), dtype=torch.uint8, device=self.device
        )
        self._losses = zeros(len(LOSSES))
        alphas = torch.from_numpy(alphas_cumprod(network.config.T))
        self.loss = DiffusionLoss(alphas.to(self.device, torch.float32), high_noise=high_noise)
        self.optimizer = RecordableAdam(self.parameters, learning_rate, self.device)
        self._shrink = 1
        self._replayed = self._anew()

    def __call__(self, pixels: Tensor, shrink: int, targets: Tensor | None = None) -> Tensor:
        """Train on a batch.

        Parameters
        ----------
        pixels : Tensor of shape (batch_size, size, size, 3), uint8
        shrink : int
            The U-Net denoises images of 1 / shrink of the size; 0 trains the encoder alone.
        targets : Tensor of shape (batch_size, n_targets), float32, optional
            For the label head.

        Returns
        -------
        Tensor of shape (4,)
            Total loss, and those of the noise, the linear head and the label head; overwritten
            by the next call.
        """
        if shrink != self._shrink:
            self._shrink = shrink
            self._replayed = self._anew()
        self._pixels.copy_(pixels, non_blocking=True)
        if targets is not None:
            self._targets.copy_(targets, non_blocking=True)
        self._replayed()
        return self._losses

    def set_learning_rate(self, value: float) -> None:
        """Set the step size of the next calls."""
        self.optimizer.set_learning_rate(value)

    def state_dict(self) -> dict[str, Any]:
        """Return what training changes: weights and moments."""
        labels = {} if self.label_head is None else self.label_head.state_dict()
        return {
            "network": self.network.state_dict(),
            "head": self.head.state_dict(),
            "label_head": labels,
            "optimizer": self.optimizer.state_dict()["state"],
        }

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Take over what `state_dict` returned, maybe on another device."""
        self.network.load_state_dict(saved["network"])
        self.head.load_state_dict(saved["head"])
        if self.label_head is not None:
            self.label_head.load_state_dict(saved["label_head"])
        self.optimizer.restore_moments(saved["optimizer"])
        self._replayed = self._anew()

    def _anew(self) -> Replayed:
        return Replayed(self._compute, self.device, self.generators.on_device)

    def _compute(self) -> None:
        images = images_of(self._pixels, self.generators.on_device if self.flip else None)
        noise, linear, label = self._forward(images)
        total = noise + self.linear_weight * linear + self.label_weight * label
        self.optimizer.minimize(total)
        self._losses.copy_(torch.stack((total, noise, linear, label)).detach())

    def _forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        half, shrink = self._half, self._shrink
        # Inside an autocast of the user's, weights that are kept in half would outlive the step.
        with torch.autocast(
            self.device.type, dtype=half, enabled=half is not None, cache_enabled=False
        ):
            code = self.network.encoder(images).float()
            noise = linear = label = code.new_zeros(())
            if shrink:
                small = F.avg_pool2d(images, shrink) if shrink > 1 else images
                noise = self.loss(self.network, small, code, self.generators.on_device)
        if self.linear_weight:
            linear = self.head(code, images)
        if self.label_head is not None:
            label = self.label_head.loss(code, self._targets)
        return noise, linear, label


def images_of(pixels: Tensor, mirror: torch.Generator | None) -> Tensor:
    """Scale pixels (n, size, size, 3) to [-1, 1], channels last.

    Half of them are mirrored, drawn from the generator `mirror`; none if that is None.
    """
    # A permuted view of (n, h, w, c) is what channels_last means.
    images = pixels.permute(0, 3, 1, 2).float() / 127.5 - 1
    if mirror is not None:
        drawn = images.new_empty(len(images), 1, 1, 1).uniform_(generator=mirror)
        images = torch.where(drawn < 0.5, images.flip(3), images)
    return images.contiguous(memory_format=torch.channels_last)


class DiffusionLoss:
    r"""Squared error of the predicted noise at random steps.

    Uniform steps and weights are the official loss (Ho et al., 2020, equation 14). For high
    noise, steps are drawn in proportion to the square root of t / T and weigh
    :math:`1 + \min((1 - \bar\alpha_t) / \bar\alpha_t, 200)`: the second summand makes it the
    squared error of the predicted image, to which the code matters.
    """

    def __init__(self, alphas: Tensor, *, high_noise: bool) -> None:
        self.alphas, self.high_noise = alphas, high_noise

    def __call__(
        self, network: nn.Module, images: Tensor, code: Tensor, generator: torch.Generator
    ) -> Tensor:
        """Return the mean loss of a batch."""
        n_steps = len(self.alphas)
        uniform = images.new_empty(len(images)).uniform_(generator=generator)
        # The inverse of the distribution function of a density in proportion to sqrt(u).
        share = uniform ** (2 / 3) if self.high_noise else uniform
        t = (share * n_steps).long().clamp_(max=n_steps - 1)
        alpha = self.alphas[t]
        noise = torch.empty_like(images).normal_(generator=generator)
        noisy = alpha.sqrt()[:, None, None, None] * images
        noisy = noisy + (1 - alpha).sqrt()[:, None, None, None] * noise
        error = (network(noisy, t, code).float() - noise).square().mean(dim=(1, 2, 3))
        if self.high_noise:
            error = error * (1 + ((1 - alpha) / alpha).clamp(max=MAX_EXTRA_WEIGHT))
        mean: Tensor = error.mean()
        return mean
