"""The file of an unfinished fit: whole or not there, and never executed."""

import json
import os
import pickle
import subprocess
import sys

import pytest
import torch

from skfairlatent._files.tensors import pack
from skfairlatent._training.checkpoint import FORMAT, Checkpoint
from skfairlatent.exceptions import CheckpointError, FairLatentError, FairLatentWarning

STATE = {
    "flow": {"weight": torch.arange(3.0)},
    "objective": {},
    "optimizer": {"state": {0: {"step": torch.tensor(2.0)}}, "param_groups": [{"lr": 0.1}]},
    "state": {"epoch": 2, "best_flow": None, "best_loss": float("inf"), "history": [{"a": 0.1}]},
}


class _Attack:
    """Makes a directory when it is unpickled."""

    def __init__(self, directory):
        self.directory = directory

    def __reduce__(self):
        return os.mkdir, (str(self.directory),)


@pytest.fixture
def checkpoint(tmp_path):
    with Checkpoint(tmp_path / "new" / "directory", "fingerprint") as made:
        yield made


def assert_equal(one, other):
    assert type(one) is type(other)
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other)
        assert one.dtype == other.dtype
        assert one.stride() == other.stride()
    elif isinstance(one, dict):
        assert one.keys() == other.keys()
        for key, value in one.items():
            assert_equal(value, other[key])
    else:
        assert one == other


def test__read__is_none_before_the_first_write(checkpoint):
    assert checkpoint.path.parent.is_dir()
    assert checkpoint.read() is None


def test__read__gives_what_was_written(checkpoint):
    checkpoint.write(STATE)
    assert_equal(checkpoint.read(), STATE)


def test__read__tensors_lie_in_memory_as_they_did(checkpoint):
    """An optimizer walks through weights and moments side by side, as they lie."""
    tensors = [
        torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
        torch.randn(4, 3).T,
        torch.randn(2, 3, 4).permute(2, 0, 1),
        torch.tensor(True),
        torch.zeros(0, 3),
        torch.randn(2, 3).bfloat16(),
    ]
    state = dict(enumerate(tensors))
    checkpoint.write(state)
    assert_equal(checkpoint.read(), state)


def test__read__tensors_outlive_the_file(checkpoint):
    checkpoint.write(STATE)
    found = checkpoint.read()
    size = checkpoint.path.stat().st_size
    with checkpoint.path.open("r+b") as file:
        file.write(bytes(size))
    assert_equal(found, STATE)


def test__write__replaces_and_leaves_nothing_else(checkpoint):
    checkpoint.write(STATE)
    checkpoint.write(STATE | {"state": {"epoch": 3}})
    assert checkpoint.read()["state"]["epoch"] == 3
    names = {path.name for path in checkpoint.path.parent.iterdir()}
    assert names <= {checkpoint.path.name, checkpoint.path.with_suffix(".lock").name}


def test__exit__leaves_the_file_only(tmp_path):
    with Checkpoint(tmp_path, "a") as checkpoint:
        checkpoint.write(STATE)
    assert [path.name for path in tmp_path.iterdir()] == ["training-a.safetensors"]


def test__remove__deletes_the_file_if_it_is_there(checkpoint):
    checkpoint.write(STATE)
    checkpoint.remove()
    checkpoint.remove()
    assert checkpoint.read() is None


def test__enter__equal_fits_at_the_same_time_have_files_of_their_own(tmp_path):
    with Checkpoint(tmp_path, "a") as first, Checkpoint(tmp_path, "a") as second:
        first.write(STATE)
        assert second.read() is None
        second.write(STATE | {"seed": 2})
        assert "seed" not in first.read()
        first.remove()
    with Checkpoint(tmp_path, "a") as again, Checkpoint(tmp_path, "a") as next_one:
        assert again.read() is None
        assert next_one.read()["seed"] == 2


def test__enter__a_killed_process_holds_nothing(tmp_path):
    code = (
        "import os, sys; from skfairlatent._training.checkpoint import Checkpoint\n"
        "with Checkpoint(sys.argv[1], 'a') as c: c.write({'seed': 3}); os._exit(9)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)  # noqa: S603
    with Checkpoint(tmp_path, "a") as checkpoint:
        assert checkpoint.read() == {"seed": 3}
        checkpoint.remove()
    assert list(tmp_path.iterdir()) == []


def forged(**header):
    usual = {"format": FORMAT, "fingerprint": "fingerprint", "state": json.dumps({"items": []})}
    return pack({}, usual | header)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (forged(format="skfairlatent-checkpoint-9"), "not a file of this fit, or of another vers"),
        (forged(fingerprint="other"), "not a file of this fit"),
        (pack({"weight": torch.zeros(3)}, {}), "not a file of this fit"),
        (forged(state="[1, 2, 3]"), "does not hold the state of a fit"),
        (forged(state="{"), "does not hold the state of a fit"),
        (forged(state="[" * 100_000), "does not hold the state of a fit"),
        (forged(state='{"items": [[[], 1]]}'), "does not hold the state of a fit"),
        (forged(state='{"tensor": "a", "order": []}'), "does not hold the state of a fit"),
    ],
    ids=["version", "fingerprint", "weights", "list", "no JSON", "deep", "no key", "no tensor"],
)
def test__read__refuses_what_is_no_checkpoint(checkpoint, content, message):
    checkpoint.path.write_bytes(content)
    with pytest.raises(CheckpointError, match=rf"{message}.*delete it to start anew"):
        checkpoint.read()


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
    with pytest.raises(CheckpointError, match=r"is damaged.*delete it to start anew") as error:
        checkpoint.read()
    assert str(checkpoint.path) in str(error.value)


def test__read__every_flipped_bit_is_noticed(checkpoint):
    checkpoint.write(STATE)
    whole = checkpoint.path.read_bytes()
    for place in range(len(whole)):
        content = bytearray(whole)
        content[place] ^= 1 << place % 8
        checkpoint.path.write_bytes(content)
        with pytest.raises(CheckpointError):
            checkpoint.read()


@pytest.mark.parametrize("dump", [torch.save, pickle.dump])
def test__read__executes_nothing(checkpoint, tmp_path, dump):
    victim = tmp_path / "victim"
    attack = {"format": FORMAT, "fingerprint": "fingerprint", "state": _Attack(victim)}
    with checkpoint.path.open("wb") as file:
        dump(attack, file)
    with pytest.raises(CheckpointError, match="is not a safetensors file"):
        checkpoint.read()
    assert not victim.exists()

    # The attack works where nothing guards against it.
    pickle.loads(pickle.dumps(attack))  # noqa: S301 - the attack is ours
    assert victim.is_dir()


def test__read__refuses_what_is_no_file(checkpoint):
    checkpoint.path.mkdir()
    with pytest.raises(CheckpointError, match=r"is not a regular file; delete it"):
        checkpoint.read()


def test__write__warns_once_that_the_state_cannot_be_kept(checkpoint):
    checkpoint.path.mkdir()
    with pytest.warns(FairLatentWarning, match="cannot be kept in"):
        checkpoint.write(STATE)
    checkpoint.write(STATE)  # warnings are errors


def test__checkpoint_error__can_be_caught_as_a_value_error():
    assert issubclass(CheckpointError, FairLatentError)
    assert issubclass(CheckpointError, ValueError)
