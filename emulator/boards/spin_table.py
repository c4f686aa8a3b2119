# SPDX-License-Identifier: Apache-2.0
"""CPUs that wait in a spin table (Devicetree Specification, "cpu-release-addr").

Firmware lets every CPU run. All but the first execute `CODE` at EL2, from the start of a page that
is reserved for it, until an address other than 0 stands at their release address and an event has
woken them; then they enter there, at EL2 with their MMU off.
"""

import struct
from dataclasses import dataclass

SIZE = 4096
_TABLE = 0x100

CODE = struct.pack(
    "<11I",
    0xD53800A6,  # mrs  x6, mpidr_el1
    0x92401CC6,  # and  x6, x6, #0xff
    0x100007C5,  # adr  x5, table
    0xD503205F,  # wait: wfe
    0xF86678A4,  # ldr  x4, [x5, x6, lsl #3]
    0xB4FFFFC4,  # cbz  x4, wait
    0xD2800000,  # mov  x0, #0
    0xD2800001,  # mov  x1, #0
    0xD2800002,  # mov  x2, #0
    0xD2800003,  # mov  x3, #0
    0xD61F0080,  # br   x4
)


@dataclass(frozen=True, slots=True)
class SpinTable:
    """A spin table in the page at PA `base`; its code starts there."""

    base: int

    @property
    def pages(self) -> range:
        """What the operating system must not use, as a range of PA."""
        return range(self.base, self.base + SIZE)

    def release_address(self, cpu: int) -> int:
        """The PA of the 64-bit word that holds where `cpu` is to go; 0 until then."""
        return self.base + _TABLE + 8 * cpu
