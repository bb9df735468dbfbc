"""Fetching a file over HTTP so that an interruption costs only what is left."""

__all__ = ["MissingError", "fetch_file", "fetch_text", "finish_file"]

import contextlib
import http.client
import json
import logging
import os
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from tqdm.auto import tqdm

logger = logging.getLogger(__name__)

T = TypeVar("T")

TIMEOUT_S = 30.0
# Failures in a row, none of which brought anything new, before giving up; waits double.
N_ATTEMPTS = 5
FIRST_WAIT_S = 1.0
_CHUNK = 1 << 20
_MAX_TEXT = 4096
# Storage of objects answers 403 for what is not there, unless lists of what is are public.
_GONE = (403, 404, 410)
_WORTH_RETRYING = (408, 425, 429, 500, 502, 503, 504)
_UNSATISFIABLE = 416
_PARTIAL = 206
_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+)")


class MissingError(Exception):
    """The server has no such file."""


class _InterruptedError(Exception):
    """The network failed; trying again may help."""


@dataclass(frozen=True)
class _Version:
    """Which file a part is of: parts of different ones must not be joined."""

    url: str
    validator: str | None
    size: int | None


def fetch_file(url: str, part: Path, verbose: bool) -> None:
    """Fetch `url` into `part`, going on with what is there already.

    The network may fail: it is tried again, and after that whoever calls can go on later.

    Parameters
    ----------
    url : str
    part : Path
        What was fetched stays there also after an error. Beside it, a file with ``.json`` added
        to the name says which version of the file it is of.
    verbose : bool
        Show a progress bar.

    Raises
    ------
    MissingError
        If the server has no such file.
    ConnectionError
        If the network or the server failed again and again.
    OSError
        If the disk is full.
    """

    def size() -> int:
        return part.stat().st_size if part.exists() else 0

    _again(url, lambda: _fetch_once(url, part, verbose), size, f"{part} keeps what has come")


def finish_file(part: Path, target: Path) -> None:
    """Put a part that is whole in its place."""
    part.replace(target)
    _version_file(part).unlink(missing_ok=True)


def fetch_text(url: str) -> str:
    """Fetch a short text; errors are those of `fetch_file`."""

    def fetch() -> str:
        with _open(url, {}) as response:
            return b"".join(_chunks(response, _MAX_TEXT)).decode("ascii", "replace")

    return _again(url, fetch, lambda: 0, "nothing was kept")


def _again(url: str, work: Callable[[], T], progress: Callable[[], int], kept: str) -> T:
    """Work until it is done; give up after several failures in a row without progress."""
    n_failures, furthest = 0, progress()
    while True:
        try:
            return work()
        except _InterruptedError as error:
            n_failures = 0 if progress() > furthest else n_failures + 1
            furthest = max(furthest, progress())
            if n_failures >= N_ATTEMPTS:
                raise ConnectionError(
                    f"{url} could not be fetched ({error}): {kept}. Check the connection and the "
                    "address, and do the same again to go on."
                ) from error
            logger.info("%s: %s; trying again", url, error)
            time.sleep(FIRST_WAIT_S * 2 ** max(n_failures - 1, 0))


def _fetch_once(url: str, part: Path, verbose: bool) -> None:
    before = _read_version(part, url)
    done = part.stat().st_size if before and part.exists() else 0
    headers = {"Range": f"bytes={done}-"} if done else {}
    if before and done and before.validator:
        headers["If-Range"] = before.validator
    try:
        response = _open(url, headers)
    except urllib.error.HTTPError as error:
        if error.code == _UNSATISFIABLE and before and done == before.size:
            return
        # Whatever the part is of, the server has something else now.
        part.unlink(missing_ok=True)
        raise _InterruptedError(f"the server cannot go on after {done} bytes") from error
    with response:
        done, version = _compare(url, response, done, before)
        if not done:
            part.unlink(missing_ok=True)
        if response.status == _PARTIAL and not done:
            raise _InterruptedError("the file on the server has changed")
        _version_file(part).write_text(json.dumps(asdict(version)), encoding="utf-8")
        _append(response, part, done, version, verbose)


def _compare(url: str, response: Any, done: int, before: _Version | None) -> tuple[int, _Version]:
    """Return how many bytes of the part are continued, and the version of what is sent."""
    validator = response.headers.get("ETag") or ""
    if not validator or validator.startswith("W/"):  # those only say that it is much the same
        validator = response.headers.get("Last-Modified")
    if response.status != _PARTIAL:
        length = response.headers.get("Content-Length", "")
        return 0, _Version(url, validator, int(length) if length.isdigit() else None)
    found = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
    sent = _Version(url, validator, int(found[2]) if found else None)
    continues = found is not None and int(found[1]) == done and sent == before
    return (done if continues else 0), sent


def _append(response: Any, part: Path, done: int, version: _Version, verbose: bool) -> None:
    with (
        part.open("r+b" if done else "wb") as file,
        tqdm(
            desc=version.url.rpartition("/")[2],
            total=version.size,
            initial=done,
            unit="B",
            unit_scale=True,
            disable=not verbose,
        ) as progress,
    ):
        file.seek(done)
        for chunk in _chunks(response):
            try:
                file.write(chunk)
                file.flush()
            except OSError as error:
                raise OSError(
                    error.errno,
                    f"{error.strerror}. {version.size or 'Some'} bytes are needed; what has come "
                    "is kept: make room, and do the same again to go on",
                    str(part),
                ) from error
            progress.update(len(chunk))
        os.fsync(file.fileno())
        if version.size not in (None, file.tell()):
            raise _InterruptedError(f"it ended after {file.tell()} of {version.size} bytes")


def _open(url: str, headers: dict[str, str]) -> Any:
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
    # Packed contents would come with other positions and lengths.
    sent = {"User-Agent": "skfairlatent", "Accept-Encoding": "identity", **headers}
    request = urllib.request.Request(url, headers=sent)  # noqa: S310 - no opener for other kinds
    try:
        with _interruptions():
            return opener.open(request, timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code in _GONE:
            raise MissingError(url) from error
        if error.code == _UNSATISFIABLE:
            raise
        if error.code in _WORTH_RETRYING:
            raise _InterruptedError(f"the server answers {error.code} {error.reason}") from error
        raise ConnectionError(
            f"{url} could not be fetched: the server answers {error.code} {error.reason}. Check "
            "the address and whether it is open to you."
        ) from error


def _chunks(response: Any, limit: int | None = None) -> Iterator[bytes]:
    while limit is None or limit > 0:
        with _interruptions():
            chunk = response.read1(min(_CHUNK, limit or _CHUNK))
        if not chunk:
            return
        limit = None if limit is None else limit - len(chunk)
        yield chunk


@contextlib.contextmanager
def _interruptions() -> Iterator[None]:
    try:
        yield
    except urllib.error.HTTPError:
        raise
    except (OSError, http.client.HTTPException) as error:
        raise _InterruptedError(str(error) or type(error).__name__) from error


def _version_file(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _read_version(part: Path, url: str) -> _Version | None:
    """Return what the part is of, or None if that is unknown or another address."""
    try:
        version = _Version(**json.loads(_version_file(part).read_text(encoding="utf-8")))
    except (FileNotFoundError, TypeError, ValueError):
        return None
    return version if version.url == url else None
