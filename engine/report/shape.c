/* shape.c - see shape.h. The forms are those of listmonk's documentation (Bounce processing, Webhook API),
 * Mailgun's (Webhook Payloads, Securing Webhooks) and Amazon's (SES: SNS notification contents; SNS: HTTP and
 * HTTPS notification JSON format). */
#include "engine/report/shape.h"

#include "engine/base/js.h"
#include "engine/report/event_json.h"
#include "engine/report/registry.h"
#include "engine/tls/digest.h"

#include <inttypes.h>
#include <stdio.h>

#define TOKEN_SIZE 50 /* of Mailgun's */
#define UUID_SIZE  36
#define HEX_SIZE   (2 * DIGEST_SIZE)

/* ---- what they share ---- */

/* The address itself is no good: whoever keeps a list takes it off. */
static bool is_hard(const struct event *event)
{
    enum bounce_category category = event_category(event);
    return category == BOUNCE_BAD_MAILBOX || category == BOUNCE_BAD_DOMAIN ||
           category == BOUNCE_INACTIVE_MAILBOX;
}

static void set_text(json_t *object, const char *name, struct str text)
{
    js_set(object, name, js_text(text));
}

static void set_z(json_t *object, const char *name, const char *text)
{
    js_set(object, name, json_string(text));
}

static json_t *rid_json(const struct event *event)
{
    char rid[RID_TEXT_MAX];
    return json_stringn_nocheck(rid, rid_format(event->rid, rid));
}

static void hex_of(const uint8_t *bytes, size_t n, char *hex)
{
    for (size_t i = 0; i < n; i++)
        snprintf(hex + 2 * i, 3, "%02x", bytes[i]);
}

static size_t seq_text(uint64_t seq, const char *consumer, char text[NAME_MAX_BYTES + 32])
{
    return (size_t)snprintf(text, NAME_MAX_BYTES + 32, "%s %" PRIu64, consumer, seq);
}

/* ---- listmonk ---- */

