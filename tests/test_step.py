"""One optimisation step: what it computes, and the same replayed as a recorded graph."""

import pytest
import torch

from skfairlatent._device import Generators
from skfairlatent._training.cell_layout import CellLayout
from skfairlatent._training.cuda_graphs import N_EAGER_CALLS, Replayed
from skfairlatent._training.objective import TERMS, Objective
from skfairlatent._training.optimizer import MAX_GRADIENT_NORM
from skfairlatent._training.step import TrainingStep
from skfairlatent.flows import Glow

N_FEATURES = 4
ROWS_PER_CELL = 8
# bfloat16 has three digits; the loss sums terms of order 1.
HALF_TOLERANCE = 0.05
# A GPU may choose other kernels for a graph, and Adam enlarges what rounding they differ by.
KERNEL_TOLERANCE = 1e-3


def make_step(device="cpu", *, learning_rate=1e-2, input_noise=0.0, weight=1.0):
    torch.manual_seed(0)
    labels, groups = torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 0, 1])
    layout = CellLayout(labels, groups, ROWS_PER_CELL, torch.ones(4, dtype=torch.bool))
    data = torch.randn(4 * ROWS_PER_CELL, N_FEATURES)
    data[:, 0] += 2 * labels.repeat_interleave(ROWS_PER_CELL)
    data[:, 1] += 2 * groups.repeat_interleave(ROWS_PER_CELL)
    flow = Glow(N_FEATURES, n_blocks=2, hidden_features=8)
    flow.initialize(data)
    device = torch.device(device)
    generators = Generators(0, device)
    objective = Objective(
        layout,
        labels.repeat_interleave(ROWS_PER_CELL)[:, None],
        groups.repeat_interleave(ROWS_PER_CELL)[:, None],
        n_features=N_FEATURES,
        n_label_components=2,
        weights=dict.fromkeys(TERMS, weight),
        distance="energy",
        row_weights=torch.ones(4 * ROWS_PER_CELL),
        generators=generators,
    )
    flow, objective = flow.to(device), objective.to(device)
    return TrainingStep(
        flow,
        objective,
        data.to(device),
        learning_rate=learning_rate,
        input_noise=input_noise,
        generators=generators,
    )


def all_rows(step):
    return torch.arange(len(step.data), device=step.data.device)


def weights(step):
    return torch.cat([p.detach().flatten().clone() for p in step.parameters])


def train(step, n_steps):
    """Losses of so many steps on all rows."""
    rows = all_rows(step)
    return [float(step.objective.total(step(rows))) for _ in range(n_steps)]


class TestStep:
    def test__step__lowers_the_loss(self):
        losses = train(make_step(), 60)
        assert losses[-1] < losses[0] - 0.5

    def test__step__returns_the_terms_before_its_update(self, monkeypatch):
        monkeypatch.setattr("skfairlatent._training.step.half_precision", lambda *_: None)
        step = make_step()
        before = step.terms(all_rows(step), step.data)
        torch.testing.assert_close(step(all_rows(step)), before)
        assert not torch.allclose(step.terms(all_rows(step), step.data), before)

    def test__terms__does_not_train(self):
        step = make_step(input_noise=1.0)
        before = weights(step)
        first = step.terms(all_rows(step), step.data)
        assert torch.equal(step.terms(all_rows(step), step.data), first)
        assert torch.equal(weights(step), before)
        assert not first.requires_grad

    def test__step__input_noise_differs_from_step_to_step(self):
        quiet, noisy = make_step(learning_rate=0.0), make_step(learning_rate=0.0, input_noise=0.5)
        assert len(set(train(quiet, 3))) == 1
        assert len(set(train(noisy, 3))) == 3

    def test__step__noise_leaves_the_data_alone(self):
        step = make_step(input_noise=0.5)
        before = step.data.clone()
        train(step, 2)
        assert torch.equal(step.data, before)

    @pytest.mark.parametrize("weight", [1e-3, 1e3])
    def test__step__clips_large_gradients_only(self, weight):
        step = make_step(weight=weight)
        train(step, 1)
        norm = torch.cat([p.grad.flatten() for p in step.parameters if p.grad is not None]).norm()
        if weight < 1:
            assert float(norm) < 0.1 * MAX_GRADIENT_NORM
        else:
            assert float(norm) == pytest.approx(MAX_GRADIENT_NORM, rel=1e-3)

    def test__set_learning_rate__is_what_the_next_step_uses(self):
        step = make_step()
        train(step, 1)
        before = weights(step)
        step.set_learning_rate(0.0)
        train(step, 1)
        assert torch.equal(weights(step), before)
        step.set_learning_rate(1e-2)
        train(step, 1)
        assert not torch.equal(weights(step), before)

    def test__reset_optimizer__forgets_as_if_it_were_new(self):
        used, new = make_step(), make_step()
        start = {name: value.clone() for name, value in used.flow.state_dict().items()}
        heads = {name: value.clone() for name, value in used.objective.state_dict().items()}
        with torch.no_grad():
            used.parameters[0].fill_(float("nan"))
        train(used, 2)
        assert weights(used).isnan().any()
        used.flow.load_state_dict(start)
        used.objective.load_state_dict(heads)
        used.reset_optimizer()
        train(used, 3)
        train(new, 3)
        assert torch.equal(weights(used), weights(new))

    def test__restore_optimizer__goes_on_as_the_saved_one(self):
        whole, first, second = make_step(), make_step(), make_step(learning_rate=0.5)
        train(whole, 6)
        train(first, 3)
        second.flow.load_state_dict(first.flow.state_dict())
        second.objective.load_state_dict(first.objective.state_dict())
        second.restore_optimizer(first.optimizer.state_dict())
        second.set_learning_rate(1e-2)
        train(second, 3)
        assert torch.equal(weights(second), weights(whole))


