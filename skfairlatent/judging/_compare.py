"""Several judgements side by side: how much less the fair latent drags along than the raw one."""

__all__ = ["compare_judgements"]

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from skfairlatent._bootstrap import (
    MIN_SHIFT,
    Floats,
    Resampling,
    check_bootstrap,
    interval_of,
    ratio_of,
)
from skfairlatent._user_warnings import warn_user
from skfairlatent.exceptions import UndefinedMetricWarning
from skfairlatent.judging._judgement import EditJudgement, Estimate


def compare_judgements(
    judgements: Mapping[str, EditJudgement],
    *,
    baseline: str | None = None,
    n_bootstrap: int = 2000,
    confidence: float = 0.95,
    random_state: Any = None,
) -> pd.DataFrame:
    r"""Compare judgements of the same kind of edit.

    Parameters
    ----------
    judgements : dict of str to EditJudgement
        Two or more judgements by the same judges, such as ``{"raw": raw, "fair": fair}``. If they
        have the same number of rows, these must be the same rows in the same order, and are
        resampled together.

    baseline : str, default=None
        Name of the judgement that the others are divided by; by default the first.

    n_bootstrap : int, default=2000
        Number of bootstrap draws of rows for the intervals of ``relative_ratio``.

    confidence : float, default=0.95
        Confidence level of these intervals; the other intervals are those of the judgements.

    random_state : int, RandomState instance or None, default=None
        Seed of the draws.

    Returns
    -------
    DataFrame
        One row for each judgement: the columns of `EditJudgement.summary`, then ``relative_ratio``
        with ``relative_ratio_low`` and ``relative_ratio_high``.

    Raises
    ------
    TypeError, ValueError
        If there are fewer than two judgements, if their kinds of edit or their classes differ, or
        if there is no such baseline.

    Warns
    -----
    UndefinedMetricWarning
        If a relative ratio or its interval is NaN, because the unintended shift of the baseline or
        an intended shift is below 0.01.

    Notes
    -----
    .. math:: \text{relative ratio} =
        \frac{\bar s / \bar \ell}{\bar s_\text{baseline} / \bar \ell_\text{baseline}}

    is the side effect relative to that of the baseline at equal label shift, if side effects are
    proportional to the label shift. If the label shifts in the table differ a lot, choose
    strengths that make them similar rather than rely on this assumption. 0 is best, 1 is the side
    effect of the baseline, and negative values are side effects in the other direction.

    Examples
    --------
    A latent of one dimension cannot separate brightness on the left, the label, from brightness on
    the right, the group; one of four dimensions can.

    >>> from sklearn.decomposition import PCA
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from skfairlatent.counterfactuals import CounterfactualExplainer
    >>> from skfairlatent.encoders import PixelFlattener
    >>> from skfairlatent.judging import compare_judgements, judge_edits
    >>> rng = np.random.default_rng(0)
    >>> y = rng.integers(2, size=300)
    >>> s = np.where(rng.random(300) < 0.8, y, 1 - y)
    >>> images = rng.integers(60, 100, size=(300, 8, 8, 3))
    >>> images[:, :, :4] += 80 * y[:, None, None, None]
    >>> images[:, :, 4:] += 80 * s[:, None, None, None]
    >>> left = make_pipeline(PixelFlattener(), LogisticRegression(C=0.01)).fit(images, y)
    >>> right = make_pipeline(PixelFlattener(), LogisticRegression(C=0.01)).fit(images, s)
    >>> judgements = {}
    >>> for width in (1, 4):
    ...     encoder = make_pipeline(PixelFlattener(), PCA(width, random_state=0)).fit(images)
    ...     model = make_pipeline(encoder, LogisticRegression()).fit(images, y)
    ...     explainer = CounterfactualExplainer(model).fit(images, y)
    ...     edits = explainer.explain_label(images, target_probability=0.9)
    ...     judgements[f"PCA({width})"] = judge_edits(
    ...         edits.decode(), label_judge=left, sensitive_judge=right, random_state=0
    ...     )
    >>> table = compare_judgements(judgements, random_state=0)
    >>> bool(table.loc["PCA(4)", "relative_ratio_high"] < 0.5)
    True
    """
    check_bootstrap(n_bootstrap, confidence)
    _check(judgements, baseline)
    base = next(iter(judgements)) if baseline is None else baseline
    resampling = Resampling(n_bootstrap, random_state)
    tables = []
    for name, judgement in judgements.items():
        found = Estimate(1.0, 1.0, 1.0)
        if name != base:
            found = _relative(judgement, judgements[base], resampling, confidence)
            _warn_if_undefined(name, base, found)
        table = judgement.summary()
        columns = ("relative_ratio", "relative_ratio_low", "relative_ratio_high")
        tables.append(table.assign(**dict(zip(columns, found, strict=True))))
    return pd.concat(tables).set_axis(list(judgements), axis=0)


def _relative(
    judgement: EditJudgement, base: EditJudgement, resampling: Resampling, confidence: float
) -> Estimate:
    own, other = (np.column_stack(each._row_means()) for each in (judgement, base))
    if len(own) == len(other):
        draws = resampling.means(np.hstack((other, own)))
    else:
        draws = np.hstack((resampling.means(other), resampling.means(own)))
    point = np.hstack((other.mean(axis=0), own.mean(axis=0)))
    value = float(_quotient(point[np.newaxis])[0])
    # The sign of the baseline's side effect is known, or there is nothing to divide by.
    known = np.sign(draws[:, 1]) == np.sign(point[1])
    drawn = np.where(known, _quotient(draws), math.nan)
    interval = interval_of(drawn, confidence) if len(own) > 1 else (math.nan, math.nan)
    return Estimate(value, *interval)


def _quotient(means: Floats) -> Floats:
    """Return the relative ratio from means: asked and other of the baseline, asked and other."""
    asked_base, other_base, asked, other = means.T
    ratio, ratio_base = ratio_of(other, asked), ratio_of(other_base, asked_base)
    ratio_base[np.abs(other_base) < MIN_SHIFT] = math.nan
    return np.asarray(ratio / ratio_base)


def _check(judgements: Any, baseline: str | None) -> None:
    are_judged = isinstance(judgements, Mapping) and all(
        isinstance(each, EditJudgement) for each in judgements.values()
    )
    if not are_judged or len(judgements) < 2:
        raise TypeError(
            f"judgements={judgements!r}: expected two or more by name, as "
            "{'raw': judge_edits(...), 'fair': judge_edits(...)}."
        )
    seen = {
        (each.kind, str(each.label.name), str(each.sensitive.name)) for each in judgements.values()
    }
    if len(seen) > 1:
        raise ValueError(
            "These judgements are not of the same edits (kind, label class, sensitive class): "
            f"{sorted(seen)}. Compare those that agree in all three."
        )
    if baseline is not None and baseline not in judgements:
        raise ValueError(f"baseline={baseline!r}: expected one of {list(judgements)}.")


def _warn_if_undefined(name: str, base: str, found: Estimate) -> None:
    if not math.isnan(found.low):
        return
    what = "and its interval are" if math.isnan(found.value) else "is known, but its interval is"
    message = (
        f"The relative_ratio of {name!r} to {base!r} {what} NaN: a shift that is divided by is "
        f"under {MIN_SHIFT}, at least in some draws. If it is that of {base!r} in what should "
        "stay, there is nothing to mitigate; otherwise make stronger edits or judge more rows."
    )
    warn_user(message, UndefinedMetricWarning)
