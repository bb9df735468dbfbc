"""Forms of the group distance: hand-computed, near 0 only for equal groups, never NaN."""

import math

import pytest
import torch

from skfairlatent._training.cell_layout import CellLayout
from skfairlatent._training.distances import (
    DISTANCES,
    contrastive,
    energy,
    moment,
    sliced_wasserstein,
)

# Sums of a few dozen float32 numbers, and the small constant in each denominator.
ROUNDING = 1e-5
# Rows of a cell in tests on random draws; what a distance of equal distributions scatters by.
N_ROWS = 128
NULL = {"moment": 0.08, "energy": 0.05, "sliced_wasserstein": 0.05}

every_distance = pytest.mark.parametrize("name", DISTANCES)
every_distribution_distance = pytest.mark.parametrize("name", NULL)


def layout(labels, groups, rows_per_cell, comparable=None):
    return CellLayout(
        torch.tensor(labels),
        torch.tensor(groups),
        rows_per_cell,
        torch.tensor([True] * len(labels) if comparable is None else comparable),
    )


def two_by_two(rows_per_cell):
    return layout([0, 0, 1, 1], [0, 1, 0, 1], rows_per_cell)


def column(*values):
    return torch.tensor(values, dtype=torch.float32)[:, None]


def two_groups(shift=0.0, scale=1.0, width=2, n_rows=N_ROWS):
    """Rows of two labels, each with two groups; the second group shifted and scaled."""
    rows = torch.randn(4, n_rows, width)
    rows[1::2] = rows[1::2] * scale + shift
    rows[2:] += 4.0
    return rows.reshape(-1, width)


def value_and_gradient(name, z, cells):
    z = z.clone().requires_grad_()
    loss = DISTANCES[name](z, cells)
    assert loss.shape == ()
    if loss.requires_grad:
        loss.backward()
    gradient = torch.zeros_like(z) if z.grad is None else z.grad
    return float(loss.detach()), gradient


class TestByHand:
    def test__contrastive__by_hand(self):
        # Positions of the cells (label, group): (0, 0) at 0, (0, 1) at 1, (1, 0) and (1, 1) at 3.
        z = column(0, 0, 1, 1, 3, 3, 3, 3)

        def loss(to_positive, *to_negatives):
            positive = math.exp(-(to_positive**2))
            negative = sum(math.exp(-(d**2)) for d in to_negatives) / len(to_negatives)
            return -math.log(positive / (positive + negative))

        expected = (loss(1, 3, 3) + loss(1, 2, 2) + 2 * loss(0, 3, 2)) / 4
        assert float(contrastive(z, two_by_two(2))) == pytest.approx(expected, rel=ROUNDING)

    @pytest.mark.parametrize(
        ("rows", "expected"),
        [
            # Means 1 and 4, variances 2 and 2.
            ((0, 2, 3, 5), 1.5**2 / 2),
            # Means 1 and 2, variances 2 and 8, hence 5 on average.
            ((0, 2, 0, 4), 0.5**2 / 5 + 3**2 / 5**2),
            ((0, 2, 2, 0), 0.0),
        ],
    )
    def test__moment__by_hand(self, rows, expected):
        loss = moment(column(*rows), layout([0, 0], [0, 1], 2))
        assert float(loss) == pytest.approx(expected, rel=ROUNDING)

    @pytest.mark.parametrize(
        ("rows", "expected"),
        [
            # Between 3, within 2 and 2.
            ((0, 2, 3, 5), 2 * (3 - 2) / 2),
            # Between (0 + 4 + 2 + 2) / 4 = 2, within 2 and 4.
            ((0, 2, 0, 4), 2 * (2 - 3) / 3),
        ],
    )
    def test__energy__by_hand(self, rows, expected):
        loss = energy(column(*rows), layout([0, 0], [0, 1], 2))
        assert float(loss) == pytest.approx(expected, rel=ROUNDING)

    @pytest.mark.parametrize(
        ("rows", "expected"),
        [
            ((0, 2, 5, 3), 1.5**2 / 2),
            # Barycentre (0, 3); the upper rows are 1 away from it; mean variance 5.
            ((0, 2, 0, 4), 0.5 / 5),
            ((0, 2, 2, 0), 0.0),
        ],
    )
    def test__sliced_wasserstein__by_hand(self, rows, expected):
        # In one dimension every direction is the same, up to its sign.
        loss = sliced_wasserstein(column(*rows), layout([0, 0], [0, 1], 2))
        assert float(loss) == pytest.approx(expected, rel=ROUNDING)

    @pytest.mark.parametrize("name", ["moment", "energy", "sliced_wasserstein"])
    def test__distance__is_the_mean_over_labels(self, name):
        far, near = column(0, 2, 3, 5), column(0, 2, 1, 3)
        one_label = layout([0, 0], [0, 1], 2)
        apart = [float(DISTANCES[name](z, one_label)) for z in (far, near)]
        together = float(DISTANCES[name](torch.cat((far, near)), two_by_two(2)))
        assert together == pytest.approx(sum(apart) / 2, rel=ROUNDING)

    def test__energy__of_one_component_has_an_exact_gradient(self):
        """Differences of near rows count by their sign alone, however small they are."""
        z = two_groups(width=1)
        _, gradient = value_and_gradient("energy", z, two_by_two(N_ROWS))
        _, exact = value_and_gradient("energy", z.double(), two_by_two(N_ROWS))
        torch.testing.assert_close(gradient.double(), exact, rtol=ROUNDING, atol=1e-7)


