"""Time encoding images against the official network, with the same weights on the same images.

    git clone https://github.com/phizaz/diffae
    python examples/benchmarks/encoding.py --official diffae --out results

Both sides get the same batch, in turn, so that whatever else the machine does slows both: the
official network, run eagerly in float32 as its authors do, from a tensor on the device; and
``DiffAEEncoder`` as its user calls it, from uint8 images to an array. Weights are random: time
does not depend on them. Beside the ratio stand that of the networks alone, both from what is on
the device; the time of the convolutions alone, as torch computes them in the faster layout; and
how far the codes lie apart. In convolutions a GPU multiplies what torch calls float32 with 11
bits (TF32), unless told otherwise: there a last column has the official network with all 24.

On a machine that does other work as well, ``--threads 1 --clock processor`` counts only the time
that this process computes: two threads that wait for each other there say little.

``--paths N`` encodes one file N times over instead, by its path, and prints the memory that takes.
"""

import argparse
import datetime
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path
from unittest import mock

import numpy as np
import pandas as pd
import torch
from _common import code_fingerprint, rst_table
from PIL import Image
from torch import nn
from train_faces64 import CONFIG

from skfairlatent.encoders import OFFICIAL_CONFIGS, DiffAEEncoder
from skfairlatent.encoders.diffae._codec import PRECISIONS, Codec
from skfairlatent.encoders.diffae._model import channels_last
from skfairlatent.encoders.diffae._networks import fused
from skfairlatent.encoders.diffae._networks.networks import SemanticEncoder

CONFIGS = {
    "faces64": CONFIG,
    "celeba64": OFFICIAL_CONFIGS["celeba64d2c_autoenc"],
    "ffhq128": OFFICIAL_CONFIGS["ffhq128_autoenc_130M"],
    "ffhq256": OFFICIAL_CONFIGS["ffhq256_autoenc"],
}
BATCHES = {"faces64": 64, "celeba64": 32, "ffhq128": 8, "ffhq256": 2}
CUDA_FACTOR = 16  # a GPU is not busy with less
CLOCKS = {"wall": time.perf_counter, "processor": time.process_time}


def official_encoder(folder, config):
    """Build the semantic encoder of the authors' code, from a checkout of it."""
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    from model.unet import BeatGANsEncoderConfig  # noqa: PLC0415 - lies in the checkout

    return BeatGANsEncoderConfig(
        image_size=config.image_size,
        in_channels=3,
        model_channels=config.model_channels,
        out_hid_channels=config.embed_channels,
        out_channels=config.embed_channels,
        num_res_blocks=config.enc_num_res_blocks,
        attention_resolutions=config.attention_resolutions,
        channel_mult=config.enc_channel_mult,
        use_time_condition=False,
        num_heads=config.num_heads,
        resblock_updown=True,
    ).make_model()


def convolution_inputs(encoder, images):
    """Return each convolution with an input of the shape that it gets."""
    found = []

    def keep(module, inputs, _output):
        found.append((module, torch.randn_like(inputs[0])))

    hooks = [m.register_forward_hook(keep) for m in encoder.modules() if isinstance(m, nn.Conv2d)]
    # At inference on CUDA most are not called as layers.
    with mock.patch.object(fused, "inferring", return_value=False):
        encoder(images)
    for hook in hooks:
        hook.remove()
    return found


def seconds(work, device, clock):
    """Return the seconds that some work takes."""
    start = clock()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return clock() - start


@torch.inference_mode()
def measure(name, options):
    """Time one size, and return a row of the table."""
    config, device = CONFIGS[name], torch.device(options.device)
    n_images = BATCHES[name] * (CUDA_FACTOR if device.type == "cuda" else 1)
    torch.manual_seed(0)
    ours = SemanticEncoder(config).eval()
    official = official_encoder(options.official, config).eval().to(device)
    official.load_state_dict(ours.state_dict())
    channels_last(ours)
    codec = Codec(ours, config.image_size, device, options.precision)
    size = config.image_size
    pixels = np.random.default_rng(0).integers(0, 256, (n_images, size, size, 3), dtype=np.uint8)
    images = (torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1).contiguous()
    images = images.to(device)
    laid_out = images.contiguous(memory_format=torch.channels_last)
    convolutions = convolution_inputs(codec.encoder, laid_out)
    placed = torch.from_numpy(pixels).to(device)

    def official_exactly():
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            official(images)

    works = {
        "official": lambda: official(images),
        "ours": lambda: codec.encode(pixels),
        "our network": lambda: codec.encode_placed(placed),
        "convolutions": lambda: [nn.Conv2d.forward(m, x) for m, x in convolutions],
    }
    if device.type == "cuda":
        works["official, exactly"] = official_exactly
    exact, found = official(images).cpu().numpy(), codec.encode(pixels)
    times = {key: [] for key in works}
    for _ in range(options.rounds):
        for key, work in works.items():
            times[key].append(seconds(work, device, CLOCKS[options.clock]))
    middle = {key: statistics.median(values) for key, values in times.items()}
    move = np.linalg.norm(found - exact, axis=1) / np.linalg.norm(exact, axis=1)
    row = {
        "model": name,
        "batch": n_images,
        "precision": codec.precision,
        "official, images/s": f"{n_images / middle['official']:.1f}",
        "ours, images/s": f"{n_images / middle['ours']:.1f}",
        "ratio": f"{middle['official'] / middle['ours']:.2f}",
        "of least times": f"{min(times['official']) / min(times['ours']):.2f}",
        "networks alone": f"{middle['official'] / middle['our network']:.2f}",
        "convolutions / ours": f"{middle['convolutions'] / middle['ours']:.2f}",
        "codes differ": f"{move.max():.1e}",
    }
    if "official, exactly" in works:
        row["ratio without TF32"] = f"{middle['official, exactly'] / middle['ours']:.2f}"
    return row


def measure_memory(n_paths):
    """Encode a file over and over, and return the memory above that of the model, in MiB."""
    encoder = DiffAEEncoder(verbose=True)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "face.png")
        Image.fromarray(encoder.set_params(n_steps=2).sample(1)[0]).save(path)
        encoder.transform([path] * 200)  # the model is there, and what the first images need
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        start = time.perf_counter()
        encoder.transform([path] * n_paths)
        seconds = time.perf_counter() - start
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(f"{n_paths} paths in {seconds:.0f} s, {grown:.0f} MiB more than for 200")


def main(arguments=None):
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--official", type=Path, help="checkout of github.com/phizaz/diffae")
    parser.add_argument("--models", nargs="*", choices=CONFIGS, default=list(CONFIGS))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", choices=PRECISIONS, default="auto", help="of our network")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    parser.add_argument("--paths", type=int, help="measure memory over so many paths instead")
    parser.add_argument("--out", type=Path, help="folder for encoding.rst")
    options = parser.parse_args(arguments)
    if options.paths:
        measure_memory(options.paths)
        return
    if options.official is None:
        parser.error("give a checkout of github.com/phizaz/diffae as --official")
    torch.set_num_threads(options.threads)
    table = pd.DataFrame([measure(name, options) for name in options.models])
    text = (
        f"``python examples/benchmarks/encoding.py --official PATH`` ({datetime.date.today()}, "
        f"{options.device}, {options.threads} threads, {options.clock} time, torch "
        f"{torch.__version__}, medians of {options.rounds} interleaved rounds; code "
        f"{code_fingerprint()})\n\n" + rst_table("Encoding", table)
    )
    print(text)
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "encoding.rst").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
