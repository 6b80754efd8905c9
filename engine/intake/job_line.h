/* job_line.h - a job line, see postrider-api(7), to what the store wants: a spec and a compiled message.
 *
 * Zero it, call job_line_read, use spec and template, call job_line_free, whatever job_line_read returned.
 * One thread. */
#ifndef POSTRIDER_INTAKE_JOB_LINE_H
#define POSTRIDER_INTAKE_JOB_LINE_H

#include "engine/base/js.h"
#include "engine/dkim/dkim.h"
#include "engine/intake/message_field.h"
#include "engine/intake/repeats.h"
#include "engine/tls/wish.h"
#include "queue/store.h"

struct job_rules {
    const struct config *config;
    const struct dkim *dkim; /* NULL: nothing is signed */
    struct str tenant;       /* who sends is bound to this tenant; empty: to none */
    struct repeats *repeats; /* a message that comes again gets a digest */
};

struct job_line {
    struct job_spec spec; /* content included; valid until job_line_free */
    struct str idempotency_key;
    struct template template; /* of the content, opened */
    struct buf warnings; /* of what was done to the message, or will be: JSON strings with commas between */
    struct message_spec message;
    bool has_from, has_bounces, has_dsn, wants_tls, wants_dkim;
    /* Private. */
    json_t *root;
    struct message_storage storage;
    const json_t *message_value;
    struct buf content, metadata;
    char pool[WISH_NAME_MAX];
};

/* For a job that comes without a line, over SMTP: job_line_begin, then whoever has it fills spec, message and
 * the has_… of what it says, then job_line_complete does the rest as for a line: what one thing says of
 * another, defaults, the compiled message. Ends with job_line_free too. */
void job_line_begin(struct job_line *job);
bool job_line_complete(struct job_line *job, const struct job_rules *rules, struct now now, struct err *err);

/* Takes over root, an object. False: err says what is wrong; nothing of the job can be used. */
bool job_line_read(struct job_line *job, json_t *root, const struct job_rules *rules, struct now now,
                   struct err *err);
void job_line_free(struct job_line *job);

/* For lines that are broken or have neither "message" nor "to": does this look like somebody's job rather
 * than a recipient? A job line taken for a recipient would give its recipients the job before. */
bool job_line_resembles(const json_t *object);
bool job_line_resembles_text(struct str line);

#endif
