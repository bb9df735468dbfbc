"""A script for two processes: ``python two_processes.py RANK FOLDER``, RANK being 0 and 1.

The first writes what it finds to FOLDER/findings.json; the second kills itself.
"""

import json
import os
import signal
import sys
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from sklearn.base import clone

from skfairlatent import FairLatentTransformer
from skfairlatent._training import step
from skfairlatent._training.checkpoint import Checkpoint
from skfairlatent.datasets import make_biased_embeddings
from skfairlatent.distributed import data_parallel

DATA = make_biased_embeddings(70, n_features=6, random_state=0)
X, Y, GROUPS = DATA.data, DATA.target, np.arange(70) % 3
N_EPOCHS = 4  # of five steps or six
SETTINGS = {
    "from the start": {},
    "with validation": {"early_stopping": True, "validation_fraction": 0.3},
    # A batch of 15 rows.
    "of uneven shares": {"constraints": "demographic_parity"},
    "with bins": {"n_bins": 4, "distance": "contrastive"},
}


def fitted(x=X, **parameters):
    usual = {"max_iter": N_EPOCHS, "batch_size": 15, "hidden_features": 8, "random_state": 0}
    return FairLatentTransformer(None, **usual | parameters).fit(x, Y, sensitive_features=GROUPS)


def weights(fair):
    return torch.nn.utils.parameters_to_vector(fair.flow_.parameters()).detach()


def far_from(fair, other):
    return max(
        float((weights(fair) - weights(other)).abs().max()),
        float(np.abs(fair.transform(X) - other.transform(X)).max()),
    )


def stop_writing_after(n_epochs, stop):
    """Let the state of a fit be written so often; return the list of what was written."""
    write, written = Checkpoint.write, []

    def counted(checkpoint, state):
        if len(written) == n_epochs:
            stop()
        written.append(state["state"]["epoch"])
        write(checkpoint, state)

    Checkpoint.write = counted
    return written


def interrupt():
    raise KeyboardInterrupt


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def interrupted(folder):
    """Leave the state of a fit of one process after two epochs."""
    write = Checkpoint.write
    stop_writing_after(2, interrupt)
    try:
        fitted(checkpoint_dir=folder)
    except KeyboardInterrupt:
        Checkpoint.write = write


def shared(rank, folder, expected):
    """Yield what the two find together, and what the first does when the second dies."""
    for name, parameters in SETTINGS.items():
        yield name, far_from(fitted(**parameters), expected[name])
    # The other process need not see the folder: there is a file in its place.
    resumed = fitted(checkpoint_dir=__file__ if rank else folder / "interrupted")
    yield "from a state", far_from(resumed, expected["from the start"])
    both = [None, None]
    dist.all_gather_object(both, fitted(random_state=None, max_iter=1))
    yield "without a seed", far_from(*both)
    try:
        fitted(X[::-1] if rank else X)
    except ValueError as error:
        yield "other rows", str(error)
    fair = fitted(warm_start=True, max_iter=1)
    try:
        (fair if rank else clone(fair)).fit(X, Y, sensitive_features=GROUPS)
    except ValueError as error:
        yield "other start", str(error)
    if rank == 1:
        stop_writing_after(2, die)
    try:
        fitted(checkpoint_dir=folder / "left")
    except ConnectionError as error:
        yield "dead", str(error)


def main(rank, folder):
    torch.set_num_threads(1)
    step.half_precision = lambda *_: None  # bfloat16 rounds more
    expected = {name: fitted(**parameters) for name, parameters in SETTINGS.items()}
    if rank == 0:
        interrupted(folder / "interrupted")
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2
    )
    with data_parallel():
        findings = dict(shared(rank, folder, expected))
    written = stop_writing_after(N_EPOCHS, interrupt)
    left = fitted(checkpoint_dir=folder / "left")
    findings["after a death"] = far_from(left, expected["from the start"])
    findings["epochs after a death"] = len(written)
    (folder / "findings.json").write_text(json.dumps(findings))


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
