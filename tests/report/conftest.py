"""Audits made once: of two classes, of three with hostile names, and of images."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from skfairlatent import FairLatentTransformer
from skfairlatent.datasets import make_biased_embeddings
from skfairlatent.encoders import PixelFlattener
from skfairlatent.report import audit
from skfairlatent.report.sections import SECTIONS

# Few draws and few people: what is tested does not need many.
QUICK = {"n_examples": 2, "n_bootstrap": 100, "random_state": 0}
HOSTILE = "<script>alert('$x$')</script>"


def fair_transformer(encoder="diffae"):
    return FairLatentTransformer(
        encoder, n_blocks=2, hidden_features=32, max_iter=10, batch_size=128, random_state=0
    )


@pytest.fixture
def undrawn(monkeypatch):
    """Draw nothing: most of the time of an audit, where only its numbers are looked at."""
    for section in SECTIONS:
        monkeypatch.setattr(section, "draw", lambda *_: {})


@pytest.fixture(scope="session")
def binary():
    """A pipeline on two classes and two groups, the rows to audit it on, and its audit."""
    drawn = make_biased_embeddings(700, 8, random_state=0)
    X, y, s = drawn.data, drawn.target, drawn.sensitive_features
    pipe = Pipeline([("fair", fair_transformer()), ("clf", LogisticRegression())])
    pipe.fit(X[:400], y[:400], fair__sensitive_features=s[:400])
    train = X[:400], y[:400], s[:400]
    X, y, s = X[400:], y[400:], s[400:].reset_index(drop=True)
    report = audit(pipe, X, y, sensitive_features=s, **QUICK)
    return SimpleNamespace(pipe=pipe, X=X, y=y, s=s, train=train, report=report)


@pytest.fixture(scope="session")
def multiclass():
    """Three classes, two attributes, tables of text, a baseline, and names that are markup."""
    drawn = make_biased_embeddings(600, 16, n_labels=3, n_groups=(2, 3), random_state=0)
    X = pd.DataFrame(drawn.data, columns=[f"column {i}" for i in range(16)])
    classes = np.array(["accept", HOSTILE, "wait & see"])
    y = pd.Series(classes[drawn.target], name="grant")
    s = pd.DataFrame(
        {
            "sex": np.array(["f", "m"])[drawn.sensitive_features["group_0"]],
            HOSTILE: np.array(["north", 'so"uth', HOSTILE])[drawn.sensitive_features["group_1"]],
        }
    )
    pipe = Pipeline(
        [("scale", StandardScaler()), ("fair", fair_transformer()), ("clf", LogisticRegression())]
    )
    pipe.fit(X[:300], y[:300], fair__sensitive_features=s[:300])
    baseline = make_pipeline(StandardScaler(), LogisticRegression()).fit(X[:300], y[:300])
    X, y, s = (part[300:].reset_index(drop=True) for part in (X, y, s))
    report = audit(pipe, X, y, sensitive_features=s, baseline=baseline, title=HOSTILE, **QUICK)
    return SimpleNamespace(pipe=pipe, X=X, y=y, s=s, baseline=baseline, report=report)


@pytest.fixture(scope="session")
def pictures():
    """Images whose halves show label and group, a pipeline that decodes, and others to show."""
    rng = np.random.default_rng(0)
    y = rng.integers(2, size=600)
    s = np.where(rng.random(600) < 0.8, y, 1 - y)
    pixels = rng.normal(80, 15, size=(600, 12, 12, 3))
    pixels[:, :, :6] += (60 * y + rng.normal(0, 40, 600))[:, None, None, None]
    pixels[:, :, 6:] += (60 * s + rng.normal(0, 20, 600))[:, None, None, None]
    images, groups = pixels.clip(0, 255).astype(np.uint8), np.where(s == 1, "b", "a")
    encoder = make_pipeline(PixelFlattener(), PCA(6, random_state=0)).fit(images[:300])
    pipe = Pipeline([("fair", fair_transformer(encoder)), ("clf", LogisticRegression())])
    pipe.fit(images[:300], y[:300], fair__sensitive_features=groups[:300])
    rows = {"X": images[300:580], "y": y[300:580], "sensitive_features": groups[300:580]}
    others = images[580:]
    report = audit(pipe, **rows, examples=others, n_decoded=40, **QUICK)
    return SimpleNamespace(pipe=pipe, others=others, report=report, **rows)
