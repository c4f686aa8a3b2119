# SPDX-License-Identifier: Apache-2.0
"""Bookmarks are kept beside the recording, for its run."""

from pathlib import Path

import pytest

from aether_edgecloud.emulator.errors import UserError
from aether_edgecloud.emulator.replay.moments import Moment
from aether_edgecloud.emulator.replay.replay import Replay
from aether_edgecloud.emulator.ui.model.history import Bookmark
from aether_edgecloud.emulator.ui.shelf import Shelf

END = 70
MARKS = (
    Bookmark(Moment(3), "three"),
    Bookmark(Moment(3, 255), "its handler"),
    Bookmark(Moment(END), "\u00e9\u2026"),
)


def _file(*bookmarks: str, run: str = '"this run"') -> str:
    return (
        f'{{"format": "aether-bookmarks 1", "run": {run}, "bookmarks": [{", ".join(bookmarks)}]}}'
    )


def test_what_is_kept_is_found_again(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "boot.aet.bookmarks", "this run", END)
    assert shelf.load().all() == ()
    shelf.save(MARKS)
    assert shelf.load().all() == MARKS
    assert Shelf(shelf.file, "another run", 2).load().all() == ()
    shelf.save(())
    assert not shelf.file.exists()
    shelf.save(())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "shopping list",
        "[]",
        "{}",
        '{"format": "aether-bookmarks 2", "run": "this run", "bookmarks": []}',
        '{"format": "aether-bookmarks 1", "bookmarks": []}',
        '{"format": "aether-bookmarks 1", "run": "this run", "bookmarks": {}}',
        _file(run="1"),
        _file('{"1": 0, "name": 0}'),
        _file("1"),
        _file('"12"'),
        _file("[1]"),
        _file('["1"]'),
        _file('["x", "y"]'),
        _file('[1, "number"]'),
        _file('[1e999, "infinite"]'),
        _file('["-1", "negative"]'),
        _file('["01", "twice written"]'),
        _file('["1.0", "twice written"]'),
        _file('["1.1000", "attempts"]'),
        _file('["1\\n", "line"]'),
        _file('["\\uff11", "digits of others"]'),
        _file('["71", "beyond the end"]'),
        _file(f'["{10**17}", "huge"]'),
        _file(f'["{10**30}", "huge"]'),
        _file('["1", 1]'),
        _file('["1", ""]'),
        _file('["1", "two\\nlines"]'),
        _file('["1", "\\u001b[2J"]'),
        _file('["1", "\\ud800"]'),
        _file(f'["1", "{"x" * 81}"]'),
        _file('["1", "one"]', '["1", "again"]'),
        _file('["01", "another run\'s"]', run='"another run"'),
        "[" * 100_000,
    ],
)
def test_something_else_is_told_and_stays(text: str, tmp_path: Path) -> None:
    file = tmp_path / "boot.aet.bookmarks"
    file.write_text(text)
    with pytest.raises(UserError, match="holds no bookmarks"):
        Shelf(file, "this run", END).load()
    assert file.read_text() == text


def test_a_place_that_cannot_be_read_or_written(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match="cannot be read"):
        Shelf(tmp_path / "folder", "this run", END).load()
    with pytest.raises(UserError, match="cannot be written"):
        Shelf(tmp_path / "none" / "boot.aet.bookmarks", "this run", END).save(MARKS)
    with pytest.raises(UserError, match=r"folder: cannot be removed \("):
        Shelf(tmp_path / "folder", "this run", END).save(())


def test_a_folder_that_lets_nothing_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf = Shelf(tmp_path / "boot.aet.bookmarks", "this run", END)
    shelf.save(MARKS)

    def refused(path: Path, missing_ok: bool = False) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "unlink", refused)
    with pytest.raises(UserError, match=r"bookmarks: cannot be removed \(Permission denied\)"):
        shelf.save(())
    assert shelf.load().all() == MARKS


def test_no_more_is_kept_than_is_read_again(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "boot.aet.bookmarks", "this run", 100_000)
    shelf.save(MARKS)
    with pytest.raises(UserError, match="so many bookmarks"):
        shelf.save(tuple(Bookmark(Moment(n), "\u2026" * 80) for n in range(3_000)))
    assert shelf.load().all() == MARKS


def test_a_copy_is_the_same_run_and_another_is_not(small: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.aet"
    copy.write_bytes(small.read_bytes())
    shelves = []
    for file in (small, copy):
        replay = Replay.open(file)
        shelves.append(Shelf.of(replay))
        replay.close()
    assert shelves[0].run == shelves[1].run != ""
    assert shelves[0].end == 60
    assert shelves[1].file == tmp_path / "copy.aet.bookmarks"
