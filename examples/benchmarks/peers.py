"""At equal equalised odds, which method is the most accurate? Every method's own frontier.

    python examples/benchmarks/peers.py --data DATA --out results

Each method is run over the dial that trades its accuracy for fairness, in front of, or as, a
linear classifier and a network with one hidden layer (the same two for all). Its runs are averaged
over the seeds; of the averages, those that no other beats on both accuracy and equalised odds
(EO, the mean of the gaps) are its frontier. Methods are compared at a few levels of EO,
between two points of the frontier on the straight line through them: drawing one of the two
models by lot for each person gets that accuracy, at no more EO. An entry is empty where a method
does not get so low; beyond its last point, its best accuracy stands.

The frontiers are drawn on the rows scored on, for every method alike.

What the methods are given:

- ``FairLatentTransformer``: its defaults, over ``lambda_di``.
- cell weights: each row weighs a power of 1 / (rows of its label and group); 1 balances the cells.
- linear erasure: the directions between the group means within label are projected out, in the
  metric of the covariance within cells; the dial is the share taken out.
- ``CorrelationRemover``: over ``alpha``. It needs the group to predict, which no other does.
- ``ExponentiatedGradient``: constraint ``EqualizedOdds``, ``difference_bound`` and ``eps`` alike,
  at most 15 iterations (up to some 30 fits of the classifier), scored by its expected rates, not
  by one draw. First seed only.
- ``AdversarialFairnessClassifier``: ``constraints="equalized_odds"``, an adversary with 32 hidden
  units, 8 epochs in batches of 256, over ``alpha``. In fairlearn 0.15 its ``random_state`` does
  not change the torch seed, so seeds differ by the order of the rows.
- ``PrototypeRepresentationLearner``: 5 prototypes of 32 principal components, over
  ``fairness_weight``. It minimises by finite differences, so it is trained on 2,000 rows for at
  most 40 iterations; the classifiers behind it train on all rows. First seed only.
"""

import time
import warnings

import numpy as np
import pandas as pd
from _common import (
    CLASSIFIERS,
    Store,
    Task,
    add_run_arguments,
    cell_weights,
    code_fingerprint,
    data_parser,
    fit_classifier,
    load_task,
    measure_all,
    noise_floor,
    provenance,
    rst_table,
    scores,
    source_of,
)
from fairlearn.adversarial import AdversarialFairnessClassifier
from fairlearn.preprocessing import CorrelationRemover, PrototypeRepresentationLearner
from fairlearn.reductions import EqualizedOdds, ExponentiatedGradient
from joblib import delayed
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.preprocessing import StandardScaler
from sklearn.utils.validation import has_fit_parameter

from skfairlatent import FairLatentTransformer

OURS = "FairLatentTransformer"
RAW = "raw embedding"
PREDICTORS = {"linear": "LogisticRegression", "MLP": "MLPClassifier"}
REDUCTION_ITERATIONS = 15
PROTOTYPE_ROWS, PROTOTYPE_ITERATIONS, N_PROTOTYPES, N_COMPONENTS = 2_000, 40, 5, 32


def keep(train, test, _value, _seed, _params):
    """Leave the embedding as it is: the point that every frontier starts from."""
    return train.X, test.X, None


def transform_fair(train, test, value, seed, params):
    """Fit the transformer with `value` as ``lambda_di``."""
    fair = FairLatentTransformer(**{"random_state": seed, **params, "lambda_di": value})
    Z = fair.fit_transform(train.X, train.y, sensitive_features=train.sensitive)
    return Z, fair.transform(test.X), None


def weigh(train, test, value, _seed, _params):
    """Weigh the rows by a power of the balanced weight."""
    return train.X, test.X, cell_weights(train.y, train.group, power=value)


def erase(train, test, value, _seed, _params):
    """Project out a share `value` of the group-mean directions within label."""
    scaler = StandardScaler().fit(train.X.astype(np.float64))
    X, X_test = scaler.transform(train.X), scaler.transform(test.X)
    removed = value * erased_part(X, train.y, train.group)
    return X - X @ removed, X_test - X_test @ removed, None


def erased_part(X, y, group):
    """Return the (oblique) projection onto the group-mean directions, to be applied to rows."""
    directions, centred = [], []
    for label in np.unique(y):
        names = np.unique(group[y == label])
        cells = [X[(y == label) & (group == name)] for name in names]
        means = [cell.mean(axis=0) for cell in cells]
        directions += [mean - means[0] for mean in means[1:]]
        centred += [cell - mean for cell, mean in zip(cells, means, strict=True)]
    covariance = np.cov(np.concatenate(centred).T) + 1e-3 * np.eye(X.shape[1])
    values, vectors = np.linalg.eigh(covariance)
    whiten = vectors / np.sqrt(values) @ vectors.T
    colour = vectors * np.sqrt(values) @ vectors.T
    basis, _ = np.linalg.qr(whiten @ np.array(directions).T)
    return whiten @ basis @ basis.T @ colour


