"""Input that cannot be trained on is refused before training, and hard input is survived."""

import re
import tracemalloc
import warnings
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pandas as pd
import polars as pl
import pytest
import sklearn
import torch
from scipy import sparse
from sklearn import compose, pipeline, preprocessing
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from skfairlatent import FairLatentTransformer, _transformer
from skfairlatent._validation import features as _features
from skfairlatent._validation.annotations import encode_annotations
from skfairlatent.exceptions import FairLatentWarning

N_ROWS, N_FEATURES = 96, 6
# Round trip of a short training in float32, relative to the size of a feature: measured 1e-6.
ROUND_TRIP_FLOAT32 = 1e-5


def make_rows(n_rows=N_ROWS, dtype=np.float64):
    rng = np.random.default_rng(0)
    y, s = np.arange(n_rows) % 2, np.arange(n_rows) // 2 % 2
    X = rng.normal(size=(n_rows, N_FEATURES))
    X[:, 0] += y
    X[:, 1] += 2 * s
    return X.astype(dtype), y, s


def quick(**parameters):
    defaults = {"max_iter": 2, "n_blocks": 2, "hidden_features": 8, "random_state": 0}
    return FairLatentTransformer(**{**defaults, "device": "cpu", **parameters})


@pytest.fixture
def refused(monkeypatch):
    """Return a function that expects an error with this message, before training starts."""

    def train(*_, **__):
        pytest.fail("training started")

    monkeypatch.setattr(_transformer, "fit_flow", train)

    def expect(message, X, y, s, error=ValueError, **parameters):
        model = quick(**parameters)
        with pytest.raises(error, match=message):
            model.fit(X, y, sensitive_features=s)
        with pytest.raises(NotFittedError):
            model.transform(X)

    return expect


def test__refused__would_notice_training(refused):
    """Or every test below would pass whenever anything fails later on."""
    X, y, s = make_rows()
    with pytest.raises(pytest.fail.Exception, match="training started"):
        refused("never", X, y, s)


# --- X -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "message"),
    [(np.nan, "Input X contains NaN"), (np.inf, "X contains infinity"), (-np.inf, "infinity")],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test__fit__refuses_values_that_are_not_finite(refused, value, message, dtype):
    X, y, s = make_rows(dtype=dtype)
    X[7, 2] = value
    refused(message, X, y, s)


def test__fit__refuses_missing_values_in_a_table(refused):
    X, y, s = make_rows()
    table = pd.DataFrame(X).assign(count=pd.array([None] + [1] * (N_ROWS - 1), dtype="Int64"))
    table.columns = table.columns.astype(str)
    refused("Input X contains NaN", table, y, s)


