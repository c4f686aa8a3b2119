# SPDX-License-Identifier: Apache-2.0
"""Whatever a checkpoint says, if its checksums are right: a state that the machine can become, or
one line."""

import ctypes as c
import itertools
from collections.abc import Callable, Iterator

import pytest

from aether_edgecloud.emulator.cpu import engine_state
from aether_edgecloud.emulator.cpu.hooks import CODE_LINES, HookState, KeptFault
from aether_edgecloud.emulator.machine.snapshot import Snapshot
from aether_edgecloud.emulator.recording import chunks, document
from aether_edgecloud.emulator.recording.document import Sections, Values
from aether_edgecloud.emulator.recording.identity import Identity
from aether_edgecloud.emulator.recording.state import StateDecoder
from aether_edgecloud.properties.machine.snapshot_worlds import WORLDS
from aether_edgecloud.properties.recording.recorded import SMALL, recorded
from aether_edgecloud.properties.recording.test_crafted_recordings import (
    alterations,
    original,
    payload_of,
    refused,
    written,
)

Change = Callable[[Values, Sections], object]


def with_state(change: Change) -> bytes:
    """The file with another first checkpoint."""

    def changed(payload: bytes) -> bytes:
        values, sections = chunks.unpack_document(payload)
        change(values, sections)
        return chunks.pack_document(values, sections, 1)

    return written(
        [(k, n, changed(p) if (k, n) == (chunks.CHECKPOINT, 0) else p) for k, n, p in original()]
    )


def set_field(name: str, value: int) -> Change:
    """A number among what the hooks of the first CPU keep."""
    place = getattr(HookState, name)

    def change(values: Values, sections: Sections) -> None:
        for number, (offset, size) in enumerate(engine_state._RANGES):
            if offset <= place.offset < offset + size:
                data = bytearray(sections[f"cpu0.hooks{number}"])
                at = place.offset - offset
                data[at : at + place.size] = value.to_bytes(place.size, "little")
                sections[f"cpu0.hooks{number}"] = bytes(data)

    return change


def set_fault(values: Values, sections: Sections) -> None:
    fault = KeptFault(descriptor_pa=(1 << 30) + 1, is_valid=1)
    data = sections["cpu0.table1"]
    sections["cpu0.table1"] = bytes(fault) + data[c.sizeof(KeptFault) :]


@pytest.mark.parametrize(
    ("words", "change"),
    [
        ("schedule of another", lambda v, s: v["quantum"].update(quantum=0)),
        ("schedule of another", lambda v, s: v["quantum"].update(quantum=2)),
        ("schedule of another", lambda v, s: v["quantum"].update(seed=1)),
        ("schedule of another", lambda v, s: v["quantum"].update(cpus=1)),
        ("schedule of another", lambda v, s: v["cores"].pop()),
        ("turn of a CPU", lambda v, s: v.update(turns=[7])),
        ("turn of a CPU", lambda v, s: v.update(turns=[-1])),
        ("turn of a CPU", lambda v, s: v["schedule"].update(running=2)),
        ("turn of a CPU", lambda v, s: v["schedule"].update(last=2)),
        ("CPUs that are elsewhere", lambda v, s: v.update(instructions=1)),
        ("CPUs that are elsewhere", set_field("retired", 1)),
        ("devices of another board", lambda v, s: v.update(devices={})),
        ("devices of another board", lambda v, s: v["devices"].update(timers=[])),
        ("devices of another board", lambda v, s: v["devices"]["clocks"][0].update(due="x")),
        ("devices of another board", lambda v, s: v["devices"]["clocks"][0].update(due=-1)),
        ("devices of another board", lambda v, s: v["devices"]["clocks"][0].update(due=1 << 9000)),
        ("ValueError", lambda v, s: v["devices"]["uarts"][0].update(output="no")),
        ("ValueError", lambda v, s: v["devices"]["firmware"].update(states=[99, 0])),
        ("a stage 2", lambda v, s: v["cores"][0]["translation"].update(current=9)),
        ("stays at EL2", set_field("exit_count", 1)),
        ("counters that", set_field("el", 3)),
        ("counters that", set_field("code_line_count", CODE_LINES + 2)),
        ("descriptor that", set_fault),
    ],
)
def test_a_state_that_cannot_be_is_told(words: str, change: Change) -> None:
    refused(with_state(change), f"damaged .*{words}")


