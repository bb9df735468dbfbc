"""Repetitions of a row are told from equal rows of different people."""

import warnings

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from skfairlatent import FairLatentTransformer
from skfairlatent._inputs import folds as cross_fitting
from skfairlatent._inputs.repeats import certain_repetitions, distinct_rows
from skfairlatent.certification import certify
from skfairlatent.diagnostics import diagnose
from skfairlatent.exceptions import FairLatentWarning


def _drawn_by_code(n_codes, seed, n=6000):
    """Return codes, labels that depend on the code only, and groups."""
    rng = np.random.RandomState(seed)
    codes = rng.randint(n_codes, size=n)
    y = np.random.RandomState(7).permutation(n_codes)[codes] % 2
    return codes, y, (rng.rand(n) < 0.3 + 0.4 * (codes < n_codes / 2)).astype(int)


def _oversampled(y, seed=0):
    """Return the rows as imblearn's RandomOverSampler does: those with a label of 1 more often."""
    drawn = np.random.default_rng(seed).choice(np.flatnonzero(y), len(y) - 2 * y.sum())
    return np.append(np.arange(len(y)), drawn)


@pytest.mark.parametrize("n_rows", [1200, 6000])
def test__one_hot_codes__that_tell_the_label_are_those_of_different_people(n_rows):
    codes, y, groups = _drawn_by_code(120, 0, n_rows)
    new, y_new, _ = _drawn_by_code(120, 1)
    one_hot = np.eye(120)
    fair = FairLatentTransformer(None, random_state=0)
    Z = fair.fit_transform(one_hot[codes], y, sensitive_features=groups)
    model = LogisticRegression().fit(Z, y)
    # 0.0 if each code is scored by a model that does not know it.
    assert model.score(fair.transform(one_hot[new]), y_new) > 0.9


def test__repeated_rows__of_which_others_tell_nothing_have_no_scores():
    codes, y, groups = _drawn_by_code(200, 0)
    features = np.random.RandomState(3).randn(200, 16)
    fair = FairLatentTransformer(None, max_iter=1, random_state=0)
    fair.fit(features[codes], y, sensitive_features=groups)
    assert fair.label_scores_ is None
    fair.set_params(label_scores=True)
    with pytest.raises(ValueError, match=r"5800 rows of X repeat others.*label_scores='auto'"):
        fair.fit(features[codes], y, sensitive_features=groups)


@pytest.mark.parametrize("n_distinct", [4, 400])
def test__equal_rows_of_different_people__are_scored_by_models_that_know_such_rows(n_distinct):
    """As in a table of two columns, or of codes: a model that knows no row with a code is lost."""
    rng = np.random.default_rng(0)
    codes = rng.integers(0, n_distinct, 30 * n_distinct)
    y = (rng.random(len(codes)) < rng.random(n_distinct)[codes]).astype(int)
    distinct = distinct_rows(codes[:, None].astype(float), y[:, None])
    for training, _ in cross_fitting.folds(y, distinct):
        assert len(np.unique(codes[training])) == n_distinct


def test__repetitions__are_known_beside_people_without_a_record():
    rng = np.random.default_rng(1)
    rows = np.repeat(np.arange(300), 10)
    x = np.vstack([rng.normal(size=(300, 5))[rows], np.zeros((450, 5))])
    labels = np.append(rng.integers(0, 2, 300)[rows], rng.integers(0, 2, 450))
    distinct = distinct_rows(x, labels[:, None])
    np.testing.assert_array_equal(distinct.of_row[:3000], rows)
    assert len(distinct.first) == 750


@pytest.mark.parametrize("conflict", [False, True])
def test__oversampled_rows__are_known_beside_a_pair_of_people_of_other_labels(conflict):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1000, 30))
    y = (x[:, 0] + 2 * rng.normal(size=1000) > 3).astype(int)
    if conflict:
        x[np.flatnonzero(y == 0)[0]] = x[np.flatnonzero(y)[0]]
    rows = _oversampled(y)
    assert len(distinct_rows(x[rows], y[rows, None]).first) == 1000 - conflict


