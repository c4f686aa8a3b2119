# SPDX-License-Identifier: Apache-2.0
"""Telemetry pages: laid out as the hypervisor's header says, published, and watched."""

import dataclasses
import json
import os
import re
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aether_edgecloud.emulator.cli import main
from aether_edgecloud.emulator.telemetry import layout, pages, published
from aether_edgecloud.emulator.telemetry.pages import RawPages
from aether_edgecloud.properties.docs.documents import ROOT

U64 = st.integers(0, 2**64 - 1)
HEADER = ROOT / "el2/include/el2/telemetry.h"


def header(kind: int, count: int, name: bytes, numbers: tuple[int, int, int]) -> bytes:
    return struct.pack("<8sIIII16sQQQ", b"AETHERT1", 1, kind, 4096, count, name, *numbers)


def vm_page(name: str, vcpus: list[list[int]], state: int = 1, crashes: int = 0) -> bytes:
    """24 words a vCPU: the exits, then EL2 ticks, slots, late, injected, kicks, 5 reserved."""
    body = b"".join(struct.pack("<24Q", *words) for words in vcpus)
    return (header(1, len(vcpus), name.encode(), (state, crashes, 2)) + body).ljust(4096, b"\0")


def hypervisor_page(cpus: list[list[int]], addresses: list[int]) -> bytes:
    body = b"".join(struct.pack("<8Q", *words) for words in cpus).ljust(8 * 64, b"\0")
    body += struct.pack(f"<{len(addresses)}Q", *addresses)
    return (header(2, len(cpus), b"aether", (625_000, 4000, 62_500_000)) + body).ljust(4096, b"\0")


@given(st.lists(st.lists(U64, min_size=24, max_size=24), min_size=1, max_size=8))
def test_a_page_of_a_vm(vcpus: list[list[int]]) -> None:
    found = layout.parse_vm(vm_page("linux", vcpus, crashes=7))
    assert found is not None
    assert (found.name, found.crashes, found.restarts) == ("linux", 7, 2)
    assert found.state is layout.VmState.RUNNING
    for words, vcpu in zip(vcpus, found.vcpus, strict=True):
        seen = (*vcpu.exits, vcpu.el2_ticks, vcpu.slots, vcpu.late, vcpu.injected, vcpu.kicks)
        assert list(seen) == words[:19]


@given(
    st.lists(st.lists(U64, min_size=8, max_size=8), min_size=1, max_size=8),
    st.lists(st.integers(1, 2**64 - 1), max_size=8),
)
def test_the_page_of_the_hypervisor(cpus: list[list[int]], addresses: list[int]) -> None:
    found = layout.parse_hypervisor(hypervisor_page(cpus, addresses))
    assert found is not None
    assert (found.frame, found.window, found.frequency) == (625_000, 4000, 62_500_000)
    assert found.vm_pages == tuple(addresses)
    for words, cpu in zip(cpus, found.cpus, strict=True):
        seen = [cpu.slots, cpu.late, cpu.idle_slots, cpu.switches, cpu.most_ticks]
        assert seen == words[:5]


@given(st.binary(max_size=5000))
def test_any_bytes_as_a_page(data: bytes) -> None:
    assert layout.parse_vm(data) is None
    assert layout.parse_hypervisor(data) is None


def test_pages_are_found_by_address() -> None:
    memory = {0x5000: vm_page("a", [[0] * 24]), 0x7000: vm_page("b", [[1] * 24])}
    memory[0x2000] = hypervisor_page([[3] * 8], [0x5000, 0x7000])
    raw = pages.read_pages(lambda pa, size: memory.get(pa, b"")[:size], 0x2000)
    assert raw is not None
    found = pages.parse(raw)
    assert found is not None
    assert [vm.name for vm in found.vms] == ["a", "b"]
    assert pages.read_pages(lambda pa, size: memory[0x5000], 0) is None, "of a VM"


def test_the_causes_and_states_are_those_of_the_header() -> None:
    text = HEADER.read_text()
    causes = re.findall(r"^    TELEMETRY_EXIT_(\w+),", text, re.MULTILINE)
    kinds = [kind.replace("-mmio-", "-").replace("-", "_").upper() for kind in layout.EXITS]
    assert kinds == causes
    vm_header = (ROOT / "el2/include/el2/vm.h").read_text()
    states = re.findall(r"^    VM_(\w+)", vm_header[vm_header.index("enum vm_state") :], re.M)
    assert [state.name for state in layout.VmState] == states[: len(layout.VmState)]


def test_the_fields_are_those_of_the_header() -> None:
    text = HEADER.read_text()

    def fields(struct_name: str) -> list[str]:
        body = re.search(rf"^struct {struct_name} {{\n(.*?)^}};", text, re.MULTILINE | re.DOTALL)
        assert body is not None
        return re.findall(r"^    (?:struct )?\w+ (\w+(?:\[\w+\])?);", body[1], re.MULTILINE)

    assert fields("telemetry_header") == [
        "magic[8]", "version", "kind", "size", "count", "name[VM_NAME_SIZE]",
    ]  # fmt: skip
    vcpu = ["el2_ticks", "slots", "late", "injected", "kicks", "reserved[5]"]
    assert fields("vcpu_telemetry") == ["exits[TELEMETRY_EXITS]", *vcpu]
    assert [f.name for f in dataclasses.fields(layout.VcpuCounters)] == ["exits", *vcpu[:-1]]
    cpu = ["slots", "late", "idle_slots", "switches", "most_ticks"]
    assert fields("cpu_telemetry") == [*cpu, "reserved[3]"]
    assert [f.name for f in dataclasses.fields(layout.CpuCounters)] == cpu
    own = ["state", "crashes", "restarts"]
    assert fields("vm_telemetry") == ["header", *own, "vcpus[VM_MAX_VCPUS]"]
    whole = ["frame", "window", "frequency", "cpus[CPU_MAX]", "vm_pages[VM_MAX]"]
    assert fields("hypervisor_telemetry") == ["header", *whole]


