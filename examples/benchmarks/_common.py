"""What the benchmarks share: data, classifiers, scores, the noise floor, tables."""

import argparse
import functools
import hashlib
import inspect
import json
import os
import shlex
import sys
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from sklearn.metrics import accuracy_score
from sklearn.utils import Bunch
from sklearn.utils.validation import has_fit_parameter

import skfairlatent
from skfairlatent.diagnostics import group_leakage
from skfairlatent.metrics import (
    demographic_parity_difference,
    equalized_odds_difference,
    worst_group_accuracy_score,
)

DATA_VARIABLE = "SKFAIRLATENT_DATA"
ATTRIBUTES = Path("celeba64", "attributes.csv")


class Task(NamedTuple):
    """A label to predict, the sensitive attributes, and the embeddings to do it from."""

    label: str
    sensitive: tuple[str, ...]
    embeddings: str

    @property
    def name(self):
        return "-".join([self.label, "x".join(self.sensitive), self.embeddings]).lower()

    @property
    def title(self):
        return f"{self.label} by {' x '.join(self.sensitive)}, {self.embeddings}"


class Rows(NamedTuple):
    """Embeddings, labels, sensitive columns, and the crossed group of each row as text."""

    X: np.ndarray
    y: np.ndarray
    sensitive: pd.DataFrame
    group: np.ndarray


class Source(NamedTuple):
    """Where the rows come from."""

    data: str
    split: str
    max_rows: int | None = None


def data_parser(description):
    """Return a parser that shows a script's whole docstring, with the options of the data."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_data_arguments(parser)
    return parser


def add_data_arguments(parser):
    """Add the options that say where the data lies and which rows of it to use."""
    parser.add_argument(
        "--data",
        default=os.environ.get(DATA_VARIABLE),
        help=f"folder with celeba64/attributes.csv and celeba_*/ (default: ${DATA_VARIABLE})",
    )
    parser.add_argument(
        "--split",
        choices=["valid", "test"],
        default="valid",
        help="rows to score on; the train split is fitted on either way",
    )
    parser.add_argument(
        "--max-rows", type=int, help="train on a random choice of so many rows (for a quick look)"
    )


def source_of(options, parser):
    """Check the options that say where the data lies."""
    if not options.data:
        parser.error(f"give the folder of the data as --data, or in ${DATA_VARIABLE}")
    splits = set(pd.read_csv(Path(options.data, ATTRIBUTES), usecols=["split"])["split"])
    if not {"train", options.split} <= splits:
        parser.error(f"the attributes hold the splits {sorted(splits)}, not {options.split!r}")
    return Source(options.data, options.split, options.max_rows)


def load_embeddings(folder, attributes, split, max_rows=None):
    """Return the embeddings of a folder, (n, d) float32, and the attributes of their images.

    They are stored in one byte a feature, ``codes * scale + offset``. Of more than `max_rows` rows
    a random choice is taken, the same every time.
    """
    table = pd.read_csv(attributes, dtype={"image_id": str}).set_index("image_id")
    with np.load(Path(folder, "embeddings.npz")) as stored:
        table = table.loc[stored["image_id"].astype(str)]
        rows = np.flatnonzero(table["split"] == split)
        if not len(rows):
            sys.exit(f"{attributes} has the splits {sorted(set(table['split']))}, not {split!r}.")
        if max_rows is not None and max_rows < len(rows):
            drawn = np.random.RandomState(0).choice(rows, max_rows, replace=False)
            rows = np.sort(drawn)
        embeddings = stored["codes"][rows] * stored["scale"] + stored["offset"]
    return Bunch(data=embeddings, frame=table.iloc[rows].reset_index(drop=True))


@functools.lru_cache(maxsize=4)
def _load(source, embeddings, split, max_rows):
    folder = Path(source.data, f"celeba_{embeddings}")
    attributes = Path(source.data, ATTRIBUTES)
    return load_embeddings(folder, attributes, split, max_rows)


def load_task(source, task):
    """Return the rows to fit on and the rows to score on."""
    loaded = [
        _load(source, task.embeddings, "train", source.max_rows),
        _load(source, task.embeddings, source.split, None),
    ]
    return tuple(
        grouped(part.data, part.frame[task.label], part.frame[list(task.sensitive)])
        for part in loaded
    )


def grouped(X, y, sensitive):
    """Return rows with one sensitive attribute, or several as a DataFrame, and their crossing."""
    if not isinstance(sensitive, pd.DataFrame):
        sensitive = pd.DataFrame({"group": np.asarray(sensitive).astype(str)})
    return Rows(X, np.asarray(y, int), sensitive, crossed(sensitive))


def crossed(sensitive):
    """Return the values of each row's sensitive attributes as one text, shape (n,)."""
    return sensitive.astype(str).agg(", ".join, axis=1).to_numpy(dtype=str)


