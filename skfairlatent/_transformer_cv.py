"""The estimator that chooses its own lambda_di, along a path of fits."""

__all__ = ["FairLatentTransformerCV"]

import inspect
import os
from collections.abc import Callable, Mapping
from functools import partial
from numbers import Integral, Real
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
import pandas as pd
from joblib import Parallel, delayed
from scipy.stats import rankdata
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import get_scorer
from sklearn.model_selection import check_cv
from sklearn.utils import indexable
from sklearn.utils._param_validation import HasMethods, Interval

from skfairlatent._device import neutral_torch_state
from skfairlatent._embedding import encoder_fingerprint
from skfairlatent._identity import UntoldError, exact_digest
from skfairlatent._image_forms import holds_images
from skfairlatent._inputs.repeats import WORTH_A_WARNING, certain_repetitions
from skfairlatent._out_of_core.mapped_rows import is_large_map
from skfairlatent._path_fits import LambdaPath, PathPoint, Rows, quiet
from skfairlatent._training.callbacks import FitTasks, with_callbacks
from skfairlatent._transformer import FairLatentTransformer
from skfairlatent._user_warnings import warn_user
from skfairlatent._validation.annotations import Annotations, encode_annotations
from skfairlatent._validation.containers import reject_container, reject_other_order
from skfairlatent._wording import joined
from skfairlatent.metrics import fairness_scorers
from skfairlatent.selection import MostAccurateWithin, check_folds, group_stratified_folds

# The automatic path: 0, and from here to there at equal ratios.
LEAST, MOST = 0.03, 100.0
# Share of the best candidate's gain in balanced accuracy over chance: with less, a candidate
# decides nearly everybody alike, which is fair and of no use.
ALIKE_SHARE = 0.25
# Parameters that the search sets itself.
SET_BY_SEARCH = ("lambda_di", "warm_start")

Array = npt.NDArray[Any]
Lambdas = npt.NDArray[np.float64]
Scorers = Mapping[str, Callable[..., Any]]


