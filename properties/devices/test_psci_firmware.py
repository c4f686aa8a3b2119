# SPDX-License-Identifier: Apache-2.0
"""The EL3 firmware against PSCI 1.1 (DEN 0022) and SMCCC 1.2 (DEN 0028)."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from aether_edgecloud.emulator.firmware.psci import (
    CpuOff,
    CpuOn,
    CpuPowerDown,
    CpuStandby,
    Firmware,
    SystemOff,
    SystemReset,
)

RAM = range(0x4000_0000, 0x5000_0000)
ENTRY = 0x4020_0000
NOT_SUPPORTED = (1 << 64) - 1
INVALID_PARAMETERS = (1 << 64) - 2
ALREADY_ON = (1 << 64) - 4
ON_PENDING = (1 << 64) - 5
INVALID_ADDRESS = (1 << 64) - 9

CPU_ON_32, CPU_ON_64 = 0x8400_0003, 0xC400_0003
AFFINITY_INFO_64 = 0xC400_0004
KNOWN_32 = {
    0x8000_0000,
    0x8000_0001,
    0x8000_7FFF,
    0x8000_8000,
    *(0x8400_0000 + n for n in (0, 1, 2, 3, 4, 6, 8, 9, 0xA, 0x12)),
}
KNOWN_64 = {0xC400_0001, 0xC400_0003, 0xC400_0004, 0xC400_0012}


def firmware(cpus: int = 2) -> Firmware:
    return Firmware(cpus, RAM)


def x0(*x: int, cpu: int = 0, on: Firmware | None = None) -> int:
    return (on or firmware()).call(x, cpu).values[0]


def test_versions() -> None:
    assert x0(0x8400_0000) == 0x0001_0001
    assert x0(0x8000_0000) == 0x0001_0002


def test_no_trusted_os_to_migrate() -> None:
    assert x0(0x8400_0006) == 2


@pytest.mark.parametrize(
    ("function", "answer"),
    [
        (0x8000_0000, 0),
        (0x8000_0001, 0),
        (0x8000_8000, 0),  # mitigated by the call
        (0x8000_7FFF, 1),  # the call exists, this core need not make it
        (0x8000_0002, NOT_SUPPORTED),
        (0x8400_0000, NOT_SUPPORTED),
    ],
)
def test_architectural_features(function: int, answer: int) -> None:
    assert x0(0x8000_0001, function) == answer


@pytest.mark.parametrize("function", [0x8000_8000, 0x8000_7FFF])
def test_workarounds_leave_all_registers(function: int) -> None:
    result = firmware().call((function, 11, 12, 13), 0)
    assert result.values == (function, 11, 12, 13)
    assert result.power is None


@given(function=st.sampled_from(sorted(KNOWN_32 | KNOWN_64)) | st.integers(0, 0xFFFF_FFFF))
def test_psci_features_tells_exactly_what_is_there(function: int) -> None:
    psci = function in KNOWN_64 or (function in KNOWN_32 and function >> 24 == 0x84)
    expected = 0 if psci or function == 0x8000_0000 else NOT_SUPPORTED
    assert x0(0x8400_000A, function) == expected


@given(function=st.integers(0, 0xFFFF_FFFF) | st.integers(0, 0x20).map(lambda n: 0xC400_0000 + n))
def test_anything_else_is_not_supported(function: int) -> None:
    if function in KNOWN_32 | KNOWN_64:
        return
    result = firmware().call((function, 1, 2, 3), 0)
    assert result.values == (NOT_SUPPORTED, 1, 2, 3)
    assert result.power is None


def test_the_function_is_in_w0() -> None:
    assert x0(0xDEAD_BEEF_8400_0000) == 0x0001_0001


def test_cpu_on() -> None:
    model = firmware()
    result = model.call((CPU_ON_64, 1, ENTRY, 0xFEED_0000_0001), 0)
    assert result.values[0] == 0
    assert result.power == CpuOn(1, ENTRY, 0xFEED_0000_0001)
    assert x0(AFFINITY_INFO_64, 1, on=model) == 2
    again = model.call((CPU_ON_64, 1, ENTRY, 0), 0)
    assert again.values[0] == ON_PENDING
    assert again.power is None
    model.cpu_started(1)
    assert x0(AFFINITY_INFO_64, 1, on=model) == 0
    assert x0(CPU_ON_64, 1, ENTRY, on=model) == ALREADY_ON
    assert x0(CPU_ON_64, 0, ENTRY, on=model) == ALREADY_ON
    assert model.call((0x8400_0002,), 1).power == CpuOff(1)
    assert x0(AFFINITY_INFO_64, 1, on=model) == 1
    assert model.call((CPU_ON_64, 1, ENTRY, 7), 0).power == CpuOn(1, ENTRY, 7)


def test_cpus_that_all_run_from_the_start() -> None:
    model = Firmware(3, RAM, all_on=True)
    for cpu in range(3):
        assert x0(AFFINITY_INFO_64, cpu, on=model) == 0
        assert x0(CPU_ON_64, cpu, ENTRY, on=model) == ALREADY_ON
    assert model.call((0x8400_0002,), 2).power == CpuOff(2)
    assert model.call((CPU_ON_64, 2, ENTRY, 1), 0).power == CpuOn(2, ENTRY, 1)


@pytest.mark.parametrize("target", [2, 0x100, 0x8000_0001, 1 << 32 | 1, 1 << 63])
def test_cpu_on_of_nobody(target: int) -> None:
    assert x0(CPU_ON_64, target, ENTRY) == INVALID_PARAMETERS


@pytest.mark.parametrize("entry", [0, RAM.start - 4, RAM.stop, ENTRY + 2, 1 << 40 | ENTRY])
def test_cpu_on_outside_ram(entry: int) -> None:
    model = firmware()
    assert x0(CPU_ON_64, 1, entry, on=model) == INVALID_ADDRESS
    assert x0(AFFINITY_INFO_64, 1, on=model) == 1


def test_32_bit_calls_have_32_bit_arguments() -> None:
    high = 0xFFFF_FFFF_0000_0000
    result = firmware().call((CPU_ON_32, high | 1, high | ENTRY, high | 5), 0)
    assert result.values == (0, high | 1, high | ENTRY, high | 5)
    assert result.power == CpuOn(1, ENTRY, 5)


def test_affinity_info_only_at_level_0() -> None:
    assert x0(AFFINITY_INFO_64, 0, 0) == 0
    assert x0(AFFINITY_INFO_64, 0, 1) == INVALID_PARAMETERS
    assert x0(AFFINITY_INFO_64, 5, 0) == INVALID_PARAMETERS


def test_cpu_suspend() -> None:
    model = firmware()
    standby = model.call((0xC400_0001, 0, 0, 0), 1)
    assert standby.values[0] == 0
    assert standby.power == CpuStandby(1)
    down = model.call((0xC400_0001, 1 << 16, ENTRY, 9), 0)
    assert down.power == CpuPowerDown(0, ENTRY, 9)
    assert x0(0xC400_0001, 1 << 16, 0, on=model) == INVALID_ADDRESS
    for reserved in (1 << 17, 1 << 26, 2 << 24, 3 << 24, 1 << 31):
        assert x0(0xC400_0001, reserved, ENTRY, on=model) == INVALID_PARAMETERS
    assert x0(AFFINITY_INFO_64, 0, on=model) == 0  # suspended counts as on


def test_system_off_and_resets() -> None:
    model = firmware()
    assert model.call((0x8400_0008,), 0).power == SystemOff()
    assert model.call((0x8400_0009,), 0).power == SystemReset()
    warm = model.call((0xC400_0012, 0, 1 << 40), 0)
    assert warm.power == SystemReset(warm=True, cookie=1 << 40)
    truncated = model.call((0x8400_0012, 0, 1 << 40 | 3), 0)
    assert truncated.power == SystemReset(warm=True, cookie=3)
    for kind in (1, 1 << 31):
        refused = model.call((0xC400_0012, kind, 0), 0)
        assert refused.values[0] == INVALID_PARAMETERS
        assert refused.power is None


class PowerMachine(RuleBasedStateMachine):
    """Four CPUs switched on and off in any order: each is in exactly one state."""

    def __init__(self) -> None:
        super().__init__()
        self.firmware = firmware(4)
        self.states = ["on", "off", "off", "off"]

    @rule(cpu=st.integers(0, 3), context=st.integers(0, 9))
    def switch_on(self, cpu: int, context: int) -> None:
        result = self.firmware.call((CPU_ON_64, cpu, ENTRY, context), 0)
        if self.states[cpu] == "off":
            assert result.values[0] == 0
            assert result.power == CpuOn(cpu, ENTRY, context)
            self.states[cpu] = "pending"
        else:
            expected = ALREADY_ON if self.states[cpu] == "on" else ON_PENDING
            assert result.values[0] == expected
            assert result.power is None

    @rule()
    def start(self) -> None:
        for cpu in range(4):
            if self.states[cpu] == "pending":
                self.firmware.cpu_started(cpu)
                self.states[cpu] = "on"

    @rule(cpu=st.integers(0, 3))
    def switch_off(self, cpu: int) -> None:
        if self.states[cpu] == "on":
            assert self.firmware.call((0x8400_0002,), cpu).power == CpuOff(cpu)
            self.states[cpu] = "off"

    @rule()
    def through_a_file(self) -> None:
        state = json.loads(json.dumps(self.firmware.save()))
        self.firmware = firmware(4)
        self.firmware.restore(state)

    @invariant()
    def affinity_info_agrees(self) -> None:
        for cpu in range(4):
            answer = self.firmware.call((AFFINITY_INFO_64, cpu), 0).values[0]
            assert ("on", "off", "pending")[answer] == self.states[cpu]


TestPower = PowerMachine.TestCase
TestPower.settings = settings(max_examples=40)
