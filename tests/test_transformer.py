"""What a scikit-learn user does with FairLatentTransformer, on good input."""

import pickle
import random
import tracemalloc
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest
import sklearn
import torch
from fairlearn.metrics import MetricFrame, selection_rate
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from skfairlatent import FairLatentTransformer, _transformer
from skfairlatent._training import early_stopping
from skfairlatent.datasets import make_biased_embeddings
from skfairlatent.exceptions import FairLatentWarning
from skfairlatent.metrics import fairness_scorers
from skfairlatent.selection import MostAccurateWithin

N_ROWS, N_FEATURES = 120, 6
QUICK = {
    "max_iter": 2,
    "n_blocks": 2,
    "hidden_features": 8,
    "random_state": 0,
    "device": "cpu",
    "label_scores": False,  # with them, fit_transform is not fit and transform
}
# Round trip relative to features of size 1, measured 4e-7 and 1e-15: three rounding steps a block.
ROUND_TRIP = {np.float32: 1e-5, np.float64: 1e-12}
# The same products in another order, in float32.
SAME_PRODUCTS = 1e-5


def make_rows(dtype=np.float64, n_rows=N_ROWS):
    rng = np.random.default_rng(0)
    y, s = np.arange(n_rows) % 2, np.arange(n_rows) // 2 % 2
    X = rng.normal(size=(n_rows, N_FEATURES))
    X[:, 0] += 1.5 * y
    X[:, 1] += 2 * s
    return X.astype(dtype), y, s


def quick(encoder="diffae", **parameters):
    return FairLatentTransformer(encoder, **{**QUICK, **parameters})


def fitted(dtype=np.float64, **parameters):
    X, y, s = make_rows(dtype)
    return quick(**parameters).fit(X, y, sensitive_features=s)


@pytest.fixture
def routing():
    with sklearn.config_context(enable_metadata_routing=True):
        yield


@pytest.fixture(scope="module")
def biased():
    """Rows whose labels and groups are correlated, for training and for testing."""
    data = make_biased_embeddings(600, n_features=8, random_state=0)
    s = data.sensitive_features.to_numpy()
    parts = slice(0, 200), slice(200, 600)
    return [(data.data[rows], data.target[rows], s[rows]) for rows in parts]


# --- As the documentation says -----------------------------------------------------------------


@pytest.mark.usefixtures("routing")
@pytest.mark.slow
def test__pipeline__as_documented_with_routing(biased):
    (images, y, s), (new_images, new_y, new_s) = biased
    pipe = Pipeline([("fair", FairLatentTransformer()), ("clf", LogisticRegression())])
    pipe.fit(images, y, sensitive_features=s)
    predictions = pipe.predict(new_images)
    frame = MetricFrame(
        metrics={"accuracy": accuracy_score, "selection_rate": selection_rate},
        y_true=new_y,
        y_pred=predictions,
        sensitive_features=new_s,
    )
    assert frame.by_group.shape == (2, 2)
    # Chance is 0.5, the best without the group 0.82; eight seeds gave 0.69 to 0.79.
    assert frame.overall["accuracy"] > 0.6
    # The raw embedding leans on the group, by 0.60; eight seeds lowered that to 0.22 to 0.33.
    raw = LogisticRegression(max_iter=1000).fit(images, y).predict(new_images)
    raw_frame = MetricFrame(
        metrics=selection_rate, y_true=new_y, y_pred=raw, sensitive_features=new_s
    )
    assert frame.difference()["selection_rate"] < raw_frame.difference() - 0.1


def test__pipeline__as_documented_without_routing():
    X, y, s = make_rows()
    pipe = Pipeline([("fair", quick()), ("clf", LogisticRegression())])
    pipe.fit(X, y, fair__sensitive_features=s)
    Z = fitted().transform(X)
    np.testing.assert_array_equal(pipe.predict(X), LogisticRegression().fit(Z, y).predict(Z))


@pytest.mark.usefixtures("routing")
def test__pipeline__routing_reaches_fit_only():
    X, y, s = make_rows()
    pipe = Pipeline([("fair", quick()), ("clf", LogisticRegression())])
    pipe.fit(X, y, sensitive_features=s)
    assert pipe["fair"].groups_ == ["0", "1"]
    assert pipe.predict(X).shape == (N_ROWS,)
    with pytest.raises(TypeError, match="sensitive_features"):
        pipe.predict(X, sensitive_features=s)


@pytest.mark.usefixtures("routing")
def test__routing__can_be_turned_off_by_the_user():
    X, y, s = make_rows()
    pipe = make_pipeline(quick().set_fit_request(sensitive_features=False), LogisticRegression())
    with pytest.raises(TypeError, match="unexpected argument"):
        pipe.fit(X, y, sensitive_features=s)


