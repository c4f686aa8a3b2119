# SPDX-License-Identifier: Apache-2.0
"""Runs that are measured: in this process for counts, as processes of their own for times."""

import io
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from aether_edgecloud.emulator.bundle import build
from aether_edgecloud.emulator.bundle.description import Description
from aether_edgecloud.emulator.cli.run_emulator import run_on_emulator
from aether_edgecloud.emulator.errors import UserError
from aether_edgecloud.emulator.host_console.console import ConsoleIO, open_input
from aether_edgecloud.emulator.launch import binary
from aether_edgecloud.emulator.launch.request import build_request
from aether_edgecloud.emulator.qemu.run import run_on_qemu
from aether_edgecloud.emulator.report.run_report import End, RunReport

COMMAND = (sys.executable, "-m", "aether_edgecloud.emulator.cli")


def run(*, on: str, target: str, mmu: str = "model", typed: bytes = b"") -> RunReport:
    """Runs a guest to its end, its console input given and its output dropped. UserError."""
    request = build_request(target, binary.load(None), mmu=mmu)
    with tempfile.TemporaryDirectory(prefix="aether-bench-") as folder:
        keys = Path(folder, "input")
        keys.write_bytes(typed)
        console = ConsoleIO(open_input(keys), io.BytesIO())
        report = (
            run_on_qemu(request, console) if on == "qemu" else run_on_emulator(request, console)
        )
    if report.end is not End.GUEST_OFF:
        raise UserError(f"ended by {report.end.value}", where=f"bench {target}", fix="run it alone")
    return report


def run_described(description: Description, *, instructions: int) -> RunReport:
    """Runs VMs that never end, natively, for so many instructions."""
    with tempfile.TemporaryDirectory(prefix="aether-bench-") as folder:
        bundle = Path(folder, "vms.bundle")
        bundle.write_bytes(build.build(description, where="bench"))
        request = build_request(
            str(bundle), binary.load(None), mmu="native", max_instructions=instructions
        )
        report = run_on_emulator(request, ConsoleIO(None, io.BytesIO()))
    if report.end is not End.LIMIT:
        raise UserError(f"ended by {report.end.value}", where="bench", fix="see the VMs alone")
    return report


def child_report(*arguments: str) -> dict[str, Any]:
    """`aether run` with these arguments as a process; its report as JSON. UserError if it fails."""
    with tempfile.TemporaryDirectory(prefix="aether-bench-") as folder:
        file = Path(folder, "report.json")
        command = [*COMMAND, "run", *arguments, "--json", str(file)]
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
            words = lines[-1].removeprefix("aether: ")
            if file.exists():
                words = f"ended by {json.loads(file.read_text())['end']}"
            raise UserError(words, where=f"aether run {' '.join(arguments)}")
        found: dict[str, Any] = json.loads(file.read_text())
        return found
