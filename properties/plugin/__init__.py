# SPDX-License-Identifier: Apache-2.0
"""The pytest plugin: boots any EL2 binary with any bundle in the emulator, and tells a failure in
the architecture's words. `docs/first-property.md` shows its use.

Installed, it is in every pytest run of its environment. So this module imports nothing but pytest,
nothing happens to a suite that does not use it, and Hypothesis keeps its own profile unless one of
ours is asked for.

`aether_boot` is the factory; `boot` is the same for code that no fixture reaches, such as the rules
of a state machine.
"""

import sys
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any

import pytest

from aether_edgecloud.properties.plugin import options

if TYPE_CHECKING:
    from aether_edgecloud.emulator.monitor.monitor import Monitor
    from aether_edgecloud.properties.plugin.booted import BootedMachine
    from aether_edgecloud.properties.plugin.lab import Use

_FIXTURES = frozenset({"aether_boot", "aether_machine", "aether_monitor"})
_MARKERS = (
    "nightly: slow; left out with the profile pr",
    "aether(el2=, bundle=, board=, ram=, cpus=, mmu=, quantum=, seed=, adversary=, until=, "
    "monitor=, events=): "
    "the machine that aether_machine boots for this test",
)


def pytest_addoption(parser: pytest.Parser) -> None:
    options.add(parser)


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """First: what the user asks of Hypothesis itself, with --hypothesis-profile, has the last
    word."""
    for line in _MARKERS:
        config.addinivalue_line("markers", line)
    name = options.profile(config)
    if name is not None:
        from aether_edgecloud.properties.plugin import profiles

        profiles.load(name, config)
    options.check_command_line(config)
    options.remember(config)


def pytest_unconfigure(config: pytest.Config) -> None:
    options.forget(config)
    lab = options.loaded("lab")
    if lab is not None and not options.is_running():
        lab.close_all()


def pytest_report_header(config: pytest.Config) -> list[str]:
    given = options.given(config)
    return ["aether: " + " ".join(given)] if given else []


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    name = options.profile(config)
    if name is not None:
        from aether_edgecloud.properties.plugin import profiles

        profiles.select(name, config, items)
    if "hypothesis" in sys.modules:
        from aether_edgecloud.properties.plugin import profiles

        profiles.lift_deadlines([item for item in items if _uses_machines(item)])


def _uses_machines(item: pytest.Item) -> bool:
    return not _FIXTURES.isdisjoint(getattr(item, "fixturenames", ()))


def pytest_runtest_setup(item: pytest.Item) -> None:
    lab = options.loaded("lab")
    if lab is not None:
        lab.begin_test()


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Last, so inside of Hypothesis's own wrapper: its statistics come to both."""
    if "hypothesis" not in sys.modules:
        return (yield)
    from aether_edgecloud.properties.plugin import examples

    with examples.counted(item):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    lab = options.loaded("lab")
    used = () if lab is None else lab.used()
    if used and call.when != "setup":
        from aether_edgecloud.properties.plugin import properties

        properties.note(item, call, used)
    report = yield
    if not report.failed or call.excinfo is None or _is_mistake(call.excinfo.value):
        return report
    if used or _asks_for_words(item):
        from aether_edgecloud.properties.plugin import words

        report.sections += words.sections(item, call.excinfo.value)
        if used:
            from aether_edgecloud.properties.plugin import failure

            report.sections += failure.sections(item, call.excinfo.value, used[-1])
            report.sections += _recordings(item, call.excinfo.value, used[-1])
    return report


def _recordings(item: pytest.Item, error: BaseException, use: "Use") -> list[tuple[str, str]]:
    if options.look_up(item.config, options.RECORD) is None:
        return []
    from aether_edgecloud.properties.plugin import recordings

    return recordings.sections(item, error, use)


def _is_mistake(error: BaseException) -> bool:
    lab = options.loaded("lab")
    return lab is not None and isinstance(error, lab.Mistake)


def _asks_for_words(item: pytest.Item) -> bool:
    """A property, in a suite that has asked for a profile of ours."""
    profiles = options.loaded("profiles")
    return profiles is not None and profiles.property_of(item) is not None


def boot(**choices: Any) -> "BootedMachine":
    """A machine in the state in which its boot left it: what was done to it before is undone.

    What is not said here is as the test's `aether` marker, the command line and the ini file have
    it:

    el2       ELF file or flat image entered at EL2; the hypervisor of this project without it
    bundle    its initrd: a guest's name, FILE.toml, FILE.bundle, bytes, or VM descriptions
    board, ram, cpus, mmu, quantum, seed    as options of `aether run`
    adversary how unkind it is, as `--adversary` of `aether run`
    until     how far it boots: "guest" (to a guest's first instruction), "reset", or a number of
              instructions
    monitor   whether the architectural monitor watches it, from its first instruction on
    events    what the monitor keeps in its `events`: "off", "on", or "caches" (also DC, IC and AT)
    copy      several machines of the same kind at a time have several numbers

    A mistake in them fails the test, in one line.
    """
    from aether_edgecloud.properties.plugin import lab

    __tracebackhide__ = True
    return lab.boot(options.current(), choices)


def _mistake(line: str) -> BaseException:
    from aether_edgecloud.properties.plugin import lab

    return lab.Mistake(line, pytrace=False)


@pytest.fixture(scope="session")
def aether_boot() -> "Callable[..., BootedMachine]":
    """Factory of machines: `aether_boot(el2=..., bundle=..., ...)`.

    Each call gives the machine as its boot left it, so call it inside of a test with `@given`.
    """
    return boot


@pytest.fixture
def aether_machine(request: pytest.FixtureRequest) -> "BootedMachine":
    """The machine that options and the test's `aether` marker describe, as its boot left it."""
    marker = request.node.get_closest_marker("aether")
    if marker is not None and marker.args:
        raise _mistake("the marker aether takes keywords only, as cpus=2")
    return boot(**({} if marker is None else marker.kwargs))


@pytest.fixture
def aether_monitor(aether_machine: "BootedMachine") -> "Generator[Monitor, None, None]":
    """The monitor of aether_machine; the test fails if it has seen a violation."""
    monitor = aether_machine.monitor
    if monitor is None:
        raise _mistake("the machine has no monitor; leave monitor=off and mmu=native out")
    yield monitor
    monitor.check()
