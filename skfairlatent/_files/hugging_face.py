"""Models as Hugging Face's libraries save them: found in a folder or in the hub's cache."""

__all__ = [
    "CONFIG",
    "extra_module",
    "find_model",
    "json_of",
    "last_change",
    "load_checked",
    "quiet",
]

import importlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

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


def load_checked(
    library: Any,
    class_name: str,
    folder: Path,
    *,
    weights: str = "model",
    needs: Callable[[Any, str], bool] = lambda _network, _name: True,
    **options: Any,
) -> tuple[Any, list[str]]:
    """Load a network from safetensors, in float32 on the CPU and in evaluation mode.

    Parameters
    ----------
    library : module
        transformers or diffusers.
    class_name : str
        Class of the library whose ``from_pretrained`` reads the folder.
    folder : Path
        As ``save_pretrained`` of the class writes it.
    weights : str
        Name of the file of weights, without its suffix.
    needs : callable
        ``needs(network, name)`` says whether a weight that the file lacks is an error; by default
        it always is.
    **options
        Passed to ``from_pretrained``.

    Returns
    -------
    network : torch.nn.Module
    missing : list of str
        Names of the weights that the file lacks and that are not needed.

    Raises
    ------
    CheckpointError
        If the weights are pickled, damaged, or lack what is needed.
    """
    if not any(folder.glob(f"{weights}*.safetensors")):
        raise CheckpointError(
            f"{folder} has no {weights}.safetensors. Pickled weights (.bin) are not read, since "
            "they can run code. If you trust them, convert them once: "
            f"{class_name}.from_pretrained({str(folder)!r}).save_pretrained({str(folder)!r})."
        )
    try:
        with quiet(library):
            network, report = getattr(library, class_name).from_pretrained(
                folder,
                local_files_only=True,
                use_safetensors=True,
                output_loading_info=True,
                # Older versions take torch's default, which may have been set to a half precision.
                torch_dtype=torch.float32,
                **options,
            )
    except Exception as error:  # what is raised depends on what is wrong, and on the version
        is_own = "auto_map" in json_of(folder / CONFIG)
        own = " It brings code of its own, which is never run." if is_own else ""
        raise CheckpointError(
            f"{folder} cannot be loaded as {class_name} of {library.__name__} "
            f"{library.__version__} ({str(error).rstrip('.')}).{own} Copy or download it again, "
            f"or update {library.__name__}."
        ) from error
    missing = sorted(report["missing_keys"])
    needed = [name for name in missing if needs(network, name)]
    if needed:
        raise CheckpointError(
            f"The weights in {folder} lack {needed[:3]} of {type(network).__name__}, which would "
            "be random: copy or download the model again."
        )
    return network.eval().float(), missing


def json_of(path: Path, kind: Callable[[], Any] = dict) -> Any:
    """Return what a file of settings holds; nothing if there is no such file, or of another kind.

    Parameters
    ----------
    kind : {dict, list}
    """
    if not path.is_file():
        return kind()
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckpointError(f"{path} is not valid JSON ({error}): copy it again.") from error
    return found if type(found) is kind else kind()


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
