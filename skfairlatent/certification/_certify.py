"""From held-out rows to a statement with a confidence."""

__all__ = ["certify", "certify_cells", "check_parameters"]

from numbers import Real
from typing import Any

import numpy as np

from skfairlatent._inputs.repeats import certain_repetitions, warn_of_repetitions
from skfairlatent._seen_rows import SeenRows, share_seen
from skfairlatent._user_warnings import warn_user
from skfairlatent._validation.containers import reject_container
from skfairlatent._validation.groups import encode_columns
from skfairlatent.certification._bounds import Counts, worst_on_cells
from skfairlatent.certification._certificate import Certificate
from skfairlatent.certification._estimators import decided_by, labels_of_fit, seen_by
from skfairlatent.certification._evaluate import certificate_of, with_seen_share
from skfairlatent.certification._rows import CONSTRAINTS, cell_codes


def certify(
    estimator: Any,
    X: Any,
    y: Any,
    *,
    sensitive_features: Any,
    constraints: str = "equalized_odds",
    confidence: float = 0.95,
    probe_rows: tuple[Any, Any, Any] | None = None,
) -> Certificate:
    """Bound the gap between groups of any classifier on what a fitted transformer returns.

    If the estimator has no transformer with cells, or several transformers, but decides between
    two classes, its score is certified instead, at all thresholds.

    Parameters
    ----------
    estimator : FairLatentTransformer with `n_bins`, Pipeline with one, or fitted classifier
        Fitted; of a search its ``best_estimator_`` is taken.

    X : array-like
        Rows that no fit, early stopping or search saw: what the estimator takes.

    y : array-like of shape (n_samples,) or (n_samples, n_label_columns), or None
        True labels. Demographic parity does not look at them, and takes None.

    sensitive_features : array-like of shape (n_samples,) or (n_samples, n_attributes)
        Groups; several columns are crossed.

    constraints : str, default="equalized_odds"
        The gap: ``"equalized_odds"``, of which the mean over the labels is bounded,
        ``"demographic_parity"``, or ``"true_positive_rate_parity"``, within the second of two
        labels.

    confidence : float, default=0.95
        Between 0 and 1, both excluded.

    probe_rows : tuple (X, y, sensitive_features), default=None
        Other rows than `X`, such as those of fit. The worst classifier on them has a gap on `X`
        that bounds the worst gap from below. If None, the classifier of a Pipeline does so.

    Returns
    -------
    Certificate

    Raises
    ------
    ValueError
        If the block is not cut into cells, there is one group or one label only, a label of fit
        or a (label, group) cell has no rows, a label was not in fit, lengths differ, values are
        missing, `probe_rows` has rows of `X`, or a parameter is out of range.
    TypeError
        If the estimator has neither a transformer nor a decision, or decides by more than the
        cells.

    Warns
    -----
    FairLatentWarning
        If rows of X were rows of fit: the bound is then 1, which says nothing. Equal rows of
        different people, as tables of few columns have, are allowed for: as many of them as there
        are among the rows of fit. Rows are compared where they enter the transformer: a step
        before it that returns others in `fit_transform` than in `transform`, as ``TargetEncoder``
        does, may hide rows of fit.

        If more than 1 % of the rows of X repeat others, as those of a bootstrap, of a person in
        several years or of a household do: the bound takes each row as drawn by itself, and is
        too small.

    See Also
    --------
    certify_cells : The same for any cells, such as the leaves of a tree.
    required_rows : How many rows a bound needs.

    Notes
    -----
    See `certify_cells`. A score at all thresholds is bounded in the same way, by the largest
    gap at a threshold instead of the largest gap of a set of cells. Nearly all the time is that
    of mapping the rows: 2 to 3 s for 100,000 rows of 512 features on one core.

    Examples
    --------
    >>> from skfairlatent import FairLatentTransformer
    >>> from skfairlatent.certification import certify
    >>> from skfairlatent.datasets import make_biased_embeddings
    >>> data = make_biased_embeddings(4000, n_features=8, random_state=0)
    >>> X, y, s = data.data, data.target, data.sensitive_features
    >>> fair = FairLatentTransformer(n_bins=4, max_iter=20, random_state=0)
    >>> fair = fair.fit(X[:2000], y[:2000], sensitive_features=s[:2000])
    >>> found = certify(fair, X[2000:], y[2000:], sensitive_features=s[2000:])
    >>> found.plug_in < found.bound < 1
    True
    """
    check_parameters(constraints, confidence, probe_rows)
    reject_container("X", X)
    view = seen_by(estimator)
    y = labels_of_fit(view.classes, y, constraints)
    given = [(X, y, sensitive_features), *([] if probe_rows is None else [probe_rows])]
    seen = [view.see(rows) for rows, *_ in given]
    values, embeddings = [each for each, _ in seen], seen[0][1]
    by_cells = view.family is worst_on_cells and probe_rows is None
    decided = decided_by(estimator, X, values[0]) if by_cells else None
    certificate = certificate_of(
        values, given, view.family, constraints, float(confidence), decided
    )
    codes = [_group_codes(groups) for *_, groups in given]
    if probe_rows is not None:
        _reject_shared(embeddings, seen[1][1], *codes)
    seen_share = _share_of_fit(view.transformers, embeddings, codes[0])
    if embeddings and seen_share == 0:
        _warn_of_repetitions(embeddings, codes[0])
    return with_seen_share(certificate, seen_share)


