/* template.h - a job's message: compiled once into a content record, rendered for every recipient.
 *
 * template_compile turns a message (raw, or fields) into a record: literal bytes in their final form (CRLF
 * line ends, folded, transfer-encoded, dot-stuffed) and between them the variables, each with the context it
 * stands in. The record is position independent and versioned; it is stored, read back as one block and
 * opened in place by template_open, which trusts nothing in it. template_render then lists the literals where
 * they lie and encodes only what variables bring.
 *
 * Variables. {{x}}, {{{x}}}, {{x|default}}, {{{x|default}}}, {{x|url}} and {{x|url|default}}, percent-encoded
 * for a URL, and, as Mailgun writes them, %recipient.x% and %recipient%; white space inside the braces is
 * ignored; a name is [A-Za-z_][A-Za-z0-9_.-]*, at most VAR_NAME_MAX. The default stands for a variable that
 * is absent or empty. to, rid, id and job are always there, and so is recipient_hash, 16 hexadecimal digits
 * that are the same for an address in whatever case and job. They are replaced in header fields (encoded as
 * RFC 2047 or as the field's syntax asks; Content-Type and Content-Transfer-Encoding may hold none) and in
 * parts of type text/ that are no attachments (Content-Disposition), whatever their transfer encoding; in
 * text/html {{x}} is escaped (& < > " ') and {{{x}}} is not. Elsewhere (attachments, other types, text
 * between parts) `{{` is only text. A part with variables is sent as UTF-8 in quoted-printable or base64,
 * whichever makes less of its text; one that declares another charset is refused.
 *
 * What is made right, whatever the input: any line end becomes CRLF, NUL goes away, body lines over
 * TEXT_LINE_MAX are re-encoded, header lines are folded at white space to 78 where that is possible and never
 * pass TEXT_LINE_MAX, a last line gets its CRLF, a byte order mark and an mbox "From " line at the start are
 * dropped, a body that follows the header without a blank line gets one, an 8-bit part that does not declare
 * itself so is re-encoded. Date, Message-ID and MIME-Version are added when absent. Bcc, Return-Path and
 * Received are taken out.
 *
 * Pure. A template may be used by any number of threads at once, a rendition by one at a time. Measured on
 * the two-core machine: 0.34 us to render a message of 4 KiB, or 20, with three variables in text, subject
 * and To. */
#ifndef POSTRIDER_MESSAGE_TEMPLATE_H
#define POSTRIDER_MESSAGE_TEMPLATE_H

#include "engine/base/buf.h"
#include "engine/base/err.h"
#include "engine/limits.h"
#include "engine/message/vars.h"

#include <sys/uio.h>

enum message_merge {
    MESSAGE_MERGE_AUTO, /* merge if a `{{` is where variables are replaced */
    MESSAGE_MERGE_YES,
    MESSAGE_MERGE_NO, /* `{{` is text everywhere, except in the `To: {{to}}` that stands for an absent `to` */
};

struct message_header {
    struct str name, value;
};

/* An entry of a List- field (RFC 2369, 2919); those of one field follow one another. */
struct message_list {
    const char *name; /* "List-Help"; the value of a List-Id is its id */
    struct str url;   /* without <>; an address alone becomes mailto: */
    struct str comment;
};

struct message_attachment {
    struct str filename, cid; /* with a cid it belongs to the html, which shows it by cid:… */
    struct str type;          /* absent: application/octet-stream */
    struct str content;       /* its bytes */
};

enum message_priority { MESSAGE_PRIORITY_UNSET, MESSAGE_PRIORITY_HIGH, MESSAGE_PRIORITY_LOW };
enum message_one_click { MESSAGE_ONE_CLICK_AUTO, MESSAGE_ONE_CLICK_YES, MESSAGE_ONE_CLICK_NO };

/* What a job says. A str whose p is NULL is absent. All text is UTF-8, with any line ends.
 *
 * Parts are put together as they need one another: multipart/mixed (multipart/alternative (text, amp,
 * multipart/related (html, what it shows)), attachments). An html without text gets one made of it
 * (html_text.h), unless text is there and empty. */
struct message_spec {
    struct str raw; /* a whole message (RFC 5322); when present the fields up to `headers` must be absent */

    struct str from;                     /* required, and so is text or html */
    struct str sender, to, cc, reply_to; /* address lists as in a header field; no `to`: "To: {{to}}" */
    struct str in_reply_to, references;  /* message ids, with or without angle brackets */
    struct str subject, text, html, amp; /* amp: for readers that know it, beside the others */
    const struct message_attachment *attachments;
    size_t attachment_count;
    const struct message_list *list;
    size_t list_count;
    /* List-Unsubscribe; and List-Unsubscribe-Post (RFC 8058), for AUTO where the url is https. */
    struct str unsubscribe_url, unsubscribe_mailto;
    enum message_one_click one_click;
    enum message_priority priority;
    /* Further fields; those above that are present, MIME-Version and Content-* may not be repeated here. */
    const struct message_header *headers;
    size_t header_count;

    /* Of a raw message that came over SMTP: whole lines that go before all others (its Received field). The
     * Received fields it brought stay, and what is for this engine alone (X-Postrider-) goes. */
    struct str trace;

