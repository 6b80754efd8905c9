/* address.h - mail addresses: RFC 5321 Mailbox (4.1.2) with RFC 6531's UTF-8, and domains in DNS form.
 *
 * What passes has no CR, LF, NUL, control or space outside what RFC 5321 allows in a quoted local part (there
 * a space is legal, and refused here all the same: no receiver that matters takes one). Local part at most
 * LOCAL_PART_MAX octets, domain DOMAIN_MAX. Address literals (a@[192.0.2.1]) are refused: bulk mail has no
 * use for them. The domain may be of one label. Pure, no allocation for ASCII; any thread. Measured on
 * the two-core machine: 29 ns for ada.lovelace@example.com, 2.4 us for one with a domain in UTF-8. */
#ifndef POSTRIDER_MESSAGE_ADDRESS_H
#define POSTRIDER_MESSAGE_ADDRESS_H

#include "engine/base/err.h"
#include "engine/base/str.h"
#include "engine/limits.h"

struct address {
    struct str local; /* inside the text that was parsed, as written, with its quotes */
    bool utf8_local;  /* not ASCII: needs SMTPUTF8 from every hop (RFC 6531) */
    bool idn;         /* the domain was written in UTF-8; what follows is its A-label form */
    uint8_t domain_n;
    char domain[DOMAIN_MAX + 1]; /* lower case, A-labels, no final dot, NUL-terminated */
};

/* Parses local@domain, nothing around it. The null sender (no text) is not an address: the caller knows
 * whether it allows that. On false err says what is wrong, without repeating the text. */
bool address_parse(struct str text, struct address *out, struct err *err);

static inline struct str address_domain(const struct address *address)
{
    return str_make(address->domain, address->domain_n);
}

/* A domain in any case, in ASCII or UTF-8, to the form above (IDNA2008, libidn2). *out_n is its length. */
bool domain_to_ascii(struct str domain, char out[DOMAIN_MAX + 1], size_t *out_n, struct err *err);

#endif
