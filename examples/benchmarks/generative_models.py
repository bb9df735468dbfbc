"""Does it work beyond the diffusion autoencoder? One task, the embeddings of several models.

    python examples/benchmarks/generative_models.py --data DATA --out results --cache cache

The faces of celeba64 are embedded by the DiffAE that ships with the package, by a VAE that this
script trains on the train split for ``--vae-minutes``, and by a PCA of the pixels; beside them
stand the embeddings of a network trained to tell attributes, which cannot decode. *Attractive*
is predicted by a logistic regression, *Male* is the sensitive attribute.

Embeddings and decoded images are kept in ``--cache``, one file for each model and setting, and
figures in ``OUT/generative_models.jsonl``: an interrupted run goes on where it stopped. A VAE
trained by the clock is another one on another machine: keep the cache to keep the figures.

PSNR and SSIM (scikit-image, if it is installed) are of images decoded from the embedding alone.
DiffAE draws what its code leaves out at random, so the figure with the noise recovered from the
image is given as well.
"""

import hashlib
import json
import os
import time
from pathlib import Path

import numpy as np
import pandas as pd
from _common import (
    Store,
    Task,
    add_run_arguments,
    chance_level,
    code_fingerprint,
    data_parser,
    grouped,
    leakage,
    load_task,
    measure_all,
    provenance,
    rst_table,
    scores,
    source_of,
)
from _vae import SIZE, train_vae
from joblib import delayed
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skfairlatent import FairLatentTransformer
from skfairlatent.datasets import load_image_folder
from skfairlatent.encoders import PixelFlattener, TorchEncoder

TASK = Task("Attractive", ("Male",), "cnn")
PROBED = ("Male", "Smiling", "Attractive", "Young")
# Another solver than the default for speed alone: the problem is convex.
CLASSIFIER = make_pipeline(StandardScaler(), LogisticRegression(solver="newton-cholesky"))
TITLES = {"diffae": "DiffAE (shipped)", "vae": "VAE", "pca": "PCA", "cnn": "attribute network"}
QUALITY = ("psnr_decoded", "ssim_decoded", "psnr_reconstructed", "ssim_reconstructed")
# Raise it when a model or what is kept of it changes: old files in the cache are then not used.
CACHE_VERSION = 1


def make_diffae(_images, _options):
    from skfairlatent.encoders import DiffAEEncoder  # noqa: PLC0415 - see --skip-diffae

    return DiffAEEncoder(verbose=True), "as shipped"


def make_vae(images, options):
    vae, n_seen = train_vae(images, options.width, options.vae_minutes)
    encoder = TorchEncoder(vae.mean, vae.decoder, image_size=SIZE, batch_size=256, verbose=True)
    return encoder, f"{options.vae_minutes:g} min, {n_seen / len(images):.1f} epochs"


def make_pca(images, options):
    width = min(options.width, len(images))
    pca = PCA(width, whiten=True, svd_solver="randomized", random_state=0)
    return make_pipeline(PixelFlattener(SIZE), pca).fit(images), f"on {len(images)} images"


MAKERS = {"diffae": make_diffae, "vae": make_vae, "pca": make_pca}


def load_faces(source, split):
    """Return images and the probed attributes of a split."""
    return load_image_folder(
        Path(source.data, "celeba64"),
        split=split,
        columns=PROBED,
        max_images=source.max_rows if split == "train" else None,
        random_state=0,
    )


def embedding_file(name, options, source):
    """Return the file that keeps the embeddings of a model, made if it is not there."""
    settings = {"version": CACHE_VERSION, "split": source.split, "max_rows": source.max_rows}
    if name in ("vae", "pca"):
        settings["width"] = options.width
    if name == "vae":
        settings["minutes"] = options.vae_minutes
    if name == "diffae":
        settings["weights"] = make_diffae(None, None)[0].fingerprint()
    if name != "cnn":
        settings["decoded"] = options.decoded
    key = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:12]
    path = options.cache / f"{name}-{key}.npz"
    if not path.exists():
        print(f"{name}: embedding into {path}", flush=True)
        content = given_embeddings(source) if name == "cnn" else embed(name, options, source)
        partial = path.with_name(f".{path.name}.{os.getpid()}.npz")
        np.savez(partial, **content)
        partial.replace(path)
    return path


def embed(name, options, source):
    """Make a model, embed both splits, and decode some of the images to be scored on."""
    train, test = (load_faces(source, split) for split in ("train", source.split))
    start = time.perf_counter()
    encoder, made = MAKERS[name](train.images, options)
    made_after = time.perf_counter()
    embeddings = [encoder.transform(part.images) for part in (train, test)]
    encoded_after = time.perf_counter()
    originals = test.images[: options.decoded]
    content = {
        "made": made,
        "made_s": made_after - start,
        "encoded_s": encoded_after - made_after,
        "n_encoded": len(train.images) + len(test.images),
        "originals": originals,
        "decoded": encoder.inverse_transform(embeddings[1][: options.decoded]),
    }
    if hasattr(encoder, "reconstruct"):
        content["reconstructed"] = encoder.reconstruct(originals)
    for part, E, loaded in zip(("train", "test"), embeddings, (train, test), strict=True):
        content[part] = np.asarray(E, dtype=np.float32)
        content[f"{part}_attributes"] = loaded.frame[list(PROBED)].to_numpy(dtype=np.int8)
    return content


