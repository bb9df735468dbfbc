"""Tables: accuracy and equalised odds beside the methods that cost one line.

    python examples/benchmarks/tables.py --data DATA --out tables.csv

Adult (income by sex), COMPAS (two years by race, two groups) and Heritage Health (Charlson index
by age), each with a random half, at most 10,000 rows, to fit on, and at most 12,000 others to
score on. Every method has a dial; each of its settings is run in front of, or as, logistic
regression and histogram boosting, on the same rows. ``equalized odds`` is the mean of the gaps of
both rates, ``log loss`` that of the probabilities relative to the unmitigated classifier's, where
a method has probabilities. Means over the seeds. With ``--out`` finished runs are kept, and not
run again.

- cell weights: each row weighs a power of 1 / (rows of its label and group).
- linear erasure: the directions between the group means within label are projected out.
- ``ExponentiatedGradient``: ``difference_bound``, at most 15 iterations, scored by its expected
  rates; trained again for each classifier.
- ``FairLatentTransformer``: its defaults, over ``lambda_di``, and without ``label_scores``.
"""

import argparse
import itertools
import os
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from _common import cell_weights, code_fingerprint, rst_table
from fairlearn.reductions import EqualizedOdds, ExponentiatedGradient
from joblib import Parallel, delayed
from peers import erased_part
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.preprocessing import StandardScaler

from skfairlatent import FairLatentTransformer

MOST_TO_FIT, MOST_TO_SCORE = 10_000, 12_000
CLASSIFIERS = {
    "logistic": lambda: LogisticRegression(max_iter=1000),
    "boosting": lambda: HistGradientBoostingClassifier(random_state=0),
}


def adult(root):
    table = pd.read_csv(root / "tabular" / "adult-train.csv", na_values="?")
    y, s = table.pop("income") == ">50K", table.pop("sex") == "Male"
    return pd.get_dummies(table.drop(columns=["fnlwgt", "education"])), y, s


def compas(root):
    table = pd.read_csv(root / "tabular" / "compas-two-years.csv")
    table = table[table["race"].isin(["African-American", "Caucasian"])]
    columns = ["sex", "age", "juv_fel_count", "juv_misd_count", "juv_other_count"]
    X = pd.get_dummies(table[[*columns, "priors_count", "c_charge_degree"]])
    return X, table["two_year_recid"] == 1, table["race"] == "Caucasian"


def health(root):
    table = pd.read_csv(root / "tabular" / "health.csv.zip", nrows=60_000)
    old = table[["age_65", "age_75", "age_85"]].any(axis=1)
    dropped = ("MemberID", "YEAR", "trainset", "age_", "Charlson")
    kept = [name for name in table if not name.startswith(dropped)]
    return np.log1p(table[kept].fillna(0).clip(lower=0)), table["Charlson>0"] == 1, old


TABLES = {"Adult": adult, "COMPAS": compas, "Heritage Health": health}


def keep(fit, new, _dial, _seed):
    return fit[0], new, None


def weigh(fit, new, dial, _seed):
    return fit[0], new, cell_weights(fit[1], fit[2].astype(str), power=dial)


def erase(fit, new, dial, _seed):
    removed = dial * erased_part(*fit)
    return fit[0] - fit[0] @ removed, new - new @ removed, None


def map_fair(fit, new, dial, seed, **parameters):
    fair = FairLatentTransformer(None, lambda_di=dial, random_state=seed, **parameters)
    Z = fair.fit_transform(fit[0], fit[1], sensitive_features=fit[2])
    return Z, fair.transform(new), None


def map_without_scores(fit, new, dial, seed):
    return map_fair(fit, new, dial, seed, label_scores=False)


REPRESENTATIONS = {
    "raw table": (keep, [0.0]),
    "cell weights": (weigh, [0.5, 1.0, 1.5]),
    "linear erasure": (erase, [1.0]),
    "FairLatentTransformer": (map_fair, [0.0, 0.3, 1.0, 3.0, 10.0]),
    "without label_scores": (map_without_scores, [1.0, 3.0]),
}
REDUCTION = "ExponentiatedGradient"
BOUNDS = [0.02, 0.05, 0.1]


