/* SPDX-License-Identifier: Apache-2.0 */
/*
 * state_dir.c - seats: locks, and the small file behind each.
 *
 * The lock is one of the open file (F_OFD_SETLK), so two nodes of one process keep each other out
 * as well.  A child would share it: forked.h has it closed there.  Lock files are never removed, so
 * who has locked one has locked the one that the others see.
 *
 * Runs in the thread that opens the node, and later in the node thread.
 */
#include "io/state_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/hash.h"
#include "io/forked.h"

enum { TEXT_BYTES = 256 };

struct seat {
    int lock_fd;
    bool is_kept;
    const char *flaw; /* what is wrong with the file that is there; NULL: nothing */
    struct seat_identity identity;
    char path[PATH_MAX];
};

static int refuse(int error, const char *what, const char *path, char *ret_reason)
{
    snprintf(ret_reason, STATE_DIR_REASON_BYTES, "%s %.80s: %s%s", what, path, strerror(-error),
             error == -ENAMETOOLONG ? ": use a shorter path" : "");
    return error;
}

static int refuse_full(const char *folder, char *ret_reason)
{
    snprintf(ret_reason, STATE_DIR_REASON_BYTES,
             "state_dir: all seats are taken in %.80s, %d at most: give another state_dir", folder,
             STATE_DIR_SEATS_MAX);
    return -EBUSY;
}

/* --- the file ------------------------------------------------------------------------------- */

static int format(const struct seat_identity *identity, char ret_text[TEXT_BYTES])
{
    char id[ID128_TEXT_LEN + 1];
    id128_format(identity->node_id, id);
    int len = snprintf(ret_text, TEXT_BYTES,
                       "peercache seat, version 1\nnode_id %s\nincarnation %" PRIu64 "\n", id,
                       identity->incarnation);
    return len + snprintf(ret_text + len, TEXT_BYTES - (size_t)len, "check %016" PRIx64 "\n",
                          hash_bytes64(ret_text, (size_t)len, SEED_CHECK));
}

/* Only what format() would write is taken, to the byte. */
static bool parse(const char *text, size_t len, struct seat_identity *ret_identity)
{
    struct seat_identity identity;
    char again[TEXT_BYTES];
    if (sscanf(text,
               "peercache seat, version 1\nnode_id %16" SCNx64 "%16" SCNx64 "\nincarnation %" SCNu64
               "\n",
               &identity.node_id.hi, &identity.node_id.lo, &identity.incarnation) != 3)
        return false;
    if ((size_t)format(&identity, again) != len || memcmp(again, text, len) != 0 ||
        id128_is_zero(identity.node_id) || identity.incarnation > STATE_DIR_INCARNATION_MAX)
        return false;
    *ret_identity = identity;
    return true;
}

/* Of a file that is none of this version's. */
static const char *flaw_of(const char *text)
{
    unsigned version;
    bool is_other = sscanf(text, "peercache seat, version %u\n", &version) == 1 && version != 1;
    return is_other ? "its file is of another version of peercache" : "its file is damaged";
}

static void read_file(struct seat *seat)
{
    char path[PATH_MAX + 16], text[TEXT_BYTES];
    snprintf(path, sizeof path, "%s/identity", seat->path);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* it may be a pipe */
    if (fd < 0 && errno == ENOENT)
        return;
    ssize_t len = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (fd >= 0)
        close(fd);
    text[len < 0 ? 0 : len] = 0;
    seat->is_kept = len > 0 && parse(text, (size_t)len, &seat->identity);
    seat->flaw = seat->is_kept ? NULL : flaw_of(text);
}

static int write_all(int fd, const char *text, size_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, text, len);
        if (n < 0 && errno != EINTR)
            return -errno;
        if (n > 0) {
            text += n;
            len -= (size_t)n;
        }
    }
    return fsync(fd) < 0 ? -errno : 0;
}

static int sync_folder(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    int error = fsync(fd) < 0 ? -errno : 0;
    close(fd);
    return error;
}

/* The folder may have been removed, and what lies there now may be another node's seat. */
static bool is_still_there(const struct seat *seat)
{
    char path[PATH_MAX + 16];
    struct stat locked, there;
    snprintf(path, sizeof path, "%s/lock", seat->path);
    return fstat(seat->lock_fd, &locked) == 0 && stat(path, &there) == 0 &&
           locked.st_dev == there.st_dev && locked.st_ino == there.st_ino;
}

