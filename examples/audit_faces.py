"""
Audit report of face images
===========================

The audit of a pipeline from pictures to decisions, with the diffusion autoencoder that ships
with the package: *Attractive* predicted, gender sensitive; the remarks on that label in
:doc:`celeba_embeddings` hold here too. Rates and shares are measured on the faces of CelebA's
valid split. **The faces shown are nobody's**: they are sampled from the model.

Run it with the folder that holds ``celeba64/`` and the page to write::

    python examples/audit_faces.py --data path/to/data --page docs/_static/audit_faces.html

Encoding 42,000 faces takes minutes on two cores, and so does decoding: it is not among the
examples that run with the documentation. A second run finds the codes in the folder ``codes``.
`The page it wrote <../_static/audit_faces.html>`__ holds counts, rates, probabilities and faces of
nobody; no face of the data.
"""

# %%
# Data
# ----

# sphinx_gallery_thumbnail_path = "_static/thumbnails/audit_faces.png"
import argparse
import os
from pathlib import Path

import sklearn
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline

from skfairlatent import FairLatentTransformer
from skfairlatent.datasets import load_image_folder
from skfairlatent.encoders import DiffAEEncoder
from skfairlatent.report import audit

parser = argparse.ArgumentParser(description="Audit of a face pipeline.")
root = os.environ.get("SKFAIRLATENT_DATA")
parser.add_argument("--data", default=root, required=not root, help="folder with celeba64/")
parser.add_argument("--page", type=Path, default=Path("audit_faces.html"), help="file to write")
parser.add_argument("--codes", default="codes", help="folder that keeps the codes of images")
parser.add_argument("--max-images", type=int, help="faces of each split, all by default")
parser.add_argument("--n-decoded", type=int, default=64, help="faces to decide on once decoded")
parser.add_argument("--n-sampled", type=int, default=64, help="faces drawn, to show some of")
parser.add_argument("--target-probability", type=float, default=0.98, help="of the other group")
parser.add_argument("--components", type=int, default=128, help="directions of the codes kept")
parser.add_argument("--noise", default="inverted", choices=["inverted", "zero"], help="see audit")
given = parser.parse_args()


def load(split):
    """Images, label and sensitive attribute of a split."""
    faces = load_image_folder(
        Path(given.data, "celeba64"), split=split, max_images=given.max_images, random_state=0
    )
    gender = faces.frame["Male"].map({0: "female", 1: "male"}).rename("gender")
    label = faces.frame["Attractive"].map({0: "no", 1: "yes"}).rename("attractive")
    return faces.images, label, gender


X_train, y_train, s_train = load("train")
X_valid, y_valid, s_valid = load("valid")
print(f"{len(X_train)} faces to fit, {len(X_valid)} to audit")

# %%
# Models
# ------
# Both models are given the strongest directions of the codes only. The weak ones are lost in
# decoding, and edits along them change no face.

sklearn.set_config(enable_metadata_routing=True)
# Edits of codes that were learnt without labels show in images.
encoder = DiffAEEncoder("faces64_unsupervised", cache_dir=given.codes, verbose=True)
strong = PCA(given.components, whiten=True, svd_solver="covariance_eigh", random_state=0)
before = Pipeline(
    [("encode", encoder), ("strong", strong), ("clf", LogisticRegression(max_iter=3000))]
)
before.fit(X_train, y_train)
after = Pipeline(
    [
        ("encode", encoder),
        ("strong", clone(strong)),
        ("fair", FairLatentTransformer(None, random_state=0)),
        ("clf", LogisticRegression()),
    ]
)
after.fit(X_train, y_train, sensitive_features=s_train)

# %%
# Audit
# -----
# Those of the sampled faces are shown whose decision depends most on what tells the gender. Edits
# go well beyond where the groups meet, so that they are seen.

report = audit(
    after,
    X_valid,
    y_valid,
    sensitive_features=s_valid,
    baseline=before,
    examples=encoder.sample(given.n_sampled, temperature=0.85),
    n_decoded=given.n_decoded,
    target_probability=given.target_probability,
    noise=given.noise,
    title="Audit: attractive or not, by gender (CelebA, sampled faces shown)",
    random_state=0,
)
print(report)
report.save(given.page)
print(f"{given.page}: {given.page.stat().st_size / 1000:.0f} kB")

# %%
# What this does not show
# -----------------------
# The limits are on the page. Both label and gender are annotators' guesses of two values each. The
# encoder was trained on the train split, for minutes: sampled faces are soft, and an edit that
# decoding loses changes no decision.
