# SPDX-License-Identifier: Apache-2.0
"""VM descriptions in TOML: what is read, and how each mistake is told."""

from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aether_edgecloud.emulator.bundle import duration, size
from aether_edgecloud.emulator.bundle.build import build
from aether_edgecloud.emulator.bundle.description import (
    Description,
    DtbChoice,
    ImageFile,
    Passthrough,
    ScheduleDescription,
    SlotDescription,
    VmDescription,
)
from aether_edgecloud.emulator.bundle.manifest import DeviceKind, Memory, Restart
from aether_edgecloud.emulator.bundle.toml import load, parse
from aether_edgecloud.emulator.errors import UserError
from aether_edgecloud.emulator.guests import catalogue

FOLDER = Path("/folder")
KERNEL = '[[vm]]\nname = "k"\nkernel = "Image"\n'
GUEST = '[[vm]]\nname = "g"\nguest = "hello"\n'
FULL = """\
# A VM with everything said.
[[vm]]
name = "full"
vcpus = 1
entry = 0x40200000
memory = [
    { ipa = 0x40000000, size = "16MiB", host = 0x41000000 },
    { ipa = 0x4000000, size = 0x40000, hidden = true },
]
images = [{ file = "kernel.bin", ipa = 0x40200000 }, { file = "/abs/rd", ipa = 0x40800000 }]
devices = ["pl011"]
dtb = "auto"
dtb_ipa = 0x40100000
bootargs = "console=ttyAMA0 ro"
config = { bootdelay = -1, label = "x" }

[[vm]]
name = "kernel"
kernel = "Image"
ramdisk = "rd.cpio"
memory = "64MiB"
vcpus = 2
cpus = [1, 0]
restart = "crash"
devices = [
    "gic", "telemetry", "pl011",
    { host = 0x9010000, size = 4096, ipa = 4096, name = "r", interrupts = [34], compatible = [] },
]

[schedule]
frame = "5ms"
window = "100us"
cpus = [
    [{ vm = "full", length = "2ms" }, { length = "500us" }],
    [{ vm = "kernel", vcpu = 0, length = "1ms" }],
]
"""
LEAST = """\
[[vm]]
name = "least"
memory = [{ ipa = 0x40000000, size = "2MiB" }]
images = [{ file = "a", ipa = 0x40000000 }]
"""


def read(text: str) -> Description:
    return parse(text, file="x.toml", folder=FOLDER)


def told(text: str) -> str:
    with pytest.raises(UserError) as caught:
        read(text)
    assert str(caught.value).startswith("x.toml")
    assert caught.value.fix
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_rights() -> None:
    uuid = "01020304-0506-0708-090A-0b0c0d0e0f10"
    text = KERNEL + f'peers = ["b"]\nuuid = "{uuid}"\nmanages = ["b", "c"]\nstart = "manual"\n'
    (vm,) = read(text).vms
    assert (vm.peers, vm.uuid) == (("b",), UUID(uuid))
    assert (vm.manages, vm.manual_start) == (("b", "c"), True)
    (plain,) = read(KERNEL + 'start = "auto"\n').vms
    assert (plain.peers, plain.uuid, plain.manages, plain.manual_start) == (None, None, (), False)


def test_everything_said() -> None:
    assert read(FULL) == Description(
        (
            VmDescription(
                name="full",
                vcpus=1,
                entry=0x4020_0000,
                memory=(Memory(0x4000_0000, 16 << 20, 0x4100_0000),),
                hidden_memory=(Memory(0x0400_0000, 0x40000),),
                images=(
                    ImageFile(FOLDER / "kernel.bin", 0x4020_0000),
                    ImageFile(Path("/abs/rd"), 0x4080_0000),
                ),
                devices=(DeviceKind.VPL011,),
                dtb=DtbChoice.AUTO,
                dtb_ipa=0x4010_0000,
                bootargs="console=ttyAMA0 ro",
                config=(("bootdelay", -1), ("label", "x")),
                where="x.toml:2",
            ),
            VmDescription(
                name="kernel",
                memory=(Memory(0x4000_0000, 64 << 20),),
                vcpus=2,
                cpus=(1, 0),
                kernel=FOLDER / "Image",
                ramdisk=FOLDER / "rd.cpio",
                restart=Restart.CRASH,
                devices=(
                    DeviceKind.VGICV2,
                    DeviceKind.TELEMETRY,
                    DeviceKind.VPL011,
                    Passthrough(0x901_0000, 4096, 0x1000, (34,), "r", ()),
                ),
                where="x.toml:17",
            ),
        ),
        ScheduleDescription(
            5000,
            100,
            (
                (
                    SlotDescription("full", None, 2000, "x.toml:33: cpus: CPU 0, slot 0"),
                    SlotDescription(None, None, 500, "x.toml:33: cpus: CPU 0, slot 1"),
                ),
                (SlotDescription("kernel", 0, 1000, "x.toml:33: cpus: CPU 1, slot 0"),),
            ),
            "x.toml:33: cpus",
        ),
    )


