"""Searches on a cluster of Dask with two worker processes of two threads each."""

import contextlib
import multiprocessing
import os
import signal
from multiprocessing import forkserver

import joblib
import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer

from skfairlatent import FairLatentTransformer, FairLatentTransformerCV
from skfairlatent.datasets import make_biased_embeddings
from skfairlatent.metrics import fairness_scorers

dask = pytest.importorskip("dask")
da = pytest.importorskip("dask.array")
distributed = pytest.importorskip("distributed")

DATA = make_biased_embeddings(400, n_features=6, random_state=0)
QUICK = {"max_iter": 2, "hidden_features": 8, "random_state": 0, "device": "cpu"}


@pytest.fixture(scope="module")
def client():
    """Two processes, forked from one that has imported what they need."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        multiprocessing.set_forkserver_preload(
            ["distributed", "sklearn.model_selection", "skfairlatent.metrics", "torch._dynamo"]
        )
        forkserver.ensure_running()
    settings = {"distributed.worker.multiprocessing-method": "forkserver"}
    with (
        dask.config.set(settings),
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=2, host="127.0.0.1", dashboard_address="127.0.0.1:0"
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


def fitted(search):
    with sklearn.config_context(enable_metadata_routing=True):
        return search.fit(DATA.data, DATA.target, sensitive_features=DATA.sensitive_features)


def scores_of(search):
    found = pd.DataFrame(search.cv_results_)
    return found[[name for name in found if "test_" in name]]


def dying_once(folder):
    """Return a function that kills the second process that calls it, and else does nothing.

    What joblib sends to the workers is lost with one before another has it.
    """

    def passed(X):
        (folder / str(os.getpid())).touch()
        if len([*folder.iterdir()]) == 2:
            (folder / "died").touch(exist_ok=False)
            os.kill(os.getpid(), signal.SIGKILL)
        return X

    return passed


def search_with_a_death(folder):
    """Return the scores of a search in the middle of which a worker dies, and the search."""
    folder.mkdir()
    pipe = Pipeline(
        [
            ("once", FunctionTransformer(dying_once(folder))),
            ("fair", FairLatentTransformer(None, **QUICK)),
            ("clf", LogisticRegression()),
        ]
    )
    search = GridSearchCV(
        pipe, {"fair__lambda_di": [0.0, 1.0, 3.0]}, cv=2, scoring=fairness_scorers(), refit=False
    )
    with joblib.parallel_config("dask"):
        return scores_of(fitted(search)), search


def test__search__goes_on_without_a_worker_that_dies(client, tmp_path):
    before = {*client.run(os.getpid).values()}
    for attempt in range(3):
        folder = tmp_path / str(attempt)
        # On a busy machine Dask may forget a batch of the worker that died: the search ends with
        # this error, and is to be run again.
        with contextlib.suppress(distributed.client.FutureCancelledError):
            found, search = search_with_a_death(folder)
            break
    else:
        pytest.fail("Dask forgot a batch in each of three searches")
    assert (folder / "died").exists()
    assert {*client.run(os.getpid).values()} != before
    pd.testing.assert_frame_equal(found, scores_of(fitted(search)), check_exact=True)


@pytest.mark.usefixtures("client")
def test__path_search__has_the_same_scores():
    found = []
    for backend in ("sequential", "dask"):
        search = FairLatentTransformerCV(None, lambdas_di=[0, 3], cv=2, bound=1.0, **QUICK)
        with joblib.parallel_config(backend):
            found.append(fitted(search))
    pd.testing.assert_frame_equal(*map(scores_of, found), check_exact=True)
    np.testing.assert_array_equal(*(search.transform(DATA.data) for search in found))


@pytest.mark.usefixtures("client")
def test__transform__of_an_array_on_the_workers():
    fair = fitted(FairLatentTransformer(None, **QUICK))
    Z = fair.transform(da.from_array(DATA.data, chunks=(100, 6)))
    np.testing.assert_allclose(Z.compute(), fair.transform(DATA.data), atol=1e-6)
