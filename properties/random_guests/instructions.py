# SPDX-License-Identifier: Apache-2.0
"""Strategies for steps and programs of random guests (`guest_stubs/random_programs.py`). What comes
first is what a failure shrinks to."""

from hypothesis import strategies as st

from aether_edgecloud.emulator.arch import sysregs
from aether_edgecloud.guest_stubs import ffa
from aether_edgecloud.guest_stubs.random_programs import (
    CODE,
    DATA,
    FAR_BASE,
    FAR_SIZE,
    GICC,
    GICD,
    MEMORY_BASE,
    MEMORY_SIZE,
    TABLE_PAGES,
    TABLES,
    VECTORS,
    AtEl0,
    End,
    Eret,
    Jump,
    Loop,
    Mmu,
    Patch,
    Program,
    Step,
    Store,
    Text,
    Vectors,
    With,
    Word,
    mrs,
    msr,
    sysreg,
)

UART = 0x0900_0000
TELEMETRY = 0x0A00_0000
FFA_WINDOW = 0x7000_0000
TOP = (1 << 64) - 1

WORDS = st.integers(0, 0xFFFF_FFFF)
SMALL = st.integers(0, 7)
PLACES = (
    DATA,
    MEMORY_BASE,
    MEMORY_BASE + MEMORY_SIZE,
    FAR_BASE,
    FAR_BASE + FAR_SIZE,
    UART,
    GICD,
    GICC,
    GICC + 0x1000,
    GICC + 0x2000,
    TELEMETRY,
    CODE[0],
    VECTORS,
    TABLES,
    FFA_WINDOW,
    0,
    0x2000_0000,
    1 << 39,
    1 << 40,
    1 << 44,
    1 << 48,
    1 << 63,
    TOP + 1 - (1 << 39),
    TOP + 1,
)
"""Own memory and its ends, devices, nobody's, and where address spaces end."""

ADDRESSES = (
    st.builds(lambda at: DATA + at, st.integers(0, 0x1FFF))
    | st.builds(lambda place, at: (place + at) & TOP, st.sampled_from(PLACES), st.integers(-16, 64))
    | st.builds(
        lambda place, at: (place + at) & TOP, st.sampled_from(PLACES), st.integers(0, 0x1FFF)
    )
    | st.integers(0, TOP)
)
ORDERLY_ADDRESSES = st.builds(lambda at: DATA + at, st.integers(0, 0x1FFF)) | st.builds(
    lambda place, at: place + 8 * at,
    st.sampled_from((DATA, FAR_BASE, UART, GICD, GICC, TELEMETRY, 0x2000_0000)),
    st.integers(0, 0xFF),
)
VALUES = (
    st.sampled_from((0, 1, TOP, 1 << 63, 0xFFFF_FFFF, 1 << 31))
    | st.integers(0, 0xFFFF)
    | st.builds(lambda bit: 1 << bit, st.integers(0, 63))
    | ADDRESSES
)

