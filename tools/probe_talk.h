/* probe_talk.h - asks one address of a mail host what can be known before anything is sent. Nothing is: with
 * `rcpt` MAIL and RCPT are followed by RSET, never by DATA. Where a route asks for a login, that is tried,
 * too. One thread; each step has its time-out. */
#ifndef POSTRIDER_TOOLS_PROBE_TALK_H
#define POSTRIDER_TOOLS_PROBE_TALK_H

#include "engine/config.h"
#include "engine/tls/sts.h"
#include "tools/dialogue.h"
#include "tools/lookup.h"

struct probe {
    const struct config *config;
    const struct config_source *source;
    const struct config_route *route; /* NULL: by MX */
    struct trusts *trusts;
    const struct sts_policy *sts; /* NULL: the domain has no policy of MTA-STS that counts and can be had */
    struct str address;           /* who VRFY, EXPN and RCPT are about */
    struct str from;              /* of MAIL; empty: <> */
    unsigned port;                /* 0: as configured for the host */
    int64_t timeout_ms;           /* a step */
    bool rcpt;
    unsigned talks; /* so many more addresses may be asked */
    /* Hears each line, as it comes; may be NULL. */
    void (*line)(void *user, bool sent, struct str line);
    void *user;
};

struct probe_peer {
    const char *host; /* the name that its certificate is to bear */
    const struct dns_address *address;
    unsigned port;
    const struct trust *trust;
    struct tlsa_set *tlsa; /* NULL: none that count */
};

/* Into out:
 *   "answered"      it took the conversation as far as EHLO
 *   "steps"         [{"step","ms","code","status","reply"}]; of the last one of a connection that failed
 *                   "error" in place of code, status and reply
 *   "extensions"    of its last EHLO: ["PIPELINING", "SIZE 1000"]; "size": 1000, 0 where no limit is said
 *   "tls"           {"version","certificate":{"subject","names","issuer","begins","expires","verified",
 *                   "reason"}}; null where there was no handshake that succeeded
 *   "dane_matched"  null where there was nothing to match, or no handshake
 *   "accepted"      with rcpt, where it was asked: true or false
 * False with err: it could not begin. */
bool probe_talk(const struct probe *probe, const struct probe_peer *peer, json_t *out, struct err *err);

#endif
