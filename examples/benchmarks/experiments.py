"""Which parts of the method matter, what it stands, and how it fails: runs of our own settings.

    python examples/benchmarks/experiments.py NAME... --data DATA --out results/experiments.csv
    python examples/benchmarks/experiments.py NAME... --render results/experiments.csv

An experiment is a table of settings of the transformer, each fitted on the tasks of the experiment
with three seeds, as `run.py` does it: rows go on from where they stopped. Each is scored by three
classifiers, for each sensitive attribute of the task and their crossings, whichever were given to
``fit``, and judged by `diagnose` on the rows that are scored. "variety" is the variance of the
smallest label edits that flip a logistic regression's decisions, decoded to embeddings, in
units of that of the embeddings they start from: 0 if all edits end at one point. "variety alone"
is that of the edited label block decoded without the sensitive block of the row. With ``--render``
the tables, and the figure of the sensitivity, are made of the file.
"""

import argparse
import os
import sys
import time
import warnings
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from _common import crossed, permuted_gaps, rst_table
from _methods import fit_fair
from _tasks import NOISES, Drawn, load
from run import CLASSIFIERS, QUICK_ROWS, collect, decisions, read_runs, scores
from sklearn.linear_model import LogisticRegression

from skfairlatent.counterfactuals import CounterfactualExplainer
from skfairlatent.diagnostics import diagnose, effective_rank, off_diagonal_mass

TERMS = ["dg", "eq", "di", "g", "cls"]
RAW = "raw"
CONTRASTIVE = {"distance": "contrastive"}
JUDGED_ROWS, EDITED_ROWS = 4000, 500
SCORED_BY = ["logistic", "MLP", "boosting"]


def without(*terms):
    return {f"lambda_{term}": 0.0 for term in terms}


def alone(term):
    return without(*(each for each in TERMS if each != term))


def terms_left_out():
    """Return the ablation of losses, for the default distance and in part for the paper's."""
    settings = {
        "all": {},
        "none": without(*TERMS),
        **{f"only {term}": alone(term) for term in TERMS},
        **{f"without {term}": without(term) for term in TERMS},
        "without dg and eq": without("dg", "eq"),
    }
    with_the_papers = ["all", "only di", "without dg and eq", "without cls"]
    return settings | {
        f"{name}, contrastive": settings[name] | CONTRASTIVE for name in with_the_papers
    }


SHAPES = {
    **{f"n_label_components={k}": {"n_label_components": k} for k in (4, 16)},
    **{f"n_blocks={n}": {"n_blocks": n} for n in (1, 4)},
}
DEFAULT_WEIGHTS = {"dg": 0.3, "eq": 0.3, "di": 3.0, "g": 0.1, "cls": 3.0}
SENSITIVITY = {"defaults": {}} | {
    f"lambda_{term} x {factor:g}": {f"lambda_{term}": value * factor}
    for term, value in DEFAULT_WEIGHTS.items()
    for factor in (0.01, 0.1, 10.0, 100.0)
}
FAILURES = {
    "defaults": {},
    "lambda_di=300": {"lambda_di": 300.0},
    "lambda_cls=0.03": {"lambda_cls": 0.03},
    "lambda_cls=0.03, lambda_di=0.03": {"lambda_cls": 0.03, "lambda_di": 0.03},
    "lambda_g=0, lambda_eq=0": without("g", "eq"),
    "lambda_di=0": {"lambda_di": 0.0},
    "n_label_components=16": {"n_label_components": 16},
    "max_iter=5": {"max_iter": 5},
    "max_iter=10": {"max_iter": 10},
    "learning_rate_init=1e-6": {"learning_rate_init": 1e-6},
    "learning_rate_init=0.3": {"learning_rate_init": 0.3},
    "input_noise=0": {"input_noise": 0.0},
}


class Experiment(NamedTuple):
    """Settings to fit, and the tasks to fit them on.

    Of a setting the key ``sensitive`` holds the attributes that are given to ``fit``, all by
    default; ``crossed`` are those that are scored crossed with one another.
    """

    tasks: list
    settings: dict
    max_rows: int = 3000
    crossed: tuple = ()

    @property
    def variants(self):
        return [RAW, *self.settings]


