"""Sensitive columns crossed into groups."""

import numpy as np
import pandas as pd
import pytest

from skfairlatent._groups import cross_columns, encode_columns


@pytest.mark.parametrize(
    ("features", "codes", "names"),
    [
        (["b", "a", "b"], [1, 0, 1], ["a", "b"]),
        (np.array([10, 2, 2]), [1, 0, 0], ["2", "10"]),
        ([1.0, 0, 1], [1, 0, 1], ["0", "1"]),
        (pd.Series([True, False], name="Male"), [1, 0], ["False", "True"]),
        (pd.Series(["u", "v"], dtype="category"), [0, 1], ["u", "v"]),
        (pd.Series([2, 1], dtype="Int64"), [1, 0], ["1", "2"]),
        (pd.DataFrame({"Male": [1, 0]}), [1, 0], ["0", "1"]),
        (np.array([[1, 0], [0, 1]]), [1, 0], ["0, 1", "1, 0"]),
        ([["x", 1], ["x", 0]], [1, 0], ["x, 0", "x, 1"]),
        (pd.DataFrame([[1, 0], [0, 1]]), [1, 0], ["0, 1", "1, 0"]),
        (
            pd.DataFrame({"Male": [1, 1, 0], "Age": ["old", "new", "old"]}),
            [2, 1, 0],
            ["Male=0, Age=old", "Male=1, Age=new", "Male=1, Age=old"],
        ),
        ({"Male": [1, 0], "Young": [0, 0]}, [1, 0], ["Male=0, Young=0", "Male=1, Young=0"]),
    ],
)
def test__cross_columns__codes_and_names(features, codes, names):
    found, found_names = cross_columns(features)
    assert found.dtype == np.int64
    assert found.tolist() == codes
    assert found_names == names


def test__cross_columns__commas_never_merge_groups():
    codes, names = cross_columns(np.array([["a, b", "c"], ["a", "b, c"]]))
    assert codes.tolist() == [1, 0]
    assert len(set(names)) == 2


def test__cross_columns__every_combination_its_own_group():
    columns = np.random.default_rng(0).integers(3, size=(200, 4))
    codes, names = cross_columns(columns)
    expected = np.unique(columns, axis=0)
    assert names == [", ".join(map(str, row)) for row in expected]
    assert (expected[codes] == columns).all()


def test__cross_columns__repeated_column_names():
    table = pd.DataFrame([[0, 1], [1, 1]], columns=["a", "a"])
    assert cross_columns(table)[1] == ["a=0, a=1", "a=1, a=1"]


def test__encode_columns__each_attribute_alone():
    male, young = encode_columns(pd.DataFrame({"Male": [1, 0, 1], "Young": ["y", "n", "n"]}))
    assert (male.name, male.values, male.codes.tolist()) == ("Male", ["0", "1"], [1, 0, 1])
    assert (young.name, young.values, young.codes.tolist()) == ("Young", ["n", "y"], [1, 0, 0])


@pytest.mark.parametrize("missing", [None, np.nan, pd.NA])
def test__cross_columns__missing_value_is_an_error(missing):
    table = pd.DataFrame({"Male": [0, 1], "Race": ["a", missing]})
    with pytest.raises(ValueError, match=r"column 'Race'.* 1 missing value.*row 1.*fillna"):
        cross_columns(table)
    with pytest.raises(ValueError, match="column 0 of sensitive_features has 1 missing"):
        cross_columns(["a", missing])


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ([], "0 rows and 1 columns"),
        (pd.DataFrame(index=[0, 1]), "0 rows and 0 columns"),
        (None, "sensitive_features is None: expected one value per sample"),
        (np.zeros((2, 2, 2)), "3 dimensions"),
        ([["a"], ["a", "b"]], "holds lists"),
    ],
)
def test__cross_columns__bad_shape_is_an_error(features, message):
    with pytest.raises(ValueError, match=message):
        cross_columns(features)


def test__cross_columns__takes_polars():
    polars = pytest.importorskip("polars")
    table = polars.DataFrame({"Male": [1, 0], "Age": ["old", "new"]})
    assert cross_columns(table)[1] == ["Male=0, Age=new", "Male=1, Age=old"]
    assert cross_columns(table["Age"])[0].tolist() == [1, 0]


def test__cross_columns__refuses_real_numbers_and_names():
    with pytest.raises(ValueError, match=r"holds real numbers such as 20\.5: .* pandas\.cut"):
        cross_columns([20.5, 31.25, 47.0])
    with pytest.raises(TypeError, match=r"'group' is a name: pass the column itself"):
        cross_columns("group")


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, np.nan], r"column 0 of y has 1 missing value.*: drop these rows\.$"),
        ([0.3, 0.1], r"column 0 of y holds real numbers such as 0\.1: expected class labels"),
        (None, "y is None: expected one value per sample"),
        (np.zeros((2, 2, 2)), r"y has 3 dimensions .*\(n_samples, n_labels\)"),
        ([], "y has 0 rows and 1 columns"),
        ([[0, 1], [0]], "holds lists: give every row the same number of labels"),
    ],
)
def test__labels__are_called_so_in_errors(labels, message):
    with pytest.raises(ValueError, match=message) as caught:
        cross_columns(labels, "y")
    assert "sensitive" not in str(caught.value)