def remove_correlation(train, test, value, _seed, _params):
    """Apply fairlearn's CorrelationRemover with `value` as ``alpha``."""
    names = np.unique(train.group)[1:]
    n_features = train.X.shape[1]
    tables = [np.hstack([rows.X, rows.group[:, None] == names]) for rows in (train, test)]
    ids = list(range(n_features, n_features + len(names)))
    remover = CorrelationRemover(sensitive_feature_ids=ids, alpha=value).fit(tables[0])
    return *map(remover.transform, tables), None


def learn_prototypes(train, test, value, seed, _params):
    """Apply fairlearn's PrototypeRepresentationLearner to principal components."""
    scaler = StandardScaler().fit(train.X)
    pca = PCA(min(N_COMPONENTS, *train.X.shape), random_state=seed)
    P = pca.fit_transform(scaler.transform(train.X)).astype(np.float64)
    size = P.std()
    P_test = pca.transform(scaler.transform(test.X)) / size
    P /= size
    rows = np.random.default_rng(seed).permutation(len(P))[:PROTOTYPE_ROWS]
    learner = PrototypeRepresentationLearner(
        N_PROTOTYPES,
        # The reconstruction error is a sum over the components and would hide the rest.
        reconstruct_weight=0.01,
        fairness_weight=value,
        max_iter=PROTOTYPE_ITERATIONS,
        random_state=seed,
    )
    learner.fit(P[rows], train.y[rows], sensitive_features=train.group[rows])
    return learner.transform(P), learner.transform(P_test), None