@pytest.mark.usefixtures("routing")
@pytest.mark.parametrize("n_jobs", [None, 2])
@pytest.mark.slow
def test__grid_search__by_accuracy_and_fairness_at_once(biased, n_jobs):
    X, y, s = biased[0]
    pipe = Pipeline([("fair", quick(max_iter=3)), ("clf", LogisticRegression())])
    grid = {"fair__lambda_di": [0.0, 10.0], "fair__n_label_components": [1, 2]}
    search = GridSearchCV(
        pipe,
        grid,
        scoring=fairness_scorers(),
        refit=MostAccurateWithin(1.0),
        cv=2,
        n_jobs=n_jobs,
        error_score="raise",
    )
    search.fit(X, y, sensitive_features=s)
    results = pd.DataFrame(search.cv_results_)
    for name in fairness_scorers():
        assert results[f"mean_test_{name}"].notna().all()
    assert search.best_index_ == results["mean_test_accuracy"].idxmax()
    chosen = search.best_estimator_["fair"]
    assert chosen.lambda_di == search.best_params_["fair__lambda_di"]
    assert chosen.groups_ == ["0", "1"]  # also the last fit got the groups
    assert search.predict(X).shape == y.shape


@pytest.mark.usefixtures("routing")
@pytest.mark.slow
def test__grid_search__parallel_is_the_same_as_serial(biased):
    X, y, s = biased[0]
    scores = []
    for n_jobs in (None, 2):
        result = cross_validate(
            make_pipeline(quick(), LogisticRegression()),
            X,
            y,
            params={"sensitive_features": s},
            scoring=fairness_scorers(),
            cv=3,
            n_jobs=n_jobs,
            error_score="raise",
        )
        scores.append({name: v for name, v in result.items() if name.startswith("test_")})
    assert len(scores[0]) == len(fairness_scorers())
    for name, values in scores[0].items():
        np.testing.assert_array_equal(scores[1][name], values)


def test__cross_validate__without_routing_warns_that_no_group_came():
    X, y, _ = make_rows()
    with pytest.warns(FairLatentWarning, match="sensitive_features was not given"):
        cross_validate(make_pipeline(quick(), LogisticRegression()), X, y, cv=2)


# --- Parameters --------------------------------------------------------------------------------


def test__clone__is_unfitted_and_equal():
    model = fitted(lambda_di=3.0, distance="moment")
    twin = clone(model)
    assert twin.get_params() == model.get_params()
    with pytest.raises(NotFittedError):
        twin.transform(make_rows()[0])
    model.transform(make_rows()[0])  # and the original is as it was


def test__clone__keeps_requests_and_output():
    model = quick().set_output(transform="pandas")
    with sklearn.config_context(enable_metadata_routing=True):
        model.set_fit_request(sensitive_features="sex")
    twin = clone(model)
    assert twin.get_metadata_routing().fit.requests == {"sensitive_features": "sex"}
    X, y, s = make_rows()
    assert isinstance(twin.fit(X, y, sensitive_features=s).transform(X), pd.DataFrame)


def test__set_params__reaches_every_parameter_and_nested_ones():
    model = quick(PCA(2))
    changed = {**model.get_params(deep=False), "lambda_di": 7.0}
    assert model.set_params(**changed, encoder__n_components=3) is model
    assert model.lambda_di == 7.0
    assert model.encoder.n_components == 3
    with pytest.raises(ValueError, match="Invalid parameter 'lambda_x'"):
        model.set_params(lambda_x=1)


def test__fit__leaves_parameters_and_data_alone():
    X, y, s = make_rows()
    copies = X.copy(), y.copy(), s.copy()
    model = quick(device="auto", n_label_components="auto", max_iter=1)
    before = dict(model.get_params())
    model.fit_transform(X, y, sensitive_features=s)
    assert model.get_params() == before
    for now, then in zip((X, y, s), copies, strict=True):
        np.testing.assert_array_equal(now, then)


@pytest.mark.parametrize("n_label_components", [1, 3, N_FEATURES - 1, np.int64(2)])
def test__n_label_components__is_the_width(n_label_components):
    model = fitted(n_label_components=n_label_components)
    X = make_rows()[0]
    assert model.transform(X).shape == (N_ROWS, n_label_components)
    assert model.label_slice_ == slice(0, n_label_components)
    assert model.sensitive_slice_ == slice(n_label_components, N_FEATURES)


@pytest.mark.parametrize(
    ("n_classes", "n_features", "width"), [(2, 6, 1), (3, 6, 2), (5, 6, 4), (5, 3, 2)]
)
def test__n_label_components__auto_is_one_for_each_boundary(n_classes, n_features, width):
    X, _, s = make_rows()
    y = np.arange(N_ROWS) // 4 % n_classes
    model = quick().fit(X[:, :n_features], y, sensitive_features=s)
    assert model.label_slice_ == slice(0, width)


# --- What comes out ----------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("output", ["label", "full"])
def test__fit_transform__is_fit_then_transform(output, dtype):
    X, y, s = make_rows(dtype)
    together = quick(output=output).fit_transform(X, y, sensitive_features=s)
    apart = quick(output=output).fit(X, y, sensitive_features=s).transform(X)
    np.testing.assert_array_equal(together, apart, strict=True)
    assert together.dtype == dtype
    assert together.shape == (N_ROWS, 1 if output == "label" else N_FEATURES)