class TestMeaning:
    @every_distribution_distance
    @pytest.mark.parametrize("seed", range(3))
    @pytest.mark.parametrize("width", [1, 4])
    def test__distance__is_near_zero_for_equal_distributions(self, name, seed, width):
        torch.manual_seed(seed)
        cells = two_by_two(4 * N_ROWS)
        z = two_groups(width=width, n_rows=4 * N_ROWS)
        assert abs(float(DISTANCES[name](z, cells))) < NULL[name]

    @every_distance
    def test__distance__grows_with_the_shift_between_the_groups(self, name):
        losses = []
        for shift in (0.0, 0.5, 1.0, 2.0):
            torch.manual_seed(1)
            losses.append(float(DISTANCES[name](two_groups(shift), two_by_two(N_ROWS))))
        assert losses == sorted(losses)
        assert losses[-1] > losses[0] + 0.3

    @every_distribution_distance
    def test__distance__grows_with_the_difference_of_spreads(self, name):
        losses = []
        for scale in (1.0, 2.0, 4.0):
            torch.manual_seed(1)
            losses.append(float(DISTANCES[name](two_groups(scale=scale), two_by_two(N_ROWS))))
        assert losses == sorted(losses)
        assert losses[-1] > losses[0] + 0.1

    @pytest.mark.parametrize("seed", range(3))
    def test__moment__is_blind_to_shape_and_the_whole_distribution_forms_are_not(self, seed):
        torch.manual_seed(seed)
        n_rows = 4 * N_ROWS
        cells = layout([0, 0], [0, 1], n_rows)

        def standardised(rows):
            return (rows - rows.mean()) / rows.std()

        skewed, other = torch.empty(2, n_rows, 1).exponential_()
        same = torch.cat((standardised(skewed), standardised(other)))
        mirrored = torch.cat((standardised(skewed), -standardised(other)))
        assert float(moment(mirrored, cells)) < ROUNDING
        for blind_to_nothing in (energy, sliced_wasserstein):
            assert float(blind_to_nothing(mirrored, cells)) > 0.03
            assert float(blind_to_nothing(mirrored, cells)) > 5 * abs(
                float(blind_to_nothing(same, cells))
            )

    @pytest.mark.parametrize("name", ["energy", "sliced_wasserstein"])
    def test__distance__minimum_has_equal_quantiles(self, name):
        cells = layout([0, 0, 0], [0, 1, 2], 64)
        x = torch.cat((torch.randn(64), 2 + torch.randn(64), torch.empty(64).exponential_()))
        z = x[:, None].clone().requires_grad_()
        self._minimise(name, z, cells)
        quantiles = cells.by_cell(z.detach()).sort(dim=1).values[:, 4:-4, 0]
        spread = float(z.detach().std())
        assert spread > 0.3
        assert float((quantiles - quantiles.mean(dim=0)).abs().max()) < 0.2 * spread

    def test__moment__minimum_has_equal_means_and_covariances(self):
        cells = layout([0, 0], [0, 1], 64)
        mix = torch.tensor([[2.0, 0.0], [1.0, 1.0]])
        z = torch.cat((torch.randn(64, 2), 2 + torch.randn(64, 2) @ mix)).requires_grad_()
        self._minimise("moment", z, cells)
        first, second = cells.by_cell(z.detach())
        assert float(first.std()) > 0.3
        torch.testing.assert_close(first.mean(dim=0), second.mean(dim=0), atol=0.05, rtol=0)
        torch.testing.assert_close(first.T.cov(), second.T.cov(), atol=0.05, rtol=0)

    def test__contrastive__minimum_joins_groups_and_parts_labels(self):
        cells = two_by_two(16)
        z = torch.randn(64, 2).requires_grad_()
        self._minimise("contrastive", z, cells)
        centres = cells.by_cell(z.detach()).mean(dim=1)
        same_label = torch.stack((centres[0] - centres[1], centres[2] - centres[3])).norm(dim=1)
        assert float(same_label.max()) < 0.25 * float((centres[0] - centres[2]).norm())

    @every_distribution_distance
    def test__distance__is_not_lowered_by_inflating_the_block(self, name):
        # The step along z itself scales the block; without detaching it would be level.
        z, cells = two_groups(shift=1.0), two_by_two(N_ROWS)
        _, gradient = value_and_gradient(name, z, cells)
        assert float((gradient * z).sum()) > 0.1

    @staticmethod
    def _minimise(name, z, cells):
        optimizer = torch.optim.Adam([z], lr=0.05)
        for _ in range(200):
            optimizer.zero_grad()
            DISTANCES[name](z, cells).backward()
            optimizer.step()


