"""The training loop: epochs, schedule of the step size, recovery, resuming."""

__all__ = ["Trainer"]

import copy
import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from skfairlatent._training.batches import CellSampler
from skfairlatent._training.callbacks import FitTasks
from skfairlatent._training.checkpoint import Checkpoint
from skfairlatent._training.early_stopping import EarlyStopping
from skfairlatent._training.objective import TERMS
from skfairlatent._training.settings import FitSettings
from skfairlatent._training.step import TrainingStep
from skfairlatent.distributed import agreed, is_first
from skfairlatent.exceptions import TrainingDivergedError

# Share of the steps over which the step size rises to its full value.
WARM_UP = 0.1
# Factor of the step size after a non-finite loss.
RECOVERY_FACTOR = 0.1


@dataclass
class _State:
    """Everything that changes while training, so that it can be saved and restored."""

    epoch: int = 0
    factor: float = 1.0
    best_loss: float = math.inf
    best_epoch: int = 0
    best_flow: dict[str, Tensor] | None = None
    history: list[dict[str, float]] = field(default_factory=list)


class Trainer:
    """Fits a flow and its objective to cell-balanced batches.

    Parameters
    ----------
    step : TrainingStep
        One optimisation step over the training rows.
    sampler : CellSampler
        Draws the training batches.
    validation : tuple of (Tensor, CellSampler) or None
        Rows held out, and how to draw batches of them.
    checkpoint : Checkpoint or None
        Where to keep the state between epochs.
    tasks : FitTasks
        Who is told of each epoch, and may end the training.
    """

    def __init__(
        self,
        step: TrainingStep,
        sampler: CellSampler,
        validation: tuple[Tensor, CellSampler] | None,
        settings: FitSettings,
        checkpoint: Checkpoint | None,
        tasks: FitTasks,
    ) -> None:
        self.step, self.sampler, self.validation = step, sampler, validation
        self.settings, self.checkpoint, self.tasks = settings, checkpoint, tasks
        self.n_epochs = settings.n_epochs(sampler.n_batches)
        warm_up = int(WARM_UP * self.n_epochs)
        self.early_stopping = EarlyStopping.of(settings, sampler.n_batches, warm_up)
        self.state = _State()
        if checkpoint is not None and (saved := checkpoint.read()) is not None:
            with checkpoint.explained():
                self._restore(saved)

    def run(self) -> list[dict[str, float]]:
        """Train, leave the best weights in the flow, and return the history."""
        epochs = tqdm(
            range(self.state.epoch, self.n_epochs),
            initial=self.state.epoch,
            total=self.n_epochs,
            desc="FairLatentTransformer",
            unit="epoch",
            disable=not (self.settings.verbose and is_first()),
        )
        self.tasks.begin(self.n_epochs - self.state.epoch)
        with epochs:
            for epoch in epochs:
                if agreed(self._stopped_early() or self.tasks.stopped):
                    break
                with self.tasks.epoch(self.step.flow):
                    self._run_epoch(epoch)
                epochs.set_postfix(self._latest(), refresh=False)
        if self.state.best_flow is not None:
            self.step.flow.load_state_dict(self.state.best_flow)
        return self.state.history

    def _run_epoch(self, epoch: int) -> None:
        # Seeding every epoch makes an interrupted fit go on exactly as it would have.
        self.step.generators.seed(self.settings.seed + epoch)
        record = self._epoch_until_finite(epoch)
        record |= self._validate()
        self.state.history.append({"epoch": epoch + 1.0, **self._steps(epoch), **record})
        self.state.epoch = epoch + 1
        self._keep_if_best(record["validation_loss"])
        if self.checkpoint is not None:
            self.checkpoint.write(self._snapshot())

    def _epoch_until_finite(self, epoch: int) -> dict[str, float]:
        """Run an epoch; after a non-finite loss go back and try once more, more slowly."""
        good = self._weights()
        record = self._train(epoch)
        if math.isfinite(record["loss"]):
            return record
        self._go_back(good)
        self.step.reset_optimizer()
        self.state.factor *= RECOVERY_FACTOR
        record = self._train(epoch)
        if math.isfinite(record["loss"]):
            return record
        self._go_back(good)
        raise TrainingDivergedError(
            f"The loss is not finite in epoch {epoch + 1}, also after restoring the last good "
            f"weights and lowering the learning rate to "
            f"{self.settings.learning_rate * self.state.factor:.2g}. Its terms: "
            + ", ".join(f"{name}={record[f'loss_{name}']:.3g}" for name in TERMS)
            + ". Set a smaller learning_rate_init, or smaller weights for the terms that are "
            "large, and look for extreme values in X."
        )

    def _train(self, epoch: int) -> dict[str, float]:
        batches = self.sampler.draw(self.step.generators.on_cpu).to(self.step.data.device)
        total = torch.zeros(len(TERMS), dtype=torch.float32, device=self.step.data.device)
        n_steps = self.n_epochs * len(batches)
        rate = self.settings.learning_rate
        for i, rows in enumerate(batches):
            # The middle of the step: at its end the rate of a fit's only step would be 0.
            progress = (epoch * len(batches) + i + 0.5) / n_steps
            rate = self.settings.learning_rate * self.state.factor * _schedule(progress)
            self.step.set_learning_rate(rate)
            total += self.step(rows)
        # Reading the numbers waits for the GPU: once an epoch, not once a step. A step that
        # spoils the weights shows in the terms of a later one, the last step's in the weights.
        finite = math.isfinite(float(self._weights().sum()))
        terms = total / len(batches)
        loss = float(self.step.objective.total(terms)) if finite else math.nan
        named = {f"loss_{name}": float(value) for name, value in zip(TERMS, terms, strict=True)}
        return agreed({"loss": loss, **named, "learning_rate": rate})

    def _steps(self, epoch: int) -> dict[str, float]:
        n_batches = self.sampler.n_batches
        auto_steps = n_batches * self.settings.auto_epochs(n_batches)
        return {"steps": float((epoch + 1) * n_batches), "auto_steps": float(auto_steps)}

    def _validate(self) -> dict[str, float]:
        if self.validation is None:
            return {"validation_loss": math.nan}
        rows, sampler = self.validation
        # The same draw every time: epochs are compared with each other.
        self.step.generators.seed(self.settings.seed)
        batches = sampler.draw(self.step.generators.on_cpu).to(rows.device)
        terms = torch.stack([self.step.terms(batch, rows) for batch in batches]).mean(dim=0)
        return {"validation_loss": float(self.step.objective.total(terms))}

    def _keep_if_best(self, validation_loss: float) -> None:
        rule, state = self.early_stopping, self.state
        if rule is not None and rule.is_better(state.epoch, validation_loss, state.best_loss):
            state.best_loss = validation_loss
            state.best_epoch = state.epoch
            state.best_flow = copy.deepcopy(self.step.flow.state_dict())

    def _stopped_early(self) -> bool:
        rule, state = self.early_stopping, self.state
        return rule is not None and rule.is_over(state.epoch, state.best_epoch)

    def _latest(self) -> dict[str, str]:
        latest = self.state.history[-1]
        shown = ("loss", "validation_loss") if self.validation else ("loss",)
        return {key: f"{latest[key]:.3f}" for key in shown}

    def _weights(self) -> Tensor:
        """Return a copy of all that is trained, in one vector."""
        return nn.utils.parameters_to_vector(self.step.parameters).detach()

    @torch.no_grad()
    def _go_back(self, weights: Tensor) -> None:
        # Into the same tensors: a recorded graph reads them where they are.
        parameters = self.step.parameters
        parts = weights.split([parameter.numel() for parameter in parameters])
        for parameter, part in zip(parameters, parts, strict=True):
            parameter.copy_(part.view_as(parameter))

    def _snapshot(self) -> dict[str, Any]:
        return {
            "flow": self.step.flow.state_dict(),
            "objective": self.step.objective.state_dict(),
            "optimizer": self.step.optimizer.state_dict(),
            "state": dict(vars(self.state)),
            "seed": self.settings.seed,
        }

    def _restore(self, saved: dict[str, Any]) -> None:
        self.step.flow.load_state_dict(saved["flow"])
        self.step.objective.load_state_dict(saved["objective"])
        self.step.restore_optimizer(saved["optimizer"])
        self.state = _State(**saved["state"])


def _schedule(progress: float) -> float:
    """Rise linearly over the warm-up, then fall along a half cosine to zero."""
    if progress < WARM_UP:
        return progress / WARM_UP
    return 0.5 * (1.0 + math.cos(math.pi * (progress - WARM_UP) / (1.0 - WARM_UP)))
