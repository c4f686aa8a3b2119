// SPDX-License-Identifier: Apache-2.0
#include <el2/fdt.h>
#include <el2/ffa_memory.h>
#include <el2/manifest.h>
#include <el2/memory.h>

#define CORRECT "correct the description of the VMs and build the bundle again"
#define REBUILD "use the `aether bundle` that came with this hypervisor"

#define MAX_FRAME_US 1000000u
#define HOST_BITS 48u // of a PA
#define FIRST_SPI 32u
#define SPI_COUNT 64u
#define NO_CPU UINT32_MAX
#define SLOT_US (SLOT_ENTRY_US + SLOT_STEP_US)                  // longer than the window
#define FFA_SLOT_US (SLOT_ENTRY_US + FFA_CALL_US + FFA_PAGE_US) // a call about one page

// Ranges that do not meet.
struct range_set {
    struct range ranges[VM_MAX * (VM_MAX_MEMORY + VM_MAX_DEVICES)];
    uint32_t count;
};

struct reader {
    struct fdt fdt;
    const struct bundle *bundle;
    const struct board *board;
    struct manifest *manifest;
    struct boot_error *error;
    const char *where;
    struct range_set host; // PAs that have been given to a VM
    uint64_t host_spis;    // one bit each: given, or EL2's own
    struct vm_config *vm;  // the one that is being read, and what it has:
    struct range_set ipas;
    uint64_t spis;
};

#define CHECK(good, what) REQUIRE(good, r->error, r->where, what, CORRECT)

static bool add(struct range_set *set, struct range range)
{
    if (range_meets(range, set->ranges, set->count)) {
        return false;
    }
    set->ranges[set->count++] = range;
    return true;
}

static bool is_pages(struct range range, unsigned bits)
{
    return range.size != 0 && ((range.base | range.size) & PAGE_MASK) == 0 &&
           range_within(range, (struct range){0, UINT64_C(1) << bits});
}

// A window in the VM's address space, for memory or a device.
static bool take_ipa(struct reader *r, struct range ipa)
{
    struct range ffa = {FFA_WINDOW_IPA, FFA_WINDOW_SIZE};
    CHECK(is_pages(ipa, VM_IPA_BITS), "not whole 4 KiB pages below 2^40");
    CHECK(!r->vm->ffa || !ranges_overlap(ipa, ffa), "where FF-A memory of other VMs appears");
    CHECK(add(&r->ipas, ipa), "overlaps another range of the VM");
    return true;
}

// What `host-address` names, for as many bytes as the window has.
static bool take_host(struct reader *r, struct fdt_node node, struct range ipa, pa_t *base)
{
    struct range host = {0, ipa.size};
    bool found = fdt_number(&r->fdt, node, "host-address", &host.base);
    CHECK(found && is_pages(host, HOST_BITS), "host-address is not a 4 KiB page");
    CHECK(add(&r->host, host), "overlaps another host-address");
    *base = pa_of(host.base);
    return true;
}

static bool read_memory(struct reader *r, struct fdt_node node)
{
    struct fdt_value value;
    r->where = "manifest memory";
    CHECK(r->vm->memory_count < VM_MAX_MEMORY, "more than 4 memory ranges");
    struct vm_memory_config *memory = &r->vm->memory[r->vm->memory_count++];
    CHECK(fdt_ranges(&r->fdt, node, "reg", &memory->ipa, 1), "no reg of one range");
    memory->pinned = fdt_property(&r->fdt, node, "host-address", &value);
    return take_ipa(r, memory->ipa) &&
           (!memory->pinned || take_host(r, node, memory->ipa, &memory->host_address));
}

static bool read_image(struct reader *r, struct fdt_node node)
{
    uint64_t blob = UINT64_MAX;
    uint64_t address;
    r->where = "manifest image";
    (void)fdt_number(&r->fdt, node, "blob", &blob);
    CHECK(r->vm->image_count < VM_MAX_IMAGES, "more than 8 images");
    CHECK(blob < r->bundle->blob_count, "no such blob in the bundle");
    CHECK(fdt_number(&r->fdt, node, "load-address", &address), "no load-address");
    r->vm->images[r->vm->image_count++] = (struct vm_image_config){(uint32_t)blob, ipa_of(address)};
    return true;
}

