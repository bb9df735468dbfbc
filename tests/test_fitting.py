"""The parts of a fit: the split, the layout, the number of epochs, the start."""

import copy

import numpy as np
import pytest
import torch

from skfairlatent import FairLatentTransformer
from skfairlatent._training import fit as _fitting
from skfairlatent._training import settings as _settings
from skfairlatent._training.loop import Trainer
from skfairlatent.flows import Glow

PARAMETERS = {
    "n_blocks": 1,
    "hidden_features": 4,
    "batch_size": 20,
    "max_iter": 2,
    "random_state": 0,
    "device": "cpu",
    "label_scores": False,  # batches are looked at as they were given
}


def make_data(counts=(30, 20, 20, 30)):
    """Rows of four (label, group) cells; the first column tells them apart."""
    rng = np.random.default_rng(0)
    cells = rng.permutation(np.repeat(np.arange(4), counts))
    X = rng.normal(size=(len(cells), 4))
    X[:, 0] = 10 * cells + rng.random(len(cells))
    return X, cells // 2, cells % 2


@pytest.fixture
def trainers(monkeypatch):
    """The trainers of the fits that follow."""
    made = []

    class Watched(Trainer):
        def __init__(self, *args):
            super().__init__(*args)
            made.append(self)

    monkeypatch.setattr(_fitting, "Trainer", Watched)
    return made


def fit(data, **parameters):
    X, y, s = data
    return FairLatentTransformer(**(PARAMETERS | parameters)).fit(X, y, sensitive_features=s)


def test__split__without_early_stopping_trains_on_every_row(trainers):
    fit(make_data())
    assert len(trainers[0].step.data) == 100
    assert trainers[0].validation is None


@pytest.mark.parametrize(("fraction", "held_out"), [(0.1, 10), (0.25, 25)])
def test__split__holds_out_rows_of_every_cell(trainers, fraction, held_out):
    model = fit(make_data(), early_stopping=True, validation_fraction=fraction)
    training, (validation, _) = trainers[0].step.data, trainers[0].validation
    assert len(validation) == held_out
    everything = torch.cat((training, validation))
    assert len(everything.unique(dim=0)) == len(everything) == 100

    first_column = (validation * model.scale_[0] + model.mean_[0])[:, 0]
    counts = torch.bincount((first_column / 10).floor().long(), minlength=4)
    assert (counts - fraction * torch.tensor([30, 20, 20, 30])).abs().max() < 1


def test__split__refuses_cells_too_small_to_divide():
    data = make_data((40, 40, 19, 40))
    with pytest.raises(ValueError, match="smallest cell has 19 rows: set early_stopping=False"):
        fit(data, early_stopping=True, validation_fraction=0.1)
    fit(data, early_stopping=True, validation_fraction=0.2)


def test__layout__every_cell_gives_an_equal_share_of_the_batch(trainers):
    fit(make_data(), batch_size=22)
    layout = trainers[0].step.objective.layout
    assert layout.rows_per_cell == 5
    assert layout.labels.tolist() == [0, 0, 1, 1]
    assert layout.groups.tolist() == [0, 1, 0, 1]
    assert layout.comparable.all()


def test__layout__a_cell_of_one_row_is_not_comparable(trainers):
    with pytest.warns(UserWarning, match="a single row"):
        fit(make_data((30, 1, 20, 30)))
    assert trainers[0].step.objective.layout.comparable.tolist() == [True, False, True, True]


@pytest.mark.parametrize(
    ("steps", "epochs", "expected"), [(12, 2, 3), (4, 2, 2), (11, 1, 3)], ids=str
)
def test__max_iter__auto_makes_enough_steps_and_enough_epochs(
    monkeypatch, steps, epochs, expected
):
    monkeypatch.setattr(_settings, "STEPS", steps)
    monkeypatch.setattr(_settings, "AUTO_EPOCHS", epochs)
    # Five batches of 20 rows an epoch.
    assert fit(make_data(), max_iter="auto").n_iter_ == expected


@pytest.mark.parametrize(
    ("label_scores", "n_rows", "steps", "rate"),
    [(False, 3_000, 200, 2e-3), (True, 2_999, 200, 2e-3), (True, 3_000, 400, 1e-3)],
    ids=str,
)
def test__auto__takes_more_and_shorter_steps_beside_scores_of_many_rows(
    trainers, monkeypatch, label_scores, n_rows, steps, rate
):
    monkeypatch.setattr(Trainer, "run", lambda _: [{"epoch": 1.0}])
    data = make_data((n_rows - 60, 20, 20, 20))
    fit(data, max_iter="auto", batch_size=n_rows, label_scores=label_scores)
    assert trainers[0].n_epochs == steps
    assert trainers[0].settings.learning_rate == rate


def test__fit_flow__starts_from_the_given_flow_and_leaves_it(trainers):
    data = make_data()
    model = fit(data, warm_start=True)
    start, before = model.flow_, copy.deepcopy(model.flow_.state_dict())
    model.set_params(learning_rate_init=1e-30).fit(data[0], data[1], sensitive_features=data[2])
    assert model.flow_ is not start
    for name, value in before.items():
        assert torch.equal(start.state_dict()[name], value)
        torch.testing.assert_close(model.flow_.state_dict()[name], value)
    assert len(trainers) == 2


def test__fit_flow__initialises_from_the_data(trainers, monkeypatch):
    batches, initialize = [], Glow.initialize

    def watched(self, x):
        batches.append(x)
        return initialize(self, x)

    monkeypatch.setattr(Glow, "initialize", watched)
    monkeypatch.setattr(_fitting, "INITIAL_ROWS", 40)
    fit(make_data())
    assert [tuple(batch.shape) for batch in batches] == [(40, 4)]
    assert len(batches[0].unique(dim=0)) == 40
    assert len(trainers) == 1
