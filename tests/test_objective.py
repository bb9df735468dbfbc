"""The weighted sum of the terms, and the heads of the classification term."""

import math

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from skfairlatent import FairLatentTransformer
from skfairlatent._device import Generators
from skfairlatent._training.cell_layout import CellLayout
from skfairlatent._training.distances import DISTANCES
from skfairlatent._training.losses import (
    covariance,
    density_loss,
    equal_variance_loss,
    redundancy_loss,
)
from skfairlatent._training.objective import TERMS, Objective

ROWS = 4
LABELS = torch.tensor([[0], [0], [1], [1]])
ATTRIBUTES = torch.tensor([[0], [1], [0], [1]])
WEIGHTS = {"dg": 1.0, "eq": 2.0, "di": 3.0, "g": 4.0, "cls": 5.0}
ROUNDING = 1e-5


def layout():
    return CellLayout(
        torch.tensor([0, 0, 1, 1]),
        torch.tensor([0, 1, 0, 1]),
        ROWS,
        torch.ones(4, dtype=torch.bool),
    )


def objective(labels=LABELS, attributes=ATTRIBUTES, *, weights=WEIGHTS, distance="energy"):
    return Objective(
        layout(),
        labels.repeat_interleave(ROWS, 0),
        attributes.repeat_interleave(ROWS, 0),
        n_features=5,
        n_label_components=2,
        weights=weights,
        distance=distance,
        row_weights=torch.ones(4 * ROWS),
        generators=Generators(0, torch.device("cpu")),
    )


def batch():
    return torch.randn(4 * ROWS, 5), torch.randn(4 * ROWS)


def test__weights__go_by_name():
    shuffled = dict(reversed(WEIGHTS.items()))
    assert torch.equal(objective(weights=shuffled).weights, objective().weights)


def test__terms__have_a_parameter_a_column_and_a_title():
    """The table is the one place that names the terms: everything else must agree with it."""
    parameters = FairLatentTransformer().get_params()
    assert [name for name in parameters if name.startswith("lambda_")] == sorted(
        f"lambda_{name}" for name in TERMS
    )
    for name, term in TERMS.items():
        assert f"lambda_{name} : float" in FairLatentTransformer.__doc__
        assert f"``loss_{name}``" in FairLatentTransformer.__doc__
        assert term.title


@pytest.mark.parametrize("distance", DISTANCES)
def test__objective__terms_are_the_loss_functions(distance):
    z, log_det = batch()
    with torch.no_grad():
        terms = objective(distance=distance)(z, log_det)
    assert list(terms) == list(TERMS)
    assert terms["dg"] == float(redundancy_loss(covariance(z), 2))
    assert terms["eq"] == float(equal_variance_loss(covariance(z), 2))
    assert terms["g"] == float(density_loss(z, log_det))
    generator = objective().generators.on_device  # which has drawn the heads' weights, as above
    assert terms["di"] == float(DISTANCES[distance](z[:, :2], layout(), generator))


def test__total__is_the_weighted_sum():
    terms = torch.tensor([1.0, 10.0, 100.0, 1000.0, 10000.0])
    assert float(objective().total(terms)) == 54321.0


@pytest.mark.parametrize("term", TERMS)
def test__total__a_weight_of_one_alone_gives_the_term(term):
    alone = {name: float(name == term) for name in TERMS}
    z, log_det = batch()
    model = objective(weights=alone)
    with torch.no_grad():
        terms = model(z, log_det)
    assert float(model.total(torch.stack([*terms.values()]))) == float(terms[term])


