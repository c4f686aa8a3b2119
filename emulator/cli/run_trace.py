# SPDX-License-Identifier: Apache-2.0
"""`aether run --trace`: what is traced of a run, and where to."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from aether_edgecloud.emulator.errors import UserError
from aether_edgecloud.emulator.machine import Machine, Stop
from aether_edgecloud.emulator.report.request import MmuChoice, RunRequest
from aether_edgecloud.emulator.trace.recorder import Selection
from aether_edgecloud.emulator.trace.stretch import Stretch, parse_range

_EL_COUNT = 3


@dataclass(slots=True)
class TraceChoice:
    """The options: `stretch` is FROM:TO, `els` and `vm` (VMID or name) what else is wanted.
    `instructions`: how many there were, once the run is over."""

    stretch: str
    file: Path
    els: tuple[int, ...] = ()
    vm: str | None = None
    instructions: int = 0


def choose(
    stretch: str | None, file: Path | None, els: tuple[int, ...], vm: str | None, on: str
) -> TraceChoice | None:
    """The options of `aether run`, None if there are none. UserError for some that do not go
    together."""
    if stretch is None:
        for option, given in (("-o", file), ("--trace-el", els), ("--trace-vm", vm)):
            if given:
                raise UserError("is for --trace", where=option, fix="add --trace FROM:TO")
        return None
    parse_range(stretch)
    if file is None:
        raise UserError("needs a file to write to", where="--trace", fix="add -o FILE")
    if on != "emulator":
        raise UserError("QEMU's runs are not traced", where="--trace", fix="use --on emulator")
    return TraceChoice(stretch, file, els, vm)


def select(
    stretch: tuple[int, int], els: Sequence[int], vm: str | None, vms: Sequence[str]
) -> Selection:
    """What the options mean for a run of these VMs. UserError for a VM that is not there."""
    wanted = frozenset(els) or frozenset(range(_EL_COUNT))
    return Selection(*stretch, wanted, None if vm is None else _vmid(vm, vms))


def _vmid(text: str, vms: Sequence[str]) -> int:
    if text in vms:
        return vms.index(text) + 1
    if text.isdecimal() and int(text) <= 0xFF:
        return int(text)
    raise UserError(f"no VM {text!r}", fix=f"there are: {', '.join(vms)}; or name a VMID")


def about(request: RunRequest) -> dict[str, object]:
    """What a trace is of."""
    return {
        "target": request.target,
        "vms": list(request.vms),
        "binary_sha256": request.binary_sha256,
        "bundle_sha256": request.bundle_sha256,
        "board": request.board,
        "ram_size": request.ram_size,
        "cpus": request.cpus,
        "quantum": request.quantum,
        "seed": request.seed,
    }


def trace(
    machine: Machine, choice: TraceChoice, request: RunRequest, advance: Callable[[int], Stop]
) -> Stretch:
    """The trace of a run that `advance` takes on. UserError if the file cannot be written."""
    check_mmu(request)
    selection = select(parse_range(choice.stretch), choice.els, choice.vm, request.vms)
    return Stretch(machine, choice.file, selection, about(request), advance)


def finish_trace(choice: TraceChoice, stretch: Stretch, machine: Machine) -> None:
    """The run is over. A trace without an instruction is no file; the user is told."""
    stretch.finish()
    choice.instructions = stretch.instructions
    if stretch.instructions == 0:
        click.echo(f"aether: {nothing_traced(machine)}", err=True)


def nothing_traced(machine: Machine) -> UserError:
    """No instruction was in the selection."""
    return UserError(
        "no instruction of the run is in the selection: there is no trace",
        fix=f"the run got to {machine.instructions:,}",
    )


def check_mmu(request: RunRequest) -> None:
    """UserError for a run that cannot be traced."""
    if request.mmu is not MmuChoice.MODEL:
        raise UserError(
            "only runs with the MMU model are traced", where="--trace", fix="use --mmu model"
        )
