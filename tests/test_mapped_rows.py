"""Rows in a file that are too many to hold: read in pieces, and treated like any others."""

import numpy as np
import pytest
import torch

from skfairlatent import FairLatentTransformer
from skfairlatent._inputs.scaling import Standardizer, as_rows
from skfairlatent._out_of_core import mapped_rows
from skfairlatent._out_of_core.mapped_rows import MappedRows, is_large_map, pieces_of
from skfairlatent._training import batches
from skfairlatent.datasets import make_biased_embeddings

N_ROWS, N_FEATURES = 700, 8
DATA = make_biased_embeddings(N_ROWS, n_features=N_FEATURES, random_state=0)
# Rounding of moments in float64, whose sums have another order.
ROUNDING = 1e-12


@pytest.fixture(autouse=True)
def _small_maps_are_large(monkeypatch):
    row = N_FEATURES * 4
    monkeypatch.setattr(mapped_rows, "HELD_BYTES", 500 * row)
    monkeypatch.setattr(mapped_rows, "PIECE_BYTES", 100 * row)
    monkeypatch.setattr(mapped_rows, "ROWS_APART", 64)


@pytest.fixture
def make_map(tmp_path):
    def make(dtype=np.float32, mode="r", values=DATA.data):
        path = tmp_path / f"{np.dtype(dtype).name}.npy"
        np.save(path, values.astype(dtype))
        return np.load(path, mmap_mode=mode)

    return make


def quick(**parameters):
    given = {"max_iter": 2, "hidden_features": 8, "random_state": 0} | parameters
    return FairLatentTransformer(None, **given)


def fitted(X, **parameters):
    return quick(**parameters).fit(X, DATA.target, sensitive_features=DATA.sensitive_features)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test__fit__of_a_map_is_that_of_an_array(make_map, dtype):
    X = make_map(dtype)
    of_map, of_array = (fitted(each, label_scores=False) for each in (X, np.array(X)))
    np.testing.assert_allclose(of_map.mean_, of_array.mean_, rtol=ROUNDING, atol=ROUNDING)
    np.testing.assert_allclose(of_map.scale_, of_array.scale_, rtol=ROUNDING)
    np.testing.assert_allclose(of_map.latent(X), of_array.latent(X), atol=1e-4)
    assert of_map.transform(X).dtype == dtype


@pytest.mark.parametrize(
    "parameters",
    [
        {"label_scores": True},
        {"early_stopping": True, "validation_fraction": 0.3},
        {"n_bins": 4},
        {"constraints": "demographic_parity"},
    ],
    ids=str,
)
def test__fit__of_a_map_takes_every_option(make_map, parameters):
    X = make_map()
    fair = fitted(X, **parameters)
    np.testing.assert_array_equal(fair.transform(X), fair.transform(np.array(X)))
    back = fair.inverse_transform(fair.latent(X))
    np.testing.assert_allclose(back, X, atol=1e-4)


def test__fit__of_a_map_goes_on_warm_and_from_a_checkpoint(make_map, tmp_path):
    X = make_map()
    fair = fitted(X, warm_start=True)
    before = fair.transform(X)
    fair.fit(X, DATA.target, sensitive_features=DATA.sensitive_features)
    assert not np.array_equal(fair.transform(X), before)
    resumed = fitted(X, checkpoint_dir=tmp_path / "states")
    np.testing.assert_array_equal(resumed.transform(X), before)


def test__fit__of_a_map_reads_at_most_40_batches_an_epoch(make_map, monkeypatch):
    monkeypatch.setattr(batches, "MOST_BATCHES_READ", 3)
    X, drawn = make_map(), []
    draw = batches.ReadingSampler.draw
    monkeypatch.setattr(
        batches.ReadingSampler, "draw", lambda *given: drawn.append(draw(*given)) or drawn[-1]
    )
    fitted(X, batch_size=16)
    assert [len(each) for each in drawn] == [3, 3, 3]  # those of the heads first


