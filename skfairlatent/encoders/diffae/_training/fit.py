"""Puts images, network and trainer together for one training."""

__all__ = ["fit_network"]

import contextlib
import json
from contextlib import AbstractContextManager
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from skfairlatent._device import EXACT_MATMUL
from skfairlatent._files.tensors import digest_of
from skfairlatent._files.writing import require_folder
from skfairlatent._training.checkpoint import Checkpoint
from skfairlatent._user_warnings import UserLine
from skfairlatent.encoders._chunks import map_chunks
from skfairlatent.encoders._images import ImageSource
from skfairlatent.encoders.diffae._codec import Codec
from skfairlatent.encoders.diffae._config import DiffAEConfig
from skfairlatent.encoders.diffae._model import Model, channels_last
from skfairlatent.encoders.diffae._networks.networks import DiffusionAutoencoder
from skfairlatent.encoders.diffae._statistics import LatentStatistics
from skfairlatent.encoders.diffae._training.batches import TrainingData
from skfairlatent.encoders.diffae._training.first_weights import random_network
from skfairlatent.encoders.diffae._training.label_head import label_targets
from skfairlatent.encoders.diffae._training.loop import Trainer, TrainingPlan
from skfairlatent.encoders.diffae._training.options import DiffAETraining
from skfairlatent.encoders.diffae._training.progress_pictures import ProgressPictures

# Codes of at most so many images are measured for sampling.
STATISTICS_IMAGES = 20_000
CHUNK = 64
MIN_IMAGES = 2


def fit_network(
    source: ImageSource,
    y: Any,
    start: DiffAEConfig | Model,
    training: DiffAETraining,
    device: torch.device,
    *,
    seed: int,
    verbose: bool,
) -> tuple[Model, pd.DataFrame]:
    """Train a diffusion autoencoder.

    Parameters
    ----------
    source : ImageSource
        Images of the size of `start`.
    y : array-like of shape (n,) or (n, n_labels), or None
        Labels, for ``training.label_weight``.
    start : DiffAEConfig or Model
        Sizes, for random weights to start from, or weights.

    Returns
    -------
    model : Model
        Averaged weights, on the CPU, and the statistics of the codes.
    history : DataFrame
        One row for twenty steps: ``step``, ``loss``, ``loss_noise``, ``loss_linear``,
        ``loss_label``.
    """
    if len(source) < MIN_IMAGES:
        raise ValueError(f"X holds {len(source)} image: training needs {MIN_IMAGES} or more.")
    if isinstance(start, DiffAEConfig):
        _warn_if_codes_are_narrow(start)
    else:
        start.require_decoder()
    targets = label_targets(y, len(source)) if training.label_weight else None
    plan = training.plan(len(source), seed)
    pictures = None
    if training.sample_dir is not None:
        pictures = ProgressPictures(training.sample_dir, source, device)
    with EXACT_MATMUL, _checkpoint(source, targets, start, training, plan) as checkpoint:
        network = _first_network(start, seed).to(device)
        channels_last(network)
        trainer = Trainer(
            network,
            TrainingData(source.read, len(source), targets),
            plan,
            checkpoint,
            verbose=verbose,
            on_checkpoint=pictures,
        )
        averaged = trainer.run(training.max_seconds or float("inf")).to("cpu")
        return _finished(averaged, source, device), pd.DataFrame(trainer.state.history)


def _first_network(start: DiffAEConfig | Model, seed: int) -> DiffusionAutoencoder:
    config = start if isinstance(start, DiffAEConfig) else start.config
    network = random_network(config, torch.Generator("cpu").manual_seed(seed))
    if isinstance(start, Model):
        network.load_state_dict(start.network.state_dict())
    return network


def _checkpoint(
    source: ImageSource,
    targets: npt.NDArray[np.float32] | None,
    start: DiffAEConfig | Model,
    training: DiffAETraining,
    plan: TrainingPlan,
) -> AbstractContextManager[Checkpoint | None]:
    if training.checkpoint_dir is None:
        return contextlib.nullcontext()
    require_folder("checkpoint_dir", training.checkpoint_dir)  # before all images are read
    tensors = {} if targets is None else {"targets": torch.from_numpy(targets)}
    config = start if isinstance(start, DiffAEConfig) else start.config
    if isinstance(start, Model):
        tensors |= start.network.state_dict()
    rows = range(0, len(source), CHUNK)
    images = [each.hex() for i in rows for each in source.digests(slice(i, i + CHUNK))]
    settings = json.dumps([asdict(plan), config.to_dict(), images], default=float)
    return Checkpoint(training.checkpoint_dir, digest_of(settings, tensors)[:32])


def _warn_if_codes_are_narrow(config: DiffAEConfig) -> None:
    n_dimensions = config.model_channels * config.enc_channel_mult[-1]
    if n_dimensions < config.embed_channels:
        UserLine.find().warn(
            f"embed_channels={config.embed_channels}, but codes will have {n_dimensions} "
            "dimensions only, as many as the semantic encoder's last level has channels: "
            f"model_channels * enc_channel_mult[-1] = {config.model_channels} * "
            f"{config.enc_channel_mult[-1]}. Make that product larger, or embed_channels smaller."
        )


def _finished(network: DiffusionAutoencoder, source: ImageSource, device: torch.device) -> Model:
    """Measure the codes of a network, on evenly spread images."""
    codec = Codec(network, network.config.image_size, device, "float32")
    n_images = min(len(source), STATISTICS_IMAGES)
    rows = np.linspace(0, len(source) - 1, n_images).astype(np.int64)
    codes = map_chunks(
        n_images,
        CHUNK,
        lambda chunk: codec.encode(source.read(rows[chunk])),
        desc="statistics",
        verbose=False,
    )
    return Model(network, network.config, LatentStatistics.fit(codes))
