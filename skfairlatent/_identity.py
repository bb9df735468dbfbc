"""Identity of an encoder or a scorer: a digest of its values, and codes of made-up images."""

__all__ = [
    "UntoldError",
    "alike_codes",
    "codes_of_probes",
    "digest_of_values",
    "exact_digest",
    "kind_of",
    "same_codes",
]

import contextlib
import dis
import functools
import gc
import hashlib
import importlib
import importlib.util
import random
import re
import sys
import types
import warnings
import weakref
from collections import defaultdict
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Set
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
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
# What scikit-learn notes in any estimator.
_NOTED = {"_metadata_request", "_sklearn_output_config", "_sklearn_version"}
# How an estimator computes and delivers, not what.
_NO_VALUES = _NOTED | {"device", "memory", "n_jobs", "training", "verbose"}


class UntoldError(Exception):
    """Raised where no digest can tell what an object will do; says what it is that hides it."""


def digest_of_values(value: Any) -> str:
    """Return a digest of all that an object holds, equal for equal values.

    Arrays and tensors count by dtype, shape and content, whatever their layout in memory, and
    wherever they lie; estimators, modules and other objects by class and attributes; functions
    by name and code. Generators of random numbers and what cannot be looked into, such as locks,
    count by their type.

    Parameters
    ----------
    value : object

    Returns
    -------
    str
    """
    try:
        return _Digests().of(value).hex()
    except RecursionError:
        return _hash(kind_of(value)).hex()


def exact_digest(value: Any) -> str:
    """Return a digest as of `digest_of_values` that also tells what code does.

    Functions, classes and modules that are in no installed package count by all the code that
    they reach: the globals that functions read, what they import, and methods. Generators of
    random numbers count by their state, but for those that all of a process shares.

    Parameters
    ----------
    value : object

    Returns
    -------
    str

    Raises
    ------
    UntoldError
        Of code that cannot be followed, and of what is nested too deeply to look into.
    """
    try:
        return _ExactDigests().of(value).hex()
    except RecursionError:
        raise UntoldError(f"{kind_of(value)} holds what is nested very deeply") from None


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
        return _hash(kind_of(estimator), self.of(self._values_of(estimator)))

    def _values_of(self, value: Any) -> dict[str, Any]:
        """Return the attributes of an estimator, or the public ones of a module."""
        is_module, values = isinstance(value, nn.Module), _without(_NO_VALUES, value)
        return {k: v for k, v in values.items() if not (is_module and k[0] == "_")}

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
        named = module.named_modules()
        parts = [(name, kind_of(part), self._values_of(part)) for name, part in named]
        weights = [*module.named_parameters(), *module.named_buffers()]
        return _hash("module", self.of(parts), self.of(weights))

    def _of_any(self, value: Any) -> bytes:
        """By what pickle would keep; what cannot be pickled by its type alone."""
        try:
            made = value.__reduce_ex__(4)
        except Exception:  # noqa: BLE001 - a user's object may raise anything
            return self._of_unpicklable(value)
        if isinstance(made, str):
            return _hash(kind_of(value), made)
        made, items = made[:3], made[3:5]
        return _hash(kind_of(value), *map(self.of, made), *(self.of([*(i or ())]) for i in items))

    def _of_unpicklable(self, value: Any) -> bytes:
        return _hash(kind_of(value))


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
        if any(value is shared for shared in _shared_generators()):
            return _hash("a generator of the whole process", kind_of(value))
        return _hash(*self._of_own_class(value), self._of_content(value))

    def _of_own_class(self, value: Any) -> Iterator[bytes]:
        """With what a container or an array of such a class holds beside its items."""
        if _is_own(type(value).__module__):
            yield self.of(type(value))
            if isinstance(value, _CONTAINERS):
                yield self.of(getattr(value, "__dict__", {}))

    def _of_content(self, value: Any) -> bytes:
        for kinds, within in _WITHIN.items():
            if isinstance(value, kinds):
                with contextlib.suppress(NotImplementedError):  # the system's generator
                    return _hash(kind_of(value), self.of(within(value)))
        return super()._of_object(value)

    def _of_name(self, value: Any) -> bytes:
        name = super()._of_name(value)
        is_module = isinstance(value, types.ModuleType)
        if not _is_own(value.__name__ if is_module else value.__module__):
            return name
        parts = {k: v for k, v in sorted(vars(value).items()) if k[:2] != "__" or callable(v)}
        if not is_module:
            own = {k: v for k, v in vars(value).items() if isinstance(v, _ATOMS)}
            parts |= {k: v for k, v in sorted(own.items()) if k not in _MADE_BY_PYTHON}
        return _hash(name, self.of(parts), self.of(getattr(value, "__bases__", ())))

    def _of_function(self, function: types.FunctionType) -> bytes:
        base = super()._of_function(function)
        if not _is_own(function.__globals__.get("__name__", "")):
            return base
        return _hash(base, self.of(vars(function)), self.of(_reached_by(function)))

    def _of_code(self, code: types.CodeType) -> bytes:
        counts = code.co_posonlyargcount, code.co_argcount, code.co_kwonlyargcount
        arguments = code.co_varnames[: sum(counts[1:])]
        how = (code.co_flags, code.co_exceptiontable)
        return _hash(super()._of_code(code), *counts, *arguments, *how)

    def _values_of(self, value: Any) -> dict[str, Any]:
        """With all parameters of a class of the user's own, which may mean anything."""
        if not _is_own(type(value).__module__):
            return super()._values_of(value)
        return _without(vars(nn.Module()) if isinstance(value, nn.Module) else _NOTED, value)

    def _of_module(self, module: nn.Module) -> bytes:
        """Also by the hooks of what it computes."""
        code = [
            (type(part), [*part._forward_pre_hooks.values()], [*part._forward_hooks.values()])
            for part in module.modules()
        ]
        return _hash(self.of(code), super()._of_module(module))

    def _of_unpicklable(self, value: Any) -> bytes:
        if callable(value):
            raise UntoldError(f"what an object of {kind_of(value)} does cannot be looked into")
        return super()._of_unpicklable(value)


