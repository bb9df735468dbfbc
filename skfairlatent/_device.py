"""Where to compute, in which precision, and from which random numbers."""

__all__ = ["autocast_dtype", "isolated_rng", "resolve_device", "seed_rng"]

from collections.abc import Iterator
from contextlib import contextmanager

import torch


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


@contextmanager
def isolated_rng(seed: int, device: torch.device) -> Iterator[None]:
    """Seed torch for a block of code, and put the global random state back afterwards."""
    on_cuda, on_mps = device.type == "cuda", device.type == "mps"
    mps_state = torch.mps.get_rng_state() if on_mps else None
    with torch.random.fork_rng([device] if on_cuda else [], device_type="cuda"):
        seed_rng(seed, device)
        try:
            yield
        finally:
            if mps_state is not None:
                torch.mps.set_rng_state(mps_state)


def seed_rng(seed: int, device: torch.device) -> None:
    """Seed the generators that work on `device` draws from.

    ``torch.manual_seed`` would also seed every other device of the machine.
    """
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed)
    elif device.type == "mps":
        torch.mps.manual_seed(seed)


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
