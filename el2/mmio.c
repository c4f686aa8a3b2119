// SPDX-License-Identifier: Apache-2.0
#include <stddef.h>

#include <el2/mmio.h>
#include <el2/sysregs.h>
#include <el2/vcpu.h>

// The device of the VM whose emulated window `ipa` lies in, and where. NULL: none.
static const struct vm_device_config *find(const struct vm *vm, uint64_t ipa, uint64_t *offset)
{
    for (uint32_t i = 0; i < vm->config.device_count; i++) {
        const struct vm_device_config *device = &vm->config.devices[i];
        *offset = ipa - device->ipa.base;
        if (*offset < device->ipa.size &&
            (device->kind == VM_DEVICE_VPL011 || device->kind == VM_DEVICE_VGICV2)) {
            return device;
        }
        *offset = ipa - device->gicc.base;
        if (*offset < device->gicc.size) {
            *offset += VGIC_DISTRIBUTOR_SIZE; // as if it were behind the distributor
            return device;
        }
    }
    return NULL;
}

// Registers of a PL011 are words; a narrow or odd access sees its part of one, a double word only
// the first.
static uint64_t read(struct vcpu *vcpu, const struct vm_device_config *device, uint64_t offset,
                     unsigned size)
{
    struct vm *vm = vcpu->vm;
    if (device->kind == VM_DEVICE_VPL011) {
        struct vpl011 *uart = &vm->uarts[device - vm->config.devices];
        return (uint64_t)vpl011_read(vm, uart, offset & ~UINT64_C(3)) >> 8 * (offset & 3);
    }
    return offset < VGIC_DISTRIBUTOR_SIZE ? vgic_distributor_read(vcpu, offset, size) : 0;
}

// A store that does not begin at a PL011 register's first byte is lost.
static void write(struct vcpu *vcpu, const struct vm_device_config *device, uint64_t offset,
                  unsigned size, uint64_t value)
{
    struct vm *vm = vcpu->vm;
    if (device->kind == VM_DEVICE_VPL011) {
        if ((offset & 3) == 0) {
            vpl011_write(vm, &vm->uarts[device - vm->config.devices], offset, (uint32_t)value);
        }
    } else if (offset < VGIC_DISTRIBUTOR_SIZE) {
        vgic_distributor_write(vcpu, offset, size, value);
    } else if (offset == VGIC_DISTRIBUTOR_SIZE + GICC_DIR && size == 4) {
        vgic_dir(vcpu, (uint32_t)value);
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
    uint64_t offset;
    const struct vm_device_config *device = find(vcpu->vm, ipa_value(ipa), &offset);
    if (device == NULL || (esr & ISS_CM) != 0) {
        telemetry_exit(vcpu, TELEMETRY_EXIT_DATA_ABORT_OTHER);
        return false; // maintenance is no access to the device itself
    }
    if ((esr & ISS_ISV) == 0) {
        vm_crash(vcpu, "MMIO access without a valid syndrome", ipa);
    }
    telemetry_exit(vcpu, device->kind == VM_DEVICE_VPL011 ? TELEMETRY_EXIT_DATA_ABORT_UART
                                                          : TELEMETRY_EXIT_DATA_ABORT_GICD);
    unsigned size = 1u << (esr >> ISS_SAS_SHIFT & ISS_SAS_MASK);
    unsigned bits = 8 * size;
    uint64_t rt = esr >> ISS_SRT_SHIFT & ISS_SRT_MASK;
    if ((esr & ISS_WNR) != 0) {
        uint64_t value = vcpu_get(vcpu, rt) & (UINT64_MAX >> (64 - bits));
        write(vcpu, device, offset, size, reorder(vcpu, value, bits));
    } else {
        uint64_t value = reorder(vcpu, read(vcpu, device, offset, size), bits);
        vcpu_set(vcpu, rt, extend(value, bits, esr));
    }
    vcpu_skip(vcpu);
    return true;
}
