"""Saving and loading: what comes back, what is refused, and what a failure leaves behind."""

import copy
import errno
import io
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from sklearn import config_context
from sklearn.base import clone
from sklearn.decomposition import PCA

from skfairlatent import FairLatentTransformer
from skfairlatent._files.tensors import digest_of
from skfairlatent._persistence import save_load
from skfairlatent.exceptions import CheckpointError

FILES = Path(__file__).parent / "files"
N_ROWS, N_FEATURES = 80, 6
QUICK = {
    "max_iter": 2,
    "n_blocks": 2,
    "hidden_features": 8,
    "random_state": 0,
    "device": "cpu",
}


def make_rows(seed=0):
    """Rows in which y and s are balanced against each other, and X depends on both."""
    rng = np.random.default_rng(seed)
    y, s = np.arange(N_ROWS) % 2, np.arange(N_ROWS) // 2 % 2
    X = rng.normal(size=(N_ROWS, N_FEATURES)).astype(np.float32)
    X[:, 0] += y
    X[:, 1] += 2 * s
    return X, y, s


def fitted(**parameters):
    X, y, s = make_rows()
    return FairLatentTransformer(**{**QUICK, **parameters}).fit(X, y, sensitive_features=s)


@pytest.fixture(scope="module")
def model():
    return fitted()


@pytest.fixture
def saved(model, tmp_path):
    path = tmp_path / "model.safetensors"
    model.save(path)
    return path


def through_pickle(model, folder):
    del folder
    return pickle.loads(pickle.dumps(model))  # noqa: S301


def through_joblib(model, folder):
    joblib.dump(model, folder / "model.joblib")
    return joblib.load(folder / "model.joblib")


def through_file(model, folder):
    model.save(folder / "model")
    return FairLatentTransformer.load(folder / "model")


WAYS = [through_pickle, through_joblib, through_file]
Y = make_rows()[1]
TEXT = np.array(["no", "yes"])[Y]


# --- What comes back ---------------------------------------------------------------------------


