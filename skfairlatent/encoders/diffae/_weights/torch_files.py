"""Reading files of torch.save as data: nothing that they hold is executed."""

__all__ = ["GIVE_WEIGHTS", "load_torch_file", "require_weights_file", "require_whole_zip"]

import contextlib
import errno
import os
import pickle
import re
import textwrap
import threading
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import torch

from skfairlatent.encoders.diffae._weights.torch_bounds import Checksums, check_pickles, check_zip
from skfairlatent.exceptions import CheckpointError

GIVE_WEIGHTS = "pass the path of a file of weights"


class Inert:
    """Stands for whatever class a file mentions: takes anything, keeps nothing, does nothing."""

    __slots__ = ()

    def __new__(cls, *_args: object, **_kwargs: object) -> Self:
        """Ignore what a file gives."""
        return super().__new__(cls)

    def __setstate__(self, state: object) -> None:
        """Ignore what a file gives."""


_CALLBACKS = (
    "early_stopping.EarlyStopping",
    "lr_monitor.LearningRateMonitor",
    "model_checkpoint.ModelCheckpoint",
    "stochastic_weight_avg.StochasticWeightAveraging",
    "timer.Timer",
)
# Kinds of the official settings. It writes down only what JSON can hold, so usually none of them.
_CHOICES = (
    "Activation",
    "GenerativeType",
    "LossType",
    "ManipulateLossType",
    "ManipulateMode",
    "ModelMeanType",
    "ModelName",
    "ModelType",
    "ModelVarType",
    "OptimizerType",
    "TrainMode",
)
_INERT_NAMES = (
    *(f"pytorch_lightning.callbacks.{name}" for name in _CALLBACKS),
    *(f"lightning.pytorch.callbacks.{name}" for name in _CALLBACKS),
    *(f"choices.{name}" for name in _CHOICES),
    "argparse.Namespace",
    "config.PretrainConfig",
    "model.blocks.ScaleAt",
    "model.latentnet.LatentNetType",
    "numpy._core.multiarray.scalar",
    "numpy.core.multiarray.scalar",
    "numpy.dtype",
    "pathlib.Path",
    "pathlib.PosixPath",
    "pathlib.WindowsPath",
)
_DICTIONARIES = (
    "lightning.fabric.utilities.data.AttributeDict",
    "lightning.pytorch.utilities.parsing.AttributeDict",
    "lightning_fabric.utilities.data.AttributeDict",
    "pytorch_lightning.utilities.parsing.AttributeDict",
)
_ALLOWED: list[Any] = [(Inert, name) for name in _INERT_NAMES] + [
    (OrderedDict, name) for name in _DICTIONARIES
]
# torch keeps what is allowed for the whole process: one reader must not end another's allowance.
_LOCK = threading.Lock()


def _renew_lock() -> None:
    """Give a forked process a lock of its own: that of a thread left behind never opens."""
    global _LOCK  # noqa: PLW0603 - what else a fork hook could do
    _LOCK = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)
_ZIP = b"PK\x03\x04"
_NEEDED = re.compile(r"GLOBAL (\S+)")
_REASON = re.compile(r"WeightsUnpickler error:\s*([^\n]+)")
_SENTENCE_END = re.compile(r"\.\s|\n")
_MAX_REASON = 200


def require_weights_file(path: str | os.PathLike[str], remedy: str = GIVE_WEIGHTS) -> Path:
    """Return `path` if there is a file that may hold weights; `remedy` says what to give if not.

    Raises
    ------
    FileNotFoundError, IsADirectoryError
        If there is no file.
    CheckpointError
        If the file is empty, a web page, or no regular file.
    """
    found = Path(path).expanduser()
    if found.is_dir():
        raise IsADirectoryError(f"{found} is a folder: {remedy}.")
    if not found.exists():
        raise FileNotFoundError(f"{found} does not exist: {remedy}.")
    if not found.is_file():
        raise CheckpointError(f"{found} is a pipe, a device or a socket, not a file: {remedy}.")
    start = _start(found, 512)
    if not start:
        raise CheckpointError(f"{found} is empty: download or copy it again.")
    if start.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"<"):
        raise CheckpointError(
            f"{found} is a web page, not weights. Google Drive gives such a page for large files: "
            "open the link in a browser, confirm the download there, and use the file you get."
        )
    return found


def load_torch_file(path: Path) -> tuple[Any, Checksums | None]:
    """Read what torch.save or Lightning wrote, on the CPU; nothing in it is executed.

    Tensors are views of the file where that can be: copy what is to stay. Classes that Lightning
    and the official code leave in their files become `Inert`.

    Parameters
    ----------
    path : Path
        An existing file, in the format of torch 1.6 or newer (a zip) or the older one.

    Returns
    -------
    content : object
    checksums : set of tuple (int, int), or None
        Sizes and CRCs of the parts of a zip, those of the tensors among them: not compared yet.

    Raises
    ------
    CheckpointError
        If the file is damaged, is something else, needs other code to be read, or more time and
        memory than weights ever do.
    """
    # The warnings are advice to a reader who chose how to read.
    with _LOCK, torch.serialization.safe_globals(_ALLOWED), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with _explained(path):
            in_place = _start(path, len(_ZIP)) == _ZIP
            checksums = None
            if in_place:
                if not zipfile.is_zipfile(path):  # torch may call it a fault of the disk
                    raise EOFError("its end is missing")
                checksums = check_zip(path)
            else:
                with path.open("rb") as file:
                    check_pickles(file)
            content = torch.load(path, map_location="cpu", mmap=in_place, weights_only=True)
    return content, checksums


def require_whole_zip(path: Path) -> None:
    """Compare all checksums of a file of torch.save, and read nothing else of it.

    Raises
    ------
    CheckpointError
        If it is not such a file, or is damaged.
    """
    with _explained(path):
        checksums = check_zip(path)
        with zipfile.ZipFile(path) as archive:
            damaged = None if checksums is None else archive.testzip()
        if damaged is not None:
            raise ValueError(f"its part {damaged} is damaged")


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn what goes wrong with a file, but not with the disk, into a CheckpointError."""
    try:
        yield
    except Exception as error:
        # zipfile looks for what is cut off before the beginning of the file.
        if isinstance(error, OSError) and error.errno != errno.EINVAL:
            raise
        raise _explain(path, error) from None  # torch's own text advises to switch safety off


def _explain(path: Path, error: Exception) -> CheckpointError:
    text = str(error)
    if isinstance(error, pickle.UnpicklingError) and (needed := _NEEDED.search(text)):
        return CheckpointError(
            f"{path} needs {needed[1]!r} to be read, which is code and may do anything: refused, "
            "and nothing was executed. If you trust the file, load it where it was made, and save "
            "the tensors alone: torch.save(model.state_dict(), 'weights.pt')."
        )
    found = _REASON.search(text)
    # The first sentence: torch goes on with guesses at what happened to the file.
    reason = found[1] if found else _SENTENCE_END.split(text)[0]
    reason = textwrap.shorten(reason, _MAX_REASON, placeholder=" ...") or type(error).__name__
    return CheckpointError(
        f"{path} cannot be read as weights ({reason}): it is damaged, incomplete, or was not "
        "written by torch.save. Download or copy it again."
    )


def _start(path: Path, size: int) -> bytes:
    with path.open("rb") as file:
        return file.read(size)
