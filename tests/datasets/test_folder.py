"""Images in a folder or zip with a table: layouts, selection, forms and errors."""

import pickle
import sys

import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import train_test_split

from skfairlatent.datasets import LazyImages, load_image_folder
from skfairlatent.datasets import _images as images_module

NAMES = ["000001", "000002", "000003", "000004"]


def _table():
    return pd.DataFrame(
        {
            "image_id": NAMES,
            "split": ["train", "valid", "train", "test"],
            "Male": [1, 0, 0, 1],
            "Smiling": [0, 0, 1, 1],
        }
    )


@pytest.fixture(params=["folder", "images folder", "images.zip", "the zip itself"])
def layout(request, tmp_path, encoded, fill):
    contents = {f"{name}.png": encoded(10 * i) for i, name in enumerate(NAMES)}
    as_zip = "zip" in request.param
    inside = {"folder": ".", "images folder": "images"}.get(request.param, "images.zip")
    fill(tmp_path / inside, contents, as_zip=as_zip)
    _table().to_csv(tmp_path / "attributes.csv", index=False)
    return tmp_path / "images.zip" if request.param == "the zip itself" else tmp_path


@pytest.fixture
def folder(tmp_path, encoded, fill):
    fill(tmp_path, {f"{name}.png": encoded(10 * i) for i, name in enumerate(NAMES)}, as_zip=False)
    _table().to_csv(tmp_path / "attributes.csv", index=False)
    return tmp_path


def test__load_image_folder__reads_every_layout(layout):
    loaded = load_image_folder(layout)
    assert loaded.images.shape == (4, 6, 4, 3)
    assert loaded.images.dtype == np.uint8
    assert loaded.images[:, 0, 0, 0].tolist() == [0, 10, 20, 30]
    assert list(loaded.frame.columns) == ["Male", "Smiling"]
    assert loaded.filenames.tolist() == [f"{name}.png" for name in NAMES]
    assert loaded.split.tolist() == ["train", "valid", "train", "test"]


def test__load_image_folder__follows_the_order_of_the_table(folder):
    table = _table().iloc[::-1]
    loaded = load_image_folder(folder, table)
    assert loaded.images[:, 0, 0, 0].tolist() == [30, 20, 10, 0]
    assert loaded.frame.index.tolist() == [0, 1, 2, 3]
    assert loaded.frame["Smiling"].tolist() == [1, 1, 0, 0]


def test__load_image_folder__chosen_rows_alone_are_decoded(folder, monkeypatch):
    decoded = []
    decode = images_module._decode

    def _record(store, member, options):
        decoded.append(member)
        return decode(store, member, options)

    monkeypatch.setattr(images_module, "_decode", _record)
    loaded = load_image_folder(folder, split="train", columns=["Smiling"])
    assert decoded == ["000001.png", "000003.png"]
    assert loaded.frame.to_dict("list") == {"Smiling": [0, 1]}
    assert loaded.split.tolist() == ["train", "train"]


@pytest.mark.parametrize(
    ("split", "expected"), [("valid", [2]), (["valid", "test"], [2, 4]), (None, [1, 2, 3, 4])]
)
def test__load_image_folder__takes_one_split_or_several(folder, split, expected):
    loaded = load_image_folder(folder, split=split, images=None)
    assert [int(name[:6]) for name in loaded.filenames] == expected
    assert loaded.images is None


@pytest.mark.parametrize(
    ("column", "split", "rows"),
    [
        ([0, 1, 2, 1], "1", [2, 4]),
        ([0, 1, 2, 1], 1, [2, 4]),
        ([0, 1, 2, 1], [1, "2"], [2, 3, 4]),
        ([0.0, 1.0, np.nan, 1.0], np.int64(1), [2, 4]),
        (["train", None, "test", " train "], "train", [1, 4]),
        (["train", None, "test", ""], ("test",), [3]),
        (pd.Categorical(["a", "b", None, "a"]), {"a"}, [1, 4]),
        ([True, False, True, False], True, [1, 3]),
    ],
)
@pytest.mark.parametrize("as_csv", [True, False])
def test__load_image_folder__compares_splits_as_text(folder, column, split, rows, as_csv):
    table = _table().assign(split=column)
    if as_csv:
        table.to_csv(folder / "attributes.csv", index=False)
    loaded = load_image_folder(folder, None if as_csv else table, split=split, images=None)
    assert [int(name[:6]) for name in loaded.filenames] == rows
    assert all(isinstance(name, str) for name in loaded.split)


