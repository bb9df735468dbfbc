"""The benchmarks run from end to end on made-up data, and count what they say they count."""

import functools
import importlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from skfairlatent.metrics import equalized_odds_difference

pytestmark = pytest.mark.benchmarks

FOLDER = Path(__file__).parents[2] / "examples" / "benchmarks"
ATTRIBUTES = ["Attractive", "Blond_Hair", "Male", "Young"]
N_FEATURES = 6


@pytest.fixture
def script(monkeypatch):
    """Import a script as Python does that runs it: with its folder on the path.

    One thread: boosted trees on few rows only wait for a second one, long if the machine is busy.
    torch is told too, or it would raise the number for everyone at its first parallel loop.
    """
    monkeypatch.syspath_prepend(str(FOLDER))
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with threadpool_limits(limits=1):
        yield importlib.import_module
    torch.set_num_threads(n_threads)


@pytest.fixture(scope="module")
def tiny_data(tmp_path_factory):
    """A folder laid out like the real data, with 240 rows to fit on and 160 to score on."""
    root = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    table = pd.DataFrame(rng.integers(2, size=(400, 4)), columns=ATTRIBUTES)
    table.insert(0, "image_id", [f"{i:06d}" for i in range(400)])
    table.insert(1, "split", np.repeat(["train", "valid"], [240, 160]))
    (root / "celeba64").mkdir()
    table.to_csv(root / "celeba64" / "attributes.csv", index=False)
    signal = table[ATTRIBUTES].to_numpy() @ rng.normal(size=(4, N_FEATURES))
    codes = np.clip(128 + 20 * (signal + rng.normal(size=signal.shape)), 0, 255)
    for name in ("celeba_cnn", "celeba_diffae32"):
        (root / name).mkdir()
        np.savez(
            root / name / "embeddings.npz",
            image_id=table["image_id"].to_numpy(str),
            codes=codes.astype(np.uint8),
            scale=np.full(N_FEATURES, 0.05, dtype=np.float32),
            offset=np.zeros(N_FEATURES, dtype=np.float32),
        )
    return root


TASK = "attractive-male-cnn"


def test__run__goes_on_where_it_stopped_and_renders(script, tiny_data, tmp_path, capsys):
    run, render = script("run"), script("render")
    out = tmp_path / "runs.csv"
    given = [TASK, "--data", str(tiny_data), "--out", str(out), "--quick"]

    run.main([*given, "--methods", "raw", "linear erasure"])
    assert "2 runs to go" in capsys.readouterr().out
    run.main([*given, "--methods", "raw", "cell weights", run.OURS])
    assert "4 runs to go" in capsys.readouterr().out

    runs = pd.read_csv(out)
    assert list(runs.columns) == run.COLUMNS
    assert len(runs) == 5 * (1 + 1 + 2 + 2)  # classifiers; settings of each method
    assert runs["equalized_odds"].between(0, 1).all()
    render.main([str(out), "--out", str(tmp_path / "comparison")])
    summary = (tmp_path / "comparison_summary.txt").read_text(encoding="utf-8")
    assert summary.count(TASK) == 3  # classifiers
    assert "balanced boosting" in (tmp_path / "comparison_balanced.txt").read_text("utf-8")
    assert "linear erasure" in (tmp_path / "comparison_methods.txt").read_text(encoding="utf-8")
    assert "100" in (tmp_path / "comparison_dial.txt").read_text(encoding="utf-8")
    settings = (tmp_path / "comparison_settings.txt").read_text(encoding="utf-8")
    assert " raw " in settings
    assert "leak" not in settings


def test__run__probes_representations_at_the_dials_asked_for(script, tiny_data, tmp_path, capsys):
    run, render = script("run"), script("render")
    out = tmp_path / "runs.csv"
    given = [TASK, "--data", str(tiny_data), "--out", str(out), "--quick", "--leak"]

    run.main([*given, "--methods", "raw", "cell weights", run.OURS, "--dials", "0", "1"])
    with pytest.raises(SystemExit):
        run.main([*given, "--methods", "raw", "--dials", "3"])

    assert "raw has none of the --dials: they are [0.0]" in capsys.readouterr().err
    runs = pd.read_csv(out)
    assert runs.groupby("method")["dial"].unique().map(list).to_dict() == {
        "raw": [0], "cell weights": [1], run.OURS: [0, 1]
    }  # fmt: skip
    weighted = runs["method"] == "cell weights"
    assert runs.loc[weighted, "leak"].isna().all()  # the embedding is as it was
    assert runs.loc[~weighted, "leak"].between(0.3, 1).all()
    assert runs["chance"].between(0, 1).all()
    render.main([str(out), "--out", str(tmp_path / "faces"), "--tables", "settings"])
    assert " leak " in (tmp_path / "faces_settings.txt").read_text(encoding="utf-8")
    assert not (tmp_path / "faces_summary.txt").exists()


