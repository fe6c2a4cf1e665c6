"""A chip with a terminal: what is typed and read at its pins, beside frames."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from trilight.boards.icebreaker import Icebreaker
from trilight.hw.contract.shapes import ModelConfig
from trilight.hw.flow.build import Hdl, elaborate, synthesise
from trilight.sim.board import VirtualBoard
from trilight.sim.native.compile import NativeBench
from trilight.sw.host.boot import BootSettings, Speech, flash_image, terminal_tables
from trilight.sw.host.driver import Board
from trilight.sw.model.image import compile_image
from trilight.sw.model.model import Model
from trilight.sw.reference.continuation import continue_text
from trilight.sw.reference.sampler import temperature_to_fixed

DEVICE = Icebreaker().terminal_device

TOKENS = 9
VOCAB = tuple("\n abcdefghijklmn>")
SETTINGS = BootSettings(tokens=TOKENS, temperature=temperature_to_fixed(0.8))
MARK = "\r\n> "


@pytest.fixture(scope="module", params=[elaborate, pytest.param(
    synthesise, marks=pytest.mark.slow)], ids=["rtl", "netlist"])
def hdl(request: pytest.FixtureRequest) -> Hdl:
    """A fast line, for the simulation's sake."""
    made: Hdl = request.param(Icebreaker(device=DEVICE))
    return made


@pytest.fixture
def model(seed: int) -> Model:
    made = Model.random(ModelConfig(vocab_size=len(VOCAB), d_model=40, n_layers=1, d_hidden=40),
                        seed)
    return replace(made, vocab=VOCAB)


@pytest.fixture
def bench(hdl: Hdl, model: Model) -> Iterator[NativeBench]:
    bench = NativeBench(hdl, flash=flash_image(
        compile_image(model, DEVICE), DEVICE, tables=terminal_tables(VOCAB, SETTINGS)))
    assert bench.read() == b"", "nothing is said before anything is typed"
    yield bench
    bench.close()


def expected(model: Model, prompt: str, seed: int, tokens: int = TOKENS) -> str:
    text = model.decode(continue_text(model, prompt, tokens, seed=seed, temperature=0.8))
    return text.replace("\n", "\r\n")


def typed(bench: NativeBench, text: str) -> str:
    bench.write(text.encode("latin-1"))
    bench.run(2_000_000, idle=20_000)
    return bench.read().decode()


def test_lines_give_the_tokens_of_the_reference(bench: NativeBench, model: Model) -> None:
    """Line k has seed k; both characters that end a line count as one."""
    for seed, (line, end) in enumerate((("abc", "\r"), ("d", "\r\n"), ("j i", "\n"))):
        assert typed(bench, line + end) == line + "\r\n" + expected(model, line, seed) + MARK


def test_an_empty_line_goes_on(bench: NativeBench, model: Model) -> None:
    assert typed(bench, "\r") == "\r\n" + MARK, "with nothing there is nothing to go on from"
    both = expected(model, "ab", 0, 2 * TOKENS)
    first = expected(model, "ab", 0)
    assert typed(bench, "ab\r") == "ab\r\n" + first + MARK
    assert typed(bench, "\r") == "\r\n" + both.removeprefix(first) + MARK


def test_what_cannot_be_typed_rings_the_bell(bench: NativeBench, model: Model) -> None:
    assert typed(bench, "aX\x80\xffb") == "a\a\a\ab"
    assert typed(bench, "\r") == "\r\n" + expected(model, "ab", 0) + MARK


def test_backspace(bench: NativeBench, model: Model) -> None:
    # One after the other, as a person types: three characters answer one.
    shown = "".join(typed(bench, key) for key in "\x7fab\x7f\x08\x08c\r")
    assert shown == "ab" + 2 * "\b \b" + "c\r\n" + expected(model, "c", 0) + MARK


def test_a_line_as_long_as_the_tape(bench: NativeBench, model: Model) -> None:
    line = "abcdefghij" * 26
    shown = typed(bench, line + "\r")
    maximum = DEVICE.tape_tokens - 1
    assert shown == (line[:maximum] + "\a" * (len(line) - maximum) + "\r\n"
                     + expected(model, line[:maximum], 0) + MARK)


def test_a_key_ends_the_text(hdl: Hdl, model: Model) -> None:
    bench = NativeBench(hdl, flash=flash_image(
        compile_image(model, DEVICE), DEVICE,
        tables=terminal_tables(VOCAB, replace(SETTINGS, tokens=60_000))))
    bench.write(b"a\r")
    bench.run(200_000)
    shown = bench.read().decode() + typed(bench, "b")
    assert shown.endswith(MARK)
    text = shown.removeprefix("a\r\n").removesuffix(MARK)
    assert 10 < len(text) < 60_000
    assert expected(model, "a", 0, len(text)).startswith(text)
    bench.close()


def test_frames_take_the_line_and_a_break_gives_it_back(hdl: Hdl, model: Model,
                                                        seed: int) -> None:
    bench = NativeBench(hdl, flash=flash_image(
        compile_image(model, DEVICE), DEVICE, tables=terminal_tables(VOCAB, SETTINGS)))
    assert typed(bench, "ab\r") == "ab\r\n" + expected(model, "ab", 0) + MARK
    board = Board(VirtualBoard(bench))
    board.load(model)
    assert board.resident
    ours = "".join(str(token) for token in board.generate("cd", tokens=TOKENS, seed=seed))
    assert ours.replace("\n", "\r\n") == expected(model, "cd", seed)
    transport = board.transport
    assert isinstance(transport, VirtualBoard)
    with transport.paused():
        bench.read()
        assert typed(bench, "x\r") == "", "no frame, no answer"
        bench.glitch("rx", 0, wait=1, length=12 * bench.clocks_per_bit)
        bench.run(100)
        assert typed(bench, "ab\r") == "ab\r\n" + expected(model, "ab", 1) + MARK
    board.close()


def test_it_speaks_by_itself_in_characters(hdl: Hdl, model: Model, seed: int) -> None:
    speech = Speech(prompt=[3, 2], seed=seed, tokens=TOKENS, temperature=SETTINGS.temperature)
    bench = NativeBench(hdl, flash=flash_image(
        compile_image(model, DEVICE), DEVICE, speech, terminal_tables(VOCAB, SETTINGS)))
    bench.run(10**6, idle=20_000)
    assert bench.read().decode() == expected(model, model.decode([3, 2]), seed)
    bench.close()


def test_without_a_program_a_line_says_nothing(hdl: Hdl) -> None:
    """After a damaged image, say; the characters are not known either."""
    bench = NativeBench(hdl)
    assert typed(bench, "\r") == "\r\n" + MARK
    bench.close()


def test_tables_of_unusual_vocabularies() -> None:
    _, tables = terminal_tables(("a", "é", "two", "~"), SETTINGS)
    assert tables[256:260].tolist() == [ord("a"), ord("?"), ord("?"), ord("~")]
    assert tables[ord("a")] == 0
    assert tables[ord("~")] == 3
    assert tables[ord("?")] == 0xFF
    assert (tables[128] | tables[129] << 8, tables[130]) == (SETTINGS.temperature, TOKENS)
