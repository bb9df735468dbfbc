"""The certified bound as a score, by which a search can choose."""

__all__ = ["CertifiedScorer", "certified_scorer"]

from typing import Any

from sklearn.utils.metadata_routing import MetadataRequest

from skfairlatent.certification._certify import certify, check_parameters


def certified_scorer(constraints: str = "equalized_odds", *, confidence: float = 0.95) -> Any:
    """Build a scorer of the bound that `certify` finds, negated, for the `scoring` of a search.

    Parameters
    ----------
    constraints : str, default="equalized_odds"
        The gap, as in `certify`.

    confidence : float, default=0.95
        Between 0 and 1, both excluded.

    Returns
    -------
    scorer
        For estimators that `certify` takes. It asks for `sensitive_features`, which metadata
        routing brings.

    Raises
    ------
    ValueError
        If a parameter is out of range.

    See Also
    --------
    skfairlatent.selection.MostAccurateWithin : Choose the most accurate within a bound.

    Notes
    -----
    The score serves to choose, and does not certify the choice: the best of several bounds
    on the same rows is too good, and a search fits its choice again on all rows. Certify the
    choice on rows that the search did not see.

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.model_selection import GridSearchCV
    >>> from sklearn.pipeline import Pipeline
    >>> from skfairlatent import FairLatentTransformer
    >>> from skfairlatent.certification import certified_scorer
    >>> from skfairlatent.selection import MostAccurateWithin
    >>> pipe = Pipeline([("fair", FairLatentTransformer(n_bins=4)), ("clf", LogisticRegression())])
    >>> search = GridSearchCV(
    ...     pipe,
    ...     {"fair__lambda_di": [1.0, 3.0, 10.0]},
    ...     scoring={"accuracy": "accuracy", "certified": certified_scorer()},
    ...     refit=MostAccurateWithin(0.1, fairness="certified"),
    ... )
    """
    check_parameters(constraints, confidence, None)
    return CertifiedScorer(constraints, confidence)


class CertifiedScorer:
    """The negated bound of an estimator on rows; see `certified_scorer`.

    Parameters
    ----------
    constraints : str
        The gap.
    confidence : float
        Confidence of the bound.
    """

    def __init__(self, constraints: str, confidence: float) -> None:
        self.constraints = constraints
        self.confidence = confidence

    def __call__(self, estimator: Any, X: Any, y: Any, *, sensitive_features: Any = None) -> float:
        """Return minus the bound, at most 0."""
        if sensitive_features is None:
            raise ValueError(
                "The certified scorer got no sensitive_features: switch on metadata routing, by "
                "sklearn.set_config(enable_metadata_routing=True), and give them to fit of the "
                "search."
            )
        return -certify(
            estimator,
            X,
            y,
            sensitive_features=sensitive_features,
            constraints=self.constraints,
            confidence=self.confidence,
        ).bound

    def get_metadata_routing(self) -> MetadataRequest:
        """Ask for sensitive_features."""
        request = MetadataRequest(owner=type(self).__name__)
        request.score.add_request(param="sensitive_features", alias=True)
        return request

    def __repr__(self) -> str:
        return f"certified_scorer({self.constraints!r}, confidence={self.confidence})"
