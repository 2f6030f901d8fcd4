/* SPDX-License-Identifier: Apache-2.0 */
/* identity_test.c - equal fields make equal namespaces, and nothing else does. */
#include "node/identity.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/protection.h"
#include "peercache.h"

static struct id128 identity_of(const char *const *fields, size_t n)
{
    char error[NODE_ERROR_BYTES];
    struct id128 identity;
    assert_int_equal(identity_of_fields(fields, n, &identity, error), 0);
    return identity;
}

/* The sentence with which the fields are refused. */
static const char *refusal_of(const char *const *fields, size_t n)
{
    static char error[NODE_ERROR_BYTES];
    struct id128 identity = {1, 2};
    error[0] = 0;
    assert_int_equal(identity_of_fields(fields, n, &identity, error), -EINVAL);
    assert_true(identity.hi == 1 && identity.lo == 2);
    return error;
}

#define SAME(a, b)                                                                                 \
    id128_equal(identity_of(a, sizeof(a) / sizeof *(a)), identity_of(b, sizeof(b) / sizeof *(b)))

static void order_does_not_matter(void **state)
{
    static const char *const one[] = {"model=m", "dtype=bf16", "tp=8"};
    static const char *const other[] = {"tp=8", "model=m", "dtype=bf16"};
    (void)state;
    assert_true(SAME(one, other));
}

/* What is next to each other on paper: another value, another cut, a field more, an empty value. */
static void each_difference_makes_another_namespace(void **state)
{
    static const char *const base[] = {"a=b", "c=d"};
    static const char *const value[] = {"a=b", "c=e"};
    static const char *const label[] = {"a=b", "x=d"};
    static const char *const cut[] = {"a=bc=d"};
    static const char *const shifted[] = {"a=", "bc=d"};
    static const char *const more[] = {"a=b", "c=d", "e="};
    static const char *const fewer[] = {"a=b"};
    (void)state;
    assert_false(SAME(base, value));
    assert_false(SAME(base, label));
    assert_false(SAME(base, cut));
    assert_false(SAME(base, shifted));
    assert_false(SAME(cut, shifted));
    assert_false(SAME(base, more));
    assert_false(SAME(base, fewer));
}

static void a_tag_keeps_tenants_apart(void **state)
{
    static const char *const fields[] = {"model=m"}, *const twin[] = {"model=m", "tag=a"};
    struct id128 plain = identity_of(fields, 1), tagged = identity_with_tag(plain, "a");
    (void)state;
    assert_true(id128_equal(identity_with_tag(plain, ""), plain));
    assert_false(id128_equal(tagged, plain));
    assert_false(id128_equal(tagged, identity_with_tag(plain, "b")));
    assert_false(id128_equal(tagged, identity_of(twin, 2)));
}

static void no_fields_are_a_namespace_too(void **state)
{
    static const char *const empty[] = {"a="};
    (void)state;
    assert_false(id128_equal(identity_of(NULL, 0), identity_of(empty, 1)));
    assert_true(id128_equal(identity_of(NULL, 0), identity_of(empty, 0)));
}

static void value_may_hold_anything_also_equals_signs(void **state)
{
    static const char *const one[] = {"a=b=c"};
    static const char *const other[] = {"a=b"};
    (void)state;
    assert_false(SAME(one, other));
}

static void field_that_is_none_is_refused_with_a_sentence(void **state)
{
    static char longest[IDENTITY_FIELD_MAX_BYTES + 2];
    static const char *const no_equals[] = {"model=m", "dtype"};
    static const char *const no_label[] = {"=bf16"};
    static const char *const nothing[] = {""};
    static const char *const missing[] = {"model=m", NULL};
    const char *too_long[] = {longest};
    (void)state;
    assert_non_null(strstr(refusal_of(no_equals, 2), "dtype"));
    assert_non_null(strstr(refusal_of(no_label, 1), "label"));
    assert_non_null(strstr(refusal_of(nothing, 1), "label"));
    assert_non_null(strstr(refusal_of(missing, 2), "missing"));
    memset(longest, 'x', sizeof longest - 1);
    longest[1] = '=';
    assert_non_null(strstr(refusal_of(too_long, 1), "1024"));
    longest[IDENTITY_FIELD_MAX_BYTES] = 0;
    identity_of(too_long, 1);
}

