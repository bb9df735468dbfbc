"""
Several sensitive attributes and several classes
================================================

``sensitive_features`` may have any number of columns, each with any number of groups. The columns
are crossed, so that the smallest combinations count too, and each is also reported on its own. The
label here has three classes.
"""

# %%
# Data
# ----
# Two attributes, ``A`` with two groups and ``B`` with three, both correlated with the label.

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from fairlearn.metrics import MetricFrame
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import accuracy_score
from sklearn.model_selection import train_test_split

from skfairlatent import FairLatentTransformer
from skfairlatent.datasets import make_biased_embeddings
from skfairlatent.diagnostics import group_leakage
from skfairlatent.metrics import equalized_odds_difference

data = make_biased_embeddings(12_000, n_labels=3, n_groups=[2, 3], random_state=0)
sensitive = pd.DataFrame(
    {
        "A": data.sensitive_features["group_0"].map({0: "a1", 1: "a2"}),
        "B": data.sensitive_features["group_1"].map({0: "b1", 1: "b2", 2: "b3"}),
    }
)
X_train, X_test, y_train, y_test, s_train, s_test = train_test_split(
    data.data, data.target, sensitive, test_size=0.5, random_state=0
)
print(pd.crosstab([s_train["A"], s_train["B"]], y_train, colnames=["label"]))

# %%
# Fit
# ---
# A DataFrame goes in as it is. The fitted transformer names what it found.

fair = FairLatentTransformer(random_state=0)
Z_train = fair.fit_transform(X_train, y_train, sensitive_features=s_train)
Z_test = fair.transform(X_test)
print("groups:    ", fair.groups_)
print("attributes:", fair.attributes_)
print("label block:", Z_train.shape[1], "of", fair.n_features_in_, "features")

trees = HistGradientBoostingClassifier(max_iter=60, random_state=0)
predictions = {
    "before": trees.fit(X_train, y_train).predict(X_test),
    "after": trees.fit(Z_train, y_train).predict(Z_test),
}

# %%
# Accuracy in every crossed group
# -------------------------------

frames = {
    stage: MetricFrame(
        metrics={stage: accuracy_score}, y_true=y_test, y_pred=predicted, sensitive_features=s_test
    )
    for stage, predicted in predictions.items()
}
print(pd.concat([frame.by_group for frame in frames.values()], axis=1).round(3).to_string())
print("\noverall", {s: round(float(f.overall.iloc[0]), 3) for s, f in frames.items()})

# %%
# Gaps by attribute, and crossed
# ------------------------------
# The more groups, the larger the largest difference between any two of them is by chance alone.
# ``chance`` is what is left when predictions are shuffled across the groups within each
# true label: no method can be shown to do better on this many rows.


def gap(predicted, groups):
    """Mean over the true labels of the largest difference between two groups."""
    return equalized_odds_difference(y_test, predicted, sensitive_features=groups, agg="mean")


def shuffled_within_label(predicted, rng):
    """Predictions as accurate as before that know nothing of the group."""
    shuffled = predicted.copy()
    for label in np.unique(y_test):
        rows = np.flatnonzero(y_test == label)
        shuffled[rows] = predicted[rng.permutation(rows)]
    return shuffled


rng = np.random.default_rng(0)
draws = [shuffled_within_label(predictions["after"], rng) for _ in range(20)]
views = {"A": s_test["A"], "B": s_test["B"], "A x B": s_test}
gaps = pd.DataFrame(
    {
        **{s: {v: gap(p, g) for v, g in views.items()} for s, p in predictions.items()},
        "chance": {v: np.mean([gap(p, g) for p in draws]) for v, g in views.items()},
    }
)
print(gaps.round(3).to_string())

# %%
# What a probe still reads
# ------------------------
# Each attribute on its own and the crossed groups, within label. A linear probe suffices to show
# what the embedding holds; boosted trees look at the label block too. At ``chance`` a probe
# found nothing.

for stage, Z, probes in (
    ("before", X_test, ["linear"]),
    ("after", Z_test, ["linear", "boosting"]),
):
    leakage = group_leakage(Z, y_test, sensitive_features=s_test, probes=probes, random_state=0)
    columns = ["balanced_accuracy", "standard_error", "chance"]
    print(f"\n{stage}\n{leakage[columns].round(3).to_string()}")

# %%
# See
# ---

figure, ax = plt.subplots(figsize=(6.4, 2.9), layout="constrained")
for row, view in enumerate(gaps.index):
    for shift, stage, colour in ((-0.2, "before", "#BBBBBB"), (0.2, "after", "#333333")):
        value = gaps.loc[view, stage]
        ax.barh(row + shift, value, 0.36, color=colour, label=stage if row == 0 else None)
        ax.text(value, row + shift, f" {value:.2f}", va="center")
    chance = gaps.loc[view, "chance"]
    line = {"color": "#D55E00", "lw": 2, "label": "chance alone" if row == 0 else None}
    ax.plot([chance, chance], [row - 0.42, row + 0.42], **line)
ax.set_yticks(range(len(gaps)), ["attribute A", "attribute B", "A and B crossed"])
ax.set_xlabel("gap between groups (equalised odds, mean over labels)")
ax.invert_yaxis()
ax.margins(x=0.12)
ax.legend(frameon=False, loc="center right")
ax.spines[["top", "right"]].set_visible(False)
plt.show()

# %%
# What this does not show
# -----------------------
# Only the attributes given to ``fit`` are looked after. With more columns the crossed groups
# soon have few rows, or none, in some label: those without rows are named in a warning and nothing
# is done for them. The attributes here are independent of one another given the label; in people
# they rarely are.
