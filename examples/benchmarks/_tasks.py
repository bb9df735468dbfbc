"""The tasks of `run.py`: rows to fit on and rows to score on, standardised."""

import functools
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from _biographies import BALANCED, FOUR, TWO, embedded
from _common import Rows, Source, Task, grouped, load_task
from sklearn.preprocessing import StandardScaler

from skfairlatent.datasets import load_image_folder
from skfairlatent.encoders import DiffAEEncoder

MOST_TO_FIT, MOST_TO_SCORE = 10_000, 12_000
# Faces of the training split that are not fitted on.
REST = "rest"


class Drawn(NamedTuple):
    """What to draw rows with, and how many to fit on at most."""

    data: Path
    seed: int
    split: str = "valid"
    max_rows: int = MOST_TO_FIT


def load(name, drawn):
    """Return the rows to fit on and the rows to score on of a task.

    The seed draws both for tables. For faces it draws the rows to fit on from the training split;
    those of another split are scored, or with ``split="rest"`` others of the training split.
    """
    fit, new = TASKS[name](drawn)
    # fairlearn 0.15 cannot take float32 scores with pandas 3.
    scaler = StandardScaler().fit(fit.X.astype(np.float64))
    return tuple(
        rows._replace(X=scaler.transform(rows.X.astype(np.float64))) for rows in (fit, new)
    )


def faces(label, *sensitive, embeddings="cnn"):
    def read(drawn):
        scored = "valid" if drawn.split == REST else drawn.split
        fit, new = load_task(Source(str(drawn.data), scored), Task(label, sensitive, embeddings))
        order, n = _order(drawn, len(fit.y)), drawn.max_rows
        if drawn.split == REST:
            new = rows_of(fit, order[n : n + MOST_TO_SCORE])
        return rows_of(fit, order[:n]), new

    return read


def codes(folder, label, sensitive, imbalance=None):
    """Return a task on codes of the shipped encoder, of the images of a folder in the data.

    The rows to fit on are drawn by the seed and all others are scored, or, with `imbalance`,
    those that `unbalanced` draws.
    """

    def read(drawn):
        Z, frame = _encoded(drawn.data / folder)
        rows = grouped(Z, label(frame), sensitive(frame))
        y, group = rows.y, rows.group
        order = _order(drawn, len(y))
        if imbalance is None:
            chosen = order[: drawn.max_rows], order[drawn.max_rows :]
        else:
            chosen = unbalanced(y[order], group[order], imbalance, drawn.max_rows)
            chosen = order[chosen[0]], order[chosen[1]]
        return rows_of(rows, chosen[0]), rows_of(rows, chosen[1])

    return read


def texts(strength, occupations):
    """Return a task on embeddings of made-up biographies, from which to tell the occupation.

    With ``split="balanced"`` those to score on have occupation and gender independent.
    """

    def read(drawn):
        parts = embedded(strength, occupations, drawn.seed, drawn.max_rows)
        scored = BALANCED if drawn.split == BALANCED else "valid"
        return tuple(grouped(*parts[name]) for name in ("fit", scored))

    return read


