"""What is imported when it is asked for."""

import subprocess
import sys

import pytest

import skfairlatent
import skfairlatent.encoders


@pytest.mark.parametrize("package", [skfairlatent, skfairlatent.encoders])
def test__package__has_all_its_names_and_no_others(package):
    assert all(hasattr(package, name) for name in package.__all__)
    assert set(package.__all__) <= {*dir(package)}
    with pytest.raises(AttributeError, match=f"module '{package.__name__}' has no attribute 'x'"):
        _ = package.x


def test__import__leaves_fairlearn_and_encoders_until_they_are_asked_for():
    code = """
import sys, skfairlatent
for name in ("fairlearn", "skfairlatent.encoders.diffae", "sklearn.preprocessing"):
    assert name not in sys.modules, name
skfairlatent.encoders.diffae.DiffAEEncoder, skfairlatent.metrics.fairness_scorers
"""
    subprocess.run([sys.executable, "-c", code], check=True)  # noqa: S603 - ours
