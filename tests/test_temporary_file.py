"""X in parts, as collections of Dask and arrays of Zarr: fitted from one file, mapped by parts."""

import errno
import shutil
import subprocess
import sys
from collections import namedtuple

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from skfairlatent import FairLatentTransformer, FairLatentTransformerCV
from skfairlatent._out_of_core import mapped_rows
from skfairlatent._out_of_core.mapped_rows import is_large_map
from skfairlatent._out_of_core.temporary_file import held, in_one_file, is_stored
from skfairlatent.datasets import make_biased_embeddings
from skfairlatent.selection import group_stratified_folds

cloudpickle = pytest.importorskip("cloudpickle")
dask = pytest.importorskip("dask")
da = pytest.importorskip("dask.array")
dd = pytest.importorskip("dask.dataframe")

N_ROWS, N_FEATURES = 700, 8
DATA = make_biased_embeddings(N_ROWS, n_features=N_FEATURES, random_state=0)
X = DATA.data.astype(np.float32)
Y, GROUPS = np.asarray(DATA.target), np.asarray(DATA.sensitive_features)
FRAME = pd.DataFrame(X, columns=list("abcdefgh"), index=np.arange(N_ROWS) * 2)
ROUNDING = 1e-6
FORMS = {
    "array": lambda: da.from_array(X, chunks=(150, 3)),
    "unknown lengths": lambda: da.from_array(X, chunks=(150, 8))[da.arange(N_ROWS) >= 0],
    "table": lambda: dd.from_pandas(FRAME, npartitions=3),
    "empty part": lambda: dd.concat(
        [dd.from_pandas(FRAME.iloc[:0], npartitions=1), dd.from_pandas(FRAME, npartitions=2)]
    ),
    "zarr": lambda: pytest.importorskip("zarr").array(X, chunks=(100, 4)),
}


@pytest.fixture(autouse=True)
def _one_thread():
    with dask.config.set(scheduler="synchronous"):
        yield


@pytest.fixture
def _many_rows(monkeypatch):
    """Let N_ROWS be more than are held."""
    row = N_FEATURES * 4
    monkeypatch.setattr(mapped_rows, "HELD_BYTES", 500 * row)
    monkeypatch.setattr(mapped_rows, "PIECE_BYTES", 100 * row)


def quick(kind=FairLatentTransformer, **parameters):
    given = {"max_iter": 2, "hidden_features": 8, "random_state": 0} | parameters
    return kind(None, **given)


def fitted(X=X, **parameters):
    return quick(**parameters).fit(X, Y, sensitive_features=GROUPS)


@pytest.fixture(scope="module")
def fair():
    return fitted()


@pytest.fixture(scope="module")
def fair_of_table():
    return fitted(FRAME)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("size", ["_few_rows", "_many_rows"])
def test__fit__of_parts_is_that_of_an_array(form, size, request):
    if size == "_many_rows":
        request.getfixturevalue(size)
    parts, columns = FORMS[form](), dd.from_pandas(pd.DataFrame({"y": Y, "s": GROUPS}))
    found = quick(label_scores=False).fit(parts, columns["y"], sensitive_features=columns[["s"]])
    held = FRAME if hasattr(parts, "columns") else X
    expected = fitted(held, label_scores=False)
    np.testing.assert_allclose(found.latent(held), expected.latent(held), atol=1e-4)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.usefixtures("_many_rows")
def test__transform__and_its_inverse_keep_the_form(form, fair, fair_of_table):
    parts = FORMS[form]()
    held, model = (FRAME, fair_of_table) if hasattr(parts, "columns") else (X, fair)
    Z, latents = model.transform(parts), model.latent(parts)
    back = model.inverse_transform(Z=latents)
    # How many rows are multiplied at once is of consequence for rounding.
    np.testing.assert_allclose(np.asarray(Z), model.transform(held), atol=ROUNDING)
    np.testing.assert_allclose(np.asarray(latents), model.latent(held), atol=ROUNDING)
    np.testing.assert_allclose(np.asarray(back), X, atol=1e-4)
    if form != "zarr":
        assert type(Z) is type(latents) is type(back) is type(parts)
        assert Z.npartitions == latents.npartitions == back.npartitions
    if hasattr(parts, "columns"):
        assert [*Z.columns] == [*model.get_feature_names_out()]
        assert [*back.columns] == [*FRAME.columns]
        assert set(Z.dtypes) == set(Z.compute().dtypes) == {np.dtype("float32")}
        assert Z.compute().index.equals(FRAME.index)


