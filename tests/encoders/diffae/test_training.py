import copy
import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skfairlatent.encoders import DiffAEEncoder, DiffAETraining
from skfairlatent.encoders.diffae._networks.networks import DiffusionAutoencoder
from skfairlatent.encoders.diffae._solvers.ddim import alphas_cumprod
from skfairlatent.encoders.diffae._training.batches import TrainingData
from skfairlatent.encoders.diffae._training.label_head import label_targets
from skfairlatent.encoders.diffae._training.loop import Trainer
from skfairlatent.encoders.diffae._training.step import DiffusionLoss
from skfairlatent.exceptions import CheckpointError, FairLatentWarning, TrainingDivergedError


def encoder_for(config, **training):
    settings = {"max_iter": 2, "batch_size": 16, "learning_rate_init": 1e-3, **training}
    return DiffAEEncoder(
        None, config=config, training=DiffAETraining(**settings), device="cpu", n_steps=4
    )


def data_of(pictures):
    return TrainingData(pictures.__getitem__, len(pictures))


def weights_of(encoder):
    return encoder.model_.network.state_dict()


def assert_same_weights(one, other):
    one, other = weights_of(one), weights_of(other)
    assert one.keys() == other.keys()
    for name, value in one.items():
        torch.testing.assert_close(value, other[name], rtol=0, atol=0)


def psnr(images, others):
    error = np.mean((images.astype(float) - others.astype(float)) ** 2)
    return 10 * np.log10(255**2 / error)


def test__fit__lowers_both_losses_and_reconstructs_better_than_the_mean_image(trained, pictures):
    history = trained.history_
    full = history[history.loss_noise > 0]
    assert full.loss_noise.iloc[-1] < 0.6 * full.loss_noise.iloc[0]
    # Twelve numbers cannot hold all that these pictures differ in.
    assert history.loss_linear.iloc[-1] < 0.95 * history.loss_linear.iloc[0]
    mean = np.broadcast_to(pictures.mean(axis=0).round(), pictures[:16].shape)
    # 3 dB: half the squared error.
    assert psnr(trained.reconstruct(pictures[:16]), pictures[:16]) > psnr(mean, pictures[:16]) + 3


def test__fit__codes_wider_than_the_last_level_are_warned_of(tiny_config, pictures):
    narrow = dataclasses.replace(tiny_config, enc_channel_mult=(2, 1))
    with pytest.warns(FairLatentWarning, match=r"=12, but codes will have 8 dim") as seen:
        encoder = encoder_for(narrow).fit(pictures)
    assert [warning.filename for warning in seen] == [__file__]
    codes = encoder.set_params(precision="float32").transform(pictures)
    assert np.linalg.matrix_rank(codes - codes.mean(axis=0), rtol=1e-5) == 8


def test__fit__other_codes_decode_to_other_images(trained, pictures):
    noise = trained.invert(pictures[:16])
    codes = trained.transform(pictures[:16])
    # So short a training does not make them better: that is a matter of rounding.
    own, others = (trained.inverse_transform(each, x_T=noise) for each in (codes, codes[::-1]))
    assert (own != others).mean() > 0.05


def test__fit__same_seed_gives_the_same_weights_and_leaves_the_global_state(tiny_config, pictures):
    torch.manual_seed(7)
    before = torch.random.get_rng_state()
    first = encoder_for(tiny_config).fit(pictures)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert_same_weights(first, encoder_for(tiny_config).fit(pictures))
    other = encoder_for(tiny_config).set_params(random_state=1).fit(pictures)
    assert not torch.equal(
        weights_of(first)["encoder.out.3.weight"], weights_of(other)["encoder.out.3.weight"]
    )


def test__fit__interrupted_training_goes_on_bit_for_bit(tiny_config, pictures, tmp_path):
    class StopError(Exception):
        pass

    whole = encoder_for(tiny_config).fit(pictures)
    broken = encoder_for(tiny_config, checkpoint_dir=tmp_path)
    step = Trainer._train_step

    def stop_at_seven(self):
        if self.state.step == 7:
            self._read_losses()
            self._keep()
            raise StopError
        return step(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "_train_step", stop_at_seven)
        with pytest.raises(StopError):
            broken.fit(pictures)
    assert not hasattr(broken, "model_")
    assert_same_weights(whole, broken.fit(pictures))


