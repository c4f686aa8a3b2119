# SPDX-License-Identifier: Apache-2.0
"""The machine at a replay's cursor as plain values: for the terminal, the command line, gdb."""