@pytest.mark.parametrize("form", ["table", "zarr"])
def test__embed__returns_all_rows_and_looks_at_the_columns(form, fair, fair_of_table):
    model = fair_of_table if form == "table" else fair
    np.testing.assert_array_equal(model.embed(FORMS[form]()), X)
    if form == "table":
        with pytest.raises(ValueError, match="feature names should match"):
            model.embed(FORMS[form]()[[*"bacdefgh"]])


def test__transform__is_of_the_model_as_it_was(fair):
    model = fitted()
    Z = model.transform(FORMS["array"]())
    model.fit(X * 2, GROUPS, sensitive_features=Y)
    np.testing.assert_allclose(Z.compute(), fair.transform(X), atol=ROUNDING)


def test__transform__keeps_the_precision_of_arrays(fair):
    for dtype in (np.float64, np.uint8):
        Z = fair.transform(da.ones((4, N_FEATURES), dtype=dtype))
        assert Z.dtype == Z.compute().dtype == np.float64


@pytest.mark.parametrize("form", ["array", "table"])
@pytest.mark.parametrize(
    ("kind", "parameters"),
    [
        (FairLatentTransformer, {"label_scores": True}),
        (FairLatentTransformerCV, {"lambdas_di": [0, 1], "cv": 2, "bound": 1.0}),
    ],
)
def test__fit_transform__of_few_rows_is_that_of_an_array(form, kind, parameters):
    held, parts = FRAME if form == "table" else X, FORMS[form]()
    Z, expected = (
        quick(kind, **({"label_scores": False} | parameters)).fit_transform(
            rows, Y, sensitive_features=GROUPS
        )
        for rows in (parts, held)
    )
    assert type(Z) is type(parts)
    assert Z.npartitions == len(parts.chunks[0] if form == "array" else parts.divisions[1:])
    np.testing.assert_array_equal(np.asarray(Z), expected)


@pytest.mark.parametrize("form", ["array", "table", "zarr"])
@pytest.mark.usefixtures("_many_rows")
def test__fit_transform__of_many_rows_is_fit_and_transform(form):
    model, parts = quick(), FORMS[form]()
    Z = model.fit_transform(parts, Y, sensitive_features=GROUPS)
    assert isinstance(Z, np.ndarray if form == "zarr" else type(parts))
    np.testing.assert_allclose(np.asarray(Z), model.transform(parts), atol=ROUNDING)


def test__set_output__pandas_makes_tables_of_arrays_and_polars_is_refused(fair):
    model, parts = fitted().set_output(transform="pandas"), FORMS["array"]()
    for Z in (model.transform(parts), model.fit_transform(parts, Y, sensitive_features=GROUPS)):
        assert isinstance(Z, dd.DataFrame)
        assert [*Z.compute().columns] == [*model.get_feature_names_out()]
    np.testing.assert_allclose(
        np.asarray(model.transform(parts)), fair.transform(X), atol=ROUNDING
    )
    with pytest.raises(ValueError, match=r"set_output\(transform='default'\)"):
        model.set_output(transform="polars").transform(parts)


def test__pipeline__ends_in_any_classifier():
    table, labels = FORMS["table"](), dd.from_pandas(pd.Series(Y))
    pipe = make_pipeline(quick(), LogisticRegression())
    pipe.fit(table, labels, fairlatenttransformer__sensitive_features=GROUPS)
    assert pipe.predict(table).shape == (N_ROWS,)


def test__transform__of_a_parquet_file_with_other_columns(fair_of_table, tmp_path):
    FRAME.to_parquet(tmp_path / "x.parquet")
    table = dd.read_parquet(tmp_path / "x.parquet")
    np.testing.assert_allclose(
        fair_of_table.transform(table).compute(), fair_of_table.transform(FRAME), atol=ROUNDING
    )
    for other in (table.rename(columns={"a": "z"}), table[[*"bacdefgh"]], table[[*"abc"]]):
        with pytest.raises(ValueError, match="feature names should match"):
            fair_of_table.transform(other)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda table: table.assign(c="blue"), r"not numeric: \['c'\]"),
        (lambda table: table.assign(c=np.nan), "contains NaN"),
    ],
    ids=["text", "missing"],
)
def test__fit__of_a_table_refuses_other_values(change, message):
    with pytest.raises(ValueError, match=message):
        fitted(change(FORMS["table"]()))


@pytest.mark.parametrize("columns", [[*"bacdefgh"], [*"abcdefg"]])
def test__fit__refuses_parts_with_other_columns(columns):
    def part(number):
        return FRAME[columns] if number else FRAME

    with pytest.raises(ValueError, match=r"Part 1 of X has .* as column [07], where X has"):
        fitted(dd.from_map(part, [0, 1], meta=FRAME.iloc[:0]))


