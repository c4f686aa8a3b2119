// SPDX-License-Identifier: Apache-2.0
// A VM as it is created at boot: memory and stage 2.
#include <stddef.h>

#include <el2/frames.h>
#include <el2/mm.h>
#include <el2/vcpu.h>
#include <el2/vm.h>
#include <el2/vm_load.h>

#define BLOCK_SIZE UINT64_C(0x200000)
#define GIB UINT64_C(0x40000000)

// Symbols, as an observer finds them.
struct vm vms[VM_MAX];
uint32_t vm_count;

static bool get_memory(struct vm *vm, struct boot_error *error)
{
    unsigned owner = OWNER_VM + vm->vmid;
    for (uint32_t i = 0; i < 2 * vm->config.memory_count; i++) {
        const struct vm_memory_config *want = &vm->config.memory[i % vm->config.memory_count];
        uint64_t size = want->ipa.size;
        pa_t pa = want->host_address;
        if (want->pinned != (i < vm->config.memory_count)) {
            continue; // the pinned ones first: no other may be put in their way
        }
        if (want->pinned && !frames_take(pa, size, owner, FRAME_OWNED)) {
            return refuse(error, "vm memory", "host-address is not free memory of this board",
                          "choose a range outside of the hypervisor, the bundle and the firmware");
        }
        uint64_t align = size < BLOCK_SIZE ? PAGE_SIZE : BLOCK_SIZE;
        if (!want->pinned && !frames_allocate(size, align, owner, FRAME_OWNED, &pa)) {
            return refuse(error, "vm memory", "the board has no free range of that size",
                          "give the VM less memory or the board more");
        }
        vm->memory[i % vm->config.memory_count] =
            (struct vm_memory){ipa_of(want->ipa.base), pa, size};
    }
    return true;
}

// What stage 2 maps: number i of the VM's memory ranges and devices. Size 0: nothing of it.
static struct vm_memory mapping(const struct vm *vm, uint32_t i, struct pgt_attr *attr)
{
    *attr = (struct pgt_attr){{true, true, true, true}, PGT_NORMAL_WB};
    if (i < vm->config.memory_count) {
        return vm->memory[i];
    }
    const struct vm_device_config *device = &vm->config.devices[i - vm->config.memory_count];
    pa_t pa = device->host_address;
    struct range ipa = device->ipa;
    *attr = (struct pgt_attr){{true, true, false, false}, PGT_DEVICE_nGnRE};
    if (device->kind == VM_DEVICE_VPL011) {
        ipa.size = 0;
    } else if (device->kind == VM_DEVICE_VGICV2) {
        ipa = (struct range){device->gicc.base, PAGE_SIZE};
        pa = gic_virtual_interface();
    } else if (device->kind == VM_DEVICE_TELEMETRY) {
        pa = pa_of((uint64_t)(uintptr_t)vm->telemetry);
        *attr = (struct pgt_attr){{true, false, false, false}, PGT_NORMAL_WB};
    }
    return (struct vm_memory){ipa_of(ipa.base), pa, ipa.size};
}

// Enough table pages for one range at any alignment: level 3 at both ends, or throughout when
// blocks cannot be used; level 2 for each GiB touched; one of level 1 for each end.
static uint32_t table_pages(const struct vm_memory *memory, bool pages_only)
{
    bool blocks =
        !pages_only && ((ipa_value(memory->ipa) ^ pa_value(memory->pa)) & (BLOCK_SIZE - 1)) == 0;
    uint64_t level3 = blocks ? 2 : memory->size / BLOCK_SIZE + 2;
    return (uint32_t)(level3 + memory->size / GIB + 2 + 2);
}

