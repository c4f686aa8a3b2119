# SPDX-License-Identifier: Apache-2.0
"""The plugin's options: each can stand on the command line (--aether-NAME) and in the ini file
(aether_NAME). Only pytest is imported here."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest

PROFILES = ("pr", "nightly")
PROFILE_VARIABLE = "AETHER_PROFILE"
_PACKAGE = "aether_edgecloud.properties.plugin"


@dataclass(frozen=True, slots=True)
class Option:
    """`name` without prefix; `values` where only these may be given."""

    name: str
    metavar: str
    help: str
    values: tuple[str, ...] = ()
    is_path: bool = False
    at_least: int | None = None
    """It is a whole number, and at least this."""

    @property
    def flag(self) -> str:
        return f"--aether-{self.name}"

    @property
    def ini(self) -> str:
        return f"aether_{self.name}"


PROFILE = Option(
    "profile",
    "NAME",
    "how hard Hypothesis looks: pr (the same examples each time, without tests marked nightly) or "
    f"nightly; also {PROFILE_VARIABLE}",
    values=PROFILES,
)
MACHINE_OPTIONS = (
    Option("el2", "FILE", "the EL2 binary, ELF or flat image; else the hypervisor", is_path=True),
    Option("bundle", "TARGET", "what it is given: a guest's name, FILE.toml or FILE.bundle"),
    Option("board", "NAME", "the board to run on (virt)"),
    Option("ram", "SIZE", "the board's RAM, as 512MiB; else enough for the VMs"),
    Option("cpus", "N", "the board's CPUs; else as many as the VMs use", at_least=1),
    Option("mmu", "MODE", "who translates: model or native", values=("model", "native")),
    Option("quantum", "N", "instructions of one CPU before the next one's turn", at_least=1),
    Option("seed", "N", "which interleaving of the CPUs", at_least=0),
    Option("adversary", "PARTS", "how unkind it is: tlb,caches[,seed=N][,rate=0..256]"),
    Option("until", "POINT", "how far a machine boots: guest, reset, or a number of instructions"),
    Option(
        "monitor",
        "on|off",
        "whether the monitor watches it (on, with --aether-mmu=model)",
        values=("on", "off"),
    ),
    Option(
        "events",
        "WHICH",
        "what the monitor keeps in its `events`: off (nothing), on, or caches (also DC, IC and AT)",
        values=("off", "on", "caches"),
    ),
)
RECORD = Option(
    "record",
    "FOLDER",
    "write the run of each test that fails, shrunk, as a recording for `aether replay`",
    is_path=True,
)
OPTIONS = (PROFILE, *MACHINE_OPTIONS, RECORD)


def add(parser: pytest.Parser) -> None:
    """Adds all options and their ini twins."""
    group = parser.getgroup("aether", "Aether EdgeCloud")
    for option in OPTIONS:
        group.addoption(
            option.flag,
            metavar=option.metavar,
            choices=option.values or None,
            default=None,
            help=f"{option.help}; ini: {option.ini}",
        )
        parser.addini(option.ini, f"{option.flag} of every run", default="")


@dataclass(frozen=True, slots=True)
class Given:
    """What the user gave an option, and where."""

    text: str
    where: str


def look_up(config: pytest.Config, option: Option) -> Given | None:
    """The command line's word, else the ini file's. A path in the ini file is one from there."""
    text = config.getoption(option.flag)
    if text is not None:
        return Given(_path(config.invocation_params.dir, text, option), option.flag)
    text = str(config.getini(option.ini)).strip()
    if not text:
        return None
    folder = config.rootpath if config.inipath is None else config.inipath.parent
    file = "the ini file" if config.inipath is None else config.inipath.name
    return Given(_path(folder, text, option), f"{file}: {option.ini}")


def _path(folder: Path, text: str, option: Option) -> str:
    """A bundle may be a name, and is a file when it looks like one."""
    named = option.name == "bundle" and (text.endswith((".toml", ".bundle")) or "/" in text)
    return str(folder / text) if option.is_path or named else text


def profile(config: pytest.Config) -> str | None:
    """The profile asked for: by option, environment or ini file; None: none is.

    UsageError for one that does not exist.
    """
    found = config.getoption(PROFILE.flag)
    where = PROFILE.flag
    if not found:
        found, where = os.environ.get(PROFILE_VARIABLE), PROFILE_VARIABLE
    if not found:
        given = look_up(config, PROFILE)
        found, where = (None, "") if given is None else (given.text, given.where)
    if found and found not in PROFILES:
        known = " or ".join(PROFILES)
        raise pytest.UsageError(f"{where}: unknown profile {found!r}; choose {known}")
    return found or None


def given(config: pytest.Config) -> list[str]:
    """What was asked for, as it could stand on the command line."""
    name = profile(config)
    found = [] if name is None else [f"{PROFILE.flag}={name}"]
    for option in (*MACHINE_OPTIONS, RECORD):
        text = config.getoption(option.flag)
        if text is not None:
            found.append(f"{option.flag}={text}")
    return found


def check_command_line(config: pytest.Config) -> None:
    """UsageError for a folder that recordings cannot be written to, and for a machine that the
    command line describes and that cannot be: no test runs.

    What the ini file says of machines is looked at when a test boots: its files may be made by a
    fixture.
    """
    folder = look_up(config, RECORD)
    if folder is not None:
        why = _why_no_folder(Path(folder.text))
        if why:
            raise pytest.UsageError(f"{folder.where}: recordings cannot be written there: {why}")
    if all(config.getoption(option.flag) is None for option in MACHINE_OPTIONS):
        return
    from aether_edgecloud.emulator.errors import UserError
    from aether_edgecloud.properties.plugin import choice

    try:
        choice.check(config)
    except UserError as error:
        raise pytest.UsageError(str(error)) from None


def _why_no_folder(folder: Path) -> str | None:
    """Why files cannot be written there; None if they can. It need not exist yet."""
    there = folder
    while not os.path.lexists(there) and there != there.parent:
        there = there.parent
    if not there.is_dir():
        return f"{there} is no folder"
    if not os.access(there, os.W_OK | os.X_OK):
        return f"{there} may not be written to"
    return None


# Code that no fixture reaches asks for the run's options here. Runs can nest: pytest's own pytester
# does that in one process.
_configs: list[pytest.Config] = []


def remember(config: pytest.Config) -> None:
    """The options of `config` are those that count now."""
    _configs.append(config)


def forget(config: pytest.Config) -> None:
    """They do not count any more."""
    if config in _configs:
        _configs.remove(config)


def current() -> pytest.Config:
    """The run that runs. RuntimeError outside of pytest."""
    if not _configs:
        raise RuntimeError("boot() is for tests: pytest has to run, with the plugin")
    return _configs[-1]


def is_running() -> bool:
    """Whether any run still counts."""
    return bool(_configs)


def loaded(name: str) -> ModuleType | None:
    """A module of this package, if anything has used it so far."""
    return sys.modules.get(f"{_PACKAGE}.{name}")
