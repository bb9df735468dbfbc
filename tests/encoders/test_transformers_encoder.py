"""TransformersEncoder, by the real code of transformers on tiny models with random weights."""

import json
import pickle
import shutil
import socket

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from sklearn.base import clone

from skfairlatent import FairLatentTransformer
from skfairlatent.encoders import TransformersEncoder
from skfairlatent.exceptions import CheckpointError

transformers = pytest.importorskip("transformers")

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "good", "bad", "day", "night", "."]
TEXTS = ["a good day .", "bad", "a bad night . a bad day .", "good good", "a day", "night ."] * 4
IMAGES = np.random.default_rng(0).integers(256, size=(9, 20, 30, 3), dtype=np.uint8)
TINY = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1}
HEADS = {"num_attention_heads": 2}
# Float32 sums in another order.
TOLERANCE = 1e-5


def save(folder, config, *parts):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        transformers.AutoModel.from_config(config).save_pretrained(folder)
    for part in parts:
        part.save_pretrained(folder)
    return folder


def image_processor(name="ViTImageProcessor", **sizes):
    kind = getattr(transformers, f"{name}Pil", None) or getattr(transformers, name)
    return kind(**(sizes or {"size": {"height": 32, "width": 32}}))


@pytest.fixture(scope="module")
def vit(tmp_path_factory):
    config = transformers.ViTConfig(**TINY, **HEADS, image_size=32, patch_size=8)
    return save(tmp_path_factory.mktemp("vit"), config, image_processor())


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bert")
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    tokenizer = transformers.BertTokenizerFast(
        vocab=str(folder / "vocab.txt"), vocab_file=str(folder / "vocab.txt")
    )
    config = transformers.BertConfig(
        **TINY, **HEADS, vocab_size=len(WORDS), max_position_embeddings=12
    )
    return save(folder, config, tokenizer)


