"""From a fitted pipeline and rows to an audit report."""

__all__ = ["audit"]

import datetime
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sklearn.exceptions import ConvergenceWarning

from skfairlatent._device import own_random_state
from skfairlatent._user_warnings import warn_user
from skfairlatent._wording import joined
from skfairlatent.inspection._drawing import as_label, pyplot
from skfairlatent.report._comparison import Given, Settings, compare
from skfairlatent.report._report import AuditReport
from skfairlatent.report.sections import SECTIONS
from skfairlatent.report.sections.edits import left_out
from skfairlatent.report.sections.latent import draw_search

UNCONVERGED = "A classifier that was trained for this audit did not converge within its max_iter."


def audit(  # noqa: PLR0913 - what is audited, and how
    pipe: Any,
    X: Any,
    y: Any,
    *,
    sensitive_features: Any,
    pos_label: Any = None,
    baseline: Any = None,
    examples: Any = None,
    n_examples: int = 6,
    n_decoded: int = 64,
    target_probability: float = 0.9,
    noise: str = "inverted",
    n_bootstrap: int = 1000,
    confidence: float = 0.95,
    search: Any = None,
    title: str | None = None,
    encoder: Any = None,
    random_state: Any = 0,
) -> AuditReport:
    """Measure a fair pipeline against a model before mitigation, group by group.

    Parameters
    ----------
    pipe : Pipeline
        Fitted pipeline of a FairLatentTransformer and a classifier of one label. It may be wrapped
        in a search, a calibrated classifier, a classifier with a tuned threshold, or another
        pipeline. Edits are left out if they cannot be followed from the latent to the decision, as
        with a ColumnTransformer of other columns.

    X : array-like of shape (n_samples, n_features), or images
        Rows that neither the pipeline nor the baseline **was fitted on**. The page says so if many
        of them were in the training data of the transformer; for the baseline this is not checked.

    y : array-like of shape (n_samples,)
        Labels of the rows. The name of a Series is used on the page.

    sensitive_features : array-like of shape (n_samples,) or (n_samples, n_attributes)
        Sensitive attributes of the rows. Each is audited alone, and all of them crossed.

    pos_label : int, bool or str, default=None
        The positive one of two labels, which the rates refer to. None means the second in sorted
        order, which is right for 0 and 1 or no and yes, but not for granted and refused.

    baseline : classifier or Pipeline, default=None
        A fitted model without mitigation that takes the same X: "before". None trains the
        classifier of the pipeline on the standardised embeddings of X in 5 folds, so that each row
        is predicted by a model that has not seen it; the report says so.

    examples : array-like or images, default=None
        Other rows to show as examples, such as generated faces. None means rows of X.

    n_examples : int, default=6
        Number of examples for each attribute.

    n_decoded : int, default=64
        Number of rows of X, drawn at random, whose edits are decoded and encoded again for another
        decision, if the encoder can decode. With a diffusion autoencoder this takes most of the
        time.

    target_probability : float in (0, 1), default=0.9
        Probability of the other group after an edit, by a logistic regression on the latent. If no
        edit reaches it, which can happen with several groups, the other group must become the most
        probable.

    noise : {"inverted", "zero"}, default="inverted"
        Noise that a diffusion autoencoder decodes from. ``"inverted"`` keeps the details of an
        image that embeddings leave out; with a weak encoder these can hide the edits. ``"zero"``
        shows only what embeddings hold.

    n_bootstrap : int, default=1000
        Number of bootstrap draws of the rows for the intervals.

    confidence : float, default=0.95
        Confidence level of the intervals, which are percentiles of the draws.

    search : GridSearchCV or the like, default=None
        The fitted search that the pipeline came from, to show its candidates.

    title : str, default=None
        Title of the page.

    encoder : object, default=None
        Encoder that decodes embeddings; None means that of the pipeline.

    random_state : int, RandomState instance or None, default=0
        Seed of folds, rows and probes. The default gives the same audit each time; None does not.

    Returns
    -------
    AuditReport
        The report. Warnings during the audit are listed in its ``limits``, not issued.

    Raises
    ------
    TypeError
        If `pipe` is not a FairLatentTransformer followed by a classifier, or `baseline` is not a
        classifier.
    NotFittedError
        If a step is not fitted.
    ValueError
        If lengths differ, a label is not known to the classifier, `pos_label` is not one of two
        labels, or an attribute has only one group.
    ImportError
        If matplotlib is not installed.

    Warns
    -----
    FairLatentWarning
        If groups have fewer than 10 rows: edits and probes then leave them out.

    See Also
    --------
    skfairlatent.diagnostics.diagnose : The latent alone.

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from skfairlatent import FairLatentTransformer
    >>> from skfairlatent.datasets import make_biased_embeddings
    >>> from skfairlatent.report import audit
    >>> data = make_biased_embeddings(600, n_features=8, random_state=0)
    >>> X, y, s = data.data, data.target, data.sensitive_features
    >>> fair = FairLatentTransformer(max_iter=20, random_state=0)
    >>> pipe = make_pipeline(fair, LogisticRegression())
    >>> pipe = pipe.fit(X[:300], y[:300], fairlatenttransformer__sensitive_features=s[:300])
    >>> report = audit(pipe, X[300:], y[300:], sensitive_features=s[300:])
    >>> gap = report.differences.loc[("group", "equalized_odds_difference")]
    >>> bool(gap["after"] < gap["before"])
    True
    >>> report.save("audit.html")  # doctest: +SKIP
    """
    pyplot("audit")
    settings = Settings(n_examples, n_decoded, target_probability, noise, n_bootstrap, confidence)
    settings.check()
    rng = own_random_state(random_state)
    with _noting_warnings() as warned:
        figures = draw_search(search)  # or raises, before any work
        given = Given(X, y, sensitive_features, pos_label, baseline, encoder, examples)
        comparison = compare(pipe, given, settings, rng)
        found = [kind.measure(comparison) for kind in SECTIONS]
        sections = tuple(each for each in found if each is not None)
        for section in sections:
            figures |= section.draw(comparison)
    for text in left_out(comparison.rows.too_small()):
        warn_user(text)
    rows = comparison.rows
    return AuditReport(
        title=as_label(title or "") or f"Audit of {rows.label_name} by {joined(rows.attributes)}",
        date=datetime.date.today().isoformat(),
        sections=sections,
        figures=figures,
        warned=tuple(warned),
    )


@contextmanager
def _noting_warnings() -> Iterator[list[str]]:
    """Collect what is warned of about models and data; pass on what is about code."""
    noted: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield noted
    for each in caught:
        text = " ".join(str(each.message).split())
        if issubclass(each.category, ConvergenceWarning):
            text = UNCONVERGED
        if not issubclass(each.category, UserWarning):
            warnings.warn_explicit(each.message, each.category, each.filename, each.lineno)
        elif text not in noted:
            noted.append(text)
