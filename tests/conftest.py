"""Fixtures of the test suite; isolation of each test is in the ``conftest.py`` above."""

import contextlib
import json
import os
from pathlib import Path

import pytest
import torch

# Triton asks for it on import: without a GPU its interpreter runs the kernels.
if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Folder of the real data, from SKFAIRLATENT_DATA; the test is skipped without it."""
    given = os.environ.get("SKFAIRLATENT_DATA")
    if not given:
        pytest.skip("needs the real data: set SKFAIRLATENT_DATA to its folder")
    path = Path(given)
    if not path.is_dir():
        pytest.skip(f"SKFAIRLATENT_DATA={given!r} is not a folder")
    return path


@pytest.fixture
def default_dtype():
    """Set torch's default precision, which is one of the whole process, for a test."""
    before = torch.get_default_dtype()
    yield torch.set_default_dtype
    torch.set_default_dtype(before)


@contextlib.contextmanager
def _set(set_to, value, before):
    set_to(value)
    try:
        yield
    finally:
        set_to(before)


@contextlib.contextmanager
def _slow_and_rounded():
    """Put all together that changes how torch computes, and not what it returns."""
    with (
        torch.autograd.set_detect_anomaly(True),
        _set(torch.use_deterministic_algorithms, True, False),
        _set(torch.set_float32_matmul_precision, "medium", "highest"),
        _set(torch.set_flush_denormal, True, False),
    ):
        yield


# Settings of torch in a program around a call: one of each kind, for every test runs in all.
AMBIENT = {
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "float64": lambda: _set(torch.set_default_dtype, torch.float64, torch.float32),
    "bfloat16": lambda: _set(torch.set_default_dtype, torch.bfloat16, torch.float32),
    "default device": lambda: _set(torch.set_default_device, "meta", None),
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "slow and rounded": _slow_and_rounded,
}


@pytest.fixture(params=AMBIENT)
def ambient(request):
    """Return what puts torch into another state for a ``with`` block."""
    return AMBIENT[request.param]


LETTERS = "abcdefghijklmnopqrstuvwxyz"
TINY = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "projection_dim": 8,
}
IMAGE_SIZE, PATCH, MAX_TOKENS = 32, 8, 24


def write_clip(folder: Path) -> None:
    """Save a CLIP that reads letters, as save_pretrained does it."""
    transformers = pytest.importorskip("transformers")
    symbols = [*LETTERS, *(f"{letter}</w>" for letter in LETTERS)]
    vocabulary = {s: i for i, s in enumerate([*symbols, "<|startoftext|>", "<|endoftext|>"])}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = transformers.CLIPTokenizerFast.from_pretrained(folder, model_max_length=MAX_TOKENS)
    tokenizer.save_pretrained(folder)
    end = len(vocabulary) - 1
    config = transformers.CLIPConfig(
        text_config={
            **TINY,
            "vocab_size": len(vocabulary),
            "max_position_embeddings": MAX_TOKENS,
            "bos_token_id": end - 1,
            "eos_token_id": end,
            "pad_token_id": end,
        },
        vision_config={**TINY, "image_size": IMAGE_SIZE, "patch_size": PATCH},
        projection_dim=TINY["projection_dim"],
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        transformers.CLIPModel(config).save_pretrained(folder)
    processor = getattr(transformers, "CLIPImageProcessorPil", None)
    processor = processor or transformers.CLIPImageProcessor
    size = {"height": IMAGE_SIZE, "width": IMAGE_SIZE}
    processor(size={"shortest_edge": IMAGE_SIZE}, crop_size=size).save_pretrained(folder)


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a tiny CLIP with random weights."""
    folder = tmp_path_factory.mktemp("clip")
    write_clip(folder)
    return folder
