"""
What does a decision rest on?
=============================

A face is edited in its latent and decoded again: along the label, to see *why* a decision was
made, and along the sensitive attribute, to see *whether it was fair*. The faces show no real
person: their embeddings are drawn from the encoder that ships with the package. An official
checkpoint for images of 256 pixels takes its place by one argument.

To keep the second figure, name a file: ``python examples/plot_counterfactuals.py genders.png``.
"""

# %%
# Embeddings of faces, a label, a sensitive attribute
# ---------------------------------------------------
# sphinx_gallery_thumbnail_path = "_static/counterfactuals.png"
import sys

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from skfairlatent import FairLatentTransformer
from skfairlatent.counterfactuals import CounterfactualExplainer
from skfairlatent.encoders import DiffAEEncoder, make_faces

faces = make_faces(6000)
X, y = faces.data, faces.frame["Attractive"]
s = faces.frame["Male"].map({0: "female", 1: "male"}).rename("gender")
X_train, y_train, s_train = X[:4000], y[:4000], s[:4000]
X_test = X[4000:]

# %%
# Two classifiers: on the raw embedding, and behind the transformer
# -----------------------------------------------------------------
# The training is short, so that the example stays quick: leave out ``max_iter`` on real data.
encoder = DiffAEEncoder()
raw = Pipeline([("scale", StandardScaler()), ("clf", LogisticRegression(max_iter=500))])
raw.fit(X_train, y_train)
fair = Pipeline(
    [
        ("fair", FairLatentTransformer(encoder, max_iter=30, random_state=0)),
        ("clf", LogisticRegression()),
    ]
)
fair.fit(X_train, y_train, fair__sensitive_features=s_train)

explainers = {
    name: CounterfactualExplainer(model, encoder=encoder).fit(
        X_train, y_train, sensitive_features=s_train
    )
    for name, model in (("raw", raw), ("fair", fair))
}

# %%
# Why: edits of the label
# -----------------------
# Each row is one face, edited in the label block along the unit normal of the classifier; the
# sensitive block stays. The decoder starts from zero noise, so that everything seen comes from the
# embedding, without corrections, which exaggerate colours in this case. For real images, their own
# noise is found and kept. These are three of the better faces among those drawn. Upward edits
# smooth faces, make them smile and lighten their skin: these go with the label in CelebA, and only
# gender was to be left out.
shown = [8, 17, 31]
noise = np.zeros((len(shown), 64, 64, 3))
labels = explainers["fair"].explain_label(X_test[shown], strengths=[-4, 4])
labels.decode(x_T=noise, n_corrections=0).plot(label_name="Attractive")
plt.show()

# %%
# Whether it was fair: edits of the gender
# ----------------------------------------
# The gender changes in the picture; the decision of the fair pipeline stays.
genders = explainers["fair"].explain_sensitive(X_test[shown], strengths=[-8, -4, 4, 8])
display = genders.decode(x_T=noise, n_corrections=0).plot(label_name="Attractive")
if len(sys.argv) > 1:
    display.figure_.savefig(sys.argv[1], dpi=75)
plt.show()

# %%
# The smallest edit that flips each decision is exact for a linear classifier, and takes
# milliseconds for thousands of rows. As a table, one row an edit:
flips = explainers["fair"].explain_label(X_test)
print(flips.to_frame()[["strength", "prediction_before", "prediction", "changed"]].head())

# %%
# How many decisions hang on gender
# ---------------------------------
# Each latent is moved until a probe assigns it to the other gender. On the raw latent this
# changes many decisions. On the fair latent it changes none, because the classifier never sees the
# block that is edited. What the edited *image* shows is another question, answered by encoding it
# again (``decode().reencode()``); the results page does so on real faces.
shares = {
    name: explainer.explain_sensitive(X_test, target_probability=0.9).changed.mean()
    for name, explainer in explainers.items()
}
print(pd.Series(shares, name="decisions changed").round(3))
