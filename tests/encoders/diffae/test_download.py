"""Downloads from a real server on this machine that does all that servers do wrong."""

import hashlib
import http.server
import logging
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from skfairlatent.encoders.diffae import _transfer
from skfairlatent.encoders.diffae._download import download_weights
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
        server.requests.append((name, self.headers.get("Range")))
        content = server.files.get(name)
        if content is None or not self.path.startswith(f"/mirror/{NAME}/"):
            return self._answer(server.absent_code)
        if server.failures and (code := server.failures.pop(0)):
            return self._answer(code, location=server.location)
        start = self._start()
        if start >= len(content) and start:
            return self._answer(416, content_range=f"bytes */{len(content)}")
        return self._send(content, start)

    def _start(self):
        found = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if not found or self.server.ignores_range:
            return 0
        condition = self.headers.get("If-Range")
        if condition not in (None, self.server.etag) and not self.server.ignores_condition:
            return 0
        return int(found[1])

    def _send(self, content, start):
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(content) - start))
        if start:
            total = f"bytes {start}-{len(content) - 1}/{len(content)}"
            self.send_header("Content-Range", total)
        if self.server.etag:
            self.send_header("ETag", self.server.etag)
        self.end_headers()
        cut = self.server.cuts.pop(0) if self.server.cuts else None
        self.wfile.write(content[start:][:cut])
        if cut is not None:
            self.wfile.flush()
            self.server.hold.wait()
            self.close_connection = True

    def _answer(self, code, content_range=None, location=None):
        self.send_response(code)
        self.send_header("Content-Length", "0")
        if content_range:
            self.send_header("Content-Range", content_range)
        if location:
            self.send_header("Location", location)
        self.end_headers()


class _Server(http.server.ThreadingHTTPServer):
    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files = {"last.ckpt": CONTENT, "last.ckpt.sha256": f"{DIGEST}  last.ckpt\n".encode()}
        self.requests, self.cuts, self.failures = [], [], []
        self.absent_code = 404
        self.etag, self.location = '"one"', None
        self.ignores_range = self.ignores_condition = False
        self.hold = threading.Event()
        self.hold.set()

    @property
    def mirror(self):
        return f"http://127.0.0.1:{self.server_port}/mirror"

    def ranges(self, name="last.ckpt"):
        return [asked for found, asked in self.requests if found == name]


@pytest.fixture
def server():
    made = _Server()
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield made
    made.hold.set()
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


def test__download_weights__goes_on_after_cuts(server, target):
    server.cuts = [CUT] + [10] * 7  # more than are tried when nothing new comes
    download_weights(NAME, mirror=server.mirror)
    assert target.read_bytes() == CONTENT
    assert server.ranges() == [None, *(f"bytes={CUT + 10 * i}-" for i in range(8))]


@pytest.mark.parametrize("etag", ['"one"', 'W/"weak"', None])
def test__download_weights__goes_on_where_another_call_stopped(server, target, etag):
    server.etag = etag
    server.cuts = [CUT] + [0] * 5
    with pytest.raises(
        ConnectionError, match=r"last.ckpt.part keeps what has come\. Check"
    ) as error:
        download_weights(NAME, mirror=server.mirror)
    assert f"it ended after {CUT} of {len(CONTENT)} bytes" in str(error.value)
    assert _part(target).read_bytes() == CONTENT[:CUT]
    assert not target.exists()
    server.requests.clear()
    download_weights(NAME, mirror=server.mirror)
    assert server.ranges() == [f"bytes={CUT}-"]
    assert target.read_bytes() == CONTENT
    assert _names(target) == ["last.ckpt"]


def test__download_weights__starts_anew_where_parts_are_not_served(server, target):
    server.cuts, server.ignores_range = [CUT], True
    download_weights(NAME, mirror=server.mirror)
    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize("ignores_condition", [False, True])
def test__download_weights__never_joins_parts_of_two_files(server, target, ignores_condition):
    server.cuts, server.ignores_condition = [CUT] + [0] * 5, ignores_condition
    with pytest.raises(ConnectionError):
        download_weights(NAME, mirror=server.mirror)
    newer = bytes(reversed(CONTENT))
    server.etag = '"two"'
    server.files = {"last.ckpt": newer}
    download_weights(NAME, mirror=server.mirror)
    assert target.read_bytes() == newer