def cell_weights(y, group, power=1.0):
    """Weigh rows by a power of 1 / (rows of the same label and group), 1 on average.

    At power 1 every cell weighs the same.
    """
    _, cells = np.unique(np.char.add(np.asarray(y, str), group), return_inverse=True)
    weights = (1 / np.bincount(cells)[cells]) ** power
    return weights / weights.mean()


def fit_weighted(model, X, y, weights, seed=0):
    """Fit with sample weights; where a model takes none, on rows drawn by them."""
    if weights is None:
        return model.fit(X, y)
    last = model[-1] if hasattr(model, "steps") else model
    if has_fit_parameter(last, "sample_weight"):
        prefix = f"{model.steps[-1][0]}__" if hasattr(model, "steps") else ""
        return model.fit(X, y, **{f"{prefix}sample_weight": weights})
    # MLPClassifier before scikit-learn 1.7.
    rows = np.random.default_rng(seed).choice(len(X), len(X), p=weights / weights.sum())
    return model.fit(X[rows], y[rows])


def scores(y, predicted, group):
    """Return accuracy and the group metrics of predictions."""
    given = {"sensitive_features": group}
    return {
        "accuracy": float(accuracy_score(y, predicted)),
        "eo": equalized_odds_difference(y, predicted, agg="mean", **given),
        "dp": demographic_parity_difference(y, predicted, **given),
        "wga": worst_group_accuracy_score(y, predicted, **given),
    }


def leakage(train, test, probes, seed):
    """Return how well the best of the probes tells the group within label, on unseen rows."""
    found = group_leakage(
        train.X,
        train.y,
        sensitive_features=train.group,
        held_out=(test.X, test.y, test.group),
        probes=probes,
        random_state=seed,
    )
    return float(found["balanced_accuracy"].max())


def chance_level(y, predicted, group, n_permutations=400, seed=0):
    """Return the 95 % quantile of the mean EO that sampling alone would show.

    Predictions are permuted across the groups within each true label, so that they are as
    accurate as before and know nothing of the group. What gap is left comes from the number of
    rows in each cell: no method can be shown to lie below it on these rows.
    """
    return float(np.quantile(permuted_gaps(y, predicted, group, n_permutations, seed), 0.95))


def permuted_gaps(y, predicted, group, n_permutations, seed=0):
    """Return the mean of the gaps for each of many permutations within the true label."""
    rng = np.random.default_rng(seed)
    classes, predicted = np.unique(predicted, return_inverse=True)
    labels = np.unique(y)
    _, group = np.unique(group, return_inverse=True)
    gaps = np.zeros(n_permutations)
    for label in labels:
        given, members = predicted[y == label], group[y == label]
        for i in range(n_permutations):
            gaps[i] += rate_gap(rng.permutation(given), members, len(classes))
    return gaps / len(labels)


def rate_gap(predicted, group, n_classes):
    """Return the largest difference between groups in the rate of any prediction; codes in."""
    cells = np.bincount(group * n_classes + predicted, minlength=n_classes * (group.max() + 1))
    counts = cells.reshape(-1, n_classes)
    return np.ptp(counts / counts.sum(axis=1, keepdims=True), axis=0).max()


