"""From a fitted pipeline and rows to an audit report."""

__all__ = ["audit"]

import datetime
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from numbers import Integral
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import _safe_indexing

from skfairlatent._bootstrap import check_bootstrap
from skfairlatent._device import own_random_state
from skfairlatent._find_transformer import UntracedError, chain
from skfairlatent._image_forms import holds_images
from skfairlatent._user_warnings import warn_user
from skfairlatent.counterfactuals import Counterfactuals
from skfairlatent.counterfactuals._names import nameless
from skfairlatent.counterfactuals._scores import Scores
from skfairlatent.counterfactuals._space import Space, find_space
from skfairlatent.diagnostics import LatentDiagnostics, diagnose
from skfairlatent.exceptions import FairLatentWarning
from skfairlatent.inspection._drawing import as_label, pyplot
from skfairlatent.metrics._group_counts import class_positions
from skfairlatent.report._edits import (
    Noise,
    affected_table,
    explain_folds,
    explain_others,
    shown_people,
)
from skfairlatent.report._facts import data_facts, model_facts, version_facts
from skfairlatent.report._figures import draw_comparison, draw_models, draw_search
from skfairlatent.report._models import (
    N_FOLDS,
    Side,
    after_side,
    assign_folds,
    baseline_side,
    check_baseline,
    check_positive,
    find_fair,
    stand_in_side,
    whole_side,
    whole_stand_in,
)
from skfairlatent.report._rates import resample
from skfairlatent.report._report import AuditReport
from skfairlatent.report._rows import AuditedRows, check_rows
from skfairlatent.report._tables import rate_tables
from skfairlatent.report._words import limits, small_groups, summary, title_of

UNCONVERGED = "A classifier that was trained for this audit did not converge within its max_iter."
NOISES = ("inverted", "zero")


class Settings(NamedTuple):
    """How much is drawn and shown."""

    n_examples: int
    n_decoded: int
    target_probability: float
    noise: str
    n_bootstrap: int
    confidence: float

    def check(self) -> None:
        """Raise ValueError for what is out of range."""
        counts = (("n_examples", self.n_examples, 1), ("n_decoded", self.n_decoded, 0))
        for name, value, least in counts:
            if not isinstance(value, Integral) or isinstance(value, bool) or value < least:
                raise ValueError(f"{name}={value!r}: expected an integer of {least} or more.")
        probability = self.target_probability
        if not isinstance(probability, float) or not 0.0 < probability < 1.0:
            raise ValueError(f"target_probability={probability!r}: expected within (0, 1).")
        if self.noise not in NOISES:
            raise ValueError(f"noise={self.noise!r}: expected one of {NOISES}.")
        check_bootstrap(self.n_bootstrap, self.confidence)


class Given(NamedTuple):
    """Rows and models as the user gave them."""

    X: Any
    y: Any
    sensitive_features: Any
    pos_label: Any
    baseline: Any
    encoder: Any
    examples: Any


