# SPDX-License-Identifier: Apache-2.0
"""The run report as JSON and as a table."""

import io
import json
import statistics

from hypothesis import given
from hypothesis import strategies as st

from aether_edgecloud.emulator.report import json_report, table
from aether_edgecloud.emulator.report.run_report import (
    End,
    ExitCount,
    Instructions,
    RunReport,
    Spread,
    VmReport,
)
from aether_edgecloud.emulator.telemetry import layout

COUNTS = st.integers(0, 10**15)
HASHES = st.binary(min_size=32, max_size=32).map(bytes.hex)
SERIES = st.lists(COUNTS, max_size=9)
EXITS = st.dictionaries(st.text(min_size=1, max_size=12), SERIES, max_size=4).map(
    lambda d: tuple(ExitCount.of(kind, len(series), series) for kind, series in d.items())
)
WORDS = st.sampled_from(["hello", "linux", "a-b"])
VCPUS = st.builds(
    layout.VcpuCounters,
    st.tuples(*[st.integers(0, 3)] * len(layout.EXITS)),
    COUNTS, COUNTS, COUNTS, COUNTS, COUNTS,
)  # fmt: skip
PAGES = st.builds(
    layout.VmPage,
    WORDS,
    st.none() | st.sampled_from(layout.VmState),
    COUNTS,
    COUNTS,
    st.lists(VCPUS, max_size=3).map(tuple),
)
VMS = st.lists(
    st.builds(
        VmReport,
        WORDS,
        st.none() | st.sampled_from(["running", "down"]),
        COUNTS,
        COUNTS,
        st.none() | st.text(max_size=9),
        st.none() | PAGES,
    ),
    max_size=3,
).map(tuple)
CPUS = st.lists(st.builds(layout.CpuCounters, *[COUNTS] * 5), max_size=3).map(tuple)
REPORTS = st.builds(
    RunReport,
    target=st.text(max_size=30),
    on=st.sampled_from(["emulator", "qemu"]),
    board=st.just("virt"),
    ram_size=st.integers(1, 1 << 38),
    binary_sha256=HASHES,
    bundle_sha256=HASHES,
    end=st.sampled_from(End),
    console_bytes=COUNTS,
    console_sha256=HASHES,
    wall_s=st.floats(0, 1e6),
    mmu=st.sampled_from([None, "model", "native"]),
    detail=st.none() | st.text(max_size=30),
    instructions=st.none()
    | st.lists(st.builds(Instructions, COUNTS, COUNTS, COUNTS), min_size=1, max_size=4).map(tuple),
    cpus=st.integers(1, 8),
    quantum=st.none() | COUNTS,
    seed=st.none() | COUNTS,
    vms=VMS,
    hypervisor=st.none()
    | st.builds(layout.HypervisorPage, COUNTS, COUNTS, COUNTS, CPUS, st.just(())),
    first_entry=st.none() | COUNTS,
    exits=st.none() | EXITS,
    walks=st.none() | COUNTS,
    state_sha256=st.none() | HASHES,
)
KEYS = {
    "format", "version", "target", "on", "board", "ram_bytes", "mmu", "binary_sha256",
    "bundle_sha256", "end", "detail", "exit_status", "instructions", "first_entry", "exits",
    "cpus", "quantum", "seed", "vms", "schedule", "walks", "console_bytes", "console_sha256",
    "state_sha256", "wall_s", "stopped_at", "el2_faults",
}  # fmt: skip


@given(REPORTS)
def test_json_holds_every_key_and_value(report: RunReport) -> None:
    found = json.loads(json_report.render(report))
    assert set(found) == KEYS
    assert found["binary_sha256"] == report.binary_sha256
    assert found["end"] == report.end.value
    assert found["exit_status"] == report.end.exit_status
    if report.instructions is None:
        assert found["instructions"] is None
    else:
        by_level = found["instructions"]
        assert by_level["total"] == by_level["el0"] + by_level["el1"] + by_level["el2"]
        for level in ("el0", "el1", "el2", "total"):
            assert by_level[level] == sum(cpu[level] for cpu in by_level["by_cpu"])
        assert len(by_level["by_cpu"]) == len(report.instructions)
    for vm, entry in zip(report.vms, found["vms"], strict=True):
        assert (entry["name"], entry["crashes"]) == (vm.name, vm.crashes)
        if vm.counters is None:
            assert entry["telemetry"] is None
            continue
        telemetry = entry["telemetry"]
        for number, kind in enumerate(layout.EXITS):
            whole = sum(vcpu.exits[number] for vcpu in vm.counters.vcpus)
            assert telemetry["exits"].get(kind, 0) == whole
        assert telemetry["slots"] == sum(vcpu.slots for vcpu in vm.counters.vcpus)
    for item in report.exits or ():
        entry = found["exits"][item.kind]
        assert entry["count"] == item.count
        assert (entry["el2_instructions"] is None) == (item.spread is None)


def test_every_key_is_documented() -> None:
    words = (json_report.__doc__ or "").split()
    assert set(words) >= KEYS


@given(st.lists(COUNTS, min_size=1, max_size=20))
def test_the_spread_of_a_series(series: list[int]) -> None:
    found = ExitCount.of("hvc", len(series) + 1, series)
    expected = Spread(min(series), statistics.median_low(series), max(series))
    assert found == ExitCount("hvc", len(series) + 1, sum(series), expected)


def test_exits_that_never_returned() -> None:
    assert ExitCount.of("hvc", 1, []) == ExitCount("hvc", 1, 0, None)


@given(REPORTS, st.integers(20, 120))
def test_a_table_of_any_report(report: RunReport, width: int) -> None:
    out = io.StringIO()
    table.print_report(report, out, width)
    lines = out.getvalue().splitlines()
    assert f"binary sha256  {report.binary_sha256}" in [line.rstrip() for line in lines]
    assert f"console sha256 {report.console_sha256}" in [line.rstrip() for line in lines]
    assert any(report.end.value in line for line in lines)
    for vm in report.vms:
        if vm.counters is not None:
            late = f"{layout.total(vm.counters.vcpus).late:,}"
            assert any(vm.name in line and late in line for line in lines)


def test_markup_in_names_is_only_text() -> None:
    out = io.StringIO()
    exits = (ExitCount.of("[red]hvc[/]", 1, [5]),)
    report = RunReport(
        "[bold]x[/]", "qemu", "virt", 1 << 20, "a" * 64, "b" * 64, End.PANIC, 0, "c" * 64, 1.0,
        detail="[/]", exits=exits,
    )  # fmt: skip
    table.print_report(report, out, 100)
    for text in ("[bold]x[/]", "[/]", "[red]hvc[/]"):
        assert text in out.getvalue()