class TestClassification:
    @staticmethod
    def _loss(model, z):
        return model(z, torch.zeros(len(z)))["cls"]

    @staticmethod
    def _blank(model):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.zero_()
        return model

    @pytest.mark.parametrize(
        ("labels", "attributes", "expected"),
        [
            ([[0], [0], [1], [1]], [[0], [1], [0], [1]], math.log(2) + math.log(2)),
            ([[0], [0], [1], [2]], [[0], [1], [0], [1]], math.log(3) + math.log(2)),
            (
                [[0, 0], [0, 1], [1, 2], [1, 3]],
                [[0, 2], [1, 1], [0, 0], [1, 0]],
                (math.log(2) + math.log(4)) / 2 + (math.log(2) + math.log(3)) / 2,
            ),
            ([[0], [0], [1], [1]], [[], [], [], []], math.log(2)),
        ],
        ids=["binary", "multiclass", "several columns", "no attribute"],
    )
    def test__classification__of_heads_that_know_nothing(self, labels, attributes, expected):
        attributes = torch.tensor(attributes, dtype=torch.int64).reshape(4, -1)
        model = self._blank(objective(torch.tensor(labels), attributes))
        assert float(self._loss(model, torch.randn(16, 5)).detach()) == pytest.approx(expected)

    def test__classification__by_hand(self):
        model = self._blank(objective())
        with torch.no_grad():
            model.label_heads[0].weight[1, 0] = 1.0
            model.attribute_heads[0].weight[1, 2] = 2.0
        z = torch.zeros(16, 5)
        z[8:, 0] = 3.0  # label 1: margin 3
        z[:, 4] = -1.0  # attribute 0: margin 2 for it, which is wrong for attribute 1
        label = 0.5 * math.log(2) + 0.5 * math.log1p(math.exp(-3))
        attribute = 0.5 * math.log1p(math.exp(-2)) + 0.5 * math.log1p(math.exp(2))
        loss = float(self._loss(model, z).detach())
        assert loss == pytest.approx(label + attribute, rel=ROUNDING)

    def test__classification__label_heads_read_the_label_block_only(self):
        model = objective(attributes=torch.empty(4, 0, dtype=torch.int64))
        z = torch.randn(16, 5).requires_grad_()
        self._loss(model, z).backward()
        assert z.grad[:, :2].ne(0).all()
        assert torch.equal(z.grad[:, 2:], torch.zeros(16, 3))

    def test__classification__attribute_heads_read_the_sensitive_block_only(self):
        model = objective(labels=torch.empty(4, 0, dtype=torch.int64))
        z = torch.randn(16, 5).requires_grad_()
        self._loss(model, z).backward()
        assert torch.equal(z.grad[:, :2], torch.zeros(16, 2))
        assert z.grad[:, 2:].ne(0).all()

    def test__classification__minimum_separates_in_the_right_blocks(self):
        model, z = objective(), torch.randn(16, 5).requires_grad_()
        optimizer = torch.optim.Adam([z, *model.parameters()], lr=0.1)
        for _ in range(100):
            optimizer.zero_grad()
            self._loss(model, z).backward()
            optimizer.step()
        assert float(self._loss(model, z).detach()) < 0.01
        label = model.label_heads[0](z[:, :2]).argmax(dim=1)
        attribute = model.attribute_heads[0](z[:, 2:]).argmax(dim=1)
        assert label.tolist() == [0] * 8 + [1] * 8
        assert attribute.tolist() == ([0] * 4 + [1] * 4) * 2


def test__objective__state_holds_the_heads_alone():
    assert {name.split(".")[0] for name in objective().state_dict()} == {
        "label_heads",
        "attribute_heads",
    }


class _OneDevice(TorchDispatchMode):
    """Fails when an operation makes or takes a tensor of another device."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for value in tree_leaves((args, kwargs, out)):
            if isinstance(value, torch.Tensor) and value.device.type != "meta":
                msg = f"{func} uses a tensor on {value.device}"
                raise AssertionError(msg)
        return out


@pytest.mark.parametrize("distance", DISTANCES)
def test__objective__takes_nothing_from_another_device(distance):
    """A copy from the CPU within a step would forbid to record it as a CUDA graph."""
    meta = torch.device("meta")
    model = objective(distance=distance).to(meta)
    z = torch.empty(16, 5, device=meta, requires_grad=True)
    with _OneDevice():
        terms = model(z, torch.empty(16, device=meta))
        model.total(torch.stack([*terms.values()])).backward()
