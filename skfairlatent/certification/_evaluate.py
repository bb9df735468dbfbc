"""A certificate of what classifiers of a family see of rows."""

__all__ = ["Decided", "Values", "certificate_of", "with_seen_share"]

import itertools
from dataclasses import replace
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd

from skfairlatent._validation.containers import reject_other_order
from skfairlatent._validation.equal_labels import in_form_of
from skfairlatent._wording import some_of
from skfairlatent.certification._bounds import (
    Bound,
    Family,
    Floats,
    bound_over_pairs,
    least_gap,
    pair_differences,
    pair_sizes,
    sampling_slack,
    worst_on_cells,
    worst_threshold,
)
from skfairlatent.certification._certificate import Certificate
from skfairlatent.certification._rows import Strata

Values: TypeAlias = npt.NDArray[Any]


class Decided(NamedTuple):
    """The class of each row by a classifier of the family that was trained on other rows."""

    codes: npt.NDArray[np.int64]
    n_classes: int


def certificate_of(
    values: list[Values],
    given: list[Any],
    family: Family,
    constraints: str,
    confidence: float,
    decided: Decided | None = None,
    *,
    name: str = "X",
) -> Certificate:
    """Certify a family of classifiers on values, such as the numbers of cells.

    Parameters
    ----------
    values : list of ndarray of shape (n,)
        Values that a classifier sees of the rows to certify and, if given, of those to probe.
    given : list of tuple
        As the user gave them, with labels and groups.
    family : callable
        `worst_on_cells`, or `worst_threshold` on values that are scores.
    constraints, confidence
        As the user gave them.
    decided : Decided, default=None
        Decisions whose gap is the lower bound where there are no rows to probe.
    name : str
        Name of the rows in messages.
    """
    for X, y, groups in given:
        reject_other_order(**{name: X}, y=y, sensitive_features=groups)
    known, together = np.unique(np.concatenate(values), return_inverse=True)
    columns = np.split(together, [len(values[0])])
    _, y, groups = given[0]
    strata = [Strata.of(len(columns[0]), y, groups, constraints, "", name)]
    for _, probe_y, probe_groups in given[1:]:
        alike = (
            probe_y if constraints == "demographic_parity" else in_form_of(probe_y, y, "y"),
            in_form_of(probe_groups, groups, "sensitive_features"),
        )
        strata.append(Strata.of(len(columns[1]), *alike, constraints, "probe_rows: ", name))
        _reject_same(columns, strata, name)
    rates = [each.rates(codes, len(known)) for each, codes in zip(strata, columns, strict=False)]
    if family is worst_threshold:
        rates = [each.cumsum(axis=2) for each in rates]
    delta = 1 - confidence
    found = bound_over_pairs(rates[0], strata[0].counts, delta, family)
    return Certificate(
        bound=found.bound,
        plug_in=found.plug_in,
        lower=(
            _lower(rates, strata, family, delta)
            if len(given) > 1
            else _lower_of(decided, strata[0], delta)
        ),
        confidence=confidence,
        constraints=constraints,
        n_cells=len(np.unique(columns[0])) if family is worst_on_cells else None,
        rows=pd.DataFrame(strata[0].counts, index=strata[0].labels, columns=strata[0].groups),
        by_label=_by_label(rates[0], strata[0], family, delta),
        scarcest=_scarcest(found, rates[0], strata[0], family, delta),
    )


def with_seen_share(certificate: Certificate, seen_share: float) -> Certificate:
    """Return the certificate without what does not hold if rows were rows of fit."""
    if seen_share <= 0:
        return certificate
    by_label = certificate.by_label.assign(bound=1.0)
    return replace(certificate, bound=1.0, lower=None, by_label=by_label, seen_share=seen_share)


def _scarcest(
    found: Bound, rates: Floats, strata: Strata, family: Family, delta: float
) -> tuple[str, str, float]:
    """Return the label and group that hold the bound up, and what twice their rows take off."""
    cells = [(y, group) for y, pair in enumerate(found.bound_pairs) for group in pair]
    fewest = min(cells, key=lambda cell: strata.counts[cell])
    counts = strata.counts.copy()
    counts[fewest] *= 2
    after = bound_over_pairs(rates, counts, delta, family).bound
    label, group = fewest
    return strata.labels[label], strata.groups[group], found.bound - after


def _by_label(rates: Floats, strata: Strata, family: Family, delta: float) -> pd.DataFrame:
    """Return the bound of each label and pair of groups; all hold at once."""
    pairs = list(itertools.combinations(range(len(strata.groups)), 2))
    share = delta / (len(pairs) * len(strata.labels))
    lines = []
    for (y, label), pair in itertools.product(enumerate(strata.labels), pairs):
        part = np.ix_([y], pair)
        counts = strata.counts[part]
        found = bound_over_pairs(rates[part], counts, share, family)
        names = (strata.groups[each] for each in pair)
        lines.append((label, *names, *counts[0].tolist(), found.plug_in, found.bound))
    columns = ["label", "group", "other group", "rows", "other rows", "plug-in", "bound"]
    return pd.DataFrame(lines, columns=columns)


def _lower_of(decided: Decided | None, strata: Strata, delta: float) -> float | None:
    """Return the gap that decisions have at least; None if there are none of the family."""
    # The family has as many classes as labels; within one label, two classes are as good as more.
    if decided is None or decided.n_classes > len(strata.labels) > 1:
        return None
    return least_gap(strata.rates(*decided), strata.counts, delta)


def _reject_same(columns: list[Any], strata: list[Strata], name: str) -> None:
    """Raise ValueError if the rows to probe are those to certify."""
    here, probe = strata
    same = np.array_equal(*columns) and np.array_equal(here.codes, probe.codes)
    if same and (here.labels, here.groups) == (probe.labels, probe.groups):
        raise ValueError(
            f"probe_rows has the {name}, labels and groups that are certified, and the lower "
            "bound holds for other rows only: give probe_rows such as those of fit, or leave it "
            "out."
        )


def _lower(rates: list[Floats], strata: list[Strata], family: Family, delta: float) -> float:
    """Return the gap that the worst classifier on the probe rows has at least."""
    here, probe = strata
    if (here.labels, here.groups) != (probe.labels, probe.groups):
        named = [
            f"the labels {', '.join(some_of(each.labels))} and the groups "
            f"{', '.join(some_of(each.groups))}"
            for each in (probe, here)
        ]
        raise ValueError(
            f"probe_rows has {named[0]}, but y and sensitive_features have {named[1]}: give rows "
            "with the same."
        )
    pairs = bound_over_pairs(rates[1], probe.counts, delta, family).pairs
    _, weights = family(pair_differences(rates[1], pairs))
    gap = float((weights * pair_differences(rates[0], pairs)).sum())
    slack = sampling_slack(pair_sizes(here.counts, pairs), 1 / len(here.labels), delta)
    return max(gap - slack, 0.0)
