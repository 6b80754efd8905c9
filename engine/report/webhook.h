/* webhook.h - one HTTP request after another to the webhook of a consumer, over libcurl: the only file that
 * knows it is webhook.c.
 *
 * A request carries the body whole, compressed with gzip where asked, and with a secret these headers
 * (Standard Webhooks, https://www.standardwebhooks.com): webhook-id, the same when the same events are sent
 * again; webhook-timestamp, seconds of sending; webhook-signature "v1,BASE64", HMAC-SHA256 of
 * "ID.TIMESTAMP.BODY", the body as it is before it is compressed. A secret that begins with "whsec_" is
 * base64, any other is taken as it stands. Redirects are not followed. TLS certificates and names are
 * verified.
 *
 * One thread a webhook; webhook_wake is for any. A post ends within the consumer's timeout. */
#ifndef POSTRIDER_REPORT_WEBHOOK_H
#define POSTRIDER_REPORT_WEBHOOK_H

#include "engine/base/clock.h"
#include "engine/base/err.h"
#include "engine/config.h"

struct webhook;

/* Once in a process, before its threads. */
bool webhook_prepare(struct err *err);
/* Reads the secret and the password. NULL and err, which names the file. */
struct webhook *webhook_create(const struct config_consumer *consumer, struct err *err);
void webhook_free(struct webhook *webhook);
/* What requests are signed with; empty: nothing. */
struct str webhook_secret(const struct webhook *webhook);

enum webhook_result {
    WEBHOOK_TAKEN,   /* 2xx */
    WEBHOOK_LATER,   /* no answer, or one that may be another next time */
    WEBHOOK_REFUSED, /* 4xx but 408, 425 and 429: not these events, ever */
};
struct webhook_answer {
    enum webhook_result result;
    unsigned status;        /* 0: there was no answer */
    int64_t retry_after_ms; /* 0: not said */
    struct err err;         /* unless taken: what happened */
};

struct webhook_request {
    struct str body;
    const char *id;
    char (*headers)[256];
    unsigned header_count;
};
/* Waits for the answer; gives up (WEBHOOK_LATER) when `stop` says so, which is asked again whenever the
 * webhook is woken. */
typedef bool webhook_stop(void *user);
void webhook_post(struct webhook *webhook, const struct webhook_request *request, struct now now,
                  webhook_stop *stop, void *user, struct webhook_answer *answer);
void webhook_wake(struct webhook *webhook);

/* "v1,BASE64"; returns its length. */
#define WEBHOOK_SIGNATURE_MAX 64
size_t webhook_sign(struct str secret, const char *id, int64_t seconds, struct str body,
                    char signature[WEBHOOK_SIGNATURE_MAX]);
/* What a status of an answer means. */
enum webhook_result webhook_judge(unsigned status);

#endif
