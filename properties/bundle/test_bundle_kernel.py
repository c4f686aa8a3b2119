# SPDX-License-Identifier: Apache-2.0
"""VMs with a kernel: where it goes, what it is told, and what is no kernel."""

import itertools
import struct
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import libfdt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aether_edgecloud.emulator.bundle import fdt, format, guest_dtb
from aether_edgecloud.emulator.bundle.build import build, open_bundle
from aether_edgecloud.emulator.bundle.description import (
    Content,
    DtbChoice,
    ImageBytes,
    Passthrough,
    VmDescription,
)
from aether_edgecloud.emulator.bundle.manifest import Device, DeviceKind, Memory, Vm, Window
from aether_edgecloud.emulator.errors import UserError

MIB = 1 << 20
BASE = 0x4000_0000
GIC = Device(DeviceKind.VGICV2, 0x0800_0000, 0x1000, cpu_interface=Window(0x0801_0000, 0x2000))


def image(
    size: int = 4096,
    *,
    text_offset: int = 0,
    image_size: int | None = None,
    flags: int = 0xA,
    magic: bytes = b"ARM\x64",
) -> bytes:
    """An arm64 Image of so many bytes; `image_size` is what it needs in memory."""
    needed = size if image_size is None else image_size
    head = struct.pack("<IIQQQ24x4sI", 0xD503201F, 0, text_offset, needed, flags, magic, 0)
    return head.ljust(size, b"k")


VM = VmDescription(
    name="linux",
    memory=(Memory(BASE, 32 * MIB),),
    kernel=Content("Image", image()),
    where="vm.toml:1",
)


def made(vm: VmDescription) -> tuple[Vm, format.Bundle, "libfdt.Fdt"]:
    """The VM of the bundle, the bundle, and the VM's DTB."""
    manifest, bundle = open_bundle(build((vm,), where="x"), where="x")
    (found,) = manifest.vms
    at = next(i for i in found.images if i.load_address == found.dtb_address)
    return found, bundle, libfdt.Fdt(bytearray(bundle.blobs[at.blob].data))


def told(vm: VmDescription) -> str:
    with pytest.raises(UserError) as caught:
        build((vm,), where="vm.toml")
    assert caught.value.fix
    return str(caught.value)


def test_a_kernel_with_nothing_else() -> None:
    vm, bundle, tree = made(VM)
    assert vm.entry == BASE
    assert vm.devices == (GIC, Device(DeviceKind.VPL011, 0x0900_0000, 0x1000, (33,)))
    assert [b.name for b in bundle.blobs] == ["Image", "linux.dtb"]
    chosen = tree.path_offset("/chosen")
    assert tree.getprop(chosen, "bootargs").as_str() == "console=ttyAMA0 panic=-1"
    assert not tree.hasprop(chosen, "linux,initrd-start")


SIZES = st.integers(64, 20_000)


@given(
    SIZES,
    st.integers(0, 5 * MIB),
    st.integers(0, 511).map(lambda n: n * 4096),
    st.none() | st.integers(1, 20_000),
    st.integers(0, 1023).map(lambda n: BASE + n * 4096),
)
def test_nothing_touches_anything(
    size: int, bss: int, offset: int, ramdisk: int | None, base: int
) -> None:
    """The boot protocol's rules: text_offset from a 2 MiB boundary, the BSS free, the DTB 8-byte
    aligned and not across a 2 MiB boundary, the ramdisk behind, all in memory."""
    kernel = image(size, text_offset=offset, image_size=size + bss)
    vm, bundle, tree = made(
        replace(
            VM,
            memory=(Memory(base, 32 * MIB),),
            kernel=Content("Image", kernel),
            ramdisk=None if ramdisk is None else Content("rd", b"r" * ramdisk),
        )
    )
    assert vm.entry == vm.images[0].load_address
    assert (vm.entry - offset) % (2 * MIB) == 0
    spans = [range(vm.entry, vm.entry + len(kernel) + bss)]
    for one in vm.images[1:]:
        spans.append(range(one.load_address, one.load_address + len(bundle.blobs[one.blob].data)))
    ordered = sorted(spans, key=lambda s: s.start)
    assert base <= ordered[0].start
    assert ordered[-1].stop <= base + 32 * MIB
    assert all(a.stop <= b.start for a, b in itertools.pairwise(ordered))
    dtb = next(s for s in spans if s.start == vm.dtb_address)
    assert dtb.start % 8 == 0
    assert dtb.start // (2 * MIB) == (dtb.stop - 1) // (2 * MIB)
    if ramdisk is not None:
        chosen = tree.path_offset("/chosen")
        start = tree.getprop(chosen, "linux,initrd-start").as_uint64()
        end = tree.getprop(chosen, "linux,initrd-end").as_uint64()
        assert range(start, end) in spans
        assert end - start == ramdisk
        assert start % 4096 == 0


