/* resume.h - TLS sessions kept to be resumed, by host, source and demand. Private to tls/.
 *
 * At most TLS_RESUME_MAX, the least recently used goes first. A session kept is a reference of the cache's;
 * one given out stays the cache's (OpenSSL takes its own). One thread. */
#ifndef POSTRIDER_TLS_RESUME_H
#define POSTRIDER_TLS_RESUME_H

#include "engine/base/str.h"
#include "engine/limits.h"

#include <openssl/ssl.h>

#define RESUME_KEY_MAX (DOMAIN_MAX + 112)

struct resume_entry;

struct resume {
    struct resume_entry *entries; /* a uthash table, oldest use first */
};

void resume_free(struct resume *resume);
/* Takes over the reference; false (and it is still the caller's) when memory is out. */
bool resume_keep(struct resume *resume, struct str key, SSL_SESSION *session);
/* NULL: none that may be resumed. */
SSL_SESSION *resume_find(struct resume *resume, struct str key);
void resume_drop(struct resume *resume, struct str key);
size_t resume_count(const struct resume *resume);

#endif