ARITHMETIC = (
    "nop",
    "add x2, x3, x4",
    "subs w5, w6, w7, lsl #3",
    "madd x8, x2, x3, x4",
    "udiv x2, x3, x4",
    "csel x5, x6, x7, lt",
    "extr x2, x3, x4, #7",
    "crc32x w2, w3, x4",
    "ror x3, x3, x4",
    "mrs x2, nzcv",
    "fmov d0, x2",
    "fadd d0, d1, d2",
    "fdiv v1.4s, v2.4s, v3.4s",
    "dsb sy",
    "dmb ish",
    "isb",
    "yield",
    "sev",
    "mov sp, x2",
    "add sp, sp, #16",
)
ACCESSES = (
    "ldr x2, [x1]",
    "str x2, [x1]",
    "ldrb w2, [x1]",
    "strb w2, [x1]",
    "ldrh w2, [x1]",
    "strh w2, [x1]",
    "ldr w2, [x1]",
    "str w2, [x1]",
    "ldrsb x2, [x1]",
    "ldrsh w2, [x1]",
    "ldrsw x2, [x1]",
    "ldr w1, [x1]",
    "str wzr, [x1]",
    "ldr xzr, [x1]",
    "ldr x2, [x1], #8",
    "ldr x2, [x1, #-16]!",
    "str w2, [x1], #4",
    "str w2, [x1, #4]!",
    "ldr x2, [x1, w3, uxtw]",
    "ldp x2, x3, [x1]",
    "stp x2, x3, [x1]",
    "ldp w2, w3, [x1], #8",
    "stp x2, x3, [x1, #-16]!",
    "ldpsw x2, x3, [x1]",
    "ldnp x2, x3, [x1]",
    "stnp w2, w3, [x1]",
    "ldtr x2, [x1]",
    "sttr w2, [x1]",
    "ldar x2, [x1]",
    "stlr w2, [x1]",
    "ldaxrb w2, [x1]",
    "ldxr x2, [x1]; add x2, x2, #1; stxr w3, x2, [x1]",
    "stxr w3, x2, [x1]",
    "ldxp x2, x3, [x1]; stlxp w4, x2, x3, [x1]",
    "clrex",
    "ldr q0, [x1]",
    "str q0, [x1]",
    "str b0, [x1]",
    "ldp d0, d1, [x1]",
    "st1 {v0.16b}, [x1]",
    "ld4 {v0.16b, v1.16b, v2.16b, v3.16b}, [x1]",
    "ld1r {v0.2d}, [x1], #8",
    "prfm pldl1keep, [x1]",
    "mov sp, x1; ldr x2, [sp]; mov x3, sp",
    "mov x3, x1; ldr x2, [x3, x3]",
)
LSE = (0xF8E20023, 0xB8208022, 0xC8A27C23, 0x48227C24)
"""LDADDAL, SWP, CAS and CASP on [X1]: what a Cortex-A72 does not have."""
MAINTENANCE = (
    "dc zva, x1",
    "dc civac, x1",
    "dc cvac, x1",
    "dc cvau, x1",
    "dc ivac, x1",
    "dc isw, x1",
    "dc cisw, x1",
    "ic ivau, x1",
    "ic iallu",
    "ic ialluis",
    "at s1e1r, x1",
    "at s1e1w, x1",
    "at s1e0r, x1",
    "at s12e1r, x1",
    "at s1e2w, x1",
    "tlbi vmalle1",
    "tlbi vmalle1is",
    "tlbi vae1, x1",
    "tlbi vaale1is, x1",
    "tlbi aside1, x1",
    "tlbi ipas2e1, x1",
    "tlbi vmalls12e1is",
    "tlbi alle2",
)
ID_REGISTERS = (
    "mrs x2, id_aa64pfr0_el1",
    "mrs x2, id_aa64mmfr0_el1",
    "mrs x2, midr_el1",
    "mrs x2, mpidr_el1",
    "mrs x2, cntvct_el0",
    "mrs x2, ctr_el0",
    "msr tpidr_el0, x2",
    "msr contextidr_el1, x2",
    "mrs x2, actlr_el1",
)
PSTATE = (
    "msr daifclr, #15",
    "msr daifset, #15",
    "msr daifclr, #2",
    "msr spsel, #0",
    "msr spsel, #1",
)
WAITS = ("wfe", "sevl; wfe; wfe", "wfi")

FUNCTIONS = (
    *(0x8000_0000, 0x8000_0001, 0x8000_8000, 0x8000_7FFF),
    *(0x8400_0000, 0x8400_0001, 0xC400_0001, 0x8400_0003, 0xC400_0003, 0x8400_0004, 0xC400_0004),
    *(0x8400_0005, 0x8400_0006, 0x8400_0007, 0x8400_000A, 0x8400_000F, 0x8400_0014, 0xC400_0012),
    *(0x8600_0000, 0x8600_0001, 0xC600_0002, 0x8600_FF00, 0x8600_FF01, 0x8600_FF03, 0x8600_FF02),
)
LAST_FUNCTIONS = (0x8400_0002, 0x8400_0008, 0x8400_0009, 0xC400_000E, 0x8400_000B)
"""These may end the vCPU's or the VM's life."""
CALLS = ("hvc #0", "smc #0")
OTHER_CALLS = ("hvc #{}", "smc #{}", "svc #{}", "brk #{}", "hlt #{}", "dcps1 #{}")

