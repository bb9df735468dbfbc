"""Memory and time of a default fit, and of `transform`, on embeddings in a file.

    python examples/benchmarks/memory_map.py --rows 37540 100000 1000000 4000000

Makes a file of 512 features of float32 for each number of rows (4,000,000 take 8 GB), deletes it
afterwards, and prints, of a process of its own for each: the peak of its memory, pages of the file
included, above what the imports take, and the seconds that its processor computed. Linux only.
"""

import argparse
import multiprocessing
import tempfile
import time
from pathlib import Path

import numpy as np
from sklearn.utils import gen_batches

from skfairlatent import FairLatentTransformer

N_FEATURES = 512
ROWS_AT_ONCE = 50_000


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[37_540, 100_000, 1_000_000])
    parser.add_argument("--folder", help="where the files are made; by default /tmp or the like")
    options = parser.parse_args()
    print(f"{'rows':>9} {'fit, MiB':>9} {'s':>6} {'transform, MiB':>15} {'s':>6}")
    for n_rows in options.rows:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            path = Path(folder) / "embeddings.npy"
            y, s = write(path, n_rows)
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                fit, seconds, transform, more = pool.apply(measure, (path, y, s))
        print(
            f"{n_rows:>9} {fit:>9.0f} {seconds:>6.1f} {transform:>15.0f} {more:>6.1f}", flush=True
        )


def write(path, n_rows):
    """Write embeddings in which label and group are linear, and return both."""
    rng = np.random.default_rng(0)
    y = rng.integers(2, size=n_rows, dtype=np.int8)
    s = (rng.random(n_rows) < 0.3 + 0.4 * y).astype(np.int8)
    directions = 0.15 * rng.normal(size=(2, N_FEATURES)).astype(np.float32)
    out = np.lib.format.open_memmap(path, "w+", np.float32, (n_rows, N_FEATURES))
    for rows in gen_batches(n_rows, ROWS_AT_ONCE):
        noise = rng.standard_normal((rows.stop - rows.start, N_FEATURES), dtype=np.float32)
        out[rows] = noise + np.column_stack([y[rows], s[rows]]) @ directions
    return y, s


def measure(path, y, s):
    """Return peak MiB above the imports and processor seconds of fit and then of transform."""
    small = np.random.default_rng(0).normal(size=(400, 4))
    FairLatentTransformer(None, max_iter=1).fit(  # what is imported late
        small, np.arange(400) % 2, sensitive_features=np.arange(400) // 2 % 2
    )
    X = np.load(path, mmap_mode="r")
    fair = FairLatentTransformer(None, random_state=0)
    before = memory("VmRSS")
    of_fit = measured(lambda: fair.fit(X, y, sensitive_features=s), before)
    return *of_fit, *measured(lambda: fair.transform(X), before)


def measured(call, before):
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    started = time.process_time()
    call()
    return memory("VmHWM") - before, time.process_time() - started


def memory(name):
    """Return memory of this process in MiB, as Linux tells it: VmRSS now, VmHWM the peak."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 2**10 for line in lines if line.startswith(name))


if __name__ == "__main__":
    main()
