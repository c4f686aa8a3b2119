# SPDX-License-Identifier: Apache-2.0
"""What the terminal shows and what its keys do, without a terminal."""
