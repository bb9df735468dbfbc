"""The smallest move of each row that takes a classifier's score to a goal."""

__all__ = ["Goal", "Terrain", "along_line", "gradients", "smallest_move", "unit_rows", "ways"]

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import logsumexp, softmax

from skfairlatent.counterfactuals._scores import Affine, Floats, Function

Codes = npt.NDArray[np.intp]

# A flipped decision stays flipped after rounding: this much log-odds beyond the boundary.
MARGIN = 1e-3
# Log-odds within this of the goal are at it.
TOLERANCE = 1e-5
NEWTON_STEPS = 8
# Scores are probed at these distances for their slope, in standard deviations: near first, and
# further where they are flat, as those of trees are.
PROBE_DISTANCES = (0.01, 0.3, 1.0)
# In more dimensions than this the slope is taken along so many random directions.
MAX_PROBED = 64
# In no more dimensions than this each axis is tried as a way.
MAX_AXES = 4
# No edit is looked for beyond so many times the typical distance of a row from the mean.
REACH = 5.0
GRID = 16
# A step of a function, as trees have, is crossed by this share of the reach: latents of 32 bits,
# and embeddings mapped forth and back, are then still on the other side.
BEYOND_A_STEP = 1e-5
BISECTIONS = 14


@dataclass(frozen=True)
class Goal:
    """Where each row is to end.

    Parameters
    ----------
    codes : ndarray of shape (n,), int
        The class of each row whose score counts.
    log_odds : float or None
        Log-odds that this class is to have; None for just more than any other class.
    signs : ndarray of shape (n,)
        1 for rows that have to rise to the goal, -1 for those that have to fall.
    """

    codes: Codes
    log_odds: float | None
    signs: Floats

    @classmethod
    def of(cls, codes: Codes, log_odds: float | None, scores: Floats) -> "Goal":
        """Return the goal for rows that have these scores, shape (n, n_classes)."""
        upward = cls(codes, log_odds, np.ones(len(codes)))
        if log_odds is None:
            return upward
        return cls(codes, log_odds, np.where(upward.gap(scores) > 0.0, -1.0, 1.0))

    def gap(self, scores: Floats) -> Floats:
        """Return how far beyond the goal rows are, in log-odds; negative before it."""
        own = np.take_along_axis(scores, self.codes[:, None], axis=1)[:, 0]
        others = self._others(scores)
        if self.log_odds is None:
            return np.asarray(own - others.max(axis=1) - MARGIN)
        return np.asarray(self.signs * (own - logsumexp(others, axis=1) - self.log_odds))

    def slopes(self, scores: Floats) -> Floats:
        """Return the derivative of the gap by each score, shape (n, n_classes)."""
        others = self._others(scores)
        if self.log_odds is None:
            rival = np.eye(scores.shape[1])[others.argmax(axis=1)]
        else:
            rival = softmax(others, axis=1)
        own = np.eye(scores.shape[1])[self.codes]
        return np.asarray(self.signs[:, None] * (own - rival))

    def take(self, rows: npt.NDArray[np.bool_]) -> "Goal":
        """Return the goal of some rows."""
        return Goal(self.codes[rows], self.log_odds, self.signs[rows])

    def _others(self, scores: Floats) -> Floats:
        others = scores.copy()
        np.put_along_axis(others, self.codes[:, None], -np.inf, axis=1)
        return others


@dataclass(frozen=True)
class Terrain:
    """The function that a search moves over.

    Parameters
    ----------
    function : Function
        Scores of rows of shape (n, width).
    width : int
        The first columns, which may be moved; the rest is held.
    scale : ndarray of shape (width,)
        Standard deviations of these columns.
    surrogate : Affine or None
        A linear imitation of `function`, for directions where that is flat.
    """

    function: Function
    width: int
    scale: Floats
    surrogate: Affine | None = None

    @property
    def reach(self) -> float:
        """Largest length of a move."""
        return REACH * float(np.linalg.norm(self.scale))


def smallest_move(terrain: Terrain, Z: Floats, goal: Goal) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """Return the smallest moves found that reach the goal, and whether they do.

    Steps of Newton's method along the gradient, as DeepFool takes them (Moosavi-Dezfooli et al.,
    CVPR 2016, arXiv:1511.04599), then the first crossing on the line to where they ended. Between
    two classes of a linear classifier that is the exact projection on the boundary.

    Parameters
    ----------
    terrain : Terrain
        The function that is searched.
    Z : ndarray of shape (n, width of the function)
        Where to start.
    goal : Goal
        Where to end.

    Returns
    -------
    moves : ndarray of shape (n, terrain.width)
        Without meaning where the goal is not reached.
    reached : ndarray of shape (n,), bool
    """
    moves = newton_moves(terrain, Z, goal)
    if isinstance(terrain.function, Affine) and len(terrain.function.bias) == 2:
        return moves, np.abs(goal.gap(terrain.function(_moved(Z, moves)))) <= MARGIN
    lengths, reached = along_line(terrain, Z, goal, moves)
    moves = lengths[:, None] * unit_rows(moves)
    if not isinstance(terrain.function, Affine):
        for towards in _other_directions(terrain, Z, goal):
            # No further than what was found already.
            limits = np.where(reached, np.linalg.norm(moves, axis=1), terrain.reach)
            lengths, arrived = along_line(terrain, Z, goal, towards, limits)
            better = arrived & (lengths < limits)
            moves[better] = (lengths[:, None] * unit_rows(towards))[better]
            reached |= better
    return moves, reached


