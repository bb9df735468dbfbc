"""What an audit says in words: names of figures, what they mean, the summary, the limits."""

__all__ = [
    "METRICS",
    "RATES",
    "Metric",
    "estimate",
    "joined",
    "limits",
    "percent",
    "small_groups",
    "summary",
    "title_of",
    "truth_of_edits",
]

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from skfairlatent.inspection._drawing import UNDEFINED, figure_or
from skfairlatent.report._rows import FEWEST_ROWS

# What a diffusion autoencoder decodes from, and what follows from it.
NOISES = {
    "inverted": "Images are decoded with the noise found in the originals, so that all that "
    "embeddings leave out is kept. Where that is much, edits show little.",
    "zero": "Images are decoded without the noise of the originals: they show what embeddings "
    "hold and nothing else, and look smoother than photographs.",
}
# Groups of fewer people are named among the limits: their rates are mostly chance.
FEW_ROWS = 50
# Names of the same groups, where one of training and audit has numbers.
TRUTHS = {"False": "0", "True": "1"}
MINUS = "\N{MINUS SIGN}"
MOST_NAMED = 8
# Instead of what became of a gap, which else would read as a success.
ALIKE = (
    "The two gaps cannot be compared: a model that gives everybody the same decision has no gap, "
    "whatever the groups."
)


class Metric(NamedTuple):
    """What a figure is called, what is best, and what it means in one sentence."""

    name: str
    best: int
    meaning: str


METRICS = {
    "equalized_odds_difference": Metric(
        "Equalised odds gap",
        0,
        "Among people with the same true label, how much more often one group is given a decision "
        "than another: the largest such difference.",
    ),
    "demographic_parity_difference": Metric(
        "Demographic parity gap",
        0,
        "How much more often one group is given a decision than another, whatever the true label. "
        "It need not be 0 where the label itself is more frequent in one group.",
    ),
    "worst_group_accuracy": Metric(
        "Worst-group accuracy",
        1,
        "The share of correct decisions among people of one true label and one group, where that "
        "share is smallest.",
    ),
}

RATES = {
    "accuracy": Metric("Accuracy", 1, "The share of decisions that agree with the true label."),
    "true_positive_rate": Metric(
        "True positive rate",
        1,
        "Among people whose true label is positive, the share with a positive decision.",
    ),
    "false_positive_rate": Metric(
        "False positive rate",
        0,
        "Among people whose true label is not positive, the share with a positive decision.",
    ),
    "selection_rate": Metric(
        "Selection rate", 0, "The share of all people with a positive decision, right or wrong."
    ),
}


def estimate(row: Mapping[str, Any], name: str, *, signed: bool = False) -> str:
    """Return a value with its interval, such as ``0.40 [0.36, 0.44]``."""
    value, low, high = row[name], row[f"{name}_low"], row[f"{name}_high"]
    if np.isnan(value):
        return UNDEFINED
    text = f"{value:{'+' if signed else ''}.2f}"
    if np.isfinite(low):
        text += f" [{low:.2f}, {high:.2f}]"
    return text.replace("-0.00", "0.00").replace("-", MINUS)


def percent(share: float) -> str:
    """Return a share as a percentage that does not round a few to none, nor most to all."""
    if np.isnan(share):
        return UNDEFINED
    if share in (0.0, 1.0):
        return f"{share:.0%}"
    if share < 0.001:
        return "under 0.1%"
    if share > 0.999:
        return "over 99.9%"
    return f"{share:.1%}"


def joined(names: Sequence[str]) -> str:
    """Return names as in a sentence: ``a, b and c``."""
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def title_of(label: str, attributes: Sequence[str]) -> str:
    """Return what a page is called if nobody names it."""
    return f"Audit of {label} by {joined(attributes)}"


