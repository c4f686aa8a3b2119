# SPDX-License-Identifier: Apache-2.0
"""`aether trace`: makes a full trace of a stretch of a run, or shows one."""

import bisect
import itertools
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

import click
import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from aether_edgecloud.emulator import atomic_file
from aether_edgecloud.emulator.bundle import format as bundle_format
from aether_edgecloud.emulator.cli import options, output, run_trace
from aether_edgecloud.emulator.cpu.exits import kind_name
from aether_edgecloud.emulator.errors import UserError
from aether_edgecloud.emulator.guests import catalogue
from aether_edgecloud.emulator.launch import binary as el2_binary
from aether_edgecloud.emulator.launch.machine import build_machine
from aether_edgecloud.emulator.launch.request import build_request
from aether_edgecloud.emulator.machine import Machine, StopKind
from aether_edgecloud.emulator.machine.snapshot import Snapshot
from aether_edgecloud.emulator.recording import container
from aether_edgecloud.emulator.trace import perfetto, text
from aether_edgecloud.emulator.trace.chunk import EXCEPTION, Chunk
from aether_edgecloud.emulator.trace.file import MAGIC, TraceFile
from aether_edgecloud.emulator.trace.recorder import Selection
from aether_edgecloud.emulator.trace.stretch import AHEAD, Stretch, parse_range
from aether_edgecloud.emulator.trace.trace import Trace

_SLICE = 10_000_000
_RECORDING = ".aet"
_TARGETS = (".toml", ".bundle")
_FORMS = ("trace", "summary", "text", "exec", "perfetto")
_WHOLE = ("summary", "perfetto")


@click.command("trace")
@click.argument("source", metavar="FILE|TARGET")
@click.argument("stretch", metavar="[FROM:TO]", required=False)
@click.option("-o", "--output", "file", type=click.Path(path_type=Path), metavar="FILE",
              help="Where to; stdout for text.")  # fmt: skip
@click.option("--as", "form", type=click.Choice(_FORMS),
              help="What to make; a trace, or of a trace its summary.")  # fmt: skip
@click.option("--el", "els", type=click.IntRange(0, 2), multiple=True, metavar="N",
              help="Only instructions at ELn; may be repeated.")  # fmt: skip
@click.option("--vm", metavar="VM", help="Only while this VM (name or VMID) is loaded.")
@options.binary_option
def command(
    source: str,
    stretch: str | None,
    file: Path | None,
    form: str | None,
    els: tuple[int, ...],
    vm: str | None,
    binary: Path | None,
) -> int:
    """Trace a stretch of a recorded run, or of TARGET's from its start; or show a trace.

    FROM and TO are positions (12_000_000); in a recording also 40%, event:N, mark:NAME, end. Either
    may be left out. `exec` is the layout of QEMU's -d exec,cpu; `perfetto` is for ui.perfetto.dev.
    """
    magic = _magic(source)
    output.check_place(file)
    _check_kept(source, file)
    if magic == MAGIC:
        with Trace.open(Path(source)) as trace:
            vms = trace.about.get("vms", ())
        selection = run_trace.select(parse_range(stretch or ":"), els, vm, vms)
        form = form or "summary"
        _check_printed(form, file)
        if form in _WHOLE and (stretch is not None or els or vm is not None):
            raise UserError(
                f"--as {form} is of a whole trace",
                where=source,
                fix="leave FROM:TO, --el and --vm out, or choose --as text or exec",
            )
        _show(Path(source), None, selection, file, form)
        return 0
    if magic != container.MAGIC:
        _check_target(source, magic)
    form = form or "trace"
    _check_printed(form, file)
    if form == "trace" and file is None:
        raise UserError("a trace needs a file", fix="add -o FILE, or --as text")
    making = _of_recording if magic == container.MAGIC else _of_target
    if form == "trace" and file is not None:
        making(source, file, stretch, els, vm, binary)
        _show(file, None, Selection(), None, "summary")
        return 0
    with tempfile.TemporaryDirectory(prefix="aether-trace-") as folder:
        made = Path(folder, "trace")
        making(source, made, stretch, els, vm, binary)
        _show(made, source, Selection(), file, form)
    return 0