def test__transformers_encoder__encodes_images_as_the_model_does(vit):
    model = transformers.AutoModel.from_pretrained(vit).eval()
    pixels = image_processor()(list(IMAGES), return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        out = model(pixels)
    expected = {
        "auto": out.pooler_output,
        "cls": out.last_hidden_state[:, 0],
        "mean": out.last_hidden_state.mean(dim=1),
    }
    for pooling, features in expected.items():
        encoder = TransformersEncoder(vit, pooling=pooling, batch_size=4)
        np.testing.assert_allclose(encoder.transform(IMAGES), features, atol=TOLERANCE)
    assert encoder.get_feature_names_out().shape == (16,)


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test__transformers_encoder__encodes_texts_whatever_is_beside_them(bert, pooling):
    encoder = TransformersEncoder(bert, pooling=pooling, batch_size=24)
    together = encoder.transform(TEXTS)
    alone = np.concatenate([encoder.transform([text]) for text in TEXTS])
    np.testing.assert_allclose(together, alone, atol=TOLERANCE)
    assert encoder.transform(["a good day . " * 50]).shape == (1, 16)


@pytest.mark.parametrize("column", [np.array, tuple, pd.Series, pl.Series])
def test__transformers_encoder__takes_every_column_of_texts(bert, column):
    encoder = TransformersEncoder(bert)
    np.testing.assert_array_equal(encoder.transform(column(TEXTS)), encoder.transform(TEXTS))


def test__transformers_encoder__pools_as_the_files_of_a_sentence_encoder_say(bert, tmp_path):
    folder = shutil.copytree(bert, tmp_path / "sentence")
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_cls_token": True}))
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 3}))
    found = TransformersEncoder(folder).transform(["good day", "good night"])
    expected = TransformersEncoder(bert, pooling="cls").transform(["good", "good"])
    np.testing.assert_allclose(found, expected, atol=TOLERANCE)
    other = shutil.copytree(folder, tmp_path / "other")
    (other / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_lasttoken": True}))
    with pytest.raises(CheckpointError, match=r"pooling_mode_lasttoken.*pass pooling='mean'"):
        TransformersEncoder(other).transform(["good day"])


def test__transformers_encoder__refuses_layers_of_a_sentence_encoder_that_it_lacks(bert, tmp_path):
    folder = shutil.copytree(bert, tmp_path / "sentence")
    kinds = ["Transformer", "Pooling", "Normalize", "Dense"]
    modules = [{"path": "", "type": f"sentence_transformers.models.{kind}"} for kind in kinds]
    (folder / "modules.json").write_text(json.dumps(modules[:3]))
    expected = TransformersEncoder(bert).transform(["good day"])
    found = TransformersEncoder(folder).transform(["good day"])
    np.testing.assert_array_equal(found, expected)
    other = shutil.copytree(folder, tmp_path / "other")
    (other / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(CheckpointError, match=r"lists Dense, which.*pass pooling='mean'"):
        TransformersEncoder(other).transform(["good day"])
    assert TransformersEncoder(other, pooling="mean").transform(["good day"]).shape == (1, 16)


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test__transformers_encoder__does_not_pad_where_the_tokenizer_says(bert, pooling, tmp_path):
    folder = shutil.copytree(bert, tmp_path / "left")
    file = folder / "tokenizer_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"padding_side": "left"}))
    found, expected = (
        TransformersEncoder(each, pooling=pooling).transform(TEXTS) for each in (folder, bert)
    )
    np.testing.assert_allclose(found, expected, atol=TOLERANCE)


@pytest.mark.parametrize("texts", [["a day", ""], [""]])
def test__transformers_encoder__refuses_a_text_without_tokens(bert, texts, tmp_path):
    folder = shutil.copytree(bert, tmp_path / "bare")
    for name, change in (
        ("tokenizer.json", {"post_processor": None}),
        ("tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast"}),
    ):
        changed = json.loads((folder / name).read_text()) | change
        (folder / name).write_text(json.dumps(changed))
    with pytest.raises(ValueError, match="The text '' has no tokens"):
        TransformersEncoder(folder).transform(texts)


@pytest.mark.parametrize("said", [512, None])
def test__transformers_encoder__cuts_texts_to_the_positions_of_the_model(bert, said, tmp_path):
    folder = shutil.copytree(bert, tmp_path / "roberta")
    config = transformers.RobertaConfig(
        **TINY, **HEADS, vocab_size=len(WORDS), max_position_embeddings=12, pad_token_id=1
    )
    save(folder, config)
    file = folder / "tokenizer_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"model_max_length": said or 1e30}))
    assert TransformersEncoder(folder).transform(["a good day . " * 50]).shape == (1, 16)


def test__transformers_encoder__takes_the_encoder_of_a_model_that_also_writes(bert, tmp_path):
    folder = shutil.copytree(bert, tmp_path / "t5")
    config = transformers.T5Config(
        vocab_size=len(WORDS), d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2
    )
    torch.manual_seed(0)
    transformers.T5EncoderModel(config).save_pretrained(folder)  # as sentence encoders are saved
    together = TransformersEncoder(folder).transform(TEXTS)
    alone = TransformersEncoder(folder, batch_size=1).transform(TEXTS)
    np.testing.assert_allclose(together, alone, atol=TOLERANCE)


@pytest.mark.parametrize(
    "config",
    [
        transformers.Dinov2Config(**TINY, **HEADS, image_size=28, patch_size=14),
        transformers.ConvNextConfig(hidden_sizes=[8, 16], depths=[1, 1], num_stages=2),
        transformers.SiglipVisionConfig(**TINY, **HEADS, image_size=32, patch_size=8),
    ],
    ids=lambda config: config.model_type,
)
def test__transformers_encoder__takes_images_of_several_sizes(config, tmp_path):
    folder = save(tmp_path, config, image_processor(size={"height": 28, "width": 28}))
    if config.model_type == "siglip_vision_model":
        image_processor().save_pretrained(folder)
    E = TransformersEncoder(folder).transform([IMAGES[0], IMAGES[1, :15]])
    assert E.shape == (2, 16)
    assert not np.allclose(E[0], E[1])


def test__transformers_encoder__takes_texts_or_images_of_clip(clip_folder):
    images = TransformersEncoder(clip_folder).transform(IMAGES)
    texts = TransformersEncoder(clip_folder, kind="text").transform(["a day", "night"])
    assert (images.shape, texts.shape) == ((9, 8), (2, 8))
    tower = TransformersEncoder(clip_folder, kind="text", pooling="mean")
    assert tower.transform(["a day"]).shape == (1, 16)


def test__transformers_encoder__leaves_out_a_pooling_without_trained_weights(vit, tmp_path):
    config = transformers.ViTConfig.from_pretrained(vit)
    transformers.ViTForImageClassification(config).save_pretrained(tmp_path)
    image_processor().save_pretrained(tmp_path)
    found = TransformersEncoder(tmp_path).transform(IMAGES)
    expected = TransformersEncoder(tmp_path, pooling="cls").transform(IMAGES)
    np.testing.assert_array_equal(found, expected)


def test__transformers_encoder__makes_texts_fair_in_a_pipeline(bert, tmp_path):
    y, s = np.arange(24) % 2, np.arange(24) // 2 % 2
    encoder = TransformersEncoder(bert)
    fair = FairLatentTransformer(encoder, max_iter=1, random_state=0)
    Z = fair.fit_transform(TEXTS, y, sensitive_features=s)
    assert Z.shape == (24, 1)
    fair.save(tmp_path / "fair.safetensors")
    again = FairLatentTransformer.load(tmp_path / "fair.safetensors", encoder=clone(encoder))
    np.testing.assert_allclose(again.transform(TEXTS), Z, atol=TOLERANCE)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(fair)).transform(TEXTS), Z)  # noqa: S301