def test__run__refuses_a_split_that_the_table_lacks(script, tiny_data, tmp_path):
    given = [TASK, "--data", str(tiny_data), "--out", str(tmp_path / "runs.csv"), "--quick"]
    with pytest.raises(SystemExit, match="not 'test'"):
        script("run").main([*given, "--methods", "raw", "--split", "test"])


def test__certificate_faces__runs_on_faces_of_the_train_split(script, tiny_data, capsys):
    module = script("certificate_faces")
    module.N_ATTACKED = 60
    given = ["--tasks", "attractive-male", "--calibration", "80", "--n-bins", "3"]

    module.main(["--data", str(tiny_data), *given])

    table = capsys.readouterr().out
    assert "Attractive by Male  10.000     3" in table


def test__read_runs__takes_the_last_of_equal_runs_and_does_not_mix_others(script, tmp_path):
    run, out = script("run"), tmp_path / "runs.csv"
    row = dict.fromkeys(run.COLUMNS, 0) | {"method": run.OURS, "split": "valid", "max_rows": 3000}
    old, new, other = row | {"accuracy": 0.7}, row | {"accuracy": 0.8}, row | {"split": "test"}
    pd.DataFrame([old, new]).to_csv(out, index=False)
    assert run.read_runs(out, run.KEYS)["accuracy"].tolist() == [0.8]
    pd.DataFrame([new, other]).to_csv(out, index=False)
    with pytest.raises(SystemExit, match="several values of split or max_rows"):
        run.read_runs(out, run.KEYS)
    pd.DataFrame([new]).assign(more=1).to_csv(out, index=False)
    with pytest.raises(SystemExit, match="has other columns"):
        run.main([TASK, "--methods", "raw", "--data", str(tmp_path), "--out", str(out)])


@pytest.mark.parametrize("constraints", ["equalized_odds", "demographic_parity"])
def test__methods__all_run(script, tiny_data, constraints):
    run, methods, tasks = script("run"), script("_methods"), script("_tasks")
    assert TASK in tasks.TASKS
    for name, method in methods.METHODS.items():
        if name.startswith(methods.OURS) or run.is_missing(name):
            continue  # ours has a test of its own
        key = dict(
            zip(
                run.KEYS, (TASK, constraints, name, method.dials[-1], 0, "valid", 500), strict=True
            )
        )
        rows = run.measure(tiny_data, key)
        assert len(rows) == len(method.classifiers or run.CLASSIFIERS)
        assert all(0 < row["accuracy"] <= 1 for row in rows), name


def test__fair_projection__closes_the_gap_without_the_groups_of_new_rows(script):
    methods, common = script("_methods"), script("_common")
    rng = np.random.default_rng(0)
    y, group = rng.integers(2, size=(2, 4000))
    X = np.column_stack([y + group, group]) + rng.normal(size=(4000, 2))
    rows = common.Rows(X, y, pd.DataFrame({"group": group}), group.astype(str))
    fit, new = (
        rows._replace(X=X[half], y=y[half], sensitive=rows.sensitive[half], group=rows.group[half])
        for half in (slice(2000), slice(2000, None))
    )

    def gap(bound):
        decided = methods.project_model(LogisticRegression(), fit, new, bound, 0, "equalized_odds")
        return equalized_odds_difference(new.y, decided, sensitive_features=new.group, agg="mean")

    assert gap(0.0) < 0.3 * gap(1.0)


def test__splince__keeps_the_covariance_with_the_label_and_loses_that_with_the_group(script):
    rng = np.random.default_rng(0)
    y, group = rng.integers(2, size=2000), rng.choice(["a", "b"], 2000)
    X = rng.normal(size=(2000, 5)) + np.outer(y, [1, 1, 0, 0, 0])
    X += np.outer(group == "a", [0, 1, 1, 0, 0])
    rows = script("_common").Rows(X, y, pd.DataFrame({"group": group}), group)

    mapped, _, _ = script("_methods").erase_splince(rows, rows, 1.0, 0, "equalized_odds")

    weights = script("_common").cell_weights(y, group)

    def covariance(Z, codes):
        return np.cov(np.column_stack([Z, codes]).T, aweights=weights)[-1, :-1]

    np.testing.assert_allclose(covariance(mapped, group == "a"), np.zeros(5), atol=1e-3)
    np.testing.assert_allclose(covariance(mapped, y), covariance(X, y), atol=1e-2)


