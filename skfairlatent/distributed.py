"""Fits that several processes share: each maps a part of the rows of every batch.

Start the processes by ``torchrun``, which torch brings along, and fit within `data_parallel`.
"""

__all__ = ["data_parallel"]

import math
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from datetime import timedelta
from numbers import Real
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

T = TypeVar("T")
Map = Callable[[Tensor], tuple[Tensor, Tensor]]

# What torchrun tells each process of the others.
_TOLD = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
# Threads that are started in a fit do not share it: their collectives would come in any order.
_IS_SHARED = ContextVar("_IS_SHARED", default=False)


@contextmanager
def data_parallel(*, timeout: float = 600.0) -> Iterator[int]:
    """Share the fits of a ``with`` block with the other processes that ``torchrun`` started.

    Every process runs the same script, and calls ``fit`` with the same parameters, `X`, `y` and
    `sensitive_features`. Each maps its share of the rows of every batch; the loss, which compares
    the groups over the whole batch, is computed from the latents of all. All processes end with
    the flow that a single one would have fitted with that `random_state`, up to rounding.

    Processes that have a GPU each exchange tensors by NCCL, others by Gloo. ``device="auto"``
    takes a process's own GPU. ``checkpoint_dir`` is read and written by the first process only.

    Parameters
    ----------
    timeout : float, default=600.0
        Seconds to wait for another process, such as one that takes longer to read `X`. It is not
        used where the program has called ``torch.distributed.init_process_group`` itself.

    Yields
    ------
    rank : int
        Number of this process, from 0.

    Raises
    ------
    RuntimeError
        If the process was not started by ``torchrun``.
    ConnectionError
        If another process has ended, or does not answer. Start all of them again: a fit with
        ``checkpoint_dir`` then goes on from the last epoch that was finished.
    ValueError
        If `timeout` is not a positive number, or if the processes call ``fit`` with different rows
        or parameters.

    Examples
    --------
    Of a script ``fit.py``, which ``torchrun --nproc-per-node 2 fit.py`` starts::

        with data_parallel() as rank:
            fair = FairLatentTransformer(random_state=0)
            fair.fit(X, y, sensitive_features=groups)
        if rank == 0:
            fair.save("fair.safetensors")
    """
    if not (isinstance(timeout, Real) and 0 < timeout < math.inf):
        raise ValueError(f"timeout={timeout!r} is not a positive number of seconds.")
    with _process_group(timeout), _own_gpu():
        token = _IS_SHARED.set(True)
        try:
            yield dist.get_rank()
        finally:
            _IS_SHARED.reset(token)


def is_first() -> bool:
    """Tell whether this process is the first of those that share a fit, or alone."""
    return not _IS_SHARED.get() or dist.get_rank() == 0


def agreed(value: T) -> T:
    """Return what the first process calls this with; alone, that is `value`."""
    if not _IS_SHARED.get():
        return value
    held = [value]
    with _explained():
        dist.broadcast_object_list(held, src=0)
    return held[0]


def require_agreement(describe: Callable[[], tuple[str, Tensor]]) -> None:
    """Refuse a fit of which the processes have different descriptions; alone, do nothing.

    Parameters
    ----------
    describe : callable
        Returns a text, which must be the same everywhere, and numbers, which may be rounded
        otherwise on another machine.
    """
    if not _IS_SHARED.get():
        return
    found: list[Any] = [None] * dist.get_world_size()
    with _explained():
        dist.all_gather_object(found, describe())
    (text, numbers), others = found[0], found[1:]
    for rank, (other_text, other_numbers) in enumerate(others, start=1):
        if text != other_text or not torch.allclose(numbers, other_numbers, 1e-2, 1e-2):
            raise ValueError(
                f"Process {rank} calls fit with other rows or parameters than process 0, or goes "
                "on from another fit. In data_parallel() each process is given all rows of X, y "
                "and sensitive_features, in the same order and as the same kind of array, and "
                "takes its share of every batch itself."
            )


