"""Time training, `transform` and the import against their floors and other libraries.

A step of a flow over vectors cannot be faster than the matrix products in it. This script times
those products alone (`torch.mm` into tensors that are already there), our step, and the same
architecture out of the parts of normflows, FrEIA and zuko (``flow_peers.py``), in turn, so that
whatever else the machine does slows all of them alike. It prints medians, minima and
their ratios to those of the products. Everything is float32 except where a row says otherwise.

    pip install normflows FrEIA zuko                   # those that are missing are left out
    python examples/benchmarks/speed.py                # step and transform
    python examples/benchmarks/speed.py fit import --data FOLDER

On a machine that does other work as well, ``--threads 1 --clock processor`` counts only the time
that this process computes.

A step trains on 1,024 rows, 4 cells of 256, at d = 512 with 8 blocks of hidden width 512, with a
fused Adam and the gradient's norm clipped: ours with all five loss terms and with the density
alone, the others with the density alone.

`fit` times fits with the defaults: of faces (with `--data`), of 1,000 rows of 20 columns, first in
a process, again, and beside two processes that compute without a pause, and of a million rows of
512 columns in a file (2 GB, deleted afterwards).
"""

import argparse
import contextlib
import datetime
import gc
import multiprocessing
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from importlib import metadata
from pathlib import Path

import numpy as np
import torch
from _common import ATTRIBUTES, DATA_VARIABLE, load_embeddings
from flow_peers import PEERS
from memory_map import write

from skfairlatent import FairLatentTransformer
from skfairlatent._device import Generators, autocast_dtype
from skfairlatent._training.cell_layout import CellLayout
from skfairlatent._training.losses import density_loss
from skfairlatent._training.objective import TERMS, Objective
from skfairlatent._training.optimizer import MAX_GRADIENT_NORM
from skfairlatent._training.settings import WIDEST
from skfairlatent._training.step import TrainingStep
from skfairlatent.flows import Glow

D, N_BLOCKS, HIDDEN = 512, 8, 512
CELLS, ROWS_PER_CELL = 4, 256
ROWS = CELLS * ROWS_PER_CELL
CLOCKS = {"wall": time.perf_counter, "processor": time.process_time}


def main():
    options = parse_options()
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    print_setting(options)
    if "step" in options.what:
        time_step(options)
    if "transform" in options.what:
        time_transform(options)
    if "fit" in options.what:
        time_fits(options)
    if "import" in options.what:
        time_import(options)


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument(
        "what", nargs="*", default=["step", "transform"], help="step transform fit import"
    )
    parser.add_argument("--threads", type=int, help="of torch; by default as many as it takes")
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    parser.add_argument("--repeats", type=int, default=20, help="times each step is timed")
    parser.add_argument("--rows", type=int, default=100_000, help="rows to transform")
    parser.add_argument("--transform-repeats", type=int, default=5)
    parser.add_argument(
        "--data",
        default=os.environ.get(DATA_VARIABLE),
        help=f"for fit: folder with {ATTRIBUTES} and celeba_cnn/ (default: ${DATA_VARIABLE})",
    )
    return parser.parse_args()


def print_setting(options):
    packages = ("torch", "numpy", "scikit-learn", "normflows", "FrEIA", "zuko")
    print(f"{datetime.date.today()}, Python {platform.python_version()}")
    print(", ".join(f"{name} {version(name)}" for name in packages))
    print(f"{os.cpu_count()} cores, {torch.get_num_threads()} threads, {options.clock} time\n")


def version(package):
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


# --- timing --------------------------------------------------------------------------------------


def interleave(contenders, repeats, clock, warm_up=2):
    """Time callables in turn; return the seconds of every call by name."""
    for contender in contenders.values():
        for _ in range(warm_up):
            contender()
    seconds = {name: [] for name in contenders}
    gc.disable()
    for _ in range(repeats):
        for name, contender in contenders.items():
            start = clock()
            contender()
            seconds[name].append(clock() - start)
    gc.enable()
    return seconds


def print_table(title, seconds):
    """Print medians and minima, and their ratios to those of the first row, the floor."""
    floor = next(iter(seconds.values()))
    width = max(map(len, seconds))
    print(f"{title}\n{'':{width}}{'median ms':>11}{'ratio':>7}{'least ms':>11}{'ratio':>7}")
    for name, values in seconds.items():
        median, least = statistics.median(values), min(values)
        ratios = median / statistics.median(floor), least / min(floor)
        cells = (1e3 * median, ratios[0], 1e3 * least, ratios[1])
        print(f"{name:{width}}" + "{:11.1f}{:7.2f}{:11.1f}{:7.2f}".format(*cells))
    print(flush=True)


