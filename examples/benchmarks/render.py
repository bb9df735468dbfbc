"""Tables of the runs of `run.py`: the accuracy of each method at equal gaps.

    python examples/benchmarks/render.py docs/results/runs.csv --out docs/results/comparison

The runs of a setting are averaged over the seeds; of the averages, those that no other beats on
both accuracy and gap are the frontier of the method, and between two of its points the straight
line counts: drawing one of the two models by lot for each person gets there. An entry is "n/a"
where a frontier does not reach the level; beyond its last point its best accuracy stands.
Frontiers are drawn on the rows scored on, for every method alike.

``OUT_summary.txt`` holds our lead over the best rival that does not see the group, with the
standard error over the seeds, ``OUT_balanced.txt`` that in balanced accuracy, of classifiers that
were fitted with equal weights of the classes, ``OUT_dial.txt`` what each value of ``lambda_di``
gives, ``OUT_methods.txt`` every method, ``OUT_settings.txt`` every figure of a few settings, and
``OUT_ceiling.txt`` what thresholds that see the group and the label reach.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from _common import rst_table
from _methods import CEILING, DEMOGRAPHIC_PARITY, EQUALIZED_ODDS, METHODS, OURS, RAW
from run import BALANCED, KEYS, read_runs

GAPS = {EQUALIZED_ODDS: "EO", DEMOGRAPHIC_PARITY: "DP"}
SUMMARY_LEVELS = {EQUALIZED_ODDS: [0.03, 0.05, 0.1], DEMOGRAPHIC_PARITY: [0.02, 0.05, 0.1]}
LEVELS = {EQUALIZED_ODDS: [0.02, 0.03, 0.05, 0.1, 0.15], DEMOGRAPHIC_PARITY: [0.02, 0.05, 0.1]}


# Of the methods, values of their dials and columns that are shown in full.
UNSCORED = f"{OURS}(label_scores=False)"
SETTINGS = [
    (RAW, 0.0), (OURS, 3.0), (OURS, 30.0), (UNSCORED, 3.0), (UNSCORED, 30.0),
    ("cell weights", 1.0), ("LEACE", 1.0), ("kernel closed form", 0.95),
]  # fmt: skip
FIGURES = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced",
    "equalized_odds": "EO",
    "equalized_odds_worst": "EO, worst",
    "demographic_parity": "DP",
    "worst_group_accuracy": "worst group",
    "worst_cell_accuracy": "worst cell",
    "leak": "leak",
    "chance": "EO by chance",
}


def pareto_front(gap, accuracy):
    """Return the points that no other beats on both, by rising gap and so by rising accuracy."""
    gap, accuracy = np.asarray(gap, float), np.asarray(accuracy, float)
    known = ~(np.isnan(gap) | np.isnan(accuracy))
    gap, accuracy = gap[known], accuracy[known]
    order = np.lexsort((-accuracy, gap))
    gap, accuracy = gap[order], accuracy[order]
    best_so_far = np.maximum.accumulate(np.concatenate([[-np.inf], accuracy[:-1]]))
    better = accuracy > best_so_far
    return gap[better], accuracy[better]


def accuracy_at(level, gap, accuracy):
    """Return the accuracy of a frontier at a gap; NaN if it does not get so low."""
    gap, accuracy = pareto_front(gap, accuracy)
    if not len(gap) or level < gap[0]:
        return float("nan")
    return float(np.interp(level, gap, accuracy))


def at_levels(runs, gap, levels, metric):
    """Return the accuracy of each method at each level, shape (n_methods, n_levels).

    What a lottery with the raw model reaches is reached by every method.
    """
    points = runs.groupby(["method", "dial"], sort=False, as_index=False)[[gap, metric]].mean()
    raw = points[points["method"] == RAW]
    found = {
        method: [
            accuracy_at(level, *pd.concat([part, raw])[[gap, metric]].to_numpy().T)
            for level in levels
        ]
        for method, part in points.groupby("method", sort=False)
    }
    return pd.DataFrame.from_dict(found, orient="index", columns=levels)


def leads(runs, gap, levels, metric):
    """Return the lead over the best rival at each level, its standard error, and who that is.

    A rival that was run with some of the seeds only is compared on those.
    """
    table = at_levels(runs, gap, levels, metric)
    seeds = {name: set(part["seed"]) for name, part in runs.groupby("method")}
    by_seed = {seed: at_levels(part, gap, levels, metric) for seed, part in runs.groupby("seed")}
    rivals = [
        name
        for name in table.index
        if name in METHODS and not _is_ours(name) and not METHODS[name].needs_group
    ]
    rows = []
    for level in levels:
        found = {}
        for rival in rivals:
            common = seeds[OURS] & seeds[rival]
            shared = at_levels(runs[runs["seed"].isin(common)], gap, [level], metric)
            if rival in shared.index and not np.isnan(shared.loc[rival, level]):
                found[rival] = shared.loc[OURS, level] - shared.loc[rival, level], common
        rival = min(found, key=lambda name: found[name][0]) if found else None
        if rival is not None and np.isnan(table.loc[OURS, level]):
            rival = table.loc[list(found), level].idxmax()
        lead, common = found.get(rival, (np.nan, ()))
        differences = [
            by_seed[seed].loc[OURS, level] - by_seed[seed].loc[rival, level] for seed in common
        ]
        rows.append(
            {
                "level": level,
                "ours": table.loc[OURS, level],
                "rival": rival,
                "lead": lead,
                "error": standard_error(differences),
            }
        )
    return pd.DataFrame(rows)


def standard_error(values):
    """Return the standard error of the mean; NaN for fewer than two values."""
    values = np.array(values, float)
    values = values[~np.isnan(values)]
    return values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else float("nan")


def _is_ours(name):
    return name.startswith(OURS)


def summaries(runs, metric):
    """Return our lead over the best rival as RST, a table for each criterion."""
    texts = []
    for constraints, same in runs.groupby("constraints", sort=False):
        if rows := [_summary_row(*part, metric) for part in _parts(same)]:
            title = f"{_words(metric)} at equal gaps, {_words(constraints).lower()}"
            texts.append(rst_table(title, pd.DataFrame(rows)))
    return "\n".join(texts)


def _summary_row(key, runs, metric):
    task, constraints, classifier = key
    found = leads(runs, constraints, SUMMARY_LEVELS[constraints], metric)
    raw = runs.loc[runs["method"] == RAW, [metric, constraints]].mean()
    return {
        "task": task,
        "seeds": runs.loc[runs["method"] == OURS, "seed"].nunique(),
        "classifier": classifier,
        "raw (gap)": f"{raw[metric]:.3f} ({raw[constraints]:.3f})",
        **{
            f"{GAPS[constraints]} {each.level:g}: ours, lead": _lead_text(each)
            for each in found.itertuples()
        },
    }


def _lead_text(found):
    if np.isnan(found.ours):
        return "not reached" if pd.isna(found.rival) else f"not reached; {found.rival} is"
    if np.isnan(found.lead):
        return f"{found.ours:.3f}, alone"
    error = "" if np.isnan(found.error) else f" ± {100 * found.error:.1f}"
    return f"{found.ours:.3f}, {100 * found.lead:+.1f}{error}"


def ceilings(runs):
    """Return our accuracy at equal gaps beside the ceiling, as RST, a table for each criterion.

    Only seeds that both have count.
    """
    texts = []
    for constraints, same in runs.groupby("constraints", sort=False):
        rows = []
        for (task, classifier), part in same.groupby(["task", "classifier"], sort=False):
            seeds = [set(part.loc[part["method"] == name, "seed"]) for name in (OURS, CEILING)]
            of_both = part[part["seed"].isin(set.intersection(*seeds))]
            if {RAW, OURS, CEILING} <= set(of_both["method"]):
                rows.append(_ceiling_row(task, classifier, of_both, constraints))
        if rows:
            title = f"Ours, and the ceiling, {_words(constraints).lower()}"
            texts.append(rst_table(title, pd.DataFrame(rows)))
    return "\n".join(texts)


def _ceiling_row(task, classifier, runs, constraints):
    levels = SUMMARY_LEVELS[constraints]
    table = at_levels(runs, constraints, levels, "accuracy")
    raw = runs.loc[runs["method"] == RAW, ["accuracy", constraints]].mean()
    return {
        "task": task,
        "seeds": runs["seed"].nunique(),
        "classifier": classifier,
        "raw (gap)": f"{raw['accuracy']:.3f} ({raw[constraints]:.3f})",
        **{
            f"{GAPS[constraints]} {level:g}": " / ".join(
                "n/a" if np.isnan(table.loc[name, level]) else f"{table.loc[name, level]:.3f}"
                for name in (OURS, CEILING)
            )
            for level in levels
        },
    }


def dial(runs):
    """Return the gap and the accuracy of a logistic regression at each ``lambda_di``, as RST."""
    runs = runs[(runs["classifier"] == "logistic") & runs["method"].isin([RAW, OURS])]
    texts = []
    for constraints, same in runs.groupby("constraints", sort=False):
        rows = []
        for task, part in same.groupby("task", sort=False):
            means = part.groupby(["method", "dial"])[[constraints, "accuracy"]].mean()
            cells = {
                "raw" if method == RAW else f"{value:g}": f"{gap:.3f} / {accuracy:.3f}"
                for (method, value), gap, accuracy in means.itertuples()
            }
            rows.append({"task": task, "raw": cells.pop("raw", "n/a"), **cells})
        title = f"{_words(constraints)} and accuracy by lambda_di"
        texts.append(rst_table(title, pd.DataFrame(rows).fillna("n/a")))
    return "\n".join(texts)


def _words(name):
    return name.replace("_", " ").capitalize()


def tables(runs, metric):
    """Return every method's accuracies at equal gaps as RST, a table for each part."""
    texts = []
    for (task, constraints, classifier), part in _parts(runs):
        levels = LEVELS[constraints]
        table = at_levels(part, constraints, levels, metric)
        points = part.groupby(["method", "dial"], sort=False)[[metric, constraints]].mean()
        fairest = points.loc[points.groupby("method", sort=False)[constraints].idxmin()]
        fairest = fairest.reset_index("dial", drop=True).loc[table.index]
        table.insert(0, "accuracy there", fairest[metric])
        table.insert(0, f"lowest {GAPS[constraints]}", fairest[constraints])
        table.columns = [
            f"{GAPS[constraints]} {name:g}" if isinstance(name, float) else name
            for name in table.columns
        ]
        table.index = [
            f"{name} (needs the group)" if METHODS[name].needs_group else name
            for name in table.index
        ]
        title = f"{task}, {classifier}, {_words(constraints).lower()}"
        texts.append(rst_table(title, table.rename_axis("method").reset_index()))
    return "\n".join(texts)