    enum message_merge merge;
    struct str feedback_id; /* for an absent Feedback-ID; merged whatever `merge` says */
    bool seven_bit; /* leave nothing 8-bit. Rendering unstuffed, then compiling that as raw with seven_bit and
                     * MESSAGE_MERGE_NO, is the downgrade for a host without 8BITMIME */
    bool keep_binary;     /* of raw: a part that is declared as binary, and is no text, stays so where all
                           * multiparts that it is in are declared so, too: has_binary. For a host without
                           * BINARYMIME the downgrade is due */
    bool require_dkim;    /* kept for whoever sends it */
    int64_t date_ms;      /* for an absent Date, milliseconds since 1970 */
    struct str job;       /* the job's id, for an absent Message-ID that is the same for all */
    struct str id_domain; /* right of the @ of that Message-ID: the sender's domain or this host's name */
};

/* Appends the record to out, whose maximum (CONTENT_MAX) bounds it. On false out is as it was and err says
 * what is wrong with the message, with the line or field. */
bool template_compile(const struct message_spec *spec, struct buf *out, struct err *err);

/* What is known about a message before it is rendered. */
struct template_info {
    bool same_for_all;   /* no variables at all: one rendition serves every recipient */
    bool same_body;      /* none after the header */
    bool has_8bit;       /* body or header hold octets over 127: needs 8BITMIME */
    bool has_binary;     /* parts that only BDAT can carry, to hosts with BINARYMIME */
    bool needs_smtputf8; /* address fields hold raw UTF-8; through a variable too: see the rendition */
    bool removed_bcc, removed_return_path, removed_received; /* what the job had set and is not sent */
    bool lacks_from; /* a raw message without From: receivers refuse it */
    bool require_dkim;
    bool has_signature; /* a DKIM-Signature that the job brought */
    bool recoded;       /* a part has another transfer encoding than the job gave it */
    bool tls_optional;  /* "TLS-Required: No" */
    size_t same_begin;  /* octets after the header, the blank line too, up to the first variable; unstuffed */
    size_t size;        /* octets as SIZE counts them (CRLFs, no stuffing), variables as nothing: exact when
                      * same_for_all, a lower bound otherwise */
};

struct record; /* record.h */
struct record_name;
struct record_op;

/* An opened record. Embedded by its user, who keeps the block alive and unchanged meanwhile. Private but for
 * `info`. */
struct template
{
    struct template_info info;
    const struct record_op *ops;
    const struct record_name *names;
    const uint16_t *slots; /* hash table of names */
    const char *bytes;     /* literals, names, defaults */
    size_t op_count, body_op, name_count, slot_mask, required_count;
    size_t hash_name; /* of recipient_hash; SIZE_MAX: nothing asks for it */
};

/* `data` must be aligned as malloc aligns. False: damaged, or of another version; err says which. */
bool template_open(const void *data, size_t n, struct template *template, struct err *err);

/* The admission check: true, and the name, if a variable without default is not among vars. Fast: one pass
 * over vars with a hash lookup each. *name is valid as long as the record. */
bool template_missing(const struct template *template, struct str vars, struct str *name);

/* The domain of the author, lower case, A-labels: what DKIM signs for. */
enum template_from {
    TEMPLATE_FROM_NONE,  /* no From, or no address in it */
    TEMPLATE_FROM_FIXED, /* in *domain */
    TEMPLATE_FROM_VARIES /* From holds variables: known once a message is rendered */
};
enum template_from template_from_domain(const struct template *template, char domain[DOMAIN_MAX + 1]);
struct rendition;
enum template_from rendition_from_domain(const struct rendition *rendition, char domain[DOMAIN_MAX + 1]);

struct render_args {
    struct str first; /* fields that go before all others, whole lines; empty: none */
    struct str vars;  /* blob of vars.h */
    struct str to, rid, id, job;
    bool unstuffed; /* as the message is (BDAT, preview, DKIM), instead of dot-stuffed for DATA */
};

/* The message for one recipient as pieces in order. The pieces lie in the record or in the rendition (not in
 * the arguments), and are valid until the rendition's next use or the record's end. The last two bytes are
 * always CRLF, in both forms: after the stuffed one the caller sends ".\r\n" and nothing else to end DATA.
 * Zero it to begin; keep it for the next recipient, since its memory is reused. */
struct rendition {
    struct iovec *parts;
    size_t count;
    size_t header_count; /* of these make up the header, the blank line excluded */
    size_t size;         /* bytes in parts */
    size_t message_size; /* of the unstuffed form: what SIZE announces */
    bool has_8bit;
    bool needs_smtputf8;
    /* Private. */
    size_t capacity, value_capacity;
    struct buf bytes, text, encoded;
    char hash[17]; /* recipient_hash */
    struct str *values;
};

/* False when memory is out, RENDITION_MAX is passed or a variable without default is missing (ENOENT;
 * admission has checked that, so the row is damaged). */
bool template_render(const struct template *template, const struct render_args *args, struct rendition *out,
                     struct err *err);
/* Gives the memory back; the rendition may be used again. */
void rendition_free(struct rendition *rendition);

#endif
