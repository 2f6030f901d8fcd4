/* SPDX-License-Identifier: Apache-2.0 */
/*
 * service.h - what a discovery service answers to those who speak to it.
 *
 * A join and a heartbeat are answered with what is new to the one who speaks, from the table of
 * this service (roster.h), and with whether it is listed; who is not joins again.  A leave has no
 * answer.
 */
#ifndef CORE_SERVICE_H
#define CORE_SERVICE_H

#include "core/roster.h"
#include "core/update.h"

void service_answer(struct roster *roster, struct update *update, uint32_t link,
                    const struct message *message);

#endif
