// SPDX-License-Identifier: Apache-2.0
#include <stddef.h>

#include <el2/frames.h>
#include <el2/memory.h>
#include <el2/mm.h>
#include <el2/panic.h>
#include <el2/sched.h>
#include <el2/vcpu.h>

#define HANDLE_HYPERVISOR BIT(63)
#define HANDLE_COUNT_SHIFT 16u
#define HANDLE_COUNT_MASK (BIT(47) - 1)
#define HANDLE_OWNER_SHIFT 8u
#define HANDLE_FIELD_MASK 0xffu

// What RETRIEVE_REQ leaves in RX.
struct response {
    struct ffa_mem_header header;
    struct ffa_mem_endpoint endpoint;
    struct ffa_mem_composite composite;
    struct ffa_mem_range range;
};

#define US_PER_SECOND 1000000u
#define CALL_SIZE 4u // of HVC and SMC

bool ffa_lock(struct vm *vm, uint32_t ending)
{
    struct ffa_vm_memory *shares = &vm->shares;
    if (ending == 0 && __atomic_load_n(&shares->wanted, __ATOMIC_RELAXED) != 0) {
        return false;
    }
    bool got = __atomic_exchange_n(&shares->lock, 1, __ATOMIC_ACQUIRE) == 0;
    if (got && ending != 0) {
        __atomic_fetch_and(&shares->wanted, ~ending, __ATOMIC_RELAXED);
    } else if (ending != 0) {
        __atomic_fetch_or(&shares->wanted, ending, __ATOMIC_RELAXED);
    }
    if (got) {
        isb(); // a window that another PE has opened under the lock is there for what follows
    }
    return got;
}

void ffa_unlock(struct vm *vm)
{
    __atomic_store_n(&vm->shares.lock, 0, __ATOMIC_RELEASE);
}

struct frame *ffa_own_frame(const struct vm *vm, ipa_t ipa, struct pgt_walk *walk)
{
    if (pgt_walk(&vm->stage2, ia_of_ipa(ipa), walk) != PGT_OK) {
        return NULL;
    }
    struct frame *frame = frame_of(walk->pa);
    return frame != NULL && frame_get(frame).owner == OWNER_VM + vm->vmid ? frame : NULL;
}

// The VM, if it is the caller or its peer, that a handle would belong to.
static struct vm *owner_of(struct vm *vm, uint64_t handle)
{
    uint32_t id = (uint32_t)(handle >> HANDLE_OWNER_SHIFT) & HANDLE_FIELD_MASK;
    return id == vm->vmid || ffa_is_peer(vm, id) ? &vms[id - 1] : NULL;
}

static struct ffa_transaction *find(struct vm *owner, uint64_t handle)
{
    uint64_t index = handle & HANDLE_FIELD_MASK;
    struct ffa_transaction *transaction = &owner->shares.transactions[index % FFA_TRANSACTIONS];
    bool good = index < FFA_TRANSACTIONS && handle != 0 && transaction->handle == handle;
    return good ? transaction : NULL;
}

// Changes that have been checked before, so that they cannot fail.

static void map(struct vm *vm, ipa_t ipa, pa_t pa, struct pgt_attr attr)
{
    if (pgt_fill(&vm->stage2, ia_of_ipa(ipa), pa, PAGE_SIZE, attr) != PGT_OK) {
        panic("a page that is shared cannot be mapped");
    }
}

static void unmap(struct vm *vm, ipa_t ipa)
{
    if (pgt_hold(&vm->stage2, ia_of_ipa(ipa), PAGE_SIZE) != PGT_OK) {
        panic("a page that is shared cannot be unmapped");
    }
}

static void set_frame(const struct ffa_page *page, const struct vm *owner, enum frame_state state,
                      unsigned borrower)
{
    frame_set(frame_of(page->pa), OWNER_VM + owner->vmid, state, borrower);
}

static enum frame_state offered(const struct ffa_transaction *transaction)
{
    return transaction->kind == FFA_SHARED ? FRAME_SHARED : FRAME_LENT;
}

// A page of the window is in use, or not; any other page: nothing.
static void use_window(struct vm *vm, ipa_t ipa, bool used)
{
    uint64_t page = (ipa_value(ipa) - FFA_WINDOW_IPA) / PAGE_SIZE;
    if (ipa_value(ipa) >= FFA_WINDOW_IPA && page < FFA_WINDOW_PAGES) {
        uint64_t bit = BIT(page % 64);
        uint64_t *word = &vm->shares.window[page / 64];
        *word = used ? *word | bit : *word & ~bit;
    }
}

