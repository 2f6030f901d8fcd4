/* SPDX-License-Identifier: Apache-2.0 */
/*
 * chain_test.c - what chains are made of; an adapter that executes them in order stands behind them
 * here, tests/rdma/model/reads_test.c shows what happens when it does not.
 *
 * The arena is 2 GiB and some of address space, of which little is ever touched, so that its slices
 * are real ones.
 */
#include "io/rdma/chain.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <errno.h>
#include <sys/mman.h>

#include "base/protection.h"
#include "base/splitmix.h"

enum { SLOTS = 4096, PAGES_MAX = 200, LOCAL_KEY = 7, LANDING_KEY = 9, ID = 77, GENERATION = 5 };
#define HEADERS_BYTES (UINT64_C(1) << 20)
#define PAYLOAD_BYTES (CHAIN_SLICE_BYTES + (UINT64_C(64) << 20))

static const uint32_t keys[] = {100, 101};
static uint8_t *arena, *buffer; /* headers, then payload */
static struct chain_landing landing;
static struct chain chain;
static struct chain_reads reads;
static struct chain_source source;
static struct chain_page pages[PAGES_MAX];
static struct verbs_segment segments[PAGES_MAX][64];
static const struct chain_room wide = {.reads = VERBS_CHAIN_MAX,
                                       .segments = 30,
                                       .message_bytes = UINT32_C(1) << 31,
                                       .payload_bytes = CHAIN_PAYLOAD_BYTES};

static int setup(void **state)
{
    (void)state;
    arena = mmap(NULL, HEADERS_BYTES + PAYLOAD_BYTES, PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    buffer = mmap(NULL, 64 << 20, PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    source = (struct chain_source){.headers_addr = (uintptr_t)arena,
                                   .payload_addr = (uintptr_t)arena + HEADERS_BYTES,
                                   .payload_bytes = PAYLOAD_BYTES,
                                   .slot_count = SLOTS,
                                   .key_count = 2,
                                   .base_addr = (uintptr_t)arena,
                                   .keys = keys};
    return arena == MAP_FAILED || buffer == MAP_FAILED;
}

/* A page of the holder's, and one segment for it. */
static struct chain_page *page_at(uint32_t index, uint32_t slot, uint64_t offset_bytes,
                                  uint32_t len_bytes)
{
    struct slot_header *header = (struct slot_header *)arena + slot;
    struct id128 digest = {slot, offset_bytes};
    atomic_store(&header->word, slot_word_make(GENERATION, SLOT_SEALED, 0));
    header->digest = digest;
    header->offset_bytes = offset_bytes;
    header->length_bytes = len_bytes;
    segments[index][0] =
        (struct verbs_segment){(uintptr_t)buffer + index * UINT64_C(262144), len_bytes, LOCAL_KEY};
    pages[index] = (struct chain_page){.expected = {.digest = digest,
                                                    .generation = GENERATION,
                                                    .offset_bytes = offset_bytes,
                                                    .length_bytes = len_bytes},
                                       .slot = slot,
                                       .len_bytes = len_bytes,
                                       .segment_count = 1,
                                       .segments = segments[index]};
    assert_int_equal(chain_check_page(&source, &pages[index]), 0);
    return &pages[index];
}

static uint32_t build(uint32_t n, struct chain_cursor *cursor, const struct chain_room *room)
{
    return chain_build(&chain, &reads, &source, pages, n, cursor, room, ID, &landing, LANDING_KEY);
}

static uint32_t build_all(uint32_t n)
{
    struct chain_cursor cursor = {0};
    uint32_t n_reads = build(n, &cursor, &wide);
    assert_int_equal(cursor.page, n);
    return n_reads;
}

static uint64_t read_bytes(const struct verbs_read *read)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < read->segment_count; i++)
        bytes += read->segments[i].len_bytes;
    return bytes;
}

