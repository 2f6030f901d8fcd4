/* SPDX-License-Identifier: Apache-2.0 */
/* drain_test.c - a node drains by call, and what a node that is asked to take pages over
 * believes. */
#include "api/api_test_harness.h"

#include "base/protection.h"
#include "io/copy.h"

enum { PAGES = 40, PAGE_BYTES = 3000 };

static struct peercache_node *nodes[2];
static struct peercache_namespace *namespaces[2];

static int setup(void **state)
{
    int port = test_free_port();
    (void)state;
    for (int i = 0; i < 2; i++) {
        nodes[i] = test_open_member(port, NULL);
        namespaces[i] = test_namespace(nodes[i], "a=1");
    }
    test_await_cluster(nodes, 2);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    protection_enable_all();
    for (int i = 0; i < 2; i++)
        peercache_node_close(nodes[i]);
    return 0;
}

static uint16_t call(int node, int number, bool is_set)
{
    static uint8_t bytes[PAGE_BYTES];
    char name[16];
    struct peercache_segment segment = {bytes, PAGE_BYTES};
    struct peercache_page page = {.name = name, .segments = &segment, .segment_count = 1};
    struct peercache_result result = {0};
    page.name_len = (uint32_t)snprintf(name, sizeof name, "page %d", number);
    memset(bytes, is_set ? number : 0xee, sizeof bytes);
    if (is_set)
        assert_int_equal(peercache_set(namespaces[node], &page, &result, 1, 10000), 0);
    else
        assert_int_equal(peercache_get(namespaces[node], &page, &result, 1, 10000), 0);
    for (int i = 0; i < PAGE_BYTES && result.outcome == PEERCACHE_HIT; i++)
        assert_int_equal(bytes[i], number);
    return result.outcome;
}

static void close_node(int node)
{
    peercache_node_close(nodes[node]);
    nodes[node] = NULL;
}

/* --- the node that leaves --- */

static json_int_t number_in(const char *json, const char *name)
{
    json_t *object = json_loads(json, 0, NULL);
    assert_non_null(json_object_get(object, name));
    json_int_t number = json_integer_value(json_object_get(object, name));
    json_decref(object);
    return number;
}

static void drained_pages_outlive_their_node(void **state)
{
    char *first = NULL, *second = NULL;
    (void)state;
    for (int i = 0; i < PAGES; i++)
        assert_int_equal(call(0, i, true), PEERCACHE_STORED);
    assert_int_equal(peercache_node_is_drained(nodes[0]), 0);
    assert_int_equal(peercache_node_drain(nodes[0], 5000, &first), 0);
    assert_int_equal(peercache_node_is_drained(nodes[0]), 1);
    assert_int_equal(number_in(first, "handed_over"), PAGES);
    assert_int_equal(peercache_node_drain(nodes[0], 5000, &second), 0);
    assert_string_equal(first, second);
    assert_int_equal(test_status(nodes[1], "counters", "peercache_pages_adopted_total"), PAGES);
    assert_int_equal(call(0, 1000, true), PEERCACHE_REFUSED_DRAINING);
    assert_int_equal(call(0, 1, false), PEERCACHE_HIT);
    close_node(0);
    for (int i = 0; i < PAGES; i++)
        assert_int_equal(call(1, i, false), PEERCACHE_HIT);
    free(first);
    free(second);
}

/* No time is no error: the node is drained, and everything is left behind. */
static void drain_without_time_ends_at_once(void **state)
{
    char *report = NULL;
    (void)state;
    for (int i = 0; i < PAGES; i++)
        assert_int_equal(call(0, i, true), PEERCACHE_STORED);
    assert_int_equal(peercache_node_drain(nodes[0], 0, &report), 0);
    assert_int_equal(number_in(report, "pages"), PAGES);
    assert_int_equal(number_in(report, "left_no_time"), PAGES);
    free(report);
}

static void closed_while_it_drains(void **state)
{
    (void)state;
    for (int i = 0; i < PAGES; i++)
        assert_int_equal(call(0, i, true), PEERCACHE_STORED);
    peercache_node_stop(nodes[0]);
    assert_int_equal(peercache_node_drain(nodes[0], 5000, NULL), -ESHUTDOWN);
    assert_int_equal(peercache_node_drain(NULL, 5000, NULL), -EINVAL);
    assert_int_equal(peercache_node_is_drained(NULL), 0);
}

/* --- the node that takes over --- */

