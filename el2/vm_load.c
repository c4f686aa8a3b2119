// SPDX-License-Identifier: Apache-2.0
#include <stddef.h>

#include <el2/frames.h>
#include <el2/memory.h>
#include <el2/mm.h>
#include <el2/panic.h>
#include <el2/vm_load.h>
#include <stage2/primitives.h>

#define CHUNK UINT64_C(0x200000) // mapped at a time, at boot

static const struct bundle *bundle; // that of the boot

static uint64_t smaller(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

// Zeros, and what of the images lies in [ipa, ipa + size), to where that is at EL2.
static void fill(const struct vm *vm, uint64_t ipa, uint64_t size, uint8_t *to, bool images)
{
    pa_t base = pa_of((uintptr_t)to);
    mm_zero(base, size);
    for (uint32_t i = 0; images && i < vm->config.image_count; i++) {
        const struct range *blob = &bundle->blobs[vm->config.images[i].blob];
        uint64_t start = ipa_value(vm->config.images[i].load_address);
        uint64_t end = smaller(start + blob->size, ipa + size);
        uint64_t at = start > ipa ? start : ipa;
        if (at < end) {
            memcpy(to + (at - ipa), bundle->base + blob->base + (at - start), end - at);
        }
    }
    mm_flush(base, size);
}

static void finish(const struct vm *vm)
{
    __asm__ volatile("ic ialluis" : : : "memory");
    // No vCPU of any VM is loaded, and the EL1 regime is parked.
    uint64_t running = pgt_prim_set_vttbr(pgt_vttbr_el2(&vm->stage2));
    pgt_prim_tlbi_vmalls12e1is(); // translations of the guest's former life
    pgt_prim_dsb_ish();           // old instructions and translations gone before it runs
    (void)pgt_prim_set_vttbr(running);
    isb();
}

// Whether the VM has the page of its memory now. Then it is mapped.
static bool has_page(struct vm *vm, ipa_t ipa, pa_t pa)
{
    if (!vm->config.ffa) {
        return true;
    }
    struct frame frame = frame_get(frame_of(pa));
    struct pgt_walk walk;
    struct pgt_attr attr = {{true, true, true, true}, PGT_NORMAL_WB};
    if (frame.owner != OWNER_VM + vm->vmid || frame.state != FRAME_OWNED) {
        return false;
    }
    if (pgt_walk(&vm->stage2, ia_of_ipa(ipa), &walk) != PGT_OK &&
        pgt_fill(&vm->stage2, ia_of_ipa(ipa), pa, PAGE_SIZE, attr) != PGT_OK) {
        panic("a page that came home cannot be mapped");
    }
    return true;
}

void vm_load_from(const struct bundle *boot_bundle)
{
    bundle = boot_bundle;
}

bool vm_load(struct vm *vm)
{
    for (uint32_t i = 0; i < vm->config.memory_count; i++) {
        const struct vm_memory *memory = &vm->memory[i];
        uint64_t size;
        for (uint64_t at = 0; at < memory->size; at += size) {
            pa_t pa = pa_of(pa_value(memory->pa) + at);
            size = smaller(CHUNK, memory->size - at);
            if (!mm_map(pa, size, MM_READ_WRITE)) {
                return false;
            }
            fill(vm, ipa_value(memory->ipa) + at, size, mm_pointer(pa), true);
            mm_unmap(pa, size);
        }
    }
    finish(vm);
    return true;
}

static enum vm_load next_page(struct vm *vm, bool images)
{
    const struct vm_memory *memory = &vm->memory[vm->step];
    ipa_t ipa = ipa_of(ipa_value(memory->ipa) + vm->offset);
    pa_t pa = pa_of(pa_value(memory->pa) + vm->offset);
    if (has_page(vm, ipa, pa)) {
        uint32_t number = MM_WINDOW_CPU + this_cpu()->index;
        fill(vm, ipa_value(ipa), PAGE_SIZE, mm_window_open(number, pa, MM_READ_WRITE), images);
        mm_window_close(number);
    }
    vm->offset += PAGE_SIZE;
    if (vm->offset == memory->size) {
        vm->offset = 0;
        vm->step++;
    }
    if (vm->step < vm->config.memory_count) {
        return VM_LOAD_MORE;
    }
    finish(vm);
    return VM_LOAD_DONE;
}

enum vm_load vm_load_page(struct vm *vm)
{
    return next_page(vm, true);
}

enum vm_load vm_scrub_page(struct vm *vm)
{
    return next_page(vm, false);
}
