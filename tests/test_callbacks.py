# ruff: noqa: ARG002 - callbacks are given more than they need
"""Callbacks of scikit-learn 1.9: what they are told of a fit, and what they may do to it."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from skfairlatent import FairLatentTransformer, FairLatentTransformerCV

callback = pytest.importorskip("sklearn.callback", reason="needs scikit-learn 1.9")

QUICK = {"max_iter": 4, "n_blocks": 2, "hidden_features": 8, "random_state": 0, "device": "cpu"}


def make_rows():
    rng = np.random.default_rng(0)
    y, s = np.arange(80) % 2, np.arange(80) // 2 % 2
    return rng.normal(size=(80, 6)) + np.column_stack([y, s, y, s, y, s]), y, s


class Recorder:
    """Notes what it is told; stops a fit after so many epochs."""

    def __init__(self, stop_after=None):
        self.stop_after, self.events, self.latents = stop_after, [], []

    def setup(self, estimator, context):
        self.events.append("setup")

    def teardown(self, estimator, context):
        self.events.append("teardown")

    def on_fit_task_begin(self, estimator, context):
        self.events.append(("begin", context.task_name, context.max_subtasks))

    def on_fit_task_end(self, estimator, context, *, X, y, metadata, fitted_estimator):
        self.events.append(("end", context.task_name))
        self.latents.append(fitted_estimator.transform(X))
        assert len(y) == len(metadata["sensitive_features"]) == len(X)
        return self.stop_after is not None and context.task_id + 1 == self.stop_after


def fit(recorder, **parameters):
    X, y, s = make_rows()
    fair = FairLatentTransformer(None, **{**QUICK, **parameters}).set_callbacks(recorder)
    return fair.fit(X, y, sensitive_features=s)


@pytest.mark.parametrize(
    "parameters", [{}, {"n_bins": 3, "output": "full"}], ids=["plain", "bins"]
)
def test__callbacks__are_told_of_each_epoch_and_given_a_fitted_transformer(parameters):
    recorder = Recorder()
    fair = fit(recorder, **parameters)
    epoch = [("begin", "epoch", 0), ("end", "epoch")]
    whole = ["setup", ("begin", "fit", 4), *4 * epoch, ("end", "fit"), "teardown"]
    assert recorder.events == whole
    X = make_rows()[0]
    np.testing.assert_array_equal(recorder.latents[-1], fair.transform(X))
    np.testing.assert_array_equal(recorder.latents[-2], fair.transform(X))
    assert np.ptp(recorder.latents[0] - recorder.latents[-1]) > 0


def test__callbacks__change_nothing():
    X = make_rows()[0]
    without = fit(Recorder()).set_callbacks()
    y, s = make_rows()[1:]
    again = clone(without).fit(X, y, sensitive_features=s)
    np.testing.assert_array_equal(without.transform(X), again.transform(X))


def test__callbacks__stop_a_fit():
    assert fit(Recorder(stop_after=2)).n_iter_ == 2


def test__callbacks__are_torn_down_after_a_failed_fit():
    X, y, _ = make_rows()
    recorder = Recorder()
    fair = FairLatentTransformer(None, **QUICK).set_callbacks(recorder)
    before = dict(vars(fair))
    with pytest.raises(ValueError, match="NaN"):
        fair.fit(np.full_like(X, np.nan), y)
    assert recorder.events == ["setup", "teardown"]
    assert vars(fair) == before


def test__callbacks__are_told_of_a_search_as_one_task():
    X, y, s = make_rows()
    recorder = Recorder()
    fair = FairLatentTransformerCV(None, lambdas_di=2, cv=2, bound=1.0, **QUICK).set_callbacks(
        recorder
    )
    Z = fair.fit(X, y, sensitive_features=s).transform(X)
    assert recorder.events == ["setup", ("begin", "fit", 0), ("end", "fit"), "teardown"]
    np.testing.assert_array_equal(recorder.latents, [Z])


def size(fair, X, y, **metadata):
    assert len(y) == len(metadata["sensitive_features"])
    return {"n": fair.transform(X).size}


def test__callbacks__reach_the_transformer_in_a_pipeline():
    X, y, s = make_rows()
    monitor = callback.ScoringMonitor(scoring=size)
    fair = FairLatentTransformer(None, **QUICK).set_callbacks(monitor)
    pipe = make_pipeline(fair, LogisticRegression())
    pipe.fit(X, y, fairlatenttransformer__sensitive_features=s)
    log = monitor.get_logs().data_as_pandas
    assert log["n"].tolist() == 5 * [80]
