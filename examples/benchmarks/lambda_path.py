"""What does a path of ``lambda_di`` cost, and is its frontier that of separate fits?

    python examples/benchmarks/lambda_path.py --data DATA --out results

``FairLatentTransformerCV`` goes from each value to the next with a few epochs. Here it meets
``GridSearchCV``, which fits every value anew, on the same rows, folds and values, with the same
classifier (a logistic regression). Time is that of the processor, with one thread, in units of
one fit on all the rows, so that other programs on the machine do not count.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import pandas as pd
import sklearn
from _common import Source, Task, add_data_arguments, load_task, provenance, rst_table
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from skfairlatent import FairLatentTransformer, FairLatentTransformerCV
from skfairlatent.metrics import fairness_scorers
from skfairlatent.selection import group_stratified_folds


def faces(options):
    """Return embeddings of faces, their label and their group."""
    source = Source(options.data, options.split, options.max_rows)
    rows, _ = load_task(source, Task("Attractive", ("Male",), "cnn"))
    return rows.X, rows.y, rows.group


def adult(options):
    """Return the columns of Adult, the income and the sex."""
    path = Path(options.data, "tabular", "adult-train.csv")
    table = pd.read_csv(path, skipinitialspace=True).drop(columns="fnlwgt")
    table = table.sample(options.max_rows or len(table), random_state=0, ignore_index=True)
    sex, income = table.pop("sex"), table.pop("income")
    return pd.get_dummies(table).to_numpy(float), (income == ">50K").to_numpy(int), sex.to_numpy()


DATA = {"faces": faces, "adult": adult}


def timed(call):
    """Return what a call returns, and the seconds of the processor that it took."""
    start = time.process_time()
    found = call()
    return found, time.process_time() - start


def measure(rows, n_values, params):
    """Return the seconds of one fit, of the path and of the separate fits, and both results."""
    X, y, s = rows
    given = {"encoder": None, "random_state": 0, "device": "cpu"} | params
    fair = FairLatentTransformer(**given)
    _, one = timed(lambda: fair.fit(X, y, sensitive_features=s))
    search = FairLatentTransformerCV(**given, lambdas_di=n_values, bound=1.0)
    _, path = timed(lambda: search.fit(X, y, sensitive_features=s))
    grid = GridSearchCV(
        make_pipeline(fair, LogisticRegression()),
        {"fairlatenttransformer__lambda_di": search.lambdas_di_.tolist()},
        scoring=fairness_scorers(),
        cv=group_stratified_folds(y, s, 3, random_state=0),
        refit="accuracy",
    )
    with sklearn.config_context(enable_metadata_routing=True):
        _, separate = timed(lambda: grid.fit(X, y, sensitive_features=s))
    return (one, path, separate), search.cv_results_, grid.cv_results_


def frontier(path, separate):
    """Return accuracy and gap of both at each value, with the standard errors of the means."""
    table = pd.DataFrame({"lambda_di": [f"{x['lambda_di']:.3g}" for x in path["params"]]})
    for name, found in (("path", path), ("separate", separate)):
        for score, short in (("accuracy", "accuracy"), ("equalized_odds", "EO")):
            folds = np.array([found[f"split{k}_test_{score}"] for k in range(3)])
            means, errors = np.abs(folds.mean(axis=0)), folds.std(axis=0, ddof=1) / np.sqrt(3)
            table[f"{name} {short}"] = [
                f"{mean:.3f} ± {error:.3f}" for mean, error in zip(means, errors, strict=True)
            ]
    return table


def main(arguments=None):
    """Measure every data set and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_data_arguments(parser)
    parser.add_argument("--only", choices=DATA, action="append")
    parser.add_argument("--values", type=int, default=16, help="values of lambda_di")
    parser.add_argument(
        "--params", type=json.loads, default={}, help="of the transformer, as JSON"
    )
    parser.add_argument("--out", type=Path, help="folder for lambda_path.rst")
    options = parser.parse_args(arguments)
    texts, costs = [provenance(options)], []
    for name in options.only or DATA:
        seconds, *results = measure(DATA[name](options), options.values, options.params)
        fits = [f"{round(each / seconds[0], 1):g}" for each in seconds]
        costs.append(
            dict(zip(("data", "one fit", "path", "separate"), (name, *fits), strict=True))
        )
        costs[-1]["seconds of one fit"] = f"{seconds[0]:.1f}"
        texts.append(rst_table(f"Frontier on {name}", frontier(*results)))
        print(texts[-1], costs[-1], flush=True)
    texts.insert(1, rst_table("Cost, in fits", pd.DataFrame(costs)))
    text = "\n\n".join(texts)
    print(text)
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "lambda_path.rst").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
