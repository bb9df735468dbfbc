"""Where to compute, in which precision, and from which random numbers."""

__all__ = ["Generators", "autocast_dtype", "neutral_torch_state", "resolve_device"]

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from typing import Any, TypeVar, cast

import torch

Function = TypeVar("Function", bound=Callable[..., Any])

_AUTOCAST_DEVICES = ("cpu", "cuda", "mps")


def resolve_device(device: str | torch.device) -> torch.device:
    """Turn ``"auto"``, a device name or a device into a usable ``torch.device``.

    Parameters
    ----------
    device : str or torch.device
        ``"auto"`` takes CUDA if there is one, then MPS, then the CPU.

    Returns
    -------
    torch.device

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
    seed : int
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


def neutral_torch_state(function: Function) -> Function:
    """Make a public function compute alike whatever the user's program has set in torch.

    Gradients are recorded and autocast, inference mode and another default device are off, for
    this thread and until the function returns. The default precision is one of the whole process,
    which must not be changed for a while: tensors and layers are made with theirs.
    """

    # Not contextlib's decorator: its frame would be taken for the user's, as warnings show it.
    @wraps(function)
    def neutral(*args: Any, **kwargs: Any) -> Any:
        with _neutral_torch_state():
            return function(*args, **kwargs)

    return cast("Function", neutral)


@contextmanager
def _neutral_torch_state() -> Iterator[None]:
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
