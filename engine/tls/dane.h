/* dane.h - what DNS says about the certificate of a mail host (TLSA records): pure.
 *
 * RFC 6698 (the records), 7671 (how they are used), 7672 (for SMTP). Records count only where a validating
 * resolver vouches for them, for the addresses of the host and for the list of hosts it stands in; of the
 * four usages SMTP takes two, DANE-TA(2) and DANE-EE(3). The check itself is OpenSSL's: tls.h. Any thread. */
#ifndef POSTRIDER_TLS_DANE_H
#define POSTRIDER_TLS_DANE_H

#include "engine/base/str.h"
#include "engine/limits.h"

#include <stdatomic.h>

struct tlsa {
    uint8_t usage, selector, matching;
    uint16_t at, size; /* of its data, in the set's bytes */
};

/* The TLSA records of one host. Filled by one thread, then immutable and reference counted. */
struct tlsa_set {
    _Atomic unsigned refs;
    unsigned count;
    size_t used; /* of bytes */
    struct tlsa list[TLSA_RECORDS_MAX];
    uint8_t bytes[TLSA_BYTES_MAX];
};

/* One reference and no records; NULL: no memory. */
struct tlsa_set *tlsa_set_create(void);
struct tlsa_set *tlsa_set_ref(struct tlsa_set *set);
void tlsa_set_unref(struct tlsa_set *set); /* NULL is fine */
/* Adds a record as it stands in an answer (usage, selector, matching type, data). False: it is malformed.
 * Records beyond the set's room are left out: the others serve. */
bool tlsa_set_add(struct tlsa_set *set, const uint8_t *record, size_t n);
/* May a client use it for SMTP: usage 2 or 3, selector and matching type known, a digest of the right length.
 */
bool tlsa_is_usable(const struct tlsa_set *set, unsigned index);
/* "3 1 1 0C72AC70…": for people and reports; the data whole. Returns its length without the NUL. */
size_t tlsa_text(const struct tlsa_set *set, unsigned index, char text[TLSA_TEXT_MAX]);

/* How the question for a host's records went. */
enum tlsa_answer {
    TLSA_NOT_ASKED, /* there was no reason to: its addresses, or the list of hosts, are not signed */
    TLSA_NONE,      /* it has none, or they are not signed */
    TLSA_FOUND,
    TLSA_FAILED /* SERVFAIL, no answer: perhaps somebody keeps them from us */
};

enum dane_verdict {
    DANE_ABSENT,   /* DANE says nothing of the host: other policies decide */
    DANE_BOGUS,    /* nothing may go there until the records can be had (RFC 7672 2.1.2) */
    DANE_UNUSABLE, /* records, but none that counts: TLS is a must, its certificate is not checked (2.2) */
    DANE_REQUIRED, /* TLS is a must, and a record must match */
};
/* set: of TLSA_FOUND, else NULL. */
enum dane_verdict dane_verdict(enum tlsa_answer answer, const struct tlsa_set *set);
const char *dane_verdict_name(enum dane_verdict verdict); /* "absent", "bogus", "unusable", "required" */

#endif
