# SPDX-License-Identifier: Apache-2.0
"""The manifest as typed values and as a DTB."""

import subprocess
from pathlib import Path
from uuid import UUID

import libfdt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aether_edgecloud.emulator.bundle import fdt
from aether_edgecloud.emulator.bundle.manifest import (
    Device,
    DeviceKind,
    Manifest,
    Restart,
    Vm,
    Window,
    decode,
    encode,
)
from aether_edgecloud.emulator.bundle.schedule import CpuSlots, Schedule, Slot
from aether_edgecloud.emulator.errors import UserError

from .vm_strategies import any_manifests, small_bundle

SMALL = small_bundle().manifest


def decoded_or_refused(data: bytes) -> Manifest | None:
    try:
        return decode(data, where="x.bundle")
    except UserError as error:
        assert str(error).startswith("x.bundle: manifest")
        assert error.fix
        return None


@given(any_manifests())
def test_what_is_encoded_is_decoded(manifest: Manifest) -> None:
    data = encode(manifest)
    assert decode(data, where="x") == manifest
    assert encode(decode(data, where="x")) == data


def test_the_tree_is_the_documented_one() -> None:
    tree = libfdt.Fdt(bytearray(SMALL))
    assert tree.version() == 17
    assert tree.getprop(0, "compatible").as_str() == "aether,manifest"
    assert tree.getprop(0, "aether,version").as_uint32() == 3
    schedule = tree.path_offset("/schedule")
    assert tree.getprop(schedule, "frame-us").as_uint32() == 10_000
    assert tree.getprop(schedule, "window-us").as_uint32() == 64
    cpu = tree.path_offset("/schedule/cpu@0")
    assert tree.getprop(cpu, "slots").as_uint32_list() == [0, 0, 10_000]
    vm = tree.path_offset("/vm@0")
    assert tree.getprop(vm, "compatible").as_str() == "aether,vm"
    assert tree.getprop(vm, "vm-name").as_str() == "small"
    assert tree.getprop(vm, "vcpus").as_uint32() == 1
    assert tree.getprop(vm, "entry").as_uint64() == 0x4000_8000
    assert tree.getprop(vm, "dtb-address").as_uint64() == 0x4000_0000
    assert tree.getprop(vm, "restart").as_uint32() == 0
    memory = tree.path_offset("/vm@0/memory@40000000")
    assert tree.getprop(memory, "reg").as_uint64_list() == [0x4000_0000, 0x10000]
    assert not tree.hasprop(memory, "host-address")
    image = tree.path_offset("/vm@0/image@0")
    assert tree.getprop(image, "blob").as_uint32() == 0
    assert tree.getprop(image, "load-address").as_uint64() == 0x4000_8000
    device = tree.path_offset("/vm@0/device@9000000")
    assert tree.getprop(device, "compatible").as_str() == "aether,vpl011"
    assert tree.getprop(device, "reg").as_uint64_list() == [0x0900_0000, 0x1000]
    assert tree.getprop(device, "interrupts").as_uint32_list() == [33]
    assert not tree.hasprop(device, "host-address")


def test_each_kind_of_device_is_written_as_documented() -> None:
    gic = Device(DeviceKind.VGICV2, 0x800_0000, 0x1000, cpu_interface=Window(0x801_0000, 0x2000))
    passed = Device(DeviceKind.PASSTHROUGH, 0x1000, 0x2000, (34, 35), host_address=0x901_0000)
    telemetry = Device(DeviceKind.TELEMETRY, 0xA00_0000, 0x1000)
    vm = Vm("x", 2, 0, 0, (), (), (gic, passed, telemetry), Restart.ALWAYS)
    schedule = Schedule(
        5000, 100, (CpuSlots(0, (Slot(None, 0, 5000),)), CpuSlots(3, (Slot(0, 1, 5000),)))
    )
    tree = libfdt.Fdt(bytearray(encode(Manifest((vm, vm), schedule))))

    def value(path: str, name: str) -> libfdt.Property:
        return tree.getprop(tree.path_offset(path), name)

    assert value("/schedule/cpu@0", "slots").as_uint32_list() == [0xFFFF_FFFF, 0, 5000]
    assert value("/schedule/cpu@3", "slots").as_uint32_list() == [0, 1, 5000]
    assert value("/vm@1", "restart").as_uint32() == 2
    assert value("/vm@0/device@8000000", "compatible").as_str() == "aether,vgicv2"
    windows = [0x800_0000, 0x1000, 0x801_0000, 0x2000]
    assert value("/vm@0/device@8000000", "reg").as_uint64_list() == windows
    assert value("/vm@0/device@1000", "compatible").as_str() == "aether,passthrough"
    assert value("/vm@0/device@1000", "host-address").as_uint64() == 0x901_0000
    assert value("/vm@0/device@1000", "interrupts").as_uint32_list() == [34, 35]
    assert value("/vm@0/device@a000000", "compatible").as_str() == "aether,telemetry"
    assert not tree.hasprop(tree.path_offset("/vm@0/device@a000000"), "interrupts")