def test_the_dtb_is_in_a_2_mib_block_of_its_own() -> None:
    vm, _, _ = made(replace(VM, kernel=Content("Image", image(image_size=2 * MIB - 1000))))
    assert vm.dtb_address == BASE + 2 * MIB


def test_memory_that_just_suffices() -> None:
    kernel = Content("Image", image(image_size=4 * MIB))
    just = replace(VM, kernel=kernel, ramdisk=Content("rd", b"r" * (4 * MIB - 4096)))
    made(replace(just, memory=(Memory(BASE, 8 * MIB),)))
    line = told(replace(just, memory=(Memory(BASE, 8 * MIB - 4096),)))
    assert "kernel, DTB and ramdisk need 8 MiB of memory, and there are 7.99609 MiB" in line
    assert line.startswith("vm.toml:1: vm linux: ")
    line = told(replace(VM, kernel=kernel, memory=(Memory(BASE, 2 * MIB),)))
    assert "kernel and DTB need 5 MiB" in line


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "0 bytes are too few"),
        (image()[:63], "63 bytes are too few"),
        (image(magic=b"ARM\x65"), "is not an arm64 Image (the magic is missing)"),
        (image(image_size=4095), "needs 4095 bytes, and the file has 4096"),
        (image(image_size=0), "needs 0 bytes"),
        (image(image_size=1 << 40), "makes no sense"),
        (image(text_offset=2 * MIB), "makes no sense"),
        (image(text_offset=0x800), "makes no sense"),
        (image(flags=0xB), "big-endian"),
        (b"\x1f\x8b" + bytes(100), "compressed with gzip"),
        (b"\x28\xb5\x2f\xfd" + bytes(100), "compressed with zstd"),
    ],
)
def test_what_is_no_kernel(data: bytes, words: str, tmp_path: Path) -> None:
    file = tmp_path / "Image"
    file.write_bytes(data)
    line = told(replace(VM, kernel=file))
    assert line.startswith(f"{file}: ")
    assert words in line


@given(st.binary(max_size=200))
def test_any_bytes_for_a_kernel(data: bytes) -> None:
    try:
        made(replace(VM, kernel=Content("Image", data)))
    except UserError as error:
        assert error.fix


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"dtb": DtbChoice.NONE}, "a kernel needs a DTB"),
        ({"devices": (DeviceKind.VPL011,)}, "a kernel needs a GIC"),
        ({"memory": ()}, "0 memory ranges"),
        ({"kernel": None, "ramdisk": Content("r", b"r")}, "a ramdisk without a kernel"),
        ({"ramdisk": Path("/none/rd")}, "/none/rd cannot be read"),
        ({"kernel": Path("/none/Image")}, "/none/Image cannot be read"),
        ({"ramdisk": Content("r", b"")}, "image 1 is empty"),
        ({"images": (ImageBytes("i", b"i", BASE + 4095),)}, "overlaps the kernel"),
        ({"dtb_ipa": BASE + 8}, "overlaps"),
        ({"vcpus": 0}, "0 vCPUs"),
        ({"vcpus": 9}, "9 vCPUs"),
        ({"devices": (DeviceKind.VGICV2, Passthrough(0, 4096, None, (0,)))}, "interrupt 0 of the"),
        ({"memory": (Memory(BASE, 32 * MIB),), "dtb_ipa": BASE + 64 * MIB}, "need 65 MiB"),
    ],
)
def test_each_mistake_is_told(change: dict[str, object], words: str) -> None:
    assert words in told(replace(VM, **change))  # type: ignore[arg-type]


