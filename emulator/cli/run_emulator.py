# SPDX-License-Identifier: Apache-2.0
"""A run in the emulator, from the request to the report."""

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from aether_edgecloud.emulator.cli.run_record import record
from aether_edgecloud.emulator.cli.run_trace import TraceChoice, finish_trace, trace
from aether_edgecloud.emulator.cli.watching import Watch
from aether_edgecloud.emulator.cpu.cpu import Cpu
from aether_edgecloud.emulator.cpu.exits import BOOT
from aether_edgecloud.emulator.elf import symbols
from aether_edgecloud.emulator.elf.symbols import NO_SYMBOLS, Symbols
from aether_edgecloud.emulator.host_console.console import ConsoleIO
from aether_edgecloud.emulator.launch.machine import build_machine, quantum_of
from aether_edgecloud.emulator.machine import Machine, Stop, StopKind
from aether_edgecloud.emulator.machine.state import state_sha256
from aether_edgecloud.emulator.report import own_faults
from aether_edgecloud.emulator.report.console_protocol import ConsoleProtocol, boot_failure
from aether_edgecloud.emulator.report.request import MmuChoice, RunRequest
from aether_edgecloud.emulator.report.run_report import End, ExitCount, Instructions, RunReport
from aether_edgecloud.emulator.report.vm_reports import vm_reports
from aether_edgecloud.emulator.signals import SignalWatch
from aether_edgecloud.emulator.telemetry.pages import Telemetry

_SLICE = 5_000_000
"""Instructions between two looks at the keyboard. How a run is sliced does not show in it."""

_ENDS = {
    StopKind.SYSTEM_RESET: End.RESET,
    StopKind.LIMIT: End.LIMIT,
    StopKind.BREAK: End.STOPPED,
    StopKind.DEADLOCK: End.STUCK,
    StopKind.LOCKUP: End.STUCK,
    StopKind.AARCH32: End.STUCK,
    StopKind.INPUT_ENDED: End.INPUT_ENDED,
}
_WENT_OFF = (End.GUEST_OFF, End.GUEST_CRASH, End.MACHINE_OFF, End.INPUT_ENDED, End.PANIC)


class _HostInput:
    """The host's console as the machine's input. The machine stops as soon as the user leaves."""

    def __init__(self, console: ConsoleIO) -> None:
        self.machine: Machine | None = None
        self.signals = SignalWatch(self._stop)
        self._console = console

    @property
    def exhausted(self) -> bool:
        return self._console.exhausted

    def take_byte(self) -> int | None:
        with self.signals.waiting():
            byte = self._console.take_byte()
        if self._console.left:
            self._stop()
        return byte

    def wait(self) -> None:
        with self.signals.waiting():
            self._console.wait()

    def pace(self, seconds: float) -> None:
        with self.signals.waiting():
            self._console.pace(seconds)

    def _stop(self) -> None:
        if self.machine is not None:
            self.machine.interrupt()


def run_machine(request: RunRequest, console: ConsoleIO) -> tuple[Machine, Stop]:
    """Runs the request to its end or limit; a signal, or the user, ends it before."""
    source = _HostInput(console)
    machine = source.machine = build_machine(request, source)
    with source.signals:
        return machine, _run(machine, console, source.signals, None, request.max_instructions)


def run_on_emulator(
    request: RunRequest,
    console: ConsoleIO,
    record_file: Path | None = None,
    trace_choice: TraceChoice | None = None,
) -> RunReport:
    """Runs the request on the emulated board, the guest's output to `console` as it comes; with
    `record_file` the run is recorded there, and what `trace_choice` says is traced.

    Raises UserError for a board that does not exist, and for a boot error of the hypervisor.
    """
    began = time.monotonic()
    source = _HostInput(console)
    machine = source.machine = build_machine(request, source)
    protocol = ConsoleProtocol(request.vms)

    def show(data: bytes) -> None:
        protocol.feed(data)
        console.write(data)

    machine.console.on_output = show
    with ExitStack() as stack:
        recorder = None
        if record_file is not None:
            recorder = stack.enter_context(record(machine, record_file, request))
        advance: Callable[[int], Stop] = machine.run if recorder is None else recorder.run
        if trace_choice is not None:
            stretch = trace(machine, trace_choice, request, advance)
            stack.callback(finish_trace, trace_choice, stretch, machine)
            advance = stretch.run
        stack.enter_context(source.signals)
        watch = stack.enter_context(Watch(request, machine))
        stop = _run(machine, console, source.signals, watch, request.max_instructions, advance)
        telemetry = watch.telemetry()
        if recorder is not None:
            recorder.finish(stop)
    protocol.finish()
    if protocol.end is End.BOOT_FAILED:
        raise boot_failure(protocol.boot_error)
    end = _ENDS.get(stop.kind) or protocol.end or request.silent_end
    detail = _detail(stop, end, protocol)
    report = _report(request, machine, end, detail, protocol, telemetry, began)
    return report if recorder is None else replace(report, recording=recorder.summary)


