"""The methods of `run.py`, each with a dial that trades accuracy for equal rates.

A representation takes rows to fit on, rows to score on, the value of its dial, a seed and the
criterion, and returns both rows as a classifier should see them, with weights for its training or
None. A method that is a classifier itself takes a scikit-learn classifier first, and returns the
probability of a decision of 1 for each row to score on. Rows come standardised.
"""

from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from _common import cell_weights
from fairlearn import reductions
from fairlearn.adversarial import AdversarialFairnessClassifier
from fairlearn.postprocessing import ThresholdOptimizer
from fairlearn.preprocessing import CorrelationRemover
from scipy.linalg import eigh
from scipy.optimize import minimize
from scipy.special import expit, logit
from sklearn.base import clone
from sklearn.kernel_approximation import RBFSampler
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict, train_test_split

from skfairlatent import FairLatentTransformer

EQUALIZED_ODDS, DEMOGRAPHIC_PARITY = "equalized_odds", "demographic_parity"
RAW, OURS, CEILING = "raw", "FairLatentTransformer", "ceiling"
# Of predictions that are drawn by lot, so many are averaged.
N_DRAWS = 50


# Representations.


def keep(fit, new, _dial, _seed, _constraints):
    return fit.X, new.X, None


def map_fair(fit, new, dial, seed, constraints, **parameters):
    """Apply our transformer with its defaults and `dial` as ``lambda_di``."""
    parameters |= {"lambda_di": dial, "constraints": constraints}
    fair, Z = fit_fair(fit, seed, **parameters)
    return Z, fair.transform(new.X), None


def fit_fair(fit, seed, **parameters):
    """Return our transformer fitted, and the label block of the rows that it was fitted on."""
    fair = FairLatentTransformer(None, random_state=seed, **parameters)
    return fair, fair.fit_transform(fit.X, fit.y, sensitive_features=fit.sensitive)


def weigh(fit, new, dial, _seed, constraints):
    """Weigh rows by a power of 1 / (rows of their label and group).

    For demographic parity of the weight that makes label and group independent (Kamiran and
    Calders 2012).
    """
    if constraints == EQUALIZED_ODDS:
        return fit.X, new.X, cell_weights(fit.y, fit.group, power=dial)
    joint, labels, groups = (
        _counts(key) for key in (np.char.add(fit.y.astype(str), fit.group), fit.y, fit.group)
    )
    return fit.X, new.X, (labels * groups / (joint * len(fit.y))) ** dial


def erase(fit, new, _dial, _seed, constraints):
    """Project the directions between group means out, in the metric within the cells."""
    removed = erased_part(fit.X, _given(fit, constraints), fit.group)
    return fit.X - fit.X @ removed, new.X - new.X @ removed, None


def erase_leace(fit, new, _dial, seed, constraints):
    """Apply LEACE (Belrose et al. 2023), for equalised odds fitted on cell-balanced rows."""
    from concept_erasure import LeaceEraser  # noqa: PLC0415 - pip install concept-erasure

    weights = cell_weights(_given(fit, constraints), fit.group)
    rows = np.random.default_rng(seed).choice(len(fit.X), len(fit.X), p=weights / weights.sum())
    indicators = torch.from_numpy(_indicators(fit.group[rows]))
    eraser = LeaceEraser.fit(torch.from_numpy(fit.X[rows]), indicators)
    return *(eraser(torch.from_numpy(each.X)).numpy() for each in (fit, new)), None


def erase_splince(fit, new, _dial, _seed, constraints):
    """Project as SPLINCE does (arXiv:2506.10703): the covariance with the label stays.

    In whitened space the kernel is the covariance with the group, and the range contains that
    with the label.
    """
    weights = cell_weights(_given(fit, constraints), fit.group)
    mean, covariance = _moments(fit.X, weights)
    whiten, colour = _roots(covariance)
    centred = (fit.X - mean) @ whiten
    with_group, with_label = (
        centred.T @ (weights[:, None] * (codes - np.average(codes, axis=0, weights=weights)))
        for codes in (_indicators(fit.group), _indicators(fit.y))
    )
    kernel = np.linalg.qr(with_group)[0]
    both = np.linalg.qr(np.hstack([with_label, with_group]))[0]
    rest = np.eye(len(both)) - both @ both.T
    # Rows split into range + kernel: the part of `both` by solving, what is beside it unchanged.
    basis = np.hstack([np.linalg.qr(with_label)[0], kernel])
    n_label = with_label.shape[1]
    onto = basis[:, :n_label] @ np.linalg.pinv(basis)[:n_label]
    projection = whiten @ (rest + onto).T @ colour
    return *((each.X - mean) @ projection for each in (fit, new)), None


