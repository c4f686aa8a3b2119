# SPDX-License-Identifier: Apache-2.0
"""Recordings of runs: what a machine was at many moments, what came to it from outside, and what
happened, in one file from which every moment of the run can be reached again."""
