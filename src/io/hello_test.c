/* SPDX-License-Identifier: Apache-2.0 */
/* hello_test.c - who suits whom, and what the others are told. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "io/hello.h"

static struct message_hello hello(uint16_t version_min, uint16_t version_max)
{
    return (struct message_hello){.version_min = version_min,
                                  .version_max = version_max,
                                  .purpose = PURPOSE_CONTROL,
                                  .cluster = {"blue", 4}};
}

static void expect(struct message_hello mine, struct message_hello theirs, int error,
                   const char *reason)
{
    char text[HELLO_REASON_BYTES] = "untouched";
    assert_int_equal(hello_check(&mine, &theirs, text), error);
    assert_string_equal(text, reason);
}

static void test_versions(void **state)
{
    (void)state;
    struct message_hello mine = hello(2, 4), theirs = hello(3, 9);
    expect(mine, theirs, 0, "untouched");
    assert_int_equal(hello_version(&mine, &theirs), 4);
    theirs = hello(1, 2);
    expect(mine, theirs, 0, "untouched");
    assert_int_equal(hello_version(&mine, &theirs), 2);
    expect(mine, hello(5, 6), -EPROTONOSUPPORT,
           "no protocol version in common: this node speaks 2 to 4, the peer 5 to 6");
    expect(mine, hello(0, 1), -EPROTONOSUPPORT,
           "no protocol version in common: this node speaks 2 to 4, the peer 0 to 1");
    expect(mine, hello(4, 3), -EPROTO, "protocol versions 4 to 3 are no range");
}

/* Messages that this build does not know are of no version that it could agree on. */
static void test_messages(void **state)
{
    (void)state;
    for (uint32_t type = 1; type < MESSAGE_TYPE_END; type++)
        assert_true(hello_allows(1, type));
    assert_false(hello_allows(0, MESSAGE_lookup));
    assert_false(hello_allows(1, MESSAGE_TYPE_END));
    assert_false(hello_allows(1, 0));
}

static void test_cluster(void **state)
{
    (void)state;
    struct message_hello theirs = hello(1, 1);
    theirs.cluster = (struct wire_text){"blu", 3};
    expect(
        hello(1, 1), theirs, -EPERM,
        "cluster names differ: a node of 'blu' asked one of 'blue'; set cluster_name to the same");
    theirs.cluster = (struct wire_text){"\033[2Jx", 5};
    expect(
        hello(1, 1), theirs, -EPERM,
        "cluster names differ: a node of '?[2Jx' asked one of 'blue'; set cluster_name to the same");
    struct message_hello mine = hello(1, 1);
    mine.cluster = theirs.cluster = (struct wire_text){NULL, 0};
    expect(mine, theirs, 0, "untouched");
}

static void test_auth_and_purpose(void **state)
{
    (void)state;
    struct message_hello theirs = hello(1, 1);
    theirs.auth = 2;
    expect(hello(1, 1), theirs, -EOPNOTSUPP,
           "authentication method 2 is not supported, only none (0)");
    theirs = hello(1, 1);
    theirs.purpose = 0;
    expect(hello(1, 1), theirs, -EPROTO, "connections of purpose 0 are not known here");
    theirs.purpose = PURPOSE_TOOL + 1;
    expect(hello(1, 1), theirs, -EPROTO, "connections of purpose 5 are not known here");
}

/* Members must agree on the ring; who only asks or reads need not. */
static void test_ring(void **state)
{
    (void)state;
    struct message_hello mine = hello(1, 1), theirs = hello(1, 1);
    mine.vnodes = theirs.vnodes = 160;
    mine.directory_replicas = theirs.directory_replicas = 2;
    expect(mine, theirs, 0, "untouched");
    theirs.vnodes = 161;
    theirs.purpose = PURPOSE_DISCOVERY;
    expect(mine, theirs, -EPERM,
           "vnodes differs: a node with 161 asked one with 160; set it to the same on all nodes");
    theirs.vnodes = 160;
    theirs.directory_replicas = 3;
    expect(mine, theirs, -EPERM,
           "directory_replicas differs: a node with 3 asked one with 2; set it to the same on all "
           "nodes");
    theirs.purpose = PURPOSE_TOOL;
    expect(mine, theirs, 0, "untouched");
    theirs.purpose = PURPOSE_CHANNEL;
    expect(mine, theirs, 0, "untouched");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_versions), cmocka_unit_test(test_messages),
        cmocka_unit_test(test_cluster),  cmocka_unit_test(test_auth_and_purpose),
        cmocka_unit_test(test_ring),
    };
    return cmocka_run_group_tests_name("hello", tests, NULL, NULL);
}