// The lowest `count` (1 to 64) pages in a row that are free; FFA_WINDOW_PAGES: there are none.
static uint32_t find_run(const struct vm *vm, uint32_t count)
{
    const uint64_t *words = vm->shares.window;
    for (uint32_t i = 0; i < FFA_WINDOW_PAGES / 64; i++) {
        uint64_t next = i + 1 < FFA_WINDOW_PAGES / 64 ? words[i + 1] : UINT64_MAX;
        unsigned __int128 starts = ~((unsigned __int128)next << 64 | words[i]);
        for (uint32_t length = 1; length < count;) { // bit n: so many from n on are free
            uint32_t more = length < count - length ? length : count - length;
            starts &= starts >> more;
            length += more;
        }
        if ((uint64_t)starts != 0) {
            return i * 64 + (uint32_t)__builtin_ctzll((uint64_t)starts);
        }
    }
    return FFA_WINDOW_PAGES;
}

void ffa_leave_window(struct vm *vm, ipa_t ipa)
{
    unmap(vm, ipa);
    use_window(vm, ipa, false);
}

void ffa_give_back(struct vm *owner, struct ffa_transaction *transaction, bool clean)
{
    uint32_t i = --transaction->mapped;
    ffa_leave_window(&vms[transaction->receiver - 1], ffa_window_ipa(transaction->window_page + i));
    if (clean && transaction->written) {
        mm_clean(transaction->pages[i].pa);
    }
    set_frame(&transaction->pages[i], owner, offered(transaction), 0);
}

void ffa_take_back(struct vm *owner, struct ffa_transaction *transaction)
{
    const struct ffa_page *page = &transaction->pages[--transaction->page_count];
    set_frame(page, owner, FRAME_OWNED, 0);
    if (transaction->kind != FFA_SHARED) {
        map(owner, page->ipa, page->pa, page->attr);
    }
    if (transaction->page_count == 0) {
        transaction->handle = 0;
    }
}

static void scrub(const struct ffa_transaction *transaction)
{
    for (uint32_t i = 0; i < transaction->page_count; i++) {
        mm_scrub(transaction->pages[i].pa);
    }
}

// The descriptor in TX, copied once. The caller's share lock is held.
static enum ffa_error read_tx(struct vcpu *vcpu, bool ranges, struct ffa_request *request)
{
    uint64_t copy[FFA_MAX_LENGTH / sizeof(uint64_t)];
    uint32_t length = (uint32_t)vcpu->x[1];
    if (!vcpu->vm->shares.mailbox.mapped || length > FFA_MAX_LENGTH ||
        length != (uint32_t)vcpu->x[2]) {
        return FFA_INVALID_PARAMETERS;
    }
    memcpy(copy, mm_window(MM_WINDOW_TX + vcpu->vm->vmid - 1u), length);
    return ffa_read_request(copy, length, ranges, request);
}

static bool has_time(uint32_t us)
{
    return sched_has_time(us * READ_SYSREG(cntfrq_el0) / US_PER_SECOND);
}

static enum ffa_error time_for(const struct vcpu *vcpu, uint32_t pages)
{
    uint32_t us = pages * FFA_PAGE_US;
    if (FFA_CALL_US + us > vcpu->longest_us) {
        return FFA_NO_MEMORY;
    }
    return has_time(us) ? FFA_OK : FFA_RETRY;
}

static _Noreturn void call_again(struct vcpu *vcpu)
{
    vcpu->pc -= CALL_SIZE;
    sched_yield_slot();
}

// What all calls here begin and end with: the caller's share lock. FFA_RETRY, which no caller sees,
// is for a lack of time.
static bool begin(struct vcpu *vcpu)
{
    if (!has_time(FFA_CALL_US)) {
        call_again(vcpu);
    }
    return ffa_lock(vcpu->vm, 0);
}

static enum ffa_error end(struct vcpu *vcpu, enum ffa_error error)
{
    ffa_unlock(vcpu->vm);
    if (error == FFA_RETRY) {
        call_again(vcpu);
    }
    return error;
}

