# SPDX-License-Identifier: Apache-2.0
"""`aether run --bare`: small EL2 programs of their own, in the emulator and on QEMU."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from aether_edgecloud.emulator.cli.app import main
from aether_edgecloud.emulator.launch.foreign import QemuStyle, load
from aether_edgecloud.emulator.launch.machine import build_machine
from aether_edgecloud.emulator.machine import Machine, StopKind
from aether_edgecloud.emulator.recording.recording import Recording
from aether_edgecloud.emulator.replay import Replay
from aether_edgecloud.emulator.replay.source import RecordedRun
from aether_edgecloud.properties.cli.command_line import Outcome, aether
from aether_edgecloud.properties.foreign.programs import TELL_DTB, Part, code, elf, image

ENTRY = 0x4010_0000
FORMS = {
    "flat": code(TELL_DTB),
    "image": image(code(TELL_DTB)),
    "packed": gzip.compress(image(code(TELL_DTB), text_offset=0x8_0000)),
    "elf": elf(Part(ENTRY, ENTRY, code(TELL_DTB)), entry=ENTRY),
}


def written(folder: Path, data: bytes) -> Path:
    file = folder / "el2"
    file.write_bytes(data)
    return file


def bare(folder: Path, data: bytes, *options: str | Path) -> Outcome:
    return aether("run", "--bare", "--kernel", written(folder, data), *options)


@pytest.mark.parametrize("form", FORMS)
def test_every_form_runs_and_finds_its_dtb(tmp_path: Path, form: str) -> None:
    """An ELF file is not told of it."""
    machine = build_machine(load(QemuStyle(written(tmp_path, FORMS[form]))).request())
    assert machine.run().kind is StopKind.SYSTEM_OFF
    assert bytes(machine.console.output) == (b"hello" if form == "elf" else b"hello+")


@pytest.mark.parametrize("form", FORMS)
def test_qemu_is_given_the_same(
    tmp_path: Path, qemu: Path, form: str, capfd: pytest.CaptureFixture[str]
) -> None:
    file = written(tmp_path, FORMS[form])
    options = ("--on", "qemu", "--input", "/dev/null")
    assert main(["run", "--bare", "--kernel", str(file), *options]) == 0
    assert capfd.readouterr().out == ("hello" if form == "elf" else "hello+")


def test_all_options_at_once(tmp_path: Path) -> None:
    """The command and its report."""
    initrd, module, report = (tmp_path / name for name in ("initrd", "module", "report"))
    for file in (initrd, module):
        file.write_bytes(b"data")
    done = bare(
        *(tmp_path, image(code(TELL_DTB)), "--append", "a b", "--initrd", initrd),
        *("--guest-loader", f"addr=0x43000000,kernel={module},bootargs=x"),
        *("--memory", "64MiB", "--cpus", "2", "--json", report),
    )
    assert (done.status, done.out) == (0, b"hello+")
    found = json.loads(report.read_text())
    assert (found["end"], found["cpus"], found["ram_bytes"]) == ("machine-off", 2, 64 << 20)
    assert (found["vms"], found["stopped_at"], found["el2_faults"]) == ([], [], [])


def test_a_recording_holds_all_that_was_loaded(tmp_path: Path) -> None:
    """It is replayed without the files."""
    module, file = tmp_path / "module", tmp_path / "run.aet"
    module.write_bytes(b"module")
    options = ("--initrd", module, "--guest-loader", f"addr=0x43000000,initrd={module}")
    done = bare(tmp_path, image(code(TELL_DTB)), *options, "--record", file)
    assert done.status == 0, done
    module.unlink()
    recording = Recording.open(file, any_emulator=True)
    machine = recording.machine()
    assert [machine.read_pa(span.start, len(span)) for span in machine.loaded[1::2]] == [
        b"module",
        b"module",
    ]
    assert machine.run().kind is StopKind.SYSTEM_OFF
    assert machine.instructions == recording.end
    replay = Replay(RecordedRun(recording))
    replay.goto(recording.end)
    assert replay.machine.loaded == machine.loaded
    assert replay.program.image == machine.loaded[0]


def test_a_machine_is_built_again_from_its_setup(tmp_path: Path) -> None:
    style = QemuStyle(written(tmp_path, image(code(TELL_DTB))), append="x")
    machine = build_machine(load(style).request())
    snapshot = machine.snapshot()
    machine.run()
    again = Machine.of(machine.setup)
    assert again.setup == machine.setup
    again.restore(snapshot)
    assert again.run() == Machine.of(again.setup).run()
    assert bytes(again.console.output) == bytes(machine.console.output)
    other = load(QemuStyle(style.kernel, append="y"))
    assert build_machine(other.request()).setup.digest() != machine.setup.digest()


MISTAKES = {
    "absent register": (
        "mrs x0, s3_4_c12_c9_5",
        ("`mrs x0, ", "system register S3_4_C12_C9_5 is not on this CPU at EL2; PC 0x402000"),
    ),
    "read of nothing": (
        "movz x1, #0x2000, lsl #16\n ldr x0, [x1, #8]",
        ("read of PA 0x20000008, where the board has neither RAM nor a device; PC 0x402000",),
    ),
    "write to nothing": (
        "movz x1, #0x2000, lsl #16\n str x0, [x1, #16]",
        ("write to PA 0x20000010, where the board has neither",),
    ),
    "fetch from nothing": (
        "movz x1, #0x2000, lsl #16\n br x1",
        ("fetch from PA 0x20000000, where the board has neither",),
    ),
    "undefined": (".word 0x12345", ("instruction 0x00012345 is UNDEFINED on this CPU at EL2",)),
}


def reported(file: Path) -> tuple[int, dict[str, Any]]:
    """Exit status and report of a run in this process."""
    report = file.with_suffix(".json")
    limit = ("--max-instructions", "100000", "--input", "/dev/null")
    status = main(["run", "--bare", "--kernel", str(file), *limit, "--json", str(report)])
    return status, json.loads(report.read_text())


@pytest.mark.parametrize("mistake", MISTAKES)
def test_the_report_says_what_el2_did_wrong(
    tmp_path: Path, mistake: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """Without vectors it locks up; the first of its faults is told, and where it stands."""
    body, words = MISTAKES[mistake]
    status, report = reported(written(tmp_path, image(code(body))))
    out, errors = capfd.readouterr()
    assert (status, out, report["end"]) == (1, "hello", "stuck")
    (faults,) = report["el2_faults"]
    assert faults["cpu"] == 0
    assert faults["count"] > 1
    for word in words:
        assert word in faults["first"]
        assert word in errors
    (place,) = report["stopped_at"]
    assert place.startswith("CPU 0 at EL2, PC 0x200: ")
    assert place in errors


HANDLED = """
    adr x1, vectors
    msr vbar_el2, x1
    mrs x0, s3_4_c12_c9_5
    hvc #0
    b out
    .balign 2048
