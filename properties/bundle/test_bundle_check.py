# SPDX-License-Identifier: Apache-2.0
"""The rules of a manifest: what obeys them passes, and each breach is told."""

from dataclasses import replace
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aether_edgecloud.emulator.bundle.check import HostLayout, Span, check
from aether_edgecloud.emulator.bundle.manifest import (
    Device,
    DeviceKind,
    Image,
    Manifest,
    Memory,
    Vm,
    Window,
)
from aether_edgecloud.emulator.bundle.schedule import equal_shares
from aether_edgecloud.emulator.errors import UserError

from .vm_strategies import sound_manifests, sound_vms

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
UART = GOOD.devices[0]
GIC = Device(DeviceKind.VGICV2, 0x800_0000, 0x1000, cpu_interface=Window(0x801_0000, 0x2000))
OTHER_GIC = Device(DeviceKind.VGICV2, 0x100_0000, 0x1000, cpu_interface=Window(0x101_0000, 0x2000))
PASSED = Device(DeviceKind.PASSTHROUGH, 0x1000, 0x1000, (34,), host_address=0x901_0000)
SIZES = (1000, 500)
HOST = HostLayout(
    Span("RAM", 0x4000_0000, 256 * MIB),
    (
        Span("the hypervisor's memory", 0x4020_0000, 0x40000),
        Span("the bundle", 0x4800_0000, 0x5000),
        Span("the board's DTB", 0x4820_0000, 0x10000),
    ),
)


def alone(vm: Vm) -> Manifest:
    """The VM with all CPUs to itself."""
    return Manifest((vm,), equal_shares([range(vm.vcpus)]))


def told(vm: Vm, host: HostLayout | None = None) -> str:
    with pytest.raises(UserError) as caught:
        check(alone(vm), SIZES, where=["vm.toml:1"], host=host)
    assert str(caught.value).startswith("vm.toml:1: ")
    assert caught.value.fix
    return str(caught.value)


def test_a_good_vm_passes() -> None:
    check(alone(GOOD), SIZES, where=["x"], host=HOST)


@given(sound_vms())
def test_every_sound_vm_passes(sound: tuple[Vm, tuple[int, ...]]) -> None:
    vm, sizes = sound
    check(alone(vm), sizes, where=["x"])


@settings(max_examples=50)
@given(sound_manifests())
def test_sound_vms_together_pass(sound: tuple[Manifest, tuple[int, ...]]) -> None:
    manifest, sizes = sound
    check(manifest, sizes, where=["x"] * len(manifest.vms))


PAGES = st.integers(0, 40)


@given(st.lists(st.tuples(PAGES, st.integers(1, 8), st.booleans()), min_size=1, max_size=6))
def test_ranges_pass_exactly_when_no_page_is_in_two(ranges: list[tuple[int, int, bool]]) -> None:
    memory = tuple(Memory(s * 4096, n * 4096) for s, n, is_memory in ranges if is_memory)
    devices = tuple(
        Device(DeviceKind.VPL011, s * 4096, n * 4096) for s, n, is_memory in ranges if not is_memory
    )
    if not 1 <= len(memory) <= 4:
        return
    pages = [page for s, n, _ in ranges for page in range(s, s + n)]
    vm = Vm("x", 1, memory[0].ipa, 0, memory, (), devices)
    if len(pages) == len(set(pages)):
        check(alone(vm), (), where=["x"])
    else:
        with pytest.raises(UserError, match="overlaps"):
            check(alone(vm), (), where=["x"])


@given(st.integers(0, 0x3000), st.integers(1, 0x3000))
def test_an_image_passes_exactly_when_every_byte_is_in_memory(offset: int, size: int) -> None:
    """Two ranges that touch in IPA are two all the same: the hypervisor copies into one."""
    memory = (Memory(0x1000, 0x1000), Memory(0x2000, 0x1000))
    vm = Vm("x", 1, 0x1000, 0, memory, (Image(0, offset),), ())
    inside = any(m.ipa <= offset and offset + size <= m.ipa + m.size for m in memory)
    if inside:
        check(alone(vm), (size,), where=["x"])
    else:
        with pytest.raises(UserError, match="does not lie inside"):
            check(alone(vm), (size,), where=["x"])


