"""
Your own generative model: a VAE, and PCA
=========================================

:class:`~skfairlatent.FairLatentTransformer` takes images as well as embeddings: whatever has
``transform`` can be its encoder, and if it also has ``inverse_transform``, latents become images
again. Here are two such encoders, a variational autoencoder trained in plain PyTorch and a PCA of
the pixels, on drawn faces.

It runs offline, in half a minute. To keep the figure, name a file:
``python examples/plot_encoders.py encoders.png``.
"""

# %%
# Data
# ----
# Each face smiles or does not: the label. It stands before a background whose hue and brightness
# tell the group, and three quarters of one group smile, but a quarter of the other.
# Place, size, skin and the strength of the smile vary too.

import sys

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn
from torch.nn import functional as F

from skfairlatent import FairLatentTransformer
from skfairlatent.encoders import PixelFlattener, TorchEncoder
from skfairlatent.metrics import equalized_odds_difference

SIZE, N_TRAIN, N_TEST, WIDTH = 32, 2000, 1000, 32
BACKGROUNDS = np.array([[0.25, 0.40, 0.70], [0.85, 0.65, 0.35]])  # of the two groups


def draw_faces(smiles, groups, rng):
    """Draw faces of shape (n, SIZE, SIZE, 3), uint8."""
    n = len(smiles)
    vary = lambda scale: rng.normal(scale=scale, size=(n, 1, 1))  # noqa: E731
    rows, columns = np.mgrid[-1 : 1 : SIZE * 1j, -1 : 1 : SIZE * 1j][:, np.newaxis]
    x, y = columns - vary(0.06), rows - vary(0.06)
    scale = np.exp(vary(0.06))
    x, y = x / scale, y / scale
    inside = lambda distance, width=0.06: 1 / (1 + np.exp(distance / width))  # noqa: E731

    light = 1 + vary(0.15)
    image = BACKGROUNDS[groups][:, np.newaxis, np.newaxis] + rng.normal(0, 0.05, (n, 1, 1, 3))
    image = image * (light * (1.1 - 0.25 * (rows + 1)))[..., np.newaxis]
    skin = np.array([0.90, 0.72, 0.58]) * np.exp(rng.normal(-0.25, 0.2, (n, 1, 1, 1)))
    bend = np.where(smiles, 0.9, -0.7)[:, np.newaxis, np.newaxis] + vary(0.8)
    mouth = np.hypot(y - 0.38 + bend * (x**2 - 0.06), np.maximum(np.abs(x) - 0.36, 0)) - 0.07
    eyes = np.hypot(np.abs(x) - 0.26, y + 0.15) - 0.09
    head = np.hypot(x / 0.66, y / 0.84) - 1
    for distance, colour in ((head, skin), (eyes, 0.12), (mouth, np.array([0.65, 0.15, 0.2]))):
        mask = inside(distance, 0.03)[..., np.newaxis]
        image = (1 - mask) * image + mask * colour
    image = image + rng.normal(0, 0.015, image.shape)
    return (255 * image.clip(0, 1)).round().astype(np.uint8)


rng = np.random.default_rng(0)
group = rng.integers(2, size=N_TRAIN + N_TEST)
label = (rng.random(len(group)) < np.where(group, 0.75, 0.25)).astype(int)
faces = draw_faces(label, group, rng)
X_train, X_test = faces[:N_TRAIN], faces[N_TRAIN:]
y_train, y_test = label[:N_TRAIN], label[N_TRAIN:]
s_train, s_test = group[:N_TRAIN], group[N_TRAIN:]

# %%
# A VAE
# -----
# Nothing here is special to this package; take your own, trained elsewhere. The weight between
# reconstruction and prior is not set by hand: the squared error enters by its logarithm, which is
# the likelihood under the best single variance.


class VAE(nn.Module):
    """A small convolutional variational autoencoder of 32 x 32 images in [-1, 1]."""

    def __init__(self, width=WIDTH, channels=12):
        super().__init__()
        c = channels
        active = lambda n: (nn.BatchNorm2d(n), nn.SiLU())  # noqa: E731
        self.encoder = nn.Sequential(
            nn.Conv2d(3, c, 4, 2, 1), *active(c),
            nn.Conv2d(c, 2 * c, 4, 2, 1), *active(2 * c),
            nn.Conv2d(2 * c, 4 * c, 4, 2, 1), *active(4 * c),
            nn.Flatten(), nn.Linear(64 * c, 2 * width),
        )  # fmt: skip
        self.decoder = nn.Sequential(
            nn.Linear(width, 64 * c), nn.Unflatten(1, (4 * c, 4, 4)), *active(4 * c),
            nn.ConvTranspose2d(4 * c, 2 * c, 4, 2, 1), *active(2 * c),
            nn.ConvTranspose2d(2 * c, c, 4, 2, 1), *active(c),
            nn.ConvTranspose2d(c, 3, 4, 2, 1), nn.Tanh(),
        )  # fmt: skip

    def encode(self, images):
        """Mean and log-variance of the code of each image."""
        return self.encoder(images).chunk(2, dim=1)

    def loss(self, images):
        """Negative evidence lower bound, in nats per pixel, up to a constant."""
        mean, log_variance = self.encode(images)
        code = mean + torch.randn_like(mean) * (log_variance / 2).exp()
        fit = images[0].numel() / 2 * F.mse_loss(self.decoder(code), images).log()
        prior = (mean.square() + log_variance.exp() - 1 - log_variance).sum(dim=1).mean() / 2
        return (fit + prior) / images[0].numel()


