/* SPDX-License-Identifier: Apache-2.0 */
/* identity_test.c - who a node is over its starts, and what an application sees when it has
 * ended. */
#include "api/api_test_harness.h"

#include "io/state_dir.h"

static const char given[] = "node_id=0123456789abcdef0123456789abcdef";
static char folder[64], option[96];

static int setup(void **state)
{
    (void)state;
    strcpy(folder, "/tmp/peercache-node-XXXXXX");
    if (!mkdtemp(folder))
        return -1;
    snprintf(option, sizeof option, "state_dir=%s/state", folder);
    return 0;
}

static int teardown(void **state)
{
    char command[96];
    (void)state;
    snprintf(command, sizeof command, "rm -r '%s'", folder);
    return system(command);
}

static struct peercache_node *open_here(void)
{
    return test_open((const char *const[]){option, NULL});
}

static void read_id(struct peercache_node *node, char ret_id[33])
{
    char *text;
    assert_int_equal(peercache_node_status(node, &text), 0);
    json_t *status = json_loads(text, 0, NULL);
    snprintf(ret_id, 33, "%s",
             json_string_value(json_object_get(json_object_get(status, "node"), "node_id")));
    json_decref(status);
    free(text);
}

/* What a node wrote that ran when the clock was ahead, or before a backup was played back. */
static void plant(struct id128 id, uint64_t incarnation)
{
    struct seat *seat;
    char reason[STATE_DIR_REASON_BYTES];
    struct seat_identity identity = {id, incarnation};
    assert_int_equal(seat_take(option + strlen("state_dir="), (struct id128){0, 0}, &seat, reason),
                     0);
    assert_int_equal(seat_write(seat, &identity), 0);
    seat_leave(seat);
}

static void incarnation_rises_at_every_start(void **state)
{
    long long before = 0;
    char first[33], id[33];
    (void)state;
    for (int i = 0; i < 3; i++) {
        struct peercache_node *node = open_here();
        long long now = test_status(node, "node", "incarnation");
        assert_true(now > before);
        read_id(node, i == 0 ? first : id);
        assert_true(i == 0 || strcmp(id, first) == 0);
        before = now;
        peercache_node_close(node);
    }
}

static void clock_that_was_set_back_does_not_matter(void **state)
{
    uint64_t ahead_us = clock_day_us() + UINT64_C(86400000000);
    char id[33];
    (void)state;
    plant((struct id128){0x11, 0x22}, ahead_us);
    for (uint64_t i = 1; i <= 2; i++) {
        struct peercache_node *node = open_here();
        read_id(node, id);
        assert_string_equal(id, "00000000000000110000000000000022");
        assert_true((uint64_t)test_status(node, "node", "incarnation") == ahead_us + i);
        peercache_node_close(node);
    }
}

static void nodes_of_one_process_have_a_seat_each(void **state)
{
    char first[33], second[33];
    (void)state;
    struct peercache_node *a = open_here(), *b = open_here();
    read_id(a, first);
    read_id(b, second);
    assert_string_not_equal(first, second);
    peercache_node_close(a);
    a = open_here();
    read_id(a, second);
    assert_string_equal(first, second);
    peercache_node_close(a);
    peercache_node_close(b);
}

static void state_dir_that_cannot_be_used_is_an_error(void **state)
{
    struct peercache_node *node;
    struct peercache_error error;
    (void)state;
    assert_int_equal(
        test_try_open(&node, &error, (const char *const[]){"state_dir=/proc/peercache", NULL}),
        -ENOENT);
    assert_non_null(strstr(error.text, "state_dir"));
    /* The descriptor of the seat is not lost when something else fails. */
    for (int i = 0; i < 3; i++)
        assert_int_not_equal(
            test_try_open(&node, &error,
                          (const char *const[]){option, "bind_host=192.0.2.1", NULL}),
            0);
    struct peercache_node *again = open_here();
    snprintf(error.text, sizeof error.text, "%s/state/seats/0001", folder);
    assert_int_equal(access(error.text, F_OK), -1);
    peercache_node_close(again);
}

static void await_end(struct peercache_node *node, struct peercache_error *ret_error)
{
    uint64_t until_ns = clock_now_ns() + WAIT_MS * UINT64_C(1000000);
    while (peercache_node_check(node, ret_error) == 0) {
        assert_true(clock_now_ns() < until_ns);
        poll(NULL, 0, 5);
    }
}

static void node_whose_id_was_taken_over_says_so(void **state)
{
    int port = test_free_port();
    struct peercache_error error;
    struct peercache_result result;
    char byte = 1;
    struct peercache_segment segment = {&byte, 1};
    struct peercache_page page = {
        .name = "a", .name_len = 1, .segments = &segment, .segment_count = 1};
    (void)state;
    struct peercache_node *head = test_open_member(port, NULL),
                          *older = test_open_member(port, given);
    struct peercache_namespace *ns = test_namespace(older, "test=node");
    test_await_cluster((struct peercache_node *const[]){head, older}, 2);
    assert_int_equal(peercache_node_check(older, &error), 0);
    struct peercache_node *newer = test_open_member(port, given);
    await_end(older, &error);
    assert_int_equal(peercache_node_check(older, NULL), -ESTALE);
    char expected[96];
    snprintf(expected, sizeof expected, "superseded by 127.0.0.1:%lld incarnation %lld",
             test_status(newer, "node", "control_port"), test_status(newer, "node", "incarnation"));
    assert_string_equal(error.text, expected);
    assert_int_equal(peercache_set(ns, &page, &result, 1, 1000), 0);
    assert_int_equal(result.outcome, PEERCACHE_REFUSED_CLOSED);
    test_await(older, "node", "is_connected", 0);
    test_await(head, "members", "", 2);
    assert_int_equal(peercache_node_check(newer, &error), 0);
    peercache_node_stop(older);
    peercache_node_close(older);
    test_await_cluster((struct peercache_node *const[]){head, newer}, 2);
    peercache_node_close(newer);
    peercache_node_close(head);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(incarnation_rises_at_every_start),
        TEST(clock_that_was_set_back_does_not_matter),
        TEST(nodes_of_one_process_have_a_seat_each),
        TEST(state_dir_that_cannot_be_used_is_an_error),
        TEST(node_whose_id_was_taken_over_says_so),
    };
    return cmocka_run_group_tests_name("api/identity", tests, NULL, NULL);
}
