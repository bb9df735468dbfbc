"""The label block cut into cells: which cells, and what a transformer with them returns."""

import copy
import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression

from skfairlatent import FairLatentTransformer
from skfairlatent._bins import fit_bins
from skfairlatent.counterfactuals import CounterfactualExplainer
from skfairlatent.datasets import make_biased_embeddings
from skfairlatent.diagnostics import diagnose
from skfairlatent.exceptions import CheckpointError
from skfairlatent.inspection import LatentCovarianceDisplay

N_BINS = 4
QUICK = {
    "max_iter": 2,
    "hidden_features": 8,
    "random_state": 0,
    "device": "cpu",
    "label_scores": False,  # with them, fit_transform is not fit and transform
}


@pytest.fixture(scope="module")
def rows():
    data = make_biased_embeddings(400, n_features=6, random_state=0)
    return data.data, data.target, data.sensitive_features


@pytest.fixture(scope="module")
def fair(rows):
    X, y, s = rows
    model = FairLatentTransformer(n_bins=N_BINS, **QUICK)
    return model.fit(X, y, sensitive_features=s)


def test__fit_bins__one_direction_is_cut_at_its_quantiles():
    block = np.random.default_rng(0).normal(size=(1000, 1))
    bins = fit_bins(block, np.zeros((1000, 1), dtype=int), 4, seed=0)
    cells = bins.assign(block)
    assert np.bincount(cells).tolist() == [250] * 4
    assert np.ptp([block[cells == cell].mean() for cell in range(4)] - bins.centroids[:, 0]) < 1e-9
    # Each cell is an interval.
    assert (np.diff(cells[np.argsort(block[:, 0])]) >= 0).all()


@pytest.mark.parametrize("n_bins", [2, 3, 4, 5, 8])
def test__fit_bins__equal_rows_stay_in_one_cell_whatever_their_rounding(n_bins):
    rng = np.random.default_rng(0)
    values = rng.choice([-1.2, -0.3, 0.0, 0.4, 1.5], p=[0.1, 0.2, 0.4, 0.2, 0.1], size=(1000, 1))
    bins = fit_bins(values + 2e-6 * rng.normal(size=values.shape), values > 0, n_bins, seed=0)
    cells = bins.assign(values)
    for _ in range(5):
        rounded = values + 2e-6 * rng.normal(size=values.shape)
        np.testing.assert_array_equal(bins.assign(rounded), cells)
    assert 2 <= len(np.unique(cells)) == len(bins.centroids) <= min(n_bins, 5)


def test__transform__cuts_a_row_alone_as_among_others():
    rng = np.random.default_rng(0)
    X = rng.integers(2, size=(300, 4)).astype(np.float32)
    y, s = (X[:, 0] + rng.normal(size=300) > 0.5).astype(int), rng.integers(2, size=300)
    fair = FairLatentTransformer(n_bins=N_BINS, **QUICK).fit(X, y, sensitive_features=s)
    alone = np.vstack([fair.transform(row[None]) for row in X])
    np.testing.assert_array_equal(alone, fair.transform(X))
    np.testing.assert_array_equal(fair.bins_.apply(fair.latent(X))[:, :1], alone)


def test__fit_bins__wider_block_is_cut_along_its_label():
    rng = np.random.default_rng(0)
    y = rng.integers(2, size=(1000, 1))
    block = np.column_stack([10 * rng.normal(size=1000), y[:, 0] + 0.1 * rng.normal(size=1000)])
    cells = fit_bins(block, y, 2, seed=0).assign(block)
    assert max((cells == y[:, 0]).mean(), (cells != y[:, 0]).mean()) > 0.95


@pytest.mark.parametrize("labels", [3, (2, 2)])
def test__fit_bins__cells_tell_several_classes_and_labels_apart(labels):
    rng = np.random.default_rng(0)
    y = rng.integers(labels, size=(1000, np.size(labels)))
    corners = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    names = y @ ([1] if labels == 3 else [2, 1])
    block = corners[names] + 0.05 * rng.normal(size=(1000, 2))
    bins = fit_bins(block, y, len(np.unique(names)), seed=0)
    pairs = np.unique(np.column_stack([bins.assign(block), names]), axis=0)
    assert len(pairs) == len(np.unique(names)) == len(bins.centroids)


