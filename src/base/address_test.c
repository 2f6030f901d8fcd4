/* SPDX-License-Identifier: Apache-2.0 */
/* address_test.c - what people write for an address, and what they get wrong. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/address.h"

static const struct {
    const char *text;
    uint16_t default_port;
    const char *host;
    uint16_t port;
    const char *formatted;
} good[] = {
    {"localhost:31998", 0, "localhost", 31998, "localhost:31998"},
    {"10.1.2.3:1", 31998, "10.1.2.3", 1, "10.1.2.3:1"},
    {"10.1.2.3:65535", 0, "10.1.2.3", 65535, "10.1.2.3:65535"},
    {"rank-0.pods.cluster.local", 31998, "rank-0.pods.cluster.local", 31998,
     "rank-0.pods.cluster.local:31998"},
    {"a_b:5", 0, "a_b", 5, "a_b:5"},
    {"[::1]:80", 0, "::1", 80, "[::1]:80"},
    {"[fe80::1%eth0]", 7, "fe80::1%eth0", 7, "[fe80::1%eth0]:7"},
    {"host:00080", 0, "host", 80, "host:80"},
};

static void parses_and_formats(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        struct address address;
        char error[ADDRESS_ERROR_BYTES], text[ADDRESS_TEXT_BYTES];
        assert_int_equal(address_parse(good[i].text, good[i].default_port, &address, error), 0);
        assert_string_equal(address.host, good[i].host);
        assert_int_equal(address.port, good[i].port);
        address_format(&address, text);
        assert_string_equal(text, good[i].formatted);
    }
}

static const struct {
    const char *text;
    uint16_t default_port;
    const char *says;
} bad[] = {
    {"", 31998, "has no host"},
    {":80", 31998, "has no host"},
    {"host", 0, "has no port"},
    {"[::1]", 0, "has no port"},
    {"host:", 31998, "1 to 65535"},
    {"host:0", 31998, "1 to 65535"},
    {"host:65536", 31998, "1 to 65535"},
    {"host:99999999999999999999999", 31998, "1 to 65535"},
    {"host:-1", 31998, "1 to 65535"},
    {"host:80x", 31998, "1 to 65535"},
    {"host: 80", 31998, "1 to 65535"},
    {"::1", 31998, "brackets"},
    {"::1:80", 31998, "brackets"},
    {"a:b:c", 31998, "brackets"},
    {"[::1", 31998, "closing bracket"},
    {"[::1]80", 31998, "behind the bracket"},
    {"[host]:80", 31998, "no IPv6 address"},
    {"[]:80", 31998, "no IPv6 address"},
    {"tcp://host:80", 31998, "brackets"},
    {"a host:80", 31998, "no host has"},
    {"host/path", 31998, "no host has"},
    {"h\xc3\xb6st:80", 31998, "no host has"},
    {"a,b:80", 31998, "no host has"},
    {"host\n:80", 31998, "no host has"},
    {"0123456789012345678901234567890123456789012345678901234567890123:80", 0, "63 bytes"},
};

static void refuses_with_a_reason(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct address address = {.host = "kept", .port = 9};
        char error[ADDRESS_ERROR_BYTES] = "";
        int got = address_parse(bad[i].text, bad[i].default_port, &address, error);
        if (got != -EINVAL || !strstr(error, bad[i].says))
            fail_msg("\"%s\" gave %d: %s", bad[i].text, got, error);
        assert_non_null(strstr(error, "write host:port"));
        assert_null(strchr(error, '\n'));
        assert_string_equal(address.host, "kept");
        assert_int_equal(address.port, 9);
    }
}

static void longest_host_fits(void **state)
{
    (void)state;
    struct address address;
    char text[200], error[ADDRESS_ERROR_BYTES], formatted[ADDRESS_TEXT_BYTES];
    snprintf(text, sizeof text, "[%063d:65535", 0);
    memset(text + 1, ':', 62);
    memcpy(text + 1 + 63, "]:65535", 8);
    assert_int_equal(address_parse(text, 0, &address, error), 0);
    address_format(&address, formatted);
    assert_string_equal(formatted, text);
}

static void host_of_a_stranger_stays_on_its_line(void **state)
{
    (void)state;
    struct address address = {.host = "a\nb c\x1b[31m\xff", .port = 1};
    char text[ADDRESS_TEXT_BYTES];
    address_format(&address, text);
    assert_string_equal(text, "a?b?c?[31m?:1");
}

static void lists_are_taken_apart(void **state)
{
    (void)state;
    struct address list[3];
    char error[ADDRESS_ERROR_BYTES];
    uint32_t n = 0;
    assert_int_equal(address_parse_list("a", 5, 3, list, &n, error), 0);
    assert_int_equal(n, 1);
    assert_int_equal(list[0].port, 5);
    assert_int_equal(address_parse_list(" a:1 , [::1]:2,c", 5, 3, list, &n, error), 0);
    assert_int_equal(n, 3);
    assert_string_equal(list[0].host, "a");
    assert_string_equal(list[1].host, "::1");
    assert_int_equal(list[1].port, 2);
    assert_string_equal(list[2].host, "c");
}

static void lists_are_refused_with_a_reason(void **state)
{
    static const char *const cases[][2] = {
        {"a,", "has no host"},      {",a", "has no host"}, {"a,,b", "has no host"},
        {"", "has no host"},        {"a,b:x", "\"b:x\""},  {"a b", "no host has"},
        {"a,b,c,d", "more than 3"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct address list[3];
        char error[ADDRESS_ERROR_BYTES] = "", text[400] = "a,";
        uint32_t n = 77;
        assert_int_equal(address_parse_list(cases[i][0], 5, 3, list, &n, error), -EINVAL);
        if (!strstr(error, cases[i][1]))
            fail_msg("\"%s\" gave: %s", cases[i][0], error);
        assert_int_equal(n, 77);
        memset(text + 2, 'x', sizeof text - 3);
        assert_int_equal(address_parse_list(text, 5, 3, list, &n, error), -EINVAL);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lists_are_taken_apart),
        cmocka_unit_test(lists_are_refused_with_a_reason),
        cmocka_unit_test(parses_and_formats),
        cmocka_unit_test(refuses_with_a_reason),
        cmocka_unit_test(longest_host_fits),
        cmocka_unit_test(host_of_a_stranger_stays_on_its_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
