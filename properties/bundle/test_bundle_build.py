# SPDX-License-Identifier: Apache-2.0
"""Bundles from descriptions, and the device trees that are made for guests."""

import subprocess
from dataclasses import replace
from pathlib import Path

import libfdt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aether_edgecloud.emulator.bundle import guest_dtb
from aether_edgecloud.emulator.bundle.build import (
    DtbChoice,
    ImageBytes,
    ImageFile,
    VmDescription,
    build,
    open_bundle,
)
from aether_edgecloud.emulator.bundle.manifest import Device, DeviceKind, Memory, Window
from aether_edgecloud.emulator.errors import UserError

MIB = 1 << 20
MEMORY = Memory(0x4000_0000, 16 * MIB)
UART = Device(DeviceKind.VPL011, 0x0900_0000, 0x1000, (33,))
GIC = Device(DeviceKind.VGICV2, 0x0800_0000, 0x1000, cpu_interface=Window(0x0801_0000, 0x2000))
VM = VmDescription(
    name="vm",
    memory=(MEMORY,),
    images=(ImageBytes("kernel.bin", b"\x1f\x20\x03\xd5" * 64, 0x4020_0000),),
    where="vm.toml:1",
)


def told(vm: VmDescription) -> str:
    with pytest.raises(UserError) as caught:
        build((vm,), where="vm.toml")
    return str(caught.value)


def test_a_bundle_holds_what_was_described() -> None:
    manifest, bundle = open_bundle(build((VM,), where="x"), where="x")
    (vm,) = manifest.vms
    assert vm.entry == 0x4020_0000, "the first image's IPA, when no entry is given"
    assert vm.dtb_address == 0x4000_0000, "the base of memory, where it is free"
    assert vm.devices == (UART,)
    assert [b.name for b in bundle.blobs] == ["kernel.bin", "vm.dtb"]
    assert bundle.blobs[0].data == b"\x1f\x20\x03\xd5" * 64
    assert bundle.blobs[1].data == guest_dtb.build((MEMORY,), (UART,))


def test_two_builds_are_equal() -> None:
    assert build((VM,), where="x") == build((VM,), where="y")


def test_files_are_read_and_named(tmp_path: Path) -> None:
    file = tmp_path / "a very long name, with ümlaut.bin"
    file.write_bytes(b"code")
    vm = replace(VM, images=(ImageFile(file, 0x4000_0000),), dtb=DtbChoice.NONE)
    manifest, bundle = open_bundle(build((vm,), where="x"), where="x")
    assert manifest.vms[0].dtb_address == 0
    assert [(b.name, b.data) for b in bundle.blobs] == [("a_very_long_nam", b"code")]


def test_a_guest_larger_than_its_memory() -> None:
    large = ImageBytes("large", b"x" * (15 * MIB), 0x4020_0000)
    line = told(replace(VM, images=(large,)))
    assert line.startswith("vm.toml:1: vm vm: image 0 0x40200000..")
    assert "does not lie inside the VM's memory 0x40000000..0x40ffffff" in line


def test_an_elf_file_is_no_image(tmp_path: Path) -> None:
    (tmp_path / "k").write_bytes(b"\x7fELF" + bytes(100))
    assert "objcopy" in told(replace(VM, images=(ImageFile(tmp_path / "k", 0x4020_0000),)))


def test_files_that_are_not_there_or_no_dtb(tmp_path: Path) -> None:
    missing = ImageFile(tmp_path / "none", 0x4020_0000)
    assert "cannot be read" in told(replace(VM, images=(missing,)))
    assert "cannot be read" in told(replace(VM, dtb=tmp_path / "none"))
    (tmp_path / "text").write_text("no dtb")
    assert "is not a DTB" in told(replace(VM, dtb=tmp_path / "text"))


def test_a_dtb_of_the_users_own(tmp_path: Path) -> None:
    blob = guest_dtb.build((MEMORY,), ())
    (tmp_path / "own.dtb").write_bytes(blob)
    vm = replace(VM, dtb=tmp_path / "own.dtb", dtb_ipa=0x4080_0000)
    manifest, bundle = open_bundle(build((vm,), where="x"), where="x")
    assert manifest.vms[0].dtb_address == 0x4080_0000
    assert bundle.blobs[1].data == blob


