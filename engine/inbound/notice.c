/* notice.c - see notice.h. Walks the parts of a message, keeps those that matter, and decides what it is: by
 * the parts for machines where there are any, else by the header and by words.
 *
 * The order in which that is asked: a report of any kind, whatever its Auto-Submitted says (delivery reports
 * are auto-replied themselves); a bounce in words from a mailer; an automatic reply; a bounce in words from
 * anybody. */
#include "engine/inbound/notice_parts.h"

#include "engine/message/decode.h"

#include <stdlib.h>

#define MEMORY_EXTRA (256 * 1024) /* for what is kept of fields and words, besides decoded parts */

static void walk(struct reading *reading, struct str entity, unsigned depth);

const char *notice_kind_name(enum notice_kind kind)
{
    static const char *const names[NOTICE_KINDS] = {
        [NOTICE_OTHER] = "other",         [NOTICE_BOUNCE] = "bounce",       [NOTICE_DELAY] = "delay",
        [NOTICE_SUCCESS] = "success",     [NOTICE_COMPLAINT] = "complaint", [NOTICE_FEEDBACK] = "feedback",
        [NOTICE_AUTOREPLY] = "autoreply", [NOTICE_RECEIPT] = "receipt",
    };
    return names[kind];
}

/* ---- shared ---- */

struct str reading_keep(struct reading *reading, struct str text)
{
    char *copy = text.n > 0 ? slab_take(reading->notice->memory, text.n) : NULL;
    if (copy == NULL)
        return STR("");
    memcpy(copy, text.p, text.n);
    return str_make(copy, text.n);
}

static const struct mime_field *find_field(const struct mime_fields *fields, struct str name)
{
    for (size_t i = 0; i < fields->count; i++)
        if (str_eq_nocase(fields->at[i].name, name))
            return &fields->at[i];
    return NULL;
}

static struct str keep_value(struct reading *reading, const struct mime_field *field)
{
    struct buf value;
    buf_init(&value, NOTICE_FIELD_MAX);
    struct str raw = str_trim(field->value);
    if (raw.n > NOTICE_FIELD_MAX / 2)
        raw.n = NOTICE_FIELD_MAX / 2;
    mime_unfold(raw, &value);
    struct str kept = reading_keep(reading, str_trim(buf_str(&value)));
    buf_free(&value);
    return kept;
}

struct str reading_field(struct reading *reading, const struct mime_fields *fields, const char *name)
{
    const struct mime_field *field = find_field(fields, str_of(name));
    return field != NULL ? keep_value(reading, field) : STR("");
}

/* Adds the addresses in text to a list that has none twice, as many as there is room for. */
static void add_addresses(struct str list[NOTICE_TO_MAX], size_t *count, struct str text)
{
    struct str address;
    for (size_t at = 0; *count < NOTICE_TO_MAX && address_find(text, &at, &address);) {
        size_t i = 0;
        while (i < *count && !str_eq_nocase(list[i], address))
            i++;
        if (i == *count)
            list[(*count)++] = address;
    }
}

struct notice_rcpt *reading_add_rcpt(struct reading *reading, enum notice_kind kind)
{
    struct notice *notice = reading->notice;
    if (notice->rcpt_count == NOTICE_RCPTS_MAX)
        return NULL;
    struct notice_rcpt *rcpt = &notice->rcpts[notice->rcpt_count++];
    *rcpt = (struct notice_rcpt){.kind = kind};
    return rcpt;
}

/* ---- parts ---- */

/* The body of a part without its transfer encoding. */
static struct str decoded(struct reading *reading, struct str encoding, struct str body)
{
    bool qp = str_eq_nocase(encoding, STR("quoted-printable"));
    if (!qp && !str_eq_nocase(encoding, STR("base64")))
        return body;
    struct buf out;
    buf_init(&out, NOTICE_MESSAGE_MAX + 64);
    bool done = qp ? qp_decode(body, &out) : base64_decode(body, &out);
    struct str kept = done ? reading_keep(reading, buf_str(&out)) : STR("");
    buf_free(&out);
    return kept;
}