class TestMixedPrecision:
    @staticmethod
    def _losses(monkeypatch, dtype):
        monkeypatch.setattr("skfairlatent._training.step.half_precision", lambda *_: dtype)
        step = make_step()
        losses = train(step, 40)
        assert weights(step).dtype == torch.float32
        assert weights(step).isfinite().all()
        return losses

    def test__step__in_half_precision_trains_as_in_full(self, monkeypatch):
        full = self._losses(monkeypatch, None)
        half = self._losses(monkeypatch, torch.bfloat16)
        assert half != full
        assert half[0] == pytest.approx(full[0], rel=HALF_TOLERANCE)
        assert half[-1] == pytest.approx(full[-1], abs=HALF_TOLERANCE * full[0])
        assert half[-1] < half[0] - 0.5

    def test__terms__are_always_in_full_precision(self, monkeypatch):
        terms = []
        for dtype in (None, torch.bfloat16):
            monkeypatch.setattr(
                "skfairlatent._training.step.half_precision", lambda *_, dtype=dtype: dtype
            )
            step = make_step()
            terms.append(step.terms(all_rows(step), step.data))
        assert torch.equal(*terms)


@pytest.mark.gpu
class TestGraph:
    def test__graph__trains_as_eager_steps_do(self, monkeypatch):
        monkeypatch.setattr("skfairlatent._training.step.half_precision", lambda *_: None)
        recorded = make_step("cuda")
        found = train(recorded, 12)
        assert recorded._replayed.is_recorded
        monkeypatch.setattr(Replayed, "_record", lambda _: None)
        eager = make_step("cuda")
        expected = train(eager, 12)
        assert not eager._replayed.is_recorded
        assert found == pytest.approx(expected, rel=KERNEL_TOLERANCE)

    def test__graph__reads_rows_noise_and_rate_of_each_call(self):
        step = make_step("cuda", input_noise=0.5)
        losses = train(step, N_EAGER_CALLS + 4)
        assert step._replayed.is_recorded
        assert len(set(losses)) == len(losses)
        before = weights(step)
        step.set_learning_rate(0.0)
        train(step, 2)
        assert torch.equal(weights(step), before)

    def test__restore_optimizer__of_a_fit_on_a_cpu_keeps_the_rate_a_graph_reads(self):
        saved = make_step(learning_rate=0.5)
        train(saved, 2)
        step = make_step("cuda")
        step.restore_optimizer(saved.optimizer.state_dict())
        before = weights(step)
        step.set_learning_rate(0.0)
        train(step, N_EAGER_CALLS + 2)
        assert step._replayed.is_recorded
        assert torch.equal(weights(step), before)
        step.set_learning_rate(1e-2)
        losses = train(step, 10)
        assert losses[-1] < losses[0]
