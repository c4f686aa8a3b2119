# SPDX-License-Identifier: Apache-2.0
"""Records a full trace of a machine as it runs. The run is what it would be without."""

import ctypes as c
from collections.abc import Callable
from dataclasses import dataclass

import unicorn
from unicorn import arm64_const, unicorn_const
from unicorn.unicorn_py3 import unicorn as binding

from aether_edgecloud.emulator.cpu.cpu import Cpu
from aether_edgecloud.emulator.cpu.engine import MmuMode
from aether_edgecloud.emulator.cpu.hooks import HookState, StopReason
from aether_edgecloud.emulator.machine.machine import Machine
from aether_edgecloud.emulator.toolchain import shared_library
from aether_edgecloud.emulator.trace.columns import (
    FLUSH_FN,
    ColumnBuffers,
    Columns,
    TraceColumns,
    TracerState,
    check_layout,
    tracer_state,
)

CHUNK = 1 << 18
"""Instructions of a chunk."""
_LIB = binding.uclib
_REQUEST_CACHE = unicorn_const.UC_CTL_TB_REQUEST_CACHE | 3 << 30 | 2 << 26


class _Tb(c.Structure):
    """`uc_tb`."""

    _fields_ = [("pc", c.c_uint64), ("icount", c.c_uint16), ("size", c.c_uint16)]


@dataclass(frozen=True, slots=True)
class Selection:
    """Which instructions are told: positions [begin, end) of the machine; `els` (0, 1, 2) and `vm`,
    a VMID, if only some."""

    begin: int = 0
    end: int = (1 << 64) - 1
    els: frozenset[int] = frozenset({0, 1, 2})
    vm: int | None = None


EVERYTHING = Selection()


class _Tracer:
    """One CPU's part."""

    def __init__(self, recorder: "TraceRecorder", library: c.CDLL, cpu: Cpu, number: int) -> None:
        self._recorder = recorder
        self._library = library
        self.cpu = cpu
        uc = cpu.engine.handle
        address = uc.value if isinstance(uc, c.c_void_p) else int(uc)
        assert address is not None  # the engine is open
        self.state = tracer_state(recorder.buffers.state, address, cpu.state, number)
        self.state.reg_q0 = arm64_const.UC_ARM64_REG_Q0
        self._hook = 0
        cpu.engine.code.flush()
        self._install()
        cpu.engine.measure_block = self._measure
        cpu.engine.on_hook = self._forget_measures
        cpu.state.tracer = c.addressof(self.state)

    def _install(self) -> None:
        self._hook = self.cpu.engine.hook_code("aether_on_traced", c.addressof(self.state))

    def settle(self) -> None:
        self._library.aether_trace_settle(c.byref(self.state))

    def _forget_measures(self) -> None:
        self._recorder.buffers.state.generation += 1

    def close(self) -> None:
        engine = self.cpu.engine
        self.cpu.state.tracer = None
        engine.on_hook = lambda: None
        engine.unhook(self._hook)
        engine.code.flush()

    def _measure(self) -> None:
        """How long the block at `watch_pc` is when Unicorn does not call back at each
        instruction."""
        engine, state = self.cpu.engine, self.cpu.state
        pc, size = int(state.watch_pc), int(state.watch_size)
        while True:
            engine.unhook(self._hook)
            engine.code.drop(pc, pc + size)
            block = _Tb()
            status = _LIB.uc_ctl(
                engine.handle, c.c_int(_REQUEST_CACHE), c.c_uint64(pc), c.byref(block)
            )
            if status:
                raise unicorn.UcError(status)
            whole = block.icount
            state.reason = StopReason.NONE
            tb = _Tb(pc, whole, whole * 4)
            self._library.aether_on_new_block(engine.handle, c.byref(tb), None, c.byref(state))
            engine.code.drop(pc, pc + 4 * whole)
            self._install()
            if state.reason == StopReason.WATCH:
                engine.watch_block()
            elif state.reason == StopReason.OBSERVE:
                engine.hook_barriers()
            else:
                break
        self._library.aether_trace_measured(c.byref(self.state), pc, size // 4, whole)


class TraceRecorder:
    """Records what `machine` executes, from now until `close`; what is selected goes to `sink` in
    chunks. ValueError for a machine with Unicorn's walker."""

    def __init__(
        self,
        machine: Machine,
        sink: Callable[[Columns], None],
        selection: Selection = EVERYTHING,
        chunk: int = CHUNK,
    ) -> None:
        if machine.cpu.engine.mmu is not MmuMode.MODEL:
            raise ValueError("only runs with the MMU model are traced")
        self._sink = sink
        self.buffers = ColumnBuffers(chunk, len(machine.cpus))
        self._library = c.CDLL(str(shared_library("hooks")))
        _declare(self._library)
        check_layout(self._library)
        state = self.buffers.state
        state.begin, state.end = selection.begin, selection.end
        state.els = sum(1 << el for el in selection.els)
        state.vms, state.only_vm = selection.vm is not None, selection.vm or 0
        self._flush_fn = FLUSH_FN(self._flush)
        state.flush = c.cast(self._flush_fn, c.c_void_p).value
        self._machine = machine
        self._failure: BaseException | None = None
        self._tracers = [
            _Tracer(self, self._library, cpu, number) for number, cpu in enumerate(machine.cpus)
        ]

    def _flush(self) -> None:
        if self._failure is not None:
            return
        try:
            self._sink(self.buffers.take())
        except BaseException as error:  # C cannot carry it
            self._failure = error
            self._machine.cpu.engine.fail(error)

    def close(self) -> None:
        """Stop recording; the last chunk goes to the sink. Raises what the sink has raised."""
        for tracer in self._tracers:
            tracer.settle()
            tracer.close()
        if self._failure is not None:
            raise self._failure
        self._sink(self.buffers.take())


def _declare(library: c.CDLL) -> None:
    library.aether_trace_settle.argtypes = [c.POINTER(TracerState)]
    library.aether_trace_settle.restype = None
    library.aether_trace_measured.argtypes = [
        c.POINTER(TracerState),
        c.c_uint64,
        c.c_uint32,
        c.c_uint32,
    ]
    library.aether_trace_measured.restype = None
    library.aether_on_new_block.argtypes = [
        c.c_void_p,
        c.POINTER(_Tb),
        c.c_void_p,
        c.POINTER(HookState),
    ]
    library.aether_on_new_block.restype = None
    library.aether_trace_begin_chunk.argtypes = [c.POINTER(TraceColumns)]
    library.aether_trace_begin_chunk.restype = None