// What is particular to each kind of device, by enum vm_device_kind.
static const struct {
    char compatible[20];
    uint64_t sizes[2]; // of its windows; 0: any
    uint32_t windows;
    uint32_t interrupts; // at most
    bool once;           // in a VM
} kinds[] = {
    [VM_DEVICE_VPL011] = {"aether,vpl011", {0}, 1, 1, false},
    [VM_DEVICE_VGICV2] = {"aether,vgicv2", {PAGE_SIZE, 2 * PAGE_SIZE}, 2, 0, true},
    [VM_DEVICE_PASSTHROUGH] = {"aether,passthrough", {0}, 1, VM_MAX_INTERRUPTS, false},
    [VM_DEVICE_TELEMETRY] = {"aether,telemetry", {PAGE_SIZE}, 1, 0, true},
};

#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

static bool read_interrupts(struct reader *r, struct fdt_node node, struct vm_device_config *device)
{
    struct fdt_value value;
    bool host = device->kind == VM_DEVICE_PASSTHROUGH;
    if (!fdt_property(&r->fdt, node, "interrupts", &value)) {
        return true;
    }
    CHECK(fdt_cells(&r->fdt, node, "interrupts", device->interrupts, kinds[device->kind].interrupts,
                    &device->interrupt_count),
          "more interrupts than its kind can have");
    for (uint32_t i = 0; i < device->interrupt_count; i++) {
        uint32_t spi = device->interrupts[i] - FIRST_SPI;
        uint64_t bit = UINT64_C(1) << spi % SPI_COUNT;
        CHECK(spi < SPI_COUNT, "an interrupt that is not 32 to 95");
        CHECK((r->spis & bit) == 0, "an interrupt that the VM has already");
        CHECK(!host || (r->host_spis & bit) == 0,
              "an interrupt that another VM or the hypervisor has");
        r->spis |= bit;
        r->host_spis |= host ? bit : 0;
    }
    return true;
}

// What is passed through must not be RAM, nor what EL2 uses itself.
static bool is_foreign(const struct board *board, struct range host)
{
    const struct board_gic *gic = &board->gic;
    struct range own[] = {board->uart, gic->distributor, gic->cpu_interface, gic->hypervisor,
                          gic->virtual_cpu};
    return !range_meets(host, own, 5) && !range_meets(host, board->banks, board->bank_count) &&
           !range_meets(host, board->reserved, board->reserved_count);
}

static bool read_device(struct reader *r, struct fdt_node node)
{
    struct vm_config *vm = r->vm;
    struct range reg[2] = {{0, 0}, {0, 0}};
    uint32_t kind = 0;
    r->where = "manifest device";
    while (kind < KINDS && !fdt_is_compatible(&r->fdt, node, kinds[kind].compatible)) {
        kind++;
    }
    CHECK(vm->device_count < VM_MAX_DEVICES, "more than 8 devices");
    CHECK(kind < KINDS, "unknown kind of device");
    for (uint32_t i = 0; i < vm->device_count; i++) {
        CHECK(!kinds[kind].once || vm->devices[i].kind != kind, "a second one of its kind");
    }
    bool good = fdt_ranges(&r->fdt, node, "reg", reg, kinds[kind].windows);
    for (uint32_t i = 0; i < kinds[kind].windows; i++) {
        CHECK(good && (kinds[kind].sizes[i] == 0 || reg[i].size == kinds[kind].sizes[i]),
              "not the windows of its kind");
        if (!take_ipa(r, reg[i])) {
            return false;
        }
    }
    struct vm_device_config *device = &vm->devices[vm->device_count++];
    device->kind = (enum vm_device_kind)kind;
    device->ipa = reg[0];
    device->gicc = reg[1];
    if (kind == VM_DEVICE_PASSTHROUGH) {
        if (!take_host(r, node, reg[0], &device->host_address)) {
            return false;
        }
        CHECK(
            is_foreign(r->board, (struct range){pa_value(device->host_address), device->ipa.size}),
            "memory or a device of the hypervisor cannot be passed through");
    }
    return read_interrupts(r, node, device);
}