GICD_REGISTERS = (
    *(0, 4, 8, 0x80, 0x100, 0x104, 0x108, 0x180, 0x200, 0x204, 0x208, 0x280, 0x300, 0x380),
    *(0x400, 0x41C, 0x45C, 0x800, 0x820, 0xC00, 0xC04, 0xF00, 0xF10, 0xF20, 0xFE8, 0xFFC),
)
GICC_REGISTERS = (0, 4, 8, 0xC, 0x10, 0x14, 0x18, 0x1C, 0xD0, 0xFC, 0x1000)

REGISTER_NUMBERS = st.sampled_from(sysregs.SYSREGS).map(lambda r: sysreg(*r.encoding))
ANY_REGISTER = st.builds(
    sysreg, st.integers(2, 3), SMALL, st.integers(0, 15), st.integers(0, 15), SMALL
)
ANY_OPERATION = st.builds(
    sysreg, st.just(1), SMALL, st.sampled_from((7, 8, 11, 15)), st.integers(0, 15), SMALL
)
ENCODINGS = REGISTER_NUMBERS | ANY_REGISTER | ANY_OPERATION


def _with(
    *registers: tuple[int, st.SearchStrategy[int]], then: st.SearchStrategy[Step]
) -> st.SearchStrategy[Step]:
    values = [st.tuples(st.just(number), strategy) for number, strategy in registers]
    return st.builds(With, st.tuples(*values), then)


def _text(*templates: str) -> st.SearchStrategy[Step]:
    return st.sampled_from(templates).map(Text)


arithmetic = _text(*ARITHMETIC)
accesses = _with(
    (1, ADDRESSES), (2, VALUES), then=_text(*ACCESSES) | st.sampled_from(LSE).map(Word)
)
maintenance = _with((1, ADDRESSES | VALUES), then=_text(*MAINTENANCE))
registers = _with((2, VALUES), then=ENCODINGS.map(lambda e: Word(msr(e, 2)))) | ENCODINGS.map(
    lambda e: Word(mrs(e, 3))
)
known_functions = st.sampled_from(FUNCTIONS)
functions = (
    known_functions
    | st.sampled_from(LAST_FUNCTIONS)
    | st.builds(lambda base, at: base + at, st.sampled_from((0x8400_0060, 0xC400_0060)),
                st.integers(0, 0x8F))
    | st.integers(0xC600_0000, 0xC600_0020)
    | WORDS
    | VALUES
)  # fmt: skip
calls = _with(
    (0, functions),
    *((number, VALUES) for number in range(1, 8)),
    then=_text(*CALLS),
) | st.builds(lambda text, number: Text(text.format(number)), st.sampled_from(OTHER_CALLS),
              st.sampled_from((0, 1, 0xFFFF)) | st.integers(0, 0xFFFF))  # fmt: skip
gic = st.builds(
    lambda at, value, text: With(((1, at), (2, value)), Text(text)),
    st.sampled_from(GICD_REGISTERS).map(lambda r: GICD + r)
    | st.sampled_from(GICC_REGISTERS).map(lambda r: GICC + r),
    VALUES,
    st.sampled_from(("str w2, [x1]", "ldr w2, [x1]", "strb w2, [x1]", "strh w2, [x1]")),
)
INTERRUPTS_ON = With(
    ((1, GICD), (2, 1), (3, TOP), (4, GICC), (5, 0xFF)),
    Text("str w2, [x1]; str w3, [x1, #0x100]; str w5, [x4, #4]; str w2, [x4]; msr daifclr, #15"),
)
interrupts = st.just(INTERRUPTS_ON) | gic
timers = st.builds(
    lambda ticks, control: With(
        ((1, ticks), (2, control)),
        Text("mrs x3, cntvct_el0; add x3, x3, x1; msr cntv_cval_el0, x3; msr cntv_ctl_el0, x2"),
    ),
    st.integers(0, 5000) | VALUES,
    st.integers(0, 3),
)
waits = _text(*WAITS)
pstate = _text(*PSTATE)
words = WORDS.map(Word)
patches = st.builds(
    Patch, st.sampled_from((0xD503201F, 0xD4000002, 0xD65F03C0)) | WORDS, st.booleans()
)
jumps = ADDRESSES.map(Jump)
SPSRS = st.sampled_from((0x3C5, 0x3C4, 0x3C0, 5, 0, 0x3C9, 0x3CD, 0x3C1, 0x10_03C5, 0x20_03C5)) | (
    st.integers(0, 0xFFFF_FFFF).map(lambda value: value & ~0x10)
)
"""None to AArch32, which a Cortex-A72 has at EL0 and the emulator has not."""
returns = st.builds(Eret, SPSRS, st.none() | ADDRESSES)
vbars = st.builds(
    lambda at: With(((1, at),), Text("msr vbar_el1, x1")), st.just(VECTORS) | ADDRESSES
)

