"""Work that is recorded on CUDA: here with a stand-in for its graphs."""

import contextlib
import logging
from types import SimpleNamespace

import pytest
import torch

from skfairlatent._training.cuda_graphs import N_EAGER_CALLS, Recorded, Replayed

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def test__replayed__is_just_called_on_a_cpu(graphs):
    calls = []
    replayed = Replayed(lambda: calls.append(1), CPU)
    for _ in range(N_EAGER_CALLS + 3):
        replayed()
    assert len(calls) == N_EAGER_CALLS + 3
    assert not graphs


def test__replayed__is_recorded_once_on_cuda(graphs):
    replayed = Replayed(lambda: None, CUDA)
    for n_calls in range(1, N_EAGER_CALLS + 4):
        replayed()
        assert replayed.is_recorded == (n_calls > N_EAGER_CALLS)
    assert len(graphs) == 1


@pytest.fixture
def cuda(monkeypatch):
    """Stand for what recording asks of CUDA; remember on which device it was asked."""
    seen = SimpleNamespace(device=torch.device("cuda:0"), recorded_on=[])

    @contextlib.contextmanager
    def use(device):
        before, seen.device = seen.device, device
        yield
        seen.device = before

    @contextlib.contextmanager
    def record(_, stream, capture_error_mode):
        assert capture_error_mode == "thread_local"
        seen.recorded_on.append((seen.device, stream))
        yield

    monkeypatch.setattr(torch.cuda, "CUDAGraph", lambda: SimpleNamespace(replay=lambda: None))
    monkeypatch.setattr(torch.cuda, "Stream", lambda: seen.device)
    monkeypatch.setattr(torch.cuda, "device", use)
    monkeypatch.setattr(torch.cuda, "graph", record)
    return seen


def test__replayed__is_recorded_on_the_device_that_computes(cuda):
    """Not on the one that is current, nor on that of an earlier recording."""
    for index in (1, 0):
        device = torch.device("cuda", index)
        replayed = Replayed(lambda: None, device)
        for _ in range(N_EAGER_CALLS + 1):
            replayed()
        assert replayed.is_recorded
        assert cuda.recorded_on[-1] == (device, device)


@pytest.mark.usefixtures("cuda")
def test__replayed__that_cannot_be_recorded_goes_on(monkeypatch, caplog):
    def refuse(*_, **__):
        raise RuntimeError("no graphs here")

    monkeypatch.setattr(torch.cuda, "graph", refuse)
    calls = []
    replayed = Replayed(lambda: calls.append(1), CUDA)
    with caplog.at_level(logging.WARNING, "skfairlatent"):
        for _ in range(N_EAGER_CALLS + 3):
            replayed()
    assert len(calls) == N_EAGER_CALLS + 3
    assert caplog.text.count("no graphs here") == 1


@pytest.mark.parametrize("device", [CPU, CUDA])
def test__recorded__gives_the_value_of_each_call(graphs, device):
    recorded = Recorded(lambda x, y: 2 * x + y, device)
    for n in [*range(6), 6, 7]:
        x, y = torch.full((2, 3), float(n)), torch.ones(3)
        torch.testing.assert_close(recorded(x, y), 2 * x + y)
    assert len(graphs) == (device.type == "cuda")


def test__recorded__records_anew_for_another_shape(graphs):
    recorded = Recorded(lambda x: x.sum(1), CUDA)
    for rows in (4, 4, 4, 4, 4, 2, 4, 4, 4, 4):
        x = torch.rand(rows, 3)
        torch.testing.assert_close(recorded(x), x.sum(1))
    assert len(graphs) == 2


@pytest.mark.gpu
def test__recorded__on_a_gpu_gives_the_value_of_each_call():
    recorded = Recorded(lambda x: (x @ x).relu(), CUDA)
    for _ in range(N_EAGER_CALLS + 3):
        x = torch.rand(8, 8, device="cuda")
        torch.testing.assert_close(recorded(x), (x @ x).relu())
    assert recorded._replayed.is_recorded


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test__recorded__on_a_second_gpu_gives_the_value_of_each_call():
    second = torch.device("cuda:1")
    for device in (CUDA, second):
        recorded = Recorded(lambda x: (x @ x).relu(), device)
        for _ in range(N_EAGER_CALLS + 3):
            x = torch.rand(8, 8, device=device)
            torch.testing.assert_close(recorded(x), (x @ x).relu())
        assert recorded._replayed.is_recorded
