"""The Lattice ECP5: a PLL of free dividers, and weights in block RAM."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from amaranth.build import Attrs, Pins, PinsN, Resource, Subsignal
from amaranth.hdl import Instance, Module, Signal, Value

from trilight.hw.contract.device import Device, WeightMemory
from trilight.hw.contract.protocol import FLASH_OFFSET
from trilight.hw.flow.ecp5 import CONFIGURATION_MHZ, ECP5

from .bitstreams import ecp5_problem
from .board import BlockRamBoard, FeedbackPll

__all__ = ["ECP5Board", "PllSettings", "boot_flash"]

PACKAGES = {"BG256": "CABGA256", "MG285": "CSFBGA285", "BG381": "CABGA381", "BG554": "CABGA554"}
"""Packages by Lattice's ordering code, in nextpnr's words."""

# Of 56, 108 and 208 block RAMs, tables and other memories take 21, and 1,024 words of weights
# take 4. The 85F has the logic for words of 86 codes, whose tables lie in LUT RAM: a word covers a
# row of 256 columns, and 192 block RAMs hold 2 million weights.
DEVICES = {size: Device(name=f"ecp5-{size.lower()}", weight_words=words,
                        weight_memory=WeightMemory.BLOCK_RAM, terminal=True, late_block_ram=True)
           for size, words in (("12F", 8192), ("25F", 8192), ("45F", 16384))}
DEVICES["85F"] = Device(name="ecp5-85f", weight_memory=WeightMemory.BLOCK_RAM, lanes=86, trits=3,
                        weight_words=8192, max_rows=1024, max_columns=512, max_channels=768,
                        terminal=True, late_block_ram=True)
"""Device of each size of part."""

FLASH_CLOCK = "trace_flash_clock"
"""Signal of the flash memory's clock, which a simulation sees in the place of a pin."""

FLASH_OFFSETS = {"12F": FLASH_OFFSET, "25F": FLASH_OFFSET, "45F": 2 * FLASH_OFFSET,
                 "85F": 3 * FLASH_OFFSET}
"""First byte of a model by the size of the part: a whole bitstream, with all of its block RAM, has
0.7, 1.4 and 2.4 MB at most."""


def boot_flash(*, cs_n: str, copi: str, cipo: str, wp_n: str, hold_n: str) -> Resource:
    """Return the resource ``boot_flash``: a flash memory without its clock, which has no pin.

    ``wp_n`` and ``hold_n`` may be empty, of a board that keeps them high.
    """
    modes = [Subsignal(name, PinsN(pin, dir="o"))
             for name, pin in (("wp", wp_n), ("hold", hold_n)) if pin]
    return Resource("boot_flash", 0, Subsignal("cs", PinsN(cs_n, dir="o")),
                    Subsignal("copi", Pins(copi, dir="o")), Subsignal("cipo", Pins(cipo, dir="i")),
                    *modes, Attrs(IO_TYPE="LVCMOS33"))


@dataclass(frozen=True)
class PllSettings(FeedbackPll):
    """Divider settings of an EHXPLLL whose feedback is its primary output.

    Limits: Lattice FPGA-DS-02012, table of the sysCLOCK PLL.
    """

    @property
    def phase(self) -> int:
        """Coarse phase of the output: half a cycle, as Lattice's tools set it."""
        return self.output // 2

    @classmethod
    def choose(cls, reference_hz: int, output_hz: float) -> Self:
        """Return the settings whose output is nearest to ``output_hz``.

        Among those of the same output, the oscillator nearest to the middle of its range, 600 MHz,
        wins. Limits of the part: detector 3.125 to 400 MHz, oscillator 400 to 800 MHz, output 10
        to 400 MHz.

        Raises
        ------
        BoardError
            Nothing within 0.1 % can be made.
        """
        choices = [
            settings
            for divider in range(1, 129) if 3.125e6 <= reference_hz / divider <= 400e6
            for feedback in range(1, 81)
            for output in range(1, 129)
            if 400e6 <= (settings := cls(reference_hz, divider, feedback, output)).vco_hz <= 800e6
            and 10e6 <= settings.output_hz <= 400e6
        ]
        choices.sort(key=lambda settings: abs(settings.vco_hz - 600e6))
        return cls.nearest(choices, reference_hz, output_hz)