class Store:
    """Finished parts of a benchmark, one JSON line each, so that a run can be taken up again."""

    def __init__(self, path, *, fresh):
        self.path = path
        self.parts = {}
        if fresh:
            path.unlink(missing_ok=True)
        if path.exists():
            for text in path.read_text(encoding="utf-8").splitlines():
                part = json.loads(text)
                self.parts[json.dumps(part["key"])] = part["found"]

    def get(self, key):
        return self.parts.get(json.dumps(key))

    def add(self, key, found):
        self.parts[json.dumps(key)] = found
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"key": key, "found": found}) + "\n")


def measure_all(parts, store, jobs, describe):
    """Measure what is missing, keep each part as soon as it is done, and return all of them.

    A part is what identifies it, which must be fit for JSON, and the delayed call.
    """
    missing = [part for part in parts if store.get(part[0]) is None]
    known = len(parts) - len(missing)
    print(f"{len(parts)} parts, {known} of them found in {store.path}", flush=True)
    start = time.perf_counter()
    # Every part brings its number along, because they finish in any order.
    calls = (delayed(_numbered)(i, call) for i, (_, call) in enumerate(missing))
    done = Parallel(n_jobs=jobs, return_as="generator_unordered")(calls)
    for count, (i, found) in enumerate(done, start=1):
        store.add(missing[i][0], found)
        elapsed = time.perf_counter() - start
        said = describe(missing[i][0], found)
        print(f"[{elapsed:5.0f} s] {count}/{len(missing)} {said}", flush=True)
    return [(key, store.get(key)) for key, _ in parts]


def _numbered(i, call):
    function, arguments, keywords = call
    return i, function(*arguments, **keywords)


def add_run_arguments(parser):
    """Add the options that say how to run and where to write."""
    parser.add_argument(
        "--params", type=json_object, default={}, help="parameters of the transformer, as JSON"
    )
    parser.add_argument("--jobs", type=int, default=1, help="parts to measure at the same time")
    parser.add_argument("--out", type=Path, default=Path("benchmark_results"))
    parser.add_argument("--fresh", action="store_true", help="forget the parts of earlier runs")


@functools.cache
def code_fingerprint():
    """Tell one state of the package's code from another, so that old results are not reused.

    Looked up once: what is edited during a run is not what runs.
    """
    root = Path(inspect.getfile(skfairlatent)).parent
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def provenance(options):
    """Say in one line what was run on which data, for the head of a table."""
    split = f"fitted on train, scored on {options.split}"
    rows = f", {options.max_rows} train rows" if options.max_rows else ""
    command = shlex.join(["python", *sys.argv])
    return f"``{command}`` ({split}{rows}; code {code_fingerprint()})"


def cell_text(value):
    """Format one entry of a table."""
    if isinstance(value, float):
        return "n/a" if np.isnan(value) else f"{value:.3f}"
    return str(value)


def rst_table(title, table):
    """Write a data frame as an RST simple table, legible in a terminal too."""
    lines = [list(map(str, table.columns))]
    lines += [[cell_text(value) for value in row] for row in table.itertuples(index=False)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rule = "  ".join("=" * width for width in widths)
    text = [
        "  ".join(entry.ljust(width) for entry, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]
    body = "\n".join([rule, text[0], rule, *text[1:], rule])
    return f"{title}\n{'-' * len(title)}\n\n{body}\n"


def json_object(text):
    """Parse the JSON object of a command line option."""
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        msg = f"{text!r} is not valid JSON: {error}"
        raise argparse.ArgumentTypeError(msg) from error
    if not isinstance(value, dict):
        msg = f"{text!r}: expected a JSON object, as in '{{\"lambda_di\": 3.0}}'"
        raise argparse.ArgumentTypeError(msg)
    return value