# Published.

PAGES = RawPages(hypervisor_page([[9] * 8], [0x5000]), (vm_page("linux", [[5] * 24]),))
RUN = """
import sys
from aether_edgecloud.emulator.telemetry.pages import RawPages
from aether_edgecloud.emulator.telemetry.published import Publisher
sizes = [int(word) for word in sys.argv[1:]]
data = sys.stdin.buffer.read(sum(sizes))
with Publisher() as publisher:
    pages = [data[4096 * i : 4096 * (i + 1)] for i in range(len(data) // 4096)]
    raw = RawPages(pages[0], tuple(pages[1:])) if pages else None
    publisher.publish({"target": "linux", "mmu": "model", "instructions": 5, "wall_s": 2.0}, raw)
    print("published", flush=True)
    sys.stdin.buffer.read()
"""


@pytest.fixture(autouse=True)
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    return tmp_path / "aether-edgecloud"


class Run:
    """A process that publishes, until `end`."""

    def __init__(self, raw: RawPages | None = PAGES) -> None:
        data = b"" if raw is None else b"".join((raw.hypervisor, *raw.vms))
        command = [sys.executable, "-c", RUN, str(len(data))]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(data)
        self.process.stdin.flush()
        assert self.process.stdout.readline() == b"published\n"

    @property
    def pid(self) -> int:
        return self.process.pid

    def end(self, *, kill: bool = False) -> None:
        if kill:
            self.process.kill()
        self.process.communicate()


@pytest.fixture
def run() -> Iterator[Run]:
    found = Run()
    yield found
    found.end()


def test_what_is_published_is_read(run: Run) -> None:
    assert published.running() == (run.pid,)
    snapshot = published.read(run.pid)
    assert snapshot is not None
    assert snapshot.pages == PAGES
    assert snapshot.facts["target"] == "linux"


def test_nothing_stays_behind(runtime: Path) -> None:
    gone, killed = Run(), Run()
    gone.end()
    assert published.read(gone.pid) is None
    killed.end(kill=True)
    assert [path.stem for path in runtime.iterdir()] == [str(killed.pid)]
    assert published.read(killed.pid) is None
    assert published.running() == ()
    assert list(runtime.iterdir()) == []


def test_a_folder_that_is_not_ours_alone_is_not_used(runtime: Path) -> None:
    runtime.mkdir()
    runtime.chmod(0o777)
    with published.Publisher() as publisher:
        publisher.publish({"target": "x"}, PAGES)
        assert list(runtime.iterdir()) == []
    assert published.running() == ()


def test_without_a_place_a_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "file"))
    with published.Publisher() as publisher:
        publisher.publish({"target": "x"}, PAGES)
    assert published.running() == ()
    assert published.read(os.getpid()) is None


def test_while_it_is_written_nobody_reads(run: Run, runtime: Path) -> None:
    file = runtime / f"{run.pid}.telemetry"
    with file.open("r+b") as opened:
        opened.write(struct.pack("<Q", 3))
    assert published.read(run.pid) is None


# Watched.


def told(capsys: pytest.CaptureFixture[str], *arguments: str, status: int = 0) -> str:
    assert main(["top", *arguments]) == status
    out, err = capsys.readouterr()
    return out if status == 0 else err


def test_top(capsys: pytest.CaptureFixture[str], run: Run) -> None:
    text = told(capsys, "--once")
    for words in ("linux", f"process {run.pid}", "running", "irq-timer", "instructions"):
        assert words in text, words
    assert told(capsys, str(run.pid)) == text, "no terminal: once"


def test_top_as_json(capsys: pytest.CaptureFixture[str], run: Run) -> None:
    found = json.loads(told(capsys, "--json"))
    assert found["pid"] == run.pid
    assert found["vms"][0]["telemetry"]["exits"]["hvc"] == 5
    assert found["schedule"]["cpus"][0]["slots"] == 9


def test_top_before_the_hypervisor_counts(capsys: pytest.CaptureFixture[str]) -> None:
    early = Run(None)
    try:
        assert "not laid out its counters yet" in told(capsys, "--once")
        assert json.loads(told(capsys, "--json"))["schedule"] is None
    finally:
        early.end()


def test_top_of_nothing_and_of_several(capsys: pytest.CaptureFixture[str], run: Run) -> None:
    second = Run()
    try:
        line = told(capsys, status=2)
        assert "top: 2 runs; name one: " in line
        assert f"{run.pid} (linux)" in line
        assert "no run of yours has process ID 1; running: " in told(capsys, "1", status=2)
    finally:
        second.end()
    run.end()
    assert "top: nothing of yours runs; start one" in told(capsys, status=2)
