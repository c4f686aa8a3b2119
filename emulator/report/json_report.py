# SPDX-License-Identifier: Apache-2.0
"""A run report as JSON.

Always these keys; null for what cannot be known, as most numbers on QEMU:

    format            "aether-run-report"
    version           1
    target            what the command line named
    on                "emulator" or "qemu"
    board             name of the board
    ram_bytes         its RAM
    mmu               "model" or "native"; null on QEMU
    binary_sha256     of the flat EL2 image as loaded
    bundle_sha256     of the bundle as loaded
    end               guest-off, guest-crash, boot-failed, panic, input-ended, stopped,
                      limit-reached, stuck, reset, machine-off or power-off
    detail            more words on the end, or null
    exit_status       of the command
    instructions      {"total", "el0", "el1", "el2"}: retired instructions
    first_entry       EL2 instructions from the binary's entry to the guest's first instruction
    exits             {KIND: {"count", "el2_instructions": {"min", "median", "max"} or null}}
    walks             translations decided by the MMU model
    console_bytes     bytes the console gave
    console_sha256    of those bytes
    state_sha256      of the machine's final state: registers, memory, devices
    wall_s            seconds of host time, the only number that differs between two equal runs
"""

import json

from aether_edgecloud.emulator.report.run_report import ExitCount, Instructions, RunReport

FORMAT = "aether-run-report"
VERSION = 1


def render(report: RunReport) -> bytes:
    """The JSON text, in UTF-8, ended by a newline."""
    exits = report.exits
    fields: dict[str, object] = {
        "format": FORMAT,
        "version": VERSION,
        "target": report.target,
        "on": report.on,
        "board": report.board,
        "ram_bytes": report.ram_size,
        "mmu": report.mmu,
        "binary_sha256": report.binary_sha256,
        "bundle_sha256": report.bundle_sha256,
        "end": report.end.value,
        "detail": report.detail,
        "exit_status": report.end.exit_status,
        "instructions": _instructions(report.instructions),
        "first_entry": report.first_entry,
        "exits": None if exits is None else {e.kind: _exit(e) for e in exits},
        "walks": report.walks,
        "console_bytes": report.console_bytes,
        "console_sha256": report.console_sha256,
        "state_sha256": report.state_sha256,
        "wall_s": round(report.wall_s, 6),
    }
    return (json.dumps(fields, indent=2) + "\n").encode()


def _instructions(count: Instructions | None) -> dict[str, int] | None:
    if count is None:
        return None
    return {"total": count.total, "el0": count.el0, "el1": count.el1, "el2": count.el2}


def _exit(count: ExitCount) -> dict[str, object]:
    spread = count.spread
    return {
        "count": count.count,
        "el2_instructions": None
        if spread is None
        else {"min": spread.low, "median": spread.median, "max": spread.high},
    }
