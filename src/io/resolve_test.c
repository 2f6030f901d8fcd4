/* SPDX-License-Identifier: Apache-2.0 */
/* resolve_test.c - names and numbers to addresses, and which of them are this machine's. */
#include "io/resolve.h"

#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"

static uint64_t soon_ns(void)
{
    return clock_now_ns() + 5 * CLOCK_NS_PER_S;
}

static void number_is_itself(void **state)
{
    struct socket_name names[RESOLVE_NAMES_MAX];
    struct address four = {"127.0.0.1", 80}, six = {"::1", 81};
    uint32_t n;
    (void)state;
    assert_int_equal(resolve_wait_all(&four, 0, names, &n), 0);
    assert_int_equal(n, 1);
    assert_int_equal(ntohs(((struct sockaddr_in *)&names[0].storage)->sin_port), 80);
    assert_int_equal(resolve_wait_all(&six, 0, names, &n), 0);
    assert_int_equal(names[0].storage.ss_family, AF_INET6);
    assert_int_equal(ntohs(((struct sockaddr_in6 *)&names[0].storage)->sin6_port), 81);
}

static void name_has_each_address_once(void **state)
{
    struct socket_name names[RESOLVE_NAMES_MAX], one;
    struct address local = {"localhost", 80};
    uint32_t n = 0;
    (void)state;
    assert_int_equal(resolve_wait_all(&local, soon_ns(), names, &n), 0);
    assert_in_range(n, 1, 2);
    assert_int_equal(resolve_wait(&local, soon_ns(), &one), 0);
    assert_memory_equal(&one.storage, &names[0].storage, sizeof one.storage);
}

static void unknown_name_is_an_error(void **state)
{
    struct socket_name one;
    struct address none = {"no-such-host.invalid", 80};
    (void)state;
    int error = resolve_wait(&none, soon_ns(), &one);
    assert_true(error == -EHOSTUNREACH || error == -ETIMEDOUT);
}

static void own_addresses_are_known(void **state)
{
    struct socket_name one;
    struct address own = {"127.0.0.7", 80}, other = {"192.0.2.1", 80};
    (void)state;
    assert_int_equal(socket_name_parse(&own, &one), 0);
    assert_true(socket_name_is_own(&one));
    assert_int_equal(socket_name_parse(&other, &one), 0);
    assert_false(socket_name_is_own(&one));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(number_is_itself),
        cmocka_unit_test(name_has_each_address_once),
        cmocka_unit_test(unknown_name_is_an_error),
        cmocka_unit_test(own_addresses_are_known),
    };
    return cmocka_run_group_tests_name("io/resolve", tests, NULL, NULL);
}
