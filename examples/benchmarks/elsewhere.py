"""What a fair representation does beyond its own task: on texts, other labels, groups and images.

    python examples/benchmarks/elsewhere.py NAME... --data DATA --out results/elsewhere.csv
    python examples/benchmarks/elsewhere.py NAME... --render results/elsewhere.csv

``experiments.py`` has settings of the transformer alone; here other methods stand beside it, and
what is scored is not only the task that it was fitted for:

- ``texts``: occupations told from embeddings of made-up biographies (``_biographies.py``), scored
  on texts as those to fit on, and on texts whose occupation and gender are independent;
- ``attributes_read``: how well a linear reader tells each attribute of CelebA from the embedding,
  the latent and its two blocks, fitted for *Attractive* by *Male*;
- ``transfer``: other labels told from the representation that was fitted for *Attractive*;
- ``harm``: what each group's accuracy loses against the same classifier without a method;
- ``images``: faces decoded from the latent, and codes sampled from it. Its sampled faces are
  written to ``benchmark_results/sampled_faces.png``, to be looked at.

Runs are kept, and go on from where they stopped, as those of ``run.py``; ``--quick`` is 500 rows
and one seed of each. ``texts`` needs a sentence encoder, ``images`` scikit-image.
"""

import sys
import time
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from _biographies import BALANCED
from _common import Rows, fit_weighted, grouped, load_embeddings, rst_table
from _common import scores as any_scores
from _methods import EQUALIZED_ODDS, METHODS, OURS, RAW, fit_fair, map_fair
from _tasks import Drawn, load
from experiments import TITLES as EXPERIMENT_TITLES
from experiments import Script, run_or_render, spread
from faces64 import psnr, save_rows, ssim
from run import CLASSIFIERS, read_runs, scores
from scipy.stats import bootstrap
from sklearn.linear_model import Ridge
from sklearn.metrics import balanced_accuracy_score, roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skfairlatent.datasets import load_image_folder
from skfairlatent.encoders import DiffAEEncoder

SCORED_BY = ["logistic", "boosting"]
WEIGHTS, ERASURE, REDUCTION = "cell weights", "linear erasure", "ExponentiatedGradient"
EVERYBODY = "everybody"
# Ours at its default, the others so that they do all they can.
DIALS = {OURS: 3.0, REDUCTION: 0.01}
FITTED_FOR_EACH = f"{OURS}, fitted for each label"
WIDE = f"{OURS}(n_label_components=16)"
LABEL, SENSITIVE = "Attractive", "Male"
OTHER_LABELS = ["Smiling", "Big_Nose", "Wavy_Hair"]
N_DECODED, N_SAMPLED = 30, 2000  # of the 3,000 rows to fit on; fewer with fewer of them
RESULTS = Path("benchmark_results")


def represent(method, fit, new, seed):
    """Return the rows to fit on and to score on as a method maps them, and weights or None."""
    if method == WIDE:
        return map_fair(fit, new, DIALS[OURS], seed, EQUALIZED_ODDS, n_label_components=16)
    return METHODS[method].run(fit, new, DIALS.get(method, 1.0), seed, EQUALIZED_ODDS)


def drawn(data, key):
    return Drawn(data, key["seed"], key["split"], key["max_rows"])


# Texts.


def texts(data, key):
    """Score occupations on texts as those to fit on, and on balanced ones; probe for gender."""
    fit, same = load(key["task"], drawn(data, key))
    _, balanced = load(key["task"], drawn(data, key)._replace(split=BALANCED))
    X, X_new, weights = represent(key["method"], fit, joined(same, balanced), key["seed"])
    at = len(same.y)
    parts = {"same": (same, X_new[:at]), BALANCED: (balanced, X_new[at:])}
    leak = None if weights is not None else leaks(X_new[at:], balanced.group, key["seed"])
    for name in SCORED_BY:
        model = fit_weighted(CLASSIFIERS[name](key["seed"]), X, fit.y, weights, key["seed"])
        for part, (rows, mapped) in parts.items():
            row = {"classifier": name, "scored": part, "leak": leak}
            yield row | gaps(rows, model.predict(mapped))


def gaps(rows, found):
    """Return accuracy and the mean equalised odds difference, of any number of labels."""
    figures = any_scores(rows.y, found, rows.group)
    return {"accuracy": figures["accuracy"], "equalized_odds": figures["eo"]}


