# SPDX-License-Identifier: Apache-2.0
"""The outcome of a check as JSON.

Always these keys; null for what is not known:

    format          "aether-check-report"
    version         1
    binary          what the command line named
    binary_sha256   of the flat image as loaded
    board, ram_bytes, cpus
    stores          "exact" or "difference"
    rules           ids of the rules that were checked
    end             off, reset, input, limit, interrupted, no-translation, no-guest, deadlock,
                    lockup, loop or aarch32; `end_words` says it in words
    exit_status     of the command; but one that is interrupted ends by the signal
    stopped_at      {"cpu", "el", "pc", "symbol"}
    instructions    retired, on all CPUs
    exits           exceptions from guests to EL2
    vcpus           entered at least once
    unchecked       what was not looked at, and why, in words
    el2_faults      exceptions that EL2 took from itself: {"cpu", "count", "first", "last"}
    findings        the worst first: {"rule", "severity", "confidence", "reference", "count",
                    "position", "cpu", "instruction", "pc", "symbol", "source", "words", "vmid",
                    "entry_pa", "level", "ia", "old", "new", "value"}
    recording       the file of --record
    wall_s          seconds of host time, the only number that differs between two equal runs

Addresses, descriptors and values of registers are strings in hexadecimal.
"""

import dataclasses
import json

from aether_edgecloud.emulator.check.finding import Finding
from aether_edgecloud.emulator.check.request import CheckRequest
from aether_edgecloud.emulator.check.session import Outcome


def render(request: CheckRequest, outcome: Outcome) -> str:
    """The text of the file."""
    run = request.run
    report = {
        "format": "aether-check-report",
        "version": 1,
        "binary": request.binary,
        "binary_sha256": run.binary_sha256,
        "board": run.board,
        "ram_bytes": run.ram_size,
        "cpus": run.cpus,
        "stores": "difference" if request.by_difference else "exact",
        "rules": sorted(request.rules),
        "end": outcome.end.name.lower().replace("_", "-"),
        "end_words": outcome.end.value,
        "exit_status": outcome.exit_status,
        "stopped_at": {
            "cpu": outcome.cpu,
            "el": outcome.el,
            "pc": hex(outcome.pc),
            "symbol": outcome.symbol,
        },
        "instructions": outcome.instructions,
        "exits": outcome.exits,
        "vcpus": outcome.vcpus,
        "unchecked": list(outcome.unchecked),
        "el2_faults": [dataclasses.asdict(faults) for faults in outcome.el2_faults],
        "findings": [_finding(finding) for finding in outcome.findings],
        "recording": None if request.recording is None else str(request.recording),
        "wall_s": round(outcome.wall_s, 3),
    }
    return json.dumps(report, indent=2) + "\n"


def _finding(f: Finding) -> dict[str, object]:
    entry = f.entry
    return {
        "rule": f.rule.id,
        "severity": f.rule.severity.value,
        "confidence": f.rule.confidence.value,
        "reference": f.rule.reference,
        "count": f.count,
        "position": f.place.position,
        "cpu": f.place.cpu,
        "instruction": f.place.instruction,
        "pc": hex(f.place.pc),
        "symbol": f.symbol,
        "source": f.source,
        "words": f.words,
        "vmid": None if entry is None else entry.vmid,
        "entry_pa": _hex(None if entry is None else entry.pa),
        "level": None if entry is None else entry.level,
        "ia": _hex(None if entry is None else entry.ia),
        "old": _hex(None if entry is None else entry.old),
        "new": _hex(None if entry is None else entry.new),
        "value": _hex(f.value),
    }


def _hex(value: int | None) -> str | None:
    return None if value is None else hex(value)
