/* policy.h - how much TLS a connection must have, from nothing to the most. Any thread. */
#ifndef POSTRIDER_TLS_POLICY_H
#define POSTRIDER_TLS_POLICY_H

enum tls_policy {
    TLS_POLICY_NONE,
    TLS_POLICY_MAY,     /* where it is offered; else, or when it fails, in the clear (RFC 7435) */
    TLS_POLICY_ENCRYPT, /* never in the clear; who the host is, is not checked */
    TLS_POLICY_VERIFY,  /* and its certificate must be vouched for by an authority, and name it */
    TLS_POLICY_DANE,    /* and its certificate must match the TLSA records of its domain */
};
#define TLS_POLICIES 5

static inline const char *tls_policy_name(enum tls_policy policy)
{
    static const char *const names[TLS_POLICIES] = {"none", "may", "encrypt", "verify", "dane"};
    return names[policy];
}

#endif