static bool is_type(const struct mime_type *type, const char *main, const char *sub)
{
    return str_eq_nocase(type->type, str_of(main)) && str_eq_nocase(type->subtype, str_of(sub));
}

static void keep_part(struct reading *reading, const struct mime_type *type, struct str encoding,
                      struct str body)
{
    bool plain = type->type.n == 0 || is_type(type, "text", "plain");
    if (is_type(type, "message", "delivery-status") || is_type(type, "message", "global-delivery-status")) {
        if (reading->status.n == 0)
            reading->status = decoded(reading, encoding, body);
    } else if (is_type(type, "message", "feedback-report")) {
        if (reading->feedback.n == 0)
            reading->feedback = decoded(reading, encoding, body);
    } else if (is_type(type, "message", "disposition-notification") ||
               is_type(type, "message", "global-disposition-notification")) {
        reading->receipt = true;
    } else if (str_eq_nocase(type->type, STR("message")) || is_type(type, "text", "rfc822-headers") ||
               is_type(type, "text", "rfc822")) {
        if (reading->returned.n == 0) /* message/rfc822, global, global-headers, rfc822-headers */
            reading->returned = decoded(reading, encoding, body);
    } else if ((plain && (reading->text.n == 0 || reading->text_is_html)) ||
               (is_type(type, "text", "html") && reading->text.n == 0)) {
        reading->text = decoded(reading, encoding, body);
        reading->text_is_html = !plain;
    }
}

static void walk_multipart(struct reading *reading, const struct mime_type *type, struct str body,
                           unsigned depth)
{
    struct mime_parts parts;
    struct str preamble, part;
    if (!mime_parts_begin(&parts, body, str_make(type->boundary, type->boundary_n), &preamble))
        return;
    while (reading->parts < NOTICE_PARTS_MAX && mime_parts_next(&parts, &part)) {
        reading->parts++;
        walk(reading, part, depth + 1);
    }
}

/* An entity: the message itself (depth 0) or a part. One with more fields than MIME_FIELDS_MAX is read up to
 * there. */
static void walk(struct reading *reading, struct str entity, unsigned depth)
{
    struct mime_fields fields = {0};
    struct mime_type type;
    struct str body;
    struct err err;
    mime_read_header(entity, &fields, &body, &err);
    mime_parse_type(reading_field(reading, &fields, "Content-Type"), &type);
    struct str encoding = mime_token(reading_field(reading, &fields, "Content-Transfer-Encoding"));
    if (str_eq_nocase(type.type, STR("multipart")) && type.boundary_n > 0 && depth < MIME_DEPTH_MAX)
        walk_multipart(reading, &type, body, depth);
    else
        keep_part(reading, &type, encoding, body);
    if (depth == 0)
        reading->header = fields;
    else
        free(fields.at);
}

/* ---- what points at the recipient ---- */

static void add_to(struct reading *reading, struct str envelope_rcpt)
{
    static const char *const names[] = {"X-Original-To", "Delivered-To",   "Envelope-To",
                                        "X-Envelope-To", "X-Delivered-To", "X-Rcpt-To",
                                        "Apparently-To", "Resent-To",      "To"};
    struct notice *notice = reading->notice;
    add_addresses(notice->to, &notice->to_count, envelope_rcpt);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        for (size_t j = 0; j < reading->header.count; j++)
            if (str_eq_nocase(reading->header.at[j].name, str_of(names[i])) &&
                notice->to_count < NOTICE_TO_MAX)
                add_addresses(notice->to, &notice->to_count, keep_value(reading, &reading->header.at[j]));
}

