"""Devices by name, precision by hardware, random numbers of one's own, torch as it starts."""

import inspect
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from skfairlatent._device import (
    Generators,
    autocast_dtype,
    neutral_torch_state,
    own_random_state,
    resolve_device,
    single_thread,
)

CPU = torch.device("cpu")


@pytest.fixture
def machine(monkeypatch):
    """Pretend to a machine with these devices."""

    def pretend(*, cuda=0, mps=False):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: cuda)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)

    return pretend


class TestResolveDevice:
    @pytest.mark.parametrize(
        ("devices", "expected"),
        [
            ({}, "cpu"),
            ({"mps": True}, "mps"),
            ({"cuda": 1}, "cuda"),
            ({"cuda": 1, "mps": True}, "cuda"),
        ],
    )
    def test__resolve_device__auto_takes_the_best_there_is(self, machine, devices, expected):
        machine(**devices)
        assert resolve_device("auto") == torch.device(expected)

    @pytest.mark.parametrize("name", ["cpu", "cuda", "cuda:1", "mps"])
    def test__resolve_device__takes_names_and_devices(self, machine, name):
        machine(cuda=2, mps=True)
        assert resolve_device(name) == torch.device(name)
        assert resolve_device(torch.device(name)) == torch.device(name)

    @pytest.mark.parametrize("name", ["gpu", "", "cuda:x", "CPU!"])
    def test__resolve_device__names_what_it_takes(self, name):
        with pytest.raises(ValueError, match=r"is not a device; use 'auto', 'cpu', 'cuda'"):
            resolve_device(name)

    @pytest.mark.parametrize("name", ["cuda", "cuda:0", "mps", "meta"])
    def test__resolve_device__refuses_what_the_machine_lacks(self, machine, name):
        machine()
        with pytest.raises(ValueError, match=rf"device='{name}' .* use device='auto'"):
            resolve_device(name)

    def test__resolve_device__refuses_a_number_beyond_the_last(self, machine):
        machine(cuda=2)
        with pytest.raises(ValueError, match="torch sees none"):
            resolve_device("cuda:2")


class TestAutocastDtype:
    @pytest.mark.parametrize(("native", "expected"), [(True, torch.bfloat16), (False, None)])
    def test__autocast_dtype__of_a_cpu(self, monkeypatch, native, expected):
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: native, raising=False)
        assert autocast_dtype(CPU) is expected

    def test__autocast_dtype__of_a_torch_that_cannot_tell(self, monkeypatch):
        monkeypatch.delattr(torch.cpu, "_is_amx_tile_supported", raising=False)
        assert autocast_dtype(CPU) is None

    @pytest.mark.parametrize(("native", "expected"), [(True, torch.bfloat16), (False, None)])
    def test__autocast_dtype__of_a_gpu_counts_no_emulation(self, monkeypatch, native, expected):
        monkeypatch.setattr(
            torch.cuda,
            "is_bf16_supported",
            lambda including_emulation=True: native or including_emulation,
        )
        assert autocast_dtype(torch.device("cuda")) is expected

    def test__autocast_dtype__of_mps(self):
        assert autocast_dtype(torch.device("mps")) is None


class TestGenerators:
    def test__generators__are_decided_by_the_seed(self):
        draws = [torch.rand(5, generator=Generators(seed, CPU).on_cpu) for seed in (1, 1, 2)]
        assert torch.equal(draws[0], draws[1])
        assert not torch.equal(draws[0], draws[2])

    def test__seed__starts_anew(self):
        generators = Generators(7, CPU)
        draws = []
        for _ in range(2):
            generators.seed(7)
            draws.append(torch.rand(5, generator=generators.on_device))
        assert torch.equal(*draws)

    def test__generators__leave_torchs_own_alone(self):
        before = torch.get_rng_state()
        torch.rand(5, generator=Generators(1, CPU).on_cpu)
        assert torch.equal(torch.get_rng_state(), before)

    def test__generators__on_a_cpu_are_one(self):
        generators = Generators(1, CPU)
        assert generators.on_device is generators.on_cpu

    @pytest.mark.gpu
    def test__generators__on_a_gpu_leave_torchs_own_alone(self):
        device = torch.device("cuda")
        before = torch.cuda.get_rng_state()
        draws = [
            torch.rand(5, generator=Generators(seed, device).on_device, device=device)
            for seed in (1, 1, 2)
        ]
        assert torch.equal(torch.cuda.get_rng_state(), before)
        assert torch.equal(draws[0], draws[1])
        assert not torch.equal(draws[0], draws[2])


def state_of_torch():
    grad, inference = torch.is_grad_enabled(), torch.is_inference_mode_enabled()
    return grad, inference, torch.is_autocast_enabled("cpu"), torch.empty(0).device.type


class TestNeutralTorchState:
    @pytest.mark.parametrize(
        "ambient",
        [
            torch.no_grad,
            torch.inference_mode,
            lambda: torch.device("meta"),
            lambda: torch.autocast("cpu", dtype=torch.bfloat16),
        ],
        ids=["no_grad", "inference_mode", "default device", "autocast"],
    )
    def test__neutral_torch_state__is_that_of_a_new_program(self, ambient):
        plain = state_of_torch()
        neutral = neutral_torch_state()(state_of_torch)
        with ambient():
            before = state_of_torch()
            assert before != plain
            assert neutral() == plain
            assert state_of_torch() == before

    def test__neutral_torch_state__comes_back_after_an_error(self):
        @neutral_torch_state()
        def fail():
            raise KeyError

        with torch.inference_mode():
            with pytest.raises(KeyError):
                fail()
            assert torch.is_inference_mode_enabled()

    def test__neutral_torch_state__keeps_name_and_signature(self):
        @neutral_torch_state()
        def function(x, *, y=1):
            """Say what it does."""
            return x, y

        assert function.__doc__ == "Say what it does."
        assert list(inspect.signature(function).parameters) == ["x", "y"]
        assert function(2) == (2, 1)


class TestOwnRandomState:
    def test__none__draws_anew_and_leaves_the_global_state(self):
        before = np.random.get_state()[1].copy()  # noqa: NPY002
        first, second = (own_random_state(None).randint(2**31 - 1) for _ in range(2))
        assert first != second
        np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002

    def test__what_is_given__is_drawn_from(self):
        given = np.random.RandomState(3)
        assert own_random_state(given) is given
        assert own_random_state(3).randint(99) == np.random.RandomState(3).randint(99)


def test__single_thread__holds_for_this_thread_until_its_end():
    before = torch.get_num_threads()
    with single_thread(True), ThreadPoolExecutor(1) as other:
        assert torch.get_num_threads() == 1
        assert other.submit(torch.get_num_threads).result() == before
    assert torch.get_num_threads() == before


def test__single_thread__holds_in_a_thread_in_which_torch_has_not_computed_yet():
    def seen():
        with single_thread(True):
            within = torch.get_num_threads()
        return within, torch.get_num_threads()

    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        with ThreadPoolExecutor(1) as new:
            assert new.submit(seen).result() == (1, 3)
    finally:
        torch.set_num_threads(before)


def test__single_thread__changes_nothing_unless_it_is_wanted():
    before = torch.get_num_threads()
    with single_thread(False):
        assert torch.get_num_threads() == before
