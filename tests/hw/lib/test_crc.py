import zlib
from typing import Any

import numpy as np
from amaranth.hdl import Module, Signal
from amaranth.sim import Simulator

from trilight.hw.lib.crc import CRC_BITS, CRC_INIT, CRC_RESIDUE, crc32_step


def test_step_agrees_with_the_check_value_and_with_zlib(rng: np.random.Generator) -> None:
    m = Module()
    crc, byte, after = Signal(CRC_BITS), Signal(8), Signal(CRC_BITS)
    m.d.comb += after.eq(crc32_step(crc, byte))
    data = b"123456789" + rng.bytes(500)

    async def testbench(ctx: Any) -> None:
        register = CRC_INIT
        for n, value in enumerate(data, 1):
            ctx.set(crc, register)
            ctx.set(byte, value)
            register = ctx.get(after)
            assert register ^ CRC_INIT == zlib.crc32(data[:n])
            if n == 9:
                assert register ^ CRC_INIT == 0xCBF43926
        for value in (register ^ CRC_INIT).to_bytes(4, "little"):
            ctx.set(crc, register)
            ctx.set(byte, value)
            register = ctx.get(after)
        assert register == CRC_RESIDUE

    sim = Simulator(m)
    sim.add_testbench(testbench)
    sim.run()
