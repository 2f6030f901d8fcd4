/* SPDX-License-Identifier: Apache-2.0 */
/* log_limit.c - a bucket of lines, which fills slowly. */
#include "base/log_limit.h"

#include "base/clock.h"

#define LINE_NS (60 * CLOCK_NS_PER_S / LOG_LIMIT_LINES_PER_MINUTE)

static void fill(struct log_limit *limit, uint64_t now_ns)
{
    uint64_t due = (now_ns - limit->since_ns) / LINE_NS;
    if (limit->since_ns == 0 || limit->left + due >= LOG_LIMIT_LINES) {
        limit->left = LOG_LIMIT_LINES;
        limit->since_ns = now_ns;
    } else {
        limit->left += (uint32_t)due;
        limit->since_ns += due * LINE_NS;
    }
}

static bool take(struct log_limit *limit, uint64_t now_ns)
{
    fill(limit, now_ns);
    if (limit->left == 0)
        return false;
    limit->left--;
    return true;
}

bool log_limit_pass(struct log_limit *limit, uint64_t now_ns)
{
    if (take(limit, now_ns))
        return true;
    limit->held_back++;
    return false;
}

uint32_t log_limit_held_back(struct log_limit *limit, uint64_t now_ns)
{
    uint32_t n = limit->held_back;
    if (n == 0 || now_ns < limit->told_ns + LINE_NS)
        return 0;
    limit->told_ns = now_ns;
    limit->held_back = 0;
    return n;
}