def test_one_kernel_and_ramdisk_for_all_is_there_once() -> None:
    kernel, ramdisk = Content("Image", image(50_000)), Content("rd", b"r" * 60_000)
    vms = [replace(VM, name=f"vm{n}", kernel=kernel, ramdisk=ramdisk) for n in range(3)]
    data = build(vms, where="x")
    manifest, bundle = open_bundle(data, where="x")
    assert len(data) < 130_000
    assert [b.name for b in bundle.blobs] == ["Image", "rd", "vm0.dtb"]
    assert len({vm.images for vm in manifest.vms}) == 1
    assert build(vms, where="y") == data


# What a kernel is told.

DEVICES = (
    DeviceKind.VGICV2,
    DeviceKind.VPL011,
    DeviceKind.VPL011,
    DeviceKind.TELEMETRY,
    Passthrough(0x901_0000, 4096, None, (34,), "rtc", ("arm,pl031", "arm,primecell")),
    Passthrough(0xA00_3000, 4096, 0x1000),
)
FULL = replace(
    VM,
    vcpus=4,
    memory=(*VM.memory, Memory(0x8000_0000, MIB)),
    devices=DEVICES,
    ramdisk=Content("rd", b"r"),
    bootargs="quiet",
    config=(("a", 1),),
)


def test_the_dtb_tells_what_the_vm_has() -> None:
    _, _, tree = made(FULL)

    def value(path: str, name: str) -> libfdt.Property:
        return tree.getprop(tree.path_offset(path), name)

    for cpu in range(4):
        assert value(f"/cpus/cpu@{cpu}", "reg").as_uint32() == cpu
        assert value(f"/cpus/cpu@{cpu}", "enable-method").as_str() == "psci"
    assert tree.path_offset("/cpus/cpu@4", (libfdt.NOTFOUND,)) < 0
    assert value("/psci", "method").as_str() == "hvc"
    gic = "/interrupt-controller@8000000"
    assert "arm,gic-400" in value(gic, "compatible").as_stringlist()
    windows = [0x800_0000, 0x1000, 0x801_0000, 0x2000]
    assert value(gic, "reg").as_uint64_list() == windows
    assert value(gic, "#interrupt-cells").as_uint32() == 3
    assert value("/", "interrupt-parent").as_uint32() == value(gic, "phandle").as_uint32()
    ppi = [(1, n, 0xF04) for n in (13, 14, 11, 10)]
    assert value("/timer", "interrupts").as_uint32_list() == [c for one in ppi for c in one]
    assert value("/pl011@9000000", "interrupts").as_uint32_list() == [0, 1, 4]
    assert value("/pl011@9001000", "interrupts").as_uint32_list() == [0, 63, 4]
    assert value("/telemetry@a000000", "compatible").as_str() == "aether,telemetry"
    assert value("/rtc@9010000", "interrupts").as_uint32_list() == [0, 2, 4]
    assert value("/chosen", "bootargs").as_str() == "console=ttyAMA0 panic=-1 quiet"
    assert value("/chosen", "stdout-path").as_str() == "/pl011@9000000"
    assert value("/memory@80000000", "reg").as_uint64_list() == [0x8000_0000, MIB]


