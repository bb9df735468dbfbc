"""The optimizer of both trainings, made so that a step can be recorded as a CUDA graph."""

__all__ = ["MAX_GRADIENT_NORM", "RecordableAdam"]

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

MAX_GRADIENT_NORM = 1.0


def _as_they_are(_: list[nn.Parameter]) -> None:
    """Leave the gradients of the parameters as they are."""


class RecordableAdam(torch.optim.Adam):
    """Adam with clipped gradients, which on CUDA keeps all that a graph reads where it is.

    Parameters
    ----------
    learning_rate : float
        Step size before any schedule.
    device : torch.device
        Device of the parameters.
    """

    # The decorators of these tell torch's compiler to leave them alone, and for that import it
    # with the first call: two seconds in every process.
    add_param_group = inspect.unwrap(torch.optim.Adam.add_param_group)
    zero_grad = inspect.unwrap(torch.optim.Adam.zero_grad)
    step = torch.no_grad()(inspect.unwrap(torch.optim.Adam.step))

    def __init__(
        self, parameters: list[nn.Parameter], learning_rate: float, device: torch.device
    ) -> None:
        on_cuda = device.type == "cuda"
        super().__init__(
            parameters,
            # A graph replays with the tensors it was recorded with: the step size must be one.
            lr=torch.tensor(learning_rate, dtype=torch.float32, device=device)
            if on_cuda
            else learning_rate,
            fused=device.type in ("cpu", "cuda"),
            capturable=on_cuda,
        )
        self._clipped = parameters

    def set_learning_rate(self, value: float) -> None:
        """Set the step size of the next steps."""
        group = self.param_groups[0]
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(value)
        else:
            group["lr"] = value

    def minimize(
        self, loss: Tensor, complete: Callable[[list[nn.Parameter]], None] = _as_they_are
    ) -> None:
        """Take one step down the gradient of a loss, after `complete` has been called with it."""
        # Gradients stay allocated: a graph writes to the addresses that it was recorded with.
        self.zero_grad(set_to_none=not isinstance(self.param_groups[0]["lr"], Tensor))
        loss.backward()
        complete(self._clipped)
        nn.utils.clip_grad_norm_(self._clipped, MAX_GRADIENT_NORM)
        self.step()

    def restore_moments(self, moments: dict[Any, Any]) -> None:
        """Take over the moments of a saved one, which may have run on another device.

        The options stay: they are this device's, and the step size that a graph reads goes on
        being the same tensor. Moments lie in new tensors, so a graph must be recorded anew.
        """
        rate = self.param_groups[0]["lr"]
        options = self.state_dict()["param_groups"]
        self.load_state_dict({"state": moments, "param_groups": options})
        self.param_groups[0]["lr"] = rate
