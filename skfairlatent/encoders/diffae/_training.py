"""Training a diffusion autoencoder: loss, phases, moving average, resuming."""

__all__ = ["Phase", "Trainer", "TrainingPlan"]

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel
from tqdm.auto import tqdm

from skfairlatent._checkpoint import Checkpoint
from skfairlatent._device import autocast_dtype, seed_rng
from skfairlatent.encoders.diffae._ddim import alphas_cumprod
from skfairlatent.encoders.diffae._linear_head import LinearHead
from skfairlatent.encoders.diffae._networks import DiffusionAutoencoder
from skfairlatent.exceptions import TrainingDivergedError

MAX_GRADIENT_NORM = 1.0
# Steps over which the step size rises, and the share of it that is left at the end.
WARM_UP_STEPS = 200
LAST_RATE = 0.05
RECOVERY_FACTOR = 0.1
# The history has a row for so many steps.
STEPS_OF_RECORD = 20
# Weight of the noise loss at high noise: that of a loss on the image itself, bounded by this.
MAX_EXTRA_WEIGHT = 200.0
# Images that the linear head's components are computed from.
HEAD_IMAGES = 8192
SECONDS_BETWEEN_CHECKPOINTS = 60.0

# Images with the given rows: uint8, shape (n, size, size, 3).
ReadImages = Callable[[npt.NDArray[np.int64]], npt.NDArray[np.uint8]]


@dataclass(frozen=True)
class Phase:
    """A stretch of training.

    Parameters
    ----------
    name : str
    n_steps : int
    shrink : int
        The U-Net denoises images of 1 / shrink of the size; 0 trains the encoder alone.
    """

    name: str
    n_steps: int
    shrink: int


@dataclass(frozen=True)
class TrainingPlan:
    """What defines a training, besides data and first weights.

    Parameters
    ----------
    phases : tuple of Phase
    batch_size : int
    learning_rate : float
        Largest step size of Adam.
    ema_decay : float
        Of the moving average of the weights, which is what training returns.
    high_noise : bool
        Draw noisy steps more often and weigh them more: the encoder learns most there.
    linear_weight : float
        Weight of the loss of the linear head.
    flip : bool
        Mirror every second image.
    seed : int
    """

    phases: tuple[Phase, ...]
    batch_size: int
    learning_rate: float
    ema_decay: float
    high_noise: bool
    linear_weight: float
    flip: bool
    seed: int

    @property
    def n_steps(self) -> int:
        """Steps of all phases."""
        return sum(phase.n_steps for phase in self.phases)

    def phase_at(self, step: int) -> Phase:
        """Return the phase that a step belongs to."""
        for phase in self.phases:
            if step < phase.n_steps:
                return phase
            step -= phase.n_steps
        return self.phases[-1]

    def rate_at(self, step: int) -> float:
        """Return the step size: a linear rise, then level, then half a cosine in the last phase.

        Falling earlier would leave too little for the U-Net, which starts with the second phase.
        """
        rise = min(1.0, (step + 1) / WARM_UP_STEPS)
        last = self.phases[-1].n_steps
        progress = max(0, step - (self.n_steps - last)) / max(last, 1)
        fall = 0.5 * (1 + math.cos(math.pi * progress))
        return self.learning_rate * rise * (LAST_RATE + (1 - LAST_RATE) * fall)


@dataclass
class _State:
    step: int = 0
    factor: float = 1.0
    history: list[dict[str, float]] = field(default_factory=list)

    def record(self, losses: dict[str, float]) -> None:
        """Count a step, and average its losses into the last row of the history."""
        n_before = self.step % STEPS_OF_RECORD
        self.step += 1
        if n_before == 0:
            self.history.append({"step": 0.0, **losses})
        row = self.history[-1]
        for name, value in losses.items():
            row[name] += (value - row[name]) / (n_before + 1)
        row["step"] = float(self.step)


