/* address.h - the addresses of a bench: recipient number n is u<n, at least 7 digits>@<domain>.
 *
 * The domains come from a pattern: d{0..999}.test are a thousand, of which number n has the (n mod 1000)th; a
 * pattern without braces is one domain. Numbers keep below ADDRESS_NUMBERS. Pure; any thread. */
#ifndef POSTRIDER_LOAD_ADDRESS_H
#define POSTRIDER_LOAD_ADDRESS_H

#include "engine/base/err.h"
#include "engine/base/str.h"

#define ADDRESS_NUMBERS     UINT64_C(10000000000)
#define ADDRESS_NUMBER_SIZE 10  /* digits at most */
#define ADDRESS_SIZE        280 /* bytes of an address at most */

struct domains {
    struct str before, after; /* of the number; views of the pattern */
    uint64_t first, count;    /* count 0: one domain, `before` */
};

/* The pattern must outlive *domains. */
bool domains_parse(struct domains *domains, const char *pattern, struct err *err);
/* Writes the address without a NUL and returns its length, at most ADDRESS_SIZE. */
size_t address_put(const struct domains *domains, uint64_t number, char *to);
/* Decimal, filled with zeros to `digits`; no NUL. At most 20 bytes. */
size_t number_put(char *to, uint64_t number, size_t digits);

#endif
