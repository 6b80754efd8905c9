/* host.h - the receiving Internet: mail hosts that speak SMTP as real ones do, and worse.
 *
 * What a host is like (pipelining, greylisting, how often it refuses) is made of the plan's dice at the
 * start; what it says to one command of the hosts' dice. It keeps count as a receiver does and tells the book
 * (book.h) each recipient it was offered, what it answered, and what it took. */
#ifndef POSTRIDER_TESTS_SIM_HOST_H
#define POSTRIDER_TESTS_SIM_HOST_H

#include "tests/sim/net.h"

struct host;

void hosts_begin(void);
struct host *host_at(const struct sockaddr *address); /* NULL: nobody is there */
const char *host_name(const struct host *host);
unsigned host_number(const struct host *host);
bool host_is_down(const struct host *host);
/* Nobody answers there for so long. */
void host_take_down(unsigned number, int64_t ns);

/* ---- for net.c ---- */

void host_accept(struct link *link);
void host_input(struct link *link, const char *bytes, size_t n);
/* The connection has ended; after all its marks. */
void host_gone(struct link *link);
/* What net_mark was given; sure: the daemon had that reply. */
void host_heard(struct link *link, void *mark, bool sure);

#endif
