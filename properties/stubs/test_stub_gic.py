# SPDX-License-Identifier: Apache-2.0
"""The virtual GICv2 answers its guest as a board's GICv2 does: QEMU's, without a hypervisor."""

import pytest

from aether_edgecloud.properties.stubs.conftest import BootStub
from aether_edgecloud.properties.stubs.deviations import Platform
from aether_edgecloud.properties.stubs.probe_lines import parse

Seen = list[tuple[str, int]]


def seen(boot_stub: BootStub, platform: Platform) -> Seen:
    result = boot_stub("gic", on=platform)
    assert "gic: done" in result.text
    return [(line.name, line["value"]) for line in parse(result.console)]


@pytest.fixture(scope="module")
def on_a_board(boot_stub: BootStub) -> Seen:
    return seen(boot_stub, Platform.BARE)


def test_as_on_a_board(platform: Platform, boot_stub: BootStub, on_a_board: Seen) -> None:
    assert len(on_a_board) > 100
    assert seen(boot_stub, platform) == on_a_board


def test_what_the_specification_says(platform: Platform, boot_stub: BootStub) -> None:
    """IHI 0048B, so that QEMU is not the only judge."""
    values = seen(boot_stub, platform)
    one = dict(values)
    spi, spurious = 40, 1023
    assert one["enabled-at-reset"] & 0xFFFF == one["sgis-stay-enabled"] == 0xFFFF
    assert one["sgi-configuration"] == 0xAAAA_AAAA
    assert one["priority-word"] == 0x4030_8810
    assert one["sgi-pending-by-source"] == 1 << 8
    for name in ("nothing", "disabled", "not-twice-at-once", "distributor-off", "held-back"):
        assert one[name] == spurious, name
    for name in ("waits", "taken", "taken-again", "unmasked", "made-inactive"):
        assert one[name] == spi, name
    assert one["active"] == one["active-when-disabled"] == 1 << spi % 32
    assert [value for name, value in values if name == "in-order"] == list(range(51, 39, -1))
    assert [value for name, value in values if name == "nested"] == list(range(40, 52))
    assert [value for name, value in values if name == "sgi"] == [1, 2, spurious, spurious]
    assert one["timer-again"] == 27
    assert [value for name, value in values if name == "deactivated"][-1] == 0