def summary(
    overall: pd.DataFrame,
    differences: pd.DataFrame,
    affected: pd.DataFrame,
    facts: Mapping[str, Any],
    warned: Sequence[str],
) -> list[str]:
    """Return the verdict in numbers.

    A paragraph on models that decide everybody alike, if there are any, one on accuracy, one on
    each attribute, and one on what diagnostics warned of.
    """
    audit = facts["audit"]
    alike = _decided_alike(overall, audit["classes"])
    row = overall.loc["accuracy"]
    stand_in = "a stand-in for the model before mitigation"
    before = stand_in if audit["baseline"] is None else "the model before mitigation"
    texts = [_alike_in_short(alike)] if alike else []
    texts.append(
        f"Two models made a decision for each of {audit['n_rows']:,} people: {before}, and the "
        f"audited pipeline. Accuracy is {estimate(row, 'before')} before mitigation and "
        f"{estimate(row, 'after')} after. Brackets hold {audit['confidence']:.0%} intervals."
    )
    metric = "equalized_odds_difference"
    for attribute in differences.index.unique("sensitive_feature"):
        row = differences.loc[(attribute, metric)]
        sentences = [
            f"Between groups by {attribute}, the equalised odds gap is {estimate(row, 'before')} "
            f"before and {estimate(row, 'after')} after. "
            f"{ALIKE if alike else _verdict(row)}"
        ]
        if attribute in affected.index.unique("sensitive_feature"):
            sentences.append(_edits_in_short(affected, attribute, is_blind=audit["is_blind"]))
        texts.append(" ".join(sentences))
    if warned:  # each begins with a word for what it is
        kinds = dict.fromkeys(text.partition(":")[0].lower() for text in warned)
        found = "a problem" if len(kinds) == 1 else "problems"
        texts.append(
            f"The diagnostics found {found} in the latent: {joined(list(kinds))} (see Limits)."
        )
    return texts


def _decided_alike(overall: pd.DataFrame, classes: Sequence[str]) -> dict[str, str]:
    """Return the class that a model gives everybody, by model, of those that do so."""
    is_binary = len(classes) == 2
    found = {}
    for model in ("before", "after"):
        for k, label in enumerate(classes):
            # Of two classes the table has the rate of the second only.
            metric = "selection_rate" if is_binary else f"selection_rate of {label}"
            if overall.loc[metric, model] == (0.0 if is_binary and k == 0 else 1.0):
                found[model] = label
    return found


def _alike_in_short(alike: Mapping[str, str]) -> str:
    texts = [
        f"{model} mitigation everybody gets the decision {label}" for model, label in alike.items()
    ]
    text = joined(texts)
    return f"{text[0].upper()}{text[1:]}: a gap of 0 then says nothing."


def _verdict(row: pd.Series) -> str:
    change = estimate(row, "change", signed=True)
    if np.isnan(row["change"]):
        return f"The change cannot be measured on these rows. {row['note']}"
    if np.isnan(row["change_low"]):
        return f"Whether the change, {change}, is due to chance cannot be said. {row['note']}"
    # Of what is printed beside it, and not of what was rounded away.
    if round(row["change_low"], 2) <= 0 <= round(row["change_high"], 2):
        return f"The change, {change}, may be due to chance."
    became = "smaller" if row["change"] < 0 else "larger"
    return f"It became {became}, by more than chance explains: {change}."


def _edits_in_short(affected: pd.DataFrame, attribute: str, *, is_blind: bool) -> str:
    before, after = (affected.loc[(attribute, model)] for model in ("before", "after"))
    text = (
        f"Editing only what distinguishes groups by {attribute} changes {_reach(before, 'before')}"
    )
    if is_blind:
        text += (
            ". After mitigation it can change none, because the classifier never sees the edited "
            "part"
        )
    else:
        text += f" and {_reach(after, 'after')}"
    if after["decoded_rows"]:
        text += (
            f". On the decoded images of {after['decoded_rows']:.0f} people, it changes "
            f"{percent(before['decoded_share'])} of decisions before and "
            f"{percent(after['decoded_share'])} after; {_regrouped(before, after)} of these "
            "images are then read as showing another group"
        )
    return f"{text}."


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


def small_groups(groups: Mapping[str, Mapping[str, int]]) -> list[str]:
    """Return what is left out of edits and probes, if anything is."""
    named = [
        f"{group} ({count}) by {name}"
        for name, few in groups.items()
        for group, count in few.items()
    ]
    more = len(named) - MOST_NAMED
    tail = f" and {more} more" if more > 0 else ""
    return [
        f"Groups of fewer than {FEWEST_ROWS} people are left out of edits and probes, which need "
        f"people to learn from and others to be tested on: "
        f"{'; '.join(named[:MOST_NAMED])}{tail}. They count in the tables of rates."
    ] * bool(named)


def _regrouped(*models: pd.Series) -> str:
    shares = [percent(row["decoded_group_changed"] / row["decoded_rows"]) for row in models]
    return joined(list(dict.fromkeys(shares)))


