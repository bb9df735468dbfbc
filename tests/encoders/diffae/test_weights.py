"""Weights in every form: read alike, checked, and written small."""

import dataclasses
import hashlib
import json
import subprocess
import sys
from collections import OrderedDict
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from skfairlatent._files.tensors import read_tensors, verify
from skfairlatent.encoders.diffae._config import OFFICIAL_CONFIGS, DiffAEConfig
from skfairlatent.encoders.diffae._networks.networks import DiffusionAutoencoder, SemanticEncoder
from skfairlatent.encoders.diffae._statistics import LatentStatistics
from skfairlatent.encoders.diffae._weights.find_config import empty_network
from skfairlatent.encoders.diffae._weights.read import (
    build,
    convert_weights,
    read_statistics,
    read_weights,
    write_weights,
)
from skfairlatent.exceptions import CheckpointError

CONFIG = DiffAEConfig(
    32, 8, (1, 2), (1, 2, 4), num_res_blocks=1, enc_num_res_blocks=1, embed_channels=12
)
OFFICIAL_SETTINGS = {
    "img_size": 32,
    "net_ch": 8,
    "net_ch_mult": (1, 2),
    "net_enc_channel_mult": (1, 2, 4),
    "net_attn": (16,),
    "net_enc_attn": None,
    "net_num_res_blocks": 1,
    "net_enc_num_res_blocks": 1,
    "net_beatgans_attn_head": 2,
    "net_beatgans_embed_channels": 12,
    "style_ch": 12,
    "T": 500,
    "dropout": 0.2,
    "beta_scheduler": "linear",
    "pretrain": {"name": "90M", "path": "x"},
    "model_conf": {"image_size": 32},
    "lr": 1e-4,
}
# Outputs of models made by the official code (commit 00c57d3) with the arguments that its
# TrainConfig.make_model_conf passes: the number of all parameters, of those of model.encoder, and
# the SHA-256 digest of the sorted lines "name shape" of the state dict, as computed below.
OFFICIAL_NETWORKS = {
    "ffhq256_autoenc": (
        168_492_291,
        30_150_400,
        "b2f1197bca1e1eb6a000b21fcd4ce0ce97dc705fc2579eb21b545339b8c03b04",
    ),
    "ffhq128_autoenc_130M": (
        128_545_155,
        24_673_536,
        "3c5d48d1b28805aca61472f3bc1fde9ea9e0676c6b710f04647c0e8df87049c5",
    ),
    "celeba64d2c_autoenc": (
        90_839_235,
        19_320_512,
        "661b6a4049d9466c89043cff8e950a5652605cc51501c8596db9b6ad5e77597b",
    ),
}


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(1)
    made = DiffusionAutoencoder(CONFIG).requires_grad_(False).eval()
    for parameter in made.parameters():
        parameter.copy_(torch.randn_like(parameter))
    return made


@pytest.fixture(scope="module")
def state(network):
    return dict(network.state_dict())


@pytest.fixture(scope="module")
def statistics():
    return LatentStatistics.fit(np.random.default_rng(0).normal(size=(20, 12)).astype(np.float32))


def _prefixed(state, prefix):
    return {f"{prefix}{name}": value for name, value in state.items()}


def _equal(found, expected):
    return found.keys() == expected.keys() and all(
        torch.equal(found[name], expected[name]) for name in expected
    )


def _lightning(state, settings=OFFICIAL_SETTINGS, **more):
    other = {name: torch.full_like(value, torch.nan) for name, value in state.items()}
    names = _prefixed(other, "model.") | _prefixed(state, "ema_model.")
    return {
        "state_dict": OrderedDict(names, x_T=torch.zeros(4, 3, 32, 32), **more),
        "hyper_parameters": settings,
        "optimizer_states": [{"state": {0: {"exp_avg": torch.zeros(3)}}, "param_groups": []}],
        "global_step": 7,
        "epoch": 1,
        "pytorch-lightning_version": "1.4.5",
    }


@pytest.mark.parametrize("name", OFFICIAL_NETWORKS)
def test__networks__have_the_tensors_of_the_official_code(name):
    with torch.device("meta"):
        made = DiffusionAutoencoder(OFFICIAL_CONFIGS[name])
    lines = sorted(f"{name} {tuple(v.shape)}" for name, v in made.state_dict().items())
    found = (
        sum(parameter.numel() for parameter in made.parameters()),
        sum(parameter.numel() for parameter in made.encoder.parameters()),
        hashlib.sha256("\n".join(lines).encode()).hexdigest(),
    )
    assert found == OFFICIAL_NETWORKS[name]


