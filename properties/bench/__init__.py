# SPDX-License-Identifier: Apache-2.0
"""Benchmarks, run by `aether bench`. Instructions are counted exactly; wall time is only told."""
