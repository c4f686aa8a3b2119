# SPDX-License-Identifier: Apache-2.0
"""PSCI 1.1 (Arm DEN 0022) as a VM with some vCPUs has it, and random programs of its calls."""

import random
from dataclasses import dataclass
from enum import Enum

from .program import CPU_OFF, CPU_ON, ENTRY, SMC, Operation, Step, call, finish, leave

SUCCESS, NOT_SUPPORTED, INVALID_PARAMETERS = 0, -1, -2
ALREADY_ON, ON_PENDING, INVALID_ADDRESS = -4, -5, -9
IS_ON, IS_OFF, IS_PENDING = 0, 1, 2

VERSION, SUSPEND, AFFINITY_INFO = 0x8400_0000, 0x8400_0001, 0x8400_0004
MIGRATE, MIGRATE_INFO_TYPE, MIGRATE_INFO_UP_CPU = 0x8400_0005, 0x8400_0006, 0x8400_0007
FEATURES = 0x8400_000A
SMC64 = 0x4000_0000
SMCCC_VERSION = 0x8000_0000
IMPLEMENTED = {
    VERSION,
    SUSPEND,
    SUSPEND | SMC64,
    CPU_OFF,
    CPU_ON,
    CPU_ON & ~SMC64,
    AFFINITY_INFO,
    AFFINITY_INFO | SMC64,
    MIGRATE_INFO_TYPE,
    0x8400_0008,
    0x8400_0009,
    FEATURES,
    SMCCC_VERSION,
}
ENDS = {CPU_OFF, 0x8400_0008, 0x8400_0009}
POWER_DOWN = 1 << 16
NOWHERE = 0x1000
MOST_TRIES = 100_000


class Power(Enum):
    OFF = "off"
    COMING = "coming"
    """Switched on, and not known to have run."""
    ON = "on"


@dataclass(slots=True)
class Machine:
    """The vCPUs of a VM."""

    power: list[Power]
    context: list[int]
    starts: list[int]

    def affinity_info(self, target: int, level: int) -> set[int]:
        if target >= len(self.power) or level != 0:
            return {INVALID_PARAMETERS}
        return {Power.OFF: {IS_OFF}, Power.COMING: {IS_ON, IS_PENDING}, Power.ON: {IS_ON}}[
            self.power[target]
        ]

    def cpu_on(self, target: int, good_entry: bool, context: int) -> set[int]:
        if target >= len(self.power):
            return {INVALID_PARAMETERS}
        wrong = set() if good_entry else {INVALID_ADDRESS}
        match self.power[target]:
            case Power.ON:
                return {ALREADY_ON} | wrong
            case Power.COMING:
                return {ALREADY_ON, ON_PENDING} | wrong
        if wrong:
            return wrong
        self.power[target] = Power.COMING
        self.context[target] = context
        return {SUCCESS}


@dataclass(slots=True)
class Expected:
    """Of one result: what it may be, as 32 bits with sign or, if `whole`, as 64 without."""

    values: set[int]
    what: str
    whole: bool = False

    def allows(self, got: int) -> bool:
        if self.whole:
            return got in self.values
        word = got & 0xFFFF_FFFF
        return not self.values or (word - (word >> 31 << 32)) in self.values


