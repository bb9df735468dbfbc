"""The sections of the audit page, in the order of the page: a new one is a file and a line."""

from skfairlatent.report.sections._section import Section
from skfairlatent.report.sections.certified import Certified
from skfairlatent.report.sections.compared import Compared
from skfairlatent.report.sections.edits import Edits
from skfairlatent.report.sections.gaps import Gaps
from skfairlatent.report.sections.groups import Groups
from skfairlatent.report.sections.latent import Latent
from skfairlatent.report.sections.model_and_data import ModelAndData

__all__ = ["SECTIONS", "Section"]

SECTIONS: list[type[Section]] = [
    Compared,
    Gaps,
    Groups,
    Certified,
    Edits,
    Latent,
    ModelAndData,
]
