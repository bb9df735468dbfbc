"""Train the diffusion autoencoder for faces that ships with the package.

    python examples/benchmarks/train_faces64.py --data DATA --work WORK --minutes 10

trains on the train split of DATA/celeba64 for so many minutes, goes on from where it was when
called again, and writes the averaged weights, as they are then, as 16 bit safetensors to
WORK/faces64.safetensors. Once they are good, copy them into the package
(skfairlatent/encoders/diffae/weights/). ``faces64.py`` measures them.

Plans: ``cpu`` spends most steps on the semantic encoder alone and on images of half the size,
which are many times cheaper. The weights that ship were trained on a GPU by three plans, each
from the weights of the one before (``--start``): ``gpu`` in eight minutes, a third of the time
on images of half the size, which gave ``faces64_unsupervised``; ``labels`` with 36 of CelebA's
attributes read from the code, all but the four that ``faces64.py`` probes; and ``settle`` with
less weight on these, for the U-Net to get used to the new codes.
"""

import argparse
import os
import time
from pathlib import Path

from _common import DATA_VARIABLE

from skfairlatent.datasets import load_image_folder
from skfairlatent.encoders import DiffAEConfig, DiffAEEncoder, DiffAETraining

# 7.8 million weights: 15.5 MB at 16 bits. Few channels at full size, where they cost most. The
# encoder's last level has 256, and codes no more dimensions: other weights need a wider one.
CONFIG = DiffAEConfig(
    image_size=64,
    model_channels=16,
    channel_mult=(2, 4, 4, 6),
    enc_channel_mult=(2, 4, 8, 12, 16),
    attention_resolutions=(8,),
    num_res_blocks=1,
    enc_num_res_blocks=1,
    embed_channels=512,
    norm_groups=8,
    dropout=0.0,
)

PLANS = {
    "cpu": {
        "encoder_epochs": 4,
        "half_size_epochs": 1.363,
        "max_iter": 0.34,
        "batch_size": 32,
        "learning_rate_init": 1e-3,
        "ema_decay": 0.995,
    },
    "gpu": {
        "encoder_epochs": 2,
        "half_size_epochs": 47.1,
        "max_iter": 59.1,
        "batch_size": 256,
        "learning_rate_init": 1e-3,
        "ema_decay": 0.9995,
        "linear_weight": 0.5,
    },
    "labels": {
        "half_size_epochs": 14,
        "max_iter": 0,
        "batch_size": 256,
        "learning_rate_init": 1e-3,
        "ema_decay": 0.995,
        "linear_weight": 0.0,
        "label_weight": 1.0,
    },
    "settle": {
        "max_iter": 38,
        "batch_size": 256,
        "learning_rate_init": 5e-4,
        "ema_decay": 0.999,
        "linear_weight": 0.0,
        "label_weight": 0.2,
    },
}
# No labels: who it is, and what probes are to find out.
UNTOLD = ["identity", "Male", "Smiling", "Attractive", "Young"]


def main(arguments=None):
    """Train for a while and write the weights."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default=os.environ.get(DATA_VARIABLE), help="folder of the data")
    parser.add_argument("--work", type=Path, required=True, help="folder for state and weights")
    parser.add_argument("--plan", choices=sorted(PLANS), default="cpu")
    parser.add_argument("--start", help="weights to go on from, by name or path")
    parser.add_argument(
        "--minutes", type=float, help="stop after this time; more by calling again"
    )
    parser.add_argument("--max-rows", type=int, help="train on so many images (for a quick look)")
    parser.add_argument("--device", default="auto")
    options = parser.parse_args(arguments)
    if not options.data:
        parser.error(f"give the folder of the data as --data, or in ${DATA_VARIABLE}")
    faces = load_image_folder(
        Path(options.data, "celeba64"), split="train", max_images=options.max_rows
    )
    training = DiffAETraining(
        **PLANS[options.plan],
        initial_weights=options.start,
        max_seconds=options.minutes and 60 * options.minutes,
        checkpoint_dir=options.work,
        sample_dir=options.work / "pictures",
    )
    encoder = DiffAEEncoder(
        None, config=CONFIG, training=training, device=options.device, verbose=True
    )
    start = time.perf_counter()
    encoder.fit(faces.images, faces.frame.drop(columns=UNTOLD))
    print(encoder.history_.tail(1).to_string(), f"\n{time.perf_counter() - start:.0f} s")
    encoder.save_weights(options.work / "faces64.safetensors", half=True)


if __name__ == "__main__":
    main()
