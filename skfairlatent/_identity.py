"""Identity of an encoder or a scorer: a digest of its values, and codes of made-up images."""

__all__ = ["alike_codes", "codes_of_probes", "digest_of_values", "kind_of", "same_codes"]

import contextlib
import dis
import functools
import hashlib
import random
import re
import secrets
import sys
import types
import warnings
from collections.abc import Callable, Iterable, Mapping, Set
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from sklearn.base import BaseEstimator
from torch import Tensor, nn

Codes: TypeAlias = npt.NDArray[np.float32]

N_PROBES = 3
# Differences that other hardware and libraries add to a code, by the largest of its feature and,
# where a feature is a small difference of large numbers, by the largest of all.
TOLERANCE, FLOOR = 1e-3, 1e-5
# The same where digests are equal already, so that half precision may be rounded otherwise.
ROUGHLY, ROUGH_FLOOR = 0.05, 0.01
_RANDOM = (
    np.random.RandomState,
    np.random.Generator,
    np.random.BitGenerator,
    torch.Generator,
    random.Random,
)
_ATOMS = (type(None), bool, int, float, complex, str, bytes)
# How an estimator computes and delivers, not what.
_NO_VALUES = {
    "_metadata_request",
    "_sklearn_output_config",
    "_sklearn_version",
    "device",
    "memory",
    "n_jobs",
    "training",
    "verbose",
}


def digest_of_values(value: Any, *, exact: bool = False) -> str:
    """Return a digest of all that an object holds, equal for equal values.

    Arrays and tensors count by dtype, shape and content, whatever their layout in memory, and
    wherever they lie; estimators, modules and other objects by class and attributes; functions
    by name and code. Generators of random numbers and what cannot be looked into, such as locks,
    count by their type.

    Parameters
    ----------
    value : object

    exact : bool, default=False
        Whether generators of random numbers count by their state, functions and classes that are
        in no installed package also by the globals that they read and by their methods, and what
        is nested too deeply to look into as equal to nothing.

    Returns
    -------
    str
    """
    try:
        return (_ExactDigests() if exact else _Digests()).of(value).hex()
    except RecursionError:
        return secrets.token_hex(32) if exact else _hash(kind_of(value)).hex()


class _Digests:
    """Digests of values and of what they hold; each object is looked at once."""

    def __init__(self) -> None:
        # The objects too: of one that is gone another may have the same address.
        self._known: dict[int, tuple[Any, bytes]] = {}

    def of(self, value: Any) -> bytes:
        if isinstance(value, np.generic) and not value.dtype.names:
            value = value.item()
        if isinstance(value, _ATOMS):
            return _hash(type(value).__name__, repr(value))
        if id(value) not in self._known:
            self._known[id(value)] = value, _hash("within itself")
            self._known[id(value)] = value, self._of_object(value)
        return self._known[id(value)][1]

    def _of_object(self, value: Any) -> bytes:
        if callable(getattr(value, "fingerprint", None)) and not isinstance(value, type):
            return _hash(value.fingerprint())
        for kinds, how in _HOW.items():
            if isinstance(value, kinds):
                return bytes(getattr(self, how)(value))
        return self._of_any(value)

    def _of_generator(self, _: Any) -> bytes:
        return _hash("random")

    def _of_name(self, value: Any) -> bytes:
        return _hash(getattr(value, "__module__", ""), value.__name__)

    def _of_tensor(self, tensor: Tensor) -> bytes:
        return _hash("tensor", tensor.dtype, tuple(tensor.shape), _bytes_of(tensor))

    def _of_sequence(self, sequence: list[Any] | tuple[Any, ...]) -> bytes:
        return _hash("sequence", *map(self.of, sequence))

    def _of_collection(self, items: Mapping[Any, Any] | Set[Any]) -> bytes:
        """In any order."""
        parts: Iterable[Any] = items.items() if isinstance(items, Mapping) else items
        return _hash(kind_of(items), *sorted(map(self.of, parts)))

    def _of_code(self, code: types.CodeType) -> bytes:
        return _hash(code.co_code, *code.co_names, self.of(code.co_consts))

    def _of_estimator(self, estimator: BaseEstimator) -> bytes:
        return _hash(kind_of(estimator), self.of(_values_of(estimator)))

    def _of_array(self, array: npt.NDArray[Any]) -> bytes:
        if array.dtype.hasobject:
            return _hash("objects", array.shape, self.of(array.ravel().tolist()))
        # Little-endian everywhere, and in the order of C.
        plain = np.asarray(array, dtype=array.dtype.newbyteorder("<"), order="C")
        return _hash("array", array.dtype.newbyteorder("<"), plain.shape, plain.tobytes())

    def _of_function(self, function: types.FunctionType) -> bytes:
        cells = [_contents(cell) for cell in function.__closure__ or ()]
        parts = (function.__code__, function.__defaults__, function.__kwdefaults__, cells)
        return _hash(function.__name__, self.of(parts))

    def _of_module(self, module: nn.Module) -> bytes:
        """By weights, buffers and settings, with the class of each part; not by hooks."""
        parts = [(name, kind_of(part), _values_of(part)) for name, part in module.named_modules()]
        weights = [*module.named_parameters(), *module.named_buffers()]
        public = [(n, k, {a: v for a, v in s.items() if a[0] != "_"}) for n, k, s in parts]
        return _hash("module", self.of(public), self.of(weights))

    def _of_any(self, value: Any) -> bytes:
        """By what pickle would keep; what cannot be pickled by its type alone."""
        try:
            made = value.__reduce_ex__(4)
        except Exception:  # noqa: BLE001 - a user's object may raise anything
            return _hash(kind_of(value))
        if isinstance(made, str):
            return _hash(kind_of(value), made)
        made, items = made[:3], made[3:5]
        return _hash(kind_of(value), *map(self.of, made), *(self.of([*(i or ())]) for i in items))


