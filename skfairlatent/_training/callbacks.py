"""The callbacks of scikit-learn 1.9 and later; before, there are none."""

__all__ = ["CallbackSupport", "FitTasks", "with_callbacks"]

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from skfairlatent.flows import Glow

T = TypeVar("T", bound=Callable[..., Any])


class _NoSupport:
    """Stand-in for the callbacks of an estimator before scikit-learn 1.9."""


def _as_it_is(method: T) -> T:
    return method


try:
    from sklearn import callback
except ImportError:
    CallbackSupport: Any = _NoSupport
    with_callbacks: Callable[[T], T] = _as_it_is
else:
    CallbackSupport, with_callbacks = callback.CallbackSupportMixin, callback.with_callbacks


class FitTasks:
    """Tells the callbacks of an estimator of a fit, which is a task, and of its epochs.

    Parameters
    ----------
    estimator : estimator, optional
        Its callbacks are set up. Without one, or without callbacks, nobody is told.
    """

    def __init__(self, estimator: Any = None) -> None:
        self.stopped = False
        self._told: dict[str, Any] = {"estimator": estimator}
        self._attributes: Callable[[Glow], dict[str, Any]] = lambda _: {}
        has_callbacks = (
            isinstance(estimator, CallbackSupport) and CallbackSupport is not _NoSupport
        )
        self._fit = estimator._init_callback_context() if has_callbacks else None

    def tell(self, attributes: Callable[[Glow], dict[str, Any]], **data: Any) -> "FitTasks":
        """Say what callbacks are given: `data`, and an estimator of a flow's `attributes`."""
        self._attributes = attributes
        self._told |= data
        return self

    def begin(self, n_epochs: int) -> None:
        """Begin the fit, of at most so many epochs."""
        if self._fit is not None:
            self._fit.max_subtasks = n_epochs
            self._fit.call_on_fit_task_begin(**self._told)

    @contextmanager
    def epoch(self, flow: Glow) -> Iterator[None]:
        """Run an epoch; afterwards `stopped` tells whether a callback wants it to be the last."""
        if self._fit is None:
            yield
            return
        task = self._fit.subcontext(task_name="epoch")
        task.call_on_fit_task_begin(**self._told)
        yield
        # A copy is made only if a callback looks at it.
        self.stopped = task.call_on_fit_task_end(
            **self._told,
            reconstruction_attributes=lambda: self._attributes(copy.deepcopy(flow).to("cpu")),
        )

    def end(self) -> None:
        """End the fit: the estimator is fitted."""
        if self._fit is not None:
            self._fit.call_on_fit_task_end(**self._told, reconstruction_attributes={})