FACES = ["Male", "Young", "Black_Hair", "Smiling"]
TWO = ["adult-sex", "attractive-male-cnn"]
EXPERIMENTS = {
    "ablation": Experiment(TWO, terms_left_out() | SHAPES),
    "sensitivity": Experiment(TWO, SENSITIVITY),
    "attributes": Experiment(
        ["attractive-four-cnn"],
        {
            " x ".join(names): {"sensitive": names}
            for names in [FACES[:1], FACES[1:2], FACES[:2], FACES[:3], FACES]
        },
        crossed=(FACES[:2], FACES[:3]),
    ),
    "groups": Experiment(
        ["gender-utkface"],
        {name: {"sensitive": [name]} for name in ("ethnicity", "age2", "age4", "age8")},
    ),
    "latents": Experiment([f"latents-{noise}" for noise in NOISES], {"defaults": {}}),
    "failures": Experiment(["adult-sex"], FAILURES),
}

KEYS = ["experiment", "task", "setting", "seed", "split", "max_rows"]
COLUMNS = [
    *KEYS, "classifier", "group", "accuracy", "equalized_odds", "noise_floor",
    "equalized_odds_worst", "demographic_parity", "worst_group_accuracy", "leak", "label_read",
    "label_rank", "label_variance", "rank", "off_diagonal", "variety", "variety_alone", "reached",
    "warnings", "seconds", "code", "machine",
]  # fmt: skip


def measure(data, key):
    """Return a row of figures for each classifier and each way to group the rows."""
    experiment = EXPERIMENTS[key["experiment"]]
    fit, new = load(key["task"], Drawn(data, key["seed"], key["split"], key["max_rows"]))
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those of diagnose are among the figures
        if key["setting"] == RAW:
            Z, Z_new, leaks = fit.X, new.X, {}
            judged = new.X[:JUDGED_ROWS]
            found = {"rank": effective_rank(judged), "off_diagonal": off_diagonal_mass(judged)}
        else:
            setting = dict(experiment.settings[key["setting"]])
            names = setting.pop("sensitive", list(fit.sensitive))
            fair, Z = fit_fair(
                fit._replace(sensitive=fit.sensitive[names]), key["seed"], **setting
            )
            Z_new = fair.transform(new.X)
        seconds = time.perf_counter() - start
        if key["setting"] != RAW:
            found, leaks = judge(fair, Z, fit, new)
        found["seconds"] = seconds
        rows = []
        for name in SCORED_BY:
            model = CLASSIFIERS[name](key["seed"])
            decided, _ = decisions(model, (Z, Z_new, None), fit.y, new.y, key["seed"])
            for group, row in by_group(new, decided, experiment.crossed).items():
                named = {"classifier": name, "group": group, "leak": leaks.get(group)}
                rows.append(key | named | row | found)
    return rows


def by_group(new, decided, crossings):
    """Return scores for each sensitive attribute, and for some of them crossed."""
    found = {}
    for names in [*([name] for name in new.sensitive), *crossings]:
        group = crossed(new.sensitive[names])
        found[" x ".join(names)] = scores(new.y, group, decided)
        if len(new.sensitive.columns) > 1:
            floor = permuted_gaps(new.y, decided, group, 50).mean()
            found[" x ".join(names)]["noise_floor"] = floor
    return found


def judge(fair, Z, fit, new):
    """Return what `diagnose` finds on the rows to score on, and the leak of each attribute."""
    X, y, sensitive = (part[:JUDGED_ROWS] for part in (new.X, new.y, new.sensitive))
    found = diagnose(fair, X, y, sensitive_features=sensitive, random_state=0)
    leak = found.leakage["balanced_accuracy"].groupby(level="sensitive_feature").max()
    blocks = found.blocks
    figures = {
        "label_read": found.label_readability["balanced_accuracy"].max(),
        "label_rank": blocks.loc["label", "effective_rank"],
        "label_variance": blocks.loc["label", "variance"],
        "rank": blocks.loc["full", "effective_rank"],
        "off_diagonal": found.off_diagonal["total"],
        "warnings": "; ".join(dict.fromkeys(text.partition(":")[0] for text in found.warnings)),
    }
    return figures | edits(fair, Z, fit, new.X[:EDITED_ROWS]), leak.to_dict()


def edits(fair, Z, fit, X):
    """Return how much label edits differ from one another, as they are and with a neutral rest."""
    explainer = CounterfactualExplainer(fair, LogisticRegression().fit(Z, fit.y)).fit(fit.X, fit.y)
    result = explainer.explain_label(X)
    alone = fair.inverse_transform(result.latents[:, 0, fair.label_slice_])
    return {
        "variety": result.variety,
        "variety_alone": replace(result, embeddings=alone[:, np.newaxis]).variety,
        "reached": result.reached.mean(),
    }