class FairLatentTransformerCV(FairLatentTransformer):
    r"""A FairLatentTransformer that chooses `lambda_di` by cross-validation.

    As ``LassoCV`` is to ``Lasso``. On each fold the fits run along a path of `lambda_di`, from the
    smallest value up, and each goes on from the one before for a sixteenth of the epochs of the
    first, so that the whole frontier between accuracy and fairness costs a few fits. Each
    representation is judged by a classifier on the rows held out. The path is then followed on
    all the rows up to the value chosen, and this object is the transformer at its end: it
    transforms, inverts, decodes and is saved alike.

    Parameters
    ----------
    encoder : {"diffae"}, object or None, default="diffae"
        As for :class:`FairLatentTransformer`; images are encoded once.

    lambdas_di : int or array-like of float, default=16
        The path: its values, or how many of them. A number n means 0 and n - 1 values from 0.03
        to 100 at equal ratios.

    classifier : classifier, default=None
        A clone of it is fitted on each representation. None stands for
        ``LogisticRegression()``.

    cv : int, cross-validation generator or iterable, default=3
        A number of folds means :func:`skfairlatent.selection.group_stratified_folds`. Of a
        splitter that needs groups, such as ``GroupKFold``, pass the folds, as
        ``cv=list(GroupKFold(3).split(X, y, groups))``. Rows of one person belong in one fold: the
        search warns where more than 1 % of the rows scored repeat rows that were fitted on.

    scoring : str, callable, list or dict, default=None
        As in ``GridSearchCV``. None stands for ``fairness_scorers(constraints)``.

    bound : float, default=0.05
        Take the most accurate value whose gap, by the score named as `constraints`, is at most
        this; values that decide nearly everybody alike are left out, if `scoring` has
        ``"balanced_accuracy"``.

    refit : callable or str, default=None
        Instead of `bound`: what returns the position of the value to take, given `cv_results_`,
        such as a :class:`skfairlatent.selection.MostAccurateWithin`, or the name of a score to
        maximise.

    n_jobs : int, default=None
        Folds that are fitted at the same time, as joblib counts.

    **parameters
        Those of :class:`FairLatentTransformer`, all but `lambda_di` and `warm_start`. With
        `checkpoint_dir`, an interrupted search goes on where it stopped; see Notes.

    Attributes
    ----------
    lambda_di_ : float
        The value chosen.

    lambdas_di_ : ndarray of shape (n_values,)
        The path, ascending.

    cv_results_ : dict of str to ndarray
        As of ``GridSearchCV``: ``"params"``, ``"param_lambda_di"``, ``"mean_test_<score>"``,
        ``"std_test_<score>"``, ``"rank_test_<score>"``, ``"split<k>_test_<score>"``, and
        ``"mean_fit_time"``, ``"mean_score_time"`` and their ``"std_..."`` in seconds.

    best_index_ : int
        Position of the value chosen.

    n_splits_ : int
        Number of folds.

    rule_ : callable
        The rule that chose.

    See Also
    --------
    FairLatentTransformer : With a given `lambda_di`; says what else is fitted.
    skfairlatent.selection.pareto_front : The frontier of `cv_results_`, as a table.
    skfairlatent.inspection.FairnessAccuracyDisplay : The frontier as a picture.

    Notes
    -----
    `y` is one column, since a classifier is scored on it. Without `sensitive_features` the values
    differ by chance alone, and the most accurate is taken.

    The gap of the value chosen tends to be larger on new rows than on the folds that chose it:
    judge it on rows of their own. `history_` and `n_iter_` are of the last fit of the path alone.

    An interrupted search goes on from the files in `checkpoint_dir` only if the data, the
    parameters, the classifier and the scorers are the same as when it began. Functions and
    classes of your own count by their code, by the global variables that they read and by what
    they import; a module of your own that is imported within a function, or used otherwise than
    by its attributes, counts by all that it holds. A search whose scorers call ``eval`` or other
    code that cannot be followed keeps no scores in `checkpoint_dir`, with a warning. What code
    finds by name while it runs, as through ``importlib.import_module`` or ``sys.modules``, what
    it reads from files and what compiled code does is not looked into: delete the files in
    `checkpoint_dir` after you change it. Generators of random numbers count by their state: make
    one anew, from the same seed, before you call `fit` again. The global ones of Python, NumPy
    and PyTorch, from which ``scipy.stats`` draws among others, do not count.

    Examples
    --------
    >>> from skfairlatent import FairLatentTransformerCV
    >>> from skfairlatent.datasets import make_biased_embeddings
    >>> data = make_biased_embeddings(400, n_features=8, random_state=0)
    >>> fair = FairLatentTransformerCV(
    ...     lambdas_di=[0, 0.3, 3], bound=0.4, max_iter=20, random_state=0
    ... )
    >>> Z = fair.fit_transform(data.data, data.target, sensitive_features=data.sensitive_features)
    >>> Z.shape, fair.lambda_di_ in fair.lambdas_di_
    ((400, 1), True)
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **FairLatentTransformer._parameter_constraints,
        "lambdas_di": [Interval(Integral, 2, None, closed="left"), "array-like"],
        "classifier": [HasMethods(["fit", "predict"]), None],
        "cv": ["cv_object"],
        "scoring": [str, callable, list, tuple, dict, None],
        "bound": [Interval(Real, 0, 1, closed="both")],
        "refit": [str, callable, None],
        "n_jobs": [Integral, None],
    }

    def __init__(  # noqa: PLR0913 - an estimator is configured by its constructor
        self,
        encoder: Any = "diffae",
        *,
        lambdas_di: Any = 16,
        classifier: Any = None,
        cv: Any = 3,
        scoring: Any = None,
        bound: float = 0.05,
        refit: Any = None,
        n_jobs: int | None = None,
        **parameters: Any,
    ) -> None:
        for name in SET_BY_SEARCH:
            if name in parameters:
                raise TypeError(f"FairLatentTransformerCV has no parameter {name}: it sets it.")
        for name in parameters.keys() - FairLatentTransformer._get_param_names():
            raise TypeError(f"FairLatentTransformerCV has no parameter {name}.")
        super().__init__(encoder, **parameters)
        for name in SET_BY_SEARCH:
            delattr(self, name)
        self.lambdas_di = lambdas_di
        self.classifier = classifier
        self.cv = cv
        self.scoring = scoring
        self.bound = bound
        self.refit = refit
        self.n_jobs = n_jobs

    def fit(self, X: Any, y: Any = None, *, sensitive_features: Any = None) -> Self:
        """Choose `lambda_di`, and fit with it.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or images
            Embeddings, or what `encoder` takes.

        y : array-like of shape (n_samples,)
            Class labels.

        sensitive_features : array-like of shape (n_samples,) or (n_samples, n_attributes)
            Sensitive attributes, strings or numbers; several columns are crossed into groups.

        Returns
        -------
        self : FairLatentTransformerCV
            Fitted.

        Raises
        ------
        ValueError
            For input that cannot be trained on or scored, before training starts: among others a
            (label, group) cell with too few rows for the folds.
        """
        self.fit_transform(X, y, sensitive_features=sensitive_features)
        return self

    @with_callbacks
    @neutral_torch_state()
    def fit_transform(self, X: Any, y: Any = None, *, sensitive_features: Any = None) -> Array:
        """Choose `lambda_di` and fit with it, then transform the same rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or images
            Embeddings, or what `encoder` takes.

        y : array-like of shape (n_samples,)
            Class labels.

        sensitive_features : array-like of shape (n_samples,) or (n_samples, n_attributes)
            Sensitive attributes.

        Returns
        -------
        ndarray of shape (n_samples, n_components)
            As `transform` returns it.
        """
        tasks = FitTasks(self)
        self._check_parameters()
        self._check_cv()
        lambdas, scorers = (
            self._lambdas(),
            self._scorers(with_groups=sensitive_features is not None),
        )
        rule = self._rule(scorers)
        # It embeds, and its names and shapes of X become those of this object.
        embedder = self._transformer(encoder=self.encoder)
        annotations, rows = self._rows(embedder, X, y, sensitive_features)
        metadata = {"sensitive_features": rows.sensitive_features}
        tasks.tell(lambda _: {}, X=rows.X, y=rows.y, metadata=metadata).begin(0)
        paths = self._paths(lambdas, scorers, rows)
        _warn_of_shared_people(paths, rows, annotations)
        found = Parallel(n_jobs=self.n_jobs, verbose=10 * bool(self.verbose))(
            delayed(path.scores)(rows) for path in paths
        )
        results = _cv_results(lambdas, found)
        if isinstance(rule, MostAccurateWithin) and self.refit is None:
            best = _best_within(rule, results, self.constraints, len(annotations.classes[0]))
        else:
            best = _position(rule(results), len(lambdas))
        everything = np.arange(len(rows.codes))
        way = self._path(
            lambdas[: best + 1],
            {},
            everything,
            everything[:0],
            judges=self._judges({}, rows),
            output=self.output,
        )
        chosen, transformed = way.end(rows)
        for path in [*paths, way]:
            path.forget(rows)
        self._become(chosen, embedder)
        self.lambdas_di_, self.lambda_di_, self.best_index_ = lambdas, float(lambdas[best]), best
        self.cv_results_, self.n_splits_, self.rule_ = results, len(paths), rule
        tasks.end()
        Z: Array = transformed
        return Z

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the transformer chosen, without the search, to a safetensors file.

        ``FairLatentTransformer.load`` reads it.

        Parameters
        ----------
        path : path-like
            A file that is there is replaced once the new one is complete.
        """
        self._check_ready()
        chosen = self._transformer(
            encoder=self.encoder,
            lambda_di=self.lambda_di_,
            output=self.output,
            random_state=self.random_state,
        )
        chosen.__dict__.update({k: v for k, v in vars(self).items() if k not in self.get_params()})
        chosen.save(path)

    @classmethod
    def load(
        cls, path: str | os.PathLike[str], *, encoder: Any = None, check_encoder: bool = True
    ) -> FairLatentTransformer:
        """Read the transformer chosen; see ``FairLatentTransformer.load``.

        Parameters
        ----------
        path : path-like
            The file.

        encoder : object, optional
            The encoder it was fitted with, if that was an object.

        check_encoder : bool, default=True
            Refuse an encoder that is another one.

        Returns
        -------
        FairLatentTransformer
        """
        return FairLatentTransformer.load(path, encoder=encoder, check_encoder=check_encoder)

    def _transformer(self, **changed: Any) -> FairLatentTransformer:
        """Return a transformer of embeddings with the parameters of this object."""
        own = self.get_params(deep=False)
        shared = {k: own[k] for k in FairLatentTransformer._get_param_names() if k in own}
        is_seed = self.random_state is None or isinstance(self.random_state, Integral)
        seed = self.random_state if is_seed else self._seed()
        return FairLatentTransformer(
            **shared
            | {"encoder": None, "output": "label", "verbose": False, "random_state": seed}
            | changed
        )

    def _check_cv(self) -> None:
        """Refuse a splitter that needs groups before images are encoded."""
        routing = getattr(self.cv, "get_metadata_routing", None)
        if routing is not None and routing().consumes("split", ["groups"]):
            raise ValueError(
                f"cv is {self.cv!r}, which needs groups, and fit has no parameter for them: pass "
                f"its folds, as cv=list({self.cv!r}.split(X, y, groups))."
            )

    def _lambdas(self) -> Lambdas:
        if isinstance(self.lambdas_di, Integral):
            return np.append(0.0, np.geomspace(LEAST, MOST, int(self.lambdas_di) - 1))
        try:
            lambdas = np.unique(np.asarray(self.lambdas_di, dtype=np.float64))
        except (TypeError, ValueError):
            lambdas = np.empty(0)
        if (
            np.ndim(self.lambdas_di) != 1
            or not len(lambdas)
            or not (np.isfinite(lambdas).all() and lambdas[0] >= 0)
        ):
            raise ValueError(
                f"lambdas_di is {self.lambdas_di!r}: expected a number of values, such as 16, or "
                "a list of finite values >= 0, such as [0, 0.1, 1, 10]."
            )
        return lambdas

    def _scorers(self, *, with_groups: bool) -> Scorers:
        scoring = self.scoring
        if scoring is None:
            scorers: Scorers = fairness_scorers(self.constraints)
            accuracies = ("accuracy", "balanced_accuracy")
            return scorers if with_groups else {name: scorers[name] for name in accuracies}
        if isinstance(scoring, str) or callable(scoring):
            scoring = {"score": scoring}
        elif not isinstance(scoring, Mapping):
            scoring = {name: name for name in scoring}
        return {str(name): get_scorer(scorer) for name, scorer in scoring.items()}

    def _rule(self, scorers: Scorers) -> Callable[[Mapping[str, Any]], Any]:
        refit: Any = self.refit
        if callable(refit):
            chooses: Callable[[Mapping[str, Any]], Any] = refit
            return chooses
        names = list(scorers)
        if isinstance(self.refit, str) and self.refit in names:
            return partial(_position_of_largest, self.refit)
        if self.refit is None and {"accuracy", self.constraints} <= set(names):
            return MostAccurateWithin(self.bound, fairness=self.constraints)
        if self.refit is None and (len(names) == 1 or self.scoring is None):
            return partial(_position_of_largest, names[0])
        needed = "'accuracy' and " + repr(self.constraints) if self.refit is None else self.refit
        raise ValueError(
            f"scoring has the scores {joined(names)}, but refit={self.refit!r} needs {needed}: "
            "leave scoring out, or set refit to the name of a score or to what chooses from "
            "cv_results_."
        )

    def _rows(
        self, embedder: FairLatentTransformer, X: Any, y: Any, sensitive_features: Any
    ) -> tuple[Annotations, Rows]:
        """Check everything, labels before images are encoded, and return the embeddings."""
        images = holds_images(X)
        reject_container("X", X)
        reject_other_order(X=X, y=y, sensitive_features=sensitive_features)
        embeddings = X if images else embedder._embed(X, reset=True)
        with quiet():  # the fit on all the rows warns
            annotations = encode_annotations(embeddings, y, sensitive_features)
        self._check_constraints(annotations)
        if (n_columns := annotations.label_codes.shape[1]) > 1:
            raise ValueError(
                f"y has {n_columns} label columns, but a classifier is scored on one: give one, "
                "or search over FairLatentTransformer with scores of your own."
            )
        if images:
            embeddings = embedder._embed(X, reset=True)
        self._label_width(annotations, embeddings.shape[1])
        embedder.encoder_fingerprint_ = encoder_fingerprint(self.encoder, used=images)
        if (names := getattr(embedder, "feature_names_in_", None)) is not None:
            embeddings = pd.DataFrame(embeddings, columns=names, copy=False)
        codes = np.c_[annotations.label_codes, annotations.attribute_codes]
        y, sensitive_features = indexable(y, sensitive_features)
        return annotations, Rows(embeddings, y, sensitive_features, codes)

    def _paths(self, lambdas: Lambdas, scorers: Scorers, rows: Rows) -> list[LambdaPath]:
        judges = self._judges(scorers, rows)
        return [self._path(lambdas, scorers, *fold, judges=judges) for fold in self._folds(rows)]

    def _path(
        self,
        lambdas: Lambdas,
        scorers: Scorers,
        train: Any,
        test: Any,
        judges: str | None,
        **changed: Any,
    ) -> LambdaPath:
        values, transformer = tuple(lambdas.tolist()), self._transformer(**changed)
        return LambdaPath(transformer, values, self._judge(), scorers, train, test, judges)

    def _judge(self) -> Any:
        return LogisticRegression() if self.classifier is None else self.classifier

    def _judges(self, scorers: Scorers, rows: Rows) -> str | None:
        """Return a digest of all that decides the scores along a path, for its checkpoint."""
        if self.checkpoint_dir is None:
            return None
        try:
            judge = self._judge() if scorers else None
            return exact_digest((judge, dict(scorers), rows.y, rows.sensitive_features))
        except UntoldError as error:
            warn_user(
                f"{error}, so that another search could take its scores for its own: "
                "this one keeps none in checkpoint_dir, and begins anew if it is interrupted."
            )
            return None

    def _folds(self, rows: Rows) -> list[tuple[Any, Any]]:
        if isinstance(self.cv, Integral) and rows.sensitive_features is not None:
            return group_stratified_folds(
                rows.y,
                rows.sensitive_features,
                int(self.cv),
                constraints=self.constraints,
                random_state=0,  # the same folds for every value of random_state, and if resumed
            )
        folds = [*check_cv(self.cv, rows.y, classifier=True).split(rows.X, rows.y)]
        if self.scoring is None and rows.sensitive_features is not None:
            check_folds(folds, rows.y, rows.sensitive_features, self.constraints)
        return folds

    def _become(self, chosen: FairLatentTransformer, embedder: FairLatentTransformer) -> None:
        """Take over what is fitted: of the embedder what X was, all else of the one chosen."""
        parameters = chosen.get_params(deep=False)
        self.__dict__.pop("feature_names_in_", None)
        for source in (chosen, embedder):
            self.__dict__.update({k: v for k, v in vars(source).items() if k not in parameters})