# The first that fits is taken.
_HOW: dict[Any, str] = {
    _RANDOM: "_of_generator",
    np.ndarray: "_of_array",
    Tensor: "_of_tensor",
    (list, tuple): "_of_sequence",
    (Mapping, Set): "_of_collection",
    (type, types.ModuleType, np.ufunc): "_of_name",
    types.FunctionType: "_of_function",
    types.CodeType: "_of_code",
    nn.Module: "_of_module",
    BaseEstimator: "_of_estimator",
}


class _ExactDigests(_Digests):
    """Digests that also tell what code of the user's own does, and what generators draw next."""

    def _of_object(self, value: Any) -> bytes:
        for kinds, within in _WITHIN.items():
            if isinstance(value, kinds):
                with contextlib.suppress(NotImplementedError):  # the system's generator
                    return _hash(kind_of(value), self.of(within(value)))
        return super()._of_object(value)

    def _of_name(self, value: Any) -> bytes:
        name = super()._of_name(value)
        if not isinstance(value, type) or not _is_own(value.__module__):
            return name
        parts = {k: v for k, v in vars(value).items() if k[:2] != "__" or callable(v)}
        return _hash(name, self.of(parts), self.of(value.__bases__))

    def _of_function(self, function: types.FunctionType) -> bytes:
        own = _is_own(function.__globals__.get("__name__", ""))
        return _hash(super()._of_function(function), self.of(_globals_of(function) if own else {}))

    def _of_estimator(self, estimator: BaseEstimator) -> bytes:
        return _hash(self.of(type(estimator)), super()._of_estimator(estimator))

    def _of_module(self, module: nn.Module) -> bytes:
        classes = [type(part) for part in module.modules()]
        return _hash(self.of(classes), super()._of_module(module))


# What tells an object from others of its type, where pickle does not say.
_WITHIN: dict[Any, Callable[[Any], Any]] = {
    np.random.RandomState: lambda value: value.get_state(legacy=False),
    np.random.Generator: lambda value: value.bit_generator.state,
    np.random.BitGenerator: lambda value: value.state,
    torch.Generator: lambda value: value.get_state(),
    random.Random: lambda value: value.getstate(),
    re.Pattern: lambda value: (value.pattern, value.flags),
    property: lambda value: (value.fget, value.fset, value.fdel),
    (classmethod, staticmethod): lambda value: value.__func__,
    type(functools.cache(len)): lambda value: value.__wrapped__,
}


def _is_own(name: str) -> bool:
    """Tell whether a module is of no installed package, so that it may change between runs."""
    package = name.partition(".")[0]
    if package in sys.stdlib_module_names or package == "skfairlatent":
        return False
    files = [getattr(sys.modules.get(each), "__file__", None) or "" for each in (package, name)]
    return not {"site-packages", "dist-packages"} & {part for f in files for part in Path(f).parts}


