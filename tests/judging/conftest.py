"""A tiny CLIP with random weights, and images whose halves show a label and a group."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import transformers
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from skfairlatent.counterfactuals import CounterfactualExplainer
from skfairlatent.encoders import PixelFlattener

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
    folder = tmp_path_factory.mktemp("clip")
    write_clip(folder)
    return folder


@pytest.fixture(scope="session")
def halves():
    """Images whose left half is bright for y = 1 and whose right half often is too, for s = "b".

    With a judge of each, trained on other images than the model that is explained.
    """
    rng = np.random.default_rng(0)
    n = 600
    y = rng.integers(2, size=n)
    s = np.where(rng.random(n) < 0.8, y, 1 - y)
    images = rng.integers(60, 100, size=(n, 12, 12, 3)).astype(np.uint8)
    images[:, :, :6] += (80 * y).astype(np.uint8)[:, None, None, None]
    images[:, :, 6:] += (80 * s).astype(np.uint8)[:, None, None, None]
    groups = np.where(s == 1, "b", "a")
    train, other = slice(0, 300), slice(300, None)
    judges = [
        make_pipeline(PixelFlattener(), LogisticRegression(C=0.05)).fit(images[other], target)
        for target in (y[other], groups[other])
    ]
    encoder = make_pipeline(PixelFlattener(), PCA(4, random_state=0)).fit(images[train])
    model = make_pipeline(encoder, LogisticRegression()).fit(images[train], y[train])
    explainer = CounterfactualExplainer(model)
    explainer.fit(images[train], y[train], sensitive_features=groups[train])
    return SimpleNamespace(
        images=images[train],
        y=y[train],
        groups=groups[train],
        encoder=encoder,
        explainer=explainer,
        judges={"label_judge": judges[0], "sensitive_judge": judges[1]},
    )
