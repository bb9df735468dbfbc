"""The latent by block: the figures, what is drawn where, and latents of any width."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from skfairlatent import FairLatentTransformer
from skfairlatent.inspection import LatentCovarianceDisplay

LABEL = slice(0, 2)


def _latent(n_samples=400, n_components=8, seed=0):
    return np.random.default_rng(seed).normal(size=(n_samples, n_components))


def _meshes(display):
    return {mesh.get_array().shape: mesh for mesh in display.ax_.collections}


class TestSummary:
    def test__summary__is_that_of_the_correlation_matrix(self):
        Z = _latent()
        Z[:, 5] += Z[:, 0]
        summary = LatentCovarianceDisplay.from_latent(Z, label_slice=LABEL).summary
        size = np.abs(np.corrcoef(Z, rowvar=False))
        between = size[:2, 2:]
        assert summary.loc["within label block", "mean"] == pytest.approx(size[0, 1])
        assert summary.loc["between blocks", "mean"] == pytest.approx(between.mean())
        assert summary.loc["between blocks", "max"] == pytest.approx(size[0, 5])
        within = size[2:, 2:][~np.eye(6, dtype=bool)]
        assert summary.loc["within sensitive block", "max"] == pytest.approx(within.max())

    def test__summary__of_covariances_has_variances(self, texts):
        Z = _latent() * [3, 3, 1, 1, 1, 1, 1, 1]
        display = LatentCovarianceDisplay.from_latent(Z, label_slice=LABEL, statistic="covariance")
        expected = Z[:, LABEL].var(axis=0, ddof=1).mean()
        assert display.summary.loc["within label block", "variance"] == pytest.approx(expected)
        assert f"variance {expected:.2f}" in " ".join(texts(display.ax_))
        assert np.isnan(display.chance)

    @pytest.mark.parametrize("seed", range(3))
    def test__chance__is_what_independent_components_show(self, seed):
        display = LatentCovarianceDisplay.from_latent(_latent(500, 60, seed), label_slice=LABEL)
        found = display.summary.loc["within sensitive block", "mean"]
        assert found == pytest.approx(display.chance, rel=0.1)

    def test__summary__a_constant_component_is_uncorrelated(self):
        Z = _latent()
        Z[:, 3] = 0.1
        display = LatentCovarianceDisplay.from_latent(Z, label_slice=LABEL)
        assert np.isfinite(display.matrix).all()
        assert np.abs(np.delete(display.matrix[3], 3)).max() == 0

    def test__summary__one_label_component(self, texts):
        display = LatentCovarianceDisplay.from_latent(_latent(), label_slice=slice(0, 1))
        assert np.isnan(display.summary.loc["within label block", "max"])
        assert "one component" in " ".join(texts(display.ax_))


class TestPlot:
    def test__from_estimator__pipeline_prepares_the_rows(self, pipe, data):
        """As if its first steps had been called by hand."""
        scaled = Pipeline([("scale", StandardScaler().fit(data.data)), *pipe.steps])
        display = LatentCovarianceDisplay.from_estimator(scaled, data.data)
        by_hand = LatentCovarianceDisplay.from_estimator(
            pipe["fair"], scaled["scale"].transform(data.data)
        )
        np.testing.assert_array_equal(display.matrix, by_hand.matrix)

    def test__plot__names_blocks_and_writes_figures(self, pipe, data, texts):
        display = LatentCovarianceDisplay.from_estimator(pipe["fair"], data.data)
        written = " ".join(texts(display.figure_))
        assert "label block\n(Z_Y, 1 wide)" in written
        assert "sensitive block\n(Z_S, 19 wide)" in written
        between = display.summary.loc["between blocks"]
        assert f"mean {between['mean']:.2f}, max {between['max']:.2f}" in written

    def test__plot__cells_are_the_correlations(self):
        Z = _latent()
        meshes = _meshes(LatentCovarianceDisplay.from_latent(Z, label_slice=LABEL))
        between = np.abs(np.corrcoef(Z, rowvar=False))[:2, 2:]
        drawn = meshes[2, 6].get_array()
        np.testing.assert_allclose(np.sort(drawn, axis=1), np.sort(between, axis=1))
        assert np.ma.getmaskarray(meshes[2, 2].get_array()).diagonal().all()

    def test__plot__orders_by_the_correlation_with_each_label_component(self):
        meshes = _meshes(LatentCovarianceDisplay.from_latent(_latent(), label_slice=LABEL))
        drawn = np.asarray(meshes[2, 6].get_array())
        owners = drawn.argmax(axis=0)
        assert (np.diff(owners) >= 0).all()
        for owner in (0, 1):
            assert (np.diff(drawn[owner, owners == owner]) <= 0).all()

    @pytest.mark.parametrize(("width", "n_label"), [(2, 1), (200, 2), (200, 198)])
    def test__plot__label_block_is_seen_at_any_width(self, width, n_label):
        display = LatentCovarianceDisplay.from_latent(
            _latent(50, width), label_slice=slice(0, n_label)
        )
        assert max(max(shape) for shape in _meshes(display)) <= 170
        border = display.ax_.lines[1].get_xdata()[0]
        assert 0.3 <= border <= 0.5

    def test__plot__on_a_given_axes_by_a_label_block_elsewhere(self):
        _, ax = plt.subplots()
        Z = _latent()
        display = LatentCovarianceDisplay.from_latent(Z, label_slice=slice(6, 8), ax=ax)
        assert display.ax_ is ax
        turned = LatentCovarianceDisplay.from_latent(Z[:, ::-1], label_slice=LABEL)
        np.testing.assert_allclose(display.summary, turned.summary)

    @pytest.mark.parametrize("statistic", ["correlation", "covariance"])
    def test__small_axes__figures_stand_below(self, statistic):
        figure, axes = plt.subplots(1, 2, figsize=(8, 4), layout="constrained")
        display = LatentCovarianceDisplay.from_latent(
            _latent(), label_slice=LABEL, statistic=statistic, ax=axes[0]
        )
        figure.draw_without_rendering()
        assert "between blocks: mean" in display.ax_.get_xlabel()
        below = display.ax_.xaxis.label.get_window_extent()
        assert below.y1 < display.ax_.get_window_extent().y0


class TestErrors:
    def test__from_estimator__refuses_a_pipeline_without_a_latent(self, pipe, data):
        with pytest.raises(TypeError, match=r"\['LogisticRegression'\] has no FairLatent"):
            LatentCovarianceDisplay.from_estimator(pipe[1:], data.data)

    def test__from_estimator__refuses_an_unfitted_one(self, data):
        with pytest.raises(NotFittedError, match=r"not fitted yet: call fit\(X, y, sens"):
            LatentCovarianceDisplay.from_estimator(FairLatentTransformer(), data.data)

    @pytest.mark.parametrize("label_slice", [slice(0, 0), slice(0, 8)])
    def test__init__needs_both_blocks(self, label_slice):
        with pytest.raises(ValueError, match="leaves some columns to the sensitive block"):
            LatentCovarianceDisplay.from_latent(_latent(), label_slice=label_slice)

    def test__init__needs_a_square_matrix(self):
        with pytest.raises(ValueError, match=r"shape \(2, 3\)"):
            LatentCovarianceDisplay(np.ones((2, 3)), slice(0, 1))

    def test__init__refuses_an_unknown_statistic(self):
        with pytest.raises(ValueError, match="'correlation', 'covariance'"):
            LatentCovarianceDisplay(np.eye(3), slice(0, 1), statistic="cosine")
