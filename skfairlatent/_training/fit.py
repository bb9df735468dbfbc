"""One fit: data, flow, objective and loop put together."""

__all__ = ["FitResult", "fit_flow"]

import contextlib
import copy
import json
import math
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from scipy.stats import entropy
from torch import Tensor

from skfairlatent._device import EXACT_MATMUL, Generators, single_thread
from skfairlatent._files.tensors import digest_of
from skfairlatent._out_of_core.mapped_rows import MappedRows, sample_of
from skfairlatent._training.batch_plan import BatchPlan
from skfairlatent._training.batches import CellSampler, ReadingSampler
from skfairlatent._training.callbacks import FitTasks
from skfairlatent._training.checkpoint import Checkpoint
from skfairlatent._training.early_stopping import hold_out
from skfairlatent._training.loop import Trainer
from skfairlatent._training.objective import HEADS_BATCHES, Objective
from skfairlatent._training.settings import FitSettings, is_small
from skfairlatent._training.step import TrainingStep
from skfairlatent._validation.annotations import Annotations
from skfairlatent.distributed import agreed, require_agreement
from skfairlatent.flows import Glow

# ActNorm's scales are started from at most so many rows.
INITIAL_ROWS = 8192
# Of the line with which the label block begins, in variances of the latent.
RIDGE = 1e-3
# A label's cross-entropy counts so many times at most, which is reached at 1 % of positives.
MOST_RARE = 10.0


@dataclass(frozen=True)
class FitResult:
    """The trained flow, on the CPU, and the record of its training."""

    flow: Glow
    history: list[dict[str, float]]


@EXACT_MATMUL
def fit_flow(
    x: Tensor | MappedRows,
    annotations: Annotations,
    settings: FitSettings,
    device: torch.device,
    start: Glow | None,
    tasks: FitTasks,
) -> FitResult:
    """Train a flow on standardised rows.

    Parameters
    ----------
    x : Tensor or MappedRows of shape (n_samples, d), float32
        Standardised embeddings, and scores of the label.
    annotations : Annotations
        Labels, groups and cells of the rows.
    start : Glow or None
        A flow to go on from, as with ``warm_start``; it is left as it is.
    tasks : FitTasks
        Who is told of each epoch.
    """
    require_agreement(lambda: _description(x, annotations, settings, start))
    with _checkpoint(x, annotations, settings, start) as checkpoint:
        if checkpoint is not None and settings.seed_is_new:
            settings = replace(settings, seed=_seed_of(checkpoint, settings.seed))
        alone = device.type == "cpu" and is_small(x.shape[1], settings.hidden_features)
        with single_thread(alone):
            result = _train(x, annotations, settings, device, start, checkpoint, tasks)
        if checkpoint is not None:
            checkpoint.remove()
    return result


def _seed_of(checkpoint: Checkpoint, otherwise: int) -> int:
    if (saved := checkpoint.read()) is None:
        return otherwise
    with checkpoint.explained():
        return int(saved["seed"])


def _train(
    x: Tensor | MappedRows,
    annotations: Annotations,
    settings: FitSettings,
    device: torch.device,
    start: Glow | None,
    checkpoint: Checkpoint | None,
    tasks: FitTasks,
) -> FitResult:
    generators = Generators(settings.seed, device)
    training, held_out = hold_out(annotations.cells, settings)
    plan = BatchPlan.of(annotations, training, settings.batch_size, settings.constraints)
    if start is None:
        flow = _first_flow(x, annotations, settings, generators.on_cpu)
    else:
        flow = copy.deepcopy(start)
    flow = agreed(flow)
    objective = _objective(plan, annotations, training, x.shape[1], settings, generators)
    flow, objective = flow.to(device), objective.to(device)
    data, sampler = _drawn(x, training, plan, device)
    step = TrainingStep(
        flow,
        objective,
        data,
        learning_rate=settings.learning_rate,
        input_noise=settings.noise(x.shape[1]),
        generators=generators,
    )
    batches = sampler.draw(generators.on_cpu, HEADS_BATCHES).to(device)
    latents = [step.latent(rows) for rows in batches]
    objective.learn_heads(latents, of_attributes=start is not None)
    validation = None if held_out is None else _drawn(x, held_out, plan, device)
    history = Trainer(step, sampler, validation, settings, checkpoint, tasks).run()
    return agreed(FitResult(flow.to("cpu"), history))


def _drawn(
    x: Tensor | MappedRows, rows: npt.NDArray[np.int64], plan: BatchPlan, device: torch.device
) -> tuple[Tensor, CellSampler]:
    """Return rows on the device, and what draws batches of them."""
    cells = plan.cells[rows]
    if isinstance(x, Tensor):
        return x[rows].to(device), CellSampler(cells, plan.rows_per_cell)
    sampler = ReadingSampler(
        cells, plan.rows_per_cell, lambda drawn: x[rows[drawn.numpy()]], device
    )
    return sampler.data, sampler


