"""How good is the encoder for faces that ships with the package?

    python examples/benchmarks/faces64.py --data DATA --out results --pictures /tmp/pictures

On the valid split of DATA/celeba64: what a linear probe reads of the codes (fitted on the train
split), beside the same probe on principal components of the pixels and on the two given
embeddings; and how well images come back, from the inverted noise and from random noise. The
pictures of real faces go to ``--pictures`` for a look and are never published; those of sampled
ones are what the documentation shows.
"""

import argparse
import os
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from _common import DATA_VARIABLE, code_fingerprint, load_embeddings, rst_table
from PIL import Image
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skfairlatent._files.tensors import pack
from skfairlatent.datasets import load_image_folder
from skfairlatent.encoders import DiffAEEncoder

ATTRIBUTES = ("Male", "Smiling", "Attractive", "Young")
N_RECONSTRUCTED = 128
SOLVERS = {"ddim": (10, 50), "dpmsolver++": (5, 10, 20)}
PEAK = 255.0


def probe_accuracy(train, valid, train_frame, valid_frame):
    """Return the accuracy of a linear probe for each attribute."""
    scaler = StandardScaler().fit(train)
    train, valid = scaler.transform(train), scaler.transform(valid)
    found = {}
    for name in ATTRIBUTES:
        probe = LogisticRegression(solver="newton-cholesky", C=0.1).fit(train, train_frame[name])
        found[name] = float(accuracy_score(valid_frame[name], probe.predict(valid)))
    return found


