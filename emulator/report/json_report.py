# SPDX-License-Identifier: Apache-2.0
"""A run report as JSON.

Always these keys; null for what cannot be known, as most numbers on QEMU:

    format            "aether-run-report"
    version           2
    target            what the command line named
    on                "emulator" or "qemu"
    board             name of the board
    ram_bytes         its RAM
    cpus              its CPUs
    mmu               "model" or "native"; null on QEMU
    quantum           instructions of one CPU's turn; null on QEMU
    seed              of the order of the turns; null on QEMU
    binary_sha256     of the flat EL2 image as loaded
    bundle_sha256     of the bundle as loaded
    end               guest-off, guest-crash, boot-failed, panic, input-ended, stopped,
                      limit-reached, stuck, reset, machine-off or power-off
    detail            more words on the end, or null
    stopped_at        a list: where each CPU stood, in words, if the machine did not go off itself
    el2_faults        a list of {"cpu", "count", "first", "last"}: synchronous exceptions that EL2
                      took from EL2, in words; null on QEMU
    exit_status       of the command
    instructions      {"total", "el0", "el1", "el2"}: retired instructions, and "by_cpu": a list of
                      the same for each CPU
    first_entry       EL2 instructions from the binary's entry to the first guest's first one
    exits             {KIND: {"count", "el2_instructions": {"min", "median", "max"} or null}}
    walks             translations decided by the MMU model
    vms               a list, in the order of the bundle: {"name", "state" ("running", "down", ...,
                      or null), "crashes", "restarts", "crash" (why, the last time, or null),
                      "telemetry" (null, or {"exits": {KIND: count}, "el2_ticks", "slots", "late",
                      "injected", "kicks", "vcpus": a list of the same for each vCPU})}
    schedule          null, or {"frame_ticks", "window_ticks", "ticks_per_second", "cpus": a list of
                      {"slots", "late", "idle_slots", "switches", "most_window_ticks"}}
    console_bytes     bytes the console gave
    console_sha256    of those bytes
    state_sha256      of the machine's final state: registers, memory, devices
    wall_s            seconds of host time, the only number that differs between two equal runs
"""

import json

from aether_edgecloud.emulator.report.run_report import (
    ExitCount,
    Instructions,
    RunReport,
    VmReport,
)
from aether_edgecloud.emulator.telemetry.json_pages import hypervisor_page, vm_page

FORMAT = "aether-run-report"
VERSION = 2


def render(report: RunReport) -> bytes:
    """The JSON text, in UTF-8, ended by a newline."""
    exits = report.exits
    schedule = report.hypervisor
    fields: dict[str, object] = {
        "format": FORMAT,
        "version": VERSION,
        "target": report.target,
        "on": report.on,
        "board": report.board,
        "ram_bytes": report.ram_size,
        "cpus": report.cpus,
        "mmu": report.mmu,
        "quantum": report.quantum,
        "seed": report.seed,
        "binary_sha256": report.binary_sha256,
        "bundle_sha256": report.bundle_sha256,
        "end": report.end.value,
        "detail": report.detail,
        "stopped_at": list(report.stopped_at),
        "el2_faults": _own_faults(report),
        "exit_status": report.end.exit_status,
        "instructions": _all_instructions(report),
        "first_entry": report.first_entry,
        "exits": None if exits is None else {e.kind: _exit(e) for e in exits},
        "walks": report.walks,
        "vms": [_vm(vm) for vm in report.vms],
        "schedule": None if schedule is None else hypervisor_page(schedule),
        "console_bytes": report.console_bytes,
        "console_sha256": report.console_sha256,
        "state_sha256": report.state_sha256,
        "wall_s": round(report.wall_s, 6),
    }
    return (json.dumps(fields, indent=2) + "\n").encode()


def _own_faults(report: RunReport) -> list[dict[str, object]] | None:
    if report.instructions is None:
        return None
    return [
        {"cpu": one.cpu, "count": one.count, "first": one.first, "last": one.last}
        for one in report.own_faults
    ]


def _all_instructions(report: RunReport) -> dict[str, object] | None:
    whole = report.all_instructions
    if whole is None or report.instructions is None:
        return None
    return {**_instructions(whole), "by_cpu": [_instructions(i) for i in report.instructions]}


def _instructions(count: Instructions) -> dict[str, int]:
    return {"total": count.total, "el0": count.el0, "el1": count.el1, "el2": count.el2}


def _exit(count: ExitCount) -> dict[str, object]:
    spread = count.spread
    return {
        "count": count.count,
        "el2_instructions": None
        if spread is None
        else {"min": spread.low, "median": spread.median, "max": spread.high},
    }


def _vm(vm: VmReport) -> dict[str, object]:
    return {
        "name": vm.name,
        "state": vm.state,
        "crashes": vm.crashes,
        "restarts": vm.restarts,
        "crash": vm.crash,
        "telemetry": None if vm.counters is None else vm_page(vm.counters),
    }
