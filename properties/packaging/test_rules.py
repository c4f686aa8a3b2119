# SPDX-License-Identifier: Apache-2.0
"""Rules of the tree that no compiler checks: who may import whom, and what no file may hold."""

import ast
import re
import subprocess
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from aether_edgecloud.emulator.toolchain.compilers import ZIG_VERSION

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = "aether_edgecloud"
FOLDERS = ("el2", "emulator", "guest_stubs", "properties", "stage2")

# The table of the design: a folder may import itself and these. The command line, which lives in
# the emulator, also needs to know which stubs there are: data, and nothing else of theirs.
MAY_IMPORT = {
    "el2": {"stage2"},
    "stage2": set[str](),
    "emulator": {"stage2", "guest_stubs"},
    "guest_stubs": set[str](),
    "properties": set(FOLDERS),
}

C_SUFFIXES = {".c", ".h", ".S", ".lds"}
_INCLUDE = re.compile(r'^\s*#\s*include\s+["<]([^">]+)[">]', re.MULTILINE)
# A path that exists on one machine only. The first part stops relative paths and addresses.
_MACHINE_PATH = re.compile(r"(?<![\w.}\])>*$/-])/(?:work|tmp|home|root|Users)/[\w.]")


@cache
def project_files() -> tuple[Path, ...]:
    """Every file of the project: what git knows, or the whole tree where there is no git."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if listed.returncode == 0:
        names = [name for name in listed.stdout.decode().split("\0") if name]
    else:
        found = (p.relative_to(ROOT) for folder in FOLDERS for p in (ROOT / folder).rglob("*"))
        hidden = (".", "__pycache__")
        names = [str(p) for p in found if not any(part.startswith(hidden) for part in p.parts)]
    return tuple(p for p in (ROOT / name for name in sorted(names)) if p.is_file())


def files(*suffixes: str) -> list[Path]:
    """The project's files with one of these suffixes, inside the five folders."""
    return [
        path
        for path in project_files()
        if path.suffix in suffixes and path.relative_to(ROOT).parts[0] in FOLDERS
    ]


def imports(path: Path) -> Iterator[str]:
    """Absolute names of the modules a Python file imports."""
    folder = path.relative_to(ROOT).parent
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = (PACKAGE, *folder.parts)[: len(folder.parts) + 2 - node.level]
                base = ".".join((*above, *([base] if base else [])))
            # `from package import folder` imports the folder.
            yield from (f"{base}.{alias.name}" for alias in node.names)


def test_the_reader_of_imports_sees_every_form(tmp_path: Path) -> None:
    path = ROOT / "emulator" / "arch" / "imaginary.py"
    code = "import a.b\nfrom c import d\nfrom . import e\nfrom ..cpu import f\n"
    tree = tmp_path / "imaginary.py"
    tree.write_text(code, encoding="utf-8")

    class Read:
        """The file's place, with another content."""

        def relative_to(self, root: Path) -> Path:
            return path.relative_to(root)

        def read_text(self, encoding: str) -> str:
            return code

    assert list(imports(Read())) == [  # type: ignore[arg-type]
        "a.b",
        "c.d",
        f"{PACKAGE}.emulator.arch.e",
        f"{PACKAGE}.emulator.cpu.f",
    ]


def test_no_folder_is_imported_by_its_bare_name() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}: {name}"
        for path in files(".py")
        for name in imports(path)
        if name.split(".")[0] in FOLDERS
    ]
    assert not wrong, f"import them from {PACKAGE}: {wrong}"


def test_only_the_command_line_imports_the_command_line() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}: {name}"
        for path in files(".py")
        if path.relative_to(ROOT).parts[0] == "emulator"
        and path.relative_to(ROOT).parts[1] != "cli"
        for name in imports(path)
        if name.startswith(f"{PACKAGE}.emulator.cli")
    ]
    assert not wrong


@pytest.mark.parametrize("folder", FOLDERS)
def test_imports_follow_the_design(folder: str) -> None:
    allowed = {folder} | MAY_IMPORT[folder]
    wrong = [
        f"{path.relative_to(ROOT)}: {name}"
        for path in files(".py")
        if path.relative_to(ROOT).parts[0] == folder
        for name in imports(path)
        if name.split(".")[0] == PACKAGE and name.split(".")[1] not in allowed
    ]
    assert not wrong


@pytest.mark.parametrize("folder", ["el2", "stage2", "guest_stubs"])
def test_c_includes_follow_the_design(folder: str) -> None:
    others = set(FOLDERS) - {folder} - MAY_IMPORT[folder]
    wrong = [
        f"{path.relative_to(ROOT)}: {name}"
        for path in files(".c", ".h", ".S")
        if path.relative_to(ROOT).parts[0] == folder
        for name in _INCLUDE.findall(path.read_text(encoding="utf-8"))
        if others & set(Path(name).parts)
    ]
    assert not wrong


def test_every_source_names_its_licence() -> None:
    wrong = [
        str(path.relative_to(ROOT))
        for path in files(".py", *C_SUFFIXES)
        if "SPDX-License-Identifier: Apache-2.0"
        not in path.read_text(encoding="utf-8").partition("\n")[0]
    ]
    assert not wrong


def test_one_version_everywhere() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    version = project["project"]["version"]
    header = (ROOT / "el2/include/el2/version.h").read_text(encoding="utf-8")
    defined = dict(re.findall(r"#define AETHER_VERSION_(\w+) (\S+)", header))
    assert defined["TEXT"] == f'"{version}"'
    assert [defined["MAJOR"], defined["MINOR"]] == [f"{n}u" for n in version.split(".")[:2]]


def test_one_compiler_everywhere() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    pin = f"ziglang=={ZIG_VERSION}"
    assert pin in project["build-system"]["requires"]
    assert pin in project["project"]["dependencies"]


def test_no_machine_path() -> None:
    wrong = []
    for path in project_files():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        wrong += [
            f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
            for number, line in enumerate(text.splitlines(), 1)
            if _MACHINE_PATH.search(line)
        ]
    assert not wrong


@pytest.mark.parametrize("start", ["see ", '"', "=", "(", ":", ""])
def test_a_machine_path_is_seen(start: str) -> None:
    for top in ("home", "tmp", "root", "work"):
        assert _MACHINE_PATH.search(f"{start}/{top}/x")


@pytest.mark.parametrize("start", ["..", "<dir>", "a", "{root}", "$X", "[0]", "."])
def test_what_is_no_machine_path(start: str) -> None:
    assert not _MACHINE_PATH.search(f"{start}/{'tmp'}/x")
    assert not _MACHINE_PATH.search("/tmp")
