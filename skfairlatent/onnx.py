"""Fitted models as ONNX, to be served without Python, scikit-learn and torch.

``pip install "skfairlatent[onnx]"`` installs what is needed to write and to run them.
"""

__all__ = ["to_onnx"]

import copy
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sklearn.base import BaseEstimator, is_classifier
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline

from skfairlatent._bins import LabelBins
from skfairlatent._find_transformer import latent_step
from skfairlatent._image_forms import holds_images
from skfairlatent._inputs.additive_scores import AdditiveScores
from skfairlatent._inputs.heavy_tails import HeavyTails
from skfairlatent._inputs.label_scores import LabelScores
from skfairlatent._inputs.linear_scores import LinearScores
from skfairlatent._inputs.scaling import Standardizer
from skfairlatent.flows import AffineCoupling, Glow

try:
    import skl2onnx
    from onnx import ModelProto, TensorProto
    from skl2onnx.algebra import onnx_ops as ops
    from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType
except ImportError as error:
    raise ImportError(
        'skfairlatent.onnx needs onnx and skl2onnx: pip install "skfairlatent[onnx]".'
    ) from error

# Its square is a number of single precision.
LARGEST_SQUARED = 1e8
_FLOATS = (FloatTensorType, DoubleTensorType)


def to_onnx(model: Any, X: Any, **kwargs: Any) -> ModelProto:
    """Convert a fitted transformer, or a model with one in it, to ONNX.

    The transformer becomes its standardisation, its scores of the label, its flow and, with
    `n_bins`, the centroids of its cells; all other steps are converted by skl2onnx, which lists
    those that it knows. Rows come in any number. An encoder of images is not converted.

    Parameters
    ----------
    model : FairLatentTransformer, or any model of scikit-learn with one in it
        Fitted, such as ``Pipeline([scaler, fair, classifier])``.
    X : array-like of shape (n_samples, n_features)
        A few rows, for the number and the type of the features: float32 or float64, which is also
        what the converted model computes in. For a model that was fitted on images, their
        embeddings. A DataFrame makes one input of shape (n_samples, 1) for each column, in whose
        name skl2onnx writes ``_`` for all but letters and digits; an array makes a single input
        ``X``.
    **kwargs
        Passed to ``skl2onnx.to_onnx``, such as ``target_opset``. Without ``options`` the
        probabilities of a classifier are one array, as with ``options={"zipmap": False}``.

    Returns
    -------
    onnx.ModelProto
        Its ``SerializeToString()`` is the content of a file.

    Raises
    ------
    ImportError
        If onnx or skl2onnx is not installed.
    NotFittedError
        If the transformer is not fitted.
    TypeError
        If there is no transformer in the model or more than one, X is neither float32 nor float64
        where it reaches the transformer, or a Pipeline is calibrated by its decision function.
    ValueError
        If X holds images, has another number of features than in `fit`, or its precision cannot
        tell the values of a feature apart.

    Examples
    --------
    >>> import onnxruntime
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skfairlatent import FairLatentTransformer
    >>> from skfairlatent.datasets import make_biased_embeddings
    >>> from skfairlatent.onnx import to_onnx
    >>> data = make_biased_embeddings(400, n_features=8, random_state=0)
    >>> X = data.data.astype("float32")
    >>> fair = FairLatentTransformer(max_iter=20, random_state=0)
    >>> pipe = make_pipeline(StandardScaler(), fair, LogisticRegression())
    >>> groups = {"fairlatenttransformer__sensitive_features": data.sensitive_features}
    >>> pipe = pipe.fit(X, data.target, **groups)
    >>> content = to_onnx(pipe, X[:1]).SerializeToString()
    >>> session = onnxruntime.InferenceSession(content)
    >>> labels, probabilities = session.run(None, {"X": X})
    >>> bool((labels == pipe.predict(X)).all()), probabilities.shape
    (True, (400, 2))
    """
    transformer, _ = latent_step(model)
    if holds_images(X):
        raise ValueError(
            "X holds images, and an encoder is not converted to ONNX: pass embeddings, as "
            "transformer.embed(images) returns them, and convert the encoder with the tools of "
            "its own library."
        )
    skl2onnx.update_registered_converter(
        type(transformer), "SkfairlatentFairLatentTransformer", _set_shape, _convert
    )
    if is_classifier(model):
        kwargs = {"options": {"zipmap": False}, **kwargs}
    converted: ModelProto = skl2onnx.to_onnx(_unfrozen(model), X, **kwargs)
    return converted