ATTRIBUTES = st.integers(0, TOP).map(lambda bits: bits & 0xFFFF_0000_0000_0FFC)
TARGETS = st.sampled_from(
    (MEMORY_BASE, FAR_BASE, *(TABLES + 0x1000 * page for page in range(TABLE_PAGES)), GICD, UART)
) | ADDRESSES.map(lambda address: address & 0x0000_FFFF_FFFF_F000)
DESCRIPTORS = st.builds(
    lambda target, attributes, kind: target | attributes | kind,
    TARGETS,
    st.sampled_from((0x700, 0x7C0, 0x740, 0x704, 0x60_0000_0000_0700)) | ATTRIBUTES,
    st.integers(0, 3),
) | st.integers(0, TOP)
entries = st.tuples(
    st.integers(0, TABLE_PAGES - 1), st.integers(0, 16) | st.sampled_from((256, 511)), DESCRIPTORS
)
entry_stores = st.builds(
    lambda entry: With(
        ((1, TABLES + 0x1000 * entry[0] + 8 * entry[1]), (2, entry[2])), Text("str x2, [x1]")
    ),
    entries,
)
SCTLRS = st.builds(
    lambda flips: 0x30D0_1805 ^ flips,
    st.just(0) | st.builds(lambda bit: 1 << bit, st.integers(1, 31)),
)
_TCR = Mmu().tcr
TCRS = (
    st.just(_TCR)
    | st.builds(lambda bit: _TCR ^ 1 << bit, st.integers(0, 38))
    | st.integers(0, (1 << 39) - 1)
)
mmus = st.just(Mmu()) | st.builds(
    Mmu,
    ttbr0=st.just(TABLES) | TARGETS,
    tcr=TCRS,
    mair=st.just(Mmu().mair) | st.integers(0, TOP),
    sctlr=SCTLRS,
)
mapped = st.builds(
    lambda giga, page, at: (giga << 30 | page << 12) + at,
    st.integers(0, 16),
    st.integers(0, 16),
    st.integers(0, 0xFFF),
)
mapped_accesses = _with((1, mapped), (2, VALUES), then=_text(*ACCESSES[:14]))

plain_steps = st.one_of(
    arithmetic,
    accesses,
    registers,
    maintenance,
    calls,
    interrupts,
    timers,
    pstate,
    waits,
    patches,
    words,
    jumps,
    returns,
    vbars,
    entry_stores,
    mmus,
    mapped_accesses,
)
el0_steps = st.one_of(
    arithmetic, accesses, registers, maintenance, calls, waits, patches, words, jumps,
    mapped_accesses,
)  # fmt: skip
steps = st.one_of(
    plain_steps,
    plain_steps,
    st.builds(
        AtEl0, st.lists(el0_steps, max_size=6).map(tuple), masked=st.booleans()
    ),
    st.builds(
        Loop, st.lists(plain_steps, min_size=1, max_size=4).map(tuple), st.integers(1, 300)
    ),
)  # fmt: skip


