# SPDX-License-Identifier: Apache-2.0
"""Where a binary, its initrd, its DTB and its modules come to lie, and what the DTB says of it."""

import dataclasses
import subprocess
from pathlib import Path

import libfdt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aether_edgecloud.emulator.boards.dtb import build_dtb
from aether_edgecloud.emulator.boards.virt import virt
from aether_edgecloud.emulator.bundle import fdt
from aether_edgecloud.emulator.bundle.fdt import Node, Property, cells, text, wide
from aether_edgecloud.emulator.errors import UserError
from aether_edgecloud.emulator.launch.foreign import Foreign, Module, ModuleKind, QemuStyle, load
from aether_edgecloud.emulator.qemu.command import foreign_arguments
from aether_edgecloud.properties.foreign.programs import Part, code, elf, image

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
BASE = 0x4000_0000


@dataclasses.dataclass(frozen=True, slots=True)
class Files:
    """Files with something in them."""

    folder: Path

    def file(self, name: str, data: bytes) -> Path:
        path = self.folder / name
        path.write_bytes(data)
        return path

    @property
    def style(self) -> QemuStyle:
        """An Image alone."""
        return QemuStyle(self.file("kernel", image(code())))

    def module(self, address: int, bootargs: str | None = None, size: int = 100) -> Module:
        kind = ModuleKind.RAMDISK if bootargs is None else ModuleKind.KERNEL
        file = self.file(f"module-{address:x}", b"m" * size)
        return Module(address, file, kind, bootargs)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def chosen(dtb: bytes) -> Node:
    root = fdt.read(dtb, where="the DTB")
    return next(node for node in root.children if node.name == "chosen")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    ram=st.sampled_from([64, 128, 256, 512]),
    size=st.integers(0, 140).map(lambda n: n * MIB + 5),
    initrd=st.none() | st.sampled_from([1, 4096, 2 * MIB + 1]),
)
def test_initrd_and_dtb_are_where_qemu_puts_them(
    files: Files, ram: int, size: int, initrd: int | None
) -> None:
    """The initrd half-way into RAM, but not beyond 128 MiB, or behind the kernel; the DTB at the
    next 2 MiB."""
    style = QemuStyle(
        files.file("kernel", image(code(), size=size)),
        initrd=None if initrd is None else files.file("initrd", b"i" * initrd),
        memory=ram * MIB,
    )
    behind = -(-(2 * MIB + max(size, len(image(code())))) // (4 * KIB)) * 4 * KIB
    start = BASE + max(min(ram // 2, 128) * MIB, behind)
    dtb = -(-(start + (initrd or 0)) // (2 * MIB)) * 2 * MIB
    try:
        found = load(style).payload
    except UserError:
        assert dtb + 4 * KIB > BASE + ram * MIB
        return
    assert (found.entry, found.x0) == (BASE + 2 * MIB, found.dtb.address)
    assert found.dtb.address == dtb
    assert dtb + len(found.dtb.data) <= BASE + ram * MIB
    told = {p.name: p.value for p in chosen(found.dtb.data).properties}
    if initrd is None:
        assert found.initrd is None
        assert "linux,initrd-start" not in told
    else:
        assert found.initrd is not None
        assert found.initrd.address == start
        assert told["linux,initrd-start"] == cells(start)
        assert told["linux,initrd-end"] == cells(start + initrd)


def test_an_elf_file_finds_the_dtb_at_the_start_of_ram(files: Files) -> None:
    kernel = elf(Part(0x4010_0000, 0x4010_0000, code()), entry=0x4010_0000)
    found = load(QemuStyle(files.file("kernel", kernel))).payload
    assert (found.image, found.entry, found.x0) == (0x4010_0000, 0x4010_0000, 0)
    assert found.dtb.address == BASE
    assert found.dtb.data == build_dtb(virt(128 * MIB))


def test_an_elf_file_at_the_start_of_ram_leaves_no_room_for_it(files: Files) -> None:
    kernel = elf(Part(BASE, BASE, code()), entry=BASE)
    assert load(QemuStyle(files.file("kernel", kernel))).payload.dtb.data == b""


def test_the_dtb_tells_of_modules_as_qemu_does(files: Files, qemu: Path) -> None:
    """And of everything else in /chosen, and of RAM: as QEMU dumps it."""
    style = dataclasses.replace(
        files.style,
        append="a=1 b",
        modules=(files.module(0x4400_0000, "console=x,y", 300), files.module(0x4500_0000)),
        memory=256 * MIB,
        cpus=2,
    )
    dump = files.folder / "dump.dtb"
    arguments = foreign_arguments(style, icount=False)
    arguments[1] += f",dumpdtb={dump}"
    subprocess.run([qemu, *arguments], check=True, capture_output=True, timeout=60)
    theirs, ours = dump.read_bytes(), load(style).payload.dtb.data
    not_deterministic = ("rng-seed", "kaslr-seed")

    def told(dtb: bytes) -> object:
        node = chosen(dtb)
        modules = {c.name: {(p.name, p.value) for p in c.properties} for c in node.children}
        properties = {p.name: p.value for p in node.properties if p.name not in not_deterministic}
        return properties | {"stdout-path": b"", "bootargs": text("a=1 b")}, modules

    assert told(ours) == told(theirs)
    memory = [
        next(n for n in fdt.read(dtb, where="").children if n.name == "memory@40000000")
        for dtb in (ours, theirs)
    ]
    assert memory[0].get("reg") == memory[1].get("reg")


def own_tree(*, address_cells: bytes = cells(2), more: tuple[Node, ...] = ()) -> Node:
    return Node(
        "",
        (Property("#address-cells", address_cells), Property("#size-cells", cells(1))),
        (
            Node("memory@0", (Property("device_type", text("memory")),)),
            Node("memory@80000000"),
            Node("memory-controller@1", (Property("reg", cells(1)),)),
            Node(
                "chosen",
                (Property("bootargs", text("mine")), Property("stdout-path", text("/u"))),
                (Node("module@0x43000000", (Property("old", b""),)), Node("other")),
            ),
            *more,
        ),
    )


def test_a_dtb_of_the_users_own_is_patched(files: Files) -> None:
    """RAM is the board's, PSCI is added, modules are told; the rest stays."""
    reserved = ((0x4000_0000, 0x1000), (0x5000_0000, 0x2000))
    own = files.file("dtb", fdt.write(own_tree(), reserved))
    style = dataclasses.replace(files.style, dtb=own, modules=(files.module(0x4300_0000),))
    found = load(style).payload.dtb.data
    root = fdt.read(found, where="")
    nodes = {node.name: node for node in root.children}
    assert set(nodes) == {"memory@40000000", "memory-controller@1", "chosen", "psci"}
    assert nodes["memory@40000000"].get("reg") == wide(BASE) + cells(128 * MIB)
    assert nodes["psci"].get("method") == text("smc")
    assert chosen(found).get("bootargs") == text("mine")
    assert chosen(found).get("stdout-path") == text("/u")
    modules = {node.name: node for node in chosen(found).children}
    assert set(modules) == {"module@0x43000000", "other"}
    assert modules["module@0x43000000"].get("old") is None
    assert fdt.reservations(found) == reserved


def test_what_is_given_replaces_what_the_own_dtb_says(files: Files) -> None:
    psci = Node("psci", (Property("method", text("hvc")),))
    own = files.file("dtb", fdt.write(own_tree(more=(psci,))))
    initrd = files.file("initrd", b"i")
    style = dataclasses.replace(files.style, dtb=own, append="given", initrd=initrd)
    found = load(style).payload.dtb.data
    assert chosen(found).get("bootargs") == text("given")
    assert chosen(found).get("linux,initrd-start") == cells(BASE + 64 * MIB)
    root = fdt.read(found, where="")
    assert [node for node in root.children if node.name == "psci"] == [psci]


@pytest.mark.parametrize(
    ("dtb", "words"),
    [
        (b"", "0 bytes are too few"),
        (b"\xd0\x0d\xfe\xed" + bytes(60), "not a sound device tree"),
        (fdt.write(own_tree(address_cells=cells(3))), "no sound #address-cells"),
        (fdt.write(Node("", (Property("#address-cells", cells(2)),))), "no sound #size-cells"),
        (fdt.write(own_tree())[:-60], "not a sound device tree"),
    ],
)
def test_a_broken_dtb_is_refused(files: Files, dtb: bytes, words: str) -> None:
    own = files.file("dtb", dtb)
    with pytest.raises(UserError) as caught:
        load(dataclasses.replace(files.style, dtb=own))
    assert str(caught.value).startswith(f"{own}: ")
    assert words in str(caught.value)


def lies_wrong(files: Files) -> dict[str, QemuStyle]:
    """By what has to be said of it."""
    style, change = files.style, dataclasses.replace
    large = files.file("large", image(code(), size=200 * MIB))
    high = files.file("high", image(code(), text_offset=1 << 62))
    low = files.file("low", elf(Part(0x1000, 0x1000, code()), entry=0x1000))
    linked = files.file("linked", elf(Part(0x4010_0000, 0x4010_0000, code()), entry=0x4010_0000))
    empty = files.file("empty", b"")
    return {
        "the kernel 0x40200000..0x4c9fffff is not within": QemuStyle(large, memory=128 * MIB),
        "the kernel 0x4000000040000000": QemuStyle(high),
        "the kernel 0x1000..": QemuStyle(low),
        "the initrd 0x42000000..": change(
            style, initrd=files.file("huge", b"i" * 40 * MIB), memory=64 * MIB
        ),
        "module module-48000000 0x48000000..0x48000063 is not within": change(
            style, modules=(files.module(0x4800_0000),)
        ),
        "module module-47ffffff": change(style, modules=(files.module(0x47FF_FFFF),)),
        "overlaps the kernel": change(style, modules=(files.module(0x4020_0040),)),
        "overlaps the DTB": change(style, modules=(files.module(0x4400_0010),)),
        "overlaps module module-4300": change(
            style, modules=(files.module(0x4300_0000), files.module(0x4300_0063))
        ),
        "overlaps the initrd": change(
            style, initrd=files.file("initrd", b"i" * 999), modules=(files.module(0x4400_0200),)
        ),
        "overlaps the spin table": change(
            style, board="virt-spin-table", modules=(files.module(0x4000_0800),)
        ),
        "module-41000000: cannot be read": change(
            style,
            modules=(Module(0x4100_0000, files.folder / "module-41000000", ModuleKind.RAMDISK),),
        ),
        "empty: is empty": change(style, initrd=empty),
        "--initrd: no loader tells an ELF file of it": QemuStyle(linked, initrd=empty),
        "nothing.dtb: cannot be read": change(style, dtb=files.folder / "nothing.dtb"),
        "initrd: is no ELF file": change(style, symbols=files.file("initrd", b"i" * 999)),
        "no board 'pi'": change(style, board="pi"),
        "9 CPUs": change(style, cpus=9),
        "1000 bytes of RAM": change(style, memory=1000),
    }


WRONG = (
    "the kernel 0x40200000..0x4c9fffff is not within",
    "the kernel 0x4000000040000000",
    "the kernel 0x1000..",
    "the initrd 0x42000000..",
    "module module-48000000 0x48000000..0x48000063 is not within",
    "module module-47ffffff",
    "overlaps the kernel",
    "overlaps the DTB",
    "overlaps module module-4300",
    "overlaps the initrd",
    "overlaps the spin table",
    "module-41000000: cannot be read",
    "empty: is empty",
    "--initrd: no loader tells an ELF file of it",
    "nothing.dtb: cannot be read",
    "initrd: is no ELF file",
    "no board 'pi'",
    "9 CPUs",
    "1000 bytes of RAM",
)


@pytest.mark.parametrize("words", WRONG)
def test_what_does_not_fit_is_refused(files: Files, words: str) -> None:
    with pytest.raises(UserError) as caught:
        load(lies_wrong(files)[words])
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_every_mistake_is_tried(files: Files) -> None:
    assert set(WRONG) == set(lies_wrong(files))


@given(st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=20)
def test_a_payload_is_packed_and_unpacked(files: Files, data: st.DataObject) -> None:
    """Whole, or with a UserError."""
    style = dataclasses.replace(files.style, append="x", modules=(files.module(0x4400_0000 - 200),))
    if data.draw(st.booleans()):
        style = dataclasses.replace(style, initrd=files.file("initrd", b"i"))
    payload = load(style).payload
    packed = payload.pack()
    assert type(payload).unpack(packed, "f") == payload
    cut = packed[: data.draw(st.integers(0, len(packed) - 1))]
    for wrong in (cut, packed + b"\0"):
        with pytest.raises(UserError, match="f: what was loaded"):
            type(payload).unpack(wrong, "f")
    assert libfdt.fdt_check_full(bytearray(payload.dtb.data), len(payload.dtb.data)) == 0


def test_symbols_come_from_the_elf_file(files: Files) -> None:
    linked = files.file("linked", elf(Part(0x4010_0000, 0x4010_0000, code()), entry=0x4010_0000))
    other = files.file("other", linked.read_bytes())

    def elf_of(style: QemuStyle) -> Path | None:
        found: Foreign = load(style)
        return found.request().elf

    assert elf_of(files.style) is None
    assert elf_of(dataclasses.replace(files.style, symbols=other)) == other
    assert elf_of(QemuStyle(linked)) == linked
    assert elf_of(QemuStyle(linked, symbols=other)) == other
