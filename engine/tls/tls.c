/* tls.c - see tls.h. OpenSSL reads and writes through a BIO that lies directly over what tls_feed was given
 * and over the caller's outgoing buffer: no copy in between. OpenSSL reads a feed to its end, keeping what is
 * no whole record yet, so that the feed's memory is never looked at again. */
#include "engine/tls/tls.h"

#include "engine/tls/resume.h"
#include "engine/tls/tls_conn.h"
#include "engine/tls/tls_context.h"
#include "engine/tls/trust_context.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

_Static_assert(TLS_PLAIN_MAX >= TLS_FEED_MAX + 2 * TLS_RECORD_MAX,
               "a feed may complete a record begun before it, and there is always room to ask for another");
_Static_assert(TLS_OUT_MAX >= TLS_PIECE_MAX + TLS_PIECE_MAX / 8, "records cost less than an eighth");

struct tls {
    BIO_METHOD *method;
    struct resume resume;
    struct buf plain;            /* what tls_feed hands out */
    char record[TLS_RECORD_MAX]; /* where tls_write gathers small pieces */
};

struct tls_conn {
    struct tls *tls;
    SSL *ssl;
    struct buf *out;
    const char *feed;
    size_t feed_left;
    enum tls_state state;
    bool dane, checked;
    enum tls_fault fault;
    const char *text;
    size_t key_size;
    char key[];
};

/* ---- the BIO ---- */

static int bio_write(BIO *bio, const char *data, int n)
{
    struct tls_conn *conn = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    if (n <= 0 || !buf_add(conn->out, data, (size_t)n))
        return -1;
    return n;
}

static int bio_read(BIO *bio, char *data, int n)
{
    struct tls_conn *conn = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    if (conn->feed_left == 0) {
        BIO_set_retry_read(bio);
        return -1;
    }
    size_t taken = n < 0 ? 0 : (size_t)n;
    if (taken > conn->feed_left)
        taken = conn->feed_left;
    memcpy(data, conn->feed, taken);
    conn->feed += taken;
    conn->feed_left -= taken;
    return (int)taken;
}

static long bio_ctrl(BIO *bio, int command, long number, void *pointer)
{
    (void)bio;
    (void)number;
    (void)pointer;
    return command == BIO_CTRL_FLUSH;
}

static BIO_METHOD *bio_method(void)
{
    BIO_METHOD *method = BIO_meth_new(BIO_TYPE_SOURCE_SINK, "postrider");
    if (method == NULL)
        return NULL;
    BIO_meth_set_write(method, bio_write);
    BIO_meth_set_read(method, bio_read);
    BIO_meth_set_ctrl(method, bio_ctrl);
    return method;
}

/* ---- the worker's part ---- */

static struct str conn_key(const struct tls_conn *conn)
{
    return str_make(conn->key, conn->key_size);
}

/* 1: we keep the reference. */
int tls_keep_session(SSL *ssl, SSL_SESSION *session)
{
    struct tls_conn *conn = SSL_get_app_data(ssl);
    return resume_keep(&conn->tls->resume, conn_key(conn), session);
}

struct tls *tls_create(struct err *err)
{
    struct tls *tls = calloc(1, sizeof *tls);
    if (tls == NULL) {
        err_set(err, ENOMEM, "no memory for TLS");
        return NULL;
    }
    buf_init(&tls->plain, TLS_PLAIN_MAX);
    tls->method = bio_method();
    if (tls->method == NULL) {
        err_set(err, ENOMEM, "no memory for TLS");
        tls_destroy(tls);
        return NULL;
    }
    return tls;
}

void tls_destroy(struct tls *tls)
{
    if (tls == NULL)
        return;
    resume_free(&tls->resume);
    BIO_meth_free(tls->method);
    buf_free(&tls->plain);
    free(tls);
}

/* ---- one connection ---- */

static bool host_is_literal(const char *host)
{
    unsigned char address[sizeof(struct in6_addr)];
    return host[0] == '[' || inet_pton(AF_INET, host, address) == 1 ||
           inet_pton(AF_INET6, host, address) == 1;
}

/* Without the final dot; false: no name that DNS knows. */
static bool host_copy(const char *host, char name[DOMAIN_MAX + 1])
{
    size_t n = strnlen(host, DOMAIN_MAX + 1);
    if (n == 0 || n > DOMAIN_MAX)
        return false;
    memcpy(name, host, n + 1);
    if (name[n - 1] == '.')
        name[n - 1] = '\0';
    return true;
}

