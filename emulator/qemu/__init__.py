# SPDX-License-Identifier: Apache-2.0
"""Runs the same binary and bundle on QEMU, with the same console and the same report."""
