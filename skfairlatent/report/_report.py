"""The audit report and its page."""

__all__ = ["AuditReport"]

import html
import json
import os
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from skfairlatent._files.plain_json import as_plain
from skfairlatent._files.writing import replace_file
from skfairlatent.inspection._drawing import as_label
from skfairlatent.report._findings import Findings

FORMAT = "skfairlatent-audit-1"
SUFFIXES = (".html", ".json")
TEMPLATE = "audit.html.j2"


class AuditReport(Findings):
    """Result of `audit`. Printing it shows a summary; `save` writes it to a file.

    "Before" is the baseline, "after" the audited pipeline. ``low`` and ``high`` are the ends of
    intervals, NaN if there is none. ``summary`` is a tuple of paragraphs on models that make the
    same decision for all rows, if there are any, on accuracy, on each attribute, and on warnings
    of the diagnostics.

    Attributes
    ----------
    title : str
        The title of the page.

    date : str
        When the audit was made, as YYYY-MM-DD.

    overall : pandas.DataFrame
        One row for each metric, as ``MetricFrame.overall`` of fairlearn: ``count``, ``accuracy``,
        ``true_positive_rate``, ``false_positive_rate`` and ``selection_rate`` (for more than two
        classes, the rates of each, as ``"selection_rate of <class>"``). Columns ``before``,
        ``before_low``, ``before_high``, ``after``, ``after_low``, ``after_high``.

    by_group : pandas.DataFrame
        The same for each (sensitive feature, group, metric), as in ``MetricFrame.by_group``; NaN
        if a group has no rows to measure a rate on. Attributes come alone, then crossed.

    differences : pandas.DataFrame
        ``equalized_odds_difference`` (worst case), ``demographic_parity_difference``,
        ``worst_group_accuracy`` and, for two classes, ``demographic_parity_ratio`` and
        ``equal_opportunity_difference`` of each sensitive feature. The same columns, ``change``
        (after less before, on the same rows) with its interval, and ``note``, which says why a
        value or an interval is NaN.

    affected : pandas.DataFrame
        Decisions that change when a sensitive feature is edited, for each (sensitive feature,
        model): ``rows``; ``reached``, the rows for which an edit was found, which all following
        columns refer to; ``length``, median length of the edits, where 1 is the median distance
        between two rows; ``far``, edits longer than 2; ``changed``, ``share``, ``low``, ``high``.
        Then ``decoded_rows`` and the like for decisions on decoded images, encoded again, and
        ``decoded_group_changed``, images assigned to another group after the edit. Empty if no
        edit can be learnt or followed to the decision.

    diagnostics : LatentDiagnostics or None
        Diagnostics of the latent; None if they cannot be computed.

    counterfactuals : dict of str to dict of str to Counterfactuals
        By sensitive feature, then ``"before"`` and ``"after"``: edits of the same examples, first
        those whose decision before depends most on the attribute. They hold the embeddings of the
        examples, which `save` does not write.

    facts : dict
        ``"audit"``, ``"model"``, ``"data"`` and ``"versions"``.

    limits : tuple of str
        Limits of the audit, and warnings issued during it.

    figures : dict of str to matplotlib.figure.Figure
        Figures by name.

    sections : tuple of Section
        The sections of the page, which hold all of the above.

    See Also
    --------
    audit : Returns a report.
    """

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the report as a page or as numbers.

        Parameters
        ----------
        path : path-like
            File to write: with the suffix ``.html`` a self-contained page, which needs no network
            and no script; with ``.json`` the content of `to_dict`. An existing file is replaced
            once the new one is complete.

        Raises
        ------
        ValueError
            If the suffix is neither ``.html`` nor ``.json``.
        OSError
            If the file cannot be written.
        """
        path = Path(path)
        if path.suffix.lower() not in SUFFIXES:
            raise ValueError(
                f"{path.name!r} ends in {path.suffix!r}: expected '.html' for a page, or '.json' "
                "for its numbers."
            )
        is_page = path.suffix.lower() == ".html"
        text = self.to_html() if is_page else json.dumps(self.to_dict(), allow_nan=False, indent=1)
        replace_file(path, text.encode(errors="backslashreplace"), "The audit")

    def to_html(self) -> str:
        """Return the page as text."""
        return render(self)

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers as JSON types; NaN becomes None.

        Returns
        -------
        dict
            The numbers of each section, with tables as lists of rows, without figures. For the
            examples, only probabilities and decisions are included.
        """
        found: dict[str, Any] = {"format": FORMAT, "title": self.title, "date": self.date}
        found["summary"] = self.summary
        for section in self.sections:
            found |= section.to_dict()
        found["limits"] = self.limits
        plain: dict[str, Any] = as_plain(found)
        return plain

    def _repr_html_(self) -> str:
        """Show the page in a notebook, in a frame of its own."""
        page = html.escape(self.to_html())
        return (
            f'<iframe srcdoc="{page}" title="{html.escape(self.title)}" sandbox '
            'style="width: 100%; height: 40rem; border: 1px solid #888"></iframe>'
        )

    def __repr__(self) -> str:
        """Summarise the report in words and one table."""
        columns = ["before", "after", "change", "change_low", "change_high"]
        table = self.differences[columns].round(3).to_string()
        texts = [as_label(text) for text in (f"{self.title} ({self.date})", *self.summary)]
        return "\n\n".join([*texts, table])


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
