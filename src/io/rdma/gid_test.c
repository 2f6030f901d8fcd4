/* SPDX-License-Identifier: Apache-2.0 */
/* gid_test.c - tables of GIDs as machines have them, and which of them is taken. */
#include "io/rdma/gid.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <arpa/inet.h>

#define V1 VERBS_GID_ROCE_V1
#define V2 VERBS_GID_ROCE_V2
#define IB VERBS_GID_INFINIBAND

/* @prefix_bits as of the address that is written. */
static struct gid make(uint32_t index, enum verbs_gid_type type, const char *address,
                       uint8_t prefix_bits)
{
    struct gid gid = {.entry = {.port = 1, .index = index, .type = type},
                      .prefix_bits = prefix_bits};
    if (strchr(address, ':')) {
        assert_int_equal(inet_pton(AF_INET6, address, gid.entry.bytes), 1);
        return gid;
    }
    gid.entry.bytes[10] = gid.entry.bytes[11] = 0xff;
    assert_int_equal(inet_pton(AF_INET, address, gid.entry.bytes + 12), 1);
    gid.prefix_bits = prefix_bits ? (uint8_t)(96 + prefix_bits) : 0;
    return gid;
}

static void scopes(void **state)
{
    (void)state;
    const struct {
        const char *address;
        enum gid_scope scope;
    } cases[] = {
        {"fe80::1", GID_SCOPE_LINK_LOCAL},
        {"febf::1", GID_SCOPE_LINK_LOCAL},
        {"169.254.3.4", GID_SCOPE_LINK_LOCAL},
        {"10.0.0.1", GID_SCOPE_IPV4},
        {"100.64.0.1", GID_SCOPE_IPV4},
        {"2001:db8::1", GID_SCOPE_IPV6},
        {"fd00::1", GID_SCOPE_IPV6},
        {"::", GID_SCOPE_NONE},
        {"::1", GID_SCOPE_NONE},
        {"ff02::1", GID_SCOPE_NONE},
        {"0.0.0.0", GID_SCOPE_NONE},
        {"127.0.0.1", GID_SCOPE_NONE},
        {"224.0.0.1", GID_SCOPE_NONE},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct gid gid = make(0, V2, cases[i].address, 0);
        assert_int_equal(gid_scope(&gid), cases[i].scope);
    }
    struct gid gid = make(0, IB, "fe80::2:c903:ef:1234", 0);
    assert_int_equal(gid_scope(&gid), GID_SCOPE_INFINIBAND);
}

/* What a driver of Mellanox lists, and rxe with its two. */
static void v2_and_routable_win(void **state)
{
    (void)state;
    const struct gid many[] = {
        make(0, V1, "fe80::1", 64),     make(1, V2, "fe80::1", 64),
        make(2, V1, "192.168.1.1", 24), make(3, V2, "192.168.1.1", 24),
        make(4, V1, "2001:db8::1", 64), make(5, V2, "2001:db8::1", 64),
    };
    assert_ptr_equal(gid_choose(many, 6, 1, GID_INDEX_AUTO), &many[3]);
    assert_ptr_equal(gid_choose(many, 3, 1, GID_INDEX_AUTO), &many[1]);
    assert_ptr_equal(gid_choose(many, 1, 1, GID_INDEX_AUTO), &many[0]);
    assert_null(gid_choose(many, 0, 1, GID_INDEX_AUTO));
    const struct gid few[] = {make(0, V2, "fe80::1", 64), make(1, V2, "10.99.0.1", 24)};
    assert_ptr_equal(gid_choose(few, 2, 1, GID_INDEX_AUTO), &few[1]);
}

static void order_in_the_table_does_not_matter(void **state)
{
    (void)state;
    const struct gid gids[] = {make(7, V2, "10.0.0.7", 24), make(3, V2, "10.0.0.3", 24),
                               make(5, V2, "10.0.0.5", 24)};
    assert_ptr_equal(gid_choose(gids, 3, 1, GID_INDEX_AUTO), &gids[1]);
}

static void a_named_index_is_the_only_one(void **state)
{
    (void)state;
    const struct gid gids[] = {make(0, V1, "fe80::1", 64), make(3, V2, "10.0.0.1", 24),
                               make(4, V2, "::", 0)};
    assert_ptr_equal(gid_choose(gids, 3, 1, 0), &gids[0]);
    assert_null(gid_choose(gids, 3, 1, 2));
    assert_null(gid_choose(gids, 3, 1, 4));
}

static void other_ports_do_not_count(void **state)
{
    (void)state;
    struct gid gids[] = {make(0, V2, "10.0.0.1", 24), make(0, V1, "fe80::2", 64)};
    gids[1].entry.port = 2;
    assert_ptr_equal(gid_choose(gids, 2, 2, GID_INDEX_AUTO), &gids[1]);
    assert_null(gid_choose(gids, 2, 3, GID_INDEX_AUTO));
}

