/* SPDX-License-Identifier: Apache-2.0 */
/* option_test.c - defaults, every kind of value with absurd ones, and the sentences for them. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/option.h"
#include "base/option_value.h"

static struct options options;
static char error[OPTION_ERROR_BYTES];

static int set_up(void **state)
{
    (void)state;
    options_init_defaults(&options);
    return 0;
}

static void set(const char *name, const char *value)
{
    if (option_set(&options, name, value, error) != 0)
        fail_msg("%s=%s: %s", name, value, error);
}

/* Refused, nothing changed, and the sentence says what was wrong and holds @says. */
static void refuse(const char *name, const char *value, const char *says)
{
    struct options before = options;
    memset(error, '#', sizeof error);
    int got = option_set(&options, name, value, error);
    if (got != -EINVAL || !strstr(error, says))
        fail_msg("%s=%s gave %d: %.*s", name, value, got, (int)sizeof error, error);
    assert_non_null(memchr(error, '\0', sizeof error));
    assert_memory_equal(&before, &options, sizeof options);
    assert_int_equal(strncmp(error, option_find(name)->name, strlen(option_find(name)->name)), 0);
    assert_null(strpbrk(error, "\n\r\t\x1b"));
}

static void defaults_are_those_of_the_manual(void **state)
{
    (void)state;
    assert_string_equal(options.discovery_addr, "");
    assert_int_equal(options.global_segment_size_bytes, 4 * (UINT64_C(1) << 30));
    assert_int_equal(options.max_masters, 3);
    assert_int_equal(options.directory_replicas, 2);
    assert_string_equal(options.disk_path, "/data/peercache");
    assert_int_equal(options.disk_size_bytes, 100 * (UINT64_C(1) << 30));
    assert_int_equal(options.heartbeat_interval_ns, 2000000000);
    assert_int_equal(options.member_ttl_ns, 6000000000);
    assert_int_equal(options.ring_grace_ns, 30000000000);
    assert_int_equal(options.get_timeout_ns, 2000000000);
    assert_int_equal(options.exists_timeout_ns, 500000000);
    assert_int_equal(options.metrics_port, OPTION_METRICS_PORT);
    assert_int_equal(options.control_port, 0);
    assert_int_equal(options.gid_index, -1);
    assert_int_equal(options.protocol, OPTION_PROTOCOL_AUTO);
    assert_int_equal(options.verify, OPTION_VERIFY_HEADER);
    assert_int_equal(options.log_level, LOG_LEVEL_INFO);
    assert_false(options.disk_enabled);
    assert_false(options.metrics_enabled);
    assert_int_equal(options_check(&options, error), 0);
}

/* Every option: its text, set again, gives the same; and it has a name, a default and help. */
static void table_is_sound(void **state)
{
    (void)state;
    const struct option *option;
    size_t n = 0;
    for (; (option = option_at(n)) != NULL; n++) {
        char text[OPTION_TEXT_BYTES];
        struct options again = options;
        assert_ptr_equal(option_find(option->name), option);
        assert_int_equal(option_get_text(&options, option->name, text), 0);
        assert_int_equal(option_set(&again, option->name, text, error), 0);
        assert_memory_equal(&again, &options, sizeof options);
        assert_true(strlen(option->help) > 10);
        assert_true(option->least <= option->most);
        assert_true((option->kind == OPTION_CHOICE) == (option->choices != NULL));
        assert_string_equal(option_nearest(option->name), option->name);
    }
    assert_true(n > 30);
    assert_null(option_at(n));
    assert_null(option_at(SIZE_MAX));
}