@pytest.mark.parametrize("values", [["a", "b"], [None, "b"], ["1", "b"], [b"a", b"b"]])
def test__fit__names_columns_that_are_not_numeric(refused, values):
    X, y, s = make_rows()
    table = pd.DataFrame(X).add_prefix("x").assign(Race=values * (N_ROWS // 2))
    refused(r"X has columns that are not numeric: \['Race'\].*OneHotEncoder", table, y, s)


def test__fit__asks_for_the_column_of_a_table_of_paths(refused):
    _, y, s = make_rows()
    table = pd.DataFrame({"path": ["a.png"] * N_ROWS})
    refused(r"with images in a column: pass X\['path'\]", table, y, s)


def test__fit__advice_for_text_columns_works():
    X, y, s = make_rows()
    table = pd.DataFrame(X).add_prefix("x").assign(Race=["a", "b"] * (N_ROWS // 2), Job="none")
    with pytest.raises(ValueError, match="Encode them first") as caught:
        quick().fit(table, y, sensitive_features=s)
    advice = re.search(r"e\.g\. (.*)\.$", str(caught.value)).group(1)
    names = {**vars(compose), **vars(pipeline), **vars(preprocessing)}
    pipe = eval(advice, {**names, "FairLatentTransformer": quick})  # noqa: S307 - our own words
    name = pipe.steps[-1][0]
    Z = pipe.fit_transform(table, y, **{f"{name}__sensitive_features": s})
    assert Z.shape == (N_ROWS, 1)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (lambda X: np.array(X, dtype=object), "1"),
        (list, "1"),
        (lambda X: pl.DataFrame(X, schema=["a", "b"], orient="row"), "'b'"),
        (lambda X: pd.DataFrame(X, columns=["a", "b"]), "'b'"),
        (lambda X: pd.DataFrame(X, columns=["a", "b"]).astype({"b": "category"}), "'b'"),
    ],
)
def test__fit__names_text_of_any_kind(refused, kind, name):
    _, y, s = make_rows()
    X = kind([[row, "xyz"[row % 3]] for row in range(N_ROWS)])
    refused(rf"not numeric: \[{name}\].*OneHotEncoder.*\[{name}\]", X, y, s)


@pytest.mark.parametrize(
    "dates", [pd.date_range("2020", periods=N_ROWS), pd.timedelta_range("1s", periods=N_ROWS)]
)
@pytest.mark.parametrize(
    "kind",
    [
        pd.DataFrame,
        pl.from_pandas,
        lambda table: table.assign(when=table["when"].astype(object)),
        lambda table: table.set_axis([*table.columns[:-1], ""], axis=1).rename(
            columns={"": "when"}
        ),
    ],
)
def test__fit__advice_for_dates_works(dates, kind):
    X, y, s = make_rows()
    X = kind(pd.DataFrame(X).add_prefix("x").assign(when=dates))
    with pytest.raises(ValueError, match=r"dates or times: \['when'\]") as caught:
        quick().fit(X, y, sensitive_features=s)
    advice = re.search(r"e\.g\. (.*)\.$", str(caught.value)).group(1)
    numbers = eval(advice, {"X": X, "pandas": pd, "polars": pl})  # noqa: S307 - our own words
    assert quick().fit_transform(numbers, y, sensitive_features=s).shape == (N_ROWS, 1)


def days_as_advised(X):
    """Refuse a table with a column "when", and return this column as the refusal says."""
    _, y, s = make_rows(len(X))
    with pytest.raises(ValueError, match="dates or times") as caught:
        quick().fit(X, y, sensitive_features=s)
    advice = re.search(r"e\.g\. (.*)\.$", str(caught.value)).group(1)
    found = eval(advice, {"X": X, "pandas": pd, "polars": pl})  # noqa: S307 - our own words
    return np.asarray(found["when"] if hasattr(found, "columns") else found, dtype=np.float64)


def arrow_table(table):
    return pytest.importorskip("pyarrow").Table.from_pandas(table)


@pytest.mark.parametrize("zone", [None, "Europe/Zurich"])
@pytest.mark.parametrize(
    "kind",
    [
        lambda table: table,
        lambda table: table.astype({"when": object}),
        lambda table: table.assign(when=table["when"].dt.date),
        lambda table: table.assign(when=table["when"].dt.tz_localize(None).dt.to_period("D")),
        pl.from_pandas,
        lambda table: pl.from_pandas(table).with_columns(pl.col("when").dt.date()),
        arrow_table,
    ],
    ids=["pandas", "objects", "date", "period", "polars", "day of polars", "Arrow"],
)
def test__fit__advice_for_dates_is_the_same_for_later_rows(kind, zone):
    """Days from one date on, for every table and library; a zone moves them by its hours."""
    when = pd.date_range("2019-12-01", periods=N_ROWS, tz=zone)
    table = pd.DataFrame({"x": np.arange(N_ROWS) / 2, "when": when})
    later = table.iloc[N_ROWS // 2 :]
    days = 18231 + np.arange(N_ROWS)
    np.testing.assert_allclose(days_as_advised(kind(table)), days, atol=0.1)
    np.testing.assert_allclose(days_as_advised(kind(later)), days[N_ROWS // 2 :], atol=0.1)


def test__fit__advice_for_dates_of_an_array_counts_days():
    rows = np.array([[1.5, pd.Timestamp(2020, 1, 2)], [2.5, pd.Timestamp(2021, 1, 2)]] * 8)
    spans = np.array([[1.5, pd.Timedelta(hours=12)], [2.5, pd.Timedelta(days=3)]] * 8)
    np.testing.assert_array_equal(days_as_advised(rows)[:2], [18263.0, 18629.0])
    np.testing.assert_array_equal(days_as_advised(spans)[:2], [0.5, 3.0])


def as_advised(X, y, s):
    """Return what a refusal of X, y and s says to pass."""
    with pytest.raises(TypeError) as caught:
        quick().fit(X, y, sensitive_features=s)
    advice = re.search(r"pass (.*)\.$", str(caught.value)).group(1)
    return eval(advice, {"X": X, "pandas": pd, "numpy": np})  # noqa: S307 - our own words


@pytest.mark.parametrize(
    "make",
    [
        lambda table: table.assign(flag=pd.arrays.SparseArray(np.arange(N_ROWS) % 10 == 0)),
        lambda table: pd.Series(table.to_dict("records"), table.index),
    ],
    ids=["sparse columns", "dictionaries"],
)
def test__fit__advice_for_a_shuffled_table_keeps_its_index(make):
    """Or the labels, brought into the order of a new index, would be those of other rows."""
    X, y, s = make_rows()
    table = pd.DataFrame(X).add_prefix("x")
    order = np.random.default_rng(0).permutation(N_ROWS)
    given, y, s = (each.iloc[order] for each in (make(table), pd.Series(y), pd.Series(s)))
    dense = as_advised(given, y, s)
    pd.testing.assert_frame_equal(dense[table.columns], table.iloc[order])
    Z = quick().fit_transform(dense, y, sensitive_features=s)
    assert Z.shape == (N_ROWS, 1)


@pytest.mark.parametrize("kind", [pd.Series, lambda rows: pd.DataFrame({"embedding": rows})])
def test__fit__advice_for_a_column_of_vectors_works(kind):
    X, y, s = make_rows()
    X = kind(list(X))
    with pytest.raises(ValueError, match=r"arrays of shape \(\d,\)") as caught:
        quick().fit(X, y, sensitive_features=s)
    advice = re.search(r"pass (.*)\.$", str(caught.value)).group(1)
    rows = eval(advice, {"X": X, "np": np})  # noqa: S307 - our own words
    assert quick().fit_transform(rows, y, sensitive_features=s).shape == (N_ROWS, 1)


def as_decimals(X):
    return pd.DataFrame([[Decimal(f"{value:.6f}") for value in row] for row in X])


@pytest.mark.parametrize(
    "kind",
    [
        lambda X: X.astype(np.float16),
        lambda X: X.astype(np.longdouble),
        lambda X: X > 0,
        lambda X: (X * 1e18).astype(np.int64),
        lambda X: pd.DataFrame(X).astype("Float64"),
        lambda X: pd.DataFrame(X > 0).astype("boolean"),
        as_decimals,
        lambda X: pd.DataFrame([[Fraction(value) for value in row] for row in X]),
        np.ma.array,
    ],
)
def test__fit__takes_numbers_of_any_type(kind):
    X, y, s = make_rows()
    Z = quick().fit_transform(kind(X), y, sensitive_features=s)
    assert np.isfinite(Z).all()


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        (
            lambda X: np.ma.masked_less(X, -1),
            ValueError,
            r"X has \d+ masked value.*X\.filled\(0\)",
        ),
        (lambda X: dict(enumerate(X.T)), TypeError, r"X is of type dict.*pandas\.DataFrame\(X\)"),
        (lambda X: (row for row in X), TypeError, r"X is of type generator.*pass list\(X\)"),
        (lambda _: {1, 2}, TypeError, "X is of type set, which has no order"),
        (lambda X: pl.DataFrame(X).lazy(), TypeError, r"X is of type LazyFrame.*X\.collect\(\)"),
    ],
)
def test__fit__refuses_containers_without_rows(refused, given, error, message):
    X, y, s = make_rows()
    refused(message, given(X), y, s, error=error)


def test__fit__refuses_rows_in_another_order(refused):
    X, y, s = make_rows()
    table = pd.DataFrame(X).add_prefix("x")
    shuffled = pd.Series(s).sample(frac=1, random_state=0)
    refused("sensitive_features has the index of X in another order", table, y, shuffled)
    refused("y has the index of X in another order", table, shuffled, s)


def test__fit__takes_numbers_that_are_objects():
    X, y, s = make_rows()
    wanted = quick().fit_transform(X, y, sensitive_features=s)
    for given in (X.astype(object), pd.DataFrame(X.astype(object)), pd.DataFrame(X)):
        found = quick().fit_transform(given, y, sensitive_features=s)
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (np.zeros((N_ROWS, 3, 2)), "Found array with dim 3"),
        (np.zeros(N_ROWS), "Expected 2D array, got 1D array"),
        (np.zeros((N_ROWS, 1)), r"1 feature\(s\).*minimum of 2"),
        (np.zeros((N_ROWS, 0)), r"0 feature\(s\)"),
        (np.zeros((0, 3)), r"0 sample\(s\)"),
        (np.zeros((1, 3)), r"1 sample\(s\).*minimum of 2"),
        (np.zeros((N_ROWS, 3), dtype=complex), "Complex data not supported"),
        (None, "(?i)expected 2D array, got scalar|NoneType"),
    ],
)
def test__fit__refuses_other_shapes(refused, X, message):
    _, y, s = make_rows()
    refused(message, X, y, s)


def test__fit__warns_of_numbers_that_were_not_cut_into_groups():
    X, y, _ = make_rows()
    ages = pd.Series(np.arange(N_ROWS) // 2 % 24 + 18, name="age")
    with pytest.warns(FairLatentWarning, match=r"'age' has 24 groups \(18, 19, 20.*pandas\.cut"):
        quick(max_iter=1).fit(X, y, sensitive_features=ages)


def test__fit__warns_of_tables_as_wide_as_flattened_images(monkeypatch):
    X, y, s = make_rows()
    monkeypatch.setattr(_features, "_MANY_COLUMNS", N_FEATURES - 1)
    message = rf"X has {N_FEATURES} columns.*PCA.*\(n, height, width, 3\)"
    with pytest.warns(FairLatentWarning, match=message) as seen:
        quick(max_iter=1).fit(X, y, sensitive_features=s)
    assert [warning.filename for warning in seen] == [__file__]


@pytest.mark.parametrize("form", [sparse.csr_array, sparse.coo_matrix, sparse.dok_array])
def test__fit__refuses_sparse_rows(refused, form):
    X, y, s = make_rows()
    refused(r"(?i)sparse .*dense.*sparse_output=False", form(X), y, s, error=TypeError)


def test__fit__refuses_images_without_an_encoder(refused):
    _, y, s = make_rows()
    images = np.zeros((N_ROWS, 4, 4, 3), dtype=np.uint8)
    refused(r"X holds images, but encoder=None.*encoder=\.\.\.", images, y, s, encoder=None)


def test__fit__refuses_an_encoder_that_returns_no_rows(refused):
    class Odd:
        def transform(self, X):
            return X[:5]

    _, y, s = make_rows()
    images = np.zeros((N_ROWS, 4, 4, 3), dtype=np.uint8)
    refused(
        r"turned 96 images into .*\(5, 4, 4, 3\).*must return shape", images, y, s, encoder=Odd()
    )


# --- y -----------------------------------------------------------------------------------------


def test__fit__refuses_no_labels(refused):
    X, _, s = make_rows()
    refused("requires y to be passed, but the target y is None", X, None, s)


@pytest.mark.parametrize(("value", "shown"), [(1, "1"), ("yes", "'yes'"), (True, "True")])
def test__fit__refuses_one_class(refused, value, shown):
    X, y, s = make_rows()
    refused(rf"y has one class only \({shown}\).*at least two classes", X, [value] * N_ROWS, s)
    two = pd.DataFrame({"a": y, "b": value})
    refused(rf"label column 1 of y has one class only \({shown}\)", X, two, s)


@pytest.mark.parametrize(
    "values", [np.linspace(0, 1, N_ROWS), np.random.default_rng(0).normal(size=N_ROWS)]
)
def test__fit__refuses_labels_that_are_real_numbers(refused, values):
    X, _, s = make_rows()
    for y in (values, values.tolist(), pd.Series(values), values.astype(np.float32)):
        refused(r"Unknown label type: continuous.*y = y > threshold, or pandas\.qcut", X, y, s)


@pytest.mark.parametrize("missing", [None, np.nan, pd.NA])
@pytest.mark.parametrize("present", ["yes", 1, 1.0, True])
@pytest.mark.parametrize("kind", [list, pd.Series, lambda v: np.array(v, dtype=object)])
def test__fit__refuses_missing_labels(refused, missing, present, kind):
    X, _, s = make_rows()
    y = ["no" if isinstance(present, str) else 0, present] * (N_ROWS // 2)
    y[5] = y[9] = missing
    refused(r"^y has 2 missing value\(s\).*, the first at row 5: drop", X, kind(y), s)


def test__fit__refuses_infinite_labels(refused):
    X, y, s = make_rows()
    refused("^y holds infinity: expected class labels", X, np.where(y == 0, np.inf, 1.0), s)


@pytest.mark.parametrize("shape", [(N_ROWS, 2, 2), (N_ROWS, 0)])
def test__fit__refuses_labels_of_other_shapes(refused, shape):
    X, _, s = make_rows()
    refused(rf"y has shape {re.escape(str(shape))}: expected \(n_samples,\)", X, np.ones(shape), s)


def test__fit__refuses_a_table_of_labels_without_columns(refused):
    X, _, s = make_rows()
    refused(r"y has shape \(96, 0\)", X, pd.DataFrame(index=range(N_ROWS)), s)


@pytest.mark.parametrize("kind", [np.asarray, list, pd.Series])
def test__fit__refuses_lengths_that_differ(refused, kind):
    X, y, s = make_rows()
    refused("X has 96 rows and y has 95", X, kind(y[:-1]), s)
    refused("X has 96 rows and sensitive_features has 90", X, y, kind(s[:90]))
    refused("inconsistent numbers of samples: X has 95 rows and y has 96", X[:-1], y, s)


@pytest.mark.parametrize("n_columns", [1, 2])
def test__fit__refuses_labels_that_name_the_rows(refused, n_columns):
    X, _, s = make_rows()
    ids = np.arange(N_ROWS * n_columns).reshape(N_ROWS, n_columns)
    for y in (ids, ids.astype(str), ids.astype(float)):
        refused("y has 96 different values in 96 rows, as an identifier", X, y, s)


def test__fit__refuses_groups_that_name_the_rows(refused):
    X, y, _ = make_rows()
    ids = pd.Series([f"person {i}" for i in range(N_ROWS)], name="who")
    refused(r"sensitive feature 'who' has 96 different values in 96 rows.*qcut", X, y, ids)


def test__fit__refuses_more_cells_than_memory_holds(refused):
    rng = np.random.default_rng(0)
    X, y, _ = make_rows(20_000)
    s = rng.integers(100, size=(20_000, 2))
    with pytest.warns(FairLatentWarning, match="has 100 groups"):
        refused(r"2 \(crossed\) classes and sensitive_features \d+ .*at most 8192", X, y, s)


def test__fit__lists_empty_cells_without_building_all():
    """5,000 labels and 400 groups have two million cells, of which a few thousand occur."""
    y, s = np.arange(4000) // 2, np.arange(4000) % 400
    tracemalloc.start()
    with pytest.warns(FairLatentWarning) as seen:
        encode_annotations(y, y, s)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 20e6
    assert any("796000 (label, group) cell(s) have no rows" in str(each.message) for each in seen)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        ([[1, 2] if row % 2 else [3] for row in range(N_ROWS)], "y holds lists.*MultiLabelBin"),
        ([{"a"} if row % 2 else {"b"} for row in range(N_ROWS)], "y holds lists.*set at row 0"),
        (np.ma.masked_equal(np.arange(N_ROWS) % 3, 2), r"y has 32 masked.*y\.filled\(0\)"),
        ([np.ma.masked, 1] * (N_ROWS // 2), "y has 1 masked value"),
        (np.array([np.datetime64("NaT")] * N_ROWS), "y has 96 missing"),
    ],
)
def test__fit__messages_about_labels_call_them_y(refused, y, message):
    X, _, s = make_rows()
    refused(f"^{message}", X, y, s)


@pytest.mark.parametrize("kind", [dict, set, iter, lambda y: y.values()])
def test__fit__refuses_containers_of_labels(refused, kind):
    X, y, s = make_rows()
    given = dict(enumerate(y))
    refused("y is of type ", X, kind(given), s, error=TypeError)
    refused("sensitive_features is of type", X, y, kind(given), error=TypeError)


def test__fit__advice_for_lists_of_labels_works():
    X, _, s = make_rows()
    y = [[1, 2] if row % 2 else [3] for row in range(N_ROWS)]
    with pytest.raises(ValueError, match="MultiLabelBinarizer") as caught:
        quick().fit(X, y, sensitive_features=s)
    advice = re.search(r"as by (.*)\.$", str(caught.value)).group(1)
    columns = eval(advice, {"sklearn": sklearn, "y": y})  # noqa: S307 - our own words
    assert len(quick(max_iter=1).fit(X, columns, sensitive_features=s).classes_) == 3


def test__fit__takes_labels_that_are_bytes():
    X, y, s = make_rows()
    model = quick().fit(X, np.where(y > 0, b"\xff", b"a"), sensitive_features=s)
    assert model.classes_.tolist() == ["\\xff", "a"]


# --- Sensitive features ------------------------------------------------------------------------


def test__fit__refuses_one_group(refused):
    X, y, s = make_rows()
    message = r"sensitive feature {} has one group only \('7'\).*two groups.*None"
    refused(message.format("'sensitive_feature_0'"), X, y, np.full(N_ROWS, 7))
    refused(message.format("'Age'"), X, y, pd.DataFrame({"Male": s, "Age": 7}))


@pytest.mark.parametrize("missing", [None, np.nan, pd.NA])
@pytest.mark.parametrize("kind", [list, pd.Series, lambda v: pd.DataFrame({"Race": v})])
def test__fit__refuses_missing_sensitive_values(refused, missing, kind):
    X, y, _ = make_rows()
    s = ["a", "b"] * (N_ROWS // 2)
    s[3] = missing
    message = (
        r"^(column 'Race' of )?sensitive_features has 1 missing value\(s\), the first at row 3"
    )
    refused(message, X, y, kind(s))


def test__fit__refuses_infinite_groups(refused):
    X, y, s = make_rows()
    message = "^sensitive_features holds infinity, at row 2: expected groups"
    refused(message, X, y, np.where(s > 0, np.inf, 0.0))


@pytest.mark.parametrize(
    ("X", "error", "message"),
    [
        ([[1, 2]] * 5 + [[1]] + [[1, 2]] * 90, ValueError, "2 values in row 0 and 1 in row 5"),
        (pd.DataFrame(np.eye(N_ROWS, 3)).astype(pd.SparseDtype(float)), TypeError, "Sparse col"),
        ([{"a": 1, "b": 2}] * N_ROWS, TypeError, r"of dictionaries: pass pandas\.DataFrame\(X\)"),
    ],
)
def test__fit__refuses_rows_of_odd_forms(refused, X, error, message):
    _, y, s = make_rows()
    refused(message, X, y, s, error=error)


def test__fit__takes_tensors_as_networks_give_them():
    X, y, s = make_rows(dtype=np.float32)
    given = torch.tensor(X, requires_grad=True)
    wanted = quick().fit_transform(X, y, sensitive_features=s)
    found = quick().fit_transform(given, torch.tensor(y), sensitive_features=torch.tensor(s))
    np.testing.assert_array_equal(found, wanted)
    assert quick().fit_transform(given.bfloat16(), y, sensitive_features=s).dtype == np.float32


@pytest.mark.parametrize("name", ["y", "sensitive_features"])
def test__fit__asks_for_the_column_instead_of_its_name(refused, name):
    X, y, s = make_rows()
    given = {"y": y, "sensitive_features": s, name: "income"}
    message = rf"{name}='income' is a name: pass the column itself, e\.g\. {name}=X\['income'\]"
    refused(message, X, given["y"], given["sensitive_features"], error=TypeError)


def test__fit__attributes_of_one_name_are_all_kept():
    X, y, s = make_rows()
    table = pd.DataFrame({"label": s, "loss": np.arange(N_ROWS) // 4 % 2, "x": 1 - s})
    model = quick().fit(
        X, y, sensitive_features=table.set_axis(["label", "loss", "label"], axis=1)
    )
    assert [name for name, _ in model.attributes_] == ["label", "loss", "label_2"]
    assert "loss" in model.history_


# --- Parameters --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["dg", "eq", "di", "g", "cls"])
@pytest.mark.parametrize("value", [-1, -1e-9, np.nan, np.inf, "1", None])
def test__fit__refuses_weights_that_are_no_weights(refused, name, value):
    X, y, s = make_rows()
    message = rf"'lambda_{name}' parameter of FairLatentTransformer must be a float in .*\[0.*Got"
    refused(message, X, y, s, **{f"lambda_{name}": value})


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"encoder": "vae"}, ValueError, "encoder='vae' is not known: use one of 'diffae', "),
        ({"encoder": object()}, TypeError, "no usable transform method: use 'diffae'"),
        ({"encoder": np.zeros(2)}, TypeError, "no usable transform method"),
        ({"encoder": quick}, TypeError, "no usable transform method"),
        ({"encoder": FairLatentTransformer}, TypeError, "no usable transform method.*fitted"),
        ({"distance": "mmd"}, ValueError, r"'distance' parameter.*must be a str among.*'energy'"),
        ({"output": "both"}, ValueError, "'output' parameter.*must be a str among"),
        ({"device": "quantum"}, ValueError, "device='quantum' is not a device; use 'auto', 'cpu'"),
        ({"device": "meta"}, ValueError, "device='meta' was asked for, but torch sees none"),
        ({"device": 0}, ValueError, "'device' parameter.*must be an instance of 'str'"),
        ({"n_label_components": 0}, ValueError, r"'n_label_components' parameter.*\[1, inf\)"),
        ({"n_label_components": 1.5}, ValueError, "'n_label_components' parameter"),
        ({"n_label_components": "all"}, ValueError, "'n_label_components' parameter.*'auto'"),
        ({"n_label_components": 6}, ValueError, "leaves no room .* X has 6 .*expected 1 to 5"),
        ({"n_label_components": 60}, ValueError, "n_label_components=60 leaves no room"),
        ({"n_blocks": 0}, ValueError, "'n_blocks' parameter"),
        ({"hidden_features": 0}, ValueError, "'hidden_features' parameter"),
        ({"max_iter": 0}, ValueError, "'max_iter' parameter"),
        ({"batch_size": 1}, ValueError, "'batch_size' parameter"),
        ({"learning_rate_init": 0.0}, ValueError, "'learning_rate_init' parameter"),
        ({"input_noise": -0.1}, ValueError, "'input_noise' parameter"),
        ({"validation_fraction": 1.0}, ValueError, "'validation_fraction' parameter"),
        ({"random_state": "seed"}, ValueError, "'random_state' parameter"),
        ({"checkpoint_dir": 3}, ValueError, "'checkpoint_dir' parameter"),
    ],
)
def test__fit__refuses_parameters(refused, parameters, error, message):
    X, y, s = make_rows()
    refused(message, X, y, s, error=error, **parameters)


def test__fit__refuses_cuda_where_there_is_none(refused, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    X, y, s = make_rows()
    for device in ("cuda", "cuda:1", torch.device("cuda")):
        refused("was asked for, but torch sees none.*device='auto'", X, y, s, device=device)


def test__fit__refuses_early_stopping_with_too_few_rows():
    X, y, s = make_rows(40)
    with pytest.raises(ValueError, match=r"smallest cell has 10 rows: set .* a larger"):
        quick(early_stopping=True).fit(X, y, sensitive_features=s)


def test__fit__refuses_early_stopping_that_leaves_no_rows_to_train_on():
    X, y, s = make_rows()
    with pytest.raises(ValueError, match=r"early_stopping=True .*24 rows: set .* a smaller"):
        quick(early_stopping=True, validation_fraction=0.99).fit(X, y, sensitive_features=s)


# --- Hard input that works ---------------------------------------------------------------------


def assert_sound(model, X, tolerance=ROUND_TRIP_FLOAT32):
    """Finite everywhere, and back again, relative to the size and the spread of each feature."""
    Z = model.latent(X)
    assert np.isfinite(Z).all()
    assert np.isfinite(model.history_.drop(columns="validation_loss")).all(axis=None)
    size = np.maximum(np.abs(X).max(axis=0), model.scale_)  # the scale of a constant is 1
    error = np.abs(model.inverse_transform(Z) - X) / size
    assert error.max() < tolerance
    assert model.inverse_error_ < tolerance


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("scale", [1e6, 1e-6])
@pytest.mark.parametrize("offset", [0.0, 10.0])
def test__fit__features_of_any_size(scale, offset, dtype):
    X, y, s = make_rows()
    X = ((X + offset) * scale).astype(dtype)
    assert_sound(quick().fit(X, y, sensitive_features=s), X)


@pytest.mark.parametrize("power", [20, -20, 60])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test__fit__size_of_the_features_changes_nothing(power, dtype):
    """By powers of two, because these multiply without rounding: equal to the last bit."""
    X, y, s = make_rows(dtype=dtype)
    wanted = quick().fit(X, y, sensitive_features=s)
    scaled = (X * 2.0**power).astype(dtype)
    found = quick().fit(scaled, y, sensitive_features=s)
    np.testing.assert_array_equal(found.latent(scaled), wanted.latent(X))
    pd.testing.assert_frame_equal(found.history_, wanted.history_, check_exact=True)


def test__fit__features_of_very_different_sizes():
    X, y, s = make_rows()
    X *= 10.0 ** np.array([6, -6, 0, 12, -12, 3])
    assert_sound(quick().fit(X, y, sensitive_features=s), X)


@pytest.mark.parametrize("value", [0.0, 1.0, -1e6, 1e-6, 1 / 3])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test__fit__constant_features(value, dtype):
    X, y, s = make_rows(dtype=dtype)
    X[:, 2] = value
    model = quick().fit(X, y, sensitive_features=s)
    assert_sound(model, X)
    elsewhere = X[:5].copy()
    elsewhere[:, 2] += 1  # a value that was not seen keeps its distance
    assert_sound(model, elsewhere)


def test__fit__constant_features_do_not_disturb_the_others():
    """One dead unit of a network, and 30, beside the same rows without."""
    X, y, s = make_rows(400)
    losses = []
    for n_constant in (0, 1, 30):
        with_dead = np.hstack([X, np.full((len(X), n_constant), 3.0)])
        model = quick(max_iter=1).fit(with_dead, y, sensitive_features=s)
        losses.append(model.history_[["loss_g", "loss_cls", "loss_dg", "loss_eq"]].iloc[0])
    # Nats and variances near 1. Noise scaled up by 1 / the smallest std, 1000, gave 4000 and more.
    assert pd.concat(losses, axis=1).max(axis=None) < 5


def test__fit__a_dead_feature_that_comes_alive_moves_little():
    X, y, s = make_rows(400)
    X[:, 3] = 0.0
    model = quick(max_iter=20).fit(X, y, sensitive_features=s)
    alive = X.copy()
    alive[:, 3] = 1.0
    moved = np.abs(model.latent(alive) - model.latent(X)).max()
    # As far as a step of one standard deviation of a feature that did vary, give or take; a scale
    # limited by the smallest standard deviation alone gave hundreds.
    assert moved < 10


def test__fit__refuses_rows_that_are_all_alike(refused):
    X, y, s = make_rows()
    X[:] = [0, 1, -5, 1e6, 1e-6, 0.1]
    refused("X is constant: each of its 6 feature", X, y, s)
    X[::2] = np.nextafter(X[::2], 1e9)
    refused("X is constant: .*but for rounding", X, y, s)


@pytest.mark.parametrize(
    ("mean", "spread"), [(1.7e9, 1.0), (1.7e18, 1e9), (1e15, 1.0), (52.5, 1e-9), (3e-310, 1e-310)]
)
def test__fit__spread_that_is_small_against_the_mean_is_signal(mean, spread):
    """A feature at 1e15 trains as it does at 0, and comes back to the last digits of float64."""
    X, y, s = make_rows()
    moved = X.copy()
    moved[:, 0] = mean + spread * X[:, 0]
    fair = quick(input_noise=1.0, label_scores=False)
    model = clone(fair).fit(moved, y, sensitive_features=s)
    plain = X.copy()
    plain[:, 0] = (moved[:, 0] - mean) / spread
    wanted = fair.fit(plain, y, sensitive_features=s).latent(plain)
    np.testing.assert_allclose(model.latent(moved), wanted, atol=1e-3)
    back = model.inverse_transform(model.latent(moved))
    np.testing.assert_allclose(back[:, 0], moved[:, 0], rtol=1e-15, atol=1e-5 * spread)


def test__transform__refuses_float32_where_it_loses_a_feature():
    X, y, s = make_rows()
    table = pd.DataFrame(X).add_prefix("x").assign(time=1.7e9 + np.arange(N_ROWS))
    model = quick().fit(table, y, sensitive_features=s)
    with pytest.raises(ValueError, match=r"X is float32, .*column 'time' of X"):
        model.transform(table.astype(np.float32))
    with pytest.raises(ValueError, match=r"Z is float32, .*column 'time' of X"):
        model.inverse_transform(model.latent(table).astype(np.float32))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test__fit__names_a_column_at_the_end_of_its_type(refused, dtype):
    X, y, s = make_rows(dtype=dtype)
    X[5, 2] = np.finfo(dtype).max
    refused("in column 2, too near the largest number of float", X, y, s)
    table = pd.DataFrame(X).add_prefix("x")
    refused("in column 'x2', too near the largest number of float", table, y, s)


def test__fit__warm_start_refuses_rows_of_another_scale():
    X, y, s = make_rows()
    model = quick(warm_start=True).fit(X, y, sensitive_features=s)
    wanted = model.latent(X)
    with pytest.raises(ValueError, match="too far from the rows of fit"):
        model.fit(X * 1e200, y, sensitive_features=s)
    np.testing.assert_array_equal(model.latent(X), wanted)


def test__fit__noise_that_float32_does_not_hold_is_refused():
    X, y, s = make_rows()
    with pytest.raises(ValueError, match=r"'input_noise' .* in the range \[0\.0, 1e\+30\]"):
        quick(input_noise=1e39).fit(X, y, sensitive_features=s)


@pytest.mark.parametrize("parameters", [{"input_noise": 1e6}, {"input_noise": 1e30}])
def test__fit__warns_of_an_inverse_that_is_off(parameters):
    X, y, s = make_rows()
    X = X.astype(np.float32)
    model, (warning,) = fit_and_count_warnings(X, y, s, **parameters)
    assert "Lower input_noise=1e+" in str(warning.message)
    assert warning.category is FairLatentWarning
    assert warning.filename == __file__
    assert not model.inverse_error_ < 1e-4


def test__fit__features_that_repeat():
    X, y, s = make_rows()
    X[:, 3:] = X[:, :1]
    assert_sound(quick(max_iter=20).fit(X, y, sensitive_features=s), X)


@pytest.mark.parametrize("batch_size", [2, 16, 10_000])
def test__fit__any_batch_size(batch_size):
    X, y, s = make_rows()
    assert_sound(quick(batch_size=batch_size).fit(X, y, sensitive_features=s), X)


@pytest.mark.parametrize("max_iter", [2, pytest.param("auto", marks=pytest.mark.slow)])
def test__fit__ten_rows(max_iter):
    X, y, s = make_rows(10)
    assert_sound(quick(max_iter=max_iter).fit(X, y, sensitive_features=s), X)


def fit_and_count_warnings(X, y, s, **parameters):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = quick(**parameters).fit(X, y, sensitive_features=s)
    return model, caught


@pytest.mark.parametrize("distance", ["energy", "sliced_wasserstein", "moment", "contrastive"])
@pytest.mark.parametrize(
    ("n_left", "meaning"), [(0, "no rows"), (1, "a single row")], ids=["no row", "one row"]
)
def test__fit__names_a_thin_cell_once(n_left, meaning, distance):
    X, y, s = make_rows()
    y, s = np.array(["no", "yes"])[y], np.array(["man", "woman"])[s]
    in_cell = np.flatnonzero((y == "yes") & (s == "man"))
    keep = np.setdiff1d(np.arange(N_ROWS), in_cell[n_left:])
    model, caught = fit_and_count_warnings(X[keep], y[keep], s[keep], distance=distance)
    assert [warning.category for warning in caught] == [FairLatentWarning]
    message = str(caught[0].message)
    assert re.search(rf"^1 \(label, group\) cell\(s\) have {meaning} .*: \(yes, man\)\.", message)
    assert caught[0].filename == __file__
    assert_sound(model, X[keep])


@pytest.mark.parametrize("distance", ["energy", "sliced_wasserstein", "moment", "contrastive"])
def test__fit__labels_seen_with_one_group_each(distance):
    X, y, _ = make_rows()
    model, caught = fit_and_count_warnings(X, y, y, distance=distance)
    (warning,) = caught
    assert "Every label occurs in one group only" in str(warning.message)
    assert_sound(model, X)
    assert (model.history_["loss_di"] == 0).all()


def test__fit__a_cell_for_every_row():
    X, _, s = make_rows()
    model, caught = fit_and_count_warnings(X, np.arange(N_ROWS) // 2, s[::-1])
    assert all(warning.category is FairLatentWarning for warning in caught)
    assert_sound(model, X)


def test__fit__long_lists_of_cells_are_cut():
    X, _, _ = make_rows()
    y = np.arange(N_ROWS) % 12
    _, caught = fit_and_count_warnings(X, y, np.where(np.arange(N_ROWS) < 24, y % 11, y))
    assert str(caught[0].message).startswith("131 (label, group) cell(s) have no rows")
    assert ", ..." in str(caught[0].message)
    assert len(str(caught[0].message)) < 500


def test__fit__without_sensitive_features_blames_the_caller():
    X, y, _ = make_rows()
    _, caught = fit_and_count_warnings(X, y, None)
    (warning,) = caught
    assert warning.category is FairLatentWarning
    assert "sensitive_features was not given" in str(warning.message)
    assert warning.filename == __file__


# --- After fit ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model():
    X, y, s = make_rows()
    return quick().fit(X, y, sensitive_features=s)


def test__transform__refuses_another_width(model):
    X = make_rows()[0]
    for method in (model.transform, model.latent):
        with pytest.raises(ValueError, match=r"X has 5 features, but .* is expecting 6 features"):
            method(X[:, :5])


@pytest.mark.parametrize(("value", "message"), [(np.nan, "NaN"), (np.inf, "infinity")])
def test__transform__refuses_values_that_are_not_finite(model, value, message):
    X = make_rows()[0]
    X[0, 0] = value
    for method in (model.transform, model.latent, model.inverse_transform):
        with pytest.raises(ValueError, match=f"contains {message}"):
            method(X)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test__transform__names_a_row_that_is_too_far(dtype):
    X, y, s = make_rows(dtype=dtype)
    X[:, 2] *= 1e-3
    model = quick().fit(X, y, sensitive_features=s)
    X[7, 2] = float(np.finfo(dtype).max) / 2
    with pytest.raises(ValueError, match=r"X holds \S+ at row 7 in column 2, too far from the"):
        model.latent(X)


def test__inverse_transform__names_a_row_that_is_too_far():
    X, y, s = make_rows()
    X *= 1e3
    model = quick().fit(X, y, sensitive_features=s)
    Z = model.latent(X)
    Z[3] = 1e306
    with pytest.raises(ValueError, match=r"Row 3 of Z lies too far"):
        model.inverse_transform(Z)


@pytest.mark.parametrize(
    "use",
    [
        lambda model: model.transform(make_rows()[0]),
        lambda model: model.latent(make_rows()[0]),
        lambda model: model.embed(make_rows()[0]),
        lambda model: model.inverse_transform(make_rows()[0]),
        lambda model: model.save("never-written"),
        lambda model: model.get_feature_names_out(),
    ],
)
@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("output", "Label", ValueError),
        ("output", None, ValueError),
        ("output", ["label"], ValueError),
        ("device", 0, ValueError),
        ("n_label_components", "all", ValueError),
        ("encoder", 3, TypeError),
    ],
)
def test__after_fit__parameters_are_checked(use, name, value, error, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    X, y, s = make_rows()
    fitted = quick().fit(X, y, sensitive_features=s)
    setattr(fitted, name, value)
    with pytest.raises(error, match=f"'?{name}"):
        use(fitted)
    assert not list(tmp_path.iterdir())


def test__transform__refuses_other_columns():
    X, y, s = make_rows()
    table = pd.DataFrame(X).add_prefix("x")
    model = quick().fit(table, y, sensitive_features=s)
    with pytest.raises(ValueError, match=r"feature names should match those .* fit"):
        model.transform(table[table.columns[::-1]])


def test__transform__refuses_images_without_an_encoder(model):
    with pytest.raises(ValueError, match="X holds images"):
        model.transform(np.zeros((2, 4, 4, 3)))


@pytest.mark.parametrize("width", [2, 3, 5, 7])
def test__inverse_transform__refuses_another_width(model, width):
    message = rf"Z has {width} features: expected 6 \(a full latent.*\) or 1 \(a label block"
    with pytest.raises(ValueError, match=message):
        model.inverse_transform(np.zeros((4, width)))


@pytest.mark.parametrize("Z", [np.zeros(6), np.zeros((2, 6, 1)), [["a"] * 6]])
def test__inverse_transform__refuses_other_shapes(model, Z):
    with pytest.raises(ValueError, match=r"Expected 2D array|dim 3|could not convert string"):
        model.inverse_transform(Z)


@pytest.mark.parametrize(
    "use",
    [
        lambda model: model.transform(make_rows()[0]),
        lambda model: model.latent(make_rows()[0]),
        lambda model: model.inverse_transform(make_rows()[0]),
        lambda model: model.get_feature_names_out(),
        lambda model: model.save("never-written"),
    ],
)
def test__unfitted__says_so(use, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NotFittedError, match="This FairLatentTransformer instance is not fitted"):
        use(quick())
    assert not list(tmp_path.iterdir())


def failing_fits():
    X, y, s = make_rows()
    return {
        "one class": (X[:, :4], np.zeros(N_ROWS), s),
        "one group": (X[:, :4], y, np.zeros(N_ROWS)),
        "a missing value": (np.where(np.eye(N_ROWS, N_FEATURES), np.nan, X), y, s),
        "too narrow": (X[:, :2], y, s),
    }


@pytest.mark.parametrize("data", failing_fits().values(), ids=failing_fits())
def test__fit__that_fails_leaves_the_fit_before(data):
    X, y, s = make_rows()
    model = quick(n_label_components=3).fit(X, y, sensitive_features=s)
    wanted = model.transform(X)
    bad, y, s = data
    with pytest.raises(ValueError, match=r"one class|one group|NaN|leaves no room"):
        model.fit(bad, y, sensitive_features=s)
    np.testing.assert_array_equal(model.transform(X), wanted)


def test__fit__interrupted_leaves_the_fit_before(monkeypatch):
    X, y, s = make_rows()
    model = quick().fit(X, y, sensitive_features=s)
    wanted = model.transform(X)

    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(_transformer, "fit_flow", interrupt)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X[:, :4], y, sensitive_features=s)
    np.testing.assert_array_equal(model.transform(X), wanted)
