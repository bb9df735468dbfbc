"""Threads do not disturb one another: results are, bit for bit, those of each alone."""

import asyncio
import random
import threading
from concurrent.futures import ThreadPoolExecutor

import joblib
import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import Pipeline
from torch import nn

from skfairlatent import FairLatentTransformer
from skfairlatent._training.step import TrainingStep
from skfairlatent.encoders import DiffAEConfig, DiffAEEncoder, DiffAETraining, TorchEncoder
from skfairlatent.encoders.diffae._training.step import DiffusionStep

N_ROWS, SIZE = 120, 8
# Threads, and how often each computes: without care, one time in two shows a difference.
N_THREADS, N_TIMES = 3, 2
CONFIG = DiffAEConfig(
    image_size=SIZE,
    model_channels=8,
    channel_mult=(1, 2),
    enc_channel_mult=(1, 2),
    attention_resolutions=(4,),
    num_res_blocks=1,
    enc_num_res_blocks=1,
    embed_channels=12,
    dropout=0.2,
)


def make_rows():
    rng = np.random.default_rng(0)
    y, s = np.arange(N_ROWS) % 2, np.arange(N_ROWS) // 2 % 2
    X = rng.normal(size=(N_ROWS, 6)).astype(np.float32)
    X[:, 0] += 2 * y
    X[:, 1] += 2 * s
    return X, y, s


def make_images(n_images=12):
    return np.random.default_rng(0).integers(256, size=(n_images, SIZE, SIZE, 3), dtype=np.uint8)


def quick(**parameters):
    settings = {
        "max_iter": 3, "hidden_features": 16, "batch_size": 32, "random_state": 0, "device": "cpu",
    }  # fmt: skip
    return FairLatentTransformer(None, **{**settings, **parameters})


def latent_of_a_fit(**parameters):
    X, y, s = make_rows()
    return quick(**parameters).fit(X, y, sensitive_features=s).latent(X)


def at_once(compute, n_times=N_TIMES):
    """Return what several threads compute, each starting together with the others."""
    barrier = threading.Barrier(N_THREADS)

    def together(_):
        barrier.wait()
        return [compute() for _ in range(n_times)]

    with ThreadPoolExecutor(N_THREADS) as pool:
        return [result for results in pool.map(together, range(N_THREADS)) for result in results]


def assert_all_equal(results, expected):
    assert len(results) >= N_THREADS
    for result in results:
        np.testing.assert_array_equal(result, expected)


def global_states():
    numpy_state = np.random.get_state()  # noqa: NPY002
    return (
        torch.get_rng_state().tolist(),
        (*numpy_state[:1], numpy_state[1].tolist(), *numpy_state[2:]),
        random.getstate(),
    )


class TestFits:
    @pytest.mark.parametrize(
        "parameters",
        [
            {},
            {"distance": "sliced_wasserstein"},
            {"early_stopping": True, "validation_fraction": 0.25},
        ],
        ids=str,
    )
    def test__fit__in_threads_is_as_alone(self, parameters):
        expected = latent_of_a_fit(**parameters)
        assert_all_equal(at_once(lambda: latent_of_a_fit(**parameters)), expected)

    def test__fit__beside_a_thread_that_draws_and_seeds(self):
        expected, stop = latent_of_a_fit(), threading.Event()

        def disturb():
            while not stop.is_set():
                torch.manual_seed(1)
                torch.rand(3)
                np.random.seed(1)  # noqa: NPY002
                random.seed(1)

        with ThreadPoolExecutor(1) as pool:
            disturbing = pool.submit(disturb)
            found = latent_of_a_fit()
            stop.set()
            disturbing.result()
        np.testing.assert_array_equal(found, expected)

    def test__fit__in_asyncio_threads(self):
        async def fits():
            return await asyncio.gather(*(asyncio.to_thread(latent_of_a_fit) for _ in range(3)))

        for found in asyncio.run(fits()):
            np.testing.assert_array_equal(found, latent_of_a_fit())

    def test__fit__never_touches_the_global_random_states(self, monkeypatch):
        before, seen, step = global_states(), [], TrainingStep.__call__

        def watched(self, rows):
            seen.append(global_states())
            return step(self, rows)

        monkeypatch.setattr(TrainingStep, "__call__", watched)
        latent_of_a_fit(early_stopping=True, validation_fraction=0.25)
        assert len(seen) > 3
        assert all(state == before for state in seen)
        assert global_states() == before

    def test__scores__of_a_search_in_threads_are_those_of_one_after_the_other(self):
        X, y, s = make_rows()
        pipe = Pipeline([("fair", quick()), ("clf", LogisticRegression())])
        scores = []
        for n_jobs in (1, 3):
            with joblib.parallel_config(backend="threading", n_jobs=n_jobs):
                scores.append(
                    cross_val_score(pipe, X, y, params={"fair__sensitive_features": s}, cv=3)
                )
        np.testing.assert_array_equal(*scores)