@pytest.mark.parametrize("split", ["valid", 7, [], ["train", None], float("nan")])
def test__load_image_folder__names_the_splits_beside_gaps(folder, split):
    table = _table().assign(split=["train", None, 0, "test"])
    with pytest.raises(ValueError, match=r"is not in .* pass one of 0, test, train"):
        load_image_folder(folder, table, split=split)
    assert load_image_folder(folder, table, images=None).split.tolist()[1] is None


def test__load_image_folder__says_that_no_row_has_a_split(folder):
    with pytest.raises(ValueError, match="pass None, as no row has a split"):
        load_image_folder(folder, _table().assign(split=None), split="train")


def test__load_image_folder__max_images_takes_the_first_or_draws(folder):
    first = load_image_folder(folder, max_images=2)
    drawn = [load_image_folder(folder, max_images=2, random_state=seed) for seed in range(6)]
    again = load_image_folder(folder, max_images=2, random_state=3)
    assert first.filenames.tolist() == ["000001.png", "000002.png"]
    assert again.filenames.tolist() == drawn[3].filenames.tolist()
    assert len({tuple(each.filenames) for each in drawn}) > 1
    assert all(list(each.filenames) == sorted(each.filenames) for each in drawn)


def test__load_image_folder__crops_then_resizes_without_stretching(tmp_path, encoded, fill):
    fill(tmp_path, {"a.png": encoded(9, height=20, width=30)}, as_zip=False)
    table = pd.DataFrame({"image_id": ["a"]})
    cut = load_image_folder(tmp_path, table, crop=np.array([10, 0, 14, 8]))
    assert cut.images.shape == (1, 8, 4, 3)
    assert cut.images[0, 0, :, 2].tolist() == [10, 11, 12, 13]
    small = load_image_folder(tmp_path, table, size=10)
    assert small.images.shape == (1, 10, 10, 3)
    blue = small.images[0, 5, :, 2].astype(int)
    assert (blue[0], blue[-1]) == pytest.approx((5.5, 23.5), abs=1.5)
    assert load_image_folder(tmp_path, table, size=(5, 7)).images.shape == (1, 5, 7, 3)


@pytest.mark.parametrize("as_zip", [True, False])
def test__load_image_folder__lazy_images_equal_the_array(tmp_path, as_zip, encoded, fill):
    contents = {f"{name}.png": encoded(10 * i) for i, name in enumerate(NAMES)}
    path = fill(tmp_path / ("a.zip" if as_zip else "a"), contents, as_zip=as_zip)
    array = load_image_folder(path, _table(), size=4).images
    lazy = load_image_folder(path, _table(), size=4, images="lazy").images
    assert isinstance(lazy, LazyImages)
    assert len(lazy) == 4
    np.testing.assert_array_equal(np.asarray(lazy), array)
    np.testing.assert_array_equal(lazy[-1], array[-1])
    np.testing.assert_array_equal(np.stack(list(lazy)), array)
    np.testing.assert_array_equal(np.asarray(lazy[1:3]), array[1:3])
    np.testing.assert_array_equal(np.asarray(lazy[np.array([3, 0])]), array[[3, 0]])
    np.testing.assert_array_equal(np.asarray(lazy[[True, False, False, True]]), array[[0, 3]])
    assert np.asarray(lazy[:0]).shape == (0, 4, 4, 3)
    assert np.asarray(lazy, dtype=np.float32).dtype == np.float32
    np.testing.assert_array_equal(np.asarray(pickle.loads(pickle.dumps(lazy))), array)  # noqa: S301
    train, test = train_test_split(lazy, test_size=1, random_state=0)
    assert (len(train), len(test)) == (3, 1)
    lazy.close()
    np.testing.assert_array_equal(lazy[0], array[0])
    lazy.close()


