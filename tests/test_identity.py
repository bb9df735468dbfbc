"""Encoders are recognised by what they hold and by what they make of images."""

import cmath
import copy
import functools
import importlib
import math
import pickle
import random
import re
import subprocess
import sys
import threading
from random import choice

import joblib
import numpy as np
import pytest
import torch
from numpy.random import rand
from scipy import sparse
from scipy.stats import norm
from sklearn.decomposition import PCA
from sklearn.ensemble import RandomTreesEmbedding
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from torch import nn

from skfairlatent import FairLatentTransformer
from skfairlatent._identity import (
    UntoldError,
    codes_of_probes,
    digest_of_values,
    exact_digest,
    same_codes,
)
from skfairlatent.encoders import DiffAEEncoder, PixelFlattener, TorchEncoder
from skfairlatent.exceptions import CheckpointError

QUICK = {"max_iter": 1, "hidden_features": 8, "batch_size": 32, "random_state": 0, "device": "cpu"}
IMAGES = np.random.default_rng(0).integers(256, size=(40, 8, 8, 3), dtype=np.uint8)
Y, S = np.arange(40) % 2, np.arange(40) // 2 % 2


def principal(n=4, images=IMAGES, size=None, **parameters):
    return make_pipeline(PixelFlattener(size), PCA(n, **parameters)).fit(images)


def network(seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Flatten(), nn.Linear(192, 4), nn.LeakyReLU(0.1))


def through_pickle(encoder):
    return pickle.loads(pickle.dumps(encoder))  # noqa: S301


def on_disk(encoder, folder):
    joblib.dump(encoder, folder / "encoder.joblib")
    return joblib.load(folder / "encoder.joblib", mmap_mode="r")


def scaled(X, by=255.0):
    return np.reshape(X, (len(X), -1))[:, :8] / by


class Noting:
    """An encoder of the user's that notes what it does."""

    def __init__(self, scale=255.0):
        self.scale = scale
        self.calls, self.seen, self.lock = 0, {}, threading.Lock()

    def transform(self, X):
        self.calls += 1
        self.last = np.array(X)
        self.seen[len(X)] = self.calls
        return np.asarray(X).reshape(len(X), -1)[:, :8] / self.scale


class OfTensors(nn.Module):
    """A network that is an encoder itself, and takes tensors only."""

    def __init__(self, seed=0):
        super().__init__()
        self.net = network(seed)

    @torch.no_grad()
    def transform(self, X):
        return self.net(X.float() / 255).numpy()


def saved(encoder, path, X=IMAGES):
    FairLatentTransformer(encoder, **QUICK).fit(X, Y, sensitive_features=S).save(path)
    return path


@pytest.mark.parametrize("solver", ["full", "randomized"])
def test__load__takes_copies_of_the_encoder(solver, tmp_path):
    encoder = principal(svd_solver=solver, random_state=np.random.RandomState(0))
    path = saved(encoder, tmp_path / "model")
    fortran = copy.deepcopy(encoder)
    fortran[1].components_ = np.asfortranarray(encoder[1].components_)
    fortran.set_params(pca__random_state=np.random.RandomState(1), memory=str(tmp_path))
    fortran.set_output(transform="pandas")
    for copied in (through_pickle(encoder), on_disk(encoder, tmp_path), fortran):
        assert digest_of_values(copied) == digest_of_values(encoder)
        assert FairLatentTransformer.load(path, encoder=copied).encoder is copied


@pytest.mark.parametrize("X", [IMAGES, list(IMAGES)], ids=["array", "list"])
def test__load__takes_an_encoder_that_notes_what_it_does(X, tmp_path):
    encoder = Noting()
    path = saved(encoder, tmp_path / "model", X)
    for same in (encoder, Noting()):
        assert FairLatentTransformer.load(path, encoder=same).encoder is same
    with pytest.raises(CheckpointError, match="Noting"):
        FairLatentTransformer.load(path, encoder=Noting(scale=127.0))


def test__load__takes_an_encoder_of_tensors(tmp_path):
    images = torch.from_numpy(IMAGES.copy())
    path = saved(OfTensors(), tmp_path / "model", images)
    same = OfTensors().train(mode=False)
    same.net[1].calls = 3
    assert FairLatentTransformer.load(path, encoder=same).encoder is same
    with pytest.raises(CheckpointError, match="OfTensors"):
        FairLatentTransformer.load(path, encoder=OfTensors(seed=1))


def of_function(net, scale):
    def encode(x):
        return net(x) * scale

    return TorchEncoder(encode, image_size=8, device="cpu")


