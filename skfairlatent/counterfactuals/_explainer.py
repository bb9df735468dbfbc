"""The explainer: from a fitted model and rows to counterfactuals."""

__all__ = ["CounterfactualExplainer"]

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted, column_or_1d

from skfairlatent._image_forms import holds_images
from skfairlatent._user_warnings import warn_user
from skfairlatent._validation.containers import reject_container, reject_other_order
from skfairlatent._validation.groups import check_length
from skfairlatent.counterfactuals._directions import Attribute, find_attributes
from skfairlatent.counterfactuals._edits import (
    SURROGATE_ROWS,
    Edits,
    Start,
    check_request,
    label_terrain,
    line_edits,
    log_odds,
    single_edits,
    spread,
)
from skfairlatent.counterfactuals._result import Counterfactuals, Reader, repeated
from skfairlatent.counterfactuals._scores import Affine, Floats
from skfairlatent.counterfactuals._search import (
    Goal,
    Terrain,
    along_line,
    gradients,
    smallest_move,
    unit_rows,
    ways,
)
from skfairlatent.counterfactuals._space import find_space
from skfairlatent.metrics._group_counts import class_positions

Array = npt.NDArray[Any]
Codes = npt.NDArray[np.intp]
Flags = npt.NDArray[np.bool_]

DIRECTIONS = ("means", "normal")


