/* address_book.c - see address_book.h. An open hash table with linear probing, at most half full. */
#include "bench/world/address_book.h"

#include <errno.h>
#include <stdlib.h>

struct address_place {
    uint32_t address;  /* as in struct sockaddr_in */
    struct host *host; /* NULL: free */
};

static struct address_place *place_of(const struct address_book *book, uint32_t address)
{
    size_t at = (ntohl(address) * UINT64_C(0x9e3779b97f4a7c15)) >> 32 & (book->room - 1);
    while (book->places[at].host && book->places[at].address != address)
        at = (at + 1) & (book->room - 1);
    return &book->places[at];
}

static bool add(struct address_book *book, struct host *host, const union address *address, struct err *err)
{
    struct address_place *place = place_of(book, address->v4.sin_addr.s_addr);
    char text[ADDRESS_TEXT_MAX];
    if (place->host) {
        address_text(address, false, text);
        return err_set(err, EADDRINUSE, "%s and %s both have the address %s", place->host->name, host->name,
                       text);
    }
    *place = (struct address_place){address->v4.sin_addr.s_addr, host};
    return true;
}

bool address_book_fill(struct address_book *book, struct host *hosts, size_t n, struct err *err)
{
    size_t addresses = 1;
    for (size_t i = 0; i < n; i++)
        addresses += hosts[i].listeners_used;
    for (book->room = 2; book->room < 2 * addresses;)
        book->room *= 2;
    book->places = calloc(book->room, sizeof *book->places);
    if (book->places == NULL)
        return err_set(err, ENOMEM, "out of memory");
    for (size_t i = 0; i < n; i++)
        for (uint32_t j = 0; j < hosts[i].listeners_used; j++)
            if (host_shares_listener(&hosts[i], j) &&
                !add(book, &hosts[i], &hosts[i].listeners[j].address, err))
                return false;
    return true;
}

void address_book_free(struct address_book *book)
{
    free(book->places);
    *book = (struct address_book){0};
}

struct host *address_book_find(const struct address_book *book, const union address *address)
{
    return address->any.sa_family == AF_INET ? place_of(book, address->v4.sin_addr.s_addr)->host : NULL;
}
