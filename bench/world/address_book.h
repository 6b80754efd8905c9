/* address_book.h - which host has an IPv4 address. Filled once, then only read. One thread. */
#ifndef POSTRIDER_WORLD_ADDRESS_BOOK_H
#define POSTRIDER_WORLD_ADDRESS_BOOK_H

#include "bench/world/host.h"

struct address_book {
    struct address_place *places;
    size_t room; /* a power of two, or 0 */
};

/* All listeners of the n hosts that host_shares_listener says. False and err if memory is out, or if two
 * hosts have one address. */
bool address_book_fill(struct address_book *book, struct host *hosts, size_t n, struct err *err);
void address_book_free(struct address_book *book);
/* NULL if nobody has it. */
struct host *address_book_find(const struct address_book *book, const union address *address);

#endif
