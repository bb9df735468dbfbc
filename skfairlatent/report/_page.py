"""The page: what its template is given, and its rendering."""

__all__ = ["render"]

from typing import TYPE_CHECKING, Any, NamedTuple

import jinja2
from markupsafe import Markup

from skfairlatent.inspection._drawing import as_label
from skfairlatent.report._page_tables import Table, affected, gaps, probes, rates
from skfairlatent.report._page_texts import (
    about,
    alt_of_counterfactuals,
    alt_of_covariance,
    alt_of_gaps,
    alt_of_scores,
    alt_of_search,
    alt_of_training,
    fact_tables,
    rate_meanings,
)
from skfairlatent.report._pictures import Picture, embed
from skfairlatent.report._words import METRICS, truth_of_edits

if TYPE_CHECKING:
    from skfairlatent.report._report import AuditReport

TEMPLATE = "audit.html.j2"
MODELS = ("before", "after")


class Section(NamedTuple):
    """What the page says of one attribute."""

    attribute: str
    title: str
    tables: list[Table]
    pictures: list[tuple[str, Picture]]


def render(report: "AuditReport") -> str:
    """Return the page of a report as text.

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
    audited = report.facts["audit"]
    return environment.get_template(TEMPLATE).render(
        report=report,
        about=about(report),
        meanings=METRICS.values(),
        rate_meanings=rate_meanings(audited["classes"]),
        gaps=gaps(report.differences),
        gaps_picture=embed(report.figures["differences"], alt_of_gaps(report)),
        groups=_group_sections(report),
        affected=affected(report.affected, is_blind=audited["is_blind"]),
        truths=truth_of_edits(audited),
        people=_people_sections(report),
        probes=probes(report.diagnostics),
        latent_pictures=_latent_pictures(report),
        facts=fact_tables(report),
    )


def _showable(value: Any) -> Any:
    """Return what the template is to write, without characters that break a page or its file."""
    is_text = isinstance(value, str) and not isinstance(value, Markup)
    return as_label(value) if is_text else value


def _group_sections(report: "AuditReport") -> list[Section]:
    """Return rates by each attribute and by all crossed; scores by each attribute alone."""
    sections = []
    for attribute in report.by_group.index.unique("sensitive_feature"):
        pictures = []
        for model in MODELS:
            figure = report.figures.get(f"scores by {attribute}, {model}")
            if figure is not None:
                alt = alt_of_scores(report, attribute, model)
                pictures.append((model.capitalize(), embed(figure, alt)))
        sections.append(Section(attribute, f"By {attribute}", rates(report, attribute), pictures))
    return sections


def _people_sections(report: "AuditReport") -> list[Section]:
    sections = []
    for attribute, edits in report.counterfactuals.items():
        pictures = []
        for model in MODELS:
            figure = report.figures[f"counterfactuals by {attribute}, {model}"]
            alt = alt_of_counterfactuals(edits[model], attribute, model)
            pictures.append((model.capitalize(), embed(figure, alt)))
        sections.append(Section(attribute, f"Edits of what reveals {attribute}", [], pictures))
    return sections


def _latent_pictures(report: "AuditReport") -> dict[str, Picture]:
    """Return the figures of the model that there are."""
    alts: dict[str, Any] = {
        "covariance": alt_of_covariance,
        "training": alt_of_training,
        "search": alt_of_search,
    }
    return {
        name: embed(report.figures[name], alt(report))
        for name, alt in alts.items()
        if name in report.figures
    }
