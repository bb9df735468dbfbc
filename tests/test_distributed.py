"""Fits that two real processes share: the flow of one process, and an end if one of them dies."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from skfairlatent import FairLatentTransformer
from skfairlatent.datasets import make_biased_embeddings
from skfairlatent.distributed import data_parallel

SCRIPT = Path(__file__).with_name("two_processes.py")
# Of weights and of latents of order 1, after 20 steps in which sums have another order.
ROUNDING = 1e-5


@pytest.fixture(scope="module")
def findings(tmp_path_factory):
    """What two processes find in fits that they share."""
    folder = tmp_path_factory.mktemp("shared")
    environment = dict(os.environ)
    if sys.platform == "linux":
        environment["GLOO_SOCKET_IFNAME"] = "lo"  # whatever the name of this machine stands for
    commands = [[sys.executable, SCRIPT, str(rank), folder] for rank in (0, 1)]
    second = subprocess.Popen(commands[1], env=environment)  # noqa: S603
    try:
        subprocess.run(commands[0], env=environment, check=True, timeout=300)  # noqa: S603
        assert second.wait(timeout=10) == -signal.SIGKILL
    finally:
        second.kill()
        second.wait()
    return json.loads((folder / "findings.json").read_text())


@pytest.mark.parametrize(
    "fit",
    [
        *("from the start", "with validation", "of uneven shares", "with bins"),
        *("from a state", "after a death"),
    ],
)
def test__fit__of_two_processes_is_that_of_one(findings, fit):
    assert findings[fit] < ROUNDING


def test__fit__without_a_seed_is_the_same_in_every_process(findings):
    assert findings["without a seed"] == 0.0


@pytest.mark.parametrize("other", ["other rows", "other start"])
def test__fit__refuses_something_else_in_one_of_the_processes(findings, other):
    assert findings[other].startswith("Process 1 calls fit with other rows or parameters")


def test__fit__ends_when_another_process_dies_and_keeps_its_state(findings):
    assert findings["dead"].startswith("Another process of this fit has ended")
    assert findings["epochs after a death"] == 1


def test__data_parallel__names_torchrun_where_it_has_not_started_the_process(monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    with pytest.raises(RuntimeError, match=r"RANK.*torchrun --nproc-per-node"), data_parallel():
        pass


@pytest.mark.parametrize("timeout", [0, -1.0, float("nan"), float("inf"), "60"])
def test__data_parallel__refuses_what_is_no_time(timeout):
    with pytest.raises(ValueError, match="not a positive number of seconds"):
        data_parallel(timeout=timeout).__enter__()


def test__data_parallel__of_one_process_fits_as_without(monkeypatch):
    told = {"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "localhost", "MASTER_PORT": "0"}
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    data = make_biased_embeddings(100, n_features=6, random_state=0)

    def latent():
        fair = FairLatentTransformer(None, max_iter=2, random_state=0)
        fair.fit(data.data, data.target, sensitive_features=data.sensitive_features)
        return torch.from_numpy(fair.latent(data.data))

    with data_parallel(timeout=30) as rank:
        assert rank == 0
        together = latent()
    torch.testing.assert_close(together, latent(), rtol=0, atol=ROUNDING)
    assert not torch.distributed.is_initialized()
