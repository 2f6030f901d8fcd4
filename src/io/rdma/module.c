/* SPDX-License-Identifier: Apache-2.0 */
/*
 * module.c - where the module is looked for, and why it is not there.
 *
 * It is looked for relative to the file that this code was loaded from, be that libpeercache, the
 * Python module, or a program with the library inside; never on a search path, where another
 * version's may lie.
 */
#include "io/rdma/module.h"

#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MODULE_FILE "peercache_rdma.so"

/* Programs of the tests have the library inside and lie elsewhere in the build folder. */
#ifndef RDMA_MODULE_TEST_FOLDER
#define RDMA_MODULE_TEST_FOLDER ""
#endif

enum { PATH_BYTES = PATH_MAX + 64 };

/* The folder of the file that has this code inside, with a slash behind it. */
static int own_folder(char ret_folder[PATH_MAX])
{
    static const char anchor;
    struct link_map *map;
    Dl_info info;
    if (!dladdr1(&anchor, &info, (void **)&map, RTLD_DL_LINKMAP))
        return -ENOENT;
    /* A program has no name in the list of what is loaded. */
    if (!realpath(map->l_name[0] ? map->l_name : "/proc/self/exe", ret_folder))
        return -errno;
    *(strrchr(ret_folder, '/') + 1) = 0;
    return 0;
}

static int find(char ret_path[PATH_BYTES])
{
    /* Beside it: build folder, wheel; in it: installed; across: the wheel's programs. */
    static const char *const places[] = {"", "peercache/", "../peercache/"};
    char folder[PATH_MAX];
    for (size_t i = 0; own_folder(folder) == 0 && i < sizeof places / sizeof *places; i++) {
        snprintf(ret_path, PATH_BYTES, "%s%s%s", folder, places[i], MODULE_FILE);
        if (access(ret_path, F_OK) == 0)
            return 0;
    }
    snprintf(ret_path, PATH_BYTES, "%s/%s", RDMA_MODULE_TEST_FOLDER, MODULE_FILE);
    return access(ret_path, F_OK) == 0 ? 0 : -ENOENT;
}

#ifdef PEERCACHE_PROTECTIONS_SWITCHABLE
static const struct verbs *stand_in;

void rdma_module_stand_in(const struct verbs *verbs)
{
    stand_in = verbs;
}
#else
static const struct verbs *const stand_in;
#endif

int rdma_module_open(const struct verbs **ret_verbs, char ret_error[RDMA_MODULE_ERROR_BYTES])
{
    char path[PATH_BYTES];
    if (stand_in) {
        *ret_verbs = stand_in;
        return 0;
    }
    if (find(path) < 0) {
        snprintf(ret_error, RDMA_MODULE_ERROR_BYTES,
                 "this build has no RDMA: there is no %s beside the library; it is built where "
                 "libibverbs-dev is installed",
                 MODULE_FILE);
        return -ENOENT;
    }
    void *module = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    const struct verbs *verbs = module ? dlsym(module, RDMA_MODULE_SYMBOL) : NULL;
    if (!verbs) {
        snprintf(ret_error, RDMA_MODULE_ERROR_BYTES, "RDMA cannot be loaded: %.200s", dlerror());
        return -ELIBACC;
    }
    if (strcmp(verbs->version, PEERCACHE_VERSION) != 0) {
        snprintf(ret_error, RDMA_MODULE_ERROR_BYTES,
                 "RDMA cannot be loaded: %.150s is of version %.20s, the library of %s", path,
                 verbs->version, PEERCACHE_VERSION);
        return -ELIBBAD;
    }
    *ret_verbs = verbs;
    return 0;
}
