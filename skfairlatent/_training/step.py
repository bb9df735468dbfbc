"""One optimisation step: eager on the CPU, a captured graph on CUDA."""

__all__ = ["TrainingStep"]

from typing import Any

import torch
from torch import Tensor

from skfairlatent._device import Generators, autocast_dtype
from skfairlatent._training.cuda_graphs import Replayed
from skfairlatent._training.objective import TERMS, Objective
from skfairlatent._training.optimizer import RecordableAdam
from skfairlatent._training.settings import is_small
from skfairlatent.distributed import average_gradients, shared
from skfairlatent.flows import Glow


def half_precision(flow: Glow, device: torch.device) -> torch.dtype | None:
    """Return the half precision in which a flow is trained, or None for float32."""
    if device.type == "cpu" and is_small(flow.features, flow.hidden_features):
        return None
    return autocast_dtype(device)


class TrainingStep:
    """Forward, backward, clipping and update for one batch of resident rows.

    Inputs and outputs live in fixed tensors, so that on CUDA the whole step can be replayed as
    one graph: the step is launched once instead of as hundreds of small kernels.

    Parameters
    ----------
    data : Tensor of shape (n_samples, d), float32
        Standardised rows, on the device of the flow.
    learning_rate : float
        Step size before any schedule.
    input_noise : float or Tensor of shape (d,)
        Standard deviation of the Gaussian noise added to each batch, or to each of its columns.
    generators : Generators
        Random generators of the fit, for the noise.
    """

    def __init__(
        self,
        flow: Glow,
        objective: Objective,
        data: Tensor,
        *,
        learning_rate: float,
        input_noise: float | Tensor,
        generators: Generators,
    ) -> None:
        self.flow, self.objective, self.data = flow, objective, data
        self._map = shared(flow.fused)
        self.generators = generators
        self.input_noise = torch.as_tensor(input_noise, dtype=data.dtype, device=data.device)
        self._is_noisy = bool(self.input_noise.any())
        self.parameters = [*flow.parameters(), *objective.parameters()]
        self._half = half_precision(flow, data.device)
        self._rows = torch.zeros(
            objective.layout.batch_size, dtype=torch.int64, device=data.device
        )
        self._terms = torch.zeros(len(TERMS), dtype=torch.float32, device=data.device)
        self.optimizer = RecordableAdam(self.parameters, learning_rate, data.device)
        self._replayed = self._anew()

    def __call__(self, rows: Tensor) -> Tensor:
        """Train on the batch of row numbers `rows` and return its loss terms.

        A vector in the order of `TERMS`, which the next call overwrites.
        """
        self._rows.copy_(rows, non_blocking=True)
        self._replayed()
        return self._terms

    def set_learning_rate(self, value: float) -> None:
        """Set the step size of the next calls."""
        self.optimizer.set_learning_rate(value)

    def latent(self, rows: Tensor) -> Tensor:
        """Return the latent of training rows, without noise."""
        with torch.no_grad():
            return self._map(self.data[rows])[0]

    def terms(self, rows: Tensor, data: Tensor) -> Tensor:
        """Return the loss terms of rows of `data` without noise and without training."""
        with torch.no_grad():
            return self._stacked(*self._map(data[rows]))

    def restore_optimizer(self, saved: dict[str, Any]) -> None:
        """Take over the moments of a saved optimizer, which may have run on another device."""
        self.optimizer.restore_moments(saved["state"])
        self._replayed = self._anew()

    def reset_optimizer(self) -> None:
        """Forget the optimizer's moments, which non-finite gradients have spoilt."""
        for state in self.optimizer.state.values():
            for value in state.values():
                value.zero_()

    def _stacked(self, z: Tensor, log_det: Tensor) -> Tensor:
        return torch.stack([*self.objective(z, log_det).values()])

    def _anew(self) -> Replayed:
        return Replayed(self._compute, self.data.device, self.generators.on_device)

    def _compute(self) -> None:
        x = self.data[self._rows]
        if self._is_noisy:
            noise = torch.empty_like(x).normal_(generator=self.generators.on_device)
            x = torch.addcmul(x, noise, self.input_noise)
        half = self._half
        with torch.autocast(
            x.device.type, dtype=half, enabled=half is not None, cache_enabled=False
        ):
            z, log_det = self._map(x)
        terms = self._stacked(z, log_det)
        self.optimizer.minimize(self.objective.total(terms), average_gradients)
        self._terms.copy_(terms.detach())