def test_a_checkpoint_is_where_its_table_says() -> None:
    def moved(payload: bytes) -> bytes:
        values, sections = chunks.unpack_document(payload)
        return chunks.pack_document({"instructions": values["instructions"] + 1}, sections, 1)

    found = [(k, n, moved(p) if (k, n) == (chunks.TABLE, 3) else p) for k, n, p in original()]
    refused(written(found), "damaged .*another place than its table says")


@pytest.fixture(scope="module")
def decode() -> Callable[[Values, Sections], Snapshot]:
    """What the values and sections of a checkpoint say."""
    identity = Identity.from_json(payload_of(chunks.IDENTITY))
    decoder = StateDecoder(identity)
    ram = recorded(SMALL).snapshots[0].ram
    return lambda values, sections: decoder.decode(
        values, sections, ram=ram, output=b"x" * 99, given=()
    )


def variants(values: Values, sections: Sections) -> Iterator[tuple[Values, Sections]]:
    """Such with one thing in them that is another."""
    for other in alterations(values):
        if isinstance(other, dict):
            yield other, sections
    for name, data in sections.items():
        # What Unicorn keeps is put back as it is.
        if not name.endswith(("context", "tlb", "large")):
            yield values, sections | {name: b"\xff" * len(data)}
        yield values, sections | {name: b"\xff" * 48}
        yield values, sections | {name: data + b"x"}


@pytest.mark.parametrize(
    "step", [pytest.param(1, marks=pytest.mark.nightly), pytest.param(29, id="a few")]
)
def test_any_state_is_one_that_a_machine_becomes_or_malformed(
    step: int, decode: Callable[[Values, Sections], Snapshot]
) -> None:
    values, sections = chunks.unpack_document(payload_of(chunks.CHECKPOINT))
    machine = WORLDS[SMALL].make()
    became = 0
    for other in itertools.islice(variants(values, sections), 0, None, step):
        try:
            snapshot = decode(*other)
        except document.Malformed:
            continue
        machine.restore(snapshot)
        assert machine.instructions == 0
        became += 1
    machine.close()
    assert became > 300 // step


def test_sections_of_another_length_are_malformed(
    decode: Callable[[Values, Sections], Snapshot],
) -> None:
    values, sections = chunks.unpack_document(payload_of(chunks.CHECKPOINT))
    decode(values, sections)
    for name, data in sections.items():
        with pytest.raises(document.Malformed):
            decode(values, sections | {name: data + b"x"})


@pytest.mark.parametrize("name", [SMALL, "four CPUs on and off"])
def test_what_is_left_out_of_a_state_never_changes(name: str) -> None:
    """Constants of an engine, and addresses: its own, whatever is restored."""
    machine = WORLDS[name].make()
    saved = [0] * c.sizeof(HookState)
    for offset, size in engine_state._RANGES:
        saved[offset : offset + size] = [1] * size

    def left_out() -> list[bytes]:
        return [
            bytes(b for b, is_saved in zip(bytes(cpu.state), saved, strict=True) if not is_saved)
            for cpu in machine.cpus
        ]

    before = left_out()
    assert len(before[0]) > 8 * 30
    machine.run(200_000)
    assert left_out() == before
    machine.close()


def test_no_state_brings_along_what_the_hooks_trust() -> None:
    names = {name for name, *_ in HookState._fields_}
    trusted = {"ram", "ram_base", "ram_size", "peers", "peer_count", "exclusive_offset", "exits"}
    trusted |= {name for name in names if name.startswith(("reg_", "ctl_"))}
    for name in trusted & names:
        place = getattr(HookState, name)
        for offset, size in engine_state._RANGES:
            assert place.offset + place.size <= offset or offset + size <= place.offset, name
    assert len(trusted & names) > 20
