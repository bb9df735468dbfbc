"""One place decides whether X is images or numbers, for encoders and estimators alike."""

import contextlib
import io
import re
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from PIL import Image
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from skfairlatent import FairLatentTransformer
from skfairlatent._image_forms import holds_images
from skfairlatent.counterfactuals import CounterfactualExplainer
from skfairlatent.encoders import PixelFlattener

N = 20
QUICK = {"max_iter": 1, "hidden_features": 8, "batch_size": 16, "random_state": 0, "device": "cpu"}
IMAGES = np.random.default_rng(0).integers(256, size=(N, 8, 6, 3), dtype=np.uint8)
ROWS = np.random.default_rng(1).normal(size=(N, 4)).astype(np.float32)
Y, S = np.arange(N) % 2, np.arange(N) // 2 % 2


class Column:
    """Stands for ``dataset["image"]``: it has length, indices and iteration, and is not a list."""

    def __init__(self, items):
        self.items = items

    def __len__(self):
        return len(self.items)

    def __getitem__(self, i):
        return self.items[i]


class Scalar:
    def __init__(self, value):
        self.value = value

    def as_py(self):
        return self.value


class Arrow:
    """Stands for a column of pyarrow: its items are not Python objects."""

    def __init__(self, items):
        self.items = list(items)

    def __len__(self):
        return len(self.items)

    def __getitem__(self, i):
        return Scalar(self.items[i])

    def to_pylist(self):
        return self.items


def png(image):
    file = io.BytesIO()
    Image.fromarray(image).save(file, "png")
    return file.getvalue()


@pytest.fixture(scope="module")
def encoder():
    return make_pipeline(PixelFlattener(), PCA(4)).fit(IMAGES)


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    for i, image in enumerate(IMAGES):
        Image.fromarray(image).save(folder / f"{i:02}.png")
    return [str(folder / f"{i:02}.png") for i in range(N)]


def objects(items):
    column = np.empty(len(items), dtype=object)
    column[:] = items
    return column


