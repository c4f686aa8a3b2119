# SPDX-License-Identifier: Apache-2.0
"""What things look like, by their role. The terminal's own 16 colours, and never a colour alone:
what one says, a character, bold or reverse says too."""

CURRENT = "bold reverse"
CURSOR = "underline"
CHANGED = "bold yellow"
DIM = "dim"
NAME = "bold"
SYMBOL = "green"
SOURCE = "cyan"
ALARM = "bold red"
