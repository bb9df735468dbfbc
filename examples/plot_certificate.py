"""
Certificates: what no classifier can do
=======================================

Whoever hands out a representation does not know what will be trained on it. With ``n_bins`` the
label block is cut into cells, and :func:`~skfairlatent.certification.certify` bounds, with a
confidence, the gap between the groups that *any* classifier on these cells can have.
"""

# %%
# Three parts of the rows
# -----------------------
# One to fit on, one to certify on, and here a third one, on which classifiers try to break the
# certificate.

import itertools

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from skfairlatent import FairLatentTransformer
from skfairlatent.certification import certify, required_rows
from skfairlatent.datasets import make_biased_embeddings
from skfairlatent.metrics import equalized_odds_difference

data = make_biased_embeddings(18_000, n_features=16, random_state=0)
X, y, s = (np.split(each, 3) for each in (data.data, data.target, data.sensitive_features))
FIT, CERTIFY, ATTACK = range(3)

# %%
# How many rows does a bound need? The shares of the labels and groups decide.

shares = pd.crosstab(y[FIT], s[FIT])
for bound in (0.2, 0.1, 0.05):
    print(f"bound {bound}: {required_rows(bound, n_bins=4, group_shares=shares):,} rows")

# %%
# The certificate
# ---------------
# The network is small to make the example fast.

fair = FairLatentTransformer(n_bins=4, n_blocks=2, hidden_features=64, max_iter=20, random_state=0)
Z = fair.fit_transform(X[FIT], y[FIT], sensitive_features=s[FIT])
certificate = certify(
    fair,
    X[CERTIFY],
    y[CERTIFY],
    sensitive_features=s[CERTIFY],
    probe_rows=(X[FIT], y[FIT], s[FIT]),
)
print(certificate)
for sentence in certificate.advice():
    print("-", sentence)

certificate.plot()
plt.show()

# %%
# What it costs
# -------------
# A classifier on four cells against one on the embedding:

scale = StandardScaler().fit(X[FIT])
models = {
    "embedding": (LogisticRegression(), scale.transform),
    "four cells": (LogisticRegression(), fair.transform),
}
for name, (model, see) in models.items():
    accuracy = model.fit(see(X[FIT]), y[FIT]).score(see(X[ATTACK]), y[ATTACK])
    found = certify(model, see(X[CERTIFY]), y[CERTIFY], sensitive_features=s[CERTIFY])
    print(f"{name}: accuracy {accuracy:.3f}, gap of its score at most {found.bound:.3f}")

# %%
# Attacks
# -------
# Trees that are trained to tell the groups apart, whatever the label: on the embedding they do so,
# on the cells they cannot. The last attack is the worst of all tables from cells to decisions,
# chosen with the rows in hand on which it is measured.


def gap(decisions):
    return equalized_odds_difference(
        y[ATTACK], decisions, sensitive_features=s[ATTACK], agg="mean"
    )


for name, see in (("embedding", scale.transform), ("four cells", fair.transform)):
    trees = HistGradientBoostingClassifier(max_iter=50, random_state=0).fit(see(X[FIT]), s[FIT])
    print(f"trees on the {name}: {gap(trees.predict(see(X[ATTACK]))):.3f}")

cells = fair.bins_.assign(fair.latent(X[ATTACK]))
tables = [np.array(table) for table in itertools.product((0, 1), repeat=4) if 0 < sum(table) < 4]
print(f"worst table: {max(gap(table[cells]) for table in tables):.3f}")
print(f"certified: {certificate.bound:.3f}")
