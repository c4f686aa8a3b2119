# SPDX-License-Identifier: Apache-2.0
"""Going through a recorded Linux boot: jumps, steps back, the last write of a byte."""

import random
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from aether_edgecloud.emulator.cpu.engine import PAGE_SIZE
from aether_edgecloud.emulator.errors import UserError
from aether_edgecloud.emulator.replay import Direction, Replay, Write
from aether_edgecloud.emulator.report.figure import Figure, LeftOut
from aether_edgecloud.properties.bench.runs import COMMAND, child_report

_NAME = "replay of a Linux boot"
_JUMPS, _STEPS, _WRITES = 40, 10, 8
"""In each round: places, steps back from each of them, bytes."""


def replay(rounds: int) -> Iterator[Figure | LeftOut | str]:
    """Of random places, the same every time."""
    with tempfile.TemporaryDirectory(prefix="aether-bench-") as folder:
        file = Path(folder, "boot.aet")
        yield f"{_NAME}: recording"
        try:
            child_report("linux", "--record", str(file))
        except UserError as e:
            yield LeftOut(_NAME, str(e))
            return
        yield f"{_NAME}: the command"
        shown = [_seconds(lambda: _show(file)) for _ in range(rounds)]
        yield Figure(f"{_NAME}: registers, code and stage 2 printed", statistics.median(shown), "s")
        opened = Replay.open(file)
        yield from _moves(opened, rounds)
        yield from _writes(opened, rounds)
        opened.close()


def _show(file: Path) -> None:
    words = [*COMMAND, "replay", f"{file}@50%", "--show", "regs,disasm,stage2"]
    subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, check=True)


def _moves(opened: Replay, rounds: int) -> Iterator[Figure | str]:
    rng = random.Random(1)
    jumps: list[float] = []
    steps: list[float] = []
    yield f"{_NAME}: jumps and steps"
    for _ in range(_JUMPS * rounds):
        place = rng.randrange(_STEPS, opened.end)
        jumps.append(_seconds(lambda place=place: opened.goto(place)))  # type: ignore[misc]
        steps += [_seconds(lambda: opened.step(-1)) for _ in range(_STEPS)]
    yield Figure(f"{_NAME}: jump, median", 1e3 * statistics.median(jumps), "ms")
    yield Figure(f"{_NAME}: jump, 95th percentile", 1e3 * _percentile(jumps), "ms")
    yield Figure(f"{_NAME}: jump, longest of {len(jumps)}", 1e3 * max(jumps), "ms", 1000.0)
    yield Figure(f"{_NAME}: step back, median", 1e3 * statistics.median(steps), "ms")
    yield Figure(f"{_NAME}: step back, 95th percentile", 1e3 * _percentile(steps), "ms", 100.0)


def _writes(opened: Replay, rounds: int) -> Iterator[Figure | str]:
    """Bytes of pages that are not zero at the end, most of which were written once."""
    opened.goto(opened.end)
    base, ram = opened.machine.board.ram_base, opened.machine.memory.bytes
    rng = random.Random(2)
    walls: list[float] = []
    for number in range(_WRITES * rounds):
        yield f"{_NAME}: last write of a byte, {number + 1} of {_WRITES * rounds}"
        while True:
            offset = rng.randrange(len(ram))
            page = offset - offset % PAGE_SIZE
            if any(ram[page : page + PAGE_SIZE]):
                break
        what = Write(base + offset)
        walls.append(_seconds(lambda what=what: opened.find(what, Direction.BACK)))  # type: ignore[misc]
        opened.goto(opened.end)
    yield Figure(f"{_NAME}: last write of a byte, median", statistics.median(walls), "s")
    longest = f"{_NAME}: last write of a byte, longest of {len(walls)}"
    yield Figure(longest, max(walls), "s", 5.0)


def _seconds(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def _percentile(values: Sequence[float]) -> float:
    return statistics.quantiles(values, n=20)[-1]
