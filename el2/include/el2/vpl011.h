// SPDX-License-Identifier: Apache-2.0
// The PL011 that a guest sees, in front of the board's own. No interrupt line yet: a guest polls,
// or reads what would be pending.
#ifndef EL2_VPL011_H
#define EL2_VPL011_H

#include <stdint.h>

#define VPL011_KEPT 8u

struct vpl011 {
    uint16_t kept[VPL011_KEPT]; // registers that are only stored; vpl011.c has their offsets
};

void vpl011_reset(struct vpl011 *uart);

// `offset`: any; registers repeat nowhere, the rest reads as zero and ignores writes.
uint32_t vpl011_read(const struct vpl011 *uart, uint64_t offset);
void vpl011_write(struct vpl011 *uart, uint64_t offset, uint32_t value);

#endif
