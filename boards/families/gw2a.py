"""The Gowin GW2A: a PLL, and weights in block RAM. Its open tools sign no timing off."""

from dataclasses import dataclass
from typing import Self

from amaranth.hdl import Const, Instance, Signal

from trilight.hw.contract.device import Device, WeightMemory
from trilight.hw.flow.gowin import FAMILY_OPTION, GW2A

from .bitstreams import gowin_problem
from .board import BlockRamBoard, FeedbackPll

__all__ = ["GW2ABoard", "PllSettings"]

GW2A_18 = Device(name="gw2a-18", weight_words=6144, weight_memory=WeightMemory.BLOCK_RAM,
                 terminal=True)
"""24 of 46 block RAMs hold weights; tables and other memories take the others."""


@dataclass(frozen=True)
class PllSettings(FeedbackPll):
    """Divider settings of an rPLL of a GW2A, speed C8/I7.

    Limits: Gowin DS226, table of the PLL.
    """

    @classmethod
    def choose(cls, reference_hz: int, output_hz: float) -> Self:
        """Return the settings whose output is nearest to ``output_hz``.

        Among those of the same output, the fastest phase detector wins. Limits of the part:
        detector 3 to 500 MHz, oscillator 500 to 1250 MHz, output 3.90625 to 625 MHz.

        Raises
        ------
        BoardError
            Nothing within 0.1 % can be made.
        """
        choices = [
            settings
            for divider in range(1, 65) if 3e6 <= reference_hz / divider <= 500e6
            for feedback in range(1, 65)
            for output in (2, 4, 8, 16, 32, 48, 64, 80, 96, 112, 128)
            if 500e6 <= (settings := cls(reference_hz, divider, feedback, output)).output_hz
            * output <= 1250e6 and 3.90625e6 <= settings.output_hz <= 625e6
        ]
        return cls.nearest(choices, reference_hz, output_hz)


class GW2ABoard(BlockRamBoard):
    """A board with a GW2A, whose part its platform says."""

    # Half of what the tools promise, because what they promise leaves out block RAM.
    default_hz = 45_000_000
    toolchain = GW2A
    device = GW2A_18
    max_hz = 60_000_000
    max_hz_reason = "as long as no tool signs off more"
    # Gowin UG290: the rate unless a bitstream sets another.
    configuration_hz = 2.5e6
    reset_seconds = 5e-6
    pll_settings = PllSettings

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.part = cls.platform_class.part
        # The die is the same with and without memory in the package.
        family = cls.platform_class.family.replace("GW2AR", "GW2A")
        cls.part_options = ("--device", cls.part, "--vopt", f"{FAMILY_OPTION}{family}")

    def bitstream_problem(self, data: bytes) -> str | None:
        return gowin_problem(data, "GW2A-18")

    def flashed_bytes(self, data: bytes) -> int:
        # The file is text, of which bits are written.
        bits: int = data.count(b"0") + data.count(b"1")
        return bits // 8

    def make_pll(self, reference: Signal, clock: Signal, locked: Signal) -> Instance:
        pll = self.pll
        assert isinstance(pll, PllSettings)
        return Instance(
            "rPLL",
            p_FCLKIN=f"{pll.reference_hz / 1e6:g}",
            p_IDIV_SEL=pll.divider - 1,
            p_FBDIV_SEL=pll.feedback - 1,
            p_ODIV_SEL=pll.output,
            i_CLKIN=reference,
            i_CLKFB=0,
            i_RESET=0,
            i_RESET_P=0,
            i_FBDSEL=Const(0, 6),
            i_IDSEL=Const(0, 6),
            i_ODSEL=Const(0, 6),
            i_PSDA=Const(0, 4),
            i_DUTYDA=Const(0, 4),
            i_FDLY=Const(0, 4),
            o_CLKOUT=clock,
            o_LOCK=locked,
        )
