// SPDX-License-Identifier: Apache-2.0
#include <stddef.h>

#include <el2/memory.h>
#include <el2/mm.h>
#include <el2/vm_load.h>
#include <stage2/primitives.h>

#define CHUNK UINT64_C(0x200000) // mapped at a time

static const struct bundle *bundle; // that of the boot

// EL2's own tables. Only VMs that are loaded anew at the same time can meet here.
static struct spinlock map_lock;

static uint64_t smaller(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

// What of the images lies in [ipa, ipa + size), to where that is at EL2.
static void copy_images(const struct vm *vm, uint64_t ipa, uint64_t size, uint8_t *to)
{
    for (uint32_t i = 0; i < vm->config.image_count; i++) {
        const struct range *blob = &bundle->blobs[vm->config.images[i].blob];
        uint64_t start = ipa_value(vm->config.images[i].load_address);
        uint64_t end = smaller(start + blob->size, ipa + size);
        uint64_t at = start > ipa ? start : ipa;
        if (at < end) {
            memcpy(to + (at - ipa), bundle->base + blob->base + (at - start), end - at);
        }
    }
}

static void finish(const struct vm *vm)
{
    __asm__ volatile("ic ialluis" : : : "memory");
    // No vCPU of any VM is loaded, and the EL1 regime is parked.
    (void)pgt_prim_set_vttbr(pgt_vttbr_el2(&vm->stage2));
    pgt_prim_tlbi_vmalls12e1is(); // translations of the guest's former life
    pgt_prim_dsb_ish();           // old instructions and translations gone before it runs
    isb();
}

// `most` bytes, a power of two of up to CHUNK.
static enum vm_load load(struct vm *vm, uint64_t most)
{
    const struct vm_memory *memory = &vm->memory[vm->step];
    uint64_t chunk = vm->offset & ~(CHUNK - 1);
    uint64_t chunk_size = smaller(CHUNK, memory->size - chunk);
    uint64_t size = smaller(most, memory->size - vm->offset);
    pa_t chunk_pa = pa_of(pa_value(memory->pa) + chunk);
    pa_t pa = pa_of(pa_value(memory->pa) + vm->offset);
    if (vm->offset == chunk) {
        spin_lock(&map_lock);
        bool mapped = mm_map(chunk_pa, chunk_size, MM_READ_WRITE);
        spin_unlock(&map_lock);
        if (!mapped) {
            return VM_LOAD_FAILED;
        }
    }
    mm_zero(pa, size);
    copy_images(vm, ipa_value(memory->ipa) + vm->offset, size, mm_pointer(pa));
    mm_flush(pa, size);
    vm->offset += size;
    if (vm->offset == chunk + chunk_size) {
        spin_lock(&map_lock);
        mm_unmap(chunk_pa, chunk_size);
        spin_unlock(&map_lock);
    }
    if (vm->offset < memory->size) {
        return VM_LOAD_MORE;
    }
    vm->offset = 0;
    if (++vm->step < vm->config.memory_count) {
        return VM_LOAD_MORE;
    }
    finish(vm);
    return VM_LOAD_DONE;
}

bool vm_load(struct vm *vm, const struct bundle *boot_bundle)
{
    bundle = boot_bundle;
    enum vm_load result = VM_LOAD_MORE;
    while (result == VM_LOAD_MORE) {
        result = load(vm, CHUNK);
    }
    return result == VM_LOAD_DONE;
}

enum vm_load vm_load_page(struct vm *vm)
{
    return load(vm, PAGE_SIZE);
}