def test__transform__of_a_map_is_that_of_an_array(make_map):
    X = make_map()
    fair = fitted(np.array(X))
    np.testing.assert_array_equal(fair.transform(X), fair.transform(np.array(X)))
    np.testing.assert_array_equal(fair.latent(X[::-1]), fair.latent(np.array(X)[::-1]))


@pytest.mark.parametrize("dtype", [np.float16, np.uint8, np.int64])
def test__fit__of_a_map_in_another_type_is_that_of_an_array(make_map, dtype):
    X = make_map(dtype, values=20 * DATA.data - 20 * DATA.data.min())
    assert is_large_map(X)
    of_map, of_array = (fitted(each, label_scores=False) for each in (X, np.array(X)))
    np.testing.assert_allclose(of_map.scale_, of_array.scale_, rtol=ROUNDING)
    np.testing.assert_allclose(of_map.latent(X), of_array.latent(X), atol=1e-4)
    assert of_map.transform(X).dtype == np.float64


@pytest.mark.parametrize("row", [0, 250, N_ROWS - 1])
def test__transform__and_fit_refuse_a_map_with_missing_values(make_map, row):
    values = DATA.data.copy()
    values[row, 3] = np.nan
    X = make_map(values=values)
    with pytest.raises(ValueError, match="Input X contains NaN"):
        fitted(X)
    with pytest.raises(ValueError, match="Input X contains NaN"):
        fitted(DATA.data.astype(np.float32)).transform(X)


@pytest.mark.parametrize("mode", ["r+", "c"])
def test__fit__of_a_map_keeps_what_was_written_to_it(make_map, mode):
    X = make_map(mode=mode)
    X[600] = 5.0
    fair = fitted(X)
    assert (X[600] == 5.0).all()
    np.testing.assert_array_equal(fair.transform(X), fair.transform(np.array(X)))


@pytest.mark.parametrize("mode", ["r", "r+", "c"])
@pytest.mark.parametrize(
    "part", [np.s_[:], np.s_[100:650], np.s_[::-1], np.s_[:, :7]], ids=["all", "some", "back", "c"]
)
def test__mapped_rows__are_those_of_the_array(make_map, mode, part):
    X = make_map(mode=mode)[part]
    assert is_large_map(X)
    rows, held = MappedRows(X, as_rows), torch.tensor(np.array(X))
    numbers = torch.randint(len(X), (200,), generator=torch.Generator().manual_seed(0))
    assert torch.equal(rows[numbers], held[numbers])
    pieces = [*rows.split(64)]
    assert [len(each) for each in pieces] == [len(each) for each in held.split(64)]
    assert torch.equal(torch.cat(pieces), held)


def test__mapped_rows__small_maps_and_other_arrays_are_held(make_map):
    X = make_map()
    assert not is_large_map(X[:100])
    assert not is_large_map(np.array(X))
    assert not is_large_map(make_map(np.longdouble))
    assert len([*pieces_of(np.array(X))]) == 1


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test__standardizer__of_pieces_is_that_of_all_rows(make_map, scale):
    values = DATA.data * scale + np.arange(N_FEATURES) * 1e3 * scale
    X = make_map(np.float64, values=values)
    of_pieces, of_all = Standardizer.fit(X), Standardizer.fit(np.array(X))
    np.testing.assert_allclose(of_pieces.mean, of_all.mean, rtol=ROUNDING)
    np.testing.assert_allclose(of_pieces.scale, of_all.scale, rtol=1e3 * ROUNDING)


def test__fit__of_the_path_of_an_array_says_how_to_map_it(tmp_path):
    with pytest.raises(ValueError, match=r"numpy\.load\(X, mmap_mode='r'\)"):
        quick().fit(str(tmp_path / "X.npy"), [0, 1])


def test__auto__fits_no_scores_where_the_rows_held_have_too_few_of_a_class(make_map):
    rng = np.random.default_rng(0)
    X = make_map(values=rng.normal(size=(3000, N_FEATURES)))
    y = np.arange(3000) % 200 == 0
    fair = quick().fit(X, y, sensitive_features=rng.integers(0, 2, 3000).astype(str))
    assert fair.label_scores_ is None
