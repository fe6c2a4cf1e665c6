"""Tables as instruments write them: read rightly, or refused with the setting that helps.

Headers are those of public sources, named beside them; the readings below them are computed.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trilight.sw.errors import MeterError
from trilight.sw.meters import Recording
from trilight.sw.meters.base import MeterOptions
from trilight.sw.meters.csvfile import read_csv
from trilight.sw.meters.units import Quantity, read_header

N = 40
T = np.arange(N) * 0.05
VOLTS = 5.0 + 0.01 * np.cos(T)
AMPERES = 0.085 + 0.004 * np.sin(3 * T)


def read(path: Path, text: str | bytes, settings: str = "") -> Recording:
    path = path / "run.csv"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    pairs = dict(pair.split("=", 1) for pair in settings.split(";") if pair)
    return read_csv(path, MeterOptions(spec="csv", argument=str(path), settings=pairs))


def check(recording: Recording, *, rtol: float = 1e-6, volts: bool = True) -> None:
    np.testing.assert_allclose(recording.t_s - recording.t_s[0], T, atol=2e-6)
    np.testing.assert_allclose(recording.watts, VOLTS * AMPERES, rtol=rtol)
    if volts:
        assert recording.volts is not None
        assert recording.amperes is not None
        np.testing.assert_allclose(recording.volts, VOLTS, rtol=rtol)
        np.testing.assert_allclose(recording.amperes, AMPERES, rtol=rtol)


def scaled(t: float = 1, v: float = 1, i: float = 1, p: float = 1, *, after: str = "",
           delimiter: str = ",", order: str = "tvip") -> str:
    """Lines with each quantity multiplied, in an order of columns."""
    factors = {"t": t, "v": v, "i": i, "p": p}
    lines = []
    for seconds, volt, ampere in zip(T.tolist(), VOLTS.tolist(), AMPERES.tolist(), strict=True):
        values = {"t": seconds, "v": volt, "i": ampere, "p": volt * ampere}
        cells = [f"{values[key] * factors[key]:.12g}" if key in values else "0" for key in order]
        lines.append(delimiter.join(cells) + after)
    return "\n".join(lines) + "\n"


def rows(line: Callable[[int, float, float, float], str]) -> str:
    """A line for each reading, of its number, seconds, volts and amperes."""
    return "".join(line(n, *reading) for n, reading in enumerate(
        zip(T.tolist(), VOLTS.tolist(), AMPERES.tolist(), strict=True)))


@dataclass(frozen=True)
class Export:
    """What a program writes above its readings."""

    source: str
    text: str
    settings: str = ""
    volts: bool = True


READ = {
    "joulescope-ui": Export(
        "jetperch/pyjoulescope_ui, statistics recorder",
        "#time,current,voltage,power,charge,energy\n" + scaled(order="tivp00")),
    "ppk2": Export(
        "NordicSemiconductor/pc-nrfconnect-ppk, src/actions/exportChartAction.ts",
        "Timestamp(ms),Current(uA),D0-D7\n" + rows(
            lambda n, t, v, i: f"{t * 1e3:.12g},{v * i / 5.0 * 1e6:.12g},00000000\n"),
        "volts=5.0", volts=False),
    "fnirsi": Export(
        "baryluk/fnirsi-usb-power-data-logger, README",
        "\ntimestamp sample_in_packet voltage_V current_A dp_V dn_V temp_C_ema energy_Ws "
        "capacity_As\n" + scaled(order="t0vi00000", delimiter=" ")),
    "rigol-power": Export(
        "Keysight InfiniiVision form, x-axis and units below (OpenPOWER lab scripts on GitHub)",
        "x-axis,1,2\nsecond,Volt,Ampere\n" + scaled(order="tvi")),
    "siglent": Export(
        "mikeqcp forum and SDS1104X-E exports on GitHub: key-value preamble, Source and Second",
        "Record Length,Analog:40\nSample Interval,5.0E-02\nVertical Units,V,A\n"
        "Horizontal Units,s\nModel Number,SDS1104X-E\nSource,CH1,CH2\nSecond,Volt,Ampere\n"
        + scaled(order="tvi", after=",")),
    "rohde-schwarz": Export(
        "R&S RTB2000 exports on GitHub: in s,C1 in V",
        "in s,C1 in V,C2 in A\n" + scaled(order="tvi")),
    "keysight-n6705c": Export(
        "Keysight N6705C data logger scripts on GitHub: Sample,Curr avg 1,Volt avg 1",
        "Keysight N6705C\nSample interval: 0.05\n\nSample,Volt avg 1,Curr avg 1\n"
        + scaled(order="nvi"),
        "period=0.05"),
    "ina219": Export(
        "Adafruit INA219 loggers on GitHub: print_ina219_csv",
        "Time (s),Bus Voltage (V),Shunt Voltage (mV),Current (mA),Power (mW)\n"
        + scaled(i=1e3, p=1e3, order="tv0ip")),
    "data-explorer": Export(
        "jeffpc/DataExplorer: Zeit [s];Spannung [V];Strom [A];Leistung [W]",
        "Zeit [s];Spannung [V];Strom [A];Ladung [mAh];Leistung [W];Energie [Wh]\n"
        + scaled(order="tvi0p0", delimiter=";").replace(".", ",")),
    "monsoon": Export(
        "Monsoon Power Tool exports on GitHub: Time(ms), USB(mA), USB Voltage(V)",
        "Time(ms),USB(mA),USB Voltage(V)\n" + scaled(t=1e3, i=1e3, order="tiv")),
    "avhzy": Export(
        "AVHzY and shizuku tools: Voltage(V),Current(A),Power(W)",
        "Timestamp(s),Voltage(V),Current(A),Power(W)\n" + scaled(order="tvip", after=",")),
    "dsview": Export(
        "DreamSourceLab/DSView CSV: comment with semicolons, Time(s) below",
        "; CSV, generated by libsigrok4DSL 0.2.0\n; Channels (2/2)\n; Sample rate: 20 Hz\n"
        "Time(s), Volts [V], Shunt [A]\n".replace("Shunt", "Load") + scaled(order="tvi")),
    "saleae": Export(
        "Saleae Logic 2 raw export: Time [s],Channel 0,Channel 1",
        "Time [s],Channel 0,Channel 1\n" + scaled(i=1e3, order="tvi"),
        "voltage=Channel 0[V];current=Channel 1[mA]"),
    "savetxt": Export(
        "numpy.savetxt, header and comments parameters",
        "# time (s), voltage (V), current (mA)\n" + scaled(i=1e3, order="tvi")),
    "picoscope": Export(
        "PicoScope 6 text export: units in brackets below the channels",
        "Time,Channel A,Channel B\n(ms),(V),(A)\n\n" + scaled(t=1e3, order="tvi")),
    "arduino": Export(
        "millis() as the name of a column, in loggers on GitHub",
        "millis,voltage_V,current_mA\n" + scaled(t=1e3, i=1e3, order="tvi")),
    "no-header": Export(
        "HeaterMeter CSV, CapnBry/HeaterMeter issue 47: numbers alone",
        scaled(order="t0vi"), "time=1[s];voltage=3[V];current=4[A]"),
    "powershield": Export(
        "lazicdanilo/LPM01A-lib, X-NUCLEO-LPM01A of ST: current, times of host and board",
        "Current (uA),rx timestamp (us),board timestamps (ms)\n" + rows(lambda n, t, v, i:
            f"{v * i / 5.0 * 1e6:.12g},{t * 1e6:.0f},{t * 1e3 // 100 * 100:.0f}\n"),
        "volts=5.0", volts=False),
    "ppk2-bits": Export(
        "NordicSemiconductor/pc-nrfconnect-ppk, each digital input in a column of its own",
        "Timestamp(ms),Current(uA),D0,D1,D2,D3,D4,D5,D6,D7\n" + rows(
            lambda n, t, v, i: f"{t * 1e3:.12g},{v * i / 5.0 * 1e6:.12g},0,0,0,0,0,0,1,0\n"),
        "volts=5.0", volts=False),
    "otii": Export(
        "CSV of an Otii Arc, as parsers on GitHub require it: timestamp_s, datetime, current_A",
        "timestamp_s,datetime,current_A,voltage_V\n" + rows(
            lambda n, t, v, i: f"{t:.6f},2026-10-08 12:34:{t:06.3f},{i:.12g},{v:.12g}\n"),
        "time=timestamp_s"),
    "edge-power-meter": Export(
        "EdgePowerMeter, section Export formats of its README",
        "Timestamp,RelativeTime[s],Voltage[V],Current[A],Power[W]\n" + rows(lambda n, t, v, i:
            f"2026-10-08 12:34:{t:06.3f},{t:.6f},{v:.12g},{i:.12g},{v * i:.12g}\n"),
        "time=RelativeTime[s]"),
    "waveforms": Export(
        "Digilent WaveForms, scope export, in tests on GitHub",
        "#Digilent WaveForms Oscilloscope Acquisition\n#Device Name: Discovery2\n"
        "#Date Time: 2026-09-16 14:22:41\n#Sample rate: 20Hz\n#Samples: 40\n\n"
        "Time (s),Channel 1 (V),Channel 2 (V)\n" + scaled(order="tvi"),
        "voltage=Channel 1 (V);current=Channel 2 (V)[A]"),
    "scopy": Export(
        "Scopy of Analog Devices: remarks behind semicolons, Sample,Time(S),CH1(V)",
        ";Scopy version 1.4\n;Device M2K\n;Nr of samples 40\n;Sample rate 20\n"
        "Sample,Time(S),CH1(V),CH2(V)\n" + scaled(order="ntvi"),
        "voltage=CH1(V);current=CH2(V)[A]"),
    "rigol-sequence": Export(
        "Rigol DS1054Z: X,CH1,CH2,Start,Increment and the interval in the line below",
        "X,CH1,CH2,Start,Increment,\nSequence,Volt,Ampere,-5.999998e-02,5.000000e-02\n"
        + scaled(order="nvi", after=","), "period=0.05"),
    "rigol-memory": Export(
        "Rigol MSO5000, Save Memory: CH1(V),t0 = -25s, tInc = 2e-06s",
        "CH1(V),CH2(A),t0 = -25s, tInc = 5e-02s,\n" + scaled(order="vi", after=","),
        "period=0.05"),
    "tektronix": Export(
        "Tektronix DPO2000, as written in tests on GitHub: units far above TIME,CH1,CH2",
        "Model,DPO2024B\nVertical Units,V,A\nSource,CH1,CH2\nTIME,CH1,CH2\n"
        + scaled(order="tvi"), "voltage=CH1[V];current=CH2[A]"),
    "keithley": Export(
        "Keithley 2450 reference manual, buffer.saveappend: date, time and fractional seconds in "
        "columns of their own",
        "Index,Voltage (V),Current (A),Date,Time,Fractional Seconds\n" + rows(lambda n, t, v, i:
            f"{n + 1},{v:.12g},{i:.12g},10/08/2026,12:00:{int(t):02d},{t % 1:.6f}\n"),
        "date=mdy"),
    "data-logger": Export(
        "CSV viewers on GitHub: Date;Time;Voltage [V];Current [A] with decimal commas",
        "Date;Time;Voltage [V];Current [A]\n" + rows(lambda n, t, v, i:
            f"2024-01-01;12:00:{t:06.3f};{v:.12g};{i:.12g}\n".replace(".", ","))),
    "nvidia-smi": Export(
        "nvidia-smi --query-gpu=timestamp,power.draw,utilization.gpu --format=csv, in READMEs",
        "timestamp, power.draw [W], utilization.gpu [%]\n" + rows(
            lambda n, t, v, i: f"2026/10/08 12:34:{t:06.3f}, {v * i:.9f} W, 3 %\n"), volts=False),
    "monsoon-hvpm": Export(
        "scripts on GitHub that read exports of Monsoon's PowerTool by csv.DictReader",
        "Time (s),Main Avg Current (mA),Main Max Current (mA),Main Avg Power (mW),"
        "Main Avg Voltage (V)\n" + scaled(i=1e3, p=1e3, order="ti0pv")),
    "labview": Export(
        "LabVIEW measurement files (.lvm) in tests on GitHub: two headers, Decimal_Separator ,",
        "LabVIEW Measurement\t\nSeparator\tTab\nDecimal_Separator\t,\nDate\t2026/10/08\n"
        "Time\t12:34:56,789\n***End_of_Header***\t\n\nChannels\t2\nSamples\t40\t40\n"
        "Date\t2026/10/08\t2026/10/08\nTime\t12:34:56,78\t12:34:56,78\nX_Dimension\tTime\tTime\n"
        "X0\t0,0\t0,0\nDelta_X\t0,05\t0,05\n***End_of_Header***\t\t\n"
        "X_Value\tVoltage\tCurrent\tComment\n"
        + scaled(order="tvi", delimiter="\t").replace(".", ","), "time=X_Value[s]"),
    "turbostat": Export(
        "turbostat --show Time_Of_Day_Seconds,PkgWatt, in scripts on GitHub",
        "Time_Of_Day_Seconds\tPkgWatt\n" + rows(
            lambda n, t, v, i: f"{1790000000 + t:.6f}\t{v * i:.9f}\n"),
        "time=Time_Of_Day_Seconds[s]", volts=False),
    "unit-in-a-column": Export(
        "multimeters that choose their range, and write its unit beside each value",
        "No.,Time (s),Function,Value,Unit\n" + rows(
            lambda n, t, v, i: f"{n},{t:.12g},DC,"
            + (f"{v * i / 5 * 1e3:.12g},mA\n" if n % 2 else f"{v * i / 5 * 1e6:.12g},uA\n")),
        "current=Value;volts=5.0", volts=False),
    "units-beside": Export(
        "loggers with a column of units for each quantity",
        "Current,Current Unit,Voltage,Voltage Unit,Time (s)\n" + rows(
            lambda n, t, v, i: f"{i * 1e3:.12g},mA DC,{v:.12g},V DC,{t:.12g}\n")),
    "colon-before-milliseconds": Export(
        "BenchLink Data Logger of Keysight (34970A): 10/08/2026 12:34:56:050",
        "Scan,Time,101 (VDC),102 (ADC)\n" + rows(lambda n, t, v, i:
            f"{n},10/08/2026 12:34:{t:06.3f}".replace(".", ":") + f",{v:.12g},{i:.12g}\n"),
        "date=mdy;current=102 (ADC)[A]"),
    "three-decimals": Export(
        "a spreadsheet with decimal commas: 85,000 uA, and another column shows the sign",
        "Temps (s);Tension (V);Courant (uA)\n" + rows(
            lambda n, t, v, i: f"{t:.2f};{v:.9f};{i * 1e6:.3f}\n".replace(".", ","))),
    "peak-to-peak": Export(
        "jetperch/pyjoulescope_ui, statistics with extremes beside each mean",
        "#time,i_avg,i_std,i_min,i_max,i_p2p,v_avg,v_p2p\n" + scaled(order="ti0000v0")),
    "labelled-times": Export(
        "the same, with a unit in the header too",
        "Time (ms),Voltage (V),Current (A)\n" + "".join(
            f"{t * 1e3:.12g} ms,{v:.12g} V,{i * 1e3:.12g} mA\n" for t, v, i in
            zip(T.tolist(), VOLTS.tolist(), AMPERES.tolist(), strict=True))),
    "labelled-cells": Export(
        "multimeters that write the unit into each cell (sigrok-cli --output-format analog)",
        "Time (s),Voltage,Current\n" + rows(
            lambda n, t, v, i: f"{t:.12g},{v:.12g} V,{i * 1e3:.12g} mA\n")),
}


@pytest.mark.parametrize("name", READ)
def test_read_rightly(name: str, tmp_path: Path) -> None:
    export = READ[name]
    assert export.source
    check(read(tmp_path, export.text, export.settings), volts=export.volts)


REFUSED = {
    "unknown-unit": (
        "Time (s),Voltage (V),Current (foo)\n" + scaled(order="tvi"), "'foo'.*current=",
        "current=Current (foo)[A]"),
    "prefix-only": (
        "Time (s),Voltage (V),current_milli\n" + scaled(i=1e3, order="tvi"), "'milli'.*current=",
        "current=current_milli[mA]"),
    "capitals": (
        "TIME (S),VOLTAGE (V),CURRENT (MA)\n" + scaled(i=1e3, order="tvi"), "'MA'.*current=",
        "current=CURRENT (MA)[mA]"),
    "greek-letter-of-another-set": (
        ("Time (s),Voltage (V),Current (μA)\n" + scaled(i=1e6, order="tvi")).encode("iso8859-7"),
        "no unit of current", "current=3[uA]"),
    "no-voltage": (
        "Timestamp(ms),Current(uA),D0-D7\n" + scaled(t=1e3, i=1e6, order="ti0"), "volts=5.0", None),
    "no-time": (
        "Sample,Volt avg 1,Curr avg 1\n" + scaled(order="nvi"), "no column of time.*period=0.001",
        "period=0.05"),
    "rigol-sequence": (
        "X,CH1,Start,Increment,\nSequence,Volt,-1.0E-05,5.0E-02,\n" + scaled(order="nv", after=","),
        "no column of time", None),
    "whole-numbers": (
        "Time,Voltage (V),Current (A)\n" + scaled(t=1e3, order="tvi"), r"time=Time\[ms\]",
        "time=ms"),
    "excel-days": (
        "Time,Voltage (V),Current (A)\n" + rows(
            lambda n, t, v, i: f"{45321.5 + t / 86400:.12f},{v},{i}\n"), "cannot be told",
        "time=d"),
    "epoch-with-the-wrong-unit": (
        "Time (s),Voltage (V),Current (A)\n" + rows(
            lambda n, t, v, i: f"{1790000000000 + 1e3 * t:.0f},{v},{i}\n"),
        r"cannot be s since 1970.*time=Time \(s\)\[ms\]", "time=Time (s)[ms]"),
    "thousand-or-fraction": (
        "Time (ms);Voltage (V);Current (uA)\n" + rows(
            lambda n, t, v, i: f"{1e3 * t:.0f};5;85,{n + 100}\n"),
        "thousand or a fraction; state decimal=", None),
    "two-decimal-signs": (
        "Time (s);Voltage (V);Current (A)\n" + scaled(order="tvi", delimiter=";")
        + "5,05;5,01;0,085\n", "state decimal=comma or decimal=point", None),
    "comma-delimits-and-separates": (
        "Time (s),Voltage (V),Current (A)\n" + rows(
            lambda n, t, v, i: f"{t:.2f},{v:.2f},{i:.3f}\n".replace(".", ",")),
        "decimal sign the delimiter too", None),
    "day-or-month": (
        "Time,Voltage (V),Current (A)\n" + rows(
            lambda n, t, v, i: f"03/04/2026 12:00:{t:06.3f},{v},{i}\n"),
        "date=dmy or date=mdy", "date=dmy"),
    "coarse-times": (
        "Time,Voltage (V),Current (A)\n" + rows(
            lambda n, t, v, i: f"2026-04-03 12:00:{int(t):02d},{v},{i}\n"),
        "repeat a time.*period=", "period=0.05"),
    "minutes-or-hours": (
        "Time,Voltage (V),Current (A)\n" + "".join(
            f"{n:02d}:30,5,0.1\n" for n in range(20)), "hours and minutes or minutes and", None),
    "power-a-thousand-times": (
        "Time (s),Voltage (V),Current (A),Power (W)\n" + scaled(p=1e3, order="tvip"),
        "1000 times voltage times current", None),
    "cell-with-a-strange-unit": (
        "Time (s),Voltage (V),Current (A)\n" + scaled(order="tvi") + "9,5,85 mX\n",
        "'85 mX'.*no unit of current", None),
    "extremes-only": (
        "Time (s),Voltage (V),Current max (mA)\n" + scaled(i=1e3, order="tvi"),
        "name a column, as in current=", None),
    "raw-codes": (
        "Time (s),Voltage (V),current_raw\n" + scaled(order="tvi"), "as in current=", None),
    "power-of-ten": (
        "Time (s),Voltage (V),Current x1000 (A)\n" + scaled(i=1e3, order="tvi"),
        "'Current x1000'.*no unit of current", "current=Current x1000 (A)[mA]"),
    "multiplied": (
        "Time (s),Voltage (V),Current_0.1mA\n" + scaled(i=1e4, order="tvi"),
        "'_0.1mA'.*no unit of current", None),
    "multiplied-by-a-range": (
        "Time (s),Voltage (V),Current 100mA\n" + scaled(i=1e1, order="tvi"),
        "'100mA'.*no unit of current", None),
    "letter-that-was-lost": (
        "Time (s),Voltage (V),Current ?A\n" + scaled(i=1e2, order="tvi"),
        r"'\?A'.*no unit of current", None),
    "prefix-in-brackets": (
        "Time (s),Voltage (V),Amps (m)\n" + scaled(i=1e3, order="tvi"),
        "'m'.*no unit of current", "current=Amps (m)[mA]"),
    "prefix-before-the-name": (
        "Time (s),Voltage (V),mCurrent\n" + scaled(i=1e3, order="tvi"),
        "'m'.*no unit of current", "current=mCurrent[mA]"),
    "raised": (
        "Time (s),Voltage (V),Current 10\u207b\u00b3A\n" + scaled(i=1e3, order="tvi"),
        "no unit of current", "current=3[mA]"),
    "unit-above-the-header": (
        "Model,MSO24\nVertical Units,V,mA\nTIME,Voltage,Current\n" + scaled(i=1e3, order="tvi"),
        "'Current'.*no unit.*above the header have 'mA'", "current=Current[mA]"),
    "header-with-another-unit": (
        "Time (s),Voltage (V),Current (mA)\n" + scaled(i=1e3, order="tvi")
        + "Time (s),Voltage (V),Current (uA)\n9,5,85000\n", "line 42.*another.*cut the file", None),
    "header-with-other-columns": (
        "Time (s),Voltage (V),Current (A)\n" + scaled(order="tvi")
        + "# Time (s),Current (A),Voltage (V)\n9,0.1,5\n", "line 42.*another.*cut the file", None),
    "several-sources": (
        "index, timestamp, power.draw [W]\n" + rows(
            lambda n, t, v, i: f"{n % 2}, 2026/10/08 12:34:{t:06.3f}, {10 + n % 2} W\n"),
        "2 different index: 0, 1; keep", None),
    "segments": (
        3 * "***End_of_Header***\nX_Value\tVoltage\tCurrent\n0.0\t5\t0.1\n0.1\t5\t0.1\n",
        "begins another recording", None),
    "thousand-or-fraction-by-points": (
        "Time (ms);Voltage (mV);Current (uA)\n" + "".join(
            f"{50 * n + 1000:,};{5000 + n:,};{85000 + n:,}\n".replace(",", ".") for n in range(N)),
        "thousand or a fraction; state decimal=", None),
    "year-or-day": (
        "Date,Time,Voltage (V),Current (A)\n" + rows(
            lambda n, t, v, i: f"26/10/08,12:00:{t:06.3f},{v},{i}\n"),
        "date=ymd or date=dmy", "date=ymd"),
    "clock-in-one-number": (
        "Time,Voltage (V),Current (A)\n" + rows(
            lambda n, t, v, i: f"{123459 + t if t < 1 else 123500 + t - 1:.2f},{v},{i}\n"),
        "cannot be told", "period=0.05"),
    "in-words": (
        "seconds,volts,thousandths of an ampere\n" + scaled(i=1e3, order="tvi"),
        "'thousandths of an ampere'.*no unit of current", "current=thousandths of an ampere[mA]"),
    "seconds-said-to-be-milliseconds": (
        "time_ms,Voltage (V),Current (A)\n" + rows(
            lambda n, t, v, i: f"{1790000000 + t:.3f},{v},{i}\n"),
        "may be seconds since 1970, or ms of a clock that runs for 20.7 days", "time=time_ms[s]"),
    "matlab-days": (
        "Time,Voltage (V),Current (A)\n" + rows(
            lambda n, t, v, i: f"{740000 + t / 86400:.15g},{v},{i}\n"), "cannot be told",
        None),
    "julian-days": (
        "Time,Voltage (V),Current (A)\n" + rows(
            lambda n, t, v, i: f"{2461000 + t / 86400:.15g},{v},{i}\n"), "cannot be told",
        None),
    "two-parts-of-a-second": (
        "Date,Time,Millisecond,Microsecond,Voltage (V),Current (A)\n" + rows(
            lambda n, t, v, i: f"2026-10-08,12:00:{int(t):02d},{int(t * 1e3) % 1000},0,{v},{i}\n"),
        "several columns.*have parts of a second", "period=0.05"),
    "no-parts-of-a-second": (
        "Date,Time,Millisecond,Voltage (V),Current (A)\n" + rows(
            lambda n, t, v, i: f"2026-10-08,12:00:{int(t):02d},{int(t * 1e6) % 1000000},{v},{i}\n"),
        "no parts of a second", "period=0.05"),
    "several-channels": (
        "Time (s),CH1 (V),CH2 (V),CH3 (A)\n" + scaled(order="tvvi"),
        "several columns could be the voltage", "voltage=CH1 (V)"),
    "same-name-twice": (
        "Time (s),Voltage (V),Voltage (V),Current (A)\n" + scaled(order="tvvi"),
        "several columns could be the voltage", "voltage=2"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_with_what_helps(name: str, tmp_path: Path) -> None:
    text, message, helps = REFUSED[name]
    with pytest.raises(MeterError, match=message) as caught:
        read(tmp_path, text)
    assert "\n" not in str(caught.value)
    if helps is not None:
        check(read(tmp_path, text, helps))


def test_points_that_group_thousands(tmp_path: Path) -> None:
    """85.000 uA beside 5,01 V, as a spreadsheet writes in places with decimal commas."""
    recording = read(tmp_path, "Zeit [s];Spannung [V];Strom [uA]\n" + rows(lambda n, t, v, i:
        f"{t:.2f};{v:.9f};".replace(".", ",") + f"{i * 1e6:,.0f}\n".replace(",", ".")))
    check(recording, rtol=1e-5)


def test_no_unit_is_said(tmp_path: Path) -> None:
    recording = read(tmp_path, "time,voltage,current\n" + scaled(order="tvi"))
    check(recording)
    assert any("unit of time is not given" in text for text in recording.warnings)
    assert any("voltage as V, current as A" in text for text in recording.warnings)


@pytest.mark.parametrize(("name", "unit"), [("Fractional Seconds", 1.0), ("Millisecond", 1e-3),
                                            ("msec", 1e-3), ("Microseconds", 1e-6)])
def test_parts_of_a_second(name: str, unit: float, tmp_path: Path) -> None:
    """They count although no time is repeated, and times that have them already are left alone."""
    slow = 25.5 * T
    lines = [f"2026-10-08,12:00:{int(t):02d},{round((t % 1) / unit, 6):g},5,0.1" for t in slow]
    above = f"Date,Time,{name},Voltage (V),Current (A)\n"
    recording = read(tmp_path, above + "\n".join(lines), "date=ymd")
    np.testing.assert_allclose(recording.t_s - recording.t_s[0], slow, atol=1e-6)
    lines = [f"2026-10-08,12:00:{t:09.6f},{round((t % 1) / unit, 6):g},5,0.1" for t in slow]
    recording = read(tmp_path, above + "\n".join(lines), "date=ymd")
    np.testing.assert_allclose(recording.t_s - recording.t_s[0], slow, atol=1e-6)


def test_reversed_shunt_is_said(tmp_path: Path) -> None:
    recording = read(tmp_path, "Time (s),Voltage (V),Current (A)\n" + scaled(i=-1, order="tvi"))
    assert any("the power is negative" in text for text in recording.warnings)


def test_no_unit_that_cannot_be_si(tmp_path: Path) -> None:
    with pytest.raises(MeterError, match=r"makes 4.* W; state the units"):
        read(tmp_path, "time,voltage,current\n" + scaled(i=1e3, order="tvi"))


def test_overload_is_a_gap(tmp_path: Path) -> None:
    lines = scaled(order="tvi").splitlines()
    lines[7] = f"{T[7]:.12g},5,OL"
    lines[9] = f"{T[9]:.12g},5,9.9E37"
    recording = read(tmp_path, "Time (s),Voltage (V),Current (A)\n" + "\n".join(lines))
    assert recording.t_s.size == N - 2
    assert any("range was exceeded" in text for text in recording.warnings)


def test_what_is_no_number_is_named(tmp_path: Path) -> None:
    lines = scaled(order="tvi").splitlines()
    lines[7] = f"{T[7]:.12g},5,o.1"
    recording = read(tmp_path, "Time (s),Voltage (V),Current (A)\n" + "\n".join(lines))
    assert recording.t_s.size == N - 1
    assert any("'o.1' in line 9 is no number" in text for text in recording.warnings)


def test_repeated_times_are_averaged(tmp_path: Path) -> None:
    text = ("Time (s),Voltage (V),Current (A)\n" + scaled(order="tvi")
            + f"{T[-1]:.12g},{VOLTS[-1]:.12g},{AMPERES[-1] + 0.002:.12g}\n")
    recording = read(tmp_path, text)
    assert recording.amperes is not None
    assert recording.amperes[-1] == pytest.approx(AMPERES[-1] + 0.001)


BEGIN = datetime(2026, 10, 25, 10, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(("form", "settings", "epoch"), [
    ("%Y-%m-%dT%H:%M:%S.%fZ", "", True),
    ("%Y-%m-%d %H:%M:%S.%f+00:00", "", True),
    ("%Y/%m/%d %H:%M:%S.%f", "zone=UTC", True),
    ("%d.%m.%Y %H:%M:%S.%f", "zone=+00:00", True),
    ("%m/%d/%Y %I:%M:%S.%f %p", "zone=UTC", True),
    ("%Y-%m-%d %H:%M:%S.%f", "", False),
    ("%H:%M:%S.%f", "", False),
])
def test_forms_of_dates(form: str, settings: str, epoch: bool, tmp_path: Path) -> None:
    lines = [f"{(BEGIN + timedelta(seconds=t)).strftime(form)},{v},{i}" for t, v, i in
             zip(T.tolist(), VOLTS.tolist(), AMPERES.tolist(), strict=True)]
    recording = read(tmp_path, "Time,Voltage (V),Current (A)\n" + "\n".join(lines), settings)
    check(recording)
    assert (recording.clock == "epoch") == epoch
    if epoch:
        assert recording.t_s[0] == BEGIN.timestamp()
    elif "%Y" in form:
        assert any("no time zone" in text for text in recording.warnings)


@pytest.mark.parametrize("zone", ["+02:00", "-05:30", "Europe/Berlin", "America/New_York"])
def test_time_zones(zone: str, tmp_path: Path) -> None:
    """The same moments, written as clocks of other places show them."""
    place = (timezone(timedelta(hours=int(zone[:3]), minutes=int(zone[0] + zone[4:])))
             if zone[0] in "+-" else ZoneInfo(zone))
    text = "Date,Time,Voltage (V),Current (A)\n" + rows(lambda n, t, v, i:
        f"{(BEGIN + timedelta(seconds=t)).astimezone(place).strftime('%Y-%m-%d,%H:%M:%S.%f')}"
        f",{v},{i}\n")
    recording = read(tmp_path, text, f"zone={zone}")
    check(recording)
    assert recording.t_s[0] == BEGIN.timestamp()


def test_times_of_day_from_one_hour_to_the_next(tmp_path: Path) -> None:
    begin = datetime(2026, 10, 25, 9, 59, 59, tzinfo=UTC)
    lines = [f"{(begin + timedelta(seconds=t)).strftime('%H:%M:%S.%f')},{v},{i}" for t, v, i in
             zip(T.tolist(), VOLTS.tolist(), AMPERES.tolist(), strict=True)]
    check(read(tmp_path, "Time,Voltage (V),Current (A)\n" + "\n".join(lines)))


def test_header_that_no_table_has(tmp_path: Path) -> None:
    with pytest.raises(MeterError, match="is no table"):
        read(tmp_path, "Time (s),Voltage (V),Current (A)," + "x" * 200_000 + "\n"
             + scaled(order="tvi"))


@pytest.mark.parametrize("header", [
    "Iset (A)", "dI (A)", "\u0394I (A)", "Current per cell (A)", "log Current (A)",
    "Cumulative current (A)", "Current ripple (A)", "mA h", "mA*h", "Current (mA h)",
    "Rated current (A)"])
def test_what_is_computed_or_wanted_is_not_the_current(header: str) -> None:
    assert read_header("current", header) is None


def test_a_unit_in_each_cell_is_given(tmp_path: Path) -> None:
    """Nothing is said to have been taken for granted."""
    recording = read(tmp_path, "Time,Voltage,Current\n" + "".join(
        f"{t * 1e3:.12g} ms,{v:.12g} V,{i * 1e3:.12g} mA\n" for t, v, i in
        zip(T.tolist(), VOLTS.tolist(), AMPERES.tolist(), strict=True)))
    check(recording)
    assert recording.warnings == ()


@pytest.mark.parametrize(("quantity", "header"), [
    ("current", "Current (mV)"), ("voltage", "Voltage (mA)"), ("power", "Power (s)"),
    ("time", "Time (V)")])
def test_unit_of_another_quantity(quantity: Quantity, header: str) -> None:
    """A shunt's voltage may be called the current; it is none, and is not offered as one."""
    assert read_header(quantity, header) is None


