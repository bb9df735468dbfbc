"""ClipJudge, by the real code of transformers on a tiny CLIP with random weights."""

import json
import pickle
import shutil
import socket
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from safetensors.torch import load_file, save_file
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from skfairlatent.exceptions import CheckpointError
from skfairlatent.judging import ClipJudge

PROMPTS = {"male": "a photo of a man", "female": ["a woman", "the face of a lady"]}
# Float32 sums in another order.
TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(256, size=(7, 20, 30, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def judge(clip_folder):
    return ClipJudge(PROMPTS, model=clip_folder, device="cpu", batch_size=3).fit()


def copy_of(folder, tmp_path):
    return Path(shutil.copytree(folder, tmp_path / "clip"))


def reference(folder, texts, images):
    """Return CLIP's own probabilities, by its forward pass on its processor's output."""
    processor = getattr(transformers, "CLIPImageProcessorPil", None)
    processor = (processor or transformers.CLIPImageProcessor).from_pretrained(folder)
    tokens = transformers.CLIPTokenizerFast.from_pretrained(folder)(
        texts, padding=True, return_tensors="pt"
    )
    model = transformers.CLIPModel.from_pretrained(folder).eval()
    pixels = processor([Image.fromarray(image) for image in images], return_tensors="pt")
    with torch.no_grad():
        found = model(**tokens, pixel_values=pixels["pixel_values"])
    return found.logits_per_image.softmax(dim=1).numpy()


def test__clip__judges_alike_whatever_torch_is_set_to(ambient, judge, clip_folder, images):
    expected = judge.predict_proba(images)
    with ambient():
        rounds = torch.get_float32_matmul_precision() != "highest"
        found = ClipJudge(PROMPTS, model=clip_folder, device="cpu", batch_size=3).fit()
        probabilities = found.predict_proba(images)
    if not rounds:  # how exact a network of somebody else is is the user's choice
        np.testing.assert_array_equal(found.text_features_, judge.text_features_)
        np.testing.assert_array_equal(probabilities, expected)


def test__clip__matches_clips_own_forward_pass(clip_folder, images):
    judge = ClipJudge({"a": "a cat", "b": "a dog", "c": "a red fish"}, model=clip_folder).fit()
    expected = reference(clip_folder, ["a cat", "a dog", "a red fish"], images)
    np.testing.assert_allclose(judge.predict_proba(images), expected, atol=TOLERANCE)


def test__clip__averages_the_prompts_of_a_class(judge, clip_folder):
    singles = [
        ClipJudge({"x": text, "y": "other"}, model=clip_folder).fit().text_features_[0]
        for text in PROMPTS["female"]
    ]
    mean = np.mean(singles, axis=0)
    np.testing.assert_allclose(
        judge.text_features_[0], mean / np.linalg.norm(mean), atol=TOLERANCE
    )
    assert judge.classes_.tolist() == ["female", "male"]


def test__clip__probabilities_do_not_depend_on_batches_or_on_the_form(judge, images, tmp_path):
    expected = judge.predict_proba(images)
    assert expected.shape == (7, 2)
    np.testing.assert_allclose(expected.sum(axis=1), 1.0, atol=TOLERANCE)
    paths = []
    for row, image in enumerate(images):
        paths.append(tmp_path / f"{row}.png")
        Image.fromarray(image).save(paths[-1])
    forms = (images / np.float32(255), [Image.fromarray(image) for image in images], paths)
    for form in forms:
        np.testing.assert_allclose(judge.predict_proba(form), expected, atol=TOLERANCE)
    at_once = clone(judge).set_params(batch_size=64).fit()
    np.testing.assert_allclose(at_once.predict_proba(images), expected, atol=TOLERANCE)


def test__clip__images_of_a_list_may_differ_in_size(judge, images):
    mixed = [images[0], np.ascontiguousarray(images[1, :, :25])]
    found = judge.predict_proba(mixed)
    np.testing.assert_allclose(found[:1], judge.predict_proba(mixed[:1]), atol=TOLERANCE)
    np.testing.assert_allclose(found[1:], judge.predict_proba(mixed[1:]), atol=TOLERANCE)


def test__clip__predicts_and_scores_the_keys_of_prompts(judge, clip_folder, images):
    predicted = judge.predict(images)
    assert set(predicted) <= {"female", "male"}
    assert judge.score(images, predicted) == 1.0
    numbers = ClipJudge({1: "yes", 0: "no"}, model=clip_folder).fit()
    assert numbers.classes_.tolist() == [0, 1]


def test__clip__is_an_estimator_that_clones_and_pickles(judge, images):
    assert clone(judge).get_params() == judge.get_params()
    with pytest.raises(NotFittedError):
        clone(judge).predict(images)
    restored = pickle.loads(pickle.dumps(judge))  # noqa: S301 - made one line ago
    # Kernels round differently by how the unpickled tensors are aligned.
    np.testing.assert_allclose(
        restored.predict_proba(images), judge.predict_proba(images), atol=1e-5
    )


def test__clip__finds_a_name_in_the_hubs_cache_without_the_network(clip_folder, judge, tmp_path):
    repository = tmp_path / "models--somebody--tiny"
    (repository / "refs").mkdir(parents=True)
    revision = "0" * 40
    (repository / "refs" / "main").write_text(revision)
    shutil.copytree(clip_folder, repository / "snapshots" / revision)
    cached = ClipJudge(PROMPTS, model="somebody/tiny", cache_dir=tmp_path).fit()
    np.testing.assert_allclose(cached.text_features_, judge.text_features_, atol=1e-5)


def test__clip__a_missing_name_says_what_to_download(tmp_path):
    judge = ClipJudge(PROMPTS, model="somebody/large", cache_dir=tmp_path)
    with pytest.raises(FileNotFoundError, match="local_files_only=False") as error:
        judge.fit()
    assert "snapshot_download('somebody/large'" in str(error.value)
    assert str(tmp_path) in str(error.value)


@pytest.mark.parametrize("model", ["nothing/like/that", "./here", Path("missing")])
def test__clip__a_missing_folder_is_not_looked_for_on_the_hub(model):
    with pytest.raises(FileNotFoundError, match="is not a folder"):
        ClipJudge(PROMPTS, model=model, local_files_only=False).fit()


def test__clip__uses_the_network_only_if_allowed(tmp_path, monkeypatch):
    reached = []

    def getaddrinfo(host, *_args, **_kwargs):
        reached.append(host)
        raise OSError("no network")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    judge = ClipJudge(PROMPTS, model="somebody/large", cache_dir=tmp_path)
    with pytest.raises(FileNotFoundError):
        judge.fit()
    assert not reached
    with pytest.raises(ConnectionError, match="could not be downloaded"):
        judge.set_params(local_files_only=False).fit()
    assert reached


def test__clip__pickled_weights_are_refused_with_the_way_to_convert_them(clip_folder, tmp_path):
    folder = copy_of(clip_folder, tmp_path)
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"no model.safetensors.*save_pretrained"):
        ClipJudge(PROMPTS, model=folder).fit()


def test__clip__code_beside_the_model_is_not_run(clip_folder, tmp_path):
    folder = copy_of(clip_folder, tmp_path)
    trap = tmp_path / "trap"
    (folder / "evil.py").write_text(f"open({str(trap)!r}, 'w')\nclass Evil: pass\n")
    for name in ("config.json", "tokenizer_config.json", "preprocessor_config.json"):
        settings = json.loads((folder / name).read_text())
        settings["auto_map"] = dict.fromkeys(
            ("AutoModel", "AutoConfig", "AutoTokenizer", "AutoImageProcessor"), "evil.Evil"
        )
        (folder / name).write_text(json.dumps(settings))
    ClipJudge(PROMPTS, model=folder).fit()
    assert not trap.exists()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("config.json", "says what it is"),
        ("preprocessor_config.json", "does not have preprocessor_config.json"),
        ("tokenizer.json vocab.json", "does not have its tokenizer"),
    ],
)
def test__clip__a_missing_file_is_named(clip_folder, tmp_path, name, message):
    folder = copy_of(clip_folder, tmp_path)
    for each in name.split():
        (folder / each).unlink()
    with pytest.raises(CheckpointError, match=message):
        ClipJudge(PROMPTS, model=folder).fit()


