"""What fitting the transformer costs, against what training the encoder cost that it stands on.

    python examples/benchmarks/training_cost.py --data DATA

Operations are those of matrix products and convolutions, forward and backward, as
``torch.utils.flop_counter`` counts them; seconds are of one processor of this machine. A fit of
the transformer is timed whole, and its operations are those of its epochs. Of the encoder each
phase of its training is measured by a step of 32 images, and multiplied by the images that the
shipped weights saw in it, as ``docs/user_guide/faces64.rst`` has them.
"""

import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from _common import Task, data_parser, load_task, provenance, rst_table, source_of
from _methods import fit_fair
from torch.utils.flop_counter import FlopCounterMode
from train_faces64 import CONFIG, PLANS

from skfairlatent.datasets import load_image_folder
from skfairlatent.encoders import DiffAEEncoder, DiffAETraining

TRAINING_IMAGES = 37_540
BATCH = 32
STEPS = 2
# Epochs of the three plans together; the first was over after 55 of its 59 epochs of whole images.
EPOCHS = {"encoder_epochs": 2, "half_size_epochs": 47.1 + 14, "max_iter": 55 + 38}
TITLES = ["encoder alone", "images of half the size", "whole images"]


def operations(run, *arguments, **settings):
    with FlopCounterMode(display=False) as counter:
        run(*arguments, **settings)
    return counter.get_total_flops()


def seconds(run, *arguments):
    start = time.process_time()
    run(*arguments)
    return time.process_time() - start


def row_of_transformer(fit):
    def run(**settings):
        return fit_fair(fit, 0, **settings)[0]

    start = time.process_time()
    n_epochs = run().n_iter_
    spent = time.process_time() - start
    first, second = (operations(run, max_iter=n) for n in (1, 2))
    return "transformer", n_epochs * len(fit.y), first + (n_epochs - 1) * (second - first), spent


def train(faces, phase, epochs):
    """Train for so many steps: an epoch is a batch."""
    settings = {**PLANS["gpu"], **dict.fromkeys(EPOCHS, 0), phase: epochs, "batch_size": BATCH}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # codes have fewer dimensions than columns: so they ship
        DiffAEEncoder(None, config=CONFIG, training=DiffAETraining(**settings)).fit(faces.images)


def rows_of_encoder(data):
    faces = load_image_folder(Path(data, "celeba64"), split="train", max_images=BATCH)
    for (phase, epochs), title in zip(EPOCHS.items(), TITLES, strict=True):
        counted = [operations(train, faces, phase, n) for n in (1, 2)]
        timed = [seconds(train, faces, phase, n) for n in (1, 1 + STEPS)]
        images = epochs * TRAINING_IMAGES
        for_each = np.array([counted[1] - counted[0], (timed[1] - timed[0]) / STEPS]) / BATCH
        yield f"encoder, {title}", images, *for_each * images


def main(arguments=None):
    """Measure and print the table."""
    parser = data_parser(__doc__)
    options = parser.parse_args(arguments)
    fit, _ = load_task(source_of(options, parser), Task("Attractive", ("Male",), "cnn"))
    rows = [row_of_transformer(fit), *rows_of_encoder(options.data)]
    table = pd.DataFrame(rows, columns=["what", "seen", "operations", "seconds"])
    whole = table[1:][["seen", "operations", "seconds"]].sum()
    table.loc[len(table)] = ["encoder, all", *whole]
    for name, text in {
        "operations": "{:.2e}",
        "seconds": "{:,.0f}",
        "seen": "{:,.0f}",
    }.items():
        table[name] = table[name].map(text.format)
    print(provenance(options), rst_table("Training", table), sep="\n\n")


if __name__ == "__main__":
    main()