def test_zone_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(MeterError, match="no time zone 'Mars/Base'; write UTC"):
        read(tmp_path, "Time,V,I\n2026-01-01 12:00:00,5,1\n2026-01-01 12:00:01,5,1\n",
             "zone=Mars/Base")


def test_other_names_of_date_and_time(tmp_path: Path) -> None:
    text = "Datum;Uhrzeit;Spannung [V];Strom [A]\n" + rows(lambda n, t, v, i:
        f"25.10.2026;12:00:{t:06.3f};{v:.12g};{i:.12g}\n".replace(".", ",").replace(
        "25,10,2026", "25.10.2026"))
    with pytest.raises(MeterError, match="no column of time"):
        read(tmp_path, text)
    check(read(tmp_path, text, "time=Datum+Uhrzeit"))


# Variations of the kinds, with the right value computed.

PREFIXES = {"": 1.0, "m": 1e3, "u": 1e6, "\u00b5": 1e6, "\u03bc": 1e6}
TIMES = {"s": 1.0, "ms": 1e3, "us": 1e6, "\u00b5s": 1e6, "\u03bcs": 1e6, "ns": 1e9}
WORDS = {"amps": 1.0, "milliamps": 1e3, "microamperes": 1e6, "Ampere": 1.0, "MilliAmps": 1e3}
STYLES = ("{0} ({1})", "{0}[{1}]", "{0} [{1}]", "{0}/{1}", "{0}_{1}", "{0}({1})", "{0} {1}",
          "{0} in {1}")


