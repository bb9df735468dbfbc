"""How fair is any classifier on Z_Y? Every task, classifier and probe on real face embeddings.

    python examples/benchmarks/face_embeddings.py --data DATA --out results

For each task and seed the transformer is fitted once, with its defaults unless ``--params`` says
otherwise, and four kinds of classifier are trained on the label block, and on the raw embedding.
Finished parts are kept in ``OUT/face_embeddings.jsonl`` and not computed again by the next run
with the same settings and the same code, so an interrupted run goes on where it stopped. Tables
are printed, and written as CSV and RST.

The raw embedding does not depend on the seed of the transformer: it is measured once.
"""

import time

import numpy as np
import pandas as pd
import torch
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
from joblib import delayed

from skfairlatent import FairLatentTransformer
from skfairlatent.diagnostics import group_leakage

# The aim of each task. "at most" and "at least" are bounds on a column of the summary.
# Changes are relative: -0.9 is 90 % less than the same classifier has on the raw embedding.
AT_MOST, AT_LEAST = "at most", "at least"
TARGETS = {
    Task("Attractive", ("Male",), "cnn"): {
        "eo_change": (AT_MOST, -0.90),
        "leak": (AT_MOST, 0.55),
        "accuracy_lost": (AT_MOST, 0.020),
        "dp_change": (AT_MOST, -0.50),
        "wga_change": (AT_LEAST, 0.20),
        "readable": (AT_LEAST, 0.95),
    },
    Task("Big_Nose", ("Male",), "cnn"): {
        "eo_change": (AT_MOST, -0.90),
        "leak": (AT_MOST, 0.57),
        "accuracy_lost": (AT_MOST, 0.015),
        "wga_change": (AT_LEAST, 0.40),
        "readable": (AT_LEAST, 0.95),
    },
    Task("Wavy_Hair", ("Male",), "cnn"): {
        "eo_change": (AT_MOST, -0.90),
        "leak": (AT_MOST, 0.57),
        "accuracy_lost": (AT_MOST, 0.015),
        "wga_change": (AT_LEAST, 0.40),
        "readable": (AT_LEAST, 0.95),
    },
    Task("Attractive", ("Young",), "cnn"): {
        "eo_change": (AT_MOST, -0.85),
        "leak": (AT_MOST, 0.53),
        "accuracy_lost": (AT_MOST, 0.040),
        "readable": (AT_LEAST, 0.95),
    },
    Task("Blond_Hair", ("Male",), "cnn"): {
        "eo": (AT_MOST, 0.01),
        "leak": (AT_MOST, 0.56),
        "wga": (AT_LEAST, 0.90),
        "readable": (AT_LEAST, 0.95),
    },
    Task("Attractive", ("Male", "Young"), "cnn"): {
        "eo_change": (AT_MOST, -0.80),
        "accuracy_lost": (AT_MOST, 0.040),
        "readable": (AT_LEAST, 0.95),
    },
    Task("Attractive", ("Male",), "diffae32"): {
        "eo_change": (AT_MOST, -0.90),
        "leak": (AT_MOST, 0.55),
        "accuracy_lost": (AT_MOST, 0.055),
    },
}
ROUND_TRIP = (AT_MOST, 1e-5)  # for every task
TASKS = {task.name: task for task in TARGETS}
# Classifiers of these labels are trained with cell-balanced weights, on Z_Y and on raw alike.
WEIGHTED_LABELS = {"Blond_Hair"}
PROBES = ("mlp", "boosting")
MEASURED = ["accuracy", "eo", "dp", "wga"]


def measure_classifier(name, train, test, seed, *, weighted):
    """Train one classifier and score it, beside what sampling alone would show."""
    start = time.perf_counter()
    weights = cell_weights(train.y, train.group) if weighted else None
    model = fit_classifier(name, train.X, train.y, weights=weights, seed=seed)
    predicted = model.predict(test.X)
    floor, floor_95 = noise_floor(test.y, predicted, test.group)
    return {
        **scores(test.y, predicted, test.group),
        "eo_floor": floor,
        "eo_floor_95": floor_95,
        "seconds": time.perf_counter() - start,
    }


