"""Images in every form a user may have: equal pixels, flat memory, and clear refusals."""

import io
import os
import pickle
import re
import sys
import threading
import tracemalloc
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from PIL import Image, ImageOps

from skfairlatent.datasets import load_image_folder
from skfairlatent.encoders import _images as images_module
from skfairlatent.encoders._images import ImageSource
from skfairlatent.exceptions import FairLatentWarning

N = 12


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(0, 256, (N, 6, 6, 3), dtype=np.uint8)


@pytest.fixture
def paths(pixels, tmp_path):
    for row, image in enumerate(pixels):
        Image.fromarray(image).save(tmp_path / f"{row:02d}.png")
    return sorted(tmp_path.glob("*.png"))


def _table():
    return pd.DataFrame({"image_id": [f"{row:02d}" for row in range(N)]})


def _zipped(paths, target):
    with zipfile.ZipFile(target, "w") as archive:
        for path in paths:
            archive.write(path, path.name)
    return target


FORMS = {
    "array": lambda pixels, _: pixels,
    "float64": lambda pixels, _: pixels / 255,
    "float32": lambda pixels, _: (pixels / 255).astype(np.float32),
    "float16": lambda pixels, _: (pixels / 255).astype(np.float16),
    "float32 just outside": lambda pixels, _: np.float32(pixels / 255) * np.float32(1 + 1e-7),
    "int64": lambda pixels, _: pixels.astype(np.int64),
    "uint16": lambda pixels, _: pixels.astype(np.uint16),
    "opaque RGBA": lambda pixels, _: np.concatenate([pixels, pixels[..., :1]], axis=-1),
    "tensor": lambda pixels, _: torch.from_numpy(pixels),
    "strided": lambda pixels, _: np.repeat(pixels, 2, axis=2)[:, :, ::2],
    "list of arrays": lambda pixels, _: list(pixels),
    "list of floats": lambda pixels, _: list(pixels / 255),
    "list of tensors": lambda pixels, _: list(torch.from_numpy(pixels)),
    "tuple of pictures": lambda pixels, _: tuple(map(Image.fromarray, pixels)),
    "paths": lambda _, paths: paths,
    "strings": lambda _, paths: [str(path) for path in paths],
    "array of strings": lambda _, paths: np.array([str(path) for path in paths]),
    "object array": lambda _, paths: np.array(paths, dtype=object),
    "column": lambda _, paths: pd.Series([str(path) for path in paths], index=range(50, 50 + N)),
    "polars": lambda _, paths: pl.Series([str(path) for path in paths]),
    "opened files": lambda _, paths: [Image.open(path) for path in paths],
    "mixed": lambda pixels, paths: [pixels[0], Image.fromarray(pixels[1]), *paths[2:]],
    "lazy": lambda _, paths: load_image_folder(paths[0].parent, _table(), images="lazy").images,
    "lazy zip": lambda _, paths: (
        load_image_folder(
            _zipped(paths, paths[0].parent / "a.zip"), _table(), images="lazy"
        ).images
    ),
}


@pytest.mark.parametrize("size", [6, None])
@pytest.mark.parametrize("form", FORMS)
def test__image_source__reads_every_form_alike(form, size, pixels, paths):
    source = ImageSource(FORMS[form](pixels, paths), size)
    assert len(source) == N
    assert source.image_size == (6, 6)
    for rows in (slice(None), slice(2, 5), slice(3, 3), np.array([5, 0, 5, -1])):
        read = source.read(rows)
        np.testing.assert_array_equal(read, pixels[rows])
        assert read.dtype == np.uint8
        assert read.flags.c_contiguous
        assert read.flags.writeable
    assert source.digests(slice(None)) == ImageSource(pixels, 6).digests(slice(None))


@pytest.mark.parametrize("form", ["array", "list of arrays", "paths", "lazy"])
def test__image_source__fits_as_lazy_images_do(form, pixels, paths):
    expected = load_image_folder(paths[0].parent, _table(), size=4).images
    source = ImageSource(FORMS[form](pixels, paths), 4)
    np.testing.assert_array_equal(source.read(slice(None)), expected)  # square: no warning
    np.testing.assert_array_equal(source.read(np.array([3])), expected[3:4])  # without threads
    larger = ImageSource(FORMS[form](pixels, paths), 9).read(slice(0, 2))
    assert larger.shape == (2, 9, 9, 3)


