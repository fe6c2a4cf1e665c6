"""A board's memory outside the chip, as a model beside the simulated design."""

import copy
from collections.abc import Callable
from importlib import resources
from typing import Any

from amaranth.hdl import ClockSignal, Instance, Module, Signal

from trilight.hw.contract.device import Device
from trilight.hw.contract.outside import Outside, QuadFlash, Sdram, WordPort
from trilight.hw.flow.build import BoardDesign
from trilight.hw.interfaces import outside_request_layout

from .native.verilog import MODELS

__all__ = ["FASTEST", "add_model", "with_models"]

FASTEST = WordPort()
"""A memory without its waiting cycles: whatever a token is, it is the same one from here."""


class _ModelTools:
    """Tools of a family that know the models too."""

    def __init__(self, tools: Any) -> None:
        self._tools = tools
        # In the script itself: Yosys, as WebAssembly, does not see every folder.
        models = (resources.files("trilight.sim.cells") / MODELS).read_text()
        self.library = f"{tools.library}\nread_verilog -lib <<MODELS\n{models}\nMODELS"

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tools, name)


def with_models(board: BoardDesign, memory: Outside | None = None) -> BoardDesign:
    """Return a board with the model of its memory in place of pins; any other as it is.

    Parameters
    ----------
    memory
        What the memory is like, unless it is as the device has it: one that wants to be asked
        later, for example.
    """
    device: Device | None = getattr(board, "device_config", None)
    if device is None or not device.streamed:
        return board
    simulated: Any = copy.copy(board)
    simulated.toolchain = _ModelTools(board.toolchain)
    simulated.connect_outside = _connector(device, memory or device.outside)
    return simulated  # type: ignore[no-any-return]  # a copy of a board is one


def _connector(device: Device, memory: Outside | None) -> Callable[[Module, Any, Any], None]:
    def connect(m: Module, platform: Any, pins: Any) -> None:
        add_model(m, device, memory, pins)

    return connect


def add_model(m: Module, device: Device, outside: Outside | None,
              pins: Any) -> Signal:
    """Add the model of a memory at a device's pins; return whether it was asked too early."""
    violation = Signal()
    trace_violation = Signal(attrs={"keep": 1})
    m.d.comb += trace_violation.eq(violation)
    if isinstance(outside, QuadFlash):
        m.submodules.flash_model = Instance(
            "TRILIGHT_FLASH", p_ROW_BITS=(outside.megabytes << 19).bit_length() - 1,
            p_FIRST_BYTE=outside.first_byte, p_DUMMY=outside.dummy,
            p_WAKE=outside.wake - 16, p_DESELECT=outside.deselect - 1,
            i_clk=ClockSignal(), i_select=pins.select, i_clock=pins.clock, i_o=pins.o,
            i_oe=pins.oe, o_i=pins.i, o_violation=violation)
    elif isinstance(outside, Sdram):
        names = ("cas", "activate", "active", "precharge", "refresh", "write_recovery", "power_up",
                 "data_bits", "column_bits", "row_bits", "bank_bits")
        m.submodules.sdram_model = Instance(
            "TRILIGHT_SDRAM", **{f"p_{name.upper()}": getattr(outside, name) for name in names},
            p_ADDRESS_BITS=len(pins.address), p_INTERVAL=outside.interval + 20,
            i_clk=ClockSignal(), i_command=pins.command, i_bank=pins.bank, i_address=pins.address,
            i_o=pins.o, i_oe=pins.oe, i_mask=pins.mask, o_i=pins.i, o_violation=violation)
    else:
        assert isinstance(outside, WordPort)
        request, word = pins.requests, pins.words
        units = device.packing.word_units
        m.submodules.words_model = Instance(
            "TRILIGHT_WORDS", p_ROW_BITS=(outside.words * units - 1).bit_length(),
            p_UNIT_BITS=outside_request_layout(device)["unit"].width, p_UNITS=units,
            p_WORD_BITS=device.packing.word_bits, p_LATENCY=outside.latency,
            p_PAUSES=outside.pauses, p_SEED=outside.seed, i_clk=ClockSignal(),
            i_request_valid=request.valid, o_request_ready=request.ready,
            i_request_write=request.payload.write, i_request_tag=request.payload.tag,
            i_request_unit=request.payload.unit, i_request_data=request.payload.data,
            o_word_valid=word.valid, i_word_ready=word.ready, o_word_tag=word.payload.tag,
            o_word=word.payload.word)
    return violation