static bool good_attributes(const struct ffa_request *request)
{
    return request->attributes == 0 || request->attributes == FFA_ATTRIBUTES_NORMAL;
}

// What a sender may say.
static bool good_offer(const struct vm *vm, const struct ffa_request *request,
                       enum ffa_mem_kind kind)
{
    bool donated = kind == FFA_DONATED;
    bool access = donated
                      ? request->permissions == 0
                      : request->permissions == FFA_DATA_RO || request->permissions == FFA_DATA_RW;
    return request->sender == vm->vmid && request->handle == 0 &&
           ffa_is_peer(vm, request->receiver) && access &&
           (request->flags & ~(kind == FFA_SHARED ? 0u : FFA_FLAG_ZERO)) == 0 &&
           good_attributes(request) && (kind == FFA_SHARED || request->attributes == 0);
}

static enum ffa_error send(struct vcpu *vcpu, enum ffa_mem_kind kind)
{
    struct vm *vm = vcpu->vm;
    struct ffa_request request;
    enum ffa_error error = read_tx(vcpu, true, &request);
    if (error != FFA_OK) {
        return error;
    }
    if (!good_offer(vm, &request, kind)) {
        return FFA_INVALID_PARAMETERS;
    }
    uint32_t index = 0;
    while (index < FFA_TRANSACTIONS && vm->shares.transactions[index].handle != 0) {
        index++;
    }
    if (index == FFA_TRANSACTIONS) {
        return FFA_NO_MEMORY;
    }
    bool zero = (request.flags & FFA_FLAG_ZERO) != 0;
    error = time_for(vcpu, request.page_count);
    if (error != FFA_OK) {
        return error;
    }
    struct ffa_transaction *transaction = &vm->shares.transactions[index];
    for (uint32_t i = 0; i < request.page_count; i++) {
        struct pgt_walk walk;
        const struct frame *frame = ffa_own_frame(vm, ipa_of(request.pages[i]), &walk);
        if (frame == NULL || frame_get(frame).state != FRAME_OWNED) {
            return FFA_DENIED;
        }
        transaction->pages[i] = (struct ffa_page){ipa_of(request.pages[i]), walk.pa, walk.attr};
    }
    uint64_t count = ++vm->shares.handles & HANDLE_COUNT_MASK;
    transaction->handle = HANDLE_HYPERVISOR | count << HANDLE_COUNT_SHIFT |
                          (uint64_t)vm->vmid << HANDLE_OWNER_SHIFT | index;
    transaction->tag = request.tag;
    transaction->kind = kind;
    transaction->receiver = request.receiver;
    transaction->writable = request.permissions != FFA_DATA_RO;
    transaction->mapped = 0;
    transaction->page_count = request.page_count;
    for (uint32_t i = 0; i < request.page_count; i++) {
        if (kind != FFA_SHARED) {
            unmap(vm, transaction->pages[i].ipa);
        }
        set_frame(&transaction->pages[i], vm, offered(transaction), 0);
        if (!zero) {
            mm_clean(transaction->pages[i].pa);
        }
    }
    if (zero) {
        scrub(transaction);
    }
    ffa_result(vcpu, FFA_SUCCESS);
    vcpu->x[2] = (uint32_t)transaction->handle;
    vcpu->x[3] = transaction->handle >> 32;
    return FFA_OK;
}

enum ffa_error ffa_mem_send(struct vcpu *vcpu, enum ffa_mem_kind kind)
{
    return begin(vcpu) ? end(vcpu, send(vcpu, kind)) : FFA_BUSY;
}

// Is it the transaction that the request, of `vm`, describes?
static bool is_meant(const struct ffa_transaction *transaction, const struct vm *vm,
                     const struct vm *owner, const struct ffa_request *request)
{
    uint32_t type = request->flags >> FFA_FLAG_TYPE_SHIFT & FFA_FLAG_TYPE_MASK;
    uint32_t zero = transaction->kind == FFA_SHARED ? 0 : FFA_FLAG_ZERO;
    return request->sender == owner->vmid && request->receiver == vm->vmid &&
           transaction->receiver == vm->vmid && transaction->tag == request->tag &&
           (type == 0 || type == transaction->kind) &&
           (request->flags & ~(FFA_FLAG_TYPE_MASK << FFA_FLAG_TYPE_SHIFT | zero)) == 0 &&
           good_attributes(request);
}

