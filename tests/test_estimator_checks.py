"""Every check that scikit-learn has for estimators, with no failure expected."""

from functools import partial
from unittest import SkipTest

import pytest
import sklearn
from sklearn.utils.estimator_checks import parametrize_with_checks
from sklearn.utils.fixes import parse_version

from skfairlatent import FairLatentTransformer, FairLatentTransformerCV

# A check that cannot pass needs an entry here and a reason; there is none.
EXPECTED_FAILED_CHECKS: dict[str, str] = {}
# Runs only where SCIPY_ARRAY_API is set before scipy is imported.
MAY_BE_SKIPPED = {"check_array_api_input"}
# How many checks each release of scikit-learn has for this estimator, read from that release.
# Fewer would mean that some no longer apply to it, because of a tag for instance.
N_CHECKS = {"1.6": 48, "1.7": 48, "1.8": 48, "1.9": 48}
N_CHECKS_OF_1_6_0 = 47

_CHECKS = parametrize_with_checks(
    [
        FairLatentTransformer(max_iter=2, hidden_features=16),
        FairLatentTransformer(
            max_iter=2, hidden_features=16, output="full", n_bins=3, device="cpu"
        ),
        FairLatentTransformerCV(lambdas_di=[1], cv=2, max_iter=2, hidden_features=16),
    ],
    expected_failed_checks=lambda _: EXPECTED_FAILED_CHECKS,
)
# scikit-learn before 1.9 gives a generator, which pytest 9 warns of.
_CASES = list(_CHECKS.args[1])


def _name(check: partial) -> str:
    return check.func.__name__


@pytest.mark.filterwarnings("ignore:sensitive_features was not given")
@pytest.mark.parametrize(("estimator", "check"), _CASES, ids=_CHECKS.kwargs["ids"])
def test__estimator__passes_scikit_learns_check(estimator, check):
    try:
        check(estimator)
    except SkipTest as skipped:
        if _name(check) in MAY_BE_SKIPPED:
            raise
        pytest.fail(f"{_name(check)} was skipped: {skipped}")


@pytest.mark.parametrize("number", [0, 1, 2])
def test__estimator_checks__none_is_missing_or_expected_to_fail(number):
    """Look at what is parametrised, not at what ran, so that ``pytest -k`` stays usable."""
    estimators = {repr(_estimator(case)): None for case in _CASES}
    estimator = list(estimators)[number]
    cases = [case for case in _CASES if repr(_estimator(case)) == estimator]
    version = parse_version(sklearn.__version__)
    if version < parse_version("1.6.1"):
        assert len(cases) == N_CHECKS_OF_1_6_0
    elif (release := f"{version.major}.{version.minor}") in N_CHECKS:
        assert len(cases) == N_CHECKS[release]
    else:  # a later release: checks are added, hardly ever taken away
        assert len(cases) >= max(N_CHECKS.values())
    assert not EXPECTED_FAILED_CHECKS
    assert not [case for case in cases if getattr(case, "marks", ())]


def _estimator(case) -> FairLatentTransformer:
    values = getattr(case, "values", case)  # a ParameterSet where there is a mark
    return values[0]
