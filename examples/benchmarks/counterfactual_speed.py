"""How long counterfactuals take: their latents, and their images.

    pip install adversarial-robustness-toolbox  # optional: another maker of smallest edits
    python examples/benchmarks/counterfactual_speed.py --out results

The first table is of made-up embeddings: smallest edits of the label and of the sensitive block,
beside the floor, the two passes through the flow that no counterfactual can do without, and
beside DeepFool of the Adversarial Robustness Toolbox, which searches the smallest edit that
flips the same classifier on the same label block, and leaves the rest to do. The second is of
faces of nobody, decoded by the DiffAE that ships with the package: which share the decoder takes.
"""

import argparse
import statistics
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from _common import code_fingerprint, rst_table
from sklearn.linear_model import LogisticRegression

from skfairlatent import FairLatentTransformer
from skfairlatent.counterfactuals import CounterfactualExplainer
from skfairlatent.datasets import make_biased_embeddings
from skfairlatent.encoders import DiffAEEncoder, make_faces


def timed(call, repeats):
    """Return the median time of a call in seconds, and what it returned last."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        found = call()
        times.append(time.perf_counter() - start)
    return statistics.median(times), found


def explainer_of(E, y, s, encoder=None):
    """Return an explainer of a classifier behind a flow of the usual size, hardly trained."""
    fair = FairLatentTransformer(None, max_iter=1, random_state=0).fit(E, y, sensitive_features=s)
    classifier = LogisticRegression().fit(fair.transform(E), y)
    explainer = CounterfactualExplainer(fair, classifier, encoder=encoder)
    return explainer.fit(E, y, sensitive_features=s)


def art_deepfool(classifier, rows):
    """Return a call of the toolbox's DeepFool on a scikit-learn classifier."""
    from art.attacks.evasion import DeepFool  # noqa: PLC0415 - optional
    from art.estimators.classification import SklearnClassifier  # noqa: PLC0415 - optional

    limits = float(rows.min()) - 10, float(rows.max()) + 10
    wrapped = SklearnClassifier(classifier, clip_values=limits)
    attack = DeepFool(wrapped, epsilon=1e-6, batch_size=len(rows), verbose=False)
    return lambda: attack.generate(rows)


def measure_latents(options):
    """Time latents of counterfactuals; one row a way to make them."""
    data = make_biased_embeddings(options.rows, n_features=options.width, random_state=0)
    E = data.data.astype(np.float32)
    explainer = explainer_of(E, data.target, data.sensitive_features)
    fair, classifier = explainer.model, explainer.classifier
    Z = fair.latent(E)
    floor, _ = timed(lambda: fair.inverse_transform(fair.latent(E)), options.repeats)
    rows = [{"what": "floor: both passes through the flow", "s": floor}]
    for name, explain in (
        ("label, smallest flip", explainer.explain_label),
        ("sensitive, to the other group", explainer.explain_sensitive),
    ):
        taken, result = timed(lambda explain=explain: explain(E), options.repeats)
        row = {"what": name, "s": taken, "reached": result.reached.mean()}
        rows.append(row | {"length": np.median(result.strengths)})
    block = Z[:, fair.label_slice_]
    alone = CounterfactualExplainer(classifier).fit(block)
    taken, result = timed(lambda: alone.explain_label(block), options.repeats)
    row = {"what": "label block alone", "s": taken, "reached": result.reached.mean()}
    rows.append(row | {"length": np.median(result.strengths)})
    try:
        call = art_deepfool(classifier, block)
    except ImportError:
        print("adversarial-robustness-toolbox is not installed: left out")
    else:
        taken, found = timed(call, options.repeats)
        changed = classifier.predict(found) != classifier.predict(block)
        length = np.median(np.linalg.norm(found - block, axis=1))
        name = "label block alone, DeepFool of ART"
        rows.append({"what": name, "s": taken, "reached": changed.mean(), "length": length})
    table = pd.DataFrame(rows).rename(columns={"length": "median length"})
    return table.assign(**{"/ floor": table["s"] / floor})


class Stopwatch(DiffAEEncoder):
    """An encoder that counts the seconds it decodes."""

    seconds = 0.0

    def inverse_transform(self, X, *, x_T=None):
        """Decode."""
        start = time.perf_counter()
        images = super().inverse_transform(X, x_T=x_T)
        self.seconds += time.perf_counter() - start
        return images


def measure_images(options):
    """Time the latents and the images of counterfactuals of the same few faces."""
    encoder = Stopwatch(n_steps=options.steps)
    faces = make_faces(2000, random_state=0)
    y, s = faces.frame["Attractive"], faces.frame[["Male"]]
    explainer = explainer_of(faces.data, y, s, encoder)
    some = faces.data[: options.faces]
    encoder.inverse_transform(some[:1])  # reads the weights
    latents, result = timed(lambda: explainer.explain_label(some), options.repeats)
    encoder.seconds = 0.0
    images, _ = timed(result.decode, 1)
    parts = {
        "latents": latents,
        "images: in the decoder": encoder.seconds,
        "images: outside of it": images - encoder.seconds,
    }
    total = sum(parts.values())
    return pd.DataFrame([{"what": name, "s": s, "share": s / total} for name, s in parts.items()])


def main(arguments=None):
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--width", type=int, default=512, help="of the embeddings")
    parser.add_argument("--faces", type=int, default=8, help="to decode")
    parser.add_argument("--steps", type=int, default=10, help="of decoding")
    parser.add_argument("--repeats", type=int, default=5, help="the median of which is shown")
    parser.add_argument("--out", type=Path, help="folder for counterfactual_speed.rst")
    options = parser.parse_args(arguments)
    latents = rst_table(
        f"Latents of {options.rows} rows, {options.width} wide", measure_latents(options).round(4)
    )
    images = rst_table(
        f"Images of {options.faces} faces, {options.steps} steps", measure_images(options).round(4)
    )
    made = (
        f"``python examples/benchmarks/counterfactual_speed.py`` ({pd.Timestamp.now():%Y-%m-%d}, "
        f"{torch.get_num_threads()} threads; code {code_fingerprint()})\n"
    )
    text = "\n".join([made, latents, images])
    print(text)
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "counterfactual_speed.rst").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
