"""Time the networks of the diffusion autoencoder on a CPU beside `torch.compile` of them.

    python examples/benchmarks/compiled.py --out results

The forms of a network get the same batch in turn: "plain" as ``torch.nn`` computes its layers;
"own" with this package's convolutions by Winograd's algorithm and batches in pieces, and without
one of the two; and "compiled", ``torch.compile`` of the plain form. Weights are random: time does
not depend on them. One thread is timed by the time that it computes, so that other work on the
machine does not count. The table shows images a second in the fastest round, seconds to compile,
and how far results lie from the plain ones, relative to the largest of those.
"""

import argparse
import time
from contextlib import ExitStack
from pathlib import Path
from unittest import mock

import pandas as pd
import torch
import torch._dynamo.config
from _common import rst_table
from encoding import BATCHES, CONFIGS
from torch import nn

from skfairlatent.encoders.diffae._model import channels_last
from skfairlatent.encoders.diffae._networks import networks
from skfairlatent.encoders.diffae._networks.winograd import Conv3x3

NETWORKS = ["encoder", "noise prediction"]


def without(network, *, winograd=False, pieces=False):
    """Return a function that computes a network without one or both of the faster ways."""

    def call(*inputs):
        with ExitStack() as stack:
            if winograd:
                stack.enter_context(mock.patch.object(Conv3x3, "_is_faster", return_value=False))
            if pieces:
                whole = mock.patch.object(networks, "in_pieces", lambda f, _size, *rows: f(*rows))
                stack.enter_context(whole)
            return network(*inputs)

    return call


def part_and_inputs(name, part, n_images):
    """Return a network of a size and a batch for it."""
    config = CONFIGS[name]
    torch.manual_seed(0)
    whole = networks.DiffusionAutoencoder(config).eval()
    for parameter in whole.parameters():  # some begin at 0, and the result with them
        nn.init.normal_(parameter, std=0.03)
    channels_last(whole)
    images = torch.randn(n_images, 3, config.image_size, config.image_size)
    images = images.contiguous(memory_format=torch.channels_last)
    if part == "encoder":
        return whole.encoder, (images,)
    steps = torch.full((n_images,), 500)
    return whole, (images, steps, torch.randn(n_images, config.embed_channels))


@torch.no_grad()
@torch._dynamo.config.patch(recompile_limit=100)
def measure(name, part, rounds):
    """Return a row of the table."""
    network, inputs = part_and_inputs(name, part, BATCHES[name])
    compiled = torch.compile(network)
    start = time.process_time()
    compiled(*inputs)
    spent = time.process_time() - start
    forms = {
        "plain": without(network, winograd=True, pieces=True),
        "own": network,
        "without Winograd": without(network, winograd=True),
        "without pieces": without(network, pieces=True),
        "compiled": compiled,
    }
    results = {form: function(*inputs) for form, function in forms.items()}
    seconds = {form: [] for form in forms}
    for _ in range(rounds):
        for form, function in forms.items():
            start = time.process_time()
            function(*inputs)
            seconds[form].append(time.process_time() - start)
    rates = {form: len(inputs[0]) / min(times) for form, times in seconds.items()}
    largest = results["plain"].abs().max()
    return {
        "model": name,
        "network": part,
        "batch": len(inputs[0]),
        **{form: f"{rate:.1f}" for form, rate in rates.items()},
        "own / compiled": f"{rates['own'] / rates['compiled']:.2f}",
        "compiling, s": f"{spent:.0f}",
        **{
            f"{form} differs": f"{(results[form] - results['plain']).abs().max() / largest:.0e}"
            for form in ("own", "compiled")
        },
    }


def main(arguments=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="+", choices=CONFIGS, default=["faces64", "celeba64"])
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=NETWORKS)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--out", type=Path, help="folder for compiled.rst")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    rows = []
    for name in options.models:
        for part in options.networks:
            rows.append(measure(name, part, options.rounds))
            print(rows[-1], flush=True)
    title = f"Images a second on one core of a CPU, torch {torch.__version__}"
    text = rst_table(title, pd.DataFrame(rows))
    print(text)
    if options.out is not None:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "compiled.rst").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