def test__load__takes_a_torch_encoder_whose_function_is_written_elsewhere(tmp_path):
    net = network()
    path = saved(of_function(net, 2.0), tmp_path / "model")
    for same in (
        of_function(copy.deepcopy(net), 2.0),
        TorchEncoder(lambda x: net(x) + net(x), image_size=8, batch_size=3, device="cpu"),
        TorchEncoder(lambda x: 2 * net(x.bfloat16().float()), image_size=8, device="cpu"),
    ):
        assert FairLatentTransformer.load(path, encoder=same).encoder is same


def test__load__refuses_a_torch_encoder_that_uses_the_same_weights_otherwise(tmp_path):
    net = network()
    steeper = nn.Sequential(net[0], net[1], nn.LeakyReLU(0.5))
    path = saved(TorchEncoder(net, image_size=8, device="cpu"), tmp_path / "model")
    for other in (
        of_function(net, 2.0),
        TorchEncoder(steeper, image_size=8, device="cpu"),
        TorchEncoder(net, network(1), image_size=8, device="cpu"),
    ):
        with pytest.raises(CheckpointError, match="pass check_encoder=False as well"):
            FairLatentTransformer.load(path, encoder=other)
        FairLatentTransformer.load(path, encoder=other, check_encoder=False)


NETWORK = network()


def through_the_module(X):
    with torch.no_grad():
        return NETWORK(torch.as_tensor(np.asarray(X)).float()).numpy()


def test__load__refuses_a_function_whose_network_has_changed(tmp_path, monkeypatch):
    encoder = FunctionTransformer(through_the_module)
    path = saved(encoder, tmp_path / "model")
    assert FairLatentTransformer.load(path, encoder=encoder)
    monkeypatch.setitem(globals(), "NETWORK", network(1))
    with pytest.raises(CheckpointError, match=r"FunctionTransformer:.*which makes other codes"):
        FairLatentTransformer.load(path, encoder=encoder)


def test__load__takes_an_encoder_that_draws_at_random(tmp_path):
    encoder = TorchEncoder(lambda x: x[:, :, 0, 0] * torch.rand(1), image_size=8, device="cpu")
    path = saved(encoder, tmp_path / "model")
    assert FairLatentTransformer.load(path, encoder=encoder).encoder is encoder


@pytest.mark.parametrize(
    "other",
    [
        principal(4, IMAGES[:-1]),
        principal(3),
        principal(4, whiten=True),
        principal(4, size=9),
        make_pipeline(PixelFlattener(), FunctionTransformer(np.negative), PCA(4)).fit(IMAGES),
        Noting(),
    ],
    ids=["rows", "width", "whitened", "size", "scaled", "class"],
)
def test__load__refuses_other_encoders_unless_told_not_to_check(other, tmp_path):
    path = saved(principal(), tmp_path / "model")
    with pytest.raises(CheckpointError, match=r"Pipeline:.*pass check_encoder=False as well"):
        FairLatentTransformer.load(path, encoder=other)
    loaded = FairLatentTransformer.load(path, encoder=other, check_encoder=False)
    assert loaded.encoder is other


def test__load__needs_no_encoder_when_told_not_to_check(tmp_path):
    path = saved(principal(), tmp_path / "model")
    embeddings = principal().transform(IMAGES)
    found = FairLatentTransformer.load(path, check_encoder=False).transform(embeddings)
    wanted = FairLatentTransformer.load(path, encoder=principal()).transform(IMAGES)
    np.testing.assert_array_equal(found, wanted)


def test__save__keeps_codes_of_made_up_images_only(tmp_path):
    fair = FairLatentTransformer(DiffAEEncoder(device="cpu"), **QUICK)
    rows = np.random.default_rng(0).normal(size=(40, 8))
    fair.fit(rows, Y, sensitive_features=S).save(tmp_path / "diffae")
    assert b"encoder_codes" not in (tmp_path / "diffae").read_bytes()
    codes = codes_of_probes(principal(), (8, 8, 3))
    assert codes.shape == (3, 4)
    assert codes.tobytes() in saved(principal(), tmp_path / "model").read_bytes()


def test__codes_of_probes__are_none_of_what_takes_no_images():
    assert codes_of_probes(PCA(2).fit(np.eye(4)), None) is None
    assert codes_of_probes(make_pipeline(PixelFlattener(), PCA(2)), None) is None


