"""The exported C program gives the integers of the reference."""

import re
import subprocess
from pathlib import Path

import numpy as np
import pytest

from trilight.hw.contract.shapes import ModelConfig
from trilight.sw.cli.app import main
from trilight.sw.errors import ExportError
from trilight.sw.export import export_c
from trilight.sw.export.c import SOURCE
from trilight.sw.export.library import CProgram, c_compiler, compile_c
from trilight.sw.model.bundled import default_model_path
from trilight.sw.model.model import Model
from trilight.sw.reference.continuation import continue_text
from trilight.sw.reference.model import ReferenceModel

SHAPES = [
    ModelConfig(vocab_size=16, d_model=16, n_layers=1, d_hidden=16),
    ModelConfig(vocab_size=61, d_model=47, n_layers=3, d_hidden=91),
    ModelConfig(vocab_size=200, d_model=130, n_layers=2, d_hidden=33),
]
LLVM = ["-S", "-emit-llvm", "-Wno-unused-command-line-argument"]
"""Zig's own flags contradict the first."""
UNDEFINED = ["-fsanitize=undefined", "-fno-sanitize-recover=undefined"]


@pytest.mark.parametrize("config", SHAPES, ids=str)
def test_logits_are_those_of_the_reference(config: ModelConfig, seed: int) -> None:
    model = Model.random(config, seed=seed)
    program, reference = CProgram(model), ReferenceModel(model)
    program.reset(1)
    tokens = np.random.default_rng(seed).integers(0, config.vocab_size, 50).tolist()
    for token in tokens:
        program.feed(token)
        [expected] = reference.step([token])
        assert program.logits() == expected.tolist()


@pytest.mark.parametrize("config", SHAPES, ids=str)
@pytest.mark.parametrize(("temperature", "sampler_seed"), [(0, 0), (0.8, 1), (5.5, 2**32 - 1)])
def test_tokens_are_those_of_the_reference(config: ModelConfig, temperature: float,
                                           sampler_seed: int, seed: int) -> None:
    model = Model.random(config, seed=seed)
    prompt = [3, 1, 4, 1, 5, 9, 2, 6]
    expected = continue_text(model, model.decode(prompt), 60, seed=sampler_seed,
                             temperature=temperature)
    assert CProgram(model).generate(prompt, tokens=60, temperature=temperature,
                                    seed=sampler_seed) == expected


def build(model: Model, folder: Path, *flags: str) -> Path:
    export_c(model, folder)
    compile_c([*flags, "-o", "talk", SOURCE], folder)
    return folder / "talk"


@pytest.mark.parametrize("target", [[], ["-target", "arm-linux-musleabi"]], ids=["here", "32 bits"])
def test_part_for_a_microcontroller_needs_nothing(target: list[str], tmp_path: Path) -> None:
    """Without main: no call but fills and copies of memory, hence no heap and no libm, and no
    floating point in any instruction.
    """
    if "ziglang" not in c_compiler():
        pytest.skip("the intermediate code of LLVM, which this reads, takes zig")
    export_c(Model.load(default_model_path()), tmp_path)
    compile_c(["-DTRILIGHT_NO_MAIN", *LLVM, *target, "-fno-sanitize=all", "-o", "part.ll",
               SOURCE], tmp_path)
    # Attributes and notes for debuggers name the processor's floats.
    code = "\n".join(line for line in (tmp_path / "part.ll").read_text().splitlines()
                     if not line.startswith(("attributes", "!", "target")))
    assert set(re.findall(r"^define [^@]*@(trilight_\w+)", code, re.MULTILINE)) == {
        "trilight_reset", "trilight_feed", "trilight_logits", "trilight_next"}
    called = set(re.findall(r"^declare [^@]*@([\w.]+)", code, re.MULTILINE))
    assert {name for name in called if not name.startswith("llvm.")} <= {"memset", "memcpy"}
    assert not re.search(r"\b(half|float|double|x86_fp80|fp128)\b", code)


