"""Standardisation in the precision of X, whatever the size of its features."""

import numpy as np
import pytest
import torch

from skfairlatent._scaling import Standardizer, as_rows

# Of values standardised to order 1: float32 holds seven digits, of which a mean as large as a
# thousand spreads takes three.
TOLERANCE = {np.float32: 1e-3, np.float64: 1e-9}
# Of the round trip, relative to the largest value of a feature.
ROUND_TRIP = {np.float32: 5e-7, np.float64: 1e-15}

every_dtype = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def features(dtype, n_rows=500):
    """Features at 1e-6, 1, 1e6, with a large mean, and at the ends of the range."""
    largest = float(np.finfo(dtype).max) / 1e3
    smallest = float(np.finfo(dtype).tiny) * 1e6
    scale = np.array([1e-6, 1.0, 1e6, 1.0, largest / 10, smallest])
    mean = np.array([0.0, 5.0, 1e6, 1e3, 0.0, 0.0])
    rows = np.random.default_rng(0).normal(size=(n_rows, 6)).clip(-4, 4)
    return (rows * scale + mean).astype(dtype)


@every_dtype
def test__standardizer__gives_mean_0_and_standard_deviation_1(dtype):
    X = features(dtype)
    x = Standardizer.fit(X).forward(X)
    assert x.numpy().dtype == dtype
    np.testing.assert_allclose(x.numpy().mean(axis=0), 0.0, atol=TOLERANCE[dtype])
    np.testing.assert_allclose(x.numpy().std(axis=0), 1.0, atol=TOLERANCE[dtype])


@every_dtype
def test__standardizer__inverse_gives_the_rows_back(dtype):
    X = features(dtype)
    standardizer = Standardizer.fit(X)
    back = standardizer.inverse(standardizer.forward(X))
    assert back.dtype == dtype
    largest = np.abs(X).max(axis=0)
    assert (np.abs(back - X) <= ROUND_TRIP[dtype] * largest).all()


@every_dtype
@pytest.mark.parametrize("value", [0.0, 1.0, -3.7, 1e6 / 3, 1e-6 / 3])
def test__standardizer__constant_feature_becomes_0_and_comes_back(dtype, value):
    X = np.column_stack([np.arange(7), np.full(7, value)]).astype(dtype)
    standardizer = Standardizer.fit(X)
    assert standardizer.scale[1] == 1.0
    x = standardizer.forward(X)
    np.testing.assert_allclose(x[:, 1].numpy(), 0.0, atol=1e-15 * max(1, abs(value)))
    assert np.array_equal(standardizer.inverse(x)[:, 1], X[:, 1])


def test__standardizer__rounding_is_not_blown_up():
    # One step of float32 up and down, at a million.
    value = np.float32(1e6)
    X = np.array([[value], [np.nextafter(value, np.float32(2e6))]] * 5, dtype=np.float32)
    assert float(Standardizer.fit(X).forward(X).abs().max()) < 1.0


def test__standardizer__a_small_spread_on_a_large_mean_is_signal():
    rows = 1e4 + np.random.default_rng(0).normal(size=(100, 1))
    x = Standardizer.fit(rows).forward(rows)
    assert float(x.std()) == pytest.approx(1.0, abs=0.02)


def test__standardizer__leaves_the_rows_alone():
    X = features(np.float64)
    before = X.copy()
    Standardizer.fit(X).forward(X)
    assert np.array_equal(X, before)


def test__standardizer__keeps_float64_statistics_of_float32_rows():
    # 16 million and a bit: a sum in float32 would lose the bit.
    X = np.full((1000, 1), 16_777_216, dtype=np.float32)
    X[::2] += 2
    assert Standardizer.fit(X).mean[0] == 16_777_217.0


def test__standardizer__new_rows_use_the_fitted_statistics():
    standardizer = Standardizer(np.array([1.0, 0.0]), np.array([2.0, 1.0]))
    x = standardizer.forward(np.array([[5.0, 3.0]]))
    assert torch.equal(x, torch.tensor([[2.0, 3.0]], dtype=torch.float64))


@pytest.mark.parametrize("kind", ["as it is", "read-only", "reversed", "Fortran"])
def test__as_rows__takes_every_layout(kind):
    X = np.arange(12, dtype=np.float32).reshape(4, 3)
    given = {"reversed": X[::-1], "Fortran": np.asfortranarray(X)}.get(kind, X)
    given.flags.writeable = kind != "read-only"
    rows = as_rows(given)
    np.testing.assert_array_equal(rows.numpy(), given)
    assert np.shares_memory(rows.numpy(), X) == (kind == "as it is")