def test_the_least_that_may_be_said() -> None:
    (vm,) = read(LEAST).vms
    assert vm.vcpus == 1
    assert vm.cpus is None
    assert vm.entry is None
    assert vm.devices is None
    assert vm.restart is Restart.NEVER
    assert vm.dtb is DtbChoice.AUTO
    assert vm.dtb_ipa is None
    assert read(LEAST).schedule == ScheduleDescription(where="x.toml")


def test_a_kernel_has_128_mib_if_nothing_is_said() -> None:
    (vm,) = read('[[vm]]\nname = "k"\nkernel = "Image"\n').vms
    assert vm.memory == (Memory(0x4000_0000, 128 << 20),)


def test_a_dtb_from_a_file_or_none() -> None:
    assert read(LEAST + 'dtb = "board.dtb"\n').vms[0].dtb == FOLDER / "board.dtb"
    assert read(LEAST + 'dtb = "none"\n').vms[0].dtb is DtbChoice.NONE


def test_a_guest_of_the_catalogue_and_what_is_changed() -> None:
    text = '[[vm]]\nname = "mine"\nguest = "hello"\nrestart = "always"\n'
    (vm,) = read(text).vms
    stub = catalogue.description("hello")
    assert vm == replace(stub, name="mine", restart=Restart.ALWAYS, where="x.toml:1")
    (vm,) = read(text + 'memory = "8MiB"\nvcpus = 2\n').vms
    assert vm.memory == (replace(stub.memory[0], size=8 << 20),)
    assert vm.vcpus == 2


def test_a_guest_that_is_not_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AETHER_GUESTS", str(tmp_path))
    line = told('[[vm]]\nname = "mine"\nguest = "linux"\n')
    assert line.startswith("x.toml:3: guest: guest 'linux' is not here yet; get it with `aether")


def without(key: str) -> str:
    return "".join(line for line in LEAST.splitlines(True) if not line.startswith(key))


