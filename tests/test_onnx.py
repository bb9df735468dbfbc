"""Models as ONNX: the same latents, decisions and probabilities, and what is refused."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skfairlatent import FairLatentTransformer
from skfairlatent.encoders import PixelFlattener

onnxruntime = pytest.importorskip("onnxruntime", reason="needs onnxruntime")
pytest.importorskip("skl2onnx", reason="needs skl2onnx")
from skfairlatent.onnx import to_onnx  # noqa: E402

QUICK = {"max_iter": 3, "n_blocks": 2, "hidden_features": 16, "random_state": 0, "device": "cpu"}
# Rounding of float32 and other libraries, for latents and probabilities of order 1.
CLOSE = {np.float32: 1e-5, np.float64: 1e-12}
GROUPS = "fairlatenttransformer__sensitive_features"


def make_rows(dtype=np.float32, n_features=7, tails=1.0):
    rng = np.random.default_rng(0)
    y, s = np.arange(120) % 3, np.arange(120) // 3 % 2
    X = 5 + 3 * rng.normal(size=(120, n_features))
    X[:, 0] += 3 * y
    X[:, 1] += 3 * s
    X[:, 2:4] = np.sinh(tails * (X[:, 2:4] - 5)) / tails if tails > 1 else X[:, 2:4]
    return X.astype(dtype), np.array(["a", "b", "c"])[y], s


def fitted(dtype=np.float32, n_features=7, *, tails=1.0, **parameters):
    X, y, s = make_rows(dtype, n_features, tails)
    return FairLatentTransformer(None, **QUICK, **parameters).fit(X, y, sensitive_features=s)


def session(model, X, **kwargs):
    return onnxruntime.InferenceSession(to_onnx(model, X, **kwargs).SerializeToString())


@pytest.mark.filterwarnings("ignore:Half of the values in column 2")  # too many lie far off
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"output": "full"},
        {"n_label_components": 5},
        {"n_bins": 4},
        {"n_bins": 4, "n_label_components": 1, "output": "full"},
        {"n_features": 2},
        {"label_scores": True},
        {"label_scores": True, "n_features": 300},
        {"label_scores": True, "tails": 2.0},
    ],
    ids=[
        *("label", "full", "wide", "bins", "bins and full", "two features", "scores", "linear"),
        "heavy tails",
    ],
)
def test__to_onnx__makes_the_same_latent(parameters, dtype):
    tails = parameters.get("tails", 1.0)
    fair = fitted(dtype, **parameters)
    assert (fair.heavy_tails_ is not None) == (tails > 1.0)
    X = make_rows(dtype, fair.n_features_in_, tails)[0]
    run = session(fair, X[:1])
    for rows in (X, X[:1], X[:0]):
        (Z,) = run.run(None, {"X": rows})
        assert (Z.dtype, Z.shape) == (dtype, (len(rows), fair._n_features_out))
    np.testing.assert_allclose(run.run(None, {"X": X})[0], fair.transform(X), atol=CLOSE[dtype])


@pytest.mark.filterwarnings("ignore:Half of the values in column 2")  # too many lie far off
@pytest.mark.parametrize(("dtype", "far"), [(np.float32, 1e30), (np.float64, 1e250)])
def test__to_onnx__maps_rows_far_out_in_a_heavy_tail(dtype, far):
    fair = fitted(dtype, tails=2.0)
    X = make_rows(dtype, tails=2.0)[0][:6]
    X[:, 2] = [1e3, -1e5, 1e8, -3e8, far, -far]
    found = session(fair, X).run(None, {"X": X})[0]
    np.testing.assert_allclose(found, fair.transform(X), rtol=CLOSE[dtype], atol=CLOSE[dtype])


@pytest.mark.parametrize("n_bins", [None, 4])
def test__to_onnx__a_row_with_a_missing_value_has_no_latent(n_bins):
    X = make_rows()[0]
    run = session(fitted(n_bins=n_bins), X[:1])
    X[0, 2] = np.nan
    (Z,) = run.run(None, {"X": X})
    assert np.isnan(Z[0]).all()
    assert np.isfinite(Z[1:]).all()


def search(pipe):
    return GridSearchCV(pipe, {"logisticregression__C": [1.0]}, cv=2)


@pytest.mark.parametrize("around", [lambda pipe: pipe, search], ids=["pipeline", "search"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test__to_onnx__makes_the_same_decisions_and_probabilities(dtype, around):
    X, y, s = make_rows(dtype)
    pipe = make_pipeline(
        StandardScaler(), FairLatentTransformer(None, **QUICK), LogisticRegression()
    )
    pipe = around(pipe).fit(X, y, **{GROUPS: s})
    labels, probabilities = session(pipe, X[:1]).run(None, {"X": X})
    np.testing.assert_array_equal(labels, pipe.predict(X))
    np.testing.assert_allclose(probabilities, pipe.predict_proba(X), atol=CLOSE[dtype])


@pytest.mark.parametrize(
    "freeze", [FrozenEstimator, lambda pipe: make_pipeline(FrozenEstimator(pipe[0]), pipe[1])]
)
def test__to_onnx__converts_what_is_frozen(freeze):
    X, y, s = make_rows()
    pipe = make_pipeline(FairLatentTransformer(None, **QUICK), LogisticRegression())
    model = freeze(pipe.fit(X, y, **{GROUPS: s}))
    _, probabilities = session(model, X).run(None, {"X": X})
    np.testing.assert_allclose(probabilities, model.predict_proba(X), atol=1e-5)


def test__to_onnx__refuses_a_calibration_that_would_be_another():
    X, y, s = make_rows()
    pipe = make_pipeline(FairLatentTransformer(None, **QUICK), LogisticRegression())
    pipe.fit(X, y, **{GROUPS: s})
    with pytest.raises(TypeError, match="Calibrate within the Pipeline"):
        to_onnx(CalibratedClassifierCV(FrozenEstimator(pipe)).fit(X, y), X)


def test__to_onnx__names_the_classes_where_asked():
    X, y, s = make_rows()
    pipe = make_pipeline(FairLatentTransformer(None, **QUICK), LogisticRegression())
    pipe.fit(X, y, **{GROUPS: s})
    rows = session(pipe, X[:1], options={"zipmap": True}).run(None, {"X": X[:2]})[1]
    assert [list(row) for row in rows] == [["a", "b", "c"]] * 2


def test__to_onnx__takes_the_columns_of_a_table():
    X, y, s = make_rows()
    table = pd.DataFrame(X, columns=list("tuvwxyz"))
    fair = FairLatentTransformer(None, **QUICK).fit(table, y, sensitive_features=s)
    columns = {name: table[[name]].to_numpy() for name in table}
    (Z,) = session(fair, table[:1]).run(None, columns)
    np.testing.assert_allclose(Z, fair.transform(table), atol=1e-5)


def test__to_onnx__runs_without_torch_and_scikit_learn(tmp_path):
    fair, X = fitted(), make_rows()[0][:3]
    (tmp_path / "fair.onnx").write_bytes(to_onnx(fair, X).SerializeToString())
    np.save(tmp_path / "X.npy", X)
    code = (
        "import sys, numpy, onnxruntime\n"
        "run = onnxruntime.InferenceSession('fair.onnx')\n"
        "numpy.save('Z.npy', run.run(None, {'X': numpy.load('X.npy')})[0])\n"
        "assert not {'torch', 'sklearn', 'skfairlatent'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)  # noqa: S603
    np.testing.assert_allclose(np.load(tmp_path / "Z.npy"), fair.transform(X), atol=1e-5)


def test__to_onnx__takes_embeddings_of_what_was_fitted_on_images():
    rng = np.random.default_rng(0)
    images = rng.integers(256, size=(40, 8, 8, 3), dtype=np.uint8)
    y, s = np.arange(40) % 2, np.arange(40) // 2 % 2
    encoder = make_pipeline(PixelFlattener(8), PCA(4)).fit(images)
    fair = FairLatentTransformer(encoder, **QUICK).fit(images, y, sensitive_features=s)
    with pytest.raises(ValueError, match=r"X holds images.*transformer\.embed\(images\)"):
        to_onnx(fair, images)
    E = fair.embed(images)
    (Z,) = session(fair, E).run(None, {"X": E})
    np.testing.assert_allclose(Z, fair.transform(images), atol=1e-5)


def test__to_onnx__refuses_what_cannot_be_converted():
    X, y, _ = make_rows()
    with pytest.raises(NotFittedError, match="not fitted yet"):
        to_onnx(FairLatentTransformer(), X)
    with pytest.raises(TypeError, match="has no method latent"):
        to_onnx(LogisticRegression().fit(X, y), X)
    with pytest.raises(ValueError, match=r"X has 6 features, but .* is expecting 7"):
        to_onnx(fitted(), X[:, 1:])
    with pytest.raises(TypeError, match="Int64TensorType: pass all of X in float32"):
        to_onnx(fitted(), X.astype(np.int64))
    mixed = pd.DataFrame(X, columns=list("tuvwxyz")).astype({"u": np.float64})
    with pytest.raises(TypeError, match="DoubleTensorType and FloatTensorType: pass all of X"):
        to_onnx(fitted(), mixed)


def test__to_onnx__refuses_a_precision_that_loses_the_values():
    X, y, s = make_rows(np.float64)
    X[:, 2] = 1e9 + np.arange(len(X))
    fair = FairLatentTransformer(None, **QUICK).fit(X, y, sensitive_features=s)
    (Z,) = session(fair, X).run(None, {"X": X})
    np.testing.assert_allclose(Z, fair.transform(X), atol=1e-9)
    X[:, 2] = 1e12 + np.arange(len(X))
    fair.fit(X, y, sensitive_features=s)
    with pytest.raises(ValueError, match="X is float32, which cannot tell the values of column 2"):
        to_onnx(fair, X.astype(np.float32))
