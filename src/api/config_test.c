/* SPDX-License-Identifier: Apache-2.0 */
/* config_test.c - options by name, from the environment, and what they mean to a node. */
#include "api/handle.h"

#include "api/api_test_harness.h"

static int setup(void **state)
{
    return peercache_config_new((struct peercache_config **)state);
}

static int teardown(void **state)
{
    peercache_config_free(*state);
    return 0;
}

static struct node_config meaning_of(const struct peercache_config *config)
{
    struct node_config meaning;
    struct peercache_error error;
    if (handle_node_config(&config->options, &meaning, &error) != 0)
        fail_msg("%s", error.text);
    return meaning;
}

/* The sentence with which a node refuses this one option. */
static const char *refusal_of(struct peercache_config *config, const char *name, const char *value)
{
    static struct peercache_error error;
    struct node_config meaning;
    char before[256];
    snprintf(before, sizeof before, "%s", peercache_config_get(config, name));
    assert_int_equal(peercache_config_set(config, name, value, &error), 0);
    assert_int_equal(handle_node_config(&config->options, &meaning, &error), -EINVAL);
    assert_int_equal(peercache_config_set(config, name, before, NULL), 0);
    return error.text;
}

static void what_is_set_is_what_one_gets(void **state)
{
    struct peercache_config *config = *state;
    assert_string_equal(peercache_config_get(config, "cluster_name"), "default");
    assert_int_equal(peercache_config_set(config, "cluster_name", "one", NULL), 0);
    assert_string_equal(peercache_config_get(config, "cluster_name"), "one");
    assert_int_equal(peercache_config_set(config, "vnodes", "17", NULL), 0);
    assert_string_equal(peercache_config_get(config, "vnodes"), "17");
    assert_null(peercache_config_get(config, "no_such_option"));
}

static void unknown_option_names_the_nearest(void **state)
{
    struct peercache_error error;
    assert_int_equal(peercache_config_set(*state, "get_timout", "1", &error), -ENOENT);
    assert_non_null(strstr(error.text, "get_timeout"));
    assert_string_equal(peercache_config_nearest("get_timout"), "get_timeout");
    assert_null(peercache_config_nearest("zzzzzzzzzzzzzzzz"));
}

static void value_that_does_not_parse_changes_nothing(void **state)
{
    struct peercache_error error = {""};
    assert_int_equal(peercache_config_set(*state, "vnodes", "many", &error), -EINVAL);
    assert_true(error.text[0] != 0);
    assert_string_equal(peercache_config_get(*state, "vnodes"), "160");
    assert_int_equal(peercache_config_set(*state, "vnodes", "many", NULL), -EINVAL);
}

static void missing_arguments_are_refused(void **state)
{
    struct peercache_node *node;
    assert_int_equal(peercache_config_set(NULL, "vnodes", "1", NULL), -EINVAL);
    assert_int_equal(peercache_config_set(*state, NULL, "1", NULL), -EINVAL);
    assert_int_equal(peercache_config_set(*state, "vnodes", NULL, NULL), -EINVAL);
    assert_int_equal(peercache_node_open(NULL, &node, NULL), -EINVAL);
    assert_int_equal(peercache_node_open(*state, NULL, NULL), -EINVAL);
    peercache_config_free(NULL);
    peercache_node_close(NULL);
    peercache_node_stop(NULL);
    peercache_namespace_close(NULL);
    peercache_region_release(NULL);
    peercache_answer_fini(NULL);
}

static void options_are_listed_with_default_and_help(void **state)
{
    const char *name, *text, *help;
    size_t n = 0;
    for (; (name = peercache_config_option(n, &text, &help)); n++) {
        assert_true(text && help && help[0]);
        assert_int_equal(peercache_config_set(*state, name, text, NULL), 0);
    }
    assert_true(n > 20);
    assert_non_null(peercache_config_option(0, NULL, NULL));
}

/* Only variables that name an option count; a bad value is an error that names its option. */
static void environment_sets_options(void **state)
{
    struct peercache_error error;
    setenv("PEERCACHE_VNODES", "33", 1);
    setenv("PEERCACHE_GET_TIMEOUT", "3", 1);
    setenv("PEERCACHE_SOMETHING_ELSE", "x", 1);
    setenv("PEERCACHE_", "x", 1);
    setenv("VNODES", "44", 1);
    assert_int_equal(peercache_config_load_environment(*state, &error), 0);
    assert_string_equal(peercache_config_get(*state, "vnodes"), "33");
    assert_true(meaning_of(*state).get_timeout_ns == UINT64_C(3000000000));
    setenv("PEERCACHE_VNODES", "none", 1);
    assert_int_equal(peercache_config_load_environment(*state, &error), -EINVAL);
    assert_non_null(strstr(error.text, "PEERCACHE_VNODES: vnodes"));
    unsetenv("PEERCACHE_VNODES");
    unsetenv("PEERCACHE_GET_TIMEOUT");
    unsetenv("PEERCACHE_SOMETHING_ELSE");
    unsetenv("PEERCACHE_");
    unsetenv("VNODES");
}

static char logged[LOG_LINE_BYTES];

static void keep_line(void *context, enum log_level level, const char *line)
{
    (void)context;
    (void)level;
    snprintf(logged, sizeof logged, "%s", line);
}

