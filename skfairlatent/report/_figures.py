"""The figures of an audit, narrow enough to be read on a phone."""

__all__ = ["draw_comparison", "draw_models", "draw_search"]

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from skfairlatent.counterfactuals import Counterfactuals
from skfairlatent.counterfactuals._names import nameless
from skfairlatent.inspection import (
    CounterfactualDisplay,
    FairnessAccuracyDisplay,
    GroupScoresDisplay,
    LatentCovarianceDisplay,
    TrainingCurvesDisplay,
)
from skfairlatent.inspection._drawing import (
    BLUE,
    LIGHT,
    VERBATIM,
    figure_or,
    ink,
    largest_of,
    plain_axes,
    set_titles,
    shortened,
)
from skfairlatent.inspection._group_scores import MOST_LABELS
from skfairlatent.metrics._group_counts import class_positions
from skfairlatent.report._models import Side
from skfairlatent.report._pictures import plain_style
from skfairlatent.report._rows import AuditedRows, Grouping
from skfairlatent.report._words import METRICS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Inches: the width that a phone shows without shrinking letters much, that of what names the
# values that it shows, and that of two columns.
NARROW, MEDIUM, WIDE = 4.4, 5.6, 7.2
# Inches above and below a panel, and letters in a line of a name.
PANEL_GAP = 0.09
NAME_WIDTH = 16

Array = npt.NDArray[Any]


def draw_comparison(
    rows: AuditedRows,
    sides: Mapping[str, Side],
    differences: pd.DataFrame,
    people: Mapping[str, Mapping[str, Counterfactuals]],
) -> "dict[str, Figure]":
    """Draw the gaps, and for each attribute the scores and the edits before and after.

    Returns
    -------
    dict of str to Figure
        ``"differences"``, ``"scores by <attribute>, before"`` and ``after`` (of no more than 12
        labels), ``"counterfactuals by <attribute>, before"`` and ``after``.
    """
    figures = {"differences": _draw_differences(differences)}
    groupings = {each.name: each for each in rows.groupings()}
    for attribute in rows.attributes:
        for model, side in sides.items():
            if len(side.classes) <= MOST_LABELS:
                scores = _draw_scores(groupings[attribute], rows.y, side)
                figures[f"scores by {attribute}, {model}"] = scores
            if attribute in people:
                edited = _draw_counterfactuals(people[attribute][model], rows.label_name)
                figures[f"counterfactuals by {attribute}, {model}"] = edited
    return figures


def draw_models(fair: Any, embeddings: Array | None) -> "dict[str, Figure]":
    """Draw the latent, and how it was trained, of a model with one transformer.

    Returns
    -------
    dict of str to Figure
        ``"covariance"`` and ``"training"``.
    """
    if embeddings is None:
        return {}
    with plain_style() as plt:
        covariance = _draw_covariance(plt, fair, embeddings)
    return {"covariance": covariance, "training": _draw_training(fair)}


def draw_search(search: Any) -> "dict[str, Figure]":
    """Draw the candidates of a search, as ``"search"``."""
    with plain_style() as plt:
        return {"search": _done(plt, FairnessAccuracyDisplay.from_search(search).figure_)}


def _draw_covariance(plt: Any, fair: Any, embeddings: Array) -> "Figure":
    covariance = nameless(LatentCovarianceDisplay.from_estimator)(fair, embeddings)
    for mesh in covariance.ax_.collections:  # thousands of cells, whose edges say nothing
        mesh.set_rasterized(True)
    return _done(plt, covariance.figure_)


def _draw_differences(differences: pd.DataFrame) -> "Figure":
    """Draw each gap before and after with its interval, one panel a metric."""
    names = differences.index.unique("sensitive_feature")
    metrics = differences.index.unique("metric")
    with plain_style() as plt:
        height = len(metrics) * (0.85 + 0.55 * len(names))
        figure, axes = plt.subplots(
            len(metrics), 1, figsize=(NARROW, height), layout="constrained"
        )
        for metric, ax in zip(metrics, axes, strict=True):
            _draw_metric(ax, metric, differences.xs(metric, level="metric").loc[names])
        return _done(plt, figure)