static void sizes(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint64_t bytes;
    } good[] = {
        {"512mb", UINT64_C(512) << 20},
        {"8gb", UINT64_C(8) << 30},
        {"64GiB", UINT64_C(64) << 30},
        {"1048576", 1 << 20},
        {"2097152b", 2 << 20},
        {"2048KB", 2 << 20},
        {"4m", 4 << 20},
        {"1.5g", UINT64_C(3) << 29},
        {"0.5GB", UINT64_C(1) << 29},
        {"4tb", UINT64_C(4) << 40},
        {"4294967296.0", UINT64_C(1) << 32},
        {"00001gb", 1 << 30},
    };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        set("global_segment_size", good[i].text);
        assert_int_equal(options.global_segment_size_bytes, good[i].bytes);
    }
    static const char *const bad[] = {
        "",
        " ",
        "gb",
        "-1gb",
        "+1gb",
        "1 gb",
        " 1gb",
        "1gb ",
        "1gbx",
        "1gbb",
        "nan",
        "inf",
        "1e9",
        "0x100000",
        "1,5gb",
        "1.gb",
        ".5gb",
        "1..5gb",
        "0",
        "0gb",
        "1023kb",
        "5tb",
        "1048576.5",
        "18446744073709551615",
        "18446744073709551616",
        "99999999999999999999999999999999gb",
        "16777216tb",
        "4gb\n",
        "eight",
        "1pb",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        refuse("global_segment_size", bad[i], "a size (such as 512mb, 8gb, 4096) from 1mb to 4tb");
}

static void seconds(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint64_t ns;
    } good[] = {
        {"2", 2000000000},
        {"0.5", 500000000},
        {"500ms", 500000000},
        {"2s", 2000000000},
        {"1500us", 1500000},
        {"0.001", 1000000},
        {"2.0", 2000000000},
        {"3600", 3600000000000},
        {"0.1000000000000000055511151231257827", 100000000},
        {"2.5MS", 2500000},
    };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        set("get_timeout", good[i].text);
        assert_int_equal(options.get_timeout_ns, good[i].ns);
    }
    static const char *const bad[] = {
        "",      "-1",   "-0.5", "0",   "0.0",         "0.0009",
        "999us", "3601", "nan",  "inf", "infinity",    "1e3",
        "2 s",   "2m",   "2h",   "2ns", "ms",          "s",
        ".5",    "5.",   "1:30", "two", "18446744074", "999999999999999999999999",
        "2;rm",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        refuse("get_timeout", bad[i],
               "is not a time in seconds (such as 2, 0.5, 500ms) from 0.001 to 3600");
}

static void counts_and_ports(void **state)
{
    (void)state;
    static const char *const bad[] = {"",          "-1",  "+1",  "1.5",
                                      "1.0",       " 1",  "1 ",  "1x",
                                      "nan",       "0x1", "one", "99999999999999999999",
                                      "4294967299"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        refuse("directory_replicas", bad[i], "a whole number from 1 to 4");
        refuse("control_port", bad[i], "a port from 0 to 65535");
        refuse("gid_index", bad[i], "auto or a whole number from 0 to 255");
    }
    refuse("directory_replicas", "0", "1 to 4");
    refuse("directory_replicas", "5", "1 to 4");
    refuse("control_port", "65536", "0 to 65535");
    refuse("directory_limit", "4294967296", "0 to 4294967295");
    refuse("vnodes", "auto", "1 to 1024");
    set("directory_replicas", "4");
    set("control_port", "65535");
    set("directory_limit", "4294967295");
    set("gid_index", "255");
    assert_int_equal(options.directory_replicas, 4);
    assert_int_equal(options.control_port, 65535);
    assert_int_equal(options.directory_limit, UINT32_MAX);
    assert_int_equal(options.gid_index, 255);
    set("gid_index", "auto");
    assert_int_equal(options.gid_index, -1);
}

