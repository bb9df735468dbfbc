"""A fitted model to draw, and figures that are closed after each test."""

from collections.abc import Callable, Iterator
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Text
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline

from skfairlatent import FairLatentTransformer
from skfairlatent.datasets import make_biased_embeddings

mpl.use("Agg")


@pytest.fixture(autouse=True)
def _close_figures() -> Iterator[None]:
    plt.close("all")  # what tests of other rooms, in the same process, left
    yield
    plt.close("all")


@pytest.fixture(scope="session")
def data() -> Any:
    """Embeddings of 600 rows with two sensitive attributes, of two and of three groups."""
    found = make_biased_embeddings(600, n_features=20, n_groups=[2, 3], random_state=0)
    found.sensitive_features = pd.DataFrame(
        {
            "gender": np.array(["female", "male"])[found.sensitive_features["group_0"]],
            "age": np.array(["<30", "30-60", ">60"])[found.sensitive_features["group_1"]],
        }
    )
    return found


@pytest.fixture(scope="session")
def pipe(data: Any) -> Pipeline:
    """A fair pipeline on them, briefly trained."""
    fair = FairLatentTransformer(
        hidden_features=16,
        max_iter=4,
        early_stopping=True,
        validation_fraction=0.25,
        batch_size=128,
        random_state=0,
    )
    found = Pipeline([("fair", fair), ("clf", LogisticRegression())])
    return found.fit(data.data, data.target, fair__sensitive_features=data.sensitive_features)


@pytest.fixture
def texts() -> Callable[[Any], list[str]]:
    """Return all that is written in a figure, or on one Axes."""

    def read(artist: Any) -> list[str]:
        return [text.get_text() for text in artist.findobj(Text) if text.get_text()]

    return read
