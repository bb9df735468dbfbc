"""Work that is done over and over: called on a CPU, and a recorded graph on CUDA."""

import pytest
import torch

from skfairlatent._training.cuda_graphs import N_EAGER_CALLS, Recorded, Replayed

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def test__replayed__is_just_called_on_a_cpu():
    calls = []
    replayed = Replayed(lambda: calls.append(1), CPU)
    for _ in range(N_EAGER_CALLS + 3):
        replayed()
    assert len(calls) == N_EAGER_CALLS + 3
    assert not replayed.is_recorded


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test__recorded__gives_the_value_of_each_call_whatever_its_shape(device):
    recorded = Recorded(lambda x: (x @ x.T).relu(), torch.device(device))
    for rows in (*[8] * (N_EAGER_CALLS + 3), 4, *[8] * (N_EAGER_CALLS + 3)):
        x = torch.rand(rows, 8, device=device)
        torch.testing.assert_close(recorded(x), (x @ x.T).relu())
    assert recorded._replayed.is_recorded == (device == "cuda")


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test__recorded__on_a_second_gpu_gives_the_value_of_each_call():
    for device in (CUDA, torch.device("cuda:1")):
        recorded = Recorded(lambda x: (x @ x).relu(), device)
        for _ in range(N_EAGER_CALLS + 3):
            x = torch.rand(8, 8, device=device)
            torch.testing.assert_close(recorded(x), (x @ x).relu())
        assert recorded._replayed.is_recorded
