"""The benchmarks run from end to end on made-up data, and count what they say they count."""

import importlib
from pathlib import Path

import fairlearn.preprocessing
import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.neural_network import MLPClassifier
from sklearn.utils.validation import has_fit_parameter
from threadpoolctl import threadpool_limits

from skfairlatent.metrics import equalized_odds_difference

pytestmark = pytest.mark.benchmarks

FOLDER = Path(__file__).parents[2] / "examples" / "benchmarks"
TINY = '{"max_iter": 2, "n_blocks": 1, "hidden_features": 8}'
ATTRIBUTES = ["Attractive", "Blond_Hair", "Male", "Young"]
N_FEATURES = 6


def _import(name):
    if name == "peers" and not hasattr(fairlearn.preprocessing, "PrototypeRepresentationLearner"):
        pytest.skip("fairlearn has no PrototypeRepresentationLearner before 0.13")
    return importlib.import_module(name)


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
        yield _import
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


def _run(module, data, out, *arguments):
    module.main(["--data", str(data), "--out", str(out), "--params", TINY, *arguments])


def test__face_embeddings__writes_tables_and_goes_on_where_it_stopped(
    script, tiny_data, tmp_path, capsys
):
    module = script("face_embeddings")
    settings = ["--tasks", "blond_hair-male-cnn", "--seeds", "0", "1"]

    _run(module, tiny_data, tmp_path, *settings)

    assert "7 parts, 0 of them found" in capsys.readouterr().out
    summary = pd.read_csv(tmp_path / "face_embeddings_summary.csv")
    assert list(summary["classifier"]) == list(module.CLASSIFIERS)
    assert summary[["accuracy", "eo", "leak", "leak_raw", "eo_floor"]].notna().all(axis=None)
    np.testing.assert_allclose(
        summary["accuracy_lost"], summary["accuracy_raw"] - summary["accuracy"], atol=1e-12
    )
    assert (summary["round_trip"] < 1e-5).all()
    report = (tmp_path / "face_embeddings.rst").read_text(encoding="utf-8")
    assert "cell-balanced weights" in report
    assert "by chance alone" in report

    _run(module, tiny_data, tmp_path, *settings)

    assert "7 parts, 7 of them found" in capsys.readouterr().out


def test__face_embeddings__crosses_attributes(script, tiny_data, tmp_path):
    settings = ["--tasks", "attractive-malexyoung-cnn", "--seeds", "0"]

    classifier = ["--classifiers", "LogisticRegression"]
    _run(script("face_embeddings"), tiny_data, tmp_path, *settings, *classifier)

    targets = pd.read_csv(tmp_path / "face_embeddings_targets.csv")
    assert {"eo_change", "accuracy_lost", "readable", "round_trip"} == set(targets["figure"])
    assert targets["value"].notna().all()


def test__face_embeddings__refuses_a_split_that_the_table_lacks(script, tiny_data, capsys):
    with pytest.raises(SystemExit):
        script("face_embeddings").main(["--data", str(tiny_data), "--split", "test"])
    assert "not 'test'" in capsys.readouterr().err


def test__face_embeddings__holds_figures_against_targets(script):
    module = script("face_embeddings")
    figures = {"eo": 0.02, "eo_raw": 0.3, "eo_change": -0.93, "leak": 0.6, "accuracy_lost": 0.02}
    figures |= {"dp_change": -0.5, "wga_change": 0.1, "readable": 0.96, "round_trip": 1e-6}
    figures |= {"task": "attractive-male-cnn", "classifier": "SVC", "readable_raw": 0.97}
    figures |= {"eo_floor": 0.01, "eo_floor_95": 0.02}

    checks = module.check(pd.DataFrame([figures])).set_index("figure")["met"]

    assert not checks["leak"]
    assert not checks["wga_change"]
    assert checks.drop(["leak", "wga_change"]).all()


def test__distances__compares_every_form(script, tiny_data, tmp_path):
    module = script("distances")

    # Trained long enough for the form to matter.
    params = '{"max_iter": 40, "n_blocks": 1, "hidden_features": 8, "learning_rate_init": 0.01}'
    arguments = ["--lambda-di", "30", "--levels", "0.9", "--params", params]
    _run(module, tiny_data, tmp_path, *arguments)

    runs = pd.read_csv(tmp_path / "distances_runs.csv")
    assert list(runs["method"].unique()) == module.FORMS
    # Each form was really taken: their runs differ.
    assert runs.loc[runs["classifier"] == "MLP", "accuracy"].nunique() > 1
    report = (tmp_path / "distances.rst").read_text(encoding="utf-8")
    assert all(form in report for form in module.FORMS)


def test__peers__runs_every_method_and_compares_them(script, tiny_data, tmp_path, monkeypatch):
    module = script("peers")
    monkeypatch.setattr(module, "PROTOTYPE_ITERATIONS", 2)
    monkeypatch.setattr(module, "REDUCTION_ITERATIONS", 3)
    for name, (function, values, every_seed) in module.METHODS.items():
        monkeypatch.setitem(module.METHODS, name, (function, values[-2:], every_seed))

    levels = ["0.1", "0.9"]
    _run(module, tiny_data, tmp_path, "--lambda-di", "1", "--seeds", "0", "--levels", *levels)

    table = pd.read_csv(tmp_path / "peers.csv")
    n_absent = not has_fit_parameter(MLPClassifier(), "sample_weight")  # for the reduction
    assert len(table) == 2 * len(module.METHODS) - n_absent
    assert table["0.9"].between(0.3, 1).all()  # every method is at least so fair
    assert table.loc[table["method"] != module.OURS, "margin"].notna().all()
    runs = pd.read_csv(tmp_path / "peers_runs.csv")
    assert set(runs["method"]) == set(module.METHODS)


