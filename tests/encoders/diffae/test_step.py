"""One step of training: what it computes, and the same recorded and replayed."""

import copy
import dataclasses
import math

import numpy as np
import pytest
import torch

from skfairlatent._device import Generators
from skfairlatent._training.cuda_graphs import N_EAGER_CALLS, Replayed
from skfairlatent._training.optimizer import MAX_GRADIENT_NORM
from skfairlatent.encoders.diffae._networks.networks import DiffusionAutoencoder
from skfairlatent.encoders.diffae._training.batches import Batches, TrainingData
from skfairlatent.encoders.diffae._training.label_head import LabelHead, LinearHead
from skfairlatent.encoders.diffae._training.step import DiffusionStep, images_of

# A GPU may choose other kernels for a graph, and half precision has three digits.
KERNEL_TOLERANCE = 0.02


@pytest.fixture
def pixels(pictures):
    return torch.from_numpy(pictures[:16])


@pytest.fixture
def make_step(tiny_config, pixels):
    def make(device="cpu", **changes):
        torch.manual_seed(0)
        network = DiffusionAutoencoder(tiny_config)
        generators = Generators(0, torch.device(device))
        width = tiny_config.embed_channels
        head = LinearHead(images_of(pixels, None), width, 0, generators.on_cpu)
        settings = {
            "batch_size": len(pixels), "learning_rate": 1e-3, "high_noise": True,
            "linear_weight": 1.0, "flip": True, "generators": generators,
        } | changes  # fmt: skip
        return DiffusionStep(network.to(device), head.to(device), **settings)

    return make


def train(step, pixels, phases):
    losses = []
    for number, shrink in enumerate(phases):
        step.generators.seed(number)
        losses.append(step(pixels.to(step.device), shrink).tolist())
    return torch.tensor(losses)


def test__step__total_is_the_weighted_sum(make_step, pixels):
    losses = train(make_step(linear_weight=0.5), pixels, [1, 2, 0])
    torch.testing.assert_close(losses[:, 0], losses[:, 1] + 0.5 * losses[:, 2])
    assert losses[2, 1] == 0
    assert (losses[:2, 1] > 0).all()


def test__step__adds_the_loss_of_the_labels(make_step, pixels, tiny_config):
    head = LabelHead(tiny_config.embed_channels, 2)
    step = make_step(label_head=head, label_weight=3.0)
    torch.manual_seed(0)
    targets = torch.tensor([[0.0, 1.0]]).expand(len(pixels), 2)
    total, noise, linear, label = step(pixels, 1, targets).tolist()
    assert label == pytest.approx(math.log(2))
    assert total == pytest.approx(noise + linear + 3 * label)
    for _ in range(50):
        last = float(step(pixels, 0, targets)[3])
    assert last < 0.9 * label


def test__step__clips_gradients(make_step, pixels):
    step = make_step()
    train(step, pixels, [1])
    norm = torch.cat([p.grad.flatten() for p in step.parameters if p.grad is not None]).norm()
    assert float(norm) <= MAX_GRADIENT_NORM * 1.001


class TestResident:
    @pytest.fixture
    def batches(self, pictures):
        targets = np.arange(len(pictures), dtype=np.float32)[:, None]
        data = TrainingData(pictures.__getitem__, len(pictures), targets)
        return Batches(data, 16, 0, torch.device("cpu"))

    def test__draw__of_images_kept_on_the_device_is_the_same(self, batches, monkeypatch):
        expected = [batches.draw(step) for step in range(9)]
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (2**30, 2**30))
        batches._resident, batches._epoch = batches._all_images(), -1
        batches.data = dataclasses.replace(batches.data, read=None)
        for step, (images, targets) in enumerate(expected):
            found = batches.draw(step)
            assert torch.equal(found[0], images)
            assert torch.equal(found[1], targets)

    def test__draw__gives_each_image_its_own_targets(self, batches, pictures):
        images, targets = batches.draw(3)
        rows = targets[:, 0].long().numpy()
        np.testing.assert_array_equal(images.numpy(), pictures[rows])

    def test__all_images__are_not_kept_where_there_is_little_memory(self, batches, monkeypatch):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (2**14, 2**30))
        assert batches._all_images() is None


@pytest.mark.gpu
def test__step__on_a_gpu_trains_as_eager_steps_do(make_step, pixels, monkeypatch):
    phases = [0] * 6 + [2] * 6 + [1] * 6
    step = make_step("cuda")
    found = train(step, pixels, phases)
    assert step._replayed.is_recorded
    monkeypatch.setattr(Replayed, "_record", lambda _: None)
    expected = train(make_step("cuda"), pixels, phases)
    torch.testing.assert_close(found, expected, rtol=KERNEL_TOLERANCE, atol=KERNEL_TOLERANCE)


@pytest.mark.gpu
def test__step__on_a_gpu_restored_from_a_cpu_goes_on_at_the_rate_of_each_call(make_step, pixels):
    saved, step = make_step(), make_step("cuda")
    train(saved, pixels, [1] * 3)
    train(step, pixels, [1] * (N_EAGER_CALLS + 1))
    step.load_state_dict(copy.deepcopy(saved.state_dict()))
    assert not step._replayed.is_recorded
    train(step, pixels, [1] * (N_EAGER_CALLS + 1))
    assert step._replayed.is_recorded
    step.set_learning_rate(0.0)
    before = [p.detach().clone() for p in step.parameters]
    train(step, pixels, [1])
    assert all(torch.equal(p, q) for p, q in zip(step.parameters, before, strict=True))