def _draw_metric(ax: Any, metric: str, table: pd.DataFrame) -> None:
    plain_axes(ax, ("top", "right", "left"))
    ax.tick_params(axis="y", length=0)
    text = METRICS[metric]
    set_titles(ax, text.name, f"{text.best} is best   ○ before   ● after")
    for line, (_, row) in enumerate(table.iterrows()):
        for model, y, face in (("before", line - 0.16, "white"), ("after", line + 0.16, BLUE)):
            value, low, high = row[model], row[f"{model}_low"], row[f"{model}_high"]
            if np.isfinite(low):
                ax.plot([low, high], [y, y], color=BLUE, lw=1.5, zorder=2)
            ax.plot(value, y, "o", mfc=face, mec=BLUE, ms=6, zorder=3, clip_on=False)
            ax.annotate(
                figure_or(value),
                (1, y),
                xycoords=("axes fraction", "data"),
                xytext=(6, 0),
                textcoords="offset points",
                va="center",
                color=ink(),
                fontsize="small",
            )
        ax.axhline(line + 0.5, color=LIGHT, lw=0.8)
    names = [shortened(name, NAME_WIDTH, 3) for name in table.index]
    ax.set_yticks(range(len(table)), names, **VERBATIM)
    ax.set_ylim(len(table) - 0.5, -0.5)
    drawn = table[["before", "after", "before_high", "after_high"]].to_numpy().ravel()
    ax.set_xlim(0, 1.02 if text.best == 1 else 1.1 * largest_of(drawn, 0.09))


def _draw_scores(grouping: Grouping, y: Array, side: Side) -> "Figure":
    """Draw the distribution of scores in each group, one panel a label."""
    with plain_style() as plt:
        display = _scores_display(grouping, y, side)
        n_labels, n_groups = display.shares.shape
        height = n_labels * (1.2 + 0.45 * max(n_groups, 2))
        figure, axes = plt.subplots(n_labels, 1, figsize=(NARROW, height), layout="constrained")
        display.plot(np.atleast_1d(axes))
        return _done(plt, figure)


def _scores_display(grouping: Grouping, y: Array, side: Side) -> GroupScoresDisplay:
    """Return what is to be drawn; decisions are counted, whether or not a threshold makes them."""
    groups = pd.Series(np.array(grouping.names, dtype=object)[grouping.codes])
    classes = side.classes
    if len(classes) > 2:
        own = side.probabilities[np.arange(len(y)), class_positions(y, classes)]
        return GroupScoresDisplay(
            y,
            own,
            side.predictions == y,
            groups,
            rates=["recall"] * len(np.unique(y)),
            score_name="probability of the true label",
        )
    scores, selected = side.probabilities[:, -1], side.predictions == classes[-1]
    rates = ["false positive rate", "true positive rate"]
    return GroupScoresDisplay(
        y,
        scores,
        selected,
        groups,
        threshold=0.5 if np.array_equal(selected, scores >= 0.5) else None,
        rates=[rates[code] for code in class_positions(np.unique(y), classes)],
        score_name=f"probability of {classes[-1]}",
    )


def _draw_counterfactuals(result: Counterfactuals, label_name: str) -> "Figure":
    """Draw people before and after an edit: faces, or probabilities."""
    names = [f"person {i + 1}" for i in range(len(result))]
    given: dict[str, Any] = {"rows": slice(None), "label_name": label_name, "row_names": names}
    with plain_style() as plt:
        if result.images is not None:
            display = CounterfactualDisplay.from_counterfactuals(result, **given)
            return _done(plt, display.figure_)
        n_panels = 1 + len(result.sensitive_values)
        n_values = max(len(result.classes), *map(len, result.sensitive_values.values()))
        width = NARROW if n_values == 2 else MEDIUM
        height = n_panels * (1.1 + 0.27 * len(result))
        figure, axes = plt.subplots(n_panels, 1, figsize=(width, height), layout="constrained")
        CounterfactualDisplay.from_counterfactuals(result, ax=np.atleast_1d(axes), **given)
        return _done(plt, figure)


def _draw_training(fair: Any) -> "Figure":
    with plain_style() as plt:
        n_terms = sum(name.startswith("loss") for name in fair.history_)
        n_lines = math.ceil(n_terms / 2)
        figure = plt.figure(figsize=(WIDE, 2.4 * n_lines), layout="constrained")
        axes = [figure.add_subplot(n_lines, 2, i + 1) for i in range(n_terms)]
        TrainingCurvesDisplay.from_estimator(fair, ax=axes)
        return _done(plt, figure)


def _done(plt: Any, figure: "Figure") -> "Figure":
    """Lay a figure out for good, and take it from pyplot, which would show it and warn of many."""
    figure.set_layout_engine("constrained", h_pad=PANEL_GAP)
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # or each of the drawings that saving takes does it again
    plt.close(figure)
    return figure