# Tables and the figure.

TITLES = {
    "adult-sex": "Adult by sex",
    "attractive-male-cnn": "CelebA, Attractive by Male",
    "attributes": "Attributes given to fit",
    "groups": "Numbers of groups",
    "latents": "Made-up embeddings",
    "sensitivity": "Range of each weight",
}
SHOWN = {"logistic": "linear", "boosting": "trees"}
JUDGED = {
    "ablation": ["leak", "rank", "off_diagonal"],
    "latents": ["leak", "label_read", "rank", "off_diagonal"],
    "failures": ["leak", "label_read", "label_variance", "variety", "variety_alone"],
}
# A result has moved if accuracy or gap differ by more from those of the default.
MOVED = {"accuracy": 0.01, "equalized_odds": 0.02}


def spread(values):
    """Return the mean over the seeds as text, with half the range."""
    half = f" ± {np.ptp(values) / 2:.3f}" if len(values) > 1 else ""
    return f"{values.mean():.3f}{half}"


def judged_table(runs, name):
    """Return accuracy and gap of two classifiers, what `diagnose` measured, and its warnings."""
    several = runs["task"].nunique() > 1 and name == "latents"
    index = ["task", "setting"] if several else ["setting"]
    once = runs[runs["classifier"] == "logistic"].groupby(index, sort=False)
    # The warnings come first: a narrow screen shows the first columns only.
    columns = {
        "warnings": once["warnings"].agg(
            lambda texts: "; ".join(dict.fromkeys("; ".join(texts.dropna()).split("; "))) or "none"
        )
    }
    columns |= {
        f"{short} {title}": runs[runs["classifier"] == classifier]
        .groupby(index, sort=False)[metric]
        .agg(spread)
        for classifier, title in SHOWN.items()
        for metric, short in (("accuracy", "accuracy"), ("equalized_odds", "EO"))
    }
    columns |= {metric.replace("_", " "): once[metric].mean() for metric in JUDGED[name]}
    table = pd.DataFrame(columns).reset_index()
    table.loc[table["setting"] == RAW, "warnings"] = "n/a"
    return table


def group_table(runs):
    """Return the gaps of boosted trees by each grouping, below what sampling alone would show."""
    trees = runs[runs["classifier"] == "boosting"]
    groups = {"index": "setting", "columns": "group", "sort": False}
    gaps = trees.pivot_table(values="equalized_odds", aggfunc=spread, **groups)
    floor = trees[trees["setting"] == RAW].groupby("group")["noise_floor"].mean()
    gaps.insert(0, "accuracy", trees.groupby("setting")["accuracy"].mean())
    gaps = gaps.astype(object)  # a text among numbers
    gaps.loc["sampling alone"] = ["", *(f"{floor[name]:.3f}" for name in gaps.columns[1:])]
    return gaps.rename_axis("given to fit", axis=0).reset_index()


def tables(runs, name):
    if name in JUDGED:
        parts = {"": runs} if name == "latents" else dict(iter(runs.groupby("task", sort=False)))
        shown = {task or name: judged_table(part, name) for task, part in parts.items()}
    elif name == "sensitivity":
        shown = {name: flat_table(runs)}
    else:
        shown = {name: group_table(runs)}
    return "\n".join(rst_table(TITLES.get(key, key), table) for key, table in shown.items())


def swept(runs):
    """Return accuracy and gap of trees for each task, term and factor of its weight."""
    trees = runs[(runs["classifier"] == "boosting") & (runs["setting"] != RAW)]
    parts = trees["setting"].str.extract(r"lambda_(?P<term>\w+) x (?P<factor>.+)")
    trees = trees.assign(term=parts["term"], factor=parts["factor"].astype(float))
    default = trees[trees["setting"] == "defaults"].assign(factor=1.0)
    every = pd.concat([trees, *(default.assign(term=term) for term in DEFAULT_WEIGHTS)])
    return every.groupby(["term", "factor", "task"])[list(MOVED)].mean().unstack("task")


def flat(points):
    """Return the factors around 1 between which no task's accuracy or gap moves."""
    stays = pd.Series(True, index=points.index)
    for metric, limit in MOVED.items():
        stays &= ((points[metric] - points.loc[1.0, metric]).abs() <= limit).all(axis=1)
    run = (stays != stays.shift()).cumsum()
    return points.index[run == run[1.0]]


