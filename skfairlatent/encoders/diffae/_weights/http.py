"""Fetching a whole file over HTTP, within bounds of time and size."""

__all__ = ["MissingError", "fetch_file", "fetch_text"]

import contextlib
import http.client
import logging
import os
import queue
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any, TypeVar

from tqdm.auto import tqdm

logger = logging.getLogger(__name__)

T = TypeVar("T")

# How long to wait for anything; and for a whole file so long, and a second for so many bytes.
TIMEOUT_S = 30.0
SLOWEST_BYTES_PER_S = 50_000
# Three times the largest official checkpoint.
MAX_BYTES = 8 << 30
# Before giving up; waits double.
N_ATTEMPTS = 5
FIRST_WAIT_S = 1.0
_CHUNK = 1 << 20
_CHUNKS_AHEAD = 8
_MAX_TEXT = 4096
# Storage of objects answers 403 for what is not there, unless lists of what is are public.
_GONE = (403, 404, 410)
_WORTH_RETRYING = (408, 425, 429, 500, 502, 503, 504)


class MissingError(Exception):
    """The server has no such file."""


class _InterruptedError(Exception):
    """The network failed; trying again may help."""


def fetch_file(url: str, part: Path, verbose: bool) -> None:
    """Fetch `url` into `part`, from the beginning each time that the network fails.

    Parameters
    ----------
    url : str
    part : Path
        After an error there may be a part of the file.
    verbose : bool
        Show a progress bar.

    Raises
    ------
    MissingError
        If the server has no such file.
    ConnectionError
        If the network or the server failed again and again, the server is too slow, or sends
        more than any weights have.
    OSError
        If the disk is full.
    """
    _again(url, lambda: _fetch_once(url, part, verbose))


def fetch_text(url: str) -> str:
    """Fetch the beginning of a text; errors are those of `fetch_file`."""

    def fetch() -> str:
        content = b""
        with contextlib.closing(_stream(url)) as stream:
            next(stream)
            for chunk in stream:
                content += chunk
                if len(content) >= _MAX_TEXT:
                    break
        return content[:_MAX_TEXT].decode("ascii", "replace")

    return _again(url, fetch)


def _again(url: str, work: Callable[[], T]) -> T:
    """Work until it is done, or has failed too often."""
    n_failures = 0
    while True:
        try:
            return work()
        except _InterruptedError as error:
            n_failures += 1
            if n_failures == N_ATTEMPTS:
                raise ConnectionError(
                    f"{url} could not be fetched ({error}). Check the connection and the "
                    "address, and try again."
                ) from error
            logger.info("%s: %s; trying again", url, error)
            time.sleep(FIRST_WAIT_S * 2 ** (n_failures - 1))


def _fetch_once(url: str, part: Path, verbose: bool) -> None:
    with contextlib.closing(_stream(url)) as stream:
        size = next(stream)
        with (
            part.open("wb") as file,
            tqdm(
                desc=url.rpartition("/")[2],
                total=size,
                unit="B",
                unit_scale=True,
                disable=not verbose,
            ) as progress,
        ):
            for chunk in stream:
                with _room_told(part, size):
                    file.write(chunk)
                    file.flush()
                progress.update(len(chunk))
            with _room_told(part, size):
                os.fsync(file.fileno())


@contextlib.contextmanager
def _room_told(part: Path, size: int | None) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OSError(
            error.errno,
            f"{error.strerror}. {size or 'Some'} bytes are needed: make room, and try again",
            str(part),
        ) from error


def _stream(url: str) -> Generator[Any, None, None]:
    """Yield the size of a file, None if that is unknown, then its bytes, as they come.

    They are received in a thread: a server that sends a byte now and then, of its headers even,
    would keep any single call waiting.
    """
    arrived: queue.Queue[Any] = queue.Queue(_CHUNKS_AHEAD)
    stop = threading.Event()
    start, n_bytes, size = time.monotonic(), 0, None
    threading.Thread(target=_receive, args=(url, arrived, stop), daemon=True).start()
    try:
        while (came := _next(url, arrived, start, n_bytes)) != b"":
            if isinstance(came, BaseException):
                raise came
            if isinstance(came, bytes):
                n_bytes += len(came)
            else:
                size = came
            if max(n_bytes, size or 0) > MAX_BYTES:
                raise ConnectionError(
                    f"{url} has more than {MAX_BYTES} bytes, as no weights have. Check the "
                    "address."
                )
            yield came
    finally:
        stop.set()
    if size not in (None, n_bytes):
        raise _InterruptedError(f"it ended after {n_bytes} of {size} bytes")


def _next(url: str, arrived: "queue.Queue[Any]", start: float, n_bytes: int) -> Any:
    deadline = start + TIMEOUT_S + n_bytes / SLOWEST_BYTES_PER_S
    try:
        return arrived.get(timeout=max(0.0, deadline - time.monotonic()))
    except queue.Empty:
        raise ConnectionError(
            f"{url} could not be fetched (timed out): {n_bytes} bytes came in "
            f"{time.monotonic() - start:.0f} s. Check the connection, or use another mirror."
        ) from None


def _receive(url: str, arrived: "queue.Queue[Any]", stop: threading.Event) -> None:
    """Put into a queue the size, then bytes that end with empty ones; or the error."""
    try:
        with _open(url) as response:
            length = response.headers.get("Content-Length", "")
            _put(int(length) if length.isdecimal() else None, arrived, stop)
            chunk = b"-"
            while chunk and not stop.is_set():
                with _interruptions():
                    chunk = response.read1(_CHUNK)
                _put(chunk, arrived, stop)
    except Exception as error:  # noqa: BLE001 - raised where it is waited for
        _put(error, arrived, stop)


def _put(item: Any, arrived: "queue.Queue[Any]", stop: threading.Event) -> None:
    while not stop.is_set():
        with contextlib.suppress(queue.Full):
            arrived.put(item, timeout=0.1)
            return


def _open(url: str) -> Any:
    """Ask for a file. Only the web: no redirection leads to other kinds of address."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler,
        urllib.request.HTTPHandler,
        urllib.request.HTTPSHandler,
        urllib.request.HTTPRedirectHandler,
        urllib.request.HTTPErrorProcessor,
        urllib.request.HTTPDefaultErrorHandler,
        urllib.request.UnknownHandler,
    ):
        opener.add_handler(handler())
    # Packed contents would come with other lengths.
    sent = {"User-Agent": "skfairlatent", "Accept-Encoding": "identity"}
    request = urllib.request.Request(url, headers=sent)  # noqa: S310 - no opener for other kinds
    try:
        with _interruptions():
            return opener.open(request, timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code in _GONE:
            raise MissingError(url) from error
        if error.code in _WORTH_RETRYING:
            raise _InterruptedError(f"the server answers {error.code} {error.reason}") from error
        raise ConnectionError(
            f"{url} could not be fetched: the server answers {error.code} {error.reason}. Check "
            "the address and whether it is open to you."
        ) from error


@contextlib.contextmanager
def _interruptions() -> Iterator[None]:
    try:
        yield
    except urllib.error.HTTPError:
        raise
    except (OSError, http.client.HTTPException) as error:
        raise _InterruptedError(str(error) or type(error).__name__) from error
