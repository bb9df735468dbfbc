"""The audit report: what a fair pipeline does, group by group, on a page for others to read."""

from skfairlatent.report._audit import audit
from skfairlatent.report._report import AuditReport

__all__ = ["AuditReport", "audit"]
