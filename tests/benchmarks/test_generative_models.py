"""The benchmark of several encoders runs from end to end on made-up faces, and can go on."""

import importlib
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from threadpoolctl import threadpool_limits

pytestmark = pytest.mark.benchmarks

FOLDER = Path(__file__).parents[2] / "examples" / "benchmarks"
TINY = '{"max_iter": 2, "n_blocks": 1, "hidden_features": 8}'
ATTRIBUTES = ["Attractive", "Male", "Smiling", "Young"]
N_TRAIN, N_VALID, WIDTH = 60, 40, 6


@pytest.fixture
def module(monkeypatch):
    """Import the script as Python does that runs it: with its folder on the path."""
    monkeypatch.syspath_prepend(str(FOLDER))
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with threadpool_limits(limits=1):
        yield importlib.import_module("generative_models")
    torch.set_num_threads(n_threads)


@pytest.fixture(scope="module")
def tiny_data(tmp_path_factory):
    """Faces of one colour each, which tells the attributes, and given embeddings of them."""
    pillow = pytest.importorskip("PIL.Image")
    root = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    n = N_TRAIN + N_VALID
    cells = np.arange(n) % 16  # every combination occurs in both splits
    table = pd.DataFrame((cells[:, np.newaxis] >> np.arange(4)) & 1, columns=ATTRIBUTES)
    (root / "celeba64" / "images").mkdir(parents=True)
    for row in range(n):
        colour = 60 + 120 * table.loc[row, ["Attractive", "Male", "Smiling"]].to_numpy(int)
        image = np.clip(colour + rng.normal(0, 20, size=(64, 64, 3)), 0, 255).astype(np.uint8)
        pillow.fromarray(image).save(root / "celeba64" / "images" / f"{row:06d}.png")
    codes = 100 + 60 * table.to_numpy() + rng.normal(0, 20, size=(n, 4))
    table.insert(0, "image_id", [f"{row:06d}" for row in range(n)])
    table.insert(1, "split", np.repeat(["train", "valid"], [N_TRAIN, N_VALID]))
    table.to_csv(root / "celeba64" / "attributes.csv", index=False)
    (root / "celeba_cnn").mkdir()
    np.savez(
        root / "celeba_cnn" / "embeddings.npz",
        image_id=table["image_id"].to_numpy(str),
        codes=np.clip(codes, 0, 255).astype(np.uint8),
        scale=np.full(4, 0.05, dtype=np.float32),
        offset=np.zeros(4, dtype=np.float32),
    )
    return root


def _run(module, data, folder, *arguments):
    given = {"--data": data, "--out": folder / "out", "--cache": folder / "cache"}
    given |= {"--params": TINY, "--seeds": 0, "--width": WIDTH, "--decoded": 5}
    given["--vae-minutes"] = 0.01
    options = [str(part) for pair in given.items() for part in pair]
    module.main([*options, "--skip-diffae", *arguments])


def test__generative_models__writes_tables_and_goes_on_where_it_stopped(
    module, tiny_data, tmp_path, capsys
):
    _run(module, tiny_data, tmp_path)

    assert "6 parts, 0 of them found" in capsys.readouterr().out
    raw = pd.read_csv(tmp_path / "out" / "generative_models_raw.csv", index_col="encoder")
    assert raw["width"].to_dict() == {"vae": WIDTH, "pca": WIDTH, "cnn": 4}
    # The colours are in the first three components, and Young is in no pixel.
    assert (raw.loc["pca", ["Attractive", "Male", "Smiling"]] > 0.9).all()
    assert raw.loc["pca", "Young"] < 0.8 < raw.loc["cnn", "Young"]
    # The PCA leaves out the noise of the pixels: 20 grey levels.
    assert raw.loc["pca", "psnr_decoded"] == pytest.approx(20 * np.log10(255 / 20), abs=1)
    assert raw["psnr_decoded"].isna().to_dict() == {"vae": False, "pca": False, "cnn": True}
    runs = pd.read_csv(tmp_path / "out" / "generative_models_runs.csv")
    assert runs[["accuracy", "eo", "dp", "wga", "leak", "readable"]].notna().all(axis=None)
    text = (tmp_path / "out" / "generative_models.rst").read_text(encoding="utf-8")
    assert "raw → Z_Y" in text
    assert "the more frequent value" in text

    _run(module, tiny_data, tmp_path)

    said = capsys.readouterr().out
    assert "6 parts, 6 of them found" in said
    assert "embedding into" not in said