def given_embeddings(source):
    """Return the embeddings that come with the data, with the same rows for every label."""
    content = {"made": "given", "made_s": np.nan, "encoded_s": np.nan, "n_encoded": 0}
    for column, label in enumerate(PROBED):
        for part, rows in zip(
            ("train", "test"), load_task(source, TASK._replace(label=label)), strict=True
        ):
            content[part] = np.asarray(rows.X, dtype=np.float32)
            known = content.setdefault(
                f"{part}_attributes", np.empty((len(rows.y), len(PROBED)), dtype=np.int8)
            )
            known[:, column] = rows.y
    return content


def read_rows(path):
    """Return the rows to fit on and the rows to score on, and the attributes of both."""
    with np.load(path) as file:
        parts = [(file[part], file[f"{part}_attributes"]) for part in ("train", "test")]
    rows = []
    for E, attributes in parts:
        table = pd.DataFrame(attributes, columns=list(PROBED))
        rows.append((grouped(E, table[TASK.label], table[list(TASK.sensitive)]), table))
    return rows


def psnr(originals, decoded):
    """Return the peak signal-to-noise ratio in dB, mean over images; the peak is 255."""
    error = (originals.astype(np.float64) - decoded).reshape(len(originals), -1)
    return float((10 * np.log10(255**2 / np.maximum((error**2).mean(axis=1), 1e-10))).mean())


def ssim(originals, decoded):
    """Return the structural similarity of Wang et al. (2004), mean over images; NaN without it."""
    try:
        from skimage.metrics import structural_similarity  # noqa: PLC0415 - optional
    except ImportError:
        return np.nan
    settings = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    pairs = zip(originals, decoded, strict=True)
    values = [
        structural_similarity(*pair, channel_axis=2, data_range=255, **settings) for pair in pairs
    ]
    return float(np.mean(values))


def measure_raw(path):
    """Measure a model: what it keeps of images and attributes, and the classifier on it."""
    (train, train_table), (test, test_table) = read_rows(path)
    with np.load(path) as file:
        whole = {"made": str(file["made"]), "width": train.X.shape[1]}
        whole |= {name: float(file[name]) for name in ("made_s", "encoded_s", "n_encoded")}
        for name in sorted({"decoded", "reconstructed"} & set(file)):
            for measure in (psnr, ssim):
                whole[f"{measure.__name__}_{name}"] = measure(file["originals"], file[name])
    for name in PROBED:
        probe = clone(CLASSIFIER).fit(train.X, train_table[name].to_numpy())
        whole[name] = float(probe.score(test.X, test_table[name].to_numpy()))
        share = test_table[name].mean()
        whole[f"{name}_majority"] = float(max(share, 1 - share))
    return {**whole, **classified(train, test), "leak": leakage(train, test, ["linear"], 0)}


def classified(train, test):
    """Train a classifier and score it, beside what sampling alone would show."""
    predicted = clone(CLASSIFIER).fit(train.X, train.y).predict(test.X)
    chance = chance_level(test.y, predicted, test.group)
    return {**scores(test.y, predicted, test.group), "chance": chance}


def measure_latent(path, seed, params):
    """Fit the transformer on the embeddings, and measure its blocks."""
    (train, _), (test, _) = read_rows(path)
    fair = FairLatentTransformer(None, **{"random_state": seed, **params})
    fair.fit(train.X, train.y, sensitive_features=train.sensitive)
    Z_train, Z_test = fair.latent(train.X), fair.latent(test.X)
    label, sensitive = (
        (train._replace(X=Z_train[:, block]), test._replace(X=Z_test[:, block]))
        for block in (fair.label_slice_, fair.sensitive_slice_)
    )
    return {
        **classified(*label),
        "leak": leakage(*label, ["mlp", "boosting"], seed),
        "readable": leakage(*sensitive, ["linear"], seed),
        "width": label[0].X.shape[1],
    }


def plan(options, files):
    """Return every part of the benchmark: what identifies it, and the call that measures it."""
    given = FairLatentTransformer(**options.params).get_params()
    settings = {"params": str(sorted(given.items())), "code": code_fingerprint()}
    parts = []
    for name, path in files.items():
        # The file of a VAE trained anew has the old name.
        key = {"encoder": name, "file": path.stem, "made": path.stat().st_mtime_ns}
        parts.append(({**key, "raw": True}, delayed(measure_raw)(path)))
        for seed in options.seeds:
            call = delayed(measure_latent)(path, seed, options.params)
            parts.append(({**key, "seed": seed, **settings}, call))
    return parts


def line(key, found):
    """Describe a finished part in one line."""
    what = "raw" if "raw" in key else f"seed {key['seed']}"
    return f"{key['encoder']}, {what}: accuracy/EO {found['accuracy']:.3f}/{found['eo']:.3f}"


