/* SPDX-License-Identifier: Apache-2.0 */
/*
 * directory_size.c - the memory of a shard of the directory: `bench-directory-size ENTRIES`.
 *
 * Two figures: what the table says of itself, and by how much the process has grown.
 */
#include <stdio.h>
#include <unistd.h>

#include "base/hash.h"
#include "core/directory.h"
#include "rig.h"

enum { ENTRIES_MOST = 1000000 };

/* Without the pages of programs and libraries, which come in as they are first run. */
static uint64_t resident_bytes(void)
{
    unsigned long long total, resident = 0, of_files = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (!file || fscanf(file, "%llu %llu %llu", &total, &resident, &of_files) != 3)
        rig_fail("/proc/self/statm cannot be read");
    fclose(file);
    return (resident - of_files) * (uint64_t)sysconf(_SC_PAGESIZE);
}

int main(int argc, char **argv)
{
    uint64_t n = argc == 2 ? rig_number(argv[1]) : 0;
    struct directory *directory;
    if (n == 0 || n > ENTRIES_MOST)
        rig_fail("bench-directory-size ENTRIES, at most %d", ENTRIES_MOST);
    uint64_t before = resident_bytes();
    if (directory_new(ENTRIES_MOST, &directory) != 0)
        rig_fail("not enough memory");
    struct location place = {.holder = 1, .tier = 1, .length_bytes = 131072, .generation = 1};
    for (uint64_t i = 0; i < n; i++)
        if (directory_put(directory, hash_bytes128(&i, sizeof i, 0), &place) != 0)
            rig_fail("the directory refused entry %llu", (unsigned long long)i);
    printf("{\"entries\": %llu, \"table_bytes\": %llu, \"resident_bytes\": %llu}\n",
           (unsigned long long)directory_count(directory),
           (unsigned long long)directory_bytes(directory),
           (unsigned long long)(resident_bytes() - before));
    directory_free(directory);
    return 0;
}
