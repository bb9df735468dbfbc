"""Training a diffusion autoencoder: phases, moving average, recovery, resuming."""

__all__ = ["Phase", "Trainer", "TrainingPlan"]

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from tqdm.auto import tqdm

from skfairlatent._device import Generators
from skfairlatent._training.checkpoint import Checkpoint
from skfairlatent.encoders.diffae._networks.networks import DiffusionAutoencoder
from skfairlatent.encoders.diffae._training.batches import Batches, TrainingData
from skfairlatent.encoders.diffae._training.label_head import LabelHead, LinearHead
from skfairlatent.encoders.diffae._training.step import LOSSES, DiffusionStep, images_of
from skfairlatent.exceptions import TrainingDivergedError

# Steps over which the step size rises, and the share of it that is left at the end.
WARM_UP_STEPS = 200
LAST_RATE = 0.05
RECOVERY_FACTOR = 0.1
# The history has a row for so many steps, after which their losses are read: reading them waits
# for a GPU.
STEPS_OF_RECORD = 20
# Images that the linear head's components are computed from.
HEAD_IMAGES = 8192
SECONDS_BETWEEN_CHECKPOINTS = 60.0


@dataclass(frozen=True)
class Phase:
    """A stretch of training.

    Parameters
    ----------
    shrink : int
        The U-Net denoises images of 1 / shrink of the size; 0 trains the encoder alone.
    """

    name: str
    n_steps: int
    shrink: int


@dataclass(frozen=True)
class TrainingPlan:
    """Settings that define a training, besides data and first weights.

    Parameters
    ----------
    learning_rate : float
        Largest step size of Adam.
    ema_decay : float
        Decay of the moving average of the weights, which training returns.
    high_noise : bool
        Draw noisy steps more often and weigh them more: the encoder learns most there.
    linear_weight : float
        Weight of the loss of the linear head.
    label_weight : float
        Weight of the loss of the label head.
    flip : bool
        Mirror every second image.
    """

    phases: tuple[Phase, ...]
    batch_size: int
    learning_rate: float
    ema_decay: float
    high_noise: bool
    linear_weight: float
    label_weight: float
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

    def record(self, losses: dict[str, float], n_steps: int) -> None:
        """Average losses of the last steps into the last row of the history."""
        n_before = (self.step - n_steps) % STEPS_OF_RECORD
        if n_before == 0:
            self.history.append({"step": 0.0, **losses})
        row = self.history[-1]
        for name, value in losses.items():
            row[name] += (value - row[name]) * n_steps / (n_before + n_steps)
        row["step"] = float(self.step)


class Trainer:
    """Trains a network on images.

    Parameters
    ----------
    network : DiffusionAutoencoder
        On the device to train on; holds the trained weights afterwards, not their average.
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
        data: TrainingData,
        plan: TrainingPlan,
        checkpoint: Checkpoint | None = None,
        *,
        verbose: bool = False,
        on_checkpoint: Callable[[DiffusionAutoencoder], None] | None = None,
    ) -> None:
        self.network, self.plan, self.checkpoint = network, plan, checkpoint
        self.verbose, self.on_checkpoint = verbose, on_checkpoint
        self.device = next(network.parameters()).device
        self.batches = Batches(data, plan.batch_size, plan.seed, self.device)
        sample, _ = self.batches.draw(0, min(data.n_images, HEAD_IMAGES))
        generators = Generators(plan.seed, self.device)
        sample = images_of(sample, generators.on_device if plan.flip else None)
        width, label_head = network.config.embed_channels, None
        if data.targets is not None:
            label_head = LabelHead(width, data.targets.shape[1]).to(self.device)
        self.step = DiffusionStep(
            network,
            LinearHead(sample, width, plan.seed, generators.on_cpu).to(self.device),
            batch_size=self.batches.size,
            learning_rate=plan.learning_rate,
            high_noise=plan.high_noise,
            linear_weight=plan.linear_weight,
            flip=plan.flip,
            generators=generators,
            label_head=label_head,
            label_weight=plan.label_weight,
        )
        self.average = _MovingAverage(network, plan.ema_decay)
        self.state = _State()
        self._unread = torch.zeros(len(LOSSES), dtype=torch.float32, device=self.device)
        self._n_unread = 0
        if checkpoint is not None and (saved := checkpoint.read()) is not None:
            with checkpoint.explained():
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
                self._train_step()
                bar.update()
                if self.state.step % STEPS_OF_RECORD and self.state.step < self.plan.n_steps:
                    continue
                if not self._read_losses():
                    self._recover(good)
                    bar.update(self.state.step - bar.n)
                elif time.monotonic() - kept > SECONDS_BETWEEN_CHECKPOINTS:
                    row = self.state.history[-1]
                    bar.set_postfix({k: f"{row[k]:.3f}" for k in LOSSES}, refresh=False)
                    good = self._keep()
                    kept = time.monotonic()
        if not self._read_losses():
            # Out of time, and there is none left to go back and try again.
            self._restore(good)
        self._keep()
        return self.averaged()

    def averaged(self) -> DiffusionAutoencoder:
        """Return a copy of the averaged network, ready for use."""
        return copy.deepcopy(self.average.network).eval()

    def _train_step(self) -> None:
        step, plan = self.state.step, self.plan
        # Seeding every step makes an interrupted training go on exactly as it would have.
        self.step.generators.seed(plan.seed + step)
        self.step.set_learning_rate(plan.rate_at(step) * self.state.factor)
        images, targets = self.batches.draw(step)
        self._unread += self.step(images, plan.phase_at(step).shrink, targets)
        self._n_unread += 1
        self.average.update(step)
        self.state.step += 1

    def _read_losses(self) -> bool:
        """Put the losses since the last time into the history; tell whether they are finite."""
        n_steps, self._n_unread = self._n_unread, 0
        if n_steps == 0:
            return True
        values = (self._unread / n_steps).tolist()
        self._unread.zero_()
        if not math.isfinite(values[0]):
            return False
        self.state.record(dict(zip(LOSSES, values, strict=True)), n_steps)
        return True

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
                f"The loss is not finite up to step {self.state.step}, also after going back to "
                "the last good weights and a tenth of the learning rate. Set a smaller "
                "learning_rate_init."
            )
        self._restore(copy.deepcopy(good))
        self.state.factor = RECOVERY_FACTOR

    def _snapshot(self) -> dict[str, Any]:
        return copy.deepcopy(
            {
                **self.step.state_dict(),
                "average": self.average.network.state_dict(),
                "state": dict(vars(self.state)),
            }
        )

    def _restore(self, saved: dict[str, Any]) -> None:
        self.step.load_state_dict(saved)
        self.average.network.load_state_dict(saved["average"])
        self.state = _State(**saved["state"])


class _MovingAverage:
    """Average of the weights over the last 1 / (1 - decay) steps, over fewer at first."""

    def __init__(self, network: DiffusionAutoencoder, decay: float) -> None:
        self.network = copy.deepcopy(network).requires_grad_(False)
        self.decay = decay
        self._averages: list[Tensor] = list(self.network.parameters())
        self._current: list[Tensor] = [parameter.detach() for parameter in network.parameters()]

    @torch.no_grad()
    def update(self, n_before: int) -> None:
        """Take in the weights after step number `n_before`, counted from 0."""
        share = 1 - min(self.decay, (1 + n_before) / (10 + n_before))
        torch._foreach_lerp_(self._averages, self._current, share if n_before else 1.0)
