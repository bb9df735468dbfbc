"""
Displays: what to look at, and what it says
===========================================

Five displays, in the style of scikit-learn's: training curves, correlations of the latent, scores
by group, accuracy against fairness of a search, and counterfactuals. Each is one call, takes
``ax=`` to be drawn into a figure of yours, and keeps what it drew on in ``ax_`` or ``axes_`` and
``figure_``.

It runs offline, in under a minute on two cores.
"""

# %%
# Data
# ----
# Drawn faces, which smile or do not: the label. They stand before a blue or an
# orange background: the group. Three quarters of one group smile, and a quarter of the other. A
# PCA of the pixels is the encoder, because it can decode.

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import sklearn
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline, make_pipeline

from skfairlatent import FairLatentTransformer
from skfairlatent.counterfactuals import CounterfactualExplainer
from skfairlatent.encoders import PixelFlattener
from skfairlatent.inspection import (
    CounterfactualDisplay,
    FairnessAccuracyDisplay,
    GroupScoresDisplay,
    LatentCovarianceDisplay,
    TrainingCurvesDisplay,
)
from skfairlatent.metrics import fairness_scorers
from skfairlatent.selection import MostAccurateWithin, group_stratified_folds

SIZE, N_TRAIN, N_TEST = 24, 2000, 2000
rng = np.random.default_rng(0)


def draw_faces(smiles, groups):
    """Draw faces of shape (n, SIZE, SIZE, 3), uint8."""
    vary = lambda mean, scale: rng.normal(mean, scale, (len(smiles), 1, 1))  # noqa: E731
    rows, columns = np.mgrid[-1 : 1 : SIZE * 1j, -1 : 1 : SIZE * 1j][:, np.newaxis]
    x, y = columns - vary(0, 0.03), rows - vary(0, 0.03)
    bend = np.where(smiles, 0.8, -0.8)[:, np.newaxis, np.newaxis] + vary(0, 0.7)
    mouth = np.hypot(y - 0.38 + bend * (x**2 - 0.06), np.maximum(np.abs(x) - 0.36, 0)) - 0.07
    eyes = np.hypot(np.abs(x) - 0.26, y + 0.15) - 0.09
    head = np.hypot(x, y) - 0.8
    image = np.array([[0.3, 0.5, 0.8], [0.85, 0.5, 0.3]])[groups][:, np.newaxis, np.newaxis]
    image = image * vary(1, 0.1)[..., np.newaxis]
    yellow, red = np.array([0.95, 0.85, 0.35]), np.array([0.65, 0.15, 0.2])
    for distance, colour in ((head, yellow), (eyes, 0.12), (mouth, red)):
        mask = 1 / (1 + np.exp(distance / 0.04))[..., np.newaxis]
        image = (1 - mask) * image + mask * colour
    return (255 * (image + rng.normal(0, 0.1, image.shape)).clip(0, 1)).astype(np.uint8)


group = rng.integers(2, size=N_TRAIN + N_TEST)
smiles = (rng.random(len(group)) < np.where(group, 0.75, 0.25)).astype(int)
faces = draw_faces(smiles, group)
background = pd.Series(np.where(group, "orange", "blue"), name="background")
X, X_test = faces[:N_TRAIN], faces[N_TRAIN:]
y, y_test = smiles[:N_TRAIN], smiles[N_TRAIN:]
s, s_test = background[:N_TRAIN], background[N_TRAIN:]
encoder = make_pipeline(PixelFlattener(), PCA(24, whiten=True, random_state=0)).fit(X)

# %%
# Training curves
# ---------------
# Each term of the loss has a panel and a scale of its own. What to look for: whether the sum has
# levelled off, and whether a term was given up for the sake of another, which the weights of the
# sum decide. The network is small and its training short, so that this page is built in seconds.

sklearn.set_config(enable_metadata_routing=True)
fair = FairLatentTransformer(
    encoder, hidden_features=64, max_iter=30, batch_size=256, random_state=0
)
pipe = Pipeline([("fair", fair), ("clf", LogisticRegression())]).fit(X, y, sensitive_features=s)
TrainingCurvesDisplay.from_estimator(pipe["fair"])
plt.show()

# %%
# Correlations of the latent
# --------------------------
# The two rows on top belong to the label block, against all others. On rows as they come, label
# and group go together, and so do the blocks; what was trained on is batches in which
# every (label, group) cell is equally frequent.

LatentCovarianceDisplay.from_estimator(pipe["fair"], X_test)
plt.show()

# %%
# Scores by group
# ---------------
# Within a panel all rows have the same label. A classifier on the embedding gives other scores to
# one group than to the other, and errs more often to its disadvantage:

raw = make_pipeline(encoder, LogisticRegression(max_iter=1000)).fit(X, y)
GroupScoresDisplay.from_estimator(raw, X_test, y_test, sensitive_features=s_test)
plt.show()

# %%
# and the same on the label block:

GroupScoresDisplay.from_estimator(pipe, X_test, y_test, sensitive_features=s_test)
plt.show()

# %%
# Accuracy against fairness of a search
# -------------------------------------
# The line shows the best accuracy at hand for each bound on the gap. Where the bars of two
# candidates overlap, the folds do not tell them apart. The faces are encoded once, before the
# search.

embeddings = encoder.transform(X)
search = GridSearchCV(
    clone(pipe).set_params(fair__max_iter=20),
    {"fair__lambda_di": [0.0, 0.03, 0.1, 1.0]},
    scoring=fairness_scorers(),
    refit=MostAccurateWithin(0.1),
    cv=group_stratified_folds(y, s, n_splits=2, random_state=0),
).fit(embeddings, y, sensitive_features=s)
FairnessAccuracyDisplay.from_search(search)
plt.show()

# %%
# Counterfactuals
# ---------------
# The smallest edit of the label block that changes the decision shows what the decision rests
# on. Under each face is what the model reads of it. A ◆, bold type and a frame mark a changed
# decision.

explainer = CounterfactualExplainer(pipe).fit(X, y, sensitive_features=s)
rows = [0, 1, 2]
CounterfactualDisplay.from_estimator(
    explainer, X_test, strengths=[-2, -1, 1, 2], rows=rows, label_name="smiling"
)
plt.show()

# %%
# An edit of the sensitive block shows whether the decision rests on the group. The classifier does
# not see that block, so the images are encoded again: what is written below them is what the
# model decides on the edited image.

edited = explainer.explain_sensitive(X_test[rows], "background", strengths=[-3, 3])
edited.decode().reencode().plot(label_name="smiling")
plt.show()

# %%
# Where nothing can be decoded, the probabilities are drawn alone.

result = explainer.explain_label(X_test, target_probability=0.9)
result.plot(rows=slice(0, 8), label_name="smiling")
plt.show()

# %%
# What this does not show
# -----------------------
# Displays show, they do not test: a small gap or correlation may be noise, which depends on the
# number of rows. The faces are drawn, their encoder is a PCA, and the network is small and
# shortly trained. The probabilities under an edited face are those of the edited latent, unless it
# was encoded again.