@pytest.mark.parametrize("form", ["array", "list of arrays", "paths"])
def test__image_source__pickles(form, pixels, paths):
    source = ImageSource(FORMS[form](pixels, paths), None)
    again = pickle.loads(pickle.dumps(source))  # noqa: S301
    np.testing.assert_array_equal(again.read(slice(1, 3)), pixels[1:3])


def test__image_source__never_hands_out_the_memory_of_the_user(pixels):
    before = pixels.copy()
    for form in (pixels, list(pixels), torch.from_numpy(pixels)):
        ImageSource(form, 6).read(slice(None))[:] = 0
    np.testing.assert_array_equal(pixels, before)


def test__image_source__reads_an_array_on_disk_that_cannot_be_written(pixels, tmp_path):
    np.save(tmp_path / "a.npy", pixels)
    mapped = np.load(tmp_path / "a.npy", mmap_mode="r")
    read = ImageSource(mapped, 6).read(slice(2, 4))
    np.testing.assert_array_equal(read, pixels[2:4])
    assert torch.from_numpy(read).sum() == pixels[2:4].sum()


class TestConversion:
    @pytest.mark.parametrize("form", ["column of channels", "plain", "picture"])
    def test__image_source__grey_becomes_three_equal_channels(self, form, pixels):
        grey = pixels[..., 0]
        given = {
            "column of channels": grey[..., np.newaxis],
            "plain": list(grey),
            "picture": [Image.fromarray(each) for each in grey],
        }[form]
        expected = np.stack([grey] * 3, axis=-1)
        np.testing.assert_array_equal(ImageSource(given, 6).read(slice(None)), expected)

    def test__image_source__drops_opacity_as_pillow_does(self, pixels):
        clear = np.concatenate([pixels, np.full((N, 6, 6, 1), 10, np.uint8)], axis=-1)
        pictures = [Image.fromarray(each) for each in clear]
        np.testing.assert_array_equal(ImageSource(clear, 6).read(slice(None)), pixels)
        np.testing.assert_array_equal(ImageSource(list(clear), 6).read(slice(None)), pixels)
        np.testing.assert_array_equal(ImageSource(pictures, 6).read(slice(None)), pixels)

    @pytest.mark.parametrize("mode", ["P", "1", "CMYK", "LA", "YCbCr"])
    def test__image_source__converts_other_modes_by_pillow(self, mode, pixels, tmp_path):
        pictures = [Image.fromarray(image).convert(mode) for image in pixels]
        expected = np.stack([np.asarray(each.convert("RGB")) for each in pictures])
        np.testing.assert_array_equal(ImageSource(pictures, 6).read(slice(None)), expected)
        suffix = "tif"
        pictures[0].save(tmp_path / f"a.{suffix}")
        read = ImageSource([tmp_path / f"a.{suffix}"], 6).read(slice(None))
        np.testing.assert_array_equal(read, expected[:1])

    @pytest.mark.parametrize("orientation", range(1, 9))
    def test__image_source__turns_photographs_upright(self, orientation, tmp_path):
        """As viewers show them, in every form, also where height and width change places."""
        tall = np.random.default_rng(0).integers(0, 256, (12, 8, 3), dtype=np.uint8)
        exif = Image.Exif()
        exif[0x0112] = orientation
        path = tmp_path / "a.png"
        Image.fromarray(tall).save(path, exif=exif)
        with Image.open(path) as opened:
            expected = np.asarray(ImageOps.exif_transpose(opened))
        folder = load_image_folder(tmp_path, pd.DataFrame({"image_id": ["a"]}))
        np.testing.assert_array_equal(folder.images[0], expected)
        with warnings.catch_warnings(), Image.open(path) as opened:
            warnings.simplefilter("ignore", FairLatentWarning)  # a third is cut off
            fitted = ImageSource(expected[None], 8).read(slice(None))
            for form in (path, opened):
                source = ImageSource([form], 8)
                np.testing.assert_array_equal(source.read(slice(None)), fitted)
                assert ImageSource([form], None).image_size == expected.shape[:2]

    @pytest.mark.parametrize("orientation", [1, 6, 8])
    def test__image_source__keeps_the_size_of_an_upright_tiff(self, orientation, tmp_path):
        exif = Image.Exif()
        exif[0x0112] = orientation
        path = tmp_path / "a.tif"
        Image.fromarray(np.zeros((12, 8, 3), dtype=np.uint8)).save(path, exif=exif)
        with Image.open(path) as opened:
            opened.load()
            expected = opened.height, opened.width
        assert ImageSource([path], None).read(slice(None)).shape[1:3] == expected

    def test__image_source__reads_images_with_damaged_exif(self, pixels, tmp_path):
        path = tmp_path / "a.png"
        exif = Image.Exif()
        exif[0x0112] = 6
        damaged = exif.tobytes()[:-9] + b"\xff" * 9
        Image.fromarray(pixels[0]).save(path, exif=damaged)
        read = ImageSource([path], 6).read(slice(None))
        assert read.shape == (1, 6, 6, 3)

    @pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
    def test__image_source__refuses_pipes_which_may_never_end(self, tmp_path):
        os.mkfifo(tmp_path / "a.png")
        with pytest.raises(ValueError, match=r"a\.png.* is not a regular file"):
            ImageSource([tmp_path / "a.png"], 6)

    def test__image_source__takes_the_first_frame(self, pixels, tmp_path):
        first, *others = map(Image.fromarray, pixels[:3])
        first.save(tmp_path / "a.webp", save_all=True, append_images=others, lossless=True)
        read = ImageSource([tmp_path / "a.webp"], 6).read(slice(None))
        np.testing.assert_array_equal(read, pixels[:1])

    def test__image_source__floats_are_rounded(self):
        image = np.array([0, 0.4, 0.6, 254.4, 254.6, 255]).reshape(1, 1, 6, 1) / 255
        read = ImageSource(np.repeat(image, 6, axis=1), None).read(slice(None))
        assert read[0, 3, :, 1].tolist() == [0, 0, 1, 254, 255, 255]


