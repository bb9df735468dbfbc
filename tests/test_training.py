"""The training loop: reproducible, resumable, stopped in time, and rescued once."""

import math
import pickle
import random
import shutil

import joblib
import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline

from skfairlatent import FairLatentTransformer
from skfairlatent._device import Generators
from skfairlatent._training import early_stopping
from skfairlatent._training.batches import CellSampler
from skfairlatent._training.callbacks import FitTasks
from skfairlatent._training.cell_layout import CellLayout
from skfairlatent._training.loop import RECOVERY_FACTOR, WARM_UP, Trainer
from skfairlatent._training.objective import TERMS, Objective
from skfairlatent._training.settings import FitSettings
from skfairlatent._training.step import TrainingStep
from skfairlatent.exceptions import CheckpointError, FairLatentWarning, TrainingDivergedError
from skfairlatent.flows import Glow

N_ROWS, N_FEATURES = 160, 5
MAX_ITER = 4
# 160 rows in batches of 32.
STEPS_PER_EPOCH = 5
# A GPU against a CPU in float32, after sixty steps of Adam.
DEVICE_TOLERANCE = 1e-2


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    y, s = rng.integers(2, size=(2, N_ROWS))
    X = rng.normal(size=(N_ROWS, N_FEATURES)).astype(np.float32)
    X[:, 0] += 2 * y
    X[:, 1] += 2 * s
    return X, y, s


def estimator(**parameters):
    defaults = {
        "n_blocks": 2,
        "hidden_features": 8,
        "batch_size": 32,
        "max_iter": MAX_ITER,
        "random_state": 0,
        "device": "cpu",
    }
    return FairLatentTransformer(**(defaults | parameters))


def fitted(data, **parameters):
    X, y, s = data
    return estimator(**parameters).fit(X, y, sensitive_features=s)


def assert_same_fit(first, second):
    states = first.flow_.state_dict(), second.flow_.state_dict()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    columns = [name for name in first.history_ if name != "validation_loss"]
    assert first.history_[columns].equals(second.history_[columns])
    np.testing.assert_array_equal(
        first.history_["validation_loss"], second.history_["validation_loss"]
    )


def names_in(folder):
    return sorted(path.name for path in folder.iterdir() if path.is_file())


def count_steps(monkeypatch, *, interrupt_at=None):
    """Count the steps of the fits that follow; Ctrl-C arrives in the one given."""
    calls, step = [], TrainingStep.__call__

    def counted(self, rows):
        calls.append(rows)
        if len(calls) == interrupt_at:
            raise KeyboardInterrupt
        return step(self, rows)

    monkeypatch.setattr(TrainingStep, "__call__", counted)
    return calls


