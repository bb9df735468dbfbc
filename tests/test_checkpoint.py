"""The file of an unfinished fit: whole or not there, and never executed."""

import os
import pickle

import pytest
import torch

from skfairlatent._checkpoint import FILE_NAME, FORMAT, Checkpoint, replace_file
from skfairlatent.exceptions import CheckpointError, FairLatentError

CPU = torch.device("cpu")
STATE = {
    "flow": {"weight": torch.arange(3.0)},
    "objective": {},
    "optimizer": {"state": {}, "param_groups": [{"lr": 0.1}]},
    "state": {"epoch": 2, "best_flow": None, "history": [{"epoch": 1.0}, {"epoch": 2.0}]},
}


class _Attack:
    """Makes a directory when it is unpickled."""

    def __init__(self, directory):
        self.directory = directory

    def __reduce__(self):
        return os.mkdir, (str(self.directory),)


@pytest.fixture
def checkpoint(tmp_path):
    return Checkpoint(tmp_path / "new" / "directory", "fingerprint")


def test__read__is_none_before_the_first_write(checkpoint):
    assert checkpoint.path.parent.is_dir()
    assert checkpoint.read(CPU) is None


def test__read__gives_what_was_written(checkpoint):
    checkpoint.write(STATE)
    found = checkpoint.read(CPU)
    assert torch.equal(found["flow"].pop("weight"), STATE["flow"]["weight"])
    assert found == STATE | {"flow": {}}


def test__read__puts_tensors_on_the_device(checkpoint):
    checkpoint.write(STATE)
    assert checkpoint.read(torch.device("meta"))["flow"]["weight"].device.type == "meta"


def test__write__replaces_and_leaves_nothing_else(checkpoint):
    checkpoint.write(STATE)
    checkpoint.write(STATE | {"state": {"epoch": 3}})
    assert checkpoint.read(CPU)["state"]["epoch"] == 3
    assert [path.name for path in checkpoint.path.parent.iterdir()] == [FILE_NAME]


def test__read__deletes_what_a_killed_process_left(checkpoint):
    abandoned, young = (checkpoint.path.with_name(f".{FILE_NAME}.{k}.tmp") for k in "ab")
    for path in (abandoned, young):
        path.touch()
    os.utime(abandoned, (0, 0))
    assert checkpoint.read(CPU) is None
    assert list(checkpoint.path.parent.iterdir()) == [young]


def test__remove__deletes_the_file_if_it_is_there(checkpoint):
    checkpoint.write(STATE)
    checkpoint.remove()
    checkpoint.remove()
    assert checkpoint.read(CPU) is None


def test__read__refuses_the_file_of_another_fit(checkpoint):
    checkpoint.write(STATE)
    other = Checkpoint(checkpoint.path.parent, "other")
    with pytest.raises(CheckpointError, match="other data or other parameters; delete it"):
        other.read(CPU)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"format": "skfairlatent-checkpoint-0"}, "not a checkpoint of this version"),
        ({"weights": torch.zeros(3)}, "not a checkpoint of this version"),
        ([1, 2, 3], "not a checkpoint of this version"),
        ({"format": FORMAT}, "other data or other parameters"),
    ],
    ids=["another version", "other weights", "a list", "no fingerprint"],
)
def test__read__refuses_what_is_no_checkpoint(checkpoint, content, message):
    torch.save(content, checkpoint.path)
    with pytest.raises(CheckpointError, match=message):
        checkpoint.read(CPU)


@pytest.mark.parametrize("damage", ["empty", "text", "cut", "zeros"])
def test__read__refuses_a_damaged_file(checkpoint, damage):
    checkpoint.write(STATE)
    whole = checkpoint.path.read_bytes()
    damaged = {
        "empty": b"",
        "text": b"not a checkpoint",
        "cut": whole[: len(whole) // 2],
        "zeros": bytes(len(whole)),
    }
    checkpoint.path.write_bytes(damaged[damage])
    with pytest.raises(CheckpointError, match="cannot be read as a checkpoint") as error:
        checkpoint.read(CPU)
    assert str(checkpoint.path) in str(error.value)


@pytest.mark.parametrize("as_torch_writes", [True, False], ids=["torch.save", "pickle"])
def test__read__executes_nothing(checkpoint, tmp_path, as_torch_writes):
    victim = tmp_path / "victim"
    attack = {"format": FORMAT, "fingerprint": "fingerprint", "state": _Attack(victim)}
    if as_torch_writes:
        torch.save(attack, checkpoint.path)
    else:
        checkpoint.path.write_bytes(pickle.dumps(attack))
    with pytest.raises(CheckpointError, match="cannot be read as a checkpoint"):
        checkpoint.read(CPU)
    assert not victim.exists()

    # The attack works where nothing guards against it.
    pickle.loads(pickle.dumps(attack))  # noqa: S301 - the attack is ours
    assert victim.is_dir()


def test__read__leaves_errors_of_the_disk_as_they_are(checkpoint):
    checkpoint.path.mkdir()
    with pytest.raises(OSError, match=FILE_NAME):
        checkpoint.read(CPU)


def test__checkpoint_error__can_be_caught_as_a_value_error():
    assert issubclass(CheckpointError, FairLatentError)
    assert issubclass(CheckpointError, ValueError)


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()], ids=repr)
def test__replace_file__keeps_the_old_one_when_writing_fails(tmp_path, error):
    path = tmp_path / "file"
    path.write_text("old")

    def write(temporary):
        temporary.write_text("half of the n")
        raise error

    with pytest.raises(type(error)):
        replace_file(path, write)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
