// SPDX-License-Identifier: Apache-2.0
#include <el2/fdt.h>
#include <el2/manifest.h>
#include <el2/memory.h>

#define CORRECT "correct the VM's description and build the bundle again"

// `memory@0`-like children carry their ranges as <address-hi address-lo size-hi size-lo>.
static bool read_range(const struct fdt *fdt, struct fdt_node node, struct fdt_range *range)
{
    struct fdt_value reg;
    if (!fdt_property(fdt, node, "reg", &reg) || reg.size != 16) {
        return false;
    }
    uint64_t words[2] = {0, 0};
    for (uint32_t i = 0; i < 16; i++) {
        words[i / 8] = words[i / 8] << 8 | reg.bytes[i];
    }
    *range = (struct fdt_range){words[0], words[1]};
    return true;
}

static bool is_vm_range(struct fdt_range range)
{
    return range.size != 0 && (range.base & PAGE_MASK) == 0 && (range.size & PAGE_MASK) == 0 &&
           range_within(range.base, range.size, 0, UINT64_C(1) << VM_IPA_BITS);
}

// Clashes with a memory or device range that the VM already has.
static bool is_taken(const struct vm_config *vm, struct fdt_range range)
{
    for (uint32_t i = 0; i < vm->memory_count; i++) {
        if (ranges_overlap(range.base, range.size, ipa_value(vm->memory[i].ipa),
                           vm->memory[i].size)) {
            return true;
        }
    }
    for (uint32_t i = 0; i < vm->device_count; i++) {
        if (ranges_overlap(range.base, range.size, ipa_value(vm->devices[i].ipa),
                           vm->devices[i].size)) {
            return true;
        }
    }
    return false;
}

static bool in_memory(const struct vm_config *vm, ipa_t ipa, uint64_t size)
{
    for (uint32_t i = 0; i < vm->memory_count; i++) {
        if (range_within(ipa_value(ipa), size, ipa_value(vm->memory[i].ipa), vm->memory[i].size)) {
            return true;
        }
    }
    return false;
}

static bool read_memory(const struct fdt *fdt, struct fdt_node node, struct vm_config *vm,
                        struct boot_error *error)
{
    struct fdt_range range;
    uint64_t host = 0;
    struct fdt_value value;
    bool pinned = fdt_property(fdt, node, "host-address", &value);
    if (vm->memory_count == VM_MAX_MEMORY) {
        return refuse(error, "manifest", "more than 4 memory ranges", CORRECT);
    }
    if (!read_range(fdt, node, &range) || !is_vm_range(range)) {
        return refuse(error, "manifest memory", "not whole 4 KiB pages below 2^40", CORRECT);
    }
    if (pinned && (!fdt_number(fdt, node, "host-address", &host) || (host & PAGE_MASK) != 0 ||
                   host > UINT64_MAX - range.size)) {
        return refuse(error, "manifest memory", "host-address is not a 4 KiB page", CORRECT);
    }
    if (is_taken(vm, range)) {
        return refuse(error, "manifest memory", "overlaps another range of the VM", CORRECT);
    }
    for (uint32_t i = 0; pinned && i < vm->memory_count; i++) {
        if (vm->memory[i].pinned &&
            ranges_overlap(host, range.size, pa_value(vm->memory[i].host_address),
                           vm->memory[i].size)) {
            return refuse(error, "manifest memory", "overlaps another host-address", CORRECT);
        }
    }
    vm->memory[vm->memory_count++] =
        (struct vm_memory_config){ipa_of(range.base), range.size, pinned, pa_of(host)};
    return true;
}

static bool read_image(const struct fdt *fdt, struct fdt_node node, const struct bundle *bundle,
                       struct vm_config *vm, struct boot_error *error)
{
    uint64_t blob;
    uint64_t address;
    if (vm->image_count == VM_MAX_IMAGES) {
        return refuse(error, "manifest", "more than 8 images", CORRECT);
    }
    if (!fdt_number(fdt, node, "blob", &blob) || blob >= bundle->blob_count) {
        return refuse(error, "manifest image", "no such blob in the bundle", CORRECT);
    }
    if (!fdt_number(fdt, node, "load-address", &address)) {
        return refuse(error, "manifest image", "no load-address", CORRECT);
    }
    vm->images[vm->image_count++] = (struct vm_image_config){(uint32_t)blob, ipa_of(address)};
    return true;
}

static bool read_device(const struct fdt *fdt, struct fdt_node node, struct vm_config *vm,
                        struct boot_error *error)
{
    struct fdt_range range;
    if (vm->device_count == VM_MAX_DEVICES) {
        return refuse(error, "manifest", "more than 4 devices", CORRECT);
    }
    if (!fdt_is_compatible(fdt, node, "aether,vpl011")) {
        return refuse(error, "manifest device", "unknown kind of device", CORRECT);
    }
    if (!read_range(fdt, node, &range) || !is_vm_range(range)) {
        return refuse(error, "manifest device", "not whole 4 KiB pages below 2^40", CORRECT);
    }
    if (is_taken(vm, range)) {
        return refuse(error, "manifest device", "overlaps another range of the VM", CORRECT);
    }
    vm->devices[vm->device_count++] = (struct vm_device_config){ipa_of(range.base), range.size};
    return true;
}