static bool conn_set_name(struct tls_conn *conn, const char *host)
{
    char name[DOMAIN_MAX + 1];
    if (host_is_literal(host) || !host_copy(host, name))
        return true;
    return SSL_set_tlsext_host_name(conn->ssl, name);
}

bool tls_expect_name(X509_VERIFY_PARAM *param, const char *host)
{
    char name[DOMAIN_MAX + 1];
    if (host_is_literal(host))
        return X509_VERIFY_PARAM_set1_ip_asc(param, host) == 1;
    X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS |
                                               X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
    return host_copy(host, name) && X509_VERIFY_PARAM_set1_host(param, name, 0) == 1;
}

/* Which names the certificate may bear. */
static bool conn_expect(struct tls_conn *conn, const char *host, const char *also)
{
    char name[DOMAIN_MAX + 1];
    return tls_expect_name(SSL_get0_param(conn->ssl), host) &&
           (also == NULL || (host_copy(also, name) && SSL_add1_host(conn->ssl, name) == 1));
}

static bool conn_use_dane(struct tls_conn *conn, const struct tlsa_set *set, const char *host)
{
    char name[DOMAIN_MAX + 1];
    unsigned used = 0;
    if (!host_copy(host, name) || SSL_dane_enable(conn->ssl, name) <= 0)
        return false;
    SSL_dane_set_flags(conn->ssl, DANE_FLAG_NO_DANE_EE_NAMECHECKS); /* RFC 7672 3.1.1 */
    for (unsigned i = 0; i < set->count; i++) {
        const struct tlsa *tlsa = &set->list[i];
        if (tlsa_is_usable(set, i) &&
            SSL_dane_tlsa_add(conn->ssl, tlsa->usage, tlsa->selector, tlsa->matching, set->bytes + tlsa->at,
                              tlsa->size) > 0)
            used++;
    }
    ERR_clear_error(); /* a record that is no certificate matches nothing */
    return used > 0;
}

static bool conn_set_checks(struct tls_conn *conn, const struct tls_demand *demand, const char *host)
{
    if (!conn->checked)
        return true;
    SSL_set_verify(conn->ssl, demand->policy < TLS_POLICY_VERIFY ? SSL_VERIFY_NONE : SSL_VERIFY_PEER, NULL);
    if (conn->dane && !conn_use_dane(conn, demand->tlsa, host))
        return false;
    return conn_expect(conn, host, demand->name);
}

static bool conn_open(struct tls_conn *conn, SSL_CTX *context)
{
    conn->ssl = SSL_new(context);
    BIO *bio = conn->ssl ? BIO_new(conn->tls->method) : NULL;
    if (bio == NULL)
        return false;
    BIO_set_data(bio, conn);
    BIO_set_init(bio, 1);
    SSL_set_bio(conn->ssl, bio, bio);
    SSL_set_app_data(conn->ssl, conn);
    return true;
}

static bool conn_setup(struct tls_conn *conn, const struct tls_demand *demand, const char *host)
{
    if (!conn_open(conn, trust_context(demand->trust, conn->checked)))
        return false;
    SSL_set_connect_state(conn->ssl);
    SSL_SESSION *session = resume_find(&conn->tls->resume, conn_key(conn));
    if (session != NULL)
        SSL_set_session(conn->ssl, session);
    return conn_set_checks(conn, demand, host) && conn_set_name(conn, host);
}

static bool is_checked(const struct tls_demand *demand)
{
    return demand->policy >= TLS_POLICY_VERIFY || demand->report;
}

/* What was checked in one way is not resumed in another: a session kept carries its outcome along. Nor is
 * it with authorities that were read again. */
static size_t conn_make_key(const struct tls_demand *demand, const char *host, const char *source,
                            char key[RESUME_KEY_MAX])
{
    const struct tlsa_set *set = demand->policy == TLS_POLICY_DANE ? demand->tlsa : NULL;
    uint64_t records = set ? str_hash(str_make((const char *)set->bytes, set->used)) : 0;
    int checks = is_checked(demand) ? (int)demand->policy + 8 * demand->report : 0;
    int n = snprintf(key, RESUME_KEY_MAX, "%s %s %llu %d %llx", host, source,
                     (unsigned long long)trust_serial(demand->trust), checks, (unsigned long long)records);
    size_t size = n < 0 ? 0 : (size_t)n;
    return size < RESUME_KEY_MAX ? size : RESUME_KEY_MAX - 1;
}

