# SPDX-License-Identifier: Apache-2.0
"""Noninterference by two runs: with another secret in one VM every other VM sees the same."""
