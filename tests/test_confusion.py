"""Labels of one kind beside labels of another."""

import numpy as np
import pandas as pd
import polars as pl
import pytest

from skfairlatent.diagnostics._probe_rows import gather_rows
from skfairlatent.metrics._group_counts import class_positions

ZERO_ONE = [0, 1, 1]
HOLDERS = {
    "list of bool": [False, True, True],
    "bool": np.array(ZERO_ONE, dtype=bool),
    "int8": np.array(ZERO_ONE, dtype=np.int8),
    "float32": np.array(ZERO_ONE, dtype=np.float32),
    "objects": np.array([False, 1, np.float64(1.0)], dtype=object),
    "nullable boolean": pd.Series(ZERO_ONE, dtype="boolean"),
    "nullable integer": pd.Series(ZERO_ONE, dtype="Int64"),
    "categories": pd.Series(ZERO_ONE).astype("category"),
    "categories of bool": pd.Series(ZERO_ONE).astype(bool).astype("category"),
    "polars": pl.Series(ZERO_ONE).cast(pl.Boolean),
}


@pytest.mark.parametrize("classes", [[0, 1], [False, True], np.array([0.0, 1.0]), [2, 0, 1]])
@pytest.mark.parametrize("labels", HOLDERS.values(), ids=HOLDERS)
def test__class_positions__are_those_of_equal_labels(labels, classes):
    at = [list(classes).index(value) for value in ZERO_ONE]
    assert class_positions(labels, classes).tolist() == at


def test__class_positions__text_is_text():
    assert class_positions(["0", "1", 1, True], np.array(["0", "1"])).tolist() == [0, 1, -1, -1]
    assert class_positions(np.array(["b", "c"]), ["c", "b"]).tolist() == [1, 0]
    assert class_positions([[1], None, float("nan")], [0, 1]).tolist() == [-1, -1, -1]


@pytest.mark.parametrize("labels", HOLDERS.values(), ids=HOLDERS)
def test__held_out__labels_and_groups_are_those_of_the_others_where_they_are_equal(labels):
    given = pd.DataFrame({"a": [False, True, False], "b": ["x", "y", "x"]})
    held_out = pd.DataFrame({"a": np.asarray(labels), "b": ["x", "y", "z"]})
    rows = np.zeros((3, 1)), np.array([False, True, True]), given
    data = gather_rows(*rows, (np.zeros((3, 1)), labels, held_out), np.random.RandomState(0))
    assert data.labels.values == ["False", "True"]
    assert data.labels.codes.tolist() == [0, 1, 1, 0, 1, 1]
    assert data.features[1].values == ["False", "True"]
    assert data.features[2].values == ["x", "y", "z"]
