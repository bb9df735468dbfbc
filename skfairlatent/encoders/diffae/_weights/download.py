"""Official weights by name: from the cache, or from a mirror that the user names."""

__all__ = ["download_weights"]

import contextlib
import hashlib
import http.client
import logging
import os
import re
import shutil
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock
from tqdm.auto import tqdm

from skfairlatent.encoders.diffae._config import OFFICIAL_CONFIGS
from skfairlatent.encoders.diffae._weights.torch_files import (
    require_weights_file,
    require_whole_zip,
)
from skfairlatent.exceptions import CheckpointError

logger = logging.getLogger(__name__)

AUTHORS = "https://github.com/phizaz/diffae#checkpoints"
WEIGHTS, STATISTICS = "last.ckpt", "latent.pkl"
CACHE, MIRROR, OFFLINE = "SKFAIRLATENT_CACHE", "SKFAIRLATENT_MIRROR", "SKFAIRLATENT_OFFLINE"
TIMEOUT_S = 30.0
_NO = {"", "0", "false", "no", "off"}
# Object storage answers 403 for files that do not exist, unless its listing is public.
_GONE = (403, 404, 410)
_DIGEST = re.compile(r"[0-9a-fA-F]{64}")


def download_weights(
    name: str,
    *,
    mirror: str | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    sha256: str | None = None,
    offline: bool | None = None,
    verbose: bool = False,
) -> Path:
    """Return the path of official weights, downloading them if they are not in the cache.

    A file is kept only if it is complete. If several processes call this function at once, one
    downloads and the others wait. The statistics of the codes, ``latent.pkl``, are downloaded
    too if the mirror has them. Each file is compared with its SHA-256 digest; without a digest,
    only a file of ``torch.save`` whose own checksums agree is accepted.

    Parameters
    ----------
    name : str
        A key of ``OFFICIAL_CONFIGS``.
    mirror : str, optional
        Address that has ``{name}/last.ckpt`` below it; by default the environment variable
        SKFAIRLATENT_MIRROR. The authors publish on Google Drive, which programs cannot download
        from, so that there is no public mirror.
    cache_dir : path-like, optional
        By default SKFAIRLATENT_CACHE, or ``~/.cache/skfairlatent``.
    sha256 : str, optional
        Digest of ``last.ckpt``, 64 hexadecimal digits; by default the content of
        ``last.ckpt.sha256`` on the mirror. If given, a file in the cache is compared too.
    offline : bool, optional
        Never use the network; by default SKFAIRLATENT_OFFLINE.
    verbose : bool, default=False
        Show a progress bar.

    Returns
    -------
    Path
        Path of ``last.ckpt``; ``latent.pkl``, if there is one, is in the same folder.

    Raises
    ------
    ValueError
        If `name`, `mirror` or `sha256` is not valid.
    FileNotFoundError
        If the weights are not in the cache and there is no mirror, or it does not have them.
    ConnectionError
        If the mirror cannot be reached, refuses the file or stops sending.
    CheckpointError
        If the file does not have the expected digest, or is damaged.
    OSError
        If the disk is full or the cache cannot be written.
    """
    if name not in OFFICIAL_CONFIGS:
        raise ValueError(
            f"{name!r} is not an official model: pass one of {sorted(OFFICIAL_CONFIGS)}."
        )
    if sha256 is not None and not _DIGEST.fullmatch(sha256):
        raise ValueError(f"sha256={sha256!r} is not valid: pass 64 hexadecimal digits.")
    target = _cache_folder(cache_dir) / name / WEIGHTS
    if not target.exists():
        address = _address(name, target, mirror, offline)
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(target.with_name(f"{WEIGHTS}.lock")):
            if not target.exists():  # another process may have been faster
                return _download(address, target, sha256, verbose)
    if sha256 is not None:
        _compare(target, sha256, f"Delete {target} and download it again.")
    return target


def _cache_folder(given: str | os.PathLike[str] | None) -> Path:
    named = given if given is not None else os.environ.get(CACHE) or None
    if named is not None:
        return Path(named).expanduser()
    # The XDG specification says that a relative path is ignored.
    root = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (root if root.is_absolute() else Path.home() / ".cache") / "skfairlatent"