@pytest.mark.parametrize("prefix", ["", "model.", "module.", "ema_model.", "module.ema_model."])
@pytest.mark.parametrize("suffix", [".pt", ".ckpt", ".safetensors", ".x"])
def test__read_weights__takes_state_dicts_by_any_names(tmp_path, state, prefix, suffix):
    path = tmp_path / f"weights{suffix}"
    save = save_file if suffix in (".safetensors", ".x") else torch.save
    save(_prefixed(state, prefix), path)
    found = read_weights(path, CONFIG)
    assert _equal(found.tensors, state)
    assert found.config == CONFIG
    assert (found.encoder_only, found.statistics, found.metadata) == (False, None, {})


@pytest.mark.parametrize("prefix", ["", "encoder.", "ema_model.encoder.", "module."])
@pytest.mark.parametrize("save", [torch.save, save_file])
def test__read_weights__takes_encoders_by_any_names(tmp_path, network, prefix, save):
    state = network.encoder.state_dict()
    save(_prefixed(state, prefix), tmp_path / "encoder")
    found = read_weights(tmp_path / "encoder", CONFIG)
    assert found.encoder_only
    assert _equal(found.tensors, state)
    assert isinstance(build(found), SemanticEncoder)


@pytest.mark.parametrize("as_zip", [True, False])
def test__read_weights__takes_the_average_and_settings_of_lightning(tmp_path, state, as_zip):
    mean, std = torch.arange(12.0), torch.full((12,), 2.0)
    content = _lightning(state, conds_mean=mean[None], conds_std=std[None])
    content["state_dict"]["ema_model.latent_net.layers.0.weight"] = torch.zeros(3)
    torch.save(content, tmp_path / "last.ckpt", _use_new_zipfile_serialization=as_zip)
    found = read_weights(tmp_path / "last.ckpt")
    assert _equal(found.tensors, state)
    assert found.config == dataclasses.replace(CONFIG, num_heads=2, T=500, dropout=0.2)
    assert found.metadata["global_step"] == "7"
    np.testing.assert_array_equal(found.statistics.mean, mean)
    np.testing.assert_array_equal(np.diag(found.statistics.factor), std)


def test__read_weights__takes_settings_by_our_names(tmp_path, state):
    settings = {**CONFIG.to_dict(), "name": "mine", "style_channels": 12}
    torch.save(_lightning(state, settings), tmp_path / "last.ckpt")
    assert read_weights(tmp_path / "last.ckpt").config == CONFIG


@pytest.mark.parametrize("settings", [{}, None, {"net_ch": 8, "net_ch_mult": None}, {"T": 1000}])
def test__read_weights__does_not_guess_sizes(tmp_path, state, settings):
    torch.save(_lightning(state, settings), tmp_path / "last.ckpt")
    with pytest.raises(CheckpointError, match=r"does not say the sizes.*attention_res.*config="):
        read_weights(tmp_path / "last.ckpt")
    assert read_weights(tmp_path / "last.ckpt", CONFIG).config == CONFIG


@pytest.mark.parametrize("encoder_only", [True, False])
def test__read_weights__recognises_official_models(tmp_path, encoder_only):
    config = OFFICIAL_CONFIGS["celeba64d2c_autoenc"]
    shapes = empty_network(config, encoder_only).state_dict()
    noise = torch.rand(max(value.numel() for value in shapes.values()))
    state = {name: noise[: v.numel()].view(v.shape) for name, v in shapes.items()}
    torch.save(state, tmp_path / "a.pt")
    assert read_weights(tmp_path / "a.pt").config == config


def test__read_weights__the_argument_comes_first(tmp_path, state):
    torch.save(_lightning(state), tmp_path / "last.ckpt")
    given = dataclasses.replace(CONFIG, num_heads=4)
    assert read_weights(tmp_path / "last.ckpt", given).config is given