static bool read_name(const struct fdt *fdt, struct fdt_node node, char name[VM_NAME_SIZE])
{
    struct fdt_value value;
    if (!fdt_property(fdt, node, "vm-name", &value) || value.size < 2 ||
        value.size > VM_NAME_SIZE) {
        return false;
    }
    memset(name, 0, VM_NAME_SIZE);
    for (uint32_t i = 0; i < value.size - 1; i++) {
        char c = (char)value.bytes[i];
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-')) {
            return false;
        }
        name[i] = c;
    }
    return value.bytes[value.size - 1] == 0;
}

static bool read_children(const struct fdt *fdt, struct fdt_node node, const struct bundle *bundle,
                          struct vm_config *vm, struct boot_error *error)
{
    struct fdt_node child;
    for (bool more = fdt_first_child(fdt, node, &child); more;
         more = fdt_next_sibling(fdt, child, &child)) {
        bool good;
        if (fdt_named(fdt, child, "memory")) {
            good = read_memory(fdt, child, vm, error);
        } else if (fdt_named(fdt, child, "image")) {
            good = read_image(fdt, child, bundle, vm, error);
        } else if (fdt_named(fdt, child, "device")) {
            good = read_device(fdt, child, vm, error);
        } else {
            good = refuse(error, "manifest", "unknown node in a VM",
                          "use the `aether bundle` that came with this hypervisor");
        }
        if (!good) {
            return false;
        }
    }
    return true;
}

// What can only be checked once all memory ranges are known.
static bool check_placement(const struct bundle *bundle, const struct vm_config *vm,
                            struct boot_error *error)
{
    if (vm->memory_count == 0) {
        return refuse(error, "manifest", "the VM has no memory", CORRECT);
    }
    for (uint32_t i = 0; i < vm->image_count; i++) {
        const struct vm_image_config *image = &vm->images[i];
        uint64_t size = bundle->blobs[image->blob].size;
        if (!in_memory(vm, image->load_address, size)) {
            return refuse(error, "manifest image", "does not fit into the VM's memory",
                          "give the VM more memory or load the image elsewhere");
        }
        for (uint32_t j = 0; j < i; j++) {
            if (ranges_overlap(ipa_value(image->load_address), size,
                               ipa_value(vm->images[j].load_address),
                               bundle->blobs[vm->images[j].blob].size)) {
                return refuse(error, "manifest image", "overlaps another image", CORRECT);
            }
        }
    }
    if (ipa_value(vm->entry) % 4 != 0 || !in_memory(vm, vm->entry, 4)) {
        return refuse(error, "manifest", "the entry point is not in the VM's memory", CORRECT);
    }
    if (ipa_value(vm->dtb_address) != 0 && !in_memory(vm, vm->dtb_address, FDT_HEADER_SIZE)) {
        return refuse(error, "manifest", "dtb-address is not in the VM's memory", CORRECT);
    }
    return true;
}

bool manifest_read(const struct bundle *bundle, struct vm_config *vm, struct boot_error *error)
{
    struct fdt fdt;
    struct fdt_node node;
    struct fdt_node other;
    uint64_t number;
    uint64_t entry;
    uint64_t dtb_address;
    const char *damage =
        fdt_open(&fdt, bundle->base + bundle->manifest.offset, bundle->manifest.size);
    if (damage != NULL) {
        return refuse(error, "manifest", damage, "build the bundle again with `aether bundle`");
    }
    if (!fdt_is_compatible(&fdt, fdt_root(), "aether,manifest") ||
        !fdt_number(&fdt, fdt_root(), "aether,version", &number) || number != 1) {
        return refuse(error, "manifest", "not a manifest of version 1",
                      "use the `aether bundle` that came with this hypervisor");
    }
    if (!fdt_first_child(&fdt, fdt_root(), &node) || !fdt_named(&fdt, node, "vm") ||
        !fdt_is_compatible(&fdt, node, "aether,vm")) {
        return refuse(error, "manifest", "no VM", "describe one VM");
    }
    if (fdt_next_sibling(&fdt, node, &other)) {
        return refuse(error, "manifest", "more than one VM", "describe one VM");
    }
    memset(vm, 0, sizeof(*vm));
    if (!read_name(&fdt, node, vm->name)) {
        return refuse(error, "manifest", "vm-name is not 1 to 15 of a-z, 0-9 and -", CORRECT);
    }
    if (!fdt_number(&fdt, node, "vcpus", &number) || number != 1) {
        return refuse(error, "manifest", "the VM does not have one vCPU", "set vcpus = 1");
    }
    if (!fdt_number(&fdt, node, "entry", &entry) ||
        !fdt_number(&fdt, node, "dtb-address", &dtb_address)) {
        return refuse(error, "manifest", "no entry or no dtb-address", CORRECT);
    }
    vm->entry = ipa_of(entry);
    vm->dtb_address = ipa_of(dtb_address);
    return read_children(&fdt, node, bundle, vm, error) && check_placement(bundle, vm, error);
}
