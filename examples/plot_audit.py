"""
Audit report: a page for those who decide
=========================================

:func:`~skfairlatent.report.audit` measures a fair pipeline against a model before mitigation,
group by group, and writes what it found on one page for people who will not read code. The data
here are made up and drawn anew each time, so the example needs no file. Audits of
:doc:`a table <audit_adult>` and of :doc:`faces <audit_faces>` are made the same way.
"""

# %%
# Data
# ----
# Embeddings that carry a decision and two attributes that go together with it. Half of the rows
# are kept from both models: an audit on rows that a model was trained on flatters it.

# sphinx_gallery_thumbnail_path = "_static/thumbnails/audit.png"
import sys

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from skfairlatent import FairLatentTransformer
from skfairlatent.datasets import make_biased_embeddings
from skfairlatent.report import audit

drawn = make_biased_embeddings(4000, 24, n_groups=(2, 3), correlation=0.5, random_state=0)
X = drawn.data
y = pd.Series(np.array(["denied", "granted"])[drawn.target], name="loan")
groups = pd.DataFrame(
    {
        "sex": np.array(["female", "male"])[drawn.sensitive_features["group_0"]],
        "region": np.array(["north", "centre", "south"])[drawn.sensitive_features["group_1"]],
    }
)
train, test = slice(0, 2000), slice(2000, None)
print(pd.crosstab([groups["sex"], groups["region"]], y, normalize="index").round(2))

# %%
# Models
# ------

before = make_pipeline(StandardScaler(), LogisticRegression()).fit(X[train], y[train])
after = Pipeline([("fair", FairLatentTransformer(random_state=0)), ("clf", LogisticRegression())])
after.fit(X[train], y[train], fair__sensitive_features=groups[train])

# %%
# Audit
# -----
# Without a `baseline`, the classifier would be trained anew on the audited rows, in folds, to
# stand in for one; the page would say so.

report = audit(
    after, X[test], y[test], sensitive_features=groups[test], baseline=before, random_state=0
)
print(report)

# %%
# The numbers
# -----------
# Everything on the page is a table first. Intervals are percentiles of bootstrap draws of the
# rows; before and after are drawn together, so that their change has an interval of its own.

print(report.differences.drop(columns="note").round(2).to_string())

# %%
# The rates of each group, as fairlearn's ``MetricFrame`` has them:

print(report.by_group["after"].unstack("metric").round(2).to_string())

# %%
# How many decisions change when only what tells a group is edited. After mitigation none can, as
# the classifier does not see what is edited: that is not a measurement, and the page says so. For
# images, decisions are also taken on the decoded edit, which is one.

print(report.affected[["rows", "reached", "length", "changed", "share"]].round(3).to_string())

# %%
# The page
# --------
# One file, without scripts and without anything from the network: it can be sent, printed and
# kept.
# ``report.save("audit.json")`` writes the same numbers for machines.

if len(sys.argv) > 1:
    report.save(sys.argv[1])  # such as audit.html
report

# %%
# What this does not show
# -----------------------
# Read the limits at the end of the page first. Made-up data are kind: their label holds no
# unfair judgement, and the groups are as recorded.