/* "17-0-42" somewhere in it? */
static bool may_name_rid(struct str value)
{
    unsigned dashes = 0;
    bool digit = false;
    for (size_t i = 0; i < value.n; i++) {
        char c = value.p[i];
        if (c >= '0' && c <= '9') {
            digit = true;
            if (dashes == 2)
                return true;
        } else {
            dashes = c == '-' && digit ? dashes + 1 : 0;
            digit = false;
        }
    }
    return false;
}

static void add_trace(struct reading *reading, const struct mime_field *field)
{
    struct notice *notice = reading->notice;
    if (notice->trace_count < NOTICE_TRACES_MAX && may_name_rid(field->value))
        notice->traces[notice->trace_count++] = keep_value(reading, field);
}

/* The fields of these names, in the order of the names. */
static void add_traces(struct reading *reading, const struct mime_fields *fields, const char *const *first,
                       size_t count)
{
    for (size_t i = 0; i < count; i++)
        for (size_t j = 0; j < fields->count; j++)
            if (str_eq_nocase(fields->at[j].name, str_of(first[i])))
                add_trace(reading, &fields->at[j]);
}

static void read_returned(struct reading *reading)
{
    static const char *const first[] = {"Message-ID",      "Return-Path",      "X-Return-Path",
                                        "X-Envelope-From", "List-Unsubscribe", "Feedback-ID",
                                        "X-Feedback-ID",   "List-ID",          "Errors-To"};
    static const char *const named[] = {"X-HmXmrOriginalRecipient", "X-Original-To", "Delivered-To",
                                        "Envelope-To", "To"};
    struct notice *notice = reading->notice;
    struct mime_fields fields = {0};
    struct str body;
    struct err err;
    mime_read_header(reading->returned, &fields, &body, &err);
    add_traces(reading, &fields, first, sizeof first / sizeof *first);
    for (size_t i = 0; i < fields.count; i++)
        if (str_starts_nocase(fields.at[i].name, STR("X-")))
            add_trace(reading, &fields.at[i]);
    for (size_t i = 0; i < sizeof named / sizeof *named; i++) {
        struct str value = reading_field(reading, &fields, named[i]);
        add_addresses(notice->named, &notice->named_count, value);
        if (i == 0 && value.n > 0 && notice->rcpt_count == 0 && notice->kind == NOTICE_OTHER) {
            struct notice_rcpt *rcpt = reading_add_rcpt(reading, NOTICE_COMPLAINT);
            rcpt->reply = notice->feedback = STR("abuse");
            rcpt->address = value; /* Microsoft's junk mail reports: the message alone, with this field */
            notice->format = "jmrp";
        }
    }
    free(fields.at);
}

/* ---- what it is ---- */

static bool from_mailer(struct reading *reading)
{
    static const char *const names[] = {"mailer-daemon", "mail delivery",     "postmaster",
                                        "mail-daemon",   "mdaemon",           "maildaemon",
                                        "bounce",        "microsoftexchange", "mail administrator"};
    struct str from = reading_field(reading, &reading->header, "From");
    struct str path = reading_field(reading, &reading->header, "Return-Path");
    if (str_eq(path, STR("<>")))
        return true;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (text_has(from, names[i]))
            return true;
    return false;
}

static void read_subject(struct reading *reading)
{
    struct str raw = reading_field(reading, &reading->header, "Subject");
    struct buf text;
    bool foreign;
    buf_init(&text, NOTICE_FIELD_MAX);
    reading->subject =
        words_decode(raw, false, &text, &foreign) ? reading_keep(reading, buf_str(&text)) : raw;
    buf_free(&text);
}

/* Exim and others name in the header who failed; in which words stands in the text. */
static bool read_failed_recipients(struct reading *reading)
{
    struct str addresses[NOTICE_TO_MAX];
    size_t count = 0;
    add_addresses(addresses, &count, reading_field(reading, &reading->header, "X-Failed-Recipients"));
    for (size_t i = 0; i < count; i++) {
        struct notice *notice = reading->notice;
        size_t j = 0;
        while (j < notice->rcpt_count && !str_eq_nocase(notice->rcpts[j].address, addresses[i]))
            j++;
        struct notice_rcpt *rcpt = j == notice->rcpt_count ? reading_add_rcpt(reading, NOTICE_BOUNCE) : NULL;
        if (rcpt != NULL) {
            rcpt->address = addresses[i];
            rcpt->status = STATUS(5, 0, 0);
        }
    }
    return count > 0;
}