static void flags(void **state)
{
    (void)state;
    static const char *const yes[] = {"true", "True", "TRUE", "yes", "on", "1"};
    static const char *const no[] = {"false", "False", "no", "OFF", "0"};
    static const char *const bad[] = {"", "2", "t", "maybe", "true ", "10", "-1"};
    for (size_t i = 0; i < sizeof yes / sizeof *yes; i++) {
        options.disk_enabled = false;
        set("disk_enabled", yes[i]);
        assert_true(options.disk_enabled);
    }
    for (size_t i = 0; i < sizeof no / sizeof *no; i++) {
        options.disk_enabled = true;
        set("disk_enabled", no[i]);
        assert_false(options.disk_enabled);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        refuse("disk_enabled", bad[i], "true or false");
}

static void choices(void **state)
{
    (void)state;
    static const char *const protocols[] = {"auto", "tcp", "shm", "rdma"};
    for (int i = 0; i < 4; i++) {
        set("protocol", protocols[i]);
        assert_int_equal(options.protocol, i);
    }
    set("verify", "checksum");
    assert_int_equal(options.verify, OPTION_VERIFY_CHECKSUM);
    set("log_level", "debug");
    assert_int_equal(options.log_level, LOG_LEVEL_DEBUG);
    static const char *const bad[] = {"", "TCP", "tc", "tcpp", "tcp|shm", "|", "auto|", "udp"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        refuse("protocol", bad[i], "is not auto, tcp, shm or rdma (how page bytes travel");
    /* What does not fit is left out in whole parts. */
    refuse("protocol", "tpc", "and TCP otherwise)");
}

/* Words of other caches: taken where they mean what is done anyway, explained otherwise. */
static void foreign_options(void **state)
{
    (void)state;
    set("role", "both");
    set("mode", "p2p");
    set("mode", "embedded");
    set("write_policy", "write_through");
    refuse("role", "prefill", "is not auto or both (every node both stores and reads");
    refuse("mode", "standalone", "there is no other mode");
    refuse("write_policy", "write_back", "stores its pages before it returns");
    refuse("auth", "tls", "this release has no method but none");
    set("prefix", "team-a");
    assert_string_equal(options.tag, "team-a");
    char text[OPTION_TEXT_BYTES];
    assert_int_equal(option_get_text(&options, "prefix", text), 0);
    assert_string_equal(text, "team-a");
}

static void texts(void **state)
{
    (void)state;
    char longest[OPTION_TEXT_BYTES + 1];
    memset(longest, 'x', sizeof longest);
    longest[255] = '\0';
    set("tag", longest);
    assert_string_equal(options.tag, longest);
    set("tag", "");
    set("tag", "m\xc3\xbcller & s\xc3\xb6hne");
    memset(longest, 'x', sizeof longest);
    longest[256] = '\0';
    refuse("tag", longest, "printable text of 0 to 255 bytes");
    longest[64] = '\0';
    refuse("cluster_name", longest, "1 to 63 bytes");
    refuse("cluster_name", "", "1 to 63 bytes");
    refuse("cluster_name", "two\nlines", "printable");
    refuse("cluster_name", "esc\x1b[31m", "printable");
    refuse("cluster_name", "del\x7f", "printable");
    longest[63] = '\0';
    set("cluster_name", longest);
    set("cluster_name", options.cluster_name); /* in place */
    assert_string_equal(options.cluster_name, longest);
}

static void unknown_names(void **state)
{
    (void)state;
    static const struct {
        const char *name, *nearest;
    } near[] = {
        {"discovery_adr", "discovery_addr"},
        {"discovery_address", "discovery_addr"},
        {"vnode", "vnodes"},
        {"protocoll", "protocol"},
        {"getTimeout", "get_timeout"},
        {"get_timeout_s", "get_timeout"},
        {"global-segment-sise", "global_segment_size"},
        {"roles", "role"},
        {"tags", "tag"},
    };
    for (size_t i = 0; i < sizeof near / sizeof *near; i++) {
        assert_string_equal(option_nearest(near[i].name), near[i].nearest);
        assert_int_equal(option_set(&options, near[i].name, "1", error), -ENOENT);
        assert_non_null(strstr(error, near[i].name));
        assert_non_null(strstr(error, near[i].nearest));
    }
    /* Keys that SGLang's extra config may hold for others: no false alarm. */
    static const char *const far[] = {"",
                                      "x",
                                      "tp_size",
                                      "model_name",
                                      "interface_v1",
                                      "max",
                                      "backend_name",
                                      "prefetch_threshold",
                                      "hicache_storage"};
    for (size_t i = 0; i < sizeof far / sizeof *far; i++) {
        assert_null(option_nearest(far[i]));
        assert_int_equal(option_set(&options, far[i], "1", error), -ENOENT);
    }
    char text[OPTION_TEXT_BYTES], endless[1000];
    memset(endless, 'v', sizeof endless - 1);
    endless[sizeof endless - 1] = '\0';
    assert_null(option_nearest(endless));
    assert_int_equal(option_set(&options, endless, "1", error), -ENOENT);
    assert_true(strlen(error) < 128);
    assert_int_equal(option_get_text(&options, endless, text), -ENOENT);
}

static void dashes_count_as_underscores(void **state)
{
    (void)state;
    set("get-timeout", "3");
    assert_int_equal(options.get_timeout_ns, 3000000000);
    assert_null(option_find("gettimeout"));
    assert_null(option_find("get_timeout_"));
    assert_null(option_find("get_timeou"));
}

static void shows_values_as_people_write_them(void **state)
{
    (void)state;
    static const struct {
        const char *name, *value, *shown;
    } values[] = {
        {"global_segment_size", "1536mb", "1536mb"},
        {"global_segment_size", "1024mb", "1gb"},
        {"global_segment_size", "1048577", "1048577"},
        {"get_timeout", "500ms", "0.5"},
        {"get_timeout", "10", "10"},
        {"get_timeout", "1000us", "0.001"},
        {"disk_enabled", "1", "true"},
        {"protocol", "rdma", "rdma"},
        {"gid_index", "auto", "auto"},
        {"gid_index", "3", "3"},
        {"control_port", "080", "80"},
    };
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        char text[OPTION_TEXT_BYTES];
        set(values[i].name, values[i].value);
        assert_int_equal(option_get_text(&options, values[i].name, text), 0);
        assert_string_equal(text, values[i].shown);
    }
    char text[OPTION_NUMBER_BYTES];
    option_format_size(0, text);
    assert_string_equal(text, "0");
    option_format_size(UINT64_MAX, text);
    assert_string_equal(text, "18446744073709551615");
    option_format_seconds(UINT64_MAX, text);
    assert_string_equal(text, "18446744073.709551615");
    option_format_seconds(0, text);
    assert_string_equal(text, "0");
}

/* Each is fine alone. */
static void values_that_do_not_go_together(void **state)
{
    (void)state;
    set("member_ttl", "3");
    assert_int_equal(options_check(&options, error), -EINVAL);
    assert_non_null(strstr(error, "member_ttl must be at least twice heartbeat_interval"));
    set("heartbeat_interval", "1.5");
    assert_int_equal(options_check(&options, error), 0);
    set("ring_grace", "2.9");
    assert_int_equal(options_check(&options, error), -EINVAL);
    assert_non_null(strstr(error, "ring_grace"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(defaults_are_those_of_the_manual, set_up),
        cmocka_unit_test_setup(table_is_sound, set_up),
        cmocka_unit_test_setup(sizes, set_up),
        cmocka_unit_test_setup(seconds, set_up),
        cmocka_unit_test_setup(counts_and_ports, set_up),
        cmocka_unit_test_setup(flags, set_up),
        cmocka_unit_test_setup(choices, set_up),
        cmocka_unit_test_setup(foreign_options, set_up),
        cmocka_unit_test_setup(texts, set_up),
        cmocka_unit_test_setup(unknown_names, set_up),
        cmocka_unit_test_setup(dashes_count_as_underscores, set_up),
        cmocka_unit_test_setup(shows_values_as_people_write_them, set_up),
        cmocka_unit_test_setup(values_that_do_not_go_together, set_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
