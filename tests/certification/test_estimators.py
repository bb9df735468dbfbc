"""Certificates of transformers, pipelines and classifiers."""

from copy import copy

import numpy as np
import pandas as pd
import pytest
from scipy.stats import ks_2samp
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import VotingClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import LabelEncoder, StandardScaler

from skfairlatent import FairLatentTransformer
from skfairlatent.certification import certify, certify_cells
from skfairlatent.datasets import make_biased_embeddings
from skfairlatent.exceptions import FairLatentWarning
from skfairlatent.metrics import equalized_odds_difference

N_FIT = 1500
QUICK = {
    "max_iter": 2,
    "hidden_features": 8,
    "label_scores": False,
    "random_state": 0,
    "device": "cpu",
}


@pytest.fixture(scope="module")
def parts():
    """Rows, labels and groups of fit, and others."""
    data = make_biased_embeddings(2 * N_FIT, n_features=6, random_state=0)
    each = (data.data, np.asarray(data.target), np.asarray(data.sensitive_features).ravel())
    return [part[:N_FIT] for part in each], [part[N_FIT:] for part in each]


@pytest.fixture(scope="module")
def fair(parts):
    X, y, s = parts[0]
    return FairLatentTransformer(n_bins=4, **QUICK).fit(X, y, sensitive_features=s)


@pytest.fixture(scope="module")
def uncut(parts):
    X, y, s = parts[0]
    return FairLatentTransformer(**QUICK).fit(X, y, sensitive_features=s)


def test__certify__any_classifier_on_the_cells_of_a_transformer(parts, fair):
    X, y, s = parts[1]
    found = certify(fair, X, y, sensitive_features=s, probe_rows=tuple(parts[0]))
    expected = certify_cells(fair.transform(X), y, sensitive_features=s)
    assert found.bound == expected.bound
    assert 0 <= found.lower <= found.plug_in <= found.bound
    assert found.n_cells == 4


def test__certify__pipeline_is_certified_by_what_its_classifier_sees(parts, fair):
    X, y, s = parts[0]
    scale = StandardScaler().fit(X)
    inner = clone(fair).fit(scale.transform(X), y, sensitive_features=s)
    pipe = make_pipeline(scale, inner, LogisticRegression().fit(inner.transform(X), y))
    X, y, s = parts[1]
    found = certify(pipe, X, y, sensitive_features=s)
    alone = certify(inner, scale.transform(X), y, sensitive_features=s)
    assert found.bound == alone.bound
    assert alone.lower is None
    decided = pipe.predict(X)
    gap = equalized_odds_difference(y, decided, agg="mean", sensitive_features=s)
    assert 0 < found.lower < gap <= found.plug_in
    probed = certify(pipe, X, y, sensitive_features=s, probe_rows=tuple(parts[0]))
    assert probed.lower != found.lower


def test__certify__score_is_certified_at_every_threshold(parts, uncut):
    X, y, s = parts[1]
    for model in (
        LogisticRegression().fit(*parts[0][:2]),
        make_pipeline(uncut, LogisticRegression().fit(uncut.transform(parts[0][0]), parts[0][1])),
    ):
        found = certify(model, X, y, sensitive_features=s)
        score = model.decision_function(X)
        for label, gap in zip((0, 1), found.by_label["plug-in"], strict=True):
            rows = y == label
            assert gap == pytest.approx(
                ks_2samp(score[rows & (s == 0)], score[rows & (s == 1)]).statistic
            )
        assert found.plug_in <= found.by_label["plug-in"].mean() + 1e-12
        assert found.n_cells is None


def test__certify__classifier_that_sees_more_than_cells_is_certified_by_its_score(parts, fair):
    X, y, _ = parts[0]
    union = make_union(FrozenEstimator(fair), StandardScaler()).fit(X)
    model = make_pipeline(union, LogisticRegression().fit(union.transform(X), y))
    X, y, s = parts[1]
    assert certify(model, X, y, sensitive_features=s).n_cells is None
    with pytest.raises(ValueError, match="all that a classifier sees"):
        certify(union, X, y, sensitive_features=s)