def settings(runs):
    """Return every figure of a few settings as RST, a table for each task.

    Means over the seeds, with the standard deviation where there are several. Figures that no run
    of a task has are left out.
    """
    texts = []
    for (task, constraints), part in runs.groupby(["task", "constraints"], sort=False):
        figures = {name: title for name, title in FIGURES.items() if part[name].notna().any()}
        rows = []
        for classifier, same in part.groupby("classifier", sort=False):
            for method, dial in SETTINGS:
                those = same[(same["method"] == method) & (same["dial"] == dial)]
                if len(those):
                    shown = method
                    if _is_ours(method):
                        shown = f"lambda_di={dial:g}" + ", no label_scores" * (method == UNSCORED)
                    rows.append(
                        {
                            "classifier": classifier,
                            "method": shown,
                            **{title: _mean(those[name]) for name, title in figures.items()},
                        }
                    )
        if OURS in set(part["method"]):
            seeds = part.loc[part["method"] == OURS, "seed"].nunique()
            title = f"{task}, {_words(constraints).lower()}, {seeds} seed{'s'[: seeds > 1]}"
            texts.append(rst_table(title, pd.DataFrame(rows)))
    return "\n".join(texts)


def _mean(values):
    if values.isna().any():
        return "n/a"
    spread = f" ± {values.std(ddof=1):.3f}" if len(values) > 1 else ""
    return f"{values.mean():.3f}{spread}"


