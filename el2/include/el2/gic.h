// SPDX-License-Identifier: Apache-2.0
// The board's GICv2. Nothing is done with interrupts yet but to keep them away: firmware may have
// left some enabled, and a guest can raise the virtual timer's.
#ifndef EL2_GIC_H
#define EL2_GIC_H

#include <stdbool.h>

#include <stage2/addr.h>

// No interrupt reaches this PE any more. PAs of the two windows, which are mapped only meanwhile.
// False: they cannot be mapped.
bool gic_silence(pa_t distributor, pa_t cpu_interface);

#endif