def test__certify__rows_of_fit_are_warned_of(parts, fair, uncut):
    X, y, s = parts[0]
    with pytest.warns(FairLatentWarning, match="100% of the rows of X were rows of fit"):
        found = certify(fair, X, y, sensitive_features=s)
    assert str(found).startswith("No bound: about 100% of the ")
    assert found.bound == 1
    assert (found.to_frame()["bound"] == 1).all()
    assert found.advice() == ["Certify rows that no fit, early stopping or search saw."]
    classifier = LogisticRegression().fit(uncut.transform(X), y)
    with pytest.warns(FairLatentWarning, match="100% of the rows of X were rows of fit"):
        certify(make_pipeline(uncut, classifier), X, y, sensitive_features=s)


@pytest.mark.parametrize("form", ["bool", "float", "str", "frame"])
def test__certify__labels_and_groups_of_other_types_are_the_same(parts, fair, form):
    X, y, s = parts[1]
    expected = certify(fair, X, y, sensitive_features=s, probe_rows=tuple(parts[0]))
    as_form = pd.DataFrame if form == "frame" else (lambda values: values.astype(form))
    X_fit, *of_fit = parts[0]
    probe_rows = (X_fit, *map(as_form, of_fit))
    found = certify(fair, X, as_form(y), sensitive_features=s, probe_rows=probe_rows)
    assert found.to_frame().equals(expected.to_frame())


def test__certify__demographic_parity_needs_no_labels(parts, fair, uncut):
    X, y, s = parts[1]
    classifier = LogisticRegression().fit(uncut.transform(parts[0][0]), parts[0][1])
    given = {"sensitive_features": s, "constraints": "demographic_parity"}
    for model in (fair, make_pipeline(uncut, classifier)):
        assert certify(model, X, None, **given).bound == certify(model, X, y, **given).bound


def test__certify__continuous_block_asks_for_n_bins(parts, uncut):
    X, y, s = parts[1]
    with pytest.raises(ValueError, match="set n_bins"):
        certify(uncut, X, y, sensitive_features=s)


def test__certify__full_output_has_no_bound(parts, fair):
    X, y, s = parts[1]
    full = clone(fair).set_params(output="full").fit(X, y, sensitive_features=s)
    with pytest.raises(ValueError, match="beside the cells"):
        certify(full, X, y, sensitive_features=s)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda X, y, s: (X, y + 1, s), "labels that fit did not see: 2"),
        (lambda X, y, s: (X, 0 * y, s), "no rows of 1, labels of fit"),
        (lambda X, y, s: (X, np.column_stack([y, y]), s), r"2 label column\(s\)"),
        (lambda X, y, s: (X, y, 0 * s), "one group only"),
        (lambda X, y, s: (X * np.nan, y, s), "NaN"),
        (lambda X, y, s: (X, y[1:], s), "inconsistent"),
        (lambda X, y, s: (pd.DataFrame(X), pd.Series(y)[::-1], s), "in another order"),
        (lambda X, y, s: (X[:0], y[:0], s[:0]), "0 rows"),
    ],
)
def test__certify__bad_rows_are_named(parts, fair, change, message):
    X, y, s = change(*parts[1])
    with pytest.raises(ValueError, match=message):
        certify(fair, X, y, sensitive_features=s)


def test__certify__what_neither_has_cells_nor_decides_is_refused(parts):
    X, y, s = parts[1]
    with pytest.raises(TypeError, match="has no FairLatentTransformer"):
        certify(StandardScaler().fit(X), X, y, sensitive_features=s)
    three = LogisticRegression().fit(X, np.arange(len(X)) % 3)
    with pytest.raises(ValueError, match="more than two classes"):
        certify(three, X, np.arange(len(X)) % 3, sensitive_features=s)


@pytest.mark.parametrize("shuffled", [False, True])
def test__certify__rows_to_probe_are_others(parts, fair, shuffled):
    X, y, s = parts[1]
    order = np.random.default_rng(0).permutation(len(X)) if shuffled else slice(None)
    same = tuple(each[order] for each in parts[1])
    message = "About 100% of the rows of X are rows of" if shuffled else "probe_rows has the X"
    with pytest.raises(ValueError, match=message):
        certify(fair, X, y, sensitive_features=s, probe_rows=same)
    classifier = LogisticRegression().fit(*parts[0][:2])
    with pytest.raises(ValueError, match="probe_rows has the X, labels and groups that are cert"):
        certify(classifier, X, y, sensitive_features=s, probe_rows=tuple(parts[1]))


def bound_of(model, X, y, s, **options):
    found = certify(model, X, y, sensitive_features=s, **options)
    return found.bound, int(found.rows.to_numpy().sum()), found.seen_share