class TestSharedModels:
    def test__transformer__maps_in_threads_as_alone(self):
        X, y, s = make_rows()
        fair = quick(hidden_features=64).fit(X, y, sensitive_features=s)
        X = np.tile(X, (40, 1))
        Z = fair.latent(X)
        expected = np.hstack((Z, fair.inverse_transform(Z)))
        results = at_once(lambda: np.hstack((fair.latent(X), fair.inverse_transform(Z))))
        assert_all_equal(results, expected)

    @pytest.mark.parametrize("precision", ["float32", "auto"])
    def test__diffae__encodes_and_decodes_in_threads_as_alone(self, precision):
        images = make_images()
        training = DiffAETraining(max_iter=1, batch_size=6)
        encoder = DiffAEEncoder(None, config=CONFIG, training=training, n_steps=2, device="cpu")
        encoder.fit(images).set_params(precision=precision)

        def used():
            codes = encoder.transform(images)
            decoded = encoder.inverse_transform(codes, x_T=encoder.invert(images, codes))
            return np.hstack((codes, decoded.reshape(len(codes), -1)))

        expected = used()
        assert_all_equal(at_once(used), expected)

    def test__torch_encoder__of_a_module_in_training_encodes_in_threads_as_alone(self):
        """Evaluation mode is lent: it must last until the last thread is done."""
        images, n_pixels = make_images(40), 3 * SIZE * SIZE
        net = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(n_pixels, 6))
        norm = nn.BatchNorm1d(6)
        encoders = [
            TorchEncoder(call, image_size=SIZE, device="cpu", batch_size=4)
            for call in (net, lambda x: norm(net(x)))
        ]
        expected = np.hstack([encoder.transform(images) for encoder in encoders])
        results = at_once(lambda: np.hstack([each.transform(images) for each in encoders]))
        assert_all_equal(results, expected)
        assert all(part.training for part in (*net.modules(), norm))
        assert int(norm.num_batches_tracked) == 0

    def test__torch_encoder__may_call_itself_again(self):
        net = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIZE * SIZE, 6))
        inner = TorchEncoder(net, image_size=SIZE, device="cpu")
        images = make_images(2)
        outer = TorchEncoder(
            lambda x: net(x) + torch.from_numpy(inner.transform(images)).sum(),
            image_size=SIZE,
            device="cpu",
        )
        assert outer.transform(images).shape == (2, 6)


class TestDiffusionTraining:
    @staticmethod
    def _codes():
        images = make_images()
        training = DiffAETraining(max_iter=1, encoder_epochs=1, batch_size=6, flip=True)
        encoder = DiffAEEncoder(None, config=CONFIG, training=training, device="cpu")
        return encoder.fit(images).transform(images)

    def test__fit__in_threads_is_as_alone(self):
        assert_all_equal(at_once(self._codes, n_times=1), self._codes())

    def test__fit__never_touches_the_global_random_states(self, monkeypatch):
        before, seen, step = global_states(), [], DiffusionStep.__call__

        def watched(self, *arguments):
            seen.append(global_states())
            return step(self, *arguments)

        monkeypatch.setattr(DiffusionStep, "__call__", watched)
        self._codes()
        assert len(seen) > 3
        assert all(state == before for state in (*seen, global_states()))