/* What must hold of every chain, whatever is in it; then does what an adapter does. */
static void execute(const struct chain_room *room)
{
    uint32_t first_header = 0;
    assert_in_range(chain.n_reads, 2, room->reads);
    while (!(reads.reads[first_header].flags & VERBS_FENCED))
        first_header++;
    for (uint32_t i = 0; i < chain.n_reads; i++) {
        const struct verbs_read *read = &reads.reads[i];
        uint64_t from = read->remote_addr;
        uint64_t slice = (from - source.base_addr) / CHAIN_SLICE_BYTES;
        assert_int_equal(read->id, ID);
        assert_int_equal(read->flags & VERBS_SIGNALLED,
                         i + 1 == chain.n_reads ? VERBS_SIGNALLED : 0);
        assert_int_equal(read->flags & VERBS_FENCED, i == first_header ? VERBS_FENCED : 0);
        assert_in_range(read->segment_count, 1, room->segments);
        assert_in_range(read_bytes(read), 1, room->message_bytes);
        assert_int_equal(read->remote_key, keys[slice]);
        assert_true((from + read_bytes(read) - 1 - source.base_addr) / CHAIN_SLICE_BYTES == slice);
        assert_int_equal(from < source.payload_addr, i >= first_header);
        for (uint32_t j = 0; j < read->segment_count; j++) {
            const struct verbs_segment *to = &read->segments[j];
            memcpy((void *)(uintptr_t)to->addr, (const void *)(uintptr_t)from, to->len_bytes);
            from += to->len_bytes;
            bool is_landing = to->addr >= (uintptr_t)&landing &&
                              to->addr + to->len_bytes <= (uintptr_t)(&landing + 1);
            assert_int_equal(to->local_key, is_landing ? LANDING_KEY : LOCAL_KEY);
        }
    }
    assert_true(chain_finish(&chain, ID, VERBS_OK));
}

/* --- what READs a batch becomes --------------------------------------------------------------- */

static void a_page_is_its_payload_and_a_fenced_header(void **state)
{
    (void)state;
    page_at(0, 3, 4096, 1000);
    assert_int_equal(build_all(1), 2);
    assert_int_equal(reads.reads[0].remote_addr, source.payload_addr + 4096);
    assert_int_equal(reads.reads[1].remote_addr, source.headers_addr + 3 * 64);
    assert_int_equal(read_bytes(&reads.reads[1]), 64);
    execute(&wide);
}

static void a_slice_is_never_crossed(void **state)
{
    (void)state;
    uint64_t border = CHAIN_SLICE_BYTES - HEADERS_BYTES;
    page_at(0, 3, border - 4096, 10000);
    assert_int_equal(build_all(1), 3);
    assert_int_equal(read_bytes(&reads.reads[0]), 4096);
    assert_int_equal(read_bytes(&reads.reads[1]), 10000 - 4096);
    execute(&wide);
}

static void segments_and_messages_have_a_most(void **state)
{
    (void)state;
    struct chain_room room = {
        .reads = 100, .segments = 4, .message_bytes = 1000, .payload_bytes = CHAIN_PAYLOAD_BYTES};
    struct chain_cursor cursor = {0};
    struct chain_page *page = page_at(0, 3, 0, 6000);
    page->segment_count = 10;
    for (uint32_t i = 0; i < 10; i++)
        segments[0][i] = (struct verbs_segment){(uintptr_t)buffer + i * UINT64_C(10000),
                                                i < 9 ? 100 : 5100, LOCAL_KEY};
    /* Four small ones, four, one with 900 bytes of the last, whose rest takes five; the header. */
    assert_int_equal(build(1, &cursor, &room), 9);
    execute(&room);
}

static void neighbours_share_reads(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 8; i++)
        page_at(i, 10 + i, i * UINT64_C(4160), 4096); /* 64 bytes of name between */
    assert_int_equal(build_all(8), 2);
    assert_int_equal(reads.reads[0].segment_count, 15);
    assert_int_equal(read_bytes(&reads.reads[1]), 8 * 64);
    execute(&wide);
    page_at(1, 11, 4096 + CHAIN_PASSED_BYTES + 64, 64); /* a gap that is worth a READ */
    assert_int_equal(build_all(2), 3);
    execute(&wide);
}