static void subnets(void **state)
{
    (void)state;
    const struct {
        const char *a, *b;
        uint8_t a_bits, b_bits;
        bool is_shared;
    } cases[] = {
        {"10.1.2.3", "10.1.2.200", 24, 24, true},  {"10.1.2.3", "10.1.3.3", 24, 24, false},
        {"10.1.2.3", "10.1.3.3", 23, 23, true},    {"10.1.2.3", "10.1.3.3", 23, 24, false},
        {"10.1.2.3", "10.1.2.4", 24, 0, true},     {"10.1.2.3", "10.1.2.4", 0, 0, false},
        {"10.1.2.3", "10.1.2.4", 31, 31, false},   {"2001:db8::1", "2001:db8::2", 64, 64, true},
        {"2001:db8::1", "10.1.2.3", 1, 24, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct gid a = make(0, V2, cases[i].a, cases[i].a_bits);
        struct gid b = make(0, V2, cases[i].b, cases[i].b_bits);
        assert_int_equal(gid_share_subnet(&a, &b), cases[i].is_shared);
        assert_int_equal(gid_share_subnet(&b, &a), cases[i].is_shared);
    }
}

/* Both sides choose by themselves and must come to the same. */
static void expect_pair(const struct gid *own, uint32_t n_own, const struct gid *peer,
                        uint32_t n_peer, uint32_t expected_own, uint32_t expected_peer)
{
    const struct gid *left = NULL, *right = NULL;
    assert_true(gid_choose_pair(own, n_own, peer, n_peer, &left, &right));
    assert_int_equal(left - own, expected_own);
    assert_int_equal(right - peer, expected_peer);
    assert_true(gid_choose_pair(peer, n_peer, own, n_own, &right, &left));
    assert_int_equal(left - own, expected_own);
    assert_int_equal(right - peer, expected_peer);
}

static void the_shared_subnet_wins_between_two(void **state)
{
    (void)state;
    const struct gid own[] = {make(1, V2, "fe80::1", 64), make(3, V2, "10.1.0.1", 24),
                              make(5, V2, "10.2.0.1", 24)};
    const struct gid peer[] = {make(1, V2, "fe80::2", 64), make(3, V2, "10.2.0.2", 24)};
    expect_pair(own, 3, peer, 2, 2, 1);
    /* Routed where none is shared, rather than link-local. */
    expect_pair(own, 2, peer, 2, 1, 1);
    expect_pair(own, 1, peer, 2, 0, 0);
}

static void equal_pairs_are_told_apart_alike(void **state)
{
    (void)state;
    const struct gid own[] = {make(9, V2, "10.1.0.1", 24), make(2, V2, "10.1.0.3", 24)};
    const struct gid peer[] = {make(4, V2, "10.1.0.4", 24), make(8, V2, "10.1.0.2", 24)};
    expect_pair(own, 2, peer, 2, 0, 1);
    /* The lowest address of one side is not in the pair that the other's lowest is in. */
    const struct gid left[] = {make(1, V2, "10.1.0.1", 16), make(2, V2, "10.1.5.2", 24)};
    const struct gid right[] = {make(1, V2, "10.1.5.1", 24), make(2, V2, "10.1.9.9", 16)};
    expect_pair(left, 2, right, 2, 0, 1);
}

static void those_that_cannot_reach_each_other(void **state)
{
    (void)state;
    const struct gid *left, *right;
    const struct gid v2 = make(0, V2, "10.1.0.1", 24), v1 = make(0, V1, "10.1.0.2", 24);
    const struct gid v1_afar = make(0, V1, "10.2.0.2", 24), six = make(0, V2, "2001:db8::1", 64);
    const struct gid ib = make(0, IB, "fe80::1", 0), ib_afar = make(0, IB, "fe80:0:0:1::2", 0);
    assert_false(gid_choose_pair(&v2, 1, &v1, 1, &left, &right));
    assert_false(gid_choose_pair(&v1, 1, &v1_afar, 1, &left, &right));
    assert_false(gid_choose_pair(&v2, 1, &six, 1, &left, &right));
    assert_false(gid_choose_pair(&v2, 1, &ib, 1, &left, &right));
    assert_false(gid_choose_pair(&ib, 1, &ib_afar, 1, &left, &right));
    assert_false(gid_choose_pair(&v2, 1, &v2, 0, &left, &right));
    const struct gid ib_near = make(0, IB, "fe80::2", 0);
    assert_true(gid_choose_pair(&ib, 1, &ib_near, 1, &left, &right));
}

static void addresses_as_text(void **state)
{
    (void)state;
    char text[GID_TEXT_BYTES];
    struct gid gid = make(0, V2, "10.1.2.3", 24);
    gid_format(&gid, text);
    assert_string_equal(text, "10.1.2.3");
    gid = make(0, IB, "fe80::2:c903:ef:1234", 0);
    gid_format(&gid, text);
    assert_string_equal(text, "fe80::2:c903:ef:1234");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scopes),
        cmocka_unit_test(v2_and_routable_win),
        cmocka_unit_test(order_in_the_table_does_not_matter),
        cmocka_unit_test(a_named_index_is_the_only_one),
        cmocka_unit_test(other_ports_do_not_count),
        cmocka_unit_test(subnets),
        cmocka_unit_test(the_shared_subnet_wins_between_two),
        cmocka_unit_test(equal_pairs_are_told_apart_alike),
        cmocka_unit_test(those_that_cannot_reach_each_other),
        cmocka_unit_test(addresses_as_text),
    };
    return cmocka_run_group_tests_name("gid", tests, NULL, NULL);
}
