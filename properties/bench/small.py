# SPDX-License-Identifier: Apache-2.0
"""What needs no Linux: the way to a guest's first instruction, the command itself, U-Boot."""

import subprocess
import time
from collections.abc import Iterator

from aether_edgecloud.emulator.errors import UserError
from aether_edgecloud.emulator.report.figure import Figure, LeftOut
from aether_edgecloud.properties.bench.runs import COMMAND, run


def first_entry(_: int) -> Iterator[Figure | LeftOut | str]:
    """From the entry of the binary to the guest's first instruction."""
    for target in ("hello", "u-boot"):
        name = f"EL2 entry to guest ({target})"
        yield name
        try:
            report = run(on="emulator", target=target, mmu="native", typed=b"poweroff\n")
        except UserError as e:
            yield LeftOut(name, str(e))
            continue
        if report.first_entry is not None:
            yield Figure(name, report.first_entry, "EL2 instructions")


def u_boot(_: int) -> Iterator[Figure | LeftOut | str]:
    """U-Boot to its prompt and off again: model MMU, native walker, QEMU."""
    typed = b"poweroff\n"
    walls: dict[str, float] = {}
    for name, on, mmu in (
        ("model", "emulator", "model"),
        ("native", "emulator", "native"),
        ("QEMU", "qemu", "model"),
    ):
        yield f"U-Boot, {name}"
        try:
            report = run(on=on, target="u-boot", mmu=mmu, typed=typed)
        except UserError as e:
            yield LeftOut(f"U-Boot, {name}", str(e))
            continue
        walls[name] = report.wall_s
        aim = 10.0 if name == "model" else None
        yield Figure(f"U-Boot to prompt and off, {name}", report.wall_s, "s", aim)
        count = report.all_instructions
        if count is not None:
            rate = count.total / report.wall_s / 1e6
            yield Figure(f"U-Boot, {name}", rate, "M instructions/s", lower_is_better=False)
    for name in ("model", "native"):
        if name in walls and "QEMU" in walls:
            yield Figure(f"U-Boot, {name} to QEMU", walls[name] / walls["QEMU"], "times as long")


def stub(_rounds: int) -> Iterator[Figure | LeftOut | str]:
    """`aether run` as a process, from start to end."""
    yield "aether run"
    for _ in range(2):  # what is built on first use is built in the first
        began = time.monotonic()
        subprocess.run([*COMMAND, "run"], stdin=subprocess.DEVNULL, capture_output=True, check=True)
        wall = time.monotonic() - began
    yield Figure("aether run", wall, "s", 2.0)