def make_trainer(*, learning_rate=1e-2, validation=False, cls=1.0, **config):
    """A trainer of 4 cells of 16 rows, in batches of 32, without an estimator around it."""
    torch.manual_seed(0)
    labels, groups = torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 0, 1])
    layout = CellLayout(labels, groups, 8, torch.ones(4, dtype=torch.bool))
    cells = np.repeat(np.arange(4), 16)
    rows = torch.randn(2, 64, N_FEATURES)
    rows[:, :, 0] += 2.0 * torch.from_numpy(cells // 2)
    flow = Glow(N_FEATURES, n_blocks=2, hidden_features=8)
    flow.initialize(rows[0])
    generators = Generators(0, rows.device)
    objective = Objective(
        layout,
        labels.repeat_interleave(8)[:, None],
        groups.repeat_interleave(8)[:, None],
        n_features=N_FEATURES,
        n_label_components=2,
        weights=dict.fromkeys(TERMS, 1.0) | {"cls": cls},
        distance="energy",
        row_weights=torch.ones(4 * 8),
        generators=generators,
    )
    step = TrainingStep(
        flow,
        objective,
        rows[0],
        learning_rate=learning_rate,
        input_noise=0.1,
        generators=generators,
    )
    sampler = CellSampler(cells, np.full(4, 8))
    settings = {
        "n_label_components": 2,
        "n_blocks": 2,
        "hidden_features": 8,
        "weights": {},
        "distance": "energy",
        "constraints": "equalized_odds",
        "input_noise": 0.1,
        "batch_size": 32,
        "validation_fraction": 0.5,
        "checkpoint_dir": None,
        "max_iter": 6,
        "steps": 12,
        "early_stopping": validation,
        "n_iter_no_change": 10,
        "tol": 0.0,
        "verbose": False,
        "seed": 3,
    }
    return Trainer(
        step,
        sampler,
        (rows[1], CellSampler(cells, np.full(4, 8))) if validation else None,
        FitSettings(learning_rate=learning_rate, **(settings | config)),
        None,
        FitTasks(),
    )


def flow_weights(trainer):
    return {name: value.clone() for name, value in trainer.step.flow.state_dict().items()}


class TestDeterminism:
    @pytest.mark.parametrize("early_stopping", [False, True])
    @pytest.mark.parametrize("distance", ["energy", "sliced_wasserstein"])
    def test__fit__same_seed_same_weights_bit_for_bit(self, data, early_stopping, distance):
        parameters = {
            "early_stopping": early_stopping,
            "validation_fraction": 0.25,
            "distance": distance,
        }
        first = fitted(data, **parameters)
        torch.manual_seed(99)
        assert_same_fit(first, fitted(data, **parameters))

    def test__fit__other_seed_other_weights(self, data):
        bases = [fitted(data, random_state=seed).flow_.blocks[0].rotation.base for seed in (0, 1)]
        assert not torch.equal(*bases)

    def test__fit__leaves_the_global_random_states(self, data):
        torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()  # noqa: NPY002
        python_state = random.getstate()
        fitted(data, early_stopping=True, validation_fraction=0.25)
        assert torch.equal(torch.get_rng_state(), torch_state)
        found = np.random.get_state()  # noqa: NPY002
        assert np.array_equal(found[1], numpy_state[1])
        assert found[2:] == numpy_state[2:]
        assert random.getstate() == python_state

    def test__fit__leaves_the_global_random_state_after_an_interruption(self, data, monkeypatch):
        state = torch.get_rng_state()
        count_steps(monkeypatch, interrupt_at=3)
        with pytest.raises(KeyboardInterrupt):
            fitted(data)
        assert torch.equal(torch.get_rng_state(), state)


class TestSchedule:
    @staticmethod
    def _rates(monkeypatch, **config):
        rates, setter = [], TrainingStep.set_learning_rate

        def recorded(self, value):
            rates.append(value)
            setter(self, value)

        monkeypatch.setattr(TrainingStep, "set_learning_rate", recorded)
        make_trainer(**config).run()
        return np.array(rates)

    def test__schedule__rises_over_the_warm_up_then_falls_to_almost_nothing(self, monkeypatch):
        rates = self._rates(monkeypatch, max_iter=50, learning_rate=0.02)
        assert len(rates) == 100
        peak = int(WARM_UP * len(rates))
        assert (np.diff(rates[:peak]) > 0).all()
        assert (np.diff(rates[peak:]) < 0).all()
        np.testing.assert_allclose(np.diff(rates[:peak]), np.diff(rates[:2])[0])
        assert 0.99 * 0.02 < rates.max() <= 0.02
        # Half a cosine is halfway down in the middle.
        assert rates[(peak + len(rates)) // 2] == pytest.approx(0.01, rel=0.05)
        assert 0 < rates[-1] < 1e-4 * 0.02 + 1e-5

    def test__schedule__of_a_single_step_is_not_zero(self, monkeypatch):
        rates = self._rates(monkeypatch, max_iter=1, learning_rate=0.02)
        assert (rates > 0.001).all()

    def test__history__has_the_rate_and_the_terms_of_every_epoch(self, data):
        history = fitted(data).history_
        assert history["epoch"].tolist() == [1, 2, 3, 4]
        weights = estimator().get_params()
        total = sum(history[f"loss_{term}"] * weights[f"lambda_{term}"] for term in TERMS)
        np.testing.assert_allclose(history["loss"], total, rtol=1e-5)
        assert history["learning_rate"].between(0, 2e-3, inclusive="neither").all()
        assert history["validation_loss"].isna().all()


class TestEarlyStopping:
    @pytest.mark.parametrize("patience", [1, 6])
    def test__early_stopping__stops_after_epochs_without_improvement(self, patience, monkeypatch):
        # No epoch improves by a million: the first after the warm-up of two is the best. With two
        # batches an epoch, eight steps are four epochs.
        monkeypatch.setattr(early_stopping, "PATIENCE_STEPS", 8)
        trainer = make_trainer(
            validation=True, tol=1e6, n_iter_no_change=patience, max_iter=20, learning_rate=0.05
        )
        assert len(trainer.run()) == 3 + max(patience, 4)

    def test__early_stopping__cannot_stop_a_short_fit(self):
        trainer = make_trainer(validation=True, tol=1e6, n_iter_no_change=1, max_iter=20)
        assert len(trainer.run()) == 20

    def test__early_stopping__without_it_every_epoch_runs(self):
        trainer = make_trainer(early_stopping=False, n_iter_no_change=1, tol=1e6, max_iter=5)
        assert len(trainer.run()) == 5

    def test__early_stopping__restores_the_best_weights(self, monkeypatch):
        monkeypatch.setattr(early_stopping, "PATIENCE_STEPS", 8)
        # So fast that the loss goes up and down; without heads, which are not kept after fit.
        # Stopping early means that the last epochs were not the best.
        trainer = make_trainer(
            validation=True, learning_rate=0.5, max_iter=100, n_iter_no_change=2, tol=0.0, cls=0.0
        )
        history = trainer.run()
        losses = [record["validation_loss"] for record in history][10:]
        assert len(losses) < 90
        assert int(np.argmin(losses)) == len(losses) - 5
        assert self._validation_loss(trainer) == min(losses)

    def test__early_stopping__compares_epochs_on_the_same_draw(self):
        trainer = make_trainer(validation=True, learning_rate=1e-30)
        losses = {record["validation_loss"] for record in trainer.run()}
        assert len(losses) == 1

    @staticmethod
    def _validation_loss(trainer):
        rows, sampler = trainer.validation
        batches = sampler.draw(Generators(trainer.settings.seed, rows.device).on_cpu)
        terms = torch.stack([trainer.step.terms(batch, rows) for batch in batches])
        return float(trainer.step.objective.total(terms.mean(dim=0)))


class TestResume:
    PARAMETERS = {"early_stopping": True, "validation_fraction": 0.25, "batch_size": 24}  # noqa: RUF012

    @pytest.mark.parametrize("interrupt_at", [1, 7, 15], ids=["at once", "epoch 2", "epoch 3"])
    @pytest.mark.parametrize("parameters", [{}, PARAMETERS], ids=["plain", "early stopping"])
    def test__resume__gives_the_uninterrupted_fit_bit_for_bit(
        self, data, tmp_path, monkeypatch, interrupt_at, parameters
    ):
        expected = fitted(data, **parameters)
        with monkeypatch.context() as patched:
            count_steps(patched, interrupt_at=interrupt_at)
            with pytest.raises(KeyboardInterrupt):
                fitted(data, checkpoint_dir=tmp_path, **parameters)
        steps = count_steps(monkeypatch)
        resumed = fitted(data, checkpoint_dir=tmp_path, **parameters)
        assert_same_fit(resumed, expected)
        epochs_kept = (interrupt_at - 1) // STEPS_PER_EPOCH
        assert len(steps) == (MAX_ITER - epochs_kept) * STEPS_PER_EPOCH
        assert names_in(tmp_path) == []

    def test__resume__keeps_the_lower_rate_after_a_recovery(self, data, tmp_path, monkeypatch):
        # Epoch 1 takes steps 1 to 10 because it is done twice.
        poison = {3}
        with monkeypatch.context() as patched:
            poison_steps(patched, poison)
            expected = fitted(data)
        with monkeypatch.context() as patched:
            poison_steps(patched, poison)
            count_steps(patched, interrupt_at=14)
            with pytest.raises(KeyboardInterrupt):
                fitted(data, checkpoint_dir=tmp_path)
        assert_same_fit(fitted(data, checkpoint_dir=tmp_path), expected)

    @pytest.fixture
    def interrupted(self, data, tmp_path, monkeypatch):
        """Directory of a fit that was interrupted in its second epoch."""
        with monkeypatch.context() as patched:
            count_steps(patched, interrupt_at=7)
            with pytest.raises(KeyboardInterrupt):
                fitted(data, checkpoint_dir=tmp_path)
        return tmp_path

    @pytest.mark.parametrize("part", ["X", "y", "sensitive_features"])
    def test__resume__with_other_data_starts_a_file_of_its_own(self, data, interrupted, part):
        X, y, s = (values.copy() for values in data)
        if part == "X":
            X[0, 0] += 1.0
        else:
            changed = {"y": y, "sensitive_features": s}[part]
            changed[:2] = 1 - changed[:2]
        kept = names_in(interrupted)
        found = estimator(checkpoint_dir=interrupted).fit(X, y, sensitive_features=s)
        assert_same_fit(found, estimator().fit(X, y, sensitive_features=s))
        assert names_in(interrupted) == kept

    @pytest.mark.parametrize(
        "changed", [{"lambda_di": 1.0}, {"random_state": 1}, {"max_iter": 9}, {"n_blocks": 1}]
    )
    def test__resume__with_other_parameters_starts_a_file_of_its_own(
        self, data, interrupted, changed
    ):
        kept = names_in(interrupted)
        found = fitted(data, checkpoint_dir=interrupted, **changed)
        assert_same_fit(found, fitted(data, **changed))
        assert names_in(interrupted) == kept

    def test__resume__goes_on_from_a_moved_directory(self, data, interrupted, monkeypatch):
        moved = interrupted / "moved"
        moved.mkdir()
        for name in names_in(interrupted):
            (interrupted / name).rename(moved / name)
        steps = count_steps(monkeypatch)
        resumed = fitted(data, checkpoint_dir=moved)
        assert_same_fit(resumed, fitted(data))
        assert len(steps) == (2 * MAX_ITER - 1) * STEPS_PER_EPOCH

    @pytest.mark.parametrize("state", [None, 5], ids=["default", "RandomState"])
    def test__resume__of_the_same_call_takes_the_seed_that_was_drawn(
        self, data, tmp_path, monkeypatch, state
    ):
        """Whatever a call draws its seed from: the one that goes on has that of the first."""

        def parameters():
            drawn_from = None if state is None else np.random.RandomState(state)
            return {"checkpoint_dir": tmp_path, "random_state": drawn_from}

        seeds, schedule = [], Trainer.run

        def seen(self):
            seeds.append(self.settings.seed)
            return schedule(self)

        monkeypatch.setattr(Trainer, "run", seen)
        with monkeypatch.context() as patched:
            count_steps(patched, interrupt_at=7)
            with pytest.raises(KeyboardInterrupt):
                fitted(data, **parameters())
        steps = count_steps(monkeypatch)
        resumed = fitted(data, **parameters())
        assert len(steps) == (MAX_ITER - 1) * STEPS_PER_EPOCH
        assert seeds[0] == seeds[1]
        monkeypatch.setattr(FairLatentTransformer, "_seed", lambda _: seeds[0])
        assert_same_fit(resumed, fitted(data, random_state=0))
        assert names_in(tmp_path) == []

    def test__resume__another_state_of_a_generator_is_another_fit(self, data, interrupted):
        """The members of an ensemble, which draw from one generator, never swap their seeds."""
        kept = names_in(interrupted)
        fitted(data, checkpoint_dir=interrupted, random_state=np.random.RandomState(9))
        assert names_in(interrupted) == kept

    def test__resume__of_a_warm_start(self, data, tmp_path, monkeypatch):
        X, y, s = data
        expected, model = fitted(data), fitted(data)
        expected.set_params(warm_start=True).fit(X, y, sensitive_features=s)
        model.set_params(warm_start=True, checkpoint_dir=tmp_path)
        before = pickle.dumps(model.flow_)
        with monkeypatch.context() as patched:
            count_steps(patched, interrupt_at=7)
            with pytest.raises(KeyboardInterrupt):
                model.fit(X, y, sensitive_features=s)
        assert pickle.dumps(model.flow_) == before
        kept = names_in(tmp_path)
        assert_same_fit(fitted(data, checkpoint_dir=tmp_path), fitted(data))
        assert names_in(tmp_path) == kept
        assert_same_fit(model.fit(X, y, sensitive_features=s), expected)
        assert names_in(tmp_path) == []

    def test__resume__two_equal_fits_at_the_same_time_do_not_disturb_each_other(
        self, data, interrupted, monkeypatch
    ):
        """The second begins in the middle of the first, as in another worker."""
        parameters = {"checkpoint_dir": interrupted, "random_state": 0}
        others, epoch_of = [], Trainer._run_epoch

        def with_another_inside(self, epoch):
            if not others:
                others.append(None)
                others[0] = fitted(data, **parameters)
            epoch_of(self, epoch)

        monkeypatch.setattr(Trainer, "_run_epoch", with_another_inside)
        first = fitted(data, **parameters)
        assert_same_fit(first, others[0])
        assert names_in(interrupted) == []

    @pytest.mark.parametrize("place", [0.0, 0.2, 0.9], ids=["length", "header", "tensors"])
    def test__resume__from_a_damaged_file_is_an_error_that_says_what_to_delete(
        self, data, interrupted, place
    ):
        (name,) = names_in(interrupted)
        path = interrupted / name
        content = bytearray(path.read_bytes())
        content[int(place * len(content))] ^= 8
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match="delete it to start anew") as error:
            fitted(data, checkpoint_dir=interrupted)
        assert str(path) in str(error.value)
        path.unlink()
        assert_same_fit(fitted(data, checkpoint_dir=interrupted), fitted(data))

    def test__resume__an_old_file_is_mentioned_and_left(self, data, tmp_path):
        old = tmp_path / "training.pt"
        old.write_bytes(b"of version 0.1")
        with pytest.warns(FairLatentWarning, match=r"training.pt is of an earlier version"):
            fitted(data, checkpoint_dir=tmp_path)
        assert names_in(tmp_path) == [old.name]

    @pytest.mark.parametrize("n_jobs", [1, 2])
    def test__search__its_fits_share_a_directory(self, data, tmp_path, n_jobs):
        X, y, s = data
        fair = estimator(batch_size=64, max_iter=2)
        pipeline = Pipeline([("fair", fair), ("classifier", LogisticRegression())])
        grid = {"fair__lambda_di": [1.0, 20.0]}
        expected = GridSearchCV(pipeline, grid, cv=2, refit=False)
        expected.fit(X, y, fair__sensitive_features=s)
        pipeline.set_params(fair__checkpoint_dir=tmp_path)
        search = GridSearchCV(pipeline, grid, cv=2, refit=False, error_score="raise")
        with joblib.parallel_backend("threading", n_jobs=n_jobs):
            search.fit(X, y, fair__sensitive_features=s)
        if n_jobs == 1:
            for name in ("mean_test_score", "std_test_score"):
                np.testing.assert_array_equal(search.cv_results_[name], expected.cv_results_[name])
        assert names_in(tmp_path) == []

    def test__search__that_was_killed_goes_on(self, data, tmp_path, monkeypatch):
        X, y, s = data
        fair = estimator(checkpoint_dir=tmp_path)
        grid = {"lambda_di": [1.0, 20.0]}
        search = GridSearchCV(
            fair, grid, cv=2, refit=False, scoring=lambda *_: 0.0, error_score="raise"
        )
        with monkeypatch.context() as patched:
            count_steps(patched, interrupt_at=30)
            with pytest.raises(KeyboardInterrupt):
                search.fit(X, y, sensitive_features=s)
        assert len(names_in(tmp_path)) == 1
        search.fit(X, y, sensitive_features=s)
        assert names_in(tmp_path) == []


class TestFullDisk:
    """Files beside a fit never end it; faults that are known before are told before."""

    @pytest.fixture
    def full(self):
        """Let files have 2,000 bytes: a disk with so much room, without being root."""
        resource = pytest.importorskip("resource", reason="needs POSIX limits")
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))
        yield
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    @pytest.mark.usefixtures("full")
    def test__fit__goes_on_without_its_state(self, data, tmp_path):
        with pytest.warns(FairLatentWarning, match=r"cannot be kept in .*free some space") as seen:
            model = fitted(data, checkpoint_dir=tmp_path)
        assert [warning.filename for warning in seen] == [__file__]
        assert str(tmp_path) in str(seen[0].message)
        assert_same_fit(model, fitted(data))
        assert names_in(tmp_path) == []

    def test__fit__goes_on_when_the_folder_disappears(self, data, tmp_path, monkeypatch):
        folder, epoch_of = tmp_path / "states", Trainer._run_epoch

        def removing(self, epoch):
            shutil.rmtree(folder, ignore_errors=True)
            epoch_of(self, epoch)

        monkeypatch.setattr(Trainer, "_run_epoch", removing)
        with pytest.warns(FairLatentWarning, match=r"There is no folder"):
            fitted(data, checkpoint_dir=folder)

    def test__fit__a_file_as_checkpoint_dir_is_told_before_training(
        self, data, tmp_path, monkeypatch
    ):
        file = tmp_path / "file"
        file.touch()
        steps = count_steps(monkeypatch)
        for wrong in (file, file / "folder"):
            with pytest.raises(NotADirectoryError, match="checkpoint_dir is a file, or is in one"):
                fitted(data, checkpoint_dir=wrong)
        with pytest.raises(ValueError, match="checkpoint_dir='' is not the path of a folder"):
            fitted(data, checkpoint_dir="")
        assert steps == []