def _address(name: str, target: Path, mirror: str | None, offline: bool | None) -> str:
    """Return the folder to download from, or say how to get the weights otherwise."""
    found = mirror if mirror is not None else os.environ.get(MIRROR) or None
    if found is not None and not re.match("https?://[^/]", found):
        raise ValueError(
            f"mirror={found!r} is not a valid address: it must begin with https:// or http://. "
            "For a file on this machine, pass its path as weights."
        )
    source = f"{found.rstrip('/')}/{name}" if found else None
    if os.environ.get(OFFLINE, "").strip().lower() not in _NO if offline is None else offline:
        raise FileNotFoundError(
            f"{target} does not exist, and downloads are switched off (offline=True or "
            f"{OFFLINE}): get {WEIGHTS} of {name} from {source or AUTHORS} and copy it there."
        )
    if source is None:
        raise FileNotFoundError(
            f"{target} does not exist. The authors publish {name} at {AUTHORS}: download its "
            f"{WEIGHTS} in a browser and copy it to that path ({CACHE} changes the folder). "
            f"If you have a mirror with {name}/{WEIGHTS}, set {MIRROR}='https://...' or call "
            f"download_weights({name!r}, mirror='https://...')."
        )
    return source


def _download(address: str, target: Path, sha256: str | None, verbose: bool) -> Path:
    # The weights come last: once they exist, the download is complete.
    try:
        _fetch(f"{address}/{STATISTICS}", target.with_name(STATISTICS), None, verbose)
    except FileNotFoundError:
        logger.info("%s has no %s", address, STATISTICS)
    _fetch(f"{address}/{WEIGHTS}", target, sha256, verbose)
    return target


def _fetch(url: str, target: Path, sha256: str | None, verbose: bool) -> None:
    if target.exists():
        return
    digest = sha256 or _published_digest(url)
    part = target.with_name(f"{target.name}.part")
    try:
        with (
            _open(url, target) as response,
            part.open("wb") as file,
            tqdm.wrapattr(
                file, "write", response.length, desc=target.name, disable=not verbose
            ) as progress,
        ):
            shutil.copyfileobj(response, progress, 1 << 20)
        require_weights_file(part)
        if digest is None:
            logger.warning("%s.sha256 does not exist: only checksums in the file are checked", url)
            require_whole_zip(part)
        else:
            _compare(part, digest, "It is damaged or another file: download it again.")
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def _published_digest(url: str) -> str | None:
    try:
        with _open(f"{url}.sha256", None) as response:
            found = _DIGEST.match(response.read(4096).decode("ascii", "replace"))
    except FileNotFoundError:
        return None
    if not found:
        raise CheckpointError(
            f"{url}.sha256 does not begin with 64 hexadecimal digits: correct it on the mirror, "
            "or pass sha256=..."
        )
    return found[0]


@contextlib.contextmanager
def _open(url: str, target: Path | None) -> Iterator[http.client.HTTPResponse]:
    """Open an address of the web, and name it in errors of the network."""
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_S) as response:  # noqa: S310 - http only
            yield response
    except urllib.error.HTTPError as error:
        error.close()
        if error.code in _GONE:
            raise FileNotFoundError(
                f"{url} does not exist, or access is denied: check the address of the mirror, or "
                f"get the file from {AUTHORS} and copy it to {target}."
            ) from error
        raise ConnectionError(
            f"{url} could not be downloaded: the server answers {error.code} {error.reason}."
        ) from error
    except (
        urllib.error.URLError,
        TimeoutError,
        ConnectionError,
        http.client.HTTPException,
    ) as error:
        raise ConnectionError(
            f"{url} could not be downloaded ({error}). Check the connection and the address, and "
            "try again."
        ) from error


def _compare(path: Path, sha256: str, remedy: str) -> None:
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != sha256.lower():
        raise CheckpointError(
            f"{path} has the SHA-256 digest {found}, expected {sha256.lower()}. {remedy}"
        )