@st.composite
def exports(draw: st.DrawFn) -> tuple[bytes, bool]:
    """A file, and whether its times count from 1970."""
    delimiter = draw(st.sampled_from([",", ";", "\t", "|"]))
    decimal = draw(st.sampled_from([".", ","])) if delimiter != "," else "."
    style = draw(st.sampled_from(STYLES))
    row_of_units = draw(st.booleans())
    volt, ampere = draw(st.sampled_from(list(PREFIXES))), draw(st.sampled_from(list(PREFIXES)))
    units = [draw(st.sampled_from(list(TIMES))), f"{volt}V", f"{ampere}A"]
    factors = [TIMES[units[0]], PREFIXES[volt], PREFIXES[ampere]]
    if draw(st.booleans()):
        units[2] = draw(st.sampled_from(list(WORDS)))
        factors[2] = WORDS[units[2]]
    names = ["Time", draw(st.sampled_from(["Voltage", "bus voltage", "Vbus"])),
             draw(st.sampled_from(["Current", "I", "Main current"]))]
    epoch = draw(st.booleans())
    no_unit = epoch and draw(st.booleans())
    begin = 1.79e9 if epoch else draw(st.sampled_from([0.0, 12.5, 86_000.0]))
    header = [name if row_of_units or (n == 0 and no_unit) else style.format(name, unit)
              for n, (name, unit) in enumerate(zip(names, units, strict=True))]
    group = draw(st.sampled_from(["", "'", " ", "\u202f", "." if decimal == "," else ","]))
    if delimiter == ",":
        group = draw(st.sampled_from(["", "'", " "]))
    # Integers first: a decimal sign may come from a later line on.
    lines = []
    for t, v, i in zip((begin + T).tolist(), VOLTS.tolist(), AMPERES.tolist(), strict=True):
        cells = []
        for value, factor in zip((t, v, i), factors, strict=True):
            digits = max(0, 9 - round(math.log10(factor)))
            text = f"{value * factor:,.{digits}f}".replace(",", "G").replace(".", decimal)
            cells.append(text.replace("G", group))
        lines.append(delimiter.join(cells))
    above = [delimiter.join(header)]
    if row_of_units:
        bracket = draw(st.sampled_from(["{}", "({})", "[{}]"]))
        above.append(delimiter.join("" if n == 0 and no_unit else bracket.format(unit)
                                    for n, unit in enumerate(units)))
    comment = draw(st.sampled_from(["", "#", "# ", "% ", "// "]))
    above = [comment + line for line in above]
    if draw(st.booleans()):
        above = ["Exported by an instrument", f"{comment}Serial 007", "", *above]
    text = draw(st.sampled_from(["\n", "\r\n"])).join([*above, *lines]) + "\n"
    encoding = draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]))
    return text.encode(encoding), epoch


@given(exports())
@settings(max_examples=200, deadline=None, suppress_health_check=[
    HealthCheck.function_scoped_fixture])
def test_variations(tmp_path: Path, export: tuple[bytes, bool]) -> None:
    data, epoch = export
    recording = read(tmp_path, data)
    check(recording, rtol=1e-5)
    assert recording.clock == ("epoch" if epoch else "own")
