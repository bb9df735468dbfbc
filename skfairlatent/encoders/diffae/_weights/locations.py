"""Where weights are kept, and where they come from: arguments first, then the environment."""

__all__ = ["cache_folder", "is_offline", "mirror_address"]

import os
from pathlib import Path
from urllib.parse import urlsplit

CACHE, MIRROR, OFFLINE = "SKFAIRLATENT_CACHE", "SKFAIRLATENT_MIRROR", "SKFAIRLATENT_OFFLINE"
_NO = {"", "0", "false", "no", "off"}


def cache_folder(given: str | os.PathLike[str] | None) -> Path:
    """Return `given`, else what the environment says, else ``~/.cache/skfairlatent``."""
    if given is not None:
        return Path(given).expanduser()
    if named := os.environ.get(CACHE):
        return Path(named).expanduser()
    # By the XDG specification a relative path is to be ignored.
    root = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (root if root.is_absolute() else Path.home() / ".cache") / "skfairlatent"


def mirror_address(given: str | None) -> str | None:
    """Return the address that weights lie under, without a slash at its end, if there is one.

    Raises
    ------
    ValueError
        If it is not an address of the web.
    """
    address = given if given is not None else os.environ.get(MIRROR) or None
    if address is None:
        return None
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise ValueError(
            f"mirror={address!r} is no address: expected one that begins with https:// or "
            "http://. For a file on this machine pass its path as weights instead."
        )
    return address.rstrip("/")


def is_offline(given: bool | None) -> bool:
    """Return `given`, else what the environment says, else False."""
    return os.environ.get(OFFLINE, "").strip().lower() not in _NO if given is None else given
