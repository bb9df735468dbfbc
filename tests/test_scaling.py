"""Standardisation in the precision of X, whatever the size of its features."""

import numpy as np
import pytest
import torch
from sklearn.preprocessing import MaxAbsScaler

from skfairlatent._inputs.scaling import Standardizer, as_rows

# Rounding of values standardised to order 1: float32 holds seven digits, of which a mean as
# large as a thousand spreads takes three.
TOLERANCE = {np.float32: 1e-3, np.float64: 1e-9}
# Rounding of the round trip, relative to the largest value of a feature.
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
    step = np.nextafter(value, np.float32(2e6))
    X = np.array([[value, 0], [step, 1]] * 5, dtype=np.float32)
    assert float(Standardizer.fit(X).forward(X)[:, 0].abs().max()) < 0.1


@every_dtype
@pytest.mark.parametrize("size", [1e-30, 1.0, 1e12, 1e30])
def test__standardizer__rounding_stays_small_at_every_size(dtype, size):
    value = dtype(size / 3)
    steps = np.random.default_rng(0).integers(-2, 3, size=200) * np.spacing(value)
    X = np.column_stack([value + steps, np.arange(200.0)]).astype(dtype)
    standardizer = Standardizer.fit(X)
    x = standardizer.forward(X)
    assert float(x[:, 0].abs().max()) < 0.01
    np.testing.assert_array_equal(standardizer.inverse(x)[:, 0], X[:, 0])


@pytest.mark.parametrize(
    ("mean", "spread"),
    [(1.7e9, 1.0), (1.7e18, 1e9), (1e15, 1.0), (48.8566, 1e-9), (-2.3e5, 1e-6), (1e300, 1e290)],
    ids=["seconds", "nanoseconds", "1e15", "coordinates", "metres", "huge"],
)
def test__standardizer__a_spread_that_float64_holds_is_signal(mean, spread):
    signal = np.random.default_rng(0).normal(size=(300, 2))
    X = np.column_stack([mean + spread * signal[:, 0], signal[:, 1]])
    standardizer = Standardizer.fit(X)
    x = standardizer.forward(X)
    np.testing.assert_allclose(x.mean(dim=0), 0.0, atol=max(1e-9, np.spacing(abs(mean)) / spread))
    np.testing.assert_allclose(x.std(dim=0, unbiased=False), 1.0, atol=1e-9)
    assert np.corrcoef(x[:, 0], signal[:, 0])[0, 1] > 0.99
    np.testing.assert_array_equal(standardizer.inverse(x)[:, 0], X[:, 0])


@pytest.mark.parametrize(
    ("dtype", "size"), [(np.float64, 1e-310), (np.float64, 4e307), (np.float32, 1e-42)]
)
def test__standardizer__ends_of_a_type(dtype, size):
    rows = np.random.default_rng(0).uniform(-1, 1, size=(100, 2))
    X = (rows * [size, 1]).astype(dtype)
    standardizer = Standardizer.fit(X)
    x = standardizer.forward(X)
    assert float(x.std(dim=0, unbiased=False)[0]) == pytest.approx(1.0, abs=0.01)
    np.testing.assert_allclose(
        standardizer.inverse(x), X, rtol=1e-6, atol=float(np.finfo(dtype).tiny)
    )


@every_dtype
@pytest.mark.parametrize("names", [None, ["a", "b"]])
def test__standardizer__names_a_feature_that_is_too_large(dtype, names):
    X = np.random.default_rng(0).uniform(-1, 1, size=(20, 2)).astype(dtype)
    X[:, 1] *= np.finfo(dtype).max
    column = "column 1" if names is None else "column 'b'"
    with pytest.raises(ValueError, match=f"in {column}, too near the largest number of float"):
        Standardizer.fit(X, names)
    scaled = MaxAbsScaler().fit_transform(X)
    assert Standardizer.fit(scaled, names).forward(scaled).isfinite().all()


@every_dtype
def test__standardizer__refuses_rows_that_are_all_alike(dtype):
    with pytest.raises(
        ValueError, match=r"X is constant: each of its 2 feature\(s\) has one value"
    ):
        Standardizer.fit(np.full((9, 2), 0.1, dtype=dtype))


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
    X = np.full((1000, 2), 16_777_216, dtype=np.float32)
    X[::2] += [2, 20]
    assert Standardizer.fit(X).mean[0] == 16_777_217.0


def test__standardizer__new_rows_use_the_fitted_statistics():
    standardizer = Standardizer(np.array([1.0, 0.0]), np.array([2.0, 1.0]))
    x = standardizer.forward(np.array([[5.0, 3.0]]))
    assert torch.equal(x, torch.tensor([[2.0, 3.0]], dtype=torch.float64))


@pytest.mark.parametrize("shares", [0.85, 1.7])
def test__standardizer__spread_of_a_step_is_not_lost(shares):
    """The released version kept features from 0.84 steps of float32 on: its models still map."""
    standardizer = Standardizer(
        np.array([1e6]), np.array([shares * float(np.spacing(np.float32(1e6)))])
    )
    standardizer.reject_lost_precision("X", np.dtype(np.float32))


@pytest.mark.parametrize("kind", ["as it is", "read-only", "reversed", "Fortran"])
def test__as_rows__takes_every_layout(kind):
    X = np.arange(12, dtype=np.float32).reshape(4, 3)
    given = {"reversed": X[::-1], "Fortran": np.asfortranarray(X)}.get(kind, X)
    given.flags.writeable = kind != "read-only"
    rows = as_rows(given)
    np.testing.assert_array_equal(rows.numpy(), given)
    assert np.shares_memory(rows.numpy(), X) == (kind == "as it is")
