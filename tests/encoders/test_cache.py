"""Embeddings on disk: each image is encoded once, by whichever process, and damage is named."""

import pickle
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
import zlib

import numpy as np
import pytest
from PIL import Image

from skfairlatent.encoders import _cache as writer_module
from skfairlatent.encoders._cache import EmbeddingCache
from skfairlatent.encoders._images import ImageSource
from skfairlatent.exceptions import CheckpointError, FairLatentWarning

N = 11


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(0, 256, (N, 4, 4, 3), dtype=np.uint8)


class _Encoder:
    """Means of the three colours, remembering what it was asked for."""

    def __init__(self, pixels):
        self.source = ImageSource(pixels, None)
        self.asked = []

    def __call__(self, rows):
        self.asked.append(rows.tolist())
        return _means(self.source.read(rows))


def _means(pixels):
    return pixels.mean(axis=(1, 2)).astype(np.float32)


def _encode(cache, pixels, batch_size=4):
    encoder = _Encoder(pixels)
    embeddings = cache.encode(encoder.source, encoder, batch_size)
    np.testing.assert_array_equal(embeddings, _means(np.asarray(pixels)))
    assert embeddings.dtype == np.float32
    return encoder.asked


def test__embedding_cache__home_is_written_as_tilde(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert EmbeddingCache("~/codes", "any").path.parent == tmp_path / "codes"


def test__embedding_cache__encodes_each_image_once(tmp_path, pixels):
    cache = EmbeddingCache(tmp_path / "new" / "folder", "weights")
    assert _encode(cache, pixels) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10]]
    assert _encode(cache, pixels) == []
    assert _encode(cache, pixels[::-1][2:5]) == []
    assert _encode(EmbeddingCache(tmp_path / "new" / "folder", "weights"), pixels) == []


def test__embedding_cache__encodes_what_is_missing(tmp_path, pixels):
    cache = EmbeddingCache(tmp_path, "weights")
    _encode(cache, pixels[[2, 5]])
    assert _encode(cache, pixels) == [[0, 1, 3, 4], [6, 7, 8, 9], [10]]


def test__embedding_cache__encodes_duplicates_once(tmp_path, pixels):
    cache = EmbeddingCache(tmp_path, "weights")
    rows = np.array([3, 3, 1, 3, 0, 1])
    assert _encode(cache, pixels[rows]) == [[0, 2, 4]]
    assert _encode(cache, pixels[rows]) == []


def test__embedding_cache__same_pixels_in_another_form_are_the_same_image(tmp_path, pixels):
    cache = EmbeddingCache(tmp_path / "cache", "weights")
    _encode(cache, pixels)
    for row, image in enumerate(pixels):
        Image.fromarray(image).save(tmp_path / f"{row:02d}.png")
    source = ImageSource(sorted(tmp_path.glob("*.png")), None)
    again = cache.encode(source, pytest.fail, 3)
    np.testing.assert_array_equal(again, _means(pixels))


def test__embedding_cache__another_fingerprint_is_another_encoder(tmp_path, pixels):
    _encode(EmbeddingCache(tmp_path, "weights"), pixels)
    assert len(_encode(EmbeddingCache(tmp_path, "other weights"), pixels)) == 3
    wider = EmbeddingCache(tmp_path, "wider").encode(
        ImageSource(pixels, None), lambda rows: np.ones((len(rows), 5)), 4
    )
    assert wider.shape == (N, 5)
    assert _encode(EmbeddingCache(tmp_path, "weights"), pixels) == []


def test__embedding_cache__looks_up_more_than_one_question_holds(tmp_path):
    many = np.arange(1300, dtype=np.uint32).view(np.uint8).reshape(1300, 2, 2, 1)
    many = np.repeat(many, 3, axis=-1)
    cache = EmbeddingCache(tmp_path, "weights")
    assert [len(rows) for rows in _encode(cache, many, 700)] == [700, 600]
    assert _encode(cache, many, 700) == []


def test__embedding_cache__pickles(tmp_path, pixels):
    cache = EmbeddingCache(tmp_path, "weights")
    _encode(cache, pixels)
    assert _encode(pickle.loads(pickle.dumps(cache)), pixels) == []  # noqa: S301


def test__embedding_cache__holds_no_pixels(tmp_path):
    secret = np.frombuffer(b"a face that nobody else may see!" * 6, np.uint8).reshape(1, 8, 8, 3)
    _encode(EmbeddingCache(tmp_path, "weights"), secret)
    written = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert len(written) > 1000
    assert b"a face" not in written