static struct tls_conn *conn_create(struct tls *tls, const struct tls_demand *demand, const char *host,
                                    const char *source, struct buf *out)
{
    char key[RESUME_KEY_MAX];
    size_t key_size = conn_make_key(demand, host, source, key);
    struct tls_conn *conn = malloc(sizeof *conn + key_size);
    if (conn == NULL)
        return NULL;
    *conn = (struct tls_conn){.tls = tls,
                              .out = out,
                              .text = "",
                              .key_size = key_size,
                              .dane = demand->policy == TLS_POLICY_DANE,
                              .checked = is_checked(demand)};
    str_lower(str_make(key, key_size), conn->key);
    return conn;
}

/* Takes note of how the check of the certificate went; its words, NULL: well, or there was none. */
static const char *conn_check(struct tls_conn *conn)
{
    long result = conn->checked ? SSL_get_verify_result(conn->ssl) : X509_V_OK;
    switch (result) {
    case X509_V_OK:
        return NULL;
    case X509_V_ERR_HOSTNAME_MISMATCH:
    case X509_V_ERR_IP_ADDRESS_MISMATCH:
        conn->fault = TLS_FAULT_NAME;
        break;
    case X509_V_ERR_CERT_HAS_EXPIRED:
    case X509_V_ERR_CERT_NOT_YET_VALID:
        conn->fault = TLS_FAULT_EXPIRED;
        break;
    case X509_V_ERR_DANE_NO_MATCH:
        conn->fault = TLS_FAULT_TLSA;
        break;
    default:
        conn->fault = TLS_FAULT_UNTRUSTED;
    }
    return X509_verify_cert_error_string(result);
}

static enum tls_state conn_fail(struct tls_conn *conn, struct err *err, const char *doing)
{
    const char *reason = conn->out->failed ? "too much waits to be sent" : tls_reason();
    const char *certificate = conn->state == TLS_HANDSHAKING ? conn_check(conn) : NULL;
    ERR_clear_error();
    err_set(err, 0, "TLS %s failed: %s%s", doing, certificate ? "the certificate: " : "",
            certificate ? certificate : reason);
    if (certificate == NULL)
        conn->fault = TLS_FAULT_HANDSHAKE;
    if (conn->state == TLS_HANDSHAKING)
        resume_drop(&conn->tls->resume, conn_key(conn)); /* it may be the old session that was refused */
    conn->state = TLS_FAILED;
    return TLS_FAILED;
}

/* Texts live as long as the process, for verdicts and events hold them; there are as many as there
 * are versions, cipher suites and ways to check. */
static const char *text_intern(const char *version, const char *cipher, const char *how)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static char *texts[TLS_TEXTS_MAX];
    char wanted[96];
    snprintf(wanted, sizeof wanted, "%s %s%s", version, cipher, how);
    const char *found = "TLS";
    pthread_mutex_lock(&lock);
    for (size_t i = 0; i < TLS_TEXTS_MAX; i++) {
        if (texts[i] == NULL)
            texts[i] = str_dup(str_of(wanted));
        if (texts[i] == NULL)
            break;
        if (strcmp(texts[i], wanted) == 0) {
            found = texts[i];
            break;
        }
    }
    pthread_mutex_unlock(&lock);
    return found;
}

static enum tls_state conn_handshake(struct tls_conn *conn, struct err *err)
{
    int result = SSL_do_handshake(conn->ssl);
    if (result == 1) {
        conn->state = TLS_OPEN;
        bool met = conn->checked && conn_check(conn) == NULL;
        conn->text = text_intern(SSL_get_version(conn->ssl), SSL_get_cipher_name(conn->ssl),
                                 !met         ? ""
                                 : conn->dane ? " dane"
                                              : " verified");
        return TLS_OPEN;
    }
    if (SSL_get_error(conn->ssl, result) == SSL_ERROR_WANT_READ && !conn->out->failed)
        return TLS_HANDSHAKING;
    return conn_fail(conn, err, "handshake");
}

struct tls_conn *tls_start(struct tls *tls, const struct tls_demand *demand, const char *host,
                           const char *source, struct buf *out, struct err *err)
{
    assert(demand->policy != TLS_POLICY_DANE || demand->tlsa != NULL);
    ERR_clear_error();
    struct tls_conn *conn = conn_create(tls, demand, host, source, out);
    if (conn == NULL || !conn_setup(conn, demand, host)) {
        err_set(err, ENOMEM, "cannot begin TLS: %s", conn ? tls_reason() : "no memory");
        tls_free(conn);
        return NULL;
    }
    if (conn_handshake(conn, err) == TLS_FAILED) {
        tls_free(conn);
        return NULL;
    }
    return conn;
}

