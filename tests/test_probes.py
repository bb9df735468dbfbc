import numpy as np
import pandas as pd
import pytest
from sklearn.neighbors import KNeighborsClassifier
from threadpoolctl import threadpool_limits

from skfairlatent.diagnostics import group_leakage
from skfairlatent.diagnostics._probes import _fit_balanced
from skfairlatent.exceptions import UndefinedMetricWarning

N_ROWS = 3_000
CHANCE_TOLERANCE = 0.06  # three standard errors of the smallest scored cell, rounded up
READABLE = 0.80
EXACT = 1e-9

ALL_PROBES = ["linear", "mlp", "boosting"]


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    """Spare boosting on small tables the threads that only wait for each other."""
    with threadpool_limits(1):
        yield


def biased_rows(seed=0, n_rows=N_ROWS, minority=0.25, width=4):
    """Z independent of the group, and the group correlated with the label."""
    rng = np.random.default_rng(seed)
    y = rng.integers(2, size=n_rows)
    group = (rng.random(n_rows) < np.where(y == 1, 1 - minority, minority)).astype(int)
    Z = rng.normal(size=(n_rows, width))
    Z[:, 0] += 3 * y
    return Z, y, group


def probe(table, name):
    return table.xs(name, level="probe")["balanced_accuracy"].item()


@pytest.mark.parametrize("seed", [0, 1])
def test__group_leakage__is_at_chance_when_z_tells_the_group_only_through_the_label(seed):
    Z, y, group = biased_rows(seed)

    table = group_leakage(Z, y, sensitive_features=group, random_state=seed)

    assert (table["chance"] == 0.5).all()
    assert (table["balanced_accuracy"] - 0.5).abs().max() < CHANCE_TOLERANCE
    # The control: pooled over the labels, the same Z does tell the group.
    pooled = group_leakage(Z, np.zeros(len(y)), sensitive_features=group, random_state=seed)
    assert pooled["balanced_accuracy"].min() > 0.5 + 2 * CHANCE_TOLERANCE


def test__group_leakage__every_probe_finds_a_group_encoded_linearly():
    Z, y, group = biased_rows()
    Z[:, 1] += 2 * group

    table = group_leakage(Z, y, sensitive_features=group, random_state=0)

    assert table["balanced_accuracy"].min() > READABLE


def _by_radius(Z, group):
    Z[group == 1, 1:3] *= 4


def _by_sign_of_product(Z, group):
    flip = np.sign(Z[:, 1] * Z[:, 2]) != np.where(group == 1, 1, -1)
    Z[flip, 1] *= -1


@pytest.mark.parametrize("encode", [_by_radius, _by_sign_of_product])
def test__group_leakage__only_nonlinear_probes_find_a_group_encoded_nonlinearly(encode):
    Z, y, group = biased_rows()
    encode(Z, group)

    table = group_leakage(Z, y, sensitive_features=group, random_state=0)

    assert abs(probe(table, "linear") - 0.5) < CHANCE_TOLERANCE
    assert probe(table, "mlp") > READABLE
    assert probe(table, "boosting") > READABLE


@pytest.mark.parametrize("name", ALL_PROBES)
def test__group_leakage__a_rare_group_weighs_as_much_as_a_frequent_one(name):
    Z, y, _ = biased_rows()
    group = (np.random.default_rng(1).random(len(y)) < 0.05).astype(int)
    Z[:, 1] += 2 * group

    table = group_leakage(Z, y, sensitive_features=group, probes=[name], random_state=0)

    # Bayes-optimal is 0.84; guessing the frequent group nearly always would score below 0.7.
    assert probe(table, name) > 0.75


def test__group_leakage__two_label_columns_are_crossed_before_looking_within():
    rng = np.random.default_rng(0)
    y = rng.integers(2, size=(N_ROWS, 2))
    group = np.where(rng.random(N_ROWS) < 0.85, y[:, 1], 1 - y[:, 1])
    Z = y + 0.3 * rng.normal(size=(N_ROWS, 2))

    table = group_leakage(Z, y, sensitive_features=group, probes=["linear"], random_state=0)

    assert abs(probe(table, "linear") - 0.5) < CHANCE_TOLERANCE
    one_label = group_leakage(
        Z, y[:, 0], sensitive_features=group, probes=["linear"], random_state=0
    )
    assert probe(one_label, "linear") > READABLE


