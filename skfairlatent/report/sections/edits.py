"""Counterfactual edits: how decisions change when the sensitive block is edited."""

__all__ = ["Edits", "left_out"]

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pandas as pd

from skfairlatent._wording import joined, some_of
from skfairlatent.counterfactuals import Counterfactuals
from skfairlatent.inspection import CounterfactualDisplay
from skfairlatent.inspection._drawing import UNDEFINED, figure_or
from skfairlatent.report._comparison import Comparison
from skfairlatent.report._drawing import MEDIUM, NARROW, embed, finished, panels, plain_style
from skfairlatent.report._edits import (
    FAR,
    Noise,
    affected_table,
    explain_folds,
    explain_others,
    shown_people,
)
from skfairlatent.report._page_parts import (
    NOTHING,
    Beside,
    Block,
    Cell,
    Heading,
    Part,
    Table,
    Text,
    number_cell,
)
from skfairlatent.report._provenance import Setup
from skfairlatent.report._rates import MODELS
from skfairlatent.report._rows import FEWEST_ROWS
from skfairlatent.report.sections._section import Section

# The noise that a diffusion autoencoder decodes from, and what follows from it.
NOISES = {
    "inverted": "Images are decoded with the noise found in the originals, which keeps everything "
    "that embeddings leave out. Where that is much, edits show little.",
    "zero": "Images are decoded without the noise of the originals. They show only what "
    "embeddings hold, and look smoother than photographs.",
}


@dataclass(frozen=True)
class Edits(Section):
    """How many decisions an edit changes, the people shown, and groups that are left out."""

    name = "edits"
    title = "If the group looked different"

    setup: Setup
    affected: pd.DataFrame
    counterfactuals: Mapping[str, Mapping[str, Counterfactuals]]
    too_small: Mapping[str, Mapping[str, int]]

    @classmethod
    def measure(cls, comparison: Comparison) -> Self:
        affected, people = _edit(comparison)
        return cls(comparison.setup, affected, people, comparison.rows.too_small())

    def draw(self, comparison: Comparison) -> dict[str, Any]:
        return {
            _figure_name(attribute, model): _draw_people(result, comparison.setup.label)
            for attribute, results in self.counterfactuals.items()
            for model, result in results.items()
        }

    def parts(self, figures: Mapping[str, Any]) -> Iterator[Part]:
        if self.affected.empty:
            yield Text("Left out, see Limits.")
            return
        yield from map(Text, _explanation(self.setup))
        yield self._table()
        for attribute, results in self.counterfactuals.items():
            yield Heading(f"Edits of what reveals {attribute}")
            others = (
                "The people shown are not among those counted above. "
                if self.setup.shows_others
                else ""
            )
            yield Text(
                f"{others}The same people are shown before and after mitigation. Those whose "
                "decision before mitigation changes come first, in the order of how far their "
                "probability changes."
            )
            yield Beside(
                [
                    embed(
                        figures[_figure_name(attribute, model)],
                        _alt(results[model], attribute, model),
                        f"{model.capitalize()} mitigation: each person as they are (before the "
                        f"edit), and with what reveals {attribute} edited (after the edit). A "
                        "diamond, bold type or a frame marks a decision that changes.",
                    )
                    for model in MODELS
                ]
            )

    def _table(self) -> Table:
        is_decoded = bool((self.affected["decoded_rows"] > 0).any())
        blocks = []
        for attribute in self.affected.index.unique("sensitive_feature"):
            rows = []
            for model in MODELS:
                row = self.affected.loc[(attribute, model)]
                by_design = model == "after" and self.setup.is_blind
                cells = [
                    Cell(model.capitalize()),
                    Cell(f"{row['rows']:,.0f}"),
                    Cell(f"{row['reached']:,.0f}"),
                    number_cell(row["length"])._replace(note=f"{row['far']:,.0f} over {FAR:g}"),
                    Cell("0%", "by construction") if by_design else _share(row, ""),
                ]
                rows.append([*cells, *(_decoded(row) if is_decoded else [])])
            blocks.append(Block(f"Edits of what reveals {attribute}", rows))
        columns = ["Model", "People", "Edit possible", "Median length", "Decision changes"]
        headings = []
        if is_decoded:
            headings = [
                Cell(""),
                Cell("On the latent", span=4),
                Cell("On the decoded image", span=3),
            ]
            columns += ["People", "Decision changes", "Group changes"]
        return Table("People whose decision changes with the edit", columns, blocks, headings)

    def summary(self) -> Iterator[tuple[str, str]]:
        for attribute in self.affected.index.unique("sensitive_feature"):
            text = edits_in_short(self.affected, attribute, is_blind=self.setup.is_blind)
            yield f"by {attribute}", text

    def limits(self) -> list[str]:
        untraced = self.setup.untraced
        return [
            "An edit shows what the model associates with a group. It does not show what a person "
            "would be like as a member of another group, and it may also change what reveals "
            "other attributes.",
            *left_out(self.too_small),
            *([f"{untraced} Edits, which need this, are left out."] if untraced else []),
        ]

    def to_dict(self) -> dict[str, Any]:
        people = {
            attribute: {model: shown.to_frame() for model, shown in results.items()}
            for attribute, results in self.counterfactuals.items()
        }
        return {"affected": self.affected, "counterfactuals": people}


