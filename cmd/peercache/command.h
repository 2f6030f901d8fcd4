/* SPDX-License-Identifier: Apache-2.0 */
/* command.h - the subcommands of `peercache`; each file of that name has one. */
#ifndef PEERCACHE_COMMAND_H
#define PEERCACHE_COMMAND_H

struct invocation;

/* Each gets its words in invocation->args, without its own name, prints what went wrong itself, and
 * returns an enum exit_status. */
int command_status(const struct invocation *invocation);
int command_put(const struct invocation *invocation);
int command_get(const struct invocation *invocation);
int command_exists(const struct invocation *invocation);
int command_keys(const struct invocation *invocation);
int command_devices(const struct invocation *invocation);
int command_drain(const struct invocation *invocation);
int command_bench(const struct invocation *invocation);

#endif