static void bytes_that_lie_together_on_both_sides_are_one_segment(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 4; i++) {
        page_at(i, 10 + i, i * UINT64_C(4096), 4096);
        segments[i][0].addr = (uintptr_t)buffer + i * UINT64_C(4096);
    }
    assert_int_equal(build_all(4), 2);
    assert_int_equal(reads.reads[0].segment_count, 1);
    execute(&wide);
}

static void headers_come_by_slot(void **state)
{
    (void)state;
    static const uint32_t slots[] = {90, 12, 10, 91, 13, 12, 17, 22};
    for (uint32_t i = 0; i < 8; i++)
        page_at(i, slots[i], i * UINT64_C(65536), 64);
    /* 10 to 17 with what lies between, 22, 90 and 91. */
    assert_int_equal(build_all(8), 8 + 3);
    assert_int_equal(read_bytes(&reads.reads[8]), (17 - 10 + 1) * 64);
    execute(&wide);
    for (uint32_t i = 0; i < chain.n_parts; i++) {
        uint32_t slot = slots[chain.parts[i].page];
        assert_memory_equal(&landing.headers[chain.parts[i].landed],
                            (struct slot_header *)arena + slot, 64);
    }
}

static void small_pages_are_not_cut(void **state)
{
    (void)state;
    struct chain_cursor cursor = {0};
    for (uint32_t i = 0; i < 3; i++)
        page_at(i, 10 * i, (uint64_t)i << 20, 400 << 10);
    assert_int_equal(build(3, &cursor, &wide), 4);
    assert_int_equal(cursor.page, 2);
    assert_int_equal(cursor.page_bytes, 0);
    execute(&wide);
    assert_int_equal(build(3, &cursor, &wide), 2);
    assert_int_equal(cursor.page, 3);
    execute(&wide);
}

static void large_pages_fill_chains_up(void **state)
{
    (void)state;
    static const uint32_t ends[] = {1, 2, 2, 2, 3}, n_reads[] = {3, 3, 2, 2, 2};
    struct chain_cursor cursor = {0};
    page_at(0, 1, 0, 700 << 10);
    page_at(1, 2, 1 << 20, 700 << 10);
    page_at(2, 3, 4 << 20, 3 << 20);
    segments[1][0].addr = (uintptr_t)buffer + (4 << 20);
    segments[2][0].addr = (uintptr_t)buffer + (8 << 20);
    for (uint32_t i = 0; i < 5; i++) {
        assert_int_equal(build(3, &cursor, &wide), n_reads[i]);
        assert_int_equal(cursor.page, ends[i]);
        execute(&wide);
    }
    assert_int_equal(build(3, &cursor, &wide), 0);
}

static void without_room_nothing_is_begun(void **state)
{
    (void)state;
    struct chain_room room = wide;
    struct chain_cursor cursor = {0};
    page_at(0, 1, 0, 100);
    room.reads = 1;
    assert_int_equal(build(1, &cursor, &room), 0);
    assert_int_equal(cursor.page, 0);
    room.reads = 2;
    assert_int_equal(build(1, &cursor, &room), 2);
}