class Compared(NamedTuple):
    """The rows, the models before and after by name, and the fold of each row.

    `is_blind` says whether the audited classifier sees the label block only, and `untraced` why
    edits cannot be followed to decisions, if so.
    """

    rows: AuditedRows
    sides: Mapping[str, Side]
    folds: Any
    is_blind: bool
    untraced: str | None = None

    def learnable(self) -> tuple[Any, list[str]]:
        """Return the rows and attributes of edits."""
        kept, attributes = self.rows.learnable()
        return kept, [] if self.untraced else attributes


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
        Fitted, with a FairLatentTransformer and after it a classifier of one label, or what
        scikit-learn makes of such: a search, a calibrated classifier, one with a tuned
        threshold, nested pipelines. Where an edit of the latent cannot be followed to the
        decision, as with a ColumnTransformer of other columns, edits are left out.

    X : array-like of shape (n_samples, n_features), or images
        Rows that neither the pipeline nor the baseline **was fitted on**; that is not checked.

    y : array-like of shape (n_samples,)
        Their labels. The name of a Series is used on the page.

    sensitive_features : array-like of shape (n_samples,) or (n_samples, n_attributes)
        Their sensitive attributes. Each is looked at alone, and all of them crossed.

    pos_label : int, bool or str, default=None
        Of two labels the positive one, of which the rates are. None takes the second in order:
        of 0 and 1, or no and yes, the usual one; of granted and refused not.

    baseline : classifier or Pipeline, default=None
        A fitted model without mitigation that takes the same X: "before". None trains the
        pipeline's classifier anew on the standardised embeddings of X, in 5 folds, so that
        each row is judged by one that has not seen it; the report says so.

    examples : array-like or images, default=None
        Other rows, to take the people shown from, such as sampled faces. None takes them from X.

    n_examples : int, default=6
        People shown for each attribute.

    n_decoded : int, default=64
        Rows of X, drawn at random, whose edits are also decoded and encoded again to decide on,
        where that can be done. With a diffusion autoencoder this takes most of the time.

    target_probability : float in (0, 1), default=0.9
        How sure a reader of the latent, a logistic regression, is to be of the other group after
        an edit. Where no edit makes it so, as can be with several groups, it just has to take the
        row for the other.

    noise : {"inverted", "zero"}, default="inverted"
        What a diffusion autoencoder decodes from. ``"inverted"`` keeps all that embeddings leave
        out of an image, and with a weak encoder that may be most of it, so that edits do not
        show. ``"zero"`` shows what embeddings hold, and nothing else.

    n_bootstrap : int, default=1000
        Draws of the rows with replacement for the intervals.

    confidence : float, default=0.95
        Of the intervals, which are percentiles of the draws.

    search : GridSearchCV or the like, default=None
        The fitted search that the pipeline came from, to show its candidates.

    title : str, default=None
        Of the page.

    encoder : object, default=None
        What decodes embeddings; None for the pipeline's own.

    random_state : int, RandomState instance or None, default=0
        Draws folds, rows and probes. By default the same audit comes out every time; None draws
        others each time.

    Returns
    -------
    AuditReport
        What is warned of on the way is among its ``limits``, not raised.

    Raises
    ------
    TypeError
        If `pipe` has no FairLatentTransformer with a classifier after it, or `baseline` is no
        classifier.
    NotFittedError
        If a step is not fitted.
    ValueError
        If lengths differ, a label is unknown to the classifier, `pos_label` is none of two
        labels, or an attribute has one group only.
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
    found, rng = find_fair(pipe), own_random_state(random_state)
    fair = found[0][1]
    with _noting_warnings() as warned:
        searched = {} if search is None else draw_search(search)  # or raises, before any work
        given = Given(X, y, sensitive_features, pos_label, baseline, encoder, examples)
        compared = _compare(pipe, fair, given, rng)
        embeddings = _embedded(found, compared)
        tables = _tables(compared, settings, rng)
        affected, people = _edit(compared, examples, settings, rng)
        diagnostics = _diagnose(fair, embeddings, compared, rng)
        warned_of = () if diagnostics is None else diagnostics.warnings
        figures = draw_comparison(compared.rows, compared.sides, tables[2], people)
        figures |= draw_models(fair, embeddings) | searched
    rows, (overall, by_group, differences) = compared.rows, tables
    left_out = small_groups(rows.too_small())
    if left_out:
        warn_user(left_out[0])
    facts = {
        "audit": _audit_facts(compared, settings, baseline, shows_others=examples is not None),
        "model": model_facts(pipe, fair, compared.sides["after"].codec.encoder),
        "data": data_facts(rows),
        "versions": version_facts(),
    }
    return AuditReport(
        title=as_label(title or "") or title_of(rows.label_name, rows.attributes),
        date=datetime.date.today().isoformat(),
        summary=tuple(summary(overall, differences, affected, facts, warned_of)),
        overall=overall,
        by_group=by_group,
        differences=differences,
        affected=affected,
        diagnostics=diagnostics,
        counterfactuals=people,
        facts=facts,
        limits=tuple(limits(by_group, facts, [*warned_of, *warned])),
        figures=figures,
    )


def _compare(pipe: Any, fair: Any, given: Given, rng: Any) -> Compared:
    """Check the rows, and let both models judge them."""
    X, untraced, space = given.X, None, None
    try:
        space = find_space(pipe, None, given.encoder, images=holds_images(X))
    except UntracedError as error:
        untraced = error.reason
    classes = (Scores(pipe) if space is None else space.scores()).classes
    rows = check_rows(X, given.y, given.sensitive_features, classes)
    check_positive(given.pos_label, classes)
    check_baseline(given.baseline, classes)
    if space is not None and given.examples is not None:
        _check_examples(space, given.examples)
    folds = assign_folds(rows.y, rows.groupings()[-1].codes, rng)
    after = whole_side(pipe, X) if space is None else after_side(fair, space, X)
    if given.baseline is not None:
        is_traced = space is not None
        before = (
            baseline_side(given.baseline, X, after) if is_traced else whole_side(given.baseline, X)
        )
    elif space is None:
        before = whole_stand_in(pipe, X, rows.y, folds)
    else:
        before = stand_in_side(space.classifier, after, rows.y, folds)
    before = before.with_classes(after.classes)
    sides = {
        name: side.with_positive(given.pos_label)
        for name, side in (("before", before), ("after", after))
    }
    is_blind = space is not None and space.input.stop <= space.sensitive.start
    return Compared(rows, sides, folds, is_blind, untraced)