class CounterfactualExplainer(BaseEstimator):
    r"""Edit latents to see what a decision depends on.

    A label edit moves the label block of a row along the unit normal of the classifier,
    :math:`z_Y + t\, w / \lVert w \rVert`, and keeps the sensitive block: it shows *what the
    decision rests on*. A sensitive edit moves the sensitive block along the direction of a
    sensitive attribute and keeps the label block: it shows *whether the decision rests on the
    attribute*. If the encoder can decode, edits can be decoded to images.

    A sensitive edit cannot change the decision on the latent, because the classifier never sees
    the sensitive block. Whether the decision is the same for the edited image is shown by encoding
    that image again: ``result.decode().reencode()``.

    Parameters
    ----------
    model : Pipeline, or FairLatentTransformer
        Fitted model; for a search, its ``best_estimator_`` is used. A Pipeline without a
        FairLatentTransformer is explained in the *raw* latent, the input of its classifier, where
        label edits and sensitive edits move the same columns.

    classifier : object, optional
        The fitted classifier. Required if `model` is a transformer.

    encoder : object, str or None, default=None
        Encoder that decodes embeddings to images; None means that of the model.

    sensitive_direction : {"means", "normal"}, default="means"
        Direction of sensitive edits: the difference between the means of the groups, averaged over
        labels, or the unit normal of a logistic regression that predicts the group. The first
        changes what usually differs between groups, the second is the smallest change that
        misleads the regression.

    Attributes
    ----------
    attributes_ : dict
        The sensitive attributes passed to `fit`, by name.

    is_linear_ : bool
        Whether the classifier is linear, so that edits are exact. For other classifiers, edits
        follow the gradient, estimated by finite differences.

    classes_ : ndarray of shape (n_classes,)
        Classes of the label.

    See Also
    --------
    Counterfactuals : The result of the methods.

    Notes
    -----
    The smallest edits follow DeepFool [1]_: for a linear classifier of two classes, the projection
    on the boundary, which is the shortest possible edit; otherwise the shortest edit found.

    References
    ----------
    .. [1] S. Moosavi-Dezfooli, A. Fawzi, P. Frossard, "DeepFool: a simple and accurate method to
       fool deep neural networks", CVPR 2016, arXiv:1511.04599.

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from skfairlatent import FairLatentTransformer
    >>> from skfairlatent.counterfactuals import CounterfactualExplainer
    >>> from skfairlatent.datasets import make_biased_embeddings
    >>> data = make_biased_embeddings(400, n_features=8, random_state=0)
    >>> X, y, s = data.data, data.target, data.sensitive_features
    >>> fair = FairLatentTransformer(max_iter=20, random_state=0)
    >>> pipe = make_pipeline(fair, LogisticRegression())
    >>> pipe = pipe.fit(X, y, fairlatenttransformer__sensitive_features=s)
    >>> explainer = CounterfactualExplainer(pipe).fit(X, y, sensitive_features=s)
    >>> result = explainer.explain_label(X[:100])
    >>> result.embeddings.shape, bool(result.changed.all())
    ((100, 1, 8), True)
    """

    # The default for pickles of earlier versions, which did not measure it.
    _decides_by_score = True

    def __init__(
        self,
        model: Any,
        classifier: Any = None,
        *,
        encoder: Any = None,
        sensitive_direction: str = "means",
    ) -> None:
        self.model = model
        self.classifier = classifier
        self.encoder = encoder
        self.sensitive_direction = sensitive_direction

    def fit(self, X: Any, y: Any = None, *, sensitive_features: Any = None) -> Self:
        """Learn the direction of each sensitive attribute and the scale of the latents.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or images
            Input of the model, preferably its training data.

        y : array-like of shape (n_samples,), optional
            Labels. If given, the direction of each sensitive attribute is measured within labels,
            so that it does not include the direction of the label.

        sensitive_features : array-like of shape (n_samples,) or (n_samples, n_attributes)
            Sensitive attributes. None allows label edits only.

        Returns
        -------
        self : CounterfactualExplainer
            The fitted explainer.
        """
        if self.sensitive_direction not in DIRECTIONS:
            raise ValueError(
                f"sensitive_direction={self.sensitive_direction!r} is not valid: expected one of "
                f"{DIRECTIONS}."
            )
        images = holds_images(X)
        for name, values in (("X", X), ("y", y)):
            reject_container(name, values)
        reject_other_order(X=X, y=y, sensitive_features=sensitive_features)
        space = find_space(self.model, self.classifier, self.encoder, images=images)
        scores = space.scores()
        Z = space.forward(space.embed(X)).astype(np.float64)
        if y is not None:
            y = column_or_1d(y)
            check_length("y", len(y), len(Z))
            _check_known(y, scores.classes)
        sensitive = Z[:, space.sensitive]
        self.attributes_ = (
            {} if sensitive_features is None else find_attributes(sensitive, y, sensitive_features)
        )
        self._reader = Reader(space, scores, self.attributes_)
        width = space.label.stop - space.label.start
        self._label_terrain = label_terrain(scores, Z[:, space.input], width)
        self._decides_by_score = scores.decide_by_score(Z[:SURROGATE_ROWS, space.input])
        self._sensitive_scale = spread(sensitive)
        self.is_linear_ = isinstance(self._label_terrain.function, Affine)
        self.classes_ = scores.classes
        return self

    def explain_label(
        self,
        X: Any,
        *,
        strengths: Sequence[float] | None = None,
        target_class: Any = None,
        target_probability: float | None = None,
    ) -> Counterfactuals:
        """Edit the label block and keep the sensitive block.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or images
            Rows to explain.

        strengths : sequence of float, optional
            Distances to move along the unit normal, towards `target_class`, whose default is the
            second of two classes, or the second most probable of several. 0 does not change the
            row.

        target_class : object, optional
            Class to move to. None means any class but the predicted one: the class with the
            nearest boundary or, if a probability is given, the most probable other class.

        target_probability : float in (0, 1), optional
            Probability of this class after the edit: it is raised or lowered to this value, or to
            just above it if probabilities change in steps. None means the smallest edit that
            changes the decision to this class.

        Returns
        -------
        Counterfactuals
            One edit for each strength, or a single edit. Rows for which no suitable edit is found
            are not changed, and a warning is issued.

        Raises
        ------
        ValueError
            If both `strengths` and `target_probability` are given, or a value is out of range.
        """
        check_is_fitted(self, "classes_")
        check_request(strengths, target_probability)
        reader, terrain = self._reader, self._label_terrain
        start = self._start(X, reader.space.input)
        rows = start.rows
        if strengths is not None or target_probability is not None or target_class is not None:
            codes = self._class_codes(target_class, rows, second=strengths is not None)
            goal = Goal.of(codes, log_odds(target_probability), terrain.function(rows))
        if strengths is not None:
            slopes = goal.slopes(terrain.function(rows))
            edits = line_edits(gradients(terrain, rows, slopes), strengths)
        elif target_class is None and target_probability is None:
            edits = single_edits(*self._nearest_flip(start))
        elif target_probability is None:
            there = self._decided(rows) == codes  # they stay
            moves, reached = self._flip(start, codes)
            moves[there] = 0.0
            edits = single_edits(moves, reached | there)
        else:
            edits = single_edits(*smallest_move(terrain, rows, goal))
        return self._collect("label", "label", start, edits)

    def explain_sensitive(
        self,
        X: Any,
        attribute: str | None = None,
        *,
        strengths: Sequence[float] | None = None,
        target_value: Any = None,
        target_probability: float | None = None,
    ) -> Counterfactuals:
        """Edit the sensitive block along the direction of an attribute and keep the label block.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or images
            Rows to explain.

        attribute : str, optional
            Name of the attribute. Not needed if there is only one.

        strengths : sequence of float, optional
            Distances to move along the unit direction, towards `target_value`, whose default is
            the second of two values, or the second most probable of several.

        target_value : object or array-like of shape (n_samples,), optional
            Value to move to, one for all rows or one for each row. None means any value but the
            most probable one, which is not always the true value of the row.

        target_probability : float in (0, 1), optional
            Probability of this value after the edit, by a logistic regression on the sensitive
            block; rows that already have it are not changed. None means just above the probability
            of any other value.

        Returns
        -------
        Counterfactuals
            One edit for each strength, or a single edit. Rows for which no suitable edit is found
            are not changed, and a warning is issued.

        Raises
        ------
        ValueError
            If `fit` got no sensitive features, or the attribute or value is not known.
        """
        check_is_fitted(self, "classes_")
        check_request(strengths, target_probability)
        known = self._attribute(attribute)
        start = self._start(X, self._reader.space.sensitive)
        rows = start.rows
        scores = known.probe(rows)
        if target_value is not None:
            codes = known.codes(target_value, len(rows))
        elif len(known.values) == 2 and strengths is not None:
            codes = np.ones(len(rows), dtype=np.intp)
        else:
            codes = scores.argsort(axis=1)[:, -2]
        towards = known.towards(codes, rows, self.sensitive_direction)
        if strengths is not None:
            return self._collect("sensitive", known.name, start, line_edits(towards, strengths))
        # Who is read as of that group already is not moved towards the one that is left.
        goal = Goal(codes, log_odds(target_probability), np.ones(len(rows)))
        terrain = Terrain(known.probe, rows.shape[1], self._sensitive_scale)
        lengths, reached = along_line(terrain, rows, goal, towards)
        edits = single_edits(lengths[:, None] * unit_rows(towards), reached)
        return self._collect("sensitive", known.name, start, edits)

    def _start(self, X: Any, columns: slice) -> Start:
        space = self._reader.space
        embeddings = space.embed(X)
        Z = space.forward(embeddings)
        return Start(embeddings, Z, Z[:, columns].astype(np.float64), X)

    def _decided(self, rows: Floats) -> Codes:
        return class_positions(self._reader.scores.predict(rows), self.classes_)

    def _class_codes(self, target_class: Any, rows: Floats, *, second: bool) -> Codes:
        """Return the class to move to: the one given, of two the second, or the runner-up."""
        if target_class is not None:
            is_one = np.ndim(target_class) == 0
            found = class_positions([target_class], self.classes_)[0] if is_one else -1
            if found < 0:
                raise ValueError(
                    f"target_class={target_class!r} is not a class of the label: expected one of "
                    f"{self.classes_.tolist()}, for all rows."
                )
            return np.full(len(rows), found)
        if second and len(self.classes_) == 2:
            return np.ones(len(rows), dtype=np.intp)
        scores = self._reader.scores(rows)
        np.put_along_axis(scores, self._decided(rows)[:, None], -np.inf, axis=1)
        return np.asarray(scores.argmax(axis=1))

    def _nearest_flip(self, start: Start) -> tuple[Floats, Flags]:
        """Return the smallest move of each row to any class but its own."""
        rows, own = start.rows, self._decided(start.rows)
        best = np.zeros((len(rows), self._label_terrain.width))
        length, reached = np.full(len(rows), np.inf), np.zeros(len(rows), dtype=bool)
        for shift in range(1, len(self.classes_)):
            moves, arrived = self._flip(start, (own + shift) % len(self.classes_))
            moved = np.linalg.norm(moves, axis=1)
            better = arrived & (moved < length)
            best[better], length[better] = moves[better], moved[better]
            reached |= arrived
        return best, reached

    def _flip(self, start: Start, codes: Codes) -> tuple[Floats, Flags]:
        """Return the smallest move of each row to a class, and whether it is then decided on."""
        terrain, rows = self._label_terrain, start.rows
        goal = Goal(codes, None, np.ones(len(rows)))
        moves, reached = smallest_move(terrain, rows, goal)
        if not self._decides_by_score:
            moves, reached = self._first_decided(rows, goal, (moves, *ways(terrain, rows, goal)))
        edited = rows.copy()
        # Moves that do not arrive mean nothing, and may be longer than the latents can hold.
        edited[reached, : terrain.width] += moves[reached]
        rounded = edited.astype(start.latents.dtype)
        return moves, reached & (self._decided(rounded) == codes)

    def _first_decided(
        self, rows: Floats, goal: Goal, directions: Sequence[Floats]
    ) -> tuple[Floats, Flags]:
        """Return the shortest move along one of several ways to where the decision is taken."""
        known = self._label_terrain
        terrain = Terrain(self._reader.scores.decisions, known.width, known.scale)
        best, length = np.zeros_like(directions[0]), np.full(len(rows), np.inf)
        for towards in directions:
            lengths, arrived = along_line(terrain, rows, goal, towards)
            better = arrived & (lengths < length)
            best[better] = (lengths[:, None] * unit_rows(towards))[better]
            length[better] = lengths[better]
        return best, np.isfinite(length)

    def _attribute(self, name: str | None) -> Attribute:
        if not self.attributes_:
            raise ValueError(
                "fit got no sensitive features: call fit(X, y, sensitive_features=...)."
            )
        if name is None and len(self.attributes_) == 1:
            return next(iter(self.attributes_.values()))
        if name not in list(self.attributes_):  # a list has no hash
            names = list(self.attributes_)
            raise ValueError(
                f"attribute={name!r} is not known: pass one of {names}, the sensitive attributes "
                f"passed to fit, as in explain_sensitive(X, {names[0]!r})."
            )
        return self.attributes_[name]

    def _collect(self, kind: str, name: str, start: Start, edits: Edits) -> Counterfactuals:
        """Apply edits and read what they do."""
        _warn_about_unreached(edits)
        space = self._reader.space
        _, k, width = edits.moves.shape
        first = (space.label if kind == "label" else space.sensitive).start
        moved = edits.strengths != 0.0
        edited = repeated(start.latents, k)
        edited[moved, first : first + width] += edits.moves[moved].astype(edited.dtype)
        embeddings = repeated(start.embeddings, k)
        if moved.any():
            embeddings[moved] = space.inverse(edited[moved])
        if start.latents.shape[1] < start.embeddings.shape[1]:
            # The part of a row that a narrower latent, such as a PCA's, leaves out stays as it is.
            left_out = repeated(start.embeddings - space.inverse(start.latents), k)
            embeddings[moved] += left_out[moved]
        return Counterfactuals(
            kind=kind,
            name=name,
            strengths=edits.strengths,
            reached=edits.reached,
            latents=edited,
            embeddings=embeddings,
            original_latents=start.latents,
            original_embeddings=start.embeddings,
            classes=self.classes_,
            sensitive_values={a: known.values for a, known in self.attributes_.items()},
            _reader=self._reader,
            _given=start.given,
            **self._reader.read(start.latents, edited, moved),
        )


def _check_known(y: Array, classes: Array) -> None:
    """Refuse labels that are none of the classifier's, most likely those of another column."""
    unknown = np.flatnonzero(class_positions(y, classes) < 0)
    if len(unknown):
        raise ValueError(
            f"y holds {y[unknown].tolist()[0]!r} (row {unknown[0]}), which is not a class of the "
            f"classifier: expected one of {classes.tolist()}, as the model was fitted on."
        )


def _warn_about_unreached(edits: Edits) -> None:
    missed = int((~edits.reached).any(axis=1).sum())
    if missed:
        warn_user(
            f"{missed} of {len(edits.reached)} rows were not changed (see `reached`): "
            f"{edits.if_unreached}."
        )