static bool read_name(struct reader *r, struct fdt_node node)
{
    struct fdt_value value;
    bool good = fdt_property(&r->fdt, node, "vm-name", &value) && value.size >= 2 &&
                value.size <= VM_NAME_SIZE && value.bytes[value.size - 1] == 0;
    for (uint32_t i = 0; good && i < value.size - 1; i++) {
        char c = (char)value.bytes[i];
        good = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
        r->vm->name[i] = c;
    }
    CHECK(good, "vm-name is not 1 to 15 of a-z, 0-9 and -");
    CHECK(!string_equal(r->vm->name, "aether"), "no VM can have the name aether");
    for (const struct vm_config *other = r->manifest->vms; other < r->vm; other++) {
        CHECK(!string_equal(r->vm->name, other->name), "two VMs with one vm-name");
    }
    return true;
}

static bool in_memory(const struct vm_config *vm, struct range range)
{
    uint32_t i = 0;
    while (i < vm->memory_count && !range_within(range, vm->memory[i].ipa)) {
        i++;
    }
    return i < vm->memory_count;
}

// What can only be checked once all memory ranges and devices are known.
static bool check_vm(struct reader *r)
{
    const struct vm_config *vm = r->vm;
    struct range images[VM_MAX_IMAGES];
    uint64_t dtb = ipa_value(vm->dtb_address);
    bool has_gic = false;
    bool forwards = false;
    r->where = "manifest";
    CHECK(vm->memory_count != 0, "a VM has no memory");
    r->where = "manifest image";
    for (uint32_t i = 0; i < vm->image_count; i++) {
        images[i] = (struct range){ipa_value(vm->images[i].load_address),
                                   r->bundle->blobs[vm->images[i].blob].size};
        CHECK(in_memory(vm, images[i]), "does not fit into the VM's memory");
        CHECK(!range_meets(images[i], images, i), "overlaps another image");
    }
    for (uint32_t i = 0; i < vm->device_count; i++) {
        enum vm_device_kind kind = vm->devices[i].kind;
        has_gic |= kind == VM_DEVICE_VGICV2;
        forwards |= kind == VM_DEVICE_PASSTHROUGH && vm->devices[i].interrupt_count != 0;
    }
    r->where = "manifest";
    CHECK(ipa_value(vm->entry) % 4 == 0 && in_memory(vm, (struct range){ipa_value(vm->entry), 4}),
          "an entry point is not in the VM's memory");
    CHECK(dtb == 0 || in_memory(vm, (struct range){dtb, FDT_HEADER_SIZE}),
          "a dtb-address is not in the VM's memory");
    CHECK(has_gic || !forwards, "interrupts are passed through without an aether,vgicv2");
    return true;
}

static bool read_part(struct reader *r, struct fdt_node node)
{
    r->where = "manifest";
    if (fdt_named(&r->fdt, node, "memory")) {
        return read_memory(r, node);
    }
    if (fdt_named(&r->fdt, node, "image")) {
        return read_image(r, node);
    }
    CHECK(fdt_named(&r->fdt, node, "device"), "unknown node in a VM");
    return read_device(r, node);
}

// VMs by index, as a bit each; none if there is no such property.
static bool read_vm_set(struct reader *r, struct fdt_node node, const char *name, uint32_t *set)
{
    struct fdt_value value;
    uint32_t cells[VM_MAX];
    uint32_t count = 0;
    uint32_t self = r->manifest->vm_count - 1;
    CHECK(!fdt_property(&r->fdt, node, name, &value) ||
              fdt_cells(&r->fdt, node, name, cells, VM_MAX, &count),
          "ffa-peers or manages is not a list of VMs");
    for (uint32_t i = 0; i < count; i++) {
        CHECK(cells[i] < VM_MAX && cells[i] != self && (*set & 1u << cells[i]) == 0,
              "ffa-peers or manages has a VM twice, the VM itself, or none");
        *set |= 1u << cells[i];
    }
    return true;
}

static bool read_rights(struct reader *r, struct fdt_node node)
{
    struct fdt_value value;
    r->vm->manual = fdt_property(&r->fdt, node, "manual-start", &value);
    r->vm->ffa = fdt_property(&r->fdt, node, "ffa-peers", &value);
    if (fdt_property(&r->fdt, node, "ffa-uuid", &value)) {
        CHECK(r->vm->ffa && value.size == VM_UUID_SIZE, "ffa-uuid without peers, or not 16 bytes");
        memcpy(r->vm->uuid, value.bytes, VM_UUID_SIZE);
    }
    return read_vm_set(r, node, "ffa-peers", &r->vm->peers) &&
           read_vm_set(r, node, "manages", &r->vm->manages);
}

