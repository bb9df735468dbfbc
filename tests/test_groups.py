"""Sensitive columns crossed into groups."""

import re

import numpy as np
import pandas as pd
import polars as pl
import pytest

from skfairlatent._validation.containers import reject_other_order
from skfairlatent._validation.groups import encode_columns


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
        (np.array([b"\xff", b"a"]), [1, 0], ["a", "\\xff"]),
        (np.ma.array([1, 0]), [1, 0], ["0", "1"]),
    ],
)
def test__encode_columns__codes_and_names(features, codes, names):
    crossed = encode_columns(features).crossed
    assert crossed.codes.dtype == np.int64
    assert crossed.codes.tolist() == codes
    assert crossed.values == names


def test__encode_columns__commas_never_merge_groups():
    _, codes, names, _ = encode_columns(np.array([["a, b", "c"], ["a", "b, c"]])).crossed
    assert codes.tolist() == [1, 0]
    assert len(set(names)) == 2


def test__encode_columns__every_combination_its_own_group():
    columns = np.random.default_rng(0).integers(3, size=(200, 4))
    _, codes, names, _ = encode_columns(columns).crossed
    expected = np.unique(columns, axis=0)
    assert names == [", ".join(map(str, row)) for row in expected]
    assert (expected[codes] == columns).all()


def test__encode_columns__repeated_column_names():
    table = pd.DataFrame([[0, 1], [1, 1]], columns=["a", "a"])
    assert encode_columns(table).crossed.values == ["a=0, a=1", "a=1, a=1"]


@pytest.mark.parametrize(
    ("columns", "labels"),
    [
        ([0, 1], ["sensitive_feature_0", "sensitive_feature_1"]),
        (["a", "a"], ["a", "a_2"]),
        (["a", "a_2"], ["a", "a_2"]),
        (["", " "], ["sensitive_feature_0", "sensitive_feature_1"]),
        (["sensitive_feature_1", 7], ["sensitive_feature_1", "sensitive_feature_1_2"]),
        ([5, "sensitive_feature_0"], ["sensitive_feature_0_2", "sensitive_feature_0"]),
        ([("who", "sex"), ("who", "age")], ["who_sex", "who_age"]),
        ([None, np.nan], ["sensitive_feature_0", "sensitive_feature_1"]),
    ],
)
def test__encode_columns__no_two_attributes_share_a_label(columns, labels):
    table = pd.DataFrame([[0, 1], [1, 1]])
    table.columns = columns
    assert [column.label for column in encode_columns(table)] == labels


@pytest.mark.parametrize("names", [["a", "a", "a_2"], ["a", "a_2", "a"], ["a_2", "a", "a"]])
def test__encode_columns__three_labels_stay_apart(names):
    table = pd.DataFrame([[0, 1, 2], [1, 1, 0]], columns=names)
    assert len({column.label for column in encode_columns(table)}) == 3


def test__encode_columns__each_attribute_alone():
    male, young = encode_columns(pd.DataFrame({"Male": [1, 0, 1], "Young": ["y", "n", "n"]}))
    assert (male.name, male.values, male.codes.tolist()) == ("Male", ["0", "1"], [1, 0, 1])
    assert (young.name, young.values, young.codes.tolist()) == ("Young", ["n", "y"], [1, 0, 0])


def test__encode_columns__takes_what_it_returned_and_parts_of_it():
    table = pd.DataFrame({"age": [9, 10, 10, 30], "sex": ["f", "m", "f", "m"]})
    columns = encode_columns(table)
    assert encode_columns(columns) is columns
    for rows in (np.array([3, 1]), np.array([0, 1, 2])):
        part, expected = columns.at(rows), encode_columns(table.iloc[rows])
        pairs = zip([*part, part.crossed], [*expected, expected.crossed], strict=True)
        for found, column in pairs:
            assert found._replace(codes=None) == column._replace(codes=None)
            assert found.codes.tolist() == column.codes.tolist()


@pytest.mark.parametrize("missing", [None, np.nan, pd.NA])
def test__encode_columns__missing_value_is_an_error(missing):
    table = pd.DataFrame({"Male": [0, 1], "Race": ["a", missing]})
    with pytest.raises(ValueError, match=r"column 'Race'.* 1 missing value.*row 1.*fillna"):
        encode_columns(table)
    with pytest.raises(ValueError, match=r"^sensitive_features has 1 missing"):
        encode_columns(["a", missing])


@pytest.mark.parametrize(
    "features",
    [
        ["a", None, "b"],
        np.array([0, np.nan, 1]),
        np.array([["a", 0], [None, 1], ["b", 1]], dtype=object),
        pd.Categorical(["a", None, "b"]),
        pd.Series([1, pd.NA, 0], dtype="Int64"),
        pd.DataFrame({"a": pd.array([True, pd.NA, False], "boolean"), "b": list("xyz")}),
        pl.Series([1, None, 0]),
        pl.DataFrame({"a": [1, None, 0]}),
    ],
    ids=lambda features: type(features).__name__,
)
def test__encode_columns__missing_values_become_a_group_as_the_error_says(features):
    with pytest.raises(ValueError, match="1 missing value") as caught:
        encode_columns(features)
    advice = re.search(r"of their own, as by (.*)\.$", str(caught.value)).group(1)
    names = {"pandas": pd, "polars": pl, "sensitive_features": features}
    filled = eval(advice, names)  # noqa: S307 - the advice is what is tested
    _, codes, groups, _ = encode_columns(filled).crossed
    assert "unknown" in groups[codes[1]]
    assert len(set(codes)) == 3


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
def test__encode_columns__bad_shape_is_an_error(features, message):
    with pytest.raises(ValueError, match=message):
        encode_columns(features)