def joined(*parts):
    X, y, sensitive, group = zip(*parts, strict=True)
    return Rows(*map(np.concatenate, (X, y)), pd.concat(sensitive), np.concatenate(group))


def leaks(X, group, seed):
    """Return how well the group is told from half of the rows by what is learnt on the others."""
    half = len(X) // 2
    return max(
        balanced_accuracy_score(
            group[half:], CLASSIFIERS[name](seed).fit(X[:half], group[:half]).predict(X[half:])
        )
        for name in SCORED_BY
    )


# Other labels.


def faces(data, key):
    """Return rows to fit on and to score on, and all attributes of both."""
    read = [
        load_embeddings(data / "celeba_cnn", data / "celeba64" / "attributes.csv", split)
        for split in ("train", key["split"])
    ]
    chosen = np.random.default_rng(key["seed"]).permutation(len(read[0].data))[: key["max_rows"]]
    scaler = StandardScaler().fit(read[0].data[chosen].astype(np.float64))
    for part, rows in zip(read, (chosen, slice(None)), strict=True):
        frame = part.frame.iloc[rows]
        yield scaler.transform(part.data[rows].astype(np.float64)), frame


def labelled(X, frame, label):
    return grouped(X, frame[label], frame[[SENSITIVE]])


def attributes_read(data, key):
    """Yield how well each attribute is read linearly from the embedding, latent and blocks."""
    (X, frame), (X_new, frame_new) = faces(data, key)
    fair, _ = fit_fair(labelled(X, frame, LABEL), key["seed"])
    Z, Z_new = fair.latent(X), fair.latent(X_new)
    seen = {
        RAW: (X, X_new),
        "Z": (Z, Z_new),
        "Z_Y": (Z[:, fair.label_slice_], Z_new[:, fair.label_slice_]),
        "Z_S": (Z[:, fair.sensitive_slice_], Z_new[:, fair.sensitive_slice_]),
    }
    names = frame.columns.drop(["image_id", "split", "identity"], errors="ignore")
    for name, (rows, rows_new) in seen.items():
        reader = make_pipeline(StandardScaler(), Ridge(1.0)).fit(rows, frame[names])
        found = reader.predict(rows_new)
        for column, attribute in enumerate(names):
            auc = roc_auc_score(frame_new[attribute], found[:, column])
            yield {"classifier": "ridge", "seen": name, "scored": attribute, "auc": auc}


def transfer(data, key):
    """Score other labels on what was fitted for `LABEL`, or on what is fitted for each."""
    (X, frame), (X_new, frame_new) = faces(data, key)
    method = OURS if key["method"] == FITTED_FOR_EACH else key["method"]
    ready = None
    for label in [LABEL, *OTHER_LABELS]:
        fit, new = labelled(X, frame, label), labelled(X_new, frame_new, label)
        if ready is None or key["method"] == FITTED_FOR_EACH:
            ready = represent(method, fit, new, key["seed"])
        often = np.full_like(new.y, np.bincount(fit.y).argmax())
        yield {"classifier": "constant", "scored": label} | gaps(new, often)
        for name in SCORED_BY:
            found = decided(CLASSIFIERS[name](key["seed"]), ready, fit, key["seed"])
            yield {"classifier": name, "scored": label} | gaps(new, found)


# Harm.


def harm(data, key):
    """Score each group, and what it loses against the same classifier without the method."""
    fit, new = load(key["task"], drawn(data, key))
    in_training = METHODS[key["method"]].in_training
    ready = None if in_training else represent(key["method"], fit, new, key["seed"])
    for name in SCORED_BY[:1] if in_training else SCORED_BY:
        model = CLASSIFIERS[name](key["seed"])
        plain = positive = decided(model, represent(RAW, fit, new, key["seed"]), fit)
        if in_training:
            given = DIALS[key["method"]], key["seed"], EQUALIZED_ODDS
            positive = METHODS[key["method"]].run(model, fit, new, *given)
        elif key["method"] != RAW:
            positive = decided(model, ready, fit, key["seed"])
        found, gap = right(positive, new), scores(new.y, new.group, positive)["equalized_odds"]
        for group in [EVERYBODY, *np.unique(new.group)]:
            rows = (new.group == group) | (group == EVERYBODY)
            of = {"classifier": name, "scored": group, "accuracy": found[rows].mean()}
            yield of | {"equalized_odds": gap} | change((found - right(plain, new))[rows])


