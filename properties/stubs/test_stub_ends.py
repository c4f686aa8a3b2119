# SPDX-License-Identifier: Apache-2.0
"""How runs end: a guest that misbehaves dies alone, with a record; one that stops, stops."""

import re

import pytest

from aether_edgecloud.emulator.machine.machine import StopKind
from aether_edgecloud.guest_stubs import catalogue
from aether_edgecloud.guest_stubs.catalogue import CRASH_CASES, End
from aether_edgecloud.properties.stubs.conftest import BootStub
from aether_edgecloud.properties.stubs.deviations import Platform
from aether_edgecloud.properties.stubs.runner import RunResult

FAULT_LOOP_CASES = [case.name for case in catalogue.find("fault-loop").cases]
TWO = (Platform.QEMU, Platform.MODEL)
"""For the many short runs; the native walker adds nothing to them."""
SHORT = 5_000_000
"""Instructions for a stub that never ends: enough to boot and get there."""


def _check_crash(result: RunResult, name: str, why: str) -> None:
    """The record: why, and pc, esr, far, ipa, spsr, x0-x30. Then the end, and nothing behind."""
    assert result.end == End.GUEST_CRASH.value
    record = result.text[result.text.index(f"[aether] vm {name}: crash: ") :]
    assert re.match(rf"\[aether\] vm {name}: crash: {why}\n", record)
    for word in ("pc", "esr", "far", "ipa", "spsr", "x0", "x30"):
        assert re.search(rf"\b{word}\b", record), f"no {word} in the record"
    lines = record.splitlines()
    assert all(line.startswith("[aether] ") for line in lines)
    assert lines[-1] == "[aether] end: guest-crash"
    assert "survived" not in result.text
    assert "panic" not in result.text


@pytest.mark.parametrize("platform", TWO, ids=[platform.value for platform in TWO])
@pytest.mark.parametrize("case", [case.name for case in CRASH_CASES])
def test_access_without_syndrome_kills_the_guest(
    case: str, platform: Platform, boot_stub: BootStub
) -> None:
    result = boot_stub("crash", on=platform, case=case)
    _check_crash(result, "crash", "MMIO access without a valid syndrome")


@pytest.mark.parametrize("platform", TWO, ids=[platform.value for platform in TWO])
@pytest.mark.parametrize("case", FAULT_LOOP_CASES)
def test_guest_without_vectors_is_ended(case: str, platform: Platform, boot_stub: BootStub) -> None:
    result = boot_stub("fault-loop", on=platform, case=case)
    _check_crash(result, "fault-loop", ".*vector.*")


@pytest.mark.parametrize("case", ["system-off", "system-off-smc", "cpu-off"])
def test_power_off(case: str, platform: Platform, boot_stub: BootStub) -> None:
    result = boot_stub("power", on=platform, case=case)
    assert result.end == End.GUEST_OFF.value
    assert "returned" not in result.text
    assert result.text.count("power: case") == 1


def test_reset_starts_afresh(platform: Platform, boot_stub: BootStub) -> None:
    """The stub asks for a reset at every start. Its memory is the bundle's again."""
    result = boot_stub(
        "power", on=platform, case="reset", stop_after=("power: case", 3), instructions=SHORT
    )
    starts = [line for line in result.guest_lines if line.startswith("power: case")]
    assert len(starts) >= 2
    assert all(line == "power: case 3, memory fresh" for line in starts[:-1])
    assert result.end is None
    assert "returned" not in result.text


@pytest.mark.parametrize("case", ["branch", "vector-storm", "hypercalls"])
def test_endless_guest_does_not_end_the_hypervisor(case: str, boot_stub: BootStub) -> None:
    """In the emulator alone: only there can a run be stopped after so many instructions."""
    # Exceptions without end retire nothing: only EL2's windows count, some 600 instructions a slot.
    limit = 1_000_000 if case == "vector-storm" else SHORT
    result = boot_stub("spin", on=Platform.MODEL, case=case, instructions=limit)
    assert result.end is None
    assert result.guest_lines[-1] == f"spin: case {catalogue.find('spin').case(case).number}"
    assert "panic" not in result.text


def test_wfi_waits_for_ever(boot_stub: BootStub) -> None:
    """No interrupt is on: nothing happens but that EL2, in each slot, looks for input."""
    result = boot_stub("spin", on=Platform.MODEL, case="wfi", instructions=SHORT)
    assert result.stop is StopKind.INPUT_ENDED
    assert result.end is None


def test_input_reaches_the_guest(platform: Platform, boot_stub: BootStub) -> None:
    """Each byte once and in order, control characters and high bits too, through the PL011."""
    sent = b"a\x03\r\n\xff\x00z."
    result = boot_stub("power", on=platform, case="read-then-off", console_input=sent)
    read = [line for line in result.guest_lines if line.startswith("power: read ")]
    assert read == [f"power: read {byte:#x}" for byte in sent]
    assert result.end == End.GUEST_OFF.value


def test_loops_count(platform: Platform, boot_stub: BootStub) -> None:
    result = boot_stub("null-hvc", on=platform, parameter=7)
    assert result.guest_lines == ["null-hvc: 7 calls", "null-hvc: done"]
    result = boot_stub("uart-mmio", on=platform, case="write", parameter=9)
    assert result.guest_lines == ["uart-mmio: 9 stores", "uart-mmio: done"]
    result = boot_stub("uart-mmio", on=platform)
    assert result.guest_lines == ["uart-mmio: 1000 loads", "uart-mmio: done"]


def test_hello(platform: Platform, boot_stub: BootStub) -> None:
    result = boot_stub("hello", on=platform)
    assert result.end == End.GUEST_OFF.value
    assert [line for line in result.guest_lines if line.startswith("hello: ")] == [
        "hello: a small guest at EL1, glad to be here",
        "hello: CurrentEL = 0x1",
        "hello: MIDR_EL1 = 0x410fd083",
        "hello: MPIDR_EL1 = 0x80000000",
        "hello: CNTFRQ_EL0 = 0x3b9aca0",
        "hello: memory from IPA = 0x40000000",
        "hello: Aether hypervisor interface 0.1",
        "hello: and this line went through the PL011",
        "hello: bye",
    ]
