"""Devices by name, precision by hardware, and a random state of one's own."""

import pytest
import torch

from skfairlatent._device import autocast_dtype, isolated_rng, resolve_device, seed_rng

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


class TestIsolatedRng:
    def test__isolated_rng__is_decided_by_the_seed(self):
        draws = []
        for seed in (1, 1, 2):
            with isolated_rng(seed, CPU):
                draws.append(torch.rand(5))
        assert torch.equal(draws[0], draws[1])
        assert not torch.equal(draws[0], draws[2])

    def test__isolated_rng__leaves_the_global_state(self):
        before = torch.get_rng_state()
        with isolated_rng(1, CPU):
            torch.rand(5)
        assert torch.equal(torch.get_rng_state(), before)

    def test__isolated_rng__leaves_the_global_state_after_an_error(self):
        before = torch.get_rng_state()

        def fail():
            with isolated_rng(1, CPU):
                torch.rand(5)
                raise KeyError

        with pytest.raises(KeyError):
            fail()
        assert torch.equal(torch.get_rng_state(), before)

    def test__seed_rng__seeds_as_torch_does(self):
        torch.manual_seed(7)
        expected = torch.rand(5)
        seed_rng(7, CPU)
        assert torch.equal(torch.rand(5), expected)

    def test__isolated_rng__leaves_other_devices_alone(self, monkeypatch):
        def refuse(*_):
            pytest.fail("work on the CPU has seeded another device")

        for module, names in (
            (torch.cuda, ("manual_seed", "manual_seed_all")),
            (torch.mps, ("manual_seed", "set_rng_state")),
        ):
            for name in names:
                monkeypatch.setattr(module, name, refuse)
        with isolated_rng(1, CPU):
            seed_rng(2, CPU)

    @pytest.mark.gpu
    def test__isolated_rng__leaves_the_state_of_the_gpu(self):
        device = torch.device("cuda")
        before = torch.cuda.get_rng_state()
        draws = []
        for seed in (1, 1, 2):
            with isolated_rng(seed, device):
                draws.append(torch.rand(5, device=device))
        assert torch.equal(torch.cuda.get_rng_state(), before)
        assert torch.equal(draws[0], draws[1])
        assert not torch.equal(draws[0], draws[2])
        with isolated_rng(1, CPU):
            pass
        assert torch.equal(torch.cuda.get_rng_state(), before)