def test__fit__stops_after_max_seconds_and_goes_on_next_time(tiny_config, pictures, tmp_path):
    encoder = encoder_for(tiny_config, checkpoint_dir=tmp_path, max_seconds=1e-9)
    assert len(encoder.fit(pictures).history_) == 0
    limited = encoder_for(tiny_config, checkpoint_dir=tmp_path)
    assert limited.fit(pictures).history_.step.iloc[-1] == 12
    assert_same_weights(limited, encoder_for(tiny_config).fit(pictures))


def test__fit__other_settings_or_images_have_a_file_of_their_own(tiny_config, pictures, tmp_path):
    pictures = pictures[:32]
    others = pictures.copy()
    others[-1] = 255 - others[-1]
    for images, changed in ((pictures, {}), (pictures, {"max_iter": 3}), (others, {})):
        kept = encoder_for(tiny_config, checkpoint_dir=tmp_path, **changed).fit(images)
        assert_same_weights(kept, encoder_for(tiny_config, **changed).fit(images))
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize("place", [0.0, 0.01, 0.1, 0.5, 0.9])
def test__fit__a_damaged_checkpoint_is_an_error(tiny_config, pictures, tmp_path, place):
    encoder = encoder_for(tiny_config, checkpoint_dir=tmp_path, max_iter=1).fit(pictures[:8])
    (path,) = tmp_path.iterdir()
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= 8
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"delete it to start anew") as error:
        encoder.fit(pictures[:8])
    assert str(path) in str(error.value)


@pytest.mark.parametrize("name", ["checkpoint_dir", "sample_dir"])
def test__fit__a_full_disk_ends_no_training(tiny_config, pictures, tmp_path, name):
    """The limit on a file's size is a disk with room for so many bytes, without being root."""
    resource = pytest.importorskip("resource", reason="needs POSIX limits")
    expected = encoder_for(tiny_config, max_iter=1).fit(pictures[:8])
    encoder = encoder_for(tiny_config, max_iter=1, **{name: tmp_path})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        told = r"cannot be (kept|made) in .*(goes on|continues)"
        with pytest.warns(FairLatentWarning, match=told) as seen:
            encoder.fit(pictures[:8])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [warning.filename for warning in seen] == [__file__]
    assert_same_weights(encoder, expected)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["checkpoint_dir", "sample_dir"])
def test__fit__a_file_instead_of_a_folder_is_told_before(tiny_config, pictures, tmp_path, name):
    (tmp_path / "file").touch()
    encoder = encoder_for(tiny_config, **{name: tmp_path / "file"})
    with pytest.raises(NotADirectoryError, match=f"{name} is a file, or is in one"):
        encoder.fit(pictures)


def test__fit__draws_progress_pictures(tiny_config, pictures, tmp_path):
    encoder_for(tiny_config, sample_dir=tmp_path / "new").fit(pictures)
    with Image.open(tmp_path / "new" / "progress-0001.png") as drawn:
        grid = np.asarray(drawn)
    (tmp_path / "new" / "progress-0001.png").rename(tmp_path / "new" / "progress-0012.png")
    encoder_for(tiny_config, sample_dir=tmp_path / "new").fit(pictures)
    assert (tmp_path / "new" / "progress-0013.png").exists()
    assert grid.shape == (3 * 8, 8 * 8, 3)
    np.testing.assert_array_equal(grid[:8, :8], pictures[0])


def test__fit__fewer_images_than_a_batch(tiny_config, pictures):
    assert encoder_for(tiny_config).fit(pictures[:5]).history_.step.iloc[-1] == 2


def test__trainer__goes_back_once_after_a_loss_that_is_not_finite(tiny_config, pictures):
    plan = DiffAETraining(max_iter=2, batch_size=16).plan(len(pictures), 0)
    network = DiffusionAutoencoder(tiny_config)
    trainer = Trainer(network, data_of(pictures), plan)
    loss = trainer.step.loss
    calls = iter(range(100))

    def broken_once(*arguments):
        value = loss(*arguments)
        return value * float("nan") if next(calls) == 4 else value

    trainer.step.loss = broken_once
    trainer.run()
    assert trainer.state.step == plan.n_steps
    assert trainer.state.factor == pytest.approx(0.1)
    assert all(bool(p.isfinite().all()) for p in network.parameters())


def test__trainer__gives_up_after_a_second_one_and_says_what_to_change(tiny_config, pictures):
    plan = DiffAETraining(max_iter=2, batch_size=16).plan(len(pictures), 0)
    trainer = Trainer(DiffusionAutoencoder(tiny_config), data_of(pictures), plan)
    trainer.step.loss = lambda _network, _images, code, _generator: code.sum() * float("nan")
    with pytest.raises(TrainingDivergedError, match="smaller learning_rate_init"):
        trainer.run()


