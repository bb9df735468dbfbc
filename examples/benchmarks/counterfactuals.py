"""Do edits change what they should, and nothing else? Judged on decoded images, by outsiders.

    python examples/benchmarks/counterfactuals.py --data DATA --out results --cache cache

For each label of ``--labels`` (with *Male* as the sensitive attribute) and each encoder, a
logistic regression on the raw latent and one behind a FairLatentTransformer are trained on the
train split. Faces of the valid split are then edited:

- in the label, as strongly as it takes to flip 95 % of the model's decisions;
- in the sensitive attribute, as strongly as it takes to flip 90 % of the gender judge's verdicts.

Decisions are taken the honest way: the edited latent is decoded, the image encoded again. Judges
are convolutional networks that this script trains on the train images, each with (label, gender)
cells drawn equally. How strong an edit must be is found on faces of the train split; figures are
of the valid split.

Both models are trained on the first principal components of the codes, whitened (a PCA's codes
are such already). What hardly varies in the codes hardly outlasts decoding, and without this step
a linear classifier leans on it: its normal in the codes of a VAE or of DiffAE is then a direction
that no image shows.

DiffAE decodes with the noise that its inversion finds in each image, which keeps the face, or
with ``--noise zero``, so that all that is seen comes from the code; a PCA of the pixels and a
VAE have no such noise.
"""

import argparse
import itertools
import json
import os
import shlex
import time
from pathlib import Path
from typing import ClassVar

import joblib
import numpy as np
import pandas as pd
from _common import DATA_VARIABLE, code_fingerprint, rst_table
from _judges import ConvJudge
from generative_models import MAKERS, TITLES
from scipy.special import expit
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skfairlatent import FairLatentTransformer
from skfairlatent.counterfactuals import CounterfactualExplainer
from skfairlatent.datasets import load_image_folder
from skfairlatent.encoders import DiffAEEncoder
from skfairlatent.judging import compare_judgements, judge_edits

SENSITIVE = "Male"
# How wide codes are, and how many of their principal components are kept: as many as outlast
# decoding, as seen on faces of the train split.
WIDTHS = {"pca": 512, "vae": 128}
COMPONENTS = {"vae": 96, "diffae": 128}
# Log-odds beyond the boundary that are tried in turn, until enough decisions or verdicts flip;
# then so many times halfway between the last too weak and the first strong enough.
LOG_ODDS = (1, 4, 8, 16, 32)
N_HALVINGS = 2
LABEL_FLIPS, SENSITIVE_FLIPS = 0.95, 0.90
# So many more have to flip on the faces that strengths are found on, which judges were trained on.
TO_BE_SAFE = 0.02
# Where more strength flips no more than this beyond, edits only leave the data.
HARDLY_MORE = 0.005
# Where things lie, which is not part of what was measured.
FOLDERS = {"data", "cache", "out", "pictures"}


class Remembering(DiffAEEncoder):
    """Decodes the same codes once only: those of the originals come with every edit."""

    _images: ClassVar[dict[str, np.ndarray]] = {}

    def inverse_transform(self, X, *, x_T=None):
        key = joblib.hash((X, x_T))
        if key not in self._images:
            self._images[key] = super().inverse_transform(X, x_T=x_T)
        return self._images[key]


class Faces:
    """Images, embeddings, genders and noise of some rows of a split."""

    def __init__(self, images, codes, genders, encoder, noise):
        self.images, self.codes, self.genders = images, codes, genders
        self.noise = None
        if hasattr(encoder, "invert"):
            found = encoder.invert(images, codes)
            self.noise = found if noise == "inverted" else np.zeros_like(found)


