/* SPDX-License-Identifier: Apache-2.0 */
/* choice_test.c - devices as they may be found, whether they are taken, and what a person reads. */
#include "io/rdma/choice.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <errno.h>

static const struct choice_wishes no_wishes = {"", 1, GID_INDEX_AUTO};

/* As a driver lists a port with the address 10.0.0.1: v1 and v2 of each of its two addresses. */
static void fill_gids(struct gid gids[4])
{
    static const uint8_t link_local[VERBS_GID_BYTES] = {0xfe, 0x80, [15] = 1};
    static const uint8_t routable[VERBS_GID_BYTES] = {[10] = 0xff, [11] = 0xff, 10, 0, 0, 1};
    for (uint32_t i = 0; i < 4; i++) {
        gids[i] = (struct gid){.entry = {.port = 1, .index = i}};
        gids[i].entry.type = i % 2 ? VERBS_GID_ROCE_V2 : VERBS_GID_ROCE_V1;
        memcpy(gids[i].entry.bytes, i < 2 ? link_local : routable, VERBS_GID_BYTES);
    }
}

static struct survey_device working(struct gid gids[4])
{
    fill_gids(gids);
    return (struct survey_device){
        .name = "mlx5_0",
        .info = {.port_count = 1,
                 .is_usable = true,
                 .limits = {.reads_asked = 16, .reads_served = 16}},
        .ports = {{.state = VERBS_PORT_ACTIVE, .link = VERBS_LINK_ETHERNET, .mtu_bytes = 4096}},
        .port_count = 1,
        .gids = gids,
        .gid_count = 4,
    };
}

static void expect_used(const struct survey_device *device, const struct choice_wishes *wishes,
                        uint32_t index, const char *why)
{
    struct choice choice;
    choice_make(device, wishes, &choice);
    assert_string_equal(choice.why, why);
    assert_true(choice.is_used);
    assert_int_equal(choice.gid->entry.index, index);
}

static void expect_refused(const struct survey_device *device, const struct choice_wishes *wishes,
                           const char *part_of_why)
{
    struct choice choice;
    choice_make(device, wishes, &choice);
    assert_false(choice.is_used);
    if (!strstr(choice.why, part_of_why))
        fail_msg("'%s' says nothing of '%s'", choice.why, part_of_why);
}

static void one_that_works_is_used(void **state)
{
    (void)state;
    struct gid gids[4];
    struct survey_device device = working(gids);
    expect_used(&device, &no_wishes, 3,
                "port 1, GID 3: RoCE v2 10.0.0.1, before RoCE v1 and link-local");
    device.gid_count = 2;
    expect_used(&device, &no_wishes, 1,
                "port 1, GID 1: RoCE v2 fe80::1, link-local, since its network interface has no "
                "other address");
    device.gids = &gids[3];
    device.gid_count = 1;
    expect_used(&device, &no_wishes, 3, "port 1, GID 3: RoCE v2 10.0.0.1");
}

static void wishes_are_followed(void **state)
{
    (void)state;
    struct gid gids[4];
    struct survey_device device = working(gids);
    const struct choice_wishes index = {"mlx5_1, mlx5_0", 1, 2}, far = {"", 1, 9};
    expect_used(&device, &index, 2, "port 1, GID 2: RoCE v1 10.0.0.1, as gid_index says");
    expect_refused(&device, &far, "gid_index=9");
    const struct choice_wishes other = {"mlx5_01,lx5_0", 1, GID_INDEX_AUTO};
    expect_refused(&device, &other, "device_names");
    const struct choice_wishes port = {"", 2, GID_INDEX_AUTO};
    expect_refused(&device, &port, "it has 1 port, and ib_port=2");
}

static void what_is_wrong_is_said(void **state)
{
    (void)state;
    struct gid gids[4];
    struct survey_device device = working(gids);
    device.error = -EACCES;
    expect_refused(&device, &no_wishes, "/dev/infiniband");
    device.error = -EIO;
    expect_refused(&device, &no_wishes, strerror(EIO));
    device = working(gids);
    device.info.is_usable = false;
    expect_refused(&device, &no_wishes, "neither InfiniBand nor RoCE");
    device = working(gids);
    device.info.limits.reads_served = 0;
    expect_refused(&device, &no_wishes, "RDMA reads");
    device = working(gids);
    device.ports[0].state = VERBS_PORT_DOWN;
    expect_refused(&device, &no_wishes, "port 1 is down: is its cable in");
    device.ports[0].link = VERBS_LINK_INFINIBAND;
    expect_refused(&device, &no_wishes, "subnet manager");
    device = working(gids);
    device.gid_count = 0;
    expect_refused(&device, &no_wishes, "give its network interface one");
}

static void expect_reason(struct survey_device *devices, uint32_t count,
                          const struct choice_wishes *wishes, const char *part)
{
    const struct survey survey = {.devices = devices, .count = count};
    char reason[CHOICE_WHY_BYTES] = "";
    assert_false(choice_works(&survey, wishes, reason));
    if (!strstr(reason, part))
        fail_msg("'%s' says nothing of '%s'", reason, part);
}

static void a_machine_works_or_says_why_not(void **state)
{
    (void)state;
    struct gid gids[2][4];
    struct survey_device devices[2] = {working(gids[0]), working(gids[1])};
    char reason[CHOICE_WHY_BYTES];
    const struct survey both = {.devices = devices, .count = 2};
    strcpy(devices[1].name, "mlx5_1");
    devices[0].ports[0].state = VERBS_PORT_DOWN;
    assert_true(choice_works(&both, &no_wishes, reason));
    const struct choice_wishes first = {"mlx5_0", 1, GID_INDEX_AUTO};
    expect_reason(devices, 2, &first, "mlx5_0: port 1 is down");
    const struct choice_wishes none = {"mlx5_7", 1, GID_INDEX_AUTO};
    expect_reason(devices, 2, &none, "device_names=mlx5_7 names no RDMA device");
    expect_reason(NULL, 0, &no_wishes, "no RDMA device");
    const struct survey unlisted = {.unlisted = "mlx5_0"};
    assert_false(choice_works(&unlisted, &no_wishes, reason));
    assert_non_null(strstr(reason, "the kernel has mlx5_0, but libibverbs does not list it"));
    devices[1].error = -EACCES;
    expect_reason(devices, 2, &no_wishes, "mlx5_0: port 1 is down");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_that_works_is_used),
        cmocka_unit_test(wishes_are_followed),
        cmocka_unit_test(what_is_wrong_is_said),
        cmocka_unit_test(a_machine_works_or_says_why_not),
    };
    return cmocka_run_group_tests_name("choice", tests, NULL, NULL);
}