class Trainer:
    """Trains a network on images read by row.

    Parameters
    ----------
    network : DiffusionAutoencoder
        On the device to train on; holds the trained weights afterwards, not their average.
    read : callable
        Gives the images of some rows.
    n_images : int
    plan : TrainingPlan
    checkpoint : Checkpoint or None
        Where to keep the state, about once a minute.
    verbose : bool
        Show a progress bar.
    on_checkpoint : callable or None
        Called with the averaged network whenever the state is kept.
    """

    def __init__(
        self,
        network: DiffusionAutoencoder,
        read: ReadImages,
        n_images: int,
        plan: TrainingPlan,
        checkpoint: Checkpoint | None = None,
        *,
        verbose: bool = False,
        on_checkpoint: Callable[[DiffusionAutoencoder], None] | None = None,
    ) -> None:
        self.network, self.plan, self.checkpoint = network, plan, checkpoint
        self.verbose, self.on_checkpoint = verbose, on_checkpoint
        self.device = next(network.parameters()).device
        self.batches = _Batches(read, n_images, plan, self.device)
        config = network.config
        sample = self.batches.draw(0, min(n_images, HEAD_IMAGES))
        self.head = LinearHead(sample, config.embed_channels, plan.seed).to(self.device)
        self.average = AveragedModel(network, multi_avg_fn=_moving_average(plan.ema_decay))
        self.parameters = [*network.parameters(), *self.head.parameters()]
        fused = self.device.type in ("cpu", "cuda")
        self.optimizer = torch.optim.Adam(self.parameters, lr=plan.learning_rate, fused=fused)
        alphas = torch.from_numpy(alphas_cumprod(config.T)).to(self.device, torch.float32)
        self.loss = _DiffusionLoss(alphas, high_noise=plan.high_noise)
        self.state = _State()
        if checkpoint is not None and (saved := checkpoint.read(self.device)) is not None:
            self._restore(saved)

    def run(self, max_seconds: float = math.inf) -> DiffusionAutoencoder:
        """Train to the end of the plan, or for so many seconds; return the averaged network."""
        start = kept = time.monotonic()
        self.network.train()
        good = self._snapshot()
        with tqdm(
            total=self.plan.n_steps, initial=self.state.step, desc="DiffAE", unit="step",
            disable=not self.verbose,
        ) as bar:  # fmt: skip
            while self.state.step < self.plan.n_steps and time.monotonic() - start < max_seconds:
                record = self._step()
                if not math.isfinite(record["loss"]):
                    self._recover(good)
                    continue
                bar.update()
                if time.monotonic() - kept > SECONDS_BETWEEN_CHECKPOINTS:
                    bar.set_postfix({k: f"{v:.3f}" for k, v in record.items()}, refresh=False)
                    good = self._keep()
                    kept = time.monotonic()
        self._keep()
        return self.averaged()

    def averaged(self) -> DiffusionAutoencoder:
        """Return a copy of the averaged network, ready for use."""
        network = copy.deepcopy(self.network)
        network.load_state_dict(self.average.module.state_dict())
        return network.eval().requires_grad_(False)

    def _step(self) -> dict[str, float]:
        step, plan = self.state.step, self.plan
        # Seeding every step makes an interrupted training go on exactly as it would have.
        seed_rng(plan.seed + step, self.device)
        for group in self.optimizer.param_groups:
            group["lr"] = plan.rate_at(step) * self.state.factor
        images = self.batches.draw(step)
        losses = self._losses(images, plan.phase_at(step))
        total = losses["loss_noise"] + plan.linear_weight * losses["loss_linear"]
        self.optimizer.zero_grad()
        total.backward()
        nn.utils.clip_grad_norm_(self.parameters, MAX_GRADIENT_NORM)
        self.optimizer.step()
        self.average.update_parameters(self.network)
        # One transfer for all numbers: each one waits for the device.
        values = torch.stack([total.detach(), *losses.values()]).tolist()
        record = dict(zip(("loss", *losses), values, strict=True))
        if math.isfinite(record["loss"]):
            self.state.record(record)
        return record

    def _losses(self, images: Tensor, phase: Phase) -> dict[str, Tensor]:
        half = autocast_dtype(self.device)
        with torch.autocast(self.device.type, dtype=half, enabled=half is not None):
            code = self.network.encoder(images).float()
            noise_loss = code.new_zeros(())
            if phase.shrink:
                small = F.avg_pool2d(images, phase.shrink) if phase.shrink > 1 else images
                noise_loss = self.loss(self.network, small, code)
        linear_loss = self.head(code, images) if self.plan.linear_weight else noise_loss.detach()
        return {"loss_noise": noise_loss, "loss_linear": linear_loss}

    def _keep(self) -> dict[str, Any]:
        snapshot = self._snapshot()
        if self.checkpoint is not None:
            self.checkpoint.write(snapshot)
        if self.on_checkpoint is not None:
            self.on_checkpoint(self.averaged())
        return snapshot

    def _recover(self, good: dict[str, Any]) -> None:
        if self.state.factor < 1:
            raise TrainingDivergedError(
                f"The loss is not finite at step {self.state.step + 1}, also after going back to "
                "the last good weights and a tenth of the learning rate. Set a smaller "
                "learning_rate_init."
            )
        self._restore(copy.deepcopy(good))
        self.state.factor = RECOVERY_FACTOR

    def _snapshot(self) -> dict[str, Any]:
        return copy.deepcopy(
            {
                "network": self.network.state_dict(),
                "average": self.average.state_dict(),
                "head": self.head.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "state": dict(vars(self.state)),
            }
        )

    def _restore(self, saved: dict[str, Any]) -> None:
        self.network.load_state_dict(saved["network"])
        self.average.load_state_dict(saved["average"])
        self.head.load_state_dict(saved["head"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.state = _State(**saved["state"])


class _Batches:
    """Draws batches: every epoch a new order, known from the step alone."""

    def __init__(
        self, read: ReadImages, n_images: int, plan: TrainingPlan, device: torch.device
    ) -> None:
        self.read, self.n_images, self.device = read, n_images, device
        self.size, self.flip, self.seed = min(plan.batch_size, n_images), plan.flip, plan.seed
        self.per_epoch = n_images // self.size
        self._epoch, self._order = -1, np.empty(0, dtype=np.int64)

    def draw(self, step: int, size: int | None = None) -> Tensor:
        """Return a batch of images in [-1, 1], channels last in memory."""
        epoch, index = divmod(step, self.per_epoch)
        if epoch != self._epoch:
            order = np.random.default_rng((self.seed, epoch)).permutation(self.n_images)
            self._epoch, self._order = epoch, order
        start = index * self.size
        rows = self._order[start : start + (size or self.size)]
        pixels = torch.from_numpy(self.read(rows)).to(self.device)
        # A permuted view of (n, h, w, c) is what channels_last means.
        images = pixels.permute(0, 3, 1, 2).float() / 127.5 - 1
        if self.flip:
            mirrored = torch.rand(len(images), 1, 1, 1, device=self.device) < 0.5
            images = torch.where(mirrored, images.flip(3), images)
        return images.contiguous(memory_format=torch.channels_last)


class _DiffusionLoss:
    r"""Squared error of the predicted noise at random steps.

    Uniform steps and weights are the official loss (Ho et al., 2020, equation 14). For high
    noise, steps are drawn in proportion to the square root of t / T and weigh
    :math:`1 + \min((1 - \bar\alpha_t) / \bar\alpha_t, 200)`: the second summand makes it the
    squared error of the predicted image, to which the code matters.
    """

    def __init__(self, alphas: Tensor, *, high_noise: bool) -> None:
        self.alphas, self.high_noise = alphas, high_noise

    def __call__(self, network: nn.Module, images: Tensor, code: Tensor) -> Tensor:
        """Return the mean loss of a batch."""
        n_steps = len(self.alphas)
        uniform = torch.rand(len(images), device=images.device)
        # The inverse of the distribution function of a density in proportion to sqrt(u).
        share = uniform ** (2 / 3) if self.high_noise else uniform
        t = (share * n_steps).long().clamp_(max=n_steps - 1)
        alpha = self.alphas[t]
        noise = torch.randn_like(images)
        noisy = alpha.sqrt()[:, None, None, None] * images
        noisy = noisy + (1 - alpha).sqrt()[:, None, None, None] * noise
        error = (network(noisy, t, code).float() - noise).square().mean(dim=(1, 2, 3))
        if self.high_noise:
            error = error * (1 + ((1 - alpha) / alpha).clamp(max=MAX_EXTRA_WEIGHT))
        mean: Tensor = error.mean()
        return mean


def _moving_average(decay: float) -> Callable[..., None]:
    """Average over the last 1 / (1 - decay) steps, over fewer while there are fewer."""

    @torch.no_grad()
    def update(averages: list[Tensor], current: list[Tensor], n_averaged: Tensor) -> None:
        n = float(n_averaged)
        torch._foreach_lerp_(averages, current, 1 - min(decay, (1 + n) / (10 + n)))

    return update