def test__embedding_cache__an_interrupted_run_keeps_what_was_encoded(tmp_path, pixels):
    cache = EmbeddingCache(tmp_path, "weights")

    def interrupted(rows):
        if 8 in rows:
            raise KeyboardInterrupt
        return _means(pixels[rows])

    with pytest.raises(KeyboardInterrupt):
        cache.encode(ImageSource(pixels, None), interrupted, 4)
    assert _encode(cache, pixels) == [[8, 9, 10]]


@pytest.mark.parametrize("limits", [(0.0, 1000), (1000.0, 4)])
def test__embedding_cache__a_killed_run_would_lose_little(tmp_path, pixels, limits, monkeypatch):
    monkeypatch.setattr(writer_module, "_SECONDS_TO_COMMIT", limits[0])
    monkeypatch.setattr(writer_module, "_ROWS_TO_COMMIT", limits[1])
    stored = []

    def encode(rows):
        stored.append(
            _execute(tmp_path / "embeddings.sqlite3", "SELECT * FROM checked_embeddings")
        )
        return _means(pixels[rows])

    EmbeddingCache(tmp_path, "weights").encode(ImageSource(pixels, None), encode, 4)
    assert [len(rows) for rows in stored] == [0, 4, 8]


def test__embedding_cache__halves_the_batch_when_memory_runs_out(tmp_path, pixels):
    cache = EmbeddingCache(tmp_path, "weights")
    asked = []

    def encode(rows):
        asked.append(len(rows))
        if len(rows) > 3:
            raise RuntimeError("CUDA out of memory")
        return _means(pixels[rows])

    embeddings = cache.encode(ImageSource(pixels, None), encode, 8)
    np.testing.assert_array_equal(embeddings, _means(pixels))
    assert asked == [8, 4, 2, 2, 2, 2, 2, 1]


def test__embedding_cache__reads_ahead_if_asked(tmp_path, pixels):
    cache = EmbeddingCache(tmp_path, "weights")
    source = ImageSource(pixels, None)
    readers = set()

    def read(rows):
        readers.add(threading.current_thread().name)
        return source.read(rows)

    np.testing.assert_array_equal(cache.encode(source, _means, 4, read=read), _means(pixels))
    assert threading.current_thread().name not in readers
    assert len(readers) == 1
    assert _encode(cache, pixels) == []


def test__embedding_cache__shows_progress_when_asked(tmp_path, pixels, capsys):
    cache = EmbeddingCache(tmp_path, "weights")
    cache.encode(ImageSource(pixels, None), lambda rows: _means(pixels[rows]), 4, verbose=True)
    shown = capsys.readouterr().err
    assert "encode" in shown
    assert "11/11" in shown


OTHER_PROCESS = """
import sys, time
from pathlib import Path
import numpy as np
from skfairlatent.encoders import _cache as writer_module
from skfairlatent.encoders._cache import EmbeddingCache
from skfairlatent.encoders._images import ImageSource

folder = Path(sys.argv[1])
pixels = np.load(folder / "pixels.npy")

def encode(rows):
    (folder / "started").touch()
    time.sleep(0.1)
    with (folder / "encoded").open("a") as record:
        record.write("".join(f"{row}\\n" for row in rows))
    return pixels[rows].mean(axis=(1, 2)).astype(np.float32)

out = EmbeddingCache(folder, "weights").encode(ImageSource(pixels, None), encode, 2)
assert np.array_equal(out, pixels.mean(axis=(1, 2)).astype(np.float32))
"""


def test__embedding_cache__two_processes_never_encode_the_same_image(tmp_path, pixels):
    np.save(tmp_path / "pixels.npy", pixels)
    command = [sys.executable, "-c", textwrap.dedent(OTHER_PROCESS), str(tmp_path)]
    with subprocess.Popen(command) as other:  # noqa: S603
        while not (tmp_path / "started").exists() and other.poll() is None:
            time.sleep(0.01)
        # The other has begun: waiting for it, there is nothing left to do.
        assert _encode(EmbeddingCache(tmp_path, "weights"), pixels) == []
        assert other.wait(60) == 0
    encoded = [int(row) for row in (tmp_path / "encoded").read_text().split()]
    assert encoded == list(range(N))


def test__embedding_cache__another_encoder_need_not_wait(tmp_path, pixels):
    slow = EmbeddingCache(tmp_path, "slow")
    begun, done = threading.Event(), threading.Event()

    def encode(rows):
        begun.set()
        assert done.wait(30)
        return _means(pixels[rows])

    thread = threading.Thread(target=lambda: slow.encode(ImageSource(pixels, None), encode, N))
    thread.start()
    assert begun.wait(30)
    assert len(_encode(EmbeddingCache(tmp_path, "fast"), pixels)) == 3
    done.set()
    thread.join()
    assert _encode(slow, pixels) == []