@pytest.mark.parametrize(
    ("given", "remedy"),
    [
        ({"Male": [1, 0]}, "pandas.DataFrame(given)"),
        ({"Male": [1, 0]}.values(), "list(given)"),
        (iter([1, 0]), "list(given)"),
        (zip("ab", "cd", strict=True), "list(given)"),
        ((value for value in "ab"), "list(given)"),
        (pd.MultiIndex.from_arrays([[0, 1], [1, 1]]), "given.to_frame(index=False)"),
        ([{"Male": 1}, {"Male": 0}], "pandas.DataFrame(given)"),
        (np.array([(1, "a"), (0, "b")], dtype="i4,U1"), "pandas.DataFrame(given)"),
    ],
)
def test__encode_columns__refuses_what_is_not_sliced_by_rows(given, remedy):
    message = f"sensitive_features is of type .*: pass {remedy} instead"
    pattern = re.escape(message.replace("given", "sensitive_features")).replace(r"\.\*", ".*")
    with pytest.raises(TypeError, match=pattern):
        encode_columns(given)
    remedied = eval(remedy, {"pandas": pd, "given": given})  # noqa: S307 - our own words
    assert len(encode_columns(remedied).crossed.codes) in (1, 2)


@pytest.mark.parametrize("given", [{0, 1}, frozenset("ab"), {"a": 1}.keys()])
def test__encode_columns__refuses_what_has_no_order(given):
    with pytest.raises(TypeError, match=r"which has no order|not sliced row by row"):
        encode_columns(given)


def test__encode_columns__refuses_masked_values():
    given = np.ma.array([0, 1, 1], mask=[False, True, False])
    with pytest.raises(ValueError, match=r"1 masked value.*sensitive_features\.filled\(0\)"):
        encode_columns(given)
    with pytest.raises(ValueError, match="1 masked value"):
        encode_columns([given[:1], given[1:2]])
    with pytest.raises(ValueError, match="has 1 masked value"):
        encode_columns([0, np.ma.masked])
    with pytest.raises(ValueError, match="has 1 missing value"):
        encode_columns(pd.Series([0, np.ma.masked]))
    assert encode_columns(given.filled(0))[0].codes.tolist() == [0, 0, 1]


def test__encode_columns__labels_are_called_y():
    with pytest.raises(ValueError, match=r"^y holds infinity, at row 1: expected class labels"):
        encode_columns([0.0, np.inf], "y")
    with pytest.raises(ValueError, match=r"^column 'a' of y has 1 missing value"):
        encode_columns(pd.DataFrame({"a": [None, "x"]}), "y")


def test__reject_other_order__by_labels_of_the_same_rows():
    X = pd.DataFrame({"a": range(4)}, index=list("wxyz"))
    shuffled = pd.Series(range(4), index=list("zyxw"))
    with pytest.raises(ValueError, match="has the index of X in another order"):
        reject_other_order(X=X, y=[0, 1, 0, 1], sensitive_features=shuffled)
    reject_other_order(X=X, sensitive_features=shuffled.loc[X.index])
    reject_other_order(
        X=X.reset_index(drop=True), sensitive_features=shuffled.reset_index(drop=True)
    )
    reject_other_order(X=X, y=pd.Series(range(4)), sensitive_features=np.arange(4))


def test__encode_columns__takes_arrow():
    pyarrow = pytest.importorskip("pyarrow")
    table = pyarrow.table({"Male": [1, 0], "Age": ["old", "new"]})
    assert encode_columns(table).crossed.values == ["Male=0, Age=new", "Male=1, Age=old"]


def test__encode_columns__takes_polars():
    polars = pytest.importorskip("polars")
    table = polars.DataFrame({"Male": [1, 0], "Age": ["old", "new"]})
    assert encode_columns(table).crossed.values == ["Male=0, Age=new", "Male=1, Age=old"]
    assert encode_columns(table["Age"])[0].codes.tolist() == [1, 0]


def test__encode_columns__refuses_real_numbers_and_names():
    with pytest.raises(ValueError, match=r"holds real numbers such as 20\.5: .* pandas\.cut"):
        encode_columns([20.5, 31.25, 47.0])
    with pytest.raises(TypeError, match=r"'group' is a name: pass the column itself"):
        encode_columns("group")


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, np.nan], r"^y has 1 missing value.*: drop these rows\.$"),
        ([0.3, 0.1], r"^y holds real numbers such as 0\.1: expected class labels"),
        (None, "y is None: expected one value per sample"),
        (np.zeros((2, 2, 2)), r"y has 3 dimensions .*\(n_samples, n_labels\)"),
        ([], "y has 0 rows and 1 columns"),
        ([[0, 1], [0]], "y holds lists.*: give every row the same number of labels"),
    ],
)
def test__labels__are_called_so_in_errors(labels, message):
    with pytest.raises(ValueError, match=message) as caught:
        encode_columns(labels, "y")
    assert "sensitive" not in str(caught.value)


def test__encode_columns__true_is_1_in_a_column_of_both():
    """As of parts of a table, of which one was read as bool and the other as numbers."""
    mixed = pd.concat([pd.Series([True, False]), pd.Series([0, 1, 1.0])], ignore_index=True)
    (column,) = encode_columns(mixed.astype(object))
    assert column.values == ["0", "1"]
    assert column.codes.tolist() == [1, 0, 0, 1, 1]
    (text,) = encode_columns(np.array([True, "1", "no"], dtype=object))
    assert text.values == ["1", "True", "no"]
