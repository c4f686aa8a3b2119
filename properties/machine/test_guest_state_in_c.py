# SPDX-License-Identifier: Apache-2.0
"""The watch over guests' registers (`guest_state.c`) against its twin, and what it must say of EL2
and what not. Of a CPU there are only the registers."""

import ctypes as c
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from aether_edgecloud.emulator.arch import sysregs
from aether_edgecloud.emulator.arch.esr import ExceptionClass
from aether_edgecloud.emulator.cpu import registers as reg
from aether_edgecloud.emulator.cpu.cpu import Cpu
from aether_edgecloud.emulator.cpu.guest_state import (
    CONTROLS,
    SYSTEM,
    GuestEvent,
    Guests,
    GuestWatch,
    Watch,
    value_name,
    vmid_of,
)
from aether_edgecloud.emulator.cpu.hook_tables import name_unicorn
from aether_edgecloud.emulator.cpu.hooks import (
    BLOCK_SLOTS,
    NEVER,
    SYSREG_KEYS,
    CpReg,
    HookLibrary,
    HookState,
)
from aether_edgecloud.emulator.toolchain import shared_library
from aether_edgecloud.properties.machine.guest_state_twin import (
    MOST_GUESTS,
    MOST_STACKS,
    NO_GUEST,
    GuestStateTwin,
    GuestTwin,
    V,
    X,
)

CPUS = 2
OF_EL2 = ("HCR_EL2", "CPTR_EL2", "VTTBR_EL2", "VMPIDR_EL2", "ESR_EL2", "VBAR_EL2")
NAMES = tuple(dict.fromkeys((*X, *SYSTEM, *V, *CONTROLS, *OF_EL2, "PC", "SP")))
OF_GUEST = (*X, *SYSTEM, *V)
VM, TFP = 1 << 0, 1 << 10
HVC, SMC, SYSREG, ABORT = (
    ExceptionClass.HVC,
    ExceptionClass.SMC,
    ExceptionClass.SYSREG,
    ExceptionClass.DATA_ABORT_LOWER,
)
WFX = ExceptionClass.WFX
BLOCK_ERET = 1

_LIBRARY = c.CDLL(str(shared_library("hooks")))
_READ_FN = c.CFUNCTYPE(c.c_int, c.c_void_p, c.c_int, c.c_void_p)
_NUMBERS = {r.number: f"X{n}" for n, r in enumerate(reg.X)}
_NUMBERS |= {r.number: f"V{n}" for n, r in enumerate(reg.V)}
_NUMBERS |= {reg.ESR[2].number: "ESR_EL2", reg.VBAR[2].number: "VBAR_EL2"}
_NUMBERS |= {reg.PC.number: "PC", reg.SP.number: "SP"}
Told = tuple[int, int, int, int]


def key_of(name: str) -> int:
    return reg.key(*sysregs.by_name(name).encoding)


_KEYS = {
    key_of(name): name for name in (*SYSTEM, *CONTROLS, "VTTBR_EL2", "VMPIDR_EL2", "SCTLR_EL2")
}


