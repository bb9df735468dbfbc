"""Time training and `transform` against their bare matrix products and other libraries.

A step of a flow over vectors cannot be faster than the matrix products in it. This script times
those products alone (`torch.mm` into tensors that are already there), our step, and the same
architecture out of the parts of normflows, FrEIA and zuko (``flow_peers.py``), in turn, so that
whatever else the machine does slows all of them alike. It prints medians, minima and
their ratios to those of the products. Everything is float32 except where a row says otherwise.

    pip install normflows FrEIA zuko                   # those that are missing are left out
    python examples/benchmarks/speed.py                # step and transform
    python examples/benchmarks/speed.py fit --data FOLDER

On a machine that does other work as well, ``--threads 1 --clock processor`` counts only the time
that this process computes.

A step trains on 1,024 rows, 4 cells of 256, at d = 512 with 8 blocks of hidden width 512, with a
fused Adam and the gradient's norm clipped: ours with all five loss terms and with the density
alone, the others with the density alone.
"""

import argparse
import datetime
import gc
import os
import platform
import statistics
import time
from importlib import metadata
from pathlib import Path

import numpy as np
import torch
from _common import ATTRIBUTES, DATA_VARIABLE, load_embeddings
from flow_peers import PEERS

from skfairlatent import FairLatentTransformer
from skfairlatent._device import Generators, autocast_dtype
from skfairlatent._training.layout import CellLayout
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
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    print_setting(options)
    if "step" in options.what:
        time_step(options)
    if "transform" in options.what:
        time_transform(options)
    if "fit" in options.what:
        time_fit(options)


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument(
        "what", nargs="*", default=["step", "transform"], help="step transform fit"
    )
    parser.add_argument("--threads", type=int, default=2)
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
    print(f"{os.cpu_count()} cores, {options.threads} threads, {options.clock} time\n")


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
        "matrix products of our step": training_products(),
        "the same, with a dense learned map": training_products(dense=True),
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


def training_products(*, dense=False):
    """Return a callable that computes every matrix product of our step, and nothing else.

    A layer of a conditioner needs three: forward, and for the gradients of its input and of its
    weight. A rotation needs the first two, because only its 8 reflections are learned; with
    `dense`, as a learned matrix would, it has the third as well.
    """
    products = []
    for _ in range(N_BLOCKS):
        products += layer_products(D, D)[: 3 if dense else 2]
        for n_inputs, n_outputs in conditioner_shapes(HIDDEN):
            products += layer_products(n_inputs, n_outputs)
    return lambda: multiply(products)


def conditioner_shapes(hidden):
    return [(D // 2, hidden), (hidden, hidden), (hidden, 2 * (D - D // 2))]


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
        label_codes=layout.labels[:, None],
        attribute_codes=layout.groups[:, None],
        n_features=D,
        n_label_components=2,
        weights={"dg": 0.3, "eq": 0.3, "di": 20.0, "g": 0.1, "cls": 3.0},
        distance="energy",
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
    shapes = [(D, D), *conditioner_shapes(hidden)] * n_blocks
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


def time_fit(options):
    if not options.data:
        raise SystemExit(f"Give the folder of the data as --data, or in ${DATA_VARIABLE}.")
    folder = Path(options.data)
    columns = ["Attractive", "Male"]
    loaded = load_embeddings(folder / "celeba_cnn", folder / ATTRIBUTES, "train")
    y, s = (loaded.frame[column] for column in columns)
    fair = FairLatentTransformer(random_state=0, device="cpu")
    clock = CLOCKS[options.clock]
    start = clock()
    fair.fit(loaded.data, y, sensitive_features=s)
    rows, d = loaded.data.shape
    print(f"Default fit: {rows:,} x {d}, {fair.n_iter_} epochs: {clock() - start:.1f} s")


if __name__ == "__main__":
    main()
