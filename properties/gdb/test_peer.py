# SPDX-License-Identifier: Apache-2.0
"""The same binary under gdb here and on QEMU: at the same symbol the same registers and memory."""

import shlex
from pathlib import Path

import pytest

from aether_edgecloud.emulator.gdb import opening
from aether_edgecloud.emulator.launch import binary
from aether_edgecloud.emulator.launch.request import build_request
from aether_edgecloud.emulator.qemu import command
from aether_edgecloud.properties.gdb.debugger import debug, run

_SYMBOLS = ("open_bundle", "trap_hvc")
_SAME = ("x0", "x1", "x29", "x30", "sp", "pc")
_OTHERS = tuple(f"x{n}" for n in range(2, 29))
_MAY_DIFFER = 4
"""Of the others: times, and what the DTBs of the two boards say."""
_SYSTEM = (
    "SCTLR_EL2", "HCR_EL2", "TCR_EL2", "TTBR0_EL2", "MAIR_EL2", "VTCR_EL2", "VTTBR_EL2",
    "CPTR_EL2", "VBAR_EL2", "ESR_EL2", "ELR_EL2", "SPSR_EL2", "TPIDR_EL2", "SP_EL1",
)  # fmt: skip
_FLAGS = 0xF000_0000  # NZCV, by the last comparison


@pytest.fixture(scope="module")
def on_qemu(qemu: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """How gdb starts QEMU with the guest `hello`, and how it learns where the symbols are."""
    folder = tmp_path_factory.mktemp("peer")
    loaded = binary.load(None)
    request = build_request("hello", loaded)
    kernel, initrd = folder / "el2.bin", folder / "bundle"
    kernel.write_bytes(request.binary)
    initrd.write_bytes(request.bundle)
    words = command.arguments(
        request.board, request.ram_size, request.cpus, kernel, initrd, icount=True
    )
    words = ["null,id=console" if word.startswith("stdio,id=console") else word for word in words]
    return f"target remote | {shlex.join([str(qemu), *words, '-S', '-gdb', 'stdio'])}"


def _questions() -> list[str]:
    commands = []
    for symbol in _SYMBOLS:
        commands += [f"thbreak {symbol}", "continue"]
        commands += [f"print/x ${name}" for name in (*_SAME, *_OTHERS, *_SYSTEM)]
        commands += [f"print/x $cpsr & ~{_FLAGS:#x}", "x/16xw $pc"]
    return commands


def test_the_same_registers_at_the_same_symbols(gdb: Path, on_qemu: str) -> None:
    loaded = binary.load(None)
    elf = opening.live(build_request("hello", loaded), loaded.elf).exec_file()
    assert elf is not None
    questions = _questions()
    ours = debug(gdb, questions, "hello")
    symbols = f"symbol-file {shlex.quote(str(loaded.elf))} -o {elf.offset:#x}"
    _, *theirs = run(gdb, [symbols, *questions], on_qemu)
    differ = 0
    for question, here, there in zip(questions, ours, theirs, strict=True):
        if question == "continue":
            # QEMU has something to say of its own.
            assert _place(here) == _place(there)
        elif question.removeprefix("print/x $") in _OTHERS:
            differ += here != there
        elif not question.startswith("thbreak"):
            assert here == there, question
            assert "void" not in here
    assert differ <= _MAY_DIFFER * len(_SYMBOLS)


def _place(told: str) -> list[str]:
    """Where it stopped: two lines. gdb remarks once that the sources have been touched since the
    binary was built, as in a tree that is younger than the cache of built binaries."""
    return [line for line in told.splitlines() if not line.startswith("warning: Source file")][-2:]
