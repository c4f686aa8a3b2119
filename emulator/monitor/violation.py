# SPDX-License-Identifier: Apache-2.0
"""What EL2 can do wrong, as the architecture sees it, and the report of it."""

from enum import Enum


class Rule(Enum):
    """A rule: an identifier, what breaks it in words, and where the Arm ARM (DDI 0487) has it."""

    VALID_TO_VALID = (
        "a valid entry of a live table was replaced without break-before-make",
        "D8, Using break-before-make when updating translation table entries",
    )
    MAKE_BEFORE_CLEAN = (
        "an entry was made valid before the translations it had replaced were gone from every TLB",
        "D8, Using break-before-make when updating translation table entries",
    )
    NOT_FLUSHED = (
        "EL2 was left while TLBs may hold a translation that was taken away",
        "D8, TLB maintenance; Ordering and completion of TLB maintenance instructions",
    )
    NOT_PUBLISHED = (
        "EL2 was left before a DSB made a new entry visible to the walkers",
        "D8, Ordering of memory accesses from translation table walks",
    )
    NOT_VISIBLE = (
        "a table was linked before a DSB made its contents visible to the walkers",
        "D8, Ordering of memory accesses from translation table walks",
    )
    BAD_DESCRIPTOR = (
        "a live table has an entry that cannot be meant: beyond the output size, or no table there",
        "D8, Translation table descriptor formats",
    )
    TWO_PARENTS = (
        "a page that is a live table was linked a second time: the tables form no tree",
        "D8, Translation process",
    )
    FROZEN = (
        "a table was written or linked again while walkers may still reach it by an old entry",
        "D8, Using break-before-make when updating translation table entries",
    )
    TABLE_REACHABLE = (
        "a translation table can be reached through stage 2",
        "D8, Translation process",
    )
    CODE_REACHABLE = (
        "a page from which EL2 executes can be reached through stage 2",
        "D8, Translation process",
    )
    VTTBR_MOVED = (
        "VTTBR_EL2 was changed between a TLBI that depends on it and the DSB that completes it",
        "D8, Ordering and completion of TLB maintenance instructions",
    )
    VTTBR_NOT_SYNCHRONISED = (
        "a TLBI that depends on VTTBR_EL2 came after a change of it without an ISB between",
        "D19, Synchronization requirements for AArch64 System registers",
    )
    TWO_ROOTS = (
        "two trees ran with one VMID",
        "D8, Translation Lookaside Buffers: VMID",
    )
    TWO_VMIDS = (
        "one tree ran with two VMIDs",
        "D8, Translation Lookaside Buffers: VMID",
    )
    BAD_ROOT = (
        "EL2 was left with stage 2 on and a VTTBR_EL2 or VTCR_EL2 that leads to no tree",
        "D8, Translation process; VTTBR_EL2",
    )
    STAGE2_OFF = (
        "EL2 was left for EL1 or EL0 with stage 2 off, which had been on",
        "D19, HCR_EL2.VM",
    )

    def __init__(self, words: str, reference: str) -> None:
        self.words = words
        self.reference = reference

    @property
    def id(self) -> str:
        """The name of the rule in reports: "make-before-clean"."""
        return self.name.lower().replace("_", "-")


class Violation(AssertionError):
    """One breach of a rule, with all that is known about it.

    `pc` is a VA at EL2; `instruction` the number of instructions that `cpu` had retired. Of an
    entry: its PA, level, the first input address it translates, the descriptor before and after.
    `pa` is the page or register value in question where that is not the entry.
    """

    def __init__(
        self,
        rule: Rule,
        *,
        cpu: int = 0,
        pc: int = 0,
        instruction: int = 0,
        vmid: int | None = None,
        entry_pa: int | None = None,
        level: int | None = None,
        ia: int | None = None,
        old: int | None = None,
        new: int | None = None,
        pa: int | None = None,
    ) -> None:
        self.rule = rule
        self.cpu = cpu
        self.pc = pc
        self.instruction = instruction
        self.vmid = vmid
        self.entry_pa = entry_pa
        self.level = level
        self.ia = ia
        self.old = old
        self.new = new
        self.pa = pa
        super().__init__(str(self))

    def __str__(self) -> str:
        regime = "EL2 stage 1" if self.vmid is None else f"VMID {self.vmid}"
        found = [f"{self.rule.id}: {self.rule.words} ({regime}"]
        if self.entry_pa is not None:
            found.append(f", level {self.level} entry at PA {self.entry_pa:#x}")
        if self.ia is not None:
            found.append(f", {'VA' if self.vmid is None else 'IPA'} {self.ia:#x}")
        if self.old is not None and self.new is not None:
            found.append(f", {self.old:#x} -> {self.new:#x}")
        if self.pa is not None:
            found.append(f", {self.pa:#x}")
        where = f"CPU {self.cpu}, PC {self.pc:#x}, instruction {self.instruction}"
        return f"{''.join(found)}; {where}; Arm ARM {self.rule.reference})"