class InC:
    """`guest_state.c` behind `GuestWatch`: stands in for the engine of a CPU."""

    def __init__(self, guests: Guests, registers: dict[str, int]) -> None:
        self.told: list[Told] = []
        self.registers = registers
        self.handle = None
        self.hooks = HookLibrary(shared_library("hooks"))
        self.guest_left: Callable[[int], None] = lambda kind: None
        self.state = state = HookState()
        self.actions = (c.c_uint8 * SYSREG_KEYS)()
        name_unicorn(state)
        self._read_fn = _READ_FN(self._read)
        state.reg_read = c.cast(self._read_fn, c.c_void_p).value
        state.sysreg_actions = c.addressof(self.actions)
        state.el = 2
        self.watch = GuestWatch(cast(Cpu, SimpleNamespace(engine=self)), guests, self._tell)

    def _tell(self, kind: int, a: int, b: int, d: int) -> None:
        self.told.append((kind, a, b, d))

    def fail(self, error: BaseException) -> None:
        raise error

    def _read(self, _uc: int, number: int, at: int) -> int:
        if number == self.state.reg_cp:
            cell = CpReg.from_address(at)
            cell.value = self.registers[
                _KEYS[reg.key(cell.op0, cell.op1, cell.crn, cell.crm, cell.op2)]
            ]
        else:
            name = _NUMBERS[number]
            size = 16 if name[0] == "V" and name != "VBAR_EL2" else 8
            c.memmove(at, self.registers[name].to_bytes(size, "little"), size)
        return 0

    def entered(self) -> None:
        _LIBRARY.aether_guest_entered(None, c.byref(self.state))

    def write(self, name: str, el: int) -> None:
        self.state.el = el
        op0, op1, crn, crm, op2 = sysregs.by_name(name).encoding
        register = CpReg(op0=op0, op1=op1, crn=crn, crm=crm, op2=op2)
        _LIBRARY.aether_on_msr(None, 0, c.byref(register), c.byref(self.state))

    @property
    def memory(self) -> Watch:
        return Watch.from_address(self.state.guests)

    def written(self) -> dict[int, int]:
        table = (c.c_uint32 * SYSREG_KEYS).from_address(self.memory.written)
        cells = np.frombuffer(memoryview(table), np.uint32)
        return {int(key): int(cells[key]) for key in np.flatnonzero(cells)}


class World:
    """The same CPUs and guests in C and in Python."""

    def __init__(self, others: int = 0) -> None:
        self.guests, self.twins = Guests(), [GuestTwin(n, 0xFF00) for n in range(others)]
        self.guests.count = others
        for n, guest in enumerate(self.twins):
            self.guests.guests[n].key = (guest.vmid or 0) << 32 | guest.affinity
        self.told: list[list[Told]] = [[] for _ in range(CPUS)]
        self.registers = [dict.fromkeys(NAMES, 0) | {"SCTLR_EL2": 0} for _ in range(CPUS)]
        self.in_c = [InC(self.guests, registers) for registers in self.registers]
        self.in_python = [GuestStateTwin(self.twins, self._tell(told)) for told in self.told]

    def _tell(self, told: list[Told]) -> Callable[[int, int, int, int], None]:
        return lambda kind, a, b, d: told.append((kind, a, b, d))

    def left(self, cpu: int, kind: int) -> None:
        self.in_c[cpu].guest_left(kind)
        self.in_python[cpu].left(self.registers[cpu], kind)

    def entered(self, cpu: int) -> None:
        self.in_c[cpu].entered()
        self.in_python[cpu].entered(self.registers[cpu])

    def write(self, cpu: int, name: str, el: int) -> None:
        self.in_c[cpu].write(name, el)
        self.in_python[cpu].write(name, el)

    def reset(self, cpu: int) -> None:
        self.in_c[cpu].watch.reset()
        self.in_python[cpu].reset()

    def compare(self) -> None:
        """All that either side remembers, and has told."""
        for told, in_c, twin in zip(self.told, self.in_c, self.in_python, strict=True):
            assert in_c.told == told
            memory, stacks = in_c.memory, list(in_c.memory.stack[: in_c.memory.stacks])
            if len(stacks) == len(memory.stack):  # a ring, from its oldest entry on
                stacks = stacks[memory.next_stack :] + stacks[: memory.next_stack]
            assert stacks == list(twin.stacks)
            assert memory.stacks == len(twin.stacks)
            assert memory.stay == twin.stay
            assert memory.last == (NO_GUEST if twin.last is None else twin.last)
            assert memory.has_entered == twin.has_entered
            assert not twin.has_entered or memory.vbar == twin.vbar
            assert in_c.written() == {key_of(name): at for name, at in twin.written.items()}
        assert self.guests.count == len(self.twins)
        for n, guest in enumerate(self.twins):
            there = self.guests.guests[n]
            values = [guest.values.get(i, 0) for i in range(len(there.values))]
            assert vmid_of(self.guests, n) == guest.vmid
            assert there.key & 0xFFFF_FFFF == guest.affinity
            assert there.results == sum(1 << x for x in guest.results)
            assert list(there.values) == values
            assert {i for i, is_own in enumerate(there.is_own) if is_own} == guest.own
            assert tuple(there.controls[: len(CONTROLS)]) == guest.controls
            assert there.has_values == bool(guest.values)
            assert there.has_v == any(i >= len(X) + len(SYSTEM) for i in guest.values)


