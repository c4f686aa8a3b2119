# SPDX-License-Identifier: Apache-2.0
"""What a run was asked to do and what came out of it: values, a table, JSON."""