# Attributes of a class that say where it stands and how it is described.
_MADE_BY_PYTHON = {"__doc__", "__firstlineno__", "__module__", "__qualname__"}
_CONTAINERS = (list, tuple, Mapping, Set, np.ndarray)
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
    # A module is the `__self__` of its functions.
    types.BuiltinFunctionType: lambda value: (value.__self__, value.__name__),
    weakref.ref: lambda value: value(),
    defaultdict: lambda value: (value.default_factory, dict(value)),
    np.ma.MaskedArray: lambda value: (value.data, np.ma.getmaskarray(value), value.fill_value),
    # Also the function that np.frompyfunc was given.
    np.ufunc: lambda value: (value.__name__, gc.get_referents(value)),
}


def _shared_generators() -> tuple[Any, ...]:
    """Return the generators that libraries draw from if given none; each process seeds its own."""
    python: Any = random.random
    return check_random_state(None), python.__self__, torch.default_generator


@functools.cache
def _is_own(name: Any) -> bool:
    """Tell whether a module is of no installed package, so that it may change between runs."""
    package = name.partition(".")[0] if isinstance(name, str) else "builtins"
    if package in sys.stdlib_module_names or package == "skfairlatent":
        return False
    places = {part for each in (package, name) for file in _files_of(each) for part in file.parts}
    return not {"site-packages", "dist-packages"} & places


def _files_of(name: str) -> list[Path]:
    """Return where a module lies, also one that is still to be imported if it is no submodule."""
    if name in sys.modules:
        return [Path(getattr(sys.modules[name], "__file__", None) or "")]
    with contextlib.suppress(ImportError, ValueError):
        spec = None if "." in name else importlib.util.find_spec(name)
        if spec is not None:
            return [*map(Path, spec.submodule_search_locations or [spec.origin or ""])]
    return []


# Builtins that run or read what has no name in the code.
_BLIND = {"__import__", "eval", "exec", "globals"}


def _reached_by(function: types.FunctionType) -> dict[str, Any]:
    """Return the globals that a function reads and what it imports, by name.

    A module of the user's own counts by the attributes that are read of it, as ``b.c`` in
    ``a.b.c``, and as a whole where it is used otherwise.
    """
    found: dict[str, Any] = {}
    for steps in map(_steps_of, _codes_within(function.__code__)):
        for at, step in enumerate(steps):
            if step.opname in _READS:
                found |= _read_global(function.__globals__, steps[at:])
            elif step.opname == "IMPORT_NAME":
                level, names = (each.argval for each in steps[at - 2 : at])
                found |= _imported(function.__globals__, step.argval, level, names)
    return dict(sorted(found.items()))


_READS = {"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"}


def _codes_within(code: types.CodeType) -> list[types.CodeType]:
    codes = [code]
    for each in codes:
        codes += [part for part in each.co_consts if isinstance(part, types.CodeType)]
    return codes


def _steps_of(code: types.CodeType) -> list[dis.Instruction]:
    return [step for step in dis.get_instructions(code) if step.opname != "EXTENDED_ARG"]


def _read_global(scope: dict[str, Any], steps: list[dis.Instruction]) -> dict[str, Any]:
    """Return what the first of these steps reads, followed by the attributes of modules."""
    name = steps[0].argval
    if name not in scope:
        if name in _BLIND:
            raise UntoldError(f"what {name} gives cannot be looked into")
        return {}
    value = scope[name]
    for step in steps[1:]:
        is_attribute = step.opname in ("LOAD_ATTR", "LOAD_METHOD")
        if not (is_attribute and _is_own_module(value) and step.argval in vars(value)):
            break
        name, value = f"{name}.{step.argval}", vars(value)[step.argval]
    return {name: value}


def _imported(
    scope: dict[str, Any], name: str, level: int, names: tuple[str, ...] | None
) -> dict[str, Any]:
    """Return what an import statement within a function gives, if it is of the user's own."""
    if not level and not _is_own(name):
        return {}
    try:
        module = __import__(name, scope, None, names or (), level)
    except Exception:  # noqa: BLE001 - a user's module may raise anything
        return {name: "cannot be imported"}
    # Without names, the module is `a` of `import a.b`, and holds b.
    return {f"{name}.{each}": getattr(module, each, None) for each in names or ()} or {
        name: module
    }


def _is_own_module(value: Any) -> bool:
    return isinstance(value, types.ModuleType) and _is_own(value.__name__)


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


def _without(names: Container[str], value: Any) -> dict[str, Any]:
    return {name: part for name, part in vars(value).items() if name not in names}


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
