"""The certified bound as the score of a search."""

import numpy as np
import pytest
import sklearn
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline

from skfairlatent import FairLatentTransformer
from skfairlatent.certification import certified_scorer, certify
from skfairlatent.datasets import make_biased_embeddings
from skfairlatent.selection import MostAccurateWithin, group_stratified_folds


@pytest.fixture(scope="module")
def rows():
    data = make_biased_embeddings(1200, n_features=6, random_state=0)
    return data.data, np.asarray(data.target), np.asarray(data.sensitive_features).ravel()


@pytest.mark.slow
def test__certified_scorer__a_search_chooses_by_the_bound(rows):
    X, y, s = rows
    fair = FairLatentTransformer(n_bins=4, max_iter=2, hidden_features=8, random_state=0)
    search = GridSearchCV(
        Pipeline([("fair", fair), ("clf", LogisticRegression())]),
        {"fair__lambda_di": [0.0, 3.0]},
        scoring={"accuracy": "accuracy", "certified": certified_scorer()},
        refit=MostAccurateWithin(1.0, fairness="certified"),
        cv=group_stratified_folds(y, s, n_splits=2, random_state=0),
    )
    with sklearn.config_context(enable_metadata_routing=True):
        search.fit(X, y, sensitive_features=s)
    scores = search.cv_results_["mean_test_certified"]
    assert ((scores > -1) & (scores < 0)).all()


def test__certified_scorer__is_minus_the_bound(rows):
    X, y, s = rows
    model = LogisticRegression().fit(X, y)
    scorer = certified_scorer("demographic_parity", confidence=0.9)
    found = certify(
        model, X, y, sensitive_features=s, constraints="demographic_parity", confidence=0.9
    )
    assert scorer(model, X, y, sensitive_features=s) == -found.bound


def test__certified_scorer__without_groups_asks_for_routing(rows):
    X, y, _ = rows
    with pytest.raises(ValueError, match="enable_metadata_routing"):
        certified_scorer()(LogisticRegression().fit(X, y), X, y)


@pytest.mark.parametrize("changed", [{"constraints": "parity"}, {"confidence": 95}])
def test__certified_scorer__bad_parameters_are_refused_at_once(changed):
    with pytest.raises(ValueError, match="="):
        certified_scorer(**changed)
