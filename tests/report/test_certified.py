"""The section of bounds that no classifier exceeds."""

from copy import copy

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from skfairlatent import FairLatentTransformer
from skfairlatent._seen_rows import SeenRows
from skfairlatent.certification import certify
from skfairlatent.datasets import make_biased_embeddings
from skfairlatent.report import audit
from skfairlatent.report.sections.certified import Certified
from skfairlatent.report.sections.model_and_data import ModelAndData

from .conftest import QUICK


@pytest.fixture(scope="module")
def audited():
    data = make_biased_embeddings(1500, n_features=6, random_state=0)
    X, y, s = data.data, data.target, np.asarray(data.sensitive_features).ravel()
    fair = FairLatentTransformer(n_bins=4, max_iter=2, hidden_features=8, random_state=0)
    Z = fair.fit_transform(X[:700], y[:700], sensitive_features=s[:700])
    pipe = make_pipeline(fair, LogisticRegression().fit(Z, y[:700]))
    y = np.asarray(y[700:])
    rare = np.cumsum(y == 0) * (y == 0)
    groups = pd.DataFrame({"sex": s[700:], "rare": (rare > 0) & (rare < 20)})
    return pipe, X[700:], y, groups


@pytest.fixture(scope="module")
def report(audited):
    pipe, X, y, groups = audited
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("skfairlatent.report._audit.SECTIONS", [Certified, ModelAndData])
        return audit(pipe, X, y, sensitive_features=groups, **QUICK)


def test__certified__bounds_hold_together(report, audited):
    pipe, X, y, groups = audited
    bounds = report.section(Certified).bounds
    alone = certify(pipe, X, y, sensitive_features=groups["sex"], confidence=1 - 0.05 / 3)
    assert bounds.loc["sex", "bound"] == pytest.approx(alone.bound)
    assert bounds.loc["sex", "on_the_rows"] == pytest.approx(alone.plug_in)
    assert bounds.loc["sex", "fewest"] == alone.rows.to_numpy().min()
    assert 0 <= bounds.loc["sex", "lower"] == pytest.approx(alone.lower)


def test__certified__no_lower_bound_from_rows_of_fit(audited, monkeypatch):
    pipe, X, y, groups = audited
    fair = copy(pipe[0])
    fair._seen_rows = SeenRows.of([X])
    monkeypatch.setattr("skfairlatent.report._audit.SECTIONS", [Certified, ModelAndData])
    seen = make_pipeline(fair, pipe[1])
    report = audit(seen, X, y, sensitive_features=groups["sex"], **QUICK)
    bounds = report.section(Certified).bounds
    assert bounds["lower"].isna().all()
    assert (bounds["bound"] == 1).all()
    assert "there is no lower bound" in report.to_html()


def test__certified__groups_without_rows_are_among_the_limits(report):
    assert "rare" not in report.section(Certified).bounds.index
    assert any(text.startswith("There is no bound by rare") for text in report.limits)


def test__certified__is_said_in_words(report):
    assert any("No classifier that is told only the cells" in text for text in report.summary)
    assert "What no classifier can do" in report.to_html()


def test__certified__is_left_out_where_the_block_is_not_cut(binary):
    with pytest.raises(LookupError):
        binary.report.section(Certified)
