/* trust.h - whom we trust, and who we say we are: authorities and a client certificate, as one SSL_CTX.
 *
 * Made once, from files, before any connection begins; immutable then, and shared by all threads. A set holds
 * what a configuration names, each combination of files once; it is the owner of what it gives out.
 *
 * Two kinds of checking need two: one that only encrypts trusts nobody, so that OpenSSL has no chain to build
 * for each handshake whose outcome nobody asks for. */
#ifndef POSTRIDER_TLS_TRUST_H
#define POSTRIDER_TLS_TRUST_H

#include "engine/base/err.h"
#include "engine/limits.h"

struct trust;
struct trusts;

struct trusts *trusts_create(struct err *err);
void trusts_destroy(struct trusts *trusts); /* NULL is fine; no connection may be left */

/* "" for none: ca_file, a PEM file of authorities, then means the system's; certificate and key, PEM files,
 * go together. Finds it or makes it; NULL with err: a file can't be used, or there are TLS_TRUSTS_MAX. */
struct trust *trusts_add(struct trusts *trusts, const char *ca_file, const char *certificate, const char *key,
                         struct err *err);
/* What was added before; NULL: it was not. */
struct trust *trusts_find(const struct trusts *trusts, const char *ca_file, const char *certificate,
                          const char *key);
/* A set made later, before anybody uses it: what is of the same files has the same number, others have one
 * that none had. */
void trusts_follow(struct trusts *trusts, const struct trusts *before);
/* Of the same files, in this set; NULL: there is none, or `other` is NULL. */
const struct trust *trusts_same(const struct trusts *trusts, const struct trust *other);
/* Tells one from another. */
unsigned trust_number(const struct trust *trust);
/* Another for each that was ever made: of the same files, too, which may hold something else by then. */
uint64_t trust_serial(const struct trust *trust);

#endif
