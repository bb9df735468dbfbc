"""Facts about the model, the rows and the software."""

__all__ = ["ModelAndData"]

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

from skfairlatent._wording import joined, some_of
from skfairlatent.report._comparison import Comparison
from skfairlatent.report._page_parts import Block, Cell, Part, Table, Text
from skfairlatent.report._provenance import (
    DataFacts,
    ModelFacts,
    Setup,
    data_facts,
    version_facts,
)
from skfairlatent.report.sections._section import Section

# Names of the same groups, where one of training and audit has numbers.
TRUTHS = {"False": "0", "True": "1"}


@dataclass(frozen=True)
class ModelAndData(Section):
    """How the audit was made, and on what."""

    name = "facts"
    title = "Model and data"

    audit: Setup
    model: ModelFacts
    data: DataFacts
    versions: Mapping[str, str]

    @classmethod
    def measure(cls, comparison: Comparison) -> Self:
        data = data_facts(comparison.rows)
        return cls(comparison.setup, comparison.model, data, version_facts())

    def parts(self, figures: Mapping[str, Any]) -> Iterator[Part]:
        decoded = " and decoded images" if self.audit.can_decode else ""
        yield Text(
            "This page holds no row of the data: of the people shown, it holds only "
            f"probabilities{decoded}."
        )
        model, data = self.model, self.data
        yield _facts("The model", ("Fact", "Value"), {"": self._settings()})
        yield _facts(
            "Parameters",
            ("Parameter", "Value"),
            {
                "FairLatentTransformer": model.transformer_parameters,
                model.classifier: model.classifier_parameters,
            },
        )
        counts = {f"By {name}": groups for name, groups in data.groups.items()}
        yield _facts("The audited rows", ("Part", "People"), {"By label": data.labels} | counts)
        yield _facts("Software", ("Package", "Version"), {"": self.versions})

    def _settings(self) -> dict[str, Any]:
        audit, model = self.audit, self.model
        return {
            "Steps of the pipeline": ", ".join(model.steps),
            "Encoder": model.encoder or "none: the rows are numeric",
            "Fingerprint of the encoder": model.encoder_fingerprint,
            "Trained to mitigate differences by": joined(
                list(model.trained_on_groups) or ["nothing"]
            ),
            "Width of the embeddings": model.n_embedding_features,
            "Width of the label block": model.n_label_components,
            "Epochs of training": model.epochs,
            "Largest round-trip error": f"{model.round_trip_error:.1e}",
            "Intervals": f"{audit.confidence:.0%}, percentiles of {audit.n_bootstrap:,} bootstrap "
            "draws of the rows; for edits, exact (Clopper and Pearson)",
        }

    def limits(self) -> list[str]:
        return unknown_groups(
            self.model.trained_on_groups, self.data.groups, self.audit.attributes
        )

    def facts(self) -> dict[str, dict[str, Any]]:
        """Return the facts as dicts."""
        return asdict(self)

    def to_dict(self) -> dict[str, Any]:
        return {self.name: self.facts()}


def unknown_groups(
    trained_on: Mapping[str, Sequence[str]],
    audited: Mapping[str, Mapping[str, int]],
    attributes: Sequence[str],
) -> list[str]:
    """Return which attributes, and which groups of the others, training did not see."""
    texts = []
    missing = [name for name in attributes if name not in trained_on]
    if missing:
        known = (
            f"with {joined(list(trained_on))}" if trained_on else "without sensitive attributes"
        )
        texts.append(
            f"The model was not trained to mitigate differences by {joined(missing)} (it was "
            f"trained {known}; names are compared as given)."
        )
    for name, values in trained_on.items():
        groups = list(audited.get(name, ()))
        # A column of bool on one side and of numbers on the other, but not of text like both.
        is_bool = any(all(value in TRUTHS for value in side) for side in (values, groups))
        same = TRUTHS if is_bool else {}
        seen = {same.get(value, value) for value in values}
        new = [group for group in groups if same.get(group, group) not in seen]
        if new:
            texts.append(
                f"The model was trained without any row of {', '.join(some_of(new))} by {name} "
                f"(but with {joined(values)}): nothing was done for these groups."
            )
    return texts


def _facts(caption: str, columns: Sequence[str], blocks: Mapping[str, Mapping[str, Any]]) -> Table:
    rows = {
        title: [[Cell(name), Cell(_as_text(value))] for name, value in values.items()]
        for title, values in blocks.items()
    }
    found = [Block(title, each) for title, each in rows.items() if each]
    return Table(caption, columns, found, is_text=True)


def _as_text(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "none"}[value]
    return f"{value:,}" if isinstance(value, int) else str(value)
