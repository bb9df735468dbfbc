"""Finding the torch modules behind a callable, and borrowing them for inference."""

__all__ = ["Place", "borrowed", "digest_of", "modules_behind", "name_of"]

import functools
import hashlib
import inspect
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn


class Place(NamedTuple):
    """Where a callable wants its input, and in which precision."""

    device: torch.device
    dtype: torch.dtype = torch.float32


def modules_behind(call: Any) -> list[nn.Module]:
    """Return the modules that a callable runs, as far as can be seen.

    Parameters
    ----------
    call : object
        A module, a method of one, a ``functools.partial``, or a function that refers to modules
        by name, such as ``lambda x: vae.encode(x).mean``.

    Returns
    -------
    list of Module
        Each once, in the order found; empty if none is.
    """
    return list({id(module): module for module in _modules_in(call)}.values())


def _modules_in(value: Any) -> Iterator[nn.Module]:
    if isinstance(value, nn.Module):
        yield value
    elif isinstance(value, functools.partial):
        for part in (value.func, *value.args, *value.keywords.values()):
            yield from _modules_in(part)
    elif inspect.ismethod(value):
        yield from _modules_in(value.__self__)
    elif inspect.isfunction(value):
        names = inspect.getclosurevars(value)
        for part in (*names.nonlocals.values(), *names.globals.values()):
            if isinstance(part, nn.Module):  # no deeper: functions may refer to one another
                yield part


def name_of(call: Any) -> str:
    """Return what to call a callable: a function's name, a module's class."""
    return str(getattr(call, "__qualname__", type(call).__qualname__))


@contextmanager
def borrowed(call: Callable[..., Any], device: torch.device) -> Iterator[Place]:
    """Put the modules behind a callable on a device, in evaluation mode; afterwards back.

    Every submodule gets its own mode back, so that a frozen layer stays frozen. A module whose
    weights lie on several devices was placed by someone who knows better, and stays.

    Another thread that borrows a part of the same waits: it would find modules in evaluation
    mode, or on a device, that are about to be put back.
    """
    modules = modules_behind(call)
    with ExitStack() as stack:
        stack.enter_context(_alone_with(call, *modules))
        for module in modules:
            for part in module.modules():
                if part.training:
                    stack.callback(setattr, part, "training", True)
            module.eval()
            homes = {tensor.device for tensor in _tensors(module)}
            if len(homes) == 1 and homes != {device}:
                stack.callback(module.to, homes.pop())
                module.to(device)
        weights = [weight for module in modules for weight in module.parameters()]
        dtypes = [weight.dtype for weight in weights if weight.is_floating_point()]
        # Not inference_mode: what a module caches in it cannot be used in a later training.
        with torch.no_grad():
            yield Place(device, *dtypes[:1])


# The objects that are borrowed, by id, and the thread that has each.
_BORROWERS: dict[int, int] = {}
_RETURNED = threading.Condition()


@contextmanager
def _alone_with(call: Any, *modules: nn.Module) -> Iterator[None]:
    """Wait until no other thread has borrowed a callable or a part of its modules; keep them."""
    me = threading.get_ident()
    wanted = {id(call), *(id(part) for module in modules for part in module.modules())}
    with _RETURNED:
        # All or none: two threads that wait for each other's parts would wait for ever.
        _RETURNED.wait_for(lambda: all(_BORROWERS.get(each, me) == me for each in wanted))
        taken = wanted - _BORROWERS.keys()
        _BORROWERS.update(dict.fromkeys(taken, me))
    try:
        yield
    finally:
        with _RETURNED:
            for each in taken:
                del _BORROWERS[each]
            _RETURNED.notify_all()


def _forget_other_threads() -> None:
    """Let a forked process start without loans: threads left behind never return theirs."""
    global _RETURNED  # noqa: PLW0603 - what else a fork hook could do
    _BORROWERS.clear()
    _RETURNED = threading.Condition()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_other_threads)


def digest_of(call: Any) -> str:
    """Return the name of a callable and a hash of the weights and buffers behind it.

    The same on every device and machine, which pickles of tensors are not.
    """
    digest = hashlib.sha256()
    for module in modules_behind(call):
        for name, value in module.state_dict().items():
            digest.update(name.encode())
            if isinstance(value, Tensor):
                digest.update(f"{value.dtype} {tuple(value.shape)}".encode())
                content = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
                digest.update(content.numpy().tobytes())
    return f"{name_of(call)}:{digest.hexdigest()[:32]}"


def _tensors(module: nn.Module) -> Iterator[Tensor]:
    yield from module.parameters()
    yield from module.buffers()