def test_part_with_floats_would_be_seen(tmp_path: Path) -> None:
    if "ziglang" not in c_compiler():
        pytest.skip("the intermediate code of LLVM, which this reads, takes zig")
    (tmp_path / "sum.c").write_text("double half(int x) { return x * 0.5; }\n")
    compile_c([*LLVM, "-o", "sum.ll", "sum.c"], tmp_path)
    assert re.search(r"\bdouble\b", (tmp_path / "sum.ll").read_text())


def test_program_talks(tmp_path: Path) -> None:
    model = Model.load(default_model_path())
    talk = build(model, tmp_path, *UNDEFINED)
    for temperature in ("0", "0.8", "0.751953125"):
        done = subprocess.run([talk, "JULIET:\n", "120", "11", temperature], capture_output=True,
                              check=True)
        expected = continue_text(model, "JULIET:\n", 120, seed=11, temperature=float(temperature))
        assert done.stdout.decode() == model.decode(expected) + "\n"


def test_characters_outside_ascii_travel(tmp_path: Path) -> None:
    base = Model.random(SHAPES[0], seed=5)
    vocab = ("\n", '"', "\\", "?", "é", "ß", "日", "😀", *"abcdefgh")
    model = Model(**{**vars(base), "vocab": vocab})
    talk = build(model, tmp_path)
    prompt = "".join(vocab)
    done = subprocess.run([talk, prompt, "40", "3", "7"], capture_output=True, check=True)
    expected = continue_text(model, prompt, 40, seed=3, temperature=7)
    assert done.stdout.decode() == model.decode(expected) + "\n"


@pytest.mark.parametrize("arguments", [
    [], [""], ["x~"], ["a", "ten"], ["a", "1", "-1"], ["a", "1", "1", "9"], ["a", "-2"],
    ["a", "1", "1", "1", "1"]])
def test_program_refuses(arguments: list[str], tmp_path: Path) -> None:
    base = Model.random(SHAPES[0], seed=5)
    talk = build(Model(**{**vars(base), "vocab": tuple("abcdefghijklmnop")}), tmp_path)
    done = subprocess.run([talk, *arguments], capture_output=True, check=False)
    assert done.returncode == 2
    assert done.stdout == b""
    assert len(done.stderr.decode().splitlines()) == 1


@pytest.mark.parametrize("config", SHAPES, ids=str)
def test_stated_memory_is_that_of_the_compiler(config: ModelConfig, tmp_path: Path) -> None:
    model = Model.random(config, seed=9)
    export = export_c(model, tmp_path)
    (tmp_path / "size.c").write_text(
        '#define TRILIGHT_NO_MAIN\n#include "trilight.c"\n#include <stdio.h>\n'
        'int main(void) { printf("%zu %d", sizeof(trilight_t), TRILIGHT_RAM_BYTES);\n'
        "    return trilight_vocab[0] == 0; }\n")
    compile_c(["-o", "size", "size.c"], tmp_path)
    done = subprocess.run([tmp_path / "size"], capture_output=True, check=True)
    assert done.stdout.decode() == f"{export.ram_bytes} {export.ram_bytes}"


def test_files_are_not_overwritten(tmp_path: Path) -> None:
    model = Model.random(SHAPES[0], seed=1)
    export_c(model, tmp_path)
    (tmp_path / "model.h").write_text("mine")
    with pytest.raises(ExportError, match="--force"):
        export_c(model, tmp_path)
    assert (tmp_path / "model.h").read_text() == "mine"
    export_c(model, tmp_path, force=True)
    assert "TRILIGHT_VOCAB 16" in (tmp_path / "model.h").read_text()


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "c", str(tmp_path / "new"), "--json", str(tmp_path / "sizes.json")]) == 0
    assert "bytes of constants" in capsys.readouterr().out
    assert {path.name for path in (tmp_path / "new").iterdir()} == {"trilight.c", "model.h"}


def test_compiler_that_fails_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "wrong.c").write_text("int main(void) { return missing; }\n")
    with pytest.raises(ExportError, match="missing"):
        compile_c(["wrong.c"], tmp_path)
    monkeypatch.setenv("CC", "no-such-compiler")
    with pytest.raises(ExportError, match="set CC"):
        compile_c(["wrong.c"], tmp_path)
