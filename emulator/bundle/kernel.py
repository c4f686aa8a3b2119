# SPDX-License-Identifier: Apache-2.0
"""Where the kernel of a VM goes, and its DTB and ramdisk behind it.

All go into the first memory range: the kernel from its first 2 MiB boundary on, as its header
wants; the DTB at the next boundary behind the kernel's BSS, so that no 2 MiB block holds a part of
it only; the ramdisk at the page behind the DTB.
"""

from dataclasses import dataclass

from aether_edgecloud.emulator.bundle import linux_image
from aether_edgecloud.emulator.bundle.linux_image import align_up
from aether_edgecloud.emulator.bundle.manifest import Memory
from aether_edgecloud.emulator.bundle.span import PAGE, Span
from aether_edgecloud.emulator.errors import UserError

DTB_LIMIT = 2 << 20
"""Linux maps no larger one."""


@dataclass(frozen=True, slots=True)
class Placed:
    """IPAs of kernel (with its BSS), DTB, and ramdisk, if there is one."""

    kernel: Span
    dtb: Span
    ramdisk: Span | None

    @property
    def end(self) -> int:
        """The first IPA behind it all."""
        return max(s.end for s in (self.kernel, self.dtb, self.ramdisk) if s is not None)


def place(
    kernel: bytes,
    memory: Memory,
    *,
    dtb_size: int,
    dtb_ipa: int | None,
    ramdisk_size: int | None,
    where_kernel: str,
    where: str,
) -> Placed:
    """Finds the places in `memory`. UserError for what is no kernel and for too little memory."""
    header = linux_image.parse(kernel, where=where_kernel)
    kernel_span = Span("the kernel", header.load_address(memory.ipa), header.memory_size)
    if dtb_size > DTB_LIMIT:
        raise UserError(
            f"a DTB of {dtb_size} bytes is too large for a kernel",
            where=where,
            fix=f"give one of {DTB_LIMIT >> 20} MiB at most",
        )
    behind = align_up(kernel_span.end, linux_image.ALIGNMENT)
    dtb_span = Span("the DTB", behind if dtb_ipa is None else dtb_ipa, dtb_size)
    ramdisk_span = None
    if ramdisk_size is not None:
        start = align_up(dtb_span.end if dtb_ipa is None else behind, PAGE)
        ramdisk_span = Span("the ramdisk", start, ramdisk_size)
        if dtb_ipa is not None and ramdisk_span.overlaps(dtb_span):
            start = align_up(dtb_span.end, PAGE)
            ramdisk_span = Span("the ramdisk", start, ramdisk_size)
    placed = Placed(kernel_span, dtb_span, ramdisk_span)
    wanted = placed.end - memory.ipa
    if wanted > memory.size:
        parts = "kernel and DTB" if ramdisk_span is None else "kernel, DTB and ramdisk"
        raise UserError(
            f"{parts} need {align_up(wanted, _MIB) // _MIB} MiB of memory, and there are"
            f" {memory.size / _MIB:g} MiB at {memory.ipa:#x}",
            where=where,
            fix="give the VM more memory, and the kernel some to work with",
        )
    return placed


_MIB = 1 << 20