def left_out(too_small: Mapping[str, Mapping[str, int]]) -> list[str]:
    """Return which groups are left out of edits and probes, if any are."""
    named = [
        f"{group} ({count}) by {name}"
        for name, few in too_small.items()
        for group, count in few.items()
    ]
    return [
        f"Groups of fewer than {FEWEST_ROWS} people are left out of edits and probes, which need "
        f"people to learn from and others to be tested on: {'; '.join(some_of(named))}. They "
        "count in the tables of rates."
    ] * bool(named)


def edits_in_short(affected: pd.DataFrame, attribute: str, *, is_blind: bool) -> str:
    """Say how many decisions the edits of an attribute change."""
    before, after = (affected.loc[(attribute, model)] for model in MODELS)
    text = f"Editing only what distinguishes groups by {attribute} changes "
    text += _reach(before, "before")
    if is_blind:
        text += ". After mitigation it can change none, because the classifier never sees the "
        text += "edited part"
    else:
        text += f" and {_reach(after, 'after')}"
    if after["decoded_rows"]:
        regrouped = dict.fromkeys(percent(_regrouped(row)) for row in (before, after))
        text += (
            f". On the decoded images of {after['decoded_rows']:.0f} people, it changes "
            f"{percent(before['decoded_share'])} of decisions before and "
            f"{percent(after['decoded_share'])} after; {joined(list(regrouped))} of these "
            "images are then classified as another group"
        )
    return f"{text}."


def percent(share: float) -> str:
    """Return a share as a percentage that does not round a few to none, nor most to all."""
    if np.isnan(share):
        return UNDEFINED
    if share in (0.0, 1.0):
        return f"{share:.0%}"
    if share < 0.001:
        return "under 0.1%"
    return "over 99.9%" if share > 0.999 else f"{share:.1%}"


def _edit(
    comparison: Comparison,
) -> tuple[pd.DataFrame, dict[str, dict[str, Counterfactuals]]]:
    rows, sides, settings = comparison.rows, comparison.sides, comparison.settings
    attributes = comparison.edited
    if not attributes:
        return affected_table({}, attributes, np.empty(0, dtype=np.intp), 0.0), {}
    noise, goal = Noise(rows.X, settings.noise), settings.target_probability
    explained = {
        model: explain_folds(rows, side, noise, comparison.folds, goal)
        for model, side in sides.items()
    }
    chosen = comparison.rng.permutation(len(rows.y))[: settings.n_decoded]
    affected = affected_table(explained, attributes, chosen, settings.confidence)
    if comparison.examples is not None:
        noise = Noise(comparison.examples, settings.noise)
        explained = {
            model: explain_others(rows, side, noise, goal) for model, side in sides.items()
        }
    return affected, {
        attribute: shown_people(explained, attribute, settings.n_examples)
        for attribute in attributes
    }


