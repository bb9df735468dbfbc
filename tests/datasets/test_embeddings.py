"""Stored embeddings joined with their table."""

import numpy as np
import pandas as pd
import pytest

from skfairlatent.datasets import load_embeddings

TABLE = pd.DataFrame(
    {
        "image_id": ["a", "b", "c", "d"],
        "split": ["train", "train", "valid", "train"],
        "Male": [0, 1, 0, 1],
    }
)
STORED = {
    "codes": np.array([[0, 255], [10, 20], [30, 40]], dtype=np.uint8),
    "scale": np.array([0.5, 0.1], dtype=np.float32),
    "offset": np.array([-1.0, 2.0], dtype=np.float32),
    "image_id": np.array(["c", "a", "b"]),
}
DECODED = STORED["codes"].astype(np.float32) * STORED["scale"] + STORED["offset"]


@pytest.fixture
def folder(tmp_path):
    np.savez_compressed(tmp_path / "embeddings.npz", **STORED)
    TABLE.to_csv(tmp_path / "attributes.csv", index=False)
    return tmp_path


def test__load_embeddings__decodes_and_joins_by_image(folder):
    stored = load_embeddings(folder)
    assert stored.data.dtype == np.float32
    np.testing.assert_allclose(stored.data, DECODED, rtol=1e-6)
    assert stored.image_id.tolist() == ["c", "a", "b"]
    assert stored.frame.to_dict("list") == {"Male": [0, 0, 1]}
    assert stored.split.tolist() == ["valid", "train", "train"]


def test__load_embeddings__takes_a_file_and_a_table(folder):
    stored = load_embeddings(folder / "embeddings.npz", TABLE.drop(columns="split"))
    assert stored.split is None
    assert stored.data.shape == (3, 2)


def test__load_embeddings__keeps_chosen_rows(folder):
    stored = load_embeddings(folder, split="train", columns=[], max_samples=1)
    assert stored.image_id.tolist() == ["a"]
    np.testing.assert_allclose(stored.data, DECODED[1:2], rtol=1e-6)
    drawn = [
        load_embeddings(folder, max_samples=1, random_state=seed).image_id[0] for seed in range(8)
    ]
    assert len(set(drawn)) > 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scale": None}, "lacks scale: expected codes, scale, offset, image_id"),
        ({"scale": np.ones(3)}, r"scale \(3,\).*expected \(n, d\), \(d,\), \(d,\) and \(n,\)"),
        ({"codes": np.zeros(3, np.uint8)}, r"holds codes \(3,\)"),
        ({"image_id": np.array(["a", "a", "b"])}, "several embeddings of one image_id"),
        ({"image_id": np.array(["a", "x", "y"])}, "2 of 3 embeddings in .*: x, y. Pass the table"),
        ({"codes": np.zeros((0, 2), np.uint8), "image_id": np.array([], "U1")}, "one row or more"),
        ({"codes": STORED["codes"] / 2}, "codes of dtype float64: expected uint8"),
        ({"scale": np.array(["1", "2"])}, "scale of dtype <U1: expected float32"),
        ({"offset": np.array([0, np.nan], np.float32)}, "NaN or numbers too large in scale or"),
        ({"scale": np.array([1, 1e300])}, "NaN or numbers too large in scale or offset"),
        ({"scale": np.array([1, -np.inf])}, "NaN or numbers too large in scale or offset"),
        ({"image_id": np.array([1.0, 2.0, 3.0])}, "image_id of dtype float64: expected text"),
        ({"image_id": np.array([b"a", b"b", b"\xff"])}, "1 of 3 embeddings in .* have no row"),
        ({"codes": np.zeros((3, 6 << 20), np.uint8)}, "made to fill memory"),
        ({"image_id": np.array(["a", "b", None])}, "cannot be read as an npz file"),
    ],
)
def test__load_embeddings__names_what_is_wrong(folder, change, message):
    stored = {key: value for key, value in (STORED | change).items() if value is not None}
    np.savez_compressed(folder / "embeddings.npz", **stored)
    with pytest.raises(ValueError, match=message):
        load_embeddings(folder)


@pytest.mark.parametrize("damage", ["text", "cut short", "a plain array"])
def test__load_embeddings__names_a_corrupt_file(folder, damage):
    file = folder / "embeddings.npz"
    if damage == "a plain array":
        with file.open("wb") as opened:
            np.save(opened, np.zeros(3))
    else:
        file.write_bytes(b"no archive" if damage == "text" else file.read_bytes()[:200])
    with pytest.raises(ValueError, match=r"embeddings.npz' cannot be read as an npz file"):
        load_embeddings(folder)


def test__load_embeddings__names_what_is_absent(folder):
    with pytest.raises(FileNotFoundError, match="does not exist: pass the path of a folder of"):
        load_embeddings(folder / "nowhere")
    (folder / "attributes.csv").unlink()
    with pytest.raises(FileNotFoundError, match=r"No attribute table .*attributes=, a path or a"):
        load_embeddings(folder)
    (folder / "embeddings.npz").unlink()
    with pytest.raises(FileNotFoundError, match="No embeddings in"):
        load_embeddings(folder)


@pytest.mark.data
@pytest.mark.parametrize("name", ["celeba_cnn", "celeba_diffae32"])
def test__load_embeddings__reads_real_embeddings(data_dir, name):
    table = data_dir / "celeba64" / "attributes.csv"
    stored = load_embeddings(data_dir / name, table, split="valid", columns=["Male", "Young"])
    assert stored.data.shape == (len(stored.frame), 512)
    assert np.isfinite(stored.data).all()
