"""The networks are timed beside `torch.compile` of them, and all forms give the same."""

import importlib
from pathlib import Path

import pytest
import torch

from skfairlatent.encoders import DiffAEConfig

pytestmark = pytest.mark.benchmarks

TINY = DiffAEConfig(
    image_size=8, model_channels=8, channel_mult=(1,), enc_channel_mult=(1,),
    num_res_blocks=1, enc_num_res_blocks=1, embed_channels=12,
)  # fmt: skip


@pytest.mark.filterwarnings("default")  # the compiler's
def test__compiled__times_every_form_of_both_networks(monkeypatch, tmp_path, capsys):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "examples" / "benchmarks"))
    script = importlib.import_module("compiled")
    monkeypatch.setitem(script.CONFIGS, "tiny", TINY)
    monkeypatch.setitem(script.BATCHES, "tiny", 4)
    n_threads = torch.get_num_threads()

    script.main(["--models", "tiny", "--rounds", "1", "--out", str(tmp_path)])

    torch.set_num_threads(n_threads)
    text = (tmp_path / "compiled.rst").read_text(encoding="utf-8")
    assert text in capsys.readouterr().out
    header = next(line for line in text.splitlines() if line.startswith("model"))
    for form in ("plain", "own", "without Winograd", "without pieces", "compiled"):
        assert form in header
    rows = [line.split() for line in text.splitlines() if line.startswith("tiny")]
    assert len(rows) == 2
    assert all(float(difference) < 1e-4 for row in rows for difference in row[-2:])