@pytest.mark.parametrize("version", [None, "{", '{"url": "http://127.0.0.1/x"}', '{"a": 1}'])
def test__download_weights__a_part_of_unknown_origin_is_not_used(server, target, version):
    target.parent.mkdir(parents=True)
    _part(target).write_bytes(b"x" * CUT)
    if version is not None:
        target.with_name("last.ckpt.part.json").write_text(version)
    download_weights(NAME, mirror=server.mirror)
    assert server.ranges() == [None]
    assert target.read_bytes() == CONTENT


def test__download_weights__a_whole_part_is_used(server, target):
    server.cuts = [CUT] + [0] * 5
    with pytest.raises(ConnectionError):
        download_weights(NAME, mirror=server.mirror)
    _part(target).write_bytes(CONTENT)
    download_weights(NAME, mirror=server.mirror)
    assert server.ranges()[-1] == f"bytes={len(CONTENT)}-"
    assert target.read_bytes() == CONTENT


def test__download_weights__a_part_that_is_too_long_is_dropped(server, target):
    server.cuts = [CUT] + [0] * 5
    with pytest.raises(ConnectionError):
        download_weights(NAME, mirror=server.mirror)
    _part(target).write_bytes(CONTENT + b"more")
    download_weights(NAME, mirror=server.mirror)
    assert target.read_bytes() == CONTENT


def test__download_weights__waits_for_a_busy_server(server, target):
    server.failures = [503, 429, 500]
    download_weights(NAME, mirror=server.mirror)
    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize(("code", "n_requests"), [(401, 1), (503, 5)])
def test__download_weights__says_what_the_server_answers(server, code, n_requests):
    server.failures = [code] * 9
    with pytest.raises(ConnectionError, match=rf"{NAME}/last.ckpt could not .* answers {code}"):
        download_weights(NAME, mirror=server.mirror)
    assert len(server.ranges()) == n_requests


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


def test__download_weights__says_that_nothing_was_verified(server, target, caplog):
    del server.files["last.ckpt.sha256"]
    with caplog.at_level(logging.WARNING):
        download_weights(NAME, mirror=server.mirror)
    assert "last.ckpt.sha256 does not exist: the download is not verified" in caplog.text
    assert target.exists()


def test__download_weights__refuses_a_digest_that_is_none(server, target):
    server.files["last.ckpt.sha256"] = b"<html>not found</html>" * 1000
    with pytest.raises(CheckpointError, match=r"sha256 does not begin with 64 hexadecimal digits"):
        download_weights(NAME, mirror=server.mirror)
    assert not target.exists()


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


def test__download_weights__a_full_disk_keeps_what_has_come(server, target):
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (CUT, limits[1]))
    try:
        with pytest.raises(OSError, match=r"bytes are needed; what has come is kept: make room"):
            download_weights(NAME, mirror=server.mirror)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert 0 < _part(target).stat().st_size <= CUT
    server.requests.clear()
    download_weights(NAME, mirror=server.mirror)
    assert server.ranges()[0].startswith("bytes=")
    assert target.read_bytes() == CONTENT


def test__download_weights__can_be_interrupted_and_goes_on(server, target):
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
    server.requests.clear()
    download_weights(NAME, mirror=server.mirror)
    assert server.ranges() == [f"bytes={CUT}-"]
    assert target.read_bytes() == CONTENT


def test__download_weights__a_silent_server_is_not_waited_for_forever(server, monkeypatch):
    monkeypatch.setattr(_transfer, "TIMEOUT_S", 0.05)
    server.cuts = [CUT] + [0] * 9
    server.hold.clear()
    with pytest.raises(ConnectionError, match="timed out"):
        download_weights(NAME, mirror=server.mirror)


def test__download_weights__two_processes_download_once(server, target):
    server.cuts = [CUT]
    server.hold.clear()
    code = (
        "import sys; from skfairlatent.encoders.diffae._download import download_weights\n"
        "print('ready', flush=True)\n"
        "print(download_weights(sys.argv[1], mirror=sys.argv[2]))"
    )
    command = [sys.executable, "-c", code, NAME, server.mirror]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(2)]  # noqa: S603
    assert [process.stdout.readline() for process in running] == [b"ready\n"] * 2
    while not _part(target).exists():
        time.sleep(0.01)
    time.sleep(0.2)  # by now the slower one waits for the lock
    assert [process.poll() for process in running] == [None, None]
    server.hold.set()
    outputs = [process.communicate(timeout=60)[0].decode() for process in running]
    assert outputs == [f"{target}\n"] * 2
    assert server.ranges() == [None, f"bytes={CUT}-"]
    assert server.ranges("latent.pkl") == [None]
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