@pytest.mark.parametrize(
    "name", ["aether", "", "x" * 16, "Upper", "under_score", "dot.", "new\nline", "ü"]
)
def test_a_bad_name(name: str) -> None:
    assert "cannot name a VM" in told(replace(GOOD, name=name))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"vcpus": 0}, "0 vCPUs"),
        ({"vcpus": 9}, "9 vCPUs"),
        ({"memory": ()}, "0 memory ranges"),
        ({"memory": tuple(Memory(n << 30, 4096) for n in range(1, 6))}, "5 memory ranges"),
        ({"images": (Image(0, 0x4020_0000),) * 9}, "9 images"),
        ({"devices": GOOD.devices * 9}, "9 devices"),
        ({"memory": (Memory(0x4000_0000, 0),)}, "has no size"),
        ({"memory": (Memory(0x4000_0800, 16 * MIB),)}, "not 4 KiB-aligned"),
        ({"memory": (Memory(0x4000_0000, 16 * MIB + 1),)}, "of 16777217 B is not 4 KiB-aligned"),
        ({"memory": (Memory((1 << 40) - 4096, 8192),)}, "above the highest IPA"),
        ({"memory": (Memory((1 << 64) - 4096, 4096),)}, "above the highest IPA"),
        ({"devices": (Device(DeviceKind.VPL011, 0x4000_0000, 4096),)}, "overlaps"),
        ({"devices": GOOD.devices * 2}, "overlaps"),
        ({"devices": (GIC, replace(UART, ipa=0x801_1000))}, "overlaps GIC 0x8010000..0x8011fff"),
        ({"devices": (GIC, OTHER_GIC)}, "two devices 'aether,vgicv2'"),
        ({"devices": (replace(GIC, size=0x2000),)}, "is not as one is"),
        ({"devices": (replace(GIC, cpu_interface=None),)}, "is not as one is"),
        ({"devices": (replace(GIC, interrupts=(40,)),)}, "1 interrupts of the GIC"),
        ({"devices": (replace(UART, interrupts=(40, 41)),)}, "2 interrupts of the PL011"),
        ({"devices": (replace(UART, interrupts=(31,)),)}, "interrupt 31 of the PL011"),
        ({"devices": (replace(UART, interrupts=(96,)),)}, "interrupt 96 of the PL011"),
        ({"devices": (replace(UART, host_address=0),)}, "is not as one is"),
        ({"devices": (replace(PASSED, host_address=None),)}, "is not as one is"),
        ({"devices": (replace(PASSED, host_address=0x10),)}, "not 4 KiB-aligned"),
        ({"devices": (replace(PASSED, interrupts=tuple(range(32, 41))),)}, "9 interrupts"),
        ({"devices": (PASSED, replace(UART, interrupts=(34,)))}, "interrupt 34 has two devices"),
        ({"devices": (PASSED, replace(PASSED, ipa=0x2000, interrupts=()))}, "overlaps"),
        ({"devices": (Device(DeviceKind.TELEMETRY, 0x1000, 0x2000),)}, "is not as one is"),
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
        check(alone(GOOD), (1000, 0), where=["x"])


def together(*vms: Vm, host: HostLayout | None = None) -> None:
    pins = [[0] * vm.vcpus for vm in vms]
    where = [f"x.toml:{n}" for n, _ in enumerate(vms, 1)] or ["x.toml"]
    check(Manifest(vms, equal_shares(pins)), SIZES, where=where, host=host)


@pytest.mark.parametrize("count", [0, 9])
def test_one_to_eight_vms(count: int) -> None:
    with pytest.raises(UserError, match=f"{count} VMs"):
        together(*(replace(GOOD, name=f"vm{n}") for n in range(count)))
    together(*(replace(GOOD, name=f"vm{n}") for n in range(8)))


def test_two_vms_of_one_name() -> None:
    with pytest.raises(UserError) as caught:
        together(GOOD, replace(GOOD, name="b"), GOOD)
    assert str(caught.value).startswith("x.toml:3: a VM is called 'good' already (x.toml:1)")


OTHER = replace(GOOD, name="other")


@pytest.mark.parametrize(
    ("one", "other", "words"),
    [
        (
            replace(GOOD, memory=(Memory(0x4000_0000, 16 * MIB, 0x5000_0000),)),
            replace(OTHER, memory=(Memory(0x4000_0000, 16 * MIB, 0x50FF_F000),)),
            "host memory of other 0x50fff000..0x51ffefff overlaps host memory of good",
        ),
        (
            replace(GOOD, devices=(PASSED,)),
            replace(OTHER, devices=(replace(PASSED, interrupts=()),)),
            "device passed to other 0x9010000..0x9010fff overlaps device passed to good",
        ),
        (
            replace(GOOD, devices=(PASSED,)),
            replace(OTHER, devices=(replace(PASSED, host_address=0x902_0000),)),
            "interrupt 34 is passed to good already",
        ),
    ],
)
def test_what_is_one_vms_only(one: Vm, other: Vm, words: str) -> None:
    together(one, OTHER)
    together(GOOD, other)
    with pytest.raises(UserError) as caught:
        together(one, other)
    assert words in str(caught.value)
    assert str(caught.value).startswith("x.toml:2: vm other")


