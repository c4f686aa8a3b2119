// SPDX-License-Identifier: Apache-2.0
// The boot: from the board's device tree and the bundle to the schedule.
#include <stddef.h>

#include <el2/board.h>
#include <el2/bundle.h>
#include <el2/console.h>
#include <el2/frames.h>
#include <el2/gic.h>
#include <el2/image.h>
#include <el2/manifest.h>
#include <el2/memory.h>
#include <el2/mm.h>
#include <el2/power.h>
#include <el2/sched.h>
#include <el2/smp.h>
#include <el2/sysregs.h>
#include <el2/vcpu.h>
#include <el2/version.h>

#define DTB_MAX_SIZE 0x200000u // of the arm64 boot protocol

// Large, or needed after main() has left its stack.
static struct board board;
static struct bundle bundle;
static struct manifest manifest;

_Noreturn void main(uint64_t dtb, uint64_t entered_at_el3);

static _Noreturn void boot_fail(const struct boot_error *error)
{
    struct line line;
    line.used = 0;
    line_text(&line, "boot: ");
    line_text(&line, error->where);
    line_text(&line, ": ");
    line_text(&line, error->what);
    line_text(&line, "; ");
    line_text(&line, error->fix);
    log_show(&line);
    power_end("boot-failed");
}

static void log_start(const struct vm *vm)
{
    struct line line;
    line.used = 0;
    line_text(&line, "vm ");
    line_text(&line, vm->config.name);
    line_text(&line, ": start");
    log_show(&line);
}

// Maps the blob, first only as much as says how long it is.
static bool open_dtb(uint64_t address, struct fdt *fdt, struct range *dtb, struct boot_error *error)
{
    const char *fix = "start the hypervisor with the address of a device tree in x0";
    uint32_t size;
    pa_t base = pa_of(address & ~PAGE_MASK);
    uint64_t skip = address & PAGE_MASK;
    if (address == 0 || address % 8 != 0 || !mm_map(base, skip + FDT_HEADER_SIZE, MM_READ_ONLY)) {
        return refuse(error, "board device tree", "not at a possible address", fix);
    }
    if (!fdt_total_size(mm_pointer(pa_of(address)), &size) || size > DTB_MAX_SIZE) {
        return refuse(error, "board device tree", "not a device tree (bad magic or size)", fix);
    }
    mm_unmap(base, skip + FDT_HEADER_SIZE);
    *dtb = (struct range){pa_value(base), skip + size};
    if (!mm_map(base, dtb->size, MM_READ_ONLY)) {
        return refuse(error, "board device tree", "overlaps the hypervisor", fix);
    }
    const char *damage = fdt_open(fdt, mm_pointer(pa_of(address)), size);
    if (damage != NULL) {
        return refuse(error, "board device tree", damage, fix);
    }
    return true;
}

static bool open_bundle(struct boot_error *error)
{
    pa_t base = pa_of(board.bundle.base);
    if (board.bundle.size == 0) {
        return refuse(error, "bundle", "there is none",
                      "pass a file made by `aether bundle` as the initrd");
    }
    if (!mm_map(base, board.bundle.size, MM_READ_ONLY)) {
        return refuse(error, "bundle", "overlaps the hypervisor or the device tree",
                      "check how the hypervisor was started");
    }
    return bundle_open(&bundle, mm_pointer(base), board.bundle.size, error);
}

static bool create_vms(struct boot_error *error)
{
    for (uint32_t i = 0; i < manifest.vm_count; i++) {
        if (!vm_create(i, &manifest.vms[i], &bundle, error)) {
            return false;
        }
    }
    vm_count = manifest.vm_count;
    return true;
}

static bool boot(uint64_t dtb_address, bool entered_at_el3, struct boot_error *error)
{
    struct fdt fdt;
    struct range dtb;
    log_line("Aether EdgeCloud EL2 " AETHER_VERSION_TEXT);
    if (!open_dtb(dtb_address, &fdt, &dtb, error)) {
        return false;
    }
    bool good = board_read(&fdt, &board, error);
    power_init(board.psci_smc && !entered_at_el3); // before the console, which may not work
    bool has_uart = board.uart.size != 0 && mm_map(pa_of(board.uart.base), PAGE_SIZE, MM_DEVICE);
    if (has_uart) {
        console_init(pa_of(board.uart.base));
    }
    if (good && !has_uart) {
        return refuse(error, "board device tree", "no PL011", "use a board with a PL011");
    }
    if (!good || !gic_init(&board.gic, error)) {
        return false;
    }
    if (READ_SYSREG(cntfrq_el0) == 0) {
        return refuse(error, "timer", "CNTFRQ_EL0 is 0", "use firmware that sets it");
    }
    if (!frames_init(&board, dtb, error) || !smp_init(&board, error) || !open_bundle(error) ||
        !manifest_read(&bundle, &board, &manifest, error)) {
        return false;
    }
    sched_init(&manifest.schedule);
    if (!create_vms(error)) {
        return false;
    }
    vcpu_init_cpu();
    gic_cpu_init();
    if (!smp_start(&board, error)) {
        return false;
    }
    mm_unmap(pa_of(dtb.base), dtb.size);
    return true;
}

_Noreturn void main(uint64_t dtb, uint64_t entered_at_el3)
{
    struct boot_error error;
    if (!boot(dtb, entered_at_el3 != 0, &error)) {
        boot_fail(&error);
    }
    console_start();
    for (uint32_t i = 0; i < vm_count; i++) {
        if (!vms[i].config.manual) {
            log_start(&vms[i]);
        }
    }
    smp_run();
}