@pytest.mark.parametrize("form", ["lightning", "ours", "encoder"])
def test__read_weights__names_sizes_that_are_not_those_given(tmp_path, state, network, form):
    path = tmp_path / "weights"
    if form == "lightning":
        settings = {**OFFICIAL_SETTINGS, "net_beatgans_attn_head": 1, "T": 1000, "dropout": 0.1}
        torch.save(_lightning(state, settings), path)
    else:
        write_weights(path, network, encoder_only=form == "encoder")
    given = dataclasses.replace(CONFIG, embed_channels=16)
    with pytest.raises(CheckpointError, match="official name: embed_channels: 16 given, 12 found"):
        read_weights(path, given)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"beta_scheduler": "cosine"}, "beta_schedule='cosine' is not supported"),
        ({"style_ch": 24}, "style_channels=24 is not supported"),
        ({"net_enc_attn": (8,)}, "net_enc_attn=.* differs from net_attn"),
        (
            {"style_ch": 24, "net_beatgans_embed_channels": 24},
            "of another shape: time_embed.time_embed.0.weight",
        ),
        ({"net_num_res_blocks": 10**9}, "more than 64 residual blocks in a level"),
        (
            {"img_size": 2**99, "net_enc_channel_mult": (1,) * 99, "net_enc_num_res_blocks": 99},
            "more than 64 residual blocks in a level",
        ),
        ({"net_ch_mult": "wide"}, "is not a valid file of weights"),
        ({"img_size": torch.zeros(3)}, "is not a valid file of weights"),
    ],
)
def test__read_weights__refuses_settings_that_do_not_fit(tmp_path, state, changed, message):
    torch.save(_lightning(state, {**OFFICIAL_SETTINGS, **changed}), tmp_path / "last.ckpt")
    with pytest.raises(CheckpointError, match=message):
        read_weights(tmp_path / "last.ckpt")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test__read_weights__turns_other_precisions_into_float32(tmp_path, state, dtype):
    narrowed = {name: value.to(dtype) for name, value in state.items()}
    torch.save(narrowed, tmp_path / "a.pt")
    found = read_weights(tmp_path / "a.pt", CONFIG).tensors
    assert _equal(found, {name: value.float() for name, value in narrowed.items()})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("encoder.out.3.bias"), r"1 tensors are missing: encoder.out.3.bias\."),
        (lambda s: s.update(a=torch.zeros(1)), "1 tensors are not known: a"),
        (
            lambda s: s.update({"out.2.bias": torch.zeros(4)}),
            r"of another shape: out.2.bias \(4,\) instead of \(3,\)",
        ),
        (lambda s: s["out.2.bias"].fill_(torch.nan), "out.2.bias holds NaN or infinity"),
        (lambda s: s["out.2.bias"].fill_(torch.inf), "out.2.bias holds NaN or infinity"),
        (lambda s: s.update({"out.2.bias": torch.zeros(3).int()}), "out.2.bias is torch.int32"),
        (lambda s: s.update({"out.2.bias": torch.zeros(3, device="meta")}), "on meta"),
        (lambda s: s.update({"out.2.bias": torch.zeros(3).to_sparse()}), "out.2.bias"),
        (
            lambda s: [s.pop(name) for name in list(s) if name.startswith("output_blocks.1")],
            r"\d\d tensors are missing: (output_blocks\S+ ){8}and \d\d more",
        ),
    ],
    ids=["missing", "extra", "shape", "nan", "inf", "integers", "meta", "sparse", "many"],
)
def test__read_weights__refuses_tensors_that_do_not_fit(tmp_path, state, change, message):
    changed = {name: value.clone() for name, value in state.items()}
    change(changed)
    torch.save(changed, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match=rf"a.pt .*{message}.*config="):
        read_weights(tmp_path / "a.pt", CONFIG)


def test__read_weights__an_incomplete_average_is_not_mended_by_others(tmp_path, state):
    content = _lightning(state)
    del content["state_dict"]["ema_model.out.2.bias"]
    torch.save(content, tmp_path / "last.ckpt")
    with pytest.raises(CheckpointError, match=r"1 tensors are missing: out.2.bias"):
        read_weights(tmp_path / "last.ckpt")


def test__read_weights__refuses_files_of_other_things(tmp_path):
    save_file({"layer.weight": torch.zeros(3)}, tmp_path / "a.safetensors")
    with pytest.raises(CheckpointError, match=r"1 tensors \(layer.weight\) do not fit any"):
        read_weights(tmp_path / "a.safetensors")
    torch.save([1, 2], tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match="holds a list: expected a state dict"):
        read_weights(tmp_path / "a.pt")
    torch.save({"epoch": 3, "state_dict": "none"}, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match=r"0 tensors \(none\) do not fit"):
        read_weights(tmp_path / "a.pt")
    save_file({"w": torch.zeros(3)}, tmp_path / "b.safetensors", metadata={"config": "[1]"})
    with pytest.raises(CheckpointError, match="config that is not a dictionary"):
        read_weights(tmp_path / "b.safetensors")