class TestSizes:
    @pytest.mark.parametrize("form", ["array", "arrays", "pictures"])
    def test__image_source__warns_once_that_pixels_are_cut_off(self, form):
        tall = np.random.default_rng(0).integers(0, 256, (3, 218, 178, 3), dtype=np.uint8)
        given = {"array": tall, "arrays": list(tall), "pictures": [*map(Image.fromarray, tall)]}
        source = ImageSource(given[form], 64)
        with pytest.warns(FairLatentWarning) as caught:
            read = source.read(slice(0, 2))
        source.read(slice(1, 3))  # silently: warnings are errors
        (warning,) = caught
        message = str(warning.message)
        assert "X[0] is 218 high and 178 wide; fitting it to 64 by 64 cuts off 18%" in message
        assert "crop" in message
        fitted = ImageOps.fit(Image.fromarray(tall[0]), (64, 64), Image.Resampling.LANCZOS)
        np.testing.assert_array_equal(read[0], np.asarray(fitted))

    def test__image_source__names_the_row_that_is_cut(self, tmp_path):
        for name, size in [("a.png", (8, 8)), ("b.png", (20, 8))]:
            Image.new("RGB", size).save(tmp_path / name)
        source = ImageSource([tmp_path / "a.png", tmp_path / "b.png"], 4)
        with pytest.warns(
            FairLatentWarning, match=r"X\[1\] \('.*b.png'\) is 8 high and 20 wide.*60%"
        ):
            source.read(slice(None))

    def test__image_source__rescales_squares_of_several_sizes_silently(self, pixels):
        mixed = [pixels[0], np.zeros((50, 50, 3), np.uint8), np.zeros((100, 101, 3), np.uint8)]
        assert ImageSource(mixed, 6).read(slice(None)).shape == (3, 6, 6, 3)

    def test__image_source__keeps_the_size_of_its_own(self, tmp_path):
        wide = np.full((2, 4, 10, 3), 9, np.uint8)
        Image.fromarray(wide[0]).save(tmp_path / "a.png")
        for given in (wide, list(wide), [tmp_path / "a.png"], [Image.fromarray(wide[0])]):
            source = ImageSource(given, None)
            assert source.image_size == (4, 10)
            assert source.read(slice(0, 1)).shape == (1, 4, 10, 3)

    def test__image_source__refuses_several_sizes_if_they_are_to_be_kept(self, pixels, tmp_path):
        Image.new("RGB", (8, 9)).save(tmp_path / "b.png")
        source = ImageSource([pixels[0], tmp_path / "b.png"], None)
        expected = (
            r"X\[1\] \('.*b.png'\) is 9 high and 8 wide and X\[0\] is 6 high and 6 wide: images "
            r"must be of one size. Give the encoder an image size"
        )
        with pytest.raises(ValueError, match=expected):
            source.read(slice(None))

    def test__image_source__digests_tell_pixels_and_size(self, pixels):
        def digest(image):
            return ImageSource(np.asarray(image, dtype=np.uint8), None).digests(slice(None))

        changed = pixels.copy()
        changed[3, 2, 1, 0] ^= 1
        same = [a == b for a, b in zip(digest(pixels), digest(changed), strict=True)]
        assert same == [row != 3 for row in range(N)]
        assert {len(each) for each in digest(pixels)} == {20}
        assert digest(np.full((1, 2, 8, 3), 9)) != digest(np.full((1, 4, 4, 3), 9))

    def test__image_source__digests_are_of_the_pixels_as_fitted(self, paths):
        fitted = ImageSource(paths, 4).read(slice(None))
        assert ImageSource(paths, 4).digests(slice(2, 4)) == ImageSource(
            fitted[2:4], None
        ).digests(slice(None))


