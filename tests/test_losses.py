"""Loss terms: hand-computed values, sizes free of width and batch, and what their minima mean."""

import math

import pytest
import torch

from skfairlatent._training.losses import (
    covariance,
    density_loss,
    equal_variance_loss,
    redundancy_loss,
)
from skfairlatent.flows import ActNorm

# A handful of float32 operations on numbers of order 1.
ROUNDING = 1e-5
# Rest of a loss that can be 0 after a few hundred steps of Adam.
OPTIMISED = 1e-3

COV = torch.tensor([[1.0, 0.5, 0.2], [0.5, 2.0, 0.1], [0.2, 0.1, 3.0]])


def minimise(loss, parameters, *, n_steps=300, rate=0.05):
    optimizer = torch.optim.Adam(parameters, lr=rate)
    for _ in range(n_steps):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()


def equicorrelated(width, value):
    return value * torch.ones(width, width) + (1 - value) * torch.eye(width)


class TestCovariance:
    def test__covariance__by_hand(self):
        z = torch.tensor([[0.0, 1.0], [2.0, 1.0], [4.0, 4.0]])
        torch.testing.assert_close(covariance(z), torch.tensor([[4.0, 3.0], [3.0, 3.0]]))

    def test__covariance__does_not_see_the_mean(self):
        z = torch.randn(50, 3)
        torch.testing.assert_close(covariance(z + 5), covariance(z), atol=ROUNDING, rtol=ROUNDING)


class TestRedundancy:
    @pytest.mark.parametrize(
        ("n_label_components", "expected"),
        [
            (2, (0.25 + 0.0 + (0.04 + 0.01) / 2) / 3),
            (1, (0.0 + 0.01 + (0.25 + 0.04) / 2) / 3),
        ],
    )
    def test__redundancy__by_hand(self, n_label_components, expected):
        loss = float(redundancy_loss(COV, n_label_components))
        assert loss == pytest.approx(expected, rel=ROUNDING)

    @pytest.mark.parametrize(("width", "n_label"), [(4, 2), (8, 2), (64, 2), (64, 32)])
    def test__redundancy__size_does_not_depend_on_the_widths(self, width, n_label):
        loss = redundancy_loss(equicorrelated(width, 0.3), n_label)
        assert float(loss) == pytest.approx(0.3**2)

    def test__redundancy__is_zero_only_without_any_correlation(self):
        variances = torch.tensor([1.0, 2.0, 3.0, 4.0]).diag()
        assert float(redundancy_loss(variances, 2)) == 0.0
        for i in range(4):
            for j in range(i):
                cov = variances.clone()
                cov[i, j] = cov[j, i] = -0.1
                assert float(redundancy_loss(cov, 2)) > 0.0

    def test__redundancy__minimum_is_uncorrelated(self):
        z = torch.randn(200, 4) @ torch.randn(4, 4)
        mix = torch.eye(4).requires_grad_()

        def correlation():
            mapped = z @ mix
            # Unit variance: shrinking must not pass for decorrelating.
            return covariance(mapped / mapped.std(dim=0))

        assert float(redundancy_loss(correlation(), 2).detach()) > 10 * OPTIMISED
        minimise(lambda: redundancy_loss(correlation(), 2), [mix])
        off_diagonal = correlation().detach() - torch.eye(4)
        assert float(off_diagonal.abs().max()) < 0.05


class TestEqualVariance:
    @pytest.mark.parametrize(
        ("n_label_components", "expected"),
        [(2, 0.5 * (0.25 + 0.0)), (1, 0.5 * (0.0 + 0.25))],
    )
    def test__equal_variance__by_hand(self, n_label_components, expected):
        assert float(equal_variance_loss(COV, n_label_components)) == pytest.approx(expected)

    @pytest.mark.parametrize(("width", "n_label"), [(4, 2), (8, 2), (64, 2), (64, 32)])
    def test__equal_variance__size_does_not_depend_on_the_widths(self, width, n_label):
        variances = torch.tensor([1.0, 2.0]).repeat(width // 2)
        assert float(equal_variance_loss(variances.diag(), n_label)) == pytest.approx(0.25)

    def test__equal_variance__is_zero_when_equal_in_each_block(self):
        cov = torch.tensor([2.0, 2.0, 5.0, 5.0, 5.0]).diag() + 0.1
        assert float(equal_variance_loss(cov, 2)) == pytest.approx(0.0, abs=1e-12)
        assert float(equal_variance_loss(cov, 3)) > 0.1

    def test__equal_variance__minimum_at_a_fixed_trace_has_the_largest_determinant(self):
        logits = torch.randn(4).requires_grad_()

        def variances():
            return 4 * torch.cat((logits[:2].softmax(0), logits[2:].softmax(0)))

        start = float(variances().detach().prod())
        minimise(lambda: equal_variance_loss(variances().diag(), 2), [logits])
        assert start < 15.0
        assert float(variances().detach().prod()) == pytest.approx(2.0**4, rel=OPTIMISED)


class TestDensity:
    def test__density__by_hand(self):
        z, log_det = torch.tensor([[1.0, 2.0], [0.0, 0.0]]), torch.tensor([0.5, 1.5])
        expected = 0.5 * 5 / 4 + 0.5 * math.log(2 * math.pi) - 1.0 / 2
        assert float(density_loss(z, log_det)) == pytest.approx(expected)

    def test__density__is_the_likelihood_of_a_normal(self):
        z = torch.randn(30, 7)
        expected = -torch.distributions.Normal(0.0, 1.0).log_prob(z).mean()
        assert float(density_loss(z, torch.zeros(30))) == pytest.approx(float(expected))

    @pytest.mark.parametrize("copies", [(1, 5), (5, 1), (3, 4)], ids=["width", "batch", "both"])
    def test__density__size_depends_on_neither_width_nor_batch(self, copies):
        z, log_det = torch.randn(20, 3), torch.randn(20)
        repeated = density_loss(z.repeat(copies), log_det.repeat(copies[0]) * copies[1])
        assert float(repeated) == pytest.approx(float(density_loss(z, log_det)), rel=ROUNDING)

    def test__density__minimum_is_the_entropy_of_the_data(self):
        x = 5 + 3 * torch.randn(500, 2)
        layer = ActNorm(2)
        layer.initialize(10 * torch.randn(50, 2))

        def loss():
            return density_loss(*layer(x))

        minimise(loss, layer.parameters(), n_steps=400)
        std = x.std(dim=0, correction=0)
        entropy = 0.5 * math.log(2 * math.pi * math.e) + float(std.log().mean())
        assert float(loss().detach()) == pytest.approx(entropy, abs=OPTIMISED)
        z = layer(x)[0].detach()
        torch.testing.assert_close(z.mean(dim=0), torch.zeros(2), atol=0.01, rtol=0)
        torch.testing.assert_close(z.std(dim=0), torch.ones(2), atol=0.01, rtol=0)
