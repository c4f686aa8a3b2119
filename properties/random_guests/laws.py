# SPDX-License-Identifier: Apache-2.0
"""What no guest may bring about, whatever it executes."""

from aether_edgecloud.emulator.machine import StopKind
from aether_edgecloud.properties.random_guests.beside import Outcome, of_the_hypervisor

GOES_ON = (StopKind.LIMIT, StopKind.SYSTEM_OFF)


def assert_unharmed(outcome: Outcome, quiet: Outcome) -> None:
    """The hypervisor lives, kept its promises in time, its memory and that of nobody have not
    changed, and the neighbour has seen what it saw beside a guest that sleeps."""
    if outcome.violation is not None:
        raise outcome.violation
    said = of_the_hypervisor(outcome.shown)
    panics = [line for line in said if line.startswith("panic") or line == "end: panic"]
    assert not panics, "\n".join(outcome.shown[-60:])
    assert outcome.stop.kind in GOES_ON, f"{outcome.stop}\n" + "\n".join(outcome.shown[-60:])
    assert "vm observed: off" in said, f"the neighbour did not get to its end: {outcome.stop}"
    assert outcome.late == 0, f"{outcome.late} slots began late"
    assert not outcome.changed, "changed: " + ", ".join(hex(pa) for pa in outcome.changed)
    assert not outcome.frames, "changed owner: " + ", ".join(hex(pa) for pa in outcome.frames)
    assert outcome.console == quiet.console
    assert outcome.counters == quiet.counters
    assert outcome.timelines == quiet.timelines
    assert outcome.memory == quiet.memory, "the neighbour's memory is another"