def truth_of_edits(audit: Mapping[str, Any]) -> list[str]:
    """Return what has to be known to read the figures on edits rightly."""
    texts = [
        "Each edit moves a person's latent (the numbers that the model sees) in the direction in "
        "which the groups differ, until a classifier that guesses the group from the latent takes "
        f"the person for a member of another group, with probability "
        f"{audit['target_probability']:g} where that can be reached. The edit starts from the "
        "group that is guessed, which is not always the one recorded: a person whose group is "
        "guessed wrongly is moved towards their own. If the decision then changes, it depends on "
        "what distinguishes the groups.",
        "An edit of length 1 goes as far as the median distance between two people. Much longer "
        "edits make a person unlike anybody else: the groups then hardly differ in the latent, "
        "and what such edits change says little. People who cannot be edited are counted, but are "
        "left out of the shares.",
    ]
    if audit["is_blind"]:
        texts.append(
            "In the audited pipeline this decision cannot change, by construction: the edit is "
            "made in the sensitive block, and the classifier sees the label block only. Its 0% is "
            "therefore not a measurement. The gaps above and the probes below show how well the "
            "blocks were separated."
        )
    if audit["can_decode"]:
        texts.append(
            "What can be measured is the decision on the edited image: the latent is decoded, the "
            "image is encoded again, and a decision is made on it as on a new one. The second "
            "half of the table counts these decisions. It also counts how often the image is then "
            "read as showing a member of another group: where that is rare, the edit was lost in "
            "decoding, and an unchanged decision says little."
        )
        if audit["noise"] is not None:
            texts.append(NOISES[audit["noise"]])
    else:
        texts.append(
            "These rows cannot be decoded into images, so decisions were checked on the latent "
            "only."
        )
    return texts


def limits(
    by_group: pd.DataFrame,
    facts: Mapping[str, Any],
    warned: Sequence[str],
) -> list[str]:
    """Return what is not promised, and what this audit in particular cannot say."""
    audit, model = facts["audit"], facts["model"]
    texts = [
        "This page reports measurements on the rows described under model and data. It does not "
        "certify the model, and says nothing about other people, places or times.",
        "The rows are assumed to be ones that neither model was trained on. The audit cannot "
        "check this.",
        "Labels are taken as they are. If they carry an unfair judgement, a model that repeats it "
        "equally accurately for all has no gap.",
        "Only the attributes named here were looked at, as they were recorded. Others may differ "
        "more.",
        "The method aims at equal error rates given the label (equalised odds). It does not aim "
        "at equal selection rates, and says nothing about two similar individuals.",
        "Intervals show the chance in which rows were drawn, not that of training again. A gap is "
        "the largest of several differences, so that chance alone makes it larger than 0, and "
        "more so with more or smaller groups.",
        "An edit shows what the model takes a group to look like. It is not what a person would "
        "be like as a member of another group. It may also change what reveals other attributes.",
    ]
    if audit["baseline"] is None and audit["untraced"]:
        texts.append(
            "No model before mitigation was given. In its place stands the same model with a "
            "standardisation instead of its FairLatentTransformer, trained anew on the audited "
            f"rows, in {audit['n_folds']} folds, each judged by one that had not seen it."
        )
    elif audit["baseline"] is None:
        texts.append(
            f"No model before mitigation was given. In its place stands the pipeline's "
            f"classifier ({model['classifier']}), trained anew on the standardised embeddings of "
            f"the audited rows, in {audit['n_folds']} folds, each judged by a classifier that had "
            "not seen it. It was trained on different rows than the pipeline, and on a different "
            "number of them."
        )
    texts += _unknown_groups(model["trained_on_groups"], facts["data"]["groups"], audit)
    left_out = small_groups(facts["data"]["too_small"])
    if audit["untraced"]:
        left_out.append(f"{audit['untraced']} Edits, which need this, are left out.")
    return [*texts, *left_out, *_small_groups(by_group), *warned]


def _unknown_groups(
    trained_on: Mapping[str, Sequence[str]],
    audited: Mapping[str, Mapping[str, int]],
    audit: Mapping[str, Any],
) -> list[str]:
    """Return which attributes, and which groups of the others, training did not see."""
    texts = []
    missing = [name for name in audit["attributes"] if name not in trained_on]
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
                f"The model was trained without any row of {joined(new[:MOST_NAMED])} by {name} "
                f"(but with {joined(values)}): nothing was done for these groups."
            )
    return texts


def _small_groups(by_group: pd.DataFrame) -> list[str]:
    counts = by_group.xs("count", level="metric")["before"]
    small = counts[counts < FEW_ROWS].sort_values()
    if small.empty:
        return []
    named = [f"{group} ({count:.0f})" for (_, group), count in small.items()]
    more = len(named) - MOST_NAMED
    tail = f" and {more} more" if more > 0 else ""
    return [
        f"Groups of fewer than {FEW_ROWS} people, whose rates are mostly chance: "
        f"{'; '.join(named[:MOST_NAMED])}{tail}."
    ]
