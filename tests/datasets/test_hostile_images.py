"""Images that are not files, that are too large, or that pretend: refused before they do harm."""

import os
import socket
import struct
import tracemalloc
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from skfairlatent.datasets import (
    load_celeba,
    load_celeba_hq,
    load_image_folder,
)
from skfairlatent.encoders._images import ImageSource

TABLE = pd.DataFrame({"image_id": ["c"], "s": [0]})


def _make_special(kind, path):
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "link to a device":
        path.symlink_to("/dev/zero")
    elif kind == "link to a pipe":
        os.mkfifo(path.with_suffix(".pipe"))
        path.symlink_to(path.with_suffix(".pipe"))
    else:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(path))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no pipes among its files")
@pytest.mark.parametrize("kind", ["pipe", "link to a device", "link to a pipe", "socket"])
@pytest.mark.parametrize("place", ["image", "zip", "table"])
def test__load_image_folder__refuses_what_is_no_file(tmp_path, monkeypatch, kind, place, encoded):
    monkeypatch.chdir(tmp_path)  # the path of a socket must be short
    name = {"image": "c.png", "zip": "images.zip", "table": "attributes.csv"}[place]
    _make_special(kind, Path(name))
    if place == "table":
        Path("c.png").write_bytes(encoded(1))
    with pytest.raises(ValueError, match=rf"{name}'.* is not a regular file but a pipe, a socket"):
        load_image_folder(".", None if place == "table" else TABLE)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no pipes among its files")
@pytest.mark.parametrize(
    ("load", "name"),
    [
        (load_celeba, "list_attr_celeba.txt"),
        (load_celeba_hq, "CelebAMask-HQ-attribute-anno.txt"),
    ],
)
def test__loaders__refuse_a_table_that_is_no_file(tmp_path, load, name):
    os.mkfifo(tmp_path / name)
    (tmp_path / "attributes.csv").write_text("image_id,s\na,1\n")
    with pytest.raises(ValueError, match=f"{name}' is not a regular file"):
        load(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no pipes among its files")
def test__image_source__refuses_a_file_that_became_a_pipe(tmp_path, encoded):
    path = tmp_path / "c.png"
    path.write_bytes(encoded(1))
    source = ImageSource([path], 4)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(ValueError, match=r"X\[0\] .* is not a regular file"):
        source.read(slice(None))


@pytest.mark.parametrize("as_zip", [True, False])
def test__load_image_folder__refuses_an_image_of_more_than_256_mib(tmp_path, as_zip):
    with (tmp_path / "c.png").open("wb") as file:
        file.truncate((256 << 20) + 1)  # takes no room on the disk
    path = tmp_path
    if as_zip:
        path = tmp_path / "a.zip"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("c.png", b"\0")
        _declare(path, size=(256 << 20) + 1)
    with pytest.raises(ValueError, match=r"'c.png' in .* has 256 MiB: at most 256 MiB are read"):
        load_image_folder(path, TABLE)


def _declare(path, **what):
    """Change what the headers of a zip of one member say."""
    data = bytearray(path.read_bytes())
    local, central = data.index(b"PK\3\4"), data.index(b"PK\1\2")
    for key, value in what.items():
        offset, form = {"method": (8, "<H"), "size": (22, "<L")}[key]
        struct.pack_into(form, data, local + offset, value)
        struct.pack_into(form, data, central + offset + 2, value)
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        ({}, "unpacks to 32 MiB, as zeros made to fill memory do"),
        ({"size": 1000}, "cannot be read .*: copy the archive again"),
        ({"method": zipfile.ZIP_LZMA}, "packed by method 14, not by the usual deflate: unpack"),
    ],
)
def test__load_image_folder__refuses_a_zip_bomb(tmp_path, declared, message):
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("c.png", bytes(32 << 20))
    _declare(tmp_path / "a.zip", **declared)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=f"'c.png' in .* {message}"):
            load_image_folder(tmp_path / "a.zip", TABLE)
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("limit", [150, 20])  # Pillow warns below half of an image, then raises
def test__load_image_folder__refuses_too_many_pixels(tmp_path, monkeypatch, encoded, limit):
    (tmp_path / "c.png").write_bytes(encoded(1, height=20, width=10))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the error does not depend on who shows warnings
        with pytest.raises(ValueError, match=r"'c.png' in .* is too large to decode .*200 pixels"):
            load_image_folder(tmp_path, TABLE)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)  # as the message says
    assert load_image_folder(tmp_path, TABLE).images.shape == (1, 20, 10, 3)


def test__load_image_folder__refuses_more_than_8_bits(tmp_path):
    Image.fromarray(np.full((4, 4), 3000, dtype=np.uint16)).save(tmp_path / "c.png")
    with pytest.raises(TypeError, match=r"'c.png' in .* has more than 8 bits a channel"):
        load_image_folder(tmp_path, TABLE)


def test__load_image_folder__looks_for_no_image_outside_its_folder(tmp_path, encoded, fill):
    (tmp_path / "c.png").write_bytes(encoded(1))
    contents = {"../c.png": encoded(2), "/tmp/c.png": encoded(3), "d.png": encoded(4)}  # noqa: S108
    archive = fill(tmp_path / "in" / "a.zip", contents, as_zip=True)
    (tmp_path / "in" / "d.png").write_bytes(encoded(5))
    outside = pd.DataFrame({"image_id": ["../c.png"]})
    for path in (archive, tmp_path / "in"):
        with pytest.raises(
            FileNotFoundError, match=r"1 of 1 images .* are not in .*: \.\./c\.png"
        ):
            load_image_folder(path, outside)
    assert load_image_folder(archive, TABLE).images[0, 0, 0, 0] == 3


def test__load_image_folder__refuses_two_rows_of_one_image(tmp_path, encoded):
    (tmp_path / "c.png").write_bytes(encoded(1))
    with pytest.raises(ValueError, match=r"'c' and 'c.png' in .* are one image, 'c.png'"):
        load_image_folder(tmp_path, pd.DataFrame({"image_id": ["c", "c.png"], "s": [0, 1]}))


def test__load_image_folder__a_folder_named_like_an_image_is_none(tmp_path, encoded):
    (tmp_path / "c.png").mkdir()
    (tmp_path / "c.png" / "c.png").write_bytes(encoded(7))
    assert load_image_folder(tmp_path, TABLE).images[0, 0, 0, 0] == 7


def test__load_image_folder__names_a_broken_link(tmp_path):
    (tmp_path / "c.png").symlink_to(tmp_path / "gone.png")
    with pytest.raises(FileNotFoundError, match=r"'c.png' in .* or is a broken link"):
        load_image_folder(tmp_path, TABLE)