class Calls:
    """A random program, and what its calls return."""

    def __init__(self, seed: int, vcpus: int, length: int) -> None:
        self.vcpus = vcpus
        self.steps: list[Step] = []
        self.expected: list[Expected] = []
        self._draw = random.Random(seed)
        self._machine = Machine([Power.ON] + [Power.OFF] * (vcpus - 1), [0] * vcpus, [0] * vcpus)
        parts = (self._on, self._on, self._on, self._off, self._off)
        others = (self._affinity, self._features, self._suspend, self._unknown, self._arrive)
        for _ in range(length):
            self._draw.choice((*parts, *others))()
        self.steps += finish(self._running())

    def _running(self) -> int:
        on = [i for i, power in enumerate(self._machine.power) if power is Power.ON]
        return self._draw.choice(on)

    def _call(self, values: set[int], function: int, *arguments: int, entry: bool = False) -> None:
        caller = self._running()
        how = self._draw.choice((0, SMC)) | (ENTRY if entry else 0)
        what = f"step {len(self.steps)}, vCPU {caller}: {function:#x} {[hex(a) for a in arguments]}"
        self.steps.append(call(caller, function, *arguments, how=how))
        self.expected.append(Expected(values, what))
        self.expected += [Expected(set(), "x1 to x3")] * 3

    def _target(self) -> tuple[int, int, int]:
        """An MPIDR and whether the call is SMC64: which of them, what is passed, the bit."""
        wide = self._draw.choice((0, SMC64))
        vcpu = self._draw.randrange(self.vcpus)
        strange = self._draw.choice(
            (self.vcpus, self.vcpus + 1, 0x100 | vcpu, 0x1_0000, 1 << 31 | vcpu, 1 << 32 | vcpu)
        )
        passed = vcpu if self._draw.random() < 0.7 else strange
        return (passed if wide else passed & 0xFFFF_FFFF), passed, wide

    def _on(self) -> None:
        target, passed, wide = self._target()
        context = self._draw.getrandbits(64)
        entry = self._draw.choice((None, None, None, None, NOWHERE, 2))
        seen = context if wide else context & 0xFFFF_FFFF
        values = self._machine.cpu_on(target, entry is None, seen)
        function = CPU_ON & ~SMC64 | wide
        # With an entry of 2 the stub's own is made odd; NOWHERE is an address without memory.
        if entry == NOWHERE:
            self._call(values, function, passed, NOWHERE, context)
        else:
            self._call(values, function, passed, entry or 0, context, entry=True)

    def _arrive(self) -> None:
        """A vCPU that was switched on says so itself."""
        coming = [i for i, power in enumerate(self._machine.power) if power is Power.COMING]
        if not coming:
            return
        vcpu = self._draw.choice(coming)
        self._machine.power[vcpu] = Power.ON
        self._machine.starts[vcpu] += 1
        what = f"step {len(self.steps)}, vCPU {vcpu}: "
        self.steps.append(Step(Operation.CONTEXT, vcpu))
        self.expected += [
            Expected({self._machine.context[vcpu]}, what + "context", whole=True),
            Expected({self._machine.starts[vcpu]}, what + "starts", whole=True),
            Expected({1 << 31 | vcpu}, what + "MPIDR_EL1", whole=True),
        ]

    def _off(self) -> None:
        """One vCPU is switched off, not the last, and another waits until it is."""
        if self._machine.power.count(Power.ON) < 2:
            return
        vcpu = self._running()
        self._machine.power[vcpu] = Power.OFF
        self.steps.append(leave(vcpu, CPU_OFF))
        self.steps.append(Step(Operation.OFF, self._running(), (vcpu, MOST_TRIES)))
        self.expected.append(Expected({IS_OFF}, f"step {len(self.steps) - 1}: off", whole=True))

    def _affinity(self) -> None:
        target, passed, wide = self._target()
        level = self._draw.choice((0, 0, 0, 1, 2, 3, 4, 1 << 31))
        values = self._machine.affinity_info(target, level)
        self._call(values, AFFINITY_INFO | wide, passed, level)

    def _features(self) -> None:
        some = [VERSION | self._draw.choice((0, SMC64)) | i for i in range(0x20)]
        asked = self._draw.choice((*some, SMCCC_VERSION, self._draw.getrandbits(32)))
        self._call({SUCCESS if asked in IMPLEMENTED else NOT_SUPPORTED}, FEATURES, asked)

    def _suspend(self) -> None:
        """Standby ends at once; power-down is nothing that there is."""
        state = self._draw.choice((0, 1, POWER_DOWN, POWER_DOWN | 1))
        values = {INVALID_PARAMETERS} if state & POWER_DOWN else {SUCCESS}
        self._call(values, SUSPEND | self._draw.choice((0, SMC64)), state, 0, 0)

    def _unknown(self) -> None:
        """All that is not implemented says so, as FEATURES does; and some fixed answers."""
        some = [VERSION | wide | i for wide in (0, SMC64) for i in range(0x20)]
        absent = [function for function in some if function not in IMPLEMENTED]
        values = {VERSION: {0x1_0001}, MIGRATE_INFO_TYPE: {2}}
        function = self._draw.choice((*absent, VERSION, MIGRATE_INFO_TYPE))
        arguments = [self._draw.getrandbits(64) for _ in range(3)]
        self._call(values.get(function, {NOT_SUPPORTED}), function, *arguments)

    def differences(self, got: list[int]) -> list[str]:
        """What was answered otherwise."""
        found = [
            f"{expected.what}: {value:#x}, not one of {sorted(expected.values)}"
            for expected, value in zip(self.expected, got, strict=False)
            if not expected.allows(value)
        ]
        if len(got) != len(self.expected):
            found.append(f"{len(got)} results, not {len(self.expected)}")
        return found
