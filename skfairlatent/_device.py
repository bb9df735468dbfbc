"""Where to compute, in which precision, and from which random numbers."""

__all__ = [
    "EXACT_MATMUL",
    "Generators",
    "SharedSetting",
    "autocast_dtype",
    "neutral_torch_state",
    "own_random_state",
    "resolve_device",
    "single_thread",
]

import threading
from collections.abc import Callable, Iterator
from contextlib import (
    AbstractContextManager,
    ContextDecorator,
    ExitStack,
    contextmanager,
    nullcontext,
)
from typing import Any

import numpy as np
import torch
from sklearn.utils import check_random_state
from threadpoolctl import ThreadpoolController

_AUTOCAST_DEVICES = ("cpu", "cuda", "mps")
_ROUNDED = ("tf32", "bf16")


def resolve_device(device: str | torch.device) -> torch.device:
    """Turn ``"auto"``, a device name or a device into a usable ``torch.device``.

    Parameters
    ----------
    device : str or torch.device
        ``"auto"`` takes CUDA if there is one, then MPS, then the CPU.

    Raises
    ------
    ValueError
        If the name means nothing to torch, or this machine has no such device.

    Examples
    --------
    >>> resolve_device("cpu")
    device(type='cpu')
    """
    if device == "auto":
        return torch.device(_best_device_type())
    try:
        resolved = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise ValueError(
            f"device={device!r} is not a device; use 'auto', 'cpu', 'cuda', 'cuda:1' or 'mps'."
        ) from error
    if not _is_available(resolved):
        raise ValueError(
            f"device={device!r} was asked for, but torch sees none on this machine; "
            "use device='auto' to take the best there is, or device='cpu'."
        )
    return resolved


def autocast_dtype(device: torch.device) -> torch.dtype | None:
    """Return the half precision to multiply matrices in during training, or None for float32.

    Only where the hardware multiplies bfloat16 natively: elsewhere it is emulated, and slower.
    float16 is never used, because its range would need loss scaling.
    """
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(False) else None
    if device.type == "cpu":
        # Public torch has no question for this yet; without an answer, stay with float32.
        has_amx = getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
        return torch.bfloat16 if has_amx() else None
    return None


class Generators:
    """The random numbers of one fit: nothing else draws from them or seeds them.

    Threads of one process share torch's own generators, so that two fits would take numbers
    from each other, and change what the user's program draws.

    Parameters
    ----------
    device : torch.device
        Where the fit computes.

    Attributes
    ----------
    on_cpu, on_device : torch.Generator
        For tensors on the CPU and on `device`; one and the same if that is the CPU.
    """

    def __init__(self, seed: int, device: torch.device) -> None:
        self.on_cpu = torch.Generator("cpu")
        self.on_device = self.on_cpu if device.type == "cpu" else torch.Generator(device)
        self.seed(seed)

    def seed(self, seed: int) -> None:
        """Start anew from a seed."""
        self.on_cpu.manual_seed(seed)
        self.on_device.manual_seed(seed)


def own_random_state(random_state: Any) -> np.random.RandomState:
    """Return what to draw from; for None, which scikit-learn takes as numpy's global state, anew.

    Parameters
    ----------
    random_state : int, RandomState instance or None
    """
    return np.random.RandomState() if random_state is None else check_random_state(random_state)


def single_thread(wanted: bool) -> AbstractContextManager[Any]:
    """Compute with one thread of OpenMP if `wanted`; other threads of the program keep theirs.

    Threads that share little work wait for one another by spinning. On a machine with other work
    they wait most of the time.
    """
    if not wanted:
        return nullcontext()
    torch.get_num_threads()  # sets that of a new thread, which would otherwise undo the limit
    limit: AbstractContextManager[Any] = ThreadpoolController().limit(limits=1, user_api="openmp")
    return limit


@contextmanager
def neutral_torch_state() -> Iterator[None]:
    """Compute alike whatever the user's program has set in torch; decorates public functions.

    Gradients are recorded and autocast, inference mode and another default device are off, for
    this thread and until the function returns. The default precision is one of the whole process,
    which must not be changed for a while: tensors and layers are made with theirs.
    """
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        for device in _AUTOCAST_DEVICES:
            if torch.is_autocast_enabled(device):
                stack.enter_context(torch.autocast(device, enabled=False))
        # Only where it is needed: torch then calls Python at each operation.
        if torch.empty(0).device.type != "cpu":
            stack.enter_context(torch.device("cpu"))
        yield


class SharedSetting(ContextDecorator):
    """A setting of the whole process: the first thread that needs it sets it, the last undoes it.

    Each setting it for itself, a thread would undo it while another still needs it, or keep what
    another had set.

    Parameters
    ----------
    make : callable
        Returns a context manager that sets it.
    """

    def __init__(self, make: Callable[[], AbstractContextManager[Any]]) -> None:
        self._make, self._lock, self._n_users = make, threading.Lock(), 0

    def __enter__(self) -> None:
        with self._lock:
            if self._n_users == 0:
                self._set = self._make()
                self._set.__enter__()
            self._n_users += 1

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._n_users -= 1
            if self._n_users == 0:
                self._set.__exit__(None, None, None)


@contextmanager
def _exact_matmul() -> Iterator[None]:
    if not hasattr(torch.backends.mkldnn, "matmul"):  # before torch 2.9
        precision = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("highest")
        yield
        torch.set_float32_matmul_precision(precision)
        return
    backends: list[Any] = [torch.backends.mkldnn.matmul, torch.backends.cuda.matmul]
    # A backend without a setting of its own takes the common one: leave that so.
    before = [(each, each.fp32_precision) for each in backends]
    before = [(each, precision) for each, precision in before if precision in _ROUNDED]
    for each, _ in before:
        each.fp32_precision = "ieee"
    yield
    for each, precision in before:
        each.fp32_precision = precision


# A program may have allowed torch to round float32 to eight or eleven bits before it multiplies
# matrices, which a flow that is to be inverted cannot bear.
EXACT_MATMUL = SharedSetting(_exact_matmul)


def _best_device_type() -> str:
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _is_available(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count()
    if device.type == "mps":
        return torch.backends.mps.is_available()
    return device.type == "cpu"
