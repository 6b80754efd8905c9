/* fetch.h - one policy of MTA-STS by HTTPS (libcurl, which every mail platform has, and whose multi
 * interface lets one thread wait for many).
 *
 * RFC 8461 3.3: GET of https://mta-sts.DOMAIN/.well-known/mta-sts.txt; the certificate must be vouched for
 * and bear that name, redirects are not followed, and the answer must be 200 with text/plain. At most
 * STS_BODY_MAX bytes. The addresses are the caller's, found by the configured resolver. One thread. */
#ifndef POSTRIDER_STS_FETCH_H
#define POSTRIDER_STS_FETCH_H

#include "engine/base/err.h"
#include "engine/base/str.h"
#include "engine/limits.h"

struct fetcher;
struct fetch;

struct fetch_settings {
    int64_t timeout_ms;
    const char *ca_file; /* "": the system's authorities */
    uint16_t port;
};

/* How it went, as RFC 8460 4.3.2 tells such things apart. */
enum fetch_result { FETCH_FINE, FETCH_ERROR, FETCH_UNTRUSTED };

/* Once in the process, before any thread starts; also for those that use libcurl elsewhere. */
bool fetch_prepare(struct err *err);

/* settings must outlive it. NULL with err: no memory. */
struct fetcher *fetcher_create(const struct fetch_settings *settings, struct err *err);
void fetcher_destroy(struct fetcher *fetcher); /* ends what is under way, without a word */
/* addresses: "192.0.2.1,[2001:db8::1]". False with err: it could not begin. */
bool fetcher_begin(struct fetcher *fetcher, const char *domain, const char *addresses, void *user,
                   struct err *err);
unsigned fetcher_count(const struct fetcher *fetcher); /* under way */
/* Moves on what is under way; the next that is over, or NULL. Its user, how it went, and the body, valid
 * until fetch_free. */
struct fetch *fetcher_next(struct fetcher *fetcher);
void *fetch_user(const struct fetch *fetch);
enum fetch_result fetch_result(const struct fetch *fetch, struct str *body, struct err *err);
void fetch_free(struct fetch *fetch);
/* Ends a wait, now or the next; any thread. */
void fetcher_wake(struct fetcher *fetcher);
/* Waits until something moves, or the descriptor can be read, or for so long. */
void fetcher_wait(struct fetcher *fetcher, int fd, int timeout_ms);

#endif
