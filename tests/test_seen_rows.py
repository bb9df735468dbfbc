import numpy as np
import pytest
from sklearn.decomposition import PCA

from skfairlatent._seen_rows import SeenRows

N_ROWS = 2000


def rows(seed):
    return np.random.default_rng(seed).normal(size=(N_ROWS, 8))


@pytest.mark.parametrize("share", [0.2, 0.5, 1.0])
def test__share_in__is_that_of_the_rows_of_fit(share):
    seen, other = rows(0), rows(1)
    other[: int(share * N_ROWS)] = seen[: int(share * N_ROWS)]
    assert SeenRows.of([seen]).share_in(other.astype(np.float32)) == pytest.approx(share, abs=0.05)


def test__share_in__is_zero_for_other_rows():
    seen = SeenRows.of([rows(0)])
    assert not any(seen.share_in(rows(seed)) for seed in range(1, 30))


@pytest.mark.parametrize("n_columns", [3, 7, 12])
def test__share_in__is_zero_for_other_people_with_equal_rows(n_columns):
    rng = np.random.default_rng(0)
    seen = SeenRows.of([rng.integers(2, size=(N_ROWS, n_columns)).astype(float)])
    assert not any(
        seen.share_in(rng.integers(2, size=(N_ROWS, n_columns)).astype(float)) for _ in range(10)
    )


def people(rng, n_rows):
    """Return rows of three columns, such as age, schooling and hours: some occur often."""
    return np.minimum(rng.geometric(0.08, size=(n_rows, 3)), [60, 16, 9]).astype(float)


def test__share_in__is_zero_for_many_other_people_of_whom_some_are_equal():
    rng = np.random.default_rng(0)
    for _ in range(30):
        assert SeenRows.of([people(rng, 500)]).share_in(people(rng, 20_000)) == 0.0


def test__share_in__is_zero_for_one_row_many_times():
    seen, once = SeenRows.of([rows(0)]), rows(1)
    for each in once[:50]:
        other = rows(2)
        other[: N_ROWS // 4] = each
        assert seen.share_in(other) == 0.0


def test__share_in__finds_rows_of_fit_among_equal_ones():
    rng = np.random.default_rng(0)
    seen = people(rng, 3000)
    half = np.concatenate([seen[:1500], people(rng, 1500)])
    assert SeenRows.of([seen]).share_in(seen) == 1.0
    assert SeenRows.of([seen]).share_in(half) == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize(("n_fit", "n_other"), [(3000, 3000), (3000, 300), (500, 5000)])
def test__share_in__is_zero_for_other_people_of_a_fit_without_duplicates(n_fit, n_other):
    rng = np.random.default_rng(0)
    for _ in range(20):
        seen = SeenRows.of([np.unique(people(rng, n_fit), axis=0)])
        assert seen.share_in(people(rng, n_other)) == 0.0


def test__share_in__finds_rows_of_a_fit_without_duplicates():
    rng = np.random.default_rng(0)
    kept = np.unique(people(rng, 3000), axis=0)
    seen = SeenRows.of([kept])
    assert seen.share_in(kept) == pytest.approx(1.0, abs=0.02)
    assert seen.share_in(np.concatenate([kept, people(rng, len(kept))])) > 0.4


@pytest.mark.parametrize("solver", ["full", "randomized", "arpack"])
def test__share_in__knows_rows_that_a_pca_computes_in_two_ways(solver):
    spread = np.random.default_rng(3).normal(size=(8, 300))
    X = np.random.default_rng(0).normal(size=(2 * N_ROWS, 300)) * 0.05
    X = (X + np.concatenate([rows(0), rows(1)]) @ spread).astype(np.float32)
    pca = PCA(20, svd_solver=solver, random_state=0)
    seen = SeenRows.of([pca.fit_transform(X[:N_ROWS])])
    again, other = pca.transform(X[:N_ROWS]), pca.transform(X[N_ROWS:])
    assert 0.5 < seen.share_in(again) <= 1.0
    assert 0.1 < seen.share_in(np.concatenate([again[:1000], other[1000:]])) < 0.6
    assert seen.share_in(other) == 0.0


@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
def test__share_in__knows_rows_of_any_scale(scale):
    seen = SeenRows.of([scale * rows(0)])
    assert seen.share_in(scale * rows(0)) == 1.0
    assert seen.share_in(scale * rows(1)) == 0.0


@pytest.mark.parametrize("n_before", [N_ROWS, 100])
def test__of__knows_the_rows_of_the_fit_before(n_before):
    seen, before, other = rows(0), rows(1)[:n_before], rows(2)
    both = SeenRows.of([seen], SeenRows.of([before]))
    assert both.share_in(seen) > 0.9
    assert both.share_in(before) > 0.9
    assert both.share_in(other) == 0.0


def test__seen_rows__keeps_no_more_than_twice_four_to_eight_bits_a_row():
    seen = SeenRows.of([rows(0)])
    for table in (seen.exact, seen.close):
        assert 4 * N_ROWS <= 8 * table.bits.nbytes <= 8 * N_ROWS


def test__seen_rows__of_tiny_numbers_do_not_depend_on_numpy_settings():
    with np.errstate(all="raise"):
        assert SeenRows.of([1e-300 * rows(0)]).exact.bits.any()