def test__group_leakage__several_attributes_are_judged_crossed_and_each():
    Z, y, male = biased_rows()
    young = np.random.default_rng(1).choice(["yes", "no"], size=len(y))
    Z[:, 1] += 3 * (young == "yes")
    sensitive = pd.DataFrame({"Male": male, "Young": young})

    table = group_leakage(
        Z, y, sensitive_features=sensitive, probes=["linear"], random_state=0
    ).droplevel("probe")

    assert list(table.index) == ["Male x Young", "Male", "Young"]
    assert table["chance"].tolist() == [0.25, 0.5, 0.5]
    assert table.loc["Male x Young", "balanced_accuracy"] == pytest.approx(0.46, abs=0.06)
    assert abs(table.loc["Male", "balanced_accuracy"] - 0.5) < CHANCE_TOLERANCE
    assert table.loc["Young", "balanced_accuracy"] > READABLE


def test__group_leakage__labels_count_the_same_in_the_mean():
    rng = np.random.default_rng(0)
    y = np.repeat(["common", "rare"], [3000, 300])
    group = rng.integers(2, size=len(y))
    Z = rng.normal(size=(len(y), 2))
    Z[y == "rare", 0] += 10 * group[y == "rare"]

    row = group_leakage(Z, y, sensitive_features=group, probes=["linear"], random_state=0).iloc[0]

    assert row["label rare"] > 0.99
    assert abs(row["label common"] - 0.5) < CHANCE_TOLERANCE
    mean = (row["label rare"] + row["label common"]) / 2
    assert row["balanced_accuracy"] == pytest.approx(mean, abs=EXACT)


def test__group_leakage__scores_the_rows_held_out_by_the_caller():
    Z, y, group = biased_rows()
    Z[:, 1] += 3 * group
    test_Z, test_y, test_group = biased_rows(seed=1, n_rows=1000)
    held_out = test_Z, test_y, test_group

    without = group_leakage(
        Z, y, sensitive_features=group, held_out=held_out, probes=["linear"], random_state=0
    )
    test_Z[:, 1] += 3 * test_group
    shared = group_leakage(
        Z, y, sensitive_features=group, held_out=held_out, probes=["linear"], random_state=0
    )

    assert probe(without, "linear") < 0.6
    assert probe(shared, "linear") > READABLE


def test__group_leakage__held_out_groups_are_matched_by_name_not_by_position():
    Z, y, group = biased_rows()
    Z[:, 1] += 4 * group
    test_Z, test_y, test_group = biased_rows(seed=1, n_rows=1000)
    test_Z[:, 1] += 4 * test_group
    # Codes by themselves: "b" would be 0 among the held-out rows of the label 0.
    names, keep = np.array(["a", "b"]), (test_group == 1) | (test_y == 1)

    with pytest.warns(UndefinedMetricWarning, match=r"label '0'.*'a' \(\d+ to train on, 0 to sc"):
        table = group_leakage(
            Z,
            y,
            sensitive_features=names[group],
            held_out=(test_Z[keep], test_y[keep], names[test_group[keep]]),
            probes=["linear"],
            random_state=0,
        )

    assert np.isnan(table["label 0"].item())
    assert table["balanced_accuracy"].item() == table["label 1"].item() > READABLE


def test__group_leakage__a_label_with_too_few_rows_of_a_group_is_nan_and_left_out():
    Z, y, group = biased_rows()
    group[y == 0] = 0
    group[np.flatnonzero(y == 0)[:2]] = 1

    with pytest.warns(UndefinedMetricWarning, match="merge the small groups"):
        table = group_leakage(Z, y, sensitive_features=group, probes=["linear"], random_state=0)

    assert table["label 0"].isna().all()
    assert table["balanced_accuracy"].equals(table["label 1"].rename("balanced_accuracy"))


def test__group_leakage__is_nan_when_no_label_can_be_judged():
    with pytest.warns(UndefinedMetricWarning, match="NaN"):
        table = group_leakage(
            np.eye(4), [0, 0, 1, 1], sensitive_features=[0, 1, 0, 1], random_state=0
        )

    assert table["balanced_accuracy"].isna().all()
    assert table["standard_error"].isna().all()


@pytest.mark.parametrize("seed", range(5))
def test__group_leakage__holds_out_rows_of_every_cell_however_small(seed):
    Z, y, _ = biased_rows(n_rows=300)
    group = np.zeros(len(y), dtype=int)
    for label in (0, 1):
        group[np.flatnonzero(y == label)[:3]] = 1

    table = group_leakage(Z, y, sensitive_features=group, probes=["linear"], random_state=seed)

    assert table.notna().all(axis=None)


def test__group_leakage__handles_a_few_rows():
    Z, y, group = biased_rows(n_rows=40)

    table = group_leakage(Z, y, sensitive_features=group, random_state=0)

    assert table["balanced_accuracy"].between(0, 1).all()


def test__group_leakage__standard_error_matches_the_spread_over_independent_data():
    # Fresh data for every draw: both the spread and the estimate are of scores at chance.
    tables = [
        group_leakage(
            *biased_rows(seed, n_rows=400)[:2],
            sensitive_features=biased_rows(seed, n_rows=400)[2],
            probes=["linear"],
            random_state=seed,
        )
        for seed in range(40)
    ]
    spread = np.std([table["balanced_accuracy"].item() for table in tables])
    estimate = np.mean([table["standard_error"].item() for table in tables])

    assert spread == pytest.approx(estimate, rel=0.35)


