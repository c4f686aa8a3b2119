// SPDX-License-Identifier: Apache-2.0
#include <stddef.h>

#include <el2/mmio.h>
#include <el2/sysregs.h>
#include <el2/vcpu.h>
#include <el2/vpl011.h>

// Registers are words; a narrow or odd access sees its part of one, a double word only the first.
static uint64_t read(const struct vpl011 *uart, uint64_t offset)
{
    return vpl011_read(uart, offset & ~UINT64_C(3)) >> 8 * (offset & 3);
}

// A store that does not begin at a register's first byte is lost.
static void write(struct vpl011 *uart, uint64_t offset, uint64_t value)
{
    if ((offset & 3) == 0) {
        vpl011_write(uart, offset, (uint32_t)value);
    }
}

// As the load instruction leaves it in Xt or Wt.
static uint64_t extend(uint64_t value, unsigned bits, uint64_t esr)
{
    unsigned unused = 64 - bits;
    value <<= unused;
    value = (esr & ISS_SSE) != 0 ? (uint64_t)((int64_t)value >> unused) : value >> unused;
    return (esr & ISS_SF) != 0 ? value : (uint32_t)value;
}

// Between what a big-endian access leaves in a register and what it means to a device.
static uint64_t reorder(const struct vcpu *vcpu, uint64_t value, unsigned bits)
{
    bool el0 = (vcpu->pstate & SPSR_M_MASK) == SPSR_EL0T;
    bool big_endian = (READ_SYSREG(sctlr_el1) & (el0 ? SCTLR_EL1_E0E : SCTLR_EL1_EE)) != 0;
    return big_endian ? __builtin_bswap64(value) >> (64 - bits) : value;
}

bool mmio_access(struct vcpu *vcpu, uint64_t esr, ipa_t ipa)
{
    struct vm *vm = vcpu->vm;
    for (uint32_t i = 0; i < vm->config.device_count; i++) {
        uint64_t offset = ipa_value(ipa) - ipa_value(vm->config.devices[i].ipa);
        if (offset >= vm->config.devices[i].size) {
            continue;
        }
        if ((esr & ISS_CM) != 0) {
            return false; // no access to the device itself
        }
        if ((esr & ISS_ISV) == 0) {
            vm_crash(vcpu, "MMIO access without a valid syndrome", ipa);
        }
        unsigned bits = 8u << (esr >> ISS_SAS_SHIFT & ISS_SAS_MASK);
        uint64_t rt = esr >> ISS_SRT_SHIFT & ISS_SRT_MASK;
        if ((esr & ISS_WNR) != 0) {
            uint64_t value = vcpu_get(vcpu, rt) & (UINT64_MAX >> (64 - bits));
            write(&vm->uarts[i], offset, reorder(vcpu, value, bits));
        } else {
            uint64_t value = reorder(vcpu, read(&vm->uarts[i], offset), bits);
            vcpu_set(vcpu, rt, extend(value, bits, esr));
        }
        vcpu_skip(vcpu);
        return true;
    }
    return false;
}