def test__same_codes__tells_nothing_by_codes_that_are_all_alike():
    codes = np.ones((3, 4), np.float32)
    assert not same_codes(codes, codes)
    codes[0] = 0
    assert same_codes(codes, codes)
    assert same_codes(codes, codes * np.float32(1.0001))
    assert not same_codes(codes, codes * np.float32(1.01))
    assert not same_codes(codes, codes[:, :3])


class Slotted:
    __slots__ = ("value",)

    def __init__(self, value):
        self.value = value


def cyclic(value):
    held = [value]
    held.append(held)
    return held


@pytest.mark.parametrize(
    ("one", "same", "other"),
    [
        (np.arange(6.0).reshape(2, 3), np.asfortranarray(np.arange(6.0).reshape(2, 3)), np.eye(2)),
        (np.arange(3), np.arange(3, dtype=">i8"), np.arange(3.0)),
        (np.array([1, "a"], dtype=object), np.array([1, "a"], dtype=object), np.array([1, "b"])),
        (torch.eye(2), nn.Parameter(torch.eye(2)), torch.eye(2).bfloat16()),
        (network(), copy.deepcopy(network()), network(1)),
        (network(), network(), network()[:2]),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}, {"a": 2, "b": 1}),
        ({1, 2, 3}, {3, 2, 1}, {1, 2}),
        (np.float64(0.5), 0.5, 0.25),
        (np.random.RandomState(0), np.random.RandomState(1), 0),
        (Slotted(1), Slotted(1), Slotted(2)),
        (cyclic(1), cyclic(1), cyclic(2)),
        (lambda x: x / 255, lambda x: x / 255, lambda x: x / 127),
        (
            functools.partial(scaled, by=2),
            functools.partial(scaled, by=2),
            functools.partial(scaled, by=3),
        ),
        (sparse.eye(3).tocsr(), sparse.eye(3).tocsr(), sparse.eye(4).tocsr()),
        (
            RandomTreesEmbedding(3, random_state=0).fit(np.eye(9)),
            RandomTreesEmbedding(3, random_state=0, n_jobs=2).fit(np.eye(9)),
            RandomTreesEmbedding(3, random_state=1).fit(np.eye(9)),
        ),
    ],
)
def test__digest__is_that_of_the_values(one, same, other):
    assert digest_of_values(one) == digest_of_values(same)
    assert digest_of_values(one) != digest_of_values(other)


FACTOR = 2


def times_factor(x):
    return x * FACTOR


def even(n):
    return n == 0 or odd(n - 1)


def odd(n):
    return n != 0 and even(n - 1)


class Steps:
    """What may change in a class, one at a time."""

    size = 1

    def call(self, x):
        return times_factor(x)

    @property
    def twice(self):
        return 2 * self.size

    @classmethod
    def make(cls):
        return cls()


class Derived(Steps):
    pass


@functools.cache
def cached(x):
    return times_factor(x)


HERE = sys.modules[__name__]


@pytest.mark.parametrize(
    ("value", "where", "name", "other"),
    [
        (times_factor, HERE, "FACTOR", 3),
        (lambda x: [times_factor(each) for each in x], HERE, "FACTOR", 3),
        (lambda x: HERE.times_factor(x + 1), HERE, "FACTOR", 3),
        (cached, HERE, "FACTOR", 3),
        (even, HERE, "odd", lambda n: n % 2 == 1),
        (FunctionTransformer(times_factor), HERE, "FACTOR", 3),
        (Derived(), HERE, "FACTOR", 3),
        (Derived(), Steps, "size", 2),
        (Derived(), Steps, "call", lambda _, x: x),
        (Derived().call, Steps, "call", lambda _, x: x),
        (Derived, Steps, "twice", property(lambda self: 3 * self.size)),
        (Derived, Steps, "make", classmethod(lambda cls: cls)),
        (OfTensors(), OfTensors, "transform", lambda _, X: X),
    ],
)
def test__exact_digest__is_also_that_of_code_it_calls(monkeypatch, value, where, name, other):
    before = digest_of_values(value), exact_digest(value)
    monkeypatch.setattr(where, name, other)
    assert digest_of_values(value) == before[0]
    assert exact_digest(value) != before[1]
    monkeypatch.undo()
    assert exact_digest(value) == before[1]


@pytest.mark.parametrize(
    ("one", "same", "other"),
    [
        *(
            (kind(0), kind(0), kind(1))
            for kind in (
                np.random.RandomState,
                np.random.default_rng,
                np.random.PCG64,
                random.Random,
                lambda seed: torch.Generator().manual_seed(seed + 1),
                lambda seed: PCA(random_state=np.random.RandomState(seed)),
            )
        ),
        (random.SystemRandom(), random.SystemRandom(), 0),
        (re.compile("a"), re.compile("a"), re.compile("b")),
        (network(), copy.deepcopy(network()), network(1)),
        (np.arange(3), np.arange(3), np.arange(4)),
    ],
)
def test__exact_digest__tells_generators_by_their_state(one, same, other):
    assert exact_digest(one) == exact_digest(same)
    assert exact_digest(one) != exact_digest(other)


