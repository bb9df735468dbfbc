import numpy as np
import pytest

from skfairlatent.diagnostics import effective_rank, off_diagonal_mass

RANK_TOLERANCE = 0.02  # relative, from sampling 10,000 rows
EXACT = 1e-9


@pytest.mark.parametrize("width", [1, 2, 16])
def test__effective_rank__of_isotropic_noise_is_its_width(width):
    Z = np.random.default_rng(0).normal(size=(10_000, width))

    assert effective_rank(Z) == pytest.approx(width, rel=RANK_TOLERANCE)


def test__effective_rank__matches_a_value_by_hand():
    Z = np.array([[2, 0], [-2, 0], [0, 1], [0, -1]])

    # Variances 4 : 1, so the shares are 0.8 and 0.2.
    assert effective_rank(Z) == pytest.approx(0.8**-0.8 * 0.2**-0.2, abs=EXACT)


def test__effective_rank__of_one_direction_is_one():
    line = np.random.default_rng(0).normal(size=(50, 1)) * np.arange(1, 9)

    assert effective_rank(line + 100) == pytest.approx(1, abs=EXACT)


def test__effective_rank__ignores_rotation_shift_and_scale():
    rng = np.random.default_rng(0)
    Z = rng.normal(size=(200, 5)) * [1, 2, 3, 4, 5]
    rotation = np.linalg.qr(rng.normal(size=(5, 5)))[0]

    assert effective_rank(1e-6 * (Z @ rotation) + 3) == pytest.approx(effective_rank(Z), rel=1e-6)


def test__effective_rank__of_equal_rows_is_zero():
    assert effective_rank(np.full((5, 3), 0.1)) == 0


def test__effective_rank__is_bounded_by_the_rows():
    Z = np.random.default_rng(0).normal(size=(5, 50))

    assert 3 < effective_rank(Z) <= 4 + EXACT


def test__effective_rank__needs_two_rows():
    with pytest.raises(ValueError, match="minimum of 2 is required"):
        effective_rank(np.ones((1, 3)))


def test__off_diagonal_mass__of_uncorrelated_components_is_zero_whatever_their_scale():
    Z = np.array([[1, 1], [1, -1], [-1, 1], [-1, -1]]) * [1e-3, 1e3]

    assert off_diagonal_mass(Z) == pytest.approx(0, abs=EXACT)


def test__off_diagonal_mass__of_copies_is_all_but_the_diagonal():
    Z = np.random.default_rng(0).normal(size=(50, 1)) * np.ones(5)

    assert off_diagonal_mass(Z) == pytest.approx(1 - 1 / 5, abs=EXACT)


def test__off_diagonal_mass__constant_components_count_as_uncorrelated():
    Z = np.column_stack([np.arange(8), np.full(8, 0.1), np.full(8, 0.3)])

    assert off_diagonal_mass(Z) == 0


@pytest.mark.parametrize(
    ("copied", "part"),
    [((0, 1), "within_label"), ((2, 3), "within_sensitive"), ((1, 2), "between")],
)
def test__off_diagonal_mass__puts_a_copy_into_its_part(copied, part):
    Z = np.array(
        [[a, b, c, d] for a in (-1, 1) for b in (-1, 1) for c in (-1, 1) for d in (-1, 1)]
    )
    Z[:, copied[1]] = Z[:, copied[0]]

    masses = off_diagonal_mass(Z, label_slice=slice(0, 2))

    # Norm: the diagonal of four ones and two off it.
    assert masses[part] == masses["total"] == pytest.approx(2 / 6, abs=EXACT)
    assert sum(masses.values()) == pytest.approx(2 * masses["total"], abs=EXACT)


@pytest.mark.parametrize("scale", [1e300, 1e-300])
def test__figures__are_those_of_any_scale(scale):
    Z = np.random.default_rng(0).normal(size=(100, 4))

    assert effective_rank(Z * scale) == pytest.approx(effective_rank(Z))
    assert off_diagonal_mass(Z * scale) == pytest.approx(off_diagonal_mass(Z))


@pytest.mark.parametrize("label_slice", [2, [0, 1], "label"])
def test__label_slice__is_a_slice(label_slice):
    with pytest.raises(TypeError, match=r"label_slice=.*: expected the columns of the label bl"):
        off_diagonal_mass(np.eye(3), label_slice)