def test__pareto_front__keeps_what_no_other_point_beats(script):
    eo = [0.3, 0.1, 0.2, 0.1, 0.25, np.nan]
    accuracy = [0.85, 0.70, 0.80, 0.75, 0.78, 0.9]

    front = script("render").pareto_front(eo, accuracy)

    np.testing.assert_array_equal(front, [[0.1, 0.2, 0.3], [0.75, 0.80, 0.85]])


@pytest.mark.parametrize(
    ("level", "expected"), [(0.1, 0.75), (0.15, 0.775), (0.2, 0.8), (0.9, 0.85), (0.05, np.nan)]
)
def test__accuracy_at__interpolates_on_the_front_and_not_below_it(script, level, expected):
    eo, accuracy = [0.3, 0.1, 0.2, 0.15], [0.85, 0.75, 0.80, 0.5]
    found = script("render").accuracy_at(level, eo, accuracy)
    assert found == pytest.approx(expected, nan_ok=True)


def test__accuracy_at__is_undefined_without_points(script):
    assert np.isnan(script("render").accuracy_at(0.1, [np.nan], [0.9]))


def test__leads__are_over_the_best_rival_that_does_not_see_the_group(script):
    ours = "FairLatentTransformer"
    runs = [
        (ours, 1, 0, 0.1, 0.80), (ours, 1, 1, 0.1, 0.78),
        (ours, 2, 0, 0.2, 0.83), (ours, 2, 1, 0.2, 0.83),
        ("raw", 0, 0, 0.5, 0.90), ("raw", 0, 1, 0.5, 0.90),
        ("LEACE", 1, 0, 0.1, 0.75), ("LEACE", 1, 1, 0.1, 0.75),
        ("cell weights", 1, 0, 0.1, 0.70), ("cell weights", 1, 1, 0.1, 0.70),
        ("ThresholdOptimizer", 0, 0, 0.0, 0.89), ("ThresholdOptimizer", 0, 1, 0.0, 0.89),
        ("SPLINCE", 1, 0, 0.01, 0.70), ("SPLINCE", 1, 1, 0.01, 0.70),
    ]  # fmt: skip
    frame = pd.DataFrame(runs, columns=["method", "dial", "seed", "gap", "accuracy"])

    found = script("render").leads(frame, "gap", [0.05, 0.1], "accuracy")

    assert np.isnan(found["ours"][0])  # does not get so low
    assert found["rival"].tolist() == ["SPLINCE", "LEACE"]
    assert found["ours"][1] == pytest.approx(0.79)  # the mean over the seeds
    assert found["lead"][1] == pytest.approx(0.04)
    assert found["error"][1] == pytest.approx(0.01)


def test__ceilings__stand_beside_ours_for_the_seeds_of_both(script):
    ours, eo = "FairLatentTransformer", "equalized_odds"
    runs = [
        (ours, 1, 0, 0.05, 0.80), (ours, 1, 1, 0.05, 0.60),
        ("ceiling", 0, 0, 0.03, 0.85),
        ("raw", 0, 0, 0.5, 0.90), ("raw", 0, 1, 0.5, 0.70),
    ]  # fmt: skip
    frame = pd.DataFrame(runs, columns=["method", "dial", "seed", eo, "accuracy"])

    text = script("render").ceilings(frame.assign(task="a", classifier="b", constraints=eo))

    row = next(line for line in text.splitlines() if line.startswith("a "))
    assert [cell.strip() for cell in row.split("  ") if cell.strip()] == [
        "a", "1", "b", "0.900 (0.500)", "n/a / 0.850", "0.800 / 0.852", "0.811 / 0.857"
    ]  # fmt: skip