@pytest.mark.parametrize("damage", ["cut", "header", "format", "config", "empty", "page"])
def test__read_weights__refuses_damaged_safetensors(tmp_path, network, damage):
    path = tmp_path / "a.safetensors"
    write_weights(path, network)
    whole = path.read_bytes()
    damaged = {
        "cut": whole[:-5],
        "header": whole[:8] + b"}" + whole[9:],
        "format": whole.replace(b"diffae-2", b"diffae-1"),
        "config": whole.replace(b'\\"model_channels\\": 8', b'\\"model_channelz\\": 8'),
        "empty": b"",
        "page": b"<html>Google Drive - Virus scan warning</html>",
    }[damage]
    assert damaged != whole
    path.write_bytes(damaged)
    with pytest.raises(CheckpointError, match=str(path)):
        read_weights(path)


def test__read_weights__every_flipped_bit_is_noticed(tmp_path, network):
    """In the length, the metadata, the names and shapes, and the numbers."""
    path = tmp_path / "a.safetensors"
    write_weights(path, network.encoder, config=CONFIG)
    whole = path.read_bytes()
    marks = [whole.index(b"skfairlatent_digest"), whole.index(b'"format"'), whole.index(b"diffae")]
    places = [*range(12), *(m + i for m in marks for i in (1, 5, 10))]
    for place in [*places, *np.linspace(12, len(whole) - 1, 40).astype(int)]:
        content = bytearray(whole)
        content[place] ^= 4
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=str(path)):
            read_weights(path)


def test__read_weights__every_flipped_bit_of_a_checkpoint_is_noticed_or_means_nothing(
    tmp_path, state
):
    """In a file of torch.save, whose zip has checksums that torch itself does not compare."""
    path = tmp_path / "last.ckpt"
    torch.save({"state_dict": state}, path)
    whole = path.read_bytes()
    expected = read_weights(path, CONFIG).tensors
    noticed = 0
    for place in np.linspace(0, len(whole) - 1, 16).astype(int):
        content = bytearray(whole)
        content[place] ^= 4
        path.write_bytes(content)
        try:
            found = read_weights(path, CONFIG).tensors
        except CheckpointError:
            noticed += 1
        else:
            assert _equal(found, expected)
    assert noticed > 8


def test__read_weights__refuses_tensors_larger_than_what_is_stored(tmp_path, state):
    path, name = tmp_path / "a.pt", next(iter(state))
    torch.save(state | {name: torch.zeros(1).expand(state[name].shape)}, path)
    with pytest.raises(CheckpointError, match="is larger than its stored data"):
        read_weights(path, CONFIG)


def test__read_statistics__of_absurd_width_take_no_memory(tmp_path):
    path = tmp_path / "latent.pkl"
    torch.save({"conds_mean": torch.zeros(10**6), "conds_std": torch.ones(10**6)}, path)
    with pytest.raises(CheckpointError, match="too large for statistics"):
        read_statistics(path)


def test__read_weights__reads_files_of_the_version_before_digests(tmp_path, network):
    path, header = tmp_path / "a.safetensors", {"format": "skfairlatent-diffae-1"}
    header["config"] = json.dumps(CONFIG.to_dict())
    save_file(dict(network.state_dict()), path, metadata=header)
    found = read_weights(path)
    assert found.is_ours
    assert _equal(found.tensors, network.state_dict())


@pytest.mark.parametrize("name", ["faces64", "faces64_unsupervised", "faces64_attributes"])
def test__weights_that_ship__hold_a_digest(name):
    path = Path(str(files("skfairlatent.encoders.diffae") / "weights" / f"{name}.safetensors"))
    header, tensors = read_tensors(path, "install again")
    verify(path, header, tensors, "install again")


def test__read_weights__needs_a_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="does not exist"):
        read_weights(tmp_path / "none.ckpt")
    with pytest.raises(IsADirectoryError, match="is a folder"):
        read_weights(tmp_path)


@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
def test__read_weights__keeps_nothing_of_the_file(tmp_path, state, suffix):
    path = tmp_path / f"a.{suffix}"
    (torch.save if suffix == "pt" else save_file)(state, path)
    found = read_weights(path, CONFIG)
    with path.open("rb+") as file:
        file.write(b"\xff" * path.stat().st_size)
    assert _equal(found.tensors, state)