def test__joblib__what_is_mapped_read_only_is_used_and_saved(model, tmp_path):
    X = make_rows()[0]
    joblib.dump(model, tmp_path / "model.joblib")
    mapped = joblib.load(tmp_path / "model.joblib", mmap_mode="r")
    np.testing.assert_array_equal(mapped.transform(X), model.transform(X))
    mapped.save(tmp_path / "model")
    loaded = FairLatentTransformer.load(tmp_path / "model")
    np.testing.assert_array_equal(loaded.transform(X), model.transform(X))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "y",
    [
        pytest.param(TEXT, id="text"),
        pytest.param(TEXT.astype(object), id="object"),
        pytest.param(Y.astype(bool), id="bool"),
        pytest.param(Y.astype(np.int8), id="int8"),
        pytest.param(Y.astype(np.float32), id="float32"),
        pytest.param([np.int64(v) for v in Y], id="list of numpy integers"),
        pytest.param(pd.Series(Y, dtype="Int64"), id="nullable"),
        pytest.param(pd.Series(TEXT, dtype="category"), id="category"),
        pytest.param(pd.to_datetime(["2020-01-01", "2021-01-01"])[Y], id="dates"),
        pytest.param(np.column_stack([Y, 5 + np.arange(N_ROWS) // 8 % 2]), id="two columns"),
        pytest.param(pd.DataFrame({"a": TEXT, "b": Y.astype(bool)}), id="mixed columns"),
    ],
)
def test__save_and_pickle__bring_back_everything_bit_for_bit(way, y, tmp_path):
    X, _, s = make_rows()
    X = pd.DataFrame(X, columns=[f"x{i}" for i in range(N_FEATURES)])
    s = pd.DataFrame({"Male": s, "Age": np.array(["old", "new"])[np.arange(N_ROWS) // 4 % 2]})
    with_reports = {"early_stopping": True, "validation_fraction": 0.5, "n_iter_no_change": 1}
    model = FairLatentTransformer(**QUICK, **with_reports).fit(X, y, sensitive_features=s)
    back = way(model, tmp_path)

    np.testing.assert_array_equal(back.transform(X), model.transform(X))
    Z = model.latent(X)
    np.testing.assert_array_equal(back.inverse_transform(Z), model.inverse_transform(Z))
    neutral = model.inverse_transform(Z[:, model.label_slice_])
    np.testing.assert_array_equal(back.inverse_transform(Z[:, back.label_slice_]), neutral)
    pd.testing.assert_frame_equal(back.history_, model.history_, check_exact=True)
    assert vars(back).keys() == vars(model).keys()
    assert type(back.classes_) is type(model.classes_)
    for given, wanted in zip(
        np.atleast_2d(back.classes_), np.atleast_2d(model.classes_), strict=True
    ):
        np.testing.assert_array_equal(given, wanted, strict=True)
    for name in (
        "groups_",
        "attributes_",
        "n_iter_",
        "inverse_error_",
        "n_features_in_",
        "label_slice_",
        "sensitive_slice_",
        "encoder_fingerprint_",
    ):
        assert getattr(back, name) == getattr(model, name), name
    np.testing.assert_array_equal(back.feature_names_in_, model.feature_names_in_)
    assert back.get_params() == model.get_params()


def test__save__keeps_parameters_of_numpy_types(tmp_path):
    model = fitted(
        random_state=np.int64(3),
        lambda_di=np.float32(2.5),
        max_iter=np.int32(1),
        verbose=np.False_,
    )
    back = through_file(model, tmp_path)
    assert back.get_params() == model.get_params()
    assert type(back.lambda_di) is float


def test__save__leaves_out_what_belongs_to_this_machine(tmp_path):
    model = fitted(checkpoint_dir=tmp_path / "run", random_state=np.random.RandomState(0))
    back = through_file(model, tmp_path)
    assert back.checkpoint_dir is None
    assert back.random_state is None


@pytest.mark.parametrize("routing", [True, False])
@pytest.mark.parametrize("way", WAYS)
def test__save_and_pickle__keep_what_scikit_learn_was_told(way, routing, tmp_path):
    X, y, s = make_rows()
    with config_context(enable_metadata_routing=True):
        model = FairLatentTransformer(**QUICK).set_output(transform="pandas")
        model.set_fit_request(sensitive_features="group")
    model.fit(X, y, sensitive_features=s)
    with config_context(enable_metadata_routing=routing):
        back = way(model, tmp_path)
    pd.testing.assert_frame_equal(back.transform(X), model.transform(X))
    for each in (back, clone(back)):
        asked = each.get_metadata_routing()
        assert asked.fit.requests == {"sensitive_features": "group"}
        assert str(asked) == str(model.get_metadata_routing())


def test__load__reads_a_file_of_version_0_1():
    """It was fitted as `fitted()` is; format 1 said nothing of scikit-learn and of images."""
    X, y, s = make_rows()
    back = FairLatentTransformer.load(FILES / "version-0.1.safetensors")
    again = clone(back).set_params(max_iter=1, warm_start=True)
    np.testing.assert_allclose(back.transform(X)[0], [0.092393, 0.408289], atol=1e-5)
    np.testing.assert_allclose(back.inverse_transform(back.latent(X)), X, atol=1e-4)
    assert (back.classes_.tolist(), back.groups_, back.n_iter_) == ([0, 1], ["0", "1"], 2)
    assert "_metadata_request" not in vars(back)
    assert not hasattr(back, "feature_names_in_")
    again.fit(X, y, sensitive_features=s)


@pytest.mark.parametrize("state_of", [vars, FairLatentTransformer.__getstate__])
def test__pickle__of_an_older_version_gets_the_defaults_of_new_parameters(model, state_of):
    """Version 0.1 pickled the attributes as they were."""
    new = ("constraints", "n_bins", "bins_")
    state = {name: value for name, value in state_of(model).items() if name not in new}
    back = FairLatentTransformer.__new__(FairLatentTransformer)
    back.__setstate__(state)
    X = make_rows()[0]
    np.testing.assert_array_equal(back.transform(X), model.transform(X))
    assert back.get_params() == model.get_params()


def test__pickle__whose_rows_of_fit_have_no_error_still_knows_them(model):
    """Files and pickles of the first certificates have two arrays of the rows of fit."""
    pickled = model.__getstate__()
    arrays = pickled["saved_state"]["arrays"]
    for name in [name for name in arrays if name.startswith("seen.")]:
        if name not in ("seen.bits", "seen.twin_share"):
            del arrays[name]
    back = FairLatentTransformer.__new__(FairLatentTransformer)
    back.__setstate__(pickled)
    X = make_rows()[0]
    assert back._seen_rows.share_in(X) == 1.0
    assert back._seen_rows.share_in(X[::-1] + 0.5) == 0.0
    assert through_pickle(back, None)._seen_rows.share_in(X) == 1.0


@pytest.mark.parametrize("way", WAYS)
def test__save_and_pickle__keep_a_fit_whose_round_trip_failed(way, model, tmp_path):
    poor = copy.copy(model)
    poor.inverse_error_ = float("nan")
    assert np.isnan(way(poor, tmp_path).inverse_error_)


def test__load__result_can_be_fitted_on(model, saved):
    X, y, s = make_rows()
    back = FairLatentTransformer.load(saved).set_params(warm_start=True)
    again = through_pickle(model, None).set_params(warm_start=True)
    back.fit(X, y, sensitive_features=s)
    again.fit(X, y, sensitive_features=s)
    np.testing.assert_array_equal(back.transform(X), again.transform(X))


def test__load__gives_the_class_that_was_asked_for(saved):
    class Mine(FairLatentTransformer):
        pass

    assert type(Mine.load(saved)) is Mine


def test__load__leaves_the_global_random_state(saved):
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    FairLatentTransformer.load(saved)
    assert torch.equal(torch.get_rng_state(), torch_state)
    np.testing.assert_array_equal(np.random.get_state()[1], numpy_state)  # noqa: NPY002


def test__load__does_not_depend_on_the_file_afterwards(model, saved):
    X = make_rows()[0]
    back = FairLatentTransformer.load(saved)
    with saved.open("r+b") as file:  # in place, as a careless copy would
        file.write(bytes(saved.stat().st_size))
    np.testing.assert_array_equal(back.transform(X), model.transform(X))


# --- What is in a file -------------------------------------------------------------------------


def test__save__writes_tensors_and_json_only(saved):
    with safe_open(saved, framework="np") as file:
        header = file.metadata()
        dtypes = {file.get_tensor(name).dtype.kind for name in file.keys()}  # noqa: SIM118
    assert set(header) == {"format", "format_version", "state", "digest"}
    assert dtypes <= set("fbu")

    def refuse(token):
        pytest.fail(f"{token} is not valid JSON")

    json.loads(header["state"], parse_constant=refuse)


@pytest.mark.skipif(
    os.name != "posix" or os.geteuid() == 0, reason="whoever runs this may read all files"
)
def test__load__says_that_a_file_may_not_be_read(saved):
    saved.chmod(0)
    with pytest.raises(PermissionError, match=r"Permission denied: .*model.safetensors"):
        FairLatentTransformer.load(saved)


def test__load__unpickles_nothing(saved, monkeypatch):
    def unpickle(*_, **__):
        pytest.fail("load unpickled something")

    monkeypatch.setattr(pickle, "load", unpickle)
    monkeypatch.setattr(pickle, "loads", unpickle)
    monkeypatch.setattr(pickle, "Unpickler", unpickle)
    monkeypatch.setattr(torch, "load", unpickle)
    FairLatentTransformer.load(saved)


def test__load__a_pickle_is_refused_and_not_run(tmp_path):
    class Payload:
        def __reduce__(self):
            return Path.touch, (tmp_path / "ran",)

    path = tmp_path / "model"
    for write in (pickle.dump, torch.save):
        with path.open("wb") as file:
            write(Payload(), file)
        with pytest.raises(CheckpointError, match=r"damaged or is not a safetensors file.*save"):
            FairLatentTransformer.load(path)
    assert not (tmp_path / "ran").exists()


def test__save__file_is_as_readable_as_any_other(model, tmp_path):
    usual, path = tmp_path / "usual", tmp_path / "model"
    usual.touch()
    model.save(path)
    assert path.stat().st_mode == usual.stat().st_mode


# --- What is refused ---------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.0, 0.001, 0.01, 0.3, 0.6, 0.99])
def test__load__a_truncated_file_is_damaged(saved, share):
    content = saved.read_bytes()
    saved.write_bytes(content[: int(share * len(content))])
    with pytest.raises(CheckpointError, match=r"damaged or is not a safetensors file"):
        FairLatentTransformer.load(saved)


def test__load__every_flipped_byte_is_noticed(model, saved):
    """Try the length of the header, the header and the tensors."""
    X, content = make_rows()[0], saved.read_bytes()
    wanted = model.transform(X)
    places = [*range(12), *np.linspace(12, len(content) - 1, 150).astype(int)]
    unnoticed = []
    for place in places:
        flipped = bytearray(content)
        flipped[place] ^= 1
        saved.write_bytes(flipped)
        try:
            FairLatentTransformer.load(saved)
        except CheckpointError:
            continue
        unnoticed.append(place)
    assert not unnoticed
    saved.write_bytes(content)
    np.testing.assert_array_equal(FairLatentTransformer.load(saved).transform(X), wanted)


def test__load__a_foreign_safetensors_file(tmp_path):
    save_file({"weight": torch.zeros(3)}, tmp_path / "other", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"something else; expected one written by"):
        FairLatentTransformer.load(tmp_path / "other")
    save_file({"weight": torch.zeros(3)}, tmp_path / "bare")
    with pytest.raises(CheckpointError, match="something else"):
        FairLatentTransformer.load(tmp_path / "bare")


def test__load__another_format_version(model, tmp_path, monkeypatch):
    monkeypatch.setattr(save_load, "FORMAT_VERSION", 99)
    model.save(tmp_path / "new")
    monkeypatch.undo()
    with pytest.raises(CheckpointError, match=r"format version 99, .* reads 1 and 2; load it"):
        FairLatentTransformer.load(tmp_path / "new")


def test__load__a_missing_file_or_a_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="absent does not exist"):
        FairLatentTransformer.load(tmp_path / "absent")
    with pytest.raises(IsADirectoryError, match="is a folder: pass the file"):
        FairLatentTransformer.load(tmp_path)


def test__load__only_with_the_encoder_it_was_fitted_with(tmp_path):
    X, y, s = make_rows()
    encoder, other = PCA(2).fit(X), PCA(2).fit(2 * X)
    path = tmp_path / "model"
    model = FairLatentTransformer(encoder, **QUICK).fit(X, y, sensitive_features=s)
    model.save(path)
    back = FairLatentTransformer.load(path, encoder=encoder)
    np.testing.assert_array_equal(back.transform(X), model.transform(X))
    assert back.encoder is encoder
    for wrong in (None, other, "diffae"):
        with pytest.raises(CheckpointError, match=r"with the encoder .*PCA:.*encoder=\.\.\."):
            FairLatentTransformer.load(path, encoder=wrong)
    assert encoder.components_.tobytes() not in path.read_bytes()


def test__load__an_encoder_where_none_was_used_is_refused(tmp_path):
    model = fitted(encoder=None)
    model.save(tmp_path / "model")
    assert FairLatentTransformer.load(tmp_path / "model").encoder is None
    with pytest.raises(CheckpointError, match="with the encoder None"):
        FairLatentTransformer.load(tmp_path / "model", encoder="diffae")


# --- What an attacker may write ----------------------------------------------------------------


def forge(path, change):
    """Rewrite a file after `change(state, tensors)`, with a digest that fits."""
    with safe_open(path, framework="pt") as file:
        header = file.metadata()
        tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    state = json.loads(header["state"])
    change(state, tensors)
    header["state"] = json.dumps(state)
    header["digest"] = digest_of(header["state"], tensors)
    save_file(tensors, path, metadata=header)


def nested(keys, value):
    def change(state, tensors):
        del tensors
        for key in keys[:-1]:
            state = state[key]
        state[keys[-1]] = value

    return change


def without(key):
    return lambda state, tensors: (state if key in state else tensors).pop(key)


def tensor(name, value):
    return lambda _, tensors: tensors.update({name: value})


HUGE = 10**12
FORGERIES = {
    "unknown parameter": nested(["parameters", "evil"], 1),
    "parameter of the wrong type": nested(["parameters", "lambda_di"], "much"),
    "parameter out of range": nested(["parameters", "batch_size"], -1),
    "parameters are a list": nested(["parameters"], [1]),
    "unknown encoder": nested(["encoder_name"], "os.system"),
    "huge n_features": nested(["n_features_in_"], HUGE),
    "n_features is text": nested(["n_features_in_"], "6"),
    "huge n_blocks": nested(["flow", "n_blocks"], HUGE),
    "no blocks": nested(["flow", "n_blocks"], 0),
    "a block too few": nested(["flow", "n_blocks"], 1),
    "huge hidden_features": nested(["flow", "hidden_features"], HUGE),
    "negative hidden_features": nested(["flow", "hidden_features"], -8),
    "unknown option of the flow": nested(["flow", "n_blocks"], {"a": 1}),
    "label block of no width": nested(["n_label_components"], 0),
    "label block of full width": nested(["n_label_components"], N_FEATURES),
    "label block of another width": nested(["n_label_components"], 3),
    "groups are text": nested(["groups_"], "01"),
    "classes are objects": nested(["classes", 0, "dtype"], "|O"),
    "classes of a type there is not": nested(["classes", 0, "dtype"], "evil"),
    "no classes": nested(["classes"], []),
    "attributes without values": nested(["attributes_"], [["a"]]),
    "history of unequal columns": nested(["history", "loss"], [1.0]),
    "history without epochs": nested(["history"], {"loss": [1.0]}),
    "history of text": nested(["history", "loss"], ["a", "b"]),
    "too few feature names": nested(["feature_names"], ["a"]),
    "feature names are numbers": nested(["feature_names"], list(range(N_FEATURES))),
    "output that there is not": nested(["output"], "os.system"),
    "output is a list": nested(["output"], ["pandas"]),
    "requests of another method": nested(["requests"], {"__init__": {"device": True}}),
    "requests of another name": nested(["requests"], {"fit": {"__class__": True}}),
    "request is not a name": nested(["requests"], {"fit": {"sensitive_features": "a b()"}}),
    "request is a list": nested(["requests"], {"fit": {"sensitive_features": [1]}}),
    "requests are a list": nested(["requests"], ["fit"]),
    "images of two dimensions": nested(["image_shape"], [8, 8]),
    "huge images": nested(["image_shape"], [8, 8, 10**9]),
    "image shape is text": nested(["image_shape"], "abc"),
    "image shape of a float": nested(["image_shape"], [8, 8, 3.0]),
    "no parameters": without("parameters"),
    "no flow": without("flow"),
    "no mean": without("mean_"),
    "no scale": without("scale_"),
    "a tensor missing": without("flow.blocks.0.rotation.base"),
    "a tensor too many": tensor("flow.evil", torch.zeros(1)),
    "mean too long": tensor("mean_", torch.zeros(7, dtype=torch.float64)),
    "mean of float32": tensor("mean_", torch.zeros(N_FEATURES)),
    "mean is NaN": tensor("mean_", torch.full((N_FEATURES,), torch.nan, dtype=torch.float64)),
    "heavy tails of columns alone": tensor("tails.columns", torch.zeros(1, dtype=torch.int64)),
    "scale of zero": tensor("scale_", torch.zeros(N_FEATURES, dtype=torch.float64)),
    "rotation of another shape": tensor("flow.blocks.0.rotation.base", torch.zeros(3, 3)),
    "rotation is infinite": tensor("flow.blocks.0.rotation.base", torch.full((6, 6), torch.inf)),
    "rotation of integers": tensor(
        "flow.blocks.0.rotation.base", torch.zeros(6, 6, dtype=torch.int32)
    ),
    "not initialised": tensor("flow.blocks.0.actnorm.initialized", torch.tensor(False)),
}


@pytest.mark.parametrize("change", FORGERIES.values(), ids=FORGERIES)
def test__load__a_forged_file_is_refused(saved, change):
    forge(saved, change)
    with pytest.raises(CheckpointError, match=r"(does not hold what .* writes|with the encoder)"):
        FairLatentTransformer.load(saved)


@pytest.mark.parametrize(
    ("name", "value"),
    [("columns", N_FEATURES), ("columns", -1), ("width", 0.0), ("scale", -1.0), ("mean", np.nan)],
)
def test__load__forged_heavy_tails_are_refused(tmp_path, name, value):
    X, y, s = make_rows()
    fair = FairLatentTransformer(**QUICK).fit(np.sinh(4 * X), y, sensitive_features=s)
    assert fair.heavy_tails_ is not None
    fair.save(tmp_path / "fair.safetensors")

    def change(_, tensors):
        tensors[f"tails.{name}"][0] = value

    forge(tmp_path / "fair.safetensors", change)
    with pytest.raises(CheckpointError, match=r"does not hold what .* writes"):
        FairLatentTransformer.load(tmp_path / "fair.safetensors")


@pytest.mark.parametrize("state", ["", "[]", "null", "{", "1" * 5000, "[" * 100_000])
def test__load__a_state_that_is_no_object_is_refused(saved, state):
    with safe_open(saved, framework="pt") as file:
        header = {**file.metadata(), "state": state}
    header["digest"] = digest_of(state, {})
    save_file({}, saved, metadata=header)
    with pytest.raises(CheckpointError, match="does not hold what"):
        FairLatentTransformer.load(saved)


def test__forge__without_a_change_loads(model, saved):
    """Or the tests above would pass for any forged file."""
    forge(saved, lambda *_: None)
    X = make_rows()[0]
    back = FairLatentTransformer.load(saved)
    np.testing.assert_array_equal(back.transform(X), model.transform(X))


def test__load__a_file_names_no_attributes_and_no_place_to_write(saved, tmp_path):
    def change(state, tensors):
        del tensors
        state["transform"] = "evil"
        state["parameters"]["checkpoint_dir"] = str(tmp_path / "elsewhere")

    forge(saved, change)
    back = FairLatentTransformer.load(saved)
    assert "transform" not in vars(back)
    assert back.checkpoint_dir is None


# --- What a failure leaves ---------------------------------------------------------------------


@pytest.fixture(params=["old file", "no file"])
def before(request, saved):
    """Return the path to save to and what must still be there afterwards."""
    if request.param == "no file":
        saved.unlink()
    return saved, {path.name: path.read_bytes() for path in saved.parent.iterdir()}


def test__save__a_full_disk_leaves_what_was_there(model, before):
    """The limit on a file's size is a disk with room for so many bytes, without being root."""
    resource = pytest.importorskip("resource", reason="needs POSIX limits")
    signal = pytest.importorskip("signal")
    path, content = before
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))
        with pytest.raises(
            OSError, match=r"not written.*unchanged: make room for \d+ bytes"
        ) as caught:
            model.save(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert caught.value.errno == errno.EFBIG
    assert caught.value.filename == str(path)
    assert {entry.name: entry.read_bytes() for entry in path.parent.iterdir()} == content
    model.save(path)  # and with room it works
    FairLatentTransformer.load(path)


def test__save__a_really_full_file_system(model, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)]
    if os.name != "posix" or os.geteuid() != 0 or subprocess.run(mount, check=False).returncode:  # noqa: S603
        pytest.skip("needs the right to mount a tmpfs")
    try:
        path = disk / "model"
        path.write_bytes(b"old")
        (disk / "filler").write_bytes(bytes(56 * 1024))
        with pytest.raises(OSError, match="transformer was not written") as caught:
            model.save(path)
        assert caught.value.errno == errno.ENOSPC
        assert path.read_bytes() == b"old"
        assert sorted(entry.name for entry in disk.iterdir()) == ["filler", "model"]
    finally:
        subprocess.run(["umount", str(disk)], check=True)  # noqa: S603, S607


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test__save__an_interruption_leaves_what_was_there(model, before, error, monkeypatch):
    path, content = before

    def interrupted(descriptor):
        del descriptor
        raise error

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(error):
        model.save(path)
    assert {entry.name: entry.read_bytes() for entry in path.parent.iterdir()} == content


def test__save__to_a_folder_that_is_not_there(model, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"There is no folder '.*absent'\. The transf"):
        model.save(tmp_path / "absent" / "model")


def test__save__to_a_folder(model, tmp_path):
    with pytest.raises(IsADirectoryError, match="This is a folder: pass the path of a file in"):
        model.save(tmp_path)
    assert list(tmp_path.iterdir()) == []


# --- Devices -----------------------------------------------------------------------------------


def devices_in(model):
    return {value.device.type for value in model.flow_.state_dict().values()}


def test__fit__keeps_cpu_tensors_when_training_runs_elsewhere(monkeypatch):
    """Training elsewhere is played by an alias of the CPU's device, which only its moves show."""
    moved = []
    to = torch.nn.Module.to

    def record(module, *args, **kwargs):
        moved.append(str(args[0]) if args else None)
        return to(module, *args, **kwargs)

    monkeypatch.setattr(torch.nn.Module, "to", record)
    model = fitted(device=torch.device("cpu", 0))
    assert moved[0] == "cpu:0"
    assert moved[-1] == "cpu"  # the last move of the flow is back to the plain CPU
    assert devices_in(model) == {"cpu"}


def test__load__a_device_that_is_not_here_only_matters_when_used(saved, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    forge(saved, nested(["parameters", "device"], "cuda"))
    back = FairLatentTransformer.load(saved)
    X = make_rows()[0]
    with pytest.raises(ValueError, match=r"'cuda' was asked for.*device='auto'"):
        back.transform(X)
    assert back.set_params(device="auto").transform(X).shape == (N_ROWS, 1)


@pytest.mark.gpu
@pytest.mark.parametrize("way", WAYS)
def test__fit_on_a_gpu__comes_back_on_the_cpu(way, tmp_path):
    # float32 sums in another order on another device: far above, and far below the signal of 1.
    tolerance = 1e-4
    X = make_rows()[0]
    model = fitted(device="cuda")
    on_gpu = model.transform(X)
    assert devices_in(model) == {"cpu"}
    back = way(model, tmp_path).set_params(device="cpu")
    assert devices_in(back) == {"cpu"}
    np.testing.assert_allclose(back.transform(X), on_gpu, atol=tolerance)


@pytest.mark.gpu
def test__fit_on_a_gpu__is_used_where_there_is_none(tmp_path):
    fitted(device="cuda").set_params(device="auto").save(tmp_path / "model")
    with (tmp_path / "model.pkl").open("wb") as file:
        pickle.dump(fitted(device="cuda").set_params(device="auto"), file)
    code = (
        "import sys, pickle, torch, numpy as np\n"
        "from skfairlatent import FairLatentTransformer as F\n"
        "assert not torch.cuda.is_available()\n"
        f"X = np.zeros((3, {N_FEATURES}), np.float32)\n"
        "for model in (F.load(sys.argv[1]), pickle.load(open(sys.argv[1] + '.pkl', 'rb'))):\n"
        "    assert np.isfinite(model.transform(X)).all()\n"
    )
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-c", code, str(tmp_path / "model")]
    subprocess.run(command, check=True, env=environment)  # noqa: S603


def test__pickle__holds_arrays_and_no_tensor(model):
    """A pickled tensor names its device, and what reads it may refuse torch."""
    names = []

    class Recorder(pickle.Unpickler):
        def find_class(self, module, name):
            names.append(f"{module}.{name}")
            return super().find_class(module, name)

    Recorder(io.BytesIO(pickle.dumps(model))).load()
    assert {name.split(".")[0] for name in names} <= {"copyreg", "numpy", "skfairlatent"}