def test__lazy_images__cannot_be_taken_without_a_copy(folder):
    lazy = load_image_folder(folder, images="lazy").images
    with pytest.raises(ValueError, match="copy=False cannot be kept"):
        np.array(lazy, copy=False)
    assert "LazyImages(4 images of" in repr(lazy)


def test__load_image_folder__gives_paths_of_files(folder):
    loaded = load_image_folder(folder, images="paths", max_images=1)
    assert loaded.images == [str(folder / "000001.png")]


def test__load_image_folder__finds_images_by_name_stem_or_path(tmp_path, encoded, fill):
    contents = {"x/a.jpg": encoded(1), "x/b.png": encoded(2), "y/b.png": encoded(3)}
    fill(tmp_path, contents, as_zip=False)
    table = pd.DataFrame({"file_name": ["a.png", "y/b", "x/b.png", "a"][:3]})
    loaded = load_image_folder(tmp_path, table)
    assert loaded.images[:, 0, 0, 0].tolist() == [1, 3, 2]
    with pytest.raises(ValueError, match="'b' in the attribute table fits several images"):
        load_image_folder(tmp_path, pd.DataFrame({"image_id": ["b"]}))


def test__load_image_folder__ignores_what_is_no_image(tmp_path, encoded, fill):
    contents = {
        "a.png": encoded(1),
        "__MACOSX/._a.png": b"x",
        ".hidden.png": b"x",
        "notes.txt": b"",
    }
    path = fill(tmp_path / "a.zip", contents, as_zip=True)
    assert load_image_folder(path, pd.DataFrame({"image_id": ["a"]})).images.shape[0] == 1


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"split": "dev"}, ValueError, "split='dev' is not in .*pass one of test, train, valid"),
        ({"columns": ["Smilling"]}, ValueError, "no column 'Smilling': did you mean Smiling"),
        ({"columns": "Male"}, TypeError, r"is one string: pass a list, \['Male'\]"),
        ({"max_images": 0}, ValueError, "At most 0 rows were asked for: pass 1 or more"),
        ({"images": "tensor"}, ValueError, "images='tensor' is unknown: pass 'array'"),
        ({"images": "paths", "size": 8}, ValueError, "leave out crop and size"),
        ({"max_images": 2.5}, TypeError, "At most 2.5 rows were asked for: pass an integer"),
        ({"columns": [3]}, ValueError, "no column 3: did you mean Male"),
        ({"columns": ["Male", "Male"]}, ValueError, "more than one column 'Male'"),
        ({"size": 0}, ValueError, "size=0 is not a valid image size"),
        ({"size": 8.5}, ValueError, "size=8.5 is not a valid image size"),
        ({"size": (8, 8.5)}, ValueError, r"size=\(8, 8.5\) is not a valid image size"),
        ({"size": "64"}, ValueError, "size='64' is not a valid image size"),
        ({"size": ()}, ValueError, r"size=\(\) is not a valid image size"),
        ({"crop": (0, 0, 2.5, 2)}, ValueError, r"crop=\(0, 0, 2.5, 2\) is not a valid box"),
        ({"crop": 4}, ValueError, "crop=4 is not a valid box"),
        ({"crop": (4, 0, 2, 2)}, ValueError, r"crop=\(4, 0, 2, 2\) is not a valid box"),
        ({"crop": (0, 0, 5, 5)}, ValueError, "reaches outside '000001.png', which is 6 high"),
        ({"attributes": "none.csv"}, FileNotFoundError, "'none.csv' does not exist"),
    ],
)
def test__load_image_folder__says_what_to_pass(folder, arguments, error, message):
    with pytest.raises(error, match=message):
        load_image_folder(folder, **arguments)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"id": ["a"]}, "no column that names the images: call it 'image_id'"),
        ({"image_id": ["a", None]}, "no value in row 2 of column 'image_id'"),
        ({"image_id": ["a", "a"]}, "names a more than once"),
    ],
)
def test__load_image_folder__says_what_is_wrong_with_the_table(folder, table, message):
    with pytest.raises(ValueError, match=message):
        load_image_folder(folder, pd.DataFrame(table))