struct tls_conn *tls_accept(struct tls *tls, const struct tls_server *server, struct buf *out,
                            struct err *err)
{
    ERR_clear_error();
    struct tls_conn *conn = malloc(sizeof *conn);
    if (conn != NULL)
        *conn = (struct tls_conn){.tls = tls, .out = out, .text = ""};
    if (conn != NULL && conn_open(conn, tls_server_context(server))) {
        SSL_set_accept_state(conn->ssl);
        return conn;
    }
    err_set(err, ENOMEM, "cannot begin TLS: %s", conn ? tls_reason() : "no memory");
    tls_free(conn);
    return NULL;
}

void tls_free(struct tls_conn *conn)
{
    if (conn == NULL)
        return;
    /* Without close_notify OpenSSL would declare the session not to be resumed; SMTP ends with QUIT, and
     * peers that just close are the rule. */
    if (conn->ssl != NULL && conn->state != TLS_FAILED)
        SSL_set_shutdown(conn->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
    SSL_free(conn->ssl);
    free(conn);
}

static enum tls_state conn_read(struct tls_conn *conn, struct err *err)
{
    struct buf *plain = &conn->tls->plain;
    for (;;) {
        char *room = buf_room(plain, TLS_RECORD_MAX);
        if (room == NULL) {
            err_set(err, ENOMEM, "no memory for what came through TLS");
            conn->state = TLS_FAILED;
            return TLS_FAILED;
        }
        int n = SSL_read(conn->ssl, room, TLS_RECORD_MAX);
        if (n > 0) {
            plain->len += (size_t)n;
            continue;
        }
        switch (SSL_get_error(conn->ssl, n)) {
        case SSL_ERROR_WANT_READ:
            return conn->out->failed ? conn_fail(conn, err, "connection") : TLS_OPEN;
        case SSL_ERROR_ZERO_RETURN:
            conn->state = TLS_CLOSED;
            return TLS_CLOSED;
        default:
            return conn_fail(conn, err, "connection");
        }
    }
}

enum tls_state tls_feed(struct tls_conn *conn, const void *data, size_t n, struct str *plain, struct err *err)
{
    assert(n <= TLS_FEED_MAX);
    buf_clear(&conn->tls->plain);
    *plain = str_make("", 0);
    if (conn->state == TLS_FAILED) {
        err_set(err, 0, "TLS had failed before");
        return TLS_FAILED;
    }
    ERR_clear_error();
    conn->feed = data;
    conn->feed_left = n;
    if (conn->state == TLS_HANDSHAKING && conn_handshake(conn, err) != TLS_OPEN)
        return conn->state;
    enum tls_state state = conn_read(conn, err);
    assert(conn->feed_left == 0 || state != TLS_OPEN);
    conn->feed_left = 0;
    *plain = buf_str(&conn->tls->plain);
    return state;
}

static bool conn_encrypt(struct tls_conn *conn, const void *data, size_t n, struct err *err)
{
    if (n == 0)
        return true;
    if (SSL_write(conn->ssl, data, (int)n) == (int)n && !conn->out->failed)
        return true;
    conn_fail(conn, err, "connection");
    return false;
}

bool tls_write(struct tls_conn *conn, const struct iovec *iov, size_t n, struct err *err)
{
    char *record = conn->tls->record;
    size_t filled = 0;
    if (conn->state != TLS_OPEN)
        return err_set(err, 0, "TLS is not open");
    ERR_clear_error();
    for (size_t i = 0; i < n; i++) {
        const char *at = iov[i].iov_base;
        size_t left = iov[i].iov_len;
        while (left > 0) {
            size_t part = left < TLS_RECORD_MAX - filled ? left : TLS_RECORD_MAX - filled;
            memcpy(record + filled, at, part);
            filled += part;
            at += part;
            left -= part;
            if (filled < TLS_RECORD_MAX)
                continue;
            if (!conn_encrypt(conn, record, filled, err))
                return false;
            filled = 0;
        }
    }
    return conn_encrypt(conn, record, filled, err);
}

void tls_shutdown(struct tls_conn *conn)
{
    if (conn->state != TLS_OPEN && conn->state != TLS_CLOSED)
        return;
    SSL_shutdown(conn->ssl);
    ERR_clear_error();
}

const char *tls_text(const struct tls_conn *conn)
{
    return conn->text;
}

enum tls_fault tls_fault(const struct tls_conn *conn)
{
    return conn->fault;
}

bool tls_resumed(const struct tls_conn *conn)
{
    return SSL_session_reused(conn->ssl);
}

const SSL *tls_ssl(const struct tls_conn *conn)
{
    return conn->ssl;
}
