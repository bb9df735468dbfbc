"""CelebA and CelebA-HQ in their official layouts, drawn small."""

import zipfile

import numpy as np
import pandas as pd
import pytest

from skfairlatent.datasets import load_celeba, load_celeba_hq

ATTRIBUTES = "Male Smiling Young"
VALUES = ["-1  1 -1", " 1 -1  1", " 1  1 -1"]
# The last of train, the first of valid, the first of test in the official partition.
CELEBA_NAMES = ["162770.jpg", "162771.jpg", "182638.jpg"]
HQ_NAMES = ["0.jpg", "1.jpg", "2.jpg"]


def _attribute_text(names):
    rows = [f"{name}  {values}" for name, values in zip(names, VALUES, strict=True)]
    return "\n".join([str(len(names)), f"{ATTRIBUTES} ", *rows, ""])


@pytest.fixture
def make_celeba(tmp_path, encoded, fill):
    """Return a function that writes CelebA: side by side or in folders, images zipped or not."""

    def make(*, official=False, as_zip=False, partition=True, identity=True):
        anno, evaluation, image = ("Anno", "Eval", "Img") if official else (".", ".", ".")
        pictures = {name: encoded(10 * i) for i, name in enumerate(CELEBA_NAMES)}
        if as_zip:
            nested = {f"img_align_celeba/{name}": data for name, data in pictures.items()}
            fill(tmp_path / image / "img_align_celeba.zip", nested, as_zip=True)
        else:
            fill(tmp_path / image / "img_align_celeba", pictures, as_zip=False)
        texts = {f"{anno}/list_attr_celeba.txt": _attribute_text(CELEBA_NAMES)}
        if partition:
            lines = zip(CELEBA_NAMES, "012", strict=True)
            text = "\n".join(f"{name} {code}" for name, code in lines)
            texts[f"{evaluation}/list_eval_partition.txt"] = text
        if identity:
            lines = zip(reversed(CELEBA_NAMES), (7, 8, 9), strict=True)  # in another order
            text = "\n".join(f"{name} {number}" for name, number in lines)
            texts[f"{anno}/identity_CelebA.txt"] = text
        fill(tmp_path, {name: text.encode() for name, text in texts.items()}, as_zip=False)
        return tmp_path

    return make


@pytest.fixture
def kaggle(tmp_path, encoded, fill):
    """Write CelebA as Kaggle has it: CSV files and a folder within its namesake."""
    nested = "img_align_celeba/img_align_celeba"
    pictures = {f"{nested}/{name}": encoded(10 * i) for i, name in enumerate(CELEBA_NAMES)}
    fill(tmp_path, pictures, as_zip=False)
    rows = [f"{n},{','.join(v.split())}" for n, v in zip(CELEBA_NAMES, VALUES, strict=True)]
    header = f"image_id,{','.join(ATTRIBUTES.split())}"
    (tmp_path / "list_attr_celeba.csv").write_text("\n".join([header, *rows, ""]))
    partition = [f"{name},{code}" for name, code in zip(CELEBA_NAMES, "120", strict=True)]
    text = "\n".join(["image_id,partition", *partition])
    (tmp_path / "list_eval_partition.csv").write_text(text)
    (tmp_path / "list_bbox_celeba.csv").write_text("image_id,x_1\n162770.jpg,95\n")
    return tmp_path


@pytest.fixture
def make_celeba_hq(tmp_path, encoded, fill):
    """Return a function that writes CelebA-HQ."""

    def make(*, inside="", as_zip=False, mapping=True):
        root = tmp_path / inside
        pictures = {f"CelebA-HQ-img/{name}": encoded(10 * i) for i, name in enumerate(HQ_NAMES)}
        fill(root / "CelebA-HQ-img.zip" if as_zip else root, pictures, as_zip=as_zip)
        texts = {"CelebAMask-HQ-attribute-anno.txt": _attribute_text(HQ_NAMES)}
        if mapping:
            rows = [f"{i}\t\t{int(name[:6]) - 1}\t\t{name}" for i, name in enumerate(CELEBA_NAMES)]
            header = "idx\t\torig_idx\t\torig_file"
            texts["CelebA-HQ-to-CelebA-mapping.txt"] = "\n".join([header, *rows])
        fill(root, {name: text.encode() for name, text in texts.items()}, as_zip=False)
        return tmp_path

    return make


