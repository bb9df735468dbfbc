"""
Quickstart: before against after
================================

Synthetic embeddings hold a label and a group that is correlated with it. Whoever trains a
classifier on them gets one that leans on the group. Here it is trained on the label block of a
:class:`~skfairlatent.FairLatentTransformer` instead, and fairlearn compares the two.

It runs offline, in under a minute on two cores. To keep the figure, name a file:
``python examples/plot_quickstart.py quickstart.png``.
"""

# %%
# Data
# ----
# Label and group are known here, because we draw them; ``sensitive_features`` says which group
# each row belongs to.

# sphinx_gallery_thumbnail_path = "_static/quickstart.png"
import sys

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from fairlearn.metrics import (
    MetricFrame,
    false_positive_rate,
    selection_rate,
    true_positive_rate,
)
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score
from sklearn.model_selection import train_test_split

from skfairlatent import FairLatentTransformer
from skfairlatent.datasets import make_biased_embeddings
from skfairlatent.metrics import equalized_odds_difference

data = make_biased_embeddings(10_000, random_state=0)
X_train, X_test, y_train, y_test, s_train, s_test = train_test_split(
    data.data, data.target, data.sensitive_features, test_size=0.4, random_state=0
)

# %%
# Fit
# ---
# The group is given to ``fit`` and never again: a prediction for a new row needs the row only.

fair = FairLatentTransformer(random_state=0)
Z_train = fair.fit_transform(X_train, y_train, sensitive_features=s_train)
Z_test = fair.transform(X_test)

# %%
# The latent is not made for one classifier. Train whatever comes next: here a linear model, and
# boosted trees, which would find a trace of the group that a linear model overlooks. With a
# classifier behind it in a ``Pipeline``, the two are fitted in one call.

trees = HistGradientBoostingClassifier(random_state=0)
predictions = {
    "LogisticRegression": {
        "before": LogisticRegression(max_iter=1000).fit(X_train, y_train).predict(X_test),
        "after": LogisticRegression().fit(Z_train, y_train).predict(Z_test),
    },
    "HistGradientBoosting": {
        "before": trees.fit(X_train, y_train).predict(X_test),
        "after": trees.fit(Z_train, y_train).predict(Z_test),
    },
}

# %%
# Judge
# -----
# The last row of each table is the gap between the groups. Equalised odds asks that the gaps of
# the true and of the false positive rate be small. Selection rates differ also for a perfect
# classifier here, because the label is more frequent in one group.

METRICS = {
    "accuracy": accuracy_score,
    "true pos. rate": true_positive_rate,
    "false pos. rate": false_positive_rate,
    "selection rate": selection_rate,
}


def by_group(predicted):
    """Every metric overall, in each group, and the gap between the groups."""
    frame = MetricFrame(
        metrics=METRICS, y_true=y_test, y_pred=predicted, sensitive_features=s_test
    )
    rows = {"overall": frame.overall}
    rows |= {f"group {name}": row for name, row in frame.by_group.iterrows()}
    return pd.DataFrame(rows | {"gap": frame.difference()}).T.astype(float)


for name, stages in predictions.items():
    tables = {stage: by_group(predicted) for stage, predicted in stages.items()}
    table = pd.concat(tables, axis=1).swaplevel(axis=1)
    print(f"\n{name}\n{table[list(METRICS)].round(3).to_string()}")

# %%
# See
# ---
# Left and middle: how test rows look to a probe that guesses the label and to one that guesses
# the group, both boosted trees. Right: what that means for the two classifiers.

GROUP_COLOURS = {0: "#0072B2", 1: "#E69F00"}
STAGE_COLOURS = {"before": "#BBBBBB", "after": "#333333"}


def probe_scores(train, test):
    """Log-odds of the label and of the group; every (label, group) cell weighs the same."""
    cells = 2 * y_train + s_train.to_numpy()
    weights = 1 / np.bincount(cells)[cells]
    probe = HistGradientBoostingClassifier(max_iter=60, learning_rate=0.05, random_state=0)
    return [
        probe.fit(train, target, sample_weight=weights).decision_function(test)
        for target in (y_train, s_train)
    ]


figure, (left, middle, right) = plt.subplots(
    1, 3, figsize=(11, 3.6), width_ratios=(1, 1, 1.1), layout="constrained"
)
spaces = {"Embedding": (X_train, X_test), "Label block of the latent": (Z_train, Z_test)}
scores = {title: probe_scores(*rows) for title, rows in spaces.items()}
limit = 1.05 * max(np.abs(score).max() for pair in scores.values() for score in pair)
for ax, (title, (label_score, group_score)) in zip((left, middle), scores.items(), strict=True):
    for group, colour in GROUP_COLOURS.items():
        rows = np.flatnonzero(s_test == group)[:700]
        dots = {"s": 7, "color": colour, "alpha": 0.45, "linewidths": 0}
        ax.scatter(label_score[rows], group_score[rows], **dots)
        ax.scatter([], [], s=30, color=colour, label=f"group {group}")
    ax.set(title=title, xlabel="label, as a probe reads it →", xticks=[], yticks=[])
    ax.set(xlim=(-limit, limit), ylim=(-limit, limit))
left.set_ylabel("group, as a probe reads it →")
middle.legend(loc="upper left", frameon=False, handletextpad=0.2)

for row, stages in enumerate(predictions.values()):
    for shift, (stage, predicted) in zip((-0.2, 0.2), stages.items(), strict=True):
        gap = equalized_odds_difference(y_test, predicted, sensitive_features=s_test, agg="mean")
        accuracy = accuracy_score(y_test, predicted)
        right.barh(row + shift, gap, 0.36, color=STAGE_COLOURS[stage])
        text = f" {stage}: {gap:.2f}, accuracy {accuracy:.2f}"
        right.text(gap, row + shift, text, va="center", fontsize=9)
right.set_yticks(range(len(predictions)), ["Logistic\nregression", "Boosted\ntrees"])
right.set(title="Gap between the groups (equalised odds)", xlim=(0, 0.85), xticks=[])
right.invert_yaxis()
right.spines[["top", "right", "bottom"]].set_visible(False)

if len(sys.argv) > 1:
    figure.savefig(sys.argv[1], dpi=150)
plt.show()

# %%
# What this does not show
# -----------------------
# The data is synthetic, and its label does not depend on the group once the label's own factor is
# known. Real labels may, and then equal odds cost more accuracy, or the labels themselves are
# unfair. One draw and one split are shown, so small differences are noise. The groups are the two
# that were given to ``fit``; nothing is said about any other. The gap is smaller, not zero.
