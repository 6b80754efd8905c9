/* tls.c - see tls.h. OpenSSL reads and writes through a BIO that lies directly over what tls_feed was given
 * and over the caller's outgoing buffer: no copy in between. OpenSSL reads a feed to its end, keeping what is
 * no whole record yet, so that the feed's memory is never looked at again. */
#include "engine/tls/tls.h"

#include "engine/tls/resume.h"
#include "engine/tls/tls_conn.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <openssl/err.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

_Static_assert(TLS_PLAIN_MAX >= TLS_FEED_MAX + TLS_RECORD_MAX,
               "a feed may complete a record begun before it");
_Static_assert(TLS_OUT_MAX >= TLS_PIECE_MAX + TLS_PIECE_MAX / 8, "records cost less than an eighth");

struct tls {
    SSL_CTX *context;
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

/* A ticket came. 1: we keep the reference. */
static int keep_session(SSL *ssl, SSL_SESSION *session)
{
    struct tls_conn *conn = SSL_get_app_data(ssl);
    return resume_keep(&conn->tls->resume, conn_key(conn), session);
}

/* Why OpenSSL said no, in its words; and empties its queue of errors. */
static const char *ssl_reason(void)
{
    unsigned long code = ERR_peek_last_error();
    const char *reason = code ? ERR_reason_error_string(code) : NULL;
    ERR_clear_error();
    return reason ? reason : "no reason given";
}

static bool context_setup(SSL_CTX *context)
{
    SSL_CTX_set_verify(context, SSL_VERIFY_NONE, NULL);
    /* Weak keys and hashes are better than none: what fails here would go out in the clear (RFC 7435). */
    SSL_CTX_set_security_level(context, 0);
    SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(context, keep_session);
    return SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
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
    tls->context = SSL_CTX_new(TLS_client_method());
    if (tls->method == NULL || tls->context == NULL || !context_setup(tls->context)) {
        err_set(err, 0, "cannot set up TLS: OpenSSL says: %s; see its configuration (openssl version -d)",
                ssl_reason());
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
    SSL_CTX_free(tls->context);
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

static bool conn_set_name(struct tls_conn *conn, const char *host)
{
    if (host[0] == '\0' || host_is_literal(host))
        return true;
    char name[DOMAIN_MAX + 1];
    size_t n = strnlen(host, sizeof name);
    if (n == sizeof name)
        return true; /* no name that DNS knows */
    memcpy(name, host, n + 1);
    if (name[n - 1] == '.')
        name[n - 1] = '\0';
    return SSL_set_tlsext_host_name(conn->ssl, name);
}

static bool conn_setup(struct tls_conn *conn, const char *host)
{
    conn->ssl = SSL_new(conn->tls->context);
    BIO *bio = conn->ssl ? BIO_new(conn->tls->method) : NULL;
    if (bio == NULL)
        return false;
    BIO_set_data(bio, conn);
    BIO_set_init(bio, 1);
    SSL_set_bio(conn->ssl, bio, bio);
    SSL_set_app_data(conn->ssl, conn);
    SSL_set_connect_state(conn->ssl);
    SSL_SESSION *session = resume_find(&conn->tls->resume, conn_key(conn));
    if (session != NULL)
        SSL_set_session(conn->ssl, session);
    return conn_set_name(conn, host);
}

static struct tls_conn *conn_create(struct tls *tls, const char *host, const char *source, struct buf *out)
{
    char key[RESUME_KEY_MAX];
    int n = snprintf(key, sizeof key, "%s %s", host, source);
    size_t key_size = n < 0 ? 0 : (size_t)n;
    if (key_size >= sizeof key)
        key_size = sizeof key - 1;
    struct tls_conn *conn = malloc(sizeof *conn + key_size);
    if (conn == NULL)
        return NULL;
    *conn = (struct tls_conn){.tls = tls, .out = out, .text = "", .key_size = key_size};
    for (size_t i = 0; i < key_size; i++)
        conn->key[i] = ascii_lower(key[i]);
    return conn;
}

static enum tls_state conn_fail(struct tls_conn *conn, struct err *err, const char *doing)
{
    const char *reason = conn->out->failed ? "too much waits to be sent" : ssl_reason();
    ERR_clear_error();
    err_set(err, 0, "TLS %s failed: %s", doing, reason);
    if (conn->state == TLS_HANDSHAKING)
        resume_drop(&conn->tls->resume, conn_key(conn)); /* it may be the old session that was refused */
    conn->state = TLS_FAILED;
    return TLS_FAILED;
}

/* Texts live as long as the process, for verdicts and events hold them; there are as many as pairs of a
 * version and a cipher suite. */
static const char *text_intern(const char *version, const char *cipher)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static char *texts[TLS_TEXTS_MAX];
    char wanted[96];
    snprintf(wanted, sizeof wanted, "%s %s", version, cipher);
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
        conn->text = text_intern(SSL_get_version(conn->ssl), SSL_get_cipher_name(conn->ssl));
        return TLS_OPEN;
    }
    if (SSL_get_error(conn->ssl, result) == SSL_ERROR_WANT_READ && !conn->out->failed)
        return TLS_HANDSHAKING;
    return conn_fail(conn, err, "handshake");
}

struct tls_conn *tls_start(struct tls *tls, const char *host, const char *source, struct buf *out,
                           struct err *err)
{
    ERR_clear_error();
    struct tls_conn *conn = conn_create(tls, host, source, out);
    if (conn == NULL || !conn_setup(conn, host)) {
        err_set(err, ENOMEM, "cannot begin TLS: %s", conn ? ssl_reason() : "no memory");
        tls_free(conn);
        return NULL;
    }
    if (conn_handshake(conn, err) == TLS_FAILED) {
        tls_free(conn);
        return NULL;
    }
    return conn;
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

bool tls_resumed(const struct tls_conn *conn)
{
    return SSL_session_reused(conn->ssl);
}

const SSL *tls_ssl(const struct tls_conn *conn)
{
    return conn->ssl;
}
