/* SPDX-License-Identifier: Apache-2.0 */
/* masters_test.c - who is a master: the same for all who see the same, and little moves. */
#include "core/masters.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

enum { HOSTS = 40 };

static struct core_service service(uint32_t number)
{
    struct core_service made = {.port = 31998};
    snprintf(made.host, sizeof made.host, "10.0.0.%u", number);
    return made;
}

/* Hosts 0 .. HOSTS - 1 that are in @there, offered from @first on. */
static struct masters choose(uint32_t max, const struct core_service *head, uint64_t there,
                             uint32_t first)
{
    struct masters masters;
    masters_begin(&masters, max, head);
    for (uint32_t i = 0; i < HOSTS; i++) {
        uint32_t number = (first + i) % HOSTS;
        struct core_service offered = service(number);
        if (there >> number & 1)
            masters_offer(&masters, &offered);
    }
    return masters;
}

#define ALL ((UINT64_C(1) << HOSTS) - 1)

static void assert_same(const struct masters *a, const struct masters *b)
{
    assert_int_equal(a->n, b->n);
    for (uint32_t i = 0; i < a->n; i++)
        assert_true(core_service_equal(&a->services[i], &b->services[i]));
}

static void order_of_the_list_does_not_matter(void **state)
{
    struct core_service head = service(7);
    struct masters expected = choose(3, &head, ALL, 0);
    (void)state;
    assert_int_equal(expected.n, 3);
    for (uint32_t first = 1; first < HOSTS; first++) {
        struct masters masters = choose(3, &head, ALL, first);
        assert_same(&masters, &expected);
    }
}

static void head_is_first_even_when_it_is_gone(void **state)
{
    struct core_service head = service(7);
    (void)state;
    struct masters masters = choose(3, &head, ALL & ~(UINT64_C(1) << 7), 0);
    assert_true(core_service_equal(&masters.services[0], &head));
    struct masters with = choose(3, &head, ALL, 0);
    assert_same(&masters, &with);
    masters = choose(1, &head, ALL, 0);
    assert_int_equal(masters.n, 1);
    masters = choose(3, NULL, ALL, 0);
    assert_int_equal(masters.n, 3);
}

static void small_cluster_has_all_hosts(void **state)
{
    struct core_service head = service(0);
    (void)state;
    assert_int_equal(choose(3, &head, 7, 0).n, 3);
    assert_int_equal(choose(3, &head, 1, 0).n, 1);
    assert_int_equal(choose(3, NULL, 0, 0).n, 0);
}

/* Whoever goes, the others stay, and exactly one comes; and it comes back to its place. */
static void dead_master_is_replaced_by_one(void **state)
{
    struct core_service head = service(0);
    (void)state;
    for (uint32_t max = 2; max <= CORE_MASTERS_MAX; max++) {
        struct masters before = choose(max, &head, ALL, 0);
        for (uint32_t i = 1; i < before.n; i++) {
            uint64_t there = ALL;
            for (uint32_t number = 0; number < HOSTS; number++) {
                struct core_service gone = service(number);
                if (core_service_equal(&gone, &before.services[i]))
                    there &= ~(UINT64_C(1) << number);
            }
            struct masters after = choose(max, &head, there, 0);
            uint32_t kept = 0;
            for (uint32_t j = 0; j < before.n; j++)
                kept += masters_have(&after, &before.services[j]);
            assert_int_equal(after.n, max);
            assert_int_equal(kept, max - 1);
        }
    }
}

static void hosts_of_one_name_and_other_ports_differ(void **state)
{
    struct core_service a = service(1), b = service(1);
    (void)state;
    b.port++;
    assert_false(core_service_equal(&a, &b));
    struct masters masters;
    masters_begin(&masters, 3, NULL);
    masters_offer(&masters, &a);
    masters_offer(&masters, &b);
    masters_offer(&masters, &a);
    assert_int_equal(masters.n, 2);
}

static void host_texts_may_fill_their_room(void **state)
{
    struct core_service a = {.port = 1}, b = {.port = 1};
    (void)state;
    for (size_t i = 0; i + 1 < sizeof a.host; i++)
        a.host[i] = b.host[i] = 'x';
    assert_true(core_service_equal(&a, &b));
    b.host[sizeof b.host - 2] = 'y';
    assert_false(core_service_equal(&a, &b));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(order_of_the_list_does_not_matter),
        cmocka_unit_test(head_is_first_even_when_it_is_gone),
        cmocka_unit_test(small_cluster_has_all_hosts),
        cmocka_unit_test(dead_master_is_replaced_by_one),
        cmocka_unit_test(hosts_of_one_name_and_other_ports_differ),
        cmocka_unit_test(host_texts_may_fill_their_room),
    };
    return cmocka_run_group_tests_name("core/masters", tests, NULL, NULL);
}
