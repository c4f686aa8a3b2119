# SPDX-License-Identifier: Apache-2.0
"""gdb-multiarch itself, in batch mode, on runs of the hypervisor."""

import re
from pathlib import Path

import pytest

from aether_edgecloud.emulator.cli.gdb import COMMANDS
from aether_edgecloud.properties.gdb.debugger import debug, value

_TWO_VMS = """
[[vm]]
name = "left"
guest = "hello"
[[vm]]
name = "right"
guest = "hello"
cpus = [1]
"""


@pytest.fixture(scope="module")
def two_vms(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Two VMs on two CPUs."""
    file = tmp_path_factory.mktemp("gdb") / "two.toml"
    file.write_text(_TWO_VMS)
    return str(file)


def test_symbols_lines_and_steps_both_ways(gdb: Path) -> None:
    """Nobody has told gdb a file: it reads it from here, and where it runs."""
    found = debug(
        gdb,
        [
            "thbreak board_read", "continue", "backtrace", "info line *$pc", "print $cpsr",
            "finish", "thbreak open_bundle", "continue", "print/x $pc",
            "stepi", "print/x $pc", "reverse-stepi", "print/x $pc",
            "next", "next", "frame", "reverse-next", "reverse-next", "print/x $pc",
        ],
        "hello",
    )  # fmt: skip
    _, hit, frames, line, fields, done = found[:6]
    assert "Temporary breakpoint 1, board_read (" in hit
    assert re.search(r"at el2/board\.c:\d+\n\d+\t", hit)
    assert re.search(r"#0  board_read \(.*at el2/board\.c:\d+\n", frames)
    assert re.search(r"#\d  main \(dtb=\d+, .* at el2/main\.c:\d+", frames)
    assert re.search(r'Line \d+ of "el2/board\.c"', line)
    assert "[ SP EL=2 F I A D " in fields
    assert re.search(r"boot \(.*\) at el2/main\.c:\d+", done)

    start, after, back, again = (value(found[n]) for n in (8, 10, 12, 18))
    assert after == start + 4
    assert back == again == start
    assert "open_bundle" in found[15]


def test_a_watchpoint_in_both_directions(gdb: Path) -> None:
    _, on, there, past, back, before = debug(
        gdb,
        ["watch vm_count", "continue", "print/x $pc", "continue", "reverse-continue",
         "print vm_count"],
        "hello",
    )  # fmt: skip
    change = r"Old value = {}\nNew value = {}\n.*create_vms .* at el2/main\.c:\d+"
    assert re.search(change.format(0, 1), on), on
    assert "No more reverse-execution history" in past
    assert re.search(change.format(1, 0), back), back
    assert before.strip() == "$2 = 0"
    assert value(there) > 0


@pytest.mark.nightly
def test_back_to_a_breakpoint_and_to_the_beginning(gdb: Path) -> None:
    found = debug(
        gdb,
        [
            "break trap_hvc", "continue", "print $retired", "continue", "continue",
            "reverse-continue", "reverse-continue", "print $retired",
            "delete", "reverse-continue", "print $retired", "print/x $pc", "continue",
        ],
        "hello",
    )  # fmt: skip
    assert "hit Breakpoint 1" in found[1] or "Breakpoint 1, trap_hvc" in found[1]
    assert found[2].split("=")[1] == found[7].split("=")[1]
    assert "No more reverse-execution history" in found[9]
    assert found[10].strip().endswith("= 0")
    assert value(found[11]) == 0x4020_0000
    assert "the run ends here" in found[12]


def test_two_cpus_are_two_threads(gdb: Path, two_vms: str) -> None:
    found = debug(
        gdb,
        [
            "info threads",
            "break trap_hvc thread 2", "continue", "info threads",
            "thread 1", "print $vmid", "thread 2", "print $vmid", "print/x $MPIDR_EL1 & 0xff",
            "stepi", "print $_thread", "reverse-stepi", "print $_thread", "print $pc",
        ],
        two_vms,
    )  # fmt: skip
    assert re.search(r'\* 1 +Thread 1 "CPU 0" \(EL2\) ', found[0])
    assert re.search(r'  2 +Thread 2 "CPU 1" \(EL2\) ', found[0])
    assert 'Thread 2 "CPU 1" hit Breakpoint 1, trap_hvc' in found[2]
    assert re.search(r"\* 2 +Thread 2 .*\(EL2, right vCPU 0\)", found[3])
    assert re.search(r"  1 +Thread 1 .*\(EL\d, left vCPU 0\)", found[3])
    assert [found[n].split("=")[1].strip() for n in (5, 7, 8)] == ["1", "2", "0x1"]
    assert found[10].strip().endswith("= 2")
    assert found[12].strip().endswith("= 2")
    assert "<trap_hvc" in found[13]


def test_monitor_commands(gdb: Path, two_vms: str) -> None:
    found = debug(
        gdb,
        [
            "monitor help", "tbreak trap_hvc", "continue", "monitor vm", "monitor position",
            "monitor regs HCR_EL2 ESR_EL2", "monitor stage2", "monitor stage1",
            "monitor backtrace", "monitor console 3", "monitor cpu 1", "monitor stage2",
            "monitor owner 0x40209000", "monitor nonsense", "monitor goto 40000000000",
            "monitor regs NOTHING_EL2", "monitor goto", "monitor events 2",
        ],
        two_vms,
    )  # fmt: skip
    assert "last-write" in found[0]
    assert "CPU 0: EL2, left vCPU 0\n" in found[3]
    assert "VM right: VMID 2\n" in found[3]
    assert re.search(r"position [\d,]+ of .*: next is CPU 0, .* in trap_hvc\+", found[4])
    assert "VM=0x1 (stage 2 on)" in found[5]
    assert "ESR_EL2 = 0x5a000000: EC=0x16 (HVC)" in found[5]
    assert re.search(r"0x40000000-.* rwx .*left", found[6])
    assert re.search(r"^el2 .*\n.* r-x .*EL2  <- here", found[7], re.MULTILINE | re.DOTALL)
    assert re.search(r"#0  EL2 .* trap_hvc\+.*\n(#.*\n)*#\d+ +EL1 0x402", found[8])
    assert "vm right: start" in found[9]
    assert "CPU 1" in found[10]
    assert re.search(r"0x40000000-.* rwx .*right", found[11])
    assert found[12] == "PA 0x40209000-0x40209fff: EL2\n"
    assert "no such command" in found[13]
    assert "is past the end of the run" in found[14]
    assert "no system register" in found[15]
    assert "where to?" in found[16]
    assert "->" in found[17]


@pytest.mark.nightly
def test_commands_that_move(gdb: Path, tmp_path: Path) -> None:
    """gdb sees the new place: registers and memory are read anew."""
    script = tmp_path / "aether.gdb"
    script.write_text(COMMANDS)
    found = debug(
        gdb,
        [
            f"source {script}",
            "aether-goto 100000", "print $retired", "aether-goto end", "print vm_count",
            "aether-last-write vm_count", "print vm_count", "print $pc", "stepi", "print vm_count",
        ],
        "hello",
    )  # fmt: skip
    assert found[2].strip().endswith("= 100000")
    assert [found[n].split("=")[1].strip() for n in (4, 6, 9)] == ["1", "0", "1"]
    assert "<create_vms+" in found[7]


@pytest.mark.nightly
def test_addresses_of_every_kind(gdb: Path) -> None:
    """The guest's entry is at an address of EL2's image, too."""
    found = debug(
        gdb,
        [
            "monitor scope el1", "tbreak *0x40200000", "continue", "print $cpsr",
            "x/2wx 0x40200000", "monitor memory el2", "x/2wx 0x40200000", "print vm_count",
            "monitor memory ipa", "x/2wx 0x40200000",
            "maintenance packet Qqemu.PhyMemMode:1", "monitor memory",
            "maintenance packet qqemu.PhyMemMode", "x/wx 0x9000000",
        ],
        "hello",
    )  # fmt: skip
    assert "EL=1" in found[3]
    guest, el2, ipa = (found[n].partition(":")[2] for n in (4, 6, 9))
    assert guest == ipa != el2
    assert found[7].strip().endswith("= 1")
    assert "pa, PA" in found[11]
    assert '"1"' in found[12]
    assert "Cannot access memory at address 0x9000000" in found[13]


@pytest.mark.nightly
def test_nothing_can_be_changed(gdb: Path) -> None:
    register, memory, jump, count = debug(
        gdb,
        ["set var $x0 = 1", "set var vm_count = 3", "jump main", "print vm_count"],
        "hello",
    )
    assert "a recording cannot be changed" in register
    assert "Cannot access memory" in memory
    assert "a recording cannot be changed" in jump
    assert count.strip().endswith("= 0")