def _check_printed(form: str, file: Path | None) -> None:
    """UserError for a file that nothing would be written to."""
    if form == "summary" and file is not None:
        raise UserError("a summary is printed", where="-o", fix="leave it out, or choose --as text")


def _magic(source: str) -> bytes:
    path = Path(source)
    try:
        if not path.is_file():
            return b""
        with path.open("rb") as file:
            return file.read(len(MAGIC))
    except OSError as e:
        raise UserError(
            f"cannot be read ({e.strerror})", where=source, fix="name a file you may read"
        ) from None


def _check_kept(source: str, file: Path | None) -> None:
    """UserError where the output is the source, which is open while the output is written."""
    path = Path(source)
    if file is not None and file.exists() and path.exists() and file.samefile(path):
        raise UserError(
            "would overwrite what it is made from", where=str(file), fix="name another file"
        )


def _guests() -> tuple[str, ...]:
    return (*catalogue.stub_names(), *(guest.name for guest in catalogue.PACKAGED))


def _check_target(source: str, magic: bytes) -> None:
    """UserError for what can only be meant as a trace or a recording and is none."""
    path = Path(source)
    if path.suffix in _TARGETS or magic.startswith(bundle_format.MAGIC[: len(MAGIC)]):
        return
    if path.exists():
        is_file = path.is_file() or (path.is_dir() and source not in _guests())
    else:
        is_file = "/" in source or path.suffix != ""
    if not is_file:
        return
    if path.suffix == _RECORDING:
        from aether_edgecloud.emulator.recording.recording import Recording

        Recording.open(path).close()
    else:
        TraceFile(path).close()


def _of_target(
    source: str,
    made: Path,
    stretch: str | None,
    els: tuple[int, ...],
    vm: str | None,
    binary: Path | None,
) -> None:
    """The run has no console input."""
    chosen = parse_range(stretch or ":")
    request = build_request(source, el2_binary.load(binary))
    selection = run_trace.select(chosen, els, vm, request.vms)
    machine = build_machine(request)
    make(Stretch(machine, made, selection, run_trace.about(request)), machine, ())


def _of_recording(
    source: str,
    made: Path,
    stretch: str | None,
    els: tuple[int, ...],
    vm: str | None,
    binary: Path | None,
) -> None:
    from aether_edgecloud.emulator.recording.recording import Recording
    from aether_edgecloud.emulator.replay.replay import Replay

    if binary is not None:
        raise UserError("the recording has its binary", where="--binary", fix="leave it out")
    path = Path(source)
    replay = Replay.open(path)
    begin, end = parse_range(stretch or ":", lambda text: replay.moment(text).position)
    for note in replay.notes:
        click.echo(f"aether: {note}", err=True)
    if begin >= replay.end:
        raise UserError(
            f"position {begin:,} is past the end", where=source, fix=f"it ends at {replay.end:,}"
        )
    end = min(end, replay.end)
    replay.close()
    recording = Recording.open(path)
    identity = recording.identity
    selection = run_trace.select((begin, end), els, vm, identity.vms)
    about: dict[str, object] = {
        "target": identity.target,
        "vms": list(identity.vms),
        "binary_sha256": identity.binary_sha256,
        "bundle_sha256": identity.bundle_sha256,
    }
    machine = recording.machine()
    positions = recording.checkpoints.positions
    first = bisect.bisect_right(positions, max(begin - AHEAD, 0)) - 1
    places = [
        (positions[number], partial(recording.checkpoints.load, number))
        for number in range(first, len(positions))
        if positions[number] < end
    ]
    make(Stretch(machine, made, selection, about), machine, places)
    recording.close()