def _warn_of_shared_people(paths: list[LambdaPath], rows: Rows, annotations: Annotations) -> None:
    """Warn if more than a few rows that folds score repeat rows that they fit on."""
    if is_large_map(rows.X):
        return
    person = certain_repetitions(np.asarray(rows.X), annotations.attribute_codes).of_row
    shared = [np.isin(person[path.test], person[path.train]) for path in paths]
    n_shared, n_scored = (sum(map(count, shared)) for count in (np.sum, len))
    if n_shared > WORTH_A_WARNING * n_scored:
        warn_user(
            f"{n_shared:,} of the {n_scored:,} rows that folds score repeat rows that they fit "
            "on, as several rows of a person do, so that the scores are too good: pass folds that "
            "keep the rows of each person together, as "
            "cv=list(StratifiedGroupKFold(3).split(X, y, people))."
        )


def _position(chosen: Any, n_values: int) -> int:
    """Return what `refit` chose, if it is the position of a value."""
    if isinstance(chosen, Integral) and int(chosen) in range(n_values):
        return int(chosen)
    raise ValueError(
        f"refit returned {chosen!r}: expected the position of a value of lambdas_di, an integer "
        f"from 0 to {n_values - 1}."
    )


def _position_of_largest(name: str, results: Mapping[str, Any]) -> int:
    scores = np.asarray(results[f"mean_test_{name}"])
    return int(np.nanargmax(scores)) if np.isfinite(scores).any() else 0