def test__transformers_encoder__another_model_is_another_encoder(bert, tmp_path):
    config = transformers.BertConfig.from_pretrained(bert)
    folder = shutil.copytree(bert, tmp_path / "other")
    torch.manual_seed(1)
    transformers.BertModel(config).save_pretrained(folder)
    same = shutil.copytree(bert, tmp_path / "same")
    prints = [TransformersEncoder(each).fingerprint() for each in (bert, same, folder)]
    assert prints[0] == prints[1] != prints[2]
    assert TransformersEncoder(bert, pooling="cls").fingerprint() != prints[0]


@pytest.mark.parametrize("X", [IMAGES, TEXTS], ids=["images", "texts"])
def test__transformers_encoder__encodes_what_is_cached_once(vit, bert, tmp_path, X, monkeypatch):
    encoder = TransformersEncoder(bert if X is TEXTS else vit, cache_dir=tmp_path)
    first = encoder.transform(X)
    np.testing.assert_allclose(first, clone(encoder).set_params(cache_dir=None).transform(X))
    monkeypatch.setattr(TransformersEncoder, "_features", None)
    np.testing.assert_array_equal(encoder.transform(X), first)


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("facebook/no-such-model", FileNotFoundError, "snapshot_download.*pass its path as name"),
        ("./nowhere", FileNotFoundError, "is not a folder: pass the path"),
    ],
)
def test__transformers_encoder__a_model_that_is_not_here_says_what_to_copy(
    name, error, message, monkeypatch
):
    monkeypatch.setattr(socket, "socket", None)
    with pytest.raises(error, match=message):
        TransformersEncoder(name).transform(IMAGES)


@pytest.mark.parametrize(
    ("lacking", "message"),
    [
        ("config.json", "no config.json that says"),
        ("model.safetensors", r"no model.safetensors.*AutoModel.from_pretrained"),
        ("preprocessor_config.json", "does not have preprocessor_config.json"),
    ],
)
def test__transformers_encoder__a_folder_without_a_file_says_which(
    vit, tmp_path, lacking, message
):
    folder = shutil.copytree(vit, tmp_path / "vit")
    (folder / lacking).unlink()
    with pytest.raises(CheckpointError, match=message):
        TransformersEncoder(folder).transform(IMAGES)


def test__transformers_encoder__runs_no_code_of_a_model(vit, tmp_path):
    folder = shutil.copytree(vit, tmp_path / "vit")
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "own", "auto_map": {"AutoConfig": "own.C", "AutoModel": "own.M"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "own.py").write_text("raise SystemExit('the code ran')")
    with pytest.raises(CheckpointError, match="code of its own, which is never run"):
        TransformersEncoder(folder).transform(IMAGES)


def test__transformers_encoder__refuses_what_the_model_does_not_take(vit, bert):
    with pytest.raises(CheckpointError, match="takes images, not texts: pass kind='image'"):
        TransformersEncoder(vit, kind="text").transform(TEXTS)
    with pytest.raises(CheckpointError, match="takes texts, not images: pass kind='text'"):
        TransformersEncoder(bert, kind="image").transform(IMAGES)
    with pytest.raises(TypeError, match=r"X\[1\] is None, not a text"):
        TransformersEncoder(bert).transform(["good", None])
    with pytest.raises(TypeError, match=r"pass \[X\]"):
        TransformersEncoder(bert).transform("good")
    with pytest.raises(TypeError, match="the column that holds them"):
        TransformersEncoder(bert).transform(pd.DataFrame({"text": TEXTS}))