class TestSize:
    @every_distance
    @pytest.mark.parametrize("width", [2, 5, 64])
    def test__distance__does_not_depend_on_the_width(self, name, width):
        z = two_groups(shift=1.0, width=1)
        cells = two_by_two(N_ROWS)
        z[N_ROWS : 2 * N_ROWS] = z[:N_ROWS] + 1.0  # of equal variance, exactly
        z[3 * N_ROWS :] = z[2 * N_ROWS : 3 * N_ROWS] + 1.0
        narrow = float(DISTANCES[name](z, cells))
        wide = float(DISTANCES[name](z.repeat(1, width), cells))
        assert wide == pytest.approx(narrow, rel=1e-3)

    @pytest.mark.parametrize("width", [2, 4, 7])
    def test__moment__covariances_do_not_depend_on_the_width(self, width):
        # Columns of a Hadamard matrix: mean 0 and uncorrelated, exactly.
        h = torch.ones(1, 1)
        for _ in range(3):
            h = torch.cat((torch.cat((h, h), 1), torch.cat((h, -h), 1)))
        cells = layout([0, 0], [0, 1], 8)

        def loss(k):
            rows = h[:, 1 : k + 1]
            return float(moment(torch.cat((rows, 2 * rows)), cells))

        assert loss(width) == pytest.approx(loss(1), rel=ROUNDING)
        assert loss(1) > 0.1

    @every_distance
    def test__distance__does_not_depend_on_the_batch(self, name):
        z = two_groups(shift=1.0)
        small = float(DISTANCES[name](z, two_by_two(N_ROWS)))
        twice = z.repeat_interleave(2, dim=0)
        large = float(DISTANCES[name](twice, two_by_two(2 * N_ROWS)))
        # n - 1 instead of n; other random directions.
        assert large == pytest.approx(small, rel=0.15 if name == "sliced_wasserstein" else 0.05)

    @every_distribution_distance
    @pytest.mark.parametrize("factor", [0.01, 100.0])
    def test__distance__does_not_depend_on_the_scale_of_the_block(self, name, factor):
        z, cells = two_groups(shift=1.0), two_by_two(N_ROWS)
        losses = []
        for rows in (z, factor * z):
            torch.manual_seed(2)
            losses.append(float(DISTANCES[name](rows, cells)))
        # At spread 0.01 the small constant in the denominator is a hundredth of the variance.
        assert losses[1] == pytest.approx(losses[0], rel=0.03)

    @every_distance
    def test__distance__does_not_depend_on_the_names_of_the_groups(self, name):
        z = torch.randn(6 * 16, 3) + torch.arange(6).repeat_interleave(16)[:, None]
        by_cell = z.reshape(6, 16, 3)
        order = torch.tensor([2, 0, 1, 5, 3, 4])
        cells = layout([0, 0, 0, 1, 1, 1], [0, 1, 2, 0, 1, 2], 16)
        losses = []
        for rows in (z, by_cell[order].reshape(-1, 3)):
            torch.manual_seed(3)
            losses.append(float(DISTANCES[name](rows, cells)))
        assert losses[1] == pytest.approx(losses[0], rel=1e-4)


