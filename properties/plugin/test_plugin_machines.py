# SPDX-License-Identifier: Apache-2.0
"""The fixtures and options, from the side of a project that uses them."""

import subprocess
import sys
from pathlib import Path

import pytest

SHOWN = """
def test_shown(aether_machine):
    c = aether_machine.choice
    print("chosen:", c.el2.name.rpartition("/")[2], len(c.initrd), c.board.name,
          c.board.ram_size >> 20, c.board.cpus, c.mmu.name, c.quantum, c.seed, c.until, c.monitor,
          c.events.name)
"""
USUAL = "small.elf 0 virt 256 1 MODEL 1000 0 0 True NOTHING"

# Each choice by its name, what it makes of the usual machine.
CHOICES = {
    "ram": ("384MiB", "small.elf 0 virt 384 1 MODEL 1000 0 0 True NOTHING"),
    "cpus": ("2", "small.elf 0 virt 256 2 MODEL 1000 0 0 True NOTHING"),
    "board": ("virt-spin-table", "small.elf 0 virt-spin-table 256 1 MODEL 1000 0 0 True NOTHING"),
    "mmu": ("native", "small.elf 0 virt 256 1 NATIVE 1000 0 0 False NOTHING"),
    "quantum": ("100", "small.elf 0 virt 256 1 MODEL 100 0 0 True NOTHING"),
    "seed": ("7", "small.elf 0 virt 256 1 MODEL 1000 7 0 True NOTHING"),
    "until": ("guest", "small.elf 0 virt 256 1 MODEL 1000 0 guest True NOTHING"),
    "events": ("on", "small.elf 0 virt 256 1 MODEL 1000 0 0 True EVENTS"),
    "monitor": ("off", "small.elf 0 virt 256 1 MODEL 1000 0 0 False NOTHING"),
}


def chosen(result: pytest.RunResult) -> list[str]:
    """What the machines of a run were, in order."""
    return [
        line.partition("chosen: ")[2] for line in result.outlines if line.count("chosen: ") == 1
    ]


def test_every_choice_by_option_ini_and_marker(project: pytest.Pytester) -> None:
    """One run each, with all of them, and a marker that goes before."""
    marked = "".join(
        f"@pytest.mark.aether({name}={value!r})\n"
        + SHOWN.strip().replace("test_shown", f"test_{name}")
        + "\n"
        for name, (value, _) in CHOICES.items()
    )
    project.makepyfile(test_marked="import pytest\n" + marked)
    by_marker = project.runpytest_subprocess("-q", "-s", "--aether-el2=small.elf")
    assert chosen(by_marker) == [expected for _, expected in CHOICES.values()]

    project.makepyfile(test_shown=SHOWN)
    together = {name: value for name, (value, _) in CHOICES.items()}
    expected = "small.elf 0 virt-spin-table 384 2 NATIVE 100 7 guest False EVENTS"
    options = [f"--aether-{name}={value}" for name, value in together.items()]
    by_option = project.runpytest_subprocess(
        "-q", "-s", "test_shown.py", "--aether-el2=small.elf", *options
    )
    assert chosen(by_option) == [expected]

    lines = "".join(f"aether_{name} = {value}\n" for name, value in together.items())
    project.makeini(f"[pytest]\naether_el2 = small.elf\n{lines}")
    # The command line goes before the file.
    by_ini = project.runpytest_subprocess("-q", "-s", "test_shown.py", "--aether-seed=8")
    assert chosen(by_ini) == [expected.replace(" 7 ", " 8 ")]