def _explanation(setup: Setup) -> list[str]:
    """Return what has to be known to read the table and the figures rightly."""
    texts = [
        "Each edit moves a person's latent (the numbers that the model sees) in the direction in "
        "which the groups differ, until a classifier that predicts the group from the latent "
        f"predicts another group, with probability {setup.target_probability:g} where that can be "
        "reached. The edit starts from the predicted group, which is not always the recorded one: "
        "a person whose group is predicted wrongly is moved towards their own. If the decision "
        "then changes, it depends on what distinguishes the groups.",
        "An edit of length 1 goes as far as the median distance between two people. Much longer "
        "edits make a person unlike anybody else: the groups then hardly differ in the latent, "
        "and what such edits change says little. People who cannot be edited are counted, but are "
        "left out of the shares.",
    ]
    if setup.is_blind:
        texts.append(
            "In the audited pipeline this decision cannot change, by construction: the edit is "
            "made in the sensitive block, and the classifier sees the label block only. Its 0% is "
            "therefore not a measurement. The gaps above and the probes below show how well the "
            "blocks were separated."
        )
    if not setup.can_decode:
        texts.append(
            "These rows cannot be decoded into images, so decisions were checked on the latent "
            "only."
        )
        return texts
    texts.append(
        "The decision on the edited image can be measured: the latent is decoded, the image is "
        "encoded again, and a decision is made on it as on a new one. The second half of the "
        "table counts these decisions. It also counts how often the group that is predicted from "
        "the image changes: where that is rare, the edit was lost in decoding, and an unchanged "
        "decision says little."
    )
    return [*texts, NOISES[setup.noise]] if setup.noise else texts


def _reach(row: pd.Series, model: str) -> str:
    """Return the share whose decision changes, how many were moved, and how far."""
    if not row["reached"]:
        return f"nothing {model} (none of {row['rows']:,.0f} people could be edited)"
    parts = [
        f"{row['reached']:,.0f} of {row['rows']:,.0f} people could be edited",
        f"the median edit is {figure_or(row['length'])} times the typical distance "
        "between two people",
    ]
    if row["far"]:
        tail = ", so that this share says little" if 2 * row["far"] > row["reached"] else ""
        parts.append(f"{row['far']:,.0f} edits went farther than twice that distance{tail}")
    return f"{percent(row['share'])} of decisions {model} ({'; '.join(parts)})"


def _regrouped(row: pd.Series) -> float:
    return float(row["decoded_group_changed"] / row["decoded_rows"])


def _decoded(row: pd.Series) -> list[Cell]:
    if not row["decoded_rows"]:
        return [Cell("0"), Cell(NOTHING), Cell(NOTHING)]
    return [
        Cell(f"{row['decoded_rows']:,.0f}"),
        _share(row, "decoded_"),
        Cell(percent(_regrouped(row)), _people(row["decoded_group_changed"])),
    ]


def _share(row: pd.Series, kind: str) -> Cell:
    share, low, high = (percent(row[f"{kind}{end}"]) for end in ("share", "low", "high"))
    return Cell(share, f"{_people(row[f'{kind}changed'])}; [{low}, {high}]")


def _people(number: float) -> str:
    return f"{number:,.0f} {'person' if number == 1 else 'people'}"


def _figure_name(attribute: str, model: str) -> str:
    return f"counterfactuals by {attribute}, {model}"


def _alt(result: Counterfactuals, attribute: str, model: str) -> str:
    """Return for how many of the people shown the decision changes."""
    form = "Probabilities" if result.images is None else "Faces"
    return (
        f"{form} of {len(result)} people {model} mitigation, as they are and with what reveals "
        f"{attribute} edited. The decision changes for {int(result.changed.sum())} of them."
    )


def _draw_people(result: Counterfactuals, label_name: str) -> Any:
    """Draw people before and after an edit: faces, or probabilities."""
    names = [f"person {i + 1}" for i in range(len(result))]
    given: dict[str, Any] = {"rows": slice(None), "label_name": label_name, "row_names": names}
    with plain_style() as plt:
        if result.images is not None:
            display = CounterfactualDisplay.from_counterfactuals(result, **given)
            return finished(plt, display.figure_)
        n_panels = 1 + len(result.sensitive_values)
        n_values = max(len(result.classes), *map(len, result.sensitive_values.values()))
        width = NARROW if n_values == 2 else MEDIUM
        figure, axes = panels(plt, n_panels, width, n_panels * (1.1 + 0.27 * len(result)))
        CounterfactualDisplay.from_counterfactuals(result, ax=axes, **given)
        return finished(plt, figure)