def cached(path, make):
    """Return what a file holds, or make it and keep it."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        joblib.dump(make(), path)
    return joblib.load(path)


def read_split(data, split, max_rows=None):
    """Return all images of a split as one array, and their attributes."""
    found = load_image_folder(data / "celeba64", split=split, max_images=max_rows)
    return np.stack([np.asarray(image) for image in found.images]), found.frame


def fit_models(codes, y, s, encoder, n_components):
    """Return the classifier on the raw latent and the one behind the fair transformer."""
    kept = StandardScaler()
    if n_components is not None:
        kept = PCA(n_components, whiten=True, svd_solver="covariance_eigh")
    raw = make_pipeline(kept, LogisticRegression(max_iter=1000)).fit(codes, y)
    fair = make_pipeline(
        clone(kept), FairLatentTransformer(None, random_state=0), LogisticRegression()
    )
    fair.fit(codes, y, fairlatenttransformer__sensitive_features=s)
    models = {"raw": raw, "fair": fair}
    return {
        name: CounterfactualExplainer(model, encoder=encoder).fit(codes, y, sensitive_features=s)
        for name, model in models.items()
    }


def edit(explainer, kind, faces, log_odds):
    """Return decoded edits to the other class or group, so many log-odds beyond the boundary."""
    wanted = {"target_probability": expit(log_odds)}
    if kind == "label":
        result = explainer.explain_label(faces.codes, **wanted)
    else:  # from the gender that a face is annotated with, which the latent may misread
        result = explainer.explain_sensitive(faces.codes, target_value=1 - faces.genders, **wanted)
    return result.decode(x_T=faces.noise)


def flips(kind, result, judge):
    """Return the share of edits that do what they are for."""
    if kind == "label":
        # Against the decision on the face itself: near the boundary decoding alone changes some.
        after = result.reencode().predictions
        return float((after != result.original_predictions[:, None]).mean())
    before, after = judge.predict(result.original_images), judge.predict(result.images[:, 0])
    return float((before != after).mean())


def calibrate(explainer, kind, faces, judge, wanted, tried):
    """Return the log-odds of the weakest edits found that flip enough, or about the most."""
    shares = {0.0: 0.0}

    def share(log_odds):
        if log_odds not in shares:
            shares[log_odds] = flips(kind, edit(explainer, kind, faces, log_odds), judge)
            print(f"  {kind} edits {log_odds} beyond flip {shares[log_odds]:.3f}", flush=True)
        return shares[log_odds]

    for log_odds in tried:
        if share(log_odds) >= wanted + TO_BE_SAFE:
            break
    enough = min(wanted + TO_BE_SAFE, max(shares.values()) - HARDLY_MORE)
    pairs = itertools.pairwise(list(shares))
    weak, strong = next(pair for pair in pairs if shares[pair[1]] >= enough)
    for _ in range(N_HALVINGS):
        middle = (weak + strong) / 2
        weak, strong = (weak, middle) if share(middle) >= enough else (middle, strong)
    return strong


def measure(encoder_name, label, explainers, splits, held_out, judges, options):
    """Return one row for each model, and the comparison of label edits."""
    label_judge, gender_judge = judges
    rows, judgements = [], {}
    for name, explainer in explainers.items():
        row = {"label": label, "encoder": TITLES[encoder_name], "latent": name}
        row["accuracy"] = explainer.model.score(*held_out)
        for kind, wanted in (("label", LABEL_FLIPS), ("sensitive", SENSITIVE_FLIPS)):
            start = time.perf_counter()
            log_odds = calibrate(
                explainer, kind, splits["train"], gender_judge, wanted, options.log_odds
            )
            result = edit(explainer, kind, splits["valid"], log_odds)
            row[f"{kind}: log-odds"] = log_odds
            row[f"{kind}: flips"] = flips(kind, result, gender_judge)
            if kind == "label":
                judgements[name] = judge_edits(
                    result, label_judge=label_judge, sensitive_judge=gender_judge, random_state=0
                )
            else:
                row["decisions changed by it"] = float(result.reencode().changed.mean())
            print(f"{row} {time.perf_counter() - start:.0f} s", flush=True)
            pictures(options, f"{label}-{encoder_name}-{name}-{kind}", result)
        rows.append(row)
    table = compare_judgements(judgements, random_state=0)
    return pd.DataFrame(rows), table.assign(label=label, encoder=TITLES[encoder_name])


def pictures(options, name, result, n=12):
    """Keep a grid of originals and edits, to be looked at; real faces, not for publication."""
    if options.pictures is None:
        return
    from PIL import Image  # noqa: PLC0415 - only for this

    options.pictures.mkdir(parents=True, exist_ok=True)
    rows = [
        np.concatenate(list(part[:n]), axis=1)
        for part in (result.original_images, result.images[:, 0])
    ]
    Image.fromarray(np.concatenate(rows)).resize((n * 128, 256)).save(
        options.pictures / f"{name}.png"
    )


def judges_of(label, train, valid, options):
    """Train the two judges of a task, and print how good they are."""
    (images, frame), (others, held_out) = train, valid
    found = []
    for name, beside in ((label, SENSITIVE), (SENSITIVE, label)):
        path = options.cache / f"judge-{name}-{beside}-{len(images)}-{options.judge_epochs}.joblib"
        judge = cached(
            path,
            lambda name=name, beside=beside: ConvJudge(epochs=options.judge_epochs).fit(
                images, frame[name].to_numpy(), frame[beside].to_numpy()
            ),
        )
        accuracy = float((judge.predict(others) == held_out[name].to_numpy()).mean())
        print(f"judge of {name} (cells with {beside} balanced): accuracy {accuracy:.3f}")
        found.append(judge)
    return found


def make_encoder(name, images, options):
    """Return a trained encoder of images."""
    if name == "diffae":
        cache = options.cache / "codes"
        return Remembering(options.weights, n_steps=options.steps, cache_dir=cache)
    settings = argparse.Namespace(
        width=options.width or WIDTHS[name], vae_minutes=options.vae_minutes
    )
    key = f"{settings.width}-{len(images)}-{options.vae_minutes if name == 'vae' else ''}"
    path = options.cache / f"{name}-{key}.joblib"
    return cached(path, lambda: MAKERS[name](images, settings)[0])


def run(options):
    """Measure every encoder and label; return the two tables."""
    data = Path(options.data)
    train, valid = read_split(data, "train", options.max_rows), read_split(data, "valid")
    tables, comparisons = [], []
    for encoder_name in options.encoders:
        encoder = make_encoder(encoder_name, train[0], options)
        n = options.diffae_rows if encoder_name == "diffae" else options.rows
        codes = {"train": encoder.transform(train[0]), "valid": encoder.transform(valid[0])}
        rng = np.random.default_rng(0)
        splits = {}
        for split, (images, frame), size in (
            ("train", train, options.train_rows or n),
            ("valid", valid, n),
        ):
            rows = np.sort(rng.permutation(len(images))[:size])
            genders = frame[SENSITIVE].to_numpy()[rows]
            splits[split] = Faces(
                images[rows], codes[split][rows], genders, encoder, options.noise
            )
        for label in options.labels:
            judges = judges_of(label, train, valid, options)
            y, s = train[1][label].to_numpy(), train[1][[SENSITIVE]]
            n_components = options.components or COMPONENTS.get(encoder_name)
            explainers = fit_models(codes["train"], y, s, encoder, n_components)
            held_out = codes["valid"], valid[1][label].to_numpy()
            table, comparison = measure(
                encoder_name, label, explainers, splits, held_out, judges, options
            )
            tables.append(table)
            comparisons.append(comparison)
    return pd.concat(tables), pd.concat(comparisons)


def summary(comparison):
    """Return the columns of a comparison that answer the question."""
    columns = {name: comparison[name] for name in ("label", "encoder")}
    columns["latent"] = comparison.index
    for name in ("label_shift", "sensitive_shift", "ratio", "relative_ratio"):
        columns[name] = [
            f"{value:.3f} [{low:.3f}, {high:.3f}]"
            for value, low, high in comparison[[name, f"{name}_low", f"{name}_high"]].to_numpy()
        ]
    return pd.DataFrame(columns | {"ssim": comparison["ssim"].round(3)})


def command_of(options, parser):
    """Return the command with all that differs from the defaults, but for folders."""
    words = ["python", "examples/benchmarks/counterfactuals.py"]
    for name, value in vars(options).items():
        if name not in FOLDERS and value != parser.get_default(name):
            values = value if isinstance(value, list) else [value]
            words += [f"--{name.replace('_', '-')}", *(f"{each}" for each in values)]
    return shlex.join(words)


def main(arguments=None):
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default=os.environ.get(DATA_VARIABLE), help="folder of the data")
    parser.add_argument("--labels", nargs="+", default=["Attractive", "Smiling"])
    parser.add_argument(
        "--encoders", nargs="+", choices=list(MAKERS), default=["pca", "vae", "diffae"]
    )
    parser.add_argument("--rows", type=int, default=512, help="faces of the valid split")
    parser.add_argument(
        "--diffae-rows", type=int, default=64, help="the same, of the slow decoder"
    )
    parser.add_argument(
        "--train-rows", type=int, help="faces that strengths are found on; default as many"
    )
    parser.add_argument("--weights", default="faces64_unsupervised", help="of DiffAE")
    parser.add_argument("--steps", type=int, default=10, help="of DiffAE's inversion and decoding")
    parser.add_argument(
        "--noise",
        choices=["inverted", "zero"],
        default="inverted",
        help="what DiffAE decodes from",
    )
    parser.add_argument("--log-odds", nargs="+", type=float, default=LOG_ODDS)
    parser.add_argument("--components", type=int, help=f"kept of the codes; default {COMPONENTS}")
    parser.add_argument("--width", type=int, help=f"of the codes; default {WIDTHS}")
    parser.add_argument("--vae-minutes", type=float, default=25.0, help="time to train the VAE")
    parser.add_argument("--judge-epochs", type=int, default=3)
    parser.add_argument("--max-rows", type=int, help="train on so many images (for a quick look)")
    parser.add_argument("--cache", type=Path, default=Path("benchmark_cache"))
    parser.add_argument("--out", type=Path, help="folder for counterfactuals.rst")
    parser.add_argument("--pictures", type=Path, help="folder for grids of real faces, to look at")
    options = parser.parse_args(arguments)
    if not options.data:
        parser.error(f"give the folder of the data as --data, or in ${DATA_VARIABLE}")
    table, comparison = run(options)
    n_faces = f"{options.rows}, with DiffAE {options.diffae_rows}"
    text = "\n".join(
        [
            f"``{command_of(options, parser)}`` ({pd.Timestamp.now():%Y-%m-%d}, faces of the "
            f"valid split: {n_faces}; code {code_fingerprint()})\n",
            rst_table("Edits that flip", table.round(3)),
            rst_table("What judges see of label edits", summary(comparison)),
        ]
    )
    print(text)
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "counterfactuals.rst").write_text(text, encoding="utf-8")
        records = json.loads(comparison.reset_index(names="latent").to_json(orient="records"))
        (options.out / "counterfactuals.json").write_text(json.dumps(records, indent=1))


if __name__ == "__main__":
    main()
