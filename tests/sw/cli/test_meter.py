"""``trilight meter``, in process."""

import json
from pathlib import Path

import pytest

from trilight.sw.cli import app as cli
from trilight.sw.cli import meter as commands
from trilight.sw.errors import MeterError
from trilight.sw.meters import SessionLog, base, measure, meter_names, open_meter
from trilight.sw.meters.base import MeterOptions
from trilight.sw.meters.fake import SimulatedClock
from trilight.sw.meters.session import finish
from trilight.sw.meters.wiring import wiring


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    status = cli.main(["meter", *arguments])
    out, err = capsys.readouterr()
    return status, " ".join(out.split()), " ".join(err.split())


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture
def session(tmp_path: Path) -> Path:
    """A session with a meter that was lost, kept in a file."""
    clock = SimulatedClock()
    path = tmp_path / "session.json"

    def generate(seconds: float) -> int:
        clock.sleep(seconds)
        return round(1310 * seconds)

    measure(open_meter("fake:core,unplug=62", clock=clock), generate, clock=clock, log=path)
    return path


def test_list(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, "list")
    assert status == 0
    for name in meter_names():
        assert name in out
    assert "ina226[:BUS/ADDRESS],shunt=OHM" in out


def test_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "reading.json"
    status, out, _ = run(capsys, "read", "fake:core", "--seconds", "0.1", "--json", str(path))
    assert status == 0
    assert "boundary fpga_core; fake: made up" in out
    data = json.loads(path.read_text())
    assert len(data["watts"]) == len(data["t_s"]) >= 10


def test_read_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "run.csv"
    path.write_text("t,V,I (mA)\n0,5,80\n1,5,82\n2,5,nan\n3,5,84\n")
    status, out, _ = run(capsys, "read", f"csv:{path}")
    assert status == 0
    assert f"power {5 * 0.082:.6g} W" in out
    assert "Note: 1 of 4 lines have no number" in out


def test_check(tmp_path: Path, capsys: pytest.CaptureFixture[str],
               monkeypatch: pytest.MonkeyPatch) -> None:
    """The fake meter's idle power is its open circuit: the check sees it as an offset."""
    asked: list[str] = []
    monkeypatch.setattr(commands, "ask_on_terminal", asked.append)
    monkeypatch.setattr(commands, "CHECK_S", 0.05)
    path = tmp_path / "correction.json"
    status, _, err = run(capsys, "check", "fake:core", "--resistor", "120", "--out", str(path))
    assert status == cli.FAILED
    assert "is hardly above that of the open circuit" in err
    assert len(asked) == 2
    assert not path.exists()


def test_analyse(session: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "result.json"
    status, out, _ = run(capsys, "analyse", str(session), "--json", str(path))
    assert status == 0
    result = finish(SessionLog.load(session))
    assert json.loads(path.read_text()) == result.to_dict()
    assert f"{(result.joules_per_token.value or 0) * 1e6:.5g} µJ" in out
    assert "Note: the session ended early" in out


def test_analyse_with_another_recording(session: Path, tmp_path: Path,
                                        capsys: pytest.CaptureFixture[str]) -> None:
    recording = SessionLog.load(session).recording
    assert recording is not None
    path = tmp_path / "run.csv"
    path.write_text("time (s),power (mW)\n" + "".join(
        f"{t + 77},{p * 1e3}\n" for t, p in zip(recording.t_s.tolist(), recording.watts.tolist(),
                                                strict=True)))
    status, out, _ = run(capsys, "analyse", str(session), "--meter",
                         f"csv:{path},boundary=fpga_core")
    assert status == 0
    assert "fpga_core, measured" in out
    assert "steps between idle and busy" in out


@pytest.mark.parametrize(("arguments", "message"), [
    (("read", "voltmeter"), "no meter 'voltmeter'; there are csv, fake"),
    (("read", "fake:core,noise"), "settings of a meter are written key=value, not 'noise'"),
    (("read", "fake:core,boundary=moon"), "boundary must be one of fpga_core"),
    (("read", "fake:core,colour=1"), "has no setting colour"),
    (("read", "fake:nothing"), "there is no profile 'nothing'"),
    (("read", "fake:core,rate=0"), "rate must be above zero"),
    (("analyse", "absent.json"), "cannot read the session of measurement absent.json"),
    (("check", "manual", "--resistor", "1", "--out", "absent/x.json"), "no folder"),
])
def test_errors(arguments: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
                ) -> None:
    status, _, err = run(capsys, *arguments)
    assert status == cli.FAILED
    assert message in err


def test_analyse_needs_a_file(session: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, _, err = run(capsys, "analyse", str(session), "--meter", "fake:core")
    assert status == cli.FAILED
    assert "is no recording; give one, as in csv:run.csv" in err


def test_meter_that_needs_a_package(monkeypatch: pytest.MonkeyPatch) -> None:
    def factory(_options: MeterOptions) -> None:
        raise ModuleNotFoundError("No module named 'pynvml'", name="pynvml")

    entry = type("Entry", (), {"load": lambda self: factory, "name": "nvml"})()
    monkeypatch.setattr(base, "entry_points", lambda **_: [entry])
    with pytest.raises(MeterError, match=r'pynvml.*pip install "trilight\[meters\]"'):
        open_meter("nvml")


def test_nobody_at_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    def end_of_input() -> str:
        raise EOFError

    monkeypatch.setattr("builtins.input", end_of_input)
    with pytest.raises(MeterError, match="no number was given for 'Supply voltage, V'; state it"):
        open_meter("manual").start()


@pytest.mark.parametrize("name", meter_names())
def test_wiring_is_told_for_every_meter(name: str) -> None:
    assert wiring(f"{name}:x,y=1")
    assert ("J14" in wiring(name)) == (name not in ("fake", "ina260"))
