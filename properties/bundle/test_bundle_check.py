# SPDX-License-Identifier: Apache-2.0
"""The rules of a manifest: what obeys them passes, and each breach is told."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aether_edgecloud.emulator.bundle.check import HostLayout, Span, check
from aether_edgecloud.emulator.bundle.manifest import (
    Device,
    DeviceKind,
    Image,
    Manifest,
    Memory,
    Vm,
)
from aether_edgecloud.emulator.errors import UserError

from .vm_strategies import sound_vms

MIB = 1 << 20
GOOD = Vm(
    name="good",
    vcpus=1,
    entry=0x4020_0000,
    dtb_address=0x4000_0000,
    memory=(Memory(0x4000_0000, 16 * MIB),),
    images=(Image(0, 0x4020_0000), Image(1, 0x4000_0000)),
    devices=(Device(DeviceKind.VPL011, 0x0900_0000, 0x1000),),
)
SIZES = (1000, 500)
HOST = HostLayout(
    Span("RAM", 0x4000_0000, 256 * MIB),
    (
        Span("the hypervisor's memory", 0x4020_0000, 0x40000),
        Span("the bundle", 0x4800_0000, 0x5000),
        Span("the board's DTB", 0x4820_0000, 0x10000),
    ),
)


def told(vm: Vm, host: HostLayout | None = None) -> str:
    with pytest.raises(UserError) as caught:
        check(Manifest((vm,)), SIZES, where=["vm.toml:1"], host=host)
    assert str(caught.value).startswith("vm.toml:1: ")
    assert caught.value.fix
    return str(caught.value)


def test_a_good_vm_passes() -> None:
    check(Manifest((GOOD,)), SIZES, where=["x"], host=HOST)


@given(sound_vms())
def test_every_sound_vm_passes(sound: tuple[Vm, tuple[int, ...]]) -> None:
    vm, sizes = sound
    check(Manifest((vm,)), sizes, where=["x"])


PAGES = st.integers(0, 40)


@given(st.lists(st.tuples(PAGES, st.integers(1, 8), st.booleans()), min_size=1, max_size=6))
def test_ranges_pass_exactly_when_no_page_is_in_two(ranges: list[tuple[int, int, bool]]) -> None:
    memory = tuple(Memory(s * 4096, n * 4096) for s, n, is_memory in ranges if is_memory)
    devices = tuple(
        Device(DeviceKind.VPL011, s * 4096, n * 4096) for s, n, is_memory in ranges if not is_memory
    )
    if not 1 <= len(memory) <= 4 or len(devices) > 4:
        return
    pages = [page for s, n, _ in ranges for page in range(s, s + n)]
    vm = Vm("x", 1, memory[0].ipa, 0, memory, (), devices)
    if len(pages) == len(set(pages)):
        check(Manifest((vm,)), (), where=["x"])
    else:
        with pytest.raises(UserError, match="overlaps"):
            check(Manifest((vm,)), (), where=["x"])


@given(st.integers(0, 0x3000), st.integers(1, 0x3000))
def test_an_image_passes_exactly_when_every_byte_is_in_memory(offset: int, size: int) -> None:
    """Two ranges that touch in IPA are two all the same: the hypervisor copies into one."""
    memory = (Memory(0x1000, 0x1000), Memory(0x2000, 0x1000))
    vm = Vm("x", 1, 0x1000, 0, memory, (Image(0, offset),), ())
    inside = any(m.ipa <= offset and offset + size <= m.ipa + m.size for m in memory)
    if inside:
        check(Manifest((vm,)), (size,), where=["x"])
    else:
        with pytest.raises(UserError, match="does not lie inside"):
            check(Manifest((vm,)), (size,), where=["x"])


@pytest.mark.parametrize("name", ["", "x" * 16, "Upper", "under_score", "dot.", "new\nline", "ü"])
def test_a_bad_name(name: str) -> None:
    assert "cannot name a VM" in told(replace(GOOD, name=name))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"vcpus": 0}, "0 vCPUs"),
        ({"vcpus": 2}, "2 vCPUs"),
        ({"memory": ()}, "0 memory ranges"),
        ({"memory": tuple(Memory(n << 30, 4096) for n in range(1, 6))}, "5 memory ranges"),
        ({"images": (Image(0, 0x4020_0000),) * 9}, "9 images"),
        ({"devices": GOOD.devices * 5}, "5 devices"),
        ({"memory": (Memory(0x4000_0000, 0),)}, "has no size"),
        ({"memory": (Memory(0x4000_0800, 16 * MIB),)}, "not 4 KiB-aligned"),
        ({"memory": (Memory(0x4000_0000, 16 * MIB + 1),)}, "not 4 KiB-aligned"),
        ({"memory": (Memory((1 << 40) - 4096, 8192),)}, "above the highest IPA"),
        ({"memory": (Memory((1 << 64) - 4096, 4096),)}, "above the highest IPA"),
        ({"devices": (Device(DeviceKind.VPL011, 0x4000_0000, 4096),)}, "overlaps"),
        ({"devices": GOOD.devices * 2}, "overlaps"),
        ({"images": (Image(2, 0x4020_0000),)}, "asks for blob 2"),
        ({"images": (Image(0, 0x4100_0000 - 999),)}, "does not lie inside"),
        ({"images": (Image(0, (1 << 64) - 1),)}, "does not lie inside"),
        ({"images": (Image(0, 0x4020_0000), Image(1, 0x4020_03E7))}, "overlaps"),
        ({"entry": 0x4020_0002}, "4-byte aligned"),
        ({"entry": 0x4100_0000}, "not in the VM's memory"),
        ({"entry": 0x0900_0000}, "not in the VM's memory"),
        ({"dtb_address": 0x4000_0004}, "8-byte aligned"),
        ({"dtb_address": 0x3FFF_FFF8}, "not in the VM's memory"),
    ],
)
def test_each_breach_is_told(change: dict[str, object], words: str) -> None:
    assert words in told(replace(GOOD, **change))  # type: ignore[arg-type]


def test_an_empty_image_is_refused() -> None:
    with pytest.raises(UserError, match="image 1 is empty"):
        check(Manifest((GOOD,)), (1000, 0), where=["x"])


@pytest.mark.parametrize("count", [0, 2])
def test_one_vm_exactly(count: int) -> None:
    with pytest.raises(UserError, match=f"{count} VMs"):
        check(Manifest((GOOD,) * count), SIZES, where=["x"] * max(1, count))


def pinned(host: int, size: int = 16 * MIB) -> Vm:
    return replace(GOOD, memory=(Memory(0x4000_0000, size, host),))


@pytest.mark.parametrize("host", [0x4040_0000, 0x4900_0000, 0x4F00_0000])
def test_memory_pinned_to_free_ram_passes(host: int) -> None:
    check(Manifest((pinned(host),)), SIZES, where=["x"], host=HOST)


@pytest.mark.parametrize(
    ("host", "words"),
    [
        (0x4000_0000, "overlaps the hypervisor's memory"),
        (0x4023_F000, "overlaps the hypervisor's memory"),
        (0x4780_0000, "overlaps the bundle"),
        (0x4820_F000, "overlaps the board's DTB"),
        (0x3F00_0000, "is not inside RAM"),
        (0x4F00_1000, "is not inside RAM"),
        (0x4040_0800, "not 4 KiB-aligned"),
        ((1 << 48) - 4096, "above the highest PA"),
        ((1 << 64) - 4096, "above the highest PA"),
    ],
)
def test_memory_pinned_where_it_may_not_be(host: int, words: str) -> None:
    assert words in told(pinned(host), HOST)


def test_two_ranges_pinned_to_the_same_memory() -> None:
    memory = (Memory(0x4000_0000, 4 * MIB, 0x4100_0000), Memory(0x8000_0000, MIB, 0x413F_0000))
    assert "overlaps" in told(replace(GOOD, memory=memory), HOST)


def test_more_memory_than_there_is() -> None:
    assert "do not fit" in told(replace(GOOD, memory=(Memory(0x4000_0000, 257 * MIB),)), HOST)