def _unfrozen(part: Any) -> Any:
    """Return a model, or a list of parts, with what is frozen in place of each FrozenEstimator.

    It predicts alike, and skl2onnx knows no FrozenEstimator.
    """
    if isinstance(part, FrozenEstimator):
        return _unfrozen(part.estimator)
    if type(part) in (list, tuple):
        return type(part)(_unfrozen(each) for each in part)
    if hasattr(type(part), "latent"):
        return part
    if isinstance(part, BaseEstimator) or type(part).__module__ == "sklearn.calibration":
        part = copy.copy(part)
        vars(part).update({name: _unfrozen(value) for name, value in vars(part).items()})
        _reject_lost_scores(part)
    return part


def _reject_lost_scores(part: Any) -> None:
    # skl2onnx calibrates the probabilities of a Pipeline, and scikit-learn its decision function.
    inner = getattr(part, "estimator", None)
    is_calibrated = type(part).__module__ == "sklearn.calibration"
    if is_calibrated and isinstance(inner, Pipeline) and hasattr(inner, "decision_function"):
        raise TypeError(
            "CalibratedClassifierCV around a Pipeline that ends in "
            f"{type(inner[-1]).__name__} cannot be converted: skl2onnx would write other "
            "probabilities. Calibrate within the Pipeline, as by make_pipeline(fair, "
            "CalibratedClassifierCV(classifier))."
        )


def _set_shape(operator: Any) -> None:
    fair, kinds = operator.raw_operator, [each.type for each in operator.inputs]
    if len(set(map(type, kinds))) > 1 or not isinstance(kinds[0], _FLOATS):
        names = sorted({type(kind).__name__ for kind in kinds})
        raise TypeError(
            f"X reaches FairLatentTransformer as {' and '.join(names)}: pass all of X in float32 "
            "or all of it in float64, such as X.astype(numpy.float32)."
        )
    widths = [kind.shape[1] for kind in kinds]
    if None not in widths and sum(widths) != fair.n_features_in_:
        raise ValueError(
            f"X has {sum(widths)} features, but FairLatentTransformer is expecting "
            f"{fair.n_features_in_} features as input."
        )
    operator.outputs[0].type = type(kinds[0])([kinds[0].shape[0], fair._n_features_out])


def _convert(scope: Any, operator: Any, container: Any) -> None:
    fair = operator.raw_operator
    dtype = np.float64 if isinstance(operator.inputs[0].type, DoubleTensorType) else np.float32
    graph = _Graph(container.target_opset, dtype)
    rows = operator.inputs[0]
    if len(operator.inputs) > 1:
        rows = graph.op("Concat", *operator.inputs, axis=1)
    x = graph.standardize(Standardizer(fair.mean_, fair.scale_, fair.heavy_tails_), rows)
    if fair.label_scores_ is not None:
        x = graph.scored(fair.label_scores_, x)
    z = graph.flow(fair.flow_, x)
    if fair.bins_ is not None:
        z = graph.cut(fair.bins_, z, len(fair.mean_))
    start, stop, _ = fair._output_slice().indices(len(fair.mean_))
    graph.op("Identity", graph.columns(z, start, stop), output_names=operator.outputs[:1]).add_to(
        scope, container
    )


