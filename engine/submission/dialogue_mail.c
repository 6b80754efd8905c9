/* dialogue_mail.c - a transaction: MAIL, RCPT, and the message by DATA or BDAT (RFC 3030). */
#include "engine/submission/arguments.h"
#include "engine/submission/dialogue_parts.h"

#include <stdio.h>

#define TOO_CROWDED "452 4.3.1 too many messages are coming in: try again later"

static struct argument_rules argument_rules(const struct turn *turn)
{
    const struct dialogue *dialogue = turn->dialogue;
    return (struct argument_rules){.hostname = dialogue->rules->hostname,
                                   .size_max = dialogue->rules->config->max_size,
                                   .extended = dialogue->extended,
                                   .now = turn->now};
}

static bool may_mail(struct turn *turn)
{
    const struct dialogue *dialogue = turn->dialogue;
    const struct config_submission *config = dialogue->rules->config;
    if (dialogue->helo == NULL)
        return turn_refuse(turn, "503 5.5.1 say EHLO or HELO first");
    if (dialogue->parcel.begun)
        return turn_refuse(turn, "503 5.5.1 a message is begun already: RSET forgets it");
    if (config->require_tls && !dialogue->secured)
        return turn_refuse(turn, "530 5.7.0 STARTTLS first");
    if (config->require_auth && dialogue->user == NULL)
        return turn_refuse(turn, "530 5.7.0 log in first (AUTH)");
    if (dialogue->full)
        return turn_refuse(turn, "452 4.3.1 the queue is full, or memory out: try again later");
    if (config->max_messages > 0 && dialogue->messages >= config->max_messages)
        return turn_refuse(turn, "452 4.5.3 no more messages in this connection: open another");
    return true;
}

bool mail_command(struct turn *turn, struct str text)
{
    struct parcel *parcel = &turn->dialogue->parcel;
    struct argument_rules rules = argument_rules(turn);
    if (!may_mail(turn))
        return false;
    if (!arguments_mail(parcel, text, &rules, turn->out)) {
        dialogue_reset(turn->dialogue);
        return turn_count_error(turn);
    }
    parcel->begun = true;
    answer(turn->out, "250 2.1.0 ok");
    return true;
}

static bool is_return_domain(const struct config_submission *config, struct str domain)
{
    for (size_t i = 0; i < config->return_domains.count; i++)
        if (str_glob_nocase(str_of(config->return_domains.list[i]), domain))
            return true;
    return false;
}

/* Who it is for, and whether that may be: a reply that says no, or NULL. */
static const char *rcpt_refusal(const struct dialogue *dialogue, enum parcel_way way)
{
    const struct parcel *parcel = &dialogue->parcel;
    unsigned max = dialogue->rules->config->max_recipients;
    if (way == PARCEL_INBOUND && max > SUBMISSION_RETURNS_MAX)
        max = SUBMISSION_RETURNS_MAX;
    if (way == PARCEL_RELAY && !dialogue_authorised(dialogue))
        return dialogue->rules->has_users
                   ? "550 5.7.1 no mail is sent on for strangers: log in first (AUTH)"
                   : "550 5.7.1 no mail is sent on for strangers, and you are outside the networks allowed";
    if (dialogue->crowded)
        return TOO_CROWDED;
    if (parcel->rcpt_count >= max)
        return "452 4.5.3 no more recipients for this message: send it again for the others";
    if (parcel->way != PARCEL_NOBODY && parcel->way != way)
        return "452 4.5.3 mail to a return domain goes by itself: send it again for this one";
    return NULL;
}

