/* probe_host.h - asks a mail host what can be known before anything is sent. Nothing is: with `rcpt` MAIL and
 * RCPT are followed by RSET, never by DATA. One thread. */
#ifndef POSTRIDER_TOOLS_PROBE_HOST_H
#define POSTRIDER_TOOLS_PROBE_HOST_H

#include "engine/config.h"
#include "engine/tls/sts.h"
#include "tools/dialogue.h"
#include "tools/lookup.h"

struct probe {
    const struct config *config;
    const struct config_source *source;
    const struct trust *trust;
    const struct sts_policy *sts; /* NULL: the domain has no policy of MTA-STS that can be had */
    struct str address;           /* who VRFY, EXPN and RCPT are about */
    struct str from;              /* of MAIL; empty: <> */
    unsigned port;                /* 0: as configured for the host */
    int64_t timeout_ms;           /* a step */
    bool rcpt;
    /* Hears each line, as it comes; may be NULL. */
    void (*line)(void *user, bool sent, struct str line);
    void *user;
};

/* One host: its member of lookup_json's `hosts` gets
 *   "address"     the one that was spoken to; absent where none answered
 *   "steps"       [{"address","step","ms","code","status","reply"}]; of the last one of a connection that
 *                 failed "error" in place of code, status and reply
 *   "extensions"  of its last EHLO: ["PIPELINING", "SIZE 1000"]; "size": 1000, 0 where no limit is said
 *   "tls"         {"version","certificate":{"subject","names","issuer","begins","expires","verified",
 *                 "reason"}}; null where there was no handshake that succeeded
 *   "dane"        {"verdict","records","matched","reason"}: verdict as dane_verdict_name says; matched: null
 *                 where there was nothing to match, or no handshake
 *   "mta_sts"     "absent", "refused", "required"; "mta_sts_met": whether that is so, null unless required
 *   "accepted"    with rcpt, where it was asked: true or false
 * False with err: it could not begin. */
bool probe_host(const struct probe *probe, struct lookup *lookup, unsigned host, json_t *out,
                struct err *err);
/* What a host wrote, as text that JSON can hold. */
json_t *probe_text(struct str text);

#endif
