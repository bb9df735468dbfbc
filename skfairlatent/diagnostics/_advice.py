"""Advice from a latent space and its training history, as text."""

__all__ = [
    "collapse_warnings",
    "leakage_warnings",
    "plateau_warnings",
    "short_training_warnings",
    "unmeasured_labels",
]

from typing import Any

import numpy as np
import pandas as pd

RANK_SHARE = 0.2  # of the directions beyond the first: with fewer in use, a block has collapsed
VARIANCE_SHARE = 1e-3  # of the mean variance of Z: with less, a block is constant
LABEL_MARGIN = 0.05  # of balanced accuracy above chance: with less, the label was lost,
LABEL_STANDARD_ERRORS = 2.0  # unless so many standard errors more
USEFUL_MARGIN = 0.15  # could be as much as this
STILL_FALLING_SHARE = 0.05  # of the whole improvement, made in the last fifth of the epochs
MIN_EPOCHS = 5  # to speak of a trend
SHORT_SHARE = 0.5  # of the steps of max_iter="auto": a fit of fewer was too short
N_STANDARD_ERRORS = 3.0  # the best of several probes and attributes is warned of


def collapse_warnings(
    blocks: pd.DataFrame, n_samples: int, label_readability: pd.DataFrame
) -> list[str]:
    """Find what the transformation lost.

    Parameters
    ----------
    blocks, label_readability : pandas.DataFrame
        As in `LatentDiagnostics`.

    n_samples : int
        Rows that the ranks were computed from, which bound them.

    Returns
    -------
    list of str
    """
    found = []
    for block, remedy in (
        ("label", "Lower lambda_di, or raise lambda_eq or lambda_g."),
        ("sensitive", "Lower lambda_cls, or raise lambda_g."),
    ):
        if block not in blocks.index:
            continue  # there may be no sensitive block
        variance, of_all = blocks["variance"][[block, "full"]]
        if variance <= VARIANCE_SHARE * of_all:
            found.append(
                f"Collapse: the {block} block has variance {variance:.2g}, against {of_all:.2g} "
                f"for all of Z: it is nearly constant. {remedy}"
            )
    limits = blocks["width"].clip(upper=n_samples - 1).astype(float)
    if "input" in blocks.index:
        # The directions that an invertible map can fill are bounded only by the width, but
        # real embeddings use few, and a short training does not whiten them all.
        used = blocks.loc["input", "effective_rank"] - blocks.loc["label", "effective_rank"]
        limits["sensitive"] = min(limits.get("sensitive", 1.0), used)
    for block in blocks.index.intersection(["label", "sensitive"]):
        rank, limit = blocks.loc[block, "effective_rank"], limits[block]
        # Where fewer than two directions are within reach, one is no collapse.
        if limit >= 2 and rank - 1 < RANK_SHARE * (limit - 1):
            found.append(
                f"Collapse: the {block} block has an effective rank of only {rank:.1f}, where "
                f"{limit:.1f} is within reach. Raise lambda_eq or lambda_g, or lower lambda_di "
                "and lambda_cls."
            )
    return found + _lost_labels(label_readability)


def _lost_labels(label_readability: pd.DataFrame) -> list[str]:
    lost, _ = _near_chance(label_readability)
    return [
        f"Collapse: {label!r} is predicted from the label block with balanced accuracy "
        f"{row['balanced_accuracy']:.2f} at best (chance {row['chance']:.2f}). Raise lambda_cls, "
        "lower lambda_di, or widen n_label_components; check that X predicts it at all."
        for label, row in lost.iterrows()
    ]


def unmeasured_labels(label_readability: pd.DataFrame) -> list[str]:
    """Name labels of which the rows are too few to tell whether they were lost."""
    _, unknown = _near_chance(label_readability)
    return [
        "Not measured: the rows are too few to tell whether the label block predicts "
        f"{label!r}: its balanced accuracy is {row['balanced_accuracy']:.2f} +- "
        f"{row['noise']:.2f} (chance {row['chance']:.2f}). Give more rows."
        for label, row in unknown.iterrows()
    ]


