"""Downloads from a real server on this machine that does all that servers do wrong."""

import contextlib
import hashlib
import http.server
import io
import logging
import os
import re
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import pytest
import torch

from skfairlatent.encoders.diffae._weights import http as _transfer
from skfairlatent.encoders.diffae._weights.download import download_weights
from skfairlatent.exceptions import CheckpointError

NAME = "celeba64d2c_autoenc"
CONTENT = bytes(range(1, 256)) * 4000
DIGEST = hashlib.sha256(CONTENT).hexdigest()
CUT = 300_000


class _Handler(http.server.BaseHTTPRequestHandler):
    """Serves `server.files`, and misbehaves as `server` says."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_args):
        """Say nothing."""

    def do_GET(self):
        server, name = self.server, self.path.rpartition("/")[2]
        server.requests.append(name)
        content = server.files.get(name)
        if content is None or not self.path.startswith(f"/mirror/{NAME}/"):
            return self._answer(server.absent_code)
        if name.endswith(".sha256"):  # what goes wrong goes wrong with files
            return self._send(content)
        if server.failures and (code := server.failures.pop(0)):
            return self._answer(code, location=server.location)
        return self._send(content)

    def _send(self, content):
        self.send_response(200)
        if self.server.tells_length:
            self.send_header("Content-Length", str(len(content)))
        else:
            self.close_connection = True
        if self.server.drips == "headers":
            self._drip(b"X-Slow: ")
        self.end_headers()
        if self.server.drips == "content":
            return self._drip(b"")
        is_file = not self.path.endswith(".sha256")
        cut = self.server.cuts.pop(0) if is_file and self.server.cuts else None
        self.wfile.write(content[:cut])
        if cut is not None:
            self.wfile.flush()
            self.server.hold.wait()
            self.close_connection = True
        return None

    def _drip(self, begin):
        """Send a byte now and then, far from what a timeout of a single read would notice."""
        self.flush_headers()
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.wfile.write(begin)
            while not self.server.stop.wait(0.02):
                self.wfile.write(b"0")
                self.wfile.flush()

    def _answer(self, code, location=None):
        self.send_response(code)
        self.send_header("Content-Length", "0")
        if location:
            self.send_header("Location", location)
        self.end_headers()


class _Server(http.server.ThreadingHTTPServer):
    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files = {"last.ckpt": CONTENT, "last.ckpt.sha256": f"{DIGEST}  last.ckpt\n".encode()}
        self.requests, self.cuts, self.failures = [], [], []
        self.absent_code = 404
        self.location, self.drips, self.tells_length = None, None, True
        self.stop = threading.Event()
        self.hold = threading.Event()
        self.hold.set()

    @property
    def mirror(self):
        return f"http://127.0.0.1:{self.server_port}/mirror"

    def count(self, name="last.ckpt"):
        return self.requests.count(name)


@pytest.fixture
def server():
    made = _Server()
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield made
    made.hold.set()
    made.stop.set()
    made.shutdown()
    thread.join()
    made.server_close()


@pytest.fixture(autouse=True)
def _environment(monkeypatch, tmp_path):
    for name in ("MIRROR", "OFFLINE"):
        monkeypatch.delenv(f"SKFAIRLATENT_{name}", raising=False)
    monkeypatch.setenv("SKFAIRLATENT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(_transfer, "FIRST_WAIT_S", 0.001)


@pytest.fixture
def target(tmp_path):
    return tmp_path / "cache" / NAME / "last.ckpt"


def _part(target):
    return target.with_name("last.ckpt.part")


def _names(target):
    return sorted(path.name for path in target.parent.iterdir() if path.suffix != ".lock")


def test__download_weights__puts_files_into_the_cache(server, target):
    server.files["latent.pkl"] = b"statistics"
    server.files["latent.pkl.sha256"] = hashlib.sha256(b"statistics").hexdigest().encode()
    assert download_weights(NAME, mirror=f"{server.mirror}/") == target
    assert target.read_bytes() == CONTENT
    assert target.with_name("latent.pkl").read_bytes() == b"statistics"
    assert _names(target) == ["last.ckpt", "latent.pkl"]
    n_requests = len(server.requests)
    assert download_weights(NAME) == target
    assert len(server.requests) == n_requests


def test__download_weights__the_environment_names_mirror_and_cache(
    server, target, monkeypatch, tmp_path
):
    monkeypatch.setenv("SKFAIRLATENT_MIRROR", server.mirror)
    assert download_weights(NAME) == target
    chosen = download_weights(NAME, cache_dir=tmp_path / "other")
    assert chosen == tmp_path / "other" / NAME / "last.ckpt"
    monkeypatch.delenv("SKFAIRLATENT_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert download_weights(NAME) == tmp_path / "xdg" / "skfairlatent" / NAME / "last.ckpt"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    expected = tmp_path / "home" / ".cache" / "skfairlatent" / NAME / "last.ckpt"
    assert download_weights(NAME) == expected


def test__download_weights__begins_anew_after_cuts(server, target):
    server.cuts = [CUT, 10, 0]
    download_weights(NAME, mirror=server.mirror)
    assert target.read_bytes() == CONTENT
    assert server.count() == 4


def test__download_weights__keeps_nothing_of_what_never_comes_whole(server, target):
    server.cuts = [CUT] * 5
    with pytest.raises(ConnectionError, match=rf"it ended after {CUT} of {len(CONTENT)} bytes"):
        download_weights(NAME, mirror=server.mirror)
    assert _names(target) == []
    newer = bytes(reversed(CONTENT))
    server.files = {"last.ckpt": newer}
    server.files["last.ckpt.sha256"] = hashlib.sha256(newer).hexdigest().encode()
    download_weights(NAME, mirror=server.mirror)
    assert target.read_bytes() == newer


def test__download_weights__a_part_of_an_earlier_version_is_not_used(server, target):
    target.parent.mkdir(parents=True)
    _part(target).write_bytes(b"x" * (len(CONTENT) + 5))
    download_weights(NAME, mirror=server.mirror)
    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize("drips", ["headers", "content"])
@pytest.mark.parametrize("tells_length", [True, False])
def test__download_weights__a_server_that_drips_is_not_waited_for(
    server, target, monkeypatch, drips, tells_length
):
    monkeypatch.setattr(_transfer, "TIMEOUT_S", 0.3)
    server.drips, server.tells_length = drips, tells_length
    with pytest.raises(ConnectionError, match=r"timed out\): \d+ bytes came in 0 s. Check the"):
        download_weights(NAME, mirror=server.mirror)
    assert _names(target) == []


@pytest.mark.parametrize("tells_length", [True, False])
def test__download_weights__more_than_any_weights_have_is_refused(
    server, target, monkeypatch, tells_length
):
    monkeypatch.setattr(_transfer, "MAX_BYTES", CUT)
    server.tells_length = tells_length
    with pytest.raises(ConnectionError, match=f"has more than {CUT} bytes, as no weights have"):
        download_weights(NAME, mirror=server.mirror)
    assert _names(target) == []


def test__download_weights__takes_a_length_that_is_not_told(server, target):
    server.tells_length = False
    download_weights(NAME, mirror=server.mirror)
    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize(
    "damage", [bytes, lambda zipped: zipped[:-300], lambda z: z[:900] + bytes(40) + z[940:]]
)
def test__download_weights__without_a_digest_only_a_whole_zip_is_kept(server, target, damage):
    content = io.BytesIO()
    torch.save({"w": torch.arange(1000.0)}, content)
    zipped = content.getvalue()
    given = bytes(60_000) if damage is bytes else damage(zipped)
    server.files = {"last.ckpt": given}
    with pytest.raises(CheckpointError, match="cannot be read as weights"):
        download_weights(NAME, mirror=server.mirror)
    assert _names(target) == []
    server.files = {"last.ckpt": zipped}
    download_weights(NAME, mirror=server.mirror)
    assert target.read_bytes() == zipped


def test__download_weights__waits_for_a_busy_server(server, target):
    server.failures = [503, 429, 500]
    download_weights(NAME, mirror=server.mirror)
    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize(("code", "n_requests"), [(401, 1), (503, 5)])
def test__download_weights__says_what_the_server_answers(server, code, n_requests):
    server.failures = [code] * 9
    with pytest.raises(ConnectionError, match=rf"{NAME}/last.ckpt could not .* answers {code}"):
        download_weights(NAME, mirror=server.mirror)
    assert server.count() == n_requests


def test__download_weights__takes_forbidden_for_missing_as_object_storage_says_it(server, target):
    server.absent_code = 403  # of latent.pkl, which is optional
    download_weights(NAME, mirror=server.mirror)
    assert target.read_bytes() == CONTENT


def test__download_weights__says_that_there_is_no_server(server):
    server.server_close()
    with pytest.raises(ConnectionError, match=r"could not be fetched \(.*refused.*Check the conn"):
        download_weights(NAME, mirror=server.mirror)


def test__download_weights__is_led_to_the_web_only(server, tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    for location in (secret.as_uri(), "ftp://127.0.0.1/x"):
        server.failures, server.location = [302] * 9, location
        with pytest.raises(ConnectionError, match="could not be fetched"):
            download_weights(NAME, mirror=server.mirror)


def test__download_weights__follows_to_other_places(server, target):
    server.failures, server.location = [302], f"{server.mirror}/{NAME}/moved"
    server.files["moved"] = CONTENT
    server.cuts = [CUT]
    download_weights(NAME, mirror=server.mirror)
    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize("given", ["argument", "mirror"])
def test__download_weights__refuses_another_digest(server, target, given):
    wrong = "0" * 64
    if given == "mirror":
        server.files["last.ckpt.sha256"] = wrong.encode()
    arguments = {"sha256": wrong} if given == "argument" else {}
    with pytest.raises(CheckpointError, match=rf"last.ckpt should have .*{wrong}.*{DIGEST}"):
        download_weights(NAME, mirror=server.mirror, **arguments)
    assert not target.exists()
    assert not _part(target).exists()
    server.files["last.ckpt.sha256"] = DIGEST.upper().encode()
    download_weights(NAME, mirror=server.mirror)
    with pytest.raises(CheckpointError, match="Delete it"):
        download_weights(NAME, sha256=wrong)
    assert download_weights(NAME, sha256=DIGEST.upper()) == target


def test__download_weights__says_that_there_was_no_digest(server, target, caplog):
    content = io.BytesIO()
    torch.save({"w": torch.arange(9.0)}, content)
    server.files = {"last.ckpt": content.getvalue()}
    with caplog.at_level(logging.WARNING):
        download_weights(NAME, mirror=server.mirror)
    assert "only checksums in the file are compared" in caplog.text
    assert target.exists()


def test__download_weights__refuses_a_zip_without_its_beginning(server, target):
    content = io.BytesIO()
    torch.save({"w": torch.arange(9.0)}, content)
    server.files = {"last.ckpt": content.getvalue()[100:]}
    with pytest.raises(CheckpointError, match="it is damaged, incomplete"):
        download_weights(NAME, mirror=server.mirror)
    assert _names(target) == []


def test__download_weights__refuses_a_digest_that_is_none(server, target):
    server.files["last.ckpt.sha256"] = b"<html>not found</html>" * 1000
    with pytest.raises(CheckpointError, match=r"sha256 does not begin with 64 hexadecimal digits"):
        download_weights(NAME, mirror=server.mirror)
    assert _names(target) == []
    assert server.count() == 0  # before gigabytes are fetched


def test__download_weights__refuses_a_web_page(server, target):
    server.files = {"last.ckpt": b"<!doctype html><html>Sign in</html>"}
    with pytest.raises(CheckpointError, match="is a web page, not weights"):
        download_weights(NAME, mirror=server.mirror)
    assert not target.exists()
    assert not _part(target).exists()


def test__download_weights__says_what_the_mirror_lacks(server, target):
    server.files.clear()
    with pytest.raises(
        FileNotFoundError,
        match=r"last.ckpt does not exist, or is not open to you: check the mirror",
    ) as e:
        download_weights(NAME, mirror=server.mirror)
    assert str(target) in str(e.value)


def test__download_weights__without_mirror_says_where_to_get_them(target):
    with pytest.raises(FileNotFoundError) as error:
        download_weights(NAME)
    for hint in (str(target), "https://github.com/phizaz/diffae#checkpoints", "mirror='https://"):
        assert hint in str(error.value)
    assert "SKFAIRLATENT_MIRROR" in str(error.value)
    assert not target.parent.exists()


def test__download_weights__offline_asks_nobody(server, target, monkeypatch):
    monkeypatch.setenv("SKFAIRLATENT_OFFLINE", "1")
    with pytest.raises(FileNotFoundError, match="downloads are switched off") as error:
        download_weights(NAME, mirror=server.mirror)
    assert str(target) in str(error.value)
    assert f"{server.mirror}/{NAME}/last.ckpt" in str(error.value)
    assert server.requests == []
    with pytest.raises(FileNotFoundError, match="phizaz/diffae#checkpoints"):
        download_weights(NAME, offline=True)
    download_weights(NAME, mirror=server.mirror, offline=False)
    assert download_weights(NAME) == target


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("ffhq", {}, "'ffhq' is no official model: pass one of .*ffhq256_autoenc"),
        (NAME, {"sha256": "abc"}, "sha256='abc': expected 64 hexadecimal"),
        (NAME, {"mirror": "file:///etc"}, "mirror='file:///etc' is no address: expected"),
        (NAME, {"mirror": "example.org"}, "mirror='example.org' is no address: expected"),
    ],
)
def test__download_weights__says_what_to_pass(name, arguments, message):
    with pytest.raises(ValueError, match=message):
        download_weights(name, **arguments)


def test__download_weights__a_full_disk_says_how_much_room_is_needed(server, target):
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (CUT, limits[1]))
    try:
        with pytest.raises(OSError, match=rf"{len(CONTENT)} bytes are needed: make room"):
            download_weights(NAME, mirror=server.mirror)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert _names(target) == []
    download_weights(NAME, mirror=server.mirror)
    assert target.read_bytes() == CONTENT


def test__download_weights__can_be_interrupted(server, target):
    # A shell ignores Ctrl-C in what it starts with "&", and Python then leaves it ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    server.cuts = [CUT]
    server.hold.clear()

    def _interrupt():
        while not _part(target).exists() or _part(target).stat().st_size < CUT:
            time.sleep(0.005)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=_interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        download_weights(NAME, mirror=server.mirror)
    thread.join()
    server.hold.set()
    assert _names(target) == []
    download_weights(NAME, mirror=server.mirror)
    assert target.read_bytes() == CONTENT


def test__download_weights__a_silent_server_is_not_waited_for_forever(server, monkeypatch):
    monkeypatch.setattr(_transfer, "TIMEOUT_S", 0.05)
    server.cuts = [CUT] + [0] * 9
    server.hold.clear()
    with pytest.raises(ConnectionError, match="timed out"):
        download_weights(NAME, mirror=server.mirror)


def test__download_weights__of_two_at_a_time_one_downloads(server, target):
    """Each opens the lock for itself, so that threads exclude one another as processes do."""
    server.cuts = [CUT]
    server.hold.clear()
    with ThreadPoolExecutor(2) as pool:
        found = [pool.submit(download_weights, NAME, mirror=server.mirror) for _ in range(2)]
        while not _part(target).exists():
            time.sleep(0.01)
        assert not wait(found, timeout=0.2).done  # by now the slower one waits for the lock
        server.hold.set()
    assert [each.result() for each in found] == [target] * 2
    assert server.count() == 2
    assert server.count("latent.pkl") == 1
    assert target.read_bytes() == CONTENT


def test__download_weights__shows_progress_if_asked(server, capsys, tmp_path):
    download_weights(NAME, mirror=server.mirror)
    assert capsys.readouterr() == ("", "")
    download_weights(NAME, mirror=server.mirror, cache_dir=tmp_path / "b", verbose=True)
    assert "last.ckpt: 100%" in capsys.readouterr().err


def test__download_weights__needs_a_cache_that_can_be_written(server, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=re.escape(str(tmp_path / "file"))):
        download_weights(NAME, mirror=server.mirror, cache_dir=Path(tmp_path / "file"))
