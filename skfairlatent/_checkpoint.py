"""The state of an unfinished fit on disk, so that it can go on after an interruption."""

__all__ = ["Checkpoint", "replace_file"]

import contextlib
import os
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from skfairlatent.exceptions import CheckpointError

FORMAT = "skfairlatent-checkpoint-1"
FILE_NAME = "training.pt"
# Nobody writes a file for so long.
SECONDS_TO_WRITE = 3600.0


class Checkpoint:
    """The file ``training.pt`` in a directory.

    Parameters
    ----------
    directory : path-like
        Made if it does not exist.
    fingerprint : str
        Of the data and the parameters. A file with another fingerprint is refused, because
        going on from it would be neither fit.
    """

    def __init__(self, directory: str | os.PathLike[str], fingerprint: str) -> None:
        self.path = Path(directory).expanduser() / FILE_NAME
        self.fingerprint = fingerprint
        self.path.parent.mkdir(parents=True, exist_ok=True)

    def write(self, state: dict[str, Any]) -> None:
        """Replace the file in one step: an interruption leaves the old one or the new one."""
        content = {"format": FORMAT, "fingerprint": self.fingerprint, **state}
        replace_file(self.path, lambda path: torch.save(content, path))

    def read(self, device: torch.device) -> dict[str, Any] | None:
        """Return the state, or None if there is none yet.

        Raises
        ------
        CheckpointError
            If the file is damaged, is something else, or belongs to another fit.
        """
        self._remove_leftovers()
        if not self.path.exists():
            return None
        content = self._load(device)
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise CheckpointError(
                f"{self.path} is not a checkpoint of this version of skfairlatent; delete it, or "
                "use another checkpoint_dir."
            )
        if content.get("fingerprint") != self.fingerprint:
            raise CheckpointError(
                f"{self.path} belongs to a fit with other data or other parameters; delete it to "
                "start anew, or use another checkpoint_dir."
            )
        return {k: v for k, v in content.items() if k not in ("format", "fingerprint")}

    def remove(self) -> None:
        """Delete the file: the fit is finished."""
        self.path.unlink(missing_ok=True)

    def _remove_leftovers(self) -> None:
        """Delete what processes left that were killed while they wrote: as large as the state."""
        for path in self.path.parent.glob(_temporary(self.path, "*").name):
            # Another process may still be writing a young one.
            with contextlib.suppress(OSError):
                if time.time() - path.stat().st_mtime > SECONDS_TO_WRITE:
                    path.unlink()

    def _load(self, device: torch.device) -> Any:
        try:
            return torch.load(self.path, map_location=device, weights_only=True)
        except OSError:
            raise
        except Exception as error:
            # torch reports a damaged or hostile file through many types of error.
            raise CheckpointError(
                f"{self.path} cannot be read as a checkpoint ({error}); delete it to start anew."
            ) from error


def replace_file(path: Path, write: Callable[[Path], None]) -> None:
    """Write a file next to `path`, then put it in its place.

    When writing fails, as on a full disk, what was at `path` is still there and whole.
    """
    # Not tempfile's: those can be read by nobody else, and a rename keeps that.
    temporary = _temporary(path, uuid.uuid4().hex)
    temporary.touch(exist_ok=False)
    try:
        write(temporary)
        temporary.replace(path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()


def _temporary(path: Path, mark: str) -> Path:
    return path.with_name(f".{path.name[:100]}.{mark}.tmp")