def _run(
    machine: Machine,
    console: ConsoleIO,
    signals: SignalWatch,
    watch: Watch | None,
    limit: int | None,
    advance: Callable[[int], Stop] | None = None,
) -> Stop:
    while True:
        until = machine.instructions + _SLICE
        until = until if limit is None else min(until, limit)
        stop = machine.run(until) if advance is None else advance(until)
        signals.check()
        if watch is not None:
            watch.look()
        if console.poll_keys():
            # Whatever else stopped it: a machine that waits for keys ends with the last of them.
            return replace(stop, kind=StopKind.BREAK)
        if stop.kind is not StopKind.LIMIT or (limit is not None and stop.instructions >= limit):
            return stop


def _detail(stop: Stop, end: End, protocol: ConsoleProtocol) -> str | None:
    if end is End.GUEST_CRASH:
        return protocol.crash
    return stop.kind.value if end is End.STUCK else None


def _report(
    request: RunRequest,
    machine: Machine,
    end: End,
    detail: str | None,
    protocol: ConsoleProtocol,
    telemetry: Telemetry | None,
    began: float,
) -> RunReport:
    cpus = machine.cpus
    names = symbols.load(request.elf, machine.loaded[0]) if _is_asked_why(end, cpus) else NO_SYMBOLS
    boot = cpus[0].exits.lengths_of(BOOT)
    is_model = request.mmu is MmuChoice.MODEL
    return RunReport(
        target=request.target,
        on="emulator",
        board=request.board,
        ram_size=request.ram_size,
        cpus=len(cpus),
        quantum=quantum_of(request),
        seed=request.seed,
        binary_sha256=request.binary_sha256,
        bundle_sha256=request.bundle_sha256,
        end=end,
        detail=detail,
        console_bytes=protocol.bytes,
        console_sha256=protocol.sha256,
        mmu=request.mmu.value,
        instructions=tuple(Instructions(*cpu.instructions_by_el()) for cpu in cpus),
        first_entry=boot[0] if boot else None,
        exits=_exits(cpus),
        walks=sum(cpu.translation.walks for cpu in cpus) if is_model else None,
        state_sha256=state_sha256(machine),
        vms=vm_reports(request.vms, protocol, telemetry),
        hypervisor=None if telemetry is None else telemetry.hypervisor,
        own_faults=own_faults.reports([cpu.own_faults for cpu in cpus], names.at),
        stopped_at=() if end in _WENT_OFF else _places(machine, names),
        wall_s=time.monotonic() - began,
    )


def _is_asked_why(end: End, cpus: Sequence[Cpu]) -> bool:
    return end not in _WENT_OFF or any(cpu.own_faults.count for cpu in cpus)


def _places(machine: Machine, names: Symbols) -> tuple[str, ...]:
    """Where each CPU stands."""
    found = []
    for number, cpu in enumerate(machine.cpus):
        name = names.at(cpu.pc) if cpu.current_el == 2 else None
        place = f"{cpu.pc:#x}" + (f" <{name}>" if name else "")
        found.append(f"CPU {number} at EL{cpu.current_el}, PC {place}: {machine.activity(number)}")
    return tuple(found)


def _exits(cpus: Sequence[Cpu]) -> tuple[ExitCount, ...]:
    """Of all CPUs together, by kind."""
    kinds = sorted({kind for cpu in cpus for kind in cpu.exits.counts} - {BOOT})
    return tuple(
        ExitCount.of(
            kind,
            sum(cpu.exits.counts.get(kind, 0) for cpu in cpus),
            [length for cpu in cpus for length in cpu.exits.lengths_of(kind)],
        )
        for kind in kinds
    )
