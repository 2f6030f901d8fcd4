/* SPDX-License-Identifier: Apache-2.0 */
/* demand_test.c - who may become a holder, how many, and how demand is forgotten. */
#include "core/demand.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#define START_NS (1000 * DEMAND_PERIOD_NS)

static const struct id128 PAGE = {11, 12};

static int setup(void **state)
{
    struct demand *demand;
    assert_int_equal(demand_new(&demand), 0);
    *state = demand;
    return 0;
}

static int teardown(void **state)
{
    demand_free(*state);
    return 0;
}

static uint32_t host(uint64_t number)
{
    return demand_host((struct id128){number, 77});
}

/* Two hosts with bits of their own for this page. */
static void find_two_hosts(struct id128 page, uint32_t ret_hosts[2])
{
    ret_hosts[0] = host(1);
    for (uint64_t number = 2;; number++) {
        struct demand *demand;
        ret_hosts[1] = host(number);
        assert_int_equal(demand_new(&demand), 0);
        demand_asked(demand, page, ret_hosts[0], 1, START_NS);
        bool is_other = demand_asked(demand, page, ret_hosts[1], 1, START_NS);
        demand_free(demand);
        if (is_other)
            return;
        assert_true(number < 1000);
    }
}

static void one_host_alone_makes_no_page_hot(void **state)
{
    for (int i = 0; i < 1000; i++)
        assert_false(demand_asked(*state, PAGE, host(1), 1, START_NS));
}

static void second_host_is_invited(void **state)
{
    uint32_t hosts[2];
    find_two_hosts(PAGE, hosts);
    assert_false(demand_asked(*state, PAGE, hosts[0], 1, START_NS));
    assert_true(demand_asked(*state, PAGE, hosts[1], 1, START_NS));
}

/* Not all who ask meanwhile copy it: one a holder that the demand is worth. */
static void each_copy_is_promised_once(void **state)
{
    uint32_t hosts[2];
    int invited = 0;
    find_two_hosts(PAGE, hosts);
    for (int i = 0; i < 2 * DEMAND_ASKS_A_COPY; i++)
        invited += demand_asked(*state, PAGE, hosts[i % 2], 1, START_NS);
    assert_int_equal(invited, 2);
    for (int i = 0; i < 1000; i++)
        invited += demand_asked(*state, PAGE, hosts[i % 2], 1, START_NS);
    assert_int_equal(invited, DEMAND_HOLDERS_MOST - 1);
}

static void page_with_holders_enough_gets_no_more(void **state)
{
    uint32_t hosts[2];
    find_two_hosts(PAGE, hosts);
    for (int i = 0; i < 1000; i++)
        assert_false(demand_asked(*state, PAGE, hosts[i % 2], DEMAND_HOLDERS_MOST, START_NS));
}

static void asks_of_different_periods_do_not_add_up(void **state)
{
    uint32_t hosts[2];
    find_two_hosts(PAGE, hosts);
    for (uint64_t i = 0; i < 50; i++)
        assert_false(demand_asked(*state, PAGE, hosts[i % 2], 1, START_NS + i * DEMAND_PERIOD_NS));
}

/* Who was invited and did not become a holder stands in nobody's way for longer than a period. */
static void broken_promise_is_forgotten(void **state)
{
    uint32_t hosts[2];
    int invited = 0;
    find_two_hosts(PAGE, hosts);
    for (int i = 0; i < 100; i++)
        invited += demand_asked(*state, PAGE, hosts[i % 2], 1, START_NS);
    assert_int_equal(invited, DEMAND_HOLDERS_MOST - 1);
    assert_true(demand_asked(*state, PAGE, hosts[0], 1, START_NS + DEMAND_PERIOD_NS));
    assert_false(demand_asked(*state, PAGE, hosts[0], 1, START_NS + 10 * DEMAND_PERIOD_NS));
}

/* Pages of one cell: what is asked for often keeps it, what comes once goes by. */
static void collision_costs_no_more_than_a_copy(void **state)
{
    const struct id128 other = {PAGE.hi + DEMAND_CELLS, PAGE.lo + 1};
    uint32_t hosts[2];
    find_two_hosts(PAGE, hosts);
    for (int i = 0; i < 3; i++)
        demand_asked(*state, PAGE, hosts[0], 1, START_NS);
    assert_false(demand_asked(*state, other, hosts[1], 1, START_NS));
    assert_true(demand_asked(*state, PAGE, hosts[1], 1, START_NS));
    for (int i = 0; i < 10; i++)
        assert_false(demand_asked(*state, other, hosts[0], 1, START_NS));
    find_two_hosts(other, hosts);
    demand_asked(*state, other, hosts[0], 1, START_NS);
    assert_true(demand_asked(*state, other, hosts[1], 1, START_NS));
}

static void no_host_is_called_nothing(void **state)
{
    (void)state;
    assert_int_not_equal(demand_host((struct id128){0, 0}), 0);
    assert_int_not_equal(host(1), host(2));
}

struct crowd {
    struct demand *demand;
    uint32_t host;
    atomic_int *invited;
};

static void *ask_often(void *context)
{
    struct crowd *crowd = context;
    for (int i = 0; i < 20000; i++)
        if (demand_asked(crowd->demand, PAGE, crowd->host, 1, START_NS))
            atomic_fetch_add(crowd->invited, 1);
    return NULL;
}

static void threads_are_promised_no_copy_twice(void **state)
{
    enum { THREADS = 4 };
    atomic_int invited = 0;
    struct crowd crowds[THREADS];
    pthread_t threads[THREADS];
    uint32_t hosts[2];
    find_two_hosts(PAGE, hosts);
    for (int i = 0; i < THREADS; i++) {
        crowds[i] = (struct crowd){*state, hosts[i % 2], &invited};
        assert_int_equal(pthread_create(&threads[i], NULL, ask_often, &crowds[i]), 0);
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(atomic_load(&invited), DEMAND_HOLDERS_MOST - 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(one_host_alone_makes_no_page_hot),
        TEST(second_host_is_invited),
        TEST(each_copy_is_promised_once),
        TEST(page_with_holders_enough_gets_no_more),
        TEST(asks_of_different_periods_do_not_add_up),
        TEST(broken_promise_is_forgotten),
        TEST(collision_costs_no_more_than_a_copy),
        TEST(no_host_is_called_nothing),
        TEST(threads_are_promised_no_copy_twice),
    };
    return cmocka_run_group_tests_name("core/demand", tests, NULL, NULL);
}
