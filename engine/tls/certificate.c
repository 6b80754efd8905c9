/* certificate.c - see certificate.h. */
#include "engine/tls/certificate.h"

#include "engine/tls/tls_conn.h"
#include "engine/tls/trust_context.h"

#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

/* What was written into a BIO in memory. */
static void take_text(BIO *bio, char *text, size_t size)
{
    char *data;
    long n = BIO_get_mem_data(bio, &data);
    size_t kept = n < 0 ? 0 : (size_t)n < size ? (size_t)n : size - 1;
    for (size_t i = 0; i < kept; i++)
        text[i] = data[i] >= ' ' && data[i] < 0x7f ? data[i] : '?';
    text[kept] = '\0';
}

static void name_text(X509_NAME *name, char *text, size_t size)
{
    BIO *bio = BIO_new(BIO_s_mem());
    text[0] = '\0';
    if (bio == NULL)
        return;
    X509_NAME_print_ex(bio, name, 0, XN_FLAG_RFC2253);
    take_text(bio, text, size);
    BIO_free(bio);
}

static void alternative_names(X509 *certificate, char *text, size_t size)
{
    GENERAL_NAMES *names = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
    BIO *bio = BIO_new(BIO_s_mem());
    text[0] = '\0';
    for (int i = 0; bio != NULL && i < sk_GENERAL_NAME_num(names); i++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
        if (name->type != GEN_DNS)
            continue;
        if (BIO_pending(bio) > 0)
            BIO_puts(bio, " ");
        BIO_write(bio, ASN1_STRING_get0_data(name->d.dNSName), ASN1_STRING_length(name->d.dNSName));
    }
    if (bio != NULL)
        take_text(bio, text, size);
    BIO_free(bio);
    GENERAL_NAMES_free(names);
}

static int64_t time_ms(const ASN1_TIME *when)
{
    struct tm tm;
    return when != NULL && ASN1_TIME_to_tm(when, &tm) == 1 ? (int64_t)timegm(&tm) * 1000 : 0;
}

static void verify(const SSL *ssl, X509_STORE *store, X509 *certificate, const char *host,
                   struct tls_certificate *out)
{
    X509_STORE_CTX *context = X509_STORE_CTX_new();
    bool ready = context != NULL &&
                 X509_STORE_CTX_init(context, store, certificate, SSL_get_peer_cert_chain(ssl)) == 1 &&
                 X509_STORE_CTX_set_default(context, "ssl_server") == 1 &&
                 tls_expect_name(X509_STORE_CTX_get0_param(context), host);
    out->verified = ready && X509_verify_cert(context) == 1;
    if (!out->verified)
        snprintf(out->why, sizeof out->why, "%s",
                 ready ? X509_verify_cert_error_string(X509_STORE_CTX_get_error(context))
                       : "OpenSSL could not be set up to check it");
    X509_STORE_CTX_free(context);
    ERR_clear_error();
}

bool tls_certificate(const struct tls_conn *conn, const struct trust *trust, const char *host,
                     struct tls_certificate *out)
{
    const SSL *ssl = tls_ssl(conn);
    X509 *certificate = SSL_get0_peer_certificate(ssl);
    *out = (struct tls_certificate){0};
    if (certificate == NULL)
        return false;
    name_text(X509_get_subject_name(certificate), out->subject, sizeof out->subject);
    name_text(X509_get_issuer_name(certificate), out->issuer, sizeof out->issuer);
    alternative_names(certificate, out->names, sizeof out->names);
    out->begins_ms = time_ms(X509_get0_notBefore(certificate));
    out->expires_ms = time_ms(X509_get0_notAfter(certificate));
    verify(ssl, SSL_CTX_get_cert_store(trust_context(trust, true)), certificate, host, out);
    return true;
}
