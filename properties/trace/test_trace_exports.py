# SPDX-License-Identifier: Apache-2.0
"""Traces as text and for Perfetto."""

import itertools
import json
import re
from collections import defaultdict
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from aether_edgecloud.emulator.cli.app import main
from aether_edgecloud.emulator.cli.trace import make
from aether_edgecloud.emulator.launch import binary
from aether_edgecloud.emulator.launch.machine import build_machine
from aether_edgecloud.emulator.launch.request import build_request
from aether_edgecloud.emulator.trace import Selection, Trace, perfetto
from aether_edgecloud.emulator.trace.columns import Columns
from aether_edgecloud.emulator.trace.file import TraceFile
from aether_edgecloud.emulator.trace.stretch import Stretch

BEGIN, END = 940_000, 989_000


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Hello's guest, by `aether trace`."""
    path = tmp_path_factory.mktemp("trace") / "hello.trace"
    assert main(["trace", "hello", f"{BEGIN}:{END}", "-o", str(path)]) == 0
    return path


def show(file: Path, *arguments: str) -> str:
    """What `aether trace` writes."""
    out = file.with_suffix(".out")
    assert main(["trace", str(file), *arguments, "-o", str(out)]) == 0
    return out.read_text()


def test_a_run_writes_the_same_trace(file: Path, tmp_path: Path) -> None:
    path = tmp_path / "run.trace"
    words = ["run", "hello", "--trace", f"{BEGIN}:{END}", "-o", str(path)]
    assert main(words) == 0
    assert path.read_bytes() == file.read_bytes()


def test_a_recording_gives_the_same_trace(file: Path, tmp_path: Path) -> None:
    recording, path = tmp_path / "hello.aet", tmp_path / "recorded.trace"
    assert main(["run", "hello", "--record", str(recording)]) == 0
    assert main(["trace", str(recording), f"{BEGIN}:{END}", "-o", str(path)]) == 0
    same(path, file)
    before = recording.read_bytes()
    assert main(["trace", str(recording), f"{BEGIN}:{END}", "-o", str(recording)]) == 2
    assert recording.read_bytes() == before
    assert main(["trace", str(recording), "99%:end", "-o", str(path)]) == 0
    with Trace.open(path) as trace:
        assert 9_000 < len(trace) < 10_000


def test_it_can_begin_at_a_checkpoint(file: Path, tmp_path: Path) -> None:
    """And goes on through the later ones."""
    request = build_request("hello", binary.load(None))
    machine = build_machine(request)
    places = []
    for position in (700_000, 800_000, 960_000):
        machine.run(position)
        places.append((machine.instructions, partial(lambda found: found, machine.snapshot())))
    machine.close()
    path, other = tmp_path / "later.trace", build_machine(request)
    stretch = Stretch(other, path, Selection(begin=BEGIN, end=END), {})
    make(stretch, other, places)
    same(path, file)
    other.close()


def same(one: Path, other: Path) -> None:
    """The same instructions."""
    with Trace.open(one) as a, Trace.open(other) as b:
        assert len(a) == len(b)
        for mine, its in zip(a, b, strict=True):
            assert mine.position.tolist() == its.position.tolist()
            assert mine.pc.tolist() == its.pc.tolist()
            assert mine.writes.value.tolist() == its.writes.value.tolist()
            assert mine.accesses.pa.tolist() == its.accesses.pa.tolist()


def test_text_tells_each_instruction(file: Path) -> None:
    text = show(file, "950_000:951_000", "--as", "text").splitlines()
    told = [line for line in text if " -- " not in line]
    assert len(told) == 1000
    assert told[0].split()[:4] == ["950,000", "cpu0", *told[0].split()[2:4]]
    whole = show(file, "--as", "text")
    assert re.search(r"-- hvc from EL1 to EL2  esr=0x5a00", whole)
    assert re.search(r"-- eret from EL2 to EL1", whole)
    assert re.search(r"EL1 vm1 \w{16} hvc #0\n", whole)
    assert re.search(r"str w\d+, \[x\d+\S*\] +\[0x\w+ pa 0x\w+\]<-0x\w+:4", whole)


def test_text_can_be_of_one_level_and_vm(file: Path) -> None:
    chosen = ("975_000:980_000", "--as", "text", "--el", "1", "--vm", "hello")
    lines = show(file, *chosen).splitlines()
    told = [line for line in lines if " -- " not in line]
    assert told and all(" EL1 vm1 " in line for line in told)