int seat_write(struct seat *seat, const struct seat_identity *identity)
{
    char from[PATH_MAX + 16], to[PATH_MAX + 16], text[TEXT_BYTES];
    int len = format(identity, text);
    if (!is_still_there(seat))
        return -ESTALE;
    snprintf(from, sizeof from, "%s/identity.new", seat->path);
    snprintf(to, sizeof to, "%s/identity", seat->path);
    if (unlink(from) < 0 && errno != ENOENT) /* whatever was left there, opened it could hang */
        return -errno;
    int fd = open(from, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return -errno;
    int error = write_all(fd, text, (size_t)len);
    close(fd);
    if (!error && rename(from, to) < 0)
        error = -errno;
    if (error) {
        unlink(from);
        return error;
    }
    return sync_folder(seat->path);
}

/* --- the seats ------------------------------------------------------------------------------ */

static int make_folder(const char *path)
{
    return mkdir(path, 0700) < 0 && errno != EEXIST ? -errno : 0;
}

/* With all that is missing above it. */
static int make_folders(const char *path)
{
    char part[PATH_MAX];
    size_t len = strlen(path);
    memcpy(part, path, len + 1);
    for (size_t i = 1; i < len; i++) {
        if (part[i] != '/')
            continue;
        part[i] = 0;
        if (make_folder(part) < 0 && access(part, F_OK) < 0)
            return -errno;
        part[i] = '/';
    }
    return make_folder(part);
}

static int lock(int fd)
{
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    return fcntl(fd, F_OFD_SETLK, &whole) < 0 ? -errno : 0;
}

/* 0: locked.  -EBUSY: somebody sits there, or it is another user's. */
static int sit_down(const char *folder, uint32_t number, struct seat *seat)
{
    char path[PATH_MAX + 16];
    *seat = (struct seat){.lock_fd = -1};
    snprintf(seat->path, sizeof seat->path, "%s/%04" PRIu32, folder, number);
    int error = make_folder(seat->path);
    if (error)
        return error;
    snprintf(path, sizeof path, "%s/lock", seat->path);
    seat->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (seat->lock_fd < 0)
        return errno == EACCES ? -EBUSY : -errno;
    forked_gives_back(seat->lock_fd);
    error = lock(seat->lock_fd);
    if (!error)
        read_file(seat);
    return error == -EAGAIN || error == -EACCES ? -EBUSY : error;
}

static void stand_up(struct seat *seat)
{
    if (seat->lock_fd >= 0)
        forked_close(seat->lock_fd);
}

static bool exists(const char *folder, uint32_t number)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/%04" PRIu32, folder, number);
    return access(path, F_OK) == 0;
}

static bool suits(const struct seat *seat, struct id128 wanted, bool is_new)
{
    if (id128_is_zero(wanted))
        return true;
    return is_new ? !seat->is_kept : seat->is_kept && id128_equal(seat->identity.node_id, wanted);
}

/* Among seats that exist, or also new ones.  -ENOENT: none of them suits. */
static int find_seat(const char *folder, struct id128 wanted, bool is_new, struct seat *seat)
{
    for (uint32_t i = 0; i < STATE_DIR_SEATS_MAX; i++) {
        if (!is_new && !exists(folder, i))
            break; /* they are made in their order */
        int error = sit_down(folder, i, seat);
        if (error == 0 && suits(seat, wanted, is_new))
            return 0;
        stand_up(seat);
        if (error != 0 && error != -EBUSY)
            return error;
    }
    return -ENOENT;
}

int seat_take(const char *state_dir, struct id128 wanted, struct seat **ret_seat,
              char ret_reason[STATE_DIR_REASON_BYTES])
{
    char folder[PATH_MAX - 32];
    if ((size_t)snprintf(folder, sizeof folder, "%s/seats", state_dir) >= sizeof folder)
        return refuse(-ENAMETOOLONG, "state_dir", state_dir, ret_reason);
    int error = make_folders(folder);
    if (error)
        return refuse(error, "state_dir: cannot make", folder, ret_reason);
    struct seat *seat = malloc(sizeof *seat);
    if (!seat)
        return refuse(-ENOMEM, "state_dir", state_dir, ret_reason);
    error = find_seat(folder, wanted, false, seat);
    if (error == -ENOENT)
        error = find_seat(folder, wanted, true, seat);
    if (!error) {
        *ret_seat = seat;
        return 0;
    }
    free(seat);
    if (error == -ENOENT)
        return refuse_full(folder, ret_reason);
    return refuse(error, "state_dir: cannot lock a seat in", folder, ret_reason);
}

void seat_leave(struct seat *seat)
{
    if (!seat)
        return;
    stand_up(seat);
    free(seat);
}

bool seat_read(const struct seat *seat, struct seat_identity *ret_identity, const char **ret_flaw)
{
    *ret_flaw = seat->flaw;
    if (seat->is_kept)
        *ret_identity = seat->identity;
    return seat->is_kept;
}

uint64_t seat_place(const struct seat *seat, struct id128 boot_id)
{
    struct stat file = {0};
    struct {
        struct id128 boot_id;
        uint64_t device, inode;
    } place = {.boot_id = boot_id};
    (void)fstat(seat->lock_fd, &file);
    place.device = file.st_dev;
    place.inode = file.st_ino;
    uint64_t number = hash_bytes64(&place, sizeof place, SEED_PLACE);
    return number ? number : 1;
}

const char *seat_path(const struct seat *seat)
{
    return seat->path;
}
