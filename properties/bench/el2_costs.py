# SPDX-License-Identifier: Apache-2.0
"""What a stay at EL2 costs, in instructions from the exception to the ERET."""

from collections.abc import Iterator
from dataclasses import replace

from aether_edgecloud.emulator.bundle.description import Description
from aether_edgecloud.emulator.errors import UserError
from aether_edgecloud.emulator.guests import catalogue
from aether_edgecloud.emulator.report.figure import Figure, LeftOut
from aether_edgecloud.emulator.report.run_report import RunReport
from aether_edgecloud.properties.bench.runs import run, run_described

_ROUNDS = 1000
_UNIT = "EL2 instructions"
_SWITCHING = 6_000_000


def costs(_: int) -> Iterator[Figure | LeftOut | str]:
    """Medians over many of a kind."""
    for name, target, kind, aim in (
        ("null HVC round trip", f"null-hvc={_ROUNDS}", "hvc", 100),
        ("UART read", f"uart-mmio:read={_ROUNDS}", "data-abort", 250),
        ("UART write", f"uart-mmio:write={_ROUNDS}", "data-abort", 250),
        ("distributor read", f"bench-gicd:read={_ROUNDS}", "data-abort", 250),
        ("distributor write", f"bench-gicd:write={_ROUNDS}", "data-abort", 250),
        ("virtual timer interrupt", f"bench-irq:timer={_ROUNDS}", "irq", 150),
    ):
        yield name
        try:
            yield Figure(name, _median(_run(target), kind), _UNIT, aim)
        except UserError as e:
            yield LeftOut(name, str(e))
    yield from _sgi()
    yield from _switch()


def _sgi() -> Iterator[Figure | LeftOut | str]:
    """The sender's exit and the receiver's: one is the distributor's trap, the other the kick."""
    name = "SGI to another vCPU"
    yield name
    try:
        report = _run(f"bench-irq:sgi={_ROUNDS}")
        sent, taken = _median(report, "data-abort"), _median(report, "irq")
    except UserError as e:
        yield LeftOut(name, str(e))
        return
    yield Figure(f"{name}, both sides", sent + taken, _UNIT, 300)
    yield Figure(f"{name}, sender", sent, _UNIT)
    yield Figure(f"{name}, receiver", taken, _UNIT)


def _switch() -> Iterator[Figure | LeftOut | str]:
    """Two VMs that spin, each in its slots: every interrupt is a slot's end."""
    for name, cpu, aim in (
        ("VM switch with FP state", 1, 600),
        ("VM switch, and the console's window", 0, None),
    ):
        yield name
        try:
            spin = replace(catalogue.description("spin"), cpus=(cpu,))
            vms = tuple(replace(spin, name=vm) for vm in ("a", "b"))
            report = run_described(Description(vms), instructions=_SWITCHING)
            yield Figure(name, _median(report, "irq"), _UNIT, aim)
        except UserError as e:
            yield LeftOut(name, str(e))


def _run(target: str) -> RunReport:
    return run(on="emulator", target=target, mmu="native")


def _median(report: RunReport, kind: str) -> int:
    spread = next((e.spread for e in report.exits or () if e.kind == kind), None)
    if spread is None:
        raise UserError(f"there was no exit of kind {kind}", where=f"bench {report.target}")
    return spread.median