def measure_leakage(train, test, probes, seed):
    """Return what each probe reads of the (crossed) group within label, on unseen rows."""
    held_out = test.X, test.y, test.group
    table = group_leakage(
        train.X,
        train.y,
        sensitive_features=train.group,
        held_out=held_out,
        probes=probes,
        random_state=seed,
    )
    return {probe: float(row["balanced_accuracy"]) for (_, probe), row in table.iterrows()}


def measure_raw(source, task, part):
    """Measure one part of the raw embedding: a classifier, or ``"leak"``."""
    train, test = load_task(source, task)
    if part == "leak":
        return {"leak": measure_leakage(train, test, ("linear", *PROBES), 0)}
    weighted = task.label in WEIGHTED_LABELS
    return {"classifiers": {part: measure_classifier(part, train, test, 0, weighted=weighted)}}


def measure_latent(source, task, seed, params, classifiers):
    """Fit the transformer, then measure every classifier and probe on its blocks."""
    train, test = load_task(source, task)
    start = time.perf_counter()
    fair = FairLatentTransformer(**{"random_state": seed, **params})
    fair.fit(train.X, train.y, sensitive_features=train.sensitive)
    fit_seconds = time.perf_counter() - start
    Z_train, Z_test = fair.latent(train.X), fair.latent(test.X)
    label, sensitive = fair.label_slice_, fair.sensitive_slice_
    blocks = [
        (train._replace(X=Z_train[:, block]), test._replace(X=Z_test[:, block]))
        for block in (label, sensitive)
    ]
    weighted = task.label in WEIGHTED_LABELS
    return {
        "classifiers": {
            name: measure_classifier(name, *blocks[0], seed, weighted=weighted)
            for name in classifiers
        },
        "leak": measure_leakage(*blocks[0], PROBES, seed),
        "readable": measure_leakage(*blocks[1], ("linear",), seed)["linear"],
        "round_trip": round_trip_error(fair, test.X, Z_test),
        "fit_seconds": fit_seconds,
        "threads": torch.get_num_threads(),
        "width": Z_test[:, label].shape[1],
    }


def round_trip_error(fair, X, Z):
    """Return the largest error of a row, relative to the norm of the standardised row."""
    error = np.linalg.norm((fair.inverse_transform(Z) - X) / fair.scale_, axis=1)
    return float((error / np.linalg.norm((X - fair.mean_) / fair.scale_, axis=1)).max())


def plan(options, source):
    """Return every part of the benchmark: what identifies it, and the call that measures it."""
    rows = {"split": source.split, "max_rows": source.max_rows}
    given = FairLatentTransformer(**options.params).get_params()
    settings = {"params": str(sorted(given.items())), "code": code_fingerprint()}
    parts = []
    for name in options.tasks:
        task = TASKS[name]
        for part in [*options.classifiers, "leak"]:
            key = {"task": name, "raw": part, **rows}
            parts.append((key, delayed(measure_raw)(source, task, part)))
        for seed in options.seeds:
            key = {"task": name, "seed": seed, "classifiers": options.classifiers}
            call = delayed(measure_latent)(source, task, seed, options.params, options.classifiers)
            parts.append(({**key, **rows, **settings}, call))
    return parts


def line(key, found):
    """Describe a finished part in one line."""
    what = f"raw {key['raw']}" if "raw" in key else f"seed {key['seed']}"
    said = [
        f"{name[:3]} {figures['accuracy']:.3f}/{figures['eo']:.3f}"
        for name, figures in found.get("classifiers", {}).items()
    ]
    said += [f"leak {probe} {value:.3f}" for probe, value in found.get("leak", {}).items()]
    if "fit_seconds" in found:
        said.append(f"Z_S {found['readable']:.3f}, fit {found['fit_seconds']:.0f} s")
    return f"{key['task']}, {what}: accuracy/EO {', '.join(said)}"


