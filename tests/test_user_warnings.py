"""Warnings show the user's own line, through pipelines, threads and libraries."""

import inspect
import threading
import warnings
from types import FunctionType

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn import config_context
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline, make_pipeline

from skfairlatent import FairLatentTransformer
from skfairlatent._user_warnings import UserLine, warn_user
from skfairlatent.encoders import PixelFlattener
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


def _table():
    """Many groups and thin cells: a fit warns of each, from different depths."""
    rng = np.random.default_rng(0)
    return rng.normal(size=(97, 2)), np.arange(97) % 2, np.arange(97) // 4


def _fair(**settings):
    return FairLatentTransformer(max_iter=1, random_state=0, **settings)


def _plain(X, y, s):
    return _fair().fit(X, y, sensitive_features=s)


def _fit_transform(X, y, s):
    return _fair().set_output(transform="pandas").fit_transform(X, y, sensitive_features=s)


def _nested(X, y, s):
    inner = Pipeline([("fair", _fair()), ("clf", LogisticRegression())])
    return Pipeline([("in", inner)]).fit(X, y, in__fair__sensitive_features=s)


def _search(X, y, s):
    with config_context(enable_metadata_routing=True):
        inner = Pipeline([("fair", _fair()), ("clf", LogisticRegression())])
        cv = [(np.arange(97), np.arange(97))]
        return GridSearchCV(inner, {"clf__C": [1.0]}, cv=cv).fit(X, y, sensitive_features=s)


def _without(X, y, _):
    return _fair().fit(X, y)


@pytest.mark.parametrize("fit", [_plain, _fit_transform, _nested, _search, _without])
def test__fit__warns_of_the_line_that_called_it(fit):
    with pytest.warns(FairLatentWarning) as caught:
        fit(*_table())
    first = fit.__code__.co_firstlineno
    lines = range(first, first + len(inspect.getsource(fit).splitlines()))
    assert caught
    assert all(each.filename == __file__ and each.lineno in lines for each in caught)


def test__warn_user__takes_a_category():
    with pytest.warns(RuntimeWarning, match="^text$") as caught:
        _, number = warn_user("text", RuntimeWarning), _number_of_this_line()
    assert [(each.filename, each.lineno) for each in caught] == [(__file__, number)]


# As if it were a function of the package.
_warn_of_package = FunctionType(
    (lambda _: warn_user("text")).__code__, {"__name__": "skfairlatent.x", "warn_user": warn_user}
)


def test__warn_user__sees_through_a_context_manager_and_a_table():
    table = pd.DataFrame({"a": [1]})
    with pytest.warns(FairLatentWarning) as caught, torch.no_grad():
        _, number = table.pipe(torch.no_grad()(_warn_of_package)), _number_of_this_line()
    assert [(each.filename, each.lineno) for each in caught] == [(__file__, number)]