def test__chance_level__is_what_sampling_shows_between_equal_groups(script):
    rng = np.random.default_rng(0)
    n, rate = 4000, 0.3
    y, group = np.zeros(n, int), np.repeat(["a", "b"], n // 2)
    y[: n // 4] = y[-n // 4 :] = 1
    predicted = (rng.random(n) < rate).astype(int)

    gaps = script("_common").permuted_gaps(y, predicted, group, n_permutations=2000)

    spread = np.sqrt(2 * rate * (1 - rate) / (n // 4))  # of the difference of two rates
    assert gaps.mean() == pytest.approx(spread * np.sqrt(2 / np.pi), rel=0.05)
    # Of the mean of two such: quantiles of their sum, drawn here.
    drawn = np.abs(rng.normal(scale=spread, size=(2, 20_000))).mean(axis=0)
    high = script("_common").chance_level(y, predicted, group, n_permutations=2000)
    assert high == pytest.approx(np.quantile(drawn, 0.95), rel=0.1)


def test__chance_level__does_not_depend_on_the_unfairness_of_the_predictions(script):
    rng = np.random.default_rng(0)
    y, group = rng.integers(2, size=1000), rng.choice(["a", "b"], 1000)
    assert equalized_odds_difference(y, group == "a", sensitive_features=group) == 1

    assert script("_common").chance_level(y, group == "a", group) < 0.15
    assert script("_common").chance_level(y, np.ones(1000), group) == 0.0


def test__rate_gap__averages_to_the_metric(script):
    rng = np.random.default_rng(0)
    y, predicted, group = rng.integers(3, size=(3, 300))

    gaps = [script("_common").rate_gap(predicted[y == c], group[y == c], 3) for c in range(3)]

    expected = equalized_odds_difference(y, predicted, sensitive_features=group, agg="mean")
    assert np.mean(gaps) == pytest.approx(expected)


def test__cell_weights__give_every_cell_the_same_weight(script):
    y, group = np.array([0, 0, 0, 1, 1, 0]), np.array(list("aaabbb"))
    weights = script("_common").cell_weights(y, group)
    np.testing.assert_allclose(weights, [2 / 3, 2 / 3, 2 / 3, 1, 1, 2])
    np.testing.assert_array_equal(script("_common").cell_weights(y, group, power=0), np.ones(6))


def test__erased_part__equalises_the_group_means_within_label(script):
    rng = np.random.default_rng(0)
    y, group = rng.integers(2, size=500), rng.choice(["a", "b", "c"], 500)
    X = rng.normal(size=(500, 8))
    X[:, 0] += group == "a"
    X[:, 1] += (group == "c") * y

    erased = X - X @ script("_methods").erased_part(X, y, group)

    for label in (0, 1):
        means = [erased[(y == label) & (group == name)].mean(axis=0) for name in "abc"]
        np.testing.assert_allclose(means, [means[0]] * 3, atol=1e-9)


def test__scores__of_decisions_by_lot_are_their_expectation(script):
    rng = np.random.default_rng(0)
    y, predicted = rng.integers(2, size=(2, 200))
    group = rng.choice(["a", "b"], 200)

    found = script("run").scores(y, group, predicted.astype(float))

    expected = script("_common").scores(y, predicted, group)
    names = {"accuracy": "accuracy", "equalized_odds": "eo", "demographic_parity": "dp"}
    names["worst_cell_accuracy"] = "wga"
    for name, other in names.items():
        assert found[name] == pytest.approx(expected[other])
    assert script("run").scores(y, group, np.full(200, 0.3))["equalized_odds"] == pytest.approx(0)


def test__counterfactual_speed__times_each_part(script, tmp_path):
    module = script("counterfactual_speed")
    given = {"--rows": 200, "--width": 8, "--faces": 1, "--steps": 2, "--repeats": 1}
    given["--out"] = tmp_path
    module.main([str(part) for pair in given.items() for part in pair])
    text = (tmp_path / "counterfactual_speed.rst").read_text(encoding="utf-8")
    rows = {line.split("  ")[0]: line.split()[-3:] for line in text.splitlines() if "  " in line}
    assert float(rows["label, smallest flip"][0]) == 1.0  # all rows are reached
    assert float(rows["images: in the decoder"][-1]) > 0.5


def test__balance__weighs_classes_alike_whatever_the_weights(script):
    y = np.array([0, 0, 0, 1])
    for weights in (None, np.array([1.0, 2.0, 3.0, 4.0])):
        _, _, found = script("run").balance((None, None, weights), y)
        assert np.bincount(y, found) == pytest.approx([2, 2])
    assert found[1] == pytest.approx(2 * found[0])


def test__unbalanced__fits_on_uneven_cells_and_scores_even_ones_of_other_rows(script):
    rng = np.random.default_rng(0)
    y, group = rng.integers(2, size=4000), rng.choice(["a", "b"], 4000)
    fit, new = script("_tasks").unbalanced(y, group, 3, 1600)
    assert pd.crosstab(y[fit], group[fit]).to_numpy().tolist() == [[600, 200], [200, 600]]
    scored = pd.crosstab(y[new], group[new]).to_numpy()
    assert scored.min() == scored.max() > 200
    assert not set(fit) & set(new)


def test__experiments__run_and_render(script, tmp_path, monkeypatch, capsys):
    module = script("experiments")
    quick = {"max_iter": 2, "hidden_features": 8, "n_blocks": 1, "label_scores": False}
    tiny = module.Experiment(["latents-rounded"], {"quick": quick})
    monkeypatch.setitem(module.EXPERIMENTS, "failures", tiny)
    monkeypatch.setattr(module, "JUDGED_ROWS", 300)
    out = tmp_path / "runs.csv"
    given = ["failures", "--data", str(tmp_path), "--out", str(out), "--quick"]
    module.main(given)
    module.main(given)
    assert "0 runs to go" in capsys.readouterr().out

    runs = pd.read_csv(out)
    assert list(runs.columns) == module.COLUMNS
    assert runs["accuracy"].between(0.4, 1).all()
    judged = runs[runs["setting"] != module.RAW]
    assert judged[["leak", "variety", "rank"]].notna().all(axis=None)
    assert (judged["variety_alone"] < judged["variety"]).all()

    module.main(["failures", "--render", str(out)])
    assert "quick" in (tmp_path / "runs_failures.txt").read_text(encoding="utf-8")


def test__experiments__a_region_is_flat_around_the_default_only(script):
    module = script("experiments")
    factors = pd.Index([0.1, 1.0, 10.0, 100.0], name="factor")
    gap = pd.DataFrame({"task": [0.1, 0.05, 0.06, 0.05]}, index=factors)
    points = pd.concat({"accuracy": 0 * gap, "equalized_odds": gap}, axis=1)

    assert module.flat(points).tolist() == [1.0, 10.0, 100.0]
    points.loc[10.0, ("accuracy", "task")] = 0.5
    assert module.flat(points).tolist() == [1.0]


@pytest.mark.parametrize("strength", [0.6, 0.9])
def test__biographies__go_with_gender_as_strongly_as_asked(script, strength):
    module = script("_biographies")
    parts = module.biographies(strength, module.TWO, 0, 600)
    shares = {
        name: (table["occupation"].map(module.USUALLY) == table["gender"]).mean()
        for name, table in parts.items()
    }
    assert shares == pytest.approx({"fit": strength, "valid": strength, "balanced": 0.5})
    assert [len(table) for table in parts.values()] == [600, 200, 400]
    assert parts["balanced"].groupby(["occupation", "gender"]).size().tolist() == [100] * 4

    texts = pd.concat(parts.values())
    assert not texts["text"].duplicated().any()
    assert (texts["text"].str.contains(" She ") == (texts["gender"] == "woman")).all()

    again = module.biographies(strength, module.TWO, 1, 600)
    assert set(pd.concat(again.values())["text"]) == set(texts["text"])
    assert set(again["fit"]["text"]) != set(parts["fit"]["text"])


class WordCounts:
    """Counts words, in place of a sentence encoder, which no test can install."""

    def __init__(self, *_arguments, **_settings):
        self.counter = HashingVectorizer(n_features=64, alternate_sign=False)

    def transform(self, texts):
        return self.counter.transform(texts).toarray()


@pytest.fixture
def elsewhere(script, monkeypatch):
    """The script, with fits that are over at once."""
    module = script("elsewhere")
    tiny = {"max_iter": 2, "hidden_features": 8, "n_blocks": 1, "label_scores": False}
    monkeypatch.setattr(module, "fit_fair", functools.partial(module.fit_fair, **tiny))
    ours = script("_methods").Method(functools.partial(module.map_fair, **tiny), [3.0])
    monkeypatch.setitem(module.METHODS, module.OURS, ours)
    monkeypatch.setattr(module, "map_fair", functools.partial(module.map_fair, **tiny))
    monkeypatch.setattr(module, "OTHER_LABELS", ["Blond_Hair"])
    biographies = script("_biographies")
    monkeypatch.setattr(biographies, "TransformersEncoder", WordCounts)
    monkeypatch.setattr(biographies, "model_folder", str)
    return module


def test__elsewhere__runs_and_renders(elsewhere, tiny_data, tmp_path, capsys):
    out = tmp_path / "runs.csv"
    names = ["attributes_read", "transfer", "texts"]
    given = [*names, "--data", str(tiny_data), "--out", str(out), "--quick"]
    given += ["--tasks", elsewhere.FACES, "biographies-0.9", "--methods"]
    given += [elsewhere.RAW, elsewhere.OURS, elsewhere.FITTED_FOR_EACH]
    elsewhere.main(given)
    elsewhere.main(given)
    assert "0 runs to go" in capsys.readouterr().out

    runs = pd.read_csv(out)
    assert list(runs.columns) == elsewhere.COLUMNS
    read = runs[runs["experiment"] == "attributes_read"]
    assert set(read["scored"]) == set(ATTRIBUTES)
    assert read["auc"].between(0, 1).all()
    raw = runs[(runs["experiment"] == "texts") & (runs["method"] == elsewhere.RAW)]
    assert raw["leak"].min() > 0.9
    assert raw["equalized_odds"].mean() > 0.2

    elsewhere.main([*names, "--render", str(out)])
    assert "always the same" in (tmp_path / "runs_transfer.txt").read_text(encoding="utf-8")
    assert (tmp_path / "attributes_read.png").stat().st_size > 0


def test__harm__says_which_group_loses(elsewhere, tmp_path, monkeypatch):
    task = "latents-rounded"
    methods = [elsewhere.RAW, elsewhere.WEIGHTS, elsewhere.REDUCTION]
    small = elsewhere.Experiment(elsewhere.harm, [task], methods, 500)
    monkeypatch.setitem(elsewhere.EXPERIMENTS, "harm", small)
    out = tmp_path / "runs.csv"
    elsewhere.main(["harm", "--data", str(tmp_path), "--out", str(out), "--quick"])

    runs = pd.read_csv(out)
    assert (runs.loc[runs["method"] == elsewhere.RAW, "change"] == 0).all()
    others = runs[runs["method"] != elsewhere.RAW]
    assert (others["low"] <= others["change"]).all()
    assert (others["change"] <= others["high"]).all()
    elsewhere.main(["harm", "--render", str(out)])
    assert " harm" in (tmp_path / "runs_harm.txt").read_text(encoding="utf-8")


def test__change__is_not_above_zero_where_all_lose(script):
    change = script("elsewhere").change
    lost = np.repeat([0.0, -1.0], [80, 20])
    assert change(lost)["change"] == pytest.approx(-0.2)
    assert change(lost)["low"] < -0.2 < change(lost)["high"] < 0
    assert change(np.zeros(100)) == {"change": 0.0, "low": 0.0, "high": 0.0}


def test__told_apart__is_chance_for_alike_rows_only(script):
    module, rng = script("elsewhere"), np.random.default_rng(0)
    real, alike, other = rng.normal(size=(3, 400, 5))
    model = module.CLASSIFIERS["logistic"](0)
    assert module.told_apart(model, alike, real) == pytest.approx(0.5, abs=0.1)
    assert module.told_apart(model, other + 2, real) > 0.95
    drawn = module.like(real @ rng.normal(size=(5, 5)) + 3, 4000, rng)
    assert drawn.mean(axis=0) == pytest.approx(3, abs=0.6)


class Pixels:
    """Decodes a code to the image that has its numbers, whatever the noise."""

    def invert(self, images, _codes):
        return np.zeros(images.shape)

    def inverse_transform(self, codes, *, x_T=None):
        assert x_T is not None
        return np.clip(np.rint(codes), 0, 255).astype(np.uint8).reshape(-1, 8, 8, 3)


def test__decoded__loses_nothing_through_the_latent(elsewhere):
    pytest.importorskip("skimage")
    rng = np.random.default_rng(0)
    codes = rng.uniform(40, 200, size=(200, 192))
    labels = pd.DataFrame(rng.integers(2, size=(200, 2)), columns=["Attractive", "Male"])
    fair, _ = elsewhere.fit_fair(elsewhere.labelled(codes, labels, "Attractive"), 0)
    rows = pd.DataFrame(
        elsewhere.decoded(fair, Pixels(), Pixels().inverse_transform(codes, x_T=0), codes)
    )
    psnr = rows.groupby("scored")["psnr"].min()
    assert psnr["latent, inverted, against code"] > 50
    assert psnr["label block alone"] < 20
    assert rows["change"].max() < 1e-3
