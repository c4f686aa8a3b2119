# SPDX-License-Identifier: Apache-2.0
"""Every probe of every stub sees what the Arm ARM and the guest ABI say."""

import re

import pytest

from aether_edgecloud.properties.stubs.conftest import BootStub
from aether_edgecloud.properties.stubs.deviations import Platform, accepted
from aether_edgecloud.properties.stubs.expect import Expect
from aether_edgecloud.properties.stubs.expected_aborts import ABORTS, ABORTS_ELSEWHERE, STAGE1
from aether_edgecloud.properties.stubs.expected_calls import HYPERCALLS, MMIO
from aether_edgecloud.properties.stubs.expected_traps import TRAPS
from aether_edgecloud.properties.stubs.probe_lines import ProbeLine, parse

EXPECTED = {
    "traps": TRAPS,
    "aborts": ABORTS,
    "stage1": STAGE1,
    "mmio": MMIO,
    "hypercalls": HYPERCALLS,
}

# Without a hypervisor the board's own devices, firmware, timers and PMU answer.
DIFFERENT_WHEN_BARE = {
    "traps": re.compile(
        r"m(rs|sr)-(cntp_|cntfrq|pm[a-z]|id_|mvfr|dbg|mdccint|.*actlr|cpu|l2|rvbar)"
        r"|hvc-|smc-|el0-open-.*cntp|fp-kept"
    ),
    "aborts": re.compile(r".*-(gic-.*|zero|below-memory|ipa-2-39|ipa-2-40-less-a-page)$"),
    "stage1": re.compile(r"walk-in-device"),
}


def problems(
    lines: list[ProbeLine], expected: dict[str, Expect], stub: str, platform: Platform
) -> list[str]:
    """One line for each probe that saw something else, or is missing, or unknown."""
    names = [line.name for line in lines]
    found = [f"{name}: did not run" for name in expected if name not in names]
    for line in lines:
        if line.name not in expected:
            found.append(f"{line.name}: nothing is expected of it")
            continue
        candidates = accepted(platform, stub, line.name, expected[line.name])
        wrong = [list(candidate.problems(line)) for candidate in candidates]
        if all(wrong):
            found.append(f"{line.name}: {'; '.join(wrong[0])}")
    return found


@pytest.mark.parametrize("stub", EXPECTED)
def test_probes_see_what_the_architecture_says(
    stub: str, platform: Platform, boot_stub: BootStub
) -> None:
    result = boot_stub(stub, on=platform)
    found = problems(parse(result.console), EXPECTED[stub], stub, platform)
    assert not found, "\n".join([f"{stub} on {platform.value}:", *found])
    assert result.end == "guest-off"


def test_hypervisor_memory_is_out_of_reach(platform: Platform, boot_stub: BootStub) -> None:
    """With the guest's memory elsewhere, the IPA equal to the hypervisor's PA is nobody's."""
    result = boot_stub("aborts", on=platform, memory_base=0x8000_0000)
    found = problems(parse(result.console), ABORTS_ELSEWHERE, "aborts", platform)
    assert not found, "\n".join(found)
    assert result.end == "guest-off"


@pytest.mark.parametrize("stub", DIFFERENT_WHEN_BARE)
def test_bare_qemu_agrees(stub: str, boot_stub: BootStub) -> None:
    """A third opinion: the exceptions EL1 takes by itself are the same without a hypervisor."""
    lines = parse(boot_stub(stub, on=Platform.BARE).console)
    lines = [line for line in lines if not DIFFERENT_WHEN_BARE[stub].match(line.name)]
    expected = {line.name: EXPECTED[stub][line.name] for line in lines}
    assert len(expected) > 80
    found = problems(lines, expected, stub, Platform.BARE)
    assert not found, "\n".join(found)


def test_uid_is_not_that_of_nobody(platform: Platform, boot_stub: BootStub) -> None:
    """SMCCC: a first word of 0xffffffff says that there is no such interface."""
    lines = {line.name: line for line in parse(boot_stub("hypercalls", on=platform).console)}
    uid = [lines["call-uid"][f"x{n}"] for n in range(4)]
    assert uid[0] != 0xFFFF_FFFF
    assert all(word >> 32 == 0 for word in uid)


def test_start_state(platform: Platform, boot_stub: BootStub) -> None:
    """x0 is the DTB's address (none here), x1-x3 are 0, and nothing leaks in x4-x30 or SP. EL1h,
    DAIF masked, MMU and caches off, little-endian."""
    (line,) = parse(boot_stub("start-state", on=platform).console)
    assert all(line[key] == 0 for key in ("x0", "x1", "x2", "x3", "others", "sp"))
    assert line["pstate"] == 0x3C5
    m, c, i, ee = 1 << 0, 1 << 2, 1 << 12, 1 << 25
    assert line["sctlr"] & (m | c | i | ee) == 0