def to_frame(measured):
    """Return one row for each task, representation, seed and classifier."""
    rows = []
    for key, found in measured:
        leak = {f"leak_{probe}": value for probe, value in found.get("leak", {}).items()}
        whole = {
            name: found[name]
            for name in ("readable", "round_trip", "fit_seconds", "threads", "width")
            if name in found
        }
        common = {"task": key["task"], "seed": key.get("seed", "raw"), **leak, **whole}
        classifiers = found.get("classifiers") or {"": {}}
        rows += [
            {**common, "classifier": name, **figures} for name, figures in classifiers.items()
        ]
    frame = pd.DataFrame(rows)
    probes = [f"leak_{probe}" for probe in PROBES]
    frame["leak"] = frame[probes].max(axis=1)
    return frame


def summarise(frame):
    """Average over the seeds, and compare with the same classifier on the raw embedding."""
    raw, latent = frame[frame["seed"] == "raw"], frame[frame["seed"] != "raw"]
    raw_leak = raw[raw["classifier"] == ""].set_index("task")[["leak", "leak_linear"]]
    raw = raw[raw["classifier"] != ""].set_index(["task", "classifier"])[MEASURED]
    raw = raw.add_suffix("_raw")
    by_pair = latent.drop(columns="seed").groupby(["task", "classifier"], sort=False)
    mean = by_pair.mean()
    mean["round_trip"] = by_pair["round_trip"].max()
    spread = by_pair[MEASURED].std(ddof=0).add_suffix("_spread")
    summary = mean.join(spread).join(raw)
    for name in ("eo", "dp", "wga"):
        summary[f"{name}_change"] = summary[name] / summary[f"{name}_raw"] - 1
    summary["accuracy_lost"] = summary["accuracy_raw"] - summary["accuracy"]
    raw_leak.columns = ["leak_raw", "readable_raw"]
    return summary.drop(columns="leak_linear").reset_index().join(raw_leak, on="task")


def check(summary):
    """Hold every figure against its target."""
    rows = []
    for _, figures in summary.iterrows():
        targets = {**TARGETS[TASKS[figures["task"]]], "round_trip": ROUND_TRIP}
        for name, (side, bound) in targets.items():
            value = figures[name]
            rows.append(
                {
                    **{
                        "task": figures["task"],
                        "classifier": figures["classifier"],
                        "figure": name,
                    },
                    **{"value": value, "target": side, "bound": bound},
                    "met": bool(value <= bound if side == AT_MOST else value >= bound),
                    **equalized_odds_context(name, bound, figures),
                    "readable_raw": figures["readable_raw"],
                }
            )
    return pd.DataFrame(rows)


def equalized_odds_context(name, bound, figures):
    """Set a target for equalised odds beside what sampling alone would show."""
    if name not in ("eo", "eo_change"):
        return {}
    asked = bound if name == "eo" else (1 + bound) * figures["eo_raw"]
    return {
        "eo": figures["eo"],
        "eo_asked": asked,
        "eo_floor": figures["eo_floor"],
        "eo_floor_95": figures["eo_floor_95"],
    }


def percent(values):
    return [f"{100 * value:+.0f} %" for value in values]


def two(first, second, sign=" → "):
    return [f"{a:.3f}{sign}{b:.3f}" for a, b in zip(first, second, strict=True)]


def score_table(rows):
    """Lay out the scores of one task."""
    return pd.DataFrame(
        {
            "classifier": rows["classifier"],
            "accuracy": two(rows["accuracy_raw"], rows["accuracy"]),
            "± seeds": rows["accuracy_spread"],
            "given up": rows["accuracy_lost"],
            "EO": two(rows["eo_raw"], rows["eo"]),
            "± seeds ": rows["eo_spread"],
            "EO change": percent(rows["eo_change"]),
            "EO by chance (mean; 95 %)": two(rows["eo_floor"], rows["eo_floor_95"], "; "),
            "DP": two(rows["dp_raw"], rows["dp"]),
            "DP change": percent(rows["dp_change"]),
            "worst group": two(rows["wga_raw"], rows["wga"]),
            "WGA change": percent(rows["wga_change"]),
        }
    )