bool rcpt_command(struct turn *turn, struct str text)
{
    struct dialogue *dialogue = turn->dialogue;
    struct parcel *parcel = &dialogue->parcel;
    struct argument_rules rules = argument_rules(turn);
    struct argument_rcpt rcpt;
    if (!parcel->begun || dialogue->chunked)
        return turn_refuse(turn, parcel->begun ? "503 5.5.1 the message has begun: RCPT comes before it"
                                               : "503 5.5.1 MAIL first");
    parcel->refused++;
    if (!arguments_rcpt(parcel, &rcpt, text, &rules, turn->out))
        return turn_count_error(turn);
    bool inbound = is_return_domain(dialogue->rules->config, rcpt.spec.domain);
    enum parcel_way way = inbound ? PARCEL_INBOUND : PARCEL_RELAY;
    const char *refusal = rcpt_refusal(dialogue, way);
    if (refusal != NULL)
        return turn_refuse(turn, refusal);
    if (!parcel_add_rcpt(parcel, &rcpt.spec))
        return turn_refuse(turn, "451 4.3.0 no memory: try again later");
    parcel->way = way;
    parcel->refused--;
    dialogue->commands = 0;
    answer(turn->out, "250 2.1.5 ok");
    return true;
}

/* A reply that says why no message may come now, or NULL. */
static const char *message_refusal(const struct dialogue *dialogue)
{
    const struct parcel *parcel = &dialogue->parcel;
    if (!parcel->begun)
        return "503 5.5.1 MAIL and RCPT first";
    if (parcel->rcpt_count == 0)
        return parcel->refused > 0 ? "554 5.5.1 no recipient was accepted" : "503 5.5.1 RCPT first";
    if (dialogue->crowded && !dialogue->chunked)
        return TOO_CROWDED;
    return NULL;
}

/* Room for most messages at once, instead of doubling up to it. */
static void message_reserve(struct dialogue *dialogue)
{
    struct buf *message = &dialogue->parcel.message;
    uint64_t size = dialogue->parcel.size + SUBMISSION_RESERVE_MIN;
    if (message->cap == 0 &&
        buf_room(message, size < SUBMISSION_RESERVE_MAX ? (size_t)size : SUBMISSION_RESERVE_MIN) == NULL)
        buf_clear(message); /* it is tried again as the message comes */
}

bool data_command(struct turn *turn, struct str text)
{
    struct dialogue *dialogue = turn->dialogue;
    const char *refusal = text.n > 0          ? "501 5.5.4 this command takes no argument"
                          : dialogue->chunked ? "503 5.5.1 the message comes by BDAT already"
                                              : message_refusal(dialogue);
    if (refusal == NULL && dialogue->parcel.body == PARCEL_BINARY)
        refusal = "503 5.5.1 a BINARYMIME message comes by BDAT (RFC 3030 3)";
    if (refusal != NULL)
        return turn_refuse(turn, refusal);
    dialogue->state = DIALOGUE_DATA;
    message_reserve(dialogue);
    answer(turn->out, "354 go on; end with a line that is a dot alone");
    return true;
}

/* ---- the message ---- */

/* Whole: what can be said of it without reading it. A reply that refuses it, or NULL. */
static const char *whole_refusal(const struct dialogue *dialogue, char text[ANSWER_MAX])
{
    const struct parcel *parcel = &dialogue->parcel;
    const struct data_reader *data = &dialogue->data;
    const struct config_submission *config = dialogue->rules->config;
    if (data->size > config->max_size) {
        snprintf(text, ANSWER_MAX, "552 5.3.4 a message may have %llu octets at most",
                 (unsigned long long)config->max_size);
        return text;
    }
    if (parcel->message.failed)
        return "451 4.3.0 no memory: try again later";
    if (parcel->message.len == 0)
        return "554 5.6.0 the message is empty";
    if (data->bare && parcel->body != PARCEL_BINARY) {
        snprintf(
            text, ANSWER_MAX,
            "554 5.6.0 line %llu of the message has a CR or LF alone: lines end with both (RFC 5321 2.3.8)",
            (unsigned long long)data->bare_line);
        return text;
    }
    if (data->nul && parcel->body != PARCEL_BINARY)
        return "554 5.6.0 the message holds a NUL (RFC 5322 4)";
    return NULL;
}