@pytest.mark.parametrize("width", [1, 2])
@pytest.mark.parametrize("distinct", [1, 3])
def test__fit_bins__no_cell_is_without_rows(width, distinct):
    block = np.repeat(np.arange(float(distinct)), 20)[:, None].repeat(width, axis=1)
    y = np.column_stack([np.arange(len(block)) % 3])
    bins = fit_bins(block, y, 10**12, seed=0)
    assert np.unique(bins.assign(block)).tolist() == list(range(len(bins.centroids)))
    np.testing.assert_allclose(bins.apply(block), block, atol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test__n_bins__rows_become_the_centroids_of_their_cells(rows, dtype):
    X, y, s = rows
    model = FairLatentTransformer(n_bins=N_BINS, **QUICK)
    Z = model.fit_transform(X.astype(dtype), y, sensitive_features=s)
    assert Z.dtype == dtype
    assert Z.shape == (400, 1)
    np.testing.assert_array_equal(np.unique(Z), np.sort(model.bins_.centroids[:, 0].astype(dtype)))
    np.testing.assert_array_equal(model.transform(X.astype(dtype)), Z)
    assert len(np.unique(model.latent(X)[:, 0])) == 400


def test__n_bins__full_output_keeps_the_sensitive_block(rows, fair):
    X = rows[0]
    full = clone(fair).set_params(output="full").fit(X, rows[1], sensitive_features=rows[2])
    Z, latent = full.transform(X), full.latent(X)
    np.testing.assert_array_equal(Z[:, :1], fair.transform(X))
    np.testing.assert_array_equal(Z[:, 1:], latent[:, 1:])
    back = full.inverse_transform(Z)
    np.testing.assert_allclose(full.latent(back), Z, atol=1e-4)
    assert fair.inverse_transform(fair.transform(X)).shape == X.shape
    assert fair.get_feature_names_out().tolist() == ["fairlatenttransformer0"]


def test__n_bins__survive_a_file_and_a_pickle(rows, fair, tmp_path):
    X = rows[0]
    fair.save(tmp_path / "model")
    for back in (
        FairLatentTransformer.load(tmp_path / "model"),
        pickle.loads(pickle.dumps(fair)),  # noqa: S301
    ):
        np.testing.assert_array_equal(back.transform(X), fair.transform(X))
        assert back._seen_rows.share_in(X) == 1.0


def test__n_bins__warm_start_cuts_anew(rows):
    X, y, s = rows
    model = FairLatentTransformer(n_bins=N_BINS, warm_start=True, **QUICK)
    first = model.fit(X, y, sensitive_features=s).bins_
    assert model.fit(X, y, sensitive_features=s).bins_ is not first
    assert model.set_params(n_bins=None).fit(X, y, sensitive_features=s).bins_ is None


@pytest.mark.parametrize("n_bins", [None, N_BINS - 1])
def test__n_bins__set_after_fit_asks_for_another_fit(fair, n_bins):
    changed = copy.copy(fair).set_params(n_bins=n_bins)
    with pytest.raises(ValueError, match=r"set after fit.*call fit again"):
        changed.transform(np.zeros((2, fair.n_features_in_)))


@pytest.mark.parametrize("n_bins", [1, 2.0, "4"])
def test__n_bins__must_be_two_or_more(rows, n_bins):
    with pytest.raises(ValueError, match="'n_bins' parameter"):
        FairLatentTransformer(n_bins=n_bins).fit(*rows[:2], sensitive_features=rows[2])


def test__load__refuses_cells_of_another_width(rows, fair, tmp_path):
    wide = clone(fair).set_params(n_label_components=2).fit(*rows[:2], sensitive_features=rows[2])
    fair_bins, fair.bins_ = fair.bins_, wide.bins_
    fair.save(tmp_path / "model")
    fair.bins_ = fair_bins
    with pytest.raises(CheckpointError, match="weights is"):
        FairLatentTransformer.load(tmp_path / "model")


def test__explainer__decides_by_what_the_classifier_sees(rows, fair):
    X, y, s = rows
    Z = fair.transform(X)
    classifier = LogisticRegression().fit(Z, y)
    explainer = CounterfactualExplainer(fair, classifier).fit(X, y, sensitive_features=s)
    found = explainer.explain_sensitive(X[:20])
    np.testing.assert_array_equal(found.original_predictions, classifier.predict(Z[:20]))


@pytest.mark.filterwarnings("ignore:diagnose found")
def test__n_bins__diagnostics_look_at_the_cells_as_a_classifier_does(rows, fair):
    X, y, s = rows
    found = diagnose(fair, X, y, sensitive_features=s, random_state=0)
    variance = found.blocks.loc["label", "variance"]
    assert variance == pytest.approx(fair.transform(X).var(), rel=1e-6)
    shown = LatentCovarianceDisplay.from_estimator(fair, X, statistic="covariance")
    assert shown.matrix[0, 0] == pytest.approx(fair.transform(X).var(ddof=1), rel=1e-2)


def test__fit_bins__scores_without_any_gap_are_cut_at_their_quantiles():
    # As of ten million rows: neighbours are closer than rounding, but few lie at a threshold.
    block = np.linspace(0, 1, 400_001)[:, None]
    counts = np.bincount(fit_bins(block, block > 0.5, 4, seed=0).assign(block))
    np.testing.assert_allclose(counts, [100_000] * 4, atol=2)