def test__pareto_front__keeps_what_no_other_point_beats(script):
    eo = [0.3, 0.1, 0.2, 0.1, 0.25, np.nan]
    accuracy = [0.85, 0.70, 0.80, 0.75, 0.78, 0.9]

    front = script("peers").pareto_front(eo, accuracy)

    np.testing.assert_array_equal(front, [[0.1, 0.2, 0.3], [0.75, 0.80, 0.85]])


@pytest.mark.parametrize(
    ("level", "expected"), [(0.1, 0.75), (0.15, 0.775), (0.2, 0.8), (0.9, 0.85), (0.05, np.nan)]
)
def test__accuracy_at__interpolates_on_the_front_and_not_below_it(script, level, expected):
    eo, accuracy = [0.3, 0.1, 0.2, 0.15], [0.85, 0.75, 0.80, 0.5]
    found = script("peers").accuracy_at(level, eo, accuracy)
    assert found == pytest.approx(expected, nan_ok=True)


def test__accuracy_at__is_undefined_without_points(script):
    assert np.isnan(script("peers").accuracy_at(0.1, [np.nan], [0.9]))


def test__compare__says_who_is_ahead_at_equal_eo(script):
    module = script("peers")
    runs = [
        (module.OURS, 1, 0, 0.1, 0.80), (module.OURS, 1, 1, 0.1, 0.78),
        (module.OURS, 2, 0, 0.2, 0.83), (module.OURS, 2, 1, 0.2, 0.83),
        ("worse", 1, 0, 0.1, 0.75), ("worse", 2, 0, 0.2, 0.82),
        ("fairer", 1, 0, 0.01, 0.70), ("unfair", 1, 0, 0.5, 0.90),
    ]  # fmt: skip
    frame = pd.DataFrame(runs, columns=["method", "value", "seed", "eo", "accuracy"])

    table = module.compare(frame.assign(classifier="linear"), [0.05, 0.1, 0.2])

    table = table.set_index("method")
    assert table.loc[module.OURS, 0.1] == pytest.approx(0.79)  # the mean over the seeds
    assert table.loc["worse", "margin"] == pytest.approx(0.01)
    assert table["verdict"].to_dict() == {
        module.OURS: ".",
        "worse": "ahead",
        "fairer": "BEHIND: reaches a level that ours does not",
        "unfair": "reaches none of these levels",
    }


def test__noise_floor__is_what_sampling_shows_between_equal_groups(script):
    rng = np.random.default_rng(0)
    n, rate = 4000, 0.3
    y, group = np.zeros(n, int), np.repeat(["a", "b"], n // 2)
    y[: n // 4] = y[-n // 4 :] = 1
    predicted = (rng.random(n) < rate).astype(int)

    mean, high = script("_common").noise_floor(y, predicted, group, n_permutations=2000)

    spread = np.sqrt(2 * rate * (1 - rate) / (n // 4))  # of the difference of two rates
    assert mean == pytest.approx(spread * np.sqrt(2 / np.pi), rel=0.05)
    assert high > mean


def test__noise_floor__does_not_depend_on_the_unfairness_of_the_predictions(script):
    rng = np.random.default_rng(0)
    y, group = rng.integers(2, size=1000), rng.choice(["a", "b"], 1000)
    assert equalized_odds_difference(y, group == "a", sensitive_features=group) == 1

    mean, _ = script("_common").noise_floor(y, group == "a", group)

    assert mean < 0.1
    assert script("_common").noise_floor(y, np.ones(1000), group) == (0.0, 0.0)


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

    erased = X - X @ script("peers").erased_part(X, y, group)

    for label in (0, 1):
        means = [erased[(y == label) & (group == name)].mean(axis=0) for name in "abc"]
        np.testing.assert_allclose(means, [means[0]] * 3, atol=1e-9)


def test__lottery_scores__are_those_of_sure_predictions(script):
    rng = np.random.default_rng(0)
    y, predicted = rng.integers(2, size=(2, 200))
    rows = script("_common").Rows(np.empty(0), y, pd.DataFrame(), rng.choice(["a", "b"], 200))

    found = script("peers").lottery_scores(rows, predicted.astype(float))

    assert found == pytest.approx(script("_common").scores(y, predicted, rows.group))
    assert script("peers").lottery_scores(rows, np.full(200, 0.3))["eo"] == pytest.approx(0)


def test__counterfactual_speed__times_each_part(script, tmp_path):
    module = script("counterfactual_speed")
    given = {"--rows": 200, "--width": 8, "--faces": 1, "--steps": 2, "--repeats": 1}
    given["--out"] = tmp_path
    module.main([str(part) for pair in given.items() for part in pair])
    text = (tmp_path / "counterfactual_speed.rst").read_text(encoding="utf-8")
    rows = {line.split("  ")[0]: line.split()[-3:] for line in text.splitlines() if "  " in line}
    assert float(rows["label, smallest flip"][0]) == 1.0  # all rows are reached
    assert float(rows["images: in the decoder"][-1]) > 0.5