def make(
    stretch: Stretch,
    machine: Machine,
    checkpoints: Sequence[tuple[int, Callable[[], Snapshot]]],
) -> None:
    """Runs the machine, from the first of the checkpoints if there are any. At each of them it is
    put back to what was recorded: a recorded machine may have been changed from outside there."""
    errors = Console(stderr=True)
    places = list(checkpoints)
    try:
        if places:
            machine.restore(places.pop(0)[1]())
        with errors.status("tracing") as status:
            stop = StopKind.LIMIT
            while not stretch.is_over and stop is StopKind.LIMIT:
                if places and machine.instructions >= places[0][0]:
                    machine.restore(places.pop(0)[1]())
                here = machine.instructions
                bound = here + _SLICE if not places else min(here + _SLICE, places[0][0])
                stop = stretch.run(bound).kind
                status.update(f"{machine.instructions:,} instructions, {stretch.size:,} bytes")
    finally:
        stretch.finish()
    if stretch.instructions == 0:
        raise run_trace.nothing_traced(machine)


def _show(path: Path, source: str | None, wanted: Selection, file: Path | None, form: str) -> None:
    with Trace.open(path) as trace:
        if trace.lost is not None and trace.chunk_count == 0:
            raise UserError(
                f"{trace.lost}; nothing of it can be read", where=str(path), fix="make it again"
            )
        if trace.lost is not None:
            click.echo(f"aether: {path}: {trace.lost}", err=True)
        match form:
            case "text":
                lines = (line for c in _chunks(trace, wanted) for line in text.lines(c, wanted))
                _write(file, _some(lines, trace, path))
            case "exec":
                lines = (line for c in _chunks(trace, wanted) for line in text.exec_cpu(c, wanted))
                _write(file, _some(lines, trace, path))
            case "perfetto":
                _write(file, perfetto.lines(trace))
            case "summary":
                _summary(trace, source or str(path), path.stat().st_size)
            case _:
                raise UserError(
                    "it is a trace already",
                    where=str(path),
                    fix="choose --as summary, text, exec or perfetto",
                )


def _chunks(trace: Trace, wanted: Selection) -> Iterable[Chunk]:
    return trace.chunks_in(wanted.begin, wanted.end)


def _some(lines: Iterator[str], trace: Trace, path: Path) -> Iterator[str]:
    """The lines. UserError, before anything is written, if there are none."""
    first = next(lines, None)
    if first is not None:
        return itertools.chain((first,), lines)
    found = [chunk.position for chunk in trace if chunk.count]
    fix = "it is empty"
    if found:
        fix = f"it has positions {int(found[0][0]):,} to {int(found[-1][-1]):,}"
    raise UserError("no instruction of the trace is in the selection", where=str(path), fix=fix)


def _write(file: Path | None, lines: Iterable[str]) -> None:
    if file is None:
        for line in lines:
            click.echo(line)
        return
    with atomic_file.replacing(file) as stream:
        stream.writelines(f"{line}\n".encode("ascii") for line in lines)


def _summary(trace: Trace, name: str, size: int) -> None:
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False, pad_edge=False)
    count = len(trace)
    by_el, by_vm, exceptions = Counter[int](), Counter[int](), Counter[str]()
    first = last = None
    for chunk in trace:
        by_el.update(dict(enumerate(np.bincount(chunk.el).tolist())))
        by_vm.update(dict(enumerate(np.bincount(chunk.vm).tolist())))
        if chunk.count:
            first = int(chunk.position[0]) if first is None else first
            last = int(chunk.position[-1])
        for event in chunk.events[chunk.events["kind"] == EXCEPTION]:
            exceptions[kind_name(int(event["a"]) & 0xFF)] += 1
    table.add_row("trace", escape(f"{name} of {trace.about.get('target', '?')}"))
    if first is not None:
        table.add_row("positions", f"{first:,} to {last:,}")
    table.add_row("instructions", f"{count:,}")
    table.add_row("size", f"{size:,} bytes, {size / max(count, 1):.2f} an instruction")
    table.add_row("by EL", ", ".join(f"EL{n} {k:,}" for n, k in sorted(by_el.items()) if k))
    table.add_row("by VM loaded", ", ".join(f"{n}: {k:,}" for n, k in sorted(by_vm.items()) if k))
    found = ", ".join(f"{kind} {n:,}" for kind, n in sorted(exceptions.items()))
    table.add_row("exceptions", escape(found) or "none")
    output.wide().print(table)