@pytest.mark.parametrize("official", [True, False])
@pytest.mark.parametrize("as_zip", [True, False])
def test__load_celeba__reads_the_official_files(make_celeba, official, as_zip):
    faces = load_celeba(make_celeba(official=official, as_zip=as_zip))
    assert faces.images[:, 0, 0, 0].tolist() == [0, 10, 20]
    assert faces.frame.to_dict("list") == {
        "Male": [0, 1, 1],
        "Smiling": [1, 0, 1],
        "Young": [0, 1, 0],
        "identity": [9, 8, 7],
    }
    assert faces.frame["Male"].dtype == np.int8
    assert faces.split.tolist() == ["train", "valid", "test"]


@pytest.mark.parametrize("zipped", ["nothing", "images", "all", "all in a folder"])
def test__load_celeba__reads_the_files_of_kaggle(kaggle, zipped):
    place = kaggle
    if zipped != "nothing":
        is_all = zipped != "images"
        place = kaggle / ("archive.zip" if is_all else "img_align_celeba.zip")
        above = "celeba/images" if zipped == "all in a folder" else "."
        with zipfile.ZipFile(place, "w") as archive:
            if above != ".":
                archive.writestr("__MACOSX/._celeba", "")
            for path in kaggle.rglob("*.*" if is_all else "*.jpg"):
                if path != place:
                    archive.write(path, above / path.relative_to(kaggle))
                    path.unlink()
    faces = load_celeba(place if zipped not in ("nothing", "images") else kaggle)
    assert faces.images[:, 0, 0, 0].tolist() == [0, 10, 20]
    assert faces.frame.to_dict("list") == {
        "Male": [0, 1, 1],
        "Smiling": [1, 0, 1],
        "Young": [0, 1, 0],
    }
    assert faces.split.tolist() == ["valid", "test", "train"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            ("162771.jpg,1", "162771.jpg,0"),
            "holds '0' in row 2 of column 'Male' .*expected -1 or 1",
        ),
        (("162771.jpg", "162770.jpg"), "names 162770.jpg more than once"),
        (("Young", "Young,Old"), "has 4 fields in line 2 and 5 columns .image_id, Male"),
        ((",Young", ""), r"has 4 fields in line 2 and 3 columns \(image_id, Male, Smiling\)"),
        (("Young", "Male"), "has more than one column 'Male'"),
        (("image_id", "picture"), "starts with 'picture,Male.*header with image_id, as in Kagg"),
        ((",1", ",one"), "holds 'one' in row 1 of column 'Smiling'"),
    ],
)
def test__load_celeba__does_not_believe_the_files_of_kaggle(kaggle, change, message):
    path = kaggle / "list_attr_celeba.csv"
    text = path.read_text()
    path.write_text(text.replace(*change, 1))
    with pytest.raises(ValueError, match=f"'list_attr_celeba.csv' {message}"):
        load_celeba(kaggle)


def test__load_celeba__finds_the_columns_of_kaggle_by_name(kaggle):
    for name in ("list_attr_celeba", "list_eval_partition"):
        table = pd.read_csv(kaggle / f"{name}.csv")
        table[table.columns[::-1]].to_csv(kaggle / f"{name}.csv", encoding="utf-8-sig")
    faces = load_celeba(kaggle, columns=["Male"], images=None)
    assert faces.frame["Male"].tolist() == [0, 1, 1]
    assert faces.split.tolist() == ["valid", "test", "train"]


def test__load_celeba__splits_by_number_without_the_partition_file(make_celeba):
    faces = load_celeba(make_celeba(partition=False, identity=False), images=None)
    assert faces.split.tolist() == ["train", "valid", "test"]
    assert list(faces.frame.columns) == ATTRIBUTES.split()


def test__load_celeba__keeps_chosen_rows_and_columns(make_celeba):
    faces = load_celeba(
        make_celeba(),
        split=["valid", "test"],
        columns=["Smiling", "identity"],
        max_images=1,
        crop=(0, 0, 4, 4),
        size=2,
    )
    assert faces.images.shape == (1, 2, 2, 3)
    assert faces.frame.to_dict("list") == {"Smiling": [0], "identity": [8]}


