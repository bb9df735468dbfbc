"""A fitted pipeline on synthetic embeddings, shared by the tests of explanations."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skfairlatent import FairLatentTransformer
from skfairlatent.counterfactuals import CounterfactualExplainer
from skfairlatent.datasets import make_biased_embeddings


@pytest.fixture(scope="session")
def faces():
    """Return X, y, s with 12 features, one label and one binary sensitive attribute."""
    data = make_biased_embeddings(1500, n_features=12, random_state=0)
    return data.data, data.target, data.sensitive_features


@pytest.fixture(scope="session")
def fair(faces):
    X, y, s = faces
    # As for wider embeddings, which take no scores.
    fair = FairLatentTransformer(label_scores=False, max_iter=60, random_state=0)
    return fair.fit(X, y, sensitive_features=s)


@pytest.fixture(scope="session")
def pipe(faces, fair):
    X, y, _ = faces
    return make_pipeline(fair, LogisticRegression().fit(fair.transform(X), y))


@pytest.fixture(scope="session")
def raw(faces):
    X, y, _ = faces
    return make_pipeline(StandardScaler(), LogisticRegression()).fit(X, y)


@pytest.fixture(scope="session")
def explainer(faces, pipe):
    X, y, s = faces
    return CounterfactualExplainer(pipe).fit(X, y, sensitive_features=s)


@pytest.fixture(scope="session")
def blobs():
    """Return rows and labels of four classes in a plane."""
    rng = np.random.default_rng(0)
    centres = np.array([[0.0, 2.0], [2.0, 0.0], [0.0, -2.0], [-2.0, 0.0]])
    y = rng.integers(4, size=800)
    return centres[y] + rng.standard_normal((800, 2)), np.array(["n", "e", "s", "w"])[y]
