"""The state of an unfinished fit on disk, so that it can go on after an interruption."""

__all__ = ["Checkpoint"]

import contextlib
import itertools
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import filelock
import torch
from torch import Tensor

from skfairlatent._files.tensors import pack, read_tensors, verify
from skfairlatent._files.writing import replace_file, require_folder
from skfairlatent._user_warnings import warn_user
from skfairlatent.distributed import agreed, is_first
from skfairlatent.exceptions import CheckpointError

FORMAT = "skfairlatent-checkpoint-2"
# Name that earlier versions gave the file of any fit.
OLD_NAME = "training.pt"
# Whoever writes a file can put anything into it, and each thing fails in its own way.
_NOT_OURS = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)


class Checkpoint:
    """The file ``training-<fingerprint>.safetensors`` in a directory, held during a fit.

    Fits with other data or parameters have other files, so that many can share a directory. Of
    two equal fits at the same time, the second takes a file with a number of its own. Where
    several processes share a fit, the first has the file.

    Parameters
    ----------
    directory : path-like
        Made if it does not exist.
    fingerprint : str
        Digest of the data and the parameters.
    """

    def __init__(self, directory: str | os.PathLike[str], fingerprint: str) -> None:
        # Others need not even see it, as on another machine.
        folder = require_folder("checkpoint_dir", directory) if is_first() else directory
        self.directory = Path(folder)
        self.fingerprint = fingerprint
        self.path = self._numbered(0)
        self._lock: filelock.BaseFileLock | None = None
        self._works = True

    def __enter__(self) -> Self:
        if is_first():
            self._hold()
            self._mention_old_file()
        return self

    def _hold(self) -> None:
        for number in itertools.count():
            self.path = self._numbered(number)
            self._lock = filelock.FileLock(self.path.with_suffix(".lock"), timeout=0)
            try:
                self._lock.acquire()
            except filelock.Timeout:
                continue
            except (OSError, NotImplementedError):
                # A file system that is full, or without locks: at worst, two equal fits write
                # the same file in turn.
                self._lock = None
            break

    def __exit__(self, *error: object) -> None:
        if self._lock is not None:
            # While it is held: nobody else can hold it then.
            with contextlib.suppress(OSError):
                Path(self._lock.lock_file).unlink(missing_ok=True)
            self._lock.release()

    def write(self, state: dict[str, Any]) -> None:
        """Replace the file in one step: an interruption leaves the old one or the new one.

        Warns
        -----
        FairLatentWarning
            The first time that it cannot be written, as on a full disk: that ends no fit.
        """
        if not is_first():
            return
        tensors: dict[str, Tensor] = {}
        header = {
            "format": FORMAT,
            "fingerprint": self.fingerprint,
            "state": json.dumps(_without_tensors(state, tensors)),
        }
        with self._failing_softly("kept"):
            replace_file(self.path, pack(tensors, header), "The state of the fit", durable=False)

    def read(self) -> dict[str, Any] | None:
        """Return the state, with tensors on the CPU, or None if there is none yet.

        Raises
        ------
        CheckpointError
            If the file is damaged, is something else, or belongs to another fit.
        """
        return agreed(self._read() if is_first() else None)

    def _read(self) -> dict[str, Any] | None:
        if not self.path.exists():
            return None
        remedy = "delete it to start anew"
        if not self.path.is_file():
            raise CheckpointError(f"{self.path} is not a regular file; {remedy}.")
        header, tensors = read_tensors(self.path, remedy)
        verify(self.path, header, tensors, remedy)
        if header.get("format") != FORMAT or header.get("fingerprint") != self.fingerprint:
            raise CheckpointError(
                f"{self.path} is not a file of this fit, or of another version of skfairlatent; "
                f"{remedy}."
            )
        with self.explained():
            found = _with_tensors(json.loads(header["state"]), tensors)
            if not isinstance(found, dict):
                raise TypeError(f"the state is of type {type(found).__name__}")
            return found

    @contextlib.contextmanager
    def explained(self) -> Iterator[None]:
        """Turn what goes wrong with a state that was read into a CheckpointError."""
        try:
            yield
        except CheckpointError:
            raise
        except _NOT_OURS as error:
            raise CheckpointError(
                f"{self.path} does not hold the state of a fit ({type(error).__name__}: {error}); "
                "delete it to start anew."
            ) from error

    def remove(self) -> None:
        """Delete the file: the fit is finished."""
        if is_first():
            with self._failing_softly("deleted"):
                self.path.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _failing_softly(self, done: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if self._works:
                warn_user(
                    f"The state of the fit cannot be {done} in {self.path} ({error}). The fit "
                    "continues, but cannot be resumed from here if it is interrupted: free some "
                    "space, or pass as checkpoint_dir a folder that can be written."
                )
            self._works = False

    def _mention_old_file(self) -> None:
        if (self.directory / OLD_NAME).exists():
            warn_user(
                f"{self.directory / OLD_NAME} is of an earlier version of skfairlatent, whose "
                "unfinished fits this version cannot continue: the fit starts anew. Delete that "
                "file, or finish its fit with the version that wrote it."
            )

    def _numbered(self, number: int) -> Path:
        mark = f"-{number + 1}" if number else ""
        return self.directory / f"training-{self.fingerprint}{mark}.safetensors"


def _without_tensors(value: Any, tensors: dict[str, Tensor]) -> Any:
    """Return JSON that says where the tensors were, which are added to `tensors`.

    Dictionaries become lists of pairs, since their keys may be numbers.
    """
    if isinstance(value, Tensor):
        # Dimensions as they lie in memory: an optimizer's moments must lie as its weights do.
        order = sorted(range(value.ndim), key=value.stride, reverse=True)
        name = f"{len(tensors):06d}"
        # A copy: what is still shared with another tensor would be refused.
        tensors[name] = value.detach().permute(order).clone(memory_format=torch.contiguous_format)
        return {"tensor": name, "order": order}
    if isinstance(value, dict):
        return {"items": [[key, _without_tensors(each, tensors)] for key, each in value.items()]}
    if isinstance(value, list | tuple):
        return [_without_tensors(each, tensors) for each in value]
    return value


def _with_tensors(value: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, dict) and "tensor" in value:
        order = value["order"]
        # A copy: a tensor may otherwise stay a view of the file, which is replaced.
        tensor = tensors[value["tensor"]].clone()
        return tensor.permute([order.index(i) for i in range(tensor.ndim)])
    if isinstance(value, dict):
        return {key: _with_tensors(each, tensors) for key, each in value["items"]}
    if isinstance(value, list):
        return [_with_tensors(each, tensors) for each in value]
    return value