def test__build__gives_the_network_back(tmp_path, network):
    write_weights(tmp_path / "a.safetensors", network)
    before = torch.get_rng_state()
    weights = read_weights(tmp_path / "a.safetensors")
    built = build(weights)
    assert torch.equal(torch.get_rng_state(), before)
    assert isinstance(built, DiffusionAutoencoder)
    assert not built.training
    assert not any(parameter.requires_grad for parameter in built.parameters())
    images, t = torch.randn(2, 3, 32, 32), torch.tensor([3, 500])
    code = network.encoder(images)
    assert torch.equal(built.encoder(images), code)
    assert torch.equal(built(images, t, code), network(images, t, code))


@pytest.mark.parametrize("encoder_only", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test__write_weights__is_read_again(tmp_path, network, statistics, encoder_only, dtype):
    path = tmp_path / "a.safetensors"
    write_weights(
        path, network, statistics=statistics, dtype=dtype, encoder_only=encoder_only,
        metadata={"licence": "MIT"},
    )  # fmt: skip
    found = read_weights(path)
    expected = (network.encoder if encoder_only else network).state_dict()
    assert _equal(found.tensors, {k: v.to(dtype).float() for k, v in expected.items()})
    assert (found.config, found.encoder_only) == (CONFIG, encoder_only)
    assert found.metadata["licence"] == "MIT"
    for other in (found.statistics, read_statistics(path)):
        np.testing.assert_array_equal(other.mean, statistics.mean)
        np.testing.assert_array_equal(other.factor, statistics.factor)
    size = sum(value.numel() * dtype.itemsize for value in expected.values())
    assert size < path.stat().st_size < size + 40_000
    assert [child.name for child in tmp_path.iterdir()] == [path.name]


def test__write_weights__takes_an_encoder_and_any_memory_format(tmp_path, network):
    last = build(_weights_of(network, tmp_path)).to(memory_format=torch.channels_last)
    path = tmp_path / "encoder.safetensors"
    write_weights(path, last.encoder, config=CONFIG)
    assert _equal(read_weights(path).tensors, network.encoder.state_dict())


def _weights_of(network, folder):
    write_weights(folder / "b.safetensors", network)
    return read_weights(folder / "b.safetensors")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dtype": torch.int8}, "dtype=torch.int8 is not supported: pass torch.float32"),
        ({"metadata": {"config": "x"}}, "metadata 'config': 'x' cannot be kept"),
        ({"metadata": {"a": 1}}, "metadata 'a': 1 cannot be kept"),
    ],
)
def test__write_weights__refuses_what_cannot_be_written(tmp_path, network, arguments, message):
    with pytest.raises(ValueError, match=message):
        write_weights(tmp_path / "a.safetensors", network, **arguments)
    assert list(tmp_path.iterdir()) == []


def test__write_weights__refuses_weights_that_float16_cannot_hold(tmp_path):
    encoder = SemanticEncoder(CONFIG).requires_grad_(False)
    with pytest.raises(ValueError, match=r"does not know its sizes: pass config="):
        write_weights(tmp_path / "a.safetensors", encoder)
    encoder.out[3].bias.fill_(1e5)
    with pytest.raises(ValueError, match=r"encoder.out.3.bias is not finite in torch.float16"):
        write_weights(tmp_path / "a.safetensors", encoder, config=CONFIG, dtype=torch.float16)
    write_weights(tmp_path / "a.safetensors", encoder, config=CONFIG)
    assert read_weights(tmp_path / "a.safetensors").tensors["out.3.bias"][0] == 1e5


@pytest.mark.parametrize("place", ["", "none/a.safetensors", "file/a.safetensors"])
def test__write_weights__names_the_path_given(tmp_path, network, place):
    (tmp_path / "file").touch()
    path = tmp_path / place
    reason = "is a folder: pass the path of a file in it" if not place else "was not written"
    with pytest.raises(OSError, match=reason) as caught:
        write_weights(path, network)
    assert str(path) in str(caught.value)
    assert ".tmp" not in str(caught.value)
    assert [child.name for child in tmp_path.iterdir()] == ["file"]


def test__write_weights__a_full_disk_leaves_what_was_there(tmp_path, network):
    path = tmp_path / "a.safetensors"
    path.write_bytes(b"old")
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(OSError, match="was not written, and what was there before"):
            write_weights(path, network)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == b"old"
    assert [child.name for child in tmp_path.iterdir()] == [path.name]


