"""The page that talks: built from what it shows, and driven in a browser as a reader would.

A board on a serial port is an emulated device: the page's bytes reach it, and its bytes the page.
"""

import base64
import json
import re
import shutil
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from trilight.hw.contract.protocol import IDENTITY, RUN, Command, status_struct
from trilight.hw.support.boards import board_device
from trilight.sim.wasm import release
from trilight.sim.wasm.library import build_info_of
from trilight.sim.web.command import demo_command
from trilight.sim.web.page import make_page
from trilight.sw.errors import TargetError
from trilight.sw.host.emulator import ReferenceTransport
from trilight.sw.host.frames import Frame, FrameReader, encode_frame
from trilight.sw.model.bundled import default_model_path
from trilight.sw.model.model import Model
from trilight.sw.power.parts import STAGES
from trilight.sw.power.picture import label
from trilight.sw.reference.continuation import continue_text
from trilight.sw.report.performance import predict
from trilight.sw.report.releases import load_releases

BOARD = "icebreaker"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
PROMPT, SEED, TOKENS = "ROMEO:", 7, 12


@pytest.fixture(scope="module")
def code() -> bytes:
    found = release.load_module(BOARD)
    assert found is not None
    return found


@pytest.fixture(scope="module")
def page_file(code: bytes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = tmp_path_factory.mktemp("page") / "trilight.html"
    path.write_text(make_page(code, load_releases()[BOARD], Model.load(default_model_path())),
                    encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def expected() -> list[int]:
    return continue_text(Model.load(default_model_path()), PROMPT, TOKENS, seed=SEED,
                         temperature=0.8)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    executable = next(filter(None, map(shutil.which, BROWSERS)), None)
    if executable is None:
        pytest.skip("no browser is installed; on Debian: sudo apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        # Root, as which containers run, must not be in a sandbox.
        browser = play.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    page = browser.new_page()
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("request", lambda request: problems.append(request.url)
            if request.url.startswith(("http:", "https:", "ws:")) else None)
    yield page
    page.close()
    assert problems == []


def finished(page: Any, seconds: float = 240) -> dict[str, Any]:
    page.wait_for_function("trilight.results.runs.length || trilight.results.error",
                           timeout=1000 * seconds)
    results: dict[str, Any] = page.evaluate("trilight.results")
    return results


def test_page_is_one_small_file(page_file: Path) -> None:
    text = page_file.read_text(encoding="utf-8")
    assert len(text) < 1_000_000
    assert re.findall(r"\{\{\w+\}\}", text) == []
    assert re.findall(r"""(?:src|href)\s*=|url\(|@import|\bfetch\(|https?:""", text) == []


def test_page_says_what_was_made_before(page_file: Path, code: bytes) -> None:
    text = page_file.read_text(encoding="utf-8")
    build_info = build_info_of(code)
    for digest in (build_info["design_sha256"], build_info["netlist_sha256"],
                   Model.load(default_model_path()).sha256):
        assert digest in text


def test_stages_are_called_alike_everywhere(page_file: Path) -> None:
    """On the page, by ``trilight performance`` and by ``trilight power``, whose stages add up."""
    found = re.search(r'id="build-info">(.+?)</script>', page_file.read_text(encoding="utf-8"))
    assert found is not None
    stages = [name for name, *_ in json.loads(found[1])["stages"]["rest"]]
    config = Model.load(default_model_path()).config
    assert stages == [*(stage.name for stage in predict(config, device=board_device()).stages),
                      "embedding"]
    assert {name.partition(",")[0] for name in stages} == {label(stage) for stage in STAGES}
    assert {name.partition(", ")[2] for name in stages} - {""} == {
        label(layer) for layer in range(config.n_layers)}


def test_page_keeps_the_language_of_the_link(page: Any, page_file: Path, seed: int) -> None:
    """Its frames are the driver's, byte for byte, and it reads back what the driver writes."""
    page.goto(page_file.as_uri())
    payloads = [bytes(range(256))[start:start + 40] for start in (0, 0xB0, 0xD0)]
    for payload in payloads:
        frame = Frame(seed % 256, Command.WRITE, payload)
        made = page.evaluate("([s, c, p]) => Array.from(trilight.encodeFrame(s, c, p))",
                             [frame.sequence, frame.command, list(payload)])
        assert bytes(made) == encode_frame(frame)
        read = page.evaluate("""(bytes) => new trilight.FrameReader().feed(bytes).map(
            ({sequence, command, payload}) => [sequence, command, Array.from(payload)])""",
                             list(b"\xc0noise\xc0" + encode_frame(frame)))
        assert read == [[frame.sequence, frame.command, list(payload)]]
        broken = bytearray(encode_frame(frame))
        broken[5] ^= 1
        assert page.evaluate("(bytes) => new trilight.FrameReader().feed(bytes).length",
                             list(broken)) == 0
        assert page.evaluate("(bytes) => trilight.crc32(bytes)",
                             list(payload)) == zlib.crc32(payload)
    values = [1, 0, 2, 300, 40000, 2**32 - 1]
    assert bytes(page.evaluate("([f, v]) => Array.from(trilight.pack(f, ...v))",
                               [RUN.format, values])) == RUN.pack(*values)
    for layout in (status_struct(2), IDENTITY):
        data = bytes(range(1, layout.size + 1))
        values = [value.decode("latin-1") if isinstance(value, bytes) else value
                  for value in layout.unpack(data)]
        assert page.evaluate("([f, d]) => trilight.unpack(f, Uint8Array.from(d))",
                             [layout.format, list(data)]) == values


def test_chip_in_the_page_generates_what_the_reference_does(
        page: Any, page_file: Path, code: bytes, expected: list[int]) -> None:
    if not release.is_current(build_info_of(code)):
        pytest.skip("the chip in the page is the released one, and this design is another")
    page.goto(f"{page_file.as_uri()}#prompt={PROMPT}&seed={SEED}&tokens={TOKENS}&run")
    results = finished(page)
    assert results.get("error") is None
    [run] = results["runs"]
    assert run["ids"] == expected
    assert run["tokens"] == TOKENS
    assert page.text_content("#made") == Model.load(default_model_path()).decode(expected)
    assert page.inner_text("#cycles") == f"{run['cycles'] / TOKENS:,.0f}"


class Line:
    """A serial port of a browser, in its own words, with an emulated device behind it."""

    SCRIPT = """
        const arrived = [];
        let wake = () => {};
        window.deliver = (text) => {
            arrived.push(Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)));
            wake();
        };
        const port = {
            async open(options) { window.rate = options.baudRate; },
            async close() {},
            readable: { getReader: () => ({
                async read() {
                    while (!arrived.length) await new Promise((resolve) => { wake = resolve; });
                    return { value: arrived.shift(), done: false };
                },
                async cancel() {},
                releaseLock() {},
            }) },
            writable: { getWriter: () => ({
                async write(bytes) { window.send(btoa(String.fromCharCode(...bytes))); },
                releaseLock() {},
            }) },
        };
        Object.defineProperty(navigator, "serial", { value: { requestPort: async () => port } });
    """

    def __init__(self, page: Any) -> None:
        self.device = ReferenceTransport()
        self.page = page
        self.received = b""
        page.expose_function("send", self._send)
        page.add_init_script(self.SCRIPT)

    def _send(self, text: str) -> None:
        data = base64.b64decode(text)
        self.received += data
        self.device.write(data)

    def pump(self) -> None:
        while data := self.device.read(0):
            self.page.evaluate("(text) => deliver(text)", base64.b64encode(data).decode())


def test_page_drives_a_board_on_a_serial_port(page: Any, page_file: Path,
                                              expected: list[int]) -> None:
    line = Line(page)
    page.goto(f"{page_file.as_uri()}#prompt={PROMPT}&seed={SEED}&tokens={TOKENS}")
    page.wait_for_function("trilight.results.ready")
    page.select_option("#target", "board")
    page.click("#go")
    for _ in range(4000):
        line.pump()
        if page.evaluate("trilight.results.runs.length || trilight.results.error"):
            break
        page.wait_for_timeout(5)
    results = page.evaluate("trilight.results")
    assert results.get("error") is None
    assert results["runs"][0]["ids"] == expected
    assert results["runs"][0]["target"] == "board"
    assert page.evaluate("rate") == round(load_releases()[BOARD]["baud"])
    frames = FrameReader().feed(line.received)
    assert {frame.command for frame in frames} >= {Command.IDENTIFY, Command.WRITE, Command.RUN}


def test_page_refuses_what_the_model_does_not_know(page: Any, page_file: Path) -> None:
    page.goto(f"{page_file.as_uri()}#prompt=%C3%9C&run")
    page.wait_for_function("trilight.results.error")
    assert 'does not know "Ü"' in page.inner_text("#state")


@pytest.mark.parametrize(("options", "text"), [
    ({"out": Path("page.html")}, "add --web"),
    ({"web": True, "json_file": Path("report.json")}, "a page makes no report"),
])
def test_options_that_do_not_go_together(options: dict[str, Any], text: str) -> None:
    with pytest.raises(TargetError, match=text):
        demo_command(**options)


def test_page_of_another_design_is_not_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trilight.sim.web.command.released_module", lambda _board: None)
    with pytest.raises(TargetError, match="add --from-source"):
        demo_command(web=True, out=Path("page.html"))