class TestNearBlack:
    """Integers of 0 and 1 are floats that were cast, or masks, and hardly ever meant as black."""

    @pytest.mark.parametrize("dtype", [np.uint8, np.int64])
    @pytest.mark.parametrize("form", ["array", "other size", "list", "tensors", "lost"])
    def test__image_source__warns_once_of_integers_of_at_most_one(self, form, dtype, pixels):
        floats = pixels / 255
        masks = np.rint(floats).astype(dtype)
        given = {"array": masks, "other size": masks, "list": list(masks), "lost": floats // 1}
        given["tensors"] = list(torch.from_numpy(masks))
        X = given[form].astype(dtype) if form == "lost" else given[form]
        source = ImageSource(X, 4 if form == "other size" else 6)
        with pytest.warns(FairLatentWarning, match=r"at most 1: .* 0 \(black\) to 255") as caught:
            source.read(slice(0, 2))
        source.read(slice(2, 4))  # silently: warnings are errors
        source.digests(slice(None))
        assert [warning.filename for warning in caught] == [__file__]

    @pytest.mark.parametrize("as_list", [False, True])
    @pytest.mark.parametrize("divisor", [255**2, 16 * 255])
    def test__image_source__warns_once_of_floats_near_black(self, divisor, as_list, pixels):
        given = pixels / divisor
        source = ImageSource(list(given) if as_list else given, 6)
        with pytest.warns(FairLatentWarning, match=r"floats, and all of them are near 0: .*once"):
            source.read(slice(0, 2))
        source.read(slice(2, 4))  # silently: warnings are errors

    @pytest.mark.parametrize(
        "form", ["floats", "one float is bright", "pictures", "one is bright", "one is a file"]
    )
    def test__image_source__takes_other_dark_images_silently(self, form, paths):
        masks = np.zeros((3, 6, 6, 3), np.uint8)
        bright = masks.copy()
        bright[2, 3, 3, 1] = 2
        given = {
            "floats": masks / 255,
            "one float is bright": bright * 10 / 255,
            "pictures": [*map(Image.fromarray, masks)],
            "one is bright": bright,
            "one is a file": [*masks, paths[0]],
        }
        ImageSource(given[form], 6).read(slice(0, 2))


class TestMemoryAndThreads:
    def test__image_source__decodes_nothing_before_it_is_read(self, tmp_path):
        (tmp_path / "a.png").write_bytes(b"no image")
        with pytest.raises(ValueError, match="is not an image"):
            ImageSource([tmp_path / "a.png"], 8).read(slice(None))

    def test__image_source__memory_does_not_grow_with_the_number_of_files(self, tmp_path):
        side = 128
        Image.new("RGB", (side, side)).save(tmp_path / "a.png")
        path = str(tmp_path / "a.png")
        source = ImageSource([path] * 3000, side)
        tracemalloc.start()
        for start in range(0, 64, 16):
            source.read(slice(start, start + 16))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 3 * 16 * side * side * 3

    def test__image_source__decodes_in_threads_and_keeps_the_order(
        self, paths, pixels, monkeypatch
    ):
        monkeypatch.setattr(images_module.joblib, "cpu_count", lambda: 4)
        used, decode = set(), images_module.open_pixels

        def record(item, name):
            used.add(threading.current_thread().name)
            return decode(item, name)

        monkeypatch.setattr(images_module, "open_pixels", record)
        rows = np.random.default_rng(0).permutation(np.tile(np.arange(N), 20))
        np.testing.assert_array_equal(ImageSource(paths, 6).read(rows), pixels[rows])
        assert len(used) > 1
        used.clear()
        ImageSource(paths, 6).read(slice(0, 7))
        assert used == {threading.current_thread().name}

    def test__image_source__one_picture_in_many_rows_is_decoded_by_one_thread(
        self, paths, pixels, monkeypatch
    ):
        monkeypatch.setattr(images_module.joblib, "cpu_count", lambda: 4)
        used, decode = set(), images_module.open_pixels

        def record(item, name):
            used.add(threading.current_thread().name)
            return decode(item, name)

        monkeypatch.setattr(images_module, "open_pixels", record)
        with Image.open(paths[0]) as opened:
            read = ImageSource([opened] * 50, 6).read(slice(None))
        np.testing.assert_array_equal(read, np.stack([pixels[0]] * 50))
        assert used == {threading.current_thread().name}

    def test__image_source__an_error_in_a_thread_names_its_row(self, paths, monkeypatch):
        monkeypatch.setattr(images_module.joblib, "cpu_count", lambda: 4)
        paths[9].write_bytes(paths[9].read_bytes()[:60])
        with pytest.raises(ValueError, match=r"X\[9\] \('.*09.png'\) is not an image that Pillow"):
            ImageSource(paths, 6).read(slice(None))
        assert not [t for t in threading.enumerate() if "skfairlatent" in t.name]


def _noisy_png(side=40):
    image = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


class TestBadFiles:
    @pytest.mark.parametrize("size", [8, None])
    @pytest.mark.parametrize("damage", ["empty", "text", "header only", "cut short"])
    def test__image_source__names_a_damaged_file(self, damage, size, tmp_path, pixels):
        whole = _noisy_png()
        damaged = {"empty": b"", "text": b"no image", "header only": whole[:40]}
        (tmp_path / "b.png").write_bytes(damaged.get(damage, whole[: len(whole) // 2]))
        given = [np.zeros((40, 40, 3), np.uint8), tmp_path / "b.png"]
        expected = r"X\[1\] \('.*b.png'\) is not an image that Pillow can read .*copy it again"
        with pytest.raises(ValueError, match=expected):
            ImageSource(given, size).read(slice(None))
        first = ImageSource([tmp_path / "b.png", pixels[0]], size)
        with pytest.raises(ValueError, match=r"X\[0\] \('.*b.png'\) is not an image"):
            first.read(slice(None))

    def test__image_source__names_a_damaged_file_behind_a_picture(self, tmp_path):
        whole = _noisy_png()
        (tmp_path / "b.png").write_bytes(whole[: len(whole) // 2])
        with (
            Image.open(tmp_path / "b.png") as opened,
            pytest.raises(ValueError, match=r"X\[0\] is not an image that Pillow can read"),
        ):
            ImageSource([opened], 8).read(slice(None))

    def test__image_source__names_a_damaged_lazy_image(self, paths):
        lazy = load_image_folder(paths[0].parent, _table(), images="lazy").images
        paths[3].write_bytes(b"")
        paths[4].unlink()
        source = ImageSource(lazy, 6)
        with pytest.raises(
            ValueError, match=r"X\[3\] cannot be read. '03.png' in .* is not an im"
        ):
            source.read(slice(0, 4))
        with pytest.raises(ValueError, match=r"X\[4\] cannot be read. .* does not exist"):
            source.read(slice(4, 6))

    def test__image_source__names_a_file_that_went_away(self, paths):
        source = ImageSource(paths, 6)
        paths[1].unlink()
        with pytest.raises(FileNotFoundError, match=r"X\[1\] .*01.png'\) does not exist"):
            source.read(slice(None))

    def test__image_source__refuses_a_decompression_bomb(self, tmp_path, monkeypatch):
        Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
        with pytest.raises(
            ValueError, match=r"X\[0\] .*is too large to decode .*MAX_IMAGE_PIXELS"
        ):
            ImageSource([tmp_path / "a.png"], 8).read(slice(None))

    @pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.float32])
    def test__image_source__refuses_more_than_8_bits(self, dtype, tmp_path):
        picture = Image.fromarray(np.full((8, 8), 3000, dtype=dtype))
        picture.save(tmp_path / "a.tif")
        for given in (picture, tmp_path / "a.tif"):
            with pytest.raises(
                TypeError, match=r"X\[0\].* more than 8 bits a channel \(mode [IF]"
            ):
                ImageSource([given], 8).read(slice(None))

    def test__image_source__looks_for_all_files_at_once(self, paths):
        with pytest.raises(FileNotFoundError, match=r"X\[12\] \('nowhere.png'\) .*relative to '/"):
            ImageSource([*paths, "nowhere.png"], 6)
        with pytest.raises(FileNotFoundError, match=r"X\[0\]"):
            ImageSource(["a\0b.png"], 6)
        with pytest.raises(IsADirectoryError, match=r"X\[1\] .* is a folder: pass the paths of"):
            ImageSource([paths[0], paths[0].parent], 6)


def _changed(pixels, row, value, dtype=np.float64):
    changed = pixels.astype(dtype) / (255 if np.dtype(dtype).kind == "f" else 1)
    changed[row, 1, 2, 0] = value
    return changed.astype(dtype)


class TestBadArrays:
    @pytest.mark.parametrize("as_list", [False, True])
    @pytest.mark.parametrize(
        ("value", "dtype", "message"),
        [
            (
                200.0,
                np.float64,
                r"X\[4\] holds floats from 0.* to 200; .*divide by 255, as (X|\[x) / 255",
            ),
            (-0.05, np.float32, r"floats from -0.05 to .*pass (\[)?np.clip\([Xx], 0, 1\)"),
            (1.05, np.float64, r"floats from .* to 1.05; .*pass (\[)?np.clip\([Xx], 0, 1\)"),
            (1.6, np.float64, r"floats from .* to 1.6; .*shift and scale"),
            (-1.1, np.float32, r"from -1 to 1, pass (\[)?np.clip\(\([Xx] \+ 1\) / 2, 0, 1\)"),
            (260.0, np.float32, r"divide by 255, as (\[)?np.clip\([Xx] / 255, 0, 1\)"),
            (1000, np.uint16, r"of 10 bits, pass .*\([Xx]\) / 1023.*; if of 16 bits, .* / 65535"),
            (4000, np.uint16, r"of 12 bits, pass .*\([Xx]\) / 4095.*; if of 16 bits, .* / 65535"),
            (60000, np.int32, r"0 to 1. If they are of 16 bits, pass .*\([Xx]\) / 65535[^;]*$"),
            (-0.5, np.float32, r"X\[4\] holds floats from -0.5 to .*pass \[?\([Xx] \+ 1\) / 2"),
            (-9.0, np.float32, r"X\[4\] holds floats from -9 to .*shift and scale"),
            (np.nan, np.float64, r"X\[4\] holds NaN: leave the image out"),
            (np.inf, np.float64, r"X\[4\] holds infinity: leave the image out"),
            (256, np.int64, r"X\[4\] holds values from \d+ to 256: pass integers from 0 to 255"),
            (-1, np.int16, r"X\[4\] holds values from -1 to"),
        ],
    )
    def test__image_source__names_values_out_of_range(
        self, value, dtype, message, as_list, pixels
    ):
        given = _changed(pixels, 4, value, dtype)
        source = ImageSource(list(given) if as_list else given, 6)
        np.testing.assert_array_equal(source.read(slice(0, 4)), pixels[:4])
        with pytest.raises(ValueError, match=message):
            source.read(slice(2, 6))

    @pytest.mark.parametrize("as_list", [False, True])
    @pytest.mark.parametrize(
        "damage",
        [
            lambda x: x * 1.1 - 0.05,
            lambda x: (x * 2 - 1) * 1.05,
            lambda x: x * 2 - 1,
            lambda x: x * 255 * 1.02,
            lambda x: np.rint(x * 4095).astype(np.uint16),
        ],
    )
    def test__image_source__takes_what_it_advises(self, damage, as_list, pixels):
        X = damage(pixels / 255)
        X = list(X) if as_list else X
        with pytest.raises(ValueError, match=r"holds \w+ from") as caught:
            ImageSource(X, 6).read(slice(None))
        advised = r"(?:bits, pass|1: pass|1, pass|, as) ([^;]*?)(?:, which.*|; if.*|\.)$"
        code = re.search(advised, str(caught.value))
        found = ImageSource(eval(code[1], {"np": np, "X": X}), 6).read(slice(None))  # noqa: S307
        assert np.abs(found.astype(int) - pixels).max() <= 13

    @pytest.mark.parametrize(
        ("shape", "message"),
        [
            ((5, 3, 8, 8), r"channels first, and .*: pass X.transpose\(0, 2, 3, 1\)"),
            ((5, 1, 8, 8), "channels first"),
            ((5, 8, 8, 5), "has 5 channels in its last axis: pass 3"),
            ((5, 0, 8, 3), "has no pixels"),
            ((0, 8, 8, 3), "X holds no images"),
            (
                (8, 8, 3),
                r"dim 3, of shape \(8, 8, 3\).*images 4. For one image pass X\[np.newaxis\]",
            ),
            (
                (5, 512),
                r"shape \(5, 512\) is not a valid set of images: pass an array of shape",
            ),
            ((5,), "is not a valid set of images"),
            ((), "is not a valid set of images"),
        ],
    )
    def test__image_source__names_a_shape_that_is_no_image(self, shape, message):
        for size in (8, None):
            with pytest.raises(ValueError, match=message):
                ImageSource(np.zeros(shape, dtype=np.uint8), size)

    @pytest.mark.parametrize("library", [pd, pl])
    def test__image_source__asks_for_the_column_of_a_table(self, library):
        table = library.DataFrame({"label": [0, 1], "path": ["a", "b"]})
        with pytest.raises(ValueError, match=r"For a table with paths, .* as X\['path'\]"):
            ImageSource(table, 8)
        table = library.DataFrame({"label": [0, 1], "path": ["a.png", "b.JPG"]})
        with pytest.raises(ValueError, match=r"with images in a column: pass X\['path'\]"):
            ImageSource(table, 8)

    @pytest.mark.parametrize(
        ("shape", "message"),
        [
            (
                (3, 8, 8),
                r"X\[1\] of shape \(3, 8, 8\) has its channels first, .*transpose\(1, 2, 0\)",
            ),
            ((8, 8, 5), r"X\[1\] of shape \(8, 8, 5\) has 5 channels"),
            ((8,), r"X\[1\] is an array of shape \(8,\): each row of a list must be one image"),
            ((1, 8, 8, 3), r"X\[1\] is an array of shape \(1, 8, 8, 3\)"),
        ],
    )
    def test__image_source__names_a_row_that_is_no_image(self, shape, message):
        with pytest.raises(ValueError, match=message):
            ImageSource([np.zeros((8, 8, 3), np.uint8), np.zeros(shape, np.uint8)], 8)

    @pytest.mark.parametrize("as_list", [False, True])
    @pytest.mark.parametrize(
        ("dtype", "message"),
        [
            (
                bool,
                r"boolean: pass .*np.asarray\([Xx]\)\.astype\(np.uint8\) \* 255",
            ),
            (complex, "an array of dtype complex128: pass uint8"),
            (object, r"an array of dtype object: pass numbers, as .*np.array\([Xx].tolist\(\)\)"),
            ("U3", "an array of dtype <U3"),
        ],
    )
    def test__image_source__names_a_type_that_is_no_pixel(self, dtype, message, as_list):
        given = np.zeros((2, 8, 8, 3), dtype=dtype)
        with pytest.raises(TypeError, match=(r"X\[0\] is " if as_list else "X is ") + message):
            ImageSource(list(given) if as_list else given, 8)

    @pytest.mark.parametrize(
        ("given", "error", "message"),
        [
            ([], ValueError, "X holds no images: pass one or more"),
            ((), ValueError, "X holds no images"),
            (np.array([], dtype=object), ValueError, "X holds no images"),
            (pd.Series([], dtype=object), ValueError, "X holds no images"),
            ("face.png", ValueError, r"got one image: pass a list of them, as \[X\]"),
            (Path("face.png"), ValueError, "got one image"),
            (Image.new("RGB", (4, 4)), ValueError, "got one image"),
            (
                None,
                TypeError,
                "X of type NoneType is not a valid set of images: pass",
            ),
            (iter(()), TypeError, r"X is of type tuple_iterator, .* pass list\(X\)"),
            ({"a.png": 1}, TypeError, "X is of type dict, which is not sliced row by row"),
            (
                pd.DataFrame({"path": ["a"]}),
                ValueError,
                "DataFrame and shape .* not a valid set",
            ),
            ([np.zeros((4, 4)), None], TypeError, r"X\[1\] is missing: .*leave out rows without"),
            (pd.Series([np.nan]), TypeError, r"X\[0\] is missing"),
            (pd.Series(["a", None], dtype="string").iloc[1:], TypeError, r"X\[0\] is missing"),
            ([3], TypeError, "X of type list is not a valid set of images"),
            ([b""], ValueError, r"X\[0\] holds neither the bytes nor the path of an image"),
            ([np.zeros((4, 4, 3)), [1]], TypeError, r"X\[1\] is a list, not an image"),
            (np.ma.masked_less(np.ones((2, 4, 4, 3)), 2), ValueError, "X has 96 masked value"),
            ([np.ma.masked_less(np.ones((4, 4, 3)), 2)], ValueError, r"X\[0\] has 48 masked"),
            (
                ["1 2 " * 999],
                FileNotFoundError,
                r"^X\[0\] \('.{203}'\) is not a file .*name too long",
            ),
            ([torch.zeros(4, 4, 3).to_sparse()], TypeError, r"pass \[x\.to_dense\(\) for x in X"),
            (torch.zeros(2, 4, 4, 3).to_sparse(), TypeError, r"pass X\.to_dense\(\)"),
        ],
    )
    def test__image_source__says_what_to_pass(self, given, error, message):
        with pytest.raises(error, match=message):
            ImageSource(given, 8)

    @pytest.mark.parametrize("size", [0, -3, 8.0, "64", (64, 64)])
    def test__image_source__says_what_a_size_is(self, size, pixels):
        with pytest.raises(
            ValueError, match="is not a valid image size: pass pixels, as 64, or None"
        ):
            ImageSource(pixels, size)

    def test__image_source__rows_must_exist(self, pixels):
        with pytest.raises(IndexError):
            ImageSource(pixels, 6).read(np.array([N]))


class TestWithoutPillow:
    def test__image_source__arrays_of_the_size_need_no_pillow(self, pixels, monkeypatch):
        monkeypatch.setitem(sys.modules, "PIL", None)
        for given in (pixels, pixels / 255, list(pixels), list(pixels[..., :1])):
            for size in (6, None):
                assert ImageSource(given, size).read(slice(None)).shape == pixels.shape

    def test__image_source__says_at_once_how_to_install_it(self, pixels, paths, monkeypatch):
        lazy = load_image_folder(paths[0].parent, _table(), images="lazy").images
        monkeypatch.setitem(sys.modules, "PIL", None)
        for given, size in [(pixels, 4), (list(pixels), 4), (paths, 6), (paths, None), (lazy, 6)]:
            with pytest.raises(ImportError, match=r'pip install "skfairlatent\[images\]"'):
                ImageSource(given, size)


@pytest.mark.data
def test__image_source__reads_real_faces_alike_in_every_form(data_dir):
    lazy = load_image_folder(data_dir / "celeba64", images="lazy", max_images=20).images
    array = np.asarray(lazy)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FairLatentWarning)
        for size in (None, 32):
            expected = ImageSource(array, size).digests(slice(None))
            assert ImageSource(lazy, size).digests(slice(None)) == expected
            assert ImageSource(list(array / 255), size).digests(slice(None)) == expected
    lazy.close()
