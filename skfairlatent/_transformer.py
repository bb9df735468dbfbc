"""The estimator: parameters, fit, transform and their inverses; orchestration only."""

__all__ = ["FairLatentTransformer"]

import copy
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from numbers import Integral, Real
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_array, check_is_fitted, validate_data
from torch import Tensor

from skfairlatent._bins import as_transformed, fit_bins
from skfairlatent._device import neutral_torch_state, own_random_state, resolve_device
from skfairlatent._embedding import (
    check_encoder,
    decode_embeddings,
    encode,
    encoder_fingerprint,
    encoder_twin,
    image_shape,
)
from skfairlatent._files.tensors import digest_of
from skfairlatent._files.writing import require_folder
from skfairlatent._image_forms import holds_images, is_column
from skfairlatent._inference import largest_round_trip_error, map_rows
from skfairlatent._inputs.additive_scores import AdditiveScores
from skfairlatent._inputs.flow_inputs import FlowInputs
from skfairlatent._inputs.heavy_tails import HeavyTails
from skfairlatent._inputs.label_scores import LabelScores, fit_label_scores, wants_label_scores
from skfairlatent._inputs.repeats import Distinct, certain_repetitions, distinct_rows
from skfairlatent._inputs.scaling import Standardizer, as_rows, rows_of
from skfairlatent._out_of_core.dask_and_zarr import ByParts
from skfairlatent._out_of_core.mapped_rows import MappedRows, is_large_map, pieces_of, sample_of
from skfairlatent._persistence import save_load
from skfairlatent._persistence.state import SavedState, from_picklable, to_picklable
from skfairlatent._seen_rows import SeenRows
from skfairlatent._training.batch_plan import CONSTRAINTS
from skfairlatent._training.callbacks import CallbackSupport, FitTasks, with_callbacks
from skfairlatent._training.distances import DISTANCES
from skfairlatent._training.fit import fit_flow
from skfairlatent._training.objective import TERMS
from skfairlatent._training.settings import (
    FitSettings,
    auto_hidden_features,
    auto_input_noise,
    auto_learning_rate,
    auto_steps,
)
from skfairlatent._user_warnings import warn_user
from skfairlatent._validation.annotations import (
    Annotations,
    encode_annotations,
)
from skfairlatent._validation.containers import reject_container, reject_other_order
from skfairlatent._validation.features import (
    detach,
    precisions,
    reject_columns_without_numbers,
    reject_far_latents,
    reject_sparse,
    warn_about_many_columns,
)
from skfairlatent.distributed import agreed, is_first
from skfairlatent.flows import Glow

# Rows on which the round-trip error is measured after fit.
ROUND_TRIP_ROWS = 1024
# A larger round-trip error is warned of; sound fits have 1e-6 to 1e-5.
LARGEST_INVERSE_ERROR = 1e-4

Array = npt.NDArray[Any]