static void message_is_whole(struct turn *turn)
{
    struct dialogue *dialogue = turn->dialogue;
    char text[ANSWER_MAX];
    const char *refusal = whole_refusal(dialogue, text);
    dialogue->state = DIALOGUE_COMMAND;
    if (refusal == NULL) {
        turn_wait(turn, DIALOGUE_MESSAGE);
        return;
    }
    dialogue_reset(dialogue);
    turn_refuse(turn, refusal);
}

/* Of a bounce only the beginning is read. */
static struct buf *message_room(struct dialogue *dialogue, uint64_t *max)
{
    *max = dialogue->rules->config->max_size;
    if (dialogue->parcel.way == PARCEL_INBOUND && *max > NOTICE_MESSAGE_MAX)
        *max = NOTICE_MESSAGE_MAX;
    return &dialogue->parcel.message;
}

void data_take(struct turn *turn)
{
    struct dialogue *dialogue = turn->dialogue;
    uint64_t max;
    struct buf *message = message_room(dialogue, &max);
    dialogue->steps++;
    if (data_read(&dialogue->data, turn->in, message, max))
        message_is_whole(turn);
}

/* ---- BDAT ---- */

static bool read_chunk(struct str text, uint64_t *octets, bool *last)
{
    size_t blank = str_find(text, ' ', 0);
    struct str number = str_make(text.p, blank == SIZE_MAX ? text.n : blank);
    struct str rest = str_trim(str_make(text.p + number.n, text.n - number.n));
    *last = str_eq_nocase(rest, STR("LAST"));
    return str_u64(number, INT64_MAX, octets) && (*last || rest.n == 0);
}

static void chunk_is_over(struct turn *turn)
{
    struct dialogue *dialogue = turn->dialogue;
    dialogue->state = DIALOGUE_COMMAND;
    if (dialogue->broken) { /* its reply has been given */
        dialogue->broken = false;
        return;
    }
    if (!dialogue->last) {
        answer(turn->out, "250 2.0.0 so far");
        return;
    }
    data_check(&dialogue->data, buf_str(&dialogue->parcel.message));
    message_is_whole(turn);
}

void chunk_take(struct turn *turn)
{
    struct dialogue *dialogue = turn->dialogue;
    uint64_t max;
    struct buf *message = message_room(dialogue, &max);
    struct str *in = turn->in;
    size_t n = in->n < dialogue->chunk_left ? in->n : (size_t)dialogue->chunk_left;
    dialogue->steps++;
    if (!dialogue->broken) {
        dialogue->data.size += n;
        if (message->len < max)
            buf_add(message, in->p, n < max - message->len ? n : (size_t)(max - message->len));
    }
    dialogue->chunk_left -= n;
    *in = str_make(in->p + n, in->n - n);
    if (dialogue->chunk_left == 0)
        chunk_is_over(turn);
}

/* The octets come whatever is said: after a refusal they are skipped (RFC 3030 2). */
bool bdat_command(struct turn *turn, struct str text)
{
    struct dialogue *dialogue = turn->dialogue;
    const struct config_submission *config = dialogue->rules->config;
    uint64_t octets;
    bool last;
    if (!read_chunk(text, &octets, &last)) /* how much follows is not known: it would be taken for commands */
        return turn_close(turn, "501 5.5.4 expected BDAT octets or BDAT octets LAST: closing");
    const char *refusal = message_refusal(dialogue);
    if (refusal == NULL && (octets > config->max_size || dialogue->data.size + octets > config->max_size))
        refusal = "552 5.3.4 the message is too large";
    dialogue->chunk_left = octets;
    dialogue->last = last;
    dialogue->chunked = true;
    if (refusal != NULL) {
        dialogue_reset(dialogue);
        dialogue->broken = true;
        turn_refuse(turn, refusal);
    }
    if (dialogue->state != DIALOGUE_OVER)
        dialogue->state = DIALOGUE_CHUNK;
    if (octets == 0 && dialogue->state == DIALOGUE_CHUNK)
        chunk_is_over(turn);
    return refusal == NULL;
}