values = st.sampled_from(
    [0, 7, 0xFFFF, 0x1_0000, 0xDEAD_BEEF, 1 << 32, 1 << 63, 0xFFFF_8000_0010_0000]
    + [NEVER - small for small in (0, 0xFFFF, 0x1_0000)]
)
texts = st.builds(lambda high, low: high << 64 | low, values, values)
vectors = st.builds(
    lambda base, offset: base + offset,
    st.sampled_from((0, 0x4008_0000, 0xFFFF_8000_0008_0000)),
    st.sampled_from((0, 0x80, 0x200, 0x780, 0x800, 0x84, 4)),
)
POOLS = {
    **{name: texts for name in V},
    "PC": vectors,
    "VBAR_EL1": vectors,
    "VBAR_EL2": st.sampled_from((0, 0x4000_0800, 0x4000_1000)),
    "SP": st.integers(0, 20).map(lambda n: 0x4100_0000 + 16 * n),
    "HCR_EL2": st.sampled_from((0, VM, 1 << 31, VM | 1 << 31)),
    "CPTR_EL2": st.sampled_from((0, TFP)),
    "VTTBR_EL2": st.builds(
        lambda vmid, table: vmid << 48 | table,
        st.sampled_from((0, 1, 0xFFFF)),
        st.sampled_from((0, 0x4200_0000)),
    ),
    "VMPIDR_EL2": st.sampled_from((0, 1, 0x1_0000_0001, 0x8000_0000)),
    "ESR_EL2": st.builds(
        lambda rt, srt: rt << 5 | srt << 16, st.integers(0, 31), st.integers(0, 31)
    ),
}
RARE = tuple(name for name in NAMES if name in POOLS and name not in V)
changes = st.dictionaries(
    st.sampled_from(NAMES) | st.sampled_from(RARE), st.none(), max_size=6
).flatmap(lambda names: st.fixed_dictionaries({n: POOLS.get(n, values) for n in names}))


@dataclass(frozen=True, slots=True)
class Event:
    """What happens on a CPU, with what its registers become before."""

    cpu: int
    what: str
    kind: int
    changes: dict[str, int] = field(default_factory=dict)
    name: str = "HCR_EL2"
    el: int = 2


events = st.builds(
    Event,
    st.integers(0, CPUS - 1),
    st.sampled_from(("entered", "left", "entered", "left", "write", "write", "reset")),
    st.sampled_from((HVC, SMC, SYSREG, ABORT, WFX)),
    changes,
    st.sampled_from((*CONTROLS, "VTTBR_EL2", "SCTLR_EL2")),
    st.sampled_from((2, 2, 2, 1)),
)


@given(st.lists(events, max_size=30), st.sampled_from((0, 0, MOST_GUESTS - 1)))
def test_the_twin_agrees(run: list[Event], others: int) -> None:
    world = World(others)
    for event in run:
        world.registers[event.cpu].update(event.changes)
        match event.what:
            case "entered":
                world.entered(event.cpu)
            case "left":
                world.left(event.cpu, event.kind)
            case "write":
                world.write(event.cpu, event.name, event.el)
            case "reset":
                world.reset(event.cpu)
        world.compare()


@dataclass(frozen=True, slots=True)
class Turn:
    """A guest's turn on a CPU: what it changes, how it exits, and what EL2 answers."""

    cpu: int
    guest: int
    has_fp: bool
    done: dict[str, int]
    kind: int
    rt: int
    answers: tuple[int, ...]
    exception: tuple[int, ...] | None


turns = st.builds(
    Turn,
    st.integers(0, CPUS - 1),
    st.integers(0, 2),
    st.booleans(),
    st.dictionaries(st.sampled_from(OF_GUEST), st.none(), max_size=6).flatmap(
        lambda names: st.fixed_dictionaries({n: POOLS.get(n, values) for n in names})
    ),
    st.sampled_from((HVC, SMC, SYSREG, ABORT, WFX)),
    st.integers(0, 31),
    st.lists(values, max_size=18).map(tuple),
    st.none() | st.tuples(values, values, values, values),
)