def test__exact_digest__of_what_is_too_deep_says_so():
    deep = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(UntoldError, match="list holds what is nested very deeply"):
        exact_digest(deep)


# Scripts in pairs: the same scorer, of which one thing that it uses differs.
OWN_CODE = {
    "module": "import own\ndef scorer(): return own.f()",
    "submodule": "import own.sub\ndef scorer(): return own.sub.g()",
    "module from a package": "from own import sub\ndef scorer(): return sub.g()",
    "module under another name": "import own\ndef scorer():\n    m = own\n    return m.f()",
    "module through getattr": "import own\ndef scorer(): return getattr(own.sub, 'g')()",
    "module in a dict": "import own\nALL = {'a': own}\ndef scorer(): return ALL['a'].f()",
    "module in a closure": (
        "import own\ndef make(m):\n    def g(): return m.f()\n    return g\nscorer = make(own)"
    ),
    "import within": "def scorer():\n    import own.sub\n    return own.sub.g()",
    "import within, renamed": "def scorer():\n    import own.sub as s\n    return s.g()",
    "from within": "def scorer():\n    from own import f\n    return f()",
    "from within, submodule": "def scorer():\n    from own import sub\n    return sub.g()",
    "from within, not imported yet": "def scorer():\n    from own import late\n    late.f()",
    "relative": "__package__ = 'own'\ndef scorer():\n    from .sub import g\n    return g()",
}