def test__load_image_folder__names_what_is_absent(tmp_path):
    with pytest.raises(FileNotFoundError, match="does not exist: pass the path of a folder"):
        load_image_folder(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"No attribute table .*Pass the table as attrib"):
        load_image_folder(tmp_path)
    with pytest.raises(FileNotFoundError, match="holds no image: expected files ending in"):
        load_image_folder(tmp_path, _table())


@pytest.mark.parametrize("as_zip", [True, False])
def test__load_image_folder__names_images_that_are_absent(tmp_path, as_zip, encoded, fill):
    path = fill(tmp_path / ("a.zip" if as_zip else "a"), {"000001.png": encoded(1)}, as_zip=as_zip)
    with pytest.raises(FileNotFoundError, match=r"3 of 4 images named in .*: 000002, 000003"):
        load_image_folder(path, _table())


def test__load_image_folder__names_images_of_another_size(folder, encoded):
    (folder / "000003.png").write_bytes(encoded(1, height=9))
    with pytest.raises(ValueError, match=r"'000001.png' is 6 high .* '000003.png' is 9 high"):
        load_image_folder(folder)
    assert load_image_folder(folder, size=6).images.shape == (4, 6, 6, 3)


@pytest.mark.parametrize("damage", ["empty", "text", "header only", "cut short"])
@pytest.mark.parametrize("as_zip", [True, False])
def test__load_image_folder__names_a_corrupt_image(tmp_path, damage, as_zip, encoded, fill):
    whole = encoded(1, height=40, width=40)
    damaged = {"empty": b"", "text": b"no image", "header only": whole[:40]}
    contents = {"a.png": encoded(1), "b.png": damaged.get(damage, whole[: len(whole) // 2])}
    path = fill(tmp_path / ("a.zip" if as_zip else "a"), contents, as_zip=as_zip)
    with pytest.raises(ValueError, match=r"'b.png' in .* is not an image that Pillow can read"):
        load_image_folder(path, pd.DataFrame({"image_id": ["a", "b"]}))


def test__load_image_folder__names_a_damaged_archive(tmp_path, encoded, fill):
    (tmp_path / "a.zip").write_bytes(b"no zip")
    with pytest.raises(ValueError, match=r"cannot be read as a zip file .*: pass a folder"):
        load_image_folder(tmp_path / "a.zip", _table())
    path = fill(tmp_path / "b.zip", {"000001.png": encoded(1)}, as_zip=True)
    whole = path.read_bytes()
    path.write_bytes(whole.replace(encoded(1)[-30:], bytes(30)))
    with pytest.raises(ValueError, match=r"'000001.png' in .* cannot be read .*copy the archive"):
        load_image_folder(path, _table().head(1))


def test__load_image_folder__paths_need_files(tmp_path, encoded, fill):
    path = fill(tmp_path / "a.zip", {"000001.png": encoded(1)}, as_zip=True)
    with pytest.raises(ValueError, match="is a zip: pass images='lazy', or unpack it"):
        load_image_folder(path, _table().head(1), images="paths")


def test__load_image_folder__split_needs_a_split(folder):
    with pytest.raises(ValueError, match="has no split: leave it out"):
        load_image_folder(folder, _table().drop(columns="split"), split="train")


@pytest.mark.parametrize("images", ["array", "lazy"])
def test__load_image_folder__says_how_to_install_pillow(folder, monkeypatch, images):
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ImportError, match=r'pip install "skfairlatent\[images\]"'):
        load_image_folder(folder, images=images)


@pytest.mark.data
@pytest.mark.slow
def test__load_image_folder__reads_real_faces(data_dir):
    loaded = load_image_folder(data_dir / "celeba64", split="valid", max_images=20)
    assert loaded.images.shape == (20, 64, 64, 3)
    assert set(loaded.split) == {"valid"}
    assert loaded.frame["Male"].isin((0, 1)).all()
    utkface = load_image_folder(data_dir / "utkface64", max_images=20, random_state=0)
    assert utkface.frame["ethnicity"].isin(range(5)).all()
