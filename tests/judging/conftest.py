"""Images whose halves show a label and a group."""

from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from skfairlatent.counterfactuals import CounterfactualExplainer
from skfairlatent.encoders import PixelFlattener


@pytest.fixture(scope="session")
def halves():
    """Images whose left half is bright for y = 1 and whose right half often is too, for s = "b".

    With a judge of each, trained on other images than the model that is explained.
    """
    rng = np.random.default_rng(0)
    n = 600
    y = rng.integers(2, size=n)
    s = np.where(rng.random(n) < 0.8, y, 1 - y)
    images = rng.integers(60, 100, size=(n, 12, 12, 3)).astype(np.uint8)
    images[:, :, :6] += (80 * y).astype(np.uint8)[:, None, None, None]
    images[:, :, 6:] += (80 * s).astype(np.uint8)[:, None, None, None]
    groups = np.where(s == 1, "b", "a")
    train, other = slice(0, 300), slice(300, None)
    judges = [
        make_pipeline(PixelFlattener(), LogisticRegression(C=0.05)).fit(images[other], target)
        for target in (y[other], groups[other])
    ]
    encoder = make_pipeline(PixelFlattener(), PCA(4, random_state=0)).fit(images[train])
    model = make_pipeline(encoder, LogisticRegression()).fit(images[train], y[train])
    explainer = CounterfactualExplainer(model)
    explainer.fit(images[train], y[train], sensitive_features=groups[train])
    return SimpleNamespace(
        images=images[train],
        y=y[train],
        groups=groups[train],
        encoder=encoder,
        explainer=explainer,
        judges={"label_judge": judges[0], "sensitive_judge": judges[1]},
    )