def whiten_with_group(fit, new, dial, _seed, _constraints):
    """Whiten features together with scores of the group, and keep the features (CFW).

    arXiv:2507.20284: the covariance is a mixture of that of all rows and, with weight `dial`, of
    cell-balanced rows.
    """
    reader = LogisticRegression(C=0.1, max_iter=500).fit(fit.X, fit.group)
    read = [np.column_stack([each.X, reader.decision_function(each.X)]) for each in (fit, new)]
    mean, every = _moments(read[0], np.ones(len(fit.X)))
    _, balanced = _moments(read[0], cell_weights(fit.y, fit.group))
    whiten, _ = _roots((1.0 - dial) * every + dial * balanced)
    return *(((each - mean) @ whiten)[:, : fit.X.shape[1]] for each in read), None


def depend_on_label(fit, new, dial, seed, constraints):
    r"""Find two functions that depend on the label and not on the group, in closed form.

    As FairerCLIP and U-FaTE (arXiv:2403.15593) do: random Fourier features, and the directions of
    largest :math:`(1 - \tau)` covariance with the label less :math:`\tau` times that with the
    group, within the label for equalised odds. `dial` is :math:`\tau`.
    """
    width = np.median(np.linalg.norm(fit.X[:1000:2, None] - fit.X[None, 1:1000:2], axis=2))
    sampler = RBFSampler(gamma=0.5 / width**2, n_components=1000, random_state=seed).fit(fit.X)
    F, F_new = (np.hstack([sampler.transform(each.X), each.X]) for each in (fit, new))
    mean = F.mean(axis=0)
    F, F_new = F - mean, F_new - mean
    with_label = _cross(F, _indicators(fit.y))
    given = _given(fit, constraints)
    with_group = np.hstack(
        [_cross(F[given == v], _indicators(fit.group[given == v])) for v in np.unique(given)]
    )
    signed = (1 - dial) * with_label @ with_label.T - dial * with_group @ with_group.T
    spread = F.T @ F / len(F) + 1e-2 * np.eye(F.shape[1])
    n = F.shape[1]
    _, functions = eigh(signed, spread, subset_by_index=[n - 2, n - 1])
    return F @ functions, F_new @ functions, None


def remove_correlation(fit, new, dial, _seed, _constraints):
    """Apply fairlearn's CorrelationRemover, which needs the group to predict."""
    tables = [np.hstack([rows.X, _indicators(rows.group)]) for rows in (fit, new)]
    ids = list(range(fit.X.shape[1], tables[0].shape[1]))
    remover = CorrelationRemover(sensitive_feature_ids=ids, alpha=dial).fit(tables[0])
    return *map(remover.transform, tables), None


# Classifiers.


def reduce_exponentiated(model, fit, new, dial, _seed, constraints):
    """Apply fairlearn's ExponentiatedGradient, at most 15 iterations; its expected decisions."""
    reduction = reductions.ExponentiatedGradient(
        model, MOMENTS[constraints](difference_bound=dial), eps=dial, max_iter=15
    )
    reduction.fit(fit.X, fit.y, sensitive_features=fit.group)
    return reduction._pmf_predict(new.X)[:, 1]


def reduce_grid(model, fit, new, dial, _seed, constraints):
    """Apply fairlearn's GridSearch over Lagrange multipliers; `dial` weighs the constraint."""
    reduction = reductions.GridSearch(
        model, MOMENTS[constraints](), constraint_weight=dial, grid_size=15
    )
    reduction.fit(fit.X, fit.y, sensitive_features=fit.group)
    return np.asarray(reduction.predict(new.X), float)


def optimize_thresholds(model, fit, new, _dial, _seed, constraints):
    """Apply fairlearn's ThresholdOptimizer, which needs the group to predict."""
    optimizer = ThresholdOptimizer(
        estimator=model, constraints=constraints, predict_method="predict_proba"
    )
    optimizer.fit(fit.X, fit.y, sensitive_features=fit.group)
    return optimizer._pmf_predict(new.X, sensitive_features=new.group)[:, 1]


