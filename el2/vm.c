// SPDX-License-Identifier: Apache-2.0
#include <stddef.h>

#include <el2/console.h>
#include <el2/frames.h>
#include <el2/memory.h>
#include <el2/mm.h>
#include <el2/panic.h>
#include <el2/power.h>
#include <el2/vcpu.h>
#include <el2/vm.h>
#include <stage2/primitives.h>

#define BLOCK_SIZE UINT64_C(0x200000)
#define GIB UINT64_C(0x40000000)

static bool get_memory(struct vm *vm, struct boot_error *error)
{
    unsigned owner = OWNER_VM + vm->vmid;
    for (uint32_t i = 0; i < 2 * vm->config.memory_count; i++) {
        const struct vm_memory_config *want = &vm->config.memory[i % vm->config.memory_count];
        pa_t pa = want->host_address;
        if (want->pinned != (i < vm->config.memory_count)) {
            continue; // the pinned ones first: no other may be put in their way
        }
        if (want->pinned && !frames_take(pa, want->size, owner, FRAME_OWNED)) {
            return refuse(error, "vm memory", "host-address is not free memory of this board",
                          "choose a range outside of the hypervisor, the bundle and the firmware");
        }
        uint64_t align = want->size < BLOCK_SIZE ? PAGE_SIZE : BLOCK_SIZE;
        if (!want->pinned && !frames_allocate(want->size, align, owner, FRAME_OWNED, &pa)) {
            return refuse(error, "vm memory", "the board has no free range of that size",
                          "give the VM less memory or the board more");
        }
        vm->memory[i % vm->config.memory_count] = (struct vm_memory){want->ipa, pa, want->size};
    }
    return true;
}

// Enough table pages for one range at any alignment: level 3 at both ends, or throughout when
// blocks cannot be used; level 2 for each GiB touched; one of level 1 for each end.
static uint32_t table_pages(const struct vm_memory *memory)
{
    bool blocks = ((ipa_value(memory->ipa) ^ pa_value(memory->pa)) & (BLOCK_SIZE - 1)) == 0;
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
    };
    struct pgt_attr attr = {{true, true, true, true}, PGT_NORMAL_WB};
    uint64_t root_size = pgt_root_size(&config);
    uint32_t pages = 0;
    pa_t root;
    pa_t pool;
    for (uint32_t i = 0; i < vm->config.memory_count; i++) {
        pages += table_pages(&vm->memory[i]);
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
    for (uint32_t i = 0; i < vm->config.memory_count; i++) {
        const struct vm_memory *memory = &vm->memory[i];
        if (pgt_map(&vm->stage2, ia_of_ipa(memory->ipa), memory->pa, memory->size, attr) !=
            PGT_OK) {
            return refuse(error, "vm memory", "beyond the addresses this CPU can translate",
                          "move the VM's memory to a lower IPA");
        }
    }
    return true;
}

// The images, or what of them lies in this range (all of it or nothing: manifest_read checked).
static void load_images(const struct vm *vm, const struct vm_memory *memory)
{
    for (uint32_t i = 0; i < vm->config.image_count; i++) {
        const struct blob *blob = &vm->bundle.blobs[vm->config.images[i].blob];
        uint64_t at = ipa_value(vm->config.images[i].load_address);
        if (range_within(at, blob->size, ipa_value(memory->ipa), memory->size)) {
            uint64_t pa = pa_value(memory->pa) + (at - ipa_value(memory->ipa));
            memcpy(mm_pointer(pa_of(pa)), vm->bundle.base + blob->offset, blob->size);
        }
    }
}

// EL2 has guest memory mapped only in here.
static bool load_memory(const struct vm *vm)
{
    for (uint32_t i = 0; i < vm->config.memory_count; i++) {
        const struct vm_memory *memory = &vm->memory[i];
        if (!mm_map(memory->pa, memory->size, MM_READ_WRITE)) {
            return false;
        }
        mm_zero(memory->pa, memory->size);
        load_images(vm, memory);
        mm_flush(memory->pa, memory->size);
        mm_unmap(memory->pa, memory->size);
    }
    __asm__ volatile("ic ialluis" : : : "memory");
    pgt_prim_dsb_ish(); // old instructions gone before the guest fetches
    isb();
    return true;
}

static void reset_state(struct vm *vm)
{
    for (uint32_t i = 0; i < vm->config.device_count; i++) {
        vpl011_reset(&vm->uarts[i]);
    }
    vcpu_reset(&vm->vcpu, vm->config.entry, ipa_value(vm->config.dtb_address));
}

bool vm_create(struct vm *vm, uint16_t vmid, const struct bundle *bundle,
               const struct vm_config *config, struct boot_error *error)
{
    vm->vmid = vmid;
    vm->config = *config;
    vm->bundle = *bundle;
    vm->vcpu.vm = vm;
    if (!get_memory(vm, error) || !build_stage2(vm, error)) {
        return false;
    }
    if (!load_memory(vm)) {
        return refuse(error, "vm memory", "EL2 has no room to map it", "use fewer, larger ranges");
    }
    reset_state(vm);
    return true;
}

static void log_vm(const struct vm *vm, const char *what, const char *more)
{
    log_begin();
    log_text("vm ");
    log_text(vm->config.name);
    log_text(what);
    log_text(more);
    log_end();
}

_Noreturn void vm_run(struct vm *vm)
{
    vcpu_load(vm);
    log_vm(vm, ": start", "");
    // A pending SError is of the boot, and is taken here rather than blamed on the guest.
    __asm__ volatile("dsb sy\n msr daifclr, #4\n isb\n msr daifset, #4" : : : "memory");
    guest_enter(&vm->vcpu);
}

void vm_reset(struct vm *vm)
{
    log_vm(vm, ": reset", "");
    if (!load_memory(vm)) {
        panic("a VM's memory cannot be mapped again");
    }
    reset_state(vm);
    isb();                        // no walk through the old tables any more
    pgt_prim_tlbi_vmalls12e1is(); // translations of the guest's former life
    pgt_prim_dsb_ish();           // gone before it starts anew
}

_Noreturn void vm_off(struct vm *vm)
{
    (void)vm;
    power_end("guest-off");
}

_Noreturn void vm_crash(struct vcpu *vcpu, const char *why, ipa_t ipa)
{
    uint64_t esr = READ_SYSREG(esr_el2);
    log_vm(vcpu->vm, ": crash: ", why);
    log_begin();
    log_named("  pc ", vcpu->pc);
    log_named(" spsr ", vcpu->pstate);
    log_end();
    log_begin();
    log_named("  esr ", esr);
    log_text(" (");
    log_text(exception_class_name(esr >> ESR_EC_SHIFT & ESR_EC_MASK));
    log_text(")");
    log_end();
    log_begin();
    log_named("  far ", READ_SYSREG(far_el2));
    log_named(" ipa ", ipa_value(ipa));
    log_end();
    log_registers(vcpu->x);
    power_end("guest-crash");
}