def test__fit__refuses_parts_of_another_width():
    parts = da.from_array(X, chunks=(350, 8))
    narrow = parts.map_blocks(lambda part: part[:, 1:], meta=X[:0])
    with pytest.raises(ValueError, match="Part 0 of X has None as column 7, where X has 7"):
        fitted(narrow)


@pytest.mark.parametrize(
    ("y", "groups", "parameters"),
    [
        (None, GROUPS, {}),
        (Y, GROUPS[1:], {}),
        (Y, [None, *GROUPS[1:]], {}),
        (Y, GROUPS, {"tol": -1}),
    ],
)
@pytest.mark.parametrize("form", ["array", "table"])
def test__fit__checks_all_else_before_it_reads_rows(form, y, groups, parameters):
    def read(_):
        pytest.fail("X was read")

    parts = FORMS[form]()
    unread = (
        parts.map_blocks(read, meta=X) if form == "array" else dd.from_map(read, [0], meta=FRAME)
    )
    with pytest.raises(ValueError, match=r"y is None|numbers of samples|missing value|'tol'"):
        quick(**parameters).fit(unread, y, sensitive_features=groups)


def test__held__reads_labels_of_zarr():
    labels = pytest.importorskip("zarr").array(Y)
    np.testing.assert_array_equal(held(labels), Y)


def test__fit__of_few_rows_needs_no_folder(monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "missing"))
    assert fitted(FORMS["array"]()).n_features_in_ == N_FEATURES


def test__fit__of_a_subclass_keeps_its_parameters():
    class Named(FairLatentTransformer):
        def fit(self, X, y, sensitive_features=None, name=""):
            self.name_ = name
            return super().fit(X, y, sensitive_features=sensitive_features)

    assert quick(Named).fit(FORMS["array"](), Y, GROUPS, name="n").name_ == "n"


def test__fit__refuses_parts_of_other_types_and_images():
    mixed = dd.from_map(FRAME.astype, [np.float32, np.float64], meta=FRAME)
    with pytest.raises(TypeError, match=r"X\.astype\('float64'\)"):
        fitted(mixed)
    for images in (dd.from_pandas(pd.Series(["a.png"] * 9)), da.zeros((9, 8, 8, 3))):
        with pytest.raises(TypeError, match="Encode images"):
            fitted(images)


def test__inverse_transform__refuses_to_decode(fair):
    with pytest.raises(TypeError, match="decode=False"):
        fair.inverse_transform(FORMS["array"](), x_T=X)


@pytest.mark.parametrize("form", ["array", "table"])
@pytest.mark.usefixtures("_many_rows")
def test__fit__says_that_the_disk_is_full(form, monkeypatch):
    usage = namedtuple("Usage", "free")(20_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(OSError, match="TMPDIR") as raised:
        fitted(FORMS[form]())
    assert raised.value.errno == errno.ENOSPC


@pytest.mark.usefixtures("_many_rows")
def test__in_one_file__leaves_no_file(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with in_one_file(FORMS["table"]()) as rows:
        assert is_large_map(rows)
        assert not is_large_map(rows.iloc[:10])
    assert not is_large_map(FRAME)
    assert not is_stored(FRAME.rename(columns={"a": "chunks"}))
    with pytest.raises(ValueError, match="one class"):
        quick().fit(FORMS["array"](), np.zeros(N_ROWS), sensitive_features=GROUPS)
    assert [*tmp_path.iterdir()] == []


def test__transform__on_a_worker_without_the_package_says_so(fair, tmp_path):
    part = fair.transform(FORMS["array"]()).partitions[0]
    (tmp_path / "part").write_bytes(cloudpickle.dumps(part))
    code = "import pickle, sys; sys.modules['skfairlatent'] = None; pickle.load(sys.stdin.buffer)"
    with (tmp_path / "part").open("rb") as file:
        done = subprocess.run(  # noqa: S603
            [sys.executable, "-c", f"{code}.compute(scheduler='synchronous')"],
            stdin=file,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert "ModuleNotFoundError" in done.stderr
    assert "map_part" in done.stderr  # where a worker reports it, not where it reads the task


def test__group_stratified_folds__takes_labels_and_groups_of_dask():
    y, groups = da.from_array(Y, chunks=200), dd.from_pandas(pd.Series(GROUPS), npartitions=2)
    found = group_stratified_folds(y, groups, random_state=0)
    expected = group_stratified_folds(Y, GROUPS, random_state=0)
    for (_, test), (_, rows) in zip(found, expected, strict=True):
        np.testing.assert_array_equal(test, rows)
