/* shape.h - the bodies of webhooks: ours, and those that platforms know from others.
 *
 * native    {"consumer":NAME,"events":[EVENT…]}, EVENT as in event_json.h. A file has EVENTs, one a line.
 * listmonk  its bounce webhook (POST /webhooks/bounce): bounced, expired and complained. "hard" is what says
 *           that the address is no good (bad-mailbox, bad-domain, inactive-mailbox), everything else "soft".
 *           campaign and id are passed on where they are UUIDs: listmonk's own.
 * mailgun   its webhooks, with their signature: accepted, delivered, failed (temporary: deferred; permanent:
 *           bounced, expired, suppressed), complained. metadata are the user-variables, campaign the tag.
 * ses       notifications of Amazon SES as SNS posts them: Delivery, Bounce (bounced, expired), Complaint.
 *           Only Amazon can sign them, so the signature is empty: for platforms that do not look at it.
 * Other types of events have no words there, and are passed over. All but native are one event a request.
 *
 * An event is shaped as it is read (shape_event), a body when it is sent (shape_body), for a signature tells
 * the time of sending. What names a message for whoever removes duplicates (Mailgun's token, SNS's MessageId)
 * is made of the sequence number, and so is the same when an event is sent again. Pure; any thread. */
#ifndef POSTRIDER_REPORT_SHAPE_H
#define POSTRIDER_REPORT_SHAPE_H

#include "engine/config.h"

/* Appends the event; false, and nothing appended, when the shape has no word for it, or no memory. */
bool shape_event(enum config_shape shape, const struct event *event, const char *hostname, struct buf *out);
/* How many events a request may hold. */
bool shape_is_single(enum config_shape shape);

struct shape_context {
    const struct config_consumer *consumer;
    struct str secret; /* Mailgun's signing key */
    int64_t now_ms;
};
/* The body of n events, as shape_event made them; seq: of the first. */
bool shape_body(const struct shape_context *context, uint64_t seq, const struct str *events, size_t n,
                struct buf *out);
/* Further headers, each a line without its end, that go with that body: up to SHAPE_HEADERS_MAX. */
#define SHAPE_HEADERS_MAX 4
#define SHAPE_HEADER_SIZE 256
unsigned shape_headers(const struct shape_context *context, uint64_t seq,
                       char headers[SHAPE_HEADERS_MAX][SHAPE_HEADER_SIZE]);

#endif
