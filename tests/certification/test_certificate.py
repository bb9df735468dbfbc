"""Certificates: their sentences, pictures and plans."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from skfairlatent.certification import certify_cells, required_rows

SHARES = [[0.3, 0.2], [0.1, 0.4]]


def certificate(n_rows=2000, confidence=0.95, **parameters):
    rng = np.random.default_rng(0)
    cells, y, group = rng.integers([[4], [2], [2]], size=(3, n_rows))
    names = np.array(["<men>", "women"])[group]
    return certify_cells(cells, y, sensitive_features=names, confidence=confidence, **parameters)


def test__str__says_who_what_and_how_sure():
    text = str(certificate(confidence=0.999))
    for part in ("99.9 %", "no classifier", "4 cells", "mean equalised odds", "2,000 rows"):
        assert part in text
    assert "99.9999999 %" in str(certificate(confidence=1 - 1e-9))  # never 100
    assert "demographic parity" in str(certificate(constraints="demographic_parity"))


def test__to_frame__has_the_certificate_and_every_label_and_pair():
    found = certificate()
    table = found.to_frame()
    assert len(table) == 3
    assert table.loc[0, "bound"] == found.bound
    assert (table["plug-in"] <= table["bound"]).all()
    assert table["rows"].tolist()[1:] == found.rows["<men>"].tolist()
    assert table["confidence"].eq(0.95).all()


def test__repr_html__escapes_the_names_of_groups():
    shown = certificate()._repr_html_()
    assert "<men>" not in shown
    assert "&lt;men&gt;" in shown


def test__advice__names_what_would_lower_the_bound():
    found = certificate(80)
    assert any("next to nothing" in each for each in found.advice())
    doubled = next(each for each in certificate().advice() if "Twice" in each)
    assert 0 < float(doubled.split()[-2]) < 0.02


@pytest.mark.parametrize("n_others", [100, 200])
def test__advice__a_gain_is_one_that_happens(n_others):
    counts = np.array([4000, 4000, n_others])

    def certified(counts):
        group = np.repeat(["a", "b", "c"], counts)
        chance = np.repeat([0.8, 0.2, 0.5], counts)
        rank = np.concatenate([np.arange(n) / n for n in counts])
        y = np.arange(counts.sum()) % 2
        return certify_cells(rank < chance, y, sensitive_features=group)

    found = certified(counts)
    label, group, gain = found.scarcest
    assert group in "ab"  # few rows of "c" cost nothing: it lies between the others
    doubled = counts * np.where(np.array(["a", "b", "c"]) == group, 2, 1)
    assert 0 < gain <= found.bound - certified(doubled).bound + 1e-3
    assert any(f"(label {label}, group {group})" in each for each in found.advice())
    assert not any("group c" in each for each in found.advice())


def test__str__a_bound_of_one_is_blamed_on_what_it_comes_from():
    y, group = np.random.default_rng(0).integers(2, size=(2, 4000))
    apart = certify_cells(group, y, sensitive_features=group)
    assert "the cells tell the groups apart, with a gap of 1.000 on these rows" in str(apart)
    assert "too few" not in " ".join([str(apart), *apart.advice()])
    assert any("no number of rows lowers that gap. Raise lambda_di" in x for x in apart.advice())
    cells = np.arange(16)  # as many as rows: they tell the groups apart by chance
    few = certify_cells(cells, y[:16], sensitive_features=group[:16])
    assert few.bound == 1
    assert "too few rows" in str(few)


def test__plot__says_how_many_lines_it_leaves_out():
    rng = np.random.default_rng(0)
    cells, y, group = rng.integers([[4], [2], [8]], size=(3, 2000))
    found = certify_cells(cells, y, sensitive_features=group)
    assert len(found.by_label) == 56
    axes = found.plot()
    assert len(axes.get_yticklabels()) == 21
    assert axes.get_title(loc="left").endswith("(the 20 largest bounds of 56)")
    plt.close("all")


def test__plot__draws_a_line_for_each_statement():
    axes = certificate().plot()
    assert axes.get_title(loc="left") == "Largest gap between groups"
    labels = [each.get_text().replace("\n", " ") for each in axes.get_yticklabels()]
    assert labels[0].startswith("any classifier")
    assert labels[1:] == ["label 0: <men>, women", "label 1: <men>, women"]
    given = plt.figure().add_subplot()
    assert certificate().plot(given) is given
    plt.close("all")


@pytest.mark.parametrize("shares", [SHARES, [0.5, 0.5], pd.DataFrame(SHARES), [[1, 9], [5, 5]]])
@pytest.mark.slow
def test__required_rows__more_for_a_lower_bound_and_more_cells(shares):
    few = required_rows(0.2, n_bins=2, group_shares=shares)
    assert few < required_rows(0.1, n_bins=2, group_shares=shares)
    assert few < required_rows(0.2, n_bins=16, group_shares=shares)
    assert few < required_rows(0.2, n_bins=2, group_shares=shares, gap=0.1)
    assert few < required_rows(0.2, n_bins=2, group_shares=shares, confidence=0.999)


def test__required_rows__are_enough():
    n_rows = required_rows(0.1, n_bins=4, group_shares=SHARES)
    rng = np.random.default_rng(1)
    bounds = []
    for _ in range(20):
        cell = rng.choice(4, n_rows, p=np.ravel(SHARES))
        found = certify_cells(rng.integers(4, size=n_rows), cell // 2, sensitive_features=cell % 2)
        bounds.append(found.bound)
    assert np.mean(bounds) == pytest.approx(0.1, abs=0.01)


@pytest.mark.parametrize(
    "changed",
    [
        {"bound": 1.0},
        {"bound": 0.1, "gap": 0.1},
        {"gap": -0.1},
        {"confidence": 95},
        {"n_bins": 1},
        {"group_shares": [1.0]},
        {"group_shares": [0.0, 1.0]},
        {"group_shares": "half"},
        {"bound": 1e-9},
    ],
)
def test__required_rows__bad_input_is_named(changed):
    given = {"bound": 0.1, "n_bins": 4, "group_shares": SHARES}
    with pytest.raises(ValueError, match="="):
        required_rows(**(given | changed))