def test__diffusion_loss__of_a_network_that_predicts_nothing_is_one():
    """Noise has variance 1, so the uniform loss of predicting zero is 1."""
    alphas = torch.from_numpy(alphas_cumprod(1000)).float()
    loss = DiffusionLoss(alphas, high_noise=False)
    images = torch.zeros(64, 3, 16, 16)
    generator = torch.Generator().manual_seed(0)
    value = loss(lambda x, _t, _code: torch.zeros_like(x), images, torch.zeros(64, 4), generator)
    assert float(value) == pytest.approx(1, abs=0.02)  # 49,152 squares: standard error 0.006


def test__diffusion_loss__high_noise_draws_late_steps_more_often_and_weighs_them_more():
    alphas = torch.from_numpy(alphas_cumprod(1000)).float()
    seen = []

    def record(x, t, _code):
        seen.append(t)
        return torch.zeros_like(x)

    images, generator = torch.zeros(2048, 3, 2, 2), torch.Generator().manual_seed(0)
    high = DiffusionLoss(alphas, high_noise=True)(record, images, images, generator)
    uniform = DiffusionLoss(alphas, high_noise=False)(record, images, images, generator)
    # A density in proportion to sqrt(u) on [0, 1] has mean 3 / 5.
    assert float(seen[0].float().mean()) / 1000 == pytest.approx(0.6, abs=0.02)
    assert float(seen[1].float().mean()) / 1000 == pytest.approx(0.5, abs=0.02)
    assert high > 5 * uniform


def test__trainer__average_lags_behind_the_weights(tiny_config, pictures):
    plan = DiffAETraining(max_iter=4, batch_size=16, ema_decay=0.9, learning_rate_init=1e-2)
    network = DiffusionAutoencoder(tiny_config)
    start = copy.deepcopy(network.state_dict())
    trainer = Trainer(network, data_of(pictures), plan.plan(len(pictures), 0))
    averaged = trainer.run().state_dict()
    name = "encoder.out.3.weight"
    moved = (network.state_dict()[name] - start[name]).norm()
    assert 0 < (averaged[name] - start[name]).norm() < moved
    assert not any(p.requires_grad for p in trainer.averaged().parameters())


@pytest.mark.parametrize("epochs", [{"max_iter": 500}, {"half_size_epochs": 500, "max_iter": 0}])
def test__rate__falls_in_the_last_epochs_whatever_they_are(epochs):
    plan = DiffAETraining(**epochs, batch_size=16, learning_rate_init=1e-3).plan(32, 0)
    rates = [plan.rate_at(step) for step in range(plan.n_steps)]
    assert max(rates) > 0.9e-3
    assert rates[0] < 0.1e-3
    assert rates[-1] == pytest.approx(0.05e-3, rel=0.01)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_iter": -1}, r"max_iter.*Got -1 instead"),
        ({"batch_size": 0}, r"batch_size.*Got 0 instead"),
        ({"learning_rate_init": 0.0}, r"learning_rate_init.*Got 0.0 instead"),
        ({"ema_decay": 1.0}, r"ema_decay.*Got 1.0 instead"),
        ({"max_seconds": 0}, r"max_seconds.*Got 0 instead"),
        ({"batch_size": 1.5}, r"batch_size.*must be an int in the range.*Got 1.5 instead"),
        ({"max_iter": float("inf")}, r"max_iter.*Got inf instead"),
        ({"linear_weight": float("nan")}, r"linear_weight.*Got nan instead"),
        ({"encoder_epochs": "3"}, r"encoder_epochs.*must be a float.*Got '3' instead"),
        ({"flip": "yes"}, r"flip.*Got 'yes' instead"),
        ({"checkpoint_dir": 5}, r"checkpoint_dir.*Got 5 instead"),
        ({"encoder_epochs": 1, "linear_weight": 0}, "would train nothing"),
    ],
)
def test__training_options__are_checked(settings, message):
    with pytest.raises(ValueError, match=message):
        DiffAETraining(**settings)


