"""One finder of the transformer, wherever scikit-learn lets it stand."""

import re

import numpy as np
import pytest
import sklearn
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import BaggingClassifier, VotingClassifier
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    FixedThresholdClassifier,
    GridSearchCV,
    TunedThresholdClassifierCV,
)
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from skfairlatent import FairLatentTransformer
from skfairlatent._find_transformer import (
    UntracedError,
    chain,
    embeddings_of,
    latent_step,
    steps_of,
    transformers_of,
)
from skfairlatent.counterfactuals import CounterfactualExplainer
from skfairlatent.diagnostics import diagnose
from skfairlatent.report import audit


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(0)
    y, s = rng.integers(2, size=(2, 120))
    return rng.normal(size=(120, 4)) + y[:, None] + s[:, None], y, s


def transformer():
    with sklearn.config_context(enable_metadata_routing=True):
        return FairLatentTransformer(
            n_blocks=1, hidden_features=4, max_iter=1, batch_size=64, random_state=0
        ).set_fit_request(sensitive_features=True)


def pipeline():
    return Pipeline([("fair", transformer()), ("clf", LogisticRegression())])


@pytest.fixture(scope="module")
def fitted(rows):
    X, y, s = rows
    return pipeline().fit(X, y, fair__sensitive_features=s)


def fitted_in(model, rows):
    X, y, s = rows
    with sklearn.config_context(enable_metadata_routing=True):
        return model.fit(X, y, sensitive_features=s)


TRACED = {
    "frozen pipeline": lambda pipe, _: FrozenEstimator(pipe),
    "frozen transformer": lambda pipe, _: make_pipeline(FrozenEstimator(pipe[0]), pipe[1]),
    "nested": lambda pipe, rows: make_pipeline(
        make_pipeline(StandardScaler().fit(rows[0]), pipe[0]), pipe[1]
    ),
    "calibrated": lambda pipe, rows: CalibratedClassifierCV(FrozenEstimator(pipe)).fit(*rows[:2]),
    "calibrated in folds of one model": lambda pipe, rows: CalibratedClassifierCV(
        FrozenEstimator(pipe), ensemble=True, cv=2
    ).fit(*rows[:2]),
    "search of thresholds": lambda pipe, rows: GridSearchCV(
        FixedThresholdClassifier(FrozenEstimator(pipe)), {"threshold": [0.3, 0.7]}, cv=2
    ).fit(*rows[:2]),
    "tuned threshold": lambda _, rows: fitted_in(
        TunedThresholdClassifierCV(pipeline(), cv=2), rows
    ),
    "some columns": lambda _, rows: fitted_in(
        make_pipeline(ColumnTransformer([("fair", transformer(), [0, 2])]), LogisticRegression()),
        rows,
    ),
}

UNTRACED = {
    "other columns": lambda rows: fitted_in(
        make_pipeline(
            ColumnTransformer([("fair", transformer(), [0, 2])], remainder="passthrough"),
            LogisticRegression(),
        ),
        rows,
    ),
    "union": lambda rows: fitted_in(
        make_pipeline(
            FeatureUnion([("fair", transformer()), ("raw", StandardScaler())]),
            LogisticRegression(),
        ),
        rows,
    ),
    "calibrated in folds": lambda rows: fitted_in(CalibratedClassifierCV(pipeline(), cv=2), rows),
    "vote": lambda rows: fitted_in(
        VotingClassifier([("a", pipeline()), ("b", LogisticRegression())], voting="soft"), rows
    ),
}


@pytest.mark.parametrize("make", TRACED.values(), ids=TRACED)
def test__steps_of__decide_as_the_model_does(make, fitted, rows):
    X, y, s = rows
    model = make(fitted, rows)
    line = chain(steps_of(model))
    np.testing.assert_array_equal(line.predict(X), model.predict(X))
    np.testing.assert_allclose(line.predict_proba(X), model.predict_proba(X), rtol=1e-6)
    fair, prepare = latent_step(model)
    assert fair.latent(prepare(X)).shape == (120, fair.n_features_in_)
    edits = CounterfactualExplainer(model).fit(X, y, sensitive_features=s).explain_label(X[:9])
    np.testing.assert_array_equal(edits.original_predictions, model.predict(X[:9]))


@pytest.mark.parametrize("make", UNTRACED.values(), ids=UNTRACED)
def test__audit__leaves_edits_out_where_they_cannot_be_followed(make, rows):
    X, y, s = rows
    model = make(rows)
    with pytest.raises(UntracedError) as error:
        CounterfactualExplainer(model).fit(X, y, sensitive_features=s)
    remedy = re.search(r"such as (model\.\w+\[0\][.\w]*)\.$", str(error.value))
    if remedy:  # or else: a Pipeline in which all columns go through the transformer
        alone = eval(remedy[1])  # noqa: S307 - what the message says to type
        CounterfactualExplainer(alone).fit(X, y, sensitive_features=s)
    report = audit(model, X, y, sensitive_features=s, n_bootstrap=10, n_examples=1)
    assert report.overall.loc["selection_rate", "after"] == pytest.approx(model.predict(X).mean())
    assert report.affected.empty
    reason = report.facts["audit"]["untraced"]
    assert any(reason in text for text in report.limits)
    assert "Left out, see Limits." in report.to_html()
    assert any("audited people were training data of the" in text for text in report.limits)
    several = "holds 2" in reason
    assert (report.diagnostics is None) == ("covariance" not in report.figures) == several
    if several:
        with pytest.raises(TypeError, match="holds 2 FairLatentTransformers"):
            diagnose(model, X, y, sensitive_features=s)