def test_rights_are_written_as_documented() -> None:
    uuid = UUID("01020304-0506-0708-090a-0b0c0d0e0f10")
    one = Vm("one", 1, 0, 0, (), (), (), peers=(1,), uuid=uuid, manages=(1,))
    two = Vm("two", 1, 0, 0, (), (), (), manual_start=True, peers=(0,))
    three = Vm("three", 1, 0, 0, (), (), (), peers=())
    tree = libfdt.Fdt(bytearray(encode(Manifest((one, two, three), Schedule(1, 1, ())))))
    nodes = [tree.path_offset(f"/vm@{n}") for n in range(3)]
    assert [tree.getprop(node, "ffa-peers").as_uint32_list() for node in nodes] == [[1], [0], []]
    assert bytes(tree.getprop(nodes[0], "ffa-uuid")) == bytes(range(1, 17))
    assert tree.getprop(nodes[0], "manages").as_uint32_list() == [1]
    assert bytes(tree.getprop(nodes[1], "manual-start")) == b""
    for name in ("ffa-uuid", "manages"):
        assert not tree.hasprop(nodes[1], name)
    assert not tree.hasprop(nodes[0], "manual-start")


@pytest.mark.parametrize(
    ("item", "words"),
    [
        (fdt.Property("manual-start", b"\0"), "'manual-start' is not empty"),
        (fdt.Property("ffa-peers", b"\0"), "'ffa-peers' is not whole cells"),
        (fdt.Property("manages", b"\0"), "'manages' is not whole cells"),
        (fdt.Property("ffa-uuid", bytes(15)), "'ffa-uuid' is not 16 bytes"),
    ],
)
def test_rights_of_another_shape_are_refused(item: fdt.Property, words: str) -> None:
    tree = fdt.read(SMALL, where="x")
    schedule, vm = tree.children
    changed = fdt.Node(vm.name, (*vm.properties, item), vm.children)
    with pytest.raises(UserError, match=words):
        decode(fdt.write(fdt.Node("", tree.properties, (schedule, changed))), where="x")


def test_dtc_reads_it(dtc: Path, tmp_path: Path) -> None:
    blob = tmp_path / "manifest.dtb"
    blob.write_bytes(SMALL)
    command = [str(dtc), "-I", "dtb", "-O", "dtb", str(blob), "-o", str(tmp_path / "again.dtb")]
    subprocess.run(command, check=True, capture_output=True)
    again = (tmp_path / "again.dtb").read_bytes()
    assert decode(again, where="x") == decode(SMALL, where="x")


@given(st.integers(0, len(SMALL)))
def test_a_truncated_manifest_is_refused(length: int) -> None:
    found = decoded_or_refused(SMALL[:length])
    assert (found is None) == (length < len(SMALL))


@given(st.integers(0, len(SMALL) - 1), st.binary(min_size=1, max_size=8))
def test_a_changed_manifest_is_read_or_refused(position: int, change: bytes) -> None:
    changed = SMALL[:position] + change + SMALL[position + len(change) :]
    decoded_or_refused(changed[: len(SMALL)])


@given(st.binary(max_size=200))
def test_any_bytes_are_refused(data: bytes) -> None:
    assert decoded_or_refused(data) is None


def with_node(change: fdt.Node) -> bytes:
    tree = fdt.read(SMALL, where="x")
    schedule, vm = tree.children
    changed = fdt.Node(vm.name, vm.properties, (change,))
    return fdt.write(fdt.Node("", tree.properties, (schedule, changed)))


@pytest.mark.parametrize(
    ("node", "words"),
    [
        (fdt.Node("disk@0"), "does not know"),
        (fdt.Node("memory@0"), "'reg' is missing"),
        (fdt.Node("memory@0", (fdt.Property("reg", fdt.cells(1, 2)),)), "4 cells"),
        (fdt.Node("memory@0", (fdt.Property("size", fdt.cells(1)),)), "'size' is not known"),
        (fdt.Node("image@0", (fdt.Property("blob", b"\0"),)), "not one cell"),
        (fdt.Node("image@0", (fdt.Property("blob", fdt.cells(0)),)), "'load-address' is missing"),
        (fdt.Node("device@0", (fdt.Property("compatible", fdt.text("x")),)), "no device 'x'"),
        (fdt.Node("device@0", (fdt.Property("compatible", b"x"),)), "not one ASCII string"),
        (
            fdt.Node(
                "device@0",
                (
                    fdt.Property("compatible", fdt.text("aether,vgicv2")),
                    fdt.Property("reg", fdt.wide(0, 4096)),
                ),
            ),
            "'reg' is not 8 cells",
        ),
        (
            fdt.Node(
                "device@0",
                (
                    fdt.Property("compatible", fdt.text("aether,vpl011")),
                    fdt.Property("reg", fdt.wide(0, 4096)),
                    fdt.Property("interrupts", b"123"),
                ),
            ),
            "not whole cells",
        ),
    ],
)
def test_what_is_wrong_is_named(node: fdt.Node, words: str) -> None:
    with pytest.raises(UserError) as caught:
        decode(with_node(node), where="x")
    assert words in str(caught.value)
    assert node.name in str(caught.value)