def adjust_thresholds(model, fit, new, dial, seed, constraints):
    """Apply OxonFair (Delaney et al. 2024), which needs the group to predict; `dial` is its bound.

    The thresholds are chosen on a third of the rows, which the classifier has not seen.
    """
    from oxonfair import DataDict, FairPredictor, group_metrics  # noqa: PLC0415

    model, held_out = _held_out(model, fit, seed)
    groups = np.unique(fit.group, return_inverse=True)[1].astype(str)
    known = DataDict(fit.y[held_out], fit.X[held_out], groups[held_out])
    predictor = FairPredictor(model, known)
    gap = {
        EQUALIZED_ODDS: group_metrics.equalized_odds,
        DEMOGRAPHIC_PARITY: group_metrics.demographic_parity,
    }[constraints]
    predictor.fit(group_metrics.accuracy, gap, dial)
    groups = np.unique(new.group, return_inverse=True)[1].astype(str)
    asked = DataDict(np.zeros(len(new.X), int), new.X, groups)
    return np.asarray(predictor.predict(asked), float).ravel()


def relax_thresholds(model, fit, new, dial, seed, constraints):
    """Apply error-parity (Cruz and Hardt 2024), which needs the group to predict.

    The thresholds are chosen on a third of the rows, which the classifier has not seen; the gap
    there is at most `dial`.
    """
    model, held_out = _held_out(model, fit, seed)
    scores = model.predict_proba(fit.X[held_out])[:, 1]
    thresholds = _thresholds(scores, fit.y[held_out], fit.group[held_out], dial, constraints)
    return thresholds(model.predict_proba(new.X)[:, 1], new.group)


def bound_accuracy(model, fit, new, dial, _seed, constraints):
    """Choose error-parity's thresholds with the labels and groups of the rows to score on.

    No thresholds on these scores are more accurate at a gap of `dial`, in expectation: a ceiling,
    not a method.
    """
    scores = model.fit(fit.X, fit.y).predict_proba(new.X)[:, 1]
    return _thresholds(scores, new.y, new.group, dial, constraints)(scores, new.group)


def _held_out(model, fit, seed):
    """Return the model, fitted to two thirds of the rows, and the numbers of the others."""
    train, held_out = train_test_split(
        np.arange(len(fit.y)), test_size=1 / 3, stratify=fit.y, random_state=seed
    )
    return model.fit(fit.X[train], fit.y[train]), held_out


def _thresholds(scores, y, group, dial, constraints):
    """Return error-parity's thresholds as a function of scores and groups.

    For equalized odds `dial` is the mean of the gaps of both rates, as everywhere here.
    """
    from error_parity import RelaxedThresholdOptimizer  # noqa: PLC0415

    bound = {"tolerance": dial}
    if constraints == EQUALIZED_ODDS:
        bound = {"tolerance": 2 * dial, "l_p_norm": 1}
    optimizer = RelaxedThresholdOptimizer(
        predictor=np.ravel, constraint=constraints, seed=0, **bound
    )
    names, codes = np.unique(group, return_inverse=True)
    optimizer.fit(X=scores[:, None], y=y, group=codes)

    def decide(scores, group):
        codes = np.searchsorted(names, group)
        draws = (optimizer(scores[:, None], group=codes) for _ in range(N_DRAWS))
        return np.mean([*draws], axis=0)

    return decide