def _near_chance(label_readability: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the labels that are predicted no better than by chance, and those that seem so."""
    best = label_readability.groupby(level="label", sort=False).max()
    best["noise"] = LABEL_STANDARD_ERRORS * best["standard_error"]
    gain = best["balanced_accuracy"] - best["chance"]
    near, useful = gain < LABEL_MARGIN, gain + best["noise"] >= USEFUL_MARGIN
    return best[near & ~useful], best[near & useful]


def plateau_warnings(history: Any) -> list[str]:
    """Judge from the losses whether training ended at the right time.

    Parameters
    ----------
    history : pandas.DataFrame or None
        One row per epoch, with the column ``validation_loss`` or else ``loss``.

    Returns
    -------
    list of str
    """
    name, losses = _loss_curve(history)
    if len(losses) < MIN_EPOCHS:
        return []
    improvement = losses[0] - losses.min()
    if losses[1:].min() >= losses[0]:
        remedy = "Lower" if losses[-1] > losses[0] else "Raise"
        return [
            f"Plateau: {name} never fell below its value after the first epoch "
            f"({losses[0]:.4g}) and ended at {losses[-1]:.4g}. {remedy} learning_rate_init, or "
            "lower the lambda_* weights that pull against each other."
        ]
    window = max(len(losses) // 5, 2)
    late_gain = losses[:-window].min() - losses[-window:].min()
    if late_gain > STILL_FALLING_SHARE * improvement:
        return [
            f"Plateau not reached: {late_gain / improvement:.0%} of the fall of {name} came in "
            f"the last {window} of {len(losses)} epochs. Raise max_iter, for example to "
            f"max_iter={2 * len(losses)}."
        ]
    return []


def short_training_warnings(transformer: Any) -> list[str]:
    """Compare the number of optimisation steps with that of ``max_iter="auto"``.

    Nothing is said of a fit that ended before `max_iter`, as by early stopping, nor of one that
    went on from another, with ``warm_start``. The loss cannot show this: as the step size falls
    to 0, it levels off after a few epochs too.

    Parameters
    ----------
    transformer : FairLatentTransformer
        Of other objects nothing is known.

    Returns
    -------
    list of str
    """
    history = getattr(transformer, "history_", None)
    max_iter: Any = getattr(transformer, "max_iter", "auto")
    is_warm = getattr(transformer, "warm_start", False)
    if history is None or "auto_steps" not in history or max_iter == "auto" or is_warm:
        return []
    n_epochs = len(history)
    steps, auto_steps = history[["steps", "auto_steps"]].to_numpy()[-1]
    if n_epochs < max_iter or steps >= SHORT_SHARE * auto_steps:
        return []
    return [
        f"Short training: with max_iter={max_iter}, fit made {steps:,.0f} of the "
        f"{auto_steps:,.0f} steps that max_iter='auto' takes. Set max_iter='auto'."
    ]


def _loss_curve(history: Any) -> tuple[str, np.ndarray[Any, np.dtype[np.float64]]]:
    for name in ("validation_loss", "loss"):
        if history is not None and name in history:
            losses = np.asarray(history[name], dtype=np.float64)
            losses = losses[np.isfinite(losses)]
            if len(losses):
                return name, losses
    return "loss", np.empty(0)


def leakage_warnings(
    leakage: pd.DataFrame, margin: float, where: str = "within label", width: int = 2
) -> list[str]:
    """Find what the probes can read of each sensitive attribute.

    Parameters
    ----------
    leakage : pandas.DataFrame
        As `group_leakage` returns it.

    margin : float
        Tolerated balanced accuracy above chance, beyond the noise of its measurement.

    where : str, default="within label"
        Among which rows the groups were compared.

    width : int, default=2
        Width of the label block: one of 1 cannot be narrowed.

    Returns
    -------
    list of str
        One for each sensitive attribute that leaks, about its best probe.
    """
    noise = N_STANDARD_ERRORS * leakage["standard_error"]
    leaks = leakage[leakage["balanced_accuracy"] > leakage["chance"] + margin + noise]
    order = leaks.sort_values("balanced_accuracy", ascending=False)
    worst = order[~order.index.get_level_values("sensitive_feature").duplicated()]
    remedy = "Raise lambda_di" + " or narrow n_label_components" * (width > 1)
    return [
        f"Leakage: the {probe} probe reads {feature} from the label block with balanced accuracy "
        f"{row['balanced_accuracy']:.2f} {where} (chance {row['chance']:.2f}, margin "
        f"{margin:.2f}), and a classifier can do the same. {remedy}."
        for (feature, probe), row in worst.iterrows()
    ]
