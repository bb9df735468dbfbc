"""The two models that an audit compares, and how often they are right."""

__all__ = ["Compared"]

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self

import pandas as pd

from skfairlatent._wording import joined
from skfairlatent.diagnostics._lost_decisions import LOST_SHARE
from skfairlatent.report._comparison import Comparison
from skfairlatent.report._page_parts import Meanings, Part, estimate
from skfairlatent.report._provenance import ModelFacts, Setup
from skfairlatent.report.sections._section import Section


@dataclass(frozen=True)
class Compared(Section):
    """The models, their accuracy, and the class that one of them gives everybody."""

    name = "compared"
    title = "What was compared"

    setup: Setup
    model: ModelFacts
    overall: pd.DataFrame
    alike: Mapping[str, str]
    seen_share: float

    @classmethod
    def measure(cls, comparison: Comparison) -> Self:
        overall, share = comparison.tables.overall, comparison.seen_share
        return cls(comparison.setup, comparison.model, overall, comparison.alike, share)

    def parts(self, figures: Mapping[str, Any]) -> Iterator[Part]:
        setup, model = self.setup, self.model
        found = [
            ("People", f"{setup.n_rows:,}; {self._seen()}"),
            ("Label", setup.label),
            *([("Positive label", setup.classes[1])] if len(setup.classes) == 2 else []),
            ("Groups by", joined(setup.attributes)),
            ("Model after mitigation", ", ".join(model.steps)),
        ]
        stand_in = f"a stand-in: {model.classifier} on the embeddings of these people, see Limits"
        before = stand_in if setup.baseline is None else ", ".join(setup.baseline)
        yield Meanings([*found, ("Model before mitigation", before)], style="about")

    def _seen(self) -> str:
        if self.seen_share > 0:
            return f"about {self.seen_share:.0%} of them were training data"
        return "assumed not to be in the training data"

    def summary(self) -> Iterator[tuple[str, str]]:
        if self.alike:
            yield "alike", alike_in_short(self.alike)
        lost = lost_classes(self.overall, self.setup.classes)
        if lost and "after" not in self.alike:
            yield "alike", " ".join(lost)
        row, setup = self.overall.loc["accuracy"], self.setup
        stand_in = "a stand-in for the model before mitigation"
        before = stand_in if setup.baseline is None else "the model before mitigation"
        yield (
            "accuracy",
            f"Two models made a decision for each of {setup.n_rows:,} people: {before}, and the "
            f"audited pipeline. Accuracy is {estimate(row, 'before')} before mitigation and "
            f"{estimate(row, 'after')} after. Values in brackets are {setup.confidence:.0%} "
            "confidence intervals.",
        )

    def limits(self) -> list[str]:
        setup = self.setup
        used = [
            f"About {self.seen_share:.0%} of the audited people were training data of the "
            "transformer, on whom a model looks better and fairer than on others: audit it on "
            "people whom it was not fitted on."
        ] * (self.seen_share > 0)
        if setup.baseline is not None:
            return used
        if setup.untraced:
            stand_in = "the same model with a StandardScaler in place of its FairLatentTransformer"
            trained_on, more = "the audited rows", ""
        else:
            stand_in = f"the pipeline's classifier ({self.model.classifier})"
            trained_on = "the standardised embeddings of the audited rows"
            more = (
                " It was trained on different rows than the pipeline, and on a different number "
                "of them."
            )
        return [
            *used,
            f"No model before mitigation was given. The audit used a stand-in: {stand_in}, "
            f"trained anew on {trained_on} in {setup.n_folds} folds, so that each row is judged "
            f"by a model that was not trained on it.{more}",
        ]

    def to_dict(self) -> dict[str, Any]:
        return {"overall": self.overall}


def lost_classes(overall: pd.DataFrame, classes: list[str]) -> list[str]:
    """Say which classes the model after mitigation finds much less of than the one before."""
    found = []
    for k, label in enumerate(classes):
        if len(classes) > 2:
            row = overall.loc[f"true_positive_rate of {label}"]
        else:
            row = overall.loc["true_positive_rate" if k else "false_positive_rate"]
            row = row if k else 1.0 - row
        before, after = row["before"], row["after"]
        margin = max(abs(row["after_high"] - after), abs(row["after_low"] - after))
        if before > 0 and after + margin < LOST_SHARE * before:
            found.append(
                f"What the model finds of those whose label is {label} fell from {before:.1%} "
                f"before mitigation to {after:.1%} after: it decides nearly everybody alike."
            )
    return found


def alike_in_short(alike: Mapping[str, str]) -> str:
    """Say which models give everybody the same decision."""
    texts = [
        f"{model} mitigation everybody gets the decision {label}" for model, label in alike.items()
    ]
    text = joined(texts)
    return f"{text[0].upper()}{text[1:]}: a gap of 0 then says nothing."
