"""Models as Hugging Face's libraries save them: found in a folder or in the hub's cache."""

__all__ = [
    "CONFIG",
    "extra_module",
    "find_model",
    "json_of",
    "last_change",
    "quiet",
    "require_safetensors",
]

import importlib
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from skfairlatent.exceptions import CheckpointError

# All that is ever downloaded: pickled weights are code, and are left where they are.
FILES = ("*.json", "*.txt", "*.model", "*.safetensors")
CONFIG = "config.json"


def find_model(
    parameter: str,
    model: str | os.PathLike[str],
    example: str,
    *,
    files: Sequence[str] = FILES,
    cache_dir: str | os.PathLike[str] | None = None,
    local_files_only: bool,
) -> Path:
    """Return the folder that holds a model, downloading it first if that is allowed.

    Parameters
    ----------
    parameter : str
        Name of the parameter, for messages.
    model : str or path-like
        A folder, or a name on the hub.
    example : str
        A name on the hub, for messages.
    files : sequence of str
        Patterns of the names of what is needed.
    cache_dir : str, path-like or None
        The hub's cache; None for its usual place.
    local_files_only : bool
        Whether to leave the network alone.

    Raises
    ------
    FileNotFoundError
        If there is no such folder, or no such model in the cache; says how to get it.
    ConnectionError
        If the download failed.
    """
    folder = Path(model).expanduser()
    if folder.is_dir():
        return folder
    name = str(model)
    if isinstance(model, os.PathLike) or name.startswith((".", "~")) or name.count("/") != 1:
        raise FileNotFoundError(
            f"{parameter}={name!r} is not a folder: pass the path of one that holds {CONFIG}, "
            "model.safetensors and the like, or a name on the Hugging Face hub, such as "
            f"{example!r}."
        )
    hub = extra_module("huggingface_hub", parameter, "hub")
    how_to_copy = (
        "To bring it from another machine, call there huggingface_hub.snapshot_download("
        f"{name!r}, allow_patterns={list(files)}, local_dir='copied'), copy the folder 'copied' "
        f"to this one, and pass its path as {parameter}."
    )
    try:
        found = hub.snapshot_download(
            name,
            cache_dir=cache_dir,
            local_files_only=local_files_only,
            allow_patterns=list(files),
        )
    except OSError as error:
        if local_files_only:
            where = (
                "Hugging Face's cache" if cache_dir is None else f"the cache {str(cache_dir)!r}"
            )
            raise FileNotFoundError(
                f"{parameter}={name!r} is not a folder here, and is not in {where}. "
                f"local_files_only=False downloads it there. {how_to_copy}"
            ) from error
        raise ConnectionError(
            f"{parameter}={name!r} could not be downloaded ({error}). {how_to_copy}"
        ) from error
    return Path(found)


def require_safetensors(folder: Path, saves: str, name: str = "model") -> None:
    """Raise CheckpointError if the weights of this name are pickled; `saves` is their class."""
    if not any(folder.glob(f"{name}*.safetensors")):
        raise CheckpointError(
            f"{folder} has no {name}.safetensors. Pickled weights (.bin) are not read, since they "
            "can run code. If you trust them, convert them once: "
            f"{saves}.from_pretrained({str(folder)!r}).save_pretrained({str(folder)!r})."
        )


def json_of(path: Path) -> dict[str, Any]:
    """Return what a file of settings holds; nothing if there is no such file."""
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckpointError(f"{path} is not valid JSON ({error}): copy it again.") from error
    return found if isinstance(found, dict) else {}


def last_change(folder: Path) -> int:
    """Return when a file of a model was last written, in nanoseconds."""
    return max((file.stat().st_mtime_ns for file in folder.glob("*.*")), default=0)


def extra_module(name: str, needed_by: str, extra: str) -> ModuleType:
    """Import a module that comes with an extra, or say what to install."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(
            f'{needed_by} needs {name}: pip install "skfairlatent[{extra}]"'
        ) from error


@contextmanager
def quiet(library: Any) -> Iterator[None]:
    """Show no progress bar and no report of loading; what matters in it is checked instead."""
    logs = library.utils.logging
    level, had_bar = logs.get_verbosity(), logs.is_progress_bar_enabled()
    logs.set_verbosity_error()
    logs.disable_progress_bar()
    try:
        yield
    finally:
        logs.set_verbosity(level)
        if had_bar:
            logs.enable_progress_bar()