def pixel_components(train, valid, n_components):
    """Return principal components of the pixels at half the size, the classical embedding."""

    def rows(images):
        n, height, width, _ = images.shape
        halves = images.reshape(n, height // 2, 2, width // 2, 2, 3).mean(axis=(2, 4))
        return halves.reshape(n, -1).astype(np.float32)

    pca = make_pipeline(PCA(n_components, svd_solver="randomized", random_state=0))
    train = pca.fit_transform(rows(train))
    return train, pca.transform(rows(valid))


def save_attributes(path, encoder, data):
    """Fit logistic regressions of attributes on codes of the train split, and keep them."""
    train = load_image_folder(data / "celeba64", split="train")
    codes = encoder.transform(train.images)
    scaler = StandardScaler().fit(codes)
    models = [
        LogisticRegression(solver="newton-cholesky", C=0.1).fit(
            scaler.transform(codes), train.frame[name]
        )
        for name in ATTRIBUTES
    ]
    weights = np.vstack([model.coef_[0] for model in models]) / scaler.scale_
    bias = np.array([model.intercept_[0] for model in models]) - weights @ scaler.mean_
    tensors = {"weights": weights.astype(np.float32), "bias": bias.astype(np.float32)}
    tensors = {name: torch.from_numpy(value) for name, value in tensors.items()}
    path.write_bytes(pack(tensors, {"attributes": " ".join(ATTRIBUTES)}))


def psnr(images, others):
    """Return the mean peak signal-to-noise ratio of pairs of uint8 images, in decibels."""
    error = np.mean((images.astype(float) - others.astype(float)) ** 2, axis=(1, 2, 3))
    return float(np.mean(10 * np.log10(PEAK**2 / np.maximum(error, 1e-12))))


def ssim(images, others):
    """Return the mean structural similarity (Wang et al. 2004) by scikit-image."""
    from skimage.metrics import structural_similarity  # noqa: PLC0415 - needed here only

    pairs = zip(images, others, strict=True)
    return float(np.mean([structural_similarity(a, b, channel_axis=2) for a, b in pairs]))


def probes(encoder, data, max_rows):
    """Return the table of probes, one row an embedding."""
    train = load_image_folder(data / "celeba64", split="train", max_images=max_rows)
    valid = load_image_folder(data / "celeba64", split="valid")
    frames = train.frame, valid.frame
    codes = encoder.transform(train.images), encoder.transform(valid.images)
    rows = [{"embedding": "DiffAEEncoder()", **probe_accuracy(*codes, *frames)}]
    components = pixel_components(train.images, valid.images, min(512, len(train.images)))
    for width in (256, 512):
        found = probe_accuracy(*(part[:, :width] for part in components), *frames)
        rows.append({"embedding": f"PCA of the pixels, {width}", **found})
    for name in ("celeba_diffae32", "celeba_cnn"):
        given = [
            load_embeddings(data / name, data / "celeba64" / "attributes.csv", split)
            for split in ("train", "valid")
        ]
        found = probe_accuracy(*(g.data for g in given), *(g.frame for g in given))
        rows.append({"embedding": f"{name} (given)", **found})
    return pd.DataFrame(rows), valid.images


def reconstructions(encoder, images):
    """Return the table of reconstruction errors, one row a solver and number of steps."""
    codes, rows = encoder.transform(images), []
    for solver, n_steps in ((name, n) for name, numbers in SOLVERS.items() for n in numbers):
        solving = clone(encoder).set_params(solver=solver, n_steps=n_steps)
        start = time.perf_counter()
        exact = solving.inverse_transform(codes, x_T=solving.invert(images, codes))
        seconds = time.perf_counter() - start
        row = {"solver": solver, "steps": n_steps}
        for noise, found in (("inverted", exact), ("random", solving.inverse_transform(codes))):
            row[f"PSNR (dB), {noise} noise"] = psnr(images, found)
            row[f"SSIM, {noise} noise"] = ssim(images, found)
        row["ms an image, there and back"] = 1000 * seconds / len(images)
        rows.append(row)
    return pd.DataFrame(rows)


def save_rows(path, *rows, scale=2):
    """Write a picture, one row of images above the other."""
    grid = np.concatenate([np.concatenate(list(row), axis=1) for row in rows])
    picture = Image.fromarray(grid)
    size = (grid.shape[1] * scale, grid.shape[0] * scale)
    picture.resize(size, Image.Resampling.LANCZOS).save(path, optimize=True)


def main(arguments=None):
    """Measure, print and draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default=os.environ.get(DATA_VARIABLE), help="folder of the data")
    parser.add_argument("--weights", default="faces64")
    parser.add_argument("--max-rows", type=int, help="fit probes on so many rows")
    parser.add_argument("--out", type=Path, help="folder for faces64.rst")
    parser.add_argument("--pictures", type=Path, help="folder for grids of real and sampled faces")
    parser.add_argument("--temperature", type=float, default=0.85, help="of the sampled faces")
    parser.add_argument("--attributes", type=Path, help="write what make_faces needs here, only")
    options = parser.parse_args(arguments)
    if not options.data:
        parser.error(f"give the folder of the data as --data, or in ${DATA_VARIABLE}")
    encoder = DiffAEEncoder(options.weights, precision="float32")
    if options.attributes:
        save_attributes(options.attributes, encoder, Path(options.data))
        return
    table, valid = probes(encoder, Path(options.data), options.max_rows)
    errors = reconstructions(encoder, valid[:N_RECONSTRUCTED])
    text = "\n".join(
        [
            "``python examples/benchmarks/faces64.py`` (probes fitted on train, scored on valid; "
            f"{N_RECONSTRUCTED} valid images reconstructed; {pd.Timestamp.now():%Y-%m-%d}, "
            f"{torch.get_num_threads()} threads; code {code_fingerprint()})\n",
            rst_table("Accuracy of a linear probe", table),
            rst_table("Reconstruction", errors),
        ]
    )
    print(text)
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "faces64.rst").write_text(text, encoding="utf-8")
    if options.pictures:
        options.pictures.mkdir(parents=True, exist_ok=True)
        codes = encoder.transform(valid[:12])
        drawn = encoder.inverse_transform(codes)
        save_rows(
            options.pictures / "real.png", valid[:12], encoder.reconstruct(valid[:12]), drawn
        )
        sampled = encoder.sample(24, temperature=options.temperature)
        save_rows(options.pictures / "sampled.png", sampled[:12], sampled[12:])
        again = encoder.reconstruct(sampled[:12])
        save_rows(options.pictures / "sampled_again.png", sampled[:12], again)


if __name__ == "__main__":
    main()