def project_model(model, fit, new, dial, _seed, constraints):
    r"""Apply FairProjection (Alghamdi et al. 2022, arXiv:2206.07801) with the cross-entropy.

    Of all models whose rates differ from the common one by at most `dial` in expectation, the
    nearest to a given one is :math:`\mathrm{logit}\,h = \mathrm{logit}\,b - \lambda^T g(x)`,
    where g is the influence of a row on each difference. Groups are inferred: the model predicts
    (label, group) cells. The multipliers minimise the dual on rows that it has not seen. Read from
    the paper, with absolute differences of rates in the place of their ratios.
    """
    names, groups = np.unique(fit.group, return_inverse=True)
    cells = fit.y * len(names) + groups
    unseen = cross_val_predict(clone(model), fit.X, cells, cv=3, method="predict_proba")
    asked = clone(model).fit(fit.X, cells).predict_proba(new.X)
    joint = np.bincount(cells) / len(cells)

    def parts(posterior):
        share = posterior.reshape(len(posterior), 2, len(names))
        base = share[:, 1].sum(axis=1)
        if constraints == EQUALIZED_ODDS:
            given, rows = joint.reshape(2, -1), share
        else:
            given, rows = joint.reshape(2, -1).sum(axis=0)[None], share.sum(axis=1)[:, None]
        whole = rows.sum(axis=2, keepdims=True) / given.sum(axis=1)[None, :, None]
        influence = (rows / given - whole).reshape(len(posterior), -1)
        return logit(np.clip(base, 1e-6, 1 - 1e-6)), influence

    odds, influence = parts(unseen)
    n = influence.shape[1]

    def dual(signed):
        multipliers = signed[:n] - signed[n:]
        moved = odds - influence @ multipliers
        value = np.logaddexp(0, moved).mean() + dial * signed.sum()
        slope = -expit(moved) @ influence / len(moved)
        return value, np.concatenate([slope, -slope]) + dial

    found = minimize(dual, np.zeros(2 * n), jac=True, bounds=[(0, None)] * (2 * n)).x
    odds, influence = parts(asked)
    return (odds - influence @ (found[:n] - found[n:]) > 0).astype(float)


def play(_model, fit, new, dial, seed, constraints):
    """Train a network against an adversary, by fairlearn's AdversarialFairnessClassifier."""
    rows = np.random.default_rng(seed).permutation(len(fit.X))
    classifier = AdversarialFairnessClassifier(
        backend="torch",
        predictor_model=[64, "relu"],
        adversary_model=[32, "relu"],
        constraints=constraints,
        alpha=dial,
        epochs=8,
        batch_size=256,
        shuffle=True,
        random_state=seed,
    )
    groups = np.unique(fit.group, return_inverse=True)[1]
    classifier.fit(fit.X[rows], fit.y[rows], sensitive_features=groups[rows])
    return np.asarray(classifier.predict(new.X)).ravel().astype(float)


