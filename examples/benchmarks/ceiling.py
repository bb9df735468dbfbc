"""How accurate can predictions with equal error rates be at all, on these embeddings?

    python examples/benchmarks/ceiling.py --data DATA --out results

Post-processing may look at each person's group, which a transformer may not, and here it may even
choose its thresholds on the very rows it is scored on: for the score of a logistic regression
on the raw embedding, fairlearn's ``ThresholdOptimizer`` then gives the most accurate (randomised)
predictions whose error rates are equal in all groups (Hardt et al. 2016, arXiv:1610.02413). No
method that does not see the group can be expected to pass that bound by much with the same
score, so the difference to the raw accuracy is a price of the data, not of a method.
"""

import argparse
from pathlib import Path

import pandas as pd
from _common import (
    Task,
    add_data_arguments,
    fit_classifier,
    load_task,
    provenance,
    rst_table,
    scores,
    source_of,
)
from fairlearn.postprocessing import ThresholdOptimizer

TASKS = [
    Task("Attractive", ("Male",), "cnn"),
    Task("Big_Nose", ("Male",), "cnn"),
    Task("Wavy_Hair", ("Male",), "cnn"),
    Task("Attractive", ("Young",), "cnn"),
    Task("Attractive", ("Male", "Young"), "cnn"),
    Task("Attractive", ("Male",), "diffae32"),
]


def measure(source, task):
    """Return the accuracy of a raw classifier and of the best one with equal error rates."""
    train, test = load_task(source, task)
    raw = fit_classifier("LogisticRegression", train.X, train.y)
    optimizer = ThresholdOptimizer(
        estimator=raw,
        constraints="equalized_odds",
        objective="accuracy_score",
        prefit=True,
        predict_method="predict_proba",
        grid_size=2000,
    )
    X = test.X.astype(float)  # fairlearn 0.15 cannot take float32 scores with pandas 3
    optimizer.fit(X, test.y, sensitive_features=test.group)
    # The predictions are randomised: their expectation is scored, not one draw of it.
    positive = optimizer._pmf_predict(X, sensitive_features=test.group)[:, 1]
    best = positive[test.y == 1].sum() + (1 - positive)[test.y == 0].sum()
    before = scores(test.y, raw.predict(test.X), test.group)
    return {
        "task": task.title,
        "raw accuracy": before["accuracy"],
        "raw EO": before["eo"],
        "accuracy at EO 0": best / len(test.y),
        "points": 100 * (before["accuracy"] - best / len(test.y)),
    }


def main(arguments=None):
    """Measure every task and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_data_arguments(parser)
    parser.add_argument("--out", type=Path, help="folder for ceiling.rst")
    options = parser.parse_args(arguments)
    source = source_of(options, parser)
    table = pd.DataFrame([measure(source, task) for task in TASKS])
    title = "Accuracy of a logistic regression, and the most that equal error rates allow"
    text = f"{provenance(options)}\n\n{rst_table(title, table)}"
    print(text)
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "ceiling.rst").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