static bool build_stage2(struct vm *vm, struct boot_error *error)
{
    unsigned pa_bits = mm_pa_bits();
    struct pgt_config config = {
        .regime = PGT_STAGE2,
        .ia_bits = pa_bits < VM_IPA_BITS ? pa_bits : VM_IPA_BITS,
        .pa_bits = pa_bits,
        .vmid = vm->vmid,
        .xnx = id_field(READ_SYSREG(id_aa64mmfr1_el1), ID_AA64MMFR1_XNX_SHIFT) != 0,
        // Of a partition each page can be taken away, and given back, without a table page.
        .pages_only = vm->config.ffa,
    };
    struct vm_memory window = {ipa_of(FFA_WINDOW_IPA), pa_of(0), FFA_WINDOW_SIZE};
    uint64_t root_size = pgt_root_size(&config);
    uint32_t count = vm->config.memory_count + vm->config.device_count;
    uint32_t pages = vm->config.ffa ? table_pages(&window, true) : 0;
    struct pgt_attr attr;
    pa_t root;
    pa_t pool;
    for (uint32_t i = 0; i < count; i++) {
        struct vm_memory range = mapping(vm, i, &attr);
        pages += table_pages(&range, vm->config.ffa);
    }
    if (!frames_allocate(root_size, root_size, OWNER_EL2, FRAME_TABLE, &root) ||
        !frames_allocate(pages * PAGE_SIZE, PAGE_SIZE, OWNER_EL2, FRAME_TABLE, &pool) ||
        !mm_map(root, root_size, MM_READ_WRITE) ||
        !mm_map(pool, pages * PAGE_SIZE, MM_READ_WRITE) ||
        pgt_pool_init(&vm->pool, pool, pages) != PGT_OK ||
        pgt_init(&vm->stage2, &config, root, &vm->pool) != PGT_OK) {
        return refuse(error, "vm memory", "no room for stage-2 tables",
                      "give the VM less memory or the board more");
    }
    for (uint32_t i = 0; i < count; i++) {
        struct vm_memory range = mapping(vm, i, &attr);
        if (range.size != 0 &&
            pgt_map(&vm->stage2, ia_of_ipa(range.ipa), range.pa, range.size, attr) != PGT_OK) {
            return refuse(error, "vm memory", "beyond the addresses this CPU can translate",
                          "move the VM's memory and devices to lower addresses");
        }
    }
    if (vm->config.ffa && pgt_reserve(&vm->stage2, ia_of_ipa(window.ipa), window.size) != PGT_OK) {
        return refuse(error, "vm memory", "no room for memory that is shared with it",
                      "keep the VM's memory and devices away from IPA 0x70000000");
    }
    return true;
}

static void create_vcpus(struct vm *vm)
{
    for (uint32_t i = 0; i < vm->vcpu_count; i++) {
        struct vcpu *vcpu = &vm->vcpus[i];
        vcpu->vm = vm;
        vcpu->index = i;
        vcpu->telemetry = &vm->telemetry->vcpus[i];
        for (uint32_t j = 0; j < vm->vcpu_count; j++) {
            vcpu->shares_cpu |= i != j && vm->config.vcpu_cpu[i] == vm->config.vcpu_cpu[j];
        }
    }
}

bool vm_create(uint32_t index, const struct vm_config *config, const struct bundle *bundle,
               struct boot_error *error)
{
    struct vm *vm = &vms[index];
    vm->vmid = (uint16_t)(index + 1);
    vm->config = *config;
    vm->vcpu_count = config->vcpu_count;
    vm->telemetry = telemetry_add(index, config);
    if (vm->telemetry == NULL) {
        return refuse(error, "vm memory", "no room for its telemetry",
                      "give the board more memory");
    }
    create_vcpus(vm);
    if (!get_memory(vm, error) || !build_stage2(vm, error)) {
        return false;
    }
    vm_load_from(bundle);
    if (!config->manual && !vm_load(vm)) { // else before it is started
        return refuse(error, "vm memory", "EL2 has no room to map it", "use fewer, larger ranges");
    }
    return true;
}

const struct vm *vm_home_of(pa_t page)
{
    struct range range = {pa_value(page), PAGE_SIZE};
    for (uint32_t i = 0; i < vm_count; i++) {
        for (uint32_t j = 0; j < vms[i].config.memory_count; j++) {
            const struct vm_memory *memory = &vms[i].memory[j];
            if (range_within(range, (struct range){pa_value(memory->pa), memory->size})) {
                return &vms[i];
            }
        }
    }
    return NULL;
}

bool vm_has_memory(const struct vm *vm, ipa_t ipa, uint64_t size)
{
    for (uint32_t i = 0; i < vm->config.memory_count; i++) {
        if (range_within((struct range){ipa_value(ipa), size}, vm->config.memory[i].ipa)) {
            return true;
        }
    }
    return false;
}