def decided(model, ready, fit, seed=0):
    X, X_new, weights = ready
    return fit_weighted(model, X, fit.y, weights, seed).predict(X_new)


def right(positive, new):
    """Return the probability of each decision being right, from that of its being 1."""
    return np.where(new.y == 1, positive, 1 - positive)


def change(differences):
    """Return the mean of paired differences with its bootstrap interval of 95 %."""
    if not differences.any():
        return {"change": 0.0, "low": 0.0, "high": 0.0}
    found = bootstrap(
        (differences,), np.mean, n_resamples=2000, batch=100, method="percentile", rng=0
    ).confidence_interval
    return {"change": differences.mean(), "low": found.low, "high": found.high}


# Images.


def images(data, key):
    """Score faces decoded through the latent, and tell sampled codes from real ones."""
    encoder = DiffAEEncoder("faces64", cache_dir=RESULTS / "codes")
    share = min(1, key["max_rows"] / 3000)
    fit, held = (
        load_image_folder(data / "celeba64", split=split, max_images=n)
        for split, n in (("train", key["max_rows"]), (key["split"], int(share * N_SAMPLED)))
    )
    originals = np.stack(held.images[: int(share * N_DECODED)])
    codes, real = encoder.transform(fit.images), encoder.transform(held.images)
    fair, _ = fit_fair(labelled(codes, fit.frame, LABEL), key["seed"])
    yield from decoded(fair, encoder, originals, real[: len(originals)])
    yield from sampled(fair, encoder, codes, real, key["seed"])


def decoded(fair, encoder, originals, codes):
    """Score decoded faces against the originals, by what they are decoded from."""
    Z = fair.latent(codes)
    back = fair.inverse_transform(Z)
    sources = {
        "code": codes,
        "latent, inverted": back,
        "label block alone": fair.inverse_transform(Z[:, fair.label_slice_]),
    }
    inverted = encoder.invert(originals, codes)
    for noise, x_T in {"inverted": inverted, "none": np.zeros_like(inverted)}.items():
        shown = {
            name: encoder.inverse_transform(source, x_T=x_T) for name, source in sources.items()
        }
        pairs = {name: (originals, face) for name, face in shown.items()}
        pairs["latent, inverted, against code"] = shown["code"], shown["latent, inverted"]
        for name, pair in pairs.items():
            yield {"seen": noise, "scored": name, "psnr": psnr(*pair), "ssim": ssim(*pair)}
    error = np.abs(back - codes).max() / codes.std()
    yield {"scored": "code, inverted", "change": error}


def sampled(fair, encoder, codes, real, seed):
    """Tell codes that were made in several ways from real ones that were not fitted on."""
    rng, n = np.random.default_rng(seed), len(real)
    Z = fair.latent(codes)
    made = {
        "standard normal latents": fair.inverse_transform(rng.normal(size=(n, Z.shape[1]))),
        "normal latents of their covariance": fair.inverse_transform(like(Z, n, rng)),
        "normal codes of their covariance": like(codes, n, rng),
        "real codes that were fitted on": codes[:n],
    }
    RESULTS.mkdir(exist_ok=True)
    shown = [encoder.inverse_transform(each[:8]) for each in list(made.values())[:3]]
    save_rows(RESULTS / "sampled_faces.png", *shown)
    for name, each in made.items():
        for classifier in SCORED_BY:
            auc = told_apart(CLASSIFIERS[classifier](seed), each, real)
            yield {"classifier": classifier, "scored": name, "auc": auc}


def like(rows, n, rng):
    """Draw normal rows of the mean and covariance of others."""
    return rng.multivariate_normal(rows.mean(axis=0), np.cov(rows.T), size=n, method="eigh")


def told_apart(model, made, real):
    """Return the AUC of a classifier that tells made rows from real ones, on other rows."""
    X = StandardScaler().fit_transform(np.concatenate([made, real]))
    y = np.repeat([0, 1], [len(made), len(real)])
    order = np.random.default_rng(0).permutation(len(X))
    fit, new = np.array_split(order, 2)
    return roc_auc_score(y[new], model.fit(X[fit], y[fit]).predict_proba(X[new])[:, 1])


class Experiment(NamedTuple):
    """What measures a run, the tasks and methods to run, and how many rows to fit on."""

    measure: object
    tasks: list
    variants: list
    max_rows: int