FORMS = {
    "list": list,
    "tuple": tuple,
    "array of text": np.array,
    "array of objects": objects,
    "Series": lambda paths: pd.Series(paths, index=range(5, 5 + N)),
    "Index": pd.Index,
    "Categorical": lambda paths: pd.Series(paths, dtype="category"),
    "polars": pl.Series,
    "arrow": Arrow,
    "Column": Column,
    "pictures": lambda paths: Column([Image.open(path) for path in paths]),
    "dictionaries": lambda _: [{"bytes": png(image), "path": None} for image in IMAGES],
    "dictionaries of paths": lambda paths: pd.Series([{"bytes": None, "path": p} for p in paths]),
    "structs of polars": lambda _: pl.Series([{"bytes": png(i), "path": None} for i in IMAGES]),
    "bytes": lambda _: pd.Series([png(image) for image in IMAGES]),
    "bytes of polars": lambda _: pl.Series([png(image) for image in IMAGES]),
    "arrays": lambda _: objects(list(IMAGES)),
    "lists": lambda _: IMAGES.tolist(),
    "arrays of polars": lambda _: pl.Series("image", IMAGES),
    "lists of polars": lambda _: pl.Series(IMAGES.tolist()),
    "tensors": lambda _: list(torch.from_numpy(IMAGES.copy())),
    "tensor": lambda _: torch.from_numpy(IMAGES.copy()),
    "tensor of a graph": lambda _: torch.tensor(IMAGES / 255, requires_grad=True),
    "tensors of a graph": lambda _: list(torch.tensor(IMAGES / 255, requires_grad=True)),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test__images__are_taken_in_every_form_by_encoders_and_estimators(form, encoder, paths):
    X = form(paths)
    assert holds_images(X)
    np.testing.assert_array_equal(encoder.transform(X), encoder.transform(IMAGES))
    model = FairLatentTransformer(encoder, **QUICK).fit(X, Y, sensitive_features=S)
    np.testing.assert_array_equal(model.transform(X), model.transform(IMAGES))


def test__paths__from_the_home_folder(encoder, paths, monkeypatch):
    monkeypatch.setenv("HOME", str(paths[0]).rsplit("/", 1)[0])
    monkeypatch.setenv("USERPROFILE", str(paths[0]).rsplit("/", 1)[0])
    X = [f"~/{i:02}.png" for i in range(N)]
    for given in (X, [{"path": path} for path in X]):
        np.testing.assert_array_equal(encoder.transform(given), encoder.transform(IMAGES))


@pytest.mark.parametrize(
    "X",
    [
        *(ROWS, ROWS.tolist(), list(ROWS), ROWS.astype(object), Column(ROWS.tolist())),
        *(torch.from_numpy(ROWS), list(torch.from_numpy(ROWS))),
        *(pd.DataFrame(ROWS), pl.DataFrame(ROWS)),
    ],
)
def test__numbers__are_no_images(X):
    assert not holds_images(X)
    FairLatentTransformer(**QUICK).fit(X, Y, sensitive_features=S)


def remedied(X, message):
    """Return what the code in a message makes of the X that brought it about."""
    for start in re.finditer(r"(?:pass|as|Pass|by) (?=np|torch|X|\[|\(|sorted)", message):
        text = message[start.end() :]
        for end in range(len(text), 1, -1):
            with contextlib.suppress(SyntaxError):
                code = compile(text[:end].rstrip(",. "), "", "eval")
                names = {"X": X, "np": np, "torch": torch, "Path": Path}
                return eval(code, names)  # noqa: S307 - our own messages
    raise AssertionError(f"no code in {message!r}")


POOLED = np.maximum(ROWS, 0)
VECTORS = {
    "pooled": POOLED[:, :, None, None],
    "pooled, last": POOLED[:, None, None],
    "pooled in three": POOLED[:, :, None, None, None],
    "one axis too many": POOLED[:, None],
    "tensor": torch.from_numpy(POOLED[:, :, None, None]),
    "list of rows": list(POOLED[:, None]),
    "list of columns": list(POOLED[:, :, None, None]),
    "nested lists": POOLED[:, None].tolist(),
    "list of tensors": list(torch.from_numpy(POOLED[:, None])),
    "objects": objects(list(POOLED)),
    "Series": pd.Series(list(POOLED)),
    "Series of lists": pd.Series(POOLED.tolist()),
    "Series of rows": pd.Series(list(POOLED[:, None])),
    "Series with another first": pd.Series(list(POOLED), index=range(N, 0, -1)),
    "polars": pl.Series(POOLED.tolist()),
    "arrow": Arrow(POOLED.tolist()),
    "table": pd.DataFrame({"embedding": list(POOLED)}),
    "table of more": pd.DataFrame({"age": range(N), "embedding": list(POOLED)}),
    "table of polars": pl.DataFrame({"embedding": POOLED.tolist()}),
    "objects in a table": objects(list(POOLED))[:, None],
    "output of a network": {
        "last_hidden_state": torch.zeros(N, 2, 4),
        "pooler_output": torch.from_numpy(POOLED),
    },
    "file of arrays": {"ids": np.arange(N), "embeddings": POOLED},
}


@pytest.mark.parametrize("X", VECTORS.values(), ids=VECTORS)
def test__vectors__of_other_shapes_are_refused_with_what_to_pass(X):
    fair = FairLatentTransformer(**QUICK)
    with pytest.raises((TypeError, ValueError), match=r"pass (X|np|torch)") as error:
        fair.fit(X, Y, sensitive_features=S)
    np.testing.assert_array_equal(np.asarray(remedied(X, str(error.value))), POOLED)
    with pytest.raises((TypeError, ValueError), match=r"not a valid set|pass (X\[|np|torch)"):
        PixelFlattener().fit(X)


def test__vectors__in_a_column_that_is_an_array_are_taken():
    fair = FairLatentTransformer(**QUICK)
    X = POOLED.astype(np.float32)
    taken = fair.fit(pl.Series(X), Y, sensitive_features=S).transform(pl.Series(X))
    fair.fit(X, Y, sensitive_features=S)
    np.testing.assert_array_equal(taken, fair.transform(X))
    np.testing.assert_array_equal(taken, fair.transform(pl.Series(X)))


@pytest.mark.parametrize("shape", [(N, 1, 8, 3), (N, 8, 1, 3), (N, 3, 8, 1, 1), (N, 3, 1, 8)])
def test__pictures__one_pixel_wide_are_refused(shape):
    if len(shape) == 4:
        with pytest.raises(ValueError, match=r"more than one pixel high .*X.reshape"):
            holds_images(np.zeros(shape, np.uint8))
    with pytest.raises(ValueError, match=r"more than one pixel high|not a valid set"):
        PixelFlattener().fit(np.zeros(shape, np.uint8))


def test__every_entry__decides_alike(encoder):
    model = FairLatentTransformer(encoder, **QUICK).fit(IMAGES, Y, sensitive_features=S)
    classifier = LogisticRegression().fit(model.transform(IMAGES), Y)
    X = POOLED[:, :, None, None]
    for call in (
        model.transform,
        model.latent,
        encoder.transform,
        CounterfactualExplainer(model, classifier).fit,
    ):
        with pytest.raises(ValueError, match=r"pass X.reshape\(len\(X\), -1\)"):
            call(X)


BAD_IMAGES = {
    "channels first": IMAGES.transpose(0, 3, 1, 2),
    "channels first, list": list(IMAGES.transpose(0, 3, 1, 2)),
    "channels first, lists": IMAGES.transpose(0, 3, 1, 2).tolist(),
    "channels first, tensor": torch.from_numpy(IMAGES.transpose(0, 3, 1, 2).copy()),
    "channels first, tensors": list(torch.from_numpy(IMAGES.transpose(0, 3, 1, 2).copy())),
    "sparse": torch.from_numpy(IMAGES / 255).to_sparse(),
    "bool": IMAGES > 127,
    "bool, list": list(IMAGES > 127),
    "bool, tensor": torch.from_numpy(IMAGES > 127),
    "bool, Series": pd.Series(list(IMAGES > 127)),
    "objects": (IMAGES / 255).astype(object),
    "objects, list": list((IMAGES / 255).astype(object)),
    "floats to 255": IMAGES.astype(np.float32),
    "floats to 255, list": list(IMAGES.astype(np.float16)),
    "floats to 255, tensor": torch.from_numpy(IMAGES.astype(np.float32)),
    "floats from -1": list(IMAGES / 127.5 - 1),
    "16 bits": IMAGES.astype(np.uint16) * 257,
    "16 bits, list": list(IMAGES.astype(np.uint16) * 257),
    "16 bits, tensor": torch.from_numpy(IMAGES.astype(np.uint16) * 257),
    "batches of one": list(IMAGES[:, None]),
    "batches of one, tensors": list(torch.from_numpy(IMAGES[:, None].copy())),
    "rows of a dataset": [{"image": Image.fromarray(i), "label": 0} for i in IMAGES],
    "pairs of torchvision": Column([(Image.fromarray(i), 0) for i in IMAGES]),
    "table": pd.DataFrame({"image": [{"bytes": png(i), "path": None} for i in IMAGES]}),
    "table of arrays": pd.DataFrame({"label": 0, "image": list(IMAGES)}),
    "table of numpy": objects([Image.fromarray(i) for i in IMAGES])[:, None],
}


@pytest.mark.parametrize("X", BAD_IMAGES.values(), ids=BAD_IMAGES)
def test__bad_images__remedies_work_on_what_brought_them_about(X, encoder):
    model = FairLatentTransformer(encoder, **QUICK)
    for call in (encoder.transform, lambda X: model.fit(X, Y, sensitive_features=S)):
        with pytest.raises((TypeError, ValueError)) as error:
            call(X)
        encoded = encoder.transform(remedied(X, str(error.value)))
        assert encoded.shape == (N, 4)


def test__samples__of_torchvision(encoder, paths):
    samples = [(str(path), i % 2) for i, path in enumerate(paths)]
    table = pd.DataFrame(samples, columns=["path", "label"])
    for X in (samples, table, pl.DataFrame(table.to_dict("list"))):
        with pytest.raises((TypeError, ValueError)) as error:
            FairLatentTransformer(encoder, **QUICK).fit(X, Y, sensitive_features=S)
        found = encoder.transform(remedied(X, str(error.value)))
        np.testing.assert_array_equal(found, encoder.transform(IMAGES))


@pytest.mark.parametrize("inner", ["", "cats"])
def test__folder__is_no_image(inner, encoder, tmp_path):
    (tmp_path / inner).mkdir(exist_ok=True)
    for i, image in enumerate(IMAGES):
        (tmp_path / inner / f"{i:02}.PNG").write_bytes(png(image))
    (tmp_path / "labels.txt").write_text("cats")
    model = FairLatentTransformer(encoder, **QUICK)
    for X, call in (
        (str(tmp_path), encoder.transform),
        (tmp_path, lambda X: model.fit(X, Y, sensitive_features=S)),
        ([tmp_path], encoder.transform),
    ):
        with pytest.raises((OSError, ValueError), match="is a folder: pass the paths") as error:
            call(X)
        files = remedied(X, str(error.value))
        np.testing.assert_array_equal(encoder.transform(files), encoder.transform(IMAGES))


@pytest.mark.parametrize("channels_first", [True, False])
@pytest.mark.parametrize("form", [np.asarray, list, torch.tensor, lambda X: list(torch.tensor(X))])
def test__feature_maps__are_pooled(channels_first, form, encoder):
    maps = np.repeat(ROWS[:, :, None], 14, axis=2).reshape(N, 4, 2, 7)
    maps = np.concatenate((maps, maps, maps), axis=1)
    X = form(maps if channels_first else maps.transpose(0, 2, 3, 1))
    with pytest.raises(ValueError, match="Features of a network become") as error:
        encoder.transform(X)
    np.testing.assert_allclose(remedied(X, str(error.value))[:, :4], ROWS, rtol=1e-5)


@pytest.mark.parametrize("as_list", [False, True])
def test__tensors__of_low_precision_are_taken(as_list, encoder):
    images, rows = torch.from_numpy(IMAGES / 255).bfloat16(), torch.from_numpy(ROWS).bfloat16()
    given = list(images) if as_list else images
    np.testing.assert_allclose(encoder.transform(given), encoder.transform(images.float()), 1e-5)
    fair = FairLatentTransformer(**QUICK)
    given = list(rows) if as_list else rows
    found = fair.fit_transform(given, Y, sensitive_features=S)
    np.testing.assert_allclose(found, fair.transform(rows.float()), rtol=1e-3, atol=1e-5)


def test__embeddings__that_are_sparse():
    fair = FairLatentTransformer(**QUICK)
    X = torch.from_numpy(ROWS).to_sparse()
    with pytest.raises(TypeError, match=r"cannot become an array .*: pass") as error:
        fair.fit(X, Y, sensitive_features=S)
    fair.fit(remedied(X, str(error.value)), Y, sensitive_features=S)


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (
            [Image.new("RGB", (8, 6)), Image.new("RGB", (0, 0))],
            r"X\[1\] is an image of 0 by 0",
        ),
        ([Image.new("RGB", (0, 4))], r"X\[0\] is an image of 0 by 4 pixels: leave it out"),
        ([IMAGES[0], IMAGES[0][:0]], r"X\[1\] of shape \(0, 6, 3\) has no pixels: leave it out"),
        (
            [{"bytes": b"", "path": None}],
            r"X\[0\] holds neither the bytes nor the path",
        ),
        ([IMAGES[0], {"bytes": None}], r"X\[1\] holds neither the bytes nor the path of an image"),
        ([{"bytes": b"no"}], r"X\[0\] is not an image that Pillow can read"),
        (np.zeros((2, 512, 7, 7)), r"7 channels .* embeddings by X.mean\(\(2, 3\)\)"),
        ([None, None], r"X\[0\] is missing"),
        ([io.BytesIO()], r"X\[0\] is a BytesIO, and each row must be numbers, or for images"),
        ([pd.Timestamp(0)], r"X\[0\] is a Timestamp, and each row must be numbers"),
        ((), "X holds no images"),
    ],
)
def test__encoder__names_what_cannot_be_read(X, message):
    for size in (None, 8):
        with pytest.raises((TypeError, ValueError), match=message):
            PixelFlattener(size).fit_transform(X)


def test__polars__names_columns_of_text():
    X = pl.DataFrame({"a": range(N), "b": ["x", "y"] * (N // 2), "c": [True] * N})
    with pytest.raises(ValueError, match=r"not numeric: \['b'\]. Encode them first"):
        FairLatentTransformer(**QUICK).fit(X, Y, sensitive_features=S)