def _best_within(
    rule: MostAccurateWithin, results: dict[str, Any], fairness: str, n_classes: int
) -> int:
    """Choose among candidates that do not decide nearly everybody alike, unless all do.

    Without the balanced accuracy, nothing tells which these are, and all of them count.
    """
    if "mean_test_balanced_accuracy" not in results:
        return rule(results)
    gain = results["mean_test_balanced_accuracy"] - 1.0 / n_classes
    alike = gain < ALIKE_SHARE * gain.max()
    if alike.all():
        return rule(results)
    key = f"mean_test_{fairness}"
    gaps = -results[key]
    within = rule._allows(gaps)
    others = results | {key: np.where(alike, np.nan, results[key])}
    if not within[alike].any() or within[~alike].any():
        return rule(others)
    with quiet():
        best = rule(others)
    values = results["param_lambda_di"]
    warn_user(
        f"Every candidate with {fairness} <= {rule.bound:g} decides nearly everybody alike, as "
        f"lambda_di={values[within & alike].min():g} does, and was left out. Taking the fairest "
        f"of the others, lambda_di={values[best]:g}, with {fairness} {gaps[best]:.4g}. Give "
        "lambdas_di between these two, allow a larger bound, or give a classifier that weighs "
        "the classes equally, as LogisticRegression(class_weight='balanced') does."
    )
    return best