static void make_delays(struct notice *notice)
{
    for (size_t i = 0; i < notice->rcpt_count; i++)
        notice->rcpts[i].kind = NOTICE_DELAY;
}

/* Without a part for machines. */
static void read_prose(struct reading *reading)
{
    struct notice *notice = reading->notice;
    bool mailer = from_mailer(reading);
    bool delay = subject_of_delay(reading->subject);
    if (mailer || find_field(&reading->header, STR("X-Failed-Recipients")) != NULL) {
        bool words = read_words(reading);
        if (read_failed_recipients(reading) || words)
            notice->format = notice->format[0] ? notice->format : "words";
    }
    if (notice->rcpt_count == 0) {
        if (is_autoreply(reading))
            notice->kind = subject_of_receipt(reading->subject) ? NOTICE_RECEIPT : NOTICE_AUTOREPLY;
        else if ((delay || subject_of_bounce(reading->subject)) && read_words(reading))
            notice->format = notice->format[0] ? notice->format : "words";
    }
    if (delay)
        make_delays(notice);
}

static void classify(struct reading *reading)
{
    struct notice *notice = reading->notice;
    if (reading->feedback.n > 0) {
        notice->format = "arf";
        read_feedback(reading);
    } else if (reading->status.n > 0) {
        notice->format = "dsn";
        read_delivery_status(reading);
        for (size_t i = 0; i < notice->rcpt_count; i++)
            if (notice->rcpts[i].kind == NOTICE_BOUNCE && notice->rcpts[i].code == 0 &&
                notice->rcpts[i].status.subject == 0)
                read_words_of(reading, &notice->rcpts[i]);
    } else if (reading->receipt) {
        notice->kind = NOTICE_RECEIPT;
    } else {
        read_prose(reading);
    }
    if (reading->returned.n > 0)
        read_returned(reading);
    if (notice->rcpt_count > 0)
        notice->kind = notice->rcpts[0].kind;
}

/* Behind an mbox "From " line and blank lines. */
static struct str without_wrapping(struct str message)
{
    while (message.n > 0 && (message.p[0] == '\n' || message.p[0] == '\r' || message.p[0] == ' '))
        message = str_make(message.p + 1, message.n - 1);
    if (str_starts(message, STR("From ")) || str_starts(message, STR(">From "))) {
        size_t end = str_find(message, '\n', 0);
        end = end == SIZE_MAX ? message.n : end + 1;
        message = str_make(message.p + end, message.n - end);
    }
    return message;
}

bool notice_read(struct str message, struct str envelope_rcpt, struct notice *notice)
{
    static const char *const answered[] = {"In-Reply-To", "References"};
    struct reading reading = {
        .notice = notice, .text = STR(""), .status = STR(""), .feedback = STR(""), .returned = STR("")};
    if (message.n > NOTICE_MESSAGE_MAX)
        message.n = NOTICE_MESSAGE_MAX;
    *notice = (struct notice){.format = ""};
    notice->memory = slab_create(2 * message.n + MEMORY_EXTRA);
    if (notice->memory == NULL)
        return false;
    walk(&reading, without_wrapping(message), 0);
    read_subject(&reading);
    add_to(&reading, envelope_rcpt);
    classify(&reading);
    add_traces(&reading, &reading.header, answered, sizeof answered / sizeof *answered);
    free(reading.header.at);
    return true;
}

void notice_free(struct notice *notice)
{
    slab_unref(notice->memory);
    notice->memory = NULL;
}