def poison_steps(monkeypatch, poisoned):
    """Spoil the weights in these steps, counted from 1, as a diverging step would."""
    count, step = [0], TrainingStep.__call__

    def spoiling(self, rows):
        terms = step(self, rows)
        count[0] += 1
        if count[0] in poisoned:
            with torch.no_grad():
                self.flow.blocks[0].rotation.vectors.fill_(float("nan"))
        return terms

    monkeypatch.setattr(TrainingStep, "__call__", spoiling)
    return count


class TestDivergence:
    # Epochs have two steps each; the weights that the last one spoils show in no term of its.
    @pytest.mark.parametrize("poisoned", [1, 3, 4, 12], ids=str)
    def test__divergence__once_goes_on_more_slowly(self, monkeypatch, poisoned):
        clean = make_trainer().run()
        count = poison_steps(monkeypatch, {poisoned})
        trainer = make_trainer()
        history = trainer.run()
        assert count == [14]
        assert [record["epoch"] for record in history] == [1, 2, 3, 4, 5, 6]
        assert all(math.isfinite(record["loss"]) for record in history)
        assert all(value.isfinite().all() for value in flow_weights(trainer).values())
        factors = [
            slower["learning_rate"] / usual["learning_rate"]
            for slower, usual in zip(history, clean, strict=True)
        ]
        epoch = (poisoned - 1) // 2
        assert factors == pytest.approx([1.0] * epoch + [RECOVERY_FACTOR] * (6 - epoch))

    def test__divergence__twice_lowers_the_rate_twice(self, monkeypatch):
        clean = make_trainer().run()
        poison_steps(monkeypatch, {1, 7})
        history = make_trainer().run()
        factor = history[-1]["learning_rate"] / clean[-1]["learning_rate"]
        assert factor == pytest.approx(RECOVERY_FACTOR**2)

    def test__divergence__that_stays_is_an_error_that_says_what_to_change(self, monkeypatch):
        poison_steps(monkeypatch, set(range(3, 100)))
        expected = "".join(f".*{term}=" for term in TERMS)
        with pytest.raises(TrainingDivergedError, match=expected) as error:
            make_trainer().run()
        message = str(error.value)
        assert "not finite in epoch 2" in message
        assert "learning rate to 0.001" in message
        assert "smaller learning_rate_init" in message

    def test__divergence__that_stays_leaves_the_last_good_weights(self, monkeypatch):
        trainer = make_trainer()
        before = flow_weights(trainer)
        poison_steps(monkeypatch, set(range(1, 100)))
        with pytest.raises(TrainingDivergedError):
            trainer.run()
        after = flow_weights(trainer)
        assert all(torch.equal(before[name], after[name]) for name in before)

    def test__divergence__names_the_terms_that_are_not_finite(self, monkeypatch):
        poison_steps(monkeypatch, set(range(1, 100)))
        with pytest.raises(TrainingDivergedError, match=r"dg=nan.*cls=nan"):
            make_trainer().run()

    def test__divergence__of_an_absurd_learning_rate(self, data):
        with pytest.raises(TrainingDivergedError, match="Set a smaller learning_rate_init"):
            fitted(data, learning_rate_init=1e38)


