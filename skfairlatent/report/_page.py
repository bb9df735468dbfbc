"""The page of an audit."""

__all__ = ["render"]

from typing import Any

import jinja2
from markupsafe import Markup

from skfairlatent.inspection._drawing import as_label
from skfairlatent.report._findings import Findings

TEMPLATE = "audit.html.j2"


def render(findings: Findings) -> str:
    """Return the page as text.

    Names of groups, labels and the like are data, and whatever the template is given is escaped.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("skfairlatent.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_showable,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    sections = [(each, list(each.parts(findings.figures))) for each in findings.sections]
    return environment.get_template(TEMPLATE).render(findings=findings, sections=sections)


def _showable(value: Any) -> Any:
    """Return a value for the template, without characters that break a page or its file."""
    is_text = isinstance(value, str) and not isinstance(value, Markup)
    return as_label(value) if is_text else value