FACES = "attractive-male-cnn"
EXPERIMENTS = {
    "texts": Experiment(
        texts,
        ["biographies-0.6", "biographies-0.75", "biographies-0.9", "biographies-four-0.75"],
        [RAW, WEIGHTS, "LEACE", OURS],
        3000,
    ),
    "attributes_read": Experiment(attributes_read, [FACES], [OURS], 3000),
    "transfer": Experiment(
        transfer, [FACES], [RAW, WEIGHTS, ERASURE, OURS, WIDE, FITTED_FOR_EACH], 3000
    ),
    "harm": Experiment(
        harm, ["adult-sex", "compas-race", FACES], [RAW, OURS, WEIGHTS, ERASURE, REDUCTION], 3000
    ),
    "images": Experiment(images, ["attractive-male-faces64"], [OURS], 3000),
}

KEYS = ["experiment", "task", "method", "seed", "split", "max_rows"]
COLUMNS = [
    *KEYS, "classifier", "seen", "scored", "accuracy", "equalized_odds", "leak", "change", "low",
    "high", "auc", "psnr", "ssim", "seconds", "code", "machine",
]  # fmt: skip


def measure(data, key):
    """Return the rows of a run."""
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of iterations, which are a budget here
        rows = list(EXPERIMENTS[key["experiment"]].measure(data, key))
    seconds = time.perf_counter() - start
    return [{**dict.fromkeys(COLUMNS, np.nan), **key, **row, "seconds": seconds} for row in rows]


# Tables and the figure.

SHOWN = {"logistic": "linear", "boosting": "trees"}
SEEN = [RAW, "Z", "Z_S", "Z_Y"]
NOISES = {"inverted": "Decoded with the noise of the image", "none": "Decoded without noise"}
TITLES = EXPERIMENT_TITLES | {
    "biographies-0.6": "Nurse or surgeon, 60 % of the usual gender",
    "biographies-0.75": "Nurse or surgeon, 75 % of the usual gender",
    "biographies-0.9": "Nurse or surgeon, 90 % of the usual gender",
    "biographies-four-0.75": "Four occupations, 75 % of the usual gender",
    "compas-race": "COMPAS by race",
}
GROUPS = {
    "adult-sex": {"False": "women", "True": "men"},
    "compas-race": {"False": "African-American", "True": "Caucasian"},
    FACES: {"0": "women", "1": "men"},
}


def table_of(runs, index, columns):
    """Return a column for each title: a metric over the seeds, of the rows that are chosen."""
    found = {}
    for title, (metric, chosen) in columns.items():
        rows = runs.loc[np.logical_and.reduce([runs[of] == is_ for of, is_ in chosen.items()])]
        found[title] = rows.dropna(subset=metric).groupby(index, sort=False)[metric].agg(spread)
    order = runs[index].drop_duplicates()
    table = pd.DataFrame(found).rename_axis(index).reset_index()
    return order.merge(table, on=index, how="left").fillna("n/a")


def by_classifier(metrics, **chosen):
    """Return columns of `table_of` for each classifier."""
    return {
        f"{short} {title}": (metric, {"classifier": classifier, **more, **chosen})
        for classifier, title in SHOWN.items()
        for short, metric, more in metrics
    }


def texts_tables(runs):
    columns = by_classifier(
        [
            ("same", "accuracy", {"scored": "same"}),
            ("balanced", "accuracy", {"scored": BALANCED}),
            ("EO", "equalized_odds", {"scored": BALANCED}),
        ]
    )
    probe = {"gender read": ("leak", {"classifier": "logistic", "scored": BALANCED})}
    for task, part in runs.groupby("task", sort=False):
        yield TITLES.get(task, task), table_of(part, ["method"], columns | probe)


def attributes_read_tables(runs):
    groups = np.where(
        runs["scored"].isin([LABEL, SENSITIVE]), runs["scored"], "mean of the others"
    )
    mean = runs.assign(scored=groups).groupby(["seen", "scored", "seed"], sort=False)["auc"].mean()
    table = mean.groupby(["seen", "scored"], sort=False).agg(spread).unstack("scored")
    yield "AUC of a linear reader", table.loc[SEEN].reset_index()


