/* auth.h - logging in at a mail host: the client's side of SCRAM-SHA-256 (RFC 5802, 7677), XOAUTH2, PLAIN
 * (RFC 4616) and LOGIN, as lines of SMTP's AUTH (RFC 4954). Pure.
 *
 * What is written holds secrets: it is for the connection alone, never for a log. Secrets are wiped when they
 * are no longer needed. SCRAM's salted password takes thousands of digests, so it is kept in `auth_keys` for
 * the next login with the same secret, salt and count. */
#ifndef POSTRIDER_SMTP_AUTH_H
#define POSTRIDER_SMTP_AUTH_H

#include "engine/base/buf.h"
#include "engine/base/err.h"
#include "engine/limits.h"
#include "engine/tls/digest.h"

/* The better before the worse. */
enum auth_mechanism { AUTH_SCRAM_SHA_256, AUTH_XOAUTH2, AUTH_PLAIN, AUTH_LOGIN, AUTH_MECHANISMS };

/* The known ones in a list with blanks between, a bit each; in any case. */
unsigned auth_mechanisms(struct str names);

/* The best of those that are offered and allowed, a bit each; AUTH_MECHANISMS: none. */
enum auth_mechanism auth_choose(unsigned offered, unsigned allowed);

struct auth_keys {
    uint8_t of[DIGEST_SIZE]; /* of what the key was made */
    uint8_t salted[DIGEST_SIZE];
    bool there;
};

struct auth;
/* Appends "AUTH MECHANISM …" with its CRLF. nonce: of printable characters but the comma, at random. keys may
 * be NULL. NULL: no memory. The user must be printable. */
struct auth *auth_begin(enum auth_mechanism mechanism, struct str user, struct str secret, struct str nonce,
                        struct auth_keys *keys, struct buf *line);
/* To the text of a 334: appends the answer with its CRLF. False: the challenge is none that this mechanism
 * knows, or the host could not show that it knows the password; err says so. */
bool auth_answer(struct auth *auth, struct str challenge, struct buf *line, struct err *err);
/* To a 235: whether the exchange was over, and with SCRAM the host has shown that it knows the password. */
bool auth_is_complete(const struct auth *auth);
void auth_free(struct auth *auth); /* NULL is fine */

#endif
