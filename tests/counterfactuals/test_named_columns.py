"""Models fitted on tables: no warnings about names, and columns in another order are refused."""

import warnings

import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skfairlatent import FairLatentTransformer
from skfairlatent.counterfactuals import CounterfactualExplainer

GIVEN = "fairlatenttransformer__sensitive_features"


def _raw():
    return make_pipeline(StandardScaler(), LogisticRegression())


def _fair(output="default"):
    fair = FairLatentTransformer(max_iter=3, random_state=0).set_output(transform=output)
    return make_pipeline(StandardScaler().set_output(transform=output), fair, LogisticRegression())


@pytest.fixture(scope="module")
def table(faces):
    X, y, s = faces
    return pd.DataFrame(X, columns=[f"column {i}" for i in range(X.shape[1])]), y, s


@pytest.mark.parametrize(
    "model",
    [LogisticRegression(), _raw(), _fair(), _fair("pandas"), _fair("pandas")[1:]],
    ids=["classifier", "raw", "fair", "fair, tables between", "fair first"],
)
def test__named_columns__nothing_is_said_of_names(table, model):
    X, y, s = table
    is_fair = "fairlatenttransformer" in getattr(model, "named_steps", ())
    model.fit(X, y, **({GIVEN: s} if is_fair else {}))
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*feature names")
        explainer = CounterfactualExplainer(model).fit(X, y, sensitive_features=s)
        explainer.explain_label(X)
        explainer.explain_sensitive(X)


@pytest.mark.parametrize("model", [LogisticRegression(), _raw()], ids=["classifier", "raw"])
def test__columns_in_another_order__are_refused(table, model):
    X, y, _ = table
    explainer = CounterfactualExplainer(model.fit(X, y)).fit(X)
    with pytest.raises(ValueError, match="feature names should match"):
        explainer.explain_label(X.iloc[:, ::-1])