def train(model, images, n_epochs=8, batch_size=32):
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, n_epochs)
    tensor = torch.from_numpy(images).permute(0, 3, 1, 2) / 127.5 - 1
    for _ in range(n_epochs):
        for batch in tensor[torch.randperm(len(tensor))].split(batch_size):
            optimizer.zero_grad()
            model.loss(batch).backward()
            optimizer.step()
        schedule.step()
    return model


torch.manual_seed(0)
vae = train(VAE(), X_train)

# %%
# Two encoders
# ------------
# The embedding of the VAE is the mean: encoding should not draw at random. The PCA is a
# scikit-learn pipeline, and is trained before it is given to the transformer, like any encoder.

encoders = {
    "VAE": TorchEncoder(lambda x: vae.encode(x)[0], vae.decoder, image_size=SIZE),
    "PCA": make_pipeline(PixelFlattener(), PCA(WIDTH, whiten=True, random_state=0)).fit(X_train),
}

# %%
# Fit
# ---
# The transformer is given the images themselves. One classifier is trained on the embeddings and
# one on the label block, and the gap between the groups is compared. The training is short to
# keep the example quick: leave out ``max_iter`` on real data.

fitted, classifiers, summary = {}, {}, {}
for name, encoder in encoders.items():
    fair = FairLatentTransformer(encoder, max_iter=60, random_state=0)
    fair.fit(X_train, y_train, sensitive_features=s_train)
    for space, transform in (("embedding", encoder.transform), ("label block", fair.transform)):
        classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
        predicted = classifier.fit(transform(X_train), y_train).predict(transform(X_test))
        gap = equalized_odds_difference(y_test, predicted, sensitive_features=s_test, agg="mean")
        figures = {"accuracy": accuracy_score(y_test, predicted), "equalised odds": gap}
        summary[name, space] = figures
    fitted[name], classifiers[name] = fair, classifier
summary = pd.DataFrame(summary).T
print(summary.round(3).to_string())

# %%
# What the latent says, as images
# -------------------------------
# Because both encoders have ``inverse_transform``, so does the transformer: an edited latent
# becomes an image. The label block is moved along the normal of its classifier until that gives
# the other label a probability of 0.73 (log-odds of 1); the sensitive block is shifted by the
# difference between the means of the two groups.


def move_label(fair, classifier, Z):
    """Move each label block straight to the other side of the classifier's boundary."""
    scaler, linear = classifier
    normal = linear.coef_[0] / scaler.scale_
    score = classifier.decision_function(Z[:, fair.label_slice_])[:, np.newaxis]
    goal = -np.sign(score)
    moved = Z.copy()
    moved[:, fair.label_slice_] += (goal - score) * normal / (normal @ normal)
    return moved


def move_group(fair, groups, Z):
    """Shift each sensitive block by the difference between the means of the groups."""
    Z_train = fair.latent(X_train)[:, fair.sensitive_slice_]
    means = np.stack([Z_train[s_train == group].mean(axis=0) for group in (0, 1)])
    moved = Z.copy()
    moved[:, fair.sensitive_slice_] += means[1 - groups] - means[groups]
    return moved


# Two of each label in each group.
cells = 2 * s_test + y_test
shown = np.concatenate([np.flatnonzero(cells == cell)[:2] for cell in range(4)])
pictures = {"drawn": X_test[shown]}
for name, fair in fitted.items():
    Z = fair.latent(X_test[shown])
    pictures[f"{name}: decoded"] = fair.inverse_transform(Z)
    edited = move_label(fair, classifiers[name], Z)
    pictures[f"{name}: other label"] = fair.inverse_transform(edited)
    pictures[f"{name}: other group"] = fair.inverse_transform(move_group(fair, s_test[shown], Z))

# %%
# See
# ---


def strip(images, margin=1):
    """Lay images side by side."""
    edges = (margin, margin)
    return np.hstack(np.pad(images, ((0, 0), edges, edges, (0, 0)), constant_values=255))


figure, (left, right) = plt.subplots(
    1, 2, figsize=(11, 4.6), width_ratios=(1.25, 1), layout="constrained"
)
left.imshow(np.vstack([strip(images) for images in pictures.values()]))
places = (SIZE + 2) * (np.arange(len(pictures)) + 0.5)
left.set(xticks=[], yticks=places, yticklabels=pictures)
left.tick_params(length=0)
left.spines[:].set_visible(False)

BARS = {"embedding": (-0.17, "#BBBBBB"), "label block": (0.17, "#333333")}
for (name, space), figures in summary.iterrows():
    shift, colour = BARS[space]
    place, gap = list(encoders).index(name) + shift, figures["equalised odds"]
    right.barh(place, gap, 0.3, color=colour)
    text = f" {space}: {gap:.2f}, accuracy {figures['accuracy']:.2f}"
    right.text(gap, place, text, va="center", fontsize=9)
right.set(xticks=[], yticks=range(len(encoders)), yticklabels=encoders)
right.set(title="Gap between the groups (equalised odds)", xlim=(0, 0.7), ylim=(1.9, -0.9))
right.spines[["top", "right", "bottom"]].set_visible(False)

if len(sys.argv) > 1:
    figure.savefig(sys.argv[1], dpi=150)
plt.show()

# %%
# What this does not show
# -----------------------
# The faces are drawn, and what makes a group is a background that any model can see; in
# photographs a group shows in many places at once. Both encoders are small: what they do not keep
# of an image, no edit can bring back, and an edit that leaves what the decoder has learnt shows as
# noise, as in some of the faces above. The gap is measured on one draw, so small differences are
# noise; it is smaller, not zero. An edited image shows what the classifier reads, as this decoder
# draws it; it says nothing about what would happen to a person.
