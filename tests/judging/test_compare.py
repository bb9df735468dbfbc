"""compare_judgements: the fair latent beside the raw one."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from skfairlatent.counterfactuals import CounterfactualExplainer
from skfairlatent.encoders import PixelFlattener
from skfairlatent.judging import EditJudgement, Estimate, Verdict, compare_judgements, judge_edits

RELATIVE = ["relative_ratio", "relative_ratio_low", "relative_ratio_high"]


def judged(label_shift, sensitive_shift, kind="label"):
    """Return the judgement of one edit a row, all upwards, that shifts so."""
    label, sensitive = (
        Verdict(name, np.zeros(len(shift)), np.asarray(shift)[:, None], np.zeros((len(shift), 1)))
        for name, shift in ((1, label_shift), ("m", sensitive_shift))
    )
    ones = np.ones((len(label_shift), 1))
    nothing = Estimate(np.nan, np.nan, np.nan)
    return EditJudgement(
        kind=kind,
        label=label,
        sensitive=sensitive,
        strengths=ones,
        direction=ones.astype(np.int8),
        decision_changed=ones.astype(bool),
        distance=ones,
        relative_distance=ones,
        ssim=ones,
        mean_label_shift=nothing,
        mean_sensitive_shift=nothing,
        ratio=nothing,
        confidence=0.95,
        notes=(),
    )


@pytest.fixture
def pair():
    rng = np.random.default_rng(0)
    label = rng.uniform(0.2, 0.6, size=200)
    person = rng.normal(0, 0.1, size=200)  # what both latents find easy or hard to change
    return {
        "raw": judged(label, 0.5 * label + person),
        "fair": judged(0.5 * label, 0.05 * label + 0.2 * person),
    }


def test__compare_judgements__divides_the_ratios_at_equal_label_shift(pair):
    table = compare_judgements(pair, random_state=0)
    assert table.index.tolist() == ["raw", "fair"]
    assert table.loc["raw", RELATIVE].tolist() == [1.0, 1.0, 1.0]
    value, low, high = table.loc["fair", RELATIVE]
    assert value == pytest.approx((0.05 / 0.5) / 0.5, abs=0.02)
    assert low < value < high
    turned = compare_judgements(pair, baseline="fair", random_state=0)
    assert turned.loc["raw", "relative_ratio"] == pytest.approx(1 / value)


def test__compare_judgements__resamples_the_same_rows_together(pair):
    together = compare_judgements(pair, random_state=0).loc["fair", RELATIVE]
    order = np.random.default_rng(1).permutation(200)
    fair = pair["fair"]
    shuffled = {
        name: replace(verdict, before=verdict.before[order], after=verdict.after[order])
        for name, verdict in (("label", fair.label), ("sensitive", fair.sensitive))
    }
    apart = compare_judgements(
        {"raw": pair["raw"], "fair": replace(fair, **shuffled)}, random_state=0
    ).loc["fair", RELATIVE]
    assert apart.iloc[0] == pytest.approx(together.iloc[0])
    assert together.iloc[2] - together.iloc[1] < apart.iloc[2] - apart.iloc[1]


def test__compare_judgements__takes_different_numbers_of_rows(pair):
    rng = np.random.default_rng(2)
    label = rng.uniform(0.2, 0.6, size=50)
    table = compare_judgements(pair | {"other": judged(label, 0.25 * label)}, random_state=0)
    assert table.loc["other", "relative_ratio"] == pytest.approx(0.5, abs=0.05)


def test__compare_judgements__keeps_the_sign_of_a_negative_side_effect():
    label = np.linspace(0.3, 0.6, 20)
    table = compare_judgements(
        {"raw": judged(label, -0.4 * label), "fair": judged(label, -0.1 * label)}, random_state=0
    )
    assert table.loc["fair", "relative_ratio"] == pytest.approx(0.25)


def test__compare_judgements__a_baseline_without_side_effect_gives_nan_and_a_warning():
    label = np.linspace(0.3, 0.6, 20)
    pair = {"raw": judged(label, 0.001 * label), "fair": judged(label, 0.1 * label)}
    with pytest.warns(UndefinedMetricWarning, match="'fair' to 'raw' and its interval are NaN"):
        table = compare_judgements(pair, random_state=0)
    assert table.loc["fair", RELATIVE].isna().all()
    wide = np.linspace(-0.3, 0.5, 20)
    with pytest.warns(UndefinedMetricWarning, match="its interval is NaN"):
        table = compare_judgements({"raw": judged(label, wide), "fair": pair["fair"]})
    assert np.isfinite(table.loc["fair", "relative_ratio"])


def test__compare_judgements__refuses_what_cannot_be_compared(pair):
    with pytest.raises(TypeError, match="expected two or more by name"):
        compare_judgements({"raw": pair["raw"]})
    with pytest.raises(ValueError, match="not of the same edits"):
        compare_judgements(pair | {"other": replace(pair["raw"], kind="sensitive")})
    with pytest.raises(ValueError, match="baseline='x': expected one of"):
        compare_judgements(pair, baseline="x")


def test__compare_judgements__sees_a_latent_that_cannot_tell_the_label_from_the_group(halves):
    judgements = {}
    for width in (1, 4):
        encoder = make_pipeline(PixelFlattener(), PCA(width, random_state=0)).fit(halves.images)
        model = make_pipeline(encoder, LogisticRegression()).fit(halves.images, halves.y)
        explainer = CounterfactualExplainer(model).fit(halves.images, halves.y)
        edits = explainer.explain_label(halves.images[:80], target_probability=0.9)
        result = edits.decode()
        judgements[width] = judge_edits(result, **halves.judges, random_state=0)
    table = compare_judgements(judgements, random_state=0)
    assert table.loc[1, "ratio_low"] > 0.5
    assert table.loc[4, "relative_ratio_high"] < 0.5
