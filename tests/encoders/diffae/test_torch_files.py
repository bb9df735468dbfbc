"""Files of torch.save and Lightning: read as data, and nothing in them is ever executed."""

import os
import pickle
import shutil
import threading
import zipfile
from collections import OrderedDict
from pathlib import PosixPath

import pytest
import torch

from skfairlatent.encoders.diffae._weights.torch_files import (
    Inert,
    load_torch_file,
    require_weights_file,
)
from skfairlatent.exceptions import CheckpointError

MODEL_CHECKPOINT = "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint"
FORMATS = {"zip": True, "legacy": False}


class _Named:
    """Is pickled as a call of, or as an object of, a class that is not there."""

    def __init__(self, name, arguments=(), state=None):
        self.name, self.arguments, self.state = name, arguments, state


class _Payload:
    """Calls a function with arguments when it is unpickled."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


class _Pickler(pickle._Pickler):
    """Writes names of classes that do not exist here, as a machine that has them would."""

    def save(self, obj, save_persistent_id=True):
        if not isinstance(obj, _Named):
            return super().save(obj, save_persistent_id)
        module, _, name = obj.name.rpartition(".")
        self.write(pickle.GLOBAL + f"{module}\n{name}\n".encode())
        if obj.arguments is not None:
            super().save(tuple(obj.arguments))
            self.write(pickle.REDUCE)
        if obj.state is not None:
            super().save(obj.state)
            self.write(pickle.BUILD)
        return None


class _Module:
    """A pickle module for torch.save."""

    Pickler = _Pickler

    @staticmethod
    def dump(content, file, protocol):
        _Pickler(file, protocol).dump(content)


def _save(content, path, kind="zip"):
    torch.save(content, path, pickle_module=_Module, _use_new_zipfile_serialization=FORMATS[kind])
    return path


@pytest.fixture(params=FORMATS)
def kind(request):
    return request.param


def test__load_torch_file__reads_what_lightning_leaves_behind(tmp_path, kind):
    weight = torch.arange(6.0).reshape(2, 3)
    settings = {"net_ch": 64, "mode": _Named("choices.TrainMode", ("diffusion",))}
    content = {
        "state_dict": OrderedDict(weight=weight),
        "callbacks": {
            _Named(MODEL_CHECKPOINT, None): {"best_model_path": PosixPath("/x")},
            _Named("pytorch_lightning.callbacks.early_stopping.EarlyStopping", None): {},
            _Named("lightning.pytorch.callbacks.timer.Timer", None): 1,
        },
        "hyper_parameters": settings,
    }
    found, _ = load_torch_file(_save(content, tmp_path / "last.ckpt", kind))
    assert torch.equal(found["state_dict"]["weight"], weight)
    assert found["hyper_parameters"]["net_ch"] == 64
    assert isinstance(found["hyper_parameters"]["mode"], Inert)
    assert set(found["callbacks"]) == {Inert}


def test__load_torch_file__lightnings_dictionaries_are_dictionaries(tmp_path, kind):
    path = tmp_path / "last.ckpt"
    name = "pytorch_lightning.utilities.parsing.AttributeDict"
    _save({"hyper_parameters": _Named(name, ([("net_ch", 32)],))}, path, kind)
    assert dict(load_torch_file(path)[0]["hyper_parameters"]) == {"net_ch": 32}


def test__load_torch_file__stubs_keep_nothing_and_do_nothing(tmp_path, kind):
    stub = _Named(MODEL_CHECKPOINT, ("argument",), {"__class__": "other", "state": 1})
    (found,), _ = load_torch_file(_save([stub], tmp_path / "a.ckpt", kind))
    assert type(found) is Inert
    assert not hasattr(found, "__dict__")
    assert not hasattr(found, "state")


HOSTILE = {
    "posix.system": lambda victim: _Payload(os.system, f"touch {victim}"),
    "eval": lambda victim: _Payload(eval, f"open({str(victim)!r}, 'w')"),
    "exec": lambda victim: _Payload(exec, f"open({str(victim)!r}, 'w')"),
    "getattr": lambda victim: _Payload(getattr, str(victim), "touch"),
    "shutil.copyfile": lambda victim: _Payload(shutil.copyfile, __file__, str(victim)),
    "posix.mkdir": lambda victim: _Named(
        MODEL_CHECKPOINT, (), {"state": _Payload(os.mkdir, str(victim))}
    ),
    "posix.mknod": lambda victim: _Named(MODEL_CHECKPOINT, [_Payload(os.mknod, str(victim))]),
}


@pytest.mark.parametrize("needed", HOSTILE)
def test__load_torch_file__refuses_code_by_name(tmp_path, kind, needed):
    victim = tmp_path / "victim"
    path = tmp_path / "last.ckpt"
    _save({"state_dict": {"w": torch.zeros(2)}, "x": HOSTILE[needed](victim)}, path, kind)
    with pytest.raises(CheckpointError, match=rf"last.ckpt needs '{needed}' to be read") as error:
        load_torch_file(path)
    assert "nothing was executed" in str(error.value)
    assert "weights_only" not in str(error.value)  # torch advises to switch the safety off
    assert not victim.exists()


@pytest.mark.parametrize("protocol", [0, 1, 2, 4, 5])
def test__load_torch_file__refuses_plain_pickles(tmp_path, protocol):
    victim = tmp_path / "victim"
    attack = pickle.dumps(_Payload(os.mkdir, str(victim)), protocol)
    (tmp_path / "a.pkl").write_bytes(attack)
    with pytest.raises(CheckpointError):
        load_torch_file(tmp_path / "a.pkl")
    assert not victim.exists()
    # The attack works where nothing guards against it.
    pickle.loads(attack)  # noqa: S301 - the attack is ours
    assert victim.is_dir()


@pytest.mark.parametrize(
    "name",
    [
        "pytorch_lightning.callbacks.model_checkpoint.os",
        "pytorch_lightning.callbacks.base.Callback",
        "torch.nn.modules.linear.Linear",
        "omegaconf.dictconfig.DictConfig",
    ],
)
def test__load_torch_file__refuses_what_is_not_listed(tmp_path, kind, name):
    path = _save({"a": _Named(name)}, tmp_path / "a.ckpt", kind)
    with pytest.raises(CheckpointError, match=name):
        load_torch_file(path)


def test__load_torch_file__refuses_a_whole_module(tmp_path):
    torch.save(torch.nn.Linear(2, 2), tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match=r"'torch.nn.modules.linear.Linear'.*state_dict\(\)"):
        load_torch_file(tmp_path / "a.pt")


def test__load_torch_file__allows_nothing_to_others(tmp_path):
    path = _save({_Named(MODEL_CHECKPOINT, None): 1}, tmp_path / "a.ckpt")
    before = set(torch.serialization.get_safe_globals())  # a list in any order
    assert load_torch_file(path)[0] == {Inert: 1}
    assert set(torch.serialization.get_safe_globals()) == before
    with pytest.raises(pickle.UnpicklingError):
        torch.load(path, weights_only=True)


def test__load_torch_file__can_be_used_by_threads(tmp_path):
    path = _save({_Named(MODEL_CHECKPOINT, None): torch.zeros(100)}, tmp_path / "a.ckpt")
    failures = []

    def _read():
        try:
            for _ in range(20):
                load_torch_file(path)
        except CheckpointError as error:
            failures.append(error)

    threads = [threading.Thread(target=_read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


@pytest.mark.parametrize("damage", ["text", "cut", "zeros", "other zip", "flipped"])
def test__load_torch_file__refuses_damaged_files(tmp_path, kind, damage):
    path = _save({"w": torch.arange(1000.0)}, tmp_path / "a.ckpt", kind)
    whole = path.read_bytes()
    damaged = {
        "text": b"not a checkpoint",
        "cut": whole[: len(whole) // 2],
        "zeros": bytes(len(whole)),
        "flipped": whole[:20] + bytes(b ^ 255 for b in whole[20:60]) + whole[60:],
    }
    if damage == "other zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("photo.png", b"x")
    else:
        path.write_bytes(damaged[damage])
    with pytest.raises(CheckpointError, match=r"a.ckpt cannot be read as weights .*Download"):
        load_torch_file(path)


@pytest.mark.parametrize("share", [0.01, 0.3, 0.6, 0.97, 0.9999])
def test__load_torch_file__says_in_whole_sentences_that_a_file_is_cut_short(tmp_path, kind, share):
    """As of a download that broke off: torch itself tells of a wrong argument, or at length."""
    path = _save({f"w{i}": torch.zeros(500) for i in range(40)}, tmp_path / "a.ckpt", kind)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    expected = (
        r"a.ckpt cannot be read as weights \([^.]{5,60}\): it is damaged, incomplete, or was "
    )
    with pytest.raises(CheckpointError, match=expected) as caught:
        load_torch_file(path)
    assert str(caught.value).endswith("Download or copy it again.")


def test__load_torch_file__refuses_torchscript(tmp_path):
    class _Scaled(torch.nn.Module):
        def forward(self, x):
            return 2 * x

    example = torch.zeros(2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("warnings.warn", lambda *_args, **_kwargs: None)  # torch means to drop it
        torch.jit.trace(_Scaled(), example).save(str(tmp_path / "a.pt"))
    with pytest.raises(CheckpointError, match="cannot be read as weights"):
        load_torch_file(tmp_path / "a.pt")


def test__require_weights_file__says_what_is_there_instead(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none.ckpt does not exist: pass the path"):
        require_weights_file(tmp_path / "none.ckpt")
    with pytest.raises(IsADirectoryError, match="is a folder: pass the path of a file"):
        require_weights_file(tmp_path)
    path = tmp_path / "last.ckpt"
    path.touch()
    with pytest.raises(CheckpointError, match=r"last.ckpt is empty: download"):
        require_weights_file(path)
    for page in (b"<!DOCTYPE html><html>", b"\n <html>", b"\xef\xbb\xbf<HTML>"):
        path.write_bytes(page)
        with pytest.raises(CheckpointError, match=r"web page.*Google Drive.*in a browser"):
            require_weights_file(path)


def _write_zip(path, pickled, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("a/data.pkl", pickled)
        archive.writestr("a/version", "3")
    return path


def _many(opcode):
    """A list of more objects than any checkpoint has."""
    return b"\x80\x02(" + opcode * 300_000 + b"l."


def _doubled(n_levels):
    """A tuple that holds twice one that holds twice one, as the key of a dictionary."""
    levels = b"".join(b"q%ch%c\x86" % (i, i) for i in range(n_levels))
    return b"\x80\x02}K\x01" + levels + b"K\x01s."


def _nested(n_levels):
    return b"\x80\x02}K\x01" + b"\x85" * n_levels + b"K\x01s."


BOMBS = {
    "lists": lambda: _many(b"]"),
    "numbers": lambda: _many(b"K\x01"),
    "doubled": lambda: _doubled(60),
    "nested": lambda: _nested(100_000),
}


@pytest.mark.parametrize("bomb", BOMBS)
@pytest.mark.parametrize("older", [False, True])
def test__load_torch_file__refuses_what_takes_memory_or_time(tmp_path, bomb, older):
    path, pickled = tmp_path / "a.ckpt", BOMBS[bomb]()
    if older:
        path.write_bytes(pickled)
    else:
        _write_zip(path, pickled)
    with pytest.raises(CheckpointError, match=r"\((it holds more than|its pickled objects)"):
        load_torch_file(path)


def test__load_torch_file__unpacks_nothing(tmp_path):
    packed = _write_zip(tmp_path / "a.ckpt", b"]" * (20 << 20), zipfile.ZIP_DEFLATED)
    assert packed.stat().st_size < 100_000
    with pytest.raises(CheckpointError, match=r"compressed parts, which torch.save never writes"):
        load_torch_file(packed)


def test__load_torch_file__a_pickle_larger_than_any_is_not_read(tmp_path):
    path = tmp_path / "a.ckpt"
    with zipfile.ZipFile(path, "w") as archive, archive.open("a/data.pkl", "w") as part:
        for _ in range(65):
            part.write(bytes(1 << 20))
    with pytest.raises(CheckpointError, match=r"its data.pkl has 68157440 bytes"):
        load_torch_file(path)


def test__load_torch_file__allocates_nothing_that_a_file_asks_for(tmp_path):
    asked = b"\x80\x02cbuiltins\nbytearray\nJ\xff\xff\xff\x7f\x85R."
    with pytest.raises(CheckpointError, match=r"needs 'builtins.bytearray' to be read"):
        load_torch_file(_write_zip(tmp_path / "a.ckpt", asked))


def test__load_torch_file__parts_that_overlap_are_refused(tmp_path):
    path = tmp_path / "a.ckpt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", b"\x80\x02}.")
        archive.writestr("a/data/0", bytes(5000))
        for i in range(1, 9):
            again = zipfile.ZipInfo(f"a/data/{i}")
            first = archive.getinfo("a/data/0")
            again.header_offset, again.CRC = first.header_offset, first.CRC
            again.file_size = again.compress_size = first.file_size
            archive.filelist.append(again)
    with pytest.raises(CheckpointError, match="larger than it is itself"):
        load_torch_file(path)


def test__load_torch_file__takes_files_written_without_checksums(tmp_path):
    path, before = tmp_path / "a.pt", torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    try:
        torch.save({"w": torch.ones(9)}, path)
    finally:
        torch.serialization.set_crc32_options(before)
    content, checksums = load_torch_file(path)
    assert torch.equal(content["w"], torch.ones(9))
    assert checksums is None


def test__load_torch_file__takes_as_many_tensors_as_a_large_model_has(tmp_path):
    path = tmp_path / "a.pt"
    torch.save({f"layer.{i}.weight": torch.zeros(1) for i in range(1200)}, path)
    assert len(load_torch_file(path)[0]) == 1200


@pytest.mark.skipif(os.name != "posix", reason="needs pipes")
def test__require_weights_file__waits_for_no_pipe(tmp_path):
    os.mkfifo(tmp_path / "last.ckpt")
    for path in (tmp_path / "last.ckpt", os.devnull):
        with pytest.raises(CheckpointError, match="is a pipe, a device or a socket, not a file"):
            require_weights_file(path)
