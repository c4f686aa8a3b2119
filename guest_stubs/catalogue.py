# SPDX-License-Identifier: Apache-2.0
"""The stubs as data: what each is made of, how it is started, and how it should end.

Addresses are IPAs. Paths are relative to this folder.
"""

import struct
from dataclasses import dataclass
from enum import Enum

LINKER_SCRIPT = "runtime/stub.lds"
RUNTIME_SOURCES = (
    "runtime/calls.S",
    "runtime/power.c",
    "runtime/print.c",
    "runtime/probe.c",
    "runtime/probe_entry.S",
    "runtime/start.S",
)
HEADERS = (
    "caller/caller.h",
    "caller/lending.h",
    "exceptions.h",
    "keeper/keeper.h",
    "observer.h",
    "runtime/frame.h",
    "runtime/gicv2.h",
    "runtime/mmio.h",
    "runtime/pl011.h",
    "runtime/probe_macros.h",
    "runtime/stub.h",
    "script.h",
    "smp.h",
    "stage1.h",
    "stage1_window.h",
    "witness/witness.h",
)

MEMORY_BASE = 0x4000_0000
SMALL_MEMORY = 4 << 20
"""Enough for most; what a guest is given is scrubbed first, which takes time."""
LARGE_MEMORY = 16 << 20
"""What `MEMORY_SIZE` in runtime/stub.h says, for the stubs that go to the memory's end."""
IMAGE_OFFSET = 0x20_0000
"""Where the image is loaded, and entered, counted from the start of the memory."""
PL011_BASE = 0x0900_0000

_MARK = b"STUB"
_MARK_OFFSET = 4
_CASE_OFFSET = 8
_PARAMETER_OFFSET = 16


class End(Enum):
    """How a stub's run ends, in the words of the hypervisor's last line."""

    GUEST_OFF = "guest-off"
    """It powers itself off by PSCI SYSTEM_OFF."""
    GUEST_CRASH = "guest-crash"
    """It does what no guest survives, and alone."""
    NEVER = "never"
    """It runs until it is stopped from outside."""


@dataclass(frozen=True, slots=True)
class Case:
    """One of the things a stub can do, chosen by a word in its image (see `patched`)."""

    name: str
    number: int
    end: End
    description: str


@dataclass(frozen=True, slots=True)
class Stub:
    """One guest."""

    name: str
    description: str
    sources: tuple[str, ...]
    """Its own sources; RUNTIME_SOURCES come in addition."""
    end: End = End.GUEST_OFF
    """The end of case 0, or of a stub without cases."""
    cases: tuple[Case, ...] = ()
    default_parameter: int | None = None
    """The count used when the image's parameter word is 0; None: the stub takes no parameter."""
    entry: int = MEMORY_BASE + IMAGE_OFFSET
    memory_base: int = MEMORY_BASE
    memory_size: int = SMALL_MEMORY
    vcpus: int = 1
    gic: bool = False
    """It has a GICv2."""

    def case(self, name: str) -> Case:
        """The case called `name`; KeyError if there is none."""
        for case in self.cases:
            if case.name == name:
                return case
        raise KeyError(f"stub {self.name} has no case {name!r}")


def _cases(end: End, *named: tuple[str, str], first: int = 0) -> tuple[Case, ...]:
    return tuple(
        Case(name, number, end, description)
        for number, (name, description) in enumerate(named, start=first)
    )


CRASH_CASES = _cases(
    End.GUEST_CRASH,
    ("ldp", "LDP of two words from the emulated PL011"),
    ("stp", "STP of two words to it"),
    ("ldnp", "LDNP"),
    ("ldpsw", "LDPSW"),
    ("ldr-post", "LDR with post-index"),
    ("ldr-pre", "LDR with pre-index"),
    ("str-post", "STR with post-index"),
    ("str-pre", "STR with pre-index"),
    ("ldrb-post", "LDRB with post-index"),
    ("strh-pre", "STRH with pre-index"),
    ("ldrsw-post", "LDRSW with post-index"),
    ("ldr-s", "LDR of an S register"),
    ("ldr-q", "LDR of a Q register"),
    ("str-b", "STR of a B register"),
    ("ldp-d", "LDP of D registers"),
    ("ld1", "LD1 of one vector"),
    ("st1-lane", "ST1 of one lane"),
    ("ldxr", "LDXR"),
    ("ldaxrb", "LDAXRB"),
    ("ldxp", "LDXP"),
    ("ldp-xzr", "LDP of WZR and W2"),
    ("ldp-el0", "LDP at EL0"),
)