def _write_garbage(path):
    path.write_bytes(b"no cache " * 1000)


def _cut(path):
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])


def _scramble(path):
    whole = bytearray(path.read_bytes())
    whole[2**15 :] = bytes(len(whole) - 2**15)
    path.write_bytes(bytes(whole))


def _shorten(path):
    _execute(path, "UPDATE checked_embeddings SET embedding = x'0000'")


def _make_text(path):
    _execute(path, "UPDATE checked_embeddings SET embedding = CAST(x'ff' || embedding AS TEXT)")


def _other_table(path):
    _execute(path, "DROP TABLE checked_embeddings", "CREATE TABLE checked_embeddings (name TEXT)")


def _zero_a_row(path):
    _execute(path, "UPDATE checked_embeddings SET embedding = zeroblob(12) WHERE rowid = 1")


def _other_width(path):
    # With the checksum that belongs to it.
    assert zlib.crc32(bytes(4)) == 558161692
    _execute(
        path,
        "UPDATE checked_embeddings SET checksum = 558161692, embedding = zeroblob(4) "
        "WHERE rowid > 3",
    )


def _execute(path, *statements):
    connection = sqlite3.connect(path)
    with connection:
        rows = [connection.execute(statement).fetchall() for statement in statements][-1]
    connection.close()
    return rows


@pytest.mark.parametrize(
    "damage",
    [
        _write_garbage,
        _cut,
        _scramble,
        _shorten,
        _make_text,
        _other_table,
        _zero_a_row,
        _other_width,
    ],
)
def test__embedding_cache__says_to_delete_a_damaged_file(tmp_path, pixels, damage):
    cache = EmbeddingCache(tmp_path, "weights")
    _encode(cache, pixels)
    damage(tmp_path / "embeddings.sqlite3")
    with pytest.raises(CheckpointError, match=r"embeddings.sqlite3 .*delete it and encode again"):
        cache.encode(ImageSource(pixels, None), pytest.fail, 4)
    (tmp_path / "embeddings.sqlite3").unlink()
    assert len(_encode(cache, pixels)) == 3


def test__embedding_cache__says_what_to_do_if_the_folder_cannot_be_made(tmp_path, pixels):
    (tmp_path / "embeddings.sqlite3").mkdir(parents=True)
    cache = EmbeddingCache(tmp_path, "weights")
    with pytest.raises(OSError, match=r"cannot be used to keep embeddings .*can be written"):
        cache.encode(ImageSource(pixels, None), pytest.fail, 4)


@pytest.mark.parametrize("folder", ["file", "file/below"])
def test__embedding_cache__says_that_a_file_is_no_folder(tmp_path, pixels, folder):
    (tmp_path / "file").write_text("mine")
    cache = EmbeddingCache(tmp_path / folder, "weights")
    expected = (
        rf"cache_dir='{tmp_path / folder}' is a file, or is in one: pass the path of a folder"
    )
    with pytest.raises(NotADirectoryError, match=expected):
        cache.encode(ImageSource(pixels, None), pytest.fail, 4)
    assert (tmp_path / "file").read_text() == "mine"


def test__embedding_cache__a_full_disk_costs_no_embedding(tmp_path, pixels, monkeypatch):
    monkeypatch.setattr(writer_module, "_SECONDS_TO_COMMIT", 0)
    resource = pytest.importorskip("resource")
    cache = EmbeddingCache(tmp_path, "weights")
    wide = np.random.default_rng(0).standard_normal((N, 20_000)).astype(np.float32)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    asked = []

    def encode(rows):
        asked.append(rows.tolist())
        if len(asked) == 2:
            full = (tmp_path / "embeddings.sqlite3").stat().st_size
            resource.setrlimit(resource.RLIMIT_FSIZE, (full, limits[1]))
        return wide[rows]

    try:
        with pytest.warns(FairLatentWarning, match="can no longer be stored") as caught:
            embeddings = cache.encode(ImageSource(pixels, None), encode, 2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    np.testing.assert_array_equal(embeddings, wide)
    assert [warning.filename for warning in caught] == [__file__]
    again = cache.encode(ImageSource(pixels, None), encode, 2)
    np.testing.assert_array_equal(again, wide)
    assert sum(asked, []) == [*range(N), *range(2, N)]  # noqa: RUF017
