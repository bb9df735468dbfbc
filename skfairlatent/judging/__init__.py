"""Judgements of counterfactuals by classifiers that had no part in training."""

from skfairlatent.judging._clip import ClipJudge
from skfairlatent.judging._compare import compare_judgements
from skfairlatent.judging._judge import judge_edits
from skfairlatent.judging._judgement import EditJudgement, Estimate, Verdict

__all__ = [
    "ClipJudge",
    "EditJudgement",
    "Estimate",
    "Verdict",
    "compare_judgements",
    "judge_edits",
]