def test__oversampled_rows__of_a_rare_label_are_known_in_a_table_of_codes():
    """Each of the 12 people is there about 165 times."""
    rng = np.random.default_rng(0)
    x = rng.integers(0, 3, (2000, 12)).astype(float)
    y = np.zeros(2000, int)
    y[:12] = 1
    rows = _oversampled(y)
    distinct = distinct_rows(x[rows], y[rows, None])
    assert len(np.unique(distinct.of_row[y[rows] == 1])) == 12


def test__few_rows__repeated_are_known_by_columns_in_which_people_are_hardly_equal():
    rng = np.random.default_rng(0)
    x, groups = rng.normal(size=(90, 20)), rng.integers(0, 2, 90)
    y = (0.5 * x[:, 0] + rng.normal(size=90) > 0).astype(int)
    rows = np.repeat(np.arange(90), 10)
    assert len(distinct_rows(x[rows], y[rows, None]).first) == 90
    fair = FairLatentTransformer(None, random_state=0)
    Z = fair.fit_transform(x[rows], y[rows], sensitive_features=groups[rows])
    found = LogisticRegression().fit(Z, y[rows]).predict_proba(Z)
    # 0.47; of 900 people, 0.001: the label of each was learnt by heart.
    assert log_loss(y[rows], found) > 0.3


@pytest.mark.parametrize("columns", ["floats", "one float beside codes"])
@pytest.mark.parametrize("n_times", [19, 20, 25, 60])
def test__rows_repeated_often__are_certain_repetitions(columns, n_times):
    rng = np.random.default_rng(0)
    x, codes = rng.normal(size=(300, 6)), rng.integers(0, 2, (300, 2))
    if columns != "floats":
        x[:, 1:] = rng.integers(0, 3, (300, 5))
    rows = np.repeat(np.arange(300), n_times)
    for found in (certain_repetitions(x[rows]), certain_repetitions(x[rows], codes[rows])):
        np.testing.assert_array_equal(found.of_row, rows)


def test__a_row_repeated_somewhat_more_often_than_others__is_a_certain_repetition():
    rows = np.repeat(np.arange(300), np.where(np.arange(300) == 7, 20, 15))
    x = np.random.default_rng(0).normal(size=(300, 6))
    np.testing.assert_array_equal(certain_repetitions(x[rows]).of_row, rows)


@pytest.mark.parametrize("share", [0.00125, 0.1, 0.9])
@pytest.mark.parametrize("n_times", [1, 25])
def test__people_without_a_record__are_no_certain_repetitions(share, n_times):
    """Nor do they hide the repetitions of others, if their labels and groups are known."""
    rng = np.random.default_rng(0)
    rows, n = np.repeat(np.arange(20_000 // n_times), n_times), 20_000
    x, codes = rng.normal(size=(n, 6))[rows], rng.integers(0, 2, (n, 2))[rows]
    n_without, n_others = round(share * n), n - round(share * n)
    x[n_others:] = x[:n_others].mean(axis=0)
    codes[n_others:] = rng.integers(0, 2, (n_without, 2))
    assert len(certain_repetitions(x, codes).first) == len(np.unique(rows[:n_others])) + n_without
    if n_times == 1:
        assert len(certain_repetitions(x).first) == n


@pytest.mark.parametrize("share", [0.5, 0.01])
def test__many_people_of_each_code__are_no_certain_repetitions(share):
    """Of a rare label and group, most codes have none."""
    rng = np.random.default_rng(0)
    rows = rng.integers(0, 100, 4000)
    codes = (rng.random((4000, 2)) < share).astype(int)
    for n_columns in (1, 16):
        x = rng.normal(size=(100, n_columns))[rows]
        assert len(certain_repetitions(x, codes).first) == 4000


@pytest.mark.parametrize("n_times", [4, 10, 40])
def test__few_rows__are_known_by_two_columns_however_few(n_times):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(25, 30)), rng.integers(0, 2, 25)
    rows = np.repeat(np.arange(25), n_times)
    np.testing.assert_array_equal(distinct_rows(x[rows], y[rows, None]).of_row, rows)
    fair = FairLatentTransformer(None, max_iter=1, random_state=0)
    fair.fit(x[rows], y[rows], sensitive_features=rows % 2)
    assert fair.label_scores_ is None


@pytest.mark.parametrize("n_rows", [30, 200])
def test__two_rows_of_a_rare_label__are_known_though_they_are_half_of_the_table(n_rows):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(n_rows, 30)), (np.arange(n_rows) < 2).astype(int)
    rows = _oversampled(y)
    np.testing.assert_array_equal(distinct_rows(x[rows], y[rows, None]).of_row, rows)


