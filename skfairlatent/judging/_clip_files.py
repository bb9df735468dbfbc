"""A CLIP model from a local folder or from the hub's cache; nothing pickled, nothing executed."""

__all__ = ["ClipParts", "find_folder", "load_parts"]

import importlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from skfairlatent.exceptions import CheckpointError

INSTALL = 'pip install "skfairlatent[clip]"'
# All that is ever downloaded: pickled weights are code, and are left where they are.
FILES = ("*.json", "*.txt", "*.safetensors")
CONFIG, PROCESSOR = "config.json", "preprocessor_config.json"
VOCABULARIES = (("tokenizer.json",), ("vocab.json", "merges.txt"))


@dataclass(frozen=True)
class ClipParts:
    """What zero-shot classification needs of CLIP.

    Parameters
    ----------
    model : CLIPModel
        In evaluation mode, float32, on the CPU.
    tokenizer, processor : object
        Of texts and of images, as the model was trained with.
    """

    model: Any
    tokenizer: Any
    processor: Any


def find_folder(
    model: str | os.PathLike[str],
    cache_dir: str | os.PathLike[str] | None,
    *,
    local_files_only: bool,
) -> Path:
    """Return the folder that holds a model, downloading it first if that is allowed.

    Parameters
    ----------
    model : str or path-like
        A folder, or a name on the hub.
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
    hub = _import("huggingface_hub")
    name = str(model)
    if isinstance(model, os.PathLike) or name.startswith((".", "~")) or name.count("/") != 1:
        raise FileNotFoundError(
            f"model={name!r} is not a folder: pass the path of one that holds {CONFIG}, "
            "model.safetensors and the like, or a name on the Hugging Face hub, such as "
            "'openai/clip-vit-large-patch14'."
        )
    try:
        found = hub.snapshot_download(
            name,
            cache_dir=cache_dir,
            local_files_only=local_files_only,
            allow_patterns=list(FILES),
        )
    except OSError as error:
        if local_files_only:
            where = (
                "Hugging Face's cache" if cache_dir is None else f"the cache {str(cache_dir)!r}"
            )
            raise FileNotFoundError(
                f"model={name!r} is not a folder here, and is not in {where}. With "
                f"local_files_only=False, fit downloads it there. {_how_to_copy(name)}"
            ) from error
        raise ConnectionError(
            f"model={name!r} could not be downloaded ({error}). {_how_to_copy(name)}"
        ) from error
    return Path(found)


def load_parts(folder: Path) -> ClipParts:
    """Load a CLIP model from a folder.

    Parameters
    ----------
    folder : Path
        As ``save_pretrained`` of transformers writes it.

    Raises
    ------
    ImportError
        If transformers or Pillow is not installed.
    CheckpointError
        If a file is missing or damaged, or the model is not a CLIP.
    """
    _check_files(folder)
    _import("PIL.Image")  # which transformers resizes with, and does not ask for
    transformers = _import("transformers")
    # Of those with torchvision behind them, version 5 names the one that does without.
    processor = getattr(transformers, "CLIPImageProcessorPil", None)
    processor = processor or transformers.CLIPImageProcessor
    try:
        with _quiet(transformers):
            model, report = transformers.CLIPModel.from_pretrained(
                folder,
                local_files_only=True,
                use_safetensors=True,
                output_loading_info=True,
                # Older versions take torch's default, which may have been set to a half precision.
                torch_dtype=torch.float32,
            )
            tokenizer = transformers.CLIPTokenizerFast.from_pretrained(
                folder, local_files_only=True
            )
            parts = ClipParts(
                model.eval().float(),
                tokenizer,
                processor.from_pretrained(folder, local_files_only=True),
            )
    except Exception as error:  # what a damaged file raises depends on the file and the version
        raise CheckpointError(
            f"{folder} cannot be loaded as a CLIP model ({error}): copy or download it again."
        ) from error
    if report["missing_keys"]:
        raise CheckpointError(
            f"The weights in {folder} lack {sorted(report['missing_keys'])[:3]} of CLIP, which "
            "would be random: copy or download the model again."
        )
    return parts


def _check_files(folder: Path) -> None:
    config = folder / CONFIG
    kind = _json(config).get("model_type") if config.is_file() else None
    if kind != "clip":
        found = f"is of type {kind!r}" if kind else f"has no {CONFIG} that says what it is"
        raise CheckpointError(
            f"The model in {folder} {found}: ClipJudge takes CLIP, as saved by "
            "CLIPModel.save_pretrained, with its tokenizer and its image processor."
        )
    if not any(folder.glob("model*.safetensors")):
        raise CheckpointError(
            f"{folder} has no model.safetensors. Pickled weights (pytorch_model.bin) are not "
            "read, since they can run code. If you trust them, convert them once: "
            f"CLIPModel.from_pretrained({str(folder)!r}).save_pretrained({str(folder)!r})."
        )
    has_words = any(all((folder / name).is_file() for name in names) for names in VOCABULARIES)
    if not has_words or not (folder / PROCESSOR).is_file():
        lacking = PROCESSOR if has_words else "tokenizer.json"
        raise CheckpointError(
            f"{folder} has no {lacking}: save the tokenizer and the image processor beside the "
            "model, as CLIPTokenizerFast(...).save_pretrained does, or copy all .json and .txt "
            "files of the original."
        )


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckpointError(f"{path} is not valid JSON ({error}): copy it again.") from error
    return found if isinstance(found, dict) else {}


def _how_to_copy(name: str) -> str:
    return (
        "To bring it from another machine, call there huggingface_hub.snapshot_download("
        f"{name!r}, allow_patterns={list(FILES)}, local_dir='clip'), copy the folder 'clip' to "
        "this one, and pass its path as model."
    )


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(f"ClipJudge needs transformers and Pillow: {INSTALL}") from error


@contextmanager
def _quiet(transformers: Any) -> Iterator[None]:
    """Show no progress bar and no report of loading; what matters in it is checked instead."""
    logs = transformers.utils.logging
    level, had_bar = logs.get_verbosity(), logs.is_progress_bar_enabled()
    logs.set_verbosity_error()
    logs.disable_progress_bar()
    try:
        yield
    finally:
        logs.set_verbosity(level)
        if had_bar:
            logs.enable_progress_bar()
