/* SPDX-License-Identifier: Apache-2.0 */
/* life.h - who this node is: its id, its present life, and what it does about others with that
 * id. */
#ifndef NODE_LIFE_H
#define NODE_LIFE_H

#include <stdbool.h>
#include <stdint.h>

#include "node/node.h"
#include "wire/codec.h"

int life_open(struct node *node, char ret_error[NODE_ERROR_BYTES]);
void life_close(struct node *node);
/* The first life begins: others will hear of it. */
void life_start(struct node *node);
/* Any thread, under core_lock, before it steps the core: true: a new life had to begin. */
bool life_check(struct node *node);
/* Under core_lock, after a step: does what the core says about others with this node's id. */
void life_obey(struct node *node);
/* The node thread, whenever it runs: goes on as the present life, or has a new one begin, and takes
 * over what another thread has begun. */
void life_go_on(struct node *node);
/* What this node says of itself at present.  Any thread, without core_lock. */
struct message_hello life_hello(struct node *node);
/* Whether what was prepared in @life may still be said. */
bool life_may_speak(const struct node *node, uint64_t life);

#endif
