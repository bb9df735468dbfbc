"""The page and the file: self-contained, escaped, accessible, and without personal rows."""

import base64
import copy
import json
import pickle
import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV

import skfairlatent.report as report_package
from skfairlatent.metrics import fairness_scorers
from skfairlatent.report import audit
from skfairlatent.report.sections.latent import draw_search

from .conftest import HOSTILE, QUICK

VOID = {"meta", "img", "br", "link", "input"}
PROMISES = re.compile(r"de-?bias|guarantee|\bis fair\b|ensures? ", re.IGNORECASE)


class Page(HTMLParser):
    """Tags with their attributes in order, and the text outside of style."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.texts, self.open = [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.texts.append(data)

    def all(self, *names):
        return [attributes for tag, attributes in self.tags if tag in names]


@pytest.fixture(scope="module")
def pages(binary, multiclass, pictures, tmp_path_factory):
    """Pages by the three ways to get one: in a notebook, as text, and as a file."""
    frame = Page(binary.report._repr_html_())
    assert [tag for tag, given in frame.tags if "sandbox" in given] == ["iframe"]
    path = tmp_path_factory.mktemp("pages") / "audit.html"
    pictures.report.save(path)
    return {
        "binary": frame.all("iframe")[0]["srcdoc"],
        "multiclass": multiclass.report.to_html(),
        "pictures": path.read_text(encoding="utf-8"),
    }


@pytest.fixture(params=["binary", "multiclass", "pictures"])
def page(request, pages):
    return Page(pages[request.param])


def test__page__is_whole_and_needs_nothing_else(page):
    assert page.open == []
    counts = Counter(tag for tag, _ in page.tags)
    assert counts["h1"] == counts["main"] == counts["title"] == 1
    assert not counts["script"]
    assert not counts["link"]
    assert not counts["iframe"]
    for attributes in page.all("img", "a"):
        for name in ("src", "href"):
            assert attributes.get(name, "#").startswith(("#", "data:image/"))
    assert not [name for _, given in page.tags for name in given if name.startswith("on")]


def test__page__can_be_read_aloud(page):
    assert page.all("html") == [{"lang": "en"}]
    assert any(given.get("name") == "viewport" for given in page.all("meta"))
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    assert all(len(image["alt"]) > 20 for image in page.all("img"))
    assert all(cell.get("scope") for cell in page.all("th"))
    assert len(page.all("caption")) == len(page.all("table"))
    ids = [given["id"] for _, given in page.tags if "id" in given]
    assert len(ids) == len(set(ids))
    named = [given["aria-labelledby"] for given in page.all("section")]
    targets = [given["href"][1:] for given in page.all("a")]
    assert {*named, *targets} <= set(ids)


def test__page__shows_hostile_names_as_text(pages, multiclass):
    page = Page(pages["multiclass"])
    assert "<script" not in pages["multiclass"].lower()
    assert page.texts.count(HOSTILE) > 2  # title, heading, group
    assert HOSTILE in multiclass.report.title


def test__page__promises_nothing(page):
    found = [text for text in page.texts if PROMISES.search(text)]
    assert found == []
    assert any("does not certify" in text for text in page.texts)


def test__page__says_what_cannot_change(pages):
    assert "by construction" in pages["binary"]
    assert "were checked on the latent only" in re.sub(r"\s+", " ", pages["binary"])
    assert "encoded again" in pages["pictures"]
    assert "not among those counted" in re.sub(r"\s+", " ", pages["pictures"])


def test__page__holds_photographs_as_png_and_charts_as_svg(pages):
    def kinds(text):
        return Counter(re.findall(r'src="data:image/([a-z+]+);base64', text))

    assert kinds(pages["binary"]) == {"svg+xml": 7}
    assert kinds(pages["pictures"]) == {"svg+xml": 5, "png": 2}


def test__search__is_shown_with_its_candidates(binary):
    with sklearn.config_context(enable_metadata_routing=True):
        search = GridSearchCV(
            LogisticRegression(), {"C": [0.01, 1.0]}, scoring=fairness_scorers(), refit="accuracy"
        ).fit(binary.X, binary.y, sensitive_features=binary.s)
    figures = draw_search(search)
    report = replace(binary.report, figures={**binary.report.figures, **figures})
    assert "Candidates of the search" in report.to_html()


def test__page__is_small(pages):
    assert max(map(len, pages.values())) < 700_000


def test__colours__are_legible():
    css = Path(report_package.__file__).with_name("templates").joinpath("audit.css").read_text()
    schemes = re.findall(r":root \{([^}]*)\}", css)
    assert len(schemes) == 3  # light, dark, print

    def luminance(colour):
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    for scheme in schemes:
        colours = dict(re.findall(r"--(\w+): (#\w{6});", scheme))
        for ink in ("text", "quiet", "link"):
            for ground in ("page", "tint"):
                light, dark = sorted(luminance(colours[name]) for name in (ink, ground))[::-1]
                assert (light + 0.05) / (dark + 0.05) >= 4.5  # WCAG 2, level AA


def test__page__begins_as_pages_do(pages):
    assert all(text.startswith("<!DOCTYPE html>") for text in pages.values())


def test__save__writes_numbers(binary, tmp_path):
    binary.report.save(str(tmp_path / "audit.JSON"))
    found = json.loads((tmp_path / "audit.JSON").read_text(encoding="utf-8"))
    assert found == binary.report.to_dict()
    row = next(r for r in found["differences"] if r["metric"] == "worst_group_accuracy")
    gap = binary.report.differences.loc[("group", "worst_group_accuracy")]
    assert row["before"] == gap["before"]  # to the last digit
    count = next(r for r in found["by_group"] if r["metric"] == "count")
    assert count["before_low"] is None
    assert [path.name for path in tmp_path.iterdir()] == ["audit.JSON"]


def test__save__says_what_is_wrong_with_a_path(binary, tmp_path):
    with pytest.raises(ValueError, match=r"ends in '.pdf': expected '.html'.* or '.json'"):
        binary.report.save(tmp_path / "audit.pdf")
    with pytest.raises(FileNotFoundError, match="There is no folder"):
        binary.report.save(tmp_path / "missing" / "audit.json")
    (tmp_path / "folder.json").mkdir()
    with pytest.raises(IsADirectoryError, match="pass the path of a file in it"):
        binary.report.save(tmp_path / "folder.json")
    assert [p.name for p in tmp_path.iterdir()] == ["folder.json"]


def test__report__holds_no_rows_and_no_model(binary):
    text = json.dumps(binary.report.to_dict())
    values = {repr(float(value)) for value in binary.X.ravel()}
    assert not any(value in text for value in values)
    assert "Pipeline" not in str(pickle.dumps(binary.report.counterfactuals))


def test__report__shows_itself(binary):
    assert "equalized_odds_difference" in repr(binary.report)
    assert binary.report.summary[0] in repr(binary.report)


def test__figures__are_left_to_the_user(binary, multiclass):
    known_to_pyplot = {plt.figure(number) for number in plt.get_fignums()}
    for each in (binary, multiclass):
        assert known_to_pyplot.isdisjoint(each.report.figures.values())
    assert {"differences", "covariance", "training"} < set(binary.report.figures)
    assert "scores by sex, after" in multiclass.report.figures
    assert "search" not in binary.report.figures


@pd.option_context("mode.string_storage", "python")  # pyarrow refuses lone surrogates
def test__names__that_no_page_can_show__are_written_out(binary, tmp_path):
    groups = np.array(["$x_{$ 100 %", "a\ud800", "b\x00\x1b[31m\n\u202e"], dtype=object)
    labels = pd.Series(np.array(["$_{", "no\ud800"], dtype=object)[binary.y], name="y\x07$^")
    pipe = copy.deepcopy(binary.pipe)
    pipe["clf"].classes_ = np.array(["$_{", "no\ud800"], dtype=object)
    s = pd.DataFrame({"g\x00_%\ud800": groups[np.arange(300) % 3]})
    report = audit(pipe, binary.X, labels, sensitive_features=s, title="\ud800\x00", **QUICK)
    path = tmp_path / "audit.html"
    with plt.rc_context({"text.usetex": True, "font.family": "none such"}):  # not the page's
        report.save(path)
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"[\x00-\x08\x0b-\x1f\u202e]", text)
    assert r"a\ud800" in text
    drawn = re.findall(r"data:image/svg\+xml;base64,([^\"]+)", text)
    assert len(drawn) > 4
    for each in drawn:
        ElementTree.fromstring(base64.b64decode(each))  # noqa: S314 - written here
    report.save(tmp_path / "audit.json")
    for table in (report.overall, report.by_group, report.differences, report.affected):
        table.to_csv(tmp_path / "table.csv", encoding="utf-8")
    assert repr(report).encode()
