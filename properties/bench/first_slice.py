# SPDX-License-Identifier: Apache-2.0
"""What the first slice costs: exits from a guest, the way to its first instruction, U-Boot's boot.

Each benchmark gives its figures; two programs are compared in one call only.
"""

import io
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from aether_edgecloud.emulator.cli import binary
from aether_edgecloud.emulator.cli.console import ConsoleIO, open_console
from aether_edgecloud.emulator.cli.request import build_request
from aether_edgecloud.emulator.cli.run_emulator import run_on_emulator
from aether_edgecloud.emulator.errors import UserError
from aether_edgecloud.emulator.qemu.run import run_on_qemu
from aether_edgecloud.emulator.report.figure import Figure, LeftOut
from aether_edgecloud.emulator.report.run_report import End, RunReport

_ROUNDS = 1000


def run(*, on: str, target: str, mmu: str = "model", typed: bytes = b"") -> RunReport:
    """Runs a guest with its console input given and its output dropped. Raises UserError."""
    request = build_request(target, mmu, "virt", "256MiB", binary.load(None), None)
    with tempfile.TemporaryDirectory(prefix="aether-bench-") as folder:
        keys = Path(folder, "input")
        keys.write_bytes(typed)
        source = open_console(keys, to_stderr=False).source
        console = ConsoleIO(source, io.BytesIO())
        report = (
            run_on_qemu(request, console) if on == "qemu" else run_on_emulator(request, console)
        )
    if report.end is not End.GUEST_OFF:
        raise UserError(f"ended by {report.end.value}", where=f"bench {target}", fix="run it alone")
    return report


def exits() -> Iterator[Figure | LeftOut]:
    """EL2 instructions of a null hypercall, and of an access to the emulated UART."""
    yield _median("null HVC round trip", f"null-hvc={_ROUNDS}", "hvc", aim=100)
    yield _median("UART read exit", f"uart-mmio:read={_ROUNDS}", "data-abort", aim=250)
    yield _median("UART write exit", f"uart-mmio:write={_ROUNDS}", "data-abort", aim=250)


def _median(name: str, target: str, kind: str, aim: float) -> Figure:
    report = run(on="emulator", target=target, mmu="native")
    spread = next(e.spread for e in report.exits or () if e.kind == kind)
    assert spread is not None
    return Figure(name, spread.median, "EL2 instructions", aim)


def first_entry() -> Iterator[Figure | LeftOut]:
    """From the entry of the binary to the guest's first instruction."""
    for target in ("hello", "u-boot"):
        try:
            report = run(on="emulator", target=target, mmu="native", typed=b"poweroff\n")
        except UserError as e:
            yield LeftOut(f"EL2 entry to guest ({target})", str(e))
            continue
        if report.first_entry is not None:
            yield Figure(f"EL2 entry to guest ({target})", report.first_entry, "EL2 instructions")


def u_boot() -> Iterator[Figure | LeftOut]:
    """U-Boot to its prompt and off again: model MMU, native walker, QEMU."""
    typed = b"poweroff\n"
    walls: dict[str, float] = {}
    for name, on, mmu in (
        ("model", "emulator", "model"),
        ("native", "emulator", "native"),
        ("QEMU", "qemu", "model"),
    ):
        try:
            report = run(on=on, target="u-boot", mmu=mmu, typed=typed)
        except UserError as e:
            yield LeftOut(f"U-Boot, {name}", str(e))
            continue
        walls[name] = report.wall_s
        aim = 10.0 if name == "model" else None
        yield Figure(f"U-Boot to prompt and off, {name}", report.wall_s, "s", aim)
        if report.instructions is not None:
            rate = report.instructions.total / report.wall_s / 1e6
            yield Figure(f"U-Boot, {name}", rate, "M instructions/s", lower_is_better=False)
    for name in ("model", "native"):
        if name in walls and "QEMU" in walls:
            yield Figure(f"U-Boot, {name} to QEMU", walls[name] / walls["QEMU"], "times as long")


def stub() -> Iterator[Figure | LeftOut]:
    """`aether run` as a process, from start to end."""
    command = [sys.executable, "-m", "aether_edgecloud.emulator.cli", "run"]
    began = time.monotonic()
    subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=True)
    yield Figure("aether run", time.monotonic() - began, "s", 2.0)


BENCHMARKS = {"exits": exits, "first-entry": first_entry, "stub": stub, "u-boot": u_boot}
