# SPDX-License-Identifier: Apache-2.0
"""Switch points as the hooks count them (`cpu/interleave.h`): mirror of their state."""

import ctypes as c
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from aether_edgecloud.emulator.cpu.cpu import Cpu
from aether_edgecloud.emulator.cpu.hooks import NEVER

MOST_REPEATS = 32
"""Loads of one word in a row, after which a CPU counts as waiting for another."""
MOST_CODE = 16 << 20
"""Bytes of EL2's code, at most."""
_WORDS = 1 << 16
_SHARED = 0x80
_PLAIN = (2, 3)


class Switch(IntEnum):
    """Why a slice ended at a switch point (`enum switch_reason`)."""

    NAMED = 1
    SPIN = 2


class AccessedWord(c.Structure):
    """`struct accessed_word`."""

    _fields_ = [("va", c.c_uint64), ("readers", c.c_uint32), ("writers", c.c_uint32)]


class SwitchPointsState(c.Structure):
    """`struct switch_points`."""

    _fields_ = [
        ("base", c.c_uint64),
        ("count", c.c_uint64),
        ("kinds", c.c_void_p),
        ("reached", c.c_uint64),
        ("stop_at", c.c_uint64),
        ("is_on", c.c_uint32),
        ("is_alone", c.c_uint32),
        ("is_learning", c.c_uint32),
        ("spins", c.c_uint32),
        ("switch_reason", c.c_uint32),
        ("most_repeats", c.c_uint32),
        ("words", c.c_void_p),
    ]


class SwitchingCpu(c.Structure):
    """`struct switching_cpu`."""

    _fields_ = [
        ("state", c.c_void_p),
        ("points", c.c_void_p),
        ("number", c.c_uint32),
        ("repeats", c.c_uint32),
        ("last_pc", c.c_uint64),
        ("last_number", c.c_uint64),
    ]


@dataclass(frozen=True, slots=True)
class SwitchPointsSaved:
    """What changes while a machine runs; the CPUs' last_pc, last_number and repeats."""

    reached: int
    stop_at: int
    is_on: bool
    is_alone: bool
    spins: int
    cpus: tuple[tuple[int, int, int], ...]


class SwitchPoints:
    """The switch points of a machine's CPUs."""

    def __init__(self, cpus: Sequence[Cpu]) -> None:
        self.state = SwitchPointsState(stop_at=NEVER, most_repeats=MOST_REPEATS)
        self._words: c.Array[AccessedWord] | None = None
        self._kinds: c.Array[c.c_uint8] | None = None
        self._shared: tuple[int, ...] = ()
        self._engines = [cpu.engine for cpu in cpus]
        points = c.addressof(self.state)
        self._cpus = [
            SwitchingCpu(state=c.addressof(cpu.state), points=points, number=number)
            for number, cpu in enumerate(cpus)
        ]

    def hook(self, code: range) -> None:
        """From now on instructions at these VAs are looked at, when EL2 executes them."""
        if self._kinds is not None:
            assert self.state.base == code.start
            return
        self._kinds = (c.c_uint8 * (len(code) // 4))()
        self.state.base, self.state.count = code.start, len(code) // 4
        self.state.kinds = c.addressof(self._kinds)
        for engine, cpu in zip(self._engines, self._cpus, strict=True):
            user = c.addressof(cpu)
            engine.hook_range("aether_on_switch_point", user, code.start, code.stop)
        self.share(self._shared)

    def share(self, instructions: tuple[int, ...]) -> None:
        """These plain loads and stores, by VA, are switch points."""
        self._shared = instructions
        if self._kinds is None:
            return
        kinds = np.frombuffer(memoryview(self._kinds), dtype=np.uint8)
        kinds &= ~np.uint8(_SHARED)
        slots = [(va - self.state.base) // 4 for va in instructions]
        kinds[[slot for slot in slots if 0 <= slot < len(kinds)]] |= _SHARED

    def learn(self, *, on: bool) -> None:
        """Whether it is looked for words that several CPUs use. What is known is kept, until it is
        switched off."""
        if on and self._words is None:
            self._words = (AccessedWord * _WORDS)()
            self.state.words = c.addressof(self._words)
        self.state.is_learning = on
        if not on:
            self.state.words = self._words = None

    def learnt(self) -> tuple[int, ...]:
        """The plain loads and stores that reach such words."""
        if self._kinds is None:
            return ()
        kinds = np.frombuffer(memoryview(self._kinds), dtype=np.uint8)
        found = np.flatnonzero((kinds >= _SHARED) & np.isin(kinds & ~np.uint8(_SHARED), _PLAIN))
        return tuple(int(self.state.base) + 4 * int(slot) for slot in found)

    def reset(self) -> None:
        """None has been reached."""
        state = self.state
        state.reached = state.is_on = state.is_alone = state.spins = 0
        state.stop_at = NEVER
        for cpu in self._cpus:
            cpu.last_pc = cpu.last_number = cpu.repeats = 0

    def save(self) -> SwitchPointsSaved:
        """What a run changes."""
        s = self.state
        return SwitchPointsSaved(
            s.reached,
            s.stop_at,
            bool(s.is_on),
            bool(s.is_alone),
            s.spins,
            tuple((cpu.last_pc, cpu.last_number, cpu.repeats) for cpu in self._cpus),
        )

    def restore(self, saved: SwitchPointsSaved) -> None:
        """Become what was saved."""
        s = self.state
        s.reached, s.stop_at, s.spins = saved.reached, saved.stop_at, saved.spins
        s.is_on, s.is_alone = saved.is_on, saved.is_alone
        for cpu, values in zip(self._cpus, saved.cpus, strict=True):
            cpu.last_pc, cpu.last_number, cpu.repeats = values
