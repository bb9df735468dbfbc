"""make_faces: what it refuses."""

import re

import numpy as np
import pytest

from skfairlatent.encoders import make_faces


@pytest.mark.parametrize("n_samples", ["10", 10.0, None, True])
def test__make_faces__a_number_that_is_no_integer_is_named(n_samples):
    message = re.escape(f"n_samples={n_samples!r} is not valid: pass an integer")
    with pytest.raises(TypeError, match=message):
        make_faces(n_samples)


def test__make_faces__takes_integers_of_numpy_and_refuses_zero():
    assert len(make_faces(np.int64(3)).data) == 3
    with pytest.raises(ValueError, match="pass an integer >= 1"):
        make_faces(0)
