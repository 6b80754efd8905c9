/* host.h - what is remembered of a mail host's address: dead until when, whether TLS or BDAT failed there.
 *
 * One table a worker, by address and port, at most HOSTS_REMEMBERED_MAX entries (the stalest goes first). A
 * dead host is not tried again before its time; each failure in a row doubles that, each success forgets
 * it. */
#ifndef POSTRIDER_ROUTE_HOST_H
#define POSTRIDER_ROUTE_HOST_H

#include "engine/route/model.h"

/* Remembers a failure to connect; returns until when (mono_ns) the address is left alone. */
int64_t host_failed(struct router *router, const struct sockaddr_storage *address,
                    const struct config_site *settings);
/* The failure was a reply by which a rule slows the path: whom it keeps waiting has lost no attempt. */
void host_set_asked(struct router *router, const struct sockaddr_storage *address, bool asked);
bool host_has_asked(struct router *router, const struct sockaddr_storage *address);
/* A connection got through to EHLO and was then lost before it was of use. That is no failure at first
 * (receivers do that); without a success in between it is one after HOST_LOST_AGAIN_MS, or when more than
 * HOST_LOSSES_MAX connections, each begun after the one before was lost, ended so and without a word. */
void host_lost(struct router *router, const struct sockaddr_storage *address, int64_t opened_ns, bool told,
               const struct config_site *settings);
/* A message was taken there. True: that is news, it had failed before. */
bool host_works(struct router *router, const struct sockaddr_storage *address);
/* 0, or until when it is left alone. */
int64_t host_dead_until_ns(struct router *router, const struct sockaddr_storage *address);
/* An opportunistic handshake failed here: connect in the clear for HOST_PLAIN_MS. */
void host_set_plain(struct router *router, const struct sockaddr_storage *address);
bool host_is_plain(struct router *router, const struct sockaddr_storage *address);
/* Its replies did not fit the commands by BDAT: messages go by DATA for HOST_BY_DATA_MS. */
void host_set_by_data(struct router *router, const struct sockaddr_storage *address);
bool host_is_by_data(struct router *router, const struct sockaddr_storage *address);
/* What is remembered, to be told to another worker; false: nothing. */
struct host_state {
    int64_t dead_until_ns, plain_until_ns, by_data_until_ns;
    int64_t lost_at_ns, lost_last_ns; /* lost: the first time, the last */
    unsigned failures, losses;        /* in a row */
    bool asked; /* the last one was a reply that asks for patience: the host is not down */
};
bool host_get(struct router *router, const struct sockaddr_storage *address, struct host_state *state);
void host_set(struct router *router, const struct sockaddr_storage *address, const struct host_state *state);
void host_forget_all(struct router *router);

#endif
