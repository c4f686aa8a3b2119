# SPDX-License-Identifier: Apache-2.0
"""Profiles a machine as it runs. The run is what it would be without."""

import ctypes as c
from collections import Counter, defaultdict
from functools import partial

from aether_edgecloud.emulator.boards.board import Board
from aether_edgecloud.emulator.elf.symbols import NO_SYMBOLS, Symbols
from aether_edgecloud.emulator.machine.machine import Machine
from aether_edgecloud.emulator.profile import exit_class
from aether_edgecloud.emulator.profile.buffers import (
    DRAIN_FN,
    KIND_ATTACHED,
    KIND_BOOT,
    Buffers,
    CpuProfile,
    Rows,
    declare,
)
from aether_edgecloud.emulator.profile.code_names import CodeNames
from aether_edgecloud.emulator.profile.exit_class import Begin, Detail, begins_of
from aether_edgecloud.emulator.profile.profile import Code, Profile, functions_of, stays_of
from aether_edgecloud.emulator.toolchain import shared_library


class Profiler:
    """Profiles what EL2 of `machine` does, from now on until `finish`.

    The machine must not be restored meanwhile. With `keep_stays` each stay is kept for
    `take_stays`, at 88 bytes.
    """

    def __init__(self, machine: Machine, *, keep_stays: bool = False) -> None:
        self._machine = machine
        self._library = c.CDLL(str(shared_library("hooks")))
        declare(self._library)
        self._buffers = Buffers()
        self._drain = DRAIN_FN(self._on_full)
        self._buffers.state.drain = c.cast(self._drain, c.c_void_p).value
        self._totals = _Totals(machine.board)
        self._kept: list[Rows] | None = [] if keep_stays else None
        self._by_el_before = _by_el(machine)
        self._cpus = [
            _ProfiledCpu(self._library, self._buffers, machine, number)
            for number in range(len(machine.cpus))
        ]

    def _on_full(self) -> None:
        try:
            self._collect()
        except BaseException as error:  # C cannot carry it
            self._machine.cpu.engine.fail(error)

    def _collect(self) -> None:
        stays, code = self._buffers.take()
        self._totals.add(stays, code)
        if self._kept is not None:
            self._kept.append(stays)

    def finish(self, symbols: Symbols = NO_SYMBOLS) -> Profile:
        """Ends the profile. Functions are named by `symbols`, or go by their page."""
        for cpu in self._cpus:
            cpu.close()
        self._collect()
        before = self._by_el_before
        el0, el1, el2 = (
            now - then for now, then in zip(_by_el(self._machine), before, strict=True)
        )
        return Profile(
            (el0, el1, el2),
            stays_of(self._totals.lengths, self._totals.inside),
            tuple(self._totals.unfinished),
            functions_of(self._totals.code, CodeNames(symbols)),
        )

    @property
    def code(self) -> Code:
        """How often code ran at EL2, up to the last time that buffers were full, or the end."""
        return self._totals.code

    def take_stays(self) -> list[Rows]:
        """All stays (`buffers.STAY`), each CPU's in the order in which they ended."""
        assert self._kept is not None
        kept, self._kept = self._kept, []
        return kept


class _ProfiledCpu:
    """One CPU's part."""

    def __init__(self, library: c.CDLL, buffers: Buffers, machine: Machine, number: int) -> None:
        self._library = library
        self._machine = machine
        cpu = self._cpu = machine.cpus[number]
        uc = cpu.engine.handle
        self._state = CpuProfile(
            state=c.addressof(cpu.state),
            buffers=c.addressof(buffers.state),
            uc=uc.value if isinstance(uc, c.c_void_p) else int(uc),
            cpu=number,
        )
        self._hook = cpu.engine.hook_blocks("aether_on_profiled_block", c.addressof(self._state))
        self._switched_on = partial(self._begin, KIND_BOOT)
        cpu.on_power_on.append(self._switched_on)
        is_at_reset = cpu.retired == 0
        if number == 0 or not is_at_reset:
            self._begin(KIND_BOOT if is_at_reset else KIND_ATTACHED)

    def _begin(self, tag: int) -> None:
        position = self._machine.instructions
        self._library.aether_profile_begin(c.byref(self._state), tag, position)

    def close(self) -> None:
        self._library.aether_profile_end(c.byref(self._state))
        self._cpu.on_power_on.remove(self._switched_on)
        self._cpu.engine.unhook(self._hook)
        self._cpu.engine.code.flush()


class _Totals:
    """What all that was collected comes to."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self.lengths: dict[tuple[str, Detail], Counter[int]] = defaultdict(Counter)
        self.inside: Counter[str] = Counter()
        self.unfinished: list[tuple[str, int]] = []
        self.code: Counter[tuple[int, int, int, bool]] = Counter()

    def add(self, stays: Rows, code: Rows) -> None:
        counts = stays[["instructions", "inside", "is_over"]].tolist()
        for begin, (instructions, inside, is_over) in zip(begins_of(stays), counts, strict=True):
            self._add_stay(begin, instructions, inside, bool(is_over))
        for pc, runs, instructions, tag, is_inside in code.tolist():
            self.code[pc, instructions, tag, bool(is_inside)] += runs

    def _add_stay(self, begin: Begin, instructions: int, inside: int, is_over: bool) -> None:
        name = exit_class.class_name(begin.tag, is_inside=begin.is_inside)
        if not is_over:
            if instructions:
                self.unfinished.append((name, instructions))
            return
        self.lengths[name, exit_class.detail(begin, self._board)][instructions] += 1
        self.inside[name] += inside


def _by_el(machine: Machine) -> tuple[int, ...]:
    return tuple(map(sum, zip(*(cpu.instructions_by_el() for cpu in machine.cpus), strict=True)))