def test__load_celeba__accepts_images_saved_with_another_suffix(make_celeba):
    root = make_celeba()
    for path in (root / "img_align_celeba").iterdir():
        path.rename(path.with_suffix(".png"))
    assert load_celeba(root).filenames.tolist() == ["162770.png", "162771.png", "182638.png"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Male Smiling\n1.jpg 1 1", "starts with 'Male Smiling': expected the number of images"),
        (_attribute_text(CELEBA_NAMES).replace("3\n", "9\n", 1), "announces 9 images and lists 3"),
        (
            _attribute_text(CELEBA_NAMES).replace("-1", "0"),
            "holds '0' in row 1 of column 'Male' .*expected -1 or 1",
        ),
        ("3\n", "holds no rows below its header"),
        ("1\nMale Smiling\n1.jpg 1 1\n2.jpg 1 1 1 1\n", "has 5 fields in line 4 and 3 columns"),
    ],
)
def test__load_celeba__names_a_damaged_table(make_celeba, text, message):
    root = make_celeba()
    (root / "list_attr_celeba.txt").write_text(text)
    with pytest.raises(ValueError, match=rf"'list_attr_celeba.txt' {message}"):
        load_celeba(root)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("162770.jpg 0\n162771.jpg 1\n", "does not list 182638.jpg"),
        (
            "162770.jpg 0\n162771.jpg 1\n182638.jpg 3\n",
            "holds '3' in row 3 of .*expected 0 or 1 or 2",
        ),
    ],
)
def test__load_celeba__names_a_damaged_partition(make_celeba, text, message):
    root = make_celeba()
    (root / "list_eval_partition.txt").write_text(text)
    with pytest.raises(ValueError, match=f"'list_eval_partition.txt' {message}"):
        load_celeba(root)


@pytest.mark.parametrize("name", ["anna.jpg", "0.jpg", "202600.jpg", "img2_162771.jpg"])
def test__load_celeba__needs_the_partition_unless_names_are_numbers(make_celeba, name):
    root = make_celeba(partition=False, identity=False)
    table = root / "list_attr_celeba.txt"
    table.write_text(table.read_text().replace("162771.jpg", name))
    (root / "img_align_celeba" / "162771.jpg").rename(root / "img_align_celeba" / name)
    with pytest.raises(ValueError, match=rf"'{name}' in row 2 .*add list_eval_partition.txt"):
        load_celeba(root)
    lines = zip(["162770.jpg", name, "182638.jpg"], "012", strict=True)
    (root / "list_eval_partition.txt").write_text("\n".join(map(" ".join, lines)))
    assert load_celeba(root).split.tolist() == ["train", "valid", "test"]


def test__load_celeba__names_what_is_absent(tmp_path, make_celeba):
    with pytest.raises(FileNotFoundError, match="does not exist: pass the path of the folder"):
        load_celeba(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="No CelebA attribute table in"):
        load_celeba(tmp_path)
    root = make_celeba()
    (root / "img_align_celeba" / "162771.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=r"1 of 3 images named in 'list_attr_celeba.txt'"):
        load_celeba(root)
    (root / "img_align_celeba").rename(root / "pictures")
    with pytest.raises(FileNotFoundError, match="No CelebA image folder or zip"):
        load_celeba(root)


@pytest.mark.parametrize("inside", ["", "CelebAMask-HQ"])
@pytest.mark.parametrize("as_zip", [True, False])
def test__load_celeba_hq__reads_the_official_files(make_celeba_hq, inside, as_zip):
    faces = load_celeba_hq(make_celeba_hq(inside=inside, as_zip=as_zip), size=2)
    assert faces.images.shape == (3, 2, 2, 3)
    assert faces.images[:, 0, 0, 0].tolist() == [0, 10, 20]
    assert faces.frame["Smiling"].tolist() == [1, 0, 1]
    assert faces.frame["orig_file"].tolist() == CELEBA_NAMES
    assert faces.split.tolist() == ["train", "valid", "test"]


def test__load_celeba_hq__has_no_split_without_the_mapping(make_celeba_hq):
    root = make_celeba_hq(mapping=False)
    assert load_celeba_hq(root, images="paths").split is None
    with pytest.raises(ValueError, match="has no split: leave it out"):
        load_celeba_hq(root, split="train")


def test__load_celeba_hq__names_a_damaged_mapping(make_celeba_hq):
    root = make_celeba_hq()
    mapping = root / "CelebA-HQ-to-CelebA-mapping.txt"
    mapping.write_text("idx orig_idx orig_file\n0 1 000002.jpg\n")
    with pytest.raises(ValueError, match=r"'CelebA-HQ-to-CelebA-mapping.txt' does not list 1, 2"):
        load_celeba_hq(root)
    mapping.write_text("idx orig_idx orig_file\n0 1 a.jpg\n1 2 b.jpg\n2 3 c.jpg\n")
    with pytest.raises(ValueError, match=r"'a.jpg' in row 1 of column 'orig_file'"):
        load_celeba_hq(root)
    mapping.write_text("idx orig_idx orig_file\n0 1 1.jpg\n0 2 2.jpg\n2 3 3.jpg\n")
    with pytest.raises(ValueError, match="names 0 more than once"):
        load_celeba_hq(root)
    mapping.write_text("idx orig_idx\n0 1\n")
    with pytest.raises(ValueError, match="lacks the columns orig_file"):
        load_celeba_hq(root)