def _group_codes(sensitive_features: Any) -> Counts:
    return np.column_stack([column.codes for column in encode_columns(sensitive_features)])


def _share_of_fit(transformers: list[Any], embeddings: list[Any], group_codes: Counts) -> float:
    """Return the share of rows that were rows of fit, and warn if there are any."""
    share = share_seen(transformers, embeddings, group_codes)
    if share > 0:
        warn_user(
            f"About {share:.0%} of the rows of X were rows of fit: no bound holds for them. "
            "Give rows that no fit, early stopping or search saw. Other people look like rows of "
            "fit where equal rows were dropped from a table of few columns: keep them."
        )
    return share


def _warn_of_repetitions(embeddings: list[Any], group_codes: Counts) -> None:
    """Warn if rows repeat others in what all transformers are given."""
    rows = embeddings[0] if len(embeddings) == 1 else np.column_stack(embeddings)
    warn_of_repetitions(certain_repetitions(rows, group_codes), "a bound counts")


def _reject_shared(
    embeddings: list[Any],
    probe_embeddings: list[Any],
    group_codes: Counts,
    probe_group_codes: Counts,
) -> None:
    """Raise ValueError if rows to certify are rows to probe, too."""
    for rows, probes in zip(embeddings, probe_embeddings, strict=True):
        once = probes[certain_repetitions(probes, probe_group_codes).first]
        share = SeenRows.of([once]).share_in(rows, group_codes)
        if share > 0:
            raise ValueError(
                f"About {share:.0%} of the rows of X are rows of probe_rows, too, and the lower "
                "bound holds for other rows only: give probe_rows such as those of fit, or leave "
                "it out."
            )


def certify_cells(
    cells: Any,
    y: Any,
    *,
    sensitive_features: Any,
    constraints: str = "equalized_odds",
    confidence: float = 0.95,
    probe_rows: tuple[Any, Any, Any] | None = None,
) -> Certificate:
    """Bound the gap between groups of any classifier on a representation of finitely many cells.

    Parameters
    ----------
    cells : array-like of shape (n_samples,) or (n_samples, n_columns)
        The view that a classifier has of each row, such as a leaf; equal rows are one cell.
        Rows, and the way in which rows become cells, must be independent: no row was used in a
        fit, an early stopping or a search.

    y : array-like of shape (n_samples,) or (n_samples, n_label_columns), or None
        True labels. Demographic parity does not look at them, and takes None.

    sensitive_features : array-like of shape (n_samples,) or (n_samples, n_attributes)
        Groups; several columns are crossed.

    constraints : str, default="equalized_odds"
        As in `certify`.

    confidence : float, default=0.95
        Between 0 and 1, both excluded.

    probe_rows : tuple (cells, y, sensitive_features), default=None
        Other rows than `cells`, independent of them: the worst classifier on them has a gap on
        `cells` that bounds the worst gap from below.

    Returns
    -------
    Certificate

    Raises
    ------
    ValueError
        If there is one group or one label only, a (label, group) cell has no rows, lengths differ
        or values are missing, nearly every row is a cell of its own, `probe_rows` are the rows
        themselves, or a parameter is out of range.

    Notes
    -----
    The classifier with the largest true gap is unknown, but it does not depend on the rows. Its
    observed gap is a weighted sum of independent rates, which falls below the true one by more
    than the slack with probability 1 - `confidence` at most; and the largest observed gap of all
    classifiers is no smaller. So neither the number of cells nor the number of groups enters the
    slack. The statement is conditional on the rows of each label and group, is made for one look
    at the rows, and holds for rows drawn independently from the same population.

    Examples
    --------
    >>> import numpy as np
    >>> from skfairlatent.certification import certify_cells
    >>> rng = np.random.default_rng(0)
    >>> cells, y, group = rng.integers(4, size=8000), rng.integers(2, size=8000), rng.choice(
    ...     ["a", "b"], size=8000)
    >>> certificate = certify_cells(cells, y, sensitive_features=group)
    >>> certificate.plug_in < certificate.bound < 0.06
    True
    """
    check_parameters(constraints, confidence, probe_rows)
    given = [(cells, y, sensitive_features), *([] if probe_rows is None else [probe_rows])]
    values = cell_codes(*(each for each, *_ in given))
    return certificate_of(
        values, given, worst_on_cells, constraints, float(confidence), name="cells"
    )


def check_parameters(constraints: Any, confidence: Any, probe_rows: Any) -> None:
    """Refuse what is out of range."""
    if constraints not in CONSTRAINTS:
        raise ValueError(
            f"constraints={constraints!r} is not supported: expected one of {CONSTRAINTS}."
        )
    if not isinstance(confidence, Real) or not 0 < float(confidence) < 1:
        raise ValueError(
            f"confidence={confidence!r} is not between 0 and 1: 95 per cent is confidence=0.95, "
            "and no sample gives certainty."
        )
    if probe_rows is not None and not (isinstance(probe_rows, tuple) and len(probe_rows) == 3):
        raise ValueError(
            f"probe_rows is a {type(probe_rows).__name__}: expected a tuple of rows, labels and "
            "groups, or None."
        )
