# SPDX-License-Identifier: Apache-2.0
"""The rules that a hypervisor is checked against, for people: what each says, how bad a breach is,
how sure a finding, what of it is known to be right all the same."""

from dataclasses import dataclass, replace
from enum import Enum

from aether_edgecloud.emulator.monitor.violation import Rule


class Severity(Enum):
    """How bad a breach is. The values are SARIF's levels."""

    ERROR = "error"
    """The architecture allows a wrong result."""
    WARNING = "warning"
    """It depends on something that the checkers cannot see."""
    NOTE = "note"
    """Worth knowing."""


class Confidence(Enum):
    """How sure it is that a finding is a breach."""

    CERTAIN = "certain"
    LIKELY = "likely"
    POSSIBLE = "possible"


@dataclass(frozen=True, slots=True)
class RuleInfo:
    """A rule. `reference` is a place in the Arm ARM (DDI 0487); `help` says why, and what is taken
    for what it is."""

    id: str
    words: str
    reference: str
    severity: Severity
    confidence: Confidence
    help: str


_ERROR, _WARNING, _NOTE = Severity
_CERTAIN, _LIKELY, _POSSIBLE = Confidence

# Of the monitor's rules: how bad, how sure, and more words.
_MONITORED: dict[Rule, tuple[Severity, Confidence, str]] = {
    Rule.VALID_TO_VALID: (
        _ERROR, _CERTAIN,
        "Another output address, size, memory type or table needs an invalid entry and a completed "
        "TLBI in between: else a TLB may hold both, and what an access does is UNPREDICTABLE. "
        "Changes of AF, AP, DBM, XN and the software bits alone are fine.",
    ),
    Rule.MAKE_BEFORE_CLEAN: (
        _ERROR, _CERTAIN,
        "After an entry is made invalid: DSB ISHST, a TLBI that covers the address, the VMID and "
        "both stages, DSB ISH; only then may another be made there. The same one may come back "
        "at any time, also with other permissions, software bits or bits that are ignored; that of "
        "a table, if no entry below it has become another meanwhile.",
    ),
    Rule.NOT_FLUSHED: (
        _ERROR, _LIKELY,
        "Something below EL2 runs while a TLB may hold what EL2 has taken away. Harmless only if "
        "the page is not used for anything else before the TLBI. Not told where the entry is what "
        "it was again, or has lost nothing but AF. For EL2's own tables, which nothing below EL2 "
        "translates by, a warning (possible): EL2 must not use the addresses before the TLBI.",
    ),
    Rule.NOT_PUBLISHED: (
        _WARNING, _CERTAIN,
        "Without a DSB walkers need not see an entry that is now valid. Harmless where the fault "
        "that may follow is taken for one that has been dealt with.",
    ),
    Rule.NOT_VISIBLE: (
        _ERROR, _CERTAIN,
        "What a walker reads in a table must be there before the entry that leads to the table: "
        "a DSB ISHST (for EL2's first tables, before SCTLR_EL2.M is set) in between.",
    ),
    Rule.BAD_DESCRIPTOR: (
        _ERROR, _LIKELY,
        "A table that was not cleared, or an address that no memory has.",
    ),
    Rule.TWO_PARENTS: (
        _WARNING, _LIKELY,
        "What is changed through one parent needs TLB maintenance for the other too, which is not "
        "followed. Tables of EL2 that map themselves (recursive maps), and tables that two of "
        "EL2's trees share at the same VAs (boot and final ones), are understood.",
    ),
    Rule.FROZEN: (
        _ERROR, _LIKELY,
        "The page was unlinked, and no TLBI of the walk caches has been completed since. What "
        "walkers read there may be no descriptor, or contradict a TLB. Not told of entries that "
        "are made invalid, of descriptors that lead to memory where TLBs hold no other, and of "
        "what may change in a valid one; nor of a table that is linked again where it was, if no "
        "entry below it has become another. One that is linked elsewhere is told.",
    ),
    Rule.TABLE_REACHABLE: (
        _ERROR, _CERTAIN,
        "A guest can read or write what translates for it, or for EL2.",
    ),
    Rule.CODE_REACHABLE: (
        _ERROR, _LIKELY,
        "A guest can read or write what EL2 executes. Pages that EL2 executed from and gives away "
        "later (its own boot code) are found too, if it still can execute them.",
    ),
    Rule.VTTBR_MOVED: (
        _WARNING, _POSSIBLE,
        "TLBI by IPA or VMID takes the VMID from VTTBR_EL2 when it is executed, and is complete "
        "only after a DSB. The architecture allows it: a direct write does not affect what comes "
        "before it in program order. But the DSB is late, and walks for the VMID that is entered "
        "may come before it; make sure that this is meant.",
    ),
    Rule.VTTBR_NOT_SYNCHRONISED: (
        _ERROR, _CERTAIN,
        "MSR VTTBR_EL2, ISB, TLBI: without the ISB the TLBI may be for the VMID before. TLBI "
        "ALLE1 and ALLE1IS do not depend on it.",
    ),
    Rule.TWO_ROOTS: (
        _ERROR, _LIKELY,
        "TLBs tell trees apart by VMID alone. A root without any entry, entered to invalidate "
        "another VMID or for the erratum of speculative AT (Cortex-A72 1319367), is understood; "
        "so is a VMID that is used again after TLBI ALLE1IS or VMALLS12E1IS and DSB.",
    ),
    Rule.TWO_VMIDS: (
        _WARNING, _LIKELY,
        "TLB maintenance for one of them does not reach the other's translations.",
    ),
    Rule.BAD_ROOT: (
        _ERROR, _CERTAIN,
        "Stage 2 is on for what runs now, and walks begin where there is no table.",
    ),
    Rule.STAGE2_OFF: (
        _WARNING, _POSSIBLE,
        "What runs now sees all physical memory. A host that the hypervisor trusts may run so.",
    ),
}  # fmt: skip