def to_frames(measured):
    """Return one row a model for what was measured without the transformer, and one a seed."""
    raw = [{"encoder": key["encoder"], **found} for key, found in measured if "raw" in key]
    latent = [
        {"encoder": key["encoder"], "seed": key["seed"], **found}
        for key, found in measured
        if "seed" in key
    ]
    return pd.DataFrame(raw).set_index("encoder"), pd.DataFrame(latent)


def encoder_table(raw):
    """Lay out what each model keeps: of an image, and of its attributes for a linear probe."""
    column = {name: raw.get(name, pd.Series(np.nan, index=raw.index)) for name in QUALITY}
    decibels = [
        ["n/a" if np.isnan(value) else f"{value:.1f}" for value in column[name]]
        for name in ("psnr_decoded", "psnr_reconstructed")
    ]
    speed = raw["n_encoded"] / raw["encoded_s"]
    table = pd.DataFrame(
        {
            "embedding": [TITLES[name] for name in raw.index],
            "width": raw["width"],
            "made": raw["made"],
            "images/s": ["n/a" if np.isnan(value) else f"{value:.0f}" for value in speed],
            "PSNR, dB": decibels[0],
            "SSIM": column["ssim_decoded"],
            "PSNR with noise": decibels[1],
            "SSIM with noise": column["ssim_reconstructed"],
            **{name: raw[name] for name in PROBED},
        }
    )
    majority = dict.fromkeys(table.columns, ".") | {"embedding": "the more frequent value"}
    majority |= {name: raw[f"{name}_majority"].iloc[0] for name in PROBED}
    return pd.concat([table.astype(object), pd.DataFrame([majority])])


def percent(values):
    return [f"{100 * value:+.0f} %" for value in values]


def two(first, second):
    return [f"{a:.3f} → {b:.3f}" for a, b in zip(first, second, strict=True)]


def score_table(raw, latent):
    """Lay out the classifier on the embedding and on the label block, mean over the seeds."""
    by_encoder = latent.drop(columns="seed").groupby("encoder", sort=False)
    mean, spread = by_encoder.mean(), by_encoder.std(ddof=0)
    raw = raw.loc[mean.index]
    return pd.DataFrame(
        {
            "embedding": [TITLES[name] for name in mean.index],
            "accuracy": two(raw["accuracy"], mean["accuracy"]),
            "± seeds": spread["accuracy"],
            "EO": two(raw["eo"], mean["eo"]),
            "± seeds ": spread["eo"],
            "EO change": percent(mean["eo"] / raw["eo"] - 1),
            "EO by chance": mean["chance"],
            "DP": two(raw["dp"], mean["dp"]),
            "worst group": two(raw["wga"], mean["wga"]),
            "leak": two(raw["leak"], mean["leak"]),
            "read from Z_S": mean["readable"],
        }
    )


def report(raw, latent, options):
    """Write both tables as RST."""
    kept = "What each model keeps, and what a linear probe reads of it (accuracy)"
    note = (
        f"PSNR and SSIM on {options.decoded} images of the {options.split} split. Leak: balanced "
        "accuracy of a probe that guesses the group within label; linear on the embedding, the "
        "better one of an MLP and boosted trees on Z_Y."
    )
    return "\n".join(
        [
            provenance(options),
            "",
            rst_table(kept, encoder_table(raw)),
            rst_table(
                f"{TASK.label} by Male, logistic regression (raw → Z_Y)", score_table(raw, latent)
            ),
            note,
            "",
        ]
    )


def build_parser():
    parser = data_parser(__doc__)
    parser.add_argument("--encoders", nargs="+", choices=list(TITLES), default=list(TITLES))
    parser.add_argument("--skip-diffae", action="store_true", help="leave out the slowest model")
    parser.add_argument("--width", type=int, default=512, help="of the VAE and the PCA")
    parser.add_argument("--vae-minutes", type=float, default=10.0, help="time to train the VAE")
    parser.add_argument("--decoded", type=int, default=256, help="images to decode")
    parser.add_argument("--cache", type=Path, default=Path("benchmark_cache"))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    add_run_arguments(parser)
    return parser


def main(arguments=None):
    parser = build_parser()
    options = parser.parse_args(arguments)
    source = source_of(options, parser)
    for folder in (options.out, options.cache):
        folder.mkdir(parents=True, exist_ok=True)
    names = [name for name in options.encoders if not (options.skip_diffae and name == "diffae")]
    files = {name: embedding_file(name, options, source) for name in names}
    store = Store(options.out / "generative_models.jsonl", fresh=options.fresh)
    raw, latent = to_frames(measure_all(plan(options, files), store, options.jobs, line))
    raw.to_csv(options.out / "generative_models_raw.csv")
    latent.to_csv(options.out / "generative_models_runs.csv", index=False)
    text = report(raw, latent, options)
    (options.out / "generative_models.rst").write_text(text, encoding="utf-8")
    print("\n" + text)


if __name__ == "__main__":
    main()