static void respond(struct vcpu *vcpu, const struct ffa_transaction *transaction, uint64_t handle,
                    const struct ffa_request *request, uint32_t permissions)
{
    struct vm *vm = vcpu->vm;
    struct response response;
    memset(&response, 0, sizeof(response));
    response.header.sender = request->sender;
    response.header.attributes = FFA_ATTRIBUTES_NORMAL;
    response.header.flags = (request->flags & FFA_FLAG_ZERO) | transaction->kind
                                                                   << FFA_FLAG_TYPE_SHIFT;
    response.header.handle = handle;
    response.header.tag = transaction->tag;
    response.header.endpoint_size = sizeof(response.endpoint);
    response.header.endpoint_count = 1;
    response.header.endpoint_offset = offsetof(struct response, endpoint);
    response.endpoint.id = vm->vmid;
    response.endpoint.permissions = (uint8_t)permissions;
    response.endpoint.composite_offset = offsetof(struct response, composite);
    response.composite.page_count = transaction->page_count;
    response.composite.range_count = 1;
    response.range.address = ipa_value(ffa_window_ipa(transaction->window_page));
    response.range.page_count = transaction->page_count;
    memcpy(mm_window(MM_WINDOW_RX + vm->vmid - 1u), &response, sizeof(response));
    ffa_set_rx_full(&vm->shares.mailbox, true);
    ffa_result(vcpu, FFA_MEM_RETRIEVE_RESP);
    vcpu->x[1] = sizeof(response);
    vcpu->x[2] = sizeof(response);
}

static enum ffa_error retrieve(struct vcpu *vcpu, struct vm *owner,
                               const struct ffa_request *request)
{
    struct vm *vm = vcpu->vm;
    struct ffa_transaction *transaction = find(owner, request->handle);
    uint32_t data = request->permissions & FFA_PERMISSION_MASK;
    uint32_t instruction = request->permissions >> FFA_INSTRUCTION_SHIFT;
    if (transaction == NULL || !is_meant(transaction, vm, owner, request) || data > FFA_DATA_RW ||
        instruction > FFA_INSTRUCTION_X) {
        return FFA_INVALID_PARAMETERS;
    }
    bool donated = transaction->kind == FFA_DONATED;
    bool zero = (request->flags & FFA_FLAG_ZERO) != 0;
    bool writes = donated || data == FFA_DATA_RW || (data == 0 && transaction->writable);
    bool executes = instruction == FFA_INSTRUCTION_X;
    if (transaction->mapped != 0 || ((writes || zero) && !transaction->writable) ||
        (executes && transaction->kind == FFA_SHARED)) {
        return FFA_DENIED;
    }
    if (ffa_rx_full(&vm->shares.mailbox)) {
        return FFA_BUSY;
    }
    uint32_t first = find_run(vm, transaction->page_count);
    if (first == FFA_WINDOW_PAGES) {
        return FFA_NO_MEMORY;
    }
    enum ffa_error error = time_for(vcpu, transaction->page_count);
    if (error != FFA_OK) {
        return error;
    }
    if (zero) {
        scrub(transaction);
    }
    if (executes) { // no instruction that stood there before is left
        __asm__ volatile("ic ialluis\n dsb ish" : : : "memory"); // done before it can be fetched
    }
    struct pgt_attr attr = {{true, writes, executes, executes}, PGT_NORMAL_WB};
    for (uint32_t i = 0; i < transaction->page_count; i++) {
        const struct ffa_page *page = &transaction->pages[i];
        if (donated) {
            use_window(owner, page->ipa, false);
            set_frame(page, vm, FRAME_OWNED, 0);
        } else {
            set_frame(page, owner, offered(transaction), OWNER_VM + vm->vmid);
        }
        map(vm, ffa_window_ipa(first + i), page->pa, attr);
        use_window(vm, ffa_window_ipa(first + i), true);
    }
    transaction->window_page = first;
    transaction->written = writes;
    if (donated) {
        transaction->handle = 0;
        transaction->receiver = 0;
    } else {
        transaction->mapped = transaction->page_count;
    }
    uint32_t access = (executes ? FFA_INSTRUCTION_X : FFA_INSTRUCTION_NX) << FFA_INSTRUCTION_SHIFT;
    respond(vcpu, transaction, request->handle, request,
            access | (writes ? FFA_DATA_RW : FFA_DATA_RO));
    return FFA_OK;
}