def _first_flow(
    x: Tensor | MappedRows,
    annotations: Annotations,
    settings: FitSettings,
    generator: torch.Generator,
) -> Glow:
    """Return a flow whose label block begins with what a line tells of the label.

    Brought in little by little against a large distance between the groups, the label might stay
    out for good.
    """
    flow = Glow(
        x.shape[1],
        settings.n_blocks,
        settings.hidden_features,
        generator=generator,
        device="cpu",
        dtype=torch.float32,
    )
    # With the noise of training: a constant feature would otherwise be scaled up without bound,
    # and then the noise with it.
    drawn = torch.randperm(len(x), generator=generator)[:INITIAL_ROWS]
    rows = x[drawn]
    noise = torch.empty_like(rows).normal_(generator=generator)
    z = flow.initialize(rows + settings.noise(x.shape[1]) * noise)
    label_codes, width = annotations.label_codes[drawn.numpy()], settings.n_label_components
    if not settings.scores:
        flow.lead(_line(z, label_codes, width))
        return flow
    columns = list(settings.scores)
    directions = _read_by(flow, x.shape[1])[columns]
    if len(columns) > width:
        directions = _line(rows[:, columns], label_codes, width) @ directions
    flow.lead(directions)
    return flow


def _read_by(flow: Glow, n_features: int) -> Tensor:
    """Return the directions of the latent that the features of X are read along, shape (d, d)."""
    unit = torch.eye(n_features, dtype=torch.float32)
    return (flow.inverse(unit) - flow.inverse(torch.zeros_like(unit))).T


def _line(z: Tensor, label_codes: npt.NDArray[np.int64], width: int) -> Tensor:
    """Return directions that tell most of the labels, shape (at most width, d), linearly.

    Those of a ridge regression of reduced rank (Izenman 1975).
    """
    indicators = np.hstack([codes[:, None] == np.unique(codes)[1:] for codes in label_codes.T])
    labels = torch.from_numpy(indicators.astype(np.float32))
    z, labels = z - z.mean(dim=0), labels - labels.mean(dim=0)
    squares = z.T @ z + RIDGE * len(z) * torch.eye(z.shape[1], dtype=z.dtype)
    coefficients = torch.linalg.solve(squares, z.T @ labels)
    most = torch.linalg.svd(z @ coefficients, full_matrices=False).Vh[:width]
    directions: Tensor = most @ coefficients.T
    return directions


def _objective(
    plan: BatchPlan,
    annotations: Annotations,
    training: npt.NDArray[np.int64],
    n_features: int,
    settings: FitSettings,
    generators: Generators,
) -> Objective:
    _, first_rows = np.unique(plan.cells, return_index=True)
    rows = np.repeat(first_rows, plan.rows_per_cell)
    counts = np.bincount(plan.cells[training])
    weights = np.repeat(counts / plan.rows_per_cell, plan.rows_per_cell)
    rarity = [_rarity(codes) for codes in annotations.label_codes[training].T]
    row_weights = np.outer(rarity, weights / weights.mean())
    return Objective(
        plan.layout,
        torch.from_numpy(annotations.label_codes[rows]),
        torch.from_numpy(annotations.attribute_codes[rows]),
        n_features=n_features,
        n_label_components=settings.n_label_components,
        weights=settings.weights,
        distance=settings.distance,
        row_weights=torch.from_numpy(row_weights.astype(np.float32)),
        generators=generators,
    )


def _rarity(codes: npt.NDArray[np.int64]) -> float:
    """Return how many times less there is to know of a label than of a coin, 1 to MOST_RARE.

    So many times a label's cross-entropy counts, which is at most its entropy: the losses beside
    it would otherwise outweigh a rare label.
    """
    coin = math.log(2.0)
    return coin / min(max(float(entropy(np.bincount(codes))), coin / MOST_RARE), coin)


def _checkpoint(
    x: Tensor | MappedRows, annotations: Annotations, settings: FitSettings, start: Glow | None
) -> AbstractContextManager[Checkpoint | None]:
    if settings.checkpoint_dir is None:
        return contextlib.nullcontext()
    weights = {} if start is None else start.state_dict()
    known, _ = sample_of(x, annotations)
    fingerprint = digest_of(
        _what_defines(settings), {"x": known, **_codes(annotations), **weights}
    )
    return Checkpoint(settings.checkpoint_dir, fingerprint[:32])


def _description(
    x: Tensor | MappedRows, annotations: Annotations, settings: FitSettings, start: Glow | None
) -> tuple[str, Tensor]:
    """Return what tells a fit from others, and some of its rows."""
    forms = type(x).__name__, x.shape, settings.checkpoint_dir is None, start is None
    defining = _what_defines(settings) + str(forms)
    some = torch.arange(0, len(x), max(1, len(x) // 16))
    return digest_of(defining, _codes(annotations)), x[some]


def _codes(annotations: Annotations) -> dict[str, Tensor]:
    names = "cells", "label_codes", "attribute_codes"
    return {name: torch.from_numpy(getattr(annotations, name)) for name in names}


def _what_defines(settings: FitSettings) -> str:
    """Return the settings that define a fit: where its state lies and what it shows do not."""
    left_out = {"checkpoint_dir", "verbose", *(("seed",) if settings.seed_is_new else ())}
    defining = {k: v for k, v in asdict(settings).items() if k not in left_out}
    return json.dumps(defining, default=float)  # numpy's numbers are none to JSON