/* Also where other labels begin in the same way. */
static void label_that_stands_twice_is_refused(void **state)
{
    static const char *const twice[] = {"a=1", "b=1", "a=2"};
    static const char *const equal[] = {"a=1", "a=1"};
    static const char *const between[] = {"a=1", "a-b=1", "a=2"};
    static const char *const beginning[] = {"a=1", "ab=1", "a-=1"};
    (void)state;
    assert_non_null(strstr(refusal_of(twice, 3), "twice"));
    assert_non_null(strstr(refusal_of(equal, 2), "twice"));
    assert_non_null(strstr(refusal_of(between, 3), "twice"));
    identity_of(beginning, 3);
}

static void more_fields_than_allowed_are_refused(void **state)
{
    static char texts[IDENTITY_FIELDS_MAX + 1][16];
    const char *fields[IDENTITY_FIELDS_MAX + 1];
    (void)state;
    for (int i = 0; i <= IDENTITY_FIELDS_MAX; i++) {
        snprintf(texts[i], sizeof texts[i], "f%d=1", i);
        fields[i] = texts[i];
    }
    identity_of(fields, IDENTITY_FIELDS_MAX);
    assert_non_null(strstr(refusal_of(fields, IDENTITY_FIELDS_MAX + 1), "65"));
}

static void name_has_1_to_255_bytes(void **state)
{
    struct node_namespace ns = {{1, 2}, 0};
    struct node_page page;
    char name[256] = {0};
    (void)state;
    assert_int_equal(identity_name_page(&ns, name, 0, &page), -EINVAL);
    assert_int_equal(identity_name_page(&ns, NULL, 5, &page), -EINVAL);
    assert_int_equal(identity_name_page(&ns, name, 256, &page), -EINVAL);
    assert_int_equal(identity_name_page(&ns, name, 1, &page), 0);
    assert_int_equal(identity_name_page(&ns, name, 255, &page), 0);
    assert_ptr_equal(page.name, name);
}

/* Namespaces of one name share owners and nothing else; epochs are told apart by the digest. */
static void digest_takes_namespace_epoch_and_name(void **state)
{
    struct node_namespace ns = {{1, 2}, 0}, other = {{1, 3}, 0}, cleared = {{1, 2}, 1};
    struct node_page page, pages[3];
    (void)state;
    identity_name_page(&ns, "page", 4, &page);
    identity_name_page(&other, "page", 4, &pages[0]);
    identity_name_page(&cleared, "page", 4, &pages[1]);
    identity_name_page(&ns, "page\0", 5, &pages[2]);
    for (int i = 0; i < 3; i++)
        assert_false(id128_equal(page.digest, pages[i].digest));
    assert_true(page.ring_position == pages[0].ring_position);
    assert_true(page.ring_position == pages[1].ring_position);
    assert_true(page.ring_position != pages[2].ring_position);

    assert_true(protection_disable("epoch_in_digest"));
    identity_name_page(&ns, "page", 4, &page);
    identity_name_page(&cleared, "page", 4, &pages[1]);
    assert_true(id128_equal(page.digest, pages[1].digest));
}

static int teardown(void **state)
{
    (void)state;
    protection_enable_all();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(order_does_not_matter),
        cmocka_unit_test(each_difference_makes_another_namespace),
        cmocka_unit_test(a_tag_keeps_tenants_apart),
        cmocka_unit_test(no_fields_are_a_namespace_too),
        cmocka_unit_test(value_may_hold_anything_also_equals_signs),
        cmocka_unit_test(field_that_is_none_is_refused_with_a_sentence),
        cmocka_unit_test(label_that_stands_twice_is_refused),
        cmocka_unit_test(more_fields_than_allowed_are_refused),
        cmocka_unit_test(name_has_1_to_255_bytes),
        cmocka_unit_test_teardown(digest_takes_namespace_epoch_and_name, teardown),
    };
    return cmocka_run_group_tests_name("node/identity", tests, NULL, NULL);
}
