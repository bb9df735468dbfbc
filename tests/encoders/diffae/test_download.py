"""Downloads from a real server on this machine."""

import hashlib
import http.server
import io
import logging
import re
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from skfairlatent.encoders import download_weights
from skfairlatent.exceptions import CheckpointError

NAME = "celeba64d2c_autoenc"
CONTENT = bytes(range(1, 256)) * 4000
DIGEST = hashlib.sha256(CONTENT).hexdigest()


class _Handler(http.server.BaseHTTPRequestHandler):
    """Serves `server.files`, and answers requests for files with `server.code`."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_args):
        """Say nothing."""

    def do_GET(self):
        server, name = self.server, self.path.rpartition("/")[2]
        server.requests.append(name)
        content = server.files.get(name)
        code = 404 if content is None else 200
        if name == "last.ckpt":
            code = server.code or code
        self.send_response(code)
        if server.location:
            self.send_header("Location", server.location)
        body = content if code == 200 else b""
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: server.cut] if name == "last.ckpt" else body)
        self.close_connection = True


@pytest.fixture
def server():
    made = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    made.files = {"last.ckpt": CONTENT, "last.ckpt.sha256": f"{DIGEST}  last.ckpt\n".encode()}
    made.requests, made.code, made.location, made.cut = [], None, None, None
    made.mirror = f"http://127.0.0.1:{made.server_port}/mirror"
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield made
    made.shutdown()
    thread.join()
    made.server_close()


@pytest.fixture(autouse=True)
def _environment(monkeypatch, tmp_path):
    for name in ("MIRROR", "OFFLINE"):
        monkeypatch.delenv(f"SKFAIRLATENT_{name}", raising=False)
    monkeypatch.setenv("SKFAIRLATENT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "*")


@pytest.fixture
def target(tmp_path):
    return tmp_path / "cache" / NAME / "last.ckpt"


@pytest.fixture(scope="module")
def zipped():
    content = io.BytesIO()
    torch.save({"w": torch.arange(1000.0)}, content)
    return content.getvalue()


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


def test__download_weights__keeps_no_part_of_a_file(server, target):
    server.cut = 300_000
    with pytest.raises(CheckpointError, match=f"expected {DIGEST}. It is damaged"):
        download_weights(NAME, mirror=server.mirror)
    assert _names(target) == []
    server.cut = None
    target.with_name("last.ckpt.part").write_bytes(b"x" * 10)  # of a process that was killed
    download_weights(NAME, mirror=server.mirror)
    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize(
    "damage",
    [lambda _: bytes(60_000), lambda z: z[:-300], lambda z: z[:900] + bytes(40) + z[940:]],
)
def test__download_weights__without_a_digest_only_a_whole_zip_is_kept(
    server, target, zipped, damage, caplog
):
    server.files = {"last.ckpt": damage(zipped)}
    with pytest.raises(CheckpointError, match="cannot be read as weights"):
        download_weights(NAME, mirror=server.mirror)
    assert _names(target) == []
    server.files = {"last.ckpt": zipped}
    with caplog.at_level(logging.WARNING):
        download_weights(NAME, mirror=server.mirror)
    assert "only checksums in the file are checked" in caplog.text
    assert target.read_bytes() == zipped


def test__download_weights__says_what_the_server_answers(server):
    server.code = 503
    with pytest.raises(ConnectionError, match=f"{NAME}/last.ckpt could not .* answers 503"):
        download_weights(NAME, mirror=server.mirror)


def test__download_weights__says_that_there_is_no_server(server):
    server.server_close()
    with pytest.raises(ConnectionError, match=r"not be downloaded \(.*\)\. Check the conn"):
        download_weights(NAME, mirror=server.mirror)


def test__download_weights__is_not_redirected_to_files(server, tmp_path):
    (tmp_path / "secret").write_bytes(CONTENT)
    server.code, server.location = 302, (tmp_path / "secret").as_uri()
    with pytest.raises(ConnectionError, match="could not be downloaded"):
        download_weights(NAME, mirror=server.mirror)


@pytest.mark.parametrize("given", ["argument", "mirror"])
def test__download_weights__refuses_another_digest(server, target, given):
    wrong = "0" * 64
    if given == "mirror":
        server.files["last.ckpt.sha256"] = wrong.encode()
    arguments = {"sha256": wrong} if given == "argument" else {}
    with pytest.raises(CheckpointError, match=f"has the SHA-256 digest {DIGEST}, expected 000"):
        download_weights(NAME, mirror=server.mirror, **arguments)
    assert _names(target) == []
    server.files["last.ckpt.sha256"] = DIGEST.upper().encode()
    download_weights(NAME, mirror=server.mirror)
    with pytest.raises(CheckpointError, match=r"Delete .*last.ckpt and download it again"):
        download_weights(NAME, sha256=wrong)
    assert download_weights(NAME, sha256=DIGEST.upper()) == target


def test__download_weights__refuses_a_digest_that_is_none(server, target):
    server.files["last.ckpt.sha256"] = b"<html>not found</html>" * 1000
    with pytest.raises(CheckpointError, match=r"sha256 does not begin with 64 hexadecimal digits"):
        download_weights(NAME, mirror=server.mirror)
    assert _names(target) == []
    assert "last.ckpt" not in server.requests  # before gigabytes are downloaded


def test__download_weights__refuses_a_web_page(server, target):
    server.files = {"last.ckpt": b"<!doctype html><html>Sign in</html>"}
    with pytest.raises(CheckpointError, match="is a web page, not weights"):
        download_weights(NAME, mirror=server.mirror)
    assert _names(target) == []


def test__download_weights__says_what_the_mirror_lacks(server, target):
    server.files.clear()
    with pytest.raises(FileNotFoundError, match=r"last.ckpt does not exist, or access") as error:
        download_weights(NAME, mirror=server.mirror)
    assert str(target) in str(error.value)


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
    assert f"{server.mirror}/{NAME}" in str(error.value)
    assert server.requests == []
    with pytest.raises(FileNotFoundError, match="phizaz/diffae#checkpoints"):
        download_weights(NAME, offline=True)
    download_weights(NAME, mirror=server.mirror, offline=False)
    assert download_weights(NAME) == target


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("ffhq", {}, "'ffhq' is not an official model: pass one of .*ffhq256_autoenc"),
        (NAME, {"sha256": "abc"}, "sha256='abc' is not valid: pass 64 hexadecimal"),
        (NAME, {"mirror": ""}, "mirror='' is not a valid address"),
        (NAME, {"mirror": "file:///etc"}, "mirror='file:///etc' is not a valid address"),
        (NAME, {"mirror": "example.org"}, "mirror='example.org' is not a valid address"),
    ],
)
def test__download_weights__says_what_to_pass(name, arguments, message):
    with pytest.raises(ValueError, match=message):
        download_weights(name, **arguments)


def test__download_weights__a_full_disk_is_an_error(server, target):
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, limits[1]))
    try:
        with pytest.raises(OSError, match="too large"):
            download_weights(NAME, mirror=server.mirror)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert _names(target) == []


def test__download_weights__of_two_at_a_time_one_downloads(server, target):
    """Each opens the lock for itself, so that threads exclude one another as processes do."""
    with ThreadPoolExecutor(2) as pool:
        found = [pool.submit(download_weights, NAME, mirror=server.mirror) for _ in range(2)]
    assert [each.result() for each in found] == [target] * 2
    assert server.requests.count("last.ckpt") == 1


def test__download_weights__shows_progress_if_asked(server, capsys, tmp_path):
    download_weights(NAME, mirror=server.mirror)
    assert capsys.readouterr() == ("", "")
    download_weights(NAME, mirror=server.mirror, cache_dir=tmp_path / "b", verbose=True)
    assert "last.ckpt: 100%" in capsys.readouterr().err


def test__download_weights__needs_a_cache_that_can_be_written(server, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=re.escape(str(tmp_path / "file"))):
        download_weights(NAME, mirror=server.mirror, cache_dir=tmp_path / "file")