def test_no_image_at_all() -> None:
    vm = replace(VM, images=(), dtb=DtbChoice.NONE, entry=0x4000_0000)
    assert "no VM has an image" in told(vm)


@given(st.lists(st.tuples(st.integers(0, 3 * MIB), st.integers(1, 0x8000)), min_size=1, max_size=5))
def test_the_dtb_never_lands_on_an_image(places: list[tuple[int, int]]) -> None:
    images = tuple(ImageBytes("i", b"x" * n, 0x4000_0000 + start) for start, n in places)
    try:
        data = build((replace(VM, images=images, entry=0x4000_0000),), where="x")
    except UserError as error:
        assert "image 0" not in str(error) or "overlaps image" in str(error)
        assert f"image {len(images)}" not in str(error), "that is the DTB"
        return
    manifest, bundle = open_bundle(data, where="x")
    (vm,) = manifest.vms
    assert vm.images[-1].load_address == vm.dtb_address
    assert bundle.blobs[-1].data[:4] == bytes.fromhex("d00dfeed")


def test_hidden_memory_is_the_vms_and_not_in_its_dtb() -> None:
    hidden = Memory(0x0400_0000, 0x40000)
    data = build((replace(VM, hidden_memory=(hidden,)),), where="x")
    manifest, bundle = open_bundle(data, where="x")
    assert manifest.vms[0].memory == (MEMORY, hidden)
    tree = libfdt.Fdt(bytearray(bundle.blobs[1].data))
    assert tree.path_offset("/memory@40000000") > 0
    assert tree.path_offset("/memory@4000000", (libfdt.NOTFOUND,)) < 0


def test_a_guests_dtb_tells_what_the_vm_has() -> None:
    blob = guest_dtb.build(
        (MEMORY,), (UART,), bootargs="quiet", config=(("bootdelay", -1), ("tag", "x"))
    )
    tree = libfdt.Fdt(bytearray(blob))

    def value(path: str, name: str) -> libfdt.Property:
        return tree.getprop(tree.path_offset(path), name)

    assert value("/memory@40000000", "reg").as_uint64_list() == [0x4000_0000, 16 * MIB]
    assert value("/psci", "method").as_str() == "hvc"
    assert value("/psci", "compatible").as_stringlist() == ["arm,psci-1.0", "arm,psci-0.2"]
    assert value("/cpus/cpu@0", "enable-method").as_str() == "psci"
    assert value("/timer", "compatible").as_str() == "arm,armv8-timer"
    assert value("/pl011@9000000", "compatible").as_stringlist()[0] == "arm,pl011"
    assert value("/pl011@9000000", "reg").as_uint64_list() == [0x0900_0000, 0x1000]
    clock = value("/pl011@9000000", "clocks").as_uint32_list()
    assert clock == [value("/apb-pclk", "phandle").as_uint32()] * 2
    assert value("/chosen", "stdout-path").as_str() == "/pl011@9000000"
    assert value("/chosen", "bootargs").as_str() == "quiet"
    assert bytes(value("/config", "bootdelay")) == b"\xff\xff\xff\xff"
    assert value("/config", "tag").as_str() == "x"


def test_a_vm_without_a_uart_is_not_told_of_one() -> None:
    tree = libfdt.Fdt(bytearray(guest_dtb.build((MEMORY,), ())))
    assert tree.path_offset("/apb-pclk", (libfdt.NOTFOUND,)) < 0
    assert not tree.hasprop(tree.path_offset("/chosen"), "stdout-path")


@pytest.mark.parametrize("devices", [(), (UART,)])
def test_dtc_has_no_complaint(dtc: Path, tmp_path: Path, devices: tuple[Device, ...]) -> None:
    blob = tmp_path / "guest.dtb"
    blob.write_bytes(guest_dtb.build((MEMORY,), devices, config=(("bootdelay", -1),)))
    command = [str(dtc), "-I", "dtb", "-O", "dts", str(blob), "-o", str(tmp_path / "guest.dts")]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert done.stderr == ""