STUBS = (
    Stub(
        name="hello",
        description="says who it is and what it sees, and powers off",
        sources=("hello.c",),
    ),
    Stub(
        name="start-state",
        description="prints the registers it was entered with",
        sources=("start_state.c",),
    ),
    Stub(
        name="traps",
        description="instructions that trap, are undefined, or must not be: EL1 and EL0",
        sources=(
            "traps.c",
            "traps_registers.S",
            "traps_unimplemented.S",
            "traps_instructions.S",
            "traps_el0.S",
            "traps_fp.S",
        ),
    ),
    Stub(
        name="aborts",
        description="accesses outside its memory, with stage 1 off",
        sources=("aborts.c", "aborts_mmu_off.S"),
        memory_size=LARGE_MEMORY,
    ),
    Stub(
        name="stage1",
        description="its own stage-1 tables on: every fault at every level, and stage 2 behind it",
        sources=("stage1.c", "stage1_tables.c", "stage1_faults.S", "stage1_el0.S"),
        memory_size=LARGE_MEMORY,
    ),
    Stub(
        name="mmio",
        description="the PL011 window by loads and stores of every size and form",
        sources=("mmio.c", "mmio_loads.S", "mmio_stores.S"),
    ),
    Stub(
        name="hypercalls",
        description="PSCI, SMCCC and the vendor range, with good and bad arguments",
        sources=("hypercalls.c", "hypercalls.S"),
    ),
    Stub(
        name="power",
        description="the ways to end: PSCI calls by HVC and SMC",
        sources=("power_cases.c", "power_smc.S"),
        cases=(
            Case("system-off", 0, End.GUEST_OFF, "SYSTEM_OFF by HVC"),
            Case("system-off-smc", 1, End.GUEST_OFF, "SYSTEM_OFF by SMC"),
            Case("cpu-off", 2, End.GUEST_OFF, "CPU_OFF of the only CPU"),
            Case("reset", 3, End.NEVER, "SYSTEM_RESET at every start"),
            Case("read-then-off", 4, End.GUEST_OFF, "echoes the PL011's input until a '.'"),
        ),
    ),
    Stub(
        name="crash",
        description="accesses to the emulated PL011 that no syndrome describes; one case a run",
        sources=("crash.c", "crash_cases.S"),
        end=End.GUEST_CRASH,
        cases=CRASH_CASES,
    ),
    Stub(
        name="fault-loop",
        description="its exception vectors lie where nothing is, and then it faults",
        sources=("fault_loop.c", "fault_loop_cases.S"),
        end=End.GUEST_CRASH,
        cases=_cases(
            End.GUEST_CRASH,
            ("data-abort", "a load from nowhere at EL1h"),
            ("undefined", "UDF at EL1h"),
            ("svc", "SVC at EL1h"),
            ("fetch", "a branch to nowhere"),
            ("el1t", "SVC at EL1t: another vector first"),
            ("el0", "SVC at EL0: another vector first"),
            ("device", "vectors in the PL011 window, then UDF"),
            ("far-away", "vectors beyond 2^40, then UDF"),
        ),
    ),
    Stub(
        name="spin",
        description="never ends",
        sources=("spin.c", "spin_cases.S"),
        end=End.NEVER,
        cases=(
            Case("branch", 0, End.NEVER, "a branch to itself"),
            Case("vector-storm", 1, End.NEVER, "exceptions for ever, all taken at EL1"),
            Case("hypercalls", 2, End.NEVER, "AETHER_VERSION for ever"),
            Case("wfi", 3, End.NEVER, "WFI with nothing to wait for"),
        ),
    ),
    Stub(
        name="smp",
        description="switches its vCPUs on and off; registers across switches",
        sources=("smp.c", "smp_entry.S"),
        cases=(
            Case("bring-up", 0, End.GUEST_OFF, "CPU_ON and CPU_OFF of each, in rounds"),
            Case("state", 1, End.GUEST_OFF, "each watches its registers for some milliseconds"),
            Case("left-running", 2, End.GUEST_OFF, "SYSTEM_OFF while the others loop"),
        ),
        default_parameter=2,
    ),
    Stub(
        name="hostile",
        description="does one thing for ever that may cost other VMs time",
        sources=("hostile.c", "smp_entry.S"),
        end=End.NEVER,
        cases=(
            Case("masked-loop", 0, End.NEVER, "a loop with interrupts masked"),
            Case("sleep", 1, End.NEVER, "WFI with interrupts masked"),
            Case("every-psci", 2, End.NEVER, "every PSCI function but those that end it"),
            Case("distributor", 3, End.NEVER, "reads and writes all of the distributor"),
            Case("sgis", 4, End.NEVER, "SGIs to itself and to all others"),
            Case("console", 5, End.NEVER, "writes as fast as the PL011 takes it"),
            Case("crash", 6, End.GUEST_CRASH, "a store that no syndrome describes"),
            Case("reset", 7, End.NEVER, "SYSTEM_RESET"),
            Case("switch-cpus", 8, End.NEVER, "CPU_ON of vCPUs that switch themselves off"),
        ),
    ),
    Stub(
        name="intruder",
        description="does what may be felt elsewhere, for ever, and steps over what faults",
        sources=("intruder.c", "exceptions.S", "smp_entry.S"),
        end=End.NEVER,
        gic=True,
        cases=(
            Case("anything", 0, End.NEVER, "each of the following in turn; a seed says which"),
            Case("broadcasts", 1, End.NEVER, "TLBIs and IC IALLUIS for all CPUs"),
            Case("timer-storm", 2, End.NEVER, "a virtual timer that never stops firing"),
            Case("wild-store", 3, End.GUEST_CRASH, "a store to nowhere, vectors there too"),
            Case("events", 4, End.NEVER, "SEV and WFE"),
            Case("aborts", 5, End.NEVER, "accesses to nowhere"),
            Case("interrupts", 6, End.NEVER, "every interrupt pending, some left active"),
            Case("registers", 7, End.NEVER, "writes what others on the CPU would find"),
            Case("traps", 8, End.NEVER, "registers that trap"),
            Case("smc", 9, End.NEVER, "SMCs"),
            Case("deactivations", 10, End.NEVER, "deactivates what is not active"),
            Case("talk", 11, End.NEVER, "writes as fast as the PL011 takes it"),
            Case("crowd", 12, End.NEVER, "every interrupt pending, the last the most urgent"),
        ),
        default_parameter=0,
    ),
    Stub(
        name="observer",
        description="tells all that it can see of time, as lines with a digest",
        sources=("observer.c", "observer_mix.S", "exceptions.S", "smp_entry.S"),
        default_parameter=8,
        vcpus=2,
        gic=True,
        cases=(
            Case("single", 0, End.GUEST_OFF, "one vCPU"),
            Case("pair", 1, End.GUEST_OFF, "two, which answer each other's SGIs"),
            Case("lives", 2, End.GUEST_OFF, "resets itself, crashes, and powers off"),
        ),
    ),
    Stub(
        name="script",
        description="does step by step what a program in its memory says, on up to 8 vCPUs",
        sources=("script.c", "smp_entry.S"),
        gic=True,
    ),
    Stub(
        name="keeper",
        description="what it does is a function of secret words in its memory",
        sources=("keeper/keeper.c", "keeper/fill.S", "exceptions.S", "smp_entry.S"),
        end=End.NEVER,
        gic=True,
        cases=(
            Case("anything", 0, End.NEVER, "all of it: time, memory, calls, registers, interrupts"),
            Case("time", 1, End.NEVER, "loops and sleeps of secret lengths"),
            Case("registers", 2, End.NEVER, "registers full of it, and calls"),
            Case("lives", 3, End.NEVER, "anything, and it ends, resets itself or crashes"),
        ),
    ),
    Stub(
        name="listener",
        description="every interrupt enabled, and looks for traces of other VMs",
        sources=("listener/listener.c", "exceptions.S"),
        end=End.NEVER,
        gic=True,
    ),
    Stub(
        name="witness",
        description="looks at memory that it must not see, and at what must be as others left it",
        sources=(
            "witness/witness.c",
            "witness/memory.c",
            "witness/tables.c",
            "witness/caches.S",
            "witness/ffa.c",
            "witness/peer.c",
            "witness/looker.c",
            "exceptions.S",
            "smp_entry.S",
        ),
        cases=(
            Case("alone", 0, End.GUEST_OFF, "its memory, its caches off"),
            Case(
                "lives-on",
                1,
                End.NEVER,
                "the same in each life, dirtied before SYSTEM_RESET; its code is of a scenario",
            ),
            Case("manager", 2, End.NEVER, "ends and begins the lives of the second VM"),
            Case("owner", 3, End.NEVER, "lends and gives pages, and has a partition look at them"),
            Case("server", 4, End.NEVER, "a partition that does what an owner says"),
            Case("two-on-one-cpu", 5, End.NEVER, "two vCPUs with an ASID, and other tables"),
        ),
    ),
    Stub(
        name="caller",
        description="calls of every kind, as a seed says: 100,000 times it, and thousands of calls",
        sources=(
            "caller/caller.c",
            "caller/simple.c",
            "caller/lending.c",
            "caller/pages.c",
            "caller/mailbox.c",
            "caller/messages.c",
            "caller/call.S",
            "witness/memory.c",
            "witness/tables.c",
            "witness/caches.S",
            "exceptions.S",
            "smp_entry.S",
        ),
        default_parameter=4,
        gic=True,
        cases=(
            Case("calls", 0, End.GUEST_OFF, "of every kind; pages go to and fro with a peer"),
            Case("lending", 1, End.GUEST_OFF, "more of those about pages"),
        ),
    ),
    Stub(
        name="null-hvc",
        description="a loop of AETHER_VERSION calls, for benchmarks",
        sources=("null_hvc.c", "loops.S"),
        default_parameter=1000,
    ),
    Stub(
        name="uart-mmio",
        description="a loop of PL011 reads (case 0: FR) or writes (case 1: IBRD), for benchmarks",
        sources=("uart_mmio.c", "loops.S"),
        default_parameter=1000,
        cases=(
            Case("read", 0, End.GUEST_OFF, "loads from FR"),
            Case("write", 1, End.GUEST_OFF, "stores to IBRD"),
        ),
    ),
    Stub(
        name="gic",
        description="the GICv2 as one vCPU meets it: distributor, priorities, SGIs, timer",
        sources=("gic.c",),
        gic=True,
    ),
    Stub(
        name="bench-gicd",
        description="a loop of loads from the emulated distributor, or of stores to it",
        sources=("bench_gicd.c", "loops.S"),
        default_parameter=1000,
        gic=True,
        cases=(
            Case("read", 0, End.GUEST_OFF, "loads from GICD_ISENABLER0"),
            Case("write", 1, End.GUEST_OFF, "stores to GICD_ICENABLER2"),
        ),
    ),
    Stub(
        name="bench-irq",
        description="interrupts to be counted: of the virtual timer, or between vCPUs",
        sources=("bench_interrupts.c", "bench_peer.S"),
        default_parameter=1000,
        vcpus=2,
        gic=True,
        cases=(
            Case("timer", 0, End.GUEST_OFF, "of the virtual timer"),
            Case("sgi", 1, End.GUEST_OFF, "from vCPU 0 to vCPU 1"),
        ),
    ),
)


def find(name: str) -> Stub:
    """The stub called `name`; KeyError, naming the known ones, if there is none."""
    for stub in STUBS:
        if stub.name == name:
            return stub
    raise KeyError(f"no stub {name!r}; there are {', '.join(stub.name for stub in STUBS)}")


def patched(image: bytes, *, case: int = 0, parameter: int = 0) -> bytes:
    """The flat image with its case and parameter words set; ValueError if it is not a stub's."""
    if image[_MARK_OFFSET : _MARK_OFFSET + len(_MARK)] != _MARK:
        raise ValueError("not the flat image of a guest stub")
    words = bytearray(image)
    struct.pack_into("<Q", words, _CASE_OFFSET, case)
    struct.pack_into("<Q", words, _PARAMETER_OFFSET, parameter)
    return bytes(words)
