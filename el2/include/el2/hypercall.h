// SPDX-License-Identifier: Apache-2.0
// Calls of a guest by HVC or SMC: SMC Calling Convention 1.2 (Arm DEN0028), with the vendor's
// hypervisor service range (owner 6).
#ifndef EL2_HYPERCALL_H
#define EL2_HYPERCALL_H

#include <stdint.h>

#include <el2/vm.h>

#define SMCCC_VERSION 0x80000000u
#define SMCCC_ARCH_FEATURES 0x80000001u
#define VENDOR_HYP_CALL_COUNT 0x8600ff00u
#define VENDOR_HYP_CALL_UID 0x8600ff01u
#define VENDOR_HYP_REVISION 0x8600ff03u
#define AETHER_VERSION 0x86000000u
#define AETHER_FEATURES 0x86000001u
#define AETHER_CONSOLE_WRITE 0xc6000002u
#define AETHER_CONSOLE_WRITE_MAX 48u

#define SMCCC_SUCCESS 0
#define SMCCC_NOT_SUPPORTED (-1)
#define SMCCC_INVALID_PARAMETER (-3)
#define AETHER_BUSY (-4) // AETHER_CONSOLE_WRITE: no room yet, nothing written

// X0 holds the function; results go to X0-X3.
void hypercall(struct vcpu *vcpu);

#endif
