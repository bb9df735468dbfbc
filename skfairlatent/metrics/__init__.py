"""Group fairness of predictions, as metrics and as scorers that route `sensitive_features`.

Names and binary values are fairlearn's. Two things differ: several classes are defined, and a
rate that no row can estimate gives NaN and a warning, where a zero would read as perfectly fair.
"""

from skfairlatent.metrics._metrics import (
    demographic_parity_difference,
    demographic_parity_ratio,
    equalized_odds_difference,
    fairness_scorer,
    fairness_scorers,
    true_positive_rate_difference,
    worst_group_accuracy_score,
)

__all__ = [
    "demographic_parity_difference",
    "demographic_parity_ratio",
    "equalized_odds_difference",
    "fairness_scorer",
    "fairness_scorers",
    "true_positive_rate_difference",
    "worst_group_accuracy_score",
]