vectors:
    .fill 128, 4, 0xd503201f
    mrs x1, esr_el2
    lsr x1, x1, #26
    cbnz x1, back
    mrs x1, elr_el2
    add x1, x1, #4
    msr elr_el2, x1
back:
    eret
    .balign 2048
out:
"""


def test_a_fault_that_is_handled_is_no_end(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """It is told all the same: an EL2 binary may look for a register by trying. A call is none."""
    start = 0x4020_0000
    file = written(tmp_path, elf(Part(start, start, code(HANDLED)), entry=start))
    status, report = reported(file)
    assert (status, capfd.readouterr().out, report["end"]) == (0, "hello", "machine-off")
    (faults,) = report["el2_faults"]
    assert (faults["count"], report["stopped_at"]) == (1, [])
    assert faults["first"] == faults["last"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--bare",), "--bare: there is no kernel to run; name the EL2 binary with --kernel FILE"),
        (("--bare", "--append", "x"), "--bare: there is no kernel to run"),
        (("--initrd", "x"), "--initrd: there is no kernel to run"),
        (("--guest-loader", "addr=1,initrd=x"), "--guest-loader: there is no kernel to run"),
        (("--append", "x"), "--append: 'hello' is no kernel that takes it"),
        (("--guest-loader", "kernel=x"), "--guest-loader: there is no addr"),
        (("--symbols", "x"), "--symbols: is for a run with --bare; add --bare"),
        (("hello", "--bare", "--kernel", "x"), "TARGET hello: does not go with --bare"),
        (("--bare", "--kernel", "x", "--binary", "y"), "--binary: does not go with --bare"),
        (("--initrd", "i", "--kernel", "x", "--ramdisk", "y"), "--ramdisk: does not go with"),
        (("--bare", "--kernel", "x", "--shell"), "--shell: does not go with --bare"),
        (("--bare", "--kernel", "x", "--ram", "1GiB"), "--ram: does not go with --bare; use"),
        (("--bare", "--kernel", "x", "--board-cpus", "2"), "--board-cpus: does not go with"),
        (("--bare", "--kernel", "x", "--memory", "much"), "--memory: 'much' is not a size"),
        (("--bare", "--kernel", "x", "--console-dir", "d"), "--console-dir: is for VMs"),
        (("--bare", "--kernel", "x", "--pty"), "--pty: is for VMs"),
        (("--bare", "--kernel", "/nowhere/x"), "/nowhere/x: cannot be read"),
        (("--bare", "--kernel", "/dev/null"), "/dev/null: is empty"),
        (("xen",), "'xen' is a hypervisor, to be run with --bare --kernel"),
    ],
)
def test_mistakes(
    arguments: tuple[str, ...], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", *arguments]) == 2
    out, errors = capsys.readouterr()
    (line,) = errors.splitlines()
    assert out == ""
    assert line.startswith(f"aether: {words}")