static bool is_uuid(struct str text)
{
    for (size_t i = 0; i < text.n; i++) {
        bool dash = i == 8 || i == 13 || i == 18 || i == 23;
        char c = ascii_lower(text.p[i]);
        if (dash ? c != '-' : !((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f')))
            return false;
    }
    return text.n == UUID_SIZE;
}

static json_t *listmonk_event(const struct event *event)
{
    struct buf meta;
    json_t *root;
    if (!event_is_failure(event) && event->type != EVENT_COMPLAINED)
        return NULL;
    root = json_object();
    buf_init(&meta, RCPT_LINE_MAX);
    event_json(event, &meta);
    set_text(root, "email", event->to);
    if (is_uuid(event->id))
        set_text(root, "subscriber_uuid", event->id);
    if (is_uuid(event->campaign))
        set_text(root, "campaign_uuid", event->campaign);
    set_z(root, "source", "postrider");
    set_z(root, "type", !event_is_failure(event) ? "complaint" : is_hard(event) ? "hard" : "soft");
    js_set(root, "created_at", js_time(event->time_ms));
    set_text(root, "meta", buf_str(&meta)); /* JSON within a string, as it is documented */
    buf_free(&meta);
    return root;
}

/* ---- Mailgun ---- */

struct mailgun_words {
    const char *event, *severity, *reason, *level;
};

/* NULL where it has no word. */
static const struct mailgun_words *mailgun_words(enum event_type type)
{
    static const struct mailgun_words words[EVENT_TYPES] = {
        [EVENT_ACCEPTED] = {"accepted", NULL, NULL, "info"},
        [EVENT_DELIVERED] = {"delivered", NULL, NULL, "info"},
        [EVENT_DEFERRED] = {"failed", "temporary", "generic", "warn"},
        [EVENT_BOUNCED] = {"failed", "permanent", "bounce", "error"},
        [EVENT_BOUNCED_LATE] = {"failed", "permanent", "bounce", "error"},
        [EVENT_EXPIRED] = {"failed", "permanent", "old", "error"},
        [EVENT_SUPPRESSED] = {"failed", "permanent", "suppress-bounce", "error"},
        [EVENT_COMPLAINED] = {"complained", NULL, NULL, "warn"},
    };
    return words[type].event != NULL ? &words[type] : NULL;
}

static json_t *mailgun_delivery(const struct event *event)
{
    char status[STATUS_TEXT_MAX] = "";
    json_t *delivery = json_object();
    if (event->status.class_ != 0)
        status_format(event->status, status);
    js_set_int(delivery, "code", event->code);
    set_text(delivery, "message", event->reply);
    set_z(delivery, "description", event_is_failure(event) ? registry_phrase(event->status) : "");
    set_z(delivery, "enhanced-code", status);
    js_set_int(delivery, "attempt-no", event->attempt);
    set_text(delivery, "mx-host", event->mx);
    js_set(delivery, "tls", json_boolean(event->tls.n > 0));
    js_set(delivery, "session-seconds", json_real(event->delay_ms > 0 ? event->delay_ms / 1000.0 : 0));
    if (event->type == EVENT_DEFERRED && event->next_ms > event->time_ms)
        js_set_int(delivery, "retry-seconds", (uint64_t)(event->next_ms - event->time_ms) / 1000);
    return delivery;
}

static json_t *mailgun_message(const struct event *event)
{
    json_t *message = json_object(), *headers = json_object();
    js_set(headers, "message-id", rid_json(event));
    set_text(headers, "to", event->to);
    js_set(message, "headers", headers);
    js_set(message, "attachments", json_array());
    return message;
}

static json_t *mailgun_event(const struct event *event)
{
    const struct mailgun_words *words = mailgun_words(event->type);
    if (words == NULL)
        return NULL;
    json_t *root = json_object(), *envelope = json_object(), *tags = json_array();
    set_z(root, "event", words->event);
    if (words->severity != NULL) {
        set_z(root, "severity", words->severity);
        set_z(root, "reason", words->reason);
    }
    js_set(root, "id", js_id(event->seq));
    js_set(root, "timestamp", json_real((double)event->time_ms / 1000.0));
    set_z(root, "log-level", words->level);
    set_text(root, "recipient", event->to);
    set_text(root, "recipient-domain", event->domain);
    set_text(envelope, "sender", event->from);
    set_text(envelope, "targets", event->to);
    set_z(envelope, "transport", "smtp");
    js_set(root, "envelope", envelope);
    if (event->type != EVENT_ACCEPTED && event->type != EVENT_COMPLAINED)
        js_set(root, "delivery-status", mailgun_delivery(event));
    js_set(root, "message", mailgun_message(event));
    if (event->campaign.n > 0)
        json_array_append_new(tags, js_text(event->campaign));
    js_set(root, "tags", tags);
    js_set(root, "user-variables", js_parsed(event->metadata));
    return root;
}

/* {"signature":{…},"event-data":{…}}: HMAC-SHA256 of timestamp and token, one behind the other. */
static bool mailgun_body(const struct shape_context *context, uint64_t seq, struct str event, struct buf *out)
{
    char name[NAME_MAX_BYTES + 32], token[HEX_SIZE + 1], signature[HEX_SIZE + 1], time[STR_U64_MAX];
    uint8_t digest[DIGEST_SIZE];
    struct digest_piece pieces[2] = {{name, seq_text(seq, context->consumer->name, name)}};
    digest_hmac(context->secret.p, context->secret.n, pieces, 1, digest);
    hex_of(digest, sizeof digest, token);
    pieces[0] = (struct digest_piece){time, str_put_u64(time, (uint64_t)(context->now_ms / MS_PER_S))};
    pieces[1] = (struct digest_piece){token, TOKEN_SIZE};
    digest_hmac(context->secret.p, context->secret.n, pieces, 2, digest);
    hex_of(digest, sizeof digest, signature);
    buf_printf(
        out,
        "{\"signature\":{\"timestamp\":\"%.*s\",\"token\":\"%.*s\",\"signature\":\"%s\"},\"event-data\":",
        (int)pieces[0].n, time, TOKEN_SIZE, token, signature);
    buf_add_str(out, event);
    return buf_add_char(out, '}');
}

/* ---- SES ---- */

static const char *ses_bounce_subtype(const struct event *event)
{
    enum bounce_category category = event_category(event);
    bool too_large = (event->status.subject == 2 && event->status.detail == 3) ||
                     (event->status.subject == 3 && event->status.detail == 4);
    if (category == BOUNCE_QUOTA_ISSUES)
        return "MailboxFull";
    if (category == BOUNCE_CONTENT_RELATED || category == BOUNCE_VIRUS_RELATED)
        return too_large ? "MessageTooLarge" : "ContentRejected";
    return "General";
}

static json_t *ses_recipients(const struct event *event, bool with_status)
{
    char status[STATUS_TEXT_MAX] = "";
    json_t *list = json_array(), *rcpt = json_object();
    set_text(rcpt, "emailAddress", event->to);
    if (with_status) {
        struct buf words;
        if (event->status.class_ != 0)
            status_format(event->status, status);
        buf_init(&words, RCPT_LINE_MAX);
        buf_printf(&words, "smtp; %.*s", STR_ARG(event->reply));
        set_z(rcpt, "action", "failed");
        set_z(rcpt, "status", status);
        set_text(rcpt, "diagnosticCode", buf_str(&words));
        buf_free(&words);
    }
    json_array_append_new(list, rcpt);
    return list;
}

static json_t *ses_mail(const struct event *event)
{
    json_t *mail = json_object(), *destination = json_array();
    js_set(mail, "timestamp", js_time(event->created_ms));
    set_text(mail, "source", event->from);
    js_set(mail, "messageId", rid_json(event));
    json_array_append_new(destination, js_text(event->to));
    js_set(mail, "destination", destination);
    return mail;
}

static json_t *ses_mta(const char *hostname)
{
    char text[DOMAIN_MAX + 8];
    snprintf(text, sizeof text, "dns; %s", hostname);
    return json_string(text);
}

static json_t *ses_bounce(const struct event *event, const char *hostname)
{
    json_t *bounce = json_object();
    set_z(bounce, "bounceType", is_hard(event) ? "Permanent" : "Transient");
    set_z(bounce, "bounceSubType", is_hard(event) ? "General" : ses_bounce_subtype(event));
    js_set(bounce, "bouncedRecipients", ses_recipients(event, true));
    js_set(bounce, "timestamp", js_time(event->time_ms));
    js_set(bounce, "feedbackId", js_id(event->seq));
    js_set(bounce, "reportingMTA", ses_mta(hostname));
    return bounce;
}

static json_t *ses_delivery(const struct event *event, const char *hostname)
{
    json_t *delivery = json_object(), *list = json_array();
    int64_t took_ms = event->time_ms > event->created_ms ? event->time_ms - event->created_ms : 0;
    json_array_append_new(list, js_text(event->to));
    js_set(delivery, "timestamp", js_time(event->time_ms));
    js_set_int(delivery, "processingTimeMillis", (uint64_t)took_ms);
    js_set(delivery, "recipients", list);
    set_text(delivery, "smtpResponse", event->reply);
    js_set(delivery, "reportingMTA", ses_mta(hostname));
    return delivery;
}

static json_t *ses_complaint(const struct event *event)
{
    json_t *complaint = json_object();
    js_set(complaint, "complainedRecipients", ses_recipients(event, false));
    js_set(complaint, "timestamp", js_time(event->time_ms));
    js_set(complaint, "feedbackId", js_id(event->seq));
    js_set(complaint, "complaintSubType", json_null());
    set_z(complaint, "complaintFeedbackType", "abuse");
    return complaint;
}

static json_t *ses_event(const struct event *event, const char *hostname)
{
    json_t *root = NULL;
    if (event_is_failure(event)) {
        root = json_object();
        set_z(root, "notificationType", "Bounce");
        js_set(root, "bounce", ses_bounce(event, hostname));
    } else if (event->type == EVENT_DELIVERED) {
        root = json_object();
        set_z(root, "notificationType", "Delivery");
        js_set(root, "delivery", ses_delivery(event, hostname));
    } else if (event->type == EVENT_COMPLAINED) {
        root = json_object();
        set_z(root, "notificationType", "Complaint");
        js_set(root, "complaint", ses_complaint(event));
    }
    if (root != NULL)
        js_set(root, "mail", ses_mail(event));
    return root;
}

/* Version 8 of RFC 9562: made of a digest. */
static void sns_message_id(const struct shape_context *context, uint64_t seq, char uuid[UUID_SIZE + 1])
{
    char name[NAME_MAX_BYTES + 32], hex[HEX_SIZE + 1];
    uint8_t digest[DIGEST_SIZE];
    digest_of(name, seq_text(seq, context->consumer->name, name), digest);
    digest[6] = (uint8_t)(0x80 | (digest[6] & 0x0f));
    digest[8] = (uint8_t)(0x80 | (digest[8] & 0x3f));
    hex_of(digest, 16, hex);
    snprintf(uuid, UUID_SIZE + 1, "%.8s-%.4s-%.4s-%.4s-%.12s", hex, hex + 8, hex + 12, hex + 16, hex + 20);
}

#define SNS_TOPIC "arn:aws:sns:us-east-1:000000000000:postrider-"

static bool ses_body(const struct shape_context *context, uint64_t seq, struct str event, struct buf *out)
{
    char uuid[UUID_SIZE + 1];
    json_t *root = json_object();
    struct buf topic;
    sns_message_id(context, seq, uuid);
    buf_init(&topic, SHAPE_HEADER_SIZE);
    buf_printf(&topic, SNS_TOPIC "%s", context->consumer->name);
    set_z(root, "Type", "Notification");
    set_z(root, "MessageId", uuid);
    set_text(root, "TopicArn", buf_str(&topic));
    set_text(root, "Message", event);
    js_set(root, "Timestamp", js_time(context->now_ms));
    set_z(root, "SignatureVersion", "1");
    set_z(root, "Signature", "");
    set_z(root, "SigningCertURL", "");
    set_z(root, "UnsubscribeURL", "");
    buf_free(&topic);
    return js_write(out, root);
}

/* ---- all of them ---- */

bool shape_event(enum config_shape shape, const struct event *event, const char *hostname, struct buf *out)
{
    size_t before = out->len;
    bool done = false;
    json_t *root = NULL;
    switch (shape) {
    case CONFIG_SHAPE_NATIVE:
        done = event_json(event, out);
        break;
    case CONFIG_SHAPE_LISTMONK:
        root = listmonk_event(event);
        break;
    case CONFIG_SHAPE_MAILGUN:
        root = mailgun_event(event);
        break;
    case CONFIG_SHAPE_SES:
        root = ses_event(event, hostname);
        break;
    }
    if (root != NULL)
        done = js_write(out, root);
    if (done)
        return true;
    out->len = before;
    out->failed = false;
    return false;
}

bool shape_is_single(enum config_shape shape)
{
    return shape != CONFIG_SHAPE_NATIVE;
}

bool shape_body(const struct shape_context *context, uint64_t seq, const struct str *events, size_t n,
                struct buf *out)
{
    enum config_shape shape = context->consumer->shape;
    if (shape == CONFIG_SHAPE_LISTMONK)
        return buf_add_str(out, events[0]);
    if (shape == CONFIG_SHAPE_MAILGUN)
        return mailgun_body(context, seq, events[0], out);
    if (shape == CONFIG_SHAPE_SES)
        return ses_body(context, seq, events[0], out);
    buf_add_z(out, "{\"consumer\":");
    js_add_text(out, str_of(context->consumer->name));
    buf_add_z(out, ",\"events\":[");
    for (size_t i = 0; i < n; i++) {
        buf_add_z(out, i > 0 ? ",\n" : "\n");
        buf_add_str(out, events[i]);
    }
    return buf_add_z(out, "\n]}\n");
}

unsigned shape_headers(const struct shape_context *context, uint64_t seq,
                       char headers[SHAPE_HEADERS_MAX][SHAPE_HEADER_SIZE])
{
    char uuid[UUID_SIZE + 1];
    bool ses = context->consumer->shape == CONFIG_SHAPE_SES;
    snprintf(headers[0], SHAPE_HEADER_SIZE, "Content-Type: %s",
             ses ? "text/plain; charset=UTF-8" : "application/json");
    if (!ses)
        return 1;
    sns_message_id(context, seq, uuid);
    snprintf(headers[1], SHAPE_HEADER_SIZE, "x-amz-sns-message-type: Notification");
    snprintf(headers[2], SHAPE_HEADER_SIZE, "x-amz-sns-message-id: %s", uuid);
    snprintf(headers[3], SHAPE_HEADER_SIZE, "x-amz-sns-topic-arn: " SNS_TOPIC "%s", context->consumer->name);
    return 4;
}