def test__people_without_a_record__are_people_though_they_have_one_label():
    """Beside two rows of the other label that were repeated often."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(400, 30)), (np.arange(400) < 2).astype(int)
    x[200:] = 0
    rows = np.append(np.arange(400), np.repeat([0, 1], 40))
    assert len(distinct_rows(x[rows], y[rows, None]).first) == 400


@pytest.mark.parametrize("n_codes", [12, 100])
def test__people_of_each_code__are_people_if_a_label_is_rare(n_codes):
    """Of some codes nobody has it: 535 of the 720 people of 12 codes, 4,069 of 6,000 of 100."""
    rng = np.random.default_rng(0)
    codes = rng.integers(0, n_codes, 60 * n_codes)
    x, y = rng.normal(size=(n_codes, 16)), (rng.random(len(codes)) < 0.01).astype(int)
    assert len(distinct_rows(x[codes], y[:, None]).first) == len(codes)


@pytest.mark.parametrize("drawn", ["repeated", "bootstrap"])
def test__rows_of_fit__are_found_again_though_they_were_repeated(drawn):
    rng = np.random.default_rng(0)
    x, y, groups = rng.normal(size=(1000, 10)), rng.integers(0, 2, 1000), rng.integers(0, 2, 1000)
    rows = np.repeat(np.arange(1000), 2) if drawn == "repeated" else rng.integers(0, 1000, 1000)
    fair = FairLatentTransformer(None, n_bins=4, max_iter=1, random_state=0)
    fair.fit(x[rows], y[rows], sensitive_features=groups[rows])
    with pytest.warns(FairLatentWarning, match="were rows of fit"):
        certify(fair, x, y, sensitive_features=groups)


@pytest.mark.parametrize("n_times", [2, 25])
def test__rows_of_fit__are_found_again_if_they_are_repeated_to_certify(n_times):
    rng = np.random.default_rng(0)
    x, y, groups = rng.normal(size=(1000, 6)), rng.integers(0, 2, 1000), rng.integers(0, 2, 1000)
    fair = FairLatentTransformer(None, n_bins=4, max_iter=1, random_state=0)
    fair.fit(x, y, sensitive_features=groups)
    rows = np.repeat(np.arange(300), n_times)
    with pytest.warns(FairLatentWarning, match="were rows of fit"):
        certify(fair, x[rows], y[rows], sensitive_features=groups[rows])


@pytest.mark.parametrize("constraints", ["equalized_odds", "demographic_parity"])
@pytest.mark.parametrize("n_times", [2, 25])
def test__certify__warns_that_rows_repeat_others(constraints, n_times):
    rng = np.random.default_rng(0)
    x, y, groups = rng.normal(size=(1600, 6)), rng.integers(0, 2, 1600), rng.integers(0, 2, 1600)
    fair = FairLatentTransformer(None, n_bins=4, max_iter=1, random_state=0)
    fair.fit(x[:1000], y[:1000], sensitive_features=groups[:1000])
    once, rows = np.arange(1000, 1600), np.repeat(np.arange(1000, 1600), n_times)
    told = rf"{len(rows) - 600:,} of the {len(rows):,} rows repeat others.*pass one row of each"
    with pytest.warns(FairLatentWarning, match=told):
        certificate = certify(
            fair, x[rows], y[rows], sensitive_features=groups[rows], constraints=constraints
        )
    assert certificate.rows.to_numpy().sum() == len(rows)  # the count is as it was
    for few in (once, np.append(once, [1000, 1001])):
        certify(fair, x[few], y[few], sensitive_features=groups[few])


def _households(n, share, seed):
    """Return rows of people who share them with their household, and its group, but not labels."""
    rng = np.random.default_rng(seed)
    of = np.repeat(np.arange(n), rng.integers(1, 5, n))
    y = (rng.random(len(of)) < share).astype(int)
    return rng.normal(size=(n, 6))[of], y, rng.integers(0, 2, n)[of]


@pytest.mark.parametrize("share", [0.2, 0.01])
@pytest.mark.parametrize("constraints", ["demographic_parity", "equalized_odds"])
def test__certify__warns_of_rows_of_one_person_or_household_whatever_their_labels(
    share, constraints
):
    """They are not drawn by themselves: all of them are in one cell, and of one group."""
    fair = FairLatentTransformer(None, n_bins=4, max_iter=5, random_state=0)
    X, y, s = _households(2500, share, 1)
    fair.fit(X, y, sensitive_features=s)
    with pytest.warns(FairLatentWarning, match="were rows of fit"):
        certify(fair, X, y, sensitive_features=s, constraints=constraints)
    X, y, s = _households(2500, share, 2)
    with pytest.warns(FairLatentWarning, match="repeat others in every column.*one row of each"):
        certify(fair, X, y, sensitive_features=s, constraints=constraints)


def test__certify__takes_people_of_an_area_for_people(recwarn):
    """Those of an area share all features, but not the group."""
    rng = np.random.default_rng(0)
    areas = rng.normal(size=(100, 6))
    y, s, of = rng.integers(0, 2, 6000), rng.integers(0, 2, 6000), rng.integers(0, 100, 6000)
    X = areas[of]
    fair = FairLatentTransformer(None, n_bins=4, max_iter=5, random_state=0)
    fair.fit(X[:3000], y[:3000], sensitive_features=s[:3000])
    recwarn.clear()
    certify(fair, X[3000:], y[3000:], sensitive_features=s[3000:])
    assert not [each for each in recwarn if "rows" in str(each.message)]


def _panel(n, n_times, seed, n_features=6):
    """Return several rows of each person, with a label each, and a group that X does not tell."""
    rng = np.random.default_rng(seed)
    of = np.repeat(np.arange(n), n_times)
    X, s = rng.normal(size=(n, n_features))[of], rng.integers(0, 2, n)[of]
    score = 1.5 * X[:, 0] + X[:, 1] + 2 * rng.normal(size=n)[of]
    return X, (score + rng.logistic(size=len(X)) > 0).astype(int), s


def test__rows_of_one_person__with_different_labels_are_not_learnt_by_heart():
    X, y, s = _panel(300, 10, 0, 30)
    assert len(distinct_rows(X, y[:, None], s[:, None]).first) == 300
    assert len(distinct_rows(X, y[:, None]).first) == 3000  # without groups, people of an area
    new, y_new, _ = _panel(2000, 1, 1, 30)
    fair = FairLatentTransformer(None, random_state=0)
    Z = fair.fit_transform(X, y, sensitive_features=s)
    model = LogisticRegression().fit(Z, y)
    # 0.609; as rows of 3,000 people, 0.644; of the features, 0.615.
    assert log_loss(y_new, model.predict_proba(fair.transform(new))) < 0.63


def test__diagnose__finds_no_leak_in_rows_of_people_that_it_knows_again():
    X, y, s = _panel(2000, 1, 0)
    fair = FairLatentTransformer(None, random_state=0).fit(X, y, sensitive_features=s)
    X, y, s = _panel(400, 10, 7)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the plateau
        found = diagnose(fair, X, y, sensitive_features=s, random_state=0)
    assert found.leakage["balanced_accuracy"].max() < 0.58  # 0.82 with all rows


def _rated(n, n_times, noise, seed):
    """Return rows of raters, who see other labels in an image, and now and then another group."""
    X, y, s = _panel(n, n_times, seed, 12)
    other = np.random.default_rng(seed + 100).random(len(s)) < noise
    return X, y, np.where(other, 1 - s, s)


@pytest.mark.parametrize("noise", [0.03, 0.05])
@pytest.mark.parametrize("n_times", [6, 30])
def test__rows_of_one_image__are_its_repetitions_though_a_few_raters_see_another_group(
    n_times, noise
):
    X, y, s = _rated(200, n_times, noise, 0)
    assert len(certain_repetitions(X, s[:, None]).first) == 200
    assert len(distinct_rows(X, y[:, None], s[:, None]).first) == 200
    areas = np.random.default_rng(1).integers(0, 2, len(X))  # people of whom all columns are equal
    assert len(certain_repetitions(X, areas[:, None]).first) == len(X)


@pytest.mark.parametrize("n_times", [6, 30])
def test__rows_of_one_image__may_differ_in_a_group_of_the_rater(n_times):
    X, y, s = _rated(200, n_times, 0, 0)
    groups = np.column_stack([s, np.random.default_rng(1).integers(0, 2, len(s))])
    assert len(certain_repetitions(X, groups).first) == 200
    assert len(distinct_rows(X, y[:, None], groups).first) == 200


def test__rows_of_one_image__are_not_learnt_by_heart_though_a_few_raters_see_another_group():
    X, y, s = _rated(300, 10, 0.03, 0)
    new, y_new, _ = _panel(2000, 1, 1, 12)
    fair = FairLatentTransformer(None, lambda_di=0, random_state=0)
    Z = fair.fit_transform(X, y, sensitive_features=s)
    model = LogisticRegression().fit(Z, y)
    found = log_loss(y_new, model.predict_proba(fair.transform(new))[:, 1])
    line = LogisticRegression().fit(X, y).predict_proba(new)[:, 1]
    assert found < log_loss(y_new, line) + 0.02


def _coded(n, seed, n_columns=15):
    """Return people of codes only, all of them different, with labels and groups."""
    rng = np.random.default_rng(seed)
    X, s = rng.integers(0, 4, (n, n_columns)).astype(float), rng.integers(0, 2, n)
    return X, (X[:, :6].sum(axis=1) + s + 2 * rng.normal(size=n) > 9.5).astype(int), s


def _weighted(n, seed):
    return np.repeat(np.arange(n), np.random.default_rng(seed).integers(2, 5, n))


def _drawn(n, seed):
    return np.random.default_rng(seed).integers(0, n, n)


@pytest.mark.parametrize("draw", [_weighted, _drawn])
def test__rows_of_codes__repeated_are_known_by_that_nobody_is_nearly_equal(draw):
    X, _, s = _coded(800, 0)
    rows = draw(800, 1)
    labels = np.random.default_rng(2).integers(0, 2, (len(rows), 1))  # of several years
    n_people = len(np.unique(rows))
    assert len(certain_repetitions(X[rows], s[rows, None]).first) == n_people
    assert len(distinct_rows(X[rows], labels, s[rows, None]).first) == n_people


@pytest.mark.parametrize(("n_columns", "n_rows"), [(6, 2000), (8, 5000), (12, 100_000)])
def test__people_of_few_codes__are_no_repetitions_though_many_are_equal(n_columns, n_rows):
    X, _, s = _coded(n_rows, 0, n_columns)
    for codes in (s[:, None], np.zeros((n_rows, 0), dtype=int)):
        assert len(certain_repetitions(X, codes).first) == n_rows


@pytest.mark.parametrize("asked", ["once", "all"])
@pytest.mark.parametrize("draw", [_weighted, _drawn])
def test__rows_of_fit__of_codes_are_found_again_though_they_were_repeated(draw, asked):
    X, y, s = _coded(800, 0)
    rows = draw(800, 1)
    fair = FairLatentTransformer(None, n_bins=4, max_iter=1, random_state=0)
    fair.fit(X[rows], y[rows], sensitive_features=s[rows])
    again = np.unique(rows) if asked == "once" else rows
    with pytest.warns(FairLatentWarning, match="About 100% of the rows of X were rows of fit"):
        certify(fair, X[again], y[again], sensitive_features=s[again])
    X, y, s = _coded(800, 3)
    assert certify(fair, X, y, sensitive_features=s).seen_share == 0


@pytest.mark.parametrize("asked", ["once", "all"])
def test__rows_of_fit__are_found_again_though_raters_see_other_groups(asked):
    X, y, s = _rated(400, 6, 0.05, 0)
    fair = FairLatentTransformer(None, n_bins=4, max_iter=1, random_state=0)
    fair.fit(X, y, sensitive_features=s)
    again = slice(None, None, 6 if asked == "once" else 1)
    with pytest.warns(FairLatentWarning, match="About 100% of the rows of X were rows of fit"):
        certify(fair, X[again], y[again], sensitive_features=s[again])


def test__rows_to_probe__that_were_repeated_are_found_in_those_to_certify():
    X, y, s = _coded(800, 0)
    fair = FairLatentTransformer(None, n_bins=4, max_iter=1, random_state=0)
    fair.fit(X, y, sensitive_features=s)
    X, y, s = _coded(800, 3)
    rows = _weighted(800, 1)
    with pytest.raises(ValueError, match="rows of X are rows of probe_rows"):
        certify(fair, X, y, sensitive_features=s, probe_rows=(X[rows], y[rows], s[rows]))


def test__certify__warns_of_uneven_weights_of_people_told_by_one_column():
    rng = np.random.default_rng(0)
    X, s = rng.integers(0, 3, (400, 9)).astype(float), rng.integers(0, 2, 400)
    X[:, 0] = rng.lognormal(10, 0.8, 400)
    y = (X[:, 1:5].sum(axis=1) + s + rng.normal(size=400) > 4.5).astype(int)
    fair = FairLatentTransformer(None, n_bins=4, max_iter=1, random_state=0)
    fair.fit(X[:300], y[:300], sensitive_features=s[:300])
    rows = np.repeat(np.arange(300, 400), rng.integers(20, 41, 100))
    told = rf"{len(rows) - 100:,} of the {len(rows):,} rows repeat others"
    with pytest.warns(FairLatentWarning, match=told):
        certify(fair, X[rows], y[rows], sensitive_features=s[rows])


def _survey(n, seed):
    """Return rows of a few columns, some of them equal, with a label that they determine."""
    rng = np.random.default_rng(seed)
    groups, children = rng.integers(0, 2, n), rng.integers(0, 3, n)
    age = np.clip(np.round(rng.normal(40 + 4 * groups, 12, n)), 18, 90)
    debt = np.round(np.maximum(rng.normal(10 - 2 * groups, 6, n), 0))
    y = (age - 2 * debt + 4 * children > 26).astype(int)
    return np.column_stack([age, debt, children, groups]), y, groups


def test__honest_rows__of_a_survey_whose_label_is_determined_are_no_rows_of_fit():
    X, y, groups = _survey(2000, 0)
    new, y_new, groups_new = _survey(2000, 1)
    fair = FairLatentTransformer(None, n_bins=4, max_iter=1, random_state=0)
    fair.fit(X, y, sensitive_features=groups)
    certificate = certify(fair, new, y_new, sensitive_features=groups_new)
    assert certificate.seen_share == 0
    assert certificate.rows.to_numpy().sum() == 2000  # equal people are people
    with pytest.warns(FairLatentWarning, match="were rows of fit"):
        certify(fair, X, y, sensitive_features=groups)


@pytest.mark.parametrize("n_twice", [4, 80])
def test__a_few_rows_twice__do_not_switch_scores_off(n_twice):
    rng = np.random.default_rng(0)
    x, groups = rng.normal(size=(1500, 8)), rng.integers(0, 2, 1500)
    y = (np.sin(2 * x[:, 0]) + x[:, 1] + 0.5 * rng.logistic(size=1500) > 0).astype(int)
    rows = np.append(np.arange(1500), np.arange(n_twice))
    fair = FairLatentTransformer(None, label_scores=True, max_iter=1, random_state=0)
    fair.fit(x[rows], y[rows], sensitive_features=groups[rows])
    assert fair.label_scores_ is not None


def test__seconds_since_1970__are_told_apart():
    rng = np.random.default_rng(0)
    x = np.column_stack([1.76e9 + np.arange(0, 86400, 29), rng.integers(0, 2, 2980)])
    y = x[:, :1] > 1.76e9 + 43200
    for found in (certain_repetitions(x), distinct_rows(x, y.astype(int))):
        assert len(found.first) == 2980  # about 1,200 in single precision