def pinned(host: int, size: int = 16 * MIB) -> Vm:
    return replace(GOOD, memory=(Memory(0x4000_0000, size, host),))


@pytest.mark.parametrize("host", [0x4040_0000, 0x4900_0000, 0x4F00_0000])
def test_memory_pinned_to_free_ram_passes(host: int) -> None:
    check(alone(pinned(host)), SIZES, where=["x"], host=HOST)


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


def sized(name: str, mib: int) -> Vm:
    return replace(GOOD, name=name, memory=(Memory(0x4000_0000, mib * MIB),))


def test_more_memory_than_there_is() -> None:
    assert "do not fit" in told(sized("vm", 257), HOST)
    assert "255 MiB are free" in told(sized("vm", 256), HOST)
    together(sized("a", 127), sized("b", 128), host=HOST)
    with pytest.raises(UserError, match=r"256 MiB of guest memory do not fit into 256 MiB of RAM"):
        together(sized("a", 128), sized("b", 128), host=HOST)


def test_more_cpus_than_there_are() -> None:
    two = replace(GOOD, vcpus=2)
    check(alone(two), SIZES, where=["x"], host=replace(HOST, cpus=2))
    with pytest.raises(UserError, match=r"CPU 1, and the board has 1 CPU; .*--cpus"):
        check(alone(two), SIZES, where=["x"], host=replace(HOST, cpus=1))


@pytest.mark.parametrize(
    ("host_address", "words"),
    [
        (0x800_0000, "overlaps the interrupt controller"),
        (0x4F00_0000, "overlaps RAM"),
    ],
)
def test_a_device_that_no_vm_can_have(host_address: int, words: str) -> None:
    gic = Span("the interrupt controller", 0x800_0000, 0x10000)
    host = replace(HOST, devices=(gic,))
    passed = replace(PASSED, host_address=host_address)
    check(alone(replace(GOOD, devices=(PASSED,))), SIZES, where=["x"], host=host)
    assert words in told(replace(GOOD, devices=(passed,)), host)


def team(**changes: dict[str, object]) -> None:
    """Three VMs: a and b are peers, a manages c."""
    named = {
        "a": replace(GOOD, name="a", peers=(1,), manages=(2,)),
        "b": replace(GOOD, name="b", peers=(0,)),
        "c": replace(GOOD, name="c", manual_start=True),
    }
    vms = tuple(replace(vm, **changes.get(name, {})) for name, vm in named.items())  # type: ignore[arg-type]
    check(Manifest(vms, equal_shares([[0]] * 3)), SIZES, where=["x:1", "x:2", "x:3"])


def test_a_team_passes() -> None:
    team()


WIDE = (Memory(0x4000_0000, 0x3000_1000),)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"b": {"peers": ()}}, "x:1: vm a: b is its peer, and it is not one of b"),
        ({"b": {"peers": None}}, "x:1: vm a: b is its peer"),
        ({"c": {"peers": (0,)}}, "x:3: vm c: a is its peer"),
        ({"a": {"peers": (1, 1)}}, "x:1: vm a: peers has a VM twice"),
        ({"a": {"peers": (1, 0)}}, "x:1: vm a: peers has the VM itself"),
        ({"a": {"peers": (1, 3)}}, "x:1: vm a: peers has a VM that there is not"),
        ({"b": {"manages": (0, 0)}}, "x:2: vm b: manages has a VM twice"),
        ({"b": {"manages": (1,)}}, "x:2: vm b: manages has the VM itself"),
        ({"b": {"manages": (8,)}}, "x:2: vm b: manages has a VM that there is not"),
        ({"a": {"manages": ()}}, "x:3: vm c: is started by hand, and no VM manages it"),
        ({"c": {"uuid": UUID(int=1)}}, "x:3: vm c: a uuid without peers"),
        (
            {
                "a": {"manual_start": True},
                "b": {"manual_start": True, "manages": (0,)},
                "c": {"manages": (1,)},
            },
            "x:1: no VM starts by itself",
        ),
        ({"b": {"memory": WIDE}}, "x:2: vm b: memory 0x40000000..0x70000fff overlaps the window"),
    ],
)
def test_rights_that_cannot_be(changes: dict[str, dict[str, object]], words: str) -> None:
    with pytest.raises(UserError) as caught:
        team(**changes)
    assert str(caught.value).startswith(words)
    assert caught.value.fix


def test_the_window_is_free_for_those_without_peers() -> None:
    team(c={"memory": WIDE})
