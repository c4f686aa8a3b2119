# SPDX-License-Identifier: Apache-2.0
"""What pytest shows of a test that failed while it used machines, besides the failure itself."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from aether_edgecloud.emulator.cpu.exits import BOOT
from aether_edgecloud.emulator.report import machine_state
from aether_edgecloud.emulator.toolchain import SOURCE_ROOT
from aether_edgecloud.properties.plugin import disassembly, machine_text, words
from aether_edgecloud.properties.plugin.disassembly import Code
from aether_edgecloud.properties.plugin.lab import Use
from aether_edgecloud.properties.plugin.machine_text import Place


def sections(item: pytest.Item, error: BaseException, use: Use) -> list[tuple[str, str]]:
    """The machine that the test used last."""
    try:
        at = machine_text.place(use, violation(use, error))
    except Exception:
        return [(f"{words.PREFIX}machine", "it is closed, or in a state that cannot be read")]
    return words.told(
        [
            ("machine", lambda: machine_text.registers(use, at)),
            ("tables", lambda: machine_text.tables(use, at)),
            ("code", lambda: _code(item, use, at.cpu, at.pc, at.el)),
            ("code below EL2", lambda: _code_below(item, use, at)),
            ("console", lambda: machine_text.console_tail(use)),
        ]
    )


def violation(use: Use, error: BaseException) -> object:
    """What the monitor has seen; of all errors told, the one that is."""
    if use.monitor is None:
        return None
    from aether_edgecloud.emulator.monitor.violation import Violation

    told = (one for one in _all(error) if isinstance(one, Violation))
    return next(told, use.monitor.violation)


def _all(error: BaseException | None) -> Iterator[BaseException]:
    """The error, those in it and those it came from."""
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        one = waiting.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        waiting += [one.__cause__, one.__context__]
        if isinstance(one, BaseExceptionGroup):
            waiting += one.exceptions


def _code(item: pytest.Item, use: Use, number: int, pc: int, el: int) -> str:
    elf = use.el2.elf
    roots = [item.config.invocation_params.dir, item.config.rootpath, SOURCE_ROOT, Path("/")]
    if elf is not None:
        roots.insert(0, elf.parent)
    code = Code(use.image, elf, roots)
    return disassembly.around(use.machine.cpus[number], use.machine.memory, pc, el, code)


def _code_below(item: pytest.Item, use: Use, at: Place) -> str | None:
    """What led to EL2, where the CPU is still there."""
    cpu = use.machine.cpus[at.cpu]
    el = (machine_state.read_register(cpu, "SPSR_EL2") or 0) >> 2 & 3
    if at.el != 2 or el > 1 or not cpu.exits.counts.keys() - {BOOT}:
        return None
    return _code(item, use, at.cpu, machine_state.read_register(cpu, "ELR_EL2") or 0, el)