def flat_table(runs):
    points = swept(runs)
    rows = []
    for term, default in DEFAULT_WEIGHTS.items():
        values = flat(points.loc[term]) * default
        texts = f"{default:g}", f"{values.min():g}", f"{values.max():g}"
        rows.append([f"lambda_{term}", *texts])
    return pd.DataFrame(rows, columns=["weight", "default", "flat from", "to"])


def figure(runs):
    """Draw accuracy and gap against each weight, with the region where neither moves shaded."""
    import matplotlib.pyplot as plt  # noqa: PLC0415 - runs do without it

    points = swept(runs)
    drawn, axes = plt.subplots(
        len(DEFAULT_WEIGHTS), 2, figsize=(7, 9), sharey="col", layout="constrained"
    )
    titles = {"accuracy": "accuracy", "equalized_odds": "gap"}
    for row, (term, default) in zip(axes, DEFAULT_WEIGHTS.items(), strict=True):
        part = points.loc[term]
        kept = flat(part) * default
        for axis, (metric, title) in zip(row, titles.items(), strict=True):
            axis.axvspan(kept.min(), kept.max(), color="0.9", label="does not move")
            axis.axvline(default, color="0.5", linestyle=":", label="default")
            for marker, task in zip("os", part[metric], strict=False):
                axis.plot(part.index * default, part[metric][task], marker=marker, label=task)
            ends = default / 150, default * 150
            axis.set(xscale="log", xlabel=f"lambda_{term}", ylabel=title, xlim=ends)
    drawn.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=4)
    return drawn


def render(names, path):
    """Write the tables of experiments beside their runs, and the figure of the sensitivity."""
    runs = read_runs(path, [*KEYS, "group"])
    for name in names:
        part = runs[runs["experiment"] == name]
        if part.empty:
            sys.exit(f"{path} has no runs of {name}.")
        text = tables(part, name)
        print(text)
        path.with_name(f"{path.stem}_{name}.txt").write_text(text, encoding="utf-8")
        if name == "sensitivity":
            figure(part).savefig(path.with_name("sensitivity.png"), dpi=120)


class Script(NamedTuple):
    """A script of experiments: what it runs, and what its file of runs holds.

    An experiment has ``tasks``, ``variants`` and ``max_rows``; a variant is what the third of the
    `keys` names, as a setting.
    """

    description: str
    experiments: dict
    measure: object
    render: object
    keys: list
    columns: list
    seeds: list


def plan(script, options):
    return [
        dict(zip(script.keys, (name, task, variant, seed, "valid", rows), strict=True))
        for name in options.names
        for rows in [options.max_rows or script.experiments[name].max_rows]
        for task in script.experiments[name].tasks
        if task in (options.tasks or [task])
        for seed in options.seeds
        for variant in script.experiments[name].variants
        if variant in (options.variants or [variant])
    ]


def build_parser(script):
    parser = argparse.ArgumentParser(
        description=script.description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    out = Path("benchmark_results", f"{Path(sys.argv[0]).stem}.csv")
    parser.add_argument("names", nargs="+", choices=script.experiments)
    parser.add_argument("--data", default=os.environ.get("SKFAIRLATENT_DATA"))
    parser.add_argument("--out", type=Path, default=out)
    parser.add_argument("--render", type=Path, help="make tables of the runs in this file")
    parser.add_argument("--seeds", nargs="+", type=int, default=script.seeds)
    parser.add_argument("--tasks", nargs="+", help="only these")
    parser.add_argument(f"--{script.keys[2]}s", dest="variants", nargs="+", help="only these")
    parser.add_argument("--max-rows", type=int)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="500 rows and one seed")
    return parser


def run_or_render(script, arguments):
    """Do what the command line of a script of experiments asks for."""
    parser = build_parser(script)
    options = parser.parse_args(arguments)
    if options.render is not None:
        script.render(options.names, options.render)
        return
    if options.data is None:
        parser.error("name the folder of the data: --data DATA, or SKFAIRLATENT_DATA")
    if options.quick:
        options.seeds, options.max_rows = options.seeds[:1], QUICK_ROWS
    if not (runs := plan(script, options)):
        parser.error(f"no run has these --tasks and --{script.keys[2]}s")
    collect(script.measure, runs, script.columns, options)


def main(arguments=None):
    run_or_render(
        Script(__doc__, EXPERIMENTS, measure, render, KEYS, COLUMNS, seeds=[0, 1, 2]), arguments
    )


if __name__ == "__main__":
    main()