def test__group_leakage__repeats_itself_and_leaves_the_global_state_alone():
    Z, y, group = biased_rows(n_rows=800)
    before = np.random.get_state()[1].copy()  # noqa: NPY002 - the state that must not move

    tables = [
        group_leakage(Z, y, sensitive_features=group, max_samples=200, random_state=3)
        for _ in range(2)
    ]

    pd.testing.assert_frame_equal(*tables)
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002


def test__group_leakage__a_probe_scores_the_same_whatever_probes_run_beside_it():
    Z, y, group = biased_rows(n_rows=800)

    alone = group_leakage(Z, y, sensitive_features=group, probes=["boosting"], random_state=3)
    beside = group_leakage(Z, y, sensitive_features=group, random_state=3)

    assert probe(alone, "boosting") == probe(beside, "boosting")


def test__group_leakage__max_samples_thins_large_groups_only():
    Z, y, _ = biased_rows()
    group = (np.arange(len(y)) % 40 == 0).astype(int)
    Z[:, 1] += 3 * group

    table = group_leakage(
        Z, y, sensitive_features=group, max_samples=100, probes=["linear"], random_state=0
    )

    assert probe(table, "linear") > READABLE


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"probes": ["linear", "tree"]}, r"probes=\['linear', 'tree'\].*'boosting'"),
        ({"probes": "linear"}, r"probes=\['linear', 'mlp'\]"),
        ({"probes": []}, r"one or more of"),
        ({"held_out": 1.5}, r"held_out is 1.5: expected a share between 0 and 1"),
        ({"held_out": [1, 2, 3]}, r"held_out is a list: .*tuple"),
        (
            {"held_out": (np.ones((4, 1)), [0, 0, 1, 1], [0, 1, 0, 1])},
            r"held_out has 1 components, but Z",
        ),
        (
            {"held_out": (np.ones((4, 4)), [0, 0, 1, 1], [[0, 1], [1, 0], [0, 1], [1, 0]])},
            r"held_out\[2\] has 2 column\(s\), but sensitive_features has 1",
        ),
        ({"probes": None}, r"probes=None: expected a list of one or more"),
        ({"probes": [["linear"]]}, r"expected a list of one or more"),
        ({"max_samples": "all"}, r"max_samples='all': expected a number of rows"),
        ({"max_samples": 20.5}, r"max_samples=20.5: expected a number of rows"),
        ({"max_samples": 1}, r"max_samples=1: .*None for all rows"),
        ({"sensitive_features": np.ones(60)}, r"one group \('1'\)"),
        ({"sensitive_features": np.arange(9) % 2}, "Z has 60 rows and sensitive_features has 9"),
        ({"y": [np.nan] + [1] * 59}, r"y has 1 missing value"),
        ({"Z": np.full((60, 2), np.inf)}, r"Z contains infinity"),
        (
            {"Z": pd.DataFrame(np.eye(60)), "sensitive_features": pd.Series([0, 1] * 30)[::-1]},
            r"sensitive_features has the index of Z in another order",
        ),
    ],
)
def test__group_leakage__says_what_is_wrong_with_its_input(arguments, message):
    Z, y, group = biased_rows(n_rows=60)
    given = {"Z": Z, "y": y, "sensitive_features": group} | arguments

    with pytest.raises(ValueError, match=message):
        group_leakage(given.pop("Z"), given.pop("y"), **given)


@pytest.mark.parametrize("scale", [1e300, 1e-300])
def test__group_leakage__is_that_of_any_scale(scale):
    Z, y, group = biased_rows(n_rows=200)
    arguments = {"sensitive_features": group, "probes": ["linear"], "random_state": 0}

    expected = group_leakage(Z, y, **arguments)

    pd.testing.assert_frame_equal(group_leakage(Z * scale, y, **arguments), expected)


def test___fit_balanced__repeats_small_groups_for_a_model_without_weights():
    features = np.array([[0.0], [0.1], [0.2], [5.0]])
    model = KNeighborsClassifier(n_neighbors=3)

    _fit_balanced(model, features, np.array([0, 0, 0, 1]))

    assert model.n_samples_fit_ == 6
    assert model.predict([[5.0]]) == [1]


def test__group_leakage__of_32_bits_is_not_compared_with_larger_numbers():
    Z, y, group = biased_rows(n_rows=60)

    table = group_leakage(  # silently: warnings are errors
        Z.astype(np.float32), y, sensitive_features=group, probes=["linear"], random_state=0
    )

    assert table["balanced_accuracy"].notna().all()
