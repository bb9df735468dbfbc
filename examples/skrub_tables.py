"""
Raw tables: skrub in front of the transformer
=============================================

Charges as clerks typed them, dates and numbers with gaps become numbers by the ``TableVectorizer``
of skrub, without a word about columns; the fair latent and a classifier follow in one pipeline.

The table is COMPAS, as ProPublica published it: people arrested in a county of Florida in 2013 and
2014. The label is whether they were charged with another crime within two years, and the sensitive
attribute is race.

It needs ``pip install skrub matplotlib`` and ``compas-two-years.csv``, read from the folder
``tabular`` of ``$SKFAIRLATENT_DATA``, or from a folder named on the command line:
``compas-scores-two-years.csv`` of https://github.com/propublica/compas-analysis by that name.
"""

# %%
# Data
# ----
# What was known on the day of the assessment: names are left out, and so are the scores of COMPAS
# and all that happened afterwards. Of people assessed since April 2014 the table has only those
# who were charged again (Barenstein 2019, arXiv:1906.04711): there the date would tell the label,
# and they are left out as well.

# sphinx_gallery_thumbnail_path = "_static/thumbnails/skrub_tables.png"
import os
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import sklearn
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skrub import StringEncoder, TableVectorizer

from skfairlatent import FairLatentTransformer
from skfairlatent.diagnostics import group_leakage
from skfairlatent.metrics import equalized_odds_difference

KNOWN = [
    *("sex", "age", "juv_fel_count", "juv_misd_count", "juv_other_count", "priors_count"),
    *("c_charge_degree", "c_charge_desc", "c_offense_date", "compas_screening_date"),
]

folder = Path(
    sys.argv[1] if len(sys.argv) > 1 else Path(os.environ["SKFAIRLATENT_DATA"], "tabular")
)
people = pd.read_csv(folder / "compas-two-years.csv")
people = people[people["race"].isin(["African-American", "Caucasian"])]
people = people[people["compas_screening_date"] < "2014-04-01"]
table, reoffends, race = people[KNOWN], people["two_year_recid"], people["race"]
X_train, X_test, y_train, y_test, s_train, s_test = train_test_split(
    table, reoffends, race, test_size=0.5, random_state=0, stratify=reoffends.astype(str) + race
)
print(table.dtypes)
print(f"\n{table['c_charge_desc'].nunique()} charges, among them:")
print(table["c_charge_desc"].value_counts()[::40])

# %%
# From a raw table to numbers
# ---------------------------
# ``StringEncoder`` describes a charge by what its letters have in common with others:
# "Burglary Unoccupied Dwelling" lies near "Burglary Dwelling Occupied". It needs no download.
# For free text, ``skrub.TextEncoder(folder_or_name)`` takes its place and reads sentences by a
# language model of sentence-transformers, which it downloads unless it is given a folder;
# it was not run here.

sklearn.set_config(enable_metadata_routing=True)


def vectorizer():
    charges = StringEncoder(n_components=20, random_state=0)
    return make_pipeline(
        TableVectorizer(high_cardinality=charges), SimpleImputer(), StandardScaler()
    )


raw = vectorizer().fit(X_train)
numbers = raw.get_feature_names_out()
print(f"{len(numbers)} numbers from {table.shape[1]} columns, such as {', '.join(numbers[:8])}")

# %%
# Before and after
# ----------------

front = make_pipeline(vectorizer(), FairLatentTransformer(random_state=0))
Z_train = front.fit_transform(X_train, y_train, sensitive_features=s_train)
Z_test = front.transform(X_test)
stages = {
    "table": (raw.transform(X_train), raw.transform(X_test)),
    "label block": (Z_train, Z_test),
}
classifiers = {
    "LogisticRegression": LogisticRegression(max_iter=5000),
    "HistGradientBoosting": HistGradientBoostingClassifier(random_state=0),
}
rows = []
for stage, (train, test) in stages.items():
    for name, classifier in classifiers.items():
        predicted = classifier.fit(train, y_train).predict(test)
        gap = equalized_odds_difference(y_test, predicted, sensitive_features=s_test, agg="mean")
        rows.append((stage, name, accuracy_score(y_test, predicted), gap))
columns = ["features", "classifier", "accuracy", "equalized odds gap"]
results = pd.DataFrame(rows, columns=columns)
print(results.round(3).to_string(index=False))

figure, ax = plt.subplots(figsize=(4, 3), layout="constrained")
for name, both in results.groupby("classifier"):
    ax.plot("equalized odds gap", "accuracy", "o-", data=both, label=name)
    for _, row in both.iterrows():
        place = row["equalized odds gap"], row["accuracy"]
        ax.annotate(row["features"], place, (5, 5), textcoords="offset points", fontsize="small")
ax.set(xlabel="equalized odds gap", ylabel="accuracy")
ax.margins(0.25)
ax.legend(fontsize="small")

# %%
# How well race can be guessed among people of the same label:

for stage, (_, test) in stages.items():
    leak = group_leakage(np.asarray(test), y_test, sensitive_features=s_test, random_state=0)
    print(f"\n{stage}\n{leak[['balanced_accuracy', 'standard_error', 'chance']].round(3)}")

# %%
# What this does not show
# -----------------------
# The label is a new charge, not a crime: where some people are policed more, they are charged
# more, and equal odds on that label leave it so. A single split of some 5,000 people is shown,
# whose gaps have a standard error of about 0.02. Whether anybody's freedom should depend on such a
# prediction is not a question of its equalized odds.
