/* SPDX-License-Identifier: Apache-2.0 */
/*
 * state_writer.c - what is to be written, and the thread that does.
 *
 * The lock guards all that both sides touch, and is never held during a call to a file.  The writer
 * belongs to its user until state_writer_stop(), and then, if the thread still hangs, to the
 * thread.
 */
#include "io/state_writer.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/thread.h"

enum { FOLDER_BYTES = 256 };

struct work {
    bool has_identity, has_members;
    struct seat_identity identity;
    struct address members[MEMBER_FILE_MAX];
    uint32_t n_members;
};

struct state_writer {
    char folder[FOLDER_BYTES];
    struct seat *seat;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    pthread_t thread;
    bool has_thread, is_stopping, is_over, is_left_behind;
    struct work next;
    uint64_t busy_since_ns; /* 0: no call to a file is under way */
    bool has_told_hang;
    bool has_told_unsaved; /* the thread's own */
};

int state_writer_new(const char *folder, struct seat *seat, struct state_writer **ret_writer)
{
    struct state_writer *writer = calloc(1, sizeof *writer);
    if (!writer)
        return -ENOMEM;
    strncpy(writer->folder, folder, sizeof writer->folder - 1);
    writer->seat = seat;
    pthread_mutex_init(&writer->lock, NULL);
    thread_cond_init(&writer->changed);
    *ret_writer = writer;
    return 0;
}

static void writer_free(struct state_writer *writer)
{
    seat_leave(writer->seat);
    pthread_mutex_destroy(&writer->lock);
    pthread_cond_destroy(&writer->changed);
    free(writer);
}

/* --- the thread --- */

/* A directory that cannot be written any more is no reason to be gone: incarnations come from the
 * clock after the next start. */
static void write_identity(struct state_writer *writer, const struct work *work)
{
    int error = work->has_identity ? seat_write(writer->seat, &work->identity) : 0;
    if (error)
        log_event(LOG_LEVEL_WARNING, "seat_not_written", "seat=%s reason=\"%s\"",
                  seat_path(writer->seat), strerror(-error));
}

static void write_members(struct state_writer *writer, const struct work *work)
{
    if (!work->has_members)
        return;
    int error = member_file_write(writer->folder, work->members, work->n_members);
    if (error && !writer->has_told_unsaved)
        log_event(LOG_LEVEL_WARNING, "members_not_saved", "state_dir=%s error=%s",
                  log_quoted(writer->folder), strerrorname_np(-error));
    writer->has_told_unsaved = error != 0;
}

/* With the lock, which is given up meanwhile. */
static void write_next(struct state_writer *writer)
{
    struct work work = writer->next;
    writer->next.has_identity = writer->next.has_members = false;
    writer->busy_since_ns = clock_now_ns();
    pthread_mutex_unlock(&writer->lock);
    write_identity(writer, &work);
    write_members(writer, &work);
    pthread_mutex_lock(&writer->lock);
    writer->busy_since_ns = 0;
    if (writer->has_told_hang)
        log_event(LOG_LEVEL_INFO, "state_dir_answers", "state_dir=%s", log_quoted(writer->folder));
    writer->has_told_hang = false;
}

static void *run(void *context)
{
    struct state_writer *writer = context;
    pthread_mutex_lock(&writer->lock);
    for (;;) {
        bool has_work = writer->next.has_identity || writer->next.has_members;
        if (has_work && !writer->is_left_behind)
            write_next(writer);
        else if (writer->is_stopping)
            break;
        else
            pthread_cond_wait(&writer->changed, &writer->lock);
    }
    writer->is_over = true;
    bool is_mine = writer->is_left_behind;
    pthread_cond_broadcast(&writer->changed);
    pthread_mutex_unlock(&writer->lock);
    if (is_mine)
        writer_free(writer);
    return NULL;
}

/* --- its user --- */

/* With the lock.  Without a thread it is kept for the next time that there is something. */
static void wake(struct state_writer *writer)
{
    if (!writer->has_thread)
        writer->has_thread = thread_start(&writer->thread, NULL, "pc-state", run, writer) == 0;
    pthread_cond_broadcast(&writer->changed);
}

void state_writer_keep_identity(struct state_writer *writer, const struct seat_identity *identity)
{
    pthread_mutex_lock(&writer->lock);
    writer->next.has_identity = true;
    writer->next.identity = *identity;
    wake(writer);
    pthread_mutex_unlock(&writer->lock);
}

void state_writer_keep_members(struct state_writer *writer, const struct address *services,
                               uint32_t n)
{
    pthread_mutex_lock(&writer->lock);
    writer->next.has_members = true;
    writer->next.n_members = n < MEMBER_FILE_MAX ? n : MEMBER_FILE_MAX;
    memcpy(writer->next.members, services, writer->next.n_members * sizeof *services);
    wake(writer);
    pthread_mutex_unlock(&writer->lock);
}

void state_writer_check(struct state_writer *writer, uint64_t now_ns)
{
    pthread_mutex_lock(&writer->lock);
    bool hangs = writer->busy_since_ns && now_ns > writer->busy_since_ns + STATE_WRITER_PATIENCE_NS;
    if (hangs && !writer->has_told_hang)
        log_event(LOG_LEVEL_WARNING, "state_dir_hangs",
                  "state_dir=%s effect=\"this node goes on; what it keeps there is old\"",
                  log_quoted(writer->folder));
    writer->has_told_hang |= hangs;
    pthread_mutex_unlock(&writer->lock);
}

/* False: the time is over. */
static bool await_end(struct state_writer *writer, uint64_t wait_ns)
{
    uint64_t until_ns = clock_now_ns() + wait_ns;
    struct timespec until = {(time_t)(until_ns / CLOCK_NS_PER_S),
                             (long)(until_ns % CLOCK_NS_PER_S)};
    int error = 0;
    while (writer->has_thread && !writer->is_over && !error)
        error = pthread_cond_timedwait(&writer->changed, &writer->lock, &until);
    return !error;
}

void state_writer_stop(struct state_writer *writer, uint64_t wait_ns)
{
    if (!writer)
        return;
    pthread_mutex_lock(&writer->lock);
    writer->is_stopping = true;
    pthread_cond_broadcast(&writer->changed);
    bool is_over = await_end(writer, wait_ns);
    writer->is_left_behind = !is_over;
    if (!is_over)
        pthread_detach(writer->thread);
    pthread_mutex_unlock(&writer->lock);
    if (!is_over)
        return;
    if (writer->has_thread)
        pthread_join(writer->thread, NULL);
    writer_free(writer);
}
