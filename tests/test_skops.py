"""Pipelines in files without pickle: skops, and MLflow, which writes skops files."""

import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn import config_context
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skfairlatent import FairLatentTransformer, FairLatentTransformerCV
from skfairlatent.encoders import DiffAEEncoder
from skfairlatent.exceptions import CheckpointError

sio = pytest.importorskip("skops.io", reason="needs skops")

TRUSTED = ["skfairlatent._transformer.FairLatentTransformer"]
QUICK = {"max_iter": 2, "n_blocks": 2, "hidden_features": 8, "random_state": 0, "device": "cpu"}


def make_rows():
    rng = np.random.default_rng(0)
    y, s = np.arange(80) % 2, np.arange(80) // 2 % 2
    X = rng.normal(size=(80, 6)) + np.column_stack([y, 2 * s, y, s, y, s])
    return pd.DataFrame(X, columns=list("abcdef")), np.array(["no", "yes"])[y], s


def fitted(encoder=None, **parameters):
    X, y, s = make_rows()
    with config_context(enable_metadata_routing=True):
        fair = FairLatentTransformer(encoder, **{**QUICK, **parameters})
        fair.set_output(transform="pandas").set_fit_request(sensitive_features="group")
        pipe = make_pipeline(StandardScaler().set_output(transform="pandas"), fair)
        pipe = make_pipeline(pipe, LogisticRegression())
        return pipe.fit(X, y, group=s)


def there_and_back(model, trusted=TRUSTED):
    return sio.loads(sio.dumps(model), trusted=trusted)


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"n_bins": 4},
        {"n_label_components": 3, "early_stopping": True, "validation_fraction": 0.4},
        {"random_state": np.random.RandomState(0), "lambda_di": np.float32(2)},
    ],
    ids=["defaults", "bins", "early stopping", "numpy"],
)
def test__skops__brings_back_a_whole_pipeline(parameters):
    pipe = fitted(**parameters)
    assert sio.get_untrusted_types(data=sio.dumps(pipe)) == TRUSTED
    back = there_and_back(pipe)
    X = make_rows()[0]
    np.testing.assert_array_equal(back.predict_proba(X), pipe.predict_proba(X))
    fair, wanted = back[0][-1], pipe[0][-1]
    pd.testing.assert_frame_equal(fair.transform(X), wanted.transform(X))
    pd.testing.assert_frame_equal(fair.history_, wanted.history_, check_exact=True)
    assert vars(fair).keys() == vars(wanted).keys()
    for each in (fair, clone(fair)):
        assert each.get_metadata_routing().fit.requests == {"sensitive_features": "group"}


def test__skops__brings_back_a_search():
    X, y, s = make_rows()
    fair = FairLatentTransformerCV(None, lambdas_di=2, cv=2, bound=1.0, **QUICK)
    fair.fit(X, y, sensitive_features=s)
    trusted = [
        "skfairlatent._transformer_cv.FairLatentTransformerCV",
        "skfairlatent.selection.MostAccurateWithin",
    ]
    assert sio.get_untrusted_types(data=sio.dumps(fair)) == trusted
    back = there_and_back(fair, trusted)
    np.testing.assert_array_equal(back.transform(X), fair.transform(X))
    assert back.cv_results_.keys() == fair.cv_results_.keys()


def test__skops__takes_devices_and_paths_as_text(tmp_path):
    fair = FairLatentTransformer(device=torch.device("cpu"), checkpoint_dir=tmp_path)
    back = there_and_back(fair)
    assert (back.device, back.checkpoint_dir) == ("cpu", str(tmp_path))


def test__skops__brings_back_what_an_unfitted_one_was_told():
    with config_context(enable_metadata_routing=True):
        fair = FairLatentTransformer().set_fit_request(sensitive_features="group")
    back = there_and_back(fair)
    assert back.get_metadata_routing().fit.requests == {"sensitive_features": "group"}
    assert not hasattr(back, "flow_")


@pytest.mark.parametrize(
    ("encoder", "more"),
    [
        (PCA(2).fit(make_rows()[0]), []),
        (DiffAEEncoder(), ["skfairlatent.encoders.diffae._estimator.DiffAEEncoder"]),
    ],
    ids=["PCA", "DiffAE"],
)
def test__skops__asks_to_trust_the_encoder(encoder, more):
    pipe = fitted(encoder)
    assert set(sio.get_untrusted_types(data=sio.dumps(pipe))) == {*TRUSTED, *more}
    back = there_and_back(pipe, [*TRUSTED, *more])
    assert type(back[0][-1].encoder) is type(encoder)


def test__skops__a_state_that_is_no_transformers_is_refused():
    fair = fitted()[0][-1]
    state = fair.__getstate__()
    state["saved_state"]["arrays"]["mean_"] = np.zeros(3)
    with pytest.raises(CheckpointError, match=r"skops file does not hold .*mean_ is \(3,\)"):
        type(fair).__new__(type(fair)).__setstate__(state)


@pytest.mark.filterwarnings("ignore")  # MLflow's own imports warn
def test__mlflow__logs_a_pipeline_without_pickle(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow", reason="needs MLflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow.set_tracking_uri((tmp_path / "runs").as_uri())
    pipe, X = fitted(), make_rows()[0]
    with mlflow.start_run():
        logged = mlflow.sklearn.log_model(
            pipe,
            name="fair",
            serialization_format="skops",
            skops_trusted_types=TRUSTED,
            pip_requirements=["skfairlatent"],
        )
    code = (
        "import json, sys, mlflow, pandas as pd\n"
        "uri, model, rows = sys.argv[1:]\n"
        "mlflow.set_tracking_uri(uri)\n"
        "pipe = mlflow.sklearn.load_model(model)\n"
        "X = pd.DataFrame(json.loads(rows))\n"
        "sys.stdout.write(json.dumps(pipe.predict_proba(X).tolist()))\n"
    )
    rows = json.dumps(X[:3].to_dict("records"))
    command = [sys.executable, "-c", code, mlflow.get_tracking_uri(), logged.model_uri, rows]
    found = subprocess.run(command, check=True, capture_output=True, text=True).stdout  # noqa: S603
    np.testing.assert_array_equal(json.loads(found), pipe.predict_proba(X[:3]))
