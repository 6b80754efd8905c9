/* resume.c - see resume.h. uthash keeps the order of insertion, so an entry used is taken out and put in
 * again. */
#include "engine/tls/resume.h"

#include <stdlib.h>
#define HASH_NONFATAL_OOM 1
#include <uthash.h>

struct resume_entry {
    UT_hash_handle hh;
    SSL_SESSION *session;
    size_t key_size;
    char key[];
};

static struct resume_entry *resume_lookup(const struct resume *resume, struct str key)
{
    struct resume_entry *entry = NULL;
    HASH_FIND(hh, resume->entries, key.p, key.n, entry);
    return entry;
}

static void resume_remove(struct resume *resume, struct resume_entry *entry)
{
    HASH_DELETE(hh, resume->entries, entry);
    SSL_SESSION_free(entry->session);
    free(entry);
}

/* False: no memory; it is not in. */
static bool resume_put(struct resume *resume, struct resume_entry *entry)
{
    HASH_ADD_KEYPTR(hh, resume->entries, entry->key, entry->key_size, entry);
    return entry->hh.tbl != NULL;
}

void resume_free(struct resume *resume)
{
    while (resume->entries != NULL)
        resume_remove(resume, resume->entries);
}

size_t resume_count(const struct resume *resume)
{
    return HASH_COUNT(resume->entries);
}

void resume_drop(struct resume *resume, struct str key)
{
    struct resume_entry *entry = resume_lookup(resume, key);
    if (entry != NULL)
        resume_remove(resume, entry);
}

bool resume_keep(struct resume *resume, struct str key, SSL_SESSION *session)
{
    struct resume_entry *entry = malloc(sizeof *entry + key.n);
    if (entry == NULL)
        return false;
    *entry = (struct resume_entry){.session = session, .key_size = key.n};
    memcpy(entry->key, key.p, key.n);
    resume_drop(resume, key);
    if (resume_count(resume) >= TLS_RESUME_MAX)
        resume_remove(resume, resume->entries);
    if (resume_put(resume, entry))
        return true;
    free(entry); /* the session stays the caller's */
    return false;
}

SSL_SESSION *resume_find(struct resume *resume, struct str key)
{
    struct resume_entry *entry = resume_lookup(resume, key);
    if (entry == NULL)
        return NULL;
    if (!SSL_SESSION_is_resumable(entry->session)) {
        resume_remove(resume, entry);
        return NULL;
    }
    HASH_DELETE(hh, resume->entries, entry);
    if (resume_put(resume, entry))
        return entry->session;
    SSL_SESSION_free(entry->session);
    free(entry);
    return NULL;
}