def run_dtc(dtc: Path, blob: bytes, folder: Path) -> str:
    """What dtc complains about."""
    (folder / "guest.dtb").write_bytes(blob)
    done = subprocess.run(
        [str(dtc), "-I", "dtb", "-O", "dts", str(folder / "guest.dtb"), "-o", "/dev/null"],
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stderr


@pytest.mark.parametrize("vcpus", [1, 8])
def test_dtc_has_no_complaint(dtc: Path, tmp_path: Path, vcpus: int) -> None:
    _, bundle, _ = made(replace(FULL, vcpus=vcpus))
    assert run_dtc(dtc, bundle.blobs[-1].data, tmp_path) == ""


# A DTB of the user's own.

OWN = fdt.read(guest_dtb.build(VM.memory, (GIC,)), where="own")
Change = Callable[[fdt.Node], fdt.Node | None]


def own_dtb(folder: Path, change: Change = lambda node: node) -> Path:
    """The file of a DTB whose nodes are changed, or removed."""
    children = tuple(n for n in map(change, OWN.children) if n is not None)
    file = folder / "own.dtb"
    file.write_bytes(fdt.write(fdt.Node("", OWN.properties, children)))
    return file


def with_value(name: str, prop: str, value: bytes) -> Change:
    """Sets a property of the nodes whose names begin so."""

    def change(node: fdt.Node) -> fdt.Node:
        if not node.name.startswith(name):
            return node
        kept = tuple(p for p in node.properties if p.name != prop)
        return fdt.Node(node.name, (*kept, fdt.Property(prop, value)), node.children)

    return change


def without(name: str) -> Change:
    return lambda node: None if node.name.startswith(name) else node


def test_a_good_dtb_is_taken_as_it_is(tmp_path: Path) -> None:
    file = own_dtb(tmp_path)
    _, bundle, _ = made(replace(VM, dtb=file))
    assert bundle.blobs[-1].data == file.read_bytes()


def test_a_dtb_is_told_of_ramdisk_and_bootargs(tmp_path: Path) -> None:
    file = own_dtb(tmp_path)
    vm, bundle, tree = made(replace(VM, dtb=file, ramdisk=Content("rd", b"rd"), bootargs="quiet"))
    chosen = tree.path_offset("/chosen")
    assert tree.getprop(chosen, "bootargs").as_str() == "quiet"
    start = tree.getprop(chosen, "linux,initrd-start").as_uint64()
    assert start == next(i.load_address for i in vm.images if bundle.blobs[i.blob].data == b"rd")
    assert tree.getprop(chosen, "linux,initrd-end").as_uint64() == start + 2
    assert tree.path_offset("/interrupt-controller@8000000") > 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (without("interrupt-controller"), "has no GIC"),
        (with_value("interrupt-controller", "compatible", b"arm,gic-v3\0"), "has no GIC"),
        (with_value("interrupt-controller", "status", b"disabled\0"), "has no GIC"),
        (
            with_value("interrupt-controller", "reg", fdt.wide(0x1000, 4096, 0x2000, 4096)),
            "its GIC is at 0x1000 and 0x2000, and the VM's at 0x8000000 and 0x8010000",
        ),
        (without("timer"), "has no timer"),
        (without("memory"), "has no memory"),
        (
            with_value("memory", "reg", fdt.wide(BASE, 33 * MIB)),
            "its memory 0x40000000..0x420fffff is not the VM's (memory 0x40000000..0x41ffffff)",
        ),
    ],
)
def test_a_dtb_that_leads_nowhere(tmp_path: Path, change: Change, words: str) -> None:
    file = own_dtb(tmp_path, change)
    line = told(replace(VM, dtb=file))
    assert line.startswith(f"{file}: {words}")
    # Without a kernel it is the user's affair.
    made(replace(VM, kernel=None, images=(ImageBytes("i", b"i", BASE),), dtb=file))
