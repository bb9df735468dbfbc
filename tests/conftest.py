"""Fixtures of the test suite; isolation of each test is in the ``conftest.py`` above."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Folder of the real data, from SKFAIRLATENT_DATA; the test is skipped without it."""
    given = os.environ.get("SKFAIRLATENT_DATA")
    if not given:
        pytest.skip("needs the real data: set SKFAIRLATENT_DATA to its folder")
    path = Path(given)
    if not path.is_dir():
        pytest.skip(f"SKFAIRLATENT_DATA={given!r} is not a folder")
    return path