def newton_moves(terrain: Terrain, Z: Floats, goal: Goal) -> Floats:
    """Return where Newton's method takes rows, whether or not it arrives."""
    moves = np.zeros((len(Z), terrain.width))
    active = np.ones(len(Z), dtype=bool)
    for _ in range(NEWTON_STEPS):
        rows, goals = _moved(Z[active], moves[active]), goal.take(active)
        scores = terrain.function(rows)
        gap = goals.gap(scores)
        slope = gradients(terrain, rows, goals.slopes(scores))
        squared = (slope**2).sum(axis=1)
        # A flat place has no direction; a nearly flat one none to go far in.
        length = np.minimum(
            np.abs(gap) / np.sqrt(np.maximum(squared, 1e-300)), terrain.reach / 2.0
        )
        moves[active] -= (np.sign(gap) * length)[:, None] * unit_rows(slope)
        still = np.abs(gap) > TOLERANCE
        active[active] = still & (squared > 0.0)
        if not active.any():
            break
    return moves


def gradients(terrain: Terrain, Z: Floats, slopes: Floats) -> Floats:
    """Return the gradient of a weighted sum of the scores of each row, shape (n, width).

    Exact for affine scores, else by central differences.
    """
    width = terrain.width
    if isinstance(terrain.function, Affine):
        return np.asarray(slopes @ terrain.function.weights[:, :width])
    found = np.zeros((len(Z), width))
    for distance in PROBE_DISTANCES:
        flat = ~found.any(axis=1)
        if not flat.any():
            break
        found[flat] = _differences(terrain, Z[flat], slopes[flat], distance)
    return found


def along_line(
    terrain: Terrain, Z: Floats, goal: Goal, towards: Floats, limits: Floats | None = None
) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """Return how far to go in a direction until the goal is first crossed, and whether it is.

    Parameters
    ----------
    terrain, Z, goal
        As for `smallest_move`.
    towards : ndarray of shape (n, terrain.width)
        The direction of each row; its length does not matter.
    limits : ndarray of shape (n,), optional
        How far to look; the reach of the terrain by default.
    """
    limits = np.full(len(Z), terrain.reach) if limits is None else limits
    unit = unit_rows(towards)
    gap_at = _gap_on_line(terrain, Z, goal, unit)
    low, high = np.zeros(len(Z)), np.zeros(len(Z))
    crossed = gap_at(low) >= 0.0
    # Near the row in small steps, far from it in large ones.
    for share in np.linspace(0.0, 1.0, GRID + 1)[1:] ** 2:
        t = share * limits
        now = ~crossed & (gap_at(t) >= 0.0)
        high[now] = t[now]
        crossed |= now
        low[~crossed] = t[~crossed]
        if crossed.all():
            break
    for _ in range(BISECTIONS):
        middle = (low + high) / 2.0
        beyond = gap_at(middle) >= 0.0
        high, low = np.where(beyond, middle, high), np.where(beyond, low, middle)
    if isinstance(terrain.function, Affine):
        return np.where(crossed, high, 0.0), crossed
    # A step is crossed by those who have to rise, and not by those who have to fall: at the end
    # nobody is below the goal.
    margin = BEYOND_A_STEP * terrain.reach
    lengths = np.where(goal.signs > 0.0, high + margin, np.maximum(low - margin, 0.0))
    return np.where(crossed, lengths, 0.0), crossed


def _gap_on_line(
    terrain: Terrain, Z: Floats, goal: Goal, unit: Floats
) -> Callable[[Floats], Floats]:
    function = terrain.function
    if not isinstance(function, Affine):
        return lambda t: goal.gap(function(_moved(Z, t[:, None] * unit)))
    start, slope = function(Z), unit @ function.weights[:, : terrain.width].T
    return lambda t: goal.gap(start + t[:, None] * slope)


def ways(terrain: Terrain, Z: Floats, goal: Goal) -> Iterator[Floats]:
    """Yield directions towards a goal: the slope, and others that are tried where it misleads."""
    yield gradients(terrain, Z, goal.slopes(terrain.function(Z)))
    yield from _other_directions(terrain, Z, goal)


def _other_directions(terrain: Terrain, Z: Floats, goal: Goal) -> Iterator[Floats]:
    """Yield directions to try where the slope may mislead, as at the steps of trees."""
    if terrain.surrogate is not None:
        imitation = Terrain(terrain.surrogate, terrain.width, terrain.scale)
        yield gradients(imitation, Z, goal.slopes(terrain.surrogate(Z)))
    if terrain.width <= MAX_AXES:  # trees have their steps across them
        for axis in np.vstack((np.eye(terrain.width), -np.eye(terrain.width))):
            yield np.tile(axis, (len(Z), 1))


def _differences(terrain: Terrain, Z: Floats, slopes: Floats, distance: float) -> Floats:
    width = terrain.width
    if width <= MAX_PROBED:
        directions = np.eye(width)
    else:
        directions = np.random.default_rng(0).standard_normal((MAX_PROBED, width))
        directions *= np.sqrt(1.0 / MAX_PROBED)
    found = np.zeros((len(Z), width))
    for direction in directions:
        step = np.broadcast_to(distance * terrain.scale * direction, (len(Z), width))
        change = terrain.function(_moved(Z, step)) - terrain.function(_moved(Z, -step))
        # The step is scaled, so the derivative by the unscaled column is divided by the scale.
        found += ((slopes * change).sum(axis=1) / (2.0 * distance))[:, None] * direction
    return found / terrain.scale


def _moved(Z: Floats, moves: Floats) -> Floats:
    out = Z.copy()
    out[:, : moves.shape[1]] += moves
    return out


def unit_rows(vectors: Floats) -> Floats:
    """Return rows of length one; rows of zeros stay."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    out = np.zeros_like(vectors)
    np.divide(vectors, lengths, out=out, where=lengths > 0.0)
    return out