static enum ffa_error read_and_retrieve(struct vcpu *vcpu)
{
    struct ffa_request request;
    enum ffa_error error = read_tx(vcpu, false, &request);
    if (error != FFA_OK) {
        return error;
    }
    struct vm *owner = owner_of(vcpu->vm, request.handle);
    if (owner == NULL || owner == vcpu->vm) {
        return FFA_INVALID_PARAMETERS;
    }
    if (!ffa_lock(owner, 0)) {
        return FFA_BUSY;
    }
    error = retrieve(vcpu, owner, &request);
    ffa_unlock(owner);
    return error;
}

enum ffa_error ffa_mem_retrieve(struct vcpu *vcpu)
{
    return begin(vcpu) ? end(vcpu, read_and_retrieve(vcpu)) : FFA_BUSY;
}

static enum ffa_error relinquish(struct vcpu *vcpu, struct vm *owner,
                                 const struct ffa_mem_relinquish *request)
{
    struct ffa_transaction *transaction = find(owner, request->handle);
    bool zero = request->flags == FFA_FLAG_ZERO;
    if (transaction == NULL) {
        return FFA_INVALID_PARAMETERS;
    }
    if (transaction->receiver != vcpu->vm->vmid || transaction->mapped == 0) {
        return FFA_DENIED;
    }
    if (zero && (transaction->kind == FFA_SHARED || !transaction->written)) {
        return FFA_INVALID_PARAMETERS;
    }
    enum ffa_error error = time_for(vcpu, transaction->page_count);
    if (error != FFA_OK) {
        return error;
    }
    while (transaction->mapped != 0) {
        ffa_give_back(owner, transaction, !zero);
    }
    if (zero) {
        scrub(transaction);
    }
    ffa_result(vcpu, FFA_SUCCESS);
    return FFA_OK;
}

static enum ffa_error read_and_relinquish(struct vcpu *vcpu)
{
    struct vm *vm = vcpu->vm;
    struct ffa_mem_relinquish request;
    if (!vm->shares.mailbox.mapped) {
        return FFA_INVALID_PARAMETERS;
    }
    memcpy(&request, mm_window(MM_WINDOW_TX + vm->vmid - 1u), sizeof(request));
    struct vm *owner = owner_of(vm, request.handle);
    if (owner == NULL || request.flags > FFA_FLAG_ZERO || request.count != 1 ||
        request.id != vm->vmid) {
        return FFA_INVALID_PARAMETERS;
    }
    if (owner == vm) { // which has nothing of its own to give back
        return find(owner, request.handle) == NULL ? FFA_INVALID_PARAMETERS : FFA_DENIED;
    }
    if (!ffa_lock(owner, 0)) {
        return FFA_BUSY;
    }
    enum ffa_error error = relinquish(vcpu, owner, &request);
    ffa_unlock(owner);
    return error;
}

enum ffa_error ffa_mem_relinquish(struct vcpu *vcpu)
{
    return begin(vcpu) ? end(vcpu, read_and_relinquish(vcpu)) : FFA_BUSY;
}

// X1, X2: handle, low and high. X3: flags.
static enum ffa_error reclaim(struct vcpu *vcpu)
{
    struct vm *vm = vcpu->vm;
    struct ffa_transaction *transaction = find(vm, vcpu->x[1] | vcpu->x[2] << 32);
    if (transaction == NULL || vcpu->x[3] > FFA_FLAG_ZERO) {
        return FFA_INVALID_PARAMETERS;
    }
    if (transaction->mapped != 0) {
        return FFA_DENIED;
    }
    bool zero = vcpu->x[3] == FFA_FLAG_ZERO;
    enum ffa_error error = time_for(vcpu, transaction->page_count);
    if (error != FFA_OK) {
        return error;
    }
    if (zero) {
        scrub(transaction);
    }
    while (transaction->handle != 0) {
        ffa_take_back(vm, transaction);
    }
    ffa_result(vcpu, FFA_SUCCESS);
    return FFA_OK;
}

enum ffa_error ffa_mem_reclaim(struct vcpu *vcpu)
{
    return begin(vcpu) ? end(vcpu, reclaim(vcpu)) : FFA_BUSY;
}