static void places_outside_of_the_arena_are_refused(void **state)
{
    (void)state;
    struct chain_page *page = page_at(0, 1, 0, 100);
    page->slot = SLOTS;
    assert_int_equal(chain_check_page(&source, page), -EBADMSG);
    page = page_at(0, 1, 0, 100);
    page->expected.offset_bytes = PAYLOAD_BYTES - 99;
    assert_int_equal(chain_check_page(&source, page), -EBADMSG);
    page->expected.offset_bytes = UINT64_MAX - 10;
    assert_int_equal(chain_check_page(&source, page), -EBADMSG);
    page = page_at(0, 1, 0, 100);
    page->from_bytes = 1;
    assert_int_equal(chain_check_page(&source, page), -EBADMSG);
    page = page_at(0, 1, CHAIN_SLICE_BYTES, 100);
    source.key_count = 1;
    assert_int_equal(chain_check_page(&source, page), -EAGAIN);
    source.key_count = 2;
    source.payload_addr = UINT64_MAX - 200; /* forged: the page's end wraps around to address 0 */
    page->expected.offset_bytes = 150;
    assert_int_equal(chain_check_page(&source, page), -EAGAIN);
    source.payload_addr = source.headers_addr + HEADERS_BYTES;
}

/* --- whatever the batch ----------------------------------------------------------------------- */

static uint64_t random_state = 1;

static uint32_t below(uint32_t limit)
{
    return (uint32_t)(splitmix_next(&random_state) % limit);
}

static uint8_t byte_at(uint64_t offset)
{
    return (uint8_t)(offset * SPLITMIX_STEP >> 56);
}

/* Its bytes are those of its place, its segments of random lengths. */
static uint64_t make_random_page(uint32_t i, uint64_t offset_bytes)
{
    uint32_t len_bytes = below(4) ? 1 + below(6000) : 1 + below(300000), done = 0;
    struct chain_page *page = page_at(i, below(SLOTS), offset_bytes, len_bytes);
    for (uint32_t j = 0; j < len_bytes; j++)
        arena[HEADERS_BYTES + offset_bytes + j] = byte_at(offset_bytes + j);
    for (page->segment_count = 0; done < len_bytes; page->segment_count++) {
        uint32_t rest = len_bytes - done, len = page->segment_count == 63 ? rest : 1 + below(rest);
        segments[i][page->segment_count] = (struct verbs_segment){
            (uintptr_t)buffer + i * UINT64_C(1048576) + done * 2 * (i & 1), len, LOCAL_KEY};
        if (!(i & 1))
            segments[i][page->segment_count].addr += done;
        done += len;
    }
    return (offset_bytes + len_bytes + 63 + below(2) * (64 + below(1000))) / 64 * 64;
}

static void check_landed(const struct chain_page *page)
{
    uint64_t at = page->expected.offset_bytes;
    for (uint32_t i = 0; i < page->segment_count; i++)
        for (uint32_t j = 0; j < page->segments[i].len_bytes; j++)
            if (((const uint8_t *)(uintptr_t)page->segments[i].addr)[j] != byte_at(at++))
                fail_msg("a byte of a page landed elsewhere");
}

static void run_random_batch(void)
{
    uint64_t offset = (CHAIN_SLICE_BYTES - HEADERS_BYTES - below(200000)) / 64 * 64;
    struct chain_room room = {.reads = 2 + below(300),
                              .segments = 1 + below(32),
                              .message_bytes = 64 << below(20),
                              .payload_bytes = 1 + below(CHAIN_PAYLOAD_BYTES)};
    uint32_t n = 1 + below(40), whole_parts = 0, n_chains = 0;
    struct chain_cursor cursor = {0};
    struct slot_sample sample;
    for (uint32_t i = 0; i < n; i++)
        offset = make_random_page(i, offset);
    while (build(n, &cursor, &room) > 0) {
        execute(&room);
        n_chains++;
        for (uint32_t i = 0; i < chain.n_parts; i++)
            whole_parts += chain_verdict(&chain, i, pages, &sample) == 0;
    }
    assert_int_equal(cursor.page, n);
    /* Two pages of one slot: the header is that of the later one. */
    if (n_chains == 0 || whole_parts == 0)
        fail_msg("no part was whole");
    for (uint32_t i = 0; i < n; i++)
        check_landed(&pages[i]);
}

static void every_byte_lands_where_it_was_asked_for(void **state)
{
    (void)state;
    for (int i = 0; i < 60; i++)
        run_random_batch();
}

