# SPDX-License-Identifier: Apache-2.0
"""The ELF file of a binary: its symbols, its lines of source."""
