// SPDX-License-Identifier: Apache-2.0
// The virtual GIC as a library for the host: one VM, each vCPU on a pCPU of its own, whose GICH is
// memory that the caller plays the hardware on. What goes to the physical distributor, and which
// vCPUs are kicked, is kept for the caller.
#include <string.h>

#include <el2/vcpu.h>
#include <el2/vgic.h>

#define GICH_SIZE 0x200u
#define WRITES_MAX 256u

struct host_write {
    uint32_t offset;
    uint32_t index;
    uint32_t bits;
    uint32_t cpu;
};

volatile uint8_t *gic_hypervisor;
uint32_t gic_list_registers;
struct host_write host_writes[WRITES_MAX];
uint32_t host_write_count;
uint32_t host_kicked; // a bit for each vCPU

static struct vm vm;
static struct vm_telemetry telemetry;
static uint32_t gich[VM_MAX_VCPUS][GICH_SIZE / 4];
static uint32_t current;

void gic_write(uint32_t offset, uint32_t index, uint32_t bits)
{
    if (bits != 0 && host_write_count < WRITES_MAX) {
        host_writes[host_write_count++] = (struct host_write){offset, index, bits, current};
    }
}

void gic_route(uint32_t intid)
{
    (void)intid;
}

void gic_set_edge(uint32_t intid, bool edge)
{
    (void)intid;
    (void)edge;
}

void vcpu_kick(const struct vcpu *target)
{
    host_kicked |= 1u << target->index;
}

// What follows happens on the pCPU of this vCPU.
static struct vcpu *on(uint32_t vcpu)
{
    current = vcpu;
    gic_hypervisor = (volatile uint8_t *)gich[vcpu];
    return &vm.vcpus[vcpu];
}

uint32_t *host_gich(uint32_t vcpu)
{
    return gich[vcpu];
}

void host_start(uint32_t vcpus, uint32_t list_registers, const uint32_t *forwarded, uint32_t count)
{
    memset(&vm, 0, sizeof(vm));
    memset(gich, 0, sizeof(gich));
    gic_list_registers = list_registers;
    vm.vcpu_count = vcpus;
    for (uint32_t i = 0; i < vcpus; i++) {
        vm.vcpus[i].vm = &vm;
        vm.vcpus[i].index = i;
        vm.vcpus[i].telemetry = &telemetry.vcpus[i];
    }
    vm.config.device_count = 1;
    vm.config.devices[0].kind = VM_DEVICE_PASSTHROUGH;
    vm.config.devices[0].interrupt_count = count;
    memcpy(vm.config.devices[0].interrupts, forwarded, count * sizeof(*forwarded));
    vgic_reset(&vm);
}

void host_reset(void)
{
    vgic_reset(&vm);
}

void host_load(uint32_t vcpu)
{
    vgic_load(on(vcpu));
}

void host_save(uint32_t vcpu)
{
    vgic_save(on(vcpu));
}

// What EL2 does before each ERET. False: there was no need.
bool host_enter(uint32_t vcpu)
{
    bool changed = vgic_changed(&on(vcpu)->vgic);
    vgic_enter(&vm.vcpus[vcpu]);
    return changed;
}

void host_physical(uint32_t vcpu, uint32_t intid)
{
    vgic_physical(on(vcpu), intid);
}

void host_maintenance(uint32_t vcpu)
{
    vgic_maintenance(on(vcpu));
}

void host_set_level(uint32_t vcpu, uint32_t intid, bool level)
{
    vgic_set_level(on(vcpu)->vm, intid, level);
}

uint64_t host_read(uint32_t vcpu, uint64_t offset, unsigned size)
{
    return vgic_distributor_read(on(vcpu), offset, size);
}

void host_write(uint32_t vcpu, uint64_t offset, unsigned size, uint64_t value)
{
    vgic_distributor_write(on(vcpu), offset, size, value);
}

void host_dir(uint32_t vcpu, uint32_t value)
{
    vgic_dir(on(vcpu), value);
}