class FairLatentTransformer(
    ByParts, CallbackSupport, ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator
):
    r"""Rearrange a latent into a label part and a sensitive part by an invertible network.

    A Glow f is trained on embeddings E so that :math:`Z = f(E) = [Z_Y | Z_S]`: the label block
    keeps what predicts `y` and is distributed alike for all sensitive groups within each label
    (the criterion that equalised odds asks of a prediction; `constraints` has others); everything
    else is kept in the sensitive block. A classifier trained on :math:`Z_Y`, linear or not, then
    has little left to tell the groups apart by. This mitigates group disparities on data like the
    training data; it guarantees nothing about other data, other attributes or individual people,
    and does not replace an audit of the predictions.

    The method is that of [1]_; where its summary leaves a formula open, the one here is this
    package's reading. The default form of the group distance is not the paper's, which is
    ``distance="contrastive"``.

    Parameters
    ----------
    encoder : {"diffae"}, object or None, default="diffae"
        Turns images into embeddings: any object with ``transform`` and, to decode,
        ``inverse_transform``. It must be trained; clones of this estimator, as in a grid search,
        share it. After training it again, fit this estimator again: ``transform`` does not notice
        that its encoder has changed, only ``load`` does. A search over its parameters, as
        ``encoder__n_steps``, changes copies, and over whole encoders takes
        ``sklearn.frozen.FrozenEstimator(encoder)``. **A two-dimensional numeric X is taken to be
        embeddings already** and passes it by. None takes numbers only, and refuses images.

    n_label_components : int or "auto", default="auto"
        Width of the label block, from 1 to n_features - 1. ``"auto"`` takes 1 for each class
        boundary, 1 for a label of two classes: in a wider block the group stays readable by
        non-linear classifiers.

    n_blocks : int, default=2
        Steps of the Glow.

    hidden_features : int or "auto", default="auto"
        Width of the two hidden layers in each coupling. ``"auto"`` takes 256 where X has at least
        40 rows for each feature, and less, down to 16, in proportion where it has fewer: a wide
        network learns few rows by heart. With n below 3,000 rows, their number counts
        :math:`\sqrt{n / 3000}` times; where `label_scores` are fitted, a sixth. It takes at most
        32 for 2 features, 64 for 3 and 128 for 4.

    lambda_dg : float, default=0.3
        Weight of the decorrelation of all features of the latent.

    lambda_eq : float, default=0.3
        Weight of equal variances within each block.

    lambda_di : float, default=3.0
        Weight of the distance between the groups of a label in the label block. The main dial
        between accuracy and fairness: 0 keeps about the accuracy, and the group gaps, of a linear
        classifier of X; 1 is about the middle; 10 is close to the smallest gaps that the data
        allow. Try values about a factor of three apart.

    lambda_g : float, default=0.1
        Weight of the negative log-likelihood under a standard normal.

    lambda_cls : float, default=3.0
        Weight of the linear heads that read the label from the label block and each
        sensitive attribute from the sensitive block. In the label's cross-entropy every
        (label, group) cell has its share in the data, and a rare label counts more, in inverse
        proportion to its entropy.

    distance : {"energy", "sliced_wasserstein", "moment", "contrastive"}, default="energy"
        Form of the group distance. ``"energy"`` and ``"sliced_wasserstein"`` compare whole
        distributions, ``"moment"`` means and covariances, ``"contrastive"`` single rows.

    constraints : str, default="equalized_odds"
        The criterion of fairness, in the words of fairlearn: ``"equalized_odds"`` compares the
        groups in the label block within each label, ``"demographic_parity"`` over all rows, and
        ``"true_positive_rate_parity"`` within the positive label, which is the second class of a
        label of two classes.

    label_scores : bool or "auto", default="auto"
        Whether the flow sees a cross-fitted score of the label for each class boundary among its
        inputs, so that any classifier of the label block knows what logistic regression, or
        boosting of single features, finds in X; interactions of features are left to the flow.
        No information is lost: where logistic regression predicts best, as on embeddings, the
        features are turned until the scores are the first ones; where boosted functions of single
        features predict better, as on most tables, and below 5 features, each score stands in the
        place of a feature that it contains linearly. ``"auto"`` takes scores from 50 rows on, and
        beyond 256 features only up to 40 rows for each feature: where there are more, the flow
        finds the label by itself. As with scikit-learn's ``TargetEncoder``, ``fit_transform(X)``
        then differs from ``fit(X).transform(X)``: train classifiers on the former, as a Pipeline
        does.

    output : {"label", "full"}, default="label"
        Whether `transform` returns the label block or all of the latent.

    n_bins : int or None, default=None
        Cut the label block into at most this many cells, 2 or more: `transform` returns the
        centroid of a row's cell instead of its label block, so that
        :func:`skfairlatent.certification.certify` can bound the gap of any classifier on it.
        Differences within a cell are lost, from `inverse_transform` of such rows as well.
        Diagnostics, displays and audits look at the cells, as a classifier does; `latent` alone
        returns the label block uncut. With ``output="full"`` the sensitive block stays as it is,
        and nothing can be certified. A block of one component is cut at quantiles of the training
        rows, a wider one by k-means along the directions that tell the labels apart.

    input_noise : float or "auto", default="auto"
        Standard deviation of the Gaussian noise added to the standardised embeddings while
        training, in units of each feature's standard deviation. It keeps the flow from
        memorising rows, whose fairness would not carry over to new ones. With r rows for each
        feature of X, ``"auto"`` takes :math:`\sqrt{40 / r}`, but at least 1 and at most 3; with
        n below 3,000 rows, r counts :math:`\sqrt{n / 3000}` times. Scores of the label
        (`label_scores`), which are of models that have not seen the row, get .1 at most.

    max_iter : int or "auto", default="auto"
        Number of epochs. ``"auto"`` takes as many as make 200 steps, or 400 where
        `label_scores` are fitted on 3,000 rows or more, and at least 5. An epoch on rows that are
        read from a large ``numpy.memmap`` is 40 batches at most.

    batch_size : int, default=1024
        Rows of a batch; every (label, group) cell gives equally many, at least 2.

    learning_rate_init : float or "auto", default="auto"
        Largest step size of Adam; it rises over the first tenth of the training and then falls
        along a cosine to 0. ``"auto"`` takes 0.002, or 0.001 where `label_scores` are fitted on
        3,000 rows or more.

    early_stopping : bool, default=False
        Hold out part of the rows, stop when their loss no longer improves, and keep the best
        weights.

    validation_fraction : float, default=0.1
        Share held out of every (label, group) cell. Only used with `early_stopping`.

    n_iter_no_change : int, default=10
        Epochs without an improvement by `tol` before stopping, and at least as many as make 100
        steps, counted from the end of the rise of the step size. Only used with `early_stopping`.

    tol : float, default=1e-4
        Smallest improvement of the validation loss that counts.

    warm_start : bool, default=False
        Go on from the flow of the previous fit, which must have had the same number of features,
        `n_blocks` and `hidden_features`.

    checkpoint_dir : path-like or None, default=None
        Directory that keeps the state of an unfinished fit after every epoch. A fit with the
        same data and parameters goes on from there; its file is deleted when it is finished. The
        fits of a search share a directory.

    verbose : bool, default=False
        Show a progress bar.

    random_state : int, RandomState instance or None, default=None
        Pass an int for the same result every time on the same device; None draws a new seed.
        The global random state of torch and numpy is not touched.

    device : str or torch.device, default="auto"
        Where to compute: ``"auto"`` takes CUDA, then MPS, then the CPU. Looked up at each call
        and not kept, so that an estimator fitted on a GPU works on a machine without one.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,), or list of such arrays
        Classes of the label, or of each label column.

    groups_ : list of str
        Names of the (crossed) sensitive groups; empty if none were given.

    attributes_ : list of tuple (str, list of str)
        Name and values of each sensitive attribute.

    label_slice_, sensitive_slice_ : slice
        Columns of the full latent that hold the label block and the sensitive block.

    history_ : DataFrame
        One row an epoch: ``epoch``, ``steps`` so far, ``auto_steps`` (those of
        ``max_iter="auto"``), ``loss``, the unweighted terms ``loss_dg``, ``loss_eq``, ``loss_di``,
        ``loss_g`` (nats per dimension), ``loss_cls`` (nats), ``learning_rate`` and
        ``validation_loss`` (NaN without early stopping).

    n_iter_ : int
        Epochs run.

    inverse_error_ : float
        Largest round-trip error of the first 1,024 training rows, in the precision of X, relative
        to the norm of the standardised row.

    label_scores_ : AdditiveScores, LinearScores or None
        The scores of the label among the inputs of the flow; part of the map and of its inverse.
        ``label_scores_.columns`` says in which columns they stand.

    mean_, scale_ : ndarray of shape (n_features,)
        Standardisation of the embeddings, part of the map and of its inverse.

    heavy_tails_ : HeavyTails or None
        What is done instead to ``heavy_tails_.columns``, the features whose middle half is less
        than a quarter as wide as their standard deviation would have it: the inverse hyperbolic
        sine of their distance from the median. None if there are no such features.

    bins_ : object or None
        The cells: ``bins_.centroids``, of shape (n_cells, n_label_components), and
        ``bins_.assign(latent)``, which returns the cell of each row. None without `n_bins`.

    sensitive_mean_ : ndarray of shape (n_features - n_label_components,)
        The neutral sensitive block that completes a label block in `inverse_transform`.

    flow_ : skfairlatent.flows.Glow
        The trained network, on the CPU.

    encoder_fingerprint_ : str or None
        Tells the encoder from others; its weights are not kept.

    n_features_in_ : int
        Width of the embeddings.

    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Only if X was a table whose column names are all strings.

    See Also
    --------
    skfairlatent.metrics.fairness_scorers : Scorers for a search over the loss weights.
    skfairlatent.selection.MostAccurateWithin : Choose a candidate within a fairness bound.
    skfairlatent.diagnostics.diagnose : Measures how much of the group is left in the label block.

    Notes
    -----
    The loss is :math:`\lambda_{dg} L_{dg} + \lambda_{eq} L_{eq} + \lambda_{di} L_{di} +
    \lambda_g L_g + \lambda_{cls} L_{cls}`; no term's size depends on the width of the latent or on
    the batch. See the user guide for each formula.

    With scikit-learn 1.9 or later each epoch is a task of the callbacks that ``set_callbacks``
    takes, such as ``sklearn.callback.ProgressBar()``; they may also end the training.

    Training multiplies matrices in bfloat16 where the hardware does so natively; everything after
    training is in the precision of X, float32 or float64.

    References
    ----------
    .. [1] H. Joo, H. Han, S. Kim, S. Hong, J. Lee, "Constructing Fair Latent Space for
       Intersection of Fairness and Explainability", AAAI 2025, arXiv:2412.17523.

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from skfairlatent import FairLatentTransformer
    >>> from skfairlatent.datasets import make_biased_embeddings
    >>> data = make_biased_embeddings(400, n_features=8, random_state=0)
    >>> fair = FairLatentTransformer(max_iter=20, random_state=0)
    >>> Z = fair.fit_transform(data.data, data.target, sensitive_features=data.sensitive_features)
    >>> Z.shape
    (400, 1)
    >>> classifier = LogisticRegression().fit(Z, data.target)
    """

    # Makes scikit-learn's metadata routing pass sensitive_features to fit without a call to
    # set_fit_request by the user.
    __metadata_request__fit: ClassVar[Mapping[str, bool]] = {"sensitive_features": True}

    label_scores_: LabelScores | None
    heavy_tails_: HeavyTails | None

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "n_label_components": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "n_blocks": [Interval(Integral, 1, None, closed="left")],
        "hidden_features": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        **{f"lambda_{term}": [Interval(Real, 0, None, closed="left")] for term in TERMS},
        "distance": [StrOptions(set(DISTANCES))],
        "constraints": [StrOptions(set(CONSTRAINTS))],
        "label_scores": ["boolean", StrOptions({"auto"})],
        "output": [StrOptions({"label", "full"})],
        "n_bins": [Interval(Integral, 2, None, closed="left"), None],
        # Multiplied in float32.
        "input_noise": [Interval(Real, 0, 1e30, closed="both"), StrOptions({"auto"})],
        "max_iter": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "batch_size": [Interval(Integral, 2, None, closed="left")],
        "learning_rate_init": [Interval(Real, 0, None, closed="neither"), StrOptions({"auto"})],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
        "warm_start": ["boolean"],
        "checkpoint_dir": [str, os.PathLike, None],
        "verbose": ["verbose"],
        "random_state": ["random_state"],
        "device": [str, torch.device],
    }

    def __init__(  # noqa: PLR0913 - an estimator is configured by its constructor
        self,
        encoder: Any = "diffae",
        *,
        n_label_components: int | str = "auto",
        n_blocks: int = 2,
        hidden_features: int | str = "auto",
        lambda_dg: float = 0.3,
        lambda_eq: float = 0.3,
        lambda_di: float = 3.0,
        lambda_g: float = 0.1,
        lambda_cls: float = 3.0,
        distance: str = "energy",
        constraints: str = "equalized_odds",
        label_scores: bool | str = "auto",
        output: str = "label",
        n_bins: int | None = None,
        input_noise: float | str = "auto",
        max_iter: int | str = "auto",
        batch_size: int = 1024,
        learning_rate_init: float | str = "auto",
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        tol: float = 1e-4,
        warm_start: bool = False,
        checkpoint_dir: str | os.PathLike[str] | None = None,
        verbose: bool | int = False,
        random_state: int | np.random.RandomState | None = None,
        device: str | torch.device = "auto",
    ) -> None:
        self.encoder = encoder
        self.n_label_components = n_label_components
        self.n_blocks = n_blocks
        self.hidden_features = hidden_features
        self.lambda_dg = lambda_dg
        self.lambda_eq = lambda_eq
        self.lambda_di = lambda_di
        self.lambda_g = lambda_g
        self.lambda_cls = lambda_cls
        self.distance = distance
        self.constraints = constraints
        self.label_scores = label_scores
        self.output = output
        self.n_bins = n_bins
        self.input_noise = input_noise
        self.max_iter = max_iter
        self.batch_size = batch_size
        self.learning_rate_init = learning_rate_init
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.warm_start = warm_start
        self.checkpoint_dir = checkpoint_dir
        self.verbose = verbose
        self.random_state = random_state
        self.device = device

    @with_callbacks
    @neutral_torch_state()
    def fit(self, X: Any, y: Any = None, *, sensitive_features: Any = None) -> Self:
        """Train the flow.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or images
            Embeddings, or what `encoder` takes. A ``numpy.memmap`` of more than 128 MiB is read
            in pieces, and collections of Dask and arrays of Zarr or HDF5 of that size from a
            temporary file.

        y : array-like of shape (n_samples,) or (n_samples, n_label_columns)
            Class labels: binary, multiclass, or several columns of either.

        sensitive_features : array-like of shape (n_samples,) or (n_samples, n_attributes)
            Sensitive attributes, strings or numbers; several columns are crossed into groups.
            None fits density and label terms only, with a warning.

        Returns
        -------
        self : FairLatentTransformer
            Fitted.

        Raises
        ------
        ValueError
            For input that cannot be trained on, before training starts.
        TrainingDivergedError
            If the loss stays non-finite at a lower learning rate.
        """
        self._fit(X, y, sensitive_features)
        return self

    @with_callbacks
    @neutral_torch_state()
    def fit_transform(self, X: Any, y: Any = None, *, sensitive_features: Any = None) -> Array:
        """Fit, then transform the same rows; X is encoded once.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or images
            Embeddings, or what `encoder` takes.

        y : array-like of shape (n_samples,) or (n_samples, n_label_columns)
            Class labels.

        sensitive_features : array-like of shape (n_samples,) or (n_samples, n_attributes)
            Sensitive attributes.

        Returns
        -------
        ndarray of shape (n_samples, n_components)
            As `transform` returns it.
        """
        return self._output_of(*self._fit(X, y, sensitive_features))

    @neutral_torch_state()
    def transform(self, X: Any) -> Array:
        """Map X to the label block, or with ``output="full"`` to all of the latent.

        With `n_bins` the label block is the centroid of the row's cell.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or images
            Embeddings, or what `encoder` takes. No group is needed.

        Returns
        -------
        ndarray of shape (n_samples, n_components)
            In the precision of X, float32 or float64, which is also what is computed in: float32
            takes half the time. Of a collection of Dask another one, which is not computed yet.
        """
        self._check_ready()
        return self._output_of(self._embed(X, reset=False))

    @neutral_torch_state()
    def latent(self, X: Any) -> Array:
        """Map X to all of the latent, whatever `output` and `n_bins` say.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or images
            Embeddings, or what `encoder` takes.

        Returns
        -------
        ndarray of shape (n_samples, n_features)
            Columns `label_slice_` hold the label block, `sensitive_slice_` the sensitive block.
            The label block differs from that of `transform` by rounding.
        """
        self._check_ready()
        return self._forward(self._embed(X, reset=False), slice(None))

    @neutral_torch_state()
    def embed(self, X: Any) -> Array:
        """Return the embeddings of X, which the flow maps: what `encoder` makes of images.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or images
            Embeddings come back as they are, checked.

        Returns
        -------
        ndarray of shape (n_samples, n_features)
            Float32 or float64.
        """
        self._check_ready()
        return self._embed(X, reset=False)

    @neutral_torch_state()
    def inverse_transform(self, Z: Any, *, x_T: Any = None, decode: bool = True) -> Any:
        """Map a latent back to what `fit` was given.

        Parameters
        ----------
        Z : array-like of shape (n_samples, n_features) or (n_samples, n_label_components)
            Full latents invert exactly. Label blocks are completed with the neutral
            sensitive block, the mean over the training data.

        x_T : array-like of shape (n_samples, size, size, 3), default=None
            For a `DiffAEEncoder`: the noise to decode from, as its ``invert`` finds it in the
            original images. With it an edited image keeps all that was not edited.

        decode : bool, default=True
            False returns embeddings even if `fit` was given images.

        Returns
        -------
        ndarray of shape (n_samples, n_features), or images
            Embeddings if `fit` was given embeddings, else decoded images.

        Raises
        ------
        ValueError
            If Z has neither width, or `x_T` is given and the encoder decodes without noise.
        """
        self._check_ready()
        reject_container("Z", Z)
        Z = check_array(Z, dtype=[np.float64, np.float32], input_name="Z")
        full = as_rows(self._complete(Z))
        standardizer = self._standardizer()
        standardizer.reject_lost_precision("Z", Z.dtype, self._column_names())
        x = map_rows(self.flow_, full, resolve_device(self.device), inverse=True)
        embeddings = self._inputs().inverse(x)
        reject_far_latents(embeddings)
        if not (decode and self._fitted_on_images):
            if x_T is not None:
                raise ValueError("x_T is for images, but embeddings are asked for: leave it out.")
            return embeddings
        return decode_embeddings(self.encoder, embeddings, self.device, x_T)

    @neutral_torch_state()
    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the fitted transformer to a safetensors file, which holds nothing executable.

        Parameters
        ----------
        path : path-like
            A file that is there is replaced once the new one is complete.
        """
        self._check_ready()
        save_load.save(path, SavedState.of(self), self.encoder)

    @classmethod
    @neutral_torch_state()
    def load(
        cls,
        path: str | os.PathLike[str],
        *,
        encoder: Any = None,
        check_encoder: bool = True,
    ) -> Self:
        """Read a transformer written by `save`, on any device.

        Parameters
        ----------
        path : path-like
            The file.

        encoder : object, optional
            The encoder it was fitted with, if that was an object: it is not in the file.

        check_encoder : bool, default=True
            Refuse an encoder that is another one: of another class or with other values, and
            which makes other codes of a few images of nobody, as they are in the file. Pass False
            if you know that it makes the same codes of your images.

        Returns
        -------
        FairLatentTransformer

        Raises
        ------
        CheckpointError
            If the file is damaged, foreign, of another version, or `encoder` is another one.
        """
        return save_load.load(cls, path, encoder, check_encoder=check_encoder)

    def _check_ready(self) -> None:
        """Check, before any work, that this is fitted and that its parameters are valid still."""
        check_is_fitted(self)
        self._check_parameters()
        n_cells = 0 if self.bins_ is None else len(self.bins_.centroids)
        if (self.n_bins is None) != (n_cells == 0) or n_cells > (self.n_bins or 0):
            raise ValueError(
                f"n_bins={self.n_bins!r} was set after fit, which made {n_cells or 'no'} cells: "
                "call fit again."
            )

    def _check_parameters(self) -> None:
        self._validate_params()
        check_encoder(self.encoder)

    def _fit(self, X: Any, y: Any, sensitive_features: Any) -> tuple[Array, Tensor | MappedRows]:
        """Fit and return the embeddings of X, and what the flow is given of them."""
        tasks = FitTasks(self)
        with _all_or_nothing(self):
            self._check_parameters()
            device = resolve_device(self.device)
            if self.checkpoint_dir is not None and is_first():
                require_folder("checkpoint_dir", self.checkpoint_dir)
            # Encoding images may take hours: their labels are checked before.
            images = holds_images(X)
            reject_container("X", X)
            reject_other_order(X=X, y=y, sensitive_features=sensitive_features)
            fingerprint = encoder_fingerprint(self.encoder, used=images)
            rows = X if images else self._embed(X, reset=True)
            annotations = encode_annotations(rows, y, sensitive_features)
            self._check_constraints(annotations)
            embeddings = self._embed(X, reset=True) if images else rows
            warn_about_many_columns(embeddings.shape[1])
            width = self._label_width(annotations, embeddings.shape[1])
            start = self._warm_flow(embeddings.shape[1])
            fresh = Standardizer.fit(embeddings, self._column_names())
            standardizer = fresh if start is None else self._standardizer()
            rows = standardizer.forward(embeddings)
            standardizer.reject_far_rows(embeddings, rows.float(), self._column_names())
            distinct = None if isinstance(rows, MappedRows) else _distinct(rows, annotations)
            inputs = self._scored(rows, annotations, distinct, start is not None)
            x, settings = (
                inputs.float(),
                self._settings(width, _n_different(rows, distinct), embeddings.shape[1]),
            )
            self._set_annotations(annotations)
            self._set_standardizer(standardizer)
            self.label_slice_ = slice(0, width)
            self.sensitive_slice_ = slice(width, embeddings.shape[1])
            self.encoder_fingerprint_ = fingerprint
            self._seen_rows = SeenRows.of(
                _once(embeddings, annotations),
                before=None if start is None else getattr(self, "_seen_rows", None),
            )
            fitted = partial(
                self._fitted_with, *sample_of(x, annotations), _first_of(inputs), settings.seed
            )
            groups = (
                {} if sensitive_features is None else {"sensitive_features": sensitive_features}
            )
            tasks.tell(fitted, X=embeddings, y=y, metadata=groups)
            result = fit_flow(x, annotations, settings, device, start, tasks)
            self.__dict__.update(fitted(result.flow))
            self.history_ = pd.DataFrame(result.history).astype({"epoch": int})
            self.n_iter_ = len(self.history_)
            self._warn_about_round_trip(settings)
            tasks.end()
            return embeddings, inputs

    def _scored(
        self,
        x: Tensor | MappedRows,
        annotations: Annotations,
        distinct: Distinct | None,
        is_warm: bool,
    ) -> Tensor | MappedRows:
        """Fit the scores of the label, if there are to be any, and put them into the rows.

        Which rows repeat others is known of rows in memory, and found of the sample of a map.
        """
        before = self.label_scores_ if is_warm else None
        known = self.__dict__.pop("_scored_rows", None)
        self.label_scores_ = None
        n_samples = _n_different(x, distinct)
        if not self._wants_scores(n_samples, x.shape[1], annotations, is_warm, before):
            return x
        sample, its_annotations = sample_of(x, annotations)
        distinct = distinct or _distinct(sample, its_annotations)
        key = None
        if self.warm_start:  # the fits of a path go on from one another on the same rows
            key = digest_of("", {"x": sample, "y": torch.from_numpy(its_annotations.label_codes)})
        if not is_warm or known is None or known[0] != key:
            # The rows of a warm fit may be few, and those of a rare class; a map's not in its
            # sample.
            required = before is None and self.label_scores != "auto"
            found = fit_label_scores(sample, its_annotations, distinct, before, required=required)
            if found is None:
                self.label_scores_ = before
                return x if before is None else _mapped(x, before)
            known = (key, *found)
        if self.warm_start:
            self._scored_rows = known
        _, self.label_scores_, scores = known
        if isinstance(x, Tensor):
            return self.label_scores_.with_scores(x, scores)
        return _mapped(x, self.label_scores_)

    def _wants_scores(
        self,
        n_samples: int,
        n_features: int,
        annotations: Annotations,
        is_warm: bool,
        before: LabelScores | None,
    ) -> bool:
        if self.label_scores != "auto":
            return bool(self.label_scores)
        if is_warm:
            return before is not None
        return wants_label_scores(n_samples, n_features, annotations)

    def _fitted_with(
        self, x: Tensor, annotations: Annotations, checked: Tensor, seed: int, flow: Glow
    ) -> dict[str, Any]:
        """Return the fitted attributes that depend on the flow.

        Of the rows `checked`, which are in the precision of X, the round trip is measured.
        """
        device = resolve_device(self.device)
        z = map_rows(flow, x, device, columns=self.sensitive_slice_)
        bins = None
        if self.n_bins is not None:
            block = map_rows(flow, x, device, columns=self.label_slice_).numpy()
            bins = fit_bins(block, annotations.label_codes, self.n_bins, seed)
        return {
            "flow_": flow,
            "sensitive_mean_": z.double().mean(dim=0).numpy(),
            "bins_": bins,
            "inverse_error_": largest_round_trip_error(
                flow, checked, device, self._inputs().standardized
            ),
        }

    def _embed(self, X: Any, *, reset: bool) -> Array:
        images, shape = holds_images(X), None
        if images:
            shape = image_shape(X)
            X = encode(self.encoder, X, self.device)
            if not reset and X.shape[1] != self.n_features_in_:
                raise ValueError(
                    f"X holds images, of which encoder={self.encoder!r} makes {X.shape[1]} "
                    f"features, but fit was given embeddings of {self.n_features_in_}: encode X "
                    "as those were."
                )
        else:
            X = detach(X)
            reject_container("X", X)
            if hasattr(X, "dtype") and is_column(X) and not hasattr(X, "iloc"):
                X = np.asarray(X)  # a column of polars, whose values may be arrays
            reject_sparse(X)
            reject_columns_without_numbers(X)
        if reset:
            self._fitted_on_images = images
            self._fitted_image_shape = shape
        checked: Array = validate_data(
            self,
            X,
            reset=reset,
            dtype=None if is_large_map(X) else precisions(X),
            # In another order means of columns would be rounded otherwise. A large map stays where
            # it is, and is checked as it is read.
            order=None if is_large_map(X) else "C",
            ensure_all_finite=not is_large_map(X),
            ensure_min_samples=2 if reset else 1,
            ensure_min_features=2 if reset else 1,
        )
        return checked

    def _forward(
        self, embeddings: Array, columns: slice, inputs: Tensor | MappedRows | None = None
    ) -> Array:
        """Return columns of the latent; `inputs` are those of the flow, if they are known."""
        standardizer = self._standardizer()
        standardizer.reject_lost_precision("X", embeddings.dtype, self._column_names())
        device = resolve_device(self.device)
        if inputs is None:
            rows, prepare = rows_of(embeddings), self._inputs().forward
            z = map_rows(self.flow_, rows, device, columns=columns, prepare=prepare)
        else:
            z = map_rows(self.flow_, inputs, device, columns=columns)
        standardizer.reject_far_rows(embeddings, z, self._column_names())
        return np.asarray(z)

    def _output_of(self, embeddings: Array, inputs: Tensor | MappedRows | None = None) -> Array:
        return as_transformed(self, self._forward(embeddings, self._output_slice(), inputs))

    def _complete(self, Z: Array) -> Array:
        """Fill a label block up to full width with the neutral sensitive block."""
        n_label, n_full = self.label_slice_.stop, self.sensitive_slice_.stop
        if Z.shape[1] == n_full:
            return Z
        if Z.shape[1] == n_label:
            neutral = self.sensitive_mean_.astype(Z.dtype)
            return np.hstack((Z, np.broadcast_to(neutral, (len(Z), len(neutral)))))
        raise ValueError(
            f"Z has {Z.shape[1]} features: expected {n_full} (a full latent, from latent(X) or "
            f"output='full') or {n_label} (a label block, from transform)."
        )

    def _inputs(self) -> FlowInputs:
        return FlowInputs(self._standardizer(), self.label_scores_)

    def _standardizer(self) -> Standardizer:
        return Standardizer(self.mean_, self.scale_, self.heavy_tails_)

    def _set_standardizer(self, standardizer: Standardizer) -> None:
        self.mean_, self.scale_ = standardizer.mean, standardizer.scale
        self.heavy_tails_ = standardizer.heavy_tails

    def _column_names(self) -> Any:
        return getattr(self, "feature_names_in_", None)

    def _output_slice(self) -> slice:
        return {"label": self.label_slice_, "full": slice(None)}[self.output]

    def _warn_about_round_trip(self, settings: FitSettings) -> None:
        if self.inverse_error_ <= LARGEST_INVERSE_ERROR:
            return
        set_by_user = [
            f"{name}={value:g}"
            for name, value in (
                ("input_noise", settings.input_noise),
                ("learning_rate_init", settings.learning_rate),
            )
            if getattr(self, name) != "auto"
        ]
        remedy = f"Lower {' or '.join(set_by_user)}, or raise" if set_by_user else "Raise"
        if isinstance(self.label_scores_, AdditiveScores):
            # They rise steeply between near values, and single precision has no digits to spare.
            remedy = f"If X is in float32, pass it in float64 or set label_scores=False. {remedy}"
        warn_user(
            f"The round trip of a training row is off by {self.inverse_error_:.2g} of its "
            "norm (inverse_error_), where at most 1e-05 is usual: inverse_transform and edits of "
            f"the latent cannot be relied on. {remedy} lambda_g={self.lambda_g:g}, which keeps "
            "the latent to the scale of a standard normal."
        )

    def _check_constraints(self, annotations: Annotations) -> None:
        sizes = [len(classes) for classes in annotations.classes]
        if self.constraints == "true_positive_rate_parity" and sizes != [2]:
            raise ValueError(
                'constraints="true_positive_rate_parity" compares the groups within the positive '
                "class of one label of two classes, but y has "
                + (f"{sizes[0]} classes" if len(sizes) == 1 else f"{len(sizes)} label columns")
                + ': set constraints="equalized_odds", which compares them within every class.'
            )
        if self.constraints == "demographic_parity" and self.distance == "contrastive":
            raise ValueError(
                'distance="contrastive" contrasts the labels, which '
                'constraints="demographic_parity" does not look at: set distance="energy".'
            )

    def _label_width(self, annotations: Annotations, n_features: int) -> int:
        if self.n_label_components == "auto":
            boundaries = sum(len(classes) - 1 for classes in annotations.classes)
            return min(boundaries, n_features - 1)
        width = int(self.n_label_components)
        if width >= n_features:
            raise ValueError(
                f"n_label_components={width} leaves no room for the sensitive block: X has "
                f"{n_features} features, so expected 1 to {n_features - 1}."
            )
        return width

    def _warm_flow(self, n_features: int) -> Glow | None:
        if not self.warm_start or not hasattr(self, "flow_"):
            return None
        flow: Glow = self.flow_
        found = (flow.features, flow.n_blocks, flow.hidden_features)
        hidden = flow.hidden_features if self.hidden_features == "auto" else self.hidden_features
        wanted = (n_features, self.n_blocks, hidden)
        if found != wanted:
            raise ValueError(
                "warm_start=True goes on from a flow with (n_features, n_blocks, hidden_features) "
                f"= {found}, but X and the parameters ask for {wanted}: set warm_start=False to "
                "start anew."
            )
        has_scores = self.label_scores_ is not None
        if self.label_scores not in {"auto", has_scores}:
            kind = "with" if has_scores else "without"
            raise ValueError(
                f"warm_start=True goes on from a flow {kind} scores of the label among its "
                f"inputs, but label_scores={self.label_scores}: set "
                'label_scores="auto" to go on as before, or warm_start=False to start anew.'
            )
        return flow

    def _settings(self, width: int, n_samples: int, n_features: int) -> FitSettings:
        hidden, noise, scores = self.hidden_features, self.input_noise, self.label_scores_
        given, rate = scores is not None, self.learning_rate_init
        if hidden == "auto":
            hidden = auto_hidden_features(n_samples, n_features, with_scores=given)
        if noise == "auto":
            noise = auto_input_noise(n_samples, n_features)
        if rate == "auto":
            rate = auto_learning_rate(n_samples, with_scores=given)
        return FitSettings(
            n_label_components=width,
            n_blocks=self.n_blocks,
            hidden_features=int(hidden),
            weights={name: float(getattr(self, f"lambda_{name}")) for name in TERMS},
            distance=self.distance,
            constraints=self.constraints,
            input_noise=float(noise),
            max_iter=None if self.max_iter == "auto" else int(self.max_iter),
            steps=auto_steps(n_samples, with_scores=given),
            batch_size=self.batch_size,
            learning_rate=float(rate),
            early_stopping=self.early_stopping,
            validation_fraction=self.validation_fraction,
            n_iter_no_change=self.n_iter_no_change,
            tol=self.tol,
            verbose=bool(self.verbose),
            checkpoint_dir=self.checkpoint_dir,
            seed=self._seed(),
            seed_is_new=self.random_state is None,
            scores=() if scores is None else tuple(scores.columns.tolist()),
        )

    def _seed(self) -> int:
        return agreed(int(own_random_state(self.random_state).randint(2**31 - 1)))

    def _set_annotations(self, annotations: Annotations) -> None:
        classes = annotations.classes
        self.classes_ = classes[0] if annotations.single_target else classes
        self.groups_ = list(annotations.groups) if annotations.attributes else []
        self.attributes_ = [(each.label, list(each.values)) for each in annotations.attributes]

    @property
    def _n_features_out(self) -> int:
        self._check_parameters()
        return len(range(*self._output_slice().indices(self.sensitive_slice_.stop)))

    def set_params(self, **params: Any) -> Self:
        """Set parameters of this estimator, or of its encoder as ``encoder__<parameter>``.

        Parameters
        ----------
        **params : dict
            Names and values.

        Returns
        -------
        FairLatentTransformer
            This object. Its encoder, if parameters of it are set, becomes a copy that shares the
            weights: other models with that encoder stay as they are. Parameters that only
            a fit of the encoder looks at, such as the ``n_components`` of a PCA, change nothing.

        Raises
        ------
        TypeError
            If parameters are set of an encoder that has none, such as ``"diffae"``.
        ValueError
            If there is no such parameter.
        """
        if any(name.startswith("encoder__") for name in params):
            params = {**params, "encoder": encoder_twin(params.get("encoder", self.encoder))}
        super().set_params(**params)
        return self

    def __getstate__(self) -> dict[str, Any]:
        """Return arrays and plain values, which skops writes too, beside the encoder."""
        return to_picklable(super().__getstate__())

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take what `__getstate__` returned, and pickles of version 0.1."""
        from_picklable(self, state)

    def __copy__(self) -> Self:
        """Return a shallow copy: what is fitted is shared."""
        twin = type(self).__new__(type(self))
        twin.__dict__.update(self.__dict__)
        return twin

    def __sklearn_clone__(self) -> Self:
        """Return an unfitted twin with the same encoder: it is trained already, and stays so."""
        bare = copy.copy(self)
        bare.encoder = None
        twin: Self = super(FairLatentTransformer, bare).__sklearn_clone__()
        twin.encoder = self.encoder
        return twin

    def __sklearn_is_fitted__(self) -> bool:
        """Tell ``check_is_fitted`` whether fit has finished."""
        return hasattr(self, "inverse_error_")

    def __sklearn_tags__(self) -> Any:
        """Declare that y is required, and which precisions are kept."""
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        tags.target_tags.multi_output = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


