"""Which memory a device keeps its weights in."""

from amaranth.lib import wiring

from trilight.hw.contract.device import Device
from trilight.hw.contract.device import WeightMemory as Kind
from trilight.hw.contract.errors import CapacityError

from .bram import BlockRamWeights
from .spram import WeightMemory

__all__ = ["weight_memory"]


def weight_memory(device: Device) -> wiring.Component:
    """Return the component that holds a device's weights, with the face of ``WeightMemory``.

    Raises
    ------
    CapacityError
        The device's weights come from outside.
    """
    match device.weight_memory:
        case Kind.SPRAM:
            return WeightMemory()
        case Kind.BLOCK_RAM:
            return BlockRamWeights(device.weight_words)
        case kind:
            raise CapacityError(f"{device.name} keeps its weights in a memory of the kind "
                                f"{kind.value}, which the core has no port for; use block RAM")