def test__transformers_of__counts_no_unfitted_template(rows):
    model = fitted_in(BaggingClassifier(pipeline(), n_estimators=2, random_state=0), rows)
    assert len(transformers_of(model)) == 2


def test__embeddings_of__bagging_are_of_the_columns_of_each_part(rows):
    model = BaggingClassifier(pipeline(), n_estimators=2, max_features=0.5, random_state=0)
    model = fitted_in(model, rows)
    embeddings = embeddings_of(transformers_of(model), rows[0])
    for embedded, columns in zip(embeddings, model.estimators_features_, strict=True):
        np.testing.assert_allclose(embedded, rows[0][:, columns], rtol=1e-6)


@pytest.mark.parametrize("make", [CalibratedClassifierCV, lambda p: VotingClassifier([("p", p)])])
@pytest.mark.filterwarnings("ignore:.*has no predict_proba:UserWarning")
def test__stand_in__of_a_frozen_pipeline_is_refused(make, fitted, rows):
    """Nothing in it can be trained anew: it would be the audited model once more."""
    X, y, s = rows
    model = make(FrozenEstimator(fitted)).fit(X, y)
    model.voting = "soft"
    given = {"sensitive_features": s, "n_bootstrap": 10, "n_examples": 1}
    with pytest.raises(ValueError, match=r"FrozenEstimator of Pipeline.*give baseline="):
        audit(model, X, y, **given)
    report = audit(model, X, y, **given, baseline=LogisticRegression().fit(X, y))
    assert report.facts["audit"]["baseline"] == ["LogisticRegression"]


def test__stand_in__of_a_classifier_around_a_pipeline_has_no_transformer(rows, monkeypatch):
    X, y, s = rows
    model = fitted_in(TunedThresholdClassifierCV(pipeline(), cv=2), rows)
    monkeypatch.setattr(FairLatentTransformer, "fit", None)
    audit(model, X, y, sensitive_features=s, n_bootstrap=10, n_examples=1)


@pytest.mark.parametrize("refit", [True, False])
def test__searches__without_a_best_model_are_refused(refit, rows):
    X, y, s = rows
    search = GridSearchCV(pipeline(), {"clf__C": [0.1, 1.0]}, cv=2, refit=refit)
    if not refit:
        search.fit(X, y, fair__sensitive_features=s)
    for call in (audit, diagnose):
        with pytest.raises(NotFittedError, match=r"no best_estimator_: call its fit.*refit=True"):
            call(search, X, y, sensitive_features=s)
    with pytest.raises(NotFittedError, match="no best_estimator_"):
        CounterfactualExplainer(search).fit(X, y, sensitive_features=s)


@pytest.mark.parametrize("container", ["pandas", "polars"])
def test__steps__that_choose_latents_by_name_get_names(container, rows):
    X, y, s = rows
    fair = transformer().set_params(output="full").set_output(transform=container)
    names = fair.fit(X, y, sensitive_features=s).get_feature_names_out().tolist()
    choice = ColumnTransformer([("first", "passthrough", names[:2])])
    model = make_pipeline(fair, choice, LogisticRegression())
    model.fit(X, y, fairlatenttransformer__sensitive_features=s)
    edits = CounterfactualExplainer(model).fit(X, y, sensitive_features=s).explain_label(X[:9])
    np.testing.assert_array_equal(edits.original_predictions, model.predict(X[:9]))
    baseline = LogisticRegression().fit(X, y)
    given = {"sensitive_features": s, "n_bootstrap": 10, "n_examples": 1}
    report = audit(model, X, y, **given, baseline=baseline)
    assert report.overall.loc["selection_rate", "after"] == pytest.approx(model.predict(X).mean())
    assert not report.affected.empty


def test__transformers_in_a_row__leave_edits_out(rows):
    X, y, s = rows
    first = transformer().set_params(n_label_components=2)
    steps = [("a", first), ("b", transformer())]
    model = Pipeline([*steps, ("clf", LogisticRegression())])
    model.fit(X, y, a__sensitive_features=s, b__sensitive_features=s)
    report = audit(model, X, y, sensitive_features=s, n_bootstrap=10, n_examples=1)
    assert "2 FairLatentTransformers, one after the other" in report.facts["audit"]["untraced"]
    with pytest.raises(UntracedError, match="CounterfactualExplainer"):
        CounterfactualExplainer(model).fit(X, y, sensitive_features=s)
    alone = CounterfactualExplainer(model["b"], model["clf"])
    alone.fit(model["a"].transform(X), y, sensitive_features=s)
