import numpy as np
import pytest
import torch

from skfairlatent.encoders import DiffAEEncoder, DiffAETraining
from skfairlatent.encoders.diffae import _codec
from skfairlatent.encoders.diffae._codec import Codec
from skfairlatent.encoders.diffae._solvers.dpm_solver import DPMSolver

CPU = torch.device("cpu")
# bfloat16 has 8 bits: a layer rounds by 0.4 %, and a code is the sum of many.
BFLOAT16_MOVE = 0.05


def relative_move(found, exact):
    return (np.linalg.norm(found - exact, axis=1) / np.linalg.norm(exact, axis=1)).max()


def test__bfloat16__moves_codes_a_little_and_decodes(trained, pictures):
    # Not by the encoder: on a processor that multiplies bfloat16 it may take that by itself.
    exact = Codec(trained.model_.network, 8, CPU, "float32").encode(pictures)
    half = Codec(trained.model_.network, 8, CPU, "bfloat16")
    assert half.precision == "bfloat16"
    codes = half.encode(pictures)
    assert codes.dtype == np.float32
    assert 0 < relative_move(codes, exact) < BFLOAT16_MOVE
    noise = np.random.default_rng(0).standard_normal((4, 8, 8, 3), dtype=np.float32)
    solver = DPMSolver(1000, 5)
    plain = Codec(trained.model_.network, 8, CPU, "float32").decode(exact[:4], noise, solver)
    found = half.decode(exact[:4], noise, solver)
    assert np.abs(found.astype(int) - plain).mean() < 10  # of 255 levels


@pytest.mark.parametrize(("limit", "expected"), [(0.5, "bfloat16"), (1e-6, "float32")])
def test__auto__takes_half_precision_only_where_it_moves_codes_little(
    trained, pictures, monkeypatch, limit, expected
):
    """As on hardware with bfloat16, which the CPU of a test may not be."""
    monkeypatch.setattr(_codec, "autocast_dtype", lambda _: torch.bfloat16)
    monkeypatch.setattr(_codec, "MAX_RELATIVE_MOVE", limit)
    codec = Codec(trained.model_.network, 8, CPU, "auto")
    assert codec.precision == expected
    exact = Codec(trained.model_.network, 8, CPU, "float32").encode(pictures)
    move = relative_move(codec.encode(pictures), exact)
    assert (move > 0) == (expected == "bfloat16")


def test__codec__leaves_the_network_and_gradients_alone(trained, pictures):
    network = trained.model_.network
    before = {name: value.clone() for name, value in network.state_dict().items()}
    trained.reconstruct(pictures[:2])
    assert torch.is_grad_enabled()
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name])


def test__codec__read_only_and_reversed_arrays_are_taken(trained, pictures):
    codes = trained.transform(pictures[:3])
    wanted = trained.inverse_transform(codes[::-1].copy())
    np.testing.assert_array_equal(trained.inverse_transform(codes[::-1]), wanted)
    codes.flags.writeable = False
    assert trained.inverse_transform(codes).shape == (3, 8, 8, 3)


@pytest.mark.gpu
def test__cuda__codes_and_images_are_those_of_the_cpu():
    # Some processors would take bfloat16.
    on_cpu = DiffAEEncoder(n_steps=5, device="cpu", precision="float32")
    faces = on_cpu.sample(32)
    codes = on_cpu.transform(faces)
    exact = DiffAEEncoder(n_steps=5, device="cuda", precision="float32")
    assert relative_move(exact.transform(faces), codes) < 1e-3  # TF32 and other kernels
    assert relative_move(DiffAEEncoder(device="cuda").transform(faces), codes) < 0.011
    noise = on_cpu.invert(faces[:4], codes[:4])
    found = exact.inverse_transform(codes[:4], x_T=noise)
    wanted = on_cpu.inverse_transform(codes[:4], x_T=noise)
    assert np.abs(found.astype(int) - wanted).mean() < 2


@pytest.mark.gpu
def test__cuda__what_was_trained_there_works_without(tiny_config, pictures):
    training = DiffAETraining(max_iter=2, batch_size=16)
    encoder = DiffAEEncoder(None, config=tiny_config, training=training, device="cuda")
    encoder.fit(pictures)
    devices = {p.device.type for p in encoder.model_.network.parameters()}
    assert devices == {"cpu"}
    codes = encoder.transform(pictures)
    assert relative_move(encoder.set_params(device="cpu").transform(pictures), codes) < 0.02