BLOCK = re.compile(
    r"Trace (\d+): 0x0 \[0{16}/([0-9a-f]{16})/00000000/00000000\] \n"
    r" PC=([0-9a-f]{16}) X00=([0-9a-f]{16}) X01=([0-9a-f]{16})\n"
    r"((?:X\d\d=[0-9a-f]{16} X\d\d=[0-9a-f]{16} X\d\d=[0-9a-f]{16}\n){9})"
    r"X29=([0-9a-f]{16}) X30=([0-9a-f]{16})  SP=([0-9a-f]{16})\n"
    r"PSTATE=([0-9a-f]{8}) [N-][Z-][C-][V-] EL[012][ht]\n"
)


def test_exec_is_what_qemu_prints(file: Path) -> None:
    """Its layout, and the registers before each instruction."""
    text = show(file, "985_000:986_000", "--as", "exec")
    found = list(BLOCK.finditer(text))
    assert len(found) == 1000
    assert sum(len(match[0]) for match in found) == len(text)
    with Trace.open(file) as trace:
        for number in range(0, 1000, 61):
            match, registers = found[number], trace.registers(985_000 + number)
            assert int(match[2], 16) == int(match[3], 16) == registers["pc"]
            values = [match[4], match[5], *re.findall(r"=(\w+)", match[6]), match[7], match[8]]
            assert [int(value, 16) for value in values] == [registers[f"x{n}"] for n in range(31)]
            assert int(match[9], 16) == registers["sp"]
            assert int(match[10], 16) == registers["pstate"]


def test_perfetto_is_the_trace_event_format(file: Path) -> None:
    """Complete and metadata events with what the format's description asks of each, on tracks with
    names; spans of a track follow one another."""
    document: dict[str, Any] = json.loads(show(file, "--as", "perfetto"))
    assert document["displayTimeUnit"] in ("ms", "ns")
    names: dict[tuple[int, int], str] = {}
    groups: dict[int, str] = {}
    spans: dict[tuple[int, int], list[tuple[float, float, str]]] = defaultdict(list)
    for event in document["traceEvents"]:
        assert isinstance(event["pid"], int) and isinstance(event["tid"], int)
        if event["ph"] == "M":
            if event["name"] == "process_name":
                groups[event["pid"]] = event["args"]["name"]
            elif event["name"] == "thread_name":
                names[event["pid"], event["tid"]] = event["args"]["name"]
            else:
                assert isinstance(event["args"]["sort_index"], int)
            continue
        assert event["ph"] == "X"
        assert event["ts"] >= 0 and event["dur"] > 0
        track = event["pid"], event["tid"]
        spans[track].append((event["ts"], event["dur"], event["name"]))
    assert set(groups.values()) == {"CPUs", "VMs", "slots", "exits to EL2"}
    assert set(spans) == set(names)
    for track, found in spans.items():
        assert track[0] in groups
        for (start, length, _), (after, _, _) in itertools.pairwise(found):
            assert start + length <= after + 1e-6
    by_group = {groups[pid]: found for (pid, _), found in spans.items()}
    total = sum(length for _, length, _ in by_group["CPUs"])
    assert round(total * 1000) == END - BEGIN
    kinds = {name for _, _, name in by_group["exits to EL2"]}
    assert {"hvc", "data-abort"} <= kinds
    assert {name for _, _, name in by_group["slots"]} == {"hello"}


def test_perfetto_is_written_as_it_is_made(file: Path) -> None:
    """Not put together in memory first: a trace has any number of instructions."""
    read = []

    class Watched(Trace):
        def columns(self, number: int) -> Columns:
            read.append(number)
            return super().columns(number)

    with Watched(TraceFile(file)) as trace:
        lines = perfetto.lines(trace)
        next(lines)
        assert not read
        assert all(len(line) < 1_000 for line in lines)
        assert read


def test_the_summary_counts(file: Path, capfd: pytest.CaptureFixture[str]) -> None:
    capfd.readouterr()
    assert main(["trace", str(file)]) == 0
    text = capfd.readouterr().out
    assert f"{BEGIN:,} to {END - 1:,}" in text
    assert f"{END - BEGIN:,}" in text
    assert "data-abort 8" in text or "data-abort 9" in text