class TestProgress:
    def test__verbose__shows_a_bar(self, data, capsys):
        fitted(data, verbose=True)
        shown = capsys.readouterr().err
        assert "FairLatentTransformer: 100%" in shown
        assert "4/4" in shown
        assert "loss=" in shown
        assert "nan" not in shown  # of a validation that there is none of

    def test__verbose__off_shows_nothing(self, data, capsys):
        fitted(data)
        assert capsys.readouterr() == ("", "")


@pytest.mark.gpu
class TestGpu:
    PARAMETERS = {"device": "cuda", "max_iter": 12}  # noqa: RUF012

    def test__fit__on_a_gpu_pickles_and_loads_on_a_cpu(self, data, monkeypatch):
        X, _, _ = data
        model = fitted(data, **self.PARAMETERS)
        on_gpu = model.transform(X)
        assert all(p.device.type == "cpu" for p in model.flow_.parameters())
        content = pickle.dumps(model)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        loaded = pickle.loads(content)  # noqa: S301 - our own bytes
        loaded.set_params(device="auto")
        np.testing.assert_allclose(loaded.transform(X), on_gpu, atol=DEVICE_TOLERANCE)

    def test__fit__on_a_gpu_is_reproducible(self, data):
        first = fitted(data, **self.PARAMETERS)
        torch.cuda.manual_seed(99)
        state = torch.cuda.get_rng_state()
        assert_same_fit(first, fitted(data, **self.PARAMETERS))
        assert torch.equal(torch.cuda.get_rng_state(), state)

    def test__fit__on_a_gpu_trains_about_as_on_a_cpu(self, data, monkeypatch):
        monkeypatch.setattr("skfairlatent._training.step.half_precision", lambda *_: None)
        parameters = self.PARAMETERS | {"input_noise": 0.0}
        on_gpu = fitted(data, **parameters)
        on_cpu = fitted(data, **(parameters | {"device": "cpu"}))
        np.testing.assert_allclose(
            on_gpu.history_["loss"], on_cpu.history_["loss"], rtol=DEVICE_TOLERANCE
        )

    def test__resume__on_a_gpu_gives_the_uninterrupted_fit(self, data, tmp_path, monkeypatch):
        expected = fitted(data, **self.PARAMETERS)
        with monkeypatch.context() as patched:
            count_steps(patched, interrupt_at=22)
            with pytest.raises(KeyboardInterrupt):
                fitted(data, checkpoint_dir=tmp_path, **self.PARAMETERS)
        resumed = fitted(data, checkpoint_dir=tmp_path, **self.PARAMETERS)
        np.testing.assert_allclose(
            resumed.history_["loss"], expected.history_["loss"], rtol=DEVICE_TOLERANCE
        )
        np.testing.assert_array_equal(
            resumed.history_["learning_rate"], expected.history_["learning_rate"]
        )