# --- one training step ---------------------------------------------------------------------------


def time_step(options):
    contenders = {
        "matrix products of our step": training_products(D, N_BLOCKS, HIDDEN),
        "the same, with a dense learned map": training_products(D, N_BLOCKS, HIDDEN, dense=True),
        "ours, five terms": our_step(),
        "ours, density": our_step(density_only=True),
    }
    half = autocast_dtype(torch.device("cpu"))
    if half is not None:
        contenders[f"ours, five terms, {half} (default)"] = our_step(half=half)
    for name, build in PEERS.items():
        try:
            contenders[name] = peer_step(build)
        except ImportError as error:
            print(f"{name}: left out ({error})")
    title = f"Training step: {ROWS:,} x {D}, {N_BLOCKS} blocks, hidden {HIDDEN}"
    print_table(title, interleave(contenders, options.repeats, CLOCKS[options.clock]))


def training_products(d, n_blocks, hidden, *, dense=False):
    """Return a callable that computes every matrix product of our step, and nothing else.

    A layer of a conditioner needs three: forward, and for the gradients of its input and of its
    weight. A rotation needs the first two, because only its 8 reflections are learned; with
    `dense`, as a learned matrix would, it has the third as well.
    """
    products = []
    for _ in range(n_blocks):
        products += layer_products(d, d)[: 3 if dense else 2]
        for n_inputs, n_outputs in conditioner_shapes(d, hidden):
            products += layer_products(n_inputs, n_outputs)
    return lambda: multiply(products)


