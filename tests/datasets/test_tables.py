"""Tables of text: encodings, separators, headers and damage, for every loader that reads one."""

import gzip
import io
import zipfile

import numpy as np
import pandas as pd
import pytest

from skfairlatent.datasets import load_celeba, load_image_folder
from skfairlatent.datasets._tables import parse_table, read_text, require_numbers

TEXT = "image_id,Smiling,Größe\n000001,1,4\n000002,0,5\n"


def _read(tmp_path, data):
    path = tmp_path / "t.csv"
    path.write_bytes(data)
    return parse_table(read_text(path), "'t.csv'", as_text=("image_id",))


@pytest.mark.parametrize(
    "data",
    [
        TEXT.encode(),
        TEXT.encode("utf-8-sig"),
        TEXT.encode("utf-16"),
        TEXT.replace(",", ";").encode(),
        TEXT.replace(",", "\t").encode("utf-16"),
        TEXT.replace(",", " , ").encode(),
        TEXT.replace("\n", "\r\n").encode(),
        TEXT.replace("\n", "\r").encode(),
        TEXT.replace("\n", "\n\n").encode() + b"  \n",
        TEXT.rstrip().encode(),
        "\n".join(",".join(f'"{v}"' for v in line.split(",")) for line in TEXT.split()).encode(),
        "\n".join(
            f"{n},{line}" for n, line in zip(["", 0, 1], TEXT.split(), strict=True)
        ).encode(),
    ],
)
def test__parse_table__reads_what_programs_write(tmp_path, data):
    table = _read(tmp_path, data)
    assert table["image_id"].str.strip().tolist() == ["000001", "000002"]
    assert table.drop(columns="image_id").to_dict("list") == {"Smiling": [1, 0], "Größe": [4, 5]}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty"),
        (b" \n\n", "is empty"),
        (b"\xef\xbb\xbf", "is empty"),
        (TEXT.encode("latin-1"), r"is not text in UTF-8 \(line 1: .*save it again in that encod"),
        (b"image_id,s\n1,\xff\n", r"is not text in UTF-8 \(line 2"),
        (TEXT.encode("utf-32"), r"is not text \(line 1 holds a null byte\)"),
        (TEXT.encode("utf-16-le"), r"is not text \(line 1 holds a null byte\)"),
        (b"image_id,s\n1,2\n\0\0\0\0", r"is not text \(line 3 holds a null byte\)"),
        (b"image_id,s\n", "holds no rows below its header"),
        (b"image_id,s\n1\n", r"has 1 fields in line 2 and 2 columns \(image_id, s\)"),
        (b"image_id,s\n1,2\n2,3,4\n", "has 3 fields in line 3 and 2 columns"),
        (b"image_id,s\n1,2,3\n2,3,4\n", "has 3 fields in line 2 and 2 columns"),
        (b'image_id,s\n1,"2\n', "cannot be read as a table"),
        (b"image_id,s,s\n1,2,3\n", "has more than one column 's': give each another name"),
    ],
)
def test__parse_table__names_the_file_and_the_line(tmp_path, data, message):
    with pytest.raises(ValueError, match=f"'t.csv' {message}"):
        _read(tmp_path, data)