def test__convert_weights__keeps_the_encoder_and_adds_statistics(tmp_path, state, network):
    torch.save(_lightning(state), tmp_path / "last.ckpt")
    codes = {"conds": torch.zeros(9, 12), "conds_mean": torch.ones(12)}
    torch.save({**codes, "conds_std": torch.full((12,), 2.0)}, tmp_path / "latent.pkl")
    target = tmp_path / "encoder.safetensors"
    convert_weights(tmp_path / "last.ckpt", target, statistics=tmp_path / "latent.pkl")
    found = read_weights(target)
    assert _equal(found.tensors, network.encoder.state_dict())
    assert found.config.T == 500
    assert found.statistics.mean.tolist() == [1.0] * 12
    assert found.metadata["global_step"] == "7"
    convert_weights(target, target, dtype=torch.float16)  # once more, in place
    assert read_weights(target).metadata["global_step"] == "7"
    convert_weights(tmp_path / "last.ckpt", target, encoder_only=False)
    assert _equal(read_weights(target).tensors, state)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"conds_mean": torch.zeros(3)}, "conds_std is missing"),
        ({"conds_mean": torch.zeros(3), "conds_std": torch.zeros(4)}, "not means and standard"),
        ({"conds_mean": torch.zeros(3), "conds_std": -torch.ones(3)}, "not means and standard"),
        ({"conds_mean": torch.full((3,), torch.nan)}, "conds_mean is not finite"),
        ({"conds": torch.zeros(3)}, "holds no statistics of codes: expected conds_mean"),
        ({"statistics.mean": torch.zeros(3)}, "statistics.factor is missing"),
    ],
)
def test__read_statistics__refuses_what_is_none(tmp_path, content, message):
    torch.save(content, tmp_path / "latent.pkl")
    with pytest.raises(CheckpointError, match=rf"latent.pkl.*{message}"):
        read_statistics(tmp_path / "latent.pkl")


def test__read_weights__refuses_statistics_of_another_width(tmp_path, state):
    content = _lightning(state, conds_mean=torch.zeros(1, 5), conds_std=torch.ones(1, 5))
    torch.save(content, tmp_path / "last.ckpt")
    with pytest.raises(CheckpointError, match="its statistics are of 5 features, not 12"):
        read_weights(tmp_path / "last.ckpt")


@pytest.mark.data
def test__read_weights__reproduces_the_official_network(data_dir):
    folder = data_dir / "diffae_parity"
    weights = read_weights(folder / "tiny32.ckpt")
    expected = DiffAEConfig.from_dict(json.loads((folder / "tiny32.json").read_text()))
    assert weights.config == expected
    assert weights.metadata["global_step"] == "12345"
    network, saved = build(weights), np.load(folder / "tiny32.npz")
    images = torch.from_numpy(saved["image"]).permute(0, 3, 1, 2) / 127.5 - 1
    code = network.encoder(images)
    np.testing.assert_allclose(code, saved["z_sem"], atol=1e-5)
    noisy, t = torch.from_numpy(saved["eps_xt"]), torch.from_numpy(saved["eps_t"])
    np.testing.assert_allclose(network(noisy, t, code), saved["eps_pred"], atol=1e-5)
    assert len(read_statistics(folder / "tiny32_latent.pkl").mean) == 64


def test__convert_weights__full_size_takes_little_memory(tmp_path):
    config = OFFICIAL_CONFIGS["ffhq256_autoenc"]
    with torch.device("meta"):
        names = DiffusionAutoencoder(config).state_dict()
    # One storage for all keeps the file small; its tensors are views, of the official shapes.
    noise = torch.rand(max(value.numel() for value in names.values()))
    state = {n: noise[: v.numel()].view(v.shape) for n, v in names.items()}
    torch.save({"state_dict": _prefixed(state, "ema_model.")}, tmp_path / "last.ckpt")
    code = (
        "import resource, sys\n"
        "from skfairlatent.encoders.diffae._weights.read import convert_weights\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "convert_weights(sys.argv[1], sys.argv[2])\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    target = tmp_path / "encoder.safetensors"
    command = [sys.executable, "-c", code, str(tmp_path / "last.ckpt"), str(target)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603
    assert int(done.stdout) * 1024 < 3 * 30_150_400 * 4
    assert 120_600_000 < target.stat().st_size < 121_000_000
    found = read_weights(target)
    assert found.config == config
    assert torch.equal(found.tensors["out.3.weight"], state["encoder.out.3.weight"])
    assert len(build(found)(torch.zeros(1, 3, 64, 64))[0]) == 512