@pytest.mark.parametrize("constraints", ["equalized_odds", "demographic_parity"])
def test__certify__a_row_that_is_repeated_counts_once(parts, fair, uncut, constraints):
    rows = [each[:400] for each in parts[1]]
    again = np.concatenate([np.arange(400), np.random.default_rng(0).integers(400, size=1600)])
    repeated = [each[again] for each in rows]
    Z = uncut.transform(parts[0][0])
    pipe = make_pipeline(uncut, LogisticRegression().fit(Z, parts[0][1]))
    plain = LogisticRegression().fit(*parts[0][:2])
    for model in (fair, pipe, plain):
        once = bound_of(model, *rows, constraints=constraints)
        assert once == bound_of(model, *repeated, constraints=constraints)


def binary_rows(n_rows, seed):
    """Return rows of which some are equal, though they are of different people."""
    rng = np.random.default_rng(seed)
    X, s = (rng.random((n_rows, 12)) < 0.3).astype(float), rng.integers(2, size=n_rows)
    return X, (X[:, :3].sum(axis=1) + rng.normal(size=n_rows) > 1.2).astype(int), s


@pytest.mark.parametrize("constraints", ["equalized_odds", "demographic_parity"])
def test__certify__equal_rows_of_different_people_all_count(constraints):
    X, y, s = binary_rows(2000, 0)
    model, s = LogisticRegression().fit(X, y), X[:, 0]  # the group is a column
    for labels in [y, None][: 1 + (constraints == "demographic_parity")]:
        assert bound_of(model, X, labels, s, constraints=constraints)[1] == 2000


def test__certify__other_people_are_no_rows_of_a_fit_without_duplicates():
    X, y, s = binary_rows(3000, 0)
    kept = np.unique(X, axis=0, return_index=True)[1]
    fair = FairLatentTransformer(n_bins=4, **QUICK)
    fair.fit(X[kept], y[kept], sensitive_features=s[kept])
    assert bound_of(fair, *binary_rows(3000, 1))[2] == 0.0
    with pytest.warns(FairLatentWarning, match="were rows of fit"):
        certify(fair, X[kept], y[kept], sensitive_features=s[kept])


def test__certify__rows_of_fit_that_are_repeated_are_warned_of(parts, fair):
    X, y, s = (each[np.random.default_rng(0).integers(N_FIT, size=N_FIT)] for each in parts[0])
    with pytest.warns(FairLatentWarning, match="About 100% of the rows of X were rows of fit"):
        certify(fair, X, y, sensitive_features=s)


def calibrated(models, X, y):
    """Return what CalibratedClassifierCV makes of models that were fitted on folds."""
    found = CalibratedClassifierCV(FrozenEstimator(models[0])).fit(X, y)
    one = found.calibrated_classifiers_[0]
    found.calibrated_classifiers_ = [copy(one) for _ in models]
    for each, model in zip(found.calibrated_classifiers_, models, strict=True):
        each.estimator = model
    return found


@pytest.mark.parametrize("n_bins", [None, 4])
def test__certify__an_ensemble_is_certified_by_its_own_score(parts, n_bins):
    X, y, s = parts[0]
    folds = [slice(0, 700), slice(700, N_FIT)]
    models = []
    for rows in folds:
        fair = FairLatentTransformer(n_bins=n_bins, **QUICK)
        Z = fair.fit_transform(X[rows], y[rows], sensitive_features=s[rows])
        models.append(make_pipeline(fair, LogisticRegression().fit(Z, y[rows])))
    model = calibrated(models, X[:200], y[:200])
    with pytest.warns(FairLatentWarning, match="of the rows of X were rows of fit"):
        assert certify(model, X, y, sensitive_features=s).seen_share > 0.4
    X, y, s = parts[1]
    found = certify(model, X, y, sensitive_features=s)
    assert found.n_cells is None
    for label, gap in zip((0, 1), found.by_label["plug-in"], strict=True):
        samples = [model.predict_proba(X[(y == label) & (s == g)])[:, 1] for g in (0, 1)]
        assert gap == pytest.approx(ks_2samp(*samples).statistic)
    votes = VotingClassifier([("a", models[0]), ("b", models[1])])
    votes.estimators_, votes.classes_, votes.le_ = models, np.array([0, 1]), LabelEncoder().fit(y)
    with pytest.raises(TypeError, match=r"certify_cells\(estimator.predict\(X\), y"):
        certify(votes, X, y, sensitive_features=s)
    assert certify_cells(votes.predict(X), y, sensitive_features=s).n_cells == 2