def reduce_(train, test, value, seed, predictor):
    """Return each row's probability of label 1 under fairlearn's ExponentiatedGradient."""
    scaler = StandardScaler().fit(train.X)
    base = CLASSIFIERS[PREDICTORS[predictor]](seed)[-1]
    if not has_fit_parameter(base, "sample_weight"):
        return None  # MLPClassifier before scikit-learn 1.7
    reduction = ExponentiatedGradient(
        base,
        EqualizedOdds(difference_bound=value),
        eps=value,
        max_iter=REDUCTION_ITERATIONS,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.simplefilter("ignore", DeprecationWarning)  # fairlearn 0.15 on pandas 3
        reduction.fit(scaler.transform(train.X), train.y, sensitive_features=train.group)
    X_test = scaler.transform(test.X)
    used = reduction.weights_[reduction.weights_ > 0]
    probability = sum(
        weight * np.asarray(reduction.predictors_[i].predict(X_test)) for i, weight in used.items()
    )
    return np.clip(probability, 0, 1)  # the weights sum to 1 but for rounding


def play(train, test, value, seed, predictor):
    """Return the predictions of fairlearn's AdversarialFairnessClassifier."""
    scaler = StandardScaler().fit(train.X)
    rows = np.random.default_rng(seed).permutation(len(train.X))
    classifier = AdversarialFairnessClassifier(
        backend="torch",
        predictor_model=[] if predictor == "linear" else [64, "relu"],
        adversary_model=[32, "relu"],
        constraints="equalized_odds",
        alpha=value,
        epochs=8,
        batch_size=256,
        shuffle=True,
        random_state=seed,
    )
    groups = np.unique(train.group, return_inverse=True)[1]
    X = scaler.transform(train.X)[rows]
    classifier.fit(X, train.y[rows], sensitive_features=groups[rows])
    return np.asarray(classifier.predict(scaler.transform(test.X))).ravel().astype(float)


# Name -> (function, values of the dial, whether every seed is run).
REPRESENTATIONS = {
    RAW: (keep, [0.0], True),
    OURS: (transform_fair, [0.0, 0.3, 1.0, 3.0, 10.0, 30.0], True),
    "cell weights": (weigh, [0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0], True),
    # A direction scaled down is a direction kept, unless little of it is left.
    "linear erasure": (erase, [0.9, 0.95, 0.98, 0.99, 0.995, 1.0], True),
    "CorrelationRemover": (remove_correlation, [0.5, 0.7, 0.8, 0.85, 0.9, 1.0], True),
    "PrototypeRepresentationLearner": (learn_prototypes, [0.0, 0.3, 1.0, 2.0, 4.0], False),
}
IN_TRAINING = {
    "ExponentiatedGradient": (reduce_, [0.005, 0.02, 0.05, 0.1, 0.2], False),
    "AdversarialFairnessClassifier": (play, [0.03, 0.1, 0.3, 1.0, 3.0, 10.0], True),
}
METHODS = {**REPRESENTATIONS, **IN_TRAINING}


def measure_representation(source, task, name, value, seed, params):
    """Run a method that changes rows or weights, and train both classifiers behind it."""
    train, test = load_task(source, task)
    start = time.perf_counter()
    X, X_test, weights = METHODS[name][0](train, test, value, seed, params)
    seconds = time.perf_counter() - start
    found = {}
    for predictor, classifier in PREDICTORS.items():
        model = fit_classifier(classifier, X, train.y, weights=weights, seed=seed)
        predicted = model.predict(X_test)
        found[predictor] = {**scores(test.y, predicted, test.group), "seconds": seconds}
        if name == RAW:
            floor = noise_floor(test.y, predicted, test.group)
            found[predictor] |= {"eo_floor": floor[0], "eo_floor_95": floor[1]}
    return found


def measure_in_training(source, task, name, value, seed, predictor):
    """Run a method that is a classifier itself."""
    train, test = load_task(source, task)
    start = time.perf_counter()
    probability = METHODS[name][0](train, test, value, seed, predictor)
    if probability is None:
        return {}
    seconds = time.perf_counter() - start
    return {predictor: {**lottery_scores(test, probability), "seconds": seconds}}


def lottery_scores(test, probability):
    """Score predictions of 1 drawn with the given probability, by their expectation."""
    twice = [np.concatenate([column, column]) for column in (test.y, test.group)]
    predicted = np.repeat([1, 0], len(test.y))
    weights = np.concatenate([probability, 1 - probability])
    return scores(twice[0], predicted, twice[1], sample_weight=weights)


def plan(options, source, task):
    """Return every run: what identifies it, and the call that makes it."""
    parts = []
    for name in options.methods:
        _, values, every_seed = METHODS[name]
        for value in options.lambda_di if name == OURS else values:
            for seed in options.seeds if every_seed else options.seeds[:1]:
                key = {"task": task.name, "split": source.split, "max_rows": source.max_rows}
                key |= {"method": name, "value": value, "seed": seed}
                if name == OURS:
                    given = FairLatentTransformer(**options.params).get_params()
                    key |= {"params": str(sorted(given.items())), "code": code_fingerprint()}
                parts += calls(source, task, key, options.params)
    return parts


def calls(source, task, key, params):
    """Return the parts of one method at one value and seed."""
    given = source, task, key["method"], key["value"], key["seed"]
    if key["method"] in REPRESENTATIONS:
        return [(key, delayed(measure_representation)(*given, params))]
    return [
        ({**key, "predictor": predictor}, delayed(measure_in_training)(*given, predictor))
        for predictor in PREDICTORS
    ]


def line(key, found):
    """Describe a finished run in one line."""
    said = [f"{name} {run['accuracy']:.3f}/{run['eo']:.3f}" for name, run in found.items()]
    seconds = max((run["seconds"] for run in found.values()), default=0.0)
    return (
        f"{key['method']} at {key['value']:g}, seed {key['seed']}: accuracy/EO "
        f"{', '.join(said) or 'not available'} ({seconds:.0f} s)"
    )


def to_frame(measured):
    """Return one row for each run and classifier."""
    rows = [
        {**{name: key[name] for name in ("method", "value", "seed")}, "classifier": name, **run}
        for key, found in measured
        for name, run in found.items()
    ]
    return pd.DataFrame(rows)


def pareto_front(eo, accuracy):
    """Return the points that no other beats on both, by rising EO and so by rising accuracy."""
    eo, accuracy = np.asarray(eo, float), np.asarray(accuracy, float)
    known = ~(np.isnan(eo) | np.isnan(accuracy))
    eo, accuracy = eo[known], accuracy[known]
    order = np.lexsort((-accuracy, eo))
    eo, accuracy = eo[order], accuracy[order]
    best_so_far = np.maximum.accumulate(np.concatenate([[-np.inf], accuracy[:-1]]))
    better = accuracy > best_so_far
    return eo[better], accuracy[better]


def accuracy_at(level, eo, accuracy):
    """Return the accuracy of a frontier at a level of EO; NaN if it does not get so low."""
    eo, accuracy = pareto_front(eo, accuracy)
    if not len(eo) or level < eo[0]:
        return float("nan")
    return float(np.interp(level, eo, accuracy))


def compare(frame, levels, frontier="means"):
    """Return one row for each classifier and method: its accuracy at each level of EO."""
    points = frame
    if frontier == "means":
        by_setting = frame.groupby(["classifier", "method", "value"], sort=False, as_index=False)
        points = by_setting[["accuracy", "eo"]].mean()
    rows = []
    for (classifier, method), group in points.groupby(["classifier", "method"], sort=False):
        fairest = group.loc[group["eo"].idxmin()]
        row = {"classifier": classifier, "method": method, "settings": group["value"].nunique()}
        row |= {"lowest EO": fairest["eo"], "accuracy there": fairest["accuracy"]}
        row |= {level: accuracy_at(level, group["eo"], group["accuracy"]) for level in levels}
        rows.append(row)
    table = pd.DataFrame(rows)
    by_classifier = [group for _, group in table.groupby("classifier", sort=False)]
    return pd.concat([add_margin(group, levels) for group in by_classifier], ignore_index=True)


def add_margin(table, levels):
    """Add how far ours is ahead of each method, at the level where it is least."""
    ours = table.loc[table["method"] == OURS, levels]
    if ours.empty:
        return table
    ahead = ours.iloc[0] - table[levels]
    margins = ahead.min(axis=1)
    reached = table[levels].notna()
    only_theirs = (reached & ours.iloc[0].isna()).any(axis=1)
    verdicts = [
        verdict(*given) for given in zip(margins, reached.any(axis=1), only_theirs, strict=True)
    ]
    is_ours = table["method"] == OURS
    return table.assign(
        margin=margins.where(~is_ours), verdict=pd.Series(verdicts, table.index).mask(is_ours, ".")
    )


def verdict(margin, reached, only_theirs):
    """Say whether ours is more accurate at equal EO."""
    if not reached:
        return "reaches none of these levels"
    if only_theirs:
        return "BEHIND: reaches a level that ours does not"
    return "ahead" if margin > 0 else "BEHIND"


def with_levels_named(table, levels):
    """Return the table with the names of its columns of levels in words."""
    return table.rename(columns={level: f"EO {level:g}" for level in levels})


def report(table, frame, levels, options, task):
    """Write the table as RST, with what is needed to read it."""
    shown = with_levels_named(table, levels)
    shown = shown.rename(
        columns={"margin": "ours ahead by", "verdict": "FairLatentTransformer is"}
    )
    how = "averaged over" if options.frontier == "means" else "each run of"
    lines = [
        provenance(options),
        "",
        f"Accuracy at equal EO; {how} seeds {', '.join(map(str, options.seeds))}. "
        '"ours ahead by" is the least difference over the levels that both reach.',
    ]
    raw = frame[frame["method"] == RAW]
    if len(raw):
        accuracy, floor = raw["accuracy"].mean(), raw["eo_floor"].mean()
        lines.append(
            f"On these rows sampling alone shows an EO of {floor:.3f} (95 %: "
            f"{raw['eo_floor_95'].mean():.3f}) where there is none; the standard error of one "
            f"accuracy is {np.sqrt(accuracy * (1 - accuracy) / options.n_scored):.3f}, of a "
            "difference on the same rows less."
        )
    return "\n".join([*lines, "", rst_table(f"{task.title}: accuracy at equal EO", shown)])


def frontier_parser(description):
    """Return a parser with the options of one task and of the levels to compare at."""
    parser = data_parser(description)
    parser.add_argument("--label", default="Attractive")
    parser.add_argument("--sensitive", nargs="+", default=["Male"])
    parser.add_argument("--embeddings", default="cnn")
    parser.add_argument("--levels", nargs="+", type=float, default=[0.02, 0.03, 0.05, 0.10])
    return parser


def measured(options, parser, plan, name):
    """Make the runs of a plan that ``OUT/name.jsonl`` does not hold yet.

    Returns
    -------
    source, task, frame
        Data and task that the options ask for, and a table with a row for each run.
    """
    source = source_of(options, parser)
    task = Task(options.label, tuple(options.sensitive), options.embeddings)
    options.out.mkdir(parents=True, exist_ok=True)
    store = Store(options.out / f"{name}.jsonl", fresh=options.fresh)
    frame = to_frame(measure_all(plan(options, source, task), store, options.jobs, line))
    return source, task, frame


def build_parser():
    parser = frontier_parser(__doc__)
    parser.add_argument("--methods", nargs="+", choices=list(METHODS), default=list(METHODS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1])
    parser.add_argument("--lambda-di", nargs="+", type=float, default=METHODS[OURS][1])
    parser.add_argument(
        "--frontier",
        choices=["means", "runs"],
        default="means",
        help="draw frontiers from averages over the seeds, or from single runs",
    )
    add_run_arguments(parser)
    return parser


def main(arguments=None):
    parser = build_parser()
    options = parser.parse_args(arguments)
    source, task, frame = measured(options, parser, plan, "peers")
    options.n_scored = len(load_task(source, task)[1].y)
    table = compare(frame, options.levels, options.frontier)
    text = report(table, frame, options.levels, options, task)
    frame.to_csv(options.out / "peers_runs.csv", index=False)
    table.to_csv(options.out / "peers.csv", index=False)
    (options.out / "peers.rst").write_text(text, encoding="utf-8")
    print("\n" + text)


if __name__ == "__main__":
    main()