@contextmanager
def _all_or_nothing(estimator: FairLatentTransformer) -> Iterator[None]:
    """Leave the estimator as it was if a fit fails or is interrupted.

    A failed second fit would otherwise leave the widths of its data beside the flow of the first.
    """
    state = estimator.__dict__
    before = dict(state)
    try:
        yield
    except BaseException:
        state.clear()
        state.update(before)
        raise


def _distinct(rows: Tensor, annotations: Annotations) -> Distinct:
    return distinct_rows(rows.numpy(), annotations.label_codes, annotations.attribute_codes)


def _n_different(rows: Tensor | MappedRows, distinct: Distinct | None) -> int:
    return len(rows) if distinct is None else len(distinct.first)


def _once(embeddings: Array, annotations: Annotations) -> Iterable[Array]:
    """Give the rows to be known again, without repetitions, but for those of a large map."""
    if is_large_map(embeddings):
        return pieces_of(embeddings)
    return [embeddings[certain_repetitions(embeddings, annotations.attribute_codes).first]]


def _mapped(x: Tensor | MappedRows, scores: LabelScores) -> Tensor | MappedRows:
    return scores.forward(x) if isinstance(x, Tensor) else x.then(scores.forward)


def _first_of(rows: Tensor | MappedRows) -> Tensor:
    """Return the rows of which the round trip is measured."""
    return rows[torch.arange(min(len(rows), ROUND_TRIP_ROWS))]