/* Asks node 1 to adopt: the errors of its answer, or NULL when it refuses the question. */
static json_t *ask_to_adopt(json_t *pages, const void *body, size_t len)
{
    char node[32];
    struct peercache_config *config;
    struct peercache_error error;
    struct peercache_answer answer = {0};
    snprintf(node, sizeof node, "127.0.0.1:%lld", test_status(nodes[1], "node", "control_port"));
    json_t *question = json_pack("{s:s, s:b, s:o}", "ask", "adopt", "hot", 1, "pages", pages);
    char *text = json_dumps(question, 0);
    struct peercache_request request = {
        .node = node, .json = text, .body = body, .body_len_bytes = len};
    assert_int_equal(peercache_config_new(&config), 0);
    int result = peercache_query(config, &request, 5000, &answer, &error);
    json_t *json = json_loads(answer.json, 0, NULL);
    json_t *errors = json_incref(json_object_get(json, "errors"));
    assert_int_equal(result, errors ? 0 : -EINVAL);
    if (!errors) /* a sentence, not the JSON around it */
        assert_true(error.text[0] != 0 && error.text[0] != '{');
    json_decref(json);
    json_decref(question);
    free(text);
    peercache_answer_fini(&answer);
    peercache_config_free(config);
    return errors;
}

static json_t *page_json(const char *name, const char *identity, const char *checksum,
                         json_int_t bytes)
{
    return json_pack("{s:s, s:s, s:s, s:s, s:I, s:s}", "name", name, "identity", identity, "epoch",
                     "0", "group", "0", "bytes", bytes, "checksum", checksum);
}

static const char IDENTITY[] = "00112233445566778899aabbccddeeff";

static void question_that_makes_no_sense_is_refused(void **state)
{
    static const struct {
        const char *name, *identity, *checksum;
        json_int_t bytes;
    } wrong[] = {
        {"6", IDENTITY, "1", 4},
        {"", IDENTITY, "1", 4},
        {"zz", IDENTITY, "1", 4},
        {"61", "0011", "1", 4},
        {"61", "", "1", 4},
        {"61", IDENTITY, "", 4},
        {"61", IDENTITY, "1 2", 4},
        {"61", IDENTITY, "1", 0},
        {"61", IDENTITY, "1", -4},
        {"61", IDENTITY, "1", 5},
        {"61", IDENTITY, "1", 3},
        {"61", IDENTITY, "1", 1LL << 40},
        {"61", IDENTITY, "fffffffffffffffff", 4},
    };
    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        json_t *page =
            page_json(wrong[i].name, wrong[i].identity, wrong[i].checksum, wrong[i].bytes);
        assert_null(ask_to_adopt(json_pack("[o]", page), "abcd", 4));
    }
    assert_null(ask_to_adopt(json_array(), "", 0));
    assert_null(ask_to_adopt(json_integer(3), "", 0));
    json_t *many = json_array();
    for (int i = 0; i < 65; i++)
        json_array_append_new(many, page_json("61", IDENTITY, "1", 1));
    assert_null(ask_to_adopt(many, wrong, 65));
    assert_int_equal(test_status(nodes[1], "pool", "live_pages"), 0);
    assert_int_equal(test_status(nodes[1], "pool", "filling_pages"), 0);
}

static json_int_t adopt_one(const char *checksum)
{
    json_t *errors =
        ask_to_adopt(json_pack("[o]", page_json("61", IDENTITY, checksum, 4)), "abcd", 4);
    json_int_t error = json_integer_value(json_array_get(errors, 0));
    assert_int_equal(json_array_size(errors), 1);
    json_decref(errors);
    return error;
}

static void damaged_page_is_not_adopted(void **state)
{
    char checksum[20];
    (void)state;
    assert_int_equal(adopt_one("123"), -EILSEQ);
    assert_int_equal(test_status(nodes[1], "pool", "live_pages"), 0);
    assert_int_equal(test_status(nodes[1], "pool", "filling_pages"), 0);
    snprintf(checksum, sizeof checksum, "%llx", (unsigned long long)copy_checksum("abcd", 4));
    assert_int_equal(adopt_one(checksum), 0);
    assert_int_equal(adopt_one(checksum), -EEXIST);
    assert_int_equal(test_status(nodes[1], "pool", "live_pages"), 1);
}

static void without_the_check_a_damaged_page_is_adopted(void **state)
{
    (void)state;
    assert_true(protection_disable("copy_keeps_checksum"));
    assert_int_equal(adopt_one("123"), 0);
    assert_int_equal(test_status(nodes[1], "pool", "live_pages"), 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(drained_pages_outlive_their_node), TEST(drain_without_time_ends_at_once),
        TEST(closed_while_it_drains),           TEST(question_that_makes_no_sense_is_refused),
        TEST(damaged_page_is_not_adopted),      TEST(without_the_check_a_damaged_page_is_adopted),
    };
    return cmocka_run_group_tests_name("api/drain", tests, NULL, NULL);
}