def unbalanced(y, group, imbalance, max_rows):
    """Choose unbalanced rows to fit on and balanced ones to score, as Park et al. (CVPR 2022).

    For two labels and two groups: `imbalance` times as many rows with a label are of one group as
    of the other, and the other way round for the other label. Of the rows to score, every
    (label, group) cell has equally many.
    """
    cells = [
        np.flatnonzero((y == value) & (group == name))
        for value in np.unique(y)
        for name in np.unique(group)
    ]
    n_scored = min(map(len, cells)) // 4
    times = [imbalance, 1, 1, imbalance]
    left = [(len(cell) - n_scored) // many for cell, many in zip(cells, times, strict=True)]
    n_rare = min(max_rows // sum(times), *left)
    fit = [cell[: n_rare * many] for cell, many in zip(cells, times, strict=True)]
    return np.concatenate(fit), np.concatenate([cell[-n_scored:] for cell in cells])


@functools.lru_cache(maxsize=1)
def _encoded(folder):
    images = load_image_folder(folder)
    encoder = DiffAEEncoder("faces64", cache_dir=Path("benchmark_results", "codes"))
    return encoder.fit_transform(images.images), images.frame


def table(columns):
    """Return a task whose rows are drawn from a table: half to fit on, the others to score on."""

    def read(drawn):
        X, y, group = columns(drawn.data / "tabular")
        rows = grouped(np.asarray(X, np.float64), y, group)
        order = _order(drawn, len(rows.y))
        n = min(len(order) // 2, drawn.max_rows)
        return rows_of(rows, order[:n]), rows_of(rows, order[n : n + MOST_TO_SCORE])

    return read


def rows_of(rows, chosen):
    return Rows(
        *(np.asarray(part)[chosen] for part in rows[:2]), rows[2].iloc[chosen], rows[3][chosen]
    )


def _order(drawn, n):
    return np.random.default_rng(drawn.seed).permutation(n)


def adult(folder):
    table = pd.read_csv(folder / "adult-train.csv", na_values="?")
    y, s = table.pop("income") == ">50K", table.pop("sex") == "Male"
    return pd.get_dummies(table.drop(columns=["fnlwgt", "education"])), y, s


def compas(folder):
    table = pd.read_csv(folder / "compas-two-years.csv")
    table = table[table["race"].isin(["African-American", "Caucasian"])]
    columns = ["sex", "age", "juv_fel_count", "juv_misd_count", "juv_other_count"]
    X = pd.get_dummies(table[[*columns, "priors_count", "c_charge_degree"]])
    return X, table["two_year_recid"] == 1, table["race"] == "Caucasian"


def health(folder):
    table = pd.read_csv(folder / "health.csv.zip", nrows=60_000)
    old = table[["age_65", "age_75", "age_85"]].any(axis=1)
    dropped = ("MemberID", "YEAR", "trainset", "age_", "Charlson")
    kept = [name for name in table if not name.startswith(dropped)]
    return np.log1p(table[kept].fillna(0).clip(lower=0)), table["Charlson>0"] == 1, old


def credit(folder):
    table = pd.read_csv(folder / "UCI_Credit_Card.csv").drop(columns="ID")
    y, s = table.pop("default-payment-next-month"), table.pop("SEX")
    money = table.filter(regex="^(LIMIT|BILL|PAY_AMT)")
    return table.assign(**np.sign(money) * np.log1p(money.abs())), y, s


def law(folder):
    table = pd.read_csv(folder / "law.csv.zip")
    return table[["LSAT", "UGPA", "ZFYA"]], table["PF_1"], table["Race_White"]


def german(folder):
    table = pd.read_csv(folder / "german.csv").drop(columns="sex-age")
    y, s = table.pop("credit-label"), table.pop("sex")
    return table, y == y.max(), s


def ethnicity_and_ages(frame):
    """Return ethnicity, five groups, and age cut into two, four and eight of equal size."""
    ages = {f"age{n}": pd.qcut(frame["age"], n, labels=False) for n in (2, 4, 8)}
    return frame[["ethnicity"]].assign(**ages)


# Noise of one width each: quartiles at -0.67 and 0.67, as those of a standard normal.
NOISES = {
    "gaussian": lambda rng, shape: rng.normal(size=shape),
    "laplace": lambda rng, shape: 0.973 * rng.laplace(size=shape),
    "student_t3": lambda rng, shape: 0.882 * rng.standard_t(3, size=shape),
    "student_t1": lambda rng, shape: 0.674 * rng.standard_t(1, size=shape),
    "lognormal": lambda rng, shape: rng.lognormal(size=shape) / 1.03,
    "two_peaks": lambda rng, shape: (
        rng.choice([-0.674, 0.674], shape) + 0.3 * rng.normal(size=shape)
    ),
    "clusters": lambda rng, shape: (
        rng.normal(size=shape) + 3 * rng.normal(size=(5, shape[1]))[rng.integers(5, size=shape[0])]
    ),
    "rounded": lambda rng, shape: rng.normal(size=shape),
    "half_binary": lambda rng, shape: rng.normal(size=shape),
}


def latents(noise, _folder):
    """Return made-up rows: a label, a group, and noise, in 24 columns.

    Each column is shifted by the label and, twice as far, by the group, which four rows of five
    share with the label; a quarter of the columns spread more in one group.
    """
    rng = np.random.default_rng(0)
    n, d = 15_000, 24
    y = rng.integers(2, size=n)
    s = np.where(rng.random(n) < 0.8, y, 1 - y)
    with_label, with_group = rng.normal(size=(2, d)) / np.sqrt(d)
    X = NOISES[noise](rng, (n, d))
    X[:, : d // 4] *= 1 + 0.5 * s[:, None]
    X += 2 * np.outer(y, with_label) + 4 * np.outer(s, with_group)
    if noise == "rounded":
        X = np.round(X)
    if noise == "half_binary":
        X[:, ::2] = X[:, ::2] > 0
    return X, y, s


TASKS = {
    "attractive-male-cnn": faces("Attractive", "Male"),
    "attractive-young-cnn": faces("Attractive", "Young"),
    "big_nose-male-cnn": faces("Big_Nose", "Male"),
    "wavy_hair-male-cnn": faces("Wavy_Hair", "Male"),
    "blond_hair-male-cnn": faces("Blond_Hair", "Male"),
    "smiling-male-cnn": faces("Smiling", "Male"),
    "attractive-malexyoung-cnn": faces("Attractive", "Male", "Young"),
    "attractive-four-cnn": faces("Attractive", "Male", "Young", "Black_Hair", "Smiling"),
    "attractive-male-diffae32": faces("Attractive", "Male", embeddings="diffae32"),
    "age30-gender-utkface": codes(
        "utkface64", lambda frame: frame["age"] > 30, lambda frame: frame["gender"]
    ),
    "gender-ethnicity-utkface": codes(
        "utkface64", lambda frame: frame["gender"], lambda frame: frame["ethnicity"]
    ),
    **{
        f"gender-white-utkface-{times}": codes(
            "utkface64",
            lambda frame: frame["gender"],
            lambda frame: frame["ethnicity"] == 0,
            times,
        )
        for times in (2, 3, 4)
    },
    "attractive-male-faces64": codes(
        "celeba64", lambda frame: frame["Attractive"], lambda frame: frame["Male"]
    ),
    "adult-sex": table(adult),
    "compas-race": table(compas),
    "health-age": table(health),
    "credit-sex": table(credit),
    "law-race": table(law),
    "german-sex": table(german),
    "gender-utkface": codes("utkface64", lambda frame: frame["gender"], ethnicity_and_ages),
    **{f"biographies-{strength}": texts(strength, TWO) for strength in (0.6, 0.75, 0.9)},
    "biographies-four-0.75": texts(0.75, FOUR),
    **{f"latents-{noise}": table(functools.partial(latents, noise)) for noise in NOISES},
}