def take_turn(world: World, contexts: list[dict[str, int]], turn: Turn) -> None:
    """As a correct EL2 does it: all registers are the guest's, V0-V31 where it may use them."""
    registers, context = world.registers[turn.cpu], contexts[turn.guest]
    hidden = () if turn.has_fp else V
    registers.update({name: value for name, value in context.items() if name not in hidden})
    registers["VTTBR_EL2"] = turn.guest << 48
    for name in CONTROLS:
        registers[name] = turn.guest << 12
        world.write(turn.cpu, name, 2)
    registers["HCR_EL2"] |= VM if turn.guest else 0
    registers["CPTR_EL2"] |= 0 if turn.has_fp else TFP
    world.entered(turn.cpu)
    registers.update({name: value for name, value in turn.done.items() if name not in hidden})
    registers["ESR_EL2"] = turn.rt << 5 | turn.rt << 16
    world.left(turn.cpu, turn.kind)
    context.update({name: registers[name] for name in (*OF_GUEST, "PC") if name not in hidden})
    match turn.kind:
        case ExceptionClass.HVC | ExceptionClass.SMC:
            context.update(zip(X, turn.answers, strict=False))
        case ExceptionClass.SYSREG | ExceptionClass.DATA_ABORT_LOWER if turn.rt < 31:
            context.update(zip(X[turn.rt : turn.rt + 1], turn.answers, strict=False))
    if turn.exception is not None:
        context.update(zip(SYSTEM, turn.exception, strict=False))
        context["PC"] = (context["VBAR_EL1"] & ~0x7FF) + 0x200


@given(st.lists(turns, max_size=20))
def test_a_correct_hypervisor_is_not_accused(run: list[Turn]) -> None:
    world, contexts = World(), [dict.fromkeys((*OF_GUEST, "PC"), 0) for _ in range(3)]
    for turn in run:
        take_turn(world, contexts, turn)
    world.compare()
    kinds = {kind for told in world.told for kind, *_ in told}
    assert not kinds & {GuestEvent.LEAK, GuestEvent.CARRIED}


def number_of(name: str, half: int) -> int:
    if name in V:
        return len(X) + len(SYSTEM) + 2 * V.index(name) + half
    return (*X, *SYSTEM).index(name)


@dataclass(frozen=True, slots=True)
class Forgotten:
    """A register, V0-V31 by halves, that EL2 does not switch, and the value in it. The guest that
    finds it exited before with `kind` and `rt`, and goes on at `offset` from VBAR_EL1."""

    name: str
    half: int
    secret: int
    kind: ExceptionClass
    rt: int
    vbar: int
    offset: int


forgotten = st.builds(
    Forgotten,
    st.sampled_from(OF_GUEST) | st.sampled_from(SYSTEM[:5]) | st.sampled_from(X[:20]),
    st.integers(0, 1),
    values,
    st.sampled_from((HVC, SMC, SYSREG, ABORT, WFX)),
    st.integers(0, 31),
    st.sampled_from((0, 0x4008_0000, 0x4008_0044)),
    st.sampled_from((4, 0x204, 0x380, 0x780, 0x800)),
)