def test__clip__another_model_is_refused(clip_folder, tmp_path):
    folder = copy_of(clip_folder, tmp_path)
    (folder / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(CheckpointError, match="of type 'bert': ClipJudge takes CLIP"):
        ClipJudge(PROMPTS, model=folder).fit()


def test__clip__damaged_and_incomplete_weights_are_refused(clip_folder, tmp_path):
    folder = copy_of(clip_folder, tmp_path)
    weights = load_file(folder / "model.safetensors")
    del weights["visual_projection.weight"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(CheckpointError, match=r"lack \['visual_projection.weight'\]"):
        ClipJudge(PROMPTS, model=folder).fit()
    (folder / "model.safetensors").write_bytes(b"not weights")
    with pytest.raises(CheckpointError, match="cannot be loaded"):
        ClipJudge(PROMPTS, model=folder).fit()


def test__clip__half_precision_weights_are_computed_in_float32(clip_folder, tmp_path, images):
    folder = copy_of(clip_folder, tmp_path)
    halved = {k: v.half() for k, v in load_file(folder / "model.safetensors").items()}
    save_file(halved, folder / "model.safetensors", {"format": "pt"})
    judge = ClipJudge(PROMPTS, model=folder, device="cpu").fit()
    assert judge.predict_proba(images).dtype == np.float32
    assert judge.text_features_.dtype == np.float32


@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        ({"one": "a man"}, "fewer than two classes"),
        ({"a": "a man", "b": []}, r"prompts\['b'\]"),
        ({"a": "a man", "b": " "}, r"prompts\['b'\]"),
        ({"a": "a man", "b": 3}, r"prompts\['b'\]"),
        ({"a": "a man", 1: "a woman"}, "several types"),
        ({"a": "a man", "b": "word " * 30}, "at most: shorten it"),
    ],
)
def test__clip__bad_prompts_are_named(clip_folder, prompts, message):
    with pytest.raises(ValueError, match=message):
        ClipJudge(prompts, model=clip_folder).fit()


@pytest.mark.parametrize("missing", ["transformers", "PIL.Image"])
def test__clip__without_its_libraries_says_what_to_install(clip_folder, monkeypatch, missing):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ImportError, match=r'pip install "skfairlatent\[clip\]"'):
        ClipJudge(PROMPTS, model=clip_folder).fit()


def test__clip__shows_nothing_and_leaves_transformers_settings_alone(clip_folder, capfd):
    logs = transformers.utils.logging
    before = logs.get_verbosity(), logs.is_progress_bar_enabled()
    ClipJudge(PROMPTS, model=clip_folder).fit()
    assert (logs.get_verbosity(), logs.is_progress_bar_enabled()) == before
    assert capfd.readouterr() == ("", "")


@pytest.mark.gpu
def test__clip__same_on_the_gpu_and_stays_on_the_cpu(judge, images):
    on_gpu = clone(judge).set_params(device="cuda").fit()
    np.testing.assert_allclose(
        on_gpu.predict_proba(images), judge.predict_proba(images), atol=1e-3
    )
    assert all(p.device.type == "cpu" for p in on_gpu._images_to_features.parameters())
