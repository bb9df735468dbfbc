"""Warnings show the user's own line, through pipelines, threads and libraries."""

import inspect
import threading
import warnings

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline

from skfairlatent.encoders import PixelFlattener
from skfairlatent.encoders._user_line import UserLine
from skfairlatent.exceptions import FairLatentWarning


def _number_of_this_line():
    return inspect.currentframe().f_back.f_lineno


def test__user_line__is_that_which_called():
    found, number = UserLine.find(), _number_of_this_line()
    assert found == (__file__, number, __name__)


def test__user_line__is_before_all_libraries(tmp_path):
    """The frames between are those of a pipeline, of joblib's memory and of set_output."""
    masks = np.random.default_rng(0).integers(2, size=(9, 2, 2, 3))
    pipe = make_pipeline(PixelFlattener(), PCA(1), memory=str(tmp_path))
    pipe.set_output(transform="pandas")
    with pytest.warns(FairLatentWarning, match="at most 1") as caught:
        _, number = pipe.fit(masks), _number_of_this_line()
    assert [(each.filename, each.lineno) for each in caught] == [(__file__, number)]


def test__user_line__is_some_line_where_no_user_is():
    found = []
    thread = threading.Thread(target=lambda: found.append(UserLine.find()))
    thread.start()
    thread.join()
    (line,) = found
    with pytest.warns(FairLatentWarning, match="^text$"):
        line.warn("text")


def test__warn__is_shown_once_for_a_line():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        for _ in range(3):
            UserLine.find().warn("text")
        UserLine.find().warn("text")
    numbers = [each.lineno for each in caught]
    assert len(numbers) == len(set(numbers)) == 2
