# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the whole suite; profiles and options are the plugin's (`properties/plugin`).

With AETHER_REQUIRE_ALL=1 a skipped test is a failure, so that nothing is silently left out where
everything is supposed to be installed.
"""

import gc
import os
import shutil
import signal
from collections.abc import Callable, Generator
from pathlib import Path

import pytest

from aether_edgecloud.emulator import toolchain
from aether_edgecloud.emulator.adversary import plan
from aether_edgecloud.emulator.errors import UserError
from aether_edgecloud.emulator.guests import store
from aether_edgecloud.emulator.machine import Machine
from aether_edgecloud.emulator.toolchain import Artefact


def pytest_configure(config: pytest.Config) -> None:
    """With --aether-adversary the machines that tests build by themselves are as unkind, too."""
    text = config.getoption("--aether-adversary", None)
    if text is not None:
        Machine.usual_adversary = plan.parse(text, "--aether-adversary")
    _allow_interrupts()


def pytest_collection_finish() -> None:
    """Modules and tests stay to the end: garbage collections need not look at them time and again,
    which takes a tenth of a run."""
    gc.collect()
    gc.freeze()


def _allow_interrupts() -> None:
    """A shell ignores SIGINT for what it starts in the background, and so would every program that
    a test starts and interrupts."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _require_all() -> bool:
    return os.environ.get("AETHER_REQUIRE_ALL", "0") not in ("", "0")


def _refuse_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    if not report.skipped or hasattr(report, "wasxfail") or not _require_all():
        return
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
    report.outcome = "failed"
    report.longrepr = f"skipped, although AETHER_REQUIRE_ALL is set: {reason}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    _refuse_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    _refuse_skip(report)
    return report


@pytest.fixture
def kind_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without --aether-adversary's: for tests that compare with Unicorn's own walker, or with QEMU,
    which no adversary reaches."""
    monkeypatch.setattr(Machine, "usual_adversary", None)


@pytest.fixture(scope="session")
def el2() -> Artefact:
    """The EL2 binary of these sources."""
    return toolchain.artefact("el2")


@pytest.fixture(scope="session")
def stub() -> Callable[[str], Artefact]:
    """The guest stub of a name: `stub("hello")`."""
    return lambda name: toolchain.artefact(f"stub:{name}")


@pytest.fixture(scope="session")
def qemu() -> Path:
    """qemu-system-aarch64, or a skip."""
    return _program("qemu-system-aarch64", package="qemu-system-arm")


@pytest.fixture(scope="session")
def gdb() -> Path:
    """gdb-multiarch, or a skip."""
    return _program("gdb-multiarch", package="gdb-multiarch")


@pytest.fixture(scope="session")
def u_boot() -> Path:
    """Debian's U-Boot for QEMU's virt board, or a skip."""
    try:
        return store.image("u-boot")
    except UserError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def linux() -> tuple[Path, ...]:
    """Debian's Linux kernel and busybox, or a skip."""
    try:
        return store.files("linux")
    except UserError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def dtc() -> Path:
    """The device-tree compiler, or a skip."""
    return _program("dtc", package="device-tree-compiler")


@pytest.fixture(scope="session")
def cross_gcc() -> str:
    """The CROSS_COMPILE prefix of an installed GNU cross compiler, or a skip."""
    _program("aarch64-linux-gnu-gcc", package="gcc-aarch64-linux-gnu")
    return "aarch64-linux-gnu-"


def _program(name: str, *, package: str) -> Path:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is missing: apt-get install {package}")
    return Path(found)