orderly_steps = st.one_of(
    arithmetic,
    _with((1, ORDERLY_ADDRESSES), (2, VALUES), then=_text(*ACCESSES)),
    calls,
    interrupts,
    timers,
    pstate,
    waits,
    st.builds(Patch, st.sampled_from((0xD503201F, 0xD4000002)), st.just(True)),
    _text(*ID_REGISTERS),
    st.just(Mmu()),
    mapped_accesses,
    st.builds(AtEl0, st.lists(arithmetic | calls, max_size=6).map(tuple), masked=st.booleans()),
)
"""Nothing in which the ways to translate may differ: no malformed table, no forgotten maintenance,
no access that is cut by the end of an address space."""


TX, RX = DATA + 0x8000, DATA + 0x9000
SELF, PEER = 2, 1
"""Partition ids of the random guest and of its neighbour."""
_SENDS = tuple(f | ffa.FFA_64 for f in (ffa.FfaFunction.MEM_SHARE, ffa.FfaFunction.MEM_LEND,
                                        ffa.FfaFunction.MEM_DONATE))  # fmt: skip


def _call(function: int, *arguments: int) -> Step:
    numbers = enumerate((function, *arguments, *(0,) * (7 - len(arguments))))
    return With(tuple(numbers), Text("hvc #0"))


def send(function: int, descriptor: bytes) -> Step:
    """Offers memory, by a descriptor in TX."""
    return Loop((Store(TX, descriptor), _call(function, len(descriptor), len(descriptor))), 1)


MAP_MAILBOX = _call(ffa.FfaFunction.RXTX_MAP | ffa.FFA_64, TX, RX, 1)
RECLAIM_LAST = With(
    ((0, ffa.FfaFunction.MEM_RECLAIM),),
    Text("mov x1, x2; mov x2, x3; mov x3, xzr; mov x4, xzr; mov x5, xzr; mov x6, xzr; "
         "mov x7, xzr; hvc #0"),
)  # fmt: skip
"""Of the handle that the last call left in X2 and X3."""
transactions = st.builds(
    ffa.MemoryTransaction,
    sender=st.just(SELF) | SMALL,
    endpoints=st.lists(
        st.builds(
            ffa.EndpointAccess,
            st.just(PEER) | SMALL,
            st.sampled_from((2, 1, 0)) | st.integers(0, 15),
        ),
        min_size=1,
        max_size=2,
    ).map(tuple),
    ranges=st.lists(
        st.builds(
            ffa.Range,
            st.builds(
                lambda base, page: base + 0x1000 * page,
                st.sampled_from((DATA, DATA, FAR_BASE, TELEMETRY, FFA_WINDOW, 0x2000_0000)),
                st.integers(0, 15),
            ),
            st.integers(1, 4) | st.integers(0, 40),
        ),
        min_size=1,
        max_size=3,
    ).map(tuple),
    attributes=st.sampled_from((ffa.ATTRIBUTES, 0, 1)),
    flags=st.sampled_from((0, 1, 2)),
)
partition_calls = st.one_of(
    st.just(MAP_MAILBOX),
    st.builds(lambda f, d: send(f, d.pack()), st.sampled_from(_SENDS), transactions),
    st.just(RECLAIM_LAST),
    st.just(_call(ffa.FfaFunction.RXTX_UNMAP)),
    st.just(_call(ffa.FfaFunction.MSG_WAIT)),
    st.builds(
        _call,
        st.sampled_from(ffa.FfaFunction),
        *(st.just(0) | st.sampled_from((ffa.ids(SELF, PEER), ffa.ids(PEER, SELF))) | VALUES,) * 7,
    ),
)
partition_steps = st.one_of(partition_calls, partition_calls, steps)


def programs(
    vcpus: int, step: st.SearchStrategy[Step] = steps, *, most: int = 40
) -> st.SearchStrategy[Program]:
    """Programs of so many vCPUs."""
    # Lists of lists: Hypothesis makes most lists short.
    one = st.lists(st.lists(step, max_size=8), max_size=8).map(
        lambda parts: tuple(step for part in parts for step in part)[:most]
    )
    return st.builds(
        Program,
        st.tuples(*[one] * vcpus),
        st.sampled_from((Vectors.SKIP,) * 12 + tuple(Vectors)[1:]),
        st.sampled_from((End.AGAIN,) * 4 + tuple(End)[1:]),
        st.lists(entries, max_size=8).map(tuple),
    )