// Once all VMs are known.
static bool check_rights(struct reader *r)
{
    const struct manifest *manifest = r->manifest;
    bool starts = false;
    for (uint32_t i = 0; i < manifest->vm_count; i++) {
        const struct vm_config *vm = &manifest->vms[i];
        starts |= !vm->manual;
        CHECK((vm->peers | vm->manages) >> manifest->vm_count == 0,
              "ffa-peers or manages names a VM that there is not");
        for (uint32_t j = 0; j < manifest->vm_count; j++) {
            CHECK((vm->peers >> j & 1) == (manifest->vms[j].peers >> i & 1),
                  "of two VMs only one has the other in ffa-peers");
        }
    }
    CHECK(starts, "no VM starts by itself");
    return true;
}

static bool read_vm(struct reader *r, struct fdt_node node)
{
    uint64_t vcpus = 0;
    uint64_t restart = UINT64_MAX;
    r->where = "manifest";
    CHECK(fdt_is_compatible(&r->fdt, node, "aether,vm"), "unknown node");
    CHECK(r->manifest->vm_count < VM_MAX, "more than 8 VMs");
    struct vm_config *vm = r->vm = &r->manifest->vms[r->manifest->vm_count++];
    r->ipas.count = 0;
    r->spis = 0;
    if (!read_name(r, node) || !read_rights(r, node)) {
        return false;
    }
    (void)fdt_number(&r->fdt, node, "vcpus", &vcpus);
    (void)fdt_number(&r->fdt, node, "restart", &restart);
    CHECK(vcpus >= 1 && vcpus <= VM_MAX_VCPUS, "vcpus is not 1 to 8");
    CHECK(restart <= VM_RESTART_ALWAYS, "restart is not 0, 1 or 2");
    CHECK(fdt_number(&r->fdt, node, "entry", &vm->entry.value) &&
              fdt_number(&r->fdt, node, "dtb-address", &vm->dtb_address.value),
          "no entry or no dtb-address");
    vm->vcpu_count = (uint32_t)vcpus;
    vm->restart = (enum vm_restart)restart;
    memset(vm->vcpu_cpu, 0xff, sizeof(vm->vcpu_cpu)); // NO_CPU
    struct fdt_node child;
    for (bool more = fdt_first_child(&r->fdt, node, &child); more;
         more = fdt_next_sibling(&r->fdt, child, &child)) {
        if (!read_part(r, child)) {
            return false;
        }
    }
    return check_vm(r);
}

static bool check_slot(struct reader *r, const struct vm_config *vm, uint32_t us)
{
    _Static_assert(SLOT_US == 58 && FFA_SLOT_US == 113, "as they are told here");
    const char *what = vm->ffa ? "a slot of it, a partition, is not 113 us longer than the window"
                               : "a slot of it is not 58 us longer than the window";
    bool good = us >= r->manifest->schedule.window_us + (vm->ffa ? FFA_SLOT_US : SLOT_US);
    REQUIRE(good, r->error, vm->name, what, CORRECT);
    return true;
}

// The slots of one pCPU: <vm vcpu us> each.
static bool read_slots(struct reader *r, struct fdt_node node, uint32_t cpu)
{
    struct schedule_config *schedule = &r->manifest->schedule;
    uint32_t cells[3 * SLOT_MAX];
    uint32_t count = 0;
    uint32_t at = 0;
    CHECK(fdt_cells(&r->fdt, node, "slots", cells, 3 * SLOT_MAX, &count) && count != 0 &&
              count % 3 == 0,
          "a CPU does not have 1 to 16 slots");
    CHECK(schedule->slot_count[cpu] == 0, "a CPU is described twice");
    for (uint32_t i = 0; i < count; i += 3) {
        struct slot_config slot = {cells[i], cells[i + 1], at, cells[i + 2]};
        CHECK(slot.length_us > schedule->window_us, "a slot is not longer than the window");
        CHECK(slot.length_us <= schedule->frame_us - at, "a CPU's slots exceed the frame");
        if (slot.vm != SLOT_IDLE) {
            CHECK(slot.vm < r->manifest->vm_count &&
                      slot.vcpu < r->manifest->vms[slot.vm].vcpu_count,
                  "a slot of a vCPU that there is not");
            if (!check_slot(r, &r->manifest->vms[slot.vm], slot.length_us)) {
                return false;
            }
            uint32_t *home = &r->manifest->vms[slot.vm].vcpu_cpu[slot.vcpu];
            CHECK(*home == NO_CPU || *home == cpu, "a vCPU has slots on two CPUs");
            *home = cpu;
        }
        schedule->slots[cpu][schedule->slot_count[cpu]++] = slot;
        at += slot.length_us;
    }
    CHECK(at == schedule->frame_us, "a CPU's slots do not fill the frame");
    return true;
}

