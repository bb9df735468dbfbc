"""Networks of transformers, with what prepares their input and pools their output."""

__all__ = ["POOLINGS", "Pretrained", "load_pretrained"]

import functools
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from skfairlatent._files.hugging_face import (
    CONFIG,
    extra_module,
    json_of,
    last_change,
    load_checked,
    quiet,
)
from skfairlatent.encoders._torch_modules import digest_of
from skfairlatent.exceptions import CheckpointError

POOLINGS = ("auto", "cls", "mean")
PROCESSOR = "preprocessor_config.json"
# Files that sentence-transformers writes beside a model: its pooling and the length of texts.
SENTENCE_POOLING, SENTENCE_LENGTH = "1_Pooling/config.json", "sentence_bert_config.json"
SENTENCE_MODULES = "modules.json"
# Modules that it lists beside the model: a pooling, and a scaling of features to length 1.
KNOWN_MODULES = ("Transformer", "Pooling", "Normalize")
# Tokens of a text where nothing says how many the model reads; tokenizers then say 1e30.
DEFAULT_LENGTH, LONGEST = 512, 10**6


class Features(nn.Module):
    """Turns the images, or the texts, of a model into features of shape (n, d)."""

    def __init__(self, model: Any, kind: str, pooling: str, *, has_pooler: bool) -> None:
        super().__init__()
        self.model, self.kind, self.pooling, self.has_pooler = model, kind, pooling, has_pooler

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        """Return the features of what a processor or a tokenizer made."""
        both = getattr(self.model, f"get_{self.kind}_features", None)
        if both is not None and self.pooling == "auto":
            found = both(**inputs)
            # Since version 5 of transformers beside other things.
            embedding: Tensor = found if isinstance(found, Tensor) else _pooled(found)
            return embedding
        tower = {"image": "vision_model", "text": "text_model"}[self.kind]
        found = getattr(self.model, tower, self.model)(**inputs)
        hidden: Tensor = found.last_hidden_state
        pooled: Tensor | None = _pooled(found)
        if self.pooling == "auto" and self.has_pooler and pooled is not None:
            return pooled.flatten(1)
        if hidden.ndim == 4:  # of a convolutional network, (n, d, height, width)
            return hidden.flatten(2).mean(dim=2)
        if self.pooling != "mean":
            return hidden[:, 0]
        weights = inputs.get("attention_mask", hidden.new_ones(hidden.shape[:2]))[:, :, None]
        return (hidden * weights).sum(dim=1) / weights.sum(dim=1)


@dataclass(frozen=True)
class Pretrained:
    """A model of transformers in float32 on the CPU, and what makes tensors for it.

    Parameters
    ----------
    prepare : object
        The image processor or the tokenizer.
    options : dict
        Options that it is called with.
    fingerprint : str
        Digest of all that features depend on, the same on every machine.
    """

    features: Features
    prepare: Any
    options: dict[str, Any]
    fingerprint: str

    def tensors_of(self, rows: list[Any]) -> dict[str, Tensor]:
        """Return what the network takes of arrays of pixels, or of texts."""
        found: dict[str, Tensor] = dict(self.prepare(rows, return_tensors="pt", **self.options))
        has_tokens = found["attention_mask"].any(dim=1) if "attention_mask" in found else None
        if has_tokens is not None and not has_tokens.all():
            text = rows[int(has_tokens.int().argmin())]
            raise ValueError(
                f"The text {text!r:.40} has no tokens for this model: leave it out, or put a word "
                "in its place."
            )
        return found


def load_pretrained(folder: Path, kind: str, pooling: str) -> Pretrained:
    """Load a model, once for all encoders of the process.

    Parameters
    ----------
    folder : Path
        As ``save_pretrained`` of transformers writes it, with the image processor or tokenizer.
    kind : {"auto", "image", "text"}
    pooling : str
        One of `POOLINGS`.

    Raises
    ------
    ImportError
        If transformers or Pillow is not installed.
    CheckpointError
        If a file is missing or damaged, or the model does not take such input.
    """
    return _load(folder.resolve(), kind, pooling, last_change(folder))


@functools.lru_cache(maxsize=2)
def _load(folder: Path, kind: str, pooling: str, changed: int) -> Pretrained:
    config: dict[str, Any] = json_of(folder / CONFIG)
    if "model_type" not in config:
        raise CheckpointError(
            f"{folder} has no {CONFIG} that says what the model is: pass a folder as "
            "save_pretrained of transformers writes it."
        )
    transformers = extra_module("transformers", "TransformersEncoder", "hub")
    with quiet(transformers):
        model, has_pooler = _model(folder, changed)
        kind = _kind(model, kind, folder, config)
        prepare = _prepare(folder, kind, transformers)
    options: dict[str, Any] = {"input_data_format": "channels_last"}
    if kind == "text":
        if pooling == "auto" and not hasattr(model, "get_text_features"):
            pooling = _pooling_of(folder)
        # SigLIP was trained on texts that are all filled up to one length.
        padding = "max_length" if "siglip" in config["model_type"] else True
        length = _length(folder, prepare, model)
        options = {"padding": padding, "truncation": True, "max_length": length}
    features = Features(model, kind, pooling, has_pooler=has_pooler).eval()
    files = hashlib.sha256(b"".join(map(Path.read_bytes, sorted(folder.glob("*.json")))))
    use = f"{kind}:{pooling}:{files.hexdigest()[:32]}"
    return Pretrained(features, prepare, options, f"{use}:{digest_of(features)}")


