/* certificate.h - what a peer's certificate says, for people: whose it is, who vouches for it and until when.
 *
 * Of an open connection. Whether it would do where TLS must be verified is worked out apart from what the
 * connection asked for: by these authorities, for the host's name.
 * Texts that do not fit are cut; they hold what the peer wrote, only printable. Any thread. */
#ifndef POSTRIDER_TLS_CERTIFICATE_H
#define POSTRIDER_TLS_CERTIFICATE_H

#include "engine/tls/tls.h"

struct tls_certificate {
    char subject[256], issuer[256]; /* RFC 2253: "CN=mx.example,O=Example" */
    char names[1024];               /* DNS names of subjectAltName, with blanks between */
    int64_t begins_ms, expires_ms;  /* wall */
    bool verified;
    char why[128]; /* not, and why: "certificate has expired"; else "" */
};

/* False: the peer sent none. */
bool tls_certificate(const struct tls_conn *conn, const struct trust *trust, const char *host,
                     struct tls_certificate *out);

#endif