def _check_examples(space: Space, examples: Any) -> None:
    """Raise an error, before any work, for rows to show that the model does not take."""
    if not len(examples):
        raise ValueError("examples has no rows: give some, or leave it out to show rows of X.")
    try:
        space.embed(_safe_indexing(examples, [0]))
    except (TypeError, ValueError) as error:
        raise ValueError(f"examples must be rows like those of X: {error}") from error


def _embedded(found: list[tuple[list[Any], Any]], compared: Compared) -> Any:
    """Return what the transformer is given; None if there are several."""
    if not compared.untraced:
        return compared.sides["after"].embeddings
    (before, fair), X = found[0], compared.rows.X
    return fair.embed(chain(before).transform(X) if before else X) if len(found) == 1 else None


def _tables(compared: Compared, settings: Settings, rng: Any) -> tuple[pd.DataFrame, ...]:
    rows, sides = compared.rows, compared.sides
    classes = sides["after"].classes
    decided = [rows.y, sides["before"].predictions, sides["after"].predictions]
    decisions = resample(
        [class_positions(each, classes) for each in decided],
        rows.groupings()[-1].codes,
        [as_label(each) for each in classes],
        settings.n_bootstrap,
        rng,
    )
    return rate_tables(decisions, rows.groupings(), settings.confidence)


def _edit(
    compared: Compared, examples: Any, settings: Settings, rng: Any
) -> tuple[pd.DataFrame, dict[str, dict[str, Counterfactuals]]]:
    """Return how many decisions an edit changes, and the edits of the people to show."""
    rows, sides = compared.rows, compared.sides
    _, attributes = compared.learnable()
    if not attributes:
        return affected_table({}, attributes, np.empty(0, dtype=np.intp), 0.0), {}
    noise, goal = Noise(rows.X, settings.noise), settings.target_probability
    explained = {
        name: explain_folds(rows, side, noise, compared.folds, goal)
        for name, side in sides.items()
    }
    n_decoded = min(settings.n_decoded, len(rows.y))
    chosen = rng.permutation(len(rows.y))[:n_decoded]
    affected = affected_table(explained, attributes, chosen, settings.confidence)
    if examples is not None:
        noise = Noise(examples, settings.noise)
        explained = {name: explain_others(rows, side, noise, goal) for name, side in sides.items()}
    people = {
        attribute: shown_people(explained, attribute, settings.n_examples)
        for attribute in attributes
    }
    return affected, people


def _diagnose(
    fair: Any, embeddings: Any, compared: Compared, rng: Any
) -> LatentDiagnostics | None:
    rows = compared.rows
    kept, attributes = rows.learnable()
    if embeddings is None or not attributes or len(np.unique(rows.y[kept])) < 2:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FairLatentWarning)  # what is found is in the result
        return nameless(diagnose)(
            fair,
            embeddings[kept],
            rows.y[kept],
            sensitive_features=rows.sensitive_features.loc[kept, attributes],
            random_state=rng,
        )


def _audit_facts(
    compared: Compared, settings: Settings, baseline: Any, *, shows_others: bool
) -> dict[str, Any]:
    rows, after = compared.rows, compared.sides["after"]
    steps = [step for _, step in getattr(baseline, "steps", [("", baseline)])]
    return {
        "label": rows.label_name,
        "classes": [as_label(each) for each in after.classes],
        "attributes": rows.attributes,
        "n_rows": len(rows.y),
        "baseline": None if baseline is None else [type(step).__name__ for step in steps],
        "n_folds": N_FOLDS,
        "target_probability": settings.target_probability,
        "noise": settings.noise if hasattr(after.codec, "invert") else None,
        "n_bootstrap": settings.n_bootstrap,
        "confidence": settings.confidence,
        "is_blind": compared.is_blind,
        "untraced": compared.untraced,
        "can_decode": after.codec.can_decode,
        "shows_others": shows_others,
    }


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
