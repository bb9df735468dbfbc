"""Conditions of every test and every documented example: no network, its own random state.

It lies at the root because the examples in docstrings of the package need it too;
fixtures for the tests alone are in ``tests/conftest.py``.
"""

import ipaddress
import random
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sklearn.linear_model  # noqa: F401 - brings BLAS and OpenMP
import torch
from threadpoolctl import threadpool_limits

SEED = 0
# Files and tests of what users do, of every public room, that together take less than a minute on
# two cores; what takes long in these files carries the mark.
QUICK = (
    "tests/certification/",
    "tests/counterfactuals/test_label_edits.py",
    "tests/counterfactuals/test_sensitive_edits.py",
    "tests/datasets/",
    "tests/encoders/test_flatten.py",
    "tests/encoders/test_image_encoder.py",
    "tests/flows/test_glow.py",
    "tests/inspection/test_fairness_accuracy.py",
    "tests/inspection/test_group_scores.py",
    "tests/judging/test_judge.py",
    "tests/report/test_page.py::test__page__is_whole_and_needs_nothing_else[binary]",
    "tests/test_api_page.py",
    "tests/test_constraints.py",
    "tests/test_diagnostics.py::test__diagnose__prepares_the_rows_of_a_pipeline",
    "tests/test_diagnostics.py::test__diagnose__warns_of_nonlinear_leakage_and_says_what_to_try",
    "tests/test_hub.py",
    "tests/test_metrics.py",
    "tests/test_onnx.py",
    "tests/test_persistence.py",
    "tests/test_selection.py",
    "tests/test_transformer.py",
    "tests/test_transformer_bad_input.py",
    "tests/test_transformer_cv.py::test__fit__is_a_transformer_with_the_value_chosen",
    "tests/test_user_warnings.py",
)


def pytest_configure() -> None:
    """Keep torch, BLAS and OpenMP to one thread: on a busy machine several only wait."""
    torch.set_num_threads(1)
    threadpool_limits(1)  # holds for the libraries that are loaded by now


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Import no file without quick tests where only these are asked for."""
    if config.option.markexpr != "not slow" or not collection_path.is_file():
        return None
    path = collection_path.relative_to(config.rootpath).as_posix()
    return None if path.startswith(tuple(each.partition("::")[0] for each in QUICK)) else True


@pytest.hookimpl(tryfirst=True)  # before pytest selects by marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is not quick as slow, and skip what needs a CUDA device where there is none."""
    for item in items:
        if not item.nodeid.startswith(QUICK):
            item.add_marker("slow")
    if torch.cuda.is_available():
        return
    skip = pytest.mark.skip(reason="needs a CUDA device")
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(skip)


def _is_local(host: object) -> bool:
    if host in (None, "", b"", "localhost", b"localhost"):
        return True
    try:
        return ipaddress.ip_address(str(host).partition("%")[0]).is_loopback
    except ValueError:
        return False


def _refuse(host: object) -> None:
    if not _is_local(host):
        raise RuntimeError(f"a test tried to reach {host!r}; tests use no network but loopback")


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let sockets reach this machine only."""

    def guarded(name: str) -> Callable[..., Any]:
        method = getattr(socket.socket, name)

        def call(self: socket.socket, *args: Any) -> Any:
            if self.family in (socket.AF_INET, socket.AF_INET6):
                _refuse(args[-1][0])  # the address comes last
            return method(self, *args)

        return call

    resolve = socket.getaddrinfo

    def getaddrinfo(host: Any, *args: Any, **kwargs: Any) -> Any:
        _refuse(host)
        return resolve(host, *args, **kwargs)

    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, guarded(name))
    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


@pytest.fixture(autouse=True)
def _own_random_state() -> Iterator[None]:
    """Start from a fixed global random state, and leave the one that was found."""
    found_python, found_numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(SEED)
        random.seed(SEED)
        np.random.seed(SEED)  # noqa: NPY002
        yield
    np.random.set_state(found_numpy)  # noqa: NPY002
    random.setstate(found_python)


@pytest.fixture(autouse=True)
def _names_in_examples(doctest_namespace: dict[str, Any]) -> None:
    """Spare docstring examples two imports; the seeds are set by the fixture above."""
    doctest_namespace["np"] = np
    doctest_namespace["torch"] = torch
