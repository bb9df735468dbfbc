"""The findings of an audit: data, without the report's ways to save and show it."""

__all__ = ["Findings"]

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import pandas as pd

from skfairlatent.counterfactuals import Counterfactuals
from skfairlatent.diagnostics import LatentDiagnostics
from skfairlatent.report.sections import Section
from skfairlatent.report.sections.compared import Compared
from skfairlatent.report.sections.edits import Edits
from skfairlatent.report.sections.gaps import Gaps
from skfairlatent.report.sections.groups import Groups
from skfairlatent.report.sections.latent import Latent
from skfairlatent.report.sections.model_and_data import ModelAndData

GENERAL_LIMITS = (
    "This page reports measurements on the rows described under Model and data. It does not "
    "certify the model, and says nothing about other people, places or times.",
    "The audit assumes that neither model was trained on these rows. It cannot check this.",
    "Labels are taken as they are. If they carry an unfair judgement, a model that repeats it "
    "equally accurately for all groups has no gap.",
    "Only the attributes named here were examined, as they were recorded. Differences by other "
    "attributes may be larger.",
    "Intervals cover the chance in drawing the rows, not that of training again. A gap is the "
    "largest of several differences, so chance alone makes it larger than 0, and more so with "
    "more or smaller groups.",
)

_Kind = TypeVar("_Kind", bound=Section)


@dataclass(frozen=True, eq=False, repr=False)
class Findings:
    """The measured sections of an audit, and its figures."""

    title: str
    date: str
    sections: tuple[Section, ...]
    figures: Mapping[str, Any] = field(default_factory=dict)
    warned: tuple[str, ...] = ()

    def section(self, kind: type[_Kind]) -> _Kind:
        """Return the section of a kind; LookupError if there is none."""
        for each in self.sections:
            if isinstance(each, kind):
                return each
        raise LookupError(f"The audit has no section {kind.__name__}.")

    @property
    def summary(self) -> tuple[str, ...]:
        """The verdict in numbers, one paragraph a topic."""
        topics: dict[str, list[str]] = {}
        for section in self.sections:
            for topic, sentence in section.summary():
                topics.setdefault(topic, []).append(sentence)
        return tuple(" ".join(sentences) for sentences in topics.values())

    @property
    def limits(self) -> tuple[str, ...]:
        """The limits of the audit, and the warnings that it met."""
        own = [text for section in self.sections for text in section.limits()]
        return (*GENERAL_LIMITS, *own, *self.warned)

    @property
    def overall(self) -> pd.DataFrame:
        """Rates of everybody."""
        return self.section(Compared).overall

    @property
    def by_group(self) -> pd.DataFrame:
        """Rates by group."""
        return self.section(Groups).by_group

    @property
    def differences(self) -> pd.DataFrame:
        """Gaps between groups."""
        return self.section(Gaps).differences

    @property
    def affected(self) -> pd.DataFrame:
        """Decisions that edits change."""
        return self.section(Edits).affected

    @property
    def diagnostics(self) -> LatentDiagnostics | None:
        """The latent space of the transformer."""
        return self.section(Latent).diagnostics

    @property
    def counterfactuals(self) -> Mapping[str, Mapping[str, Counterfactuals]]:
        """Edits of the people shown."""
        return self.section(Edits).counterfactuals

    @property
    def facts(self) -> dict[str, dict[str, Any]]:
        """Facts about the audit, the model, the data and the software."""
        return self.section(ModelAndData).facts()
