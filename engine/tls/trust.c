/* trust.c - see trust.h. */
#include "engine/tls/trust.h"

#include "engine/base/str.h"
#include "engine/tls/trust_context.h"

#include <errno.h>
#include <openssl/err.h>
#include <stdatomic.h>
#include <stdlib.h>

struct trust {
    struct trust *next;
    unsigned number;
    uint64_t serial;
    SSL_CTX *plain, *checked;
    char *ca_file, *certificate, *key;
};

struct trusts {
    struct trust *list;
    unsigned count;
};

const char *tls_reason(void)
{
    unsigned long code = ERR_peek_last_error();
    const char *reason = code ? ERR_reason_error_string(code) : NULL;
    ERR_clear_error();
    return reason ? reason : "no reason given";
}

static void trust_free(struct trust *trust)
{
    if (trust == NULL)
        return;
    SSL_CTX_free(trust->plain);
    SSL_CTX_free(trust->checked);
    free(trust->ca_file);
    free(trust->certificate);
    free(trust->key);
    free(trust);
}

struct trusts *trusts_create(struct err *err)
{
    struct trusts *trusts = calloc(1, sizeof *trusts);
    if (trusts == NULL)
        err_set(err, ENOMEM, "no memory for TLS");
    return trusts;
}

void trusts_destroy(struct trusts *trusts)
{
    while (trusts != NULL && trusts->list != NULL) {
        struct trust *trust = trusts->list;
        trusts->list = trust->next;
        trust_free(trust);
    }
    free(trusts);
}

static SSL_CTX *context_make(int level)
{
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    if (context == NULL)
        return NULL;
    SSL_CTX_set_security_level(context, level);
    SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(context, tls_keep_session);
    if (SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION))
        return context;
    SSL_CTX_free(context);
    return NULL;
}

static bool context_present(SSL_CTX *context, const struct trust *trust, struct err *err)
{
    if (trust->certificate[0] == '\0')
        return true;
    if (SSL_CTX_use_certificate_chain_file(context, trust->certificate) != 1)
        return err_set(err, 0, "cannot use the certificate %s: %s", trust->certificate, tls_reason());
    if (SSL_CTX_use_PrivateKey_file(context, trust->key, SSL_FILETYPE_PEM) != 1 ||
        SSL_CTX_check_private_key(context) != 1)
        return err_set(err, 0, "cannot use the key %s for the certificate %s: %s", trust->key,
                       trust->certificate, tls_reason());
    return true;
}

static bool context_believe(SSL_CTX *context, const struct trust *trust, struct err *err)
{
    if (SSL_CTX_dane_enable(context) != 1)
        return err_set(err, 0, "cannot set up DANE: %s", tls_reason());
    if (trust->ca_file[0] == '\0')
        return SSL_CTX_set_default_verify_paths(context) == 1 ||
               err_set(err, 0, "cannot read the system's authorities: %s", tls_reason());
    return SSL_CTX_load_verify_file(context, trust->ca_file) == 1 ||
           err_set(err, 0, "cannot read the authorities in %s: %s; it must hold certificates as PEM",
                   trust->ca_file, tls_reason());
}

/* What is not checked takes weak keys and hashes too: they are better than none, and what fails here would go
 * out in the clear (RFC 7435). What is checked must be worth it: 80 bits, no SHA-1. */
static bool trust_setup(struct trust *trust, struct err *err)
{
    trust->plain = context_make(0);
    trust->checked = context_make(1);
    if (trust->plain == NULL || trust->checked == NULL)
        return err_set(err, 0,
                       "cannot set up TLS: OpenSSL says: %s; see its configuration (openssl version -d)",
                       tls_reason());
    return context_present(trust->plain, trust, err) && context_present(trust->checked, trust, err) &&
           context_believe(trust->checked, trust, err);
}

struct trust *trusts_find(const struct trusts *trusts, const char *ca_file, const char *certificate,
                          const char *key)
{
    for (struct trust *trust = trusts->list; trust != NULL; trust = trust->next)
        if (strcmp(trust->ca_file, ca_file) == 0 && strcmp(trust->certificate, certificate) == 0 &&
            strcmp(trust->key, key) == 0)
            return trust;
    return NULL;
}

struct trust *trusts_add(struct trusts *trusts, const char *ca_file, const char *certificate, const char *key,
                         struct err *err)
{
    struct trust *trust = trusts_find(trusts, ca_file, certificate, key);
    if (trust != NULL)
        return trust;
    if (trusts->count == TLS_TRUSTS_MAX) {
        err_set(err, 0, "more than %d different sets of TLS authorities and certificates", TLS_TRUSTS_MAX);
        return NULL;
    }
    trust = calloc(1, sizeof *trust);
    if (trust == NULL || (trust->ca_file = str_dup(str_of(ca_file))) == NULL ||
        (trust->certificate = str_dup(str_of(certificate))) == NULL ||
        (trust->key = str_dup(str_of(key))) == NULL) {
        err_set(err, ENOMEM, "no memory for TLS");
        trust_free(trust);
        return NULL;
    }
    if (!trust_setup(trust, err)) {
        trust_free(trust);
        return NULL;
    }
    static atomic_uint_fast64_t made;
    trust->number = trusts->count++;
    trust->serial = atomic_fetch_add(&made, 1);
    trust->next = trusts->list;
    trusts->list = trust;
    return trust;
}

void trusts_follow(struct trusts *trusts, const struct trusts *before)
{
    trusts->count = before->count;
    for (struct trust *trust = trusts->list; trust != NULL; trust = trust->next) {
        const struct trust *same = trusts_same(before, trust);
        trust->number = same != NULL ? same->number : trusts->count++;
    }
}

const struct trust *trusts_same(const struct trusts *trusts, const struct trust *other)
{
    return other != NULL ? trusts_find(trusts, other->ca_file, other->certificate, other->key) : NULL;
}

unsigned trust_number(const struct trust *trust)
{
    return trust->number;
}

uint64_t trust_serial(const struct trust *trust)
{
    return trust->serial;
}

SSL_CTX *trust_context(const struct trust *trust, bool checked)
{
    return checked ? trust->checked : trust->plain;
}