@functools.lru_cache(maxsize=2)
def _model(folder: Path, changed: int) -> tuple[Any, bool]:  # noqa: ARG001 - part of the key
    """Return the network, and whether its pooling, if it has weights, has those of the file."""
    transformers = extra_module("transformers", "TransformersEncoder", "hub")
    model, missing = load_checked(
        transformers, "AutoModel", folder, needs=_is_needed, trust_remote_code=False
    )
    encoder = model.encoder if _writes(model) else model
    return encoder, not any("pooler" in name for name in missing)


def _is_needed(model: Any, weight: str) -> bool:
    return "pooler" not in weight and not (_writes(model) and weight.startswith("decoder."))


def _writes(model: Any) -> bool:
    """Return whether a decoder makes texts of what the encoder found, as in T5."""
    return hasattr(model, "encoder") and hasattr(model, "decoder")


def _kind(model: Any, kind: str, folder: Path, config: dict[str, Any]) -> str:
    """Return what the model is to be given: images or texts."""
    takes = "image" if model.main_input_name == "pixel_values" else "text"
    if kind == "auto":
        return "image" if (folder / PROCESSOR).is_file() else takes
    if kind != takes and not hasattr(model, f"get_{kind}_features"):
        raise CheckpointError(
            f"{folder} holds a model of type {config['model_type']!r}, which takes {takes}s, not "
            f"{kind}s: pass kind={takes!r}, or another model."
        )
    return kind


def _prepare(folder: Path, kind: str, transformers: Any) -> Any:
    """Return the image processor, or the tokenizer."""
    options: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    auto, files = transformers.AutoTokenizer, "its tokenizer (tokenizer.json, or vocab.txt)"
    if kind == "image":
        extra_module("PIL.Image", "TransformersEncoder", "hub")  # which resizes, unasked
        auto, files = transformers.AutoImageProcessor, f"{PROCESSOR}, its image processor"
        # The same result whether torchvision is installed or not.
        is_new = int(transformers.__version__.split(".", maxsplit=1)[0]) >= 5
        options |= {"backend": "pil"} if is_new else {"use_fast": False}
    try:
        prepare = auto.from_pretrained(folder, **options)
    except Exception as error:  # as for the model
        raise CheckpointError(
            f"{folder} does not have {files}, or it is damaged ({str(error).rstrip('.')}): copy "
            "it from where the model is from, or save it there by its save_pretrained."
        ) from error
    if kind == "text":
        if prepare.pad_token is None:
            prepare.pad_token = prepare.eos_token
        # On the other side, where models that write texts want it, it moves all tokens.
        prepare.padding_side = "right"
    return prepare


def _pooling_of(folder: Path) -> str:
    """Return how the files of sentence-transformers say that tokens are pooled."""
    listed = [each for each in json_of(folder / SENTENCE_MODULES, list) if isinstance(each, dict)]
    modules = [str(each.get("type")).rpartition(".")[2] for each in listed]
    if unknown := [name for name in modules if name not in KNOWN_MODULES]:
        raise CheckpointError(
            f"{folder / SENTENCE_MODULES} lists {', '.join(unknown)}, which this encoder does not "
            "have: pass pooling='mean' or pooling='cls' for the features without it, or encode "
            "the texts with sentence-transformers and pass the embeddings."
        )
    own = json_of(folder / SENTENCE_POOLING)
    given = [name for name, value in own.items() if name.startswith("pooling_mode_") and value]
    known = {"pooling_mode_cls_token": "cls", "pooling_mode_mean_tokens": "mean"}
    if not given:
        return "mean"
    if len(given) > 1 or given[0] not in known:
        raise CheckpointError(
            f"{folder / SENTENCE_POOLING} asks for {', '.join(given)}, which this encoder does "
            "not have: pass pooling='mean' or pooling='cls', or another model."
        )
    return known[given[0]]


def _length(folder: Path, tokenizer: Any, model: Any) -> int:
    """Return how many tokens of a text the model reads."""
    wanted = json_of(folder / SENTENCE_LENGTH).get("max_seq_length") or tokenizer.model_max_length
    config = getattr(model.config, "text_config", None) or model.config
    room = getattr(config, "max_position_embeddings", 0)
    # RoBERTa and its like count positions from behind that of padding.
    room -= max(
        (
            (module.padding_idx or -1) + 1
            for name, module in model.named_modules()
            if name.endswith("position_embeddings") and isinstance(module, nn.Embedding)
        ),
        default=0,
    )
    return int(min((n for n in (wanted, room) if 0 < n <= LONGEST), default=DEFAULT_LENGTH))


def _pooled(output: Any) -> Any:
    """Return the features that a model has pooled itself; None if it does not."""
    return getattr(output, "pooler_output", None)
