# SPDX-License-Identifier: Apache-2.0
"""What IHI 0048B leaves to an implementation of GICv2, as data."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class GicVariant:
    """The IMPLEMENTATION DEFINED choices of one GICv2.

    `priority_bits` counts the implemented high bits of an 8-bit priority; the others are RAZ/WI.
    `min_binary_point` is the least GICC_BPR; the least GICC_ABPR is one more.
    `cpu_interface_control` holds the writable bits of GICC_CTLR.
    """

    name: str
    priority_bits: int
    min_binary_point: int
    cpu_interface_control: int
    distributor_iidr: int
    cpu_interface_iidr: int

    @property
    def priority_mask(self) -> int:
        """The implemented bits of a priority."""
        return 0xFF & ~(0xFF >> self.priority_bits)


QEMU_VIRT = GicVariant(
    name="qemu-virt",
    priority_bits=8,
    min_binary_point=0,
    cpu_interface_control=0x21F,  # no interrupt bypass
    distributor_iidr=0x0000043B,
    cpu_interface_iidr=0x0002043B,
)
"""The GICv2 of QEMU's `virt` with `secure=off`: all priority bits, no Security Extensions."""

GIC_400 = GicVariant(
    name="gic-400",
    priority_bits=5,
    min_binary_point=2,
    cpu_interface_control=0x3FF & ~(1 << 10),
    distributor_iidr=0x0200143B,
    cpu_interface_iidr=0x0202143B,
)
"""Arm's GIC-400 (DDI 0471): 32 priorities. Its Security Extensions are not modelled."""