@pytest.mark.nightly
def test_paths_are_from_the_place_that_names_them(
    project: pytest.Pytester, small_el2: Path
) -> None:
    """An option's from where pytest is called, the ini file's from where that is."""
    inner = project.mkdir("inner")
    project.makeini("[pytest]\naether_el2 = small.elf\n")
    (inner / "test_shown.py").write_text(SHOWN, encoding="utf-8")
    (inner / "other.elf").write_bytes(small_el2.read_bytes())
    project.chdir()
    command = [sys.executable, "-m", "pytest", "-q", "-s", "-p", "no:cacheprovider"]
    shown = []
    for options in ([], ["--aether-el2=other.elf"]):
        done = subprocess.run(
            [*command, *options], cwd=inner, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        shown.append(done.stdout.partition("chosen: ")[2].split()[0])
    assert shown == ["small.elf", "other.elf"]


WORKS = """
import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from aether_edgecloud.emulator.errors import UserError
from aether_edgecloud.emulator.monitor import casemate
from aether_edgecloud.properties.plugin import boot

def call(booted, x0):
    booted.cpu.write_x({0: x0})
    return booted.run(60)

@pytest.fixture(params=["guest", "reset", 5])
def point(request):
    return request.param

def test_it_boots_up_to_a_point(aether_boot, point):
    booted = aether_boot(until=point)
    at = booted.machine.instructions
    if point == "guest":
        assert booted.cpu.current_el == 1
        assert booted.cpu.pc == booted.image.start + 0x1000
    else:
        assert booted.cpu.current_el == 2
        assert at == 0 if point == "reset" else at >= 5

def test_each_call_gives_it_as_its_boot_left_it(aether_boot):
    booted = aether_boot(until="guest")
    secret = booted.address_of("secret")
    before = booted.machine.instructions, booted.cpu.pc, booted.cpu.registers()
    call(booted, 1)
    booted.machine.write_pa(secret, bytes(8))
    again = aether_boot(until="guest")
    assert again is booted
    assert (again.machine.instructions, again.cpu.pc, again.cpu.registers()) == before
    assert again.read64(secret) == 0x5EC2E7
    assert again.stop is None

def test_several_at_a_time(aether_boot):
    one, two = aether_boot(until="guest"), aether_boot(until="guest", copy=1)
    assert one is not two
    call(one, 1)
    assert two.cpu.registers()[0] != 42
    assert one.cpu.registers()[0] == 42

@pytest.mark.aether(until="guest")
class TestMarked:
    def test_one(self, aether_machine):
        call(aether_machine, 1)
        assert aether_machine.cpu.registers()[0] == 42

    def test_two(self, aether_machine):
        assert aether_machine.cpu.registers()[0] != 42

@pytest.mark.aether(until="guest")
def test_the_monitor_watches(aether_machine, aether_monitor):
    assert aether_monitor is aether_machine.monitor
    call(aether_machine, 1)

@settings(deadline=None)
@given(x0=st.sampled_from([1, 2, 3]))
def test_with_hypothesis(aether_boot, x0):
    booted = aether_boot(until="guest")
    call(booted, x0)
    assert booted.cpu.registers()[0] == (42 if x0 == 1 else x0)

class Calls(RuleBasedStateMachine):
    @initialize()
    def boots(self):
        self.booted = boot(until="guest")

    @rule()
    def runs(self):
        self.booted.run(10)
        assert self.booted.machine.instructions < 20_000

Calls.TestCase.settings = settings(max_examples=5, deadline=None)
TestCalls = Calls.TestCase

def test_it_goes_forwards_only(aether_boot):
    booted = aether_boot(until="guest")
    at = booted.machine.instructions
    with pytest.raises(ValueError, match="-5 instructions"):
        booted.run(-5)
    assert booted.machine.instructions == at

@pytest.mark.parametrize("events", ["on", "caches", True])
def test_a_trace_of_what_the_monitor_saw(aether_boot, events):
    booted = aether_boot(until="guest", events=events)
    lines = list(casemate.export(booted.monitor.events))
    assert any("vttbr_el2" in line for line in lines)
    booted.run(60)
    more = list(casemate.export(booted.monitor.events))
    assert more[:len(lines)] == lines
    again = aether_boot(until="guest", events=events)
    assert list(casemate.export(again.monitor.events)) == lines

def test_a_monitor_that_keeps_nothing_says_so(aether_boot):
    with pytest.raises(UserError, match="kept no events; say .* --aether-events=on"):
        casemate.export(aether_boot(until="guest").monitor.events)

def test_symbols_and_console(aether_boot):
    booted = aether_boot()
    with pytest.raises(KeyError, match="no symbol 'nobody'"):
        booted.address_of("nobody")
    with pytest.raises(ValueError):
        booted.read64(0)
    assert booted.console == ""

def test_another_file_of_the_same_name_is_another_binary(aether_boot, tmp_path):
    file = tmp_path / "some.bin"
    image = aether_boot().el2.image.data
    file.write_bytes(image)
    assert aether_boot(el2=file).el2.image.data == image
    file.write_bytes(image + bytes(8))
    assert aether_boot(el2=file).el2.image.data == image + bytes(8)
"""


def test_fixtures_give_a_machine_in_its_booted_state(project: pytest.Pytester) -> None:
    project.makepyfile(test_works=WORKS)
    result = project.runpytest_subprocess("-q", "--aether-el2=small.elf", "--strict-markers")
    result.assert_outcomes(passed=17)


DEADLINES = """
from datetime import timedelta
from hypothesis import given, settings, strategies as st

@given(st.integers())
def test_none_is_chosen(aether_boot, n):
    assert settings().deadline is None

@settings(max_examples=5)
@given(st.integers())
def test_something_else_is(aether_boot, n):
    assert settings().deadline is None and settings().max_examples == 5

class TestMethods:
    @given(st.integers())
    def test_method(self, aether_boot, n):
        assert settings().deadline is None

@settings(deadline=5_000)
@given(st.integers())
def test_one_is_chosen(aether_boot, n):
    assert settings().deadline == timedelta(seconds=5)

@given(st.integers())
def test_without_a_machine(n):
    assert settings().deadline == timedelta(milliseconds=200)
"""


def test_the_boot_of_a_first_property_meets_no_deadline(project: pytest.Pytester) -> None:
    """Without a profile, Hypothesis has one of 200 ms."""
    project.makepyfile(test_deadlines=DEADLINES)
    project.runpytest_subprocess("-q").assert_outcomes(passed=5)


BUNDLES = """
from pathlib import Path
from aether_edgecloud.emulator.bundle import build, toml

def test_bundles(aether_boot):
    options = dict(el2="small.elf", until="reset", monitor=False)
    described = toml.load(Path("one.toml"))
    data = build.build(described, where="one.toml")
    Path("one.bundle").write_bytes(data)
    for bundle in ("one.toml", Path("one.bundle"), data, described, list(described.vms)):
        assert aether_boot(bundle=bundle, **options).choice.initrd == data
    two = aether_boot(bundle="null-hvc=5", **options)
    assert two.choice.initrd not in (b"", data)
    assert aether_boot(**options).choice.initrd == b""

def test_the_hypervisor_of_the_project_gets_a_guest_and_boots_to_it(aether_boot):
    booted = aether_boot(bundle="one.toml")
    assert booted.cpu.current_el == 1
    stop = booted.run()
    assert stop.kind.name == "SYSTEM_OFF"
    assert "hello: bye" in booted.console
"""


def test_any_bundle_with_any_binary(project: pytest.Pytester) -> None:
    project.makefile(".toml", one='[[vm]]\nname = "one"\nguest = "hello"\n')
    project.makepyfile(test_bundles=BUNDLES)
    project.runpytest_subprocess("-q").assert_outcomes(passed=2)


UNUSED = """
import sys

def test_nothing_was_imported():
    heavy = ("unicorn", "capstone", "elftools", "keystone", "rich", "hypothesis")
    assert not [name for name in heavy if name in sys.modules]

def test_fails():
    assert False
"""


def test_who_does_not_use_it_does_not_notice(project: pytest.Pytester) -> None:
    project.makepyfile(test_unused=UNUSED)
    result = project.runpytest_subprocess("-p", "no:pytester")
    result.assert_outcomes(passed=1, failed=1)
    assert not [line for line in result.outlines if "aether:" in line]


def test_boot_outside_of_pytest_says_so() -> None:
    code = "from aether_edgecloud.properties.plugin import boot; boot()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    last = done.stderr.strip().rpartition("\n")[2]
    assert last == "RuntimeError: boot() is for tests: pytest has to run, with the plugin"