class ECP5Board(BlockRamBoard):
    """A board with an ECP5, whose size, package and speed its platform says."""

    default_hz = 80_000_000
    # Of the rates that serial programs list, the slowest that carries all tokens in frames.
    default_baud: ClassVar[int | None] = 1_000_000
    toolchain = ECP5
    max_hz = 400_000_000
    max_hz_reason = "the most that the PLL makes"
    # Memories are ready when the part wakes; this outlasts the settling of its global reset.
    reset_seconds = 5e-6
    pll_settings = PllSettings
    configuration_hz = float(CONFIGURATION_MHZ) * 1e6
    flash_holds = True

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        platform = cls.platform_class
        line, _, size = platform.device.partition("-")
        prefix = line.removeprefix("LFE5U").lower()
        cls.part = f"{platform.device}-{platform.speed}{platform.package}{platform.grade}"
        cls.part_options = (f"--{f'u{prefix}-' if prefix else ''}{size.lower().replace('f', 'k')}",
                            "--package", PACKAGES[platform.package], "--speed", platform.speed)
        if "device" not in vars(cls):
            cls.device = DEVICES[size]
        cls.flash_offset = FLASH_OFFSETS[size]

    def bitstream_problem(self, data: bytes) -> str | None:
        return ecp5_problem(data, self.platform_class.device.partition("-")[2])

    @property
    def flash_pins(self) -> Mapping[str, str]:
        pins = super().flash_pins
        return {**pins, "clk": f"flash.{FLASH_CLOCK}"} if pins else {}

    def make_flash_clock(self, m: Module, flash: Any, level: Value) -> None:
        shown = Signal(name=FLASH_CLOCK, attrs={"keep": 1})
        m.d.comb += shown.eq(level)
        # Lattice FPGA-TN-02039: the pin of the configuration clock, which is free from then on.
        m.submodules.mclk = Instance("USRMCLK", i_USRMCLKI=shown, i_USRMCLKTS=0)

    def make_pll(self, reference: Signal, clock: Signal, locked: Signal) -> Instance:
        pll = self.pll
        assert isinstance(pll, PllSettings)
        return Instance(
            "EHXPLLL",
            # The loop filter of Lattice's tools, for any frequency.
            a_ICP_CURRENT="12",
            a_LPF_RESISTOR="8",
            a_MFG_ENABLE_FILTEROPAMP="1",
            a_MFG_GMCREF_SEL="2",
            a_FREQUENCY_PIN_CLKI=f"{pll.reference_hz / 1e6:g}",
            a_FREQUENCY_PIN_CLKOP=f"{pll.output_hz / 1e6:g}",
            p_PLLRST_ENA="DISABLED",
            p_INTFB_WAKE="DISABLED",
            p_STDBY_ENABLE="DISABLED",
            p_DPHASE_SOURCE="DISABLED",
            p_OUTDIVIDER_MUXA="DIVA",
            p_OUTDIVIDER_MUXB="DIVB",
            p_OUTDIVIDER_MUXC="DIVC",
            p_OUTDIVIDER_MUXD="DIVD",
            p_CLKI_DIV=pll.divider,
            p_CLKFB_DIV=pll.feedback,
            p_CLKOP_ENABLE="ENABLED",
            p_CLKOP_DIV=pll.output,
            p_CLKOP_CPHASE=pll.phase,
            p_CLKOP_FPHASE=0,
            p_FEEDBK_PATH="CLKOP",
            i_RST=0,
            i_STDBY=0,
            i_CLKI=reference,
            i_CLKFB=clock,
            i_PHASESEL0=0,
            i_PHASESEL1=0,
            i_PHASEDIR=1,
            i_PHASESTEP=1,
            i_PHASELOADREG=1,
            i_PLLWAKESYNC=0,
            i_ENCLKOP=0,
            o_CLKOP=clock,
            o_LOCK=locked,
        )
