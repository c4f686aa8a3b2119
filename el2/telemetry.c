// SPDX-License-Identifier: Apache-2.0
#include <stddef.h>

#include <el2/frames.h>
#include <el2/memory.h>
#include <el2/mm.h>
#include <el2/telemetry.h>

_Static_assert(sizeof(struct vcpu_telemetry) == 192 && sizeof(struct cpu_telemetry) == 64 &&
                   offsetof(struct vm_telemetry, vcpus) == 64 &&
                   offsetof(struct hypervisor_telemetry, vm_pages) == 576,
               "the layout of version 1");

union telemetry_page telemetry_page __attribute__((aligned(4096), section(".bss.pages")));

static void fill_header(struct telemetry_header *header, enum telemetry_kind kind, uint32_t size,
                        uint32_t count, const char name[VM_NAME_SIZE])
{
    memcpy(header->magic, "AETHERT1", sizeof(header->magic));
    memcpy(header->name, name, VM_NAME_SIZE);
    header->version = TELEMETRY_VERSION;
    header->kind = kind;
    header->size = size;
    header->count = count;
}

void telemetry_start(uint32_t cpu_count, uint64_t frame, uint64_t window, uint64_t frequency)
{
    static const char name[VM_NAME_SIZE] = "aether";
    struct hypervisor_telemetry *page = &telemetry_page.hypervisor;
    page->frame = frame;
    page->window = window;
    page->frequency = frequency;
    fill_header(&page->header, TELEMETRY_HYPERVISOR, sizeof(*page), cpu_count, name);
}

struct vm_telemetry *telemetry_add(uint32_t index, const struct vm_config *config)
{
    pa_t pa;
    if (!frames_allocate(PAGE_SIZE, PAGE_SIZE, OWNER_VM + index + 1, FRAME_SHOWN, &pa) ||
        !mm_map(pa, PAGE_SIZE, MM_READ_WRITE)) {
        return NULL;
    }
    mm_zero(pa, PAGE_SIZE);
    struct vm_telemetry *page = mm_pointer(pa);
    fill_header(&page->header, TELEMETRY_VM,
                (uint32_t)(offsetof(struct vm_telemetry, vcpus) +
                           config->vcpu_count * sizeof(struct vcpu_telemetry)),
                config->vcpu_count, config->name);
    mm_flush(pa, PAGE_SIZE); // nobody finds what was there before, caches on or off
    telemetry_page.hypervisor.vm_pages[index] = pa_value(pa);
    return page;
}
