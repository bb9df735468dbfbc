"""Texts that are put together from a report: what it is about, and what its figures show."""

__all__ = [
    "about",
    "alt_of_counterfactuals",
    "alt_of_covariance",
    "alt_of_gaps",
    "alt_of_scores",
    "alt_of_search",
    "alt_of_training",
    "fact_tables",
    "rate_meanings",
]

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from skfairlatent.counterfactuals import Counterfactuals
from skfairlatent.inspection._drawing import figure_or
from skfairlatent.report._page_tables import Block, Cell, Table
from skfairlatent.report._words import METRICS, RATES, Metric, estimate, joined

if TYPE_CHECKING:
    from skfairlatent.report._report import AuditReport


def about(report: "AuditReport") -> list[tuple[str, str]]:
    """Return what was audited, as names and values."""
    audited, model = report.facts["audit"], report.facts["model"]
    found = [
        (
            "People",
            f"{audited['n_rows']:,}; assumed not to be in the training data",
        ),
        ("Decision on", audited["label"]),
        ("Groups by", joined(audited["attributes"])),
        ("Model after mitigation", ", ".join(model["steps"])),
    ]
    if len(audited["classes"]) == 2:
        found.insert(2, ("Positive decision", audited["classes"][1]))
    baseline = audited["baseline"]
    stand_in = f"a stand-in: {model['classifier']} on the embeddings of these people, see Limits"
    return [
        *found,
        ("Model before mitigation", stand_in if baseline is None else ", ".join(baseline)),
    ]


def rate_meanings(classes: Sequence[str]) -> list[Metric]:
    """Return what each rate means; of several classes, each is "positive" in its table."""
    found = list(RATES.values())
    if len(classes) > 2:
        found.append(Metric("Positive", 1, "In the table of a class, positive is that class."))
    return found


def alt_of_gaps(report: "AuditReport") -> str:
    """Return the numbers of the figure on gaps."""
    texts = [
        f"{METRICS[metric].name} by {attribute}: {estimate(row, 'before')} before, "
        f"{estimate(row, 'after')} after."
        for (attribute, metric), row in report.differences.iterrows()
    ]
    return " ".join(texts)


def alt_of_scores(report: "AuditReport", attribute: str, model: str) -> str:
    """Return the shares that the histograms of scores show, or of several classes accuracies."""
    table = report.by_group[model].loc[attribute].unstack("metric")
    is_binary = len(report.facts["audit"]["classes"]) == 2
    metrics = ("true_positive_rate", "false_positive_rate") if is_binary else ("accuracy",)
    texts = []
    for group, row in table.iterrows():
        rates = [f"{RATES[name].name.lower()} {figure_or(row[name])}" for name in metrics]
        texts.append(f"{group}: {', '.join(rates)}")
    return (
        f"Distributions of the model's scores {model} mitigation, by group and true label. "
        f"{'; '.join(texts)}."
    )


def alt_of_counterfactuals(result: Counterfactuals, attribute: str, model: str) -> str:
    """Return for how many of the people shown the decision changes."""
    form = "Probabilities" if result.images is None else "Faces"
    return (
        f"{form} of {len(result)} people {model} mitigation, as they are and with what reveals "
        f"{attribute} edited. The decision changes for {int(result.changed.sum())} of them."
    )


def alt_of_covariance(report: "AuditReport") -> str:
    """Return how strongly the latent's components go together."""
    begin = "Correlations of the latent's components by block."
    if report.diagnostics is None:
        return begin
    masses = report.diagnostics.off_diagonal
    text = ", ".join(f"{part} {figure_or(mass)}" for part, mass in masses.items())
    return f"{begin} Off the diagonal: {text}."


def alt_of_training(report: "AuditReport") -> str:
    """Return how long the transformer was trained."""
    epochs = report.facts["model"]["epochs"]
    return f"The training loss and its terms over {epochs} epochs, one panel each."


def alt_of_search(report: "AuditReport") -> str:  # noqa: ARG001 - as its siblings
    """Return what the figure on the search shows."""
    return "Accuracy against the fairness gap of the candidates, with the frontier and the chosen."


def fact_tables(report: "AuditReport") -> list[Table]:
    """Return what is known of the model, the data and the software."""
    audited, model = report.facts["audit"], report.facts["model"]
    trained_on = list(model["trained_on_groups"]) or ["nothing"]
    settings = {
        "Steps of the pipeline": ", ".join(model["steps"]),
        "Encoder": model["encoder"] or "none: the rows are numbers already",
        "Fingerprint of the encoder": model["encoder_fingerprint"] or "none",
        "Trained to mitigate differences by": joined(trained_on),
        "Width of the embeddings": model["n_embedding_features"],
        "Width of the label block": model["n_label_components"],
        "Epochs of training": model["epochs"],
        "Largest round-trip error": f"{model['round_trip_error']:.1e}",
        "Intervals": f"{audited['confidence']:.0%}, percentiles of {audited['n_bootstrap']:,} "
        "bootstrap draws of the rows; of people affected by edits, exact (Clopper and Pearson)",
    }
    data = report.facts["data"]
    counts = [Block("By label", _pairs(data["labels"]))]
    counts += [Block(f"By {name}", _pairs(groups)) for name, groups in data["groups"].items()]
    return [
        _two_columns("The model", ("Fact", "Value"), [Block("", _pairs(settings))]),
        _two_columns(
            "Parameters",
            ("Parameter", "Value"),
            [
                Block("FairLatentTransformer", _pairs(model["transformer_parameters"])),
                Block(model["classifier"], _pairs(model["classifier_parameters"])),
            ],
        ),
        _two_columns("The audited rows", ("Part", "People"), counts),
        _two_columns(
            "Software", ("Package", "Version"), [Block("", _pairs(report.facts["versions"]))]
        ),
    ]


def _two_columns(caption: str, columns: Sequence[str], blocks: Sequence[Block]) -> Table:
    return Table(caption, [], columns, [block for block in blocks if block.rows], is_text=True)


def _pairs(values: Mapping[str, Any]) -> list[list[Cell]]:
    return [[Cell(name), Cell(_as_text(value))] for name, value in values.items()]


def _as_text(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "none"}[value]
    return f"{value:,}" if isinstance(value, int) else str(value)