// The N of a node `cpu@N`, one hexadecimal digit; no CPU's if there is none.
static uint32_t cpu_number(const char *name)
{
    static const char before[] = "cpu@";
    if (memcmp(name, before, 4) != 0 || name[4] < '0' || name[4] > '9' || name[5] != '\0') {
        return NO_CPU;
    }
    return (uint32_t)(name[4] - '0');
}

static bool read_schedule(struct reader *r, struct fdt_node node)
{
    struct schedule_config *schedule = &r->manifest->schedule;
    struct fdt_node child;
    uint64_t frame = 0;
    uint64_t window = 0;
    r->where = "manifest schedule";
    (void)fdt_number(&r->fdt, node, "frame-us", &frame);
    (void)fdt_number(&r->fdt, node, "window-us", &window);
    CHECK(frame >= 1 && frame <= MAX_FRAME_US, "frame-us is not 1 to 1000000");
    CHECK(window >= 1 && window < frame, "window-us is not less than the frame");
    schedule->frame_us = (uint32_t)frame;
    schedule->window_us = (uint32_t)window;
    for (bool more = fdt_first_child(&r->fdt, node, &child); more;
         more = fdt_next_sibling(&r->fdt, child, &child)) {
        uint32_t cpu = cpu_number(fdt_name(&r->fdt, child));
        CHECK(cpu < r->board->cpu_count, "a CPU that the board does not have");
        if (!read_slots(r, child, cpu)) {
            return false;
        }
    }
    for (uint32_t i = 0; i < r->manifest->vm_count; i++) {
        for (uint32_t j = 0; j < r->manifest->vms[i].vcpu_count; j++) {
            CHECK(r->manifest->vms[i].vcpu_cpu[j] != NO_CPU, "a vCPU has no slot");
        }
    }
    return true;
}

bool manifest_read(const struct bundle *bundle, const struct board *board,
                   struct manifest *manifest, struct boot_error *error)
{
    struct reader reader = {.bundle = bundle,
                            .board = board,
                            .manifest = manifest,
                            .error = error,
                            .where = "manifest"};
    struct reader *r = &reader;
    struct fdt_node node;
    struct fdt_node schedule = fdt_root();
    uint64_t version = 0;
    uint32_t uart_spi = board->uart_intid - FIRST_SPI;
    const char *damage =
        fdt_open(&r->fdt, bundle->base + bundle->manifest.base, bundle->manifest.size);
    if (damage != NULL) {
        return refuse(error, "manifest", damage, REBUILD);
    }
    (void)fdt_number(&r->fdt, fdt_root(), "aether,version", &version);
    if (!fdt_is_compatible(&r->fdt, fdt_root(), "aether,manifest") || version != 3) {
        return refuse(error, "manifest", "not a manifest of version 3", REBUILD);
    }
    memset(manifest, 0, sizeof(*manifest));
    r->host_spis = uart_spi < SPI_COUNT ? UINT64_C(1) << uart_spi : 0;
    for (bool more = fdt_first_child(&r->fdt, fdt_root(), &node); more;
         more = fdt_next_sibling(&r->fdt, node, &node)) {
        if (fdt_named(&r->fdt, node, "schedule")) {
            CHECK(schedule.offset == 0, "a second schedule");
            schedule = node; // read last: it names VMs
        } else if (!read_vm(r, node)) {
            return false;
        }
    }
    r->where = "manifest";
    CHECK(manifest->vm_count != 0, "no VM");
    CHECK(schedule.offset != 0, "no schedule");
    return check_rights(r) && read_schedule(r, schedule);
}
