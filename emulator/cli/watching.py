# SPDX-License-Identifier: Apache-2.0
"""A run as others watch it: its telemetry, read between two pieces of the run and published.

Only reads the machine: a run that is watched is the run that is not.
"""

import time
from types import TracebackType

from aether_edgecloud.emulator.elf import symbols
from aether_edgecloud.emulator.machine import Machine
from aether_edgecloud.emulator.report.request import RunRequest
from aether_edgecloud.emulator.telemetry import layout, pages
from aether_edgecloud.emulator.telemetry.pages import RawPages, Telemetry
from aether_edgecloud.emulator.telemetry.published import Publisher

_INTERVAL_S = 0.2


class Watch:
    """Use as a context around a run; call `look` now and then."""

    def __init__(self, request: RunRequest, machine: Machine) -> None:
        self._request = request
        self._machine = machine
        self._publisher = Publisher()
        self._began = time.monotonic()
        self._next = 0.0
        self._page = symbols.load(request.elf, machine.loaded[0]).address_of(layout.SYMBOL)

    def look(self) -> None:
        """Publishes how things stand, if that has not been done just now."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + _INTERVAL_S
        request, cpus = self._request, self._machine.cpus
        facts: dict[str, object] = {
            "target": request.target,
            "mmu": request.mmu.value,
            "cpus": len(cpus),
            "instructions": self._machine.instructions,
            "wall_s": round(now - self._began, 3),
        }
        self._publisher.publish(facts, self._pages())

    def telemetry(self) -> Telemetry | None:
        """The counters now; None when the binary has none."""
        raw = self._pages()
        return None if raw is None else pages.parse(raw)

    def _pages(self) -> RawPages | None:
        return None if self._page is None else pages.read_pages(self._read, self._page)

    def _read(self, address: int, size: int) -> bytes:
        memory = self._machine.memory
        start = address - memory.ram_base
        if not 0 <= start <= memory.ram_size - size:
            return b""
        return memory.bytes[start : start + size].tobytes()

    def __enter__(self) -> "Watch":
        self._publisher.__enter__()
        self.look()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._publisher.__exit__(kind, error, trace)