def shared(function: Map) -> Map:
    """Return a function of the rows of a batch that has each process compute a part of them.

    Parameters
    ----------
    function : callable
        From rows, shape (n, d), to z of shape (n, d) and log-determinants of shape (n,), row by
        row. Alone, it is returned as it is.
    """
    if not _IS_SHARED.get():
        return function
    rank, n_processes = dist.get_rank(), dist.get_world_size()

    def shared_function(x: Tensor) -> tuple[Tensor, Tensor]:
        n_own = -(-len(x) // n_processes)
        own = torch.arange(rank * n_own, (rank + 1) * n_own, device=x.device)
        # The last share may be smaller: it repeats a row, which is cut off below.
        z, log_det = function(x[own.clamp_(max=len(x) - 1)])
        latents: Tensor = _Gather.apply(torch.hstack((z, log_det[:, None])))  # type: ignore[no-untyped-call]
        latents = latents[: len(x)]
        return latents[:, :-1], latents[:, -1]

    return shared_function


def average_gradients(parameters: Iterable[Tensor]) -> None:
    """Replace each process's gradients by the mean over all; alone, do nothing."""
    if not _IS_SHARED.get():
        return
    gradients = [each.grad for each in parameters if each.grad is not None]
    flat = torch.cat([each.flatten() for each in gradients])
    with _explained():
        dist.all_reduce(flat)
    flat /= dist.get_world_size()
    parts = flat.split([each.numel() for each in gradients])
    for gradient, part in zip(gradients, parts, strict=True):
        gradient.copy_(part.view_as(gradient))


class _Gather(Function):
    """Latents of all processes, one after another, from those of each.

    Every process computes the same loss from them. A gradient is therefore that of the whole
    loss already, and the mean over the processes, which `average_gradients` takes, would be their
    number too small.
    """

    @staticmethod
    def forward(ctx: Any, own: Tensor) -> Tensor:
        ctx.n_own = len(own)
        gathered = own.new_empty((dist.get_world_size() * len(own), own.shape[1]))
        with _explained():
            dist.all_gather([*gathered.split(len(own))], own)
        return gathered

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        own = gradient[dist.get_rank() * ctx.n_own :][: ctx.n_own]
        return own * dist.get_world_size()


@contextmanager
def _process_group(timeout: float) -> Iterator[None]:
    """Join the other processes, unless the program has done so."""
    if not dist.is_available():
        raise RuntimeError(
            "This build of torch has no torch.distributed: install another to use data_parallel()."
        )
    if dist.is_initialized():
        yield
        return
    if missing := [name for name in _TOLD if name not in os.environ]:
        raise RuntimeError(
            "data_parallel() is for processes that torchrun starts, but "
            f"{', '.join(missing)} is not in the environment: start the script by "
            "'torchrun --nproc-per-node 2 script.py', or leave out data_parallel()."
        )
    with _explained():
        dist.init_process_group(timeout=timedelta(seconds=timeout))
    try:
        yield
    finally:
        dist.destroy_process_group()


def _own_gpu() -> Any:
    """Make the GPU with this process's number on its machine the one that "auto" takes."""
    local_rank = int(os.environ.get("LOCAL_RANK", "0"))
    has_one = local_rank < torch.cuda.device_count()
    return torch.cuda.device(local_rank) if has_one else nullcontext()


@contextmanager
def _explained() -> Iterator[None]:
    """Say what it means that the processes cannot exchange something."""
    try:
        yield
    except RuntimeError as error:
        raise ConnectionError(
            "Another process of this fit has ended, has left data_parallel() without it, or does "
            "not answer. Look for the first error among the messages of all processes, then start "
            "all of them again: with checkpoint_dir set, the fit goes on from the last epoch that "
            "was finished. "
            f"(torch.distributed says: {error})"
        ) from error
