"""A CLIP model from a local folder or from the hub's cache; nothing pickled, nothing executed."""

__all__ = ["ClipParts", "load_parts"]

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skfairlatent._files.hub import CONFIG, extra_module, json_of, load_checked, quiet
from skfairlatent.exceptions import CheckpointError

PROCESSOR = "preprocessor_config.json"
VOCABULARIES = (("tokenizer.json",), ("vocab.json", "merges.txt"))


@dataclass(frozen=True)
class ClipParts:
    """The parts of CLIP that zero-shot classification needs.

    Parameters
    ----------
    model : CLIPModel
        In evaluation mode, float32, on the CPU.
    tokenizer, processor : object
        The tokenizer of texts and the processor of images that the model was trained with.
    """

    model: Any
    tokenizer: Any
    processor: Any


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
    extra_module("PIL.Image", "ClipJudge", "clip")  # transformers resizes with it, unasked
    transformers = extra_module("transformers", "ClipJudge", "clip")
    # Version 5 names the processor that does without torchvision.
    processor = getattr(transformers, "CLIPImageProcessorPil", None)
    processor = processor or transformers.CLIPImageProcessor
    model, _ = load_checked(transformers, "CLIPModel", folder)
    try:
        with quiet(transformers):
            return ClipParts(
                model,
                transformers.CLIPTokenizerFast.from_pretrained(folder, local_files_only=True),
                processor.from_pretrained(folder, local_files_only=True),
            )
    except Exception as error:  # what a damaged file raises depends on the file and the version
        raise CheckpointError(
            f"The tokenizer or image processor in {folder} cannot be loaded ({error}): copy or "
            "download them again."
        ) from error


def _check_files(folder: Path) -> None:
    kind = json_of(folder / CONFIG).get("model_type")
    if kind != "clip":
        found = f"is of type {kind!r}" if kind else f"has no {CONFIG} that says what it is"
        raise CheckpointError(
            f"The model in {folder} {found}: ClipJudge takes CLIP, as saved by "
            "CLIPModel.save_pretrained, with its tokenizer and its image processor."
        )
    has_words = any(all((folder / name).is_file() for name in names) for names in VOCABULARIES)
    if not has_words or not (folder / PROCESSOR).is_file():
        lacking = PROCESSOR if has_words else "tokenizer.json"
        raise CheckpointError(
            f"{folder} has no {lacking}: save the tokenizer and the image processor beside the "
            "model, as CLIPTokenizerFast(...).save_pretrained does, or copy all .json and .txt "
            "files of the original."
        )
