"""The page: complete in one file, readable by a browser, honest in what it shows first."""

import html
import json
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from trilight.sw.bench.page import render_page
from trilight.sw.bench.plots import PLOTS

Document = dict[str, Any]

KINDS = ("modelled", "measured", "baselines", "no energy")
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
BROWSER = next(filter(None, map(shutil.which, BROWSERS)), None)

VOID = {"meta", "br", "link", "img", "input", "hr", "path", "use", "rect", "line", "circle"}


class Reader(HTMLParser):
    """Collects elements, attributes and text, and checks that elements close."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: text or "" for name, text in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: text or "" for name, text in attrs}))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.text += data


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    reader.close()
    assert reader.open == []
    return reader


@pytest.fixture(scope="module")
def pages(documents: dict[str, Document]) -> dict[str, str]:
    return {kind: render_page(document) for kind, document in documents.items()}


@pytest.mark.parametrize("kind", KINDS)
def test_characters_of_strangers_do_not_act(kind: str, documents: dict[str, Document]) -> None:
    """Neither in the page nor in its pictures: every text of the document has some."""
    acting = "\x1b\x07\x9b\u202e"

    def strange(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: strange(item) if key in {"name", "note", "source", "prompt", "text",
                                                  "dataset", "reason"} or not isinstance(item, str)
                    else item for key, item in value.items()}
        if isinstance(value, list):
            return [strange(item) for item in value]
        return value + acting if isinstance(value, str) and value else value

    page = render_page(strange(documents[kind]))
    assert "\\x1b\\x07\\x9b\\u202e" in page
    assert not set(page) & set(acting)


@pytest.mark.parametrize("kind", KINDS)
def test_it_needs_nothing_else(kind: str, pages: dict[str, str]) -> None:
    page = pages[kind]
    for tag, attributes in read(page).elements:
        assert tag not in {"script", "link", "iframe", "img", "object"}
        for name, value in attributes.items():
            assert not name.startswith("on")
            if name in {"src", "href", "xlink:href"}:
                assert value.startswith("#") or tag == "a", (tag, value)
    assert "@import" not in page
    assert not re.search(r"url\((?!#)", page)


@pytest.mark.parametrize("kind", KINDS)
def test_identifiers_are_unique_and_references_resolve(kind: str, pages: dict[str, str]) -> None:
    elements = read(pages[kind]).elements
    counted = Counter(attributes["id"] for _, attributes in elements if "id" in attributes)
    assert [name for name, count in counted.items() if count > 1] == []
    for name in re.findall(r"url\(#([^)]*)\)", pages[kind]):
        assert name in counted
    for _, attributes in elements:
        target = attributes.get("xlink:href", "#")
        assert target == "#" or target[1:] in counted


def test_plots_come_for_screen_and_phone_and_take_the_pages_colours(
        pages: dict[str, str], documents: dict[str, Document]) -> None:
    page = pages["modelled"]
    drawings = re.findall(r"<svg .*?</svg>", page, flags=re.DOTALL)
    shown = [name for name, draw in PLOTS.items() if draw(documents["modelled"], 5.0)]
    assert set(shown) == {"parts", "time", "field", "quality"}
    assert len(drawings) == 2 * len(shown)
    names = set(re.findall(r"--([\w-]+):", page))
    for drawing in drawings:
        assert "viewBox" in drawing[:300]
        assert re.search(r'role="img"[^>]*aria-label="[^"]{20,}"', drawing[:400])
        assert not re.findall(r"#[0-9a-f]{6}\b(?<!#000000)", drawing)
        assert set(re.findall(r"var\(--([\w-]+)\)", drawing)) <= names
        assert "<text" in drawing


def test_dark_defines_every_colour(pages: dict[str, str]) -> None:
    light, dark = re.findall(r":root \{(.*?)\}", pages["modelled"], flags=re.DOTALL)
    assert re.findall(r"--([\w-]+):", light) == re.findall(r"--([\w-]+):", dark)


def test_headline_comes_first_with_all_that_limits_it(pages: dict[str, str]) -> None:
    text = " ".join(read(pages["modelled"]).text.split())
    start = text[:text.index("Before you compare")]
    for words in ("tokens per joule", "90 % interval", "modelled", "FPGA core rails",
                  "bits per byte", "2.125", "a play", "USB bridge"):
        assert words in start
    measured = " ".join(read(pages["measured"]).text.split())
    assert "250,000 tokens per joule" in measured
    assert "± U (k = 2)" in measured
    assert "Above idle, beside the total" in measured


@pytest.mark.parametrize("kind", KINDS)
def test_every_warning_is_on_the_page(kind: str, pages: dict[str, str],
                                      documents: dict[str, Document]) -> None:
    text = " ".join(read(pages[kind]).text.split())
    for warning in documents[kind]["warnings"]:
        assert " ".join(warning["text"].split()) in text
    for note in documents[kind]["notes"]:
        assert note in text


def test_every_source_of_the_field_is_linked(pages: dict[str, str],
                                             documents: dict[str, Document]) -> None:
    links = {attributes["href"] for tag, attributes in read(pages["modelled"]).elements
             if tag == "a"}
    assert links == {row["url"] for row in documents["modelled"]["field"]}


def test_what_is_not_known_says_why(pages: dict[str, str]) -> None:
    text = read(pages["no energy"]).text
    assert "tokens per joule: unknown" in text
    assert "Where the energy of a token goes" not in text


def test_names_are_text(describe: Callable[..., dict[str, Any]], report: dict[str, Any],
                        document_of: Callable[..., Document]) -> None:
    system = describe(report={**report, "target": "serial:<b>&\"x"})
    page = render_page(document_of(system))
    assert "<b>&\"x" not in page
    assert html.escape("serial:<b>&") in page
    read(page)


needs_browser = pytest.mark.skipif(
    BROWSER is None, reason=f"no browser here: none of {', '.join(BROWSERS)}")


@needs_browser
@pytest.mark.parametrize("kind", KINDS)
def test_a_browser_shows_it(kind: str, pages: dict[str, str], tmp_path: Path) -> None:
    """Nothing sticks out, and the drawings for a width show legibly and no others."""
    for seen, wanted in zip(look_at(pages[kind], tmp_path), ("narrow", "wide"), strict=True):
        assert seen["overflow"] <= 0
        drawn = [drawing for drawing in seen["drawings"] if drawing["height"]]
        assert len(seen["drawings"]) == 2 * len(drawn)
        for drawing in drawn:
            assert drawing["kind"] == wanted
            assert drawing["height"] > 100
            assert drawing["outside"] == []
            assert drawing["smallest"] >= 9


@needs_browser
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_a_browser_shows_it_in_the_readers_colours(dark: bool, pages: dict[str, str],
                                                   tmp_path: Path) -> None:
    for seen in look_at(pages["modelled"], tmp_path, dark=dark):
        assert (sum(seen["page"]) < 3 * 128) == dark
        assert (sum(seen["ink"]) > 3 * 128) == dark
        assert seen["svg_ink"] == seen["ink"]


WIDTHS = (360, 1000)
"""Pixels of a phone and of a screen."""

SCRIPT = """
const seen = [];
for (const width of WIDTHS) {
  const frame = document.createElement("iframe");
  Object.assign(frame, {width, height: 800, style: "border:0", srcdoc: SOURCE});
  frame.addEventListener("load", () => {
    seen[WIDTHS.indexOf(width)] = look(frame.contentWindow, frame.contentDocument);
    document.body.dataset.seen = JSON.stringify(seen);
  });
  document.body.append(frame);
}
function look(view, page) {
  const colour = (node, name) => view.getComputedStyle(node)[name].match(/[\\d.]+/g)
    .slice(0, 3).map(Number);
  const drawings = [...page.querySelectorAll("svg")].map(svg => {
    const box = svg.getBoundingClientRect();
    const scale = box.width / svg.viewBox.baseVal.width;
    const texts = [...svg.querySelectorAll("text")];
    const outside = b => b.left < box.left - 2 || b.right > box.right + 2
      || b.top < box.top - 2 || b.bottom > box.bottom + 2;
    return {kind: svg.parentElement.className, height: box.height,
      smallest: Math.min(...texts.map(text =>
        scale * parseFloat(view.getComputedStyle(text).fontSize))),
      outside: texts.filter(text => box.height && outside(text.getBoundingClientRect()))
        .map(text => text.textContent)};
  });
  const label = page.querySelector('svg text[style*="--ink"], svg g[style*="--ink"] text');
  return {drawings, overflow: page.documentElement.scrollWidth - view.innerWidth,
    page: colour(page.body, "backgroundColor"), ink: colour(page.body, "color"),
    svg_ink: colour(label, "fill")};
}
"""


def look_at(page: str, folder: Path, *, dark: bool = False) -> list[dict[str, Any]]:
    """Open the page in a frame of each width, and return what the browser makes of it."""
    source = json.dumps(page).replace("</", "<\\/")
    path = folder / "frame.html"
    path.write_text(f'<!doctype html><meta charset="utf-8"><body><script>const SOURCE = {source}, '
                    f"WIDTHS = {list(WIDTHS)};{SCRIPT}</script>", encoding="utf-8")
    assert BROWSER is not None
    result = subprocess.run(
        [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
         "--disable-component-update", "--disable-sync", f"--user-data-dir={folder / 'profile'}",
         f"--blink-settings=preferredColorScheme={0 if dark else 1}", "--window-size=1200,900",
         "--virtual-time-budget=5000", "--dump-dom", path.as_uri()],
        capture_output=True, text=True, timeout=120, check=True)
    found = re.search(r'data-seen="([^"]*)"', result.stdout)
    assert found, result.stderr[-2000:]
    seen: list[dict[str, Any]] = json.loads(html.unescape(found[1]))
    assert len(seen) == len(WIDTHS)
    return seen