def conditioner_shapes(d, hidden):
    return [(d // 2, hidden), (hidden, hidden), (hidden, 2 * (d - d // 2))]


def layer_products(n_inputs, n_outputs, rows=ROWS):
    """Return (left, right, out) forward, for the input's gradient and for the weight's."""
    x, gradient = torch.randn(rows, n_inputs), torch.randn(rows, n_outputs)
    weight = torch.randn(n_outputs, n_inputs)
    return [
        (x, weight.T, torch.empty(rows, n_outputs)),
        (gradient, weight, torch.empty(rows, n_inputs)),
        (gradient.T, x, torch.empty(n_outputs, n_inputs)),
    ]


def multiply(products):
    for left, right, out in products:
        torch.mm(left, right, out=out)


def our_step(*, density_only=False, half=None):
    """Return our training step on random rows; `half` is what to multiply matrices in."""
    codes, generators = torch.arange(CELLS), Generators(0, torch.device("cpu"))
    layout = CellLayout(codes // 2, codes % 2, ROWS_PER_CELL, torch.ones(CELLS, dtype=torch.bool))
    objective = Objective(
        layout,
        label_codes=layout.labels.repeat_interleave(ROWS_PER_CELL)[:, None],
        attribute_codes=layout.groups.repeat_interleave(ROWS_PER_CELL)[:, None],
        n_features=D,
        n_label_components=2,
        weights={"dg": 0.3, "eq": 0.3, "di": 20.0, "g": 0.1, "cls": 3.0},
        distance="energy",
        row_weights=torch.ones(ROWS),
        generators=generators,
    )
    if density_only:
        objective = DensityOnly(layout)
    flow, data = Glow(D, N_BLOCKS, HIDDEN), torch.randn(8192, D)
    flow.initialize(data)
    step = TrainingStep(
        flow, objective, data, learning_rate=1e-3, input_noise=0.0, generators=generators
    )
    step._half = half
    rows = torch.randperm(len(data))[:ROWS]
    return lambda: step(rows)


class DensityOnly(torch.nn.Module):
    """Stands in for an `Objective`, with the density term alone."""

    def __init__(self, layout):
        super().__init__()
        self.layout = layout

    def forward(self, z, log_det):
        return dict.fromkeys(TERMS, density_loss(z, log_det))

    def total(self, terms):
        return terms[0]


def peer_step(build):
    """Return a training step of another library's model on random rows."""
    model, data = build(D, N_BLOCKS, HIDDEN), torch.randn(8192, D)
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(parameters, lr=1e-3, fused=True)
    rows = torch.randperm(len(data))[:ROWS]

    def step():
        optimizer.zero_grad()
        density_loss(*model(data[rows])).backward()
        torch.nn.utils.clip_grad_norm_(parameters, MAX_GRADIENT_NORM)
        optimizer.step()

    return step


# --- transform -----------------------------------------------------------------------------------


def time_transform(options):
    x = np.random.default_rng(0).standard_normal((options.rows, D), dtype=np.float32)
    default = FairLatentTransformer()
    sizes = [(N_BLOCKS, HIDDEN, ""), (default.n_blocks, WIDEST, " (default)")]
    for n_blocks, hidden, note in sizes:
        contenders = {
            "matrix products": transform_products(len(x), n_blocks, hidden),
            "transform, label block": our_transform(x, n_blocks, hidden, "label"),
            "transform, all of the latent": our_transform(x, n_blocks, hidden, "full"),
        }
        title = f"Transform: {len(x):,} x {D}, {n_blocks} blocks, hidden {hidden}{note}"
        clock = CLOCKS[options.clock]
        print_table(title, interleave(contenders, options.transform_repeats, clock, warm_up=1))


def transform_products(n_rows, n_blocks, hidden, piece=1024):
    """Return a callable for the products forward, in pieces that stay in the cache."""
    shapes = [(D, D), *conditioner_shapes(D, hidden)] * n_blocks
    products = [layer_products(*shape, rows=piece)[0] for shape in shapes]
    rest = [
        (left[: n_rows % piece], right, out[: n_rows % piece]) for left, right, out in products
    ]

    def multiply_all():
        for _ in range(n_rows // piece):
            multiply(products)
        multiply(rest)

    return multiply_all


def our_transform(x, n_blocks, hidden, output):
    rng = np.random.default_rng(0)
    y, s = rng.integers(2, size=(2, 256))
    size = {"n_blocks": n_blocks, "hidden_features": hidden}
    fair = FairLatentTransformer(**size, output=output, max_iter=1, random_state=0, device="cpu")
    fair.fit(x[:256], y, sensitive_features=s)
    return lambda: fair.transform(x)


# --- fit -----------------------------------------------------------------------------------------


def time_fits(options):
    clock = CLOCKS[options.clock]
    rng = np.random.default_rng(0)
    y, s = rng.integers(2, size=(2, 1000))
    small = rng.normal(size=(1000, 20)) + np.pad(np.column_stack([y, s]), ((0, 0), (0, 18)))
    print("Fits with the defaults, beside the matrix products of their steps, seconds:")
    print_fit("1,000 x 20, first in the process", small, y, s, clock)
    print_fit("1,000 x 20", small, y, s, clock)
    with busy(2):
        print_fit("1,000 x 20, beside two busy processes", small, y, s, clock)
    if options.data:
        folder = Path(options.data)
        faces = load_embeddings(folder / "celeba_cnn", folder / ATTRIBUTES, "train")
        y, s = (faces.frame[column] for column in ("Attractive", "Male"))
        print_fit("{:,} x {}, faces".format(*faces.data.shape), faces.data, y, s, clock)
    with tempfile.TemporaryDirectory() as folder:
        for n_rows in (37_540, 1_000_000):
            path = Path(folder) / f"{n_rows}.npy"
            y, s = write(path, n_rows)
            print_fit(f"{n_rows:,} x 512, from a file", np.load(path, mmap_mode="r"), y, s, clock)
            path.unlink()


def print_fit(title, X, y, s, clock):
    fair = FairLatentTransformer(None, random_state=0, device="cpu")
    start = clock()
    fair.fit(X, y, sensitive_features=s)
    seconds = clock() - start
    n_steps = int(fair.history_["steps"].iloc[-1])
    shapes = fair.flow_.features, fair.flow_.n_blocks, fair.flow_.hidden_features
    products = training_products(*shapes)
    products()
    start = clock()
    for _ in range(20):
        products()
    floor = (clock() - start) / 20 * n_steps
    print(f"{title:40}{seconds:7.1f}   products {floor:6.1f}   {n_steps} steps", flush=True)


@contextlib.contextmanager
def busy(n_processes):
    """Keep so many processes computing for the time of a block."""
    context = multiprocessing.get_context("spawn")
    started = context.Semaphore(0)
    processes = [
        context.Process(target=compute, args=(started,), daemon=True) for _ in range(n_processes)
    ]
    for process in processes:
        process.start()
    for _ in processes:
        started.acquire()
    try:
        yield
    finally:
        for process in processes:
            process.kill()


def compute(started):
    torch.set_num_threads(1)
    started.release()
    x = torch.randn(500, 500)
    while True:
        x = torch.nn.functional.normalize(x @ x)


# --- import --------------------------------------------------------------------------------------


def time_import(options):
    packages = ["torch, sklearn, pandas", "skfairlatent"]
    contenders = {f"import {names}": partial(import_anew, names) for names in packages}
    print_table("Import", interleave(contenders, options.transform_repeats, CLOCKS["wall"]))


def import_anew(names):
    subprocess.run([sys.executable, "-c", f"import {names}"], check=True)  # noqa: S603 - ours


if __name__ == "__main__":
    main()