def _globals_of(function: types.FunctionType) -> dict[str, Any]:
    """Return the globals that a function reads, also those of modules of the user's own."""
    codes = [function.__code__]
    for code in codes:
        codes += [part for part in code.co_consts if isinstance(part, types.CodeType)]
    steps = [step for code in codes for step in dis.get_instructions(code)]
    read = {step.argval for step in steps if step.opname in ("LOAD_GLOBAL", "LOAD_NAME")}
    found = _named(function.__globals__, read)
    attributes = {name for code in codes for name in code.co_names}
    for value in [*found.values()]:
        if isinstance(value, types.ModuleType) and _is_own(value.__name__):
            inside = _named(vars(value), attributes)
            found |= {f"{value.__name__}.{name}": part for name, part in inside.items()}
    return found


def _named(scope: Mapping[str, Any], names: set[str]) -> dict[str, Any]:
    """Return what has these names, in the same order in each process."""
    return {name: scope[name] for name in sorted(names & scope.keys())}


def _contents(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # of a name that has no value yet
        return types.CellType


def codes_of_probes(encoder: Any, shape: tuple[int, ...] | None) -> Codes | None:
    """Return what an encoder makes of a few images that are the same everywhere.

    Parameters
    ----------
    encoder : object
        With ``transform``.
    shape : tuple of 3 int, or None
        Shape of an image that the encoder was given; None for 64 by 64 in colour.

    Returns
    -------
    ndarray of shape (3, d), float32, or None
        None if the encoder takes no such images, as one that reads files.
    """
    images = _probes((64, 64, 3) if shape is None else shape)
    codes = _codes(encoder, images)
    return _codes(encoder, torch.from_numpy(images)) if codes is None else codes


def _codes(encoder: Any, images: Any) -> Codes | None:
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # these are not images of the user's
            codes = np.asarray(encoder.transform(images), dtype=np.float32)
    except Exception:  # noqa: BLE001 - a user's encoder may raise anything
        return None
    fits = codes.ndim == 2 and len(codes) == N_PROBES and bool(np.isfinite(codes).all())
    return codes if fits else None


def same_codes(codes: Codes, others: Codes | None) -> bool:
    """Tell whether two encoders make the same of the probes, up to what hardware adds."""
    if others is None or codes.shape != others.shape or not np.ptp(codes, axis=0).any():
        return False
    return _are_near(codes, others, TOLERANCE, FLOOR)


def alike_codes(codes: Codes, others: Codes) -> bool:
    """Tell whether two encoders that hold the same also compute alike, in whatever precision."""
    return codes.shape == others.shape and _are_near(codes, others, ROUGHLY, ROUGH_FLOOR)


def _are_near(codes: Codes, others: Codes, tolerance: float, floor: float) -> bool:
    sizes = np.abs(codes).max(axis=0)
    return bool((np.abs(codes - others) <= tolerance * sizes + floor * sizes.max()).all())


def _probes(shape: tuple[int, ...]) -> npt.NDArray[np.uint8]:
    """Make two images of noise and a ramp, by arithmetic that is the same in all versions."""
    count = np.arange(2 * np.prod(shape), dtype=np.uint64)
    noise = ((count * np.uint64(2654435761)) >> np.uint64(13)) % np.uint64(256)
    ramp = np.linspace(0, 255, len(count) // 2)
    return np.concatenate((noise, ramp)).astype(np.uint8).reshape(N_PROBES, *shape)


def _values_of(value: Any) -> dict[str, Any]:
    return {name: part for name, part in vars(value).items() if name not in _NO_VALUES}


def kind_of(value: Any) -> str:
    """Return the full name of the class of an object."""
    return f"{type(value).__module__}.{type(value).__qualname__}"


def _bytes_of(tensor: Tensor) -> bytes:
    dense = tensor.detach().cpu().resolve_conj().resolve_neg()
    dense = dense if dense.layout == torch.strided else dense.to_dense()
    return dense.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def _hash(*parts: Any) -> bytes:
    digest = hashlib.sha256()
    for part in parts:
        content = part if isinstance(part, bytes) else str(part).encode()
        digest.update(len(content).to_bytes(8, "little"))
        digest.update(content)
    return digest.digest()