class _Graph:
    """Makes the operators of a graph, in one precision."""

    def __init__(self, opset: int, dtype: type[np.floating]) -> None:
        self._opset, self._dtype = opset, dtype

    def op(self, name: str, *inputs: Any, **attributes: Any) -> Any:
        """Return the operator of this name."""
        return getattr(ops, f"Onnx{name}")(*inputs, op_version=self._opset, **attributes)

    def columns(self, rows: Any, start: int, stop: int) -> Any:
        """Return some columns."""
        return self.op("Slice", rows, *(np.array([n], np.int64) for n in (start, stop, 1)))

    def standardize(self, standardizer: Standardizer, rows: Any) -> Any:
        """Do what `Standardizer.standardize` does."""
        standardizer.reject_lost_precision("X", self._dtype)
        mean, scale = (
            part.astype(self._dtype) for part in (standardizer.mean, standardizer.scale)
        )
        x = self.op("Div", self.op("Sub", rows, mean), scale)
        if (heavy := standardizer.heavy_tails) is None:
            return x
        return self._placed(x, heavy.columns, self._bent(heavy, rows), len(mean))

    def _bent(self, heavy: HeavyTails, rows: Any) -> Any:
        """Do what ``heavy.forward`` does: onnxruntime has no Asinh of double precision.

        Beyond `LARGEST_SQUARED` the inverse hyperbolic sine is a logarithm, to all digits.
        """
        centred = self.op(
            "Sub", self.op("Gather", rows, heavy.columns, axis=1), self._array(heavy.center)
        )
        ratio = self.op("Div", centred, self._array(heavy.width))
        size = self.op("Abs", ratio)
        near = self.op("Min", size, self._array(LARGEST_SQUARED))
        root = self.op("Sqrt", self.op("Add", self.op("Mul", near, near), self._array(1.0)))
        bent = self.op("Log", self.op("Add", near, root))
        beyond = self.op(
            "Max", self.op("Div", size, self._array(LARGEST_SQUARED)), self._array(1.0)
        )
        bent = self.op("Add", bent, self.op("Log", beyond))
        bent = self.op("Mul", self.op("Sign", ratio), bent)
        return self.op(
            "Div", self.op("Sub", bent, self._array(heavy.mean)), self._array(heavy.scale)
        )

    def _placed(self, x: Any, columns: npt.NDArray[np.int64], found: Any, d: int) -> Any:
        """Put what was found in the place of some of d columns."""
        put = np.eye(d)[columns]
        others = self.op("Mul", x, self._array(1.0 - put.sum(axis=0)))
        return self.op("Add", others, self.op("MatMul", found, self._array(put)))

    def scored(self, scores: LabelScores, x: Any) -> Any:
        """Do what ``scores.forward`` does."""
        if isinstance(scores, LinearScores):
            return self._linearly_scored(scores, x)
        return self._additively_scored(scores, x)

    def _linearly_scored(self, scores: LinearScores, x: Any) -> Any:
        for vector in scores.reflections:
            along = self.op("MatMul", x, self._array(vector[:, None]))
            x = self.op("Sub", x, self.op("MatMul", along, self._array(2.0 * vector[None])))
        mean, scale = np.zeros(scores.reflections.shape[1]), np.ones(scores.reflections.shape[1])
        mean[scores.columns], scale[scores.columns] = scores.mean, scores.scale
        return self.op("Div", self.op("Sub", x, self._array(mean)), self._array(scale))

    def _additively_scored(self, scores: AdditiveScores, x: Any) -> Any:
        rest, replaced, scale = scores.rest, scores.replaced, scores.scale
        coef = rest.coef.copy()
        coef[replaced] = scores.slopes
        line = self.op("MatMul", x, self._array(coef / scale))
        line = self.op("Add", line, self._array((rest.intercept - scores.mean) / scale))
        places = self.op("Gather", x, rest.features, axis=1)
        places = self.op("Sub", places, self._array(rest.left))
        places = self.op("Div", places, self._array(rest.width))
        places = self.op("Clip", places, self._array(0.0), self._array(1.0))
        found = self.op("Add", line, self.op("MatMul", places, self._array(rest.rises / scale)))
        return self._placed(x, replaced, found, len(coef))

    def _array(self, value: Any) -> Any:
        return np.asarray(value, dtype=self._dtype)

    def flow(self, flow: Glow, x: Any) -> Any:
        """Do what ``flow.transform`` does."""
        wide = self._dtype is np.float64
        flow = copy.deepcopy(flow).to(torch.float64 if wide else torch.float32)
        with torch.no_grad():
            for block in flow.frozen().blocks:
                x = self.coupling(block.coupling, self.linear(x, block.weight, block.bias))
        return x

    def coupling(self, coupling: AffineCoupling, x: Any) -> Any:
        """Do what ``coupling.forward`` does to rows."""
        n_changed, d = coupling.n_changed, coupling.features
        changed, hidden = self.columns(x, 0, n_changed), self.columns(x, n_changed, d)
        given = hidden
        for layer in coupling.conditioner:
            if isinstance(layer, torch.nn.Linear):
                hidden = self.linear(hidden, layer.weight, layer.bias)
            else:
                hidden = self.op("Relu", hidden)
        log_scale = self.op("Tanh", self.columns(hidden, 0, n_changed))
        shift = self.columns(hidden, n_changed, 2 * n_changed)
        scaled = self.op("Mul", changed, self.op("Exp", log_scale))
        return self.op("Concat", self.op("Add", scaled, shift), given, axis=1)

    def linear(self, x: Any, weight: torch.Tensor, bias: torch.Tensor) -> Any:
        """Do what ``torch.nn.functional.linear`` does."""
        product = self.op("MatMul", x, weight.detach().T.numpy())
        return self.op("Add", product, bias.detach().numpy())

    def cut(self, bins: LabelBins, z: Any, d: int) -> Any:
        """Do what ``bins.apply`` does, in its precision: float64."""
        width = bins.weights.shape[1]
        block = self.columns(z, 0, width)
        wide = self.op("Cast", block, to=TensorProto.DOUBLE)
        scores = self.op("Add", self.op("MatMul", wide, bins.weights.T), bins.offsets)
        cells = self.op("ArgMax", scores, axis=1, keepdims=0)
        centroids = self.op("Gather", bins.centroids.astype(self._dtype), cells, axis=0)
        # A row with a missing value is in no cell.
        centroids = self.op("Where", self.op("IsNaN", block), self._array(np.nan), centroids)
        return self.op("Concat", centroids, self.columns(z, width, d), axis=1)
