# SPDX-License-Identifier: Apache-2.0
"""Debian packages through apt, without touching the system's apt state and without root.

apt runs with a state folder of its own: lists, cache and an empty status file. It reads the
system's sources, keys and settings (a proxy, say), but runs none of the hooks that are set there:
those clean up or index the system's own state.
"""

import fnmatch
import os
import re
import shutil
import subprocess
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from aether_edgecloud.emulator.errors import UserError

_SYSTEM_ETC = Path("/etc/apt")
_HOOKS = (
    "APT::Update::Pre-Invoke",
    "APT::Update::Post-Invoke",
    "APT::Update::Post-Invoke-Success",
    "DPkg::Pre-Invoke",
    "DPkg::Post-Invoke",
    "DPkg::Pre-Install-Pkgs",
    "AptCli::Hooks",
    "Binary::apt-get::AptCli::Hooks",
)
_NETWORK_FIX = "check the network and the sources in /etc/apt"


@dataclass(frozen=True, slots=True)
class Package:
    """A downloaded package file and the version its control file states."""

    file: Path
    version: str


class Apt:
    """apt with its state under `root`, a folder for this alone."""

    def __init__(self, root: Path, architecture: str) -> None:
        _need("apt-get")
        _need("dpkg-deb")
        self._root = root
        self._environment = os.environ | {
            "APT_CONFIG": str(_configure(root, architecture)),
            "LC_ALL": "C",
            "DEBIAN_FRONTEND": "noninteractive",
        }

    def update(self) -> None:
        """Reads the package lists. A source that fails is no error here: the package may still
        come from another one."""
        self._run(["apt-get", "-q", "update"])

    def newest(self, pattern: str) -> str:
        """The package whose name fits `pattern`, in which `*` stands for a version number: of
        several the one with the highest. Raises UserError when there is none."""
        if "*" not in pattern:
            return pattern
        _need("apt-cache")
        prefix = pattern.partition("*")[0]
        names = self._run(["apt-cache", "pkgnames", prefix])
        found = by_version(pattern, names.stdout.split())
        # A name may be known only because another package speaks of it.
        listed = self._run(["apt-cache", "madison", *found]).stdout if found else ""
        there = {line.partition("|")[0].strip() for line in listed.splitlines()}
        for name in found:
            if name in there:
                return name
        raise UserError(
            "no package of that name is in the sources",
            where=f"package {pattern}",
            fix="add a Debian release that has it to the sources in /etc/apt",
        )

    def download(self, name: str) -> Package:
        """Fetches the newest version of a package. Raises UserError with apt's own words."""
        downloads = self._root / "downloads" / name
        downloads.mkdir(parents=True)
        result = self._run(["apt-get", "-q", "download", name], cwd=downloads)
        files = sorted(downloads.glob("*.deb"))
        if result.returncode != 0 or len(files) != 1:
            raise UserError(
                f"apt cannot download it ({_reason(result.stderr)})",
                where=f"package {name}",
                fix=_NETWORK_FIX,
            )
        version = self._run(["dpkg-deb", "-f", str(files[0]), "Version"])
        if version.returncode != 0 or not version.stdout.strip():
            raise UserError(
                f"dpkg-deb cannot read it ({_reason(version.stderr)})",
                where=f"package {name}",
                fix=_NETWORK_FIX,
            )
        return Package(files[0], version.stdout.strip())

    def extract(self, package: Package, path: str) -> tuple[str, bytes]:
        """Path and contents of the first file in a package that fits `path`, in which `*` stands
        for any part of a name. Raises UserError when it has none."""
        command = ["dpkg-deb", "--fsys-tarfile", str(package.file)]
        with subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, env=self._environment
        ) as unpacker:
            assert unpacker.stdout is not None
            try:
                found = _member(unpacker.stdout, path)
            finally:
                unpacker.kill()
        if found is None:
            raise UserError(
                f"has no file {path}",
                where=package.file.name,
                fix="use a Debian release whose package has it",
            )
        return found

    def _run(
        self, command: list[str], *, cwd: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            cwd=cwd,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )


def _need(program: str) -> None:
    if shutil.which(program) is None:
        raise UserError(
            f"{program} is not here, and guests come from Debian packages",
            fix="run this on Debian or Ubuntu, or describe a guest in a TOML file",
        )


def _configure(root: Path, architecture: str) -> Path:
    """Writes the private configuration and gives its path."""
    for name in ("state/lists/partial", "cache/archives/partial", "apt.conf.d", "log"):
        (root / name).mkdir(parents=True)
    status = root / "state" / "status"
    status.touch()
    parts = root / "apt.conf.d"
    for part in sorted((_SYSTEM_ETC / "apt.conf.d").glob("*")):
        if part.is_file() and os.access(part, os.R_OK):
            shutil.copyfile(part, parts / part.name)
    own = "".join(f"#clear {hook};\n" for hook in _HOOKS)
    (parts / "zzz-private").write_text(own, encoding="utf-8")
    settings = {
        "Dir::State": root / "state",
        "Dir::State::lists": root / "state" / "lists",
        "Dir::State::status": status,
        "Dir::Cache": root / "cache",
        "Dir::Log": root / "log",
        "Dir::Etc::parts": parts,
        "APT::Architecture": architecture,
        # The user's own right to write the folder is enough: no change of user inside apt.
        "APT::Sandbox::User": "root",
        "Acquire::Languages": "none",
        "Acquire::IndexTargets::deb-src::Sources::DefaultEnabled": "false",
    }
    lines = [f'{key} "{value}";\n' for key, value in settings.items()]
    lines.append(f'APT::Architectures {{ "{architecture}"; }};\n')
    config = root / "apt.conf"
    config.write_text("".join(lines), encoding="utf-8")
    return config


def by_version(pattern: str, names: Iterable[str]) -> list[str]:
    """The names that fit, the highest version first; of one version the shortest name first."""
    before, _, behind = pattern.partition("*")
    fits = re.compile(rf"{re.escape(before)}(\d+(?:\.\d+)*){re.escape(behind)}(-unsigned)?")
    found: list[tuple[tuple[int, ...], int, str]] = []
    for name in sorted(set(names)):
        if match := fits.fullmatch(name):
            version = tuple(int(number) for number in match[1].split("."))
            found.append((version, -len(name), name))
    return [name for _, _, name in sorted(found, reverse=True)]


def _member(stream: IO[bytes], pattern: str) -> tuple[str, bytes] | None:
    try:
        with tarfile.open(fileobj=stream, mode="r|") as archive:
            for member in archive:
                path = member.name.removeprefix("./")
                if member.isfile() and _fits(path, pattern):
                    content = archive.extractfile(member)
                    return None if content is None else (path, content.read())
    except tarfile.TarError:
        return None
    return None


def _fits(path: str, pattern: str) -> bool:
    """Folder by folder: `*` does not reach into the next."""
    parts, wanted = path.split("/"), pattern.split("/")
    return len(parts) == len(wanted) and all(
        fnmatch.fnmatchcase(part, one) for part, one in zip(parts, wanted, strict=True)
    )


def _reason(stderr: str) -> str:
    """apt's first error, without its marks."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("E:")] or lines
    return errors[0].removeprefix("E:").strip() if errors else "no reason given"
