/* SPDX-License-Identifier: Apache-2.0 */
/* instructions.c - steps a child through a call, between two stops that it makes itself. */
#include "instructions.h"

#include <errno.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MAY_NOT = 77 };

static void nothing(void *context)
{
    (void)context;
}

static _Noreturn void be_traced(void (*call)(void *context), void *context)
{
    if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0)
        _exit(MAY_NOT);
    raise(SIGSTOP);
    call(context);
    raise(SIGSTOP);
    _exit(0);
}

/* -1: it has ended. */
static int stopped_by(pid_t child, int *ret_status)
{
    if (waitpid(child, ret_status, 0) < 0 || !WIFSTOPPED(*ret_status))
        return -1;
    return WSTOPSIG(*ret_status);
}

/* Between the two stops, what raise() takes included. */
static int64_t count_steps(pid_t child)
{
    int status = 0;
    int64_t n = 0;
    if (stopped_by(child, &status) != SIGSTOP)
        return WIFEXITED(status) && WEXITSTATUS(status) == MAY_NOT ? -EPERM : -ECHILD;
    for (int signal = SIGTRAP; signal == SIGTRAP; n++) {
        if (ptrace(PTRACE_SINGLESTEP, child, NULL, NULL) != 0)
            return -EPERM;
        signal = stopped_by(child, &status);
        if (signal != SIGTRAP && signal != SIGSTOP)
            return -ECHILD;
    }
    return n;
}

static int64_t count(void (*call)(void *context), void *context)
{
    pid_t child = fork();
    if (child < 0)
        return -errno;
    if (child == 0)
        be_traced(call, context);
    int64_t n = count_steps(child);
    kill(child, SIGKILL);
    while (waitpid(child, NULL, 0) < 0 && errno == EINTR)
        ;
    return n;
}

int64_t instructions_count(void (*call)(void *context), void *context)
{
    int64_t around = count(nothing, NULL), all = count(call, context);
    return around < 0 ? around : all < 0 ? all : all - around;
}
