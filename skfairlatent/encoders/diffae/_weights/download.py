"""Official weights by name: from the cache, or downloaded into it from a mirror."""

__all__ = ["download_weights"]

import hashlib
import logging
import os
import re
from pathlib import Path

from filelock import FileLock

from skfairlatent.encoders.diffae._config import OFFICIAL_CONFIGS
from skfairlatent.encoders.diffae._weights.http import (
    MissingError,
    fetch_file,
    fetch_text,
)
from skfairlatent.encoders.diffae._weights.locations import (
    CACHE,
    MIRROR,
    OFFLINE,
    cache_folder,
    is_offline,
    mirror_address,
)
from skfairlatent.encoders.diffae._weights.torch_files import (
    require_weights_file,
    require_whole_zip,
)
from skfairlatent.exceptions import CheckpointError

logger = logging.getLogger(__name__)

AUTHORS = "https://github.com/phizaz/diffae#checkpoints"
WEIGHTS, STATISTICS = "last.ckpt", "latent.pkl"
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
    """Return the path of official weights, after downloading them if they are not in the cache.

    A file comes whole or not at all: an interrupted download begins anew. Several processes may
    call this at once: one downloads, the others wait. The statistics of the codes,
    ``latent.pkl``, come along if the mirror has them.

    A mirror may take 30 seconds, and a second for each 50 kB, and send up to 8 GiB. What it
    sends is compared with its digest; without one, only a zip of torch.save is accepted, whose
    own checksums are compared.

    Parameters
    ----------
    name : str
        A key of ``OFFICIAL_CONFIGS``.
    mirror : str, optional
        Address under which there is ``{name}/last.ckpt``; by default that of the environment
        variable SKFAIRLATENT_MIRROR. The authors publish on Google Drive, where files cannot be
        downloaded by a program, so no mirror is known.
    cache_dir : path-like, optional
        By default SKFAIRLATENT_CACHE, or ``~/.cache/skfairlatent``.
    sha256 : str, optional
        Digest of ``last.ckpt``, 64 hexadecimal digits; by default what the mirror says in
        ``last.ckpt.sha256``. If given, a file in the cache is compared too.
    offline : bool, optional
        Never use the network; by default SKFAIRLATENT_OFFLINE.
    verbose : bool, default=False
        Show a progress bar.

    Returns
    -------
    Path
        Of ``last.ckpt``; ``latent.pkl`` lies beside it, if there is one.

    Raises
    ------
    ValueError
        If an argument is none of what is expected.
    FileNotFoundError
        If the weights are not in the cache and there is no mirror, or it does not have them.
    ConnectionError
        If the network failed again and again, or the mirror is too slow or sends too much.
    CheckpointError
        If the file is not the one that the digest is of, or is damaged.
    OSError
        If the disk is full or the cache cannot be written.
    """
    if name not in OFFICIAL_CONFIGS:
        raise ValueError(f"{name!r} is no official model: pass one of {sorted(OFFICIAL_CONFIGS)}.")
    if sha256 is not None and not _DIGEST.fullmatch(sha256):
        raise ValueError(f"sha256={sha256!r}: expected 64 hexadecimal digits.")
    target = cache_folder(cache_dir) / name / WEIGHTS
    if not target.exists():
        address = _address(name, target, mirror, offline)
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(target.with_name(f"{WEIGHTS}.lock")):
            if not target.exists():  # another process may have been faster
                return _download(address, target, sha256, verbose)
    if sha256 is not None:
        _compare(target, target, sha256)
    return target


def _address(name: str, target: Path, mirror: str | None, offline: bool | None) -> str:
    """Return where to download from, or say how to get the weights otherwise."""
    found = mirror_address(mirror)
    source = f"{found}/{name}/{WEIGHTS}" if found else AUTHORS
    if is_offline(offline):
        raise FileNotFoundError(
            f"{target} does not exist, and downloads are switched off (offline=True or "
            f"{OFFLINE}): get {WEIGHTS} of {name} from {source} elsewhere, and put it there."
        )
    if found is None:
        raise FileNotFoundError(
            f"{target} does not exist. The authors publish {name} at {AUTHORS}: download its "
            f"{WEIGHTS} there in a browser, and put it at that path ({CACHE} changes the folder). "
            f"With a mirror that has {name}/{WEIGHTS}, set {MIRROR}='https://...', or call "
            f"download_weights({name!r}, mirror='https://...')."
        )
    return f"{found}/{name}"


def _download(address: str, target: Path, sha256: str | None, verbose: bool) -> Path:
    # The weights come last: once they are there, so is everything else.
    try:
        _fetch(f"{address}/{STATISTICS}", target.with_name(STATISTICS), None, verbose)
    except MissingError:
        logger.info("%s has no %s", address, STATISTICS)
    try:
        _fetch(f"{address}/{WEIGHTS}", target, sha256, verbose)
    except MissingError as error:
        raise FileNotFoundError(
            f"{address}/{WEIGHTS} does not exist, or is not open to you: check the mirror's "
            f"address, or get {WEIGHTS} from {AUTHORS} and put it at {target}."
        ) from error
    return target


def _fetch(url: str, target: Path, sha256: str | None, verbose: bool) -> None:
    if target.exists():
        return
    # First what is small: what it says wrong costs no gigabytes then.
    digest = sha256 or _published_digest(url)
    part = target.with_name(f"{target.name}.part")
    try:
        fetch_file(url, part, verbose)
        require_weights_file(part)
        if digest is None:
            logger.warning(
                "%s.sha256 does not exist: only checksums in the file are compared", url
            )
            require_whole_zip(part)
        else:
            _compare(part, target, digest)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def _published_digest(url: str) -> str | None:
    try:
        words = fetch_text(f"{url}.sha256").split()
    except MissingError:
        return None
    if not words or not _DIGEST.fullmatch(words[0]):
        raise CheckpointError(
            f"{url}.sha256 does not begin with 64 hexadecimal digits: mend it on the mirror, or "
            "pass sha256=..."
        )
    return words[0]


def _compare(path: Path, target: Path, sha256: str) -> None:
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != sha256.lower():
        raise CheckpointError(
            f"{target} should have the SHA-256 digest {sha256.lower()}, but what came has "
            f"{found}: it is damaged or is another file. Delete it if it is there, and get it "
            "again."
        )
