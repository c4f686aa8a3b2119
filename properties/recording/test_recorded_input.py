# SPDX-License-Identifier: Apache-2.0
"""Input that came when somebody typed comes again where it came, from any checkpoint."""

import tempfile
from pathlib import Path

from hypothesis import example, given, settings
from hypothesis import strategies as st

from aether_edgecloud.emulator.cpu.engine import MmuMode
from aether_edgecloud.emulator.machine import Machine
from aether_edgecloud.emulator.recording.recorder import Recorder
from aether_edgecloud.emulator.recording.recording import Recording
from aether_edgecloud.properties.machine import smp
from aether_edgecloud.properties.machine.bare import constant
from aether_edgecloud.properties.machine.snapshot_worlds import look
from aether_edgecloud.properties.recording.recorded import every, machine_of

_UART = 0x0900_0000
_RXFE = 4  # bit number, UARTFR
# Every poll counts; a byte is stored with the count at which it came.
_ECHO = f"""
    {constant("x10", _UART)}
    mov x11, #0
    mov x12, x20
    mov x13, #0
    look:
    add x11, x11, #1
    ldr w0, [x10, #0x18]
    tbnz w0, #{_RXFE}, nothing
    ldr w1, [x10]
    str x11, [x12], #8
    str x1, [x12], #8
    str w1, [x10]
    add x13, x13, #1
    nothing:
    cmp x11, #700
    b.ne look
"""


class Typist:
    """Somebody who types: each of `gaps` questions find nothing, then comes a key. With `leaves`
    the input ends afterwards."""

    def __init__(self, gaps: list[int], *, leaves: bool) -> None:
        self._gaps = gaps
        self._leaves = leaves
        self._key = 0

    @property
    def exhausted(self) -> bool:
        """Whether nothing will be typed any more."""
        return self._leaves and self._key == len(self._gaps)

    def take_byte(self) -> int | None:
        """A key, if there is one by now."""
        if self._key == len(self._gaps):
            return None
        if self._gaps[self._key]:
            self._gaps[self._key] -= 1
            return None
        self._key += 1
        return 0x40 + self._key

    def wait(self) -> None:
        """The machine never rests."""

    def pace(self, seconds: float) -> None:
        """The machine never rests."""


def _machine(typist: Typist) -> Machine:
    return smp.machine(_ECHO, "b .", 1, MmuMode.MODEL, source=typist)


@settings(max_examples=6)
@given(st.lists(st.integers(0, 120), max_size=12), st.booleans())
@example([0, 0, 1, 100, 0], True)
def test_keys_come_again_where_they_came(gaps: list[int], leaves: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "typed.aet")
        machine = _machine(Typist(list(gaps), leaves=leaves))
        with Recorder(machine, path, spacing=every(500)) as recorder:
            stop = recorder.run(100_000)
            recorder.finish(stop)
        seen = look(machine)
        machine.close()

        plain = _machine(Typist(list(gaps), leaves=leaves))
        assert plain.run(100_000) == stop
        assert look(plain) == seen
        plain.close()

        recording = Recording.open(path)
        last = len(recording.checkpoints.positions) - 1
        with machine_of(recording) as again:
            for index in (0, last - 1, last // 3, 2 * last // 3, 0):
                again.restore(recording.checkpoints.load(index))
                assert again.run(100_000) == stop
                assert look(again) == seen
        with machine_of(recording) as again:
            assert again.run(100_000) == stop
            assert look(again) == seen
        recording.close()


@settings(max_examples=6)
@given(st.lists(st.integers(0, 60), min_size=1, max_size=12), st.data())
def test_a_machine_that_is_set_back_gets_the_keys_where_it_got_them(
    gaps: list[int], data: st.DataObject
) -> None:
    """Without any recording, and while more keys are still to come: what a live source has
    answered is remembered question by question."""
    plain = _machine(Typist(list(gaps), leaves=False))
    stop = plain.run(100_000)
    machine = _machine(Typist(list(gaps), leaves=False))
    taken = [machine.snapshot()]
    for _ in range(4):
        machine.run(machine.instructions + 700)
        taken.append(machine.snapshot())
        if data.draw(st.booleans()):
            machine.restore(data.draw(st.sampled_from(taken)))
    assert machine.run(100_000) == stop
    assert look(machine) == look(plain)
    machine.close()
    plain.close()
