# SPDX-License-Identifier: Apache-2.0
"""The comparison of two runs, from two secrets to what it has found."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Protocol

from aether_edgecloud.emulator.cpu.engine import PAGE_SIZE
from aether_edgecloud.emulator.errors import UserError
from aether_edgecloud.emulator.machine import Machine
from aether_edgecloud.emulator.noninterference.crossings import TIME, Crossing, Vcpu
from aether_edgecloud.emulator.noninterference.narrow import Narrow
from aether_edgecloud.emulator.noninterference.pair import Mismatch, Options, Pair, Side, Subject
from aether_edgecloud.emulator.noninterference.result import (
    MOST_BYTES,
    Comparison,
    Difference,
    DifferentMemory,
    DifferentValue,
    Place,
    RunEnd,
    Verdict,
    VmResult,
)
from aether_edgecloud.emulator.noninterference.secret import USUAL, Secret
from aether_edgecloud.emulator.recording.recorder import Recorder

MARK = "difference"
"""The mark of a recording at the first crossing that differs."""
_MOST_PAGES = 8
_MARGIN = 100_000
"""Instructions that are recorded behind a difference."""
_AFFINITY = 0xFFFFFF

Check = Callable[[int], None]


class MakeRecorder(Protocol):
    """Records a machine, which is at reset, to a file."""

    def __call__(self, machine: Machine, path: Path) -> Recorder: ...


def compare(
    subject: Subject,
    secrets: tuple[Secret, Secret],
    options: Options,
    check: Check = lambda counter: None,
) -> Comparison:
    """Run it with both secrets. `check` is told now and then of the counter, and may raise to give
    up. UserError if the VM with the secret, or every other, never ran."""
    pair = Pair(subject, secrets, options, check=check)
    try:
        found = pair.run()
        difference = None
        if found is not None:
            difference = _explain(pair, found, secrets, check)
        elif options.has_memory:
            difference = _memory_at_the_end(pair)
        result = Comparison(
            subject.names[subject.secret],
            *secrets,
            _results(pair, difference),
            difference,
            (_end(pair.a), _end(pair.b)),
            pair.a.planter.bytes_planted,
            pair.a.timelines(subject.secret + 1) != pair.b.timelines(subject.secret + 1),
        )
        _check_not_void(pair, result, secrets[0])
    finally:
        pair.close()
    return result


def record(
    subject: Subject,
    secrets: tuple[Secret, Secret],
    options: Options,
    files: tuple[Path, Path],
    found: Comparison,
    recorder: MakeRecorder,
    check: Check = lambda counter: None,
) -> None:
    """Write both runs as recordings: to a little behind the difference, or to their end. UserError
    if a file cannot be written."""
    for number, (secret, file) in enumerate(zip(secrets, files, strict=True)):
        side = Side(subject, secret, options, recorder=partial(recorder, path=file))
        assert side.recorder is not None
        try:
            with side.recorder as recording:
                _record(side, recording, found.difference, number, check)
        finally:
            side.close()


def _record(
    side: Side, recording: Recorder, found: Difference | None, number: int, check: Check
) -> None:
    """One of them. A run that lacks the crossing goes on to when the other has it."""
    places = () if found is None else (found.a, found.b)
    own = places[number] if places else None
    until = None if own is None else own.position
    others = max((place.counter for place in places if place is not None), default=None)

    def is_there() -> bool:
        if until is not None:
            return side.machine.instructions >= until
        return others is not None and side.counter > others

    while side.end is None and not is_there():
        side.advance(until)
        check(side.counter)
    if found is None:
        return
    recording.mark(MARK, until)
    until = side.machine.instructions + _MARGIN
    while side.end is None and side.machine.instructions < until:
        side.advance(until)


def _end(side: Side) -> RunEnd:
    here = RunEnd("the difference", side.machine.instructions, side.counter)
    return here if side.end is None else side.end


def _results(pair: Pair, difference: Difference | None) -> tuple[VmResult, ...]:
    subject, ways = pair.subject, dict(pair.subject.ways)
    found = []
    for number, name in enumerate(subject.names):
        if number == subject.secret:
            continue
        vmid, channels = number + 1, ways.get(number, ())
        crossings = pair.crossings(vmid)
        if number not in pair.options.vms:
            verdict = Verdict.VOID
        elif difference is not None and difference.vm == name:
            verdict = Verdict.DIFFERENT
        else:
            verdict = Verdict.EQUAL if crossings else Verdict.NOT_RUN
        digest = pair.digest(vmid) if crossings else ""
        looks = pair.memory_looks.get(vmid, 0)
        found.append(VmResult(name, vmid, verdict, crossings, digest, looks, channels))
    return tuple(found)


def _check_not_void(pair: Pair, result: Comparison, secret: Secret) -> None:
    """A comparison in which nothing was tried, or nothing seen, says nothing."""
    if result.difference is not None:
        return
    if secret.kinds & USUAL and not pair.a.planter.starts:
        raise UserError(
            f"VM {result.secret_vm} was never entered", fix="let the runs go on for longer, --for"
        )
    if all(vm.verdict is not Verdict.EQUAL for vm in result.vms):
        raise UserError(
            f"no VM to be compared was ever entered (the runs ended: {result.ends[0].why})",
            fix="let them go on for longer, --for",
        )


def _explain(
    pair: Pair, found: Mismatch, secrets: tuple[Secret, Secret], check: Check
) -> Difference:
    """A mismatch in full. Memory that had changed before what it led to is found by going through
    both runs again."""
    values: tuple[DifferentValue, ...] = ()
    why = ""
    if found.a is None or found.b is None:
        missing = "b" if found.b is None else "a"
        why = f"run {missing} has no such crossing"
    elif found.a.kind != found.b.kind:
        why = f"a: {found.a.words}, b: {found.b.words}"
    else:
        values = _values(pair, found.a, found.b)
    memory: tuple[DifferentMemory, ...] = ()
    pages = 0
    if pair.options.has_memory and found.a is not None and found.b is not None:
        narrow = Narrow(pair.subject, secrets, pair.options, check)
        earlier = narrow.first(found, pair.looked.get(found.vcpu, -1))
        if earlier is not None:
            assert earlier.a is not None and earlier.b is not None
            found, values, why = earlier, _values(pair, earlier.a, earlier.b), ""
            memory, pages = _pages(*narrow.copies(earlier))
    first = found.a or found.b
    assert first is not None
    return Difference(
        vm=pair.subject.names[found.vcpu.vmid - 1],
        vcpu=found.vcpu.affinity & _AFFINITY,
        number=first.number,
        what=first.words,
        cpu=first.cpu,
        a=_place(found.a),
        b=_place(found.b),
        before="nothing" if found.before is None else found.before.words,
        values=values,
        memory=memory,
        pages=pages,
        why=why,
    )


def _place(crossing: Crossing | None) -> Place | None:
    return None if crossing is None else Place(crossing.position, crossing.counter)


def _values(pair: Pair, a: Crossing, b: Crossing) -> tuple[DifferentValue, ...]:
    one, other = pair.a.log.values(a), pair.b.log.values(b)
    names = [TIME, *(name for name in one if name != TIME)]
    return tuple(
        DifferentValue(name, one[name], other.get(name, 0))
        for name in names
        if name in one and one[name] != other.get(name)
    )


def _pages(
    one: dict[int, bytes], other: dict[int, bytes]
) -> tuple[tuple[DifferentMemory, ...], int]:
    """The first pages that differ, and how many there are."""
    zero = bytes(PAGE_SIZE)
    every = sorted(one.keys() | other.keys())
    differ = [ipa for ipa in every if one.get(ipa, zero) != other.get(ipa, zero)]
    found = []
    for ipa in differ[:_MOST_PAGES]:
        a, b = one.get(ipa, zero), other.get(ipa, zero)
        offset = next(i for i in range(PAGE_SIZE) if a[i] != b[i])
        end = offset + MOST_BYTES
        found.append(DifferentMemory(ipa, offset, a[offset:end], b[offset:end]))
    return tuple(found), len(differ)


def _memory_at_the_end(pair: Pair) -> Difference | None:
    """Of VMs that run nowhere when both runs have ended."""
    for number in sorted(pair.options.vms):
        if pair.has_same_memory_now(number + 1) is False:
            one, other = (
                side.log.memory.copy(side.log.regions[number + 1]) for side in (pair.a, pair.b)
            )
            memory, pages = _pages(one, other)
            places = [Place(s.machine.instructions, s.counter) for s in (pair.a, pair.b)]
            vcpu = Vcpu(number + 1, 0)
            last = pair.last.get(vcpu)
            return Difference(
                vm=pair.subject.names[number],
                vcpu=0,
                number=0 if last is None else last.number + 1,
                what="memory at the end",
                cpu=0 if last is None else last.cpu,
                a=places[0],
                b=places[1],
                before="nothing" if last is None else last.words,
                memory=memory,
                pages=pages,
            )
    return None