class TestLabels:
    """Labels that a code of twelve numbers has no room for unless it is told of them."""

    @pytest.fixture
    def y(self, pictures):
        """Which of two squares is lighter, and which of three is the lightest."""
        light = pictures[:, 4, [1, 3, 5]].mean(axis=2)
        names = np.array(["left", "middle", "right"])
        return pd.DataFrame({"two": light[:, 0] > light[:, 1], "three": names[light.argmax(1)]})

    def test__fit__puts_them_into_the_code(self, tiny_config, pictures, y):
        settings = {"max_iter": 0, "encoder_epochs": 60}
        with_labels = encoder_for(tiny_config, label_weight=5.0, **settings).fit(pictures, y)
        without = encoder_for(tiny_config, **settings).fit(pictures, y)
        loss = with_labels.history_.loss_label
        assert loss.iloc[0] == pytest.approx(np.log(2), abs=0.05)  # what ignorance costs
        assert loss.iloc[-1] < 0.8 * loss.iloc[0]
        assert (without.history_.loss_label == 0).all()
        # A code that was not told of them tells which of two, but not well which of three.
        probe = make_pipeline(StandardScaler(), LogisticRegression(C=1e3, max_iter=5000))
        codes = [each.transform(pictures) for each in (with_labels, without)]
        told, untold = (probe.fit(E, y.three).score(E, y.three) for E in codes)
        assert told > untold + 0.1

    def test__fit__ignores_them_without_a_weight(self, tiny_config, pictures, y):
        assert_same_weights(
            encoder_for(tiny_config).fit(pictures, y), encoder_for(tiny_config).fit(pictures)
        )

    def test__fit__others_are_another_training(self, tiny_config, pictures, y, tmp_path):
        settings = {"label_weight": 1.0, "checkpoint_dir": tmp_path}
        encoder_for(tiny_config, **settings).fit(pictures, y)
        encoder_for(tiny_config, **settings).fit(pictures, ~y.two)
        assert len(list(tmp_path.iterdir())) == 2

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda _: None, "y was not given: call fit\\(images, y\\)"),
            (lambda y: y[:-1], "inconsistent numbers of samples"),
            (lambda y: y.assign(two=True), "Label 'two' of y has one class only, True"),
            (
                lambda y: y.assign(two=y.two.where(y.index > 1)),
                "Label 'two' of y is missing in 2 rows",
            ),
        ],
    )
    def test__fit__bad_ones_are_told(self, tiny_config, pictures, y, change, message):
        with pytest.raises(ValueError, match=message):
            encoder_for(tiny_config, label_weight=1.0).fit(pictures, change(y))


def test__label_targets__are_a_column_for_two_classes_and_one_for_each_of_more():
    y = pd.DataFrame({"two": ["b", "a", "b"], "three": [2, 0, 1]})
    expected = [[1, 0, 0, 1], [0, 1, 0, 0], [1, 0, 1, 0]]
    np.testing.assert_array_equal(label_targets(y, 3), expected)
    np.testing.assert_array_equal(label_targets(["b", "a", "b"], 3), [[1], [0], [1]])


class TestInitialWeights:
    def test__fit__goes_on_from_them_with_their_sizes(self, trained, pictures, tmp_path):
        path = tmp_path / "start.safetensors"
        trained.save_weights(path)
        training = DiffAETraining(max_iter=0, initial_weights=path)
        same = DiffAEEncoder(None, training=training, device="cpu").fit(pictures)
        np.testing.assert_array_equal(same.transform(pictures), trained.transform(pictures))
        training = DiffAETraining(
            max_iter=1, batch_size=16, learning_rate_init=1e-6, initial_weights=path
        )
        near = DiffAEEncoder(None, training=training, device="cpu").fit(pictures)
        moved = near.transform(pictures) - trained.transform(pictures)
        assert 0 < np.linalg.norm(moved) < 0.01 * np.linalg.norm(trained.transform(pictures))

    def test__fit__others_are_another_training(self, trained, tiny_config, pictures, tmp_path):
        path, state = tmp_path / "start.safetensors", tmp_path / "state"
        trained.save_weights(path)
        encoder_for(tiny_config, checkpoint_dir=state).fit(pictures)
        encoder_for(tiny_config, checkpoint_dir=state, initial_weights=path).fit(pictures)
        assert len(list(state.iterdir())) == 2

    def test__fit__of_the_encoder_alone_are_refused(self, trained, pictures, tmp_path):
        path = tmp_path / "encoder.safetensors"
        trained.save_weights(path, encoder_only=True)
        encoder = DiffAEEncoder(None, training=DiffAETraining(initial_weights=path), device="cpu")
        with pytest.raises(TypeError, match="semantic encoder only"):
            encoder.fit(pictures)

    def test__fit__of_other_sizes_are_refused(self, trained, tiny_config, pictures, tmp_path):
        path = tmp_path / "start.safetensors"
        trained.save_weights(path)
        other = dataclasses.replace(tiny_config, embed_channels=8)
        with pytest.raises(CheckpointError, match=r"sizes|shape"):
            encoder_for(other, initial_weights=path).fit(pictures)
