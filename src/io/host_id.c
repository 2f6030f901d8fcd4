/* SPDX-License-Identifier: Apache-2.0 */
/*
 * host_id.c - ids from the kernel.
 *
 * A boot id alone does not prove one host: machines resumed from one snapshot share it.  So shared
 * memory also wants an answer from the peer's Unix socket, and that one cannot be elsewhere.
 */
#include "io/host_id.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/random.h>
#include <unistd.h>

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return -1;
}

/* 32 hexadecimal digits with dashes between them, and a line's end. */
static int parse(const char *text, size_t len, struct id128 *ret_id)
{
    uint64_t halves[2] = {0, 0};
    int digits = 0;
    for (size_t i = 0; i < len && text[i] != '\n'; i++) {
        int digit = hex_digit(text[i]);
        if (text[i] == '-')
            continue;
        if (digit < 0 || digits == ID128_TEXT_LEN)
            return -EPROTO;
        uint64_t *half = &halves[digits++ / 16];
        *half = *half << 4 | (uint64_t)digit;
    }
    if (digits != ID128_TEXT_LEN || (halves[0] | halves[1]) == 0)
        return -EPROTO;
    *ret_id = (struct id128){.hi = halves[0], .lo = halves[1]};
    return 0;
}

int host_id_boot(const char *path, struct id128 *ret_id)
{
    char text[64];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    ssize_t len = read(fd, text, sizeof text);
    int error = len < 0 ? -errno : parse(text, (size_t)len, ret_id);
    close(fd);
    return error;
}

int host_id_random(struct id128 *ret_id)
{
    struct id128 id = {0, 0};
    while (id128_is_zero(id)) {
        ssize_t len = getrandom(&id, sizeof id, 0);
        if (len < 0 && errno != EINTR)
            return -errno;
        if (len != sizeof id)
            id = (struct id128){0, 0};
    }
    *ret_id = id;
    return 0;
}