def latent_table(summary):
    """Lay out what does not depend on the classifier, one row a task."""
    rows = summary.drop_duplicates("task")
    return pd.DataFrame(
        {
            "task": [TASKS[name].title for name in rows["task"]],
            "width of Z_Y": rows["width"].astype(int),
            "leak raw": rows["leak_raw"],
            "leak, MLP": rows["leak_mlp"],
            "leak, boosting": rows["leak_boosting"],
            "read from Z_S, linear": two(rows["readable_raw"], rows["readable"]),
            "round trip": [f"{value:.1e}" for value in rows["round_trip"]],
            "threads": rows["threads"].astype(int),
            "fit, s": [f"{value:.0f}" for value in rows["fit_seconds"]],
        }
    )


def target_table(checks):
    """Lay out each target, over the classifiers."""
    rows = []
    for (task, name), group in checks.groupby(["task", "figure"], sort=False):
        side, bound = group["target"].iloc[0], group["bound"].iloc[0]
        missed = group[~group["met"]]
        worst = group["value"].max() if side == AT_MOST else group["value"].min()
        verdict = "NOT met" if len(missed) else "met"
        if len(missed) and group["value"].nunique() > 1:
            verdict += ": " + ", ".join(missed["classifier"])
        figures = f"{side} {bound:g}", f"{worst:.3g}"
        rows.append((task, name, *figures, verdict, remark(name, group, missed)))
    return pd.DataFrame(rows, columns=["task", "figure", "target", "worst", "verdict", "remark"])


def remark(name, group, missed):
    """Say what the rows, or the raw embedding, allow at best."""
    if name == "readable":
        return f"read from the raw embedding: {group['readable_raw'].iloc[0]:.3f}"
    if name not in ("eo", "eo_change"):
        return "."
    asked, floor = group["eo_asked"].mean(), group["eo_floor"].mean()
    text = f"EO asked {asked:.3f}, by chance alone {floor:.3f}"
    if len(missed) and (missed["eo"] <= missed["eo_floor_95"]).all():
        text += "; the misses are within chance (95 %)"
    return text


def report(summary, checks, options):
    """Write every table as RST."""
    parts = [provenance(options), ""]
    weighted = "; classifiers with cell-balanced weights on both sides"
    for name, rows in summary.groupby("task", sort=False):
        task = TASKS[name]
        title = task.title + (weighted if task.label in WEIGHTED_LABELS else "")
        parts.append(rst_table(f"{title} (raw → Z_Y)", score_table(rows)))
    parts.append(rst_table("The blocks", latent_table(summary)))
    parts.append(rst_table("Targets", target_table(checks)))
    return "\n".join(parts)


def write(out, frame, summary, checks, text):
    """Write what was found beside the parts."""
    for name, table in (("runs", frame), ("summary", summary), ("targets", checks)):
        table.to_csv(out / f"face_embeddings_{name}.csv", index=False)
    (out / "face_embeddings.rst").write_text(text, encoding="utf-8")


def build_parser():
    parser = data_parser(__doc__)
    parser.add_argument("--tasks", nargs="+", choices=list(TASKS), default=list(TASKS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument(
        "--classifiers", nargs="+", choices=list(CLASSIFIERS), default=list(CLASSIFIERS)
    )
    add_run_arguments(parser)
    return parser


def main(arguments=None):
    parser = build_parser()
    options = parser.parse_args(arguments)
    source = source_of(options, parser)
    options.out.mkdir(parents=True, exist_ok=True)
    store = Store(options.out / "face_embeddings.jsonl", fresh=options.fresh)
    frame = to_frame(measure_all(plan(options, source), store, options.jobs, line))
    summary = summarise(frame)
    checks = check(summary)
    text = report(summary, checks, options)
    write(options.out, frame, summary, checks, text)
    print("\n" + text)


if __name__ == "__main__":
    main()
