"""The rows of an audit and the two models that judged them: what each section measures."""

__all__ = ["Comparison", "Given", "Settings", "compare"]

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from numbers import Integral
from typing import Any, NamedTuple

import numpy as np
from sklearn.utils import _safe_indexing

from skfairlatent._bootstrap import check_bootstrap
from skfairlatent._find_transformer import UntracedError, embeddings_of
from skfairlatent._image_forms import holds_images
from skfairlatent._inputs.repeats import certain_repetitions, warn_of_repetitions
from skfairlatent._seen_rows import share_seen
from skfairlatent.counterfactuals._scores import Scores
from skfairlatent.counterfactuals._space import Space, find_space
from skfairlatent.metrics._group_counts import class_positions
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
from skfairlatent.report._provenance import ModelFacts, Setup, model_facts
from skfairlatent.report._rates import MODELS, RateTables, rate_tables, resample
from skfairlatent.report._rows import AuditedRows, check_rows, distinct_names

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


@dataclass(frozen=True)
class Comparison:
    """The data that the sections of an audit are measured on.

    Parameters
    ----------
    fair : FairLatentTransformer
        The transformer of the audited pipeline.

    rows : AuditedRows
        The audited rows.

    sides : dict of str to Side
        The models ``"before"`` and ``"after"``.

    folds : ndarray of shape (n,), int64
        Fold of each row.

    embeddings : ndarray of shape (n, width) or None
        Input of the transformer; None if there are several transformers.

    seen_share : float
        The share of the rows that were rows of fit, from 0 to 1, as far as it is known; of
        several transformers the largest.

    examples : array-like, images or None
        Rows to show instead of audited ones.

    settings : Settings
        How much is drawn and shown.

    setup : Setup
        Facts about the audit.

    model : ModelFacts
        Facts about the audited pipeline.

    rng : RandomState
        Source of what is drawn.
    """

    fair: Any
    rows: AuditedRows
    sides: Mapping[str, Side]
    folds: Any
    embeddings: Any
    seen_share: float
    examples: Any
    settings: Settings
    setup: Setup
    model: ModelFacts
    rng: Any

    @property
    def edited(self) -> list[str]:
        """The attributes that edits are about."""
        return [] if self.setup.untraced else [each.label for each in self.rows.learnable()[1]]

    @cached_property
    def tables(self) -> RateTables:
        """Rates by group and gaps between groups."""
        groupings, sides = self.rows.groupings(), self.sides
        decided = [self.rows.y, *(sides[model].predictions for model in MODELS)]
        classes = sides["after"].classes
        decisions = resample(
            [class_positions(each, classes) for each in decided],
            groupings[-1].codes,
            self.setup.classes,
            self.settings.n_bootstrap,
            self.rng,
        )
        return rate_tables(decisions, groupings, self.settings.confidence)

    @cached_property
    def alike(self) -> dict[str, str]:
        """The class that a model gives everybody, by model, of those that do so."""
        return decided_alike(self.tables.overall, self.setup.classes)


def decided_alike(overall: Any, classes: list[str]) -> dict[str, str]:
    """Return the class that a model gives everybody, by model, of those that do so."""
    is_binary = len(classes) == 2
    found = {}
    for model in MODELS:
        for k, label in enumerate(classes):
            # With two classes the table has the rate of the second only.
            metric = "selection_rate" if is_binary else f"selection_rate of {label}"
            if overall.loc[metric, model] == (0.0 if is_binary and k == 0 else 1.0):
                found[model] = label
    return found


class Given(NamedTuple):
    """Rows and models as the user gave them."""

    X: Any
    y: Any
    sensitive_features: Any
    pos_label: Any
    baseline: Any
    encoder: Any
    examples: Any


def compare(pipe: Any, given: Given, settings: Settings, rng: Any) -> Comparison:
    """Check the rows, and let both models judge them."""
    X, y, sensitive_features, pos_label, baseline, encoder, examples = given
    found, space, untraced = find_fair(pipe), None, None
    try:
        space = find_space(pipe, None, encoder, images=holds_images(X))
    except UntracedError as error:
        untraced = error.reason
    classes = (Scores(pipe) if space is None else space.scores()).classes
    rows = check_rows(X, y, sensitive_features, classes)
    check_positive(pos_label, classes)
    check_baseline(baseline, classes)
    if space is not None and examples is not None:
        _check_examples(space, examples)
    fair = found[0][1]
    after = whole_side(pipe, X) if space is None else after_side(fair, space, X)
    embeddings = embeddings_of(found, X) if space is None else [after.embeddings]
    folds = _folds(rows, np.column_stack(embeddings), rng)
    before = _before(pipe, space, baseline, rows, after, folds)
    sides = {"before": before.with_classes(after.classes), "after": after}
    sides = {name: side.with_positive(pos_label) for name, side in sides.items()}
    after = sides["after"]
    setup = Setup(
        label=rows.label_name,
        classes=distinct_names(after.classes),
        attributes=rows.attributes,
        n_rows=len(rows.y),
        baseline=None if baseline is None else _step_names(baseline),
        n_folds=N_FOLDS,
        target_probability=settings.target_probability,
        noise=settings.noise if hasattr(after.codec, "invert") else None,
        n_bootstrap=settings.n_bootstrap,
        confidence=settings.confidence,
        is_blind=space is not None and space.is_blind,
        untraced=untraced,
        can_decode=after.codec.can_decode,
        shows_others=examples is not None,
    )
    return Comparison(
        fair=fair,
        rows=rows,
        sides=sides,
        folds=folds,
        embeddings=embeddings[0] if len(found) == 1 else None,
        seen_share=share_seen((step for _, step in found), embeddings, rows.group_codes()),
        examples=examples,
        settings=settings,
        setup=setup,
        model=model_facts(pipe, fair, after.codec.encoder),
        rng=rng,
    )


def _folds(rows: AuditedRows, embeddings: Any, rng: Any) -> Any:
    """Return a fold for each row: a row that is repeated is not learnt in other folds.

    Warn of repetitions, which all else counts.
    """
    first, of_row = found = certain_repetitions(embeddings, rows.group_codes())
    warn_of_repetitions(found, "the audit counts")
    return assign_folds(rows.y[first], rows.groupings()[-1].codes[first], rng)[of_row]


def _before(
    pipe: Any, space: Space | None, baseline: Any, rows: AuditedRows, after: Side, folds: Any
) -> Side:
    """Return the model before: the baseline, or a stand-in that is trained in folds."""
    if space is None:
        if baseline is not None:
            return whole_side(baseline, rows.X)
        return whole_stand_in(pipe, rows.X, rows.y, folds)
    if baseline is not None:
        return baseline_side(baseline, rows.X, after)
    return stand_in_side(space.classifier, after, rows.y, folds)


def _check_examples(space: Space, examples: Any) -> None:
    """Raise an error, before any work, for rows to show that the model does not take."""
    if not len(examples):
        raise ValueError("examples has no rows: give some, or leave it out to show rows of X.")
    try:
        space.embed(_safe_indexing(examples, [0]))
    except (TypeError, ValueError) as error:
        raise ValueError(f"examples must be rows like those of X: {error}") from error


def _step_names(model: Any) -> list[str]:
    return [type(step).__name__ for _, step in getattr(model, "steps", [("", model)])]
