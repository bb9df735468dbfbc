"""push_to_hub and from_pretrained, by huggingface_hub against a server on this machine."""

import base64
import hashlib
import http.server
import json
import threading

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline

from skfairlatent import FairLatentTransformer
from skfairlatent.datasets import make_biased_embeddings
from skfairlatent.exceptions import CheckpointError
from skfairlatent.hub import from_pretrained, push_to_hub

constants = pytest.importorskip("huggingface_hub.constants")

COMMIT = "a" * 40
DATA = make_biased_embeddings(60, n_features=6, random_state=0)


class Hub(http.server.BaseHTTPRequestHandler):
    """Keeps the files of one repository in memory, as far as the hub's protocol is needed."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        address = self.server.address
        answer = {"url": f"{address}/me/fair", "commitUrl": f"{address}/me/fair/commit/{COMMIT}"}
        answer |= {"commitOid": COMMIT, "success": True}
        if "/preupload/" in self.path:
            paths = [each["path"] for each in json.loads(body)["files"]]
            regular = {"uploadMode": "regular", "shouldIgnore": False}
            answer["files"] = [{"path": path, **regular} for path in paths]
        elif "/commit/" in self.path:
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    value = line["value"]
                    self.server.files[value["path"]] = base64.b64decode(value["content"])
        else:
            self.server.asked.append(json.loads(body))
        self._send(json.dumps(answer).encode())

    def do_GET(self):
        name = self.path.rsplit("/", maxsplit=1)[-1]
        if name not in self.server.files:
            self.send_error(404)
            return
        content = self.server.files[name]
        digest = hashlib.sha256(content).hexdigest()
        self._send(content, **{"ETag": f'"{digest}"', "X-Repo-Commit": COMMIT})

    do_HEAD = do_GET  # noqa: N815

    def _send(self, content, **headers):
        self.send_response(200)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *given):
        pass


@pytest.fixture
def server(monkeypatch, tmp_path):
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        server.files, server.asked = {}, []
        server.address = f"http://127.0.0.1:{server.server_port}"
        template = f"{server.address}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(constants, "ENDPOINT", server.address)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture(scope="module")
def fair():
    transformer = FairLatentTransformer(None, max_iter=1, hidden_features=8, random_state=0)
    return transformer.fit(DATA.data, DATA.target, sensitive_features=DATA.sensitive_features)


def test__hub__a_transformer_comes_back_as_it_was(server, fair):
    address = push_to_hub(fair, "me/fair", token="hf_none")  # noqa: S106 - of nobody
    assert address.startswith(server.address)
    asked = server.asked[0]
    assert asked.get("private") is True or asked["visibility"] == "private"
    back = from_pretrained("me/fair")
    np.testing.assert_array_equal(back.transform(DATA.data), fair.transform(DATA.data))
    server.files.clear()
    again = from_pretrained("me/fair", local_files_only=True)
    np.testing.assert_array_equal(again.transform(DATA.data), fair.transform(DATA.data))


def test__hub__the_card_says_what_it_was_fitted_on(server, fair):
    push_to_hub(fair, "me/fair", token="hf_none")  # noqa: S106
    card = server.files["README.md"].decode()
    for part in ('from_pretrained("me/fair")', "| label | 0, 1 |", "max_iter=1", "## Limits"):
        assert part in card
    assert "{" not in card
    named = pd.DataFrame({"a|b\n": DATA.sensitive_features})
    push_to_hub(clone(fair).fit(DATA.data, DATA.target, sensitive_features=named), "me/fair")
    assert "| sensitive attributes | a\\|b : 0, 1 |" in server.files["README.md"].decode()


def test__hub__says_what_could_not_be_done(server):
    with pytest.raises(ConnectionError, match=r"could not be downloaded.*fair.save"):
        from_pretrained("me/fair")
    with pytest.raises(ConnectionError, match="could not be found in the cache"):
        from_pretrained("me/fair", local_files_only=True)
    with pytest.raises(TypeError, match=r"of type Pipeline: pass .* pipe\['fair'\]"):
        push_to_hub(make_pipeline(FairLatentTransformer()), "me/fair")
    with pytest.raises(NotFittedError):
        push_to_hub(FairLatentTransformer(), "me/fair")
    server.files["model.safetensors"] = b"something else"
    with pytest.raises(CheckpointError):
        from_pretrained("me/fair")
