"""What classifiers that had no part in training say of counterfactuals."""

from ._clip import ClipJudge
from ._compare import compare_judgements
from ._judge import judge_edits
from ._judgement import EditJudgement, Estimate, Verdict

__all__ = [
    "ClipJudge",
    "EditJudgement",
    "Estimate",
    "Verdict",
    "compare_judgements",
    "judge_edits",
]