def test__read_text__can_be_read_once_it_is_saved_as_the_message_says(tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes(TEXT.encode("latin-1"))
    with pytest.raises(ValueError, match="save it again in that encoding"):
        read_text(path)
    path.write_text(path.read_text("latin-1"), "utf-8")
    assert read_text(path) == TEXT


def test__read_text__unpacks_a_zip_of_one_table(tmp_path):
    table = pd.DataFrame({"a": [1]})
    table.to_csv(tmp_path / "t.csv.zip", index=False)
    assert read_text(tmp_path / "t.csv.zip") == "a\n1\n"
    (tmp_path / "t.csv.zip").write_bytes(b"PK")
    with pytest.raises(ValueError, match=r"t.csv.zip' cannot be read as a zip file"):
        read_text(tmp_path / "t.csv.zip")


def test__read_text__unpacks_gzip_within_bounds(tmp_path, monkeypatch):
    path = tmp_path / "t.csv.gz"
    path.write_bytes(gzip.compress(TEXT.encode()))
    assert read_text(path) == TEXT
    path.write_bytes(gzip.compress(TEXT.encode())[:-9])
    with pytest.raises(ValueError, match=r"'t.csv.gz' cannot be read \(.*copy it again"):
        read_text(path)
    path.write_bytes(TEXT.encode())
    with pytest.raises(ValueError, match=r"'t.csv.gz' cannot be read \(Not a gzip"):
        read_text(path)
    monkeypatch.setattr("skfairlatent.datasets._tables._MAX_BYTES", 1 << 20)
    path.write_bytes(gzip.compress(bytes(2 << 20)))
    with pytest.raises(ValueError, match=r"'t.csv.gz' unpacks to more than 1 MiB"):
        read_text(path)


@pytest.mark.parametrize(
    ("values", "allowed", "message"),
    [
        (["1", "forty"], (0, 120), "'forty' in row 2 of .* a whole number from 0 to 120"),
        ([1, -3], (0, np.inf), "'-3' in row 2 of .* a whole number from 0[.]"),
        ([0.5, 1], [0, 1], "'0.5' in row 1 of .* 0 or 1"),
        ([1, np.inf], (0, np.inf), "'inf' in row 2"),
        ([1, None], [0, 1], "no value in row 2"),
        ([True, False], (0, 2), "'True' in row 1"),
    ],
)
def test__require_numbers__names_the_value_and_its_place(values, allowed, message):
    table = pd.DataFrame({"age": values})
    with pytest.raises(ValueError, match=f"^here holds {message}"):
        require_numbers(table, "age", "here", allowed)


@pytest.mark.parametrize("load", [load_celeba, load_image_folder])
@pytest.mark.parametrize(
    ("path", "error", "message"),
    [
        ("", ValueError, "The path is empty: pass the path of"),
        (None, TypeError, "A NoneType is not a path: pass the path of"),
        (b"x", TypeError, "A bytes is not a path"),
        ("nobody/at/all", FileNotFoundError, "does not exist: pass the path of"),
        ("~no_such_user/x", FileNotFoundError, "cannot be looked up"),
        ("a\0b", FileNotFoundError, "cannot be looked up|does not exist"),
        ("x" * 5000, FileNotFoundError, "cannot be looked up|does not exist"),
    ],
)
def test__loaders__name_the_path(load, path, error, message):
    with pytest.raises(error, match=message):
        load(path)


def test__loaders__expand_the_home_folder(tmp_path, monkeypatch, encoded):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))  # of Windows
    (tmp_path / "faces").mkdir()
    (tmp_path / "faces" / "000001.png").write_bytes(encoded(1))
    (tmp_path / "t.csv").write_text("image_id,s\n000001,1\n")
    assert load_image_folder("~/faces", "~/t.csv").frame["s"].tolist() == [1]


def test__load_image_folder__a_folder_or_an_archive_is_no_table(tmp_path, encoded):
    (tmp_path / "a.png").write_bytes(encoded(1))
    (tmp_path / "metadata.csv").mkdir()
    with pytest.raises(IsADirectoryError, match=r"'metadata.csv' is a folder: pass the path of a"):
        load_image_folder(tmp_path)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("t.csv", TEXT)
        archive.writestr("u.csv", TEXT)
    (tmp_path / "t.zip").write_bytes(buffer.getvalue())
    with pytest.raises(ValueError, match=r"'t.zip' holds 2 files: unpack it and pass the table"):
        load_image_folder(tmp_path, tmp_path / "t.zip")
    (tmp_path / "t.tar").write_bytes(bytes(512))
    with pytest.raises(ValueError, match=r"'t.tar' is not text.*unpack it if it is an archive"):
        load_image_folder(tmp_path, tmp_path / "t.tar")