/* --- verdicts --------------------------------------------------------------------------------- */

static int verdict_of_one(void)
{
    struct slot_sample sample;
    return chain_verdict(&chain, 0, pages, &sample);
}

static void a_page_counts_as_its_header_says(void **state)
{
    (void)state;
    struct slot_header *header = (struct slot_header *)arena + 3;
    page_at(0, 3, 4096, 1000);
    build_all(1);
    execute(&wide);
    assert_int_equal(verdict_of_one(), 0);
    atomic_store(&header->word, slot_word_make(GENERATION, SLOT_FILLING, 0));
    build_all(1);
    execute(&wide);
    assert_int_equal(verdict_of_one(), -ESTALE);
    page_at(0, 3, 4096, 1000)->expected.offset_bytes = 8192;
    build_all(1);
    execute(&wide);
    assert_int_equal(verdict_of_one(), -EBADMSG);
    protection_disable("rdma_header");
    assert_int_equal(verdict_of_one(), 0);
    protection_enable_all();
}

static void without_a_completion_there_is_no_verdict(void **state)
{
    (void)state;
    page_at(0, 3, 4096, 1000);
    build_all(1);
    execute(&wide);
    build_all(1); /* the landing buffer still says that the page is whole */
    assert_int_equal(verdict_of_one(), -EIO);
    assert_false(chain_finish(&chain, ID - 1, VERBS_OK)); /* of a chain before */
    assert_true(chain_finish(&chain, ID, VERBS_FLUSHED));
    assert_false(chain_finish(&chain, ID, VERBS_OK));
    assert_int_equal(verdict_of_one(), -EIO);
    protection_disable("rdma_completion");
    assert_int_equal(verdict_of_one(), 0);
    protection_enable_all();
}

static void every_part_has_a_verdict_of_its_own(void **state)
{
    (void)state;
    struct slot_header *header = (struct slot_header *)arena + 3;
    for (int is_on = 1; is_on >= 0; is_on--) {
        struct chain_page *page = page_at(0, 3, 4096, 1000);
        page->from_bytes = 500;
        page->len_bytes = segments[0][0].len_bytes = 500;
        if (!is_on)
            protection_disable("rdma_own_verdict");
        build_all(1);
        atomic_store(&header->word, slot_word_make(GENERATION + 1, SLOT_SEALED, 0));
        execute(&wide);
        assert_int_equal(verdict_of_one(), is_on ? -ESTALE : 0);
    }
    protection_enable_all();
}

static void the_fence_stands_before_the_first_header(void **state)
{
    (void)state;
    page_at(0, 3, 4096, 1000);
    page_at(1, 300, 65536, 1000);
    build_all(2);
    assert_int_equal(reads.reads[2].flags, VERBS_FENCED);
    protection_disable("rdma_fence");
    build_all(2);
    assert_int_equal(reads.reads[2].flags, 0);
    protection_enable_all();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_page_is_its_payload_and_a_fenced_header),
        cmocka_unit_test(a_slice_is_never_crossed),
        cmocka_unit_test(segments_and_messages_have_a_most),
        cmocka_unit_test(neighbours_share_reads),
        cmocka_unit_test(bytes_that_lie_together_on_both_sides_are_one_segment),
        cmocka_unit_test(headers_come_by_slot),
        cmocka_unit_test(small_pages_are_not_cut),
        cmocka_unit_test(large_pages_fill_chains_up),
        cmocka_unit_test(without_room_nothing_is_begun),
        cmocka_unit_test(places_outside_of_the_arena_are_refused),
        cmocka_unit_test(every_byte_lands_where_it_was_asked_for),
        cmocka_unit_test(a_page_counts_as_its_header_says),
        cmocka_unit_test(without_a_completion_there_is_no_verdict),
        cmocka_unit_test(every_part_has_a_verdict_of_its_own),
        cmocka_unit_test(the_fence_stands_before_the_first_header),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
