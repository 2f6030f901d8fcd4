/* SPDX-License-Identifier: Apache-2.0 */
/* survey_test.c - the devices of the model, surveyed and chosen among; /sys is small files. */
#include "io/rdma/survey.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <errno.h>
#include <limits.h>
#include <unistd.h>

#include "io/rdma/choice.h"
#include "model_adapter.h"

static const struct choice_wishes no_wishes = {"", 1, GID_INDEX_AUTO};

struct machine {
    struct model *model;
    char root[64];
};

static void run(const char *format, const char *root, const char *more)
{
    char command[512];
    snprintf(command, sizeof command, format, root, more);
    assert_int_equal(system(command), 0);
}

static int setup(void **state)
{
    struct machine *machine = calloc(1, sizeof *machine);
    const struct model_settings settings = model_settings_default(1);
    machine->model = model_new(&settings);
    model_add_device(machine->model, "model0", 1);
    model_add_device(machine->model, "model1", 2);
    strcpy(machine->root, "/tmp/peercache-survey-XXXXXX");
    assert_non_null(mkdtemp(machine->root));
    *state = machine;
    return 0;
}

static int teardown(void **state)
{
    struct machine *machine = *state;
    run("rm -r '%s'%s", machine->root, "");
    assert_int_equal(model_counts(machine->model).devices_open, 0);
    model_free(machine->model);
    free(machine);
    return 0;
}

static struct survey take(struct machine *machine)
{
    struct survey survey = {0};
    assert_int_equal(survey_take(model_verbs(machine->model), machine->root, &survey), 0);
    return survey;
}

/* The kernel has a device whose driver's library is missing, or whose file a container has not. */
static void device_that_libibverbs_does_not_list_is_named(void **state)
{
    const struct model_settings settings = model_settings_default(1);
    struct machine *machine = *state;
    model_free(machine->model);
    machine->model = model_new(&settings);
    struct survey survey = take(machine);
    assert_int_equal(survey.count, 0);
    assert_string_equal(survey.unlisted, "");
    survey_fini(&survey);
    run("mkdir -p '%s/sys/class/infiniband/%s'", machine->root, "mlx5_0");
    survey = take(machine);
    assert_string_equal(survey.unlisted, "mlx5_0");
    survey_fini(&survey);
}

static void each_device_says_what_it_is(void **state)
{
    struct survey survey = take(*state);
    assert_int_equal(survey.count, 2);
    for (uint32_t i = 0; i < 2; i++) {
        const struct survey_device *device = &survey.devices[i];
        struct choice choice;
        char address[GID_TEXT_BYTES], expected[GID_TEXT_BYTES];
        assert_int_equal(device->error, 0);
        assert_int_equal(device->port_count, 1);
        assert_int_equal(device->ports[0].speed_mbps, 400000);
        choice_make(device, &no_wishes, &choice);
        assert_true(choice.is_used);
        gid_format(choice.gid, address);
        snprintf(expected, sizeof expected, "10.%u.0.%u", i + 1, i + 1);
        assert_string_equal(address, expected);
    }
    survey_fini(&survey);
}

static void a_port_that_is_down_is_seen(void **state)
{
    struct machine *machine = *state;
    struct choice choice;
    model_set_port(machine->model, "model0", false);
    struct survey survey = take(machine);
    choice_make(&survey.devices[0], &no_wishes, &choice);
    assert_false(choice.is_used);
    assert_non_null(strstr(choice.why, "port 1 is down"));
    survey_fini(&survey);
}

static void place_is_read_from_sys(void **state)
{
    struct machine *machine = *state;
    run("mkdir -p '%s'/sys/class/infiniband/model0 '%s'/sys/devices/pci0000:17/0000:17:00.0",
        machine->root, machine->root);
    run("ln -s ../../../devices/pci0000:17/0000:17:00.0 '%s'/sys/class/infiniband/model0/device%s",
        machine->root, "");
    run("echo 1 >'%s'/sys/devices/pci0000:17/0000:17:00.0/numa_node%s", machine->root, "");
    struct survey survey = take(machine);
    assert_int_equal(survey.devices[0].numa_node, 1);
    assert_string_equal(survey.devices[0].pci, "0000:17:00.0");
    assert_int_equal(survey.devices[1].numa_node, SURVEY_NUMA_UNKNOWN);
    assert_string_equal(survey.devices[1].pci, "");
    survey_fini(&survey);
}

static void the_kernel_may_not_know_the_node(void **state)
{
    struct machine *machine = *state;
    run("mkdir -p '%s'/sys/class/infiniband/model0/device%s", machine->root, "");
    run("echo -1 >'%s'/sys/class/infiniband/model0/device/numa_node%s", machine->root, "");
    struct survey survey = take(machine);
    assert_int_equal(survey.devices[0].numa_node, SURVEY_NUMA_UNKNOWN);
    survey_fini(&survey);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(each_device_says_what_it_is),      TEST(device_that_libibverbs_does_not_list_is_named),
        TEST(a_port_that_is_down_is_seen),      TEST(place_is_read_from_sys),
        TEST(the_kernel_may_not_know_the_node),
    };
    return cmocka_run_group_tests_name("survey", tests, NULL, NULL);
}