def penalise(_model, fit, new, dial, seed, constraints):
    """Train a network with a penalty on the HSIC of its score and the group.

    Within the label for equalised odds; normalised kernels as in fair kernel learning
    (Pérez-Suay et al. 2017), here on batches of 512 rows.
    """
    X, y = torch.tensor(fit.X, dtype=torch.float32), torch.tensor(fit.y)
    group = torch.tensor(_indicators(fit.group), dtype=torch.float32)
    given = torch.tensor(np.unique(_given(fit, constraints), return_inverse=True)[1])
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = torch.nn.Sequential(
            torch.nn.Linear(X.shape[1], 64), torch.nn.ReLU(), torch.nn.Linear(64, 1)
        )
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=1e-2)
    for _ in range(12):
        for rows in torch.randperm(len(X), generator=generator).split(512):
            score = network(X[rows])[:, 0]
            loss = torch.nn.functional.binary_cross_entropy_with_logits(score, y[rows].float())
            for value in given[rows].unique():
                chosen = given[rows] == value
                loss = loss + dial * hsic(score[chosen], group[rows][chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    with torch.no_grad():
        return (network(torch.tensor(new.X, dtype=torch.float32))[:, 0] > 0).double().numpy()


def hsic(score, group):
    """Return the normalised HSIC of scores, with a Gaussian kernel, and of indicators."""
    if len(score) < 2 or not (group.std(dim=0) > 0).any():
        return 0.0 * score.sum()
    kernels = [
        torch.exp(-0.5 * ((score[:, None] - score[None]) / (score.detach().std() + 1e-6)) ** 2),
        (group[:, None] == group[None]).all(dim=2).float(),
    ]
    centred = [k - k.mean(0) - k.mean(1, keepdim=True) + k.mean() for k in kernels]
    return (centred[0] * centred[1]).sum() / (centred[0].norm() * centred[1].norm() + 1e-9)


# What they share.

MOMENTS = {
    EQUALIZED_ODDS: reductions.EqualizedOdds,
    DEMOGRAPHIC_PARITY: reductions.DemographicParity,
}


def erased_part(X, given, group):
    """Return the (oblique) projection onto directions between group means, to apply to rows."""
    directions, centred = [], []
    for value in np.unique(given):
        names = np.unique(group[given == value])
        cells = [X[(given == value) & (group == name)] for name in names]
        means = [cell.mean(axis=0) for cell in cells]
        directions += [mean - means[0] for mean in means[1:]]
        centred += [cell - mean for cell, mean in zip(cells, means, strict=True)]
    whiten, colour = _roots(np.cov(np.concatenate(centred).T))
    basis, _ = np.linalg.qr(whiten @ np.array(directions).T)
    return whiten @ basis @ basis.T @ colour


def _given(rows, constraints):
    """Return what rates are compared within: the label, or nothing."""
    return rows.y if constraints == EQUALIZED_ODDS else np.zeros_like(rows.y)


def _counts(keys):
    return np.unique(keys, return_counts=True)[1][np.unique(keys, return_inverse=True)[1]]


def _indicators(values):
    """Return a column for each value but the first."""
    return (values[:, None] == np.unique(values)[1:]).astype(float)


def _moments(X, weights):
    mean = np.average(X, axis=0, weights=weights)
    return mean, np.cov(X.T, aweights=weights)


def _roots(covariance):
    """Return the inverse root of a covariance, and its root."""
    values, vectors = np.linalg.eigh(covariance + 1e-3 * np.eye(len(covariance)))
    return vectors / np.sqrt(values) @ vectors.T, vectors * np.sqrt(values) @ vectors.T


def _cross(F, codes):
    return (F - F.mean(axis=0)).T @ (codes - codes.mean(axis=0)) / len(F)


class Method(NamedTuple):
    """A method, the values of its dial, and what else a reader must know of it.

    ``in_training`` is whether it is a classifier itself, ``classifiers`` which ones it takes, if
    not all, and ``needs_group`` whether it sees the group of those it decides about.
    """

    run: object
    dials: list
    in_training: bool = False
    classifiers: tuple = ()
    needs_group: bool = False


METHODS = {
    RAW: Method(keep, [0.0]),
    OURS: Method(map_fair, [0.0, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0]),
    "cell weights": Method(weigh, [0.25, 0.5, 0.75, 1.0, 1.5]),
    "linear erasure": Method(erase, [1.0]),
    "LEACE": Method(erase_leace, [1.0]),
    "SPLINCE": Method(erase_splince, [1.0]),
    "CFW": Method(whiten_with_group, [0.25, 1.0]),
    "kernel closed form": Method(depend_on_label, [0.0, 0.5, 0.8, 0.95, 0.99]),
    "CorrelationRemover": Method(remove_correlation, [0.9, 1.0], needs_group=True),
    "ExponentiatedGradient": Method(
        reduce_exponentiated, [0.01, 0.03, 0.06, 0.1], True, ("logistic", "boosting")
    ),
    "reductions.GridSearch": Method(
        reduce_grid, [0.3, 0.5, 0.7, 0.9], True, ("logistic", "boosting")
    ),
    "ThresholdOptimizer": Method(
        optimize_thresholds, [0.0], True, ("logistic", "boosting"), needs_group=True
    ),
    "FairProjection": Method(
        project_model, [0.0, 0.02, 0.05, 0.1], True, ("logistic", "boosting", "MLP")
    ),
    "OxonFair": Method(
        adjust_thresholds, [0.01, 0.03, 0.06], True, ("logistic", "boosting"), needs_group=True
    ),
    "error-parity": Method(
        relax_thresholds, [0.0, 0.03, 0.1], True, ("logistic", "boosting"), needs_group=True
    ),
    "AdversarialFairnessClassifier": Method(play, [0.1, 0.3, 1.0, 3.0], True, ("MLP",)),
    "HSIC penalty": Method(penalise, [0.3, 1.0, 3.0, 10.0], True, ("MLP",)),
}

# What is run when asked for: ours with other settings than the defaults, and a ceiling.
VARIANTS = {
    f"{OURS}({setting})": Method(partial(map_fair, **parameters), [0.3, 1.0, 3.0, 10.0, 30.0])
    for setting, parameters in {
        "label_scores=False": {"label_scores": False},
        **{
            f"distance={form!r}": {"distance": form}
            for form in ("sliced_wasserstein", "moment", "contrastive")
        },
    }.items()
}
VARIANTS[CEILING] = Method(
    bound_accuracy,
    [0.0, 0.02, 0.03, 0.05, 0.1],
    True,
    ("logistic", "boosting"),
    needs_group=True,
)
METHODS |= VARIANTS
