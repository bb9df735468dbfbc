"""A new section of the audit page is one class and one line."""

import re
from dataclasses import dataclass

import pytest

from skfairlatent.report import audit
from skfairlatent.report._drawing import embed, finished, panels, plain_style
from skfairlatent.report._page_parts import Block, Cell, Table, Text
from skfairlatent.report.sections import SECTIONS, Section

from .conftest import HOSTILE, QUICK


@dataclass(frozen=True)
class Certificate(Section):
    """All that a section can do, in a file of its own."""

    name = "certificate"
    title = "A bound"

    n_rows: int
    bounds: dict

    @classmethod
    def measure(cls, comparison):
        rows = comparison.rows
        return cls(len(rows.y), {each.label: 0.25 for each in rows.groupings()})

    def draw(self, comparison):
        with plain_style() as plt:
            figure, axes = panels(plt, 1, 3, 2)
            axes[0].plot(comparison.folds[:9])
            return {"bounds": finished(plt, figure)}

    def parts(self, figures):
        yield Text(f"Of {self.n_rows} rows, {HOSTILE}.")
        rows = [[Cell(name), Cell(f"{bound}")] for name, bound in self.bounds.items()]
        yield Table("Bounds", ["Groups", "Bound"], [Block("", rows)])
        yield embed(figures["bounds"], "A line of folds.", "Folds.")

    def summary(self):
        yield "by group", "No classifier has a gap above 0.25."

    def limits(self):
        return ["A bound holds for people like these."]


@dataclass(frozen=True)
class Inapplicable(Certificate):
    name = "inapplicable"
    title = "Never seen"

    @classmethod
    def measure(cls, comparison):  # noqa: ARG003 - for no comparison
        return None


@pytest.fixture(scope="module")
def report(binary):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "skfairlatent.report._audit.SECTIONS", [*SECTIONS, Certificate, Inapplicable]
        )
        return audit(binary.pipe, binary.X, binary.y, sensitive_features=binary.s, **QUICK)


def test__section__is_on_the_page_and_in_its_navigation(report):
    page = report.to_html()
    assert '<li><a href="#certificate">A bound</a></li>' in page
    section = re.search(r'<section aria-labelledby="certificate">.*?</section>', page, re.DOTALL)
    assert '<h2 id="certificate">A bound</h2>' in section[0]
    assert "<caption><span>Bounds</span></caption>" in section[0]
    assert 'alt="A line of folds."' in section[0]
    assert HOSTILE not in page
    assert "<li>A bound holds for people like these.</li>" in page


def test__section__is_among_the_numbers(report, binary):
    numbers, others = report.to_dict(), binary.report.to_dict()
    assert numbers.pop("certificate") == {"n_rows": 300, "bounds": {"group": 0.25}}
    assert list(numbers) == list(others)
    assert report.section(Certificate).n_rows == 300


def test__section__joins_the_paragraph_of_its_topic(report, binary):
    (paragraph,) = (text for text in report.summary if text.startswith("Between groups by group"))
    (before,) = (each for each in binary.report.summary if each.startswith("Between groups by"))
    assert paragraph == f"{before} No classifier has a gap above 0.25."


def test__section__that_does_not_apply_is_nowhere(report):
    assert "inapplicable" not in report.to_dict()
    assert "Never seen" not in report.to_html()
    with pytest.raises(LookupError, match="no section Inapplicable"):
        report.section(Inapplicable)