def transfer_tables(runs):
    metrics = [("accuracy", "accuracy", {}), ("EO", "equalized_odds", {})]
    columns = by_classifier(metrics)
    often = {"always the same": ("accuracy", {"classifier": "constant"})}
    for label, part in runs.groupby("scored", sort=False):
        yield f"{label} by {SENSITIVE}", table_of(part, ["method"], columns | often)


def harm_tables(runs):
    """Yield one table a task: a row for each classifier and group, a column for each method."""
    for task, part in runs.groupby("task", sort=False):
        index = ["classifier", "scored"]
        plain = part[part["method"] == RAW].groupby(index, sort=False)["accuracy"].mean()
        table = pd.DataFrame({"plain": plain})
        # In the order of the experiment: a narrow screen shows the first columns only.
        for method in EXPERIMENTS["harm"].variants[1:]:
            rows = part[part["method"] == method]
            table[method] = rows.groupby(index, sort=False).apply(harm_text)
        gap = part[part["scored"] == EVERYBODY].pivot_table(
            values="equalized_odds", index="classifier", columns="method", sort=False
        )
        gap = gap.rename(columns={RAW: "plain"}).assign(scored="EO")
        table = pd.concat([table.reset_index(), gap.reset_index()]).fillna("n/a")
        table["scored"] = table["scored"].replace(GROUPS.get(task, {}))
        yield (
            TITLES.get(task, task),
            table.sort_values("classifier", key=lambda c: c != "logistic"),
        )


def harm_text(rows):
    """Return the change in points, the interval over all seeds, and whether all show harm."""
    low, high, change = (
        100 * each for each in (rows["low"].min(), rows["high"].max(), rows["change"].mean())
    )
    harmed = " harm" if (rows["high"] < 0).all() else ""
    return f"{change:+.1f} ({low:+.1f} to {high:+.1f}){harmed}"


def images_tables(runs):
    faces = runs[runs["psnr"].notna()]
    for noise, part in faces.groupby("seen", sort=False):
        columns = {name.upper(): (name, {"seen": noise}) for name in ("psnr", "ssim")}
        yield NOISES[noise], table_of(part, ["scored"], columns)
    made = runs[runs["auc"].notna()]
    columns = by_classifier([("AUC", "auc", {})])
    yield "Sampled codes", table_of(made, ["scored"], columns)


def heat_map(runs):
    """Draw how well each attribute is read from the embedding, the latent and its blocks."""
    import matplotlib.pyplot as plt  # noqa: PLC0415 - runs do without it

    found = runs.pivot_table(values="auc", index="scored", columns="seen")[SEEN]
    found = found.sort_values("Z_Y", ascending=False)
    drawn, axis = plt.subplots(figsize=(5, 0.24 * len(found) + 1), layout="constrained")
    picture = axis.imshow(found, aspect="auto", vmin=0.5, vmax=1, cmap="viridis")
    axis.set_xticks(range(len(SEEN)), ["embedding", "Z", "$Z_S$", "$Z_Y$"])
    axis.xaxis.tick_top()
    axis.set_yticks(range(len(found)), found.index.str.replace("_", " "))
    for (row, column), value in np.ndenumerate(found.to_numpy()):
        colour = "white" if value < 0.8 else "black"
        axis.text(column, row, f"{value:.2f}", ha="center", va="center", color=colour, size=8)
    drawn.colorbar(picture, label="AUC of a linear reader", shrink=0.5)
    return drawn


TABLES = {
    "texts": texts_tables,
    "attributes_read": attributes_read_tables,
    "transfer": transfer_tables,
    "harm": harm_tables,
    "images": images_tables,
}


def render(names, path):
    """Write the tables of experiments beside their runs, and the heat map."""
    runs = read_runs(path, [*KEYS, "seen", "scored"])
    for name in names:
        part = runs[runs["experiment"] == name]
        if part.empty:
            sys.exit(f"{path} has no runs of {name}.")
        text = "\n".join(rst_table(title, table) for title, table in TABLES[name](part))
        print(text)
        path.with_name(f"{path.stem}_{name}.txt").write_text(text, encoding="utf-8")
        if name == "attributes_read":
            heat_map(part).savefig(path.with_name("attributes_read.png"), dpi=120)


def main(arguments=None):
    run_or_render(
        Script(__doc__, EXPERIMENTS, measure, render, KEYS, COLUMNS, seeds=[0, 1, 2]), arguments
    )


if __name__ == "__main__":
    main()
