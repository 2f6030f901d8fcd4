/* SPDX-License-Identifier: Apache-2.0 */
/*
 * arena.c - one memfd, mapped writable by its holder and read-only by its peers.
 *
 * Created and destroyed by the thread that opens and closes the node, attached by whichever thread
 * meets a peer.  The holder owns its mapping and the descriptor; a peer owns its mapping only.
 *
 * The file never changes its size (sealed), so that no reader can meet a bus error, and nobody but
 * the holder can write to it or punch holes (sealed too, behind the holder's own mapping).  It is
 * never given back with madvise.  A forked child does not inherit the mapping: it would see the
 * pool change under it, and a pool is too much for a core dump as well.
 */
#include "io/arena.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "io/memory_room.h"

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif

/* A huge page: the payload starts on one, in the file and in memory. */
static const uint64_t huge_bytes = 2 << 20;

static uint64_t round_up(uint64_t bytes)
{
    return (bytes + huge_bytes - 1) / huge_bytes * huge_bytes;
}

static uint64_t table_bytes(uint32_t slot_count)
{
    return round_up((uint64_t)slot_count * sizeof(struct slot_header));
}

uint64_t arena_bytes(uint64_t payload_bytes, uint32_t slot_count)
{
    if (payload_bytes == 0 || payload_bytes > ARENA_PAYLOAD_MAX_BYTES || slot_count == 0)
        return 0;
    return table_bytes(slot_count) + round_up(payload_bytes);
}

/* --- checks before anything is made --------------------------------------------------------- */

static double gib(uint64_t bytes)
{
    return (double)bytes / (1 << 30);
}

static int check_room(uint64_t bytes, char *ret_error)
{
    const char *limit;
    uint64_t room = memory_room_bytes("", &limit);
    if (bytes <= room)
        return 0;
    snprintf(ret_error, ARENA_ERROR_BYTES,
             "the pool needs %.2f GiB of memory and only %.2f GiB are %s: "
             "lower global_segment_size",
             gib(bytes), gib(room), limit);
    return -ENOMEM;
}

/* A file beyond this limit is not an error value but a signal that ends the process. */
static int check_file_limit(uint64_t bytes, char *ret_error)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_FSIZE, &limit) < 0 || bytes <= limit.rlim_cur)
        return 0;
    snprintf(ret_error, ARENA_ERROR_BYTES,
             "the pool needs a memory file of %.2f GiB and the limit of file sizes is %.2f GiB: "
             "raise it (ulimit -f) or lower global_segment_size",
             gib(bytes), gib(limit.rlim_cur));
    return -EFBIG;
}

static int check_sizes(uint64_t bytes, char *ret_error)
{
    if (bytes)
        return 0;
    snprintf(ret_error, ARENA_ERROR_BYTES,
             "a pool has 1 byte to 4 TiB and at least one slot: change global_segment_size");
    return -EINVAL;
}

/* --- mapping -------------------------------------------------------------------------------- */

/* Maps the whole file on a boundary of a huge page, since the kernel maps by huge pages only where
 * file and address agree.  MAP_FAILED on failure. */