class TestDegenerate:
    @every_distance
    @pytest.mark.parametrize(
        ("labels", "groups", "comparable"),
        [
            ([0, 1], [0, 0], None),
            ([0, 1], [0, 1], None),
            ([0, 0], [0, 1], [True, False]),
            ([0, 0, 1], [0, 1, 0], [False, False, True]),
            ([0], [0], None),
        ],
        ids=["one group", "a group for each label", "a single row", "two single rows", "a cell"],
    )
    def test__distance__is_zero_without_cells_to_compare(self, name, labels, groups, comparable):
        cells = layout(labels, groups, 4, comparable)
        loss, gradient = value_and_gradient(name, torch.randn(cells.batch_size, 3), cells)
        assert loss == 0.0
        assert torch.equal(gradient, torch.zeros_like(gradient))

    @every_distance
    @pytest.mark.parametrize("garbage", [0.0, 1e4])
    def test__distance__leaves_out_cells_that_are_not_comparable(self, name, garbage):
        full = two_by_two(16)
        z = two_groups(shift=1.0, n_rows=16)
        torch.manual_seed(4)
        expected, _ = value_and_gradient(name, z, full)

        cells = layout([0, 0, 1, 1, 1], [0, 1, 0, 1, 2], 16, [True] * 4 + [False])
        with_garbage = torch.cat((z, torch.full((16, 2), garbage)))
        torch.manual_seed(4)
        loss, gradient = value_and_gradient(name, with_garbage, cells)
        assert loss == pytest.approx(expected, rel=1e-4)
        assert gradient.isfinite().all()
        assert gradient[:64].ne(0).any()
        assert torch.equal(gradient[64:], torch.zeros(16, 2))

    @every_distribution_distance
    def test__distance__leaves_out_a_label_with_one_group(self, name):
        z = torch.cat((two_groups(shift=1.0, n_rows=16), torch.randn(16, 2)))
        cells = layout([0, 0, 1, 1, 2], [0, 1, 0, 1, 0], 16)
        torch.manual_seed(4)
        loss, gradient = value_and_gradient(name, z, cells)
        torch.manual_seed(4)
        assert loss == pytest.approx(float(DISTANCES[name](z[:64], two_by_two(16))), rel=1e-4)
        assert torch.equal(gradient[64:], torch.zeros(16, 2))

    @every_distance
    @pytest.mark.parametrize("width", [1, 3])
    @pytest.mark.parametrize("rows_per_cell", [2, 40])
    @pytest.mark.parametrize("place", [0.0, 5.0])
    def test__distance__is_finite_for_a_block_collapsed_to_a_point(
        self, name, width, rows_per_cell, place
    ):
        cells = two_by_two(rows_per_cell)
        loss, gradient = value_and_gradient(
            name, torch.full((cells.batch_size, width), place), cells
        )
        assert math.isfinite(loss)
        assert gradient.isfinite().all()

    @every_distance
    def test__distance__is_finite_for_groups_collapsed_to_points_apart(self, name):
        cells = two_by_two(8)
        z = torch.tensor([0.0, 1.0, 2.0, 3.0]).repeat_interleave(8)[:, None]
        loss, gradient = value_and_gradient(name, z, cells)
        assert math.isfinite(loss)
        assert loss > 0
        assert gradient.isfinite().all()

    @every_distance
    def test__distance__is_finite_for_labels_far_apart(self, name):
        cells = two_by_two(8)
        loss, gradient = value_and_gradient(name, 1e3 * two_groups(1.0, n_rows=8), cells)
        assert math.isfinite(loss)
        assert gradient.isfinite().all()