def _parts(runs):
    """Yield the runs of each task, criterion and classifier for which raw and ours are there."""
    runs = runs[runs["method"].isin(METHODS)]
    for key, part in runs.groupby(["task", "constraints", "classifier"], sort=False):
        if {RAW, OURS} <= set(part["method"]):
            yield key, part


def _plain(runs):
    """Return the runs of classifiers on the rows as they come, without those of the ceiling."""
    return runs[~runs["classifier"].str.startswith(BALANCED) & (runs["method"] != CEILING)]


def _balanced(runs):
    return runs[runs["classifier"].str.startswith(BALANCED)]


TABLES = {
    "summary": lambda runs: summaries(_plain(runs), "accuracy"),
    "balanced": lambda runs: summaries(_balanced(runs), "balanced_accuracy"),
    "dial": lambda runs: dial(_plain(runs)),
    "methods": lambda runs: tables(_plain(runs), "accuracy"),
    "settings": lambda runs: settings(_plain(runs)),
    "ceiling": lambda runs: ceilings(runs[~runs["classifier"].str.startswith(BALANCED)]),
}


def main(arguments=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", type=Path)
    parser.add_argument("--out", type=Path, help="beginning of the names of the files to write")
    parser.add_argument("--tables", nargs="+", choices=TABLES, default=list(TABLES))
    options = parser.parse_args(arguments)
    runs = read_runs(options.runs, KEYS)
    for name in options.tables:
        text = TABLES[name](runs)
        print(text)
        if options.out is not None:
            options.out.with_name(f"{options.out.name}_{name}.txt").write_text(
                text, encoding="utf-8"
            )


if __name__ == "__main__":
    main()
