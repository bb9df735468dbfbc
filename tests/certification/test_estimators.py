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
    message = "100% of the rows of X are rows" if shuffled else "has the X, labels and groups"
    with pytest.raises(ValueError, match=message):
        certify(fair, X, y, sensitive_features=s, probe_rows=same)
    classifier = LogisticRegression().fit(*parts[0][:2])
    with pytest.raises(ValueError, match="probe_rows has the X, labels and groups that are cert"):
        certify(classifier, X, y, sensitive_features=s, probe_rows=tuple(parts[1]))


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