static void *map_aligned(int fd, uint64_t bytes, int protection)
{
    uint64_t reserved_bytes = bytes + huge_bytes;
    uint8_t *reserved =
        mmap(NULL, reserved_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (reserved == MAP_FAILED)
        return MAP_FAILED;
    uint8_t *start = (uint8_t *)round_up((uintptr_t)reserved);
    uint8_t *end = start + bytes;
    if (mmap(start, bytes, protection, MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED) {
        munmap(reserved, reserved_bytes);
        return MAP_FAILED;
    }
    if (start > reserved)
        munmap(reserved, (size_t)(start - reserved));
    if (end < reserved + reserved_bytes)
        munmap(end, (size_t)(reserved + reserved_bytes - end));
    madvise(start, bytes, MADV_HUGEPAGE); /* Refused where the kernel has none for shared memory. */
    madvise(start, bytes, MADV_DONTDUMP);
    return start;
}

/* Without this a child that a Python program forks would hold the pool's memory as its own. */
static int map_unforked(int fd, uint64_t bytes, int protection, uint8_t **ret_start)
{
    uint8_t *start = map_aligned(fd, bytes, protection);
    if (start == MAP_FAILED)
        return -errno;
    if (madvise(start, bytes, MADV_DONTFORK) < 0) {
        int error = -errno;
        munmap(start, bytes);
        return error;
    }
    *ret_start = start;
    return 0;
}

/* --- the holder's side ---------------------------------------------------------------------- */

/* A host may forbid memory files that could be executed; a kernel before 6.3 does not know the
 * flag that says so. */
static int open_memory_file(void)
{
    const unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
    int fd = memfd_create("peercache-pool", flags | MFD_NOEXEC_SEAL);
    return fd >= 0 || errno != EINVAL ? fd : memfd_create("peercache-pool", flags);
}

/* Kernels before 5.1 cannot keep others from writing once the holder has its writable mapping.
 * There a process of the same user, the only one that is given the file, could write to it. */
static int seal(int fd)
{
    const int always = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
    if (fcntl(fd, F_ADD_SEALS, always | F_SEAL_FUTURE_WRITE) == 0)
        return 0;
    if (errno == EINVAL && fcntl(fd, F_ADD_SEALS, always) == 0)
        return 0;
    return -errno;
}

/* All or nothing of: file, its size, mapping, seals. */
static int make_file(uint64_t bytes, int *ret_fd, uint8_t **ret_start)
{
    uint8_t *start = NULL;
    int error, fd = open_memory_file();
    if (fd < 0)
        return -errno;
    error = ftruncate(fd, (off_t)bytes) < 0 ? -errno : 0;
    if (error)
        goto close_file;
    error = map_unforked(fd, bytes, PROT_READ | PROT_WRITE, &start);
    if (error)
        goto close_file;
    error = seal(fd);
    if (error)
        goto unmap;
    *ret_fd = fd;
    *ret_start = start;
    return 0;
unmap:
    munmap(start, bytes);
close_file:
    close(fd);
    return error;
}

static const char *advice_on(int error)
{
    if (error == -ENOMEM || error == -ENOSPC || error == -EFBIG)
        return ": lower global_segment_size";
    return error == -EMFILE ? ": raise the limit of open files (ulimit -n)" : "";
}

int arena_create(uint64_t payload_bytes, uint32_t slot_count, struct arena *ret_arena,
                 char ret_error[ARENA_ERROR_BYTES])
{
    uint64_t bytes = arena_bytes(payload_bytes, slot_count);
    uint8_t *start = NULL;
    int fd = -1, error = check_sizes(bytes, ret_error);
    if (!error)
        error = check_room(bytes, ret_error);
    if (!error)
        error = check_file_limit(bytes, ret_error);
    if (error)
        return error;
    error = make_file(bytes, &fd, &start);
    if (error) {
        snprintf(ret_error, ARENA_ERROR_BYTES, "cannot make a pool of %.2f GiB in memory: %s%s",
                 gib(bytes), strerror(-error), advice_on(error));
        return error;
    }
    *ret_arena = (struct arena){
        .headers = (struct slot_header *)start,
        .payload = start + table_bytes(slot_count),
        .payload_bytes = payload_bytes,
        .slot_count = slot_count,
        .fd = fd,
    };
    return 0;
}

void arena_destroy(struct arena *arena)
{
    if (!arena->headers)
        return;
    munmap(arena->headers, arena_bytes(arena->payload_bytes, arena->slot_count));
    close(arena->fd);
    *arena = (struct arena){.fd = -1};
}

int arena_prefault(struct arena *arena, uint64_t bytes)
{
    if (bytes > arena->payload_bytes)
        bytes = arena->payload_bytes;
    return madvise(arena->payload, bytes, MADV_POPULATE_WRITE) < 0 ? -errno : 0;
}

/* --- a peer's side -------------------------------------------------------------------------- */

/* Nothing that the peer says is believed: what counts is what the kernel says of the file. */
static int check_file(int fd, uint64_t bytes)
{
    struct stat status;
    int seals = fcntl(fd, F_GET_SEALS);
    if (seals < 0 || !(seals & F_SEAL_SHRINK))
        return -EPERM;
    if (fstat(fd, &status) < 0)
        return -errno;
    return bytes == 0 || (uint64_t)status.st_size != bytes ? -EPROTO : 0;
}

int arena_attach(int fd, uint64_t payload_bytes, uint32_t slot_count,
                 struct arena_mapping *ret_mapping)
{
    uint64_t bytes = arena_bytes(payload_bytes, slot_count);
    uint8_t *start = NULL;
    int error = check_file(fd, bytes);
    if (!error)
        error = map_unforked(fd, bytes, PROT_READ, &start);
    if (error)
        return error;
    *ret_mapping = (struct arena_mapping){
        .headers = (const struct slot_header *)start,
        .payload = start + table_bytes(slot_count),
        .payload_bytes = payload_bytes,
        .slot_count = slot_count,
    };
    return 0;
}

void arena_detach(struct arena_mapping *mapping)
{
    if (!mapping->headers)
        return;
    munmap((void *)mapping->headers, arena_bytes(mapping->payload_bytes, mapping->slot_count));
    *mapping = (struct arena_mapping){0};
}
