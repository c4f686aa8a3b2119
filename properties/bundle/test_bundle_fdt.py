# SPDX-License-Identifier: Apache-2.0
"""Device trees written and read: any size comes back, what is damaged is refused."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aether_edgecloud.emulator.bundle import build, fdt, toml
from aether_edgecloud.emulator.bundle.fdt import Node, Property, text
from aether_edgecloud.emulator.errors import UserError

TREE = Node("", (Property("compatible", text("a,b")),), (Node("chosen", (), ()),))
VM = """
[[vm]]
name = "mine"
entry = 0x40080000
dtb = "own.dtb"
memory = [{ipa = 0x40000000, size = "2MiB"}]
images = [{file = "image", ipa = 0x40080000}]
"""


@given(st.integers(0, 5000), st.integers(0, 40))
def test_a_tree_of_any_size_comes_back(length: int, nodes: int) -> None:
    """The end of a tree needs room too, whatever the size of what is before it."""
    chosen = Node("chosen", (Property("bootargs", text("x" * length)),), ())
    tree = Node("", (), (chosen, *(Node(f"n{i}", (), ()) for i in range(nodes))))
    assert fdt.read(fdt.write(tree), where="tree") == tree


def test_what_is_wrong_with_a_damaged_tree_is_named() -> None:
    data = bytearray(fdt.write(TREE))
    data[0x38:0x3C] = bytes(4)  # the first token of the structure block
    with pytest.raises(UserError) as caught:
        fdt.read(bytes(data), where="x.dtb")
    assert "valid offset" not in str(caught.value)


@pytest.mark.parametrize("length", [4, 5, 30, 50, 60])
def test_a_truncated_dtb_of_a_guest_is_refused(tmp_path: Path, length: int) -> None:
    (tmp_path / "image").write_bytes(bytes(64))
    (tmp_path / "own.dtb").write_bytes(fdt.write(TREE)[:length])
    (tmp_path / "vm.toml").write_text(VM)
    with pytest.raises(UserError, match=r"own\.dtb"):
        build.build(toml.load(tmp_path / "vm.toml"), where="vm.toml")
    (tmp_path / "own.dtb").write_bytes(fdt.write(TREE))
    assert build.build(toml.load(tmp_path / "vm.toml"), where="vm.toml")