MISTAKES = [
    ("", "x.toml", "describes no VM"),
    ("vm = 3", "x.toml", "describes no VM"),
    ("vm = [3]", "x.toml", "not a table"),
    ("[[vm]]\nname = ", "x.toml:2:", "Invalid value"),
    ("[[vm]\n", "x.toml:1:", "Expected ']]'"),
    ("[host]\n" + LEAST, "x.toml", "unknown key 'host'; known keys: vm, schedule"),
    (
        LEAST + "memry = []\n",
        "x.toml:5",
        "unknown key 'memry'; did you mean 'memory'? known keys: name",
    ),
    (without("name"), "x.toml:1", "'name' is missing"),
    (without("memory"), "x.toml:1", "'memory' is missing"),
    (without("images"), "x.toml:1", "a VM with nothing to run; say guest, kernel or images"),
    (LEAST + "entry = -4\n", "x.toml:5: entry", "out of range"),
    (LEAST + "entry = 0xfffffffffffffffff\n", "x.toml:5: entry", "out of range"),
    (LEAST + 'entry = "0x40000000"\n', "x.toml:5: entry", "not a number"),
    (LEAST + "entry = 1.5\n", "x.toml:5: entry", "not a number"),
    (LEAST + "vcpus = true\n", "x.toml:5: vcpus", "not a number"),
    (LEAST + 'devices = ["gpu"]\n', "x.toml:5: devices", "no device 'gpu'; known devices"),
    (LEAST + 'devices = "pl011"\n', "x.toml:5: devices", "not a list"),
    (LEAST + "devices = [[]]\n", "x.toml:5: devices", "no device []"),
    (LEAST + 'bootargs = "a\\nb"\n', "x.toml:5: bootargs", "not a line of text"),
    (LEAST + 'dtb = "none"\nbootargs = "a"\n', "x.toml:6: bootargs", "generated DTB only"),
    (LEAST + 'dtb = "f"\nconfig = { a = 1 }\n', "x.toml:6: config", "generated DTB only"),
    (LEAST + 'dtb = "none"\ndtb_ipa = 0\n', "x.toml:6: dtb_ipa", "no DTB to place"),
    (LEAST + "config = 1\n", "x.toml:5: config", "not a table"),
    (LEAST + "config = { a = 1.5 }\n", "x.toml:5: config", "neither a string nor"),
    (LEAST + 'config = { "a b" = 1 }\n', "x.toml:5: config", "cannot name a property"),
    (without("memory") + "memory = {}\n", "x.toml:4: memory", "not a list"),
    (without("memory") + "memory = true\n", "x.toml:4: memory", "not a list"),
    (without("memory") + 'memory = "1MB"\n', "x.toml:4: memory", "'1MB' is not a size"),
    (KERNEL + 'guest = "hello"\n', "x.toml:3: kernel", "comes from the guest"),
    (LEAST + 'guest = "hello"\n', "x.toml:4: images", "comes from the guest"),
    (GUEST + "entry = 0\n", "x.toml:4: entry", "comes from the guest"),
    (GUEST.replace("hello", "helo"), "x.toml:3: guest", "did you mean 'hello'?"),
    (GUEST + 'ramdisk = "rd"\n', "x.toml:4: ramdisk", "goes with a kernel"),
    (LEAST + 'ramdisk = "rd"\n', "x.toml:5: ramdisk", "goes with a kernel"),
    (KERNEL + 'dtb = "none"\n', "x.toml:4: dtb", "a kernel needs a DTB"),
    (KERNEL + 'dtb = "f"\nconfig = {}\n', "x.toml:5: config", "generated DTB only"),
    (KERNEL + "kernl = 1\n", "x.toml:4", "did you mean 'kernel'?"),
    (KERNEL + "kernel_ = 1\n", "x.toml:4", "did you mean 'kernel'?"),
    (KERNEL + 'restart = "often"\n', "x.toml:4: restart", 'write "never" or "crash" or'),
    (KERNEL + "restart = [1]\n", "x.toml:4: restart", "[1] is not known"),
    (KERNEL + 'start = "later"\n', "x.toml:4: start", 'write "auto" or "manual"'),
    (KERNEL + 'peers = "b"\n', "x.toml:4: peers", "not a list"),
    (KERNEL + 'peers = ["b", "b"]\n', "x.toml:4: peers", "a VM twice"),
    (KERNEL + "manages = [1]\n", "x.toml:4: manages", "not a line of text"),
    (KERNEL + 'uuid = "x"\n', "x.toml:4: uuid", "goes with peers"),
    (KERNEL + 'peers = []\nuuid = "x"\n', "x.toml:5: uuid", "'x' is not a UUID"),
    (KERNEL + "cpus = 1\n", "x.toml:4: cpus", "not a list"),
    (KERNEL + "cpus = [-1]\n", "x.toml:4: cpus", "out of range"),
    (KERNEL + "devices = [{ size = 1 }]\n", "x.toml:4: devices", "'host' is missing"),
    (KERNEL + "devices = [{ host = 1 }]\n", "x.toml:4: devices", "'size' is missing"),
    (
        KERNEL + "devices = [{ host = 1, size = 2, irq = 3 }]\n",
        "x.toml:4: devices",
        "unknown key 'irq'",
    ),
    (
        KERNEL + 'devices = [{ host = 1, size = 2, name = "A B" }]\n',
        "x.toml:4: devices",
        "cannot name a device",
    ),
    (KERNEL + "[schedule]\nframes = 1\n", "x.toml:5", "did you mean 'frame'?"),
    (KERNEL + "[schedule]\nframe = 10\n", "x.toml:5: frame", "10 is not a time"),
    (KERNEL + '[schedule]\nframe = "10"\n', "x.toml:5: frame", "'10' is not a time"),
    (KERNEL + '[schedule]\nwindow = "1m"\n', "x.toml:5: window", "'1m' is not a time"),
    (KERNEL + "[schedule]\ncpus = 1\n", "x.toml:5: cpus", "not a list"),
    (KERNEL + "[schedule]\ncpus = [1]\n", "x.toml:5: cpus", "not a list"),
    (KERNEL + "[schedule]\ncpus = [[1]]\n", "x.toml:5: cpus: CPU 0, slot 0", "not a table"),
    (
        KERNEL + '[schedule]\ncpus = [[], [{ vm = "k" }]]\n',
        "x.toml:5: cpus: CPU 1, slot 0",
        "'length' is missing",
    ),
    (
        KERNEL + '[schedule]\ncpus = [[{ vcpu = 0, length = "1ms" }]]\n',
        "x.toml:5: cpus: CPU 0, slot 0",
        "a vCPU of no VM",
    ),
    ("schedule = 1\n" + KERNEL, "x.toml", "not a table"),
    (without("memory") + "memory = [1]\n", "x.toml:4: memory", "not a table; write {"),
    (without("memory") + "memory = [{ ipa = 0 }]\n", "x.toml:4: memory", "'size' is missing"),
    (
        without("memory") + 'memory = [{ ipa = 0, size = "1MB" }]\n',
        "x.toml:4: memory",
        "'1MB' is not a size",
    ),
    (
        without("memory") + "memory = [{ ipa = 0, size = 1, base = 2 }]\n",
        "x.toml:4: memory",
        "unknown key 'base'; known keys: ipa, size, host, hidden",
    ),
    (
        without("memory") + "memory = [{ ipa = 0, size = 1, hidden = 2 }]\n",
        "x.toml:4: memory",
        "neither true nor false",
    ),
    (without("images") + "images = [{ ipa = 0 }]\n", "x.toml:4: images", "'file' is missing"),
    (
        without("images") + "images = [{ file = 1, ipa = 0 }]\n",
        "x.toml:4: images",
        "not a line of text",
    ),
    ("a = " + "[" * 5000 + "]" * 5000, "x.toml", "nested too deeply"),
]