@given(forgotten, st.sampled_from(("own", "own", "given", "same VM", "known")))
@example(Forgotten("V31", 1, 1 << 63, WFX, 0, 0, 4), "own")
@example(Forgotten("ESR_EL1", 0, 1 << 63, WFX, 0, 0x4008_0044, 0x380), "own")
@example(Forgotten("ESR_EL1", 0, 1 << 63, WFX, 0, 0x4008_0000, 0x204), "own")
@example(Forgotten("SPSR_EL1", 0, 1 << 63, WFX, 0, 0x4008_0000, 0x380), "own")
@example(Forgotten("VBAR_EL1", 0, 1 << 63, WFX, 0, 0x4008_0000, 0x380), "own")
def test_a_register_that_el2_forgets(what: Forgotten, how: str) -> None:
    """It is told where the other guest has made the value itself, and the guest that finds it has
    no reason to."""
    world, name, secret = World(), what.name, what.secret
    registers = world.registers[0]
    number, value = number_of(name, what.half), secret << 64 * (name in V and what.half)
    registers.update({"HCR_EL2": VM, "VBAR_EL1": what.vbar, "PC": 4})

    def enter(vmid: int, content: int, vcpu: int = 0) -> None:
        registers.update({"VTTBR_EL2": vmid << 48, "VMPIDR_EL2": vcpu, name: content})
        world.entered(0)

    enter(2, value if how == "known" else 0)
    registers["ESR_EL2"] = what.rt << 5 | what.rt << 16
    world.left(0, what.kind)
    enter(1, value if how == "given" else 0)
    registers[name] = value
    world.left(0, WFX)
    registers["PC"] = ((value if name == "VBAR_EL1" else what.vbar) & ~0x7FF) + what.offset
    if how == "same VM":
        enter(1, value, vcpu=1)
    else:
        enter(2, value)
    is_call, is_access = what.kind in (HVC, SMC), what.kind in (SYSREG, ABORT)
    is_answer = (is_call and name in X[:18]) or (is_access and name in X[what.rt : what.rt + 1])
    if what.offset in (0x380, 0x780) and name in SYSTEM[:4]:
        is_answer = True
    is_small = secret < 1 << 16 or secret >= (1 << 64) - (1 << 16)
    is_leak = how == "own" and not is_small and not is_answer
    leaks = [told for told in world.told[0] if told[0] == GuestEvent.LEAK]
    assert leaks == ([(GuestEvent.LEAK, number, 1, secret)] if is_leak else [])
    assert value_name(number) == name
    world.compare()


@pytest.mark.parametrize("name", CONTROLS)
@pytest.mark.parametrize("is_written", (False, True))
def test_a_control_that_el2_leaves(name: str, is_written: bool) -> None:
    world = World()
    registers = world.registers[0]
    for vmid, control in ((1, 1 << 20), (2, 1 << 21), (1, 1 << 21)):
        registers["VTTBR_EL2"], registers["HCR_EL2"] = vmid << 48, VM
        registers[name] = control | (VM if name == "HCR_EL2" else 0)
        if vmid == 2 or is_written:
            world.write(0, name, 2)
        world.entered(0)
        world.left(0, WFX)
    carried = [told for told in world.told[0] if told[0] == GuestEvent.CARRIED]
    expected = (GuestEvent.CARRIED, CONTROLS.index(name), 1, registers[name])
    assert carried == ([] if is_written else [expected])
    world.compare()


def test_a_stack_is_told_once_after_each_reset() -> None:
    """As far as so many are remembered; else once more."""
    world, order = World(), random.Random(3)
    stacks = [0x4100_0000 + 16 * n for n in range(MOST_STACKS + 2)]
    for most in (5, MOST_STACKS, len(stacks)):
        told = len(world.told[0])
        run = stacks[:most] * 4
        order.shuffle(run)
        for sp in run:
            world.registers[0]["SP"] = sp
            world.left(0, WFX)
            world.compare()
        new = [sp for kind, sp, *_ in world.told[0][told:] if kind == GuestEvent.STACK]
        assert (len(new) == most) is (most <= MOST_STACKS) and set(new) == set(stacks[:most])
        world.reset(0)


def test_where_the_last_eret_was() -> None:
    in_c = World().in_c[0]
    flags, state = (c.c_uint8 * BLOCK_SLOTS)(), in_c.state
    state.block_flags = c.addressof(flags)
    state.deadline = state.peek_at = NEVER
    for pc, ends_with_eret in ((0x4000_0000, True), (0x4000_0100, False)):
        flags[pc >> 2 & BLOCK_SLOTS - 1] = BLOCK_ERET if ends_with_eret else 0
        state.after_eret, state.attention = 0, 4
        _LIBRARY.aether_on_block(None, c.c_uint64(pc), 12, c.byref(state))
        assert in_c.watch.eret == 0x4000_0008
