"""The same work over and over: on CUDA launched as one recorded graph."""

__all__ = ["N_EAGER_CALLS", "Recorded", "Replayed"]

import logging
import threading
from collections.abc import Callable

import torch
from torch import Tensor

_logger = logging.getLogger(__name__)

# CUDA wants a few eager calls before it can record one: lazily created handles, workspaces and
# an optimizer's state must exist.
N_EAGER_CALLS = 3
# Some versions of torch record the state of its own generator for one graph at a time.
_RECORDING = threading.Lock()


class Replayed:
    """A function that reads and writes fixed tensors; on CUDA it is recorded and replayed.

    A step of training is hundreds of small kernels, and launching them can take longer than
    running them. A graph launches them all at once, with the addresses they had when they were
    recorded: inputs must be written into the same tensors each time.

    Parameters
    ----------
    compute : callable
        Without arguments and result. It must not wait for the GPU.
    device : torch.device
        Where it computes. Anywhere but on CUDA it is just called.
    generator : torch.Generator, optional
        Source of its random numbers, unless that is torch's own.
    """

    def __init__(
        self,
        compute: Callable[[], None],
        device: torch.device,
        generator: torch.Generator | None = None,
    ) -> None:
        self._compute, self._device, self._generator = compute, device, generator
        self._graph: torch.cuda.CUDAGraph | None = None
        self._eager_calls_left = N_EAGER_CALLS if device.type == "cuda" else -1

    @property
    def is_recorded(self) -> bool:
        """Whether calls replay a graph."""
        return self._graph is not None

    def __call__(self) -> None:
        """Do the work once."""
        if self._eager_calls_left == 0:
            self._record()
        self._eager_calls_left -= 1
        if self._graph is None:
            self._compute()
        else:
            self._graph.replay()

    def _record(self) -> None:
        graph = torch.cuda.CUDAGraph()
        if self._generator is not None:
            # Each replay then goes on drawing where the generator is, or was set to.
            graph.register_generator_state(self._generator)
        try:
            # torch keeps one stream to record on, of the first GPU that was used: on another
            # GPU it would record nothing. And other threads may use the GPU meanwhile.
            with (
                _RECORDING,
                torch.cuda.device(self._device),
                torch.cuda.graph(
                    graph, stream=torch.cuda.Stream(), capture_error_mode="thread_local"
                ),
            ):
                self._compute()
        except RuntimeError as error:
            _logger.warning("CUDA graph not recorded, going on without it: %s", error)
        else:
            self._graph = graph


class Recorded:
    """A function of tensors; on CUDA it is recorded for inputs of one shape, anew for another.

    The result is overwritten by the next call there.

    Parameters
    ----------
    function : callable
        From tensors to a tensor, of the same shape for inputs of the same shapes.
    """

    def __init__(self, function: Callable[..., Tensor], device: torch.device) -> None:
        self._function, self._device = function, device
        self._inputs: list[Tensor] = []
        self._replayed = Replayed(self._compute, device)
        self._result = torch.empty(0, device="cpu")

    def __call__(self, *inputs: Tensor) -> Tensor:
        """Return the function's value."""
        if self._device.type != "cuda":
            return self._function(*inputs)
        if [own.shape for own in self._inputs] != [given.shape for given in inputs]:
            self._inputs = [torch.empty_like(given) for given in inputs]
            self._replayed = Replayed(self._compute, self._device)
        for own, given in zip(self._inputs, inputs, strict=True):
            own.copy_(given, non_blocking=True)
        self._replayed()
        return self._result

    def _compute(self) -> None:
        # Replays write to what is assigned while the graph is recorded.
        self._result = self._function(*self._inputs)