@pytest.mark.parametrize(("text", "place", "words"), MISTAKES)
def test_each_mistake_is_told_with_its_place(text: str, place: str, words: str) -> None:
    line = told(text)
    assert line.startswith(place)
    assert words in line


RIGHTS = """\
[[vm]]
name = "a"
guest = "hello"
%s

[[vm]]
name = "b"
guest = "hello"
%s
"""


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        (('peers = ["b"]', "peers = []"), "x.toml:4: vm a: b is its peer, and it is not"),
        (("", 'peers = ["a"]'), "x.toml:9: vm b: a is its peer"),
        (("", 'peers = ["c"]'), "x.toml:9: vm b: peers has 'c', and no VM is called so"),
        (('manages = ["a"]', ""), "x.toml:4: vm a: manages has the VM itself"),
        (("", 'start = "manual"'), "x.toml:9: vm b: is started by hand, and no VM manages it"),
    ],
)
def test_a_mistake_in_rights_is_told_with_its_line(keys: tuple[str, str], told: str) -> None:
    with pytest.raises(UserError) as caught:
        build(read(RIGHTS % keys), where="x.toml")
    assert str(caught.value).startswith(told)


def test_the_second_vm_has_its_own_lines() -> None:
    line = told(LEAST + LEAST + "entry = -1\n")
    assert line.startswith("x.toml:9: entry")


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    for whole in (text, LEAST + text):
        try:
            read(whole)
        except UserError as error:
            assert "\n" not in str(error)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        load(tmp_path / "none.toml")
    with pytest.raises(UserError, match="cannot be read"):
        load(tmp_path)
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match="not UTF-8"):
        load(tmp_path / "binary.toml")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0),
        ("4096", 4096),
        ("4096B", 4096),
        ("0x1000", 4096),
        ("64KiB", 65536),
        ("128MiB", 128 << 20),
        ("128M", 128 << 20),
        ("1 GiB", 1 << 30),
    ],
)
def test_sizes(text: str, expected: int) -> None:
    assert size.parse(text, where="--ram") == expected


@pytest.mark.parametrize("text", ["", "MiB", "-1", "1.5MiB", "1MB", "1TB", "0x", "1e6", "1_0"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(UserError, match="is not a size"):
        size.parse(text, where="--ram")


@pytest.mark.parametrize("text", ["1TiB", "999TiB", "4EiB", "8589934592GiB", "9" * 5000])
def test_a_size_that_is_too_large_is_a_size(text: str) -> None:
    with pytest.raises(UserError, match="is too large; give less than 1024GiB"):
        size.parse(text, where="--ram")


@given(st.integers(0, 1 << 40))
def test_a_size_that_is_shown_can_be_read(number: int) -> None:
    assert size.parse(size.show(number), where="x") == number


@pytest.mark.parametrize(
    ("text", "expected"), [("64us", 64), ("10ms", 10_000), ("1s", 1_000_000), (" 5 ms ", 5000)]
)
def test_times(text: str, expected: int) -> None:
    assert duration.parse(text, where="x") == expected


@pytest.mark.parametrize("text", ["", "10", "ms", "-1ms", "1.5ms", "1m", "1 h", "5000s", "1_0us"])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(UserError, match="is not a time"):
        duration.parse(text, where="x")