def rates(y, group, probability):
    """Score decisions that are 1 with a probability each."""
    right = np.where(y == 1, probability, 1 - probability)
    gaps = [
        abs(np.subtract(*(probability[(y == label) & (group == g)].mean() for g in (0, 1))))
        for label in (0, 1)
    ]
    balanced = np.mean([right[y == label].mean() for label in (0, 1)])
    return {"accuracy": right.mean(), "balanced": balanced, "equalized odds": np.mean(gaps)}


def measure(root, name, method, dial, seed):
    """Return a row for each classifier."""
    X, y, group = (np.asarray(each, dtype=np.float64) for each in TABLES[name](root))
    order = np.random.default_rng(seed).permutation(len(X))
    n = min(len(X) // 2, MOST_TO_FIT)
    rows, others = order[:n], order[n : n + MOST_TO_SCORE]
    scaler = StandardScaler().fit(X[rows])
    new = scaler.transform(X[others])
    fit = scaler.transform(X[rows]), y[rows].astype(int), group[rows].astype(int)
    key = {"table": name, "method": method, "dial": dial, "seed": seed}
    lines = []
    for classifier, make in CLASSIFIERS.items():
        losses = {}
        if method == REDUCTION:
            probability = reduced(make(), fit, new, dial)
        else:
            Z, Z_new, weights = REPRESENTATIONS[method][0](fit, new, dial, seed)
            model = make().fit(Z, fit[1], sample_weight=weights)
            found = model.predict_proba(Z_new)
            losses = {
                "log loss": log_loss(y[others], found),
                "of training rows": log_loss(fit[1], model.predict_proba(Z)),
            }
            probability = (found[:, 1] > 0.5).astype(float)
        scored = rates(y[others], group[others], probability)
        lines.append({**key, "classifier": classifier, **scored, **losses})
    return lines


def reduced(model, fit, new, bound):
    reduction = ExponentiatedGradient(
        model, EqualizedOdds(difference_bound=bound), eps=bound, max_iter=15
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reduction.fit(fit[0], fit[1], sensitive_features=fit[2])
    return reduction._pmf_predict(new)[:, 1]


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default=os.environ.get("SKFAIRLATENT_DATA"))
    parser.add_argument("--out", type=Path, help="CSV of all runs; what is there is not run again")
    parser.add_argument("--tables", nargs="+", choices=TABLES, default=list(TABLES))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=1)
    options = parser.parse_args()
    if options.data is None:
        parser.error("name the folder of the data: --data DATA, or SKFAIRLATENT_DATA")
    dials = {name: dial for name, (_, dial) in REPRESENTATIONS.items()} | {REDUCTION: BOUNDS}
    wanted = [
        (table, method, dial, seed)
        for table, seed, method in itertools.product(options.tables, range(options.seeds), dials)
        for dial in dials[method]
    ]
    known = pd.DataFrame()
    if options.out is not None and options.out.exists():
        known = pd.read_csv(options.out)
        done = set(known[["table", "method", "dial", "seed"]].itertuples(index=False, name=None))
        wanted = [run for run in wanted if run not in done]
    runs = Parallel(options.jobs, return_as="generator")(
        delayed(measure)(Path(options.data), *run) for run in wanted
    )
    for lines in runs:
        known = pd.concat([known, pd.DataFrame(lines)])
        if options.out is not None:
            known.to_csv(options.out, index=False)
    print(f"code {code_fingerprint()}, {options.seeds} seeds\n")
    known = known[known["table"].isin(options.tables) & (known["seed"] < options.seeds)]
    for (table, classifier), part in known.groupby(["table", "classifier"], sort=False):
        means = part.groupby(["method", "dial"], sort=False).mean(numeric_only=True)
        means["log loss"] /= means.loc["raw table", "log loss"].item()
        print(rst_table(f"{table}, {classifier}", means.drop(columns="seed").reset_index()))


if __name__ == "__main__":
    main()