def test__generative_models__embeds_anew_for_other_settings(module, tiny_data, tmp_path, capsys):
    for rows in ("30", "40"):
        _run(module, tiny_data, tmp_path, "--encoders", "pca", "diffae", "--max-rows", rows)
        assert "pca: embedding into" in capsys.readouterr().out
    files = list((tmp_path / "cache").iterdir())
    assert len(files) == 2
    assert sorted(len(np.load(file)["train"]) for file in files) == [30, 40]


class Outsider:
    """Stands in for the networks of others: bright faces are male, and old."""

    classes_ = np.array([0, 1])

    def predict_proba(self, images):
        bright = images.mean(axis=(1, 2, 3)) / 255
        return np.column_stack((1 - bright, bright))

    def predict(self, images):
        return self.predict_proba(images).argmax(axis=1)

    def ages(self, images):
        return 100 * self.predict_proba(images)[:, 1]

    def same(self, images, others):
        return np.abs(images.astype(float) - others).mean(axis=(1, 2, 3)) < 20


# Whether a judge of twelve epochs sees anything depends on the rounding of the processor.
@pytest.mark.filterwarnings("default")
def test__counterfactuals__judges_edits_and_writes_tables(
    module,  # noqa: ARG001 - sets the path and the threads
    tiny_data,
    tmp_path,
    monkeypatch,
):
    script = importlib.import_module("counterfactuals")
    for name in ("AgeAndGender", "FaceIdentity"):
        monkeypatch.setattr(script, name, Outsider)
    out = tmp_path / "out" / "counterfactuals.csv"
    given = {"--data": tiny_data, "--out": out, "--cache": tmp_path / "cache"}
    given |= {"--encoders": "pca", "--labels": "Attractive", "--width": WIDTH, "--rows": 20}
    given |= {"--judge-epochs": 12, "--components": 4, "--log-odds": 2}
    arguments = [str(part) for pair in given.items() for part in pair]
    script.main(arguments)
    script.main(arguments)  # rows are measured again, and take the place of the old ones
    found = pd.read_csv(out).set_index("latent")
    assert list(found.index) == ["raw", "fair"]
    assert (
        found[["flips", "trained_sensitive_shift", "gender_flips", "same_person"]]
        .notna()
        .all(axis=None)
    )
    script.main(["--render", str(out)])
    text = out.with_suffix(".txt").read_text(encoding="utf-8")
    assert "relative ratio" in text
    assert "gender, decoded faces" in text


def test__psnr__is_that_of_the_definition(module):
    black = np.zeros((2, 64, 64, 3), dtype=np.uint8)
    other = black.copy()
    other[0], other[1] = 255, 51
    assert module.psnr(black, other) == pytest.approx((0 + 20 * np.log10(5)) / 2)


def test__ssim__is_one_for_equal_images_or_absent(module, monkeypatch):
    images = np.random.default_rng(0).integers(256, size=(2, 64, 64, 3), dtype=np.uint8)
    monkeypatch.setitem(sys.modules, "skimage.metrics", None)
    assert np.isnan(module.ssim(images, images))
    monkeypatch.undo()
    pytest.importorskip("skimage.metrics")
    assert module.ssim(images, images) == pytest.approx(1)
    assert module.ssim(images, 255 - images) < 0.2
