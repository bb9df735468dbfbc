"""The API page lists every public name, and nothing else."""

import importlib
import re
from pathlib import Path

import pytest

import skfairlatent

PAGE = Path(__file__).parents[1] / "docs" / "api.rst"
MODULES = (
    "certification",
    "counterfactuals", "datasets", "diagnostics", "distributed", "encoders", "exceptions", "flows",
    "hub", "inspection", "judging", "metrics", "onnx", "report", "selection",
)  # fmt: skip


def test__api_page__lists_every_public_name():
    listed = re.findall(r"^   ([\w.]+)$", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    public = {name for name in skfairlatent.__all__ if not name.startswith("_")}
    for module in MODULES:
        names = importlib.import_module(f"skfairlatent.{module}").__all__
        public |= {f"{module}.{name}" for name in names}
    assert sorted(listed) == sorted(public)


@pytest.mark.parametrize("name", ["FairLatentTransformerCV", "metrics", "selection"])
def test__package__finds_what_it_imports_later(name):
    assert skfairlatent.__getattr__(name) is getattr(skfairlatent, name)
    assert dir(skfairlatent).count(name) == 1


def test__package__has_no_other_names():
    with pytest.raises(AttributeError, match="has no attribute 'metric'"):
        _ = skfairlatent.metric