@pytest.mark.parametrize(
    ("properties", "words"),
    [
        ((), "'compatible' is missing"),
        ((fdt.Property("compatible", fdt.text("linux,x")),), "not 'aether,manifest'"),
        (
            (
                fdt.Property("compatible", fdt.text("aether,manifest")),
                fdt.Property("aether,version", fdt.cells(1)),
            ),
            "version 1",
        ),
    ],
)
def test_another_tree_is_refused(properties: tuple[fdt.Property, ...], words: str) -> None:
    with pytest.raises(UserError, match=words):
        decode(fdt.write(fdt.Node("", properties)), where="x")


SLOTS = fdt.Property("slots", fdt.cells(0, 0, 10))
TIMES = (fdt.Property("frame-us", fdt.cells(10)), fdt.Property("window-us", fdt.cells(1)))


@pytest.mark.parametrize(
    ("schedules", "words"),
    [
        ((), "'schedule' is missing"),
        ((fdt.Node("schedule", TIMES),) * 2, "does not know"),
        ((fdt.Node("schedule", TIMES[:1]),), "'window-us' is missing"),
        ((fdt.Node("schedule", TIMES, (fdt.Node("cpu@0"),)),), "'slots' is missing"),
        ((fdt.Node("schedule", TIMES, (fdt.Node("cpu", (SLOTS,)),)),), "does not know"),
        ((fdt.Node("schedule", TIMES, (fdt.Node("cpu@0x1", (SLOTS,)),)),), "does not know"),
        ((fdt.Node("schedule", TIMES, (fdt.Node("gpu@1", (SLOTS,)),)),), "does not know"),
        (
            (
                fdt.Node(
                    "schedule",
                    TIMES,
                    (fdt.Node("cpu@0", (fdt.Property("slots", fdt.cells(1, 2)),)),),
                ),
            ),
            "not triples",
        ),
    ],
)
def test_a_schedule_of_another_shape_is_refused(
    schedules: tuple[fdt.Node, ...], words: str
) -> None:
    tree = fdt.read(SMALL, where="x")
    root = fdt.Node("", tree.properties, (*schedules, tree.children[1]))
    with pytest.raises(UserError, match=words):
        decode(fdt.write(root), where="x")


@pytest.mark.parametrize(("value", "words"), [(3, "no restart policy 3")])
def test_an_unknown_restart_policy(value: int, words: str) -> None:
    tree = fdt.read(SMALL, where="x")
    schedule, vm = tree.children
    kept = tuple(p for p in vm.properties if p.name != "restart")
    changed = fdt.Node(vm.name, (*kept, fdt.Property("restart", fdt.cells(value))), vm.children)
    with pytest.raises(UserError, match=words):
        decode(fdt.write(fdt.Node("", tree.properties, (schedule, changed))), where="x")


def test_deep_nesting_is_refused_and_not_walked() -> None:
    node = fdt.Node("deep")
    for _ in range(200):
        node = fdt.Node("deep", (), (node,))
    tree = fdt.read(SMALL, where="x")
    with pytest.raises(UserError, match="nested deeper"):
        decode(fdt.write(fdt.Node("", tree.properties, (node,))), where="x")


TREES = st.recursive(
    st.builds(fdt.Node, st.just("leaf")),
    lambda children: st.builds(
        fdt.Node,
        st.text("abc@1", min_size=1, max_size=4).filter(lambda n: n[0] != "@"),
        st.lists(
            st.builds(fdt.Property, st.text("xyz,", min_size=1, max_size=4), st.binary(max_size=9)),
            unique_by=lambda p: p.name,
            max_size=3,
        ).map(tuple),
        st.lists(children, max_size=3, unique_by=lambda n: n.name).map(tuple),
    ),
    max_leaves=8,
)


@given(TREES)
def test_any_tree_is_written_and_read(tree: fdt.Node) -> None:
    root = fdt.Node("", tree.properties, tree.children)
    assert fdt.read(fdt.write(root), where="x") == root