def test__output__full_begins_with_the_label_block():
    X = make_rows()[0]
    label, full = fitted(output="label"), fitted(output="full")
    block = full.transform(X)[:, full.label_slice_]
    # A product of fewer columns may add up in another order.
    np.testing.assert_allclose(block, label.transform(X), atol=SAME_PRODUCTS)
    np.testing.assert_array_equal(label.latent(X), full.transform(X))
    np.testing.assert_array_equal(full.latent(X), full.transform(X))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test__inverse_transform__of_the_full_latent_is_the_input(dtype):
    X = make_rows(dtype)[0]
    model = fitted(dtype, max_iter=20)
    back = model.inverse_transform(model.latent(X))
    assert back.dtype == dtype
    np.testing.assert_allclose(back, X, atol=ROUND_TRIP[dtype])
    # and of rows never seen, and far out
    far = (10 * X[::-1]).astype(dtype)
    back = model.inverse_transform(model.latent(far))
    np.testing.assert_allclose(back, far, atol=100 * ROUND_TRIP[dtype])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test__inverse_transform__completes_a_label_block_with_the_neutral_sensitive_block(dtype):
    X, _, s = make_rows(dtype)
    model = fitted(dtype, max_iter=20)
    Z = model.latent(X)
    label, sensitive = model.label_slice_, model.sensitive_slice_
    # The mean is stored from float32, whose rounding is averaged over the rows.
    np.testing.assert_allclose(model.sensitive_mean_, Z[:, sensitive].mean(axis=0), atol=1e-5)
    neutral = model.inverse_transform(Z[:, label])
    assert neutral.shape == X.shape
    assert neutral.dtype == dtype
    completed = Z.copy()
    completed[:, sensitive] = model.sensitive_mean_
    np.testing.assert_array_equal(neutral, model.inverse_transform(completed))
    # The label block survives, and feature 1, which shifts with the group by 2, no longer does.
    tolerance = 100 * ROUND_TRIP[dtype]
    np.testing.assert_allclose(model.transform(neutral), Z[:, label], atol=tolerance)
    gap = np.ptp([neutral[s == group, 1].mean() for group in (0, 1)])
    assert gap < 0.5 * np.ptp([X[s == group, 1].mean() for group in (0, 1)])


def test__transform__of_rows_alone_is_that_of_the_batch():
    X = make_rows()[0]
    model = fitted()
    Z = model.transform(X)
    alone = np.vstack([model.transform(row[None]) for row in X])
    np.testing.assert_allclose(alone, Z, atol=1e-12)  # float64: products of other shapes round
    order = np.random.default_rng(0).permutation(N_ROWS)
    np.testing.assert_allclose(model.transform(X[order]), Z[order], atol=1e-12)


@pytest.mark.parametrize(("library", "kind"), [("pandas", pd.DataFrame), ("polars", pl.DataFrame)])
@pytest.mark.parametrize("output", ["label", "full"])
def test__set_output__gives_named_columns(library, kind, output):
    X, y, s = make_rows()
    wanted = quick(output=output).fit_transform(X, y, sensitive_features=s)
    model = quick(output=output).set_output(transform=library)
    tables = [model.fit_transform(X, y, sensitive_features=s), model.transform(X)]
    names = [f"fairlatenttransformer{i}" for i in range(wanted.shape[1])]
    for table in tables:
        assert isinstance(table, kind)
        assert list(table.columns) == names
        np.testing.assert_array_equal(table.to_numpy(), wanted)
    assert list(model.get_feature_names_out()) == names
    np.testing.assert_array_equal(
        model.inverse_transform(tables[0]), model.inverse_transform(wanted)
    )


def test__set_output__keeps_the_index():
    X, y, s = make_rows()
    table = pd.DataFrame(X, index=[f"row{i}" for i in range(N_ROWS)]).add_prefix("x")
    Z = quick().set_output(transform="pandas").fit_transform(table, y, sensitive_features=s)
    assert list(Z.index) == list(table.index)


def test__get_feature_names_out__in_a_pipeline():
    X, y, s = make_rows()
    pipe = make_pipeline(quick(output="full"), PCA(2))
    pipe.fit(X, y, fairlatenttransformer__sensitive_features=s)
    assert list(pipe[:-1].get_feature_names_out()) == [
        f"fairlatenttransformer{i}" for i in range(N_FEATURES)
    ]


