"""Work on many rows in chunks, so that what lies between input and result stays small."""

__all__ = ["is_out_of_memory", "map_chunks"]

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from numbers import Integral
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from tqdm.auto import tqdm

# How torch's allocators and libraries say it: CUDA and MPS; CPU on Linux, on Windows; cuBLAS.
_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory", "alloc_failed")


def map_chunks(
    n_rows: int,
    batch_size: int,
    call: Callable[[Any], npt.NDArray[Any]],
    *,
    read: Callable[[slice], Any] | None = None,
    desc: str = "",
    verbose: bool = False,
) -> npt.NDArray[Any]:
    """Return the results of consecutive chunks of rows, as one array that is allocated once.

    A chunk that does not fit in memory is tried again at half its size, and so is the rest.

    Parameters
    ----------
    n_rows : int
        How many rows there are, 1 or more.
    batch_size : int
        Rows in a chunk, 1 or more.
    call : callable
        Takes a chunk and returns an array of shape (rows in the chunk, ...). Without `read` the
        chunk is a slice of row numbers, otherwise it is what `read` returned.
    read : callable, optional
        Takes a slice of row numbers and returns what `call` needs of these rows. It runs in a
        thread, one chunk ahead, so that decoding files overlaps with computing; after a lack of
        memory, rows read ahead are read again.
    desc : str
        Name of the work, for the progress bar and for errors.
    verbose : bool, default=False
        Whether to show a progress bar.

    Returns
    -------
    ndarray of shape (n_rows, ...)
        With the dtype and trailing shape of the first result.

    Raises
    ------
    MemoryError
        If not even a single row fits in memory.
    ValueError
        If there are no rows, `batch_size` is not a positive integer, or `call` returns another
        number of rows than it was given, or rows of another shape than before.

    Examples
    --------
    >>> map_chunks(5, 2, lambda rows: np.arange(5)[rows] ** 2)
    array([ 0,  1,  4,  9, 16])
    """
    size = _check_sizes(n_rows, batch_size)
    start = 0
    out: npt.NDArray[Any] = np.empty(0)
    bar = tqdm(total=n_rows, desc=desc or None, disable=not verbose)
    with bar, _Ahead(read, n_rows) as ahead:
        while start < n_rows:
            rows = slice(start, min(start + size, n_rows))
            try:
                result = np.asarray(call(ahead.take(rows)))
            except (MemoryError, RuntimeError) as error:
                size = _smaller(rows, error, desc)
            else:
                if start == 0:
                    out = np.empty((n_rows, *result.shape[1:]), dtype=result.dtype)
                _check_result(result, rows, out)
                out[rows] = result
                start = rows.stop
                bar.update(rows.stop - rows.start)
                continue
            # Here and not in the handler, where the error still holds what filled the memory.
            ahead.forget()
            bar.set_postfix(batch_size=size)
            if torch.cuda.is_initialized():
                torch.cuda.empty_cache()
    return out


def is_out_of_memory(error: Exception) -> bool:
    """Tell a lack of memory, which `map_chunks` mends by smaller chunks, from other errors."""
    text = str(error).lower()
    return isinstance(error, MemoryError) or any(sign in text for sign in _OUT_OF_MEMORY)


class _Ahead:
    """Takes chunks from `read`, and has the one after it read meanwhile."""

    def __init__(self, read: Callable[[slice], Any] | None, n_rows: int) -> None:
        self._read = read
        self._n_rows = n_rows
        self._pool = ThreadPoolExecutor(1, "skfairlatent-read")  # no thread before it is used
        self._next: Future[Any] | None = None

    def take(self, rows: slice) -> Any:
        """Return the chunk of these rows, which follow those before, unless forgotten.

        An error while reading them is raised here.
        """
        if self._read is None:
            return rows
        chunk = (self._next or self._pool.submit(self._read, rows)).result()
        self._next = None
        stop = min(rows.stop + rows.stop - rows.start, self._n_rows)
        if rows.stop < stop:
            self._next = self._pool.submit(self._read, slice(rows.stop, stop))
        return chunk

    def forget(self) -> None:
        """Drop what was read ahead: memory is short, and fewer rows are wanted next."""
        if self._next is not None:
            self._next.cancel()
            self._next = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._pool.shutdown(cancel_futures=True)


def _smaller(rows: slice, error: Exception, desc: str) -> int:
    """Return half the size of the chunk that did not fit; raise what is another error."""
    if not is_out_of_memory(error):
        raise error
    half: int = (rows.stop - rows.start) // 2
    if half == 0:
        raise MemoryError(
            f"{desc or 'Computing'}: not even one row at a time fits in memory ({error}). Close "
            "other programs that use this device, pass device='cpu', or use smaller images or "
            "a smaller model."
        ) from error
    return half


def _check_sizes(n_rows: int, batch_size: int) -> int:
    if n_rows < 1:
        raise ValueError("There are no rows: pass one or more.")
    if not isinstance(batch_size, Integral) or isinstance(batch_size, bool) or batch_size < 1:
        raise ValueError(f"batch_size={batch_size!r} is not valid: pass an integer >= 1.")
    return int(batch_size)


def _check_result(result: npt.NDArray[Any], rows: slice, out: npt.NDArray[Any]) -> None:
    expected = (rows.stop - rows.start, *out.shape[1:])
    if result.shape != expected:
        raise ValueError(
            f"Rows {rows.start} to {rows.stop - 1} gave an array of shape {result.shape}, not "
            f"{expected}: the result must have one row for each row given, and always as wide."
        )