@pytest.fixture
def own_package(tmp_path, monkeypatch):
    """Return what writes a package `own`, to be imported anew, whose functions return a value."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "own").mkdir()

    def forget():
        for name in [name for name in sys.modules if name.partition(".")[0] == "own"]:
            del sys.modules[name]

    def write(value):
        forget()
        (tmp_path / "own" / "late.py").write_text(f"def f(): return {value}")
        (tmp_path / "own" / "sub.py").write_text(f"def g(): return {value}")
        (tmp_path / "own" / "__init__.py").write_text(
            f"from own import sub\ndef f(): return {value}"
        )
        importlib.invalidate_caches()

    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # of two versions in one second
    yield write
    forget()


def digest_of_script(script):
    scope = {"__name__": "script"}
    exec(script, scope)  # noqa: S102 - a script of this file
    return exact_digest(scope["scorer"])


@pytest.mark.parametrize("script", OWN_CODE.values(), ids=OWN_CODE)
def test__exact_digest__is_also_that_of_own_modules(own_package, script):
    digests = []
    for value in (1, 2, 1):
        own_package(value)
        digests.append(digest_of_script(script))
    assert digests[0] != digests[1]
    assert digests[0] == digests[2]


# Likewise: what classes do, and what their objects keep.
KEPT = {
    "tuple that is called": "class C(tuple):\n    def __call__(self): return {}\nscorer = C()",
    "dict that is called": "class C(dict):\n    def __call__(self): return {}\nscorer = C()",
    "dict with attributes": "class C(dict): pass\nscorer = C()\nscorer.weight = {}",
    "named tuple": (
        "from typing import NamedTuple\nclass C(NamedTuple):\n    a: int\n"
        "    def __call__(self): return {}\nscorer = C(0)"
    ),
    "metaclass": (
        "class Meta(type):\n    def __call__(self): return {}\n"
        "class C(metaclass=Meta): pass\nscorer = C"
    ),
    "attribute with underscores": "class C:\n    __threshold__ = {}\nscorer = C()",
    "class that pickle leaves out": (
        "class C:\n    __reduce__ = lambda self: (str, ())\n    a = {}\nscorer = C()"
    ),
    "factory": (
        "from collections import defaultdict\nW = defaultdict(lambda: {})\n"
        "def scorer(): return W['a']"
    ),
    "mask": (
        "import numpy as np\nW = np.ma.array([1, 2], mask=[{} - 1, 0])\n"
        "def scorer(): return W.mean()"
    ),
    "frompyfunc": "import numpy as np\nscorer = np.frompyfunc(lambda: {}, 0, 1)",
    "parameter of an estimator": (
        "from sklearn.base import BaseEstimator\nclass C(BaseEstimator):\n"
        "    def __init__(self, training): self.training = training\n"
        "scorer = C({})"
    ),
    "attribute of a network": (
        "from torch import nn\nclass C(nn.Module):\n"
        "    def __init__(self, device):\n        super().__init__()\n"
        "        self.device = device\nscorer = C({})"
    ),
    "private attribute": (
        "from torch import nn\nclass C(nn.Module): pass\nscorer = C()\nscorer._private = {}"
    ),
    "hook": (
        "from torch import nn\nscorer = nn.ReLU()\n"
        "scorer.register_forward_hook(lambda module, given, made: {} * made)"
    ),
    "attribute of a function": "def scorer(): return scorer.weight\nscorer.weight = {}",
    "weak reference": "import weakref\nclass C:\n    a = {}\nc = C()\nscorer = weakref.ref(c)",
}


@pytest.mark.parametrize("script", KEPT.values(), ids=KEPT)
def test__exact_digest__is_that_of_classes_and_of_what_they_keep(script):
    one, other, same = (digest_of_script(script.format(value)) for value in (1, 2, 1))
    assert one != other
    assert one == same


@pytest.mark.parametrize(
    ("one", "other"),
    [(lambda *, a, b: a - b, lambda *, b, a: b - a), (math.sqrt, cmath.sqrt)],
)
def test__exact_digest__tells_arguments_and_builtin_functions_by_name(one, other):
    assert exact_digest(one) != exact_digest(other)


@pytest.mark.parametrize("blind", ["eval('1')", "exec('1')", "globals()['x']", "__import__('x')"])
def test__exact_digest__of_code_without_a_name_says_so(blind):
    with pytest.raises(UntoldError, match="cannot be looked into"):
        digest_of_script(f"def scorer(): return {blind}")


def test__exact_digest__of_a_callable_that_cannot_be_looked_into_says_so():
    class Closed:
        def __reduce_ex__(self, protocol):
            raise TypeError

        def __call__(self):
            pass

    with pytest.raises(UntoldError, match="Closed"):
        exact_digest(Closed())


def test__exact_digest__takes_generators_of_the_whole_process_as_constants():
    def scorer():
        return norm, rand, choice, torch.default_generator

    before = exact_digest((scorer, norm(0, 1)))
    with torch.random.fork_rng():
        draws = norm.rvs(0), rand(), choice("ab"), torch.rand(1)  # noqa: NPY002, S311
        assert len(draws) == 4
        assert exact_digest((scorer, norm(0, 1))) == before


# Prints digests of what each process makes anew; names are hashed otherwise in each.
ANEW = """
__name__ = "script"
from functools import partial
import numpy as np, pandas as pd
from numpy.random import rand
from random import choice
from scipy.stats import norm
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, get_scorer, make_scorer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from skfairlatent._identity import exact_digest

NAMES, FROZEN = {"a", "b", "c", "d", "e"}, norm(0, 1)
TABLE = pd.DataFrame({"a": [1.0, 2.0], "b": ["x", "y"]}, index=["u", "v"])

def weighted(weight):
    return lambda model, X, y: weight * float(norm.cdf(model.decision_function(X)).mean())

def uses(model, X, y):
    return NAMES, FROZEN, TABLE, rand(), choice(X), np.random.rand()

X, y = np.arange(12.0).reshape(6, 2), np.array([0, 1] * 3)
pipe = make_pipeline(StandardScaler(), FunctionTransformer(lambda x: 2 * x), LogisticRegression())
scorers = [get_scorer("roc_auc"), make_scorer(accuracy_score), weighted(2), partial(uses, 1)]
found = [exact_digest(each) for each in [*scorers, norm, FROZEN, rand, pipe.fit(X, y), TABLE]]
print(*found)
"""


def test__exact_digest__is_the_same_in_each_process():
    here = {}
    exec(ANEW, here)  # noqa: S102 - a script of this file
    done = subprocess.run([sys.executable, "-c", ANEW], capture_output=True, check=True, text=True)  # noqa: S603
    assert len(set(here["found"])) == 9
    assert done.stdout.split() == here["found"]


def test__digest__takes_a_function_whose_cell_is_empty():
    def calls_what_comes_later():
        return later()

    before = digest_of_values(calls_what_comes_later)

    def later():
        return 1

    assert before != digest_of_values(calls_what_comes_later)


def test__digest__of_what_cannot_be_looked_into_is_that_of_its_type():
    assert digest_of_values(threading.Lock()) == digest_of_values(threading.Lock())
    deep = []
    for _ in range(100_000):
        deep = [deep]
    assert digest_of_values(deep)