_NEW = (
    RuleInfo(
        "writable-code",
        "EL2 can write and execute one page while guests run",
        "D8, Data accesses and instruction execution permissions; SCTLR_EL2.WXN",
        _WARNING, _CERTAIN,
        "A leaf of EL2's stage 1 is neither read-only nor execute-never, the table descriptors "
        "above and SCTLR_EL2.WXN considered; or two VAs of one page are the one and the other. "
        "Looked at whenever a guest is entered, so that boot code may do as it likes.",
    ),
    RuleInfo(
        "writable-tables",
        "EL2 maps its translation tables writable",
        "D8, Translation process",
        _NOTE, _CERTAIN,
        "Nearly every hypervisor does. It says how many pages one stray store at EL2 can hit.",
    ),
    RuleInfo(
        "used-before-dsb",
        "EL2 uses a translation whose entry no DSB has made visible to the walkers",
        "D8, Ordering of memory accesses from translation table walks",
        _ERROR, _CERTAIN,
        "The walk may still read the entry as it was: an access that works here faults there. "
        "Seen at the first access to each page.",
    ),
    RuleInfo(
        "used-before-isb",
        "EL2 uses a translation after the DSB, but with no context synchronisation event",
        "D8, Ordering of memory accesses from translation table walks; B2, DSB",
        _WARNING, _LIKELY,
        "DSB, then ISB (or an exception, or a return): the access may have been begun before.",
    ),
    RuleInfo(
        "register-leak",
        "EL2 enters a guest with a register value of another VM's own",
        "D1, Exception return; D19, System register descriptions",
        _ERROR, _LIKELY,
        "Judged by the flow of values: the first VM itself made the value, EL2 put it into the "
        "same register of the second. X, V and EL1's system registers, V only where CPTR_EL2 lets "
        "the guest see it (so lazy switching is understood). Values of less than 16 significant "
        "bits, X registers that answer an HVC, SMC or emulated access, and ESR, FAR, ELR and "
        "SPSR_EL1 of an exception that EL2 gives to the guest are left out. Messages that one VM "
        "sends another elsewhere can look the same.",
    ),
    RuleInfo(
        "control-carried-over",
        "a guest runs with a control register as another VM had it",
        "D19, System register descriptions",
        _WARNING, _POSSIBLE,
        "At a switch of VMs a register had been different for the VM that is entered, is now as "
        "for the one that was left, and was not written. A change that is meant for all VMs looks "
        "the same once.",
    ),
    RuleInfo(
        "reset-unknown",
        "a guest runs with a register that EL2 has not set since reset",
        "D19, System register descriptions: fields that reset to an architecturally UNKNOWN value",
        _WARNING, _CERTAIN,
        "The emulator has zeros there, or the values that firmware leaves; a chip may have "
        "anything.",
    ),
    RuleInfo(
        "bad-vectors",
        "a guest is entered, and EL2's vectors are not where exceptions can be taken to",
        "D1, Exception vectors; VBAR_EL2",
        _ERROR, _CERTAIN,
        "VBAR_EL2 is to be set, 2 KiB aligned, in memory that EL2 can execute and no guest can "
        "write.",
    ),
    RuleInfo(
        "bad-stack",
        "an exception from a guest finds no usable stack",
        "D1, Stack pointer register selection; SP alignment checking",
        _WARNING, _POSSIBLE,
        "SP_EL2 is to be a multiple of 16, with memory below it that EL2 can write and no guest "
        "can. Hypervisors that do not use a stack there trip over nothing. An error (certain) "
        "where SP_EL2 is misaligned and SCTLR_EL2.SA is set.",
    ),
    RuleInfo(
        "shared-stack",
        "two CPUs that run have the same stack",
        "D1, Stack pointer register selection",
        _ERROR, _LIKELY,
        "Within 512 bytes of one another, in one page of memory, as each CPU maps its own.",
    ),
    RuleInfo(
        "tlb-conflict",
        "a CPU uses an address for which its TLB may hold two different entries",
        "D8, TLB conflict aborts; Using break-before-make when updating translation table entries",
        _WARNING, _LIKELY,
        "Seen with --adversary tlb only. Told once for each CPU and pair of descriptors.",
    ),
    RuleInfo(
        "uninitialised-read",
        "EL2 reads memory that nobody has written since reset",
        "B2, Memory type overview: RAM has no architected value at reset",
        _WARNING, _CERTAIN,
        "Seen with --adversary caches only: the first read of each page of which no byte has been "
        "written. A chip may have anything there.",
    ),
)  # fmt: skip


def _all() -> tuple[RuleInfo, ...]:
    monitored = (
        RuleInfo(rule.id, rule.words, rule.reference, severity, confidence, text)
        for rule, (severity, confidence, text) in _MONITORED.items()
    )
    return (*monitored, *_NEW)


RULES = {rule.id: rule for rule in _all()}
"""All of them by id, in the order in which they are listed."""
NOT_FLUSHED_OWN = replace(
    RULES["not-flushed"],
    words="EL2 was left while TLBs may hold a translation of its own that was taken away",
    severity=_WARNING,
    confidence=_POSSIBLE,
)
"""The rule for EL2's own tables."""
MISALIGNED_STACK = replace(RULES["bad-stack"], severity=_ERROR, confidence=_CERTAIN)
"""The rule where the first push faults."""