# --- What goes in ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind",
    [
        pd.DataFrame,
        lambda X: pd.DataFrame(X).add_prefix("x"),
        lambda X: pl.DataFrame(X, schema=[f"x{i}" for i in range(N_FEATURES)]),
        lambda X: X.tolist(),
        np.asfortranarray,
        torch.from_numpy,
    ],
    ids=["DataFrame", "named DataFrame", "polars", "list", "by columns", "tensor"],
)
def test__fit__takes_rows_in_any_container(kind):
    X, y, s = make_rows()
    wanted = fitted().transform(X)
    given = kind(X)
    model = quick().fit(given, y, sensitive_features=s)
    np.testing.assert_array_equal(model.transform(given), wanted)
    assert model.n_features_in_ == N_FEATURES
    if not isinstance(given, pl.DataFrame):  # whose names scikit-learn sees from 1.7 on
        named = all(isinstance(name, str) for name in getattr(given, "columns", [0]))
        assert hasattr(model, "feature_names_in_") == named


@pytest.mark.parametrize("dtype", [np.int64, np.uint8, bool, np.float16])
def test__fit__takes_numbers_of_any_type(dtype):
    X, y, s = make_rows()
    given = (10 * np.abs(X)).astype(dtype) if dtype is not bool else X > 0
    model = quick().fit(given, y, sensitive_features=s)
    Z = model.transform(given)
    assert Z.dtype == np.float64
    np.testing.assert_array_equal(Z, model.transform(given.astype(np.float64)))


S = make_rows()[2]
WORDS = np.array(["man", "woman"])[S]


@pytest.mark.parametrize(
    ("sensitive_features", "groups", "name"),
    [
        (S, ["0", "1"], "sensitive_feature_0"),
        (S.astype(float), ["0", "1"], "sensitive_feature_0"),
        (S.astype(bool), ["False", "True"], "sensitive_feature_0"),
        (S[:, None], ["0", "1"], "sensitive_feature_0"),
        (S.tolist(), ["0", "1"], "sensitive_feature_0"),
        (WORDS, ["man", "woman"], "sensitive_feature_0"),
        (WORDS.astype(object), ["man", "woman"], "sensitive_feature_0"),
        (WORDS.tolist(), ["man", "woman"], "sensitive_feature_0"),
        (pd.Series(WORDS), ["man", "woman"], "sensitive_feature_0"),
        (pd.Series(WORDS, name="Sex", dtype="category"), ["man", "woman"], "Sex"),
        (pd.Series(WORDS, name="Sex", index=range(5, N_ROWS + 5)), ["man", "woman"], "Sex"),
        (pd.DataFrame({"Sex": WORDS}), ["man", "woman"], "Sex"),
        (pl.Series("Sex", WORDS), ["man", "woman"], "Sex"),
        (pl.DataFrame({"Sex": WORDS}), ["man", "woman"], "Sex"),
    ],
)
def test__fit__takes_sensitive_features_in_any_container(sensitive_features, groups, name):
    X, y, _ = make_rows()
    model = quick().fit(X, y, sensitive_features=sensitive_features)
    assert model.groups_ == groups
    assert model.attributes_ == [(name, groups)]
    np.testing.assert_array_equal(model.transform(X), fitted().transform(X))