static void misspelt_variable_is_told(void **state)
{
    static const struct log_sink sink = {.write = keep_line};
    log_set_sink(&sink);
    setenv("PEERCACHE_DISCOVERY_ADRR", "127.0.0.1:1", 1);
    assert_int_equal(peercache_config_load_environment(*state, NULL), 0);
    assert_non_null(strstr(logged, "variable=PEERCACHE_DISCOVERY_ADRR"));
    assert_non_null(strstr(logged, "the nearest is discovery_addr"));
    unsetenv("PEERCACHE_DISCOVERY_ADRR");
    logged[0] = 0;
    setenv("PEERCACHE_SERVICE_HOST", "10.0.0.1", 1);
    assert_int_equal(peercache_config_load_environment(*state, NULL), 0);
    assert_string_equal(logged, "");
    unsetenv("PEERCACHE_SERVICE_HOST");
    log_set_sink(NULL);
}

static void options_become_what_a_node_wants(void **state)
{
    static const char *const set[][2] = {
        {"global_segment_size", "65537"}, /* below the least */
        {"cluster_name", "c"},
        {"local_hostname", "h"},
        {"bind_host", "127.0.0.1"},
        {"control_port", "7"},
        {"discovery_addr", "host:8, [::1]:9"},
        {"max_masters", "5"},
        {"state_dir", "/tmp/x"},
        {"protocol", "tcp"},
        {"verify", "checksum"},
        {"directory_replicas", "3"},
        {"directory_limit", "99"},
        {"node_id", "000102030405060708090A0B0C0D0E0f"},
        {"serve_threads", "3"},
    };
    struct peercache_config *config = *state;
    assert_int_equal(peercache_config_set(config, set[0][0], set[0][1], NULL), -EINVAL);
    assert_int_equal(peercache_config_set(config, set[0][0], "1048577", NULL), 0);
    for (size_t i = 1; i < sizeof set / sizeof *set; i++)
        assert_int_equal(peercache_config_set(config, set[i][0], set[i][1], NULL), 0);
    struct node_config meaning = meaning_of(config);
    assert_int_equal(meaning.pool_bytes, 1048576); /* whole units of room */
    assert_string_equal(meaning.cluster, "c");
    assert_string_equal(meaning.advertised_host, "h");
    assert_string_equal(meaning.control.host, "127.0.0.1");
    assert_int_equal(meaning.control.port, 7);
    assert_int_equal(meaning.n_seeds, 2);
    assert_string_equal(meaning.seeds[0].host, "host");
    assert_int_equal(meaning.seeds[0].port, 8);
    assert_string_equal(meaning.seeds[1].host, "::1");
    assert_int_equal(meaning.seeds[1].port, 9);
    assert_int_equal(meaning.max_masters, 5);
    assert_string_equal(meaning.state_dir, "/tmp/x");
    assert_int_equal(meaning.protocol, NODE_PROTOCOL_TCP);
    assert_true(meaning.verify_checksum);
    assert_int_equal(meaning.directory_replicas, 3);
    assert_int_equal(meaning.directory_limit, 99);
    assert_int_equal(meaning.serve_threads, 3);
    assert_true(meaning.node_id.hi == UINT64_C(0x0001020304050607) &&
                meaning.node_id.lo == UINT64_C(0x08090a0b0c0d0e0f));
}

static void discovery_port_has_a_default(void **state)
{
    assert_int_equal(peercache_config_set(*state, "discovery_addr", "127.0.0.1", NULL), 0);
    assert_int_equal(meaning_of(*state).seeds[0].port, 31998);
    assert_int_equal(peercache_config_set(*state, "discovery_addr", "", NULL), 0);
    assert_int_equal(meaning_of(*state).n_seeds, 0);
}

/* What is not built yet, and what cannot be, is refused with a sentence that names the option. */
static void what_a_node_cannot_do_is_refused_with_a_sentence(void **state)
{
    static const char *const cases[][2] = {
        {"protocol", "rdma"},
        {"disk_enabled", "true"},
        {"rdma_port", "18515"},
        {"metrics_enabled", "true"},
        {"node_id", "123"},
        {"node_id", "00000000000000000000000000000000"},
        {"node_id", "000102030405060708090a0b0c0d0e0g"},
        {"discovery_addr", "a:1,"},
        {"discovery_addr", "a:1,b:2,c:x"},
        {"discovery_addr", "::1,b:2"},
        {"discovery_addr", "host:99999"},
        {"discovery_addr", ":5"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *sentence = refusal_of(*state, cases[i][0], cases[i][1]);
        if (!strstr(sentence, cases[i][0]))
            fail_msg("%s=%s is refused with \"%s\"", cases[i][0], cases[i][1], sentence);
    }
    meaning_of(*state); /* and without all that it is fine */
    assert_int_equal(peercache_config_set(*state, "control_port", "7000", NULL), 0);
    assert_int_equal(peercache_config_set(*state, "rdma_port", "7000", NULL), 0);
    meaning_of(*state); /* RDMA is set up over that one */
}

static void version_is_a_version(void **state)
{
    int major, minor, patch;
    (void)state;
    assert_int_equal(sscanf(peercache_version(), "%d.%d.%d", &major, &minor, &patch), 3);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_is_set_is_what_one_gets),
        TEST(unknown_option_names_the_nearest),
        TEST(value_that_does_not_parse_changes_nothing),
        TEST(missing_arguments_are_refused),
        TEST(options_are_listed_with_default_and_help),
        TEST(environment_sets_options),
        TEST(misspelt_variable_is_told),
        TEST(options_become_what_a_node_wants),
        TEST(discovery_port_has_a_default),
        TEST(what_a_node_cannot_do_is_refused_with_a_sentence),
        TEST(version_is_a_version),
    };
    return cmocka_run_group_tests_name("api/config", tests, NULL, NULL);
}