def _cv_results(lambdas: Lambdas, folds: list[list[PathPoint]]) -> dict[str, npt.NDArray[Any]]:
    """Return the points of each fold, in the order of `lambdas`, as GridSearchCV would."""
    results: dict[str, npt.NDArray[Any]] = {}
    for kind in ("fit_time", "score_time"):
        times = np.array([[getattr(point, kind) for point in points] for points in folds])
        results[f"mean_{kind}"], results[f"std_{kind}"] = times.mean(axis=0), times.std(axis=0)
    results["param_lambda_di"] = np.ma.array(lambdas)
    results["params"] = np.array([{"lambda_di": float(value)} for value in lambdas])
    for name in folds[0][0].scores:
        scores = np.array([[point.scores[name] for point in points] for points in folds])
        results |= {f"split{k}_test_{name}": fold for k, fold in enumerate(scores)}
        mean = scores.mean(axis=0)
        results[f"mean_test_{name}"], results[f"std_test_{name}"] = mean, scores.std(axis=0)
        ranks = rankdata(-np.where(np.isnan(mean), -np.inf, mean), method="min")
        results[f"rank_test_{name}"] = ranks.astype(np.int32)
    return results


def _signature() -> inspect.Signature:
    """Return the parameters of the search and those of the transformer that it does not set."""
    own = inspect.signature(FairLatentTransformerCV.__init__).parameters
    inherited = inspect.signature(FairLatentTransformer.__init__).parameters
    named = {k: p for k, p in (own | inherited).items() if p.kind is not p.VAR_KEYWORD}
    return inspect.Signature([p for k, p in named.items() if k not in SET_BY_SEARCH])


# scikit-learn reads the names of parameters there.
FairLatentTransformerCV.__init__.__signature__ = _signature()  # type: ignore[attr-defined]