@pytest.mark.parametrize("as_table", [False, True])
def test__fit__crosses_two_attributes(as_table):
    X, y, s = make_rows()
    young = np.array(["no", "yes"])[np.arange(N_ROWS) // 4 % 2]
    both = pd.DataFrame({"Male": s, "Young": young})
    if as_table:
        groups = [f"Male={m}, Young={a}" for m in (0, 1) for a in ("no", "yes")]
        attributes = [("Male", ["0", "1"]), ("Young", ["no", "yes"])]
    else:
        both = both.to_numpy()
        groups = [f"{m}, {a}" for m in (0, 1) for a in ("no", "yes")]
        attributes = [("sensitive_feature_0", ["0", "1"]), ("sensitive_feature_1", ["no", "yes"])]
    model = quick().fit(X, y, sensitive_features=both)
    assert model.groups_ == groups
    assert model.attributes_ == attributes
    assert np.isfinite(model.transform(X)).all()
    assert not np.array_equal(model.transform(X), fitted().transform(X))  # the second one matters


def test__fit__three_groups():
    X, y, _ = make_rows()
    s = np.array(["a", "b", "c"])[np.arange(N_ROWS) // 2 % 3]
    model = quick().fit(X, y, sensitive_features=s)
    assert model.groups_ == ["a", "b", "c"]
    assert (model.history_["loss_di"] != 0).all()  # an unbiased estimate may be negative


@pytest.mark.parametrize(
    ("y", "classes"),
    [
        (np.arange(N_ROWS) % 3, [0, 1, 2]),
        (np.array(["c", "a", "b"])[np.arange(N_ROWS) % 3], ["a", "b", "c"]),
        (np.array([-1.0, 1.0])[make_rows()[1]], [-1.0, 1.0]),
        (make_rows()[1].astype(bool), [False, True]),
        (make_rows()[1][:, None], [0, 1]),
        (pd.Series(["no", "yes"] * (N_ROWS // 2), dtype="category"), ["no", "yes"]),
        (pd.DataFrame({"label": ["no", "yes"] * (N_ROWS // 2)}), ["no", "yes"]),
        (["no", "yes"] * (N_ROWS // 2), ["no", "yes"]),
        (pl.Series(["no", "yes"] * (N_ROWS // 2)), ["no", "yes"]),
    ],
)
def test__fit__labels_of_any_kind(y, classes):
    X, _, s = make_rows()
    model = quick().fit(X, y, sensitive_features=s)
    assert model.classes_.tolist() == classes
    assert model.label_slice_.stop == len(classes) - 1


@pytest.mark.parametrize("kind", [np.asarray, pd.DataFrame, pl.DataFrame, lambda y: y.tolist()])
def test__fit__several_label_columns(kind):
    X, y, s = make_rows()
    second = np.arange(N_ROWS) // 4 % 3
    model = quick().fit(X, kind(np.column_stack([y, second])), sensitive_features=s)
    assert [classes.tolist() for classes in model.classes_] == [[0, 1], [0, 1, 2]]
    assert model.label_slice_.stop == 1 + 2


def test__fit__label_columns_may_share_a_name_and_differ_in_type():
    X, y, _ = make_rows()
    table = pd.concat([pd.Series(y, name="a"), pd.Series(WORDS, name="a")], axis=1)
    model = quick().fit(X, table, sensitive_features=np.arange(N_ROWS) // 4 % 2)
    assert [classes.tolist() for classes in model.classes_] == [[0, 1], ["man", "woman"]]


def test__fit__names_of_labels_and_groups_change_nothing():
    X, y, s = make_rows()
    named = quick().fit(
        X, np.array(["no", "yes"])[y], sensitive_features=np.array(["man", "woman"])[s]
    )
    np.testing.assert_array_equal(named.transform(X), fitted().transform(X))


def test__fit__without_sensitive_features_warns_and_fits():
    X, y, _ = make_rows()
    with pytest.warns(FairLatentWarning, match="nothing is done about fairness. Pass fit"):
        model = quick().fit(X, y)
    assert model.groups_ == []
    assert model.attributes_ == []
    assert (model.history_["loss_di"] == 0).all()
    assert np.isfinite(model.transform(X)).all()


# --- Training as the user sees it --------------------------------------------------------------


def test__history__has_a_row_an_epoch_and_a_column_a_term():
    model = fitted(max_iter=4, lambda_di=2.0)
    history = model.history_
    assert history["epoch"].tolist() == [1, 2, 3, 4]
    assert model.n_iter_ == 4
    terms = {"dg": 0.3, "eq": 0.3, "di": 2.0, "g": 0.1, "cls": 3.0}
    weights = {name: getattr(model, f"lambda_{name}") for name in terms}
    total = sum(weight * history[f"loss_{name}"] for name, weight in weights.items())
    np.testing.assert_allclose(history["loss"], total, rtol=1e-5)  # summed in float32
    assert history["validation_loss"].isna().all()


def test__early_stopping__stops_and_records_the_validation_loss(monkeypatch):
    monkeypatch.setattr(early_stopping, "PATIENCE_STEPS", 8)
    X, y, s = make_rows()
    model = quick(
        max_iter=200,
        early_stopping=True,
        n_iter_no_change=2,
        validation_fraction=0.3,
        tol=0.01,
        learning_rate_init=0.01,
    )
    model.fit(X, y, sensitive_features=s)
    assert 20 < model.n_iter_ < 200
    assert model.history_["validation_loss"].notna().all()


def test__warm_start__goes_on_where_the_first_fit_stopped():
    X, y, s = make_rows()
    parameters = {"max_iter": 10, "learning_rate_init": 0.003, "input_noise": 1.0}
    model = quick(**parameters).fit(X, y, sensitive_features=s)
    cold = model.history_["loss"]
    model.set_params(warm_start=True).fit(X, y, sensitive_features=s)
    warm = model.history_["loss"]
    assert len(warm) == len(cold) == model.n_iter_
    assert warm.iloc[-1] < cold.iloc[-1]
    assert warm.iloc[0] < cold.iloc[0]
    model.set_params(warm_start=False).fit(X, y, sensitive_features=s)
    pd.testing.assert_series_equal(model.history_["loss"], cold)


def test__warm_start__first_fit_is_an_ordinary_one():
    np.testing.assert_array_equal(
        fitted(warm_start=True).transform(make_rows()[0]), fitted().transform(make_rows()[0])
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_blocks": 3}, r"= \(6, 2, 8\), but .* ask for \(6, 3, 8\): set warm_start=False"),
        ({"hidden_features": 9}, r"ask for \(6, 2, 9\)"),
    ],
)
def test__warm_start__refuses_another_network(change, message):
    X, y, s = make_rows()
    model = fitted(warm_start=True).set_params(**change)
    with pytest.raises(ValueError, match=message):
        model.fit(X, y, sensitive_features=s)


def test__warm_start__refuses_another_width():
    X, y, s = make_rows()
    model = fitted(warm_start=True)
    wanted = model.transform(X)
    with pytest.raises(ValueError, match=r"ask for \(4, 2, 8\): set warm_start=False to start"):
        model.fit(X[:, :4], y, sensitive_features=s)
    np.testing.assert_array_equal(model.transform(X), wanted)


def test__fit__again_forgets_the_first_fit():
    X, y, s = make_rows()
    table = pd.DataFrame(X).add_prefix("x")
    attributes = pd.DataFrame({"a": y, "b": np.arange(N_ROWS) // 4 % 2})
    model = quick().fit(table, WORDS, sensitive_features=attributes)
    model.fit(X[:, :4], y, sensitive_features=s)
    fresh = quick().fit(X[:, :4], y, sensitive_features=s)
    assert vars(model).keys() == vars(fresh).keys()
    assert model.classes_.tolist() == [0, 1]
    assert model.attributes_ == fresh.attributes_
    np.testing.assert_array_equal(model.transform(X[:, :4]), fresh.transform(X[:, :4]))


def test__verbose__shows_a_bar_on_stderr_only(capsys):
    fitted(verbose=True)
    shown = capsys.readouterr()
    assert "FairLatentTransformer" in shown.err
    assert "2/2" in shown.err
    assert "loss=" in shown.err
    assert shown.out == ""
    fitted()
    assert capsys.readouterr() == ("", "")


# --- Random numbers ----------------------------------------------------------------------------


@pytest.mark.parametrize("distance", ["energy", "sliced_wasserstein", "moment", "contrastive"])
def test__random_state__decides_every_bit(distance):
    first, second = fitted(distance=distance), fitted(distance=distance)
    for name, value in first.flow_.state_dict().items():
        assert torch.equal(second.flow_.state_dict()[name], value), name
    pd.testing.assert_frame_equal(first.history_, second.history_, check_exact=True)
    other = fitted(distance=distance, random_state=1)
    assert not np.array_equal(other.transform(make_rows()[0]), first.transform(make_rows()[0]))


def test__random_state__does_not_depend_on_the_global_one():
    X = make_rows()[0]
    wanted = fitted().transform(X)
    torch.manual_seed(123)
    np.random.seed(123)  # noqa: NPY002
    np.testing.assert_array_equal(fitted().transform(X), wanted)


def global_states():
    numpy_state = np.random.get_state()  # noqa: NPY002
    return (
        torch.get_rng_state().numpy().tobytes(),
        numpy_state[1].tobytes(),
        numpy_state[2],
        random.getstate(),
    )


@pytest.mark.parametrize("random_state", [None, 0, np.random.RandomState(0)])
def test__global_random_state__is_left_as_it_was(random_state):
    before = global_states()
    model = fitted(random_state=random_state, early_stopping=True, validation_fraction=0.2)
    model.inverse_transform(model.transform(make_rows()[0]))
    assert global_states() == before


def test__random_state__none_draws_a_new_seed():
    X = make_rows()[0]
    first = fitted(random_state=None).transform(X)
    assert not np.array_equal(fitted(random_state=None).transform(X), first)


def test__random_state__an_instance_moves_on():
    X = make_rows()[0]
    state = np.random.RandomState(0)
    first, second = (fitted(random_state=state).transform(X) for _ in range(2))
    assert not np.array_equal(first, second)
    again = fitted(random_state=np.random.RandomState(0)).transform(X)
    np.testing.assert_array_equal(first, again)


# --- Encoders ----------------------------------------------------------------------------------

SIDE = 4
N_COMPONENTS = 8


class FlatPCA(TransformerMixin, BaseEstimator):
    """Images to principal components and back, counting the images it encodes."""

    def __init__(self, n_components=N_COMPONENTS):
        self.n_components = n_components

    def fit(self, X, y=None):
        del y
        self.shape_ = X.shape[1:]
        self.pca_ = PCA(self.n_components, random_state=0).fit(X.reshape(len(X), -1))
        return self

    def transform(self, X):
        FlatPCA.n_encoded += len(X)
        return self.pca_.transform(np.stack(X).reshape(len(X), -1))

    def inverse_transform(self, Z):
        return self.pca_.inverse_transform(Z).reshape(len(Z), *self.shape_)

    n_encoded = 0


class EncodeOnly(FlatPCA):
    inverse_transform = None

    def __getattribute__(self, name):
        if name == "inverse_transform":
            raise AttributeError(name)
        return super().__getattribute__(name)


def make_images():
    """Images in a space of N_COMPONENTS dimensions, which as many components hold exactly."""
    _, y, s = make_rows()
    rng = np.random.default_rng(1)
    factors = rng.normal(size=(N_ROWS, N_COMPONENTS))
    factors[:, 0] += 2 * y
    factors[:, 1] += 2 * s
    images = factors @ rng.normal(size=(N_COMPONENTS, SIDE * SIDE * 3))
    return images.reshape(N_ROWS, SIDE, SIDE, 3), y, s


@pytest.fixture
def encoder(monkeypatch):
    encoder = FlatPCA().fit(make_images()[0])
    monkeypatch.setattr(FlatPCA, "n_encoded", 0)
    return encoder


def test__encoder__fit_transform_encodes_every_image_once(encoder):
    images, y, s = make_images()
    model = quick(encoder)
    Z = model.fit_transform(images, y, sensitive_features=s)
    assert FlatPCA.n_encoded == N_ROWS
    np.testing.assert_array_equal(model.transform(images), Z)
    assert FlatPCA.n_encoded == 2 * N_ROWS


def test__encoder__pipeline_encodes_every_training_image_once(encoder):
    images, y, s = make_images()
    pipe = make_pipeline(quick(encoder), LogisticRegression())
    pipe.fit(images, y, fairlatenttransformer__sensitive_features=s)
    assert FlatPCA.n_encoded == N_ROWS


def test__encoder__round_trip_of_images(encoder):
    images, y, s = make_images()
    model = quick(encoder).fit(images, y, sensitive_features=s)
    assert model.n_features_in_ == N_COMPONENTS
    back = model.inverse_transform(model.latent(images))
    assert back.shape == images.shape
    np.testing.assert_allclose(back, images, atol=100 * ROUND_TRIP[np.float64])
    neutral = model.inverse_transform(model.transform(images))
    assert neutral.shape == images.shape
    assert np.abs(neutral - images).max() > 0.1  # something was replaced


def test__encoder__embeddings_pass_it_by(encoder):
    images, y, s = make_images()
    E = encoder.transform(images)
    FlatPCA.n_encoded = 0
    from_images = quick(encoder).fit(images, y, sensitive_features=s)
    FlatPCA.n_encoded = 0
    from_embeddings = quick(encoder).fit(E, y, sensitive_features=s)
    assert FlatPCA.n_encoded == 0
    np.testing.assert_array_equal(from_embeddings.transform(E), from_images.transform(E))
    assert from_embeddings.inverse_transform(from_embeddings.latent(E)).shape == E.shape
    # Each returns what its fit was given.
    assert from_images.inverse_transform(from_images.latent(E)).shape == images.shape


@pytest.mark.parametrize(
    "kind", [list, tuple, lambda images: pd.Series(list(images))], ids=["list", "tuple", "Series"]
)
def test__encoder__takes_images_in_a_list(encoder, kind):
    images, y, s = make_images()
    wanted = quick(encoder).fit_transform(images, y, sensitive_features=s)
    found = quick(encoder).fit_transform(kind(images), y, sensitive_features=s)
    np.testing.assert_array_equal(found, wanted)


def test__encoder__takes_paths_as_they_are():
    class Names:
        def transform(self, X):
            return np.array([[len(name), ord(name[0]), i] for i, name in enumerate(X)], float)

    _, y, s = make_rows()
    names = [f"{'abc'[i % 3]}{'x' * (i % 5)}.png" for i in range(N_ROWS)]
    wanted = quick(Names()).fit_transform(names, y, sensitive_features=s)
    for given in (np.array(names), np.array(names, dtype=object), pd.Series(names, index=names)):
        found = quick(Names()).fit_transform(given, y, sensitive_features=s)
        np.testing.assert_array_equal(found, wanted)


def test__encoder__that_cannot_decode_works_until_asked_to(encoder):
    images, y, s = make_images()
    one_way = EncodeOnly().fit(images)
    model = quick(one_way).fit(images, y, sensitive_features=s)
    np.testing.assert_array_equal(
        model.transform(images),
        quick(encoder).fit(images, y, sensitive_features=s).transform(images),
    )
    with pytest.raises(TypeError, match=r"has no inverse_transform.*an encoder that can decode"):
        model.inverse_transform(model.latent(images))


def test__encoder__that_is_not_trained_says_so():
    images, y, s = make_images()
    with pytest.raises((NotFittedError, AttributeError), match=r"pca_|not fitted"):
        quick(FlatPCA()).fit(images, y, sensitive_features=s)


@pytest.mark.usefixtures("routing")
def test__encoder__stays_trained_in_clones_and_searches(encoder):
    images, y, s = make_images()
    pipe = make_pipeline(quick(encoder), LogisticRegression())
    assert clone(pipe)[0].encoder is encoder
    search = GridSearchCV(
        pipe, {"fairlatenttransformer__lambda_di": [0.0, 5.0]}, cv=2, error_score="raise"
    )
    search.fit(images, y, sensitive_features=s)
    assert search.predict(images[:3]).shape == (3,)
    # Per candidate: fit on one half, score on the other; then the last fit, and three rows.
    assert FlatPCA.n_encoded == 2 * 2 * N_ROWS + N_ROWS + 3


def test__encoder__labels_are_checked_before_images_are_encoded(encoder):
    images, y, s = make_images()
    for bad_y, bad_s, message in (
        (np.zeros(N_ROWS), s, "one class"),
        (y, np.zeros(N_ROWS), "one group"),
        (y[1:], s, "y has 119"),
        (None, s, "requires y"),
    ):
        with pytest.raises(ValueError, match=message):
            quick(encoder).fit(images, bad_y, sensitive_features=bad_s)
    assert FlatPCA.n_encoded == 0


def test__encoder__that_cannot_be_pickled_can_be_used():
    images, y, s = make_images()
    one_way = EncodeOnly().fit(images)
    one_way.pca_.note = lambda: None
    model = quick(one_way).fit(images, y, sensitive_features=s)
    assert ".EncodeOnly:" in model.encoder_fingerprint_


def test__encoder_fingerprint__tells_encoders_apart(encoder):
    images, y, s = make_images()

    def fingerprint(encoder):
        return quick(encoder).fit(images, y, sensitive_features=s).encoder_fingerprint_

    wanted = fingerprint(encoder)
    assert fingerprint(pickle.loads(pickle.dumps(encoder))) == wanted  # noqa: S301
    assert fingerprint(FlatPCA().fit(2 * images)) != wanted
    assert fitted().encoder_fingerprint_ == "diffae"
    assert fitted(encoder=None).encoder_fingerprint_ is None


# --- What is kept ------------------------------------------------------------------------------


def traces(content, X, y, s):
    """Name what of the training data can be found in bytes."""
    rows = [("X", row) for row in X] + [("X standardised", r) for r in (X - X.mean(0)) / X.std(0)]
    found = {
        name
        for name, row in rows
        for dtype in (np.float32, np.float64)
        # Three values in a row are no accident, and survive being stored by parts.
        if row.astype(dtype)[:3].tobytes() in content
    }
    for name, column in (("y", y), ("s", s)):
        for dtype in (np.int64, np.int32, np.int8, np.float32, np.float64):
            if column[:16].astype(dtype).tobytes() in content:
                found.add(name)
    return found


def test__pickle__holds_no_rows(tmp_path):
    X = make_rows()[0]
    rng = np.random.default_rng(3)
    y, s = rng.integers(2, size=(2, N_ROWS))
    model = quick(early_stopping=True, validation_fraction=0.2).fit(X, y, sensitive_features=s)
    model.save(tmp_path / "model")
    for content in (pickle.dumps(model), (tmp_path / "model").read_bytes()):
        assert traces(content, X, y, s) == set()
    # The search would find them.
    model.rows_ = X, (X - X.mean(0)) / X.std(0), y, s
    assert traces(pickle.dumps(model), X, y, s) == {"X", "X standardised", "y", "s"}


@pytest.mark.slow
def test__fit__keeps_no_memory_of_the_rows():
    """Whatever refers to the rows, pickled or not, would keep them alive."""
    X, y, s = make_rows(n_rows=40_000)
    model = quick(max_iter=1)
    model.fit(X[:100], y[:100], sensitive_features=s[:100])  # caches of the first call
    tracemalloc.start()
    try:
        model.fit(X.copy(), y, sensitive_features=s)
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < X.nbytes / 4


def test__fit__no_warning_in_ordinary_use():
    X, y, s = make_rows()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = quick(verbose=False).fit(pd.DataFrame(X), y, sensitive_features=s)
        model.inverse_transform(model.transform(pd.DataFrame(X)))
    assert [str(warning.message) for warning in caught] == []


def test__fit__trains_once(monkeypatch):
    calls = []
    train = _transformer.fit_flow

    def count(*args, **kwargs):
        calls.append(args)
        return train(*args, **kwargs)

    monkeypatch.setattr(_transformer, "fit_flow", count)
    X, y, s = make_rows()
    quick().fit_transform(X, y, sensitive_features=s)
    assert len(calls) == 1


def as_polars(table):
    return pytest.importorskip("polars").from_pandas(table)


def as_arrow(table):
    return pytest.importorskip("pyarrow").Table.from_pandas(table)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "form",
    [lambda table: table, pd.DataFrame.convert_dtypes, as_polars, as_arrow],
    ids=["pandas", "nullable", "polars", "arrow"],
)
def test__fit__keeps_values_names_and_precision_of_any_table(form, dtype):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 4)).astype(dtype)
    y, s = np.arange(60) % 2, np.arange(60) // 2 % 2
    table = form(pd.DataFrame(X, columns=list("abcd")))
    fair = FairLatentTransformer(None, max_iter=2, hidden_features=8, random_state=0, device="cpu")
    wanted = fair.fit(X, y, sensitive_features=s).transform(X)
    found = fair.fit(table, y, sensitive_features=s).transform(table)
    assert found.dtype == dtype
    np.testing.assert_allclose(found, wanted, atol=1e-5)  # sums by columns round otherwise
    # scikit-learn 1.6 finds no names in tables of new releases of polars.
    named = hasattr(StandardScaler().fit(table), "feature_names_in_")
    assert not named or fair.feature_names_in_.tolist() == list("abcd")
