/* message.c - see message.h. */
#include "bench/world/message.h"

#include "bench/world/stage.h"

struct str first_recipient(const struct session *s)
{
    size_t end = str_find(buf_str(&s->rcpts), '\n', 0);
    return end == SIZE_MAX ? STR("") : str_make(s->rcpts.data, end);
}

static void judge_data(struct session *s, const struct data_facts *facts)
{
    struct str what = first_recipient(s);
    if (s->declared && facts->size > s->declared)
        violate(s, VIOLATION_SIZE_UNDERSTATED, what);
    if (s->body_binary)
        return;
    if (facts->bare_cr)
        violate(s, VIOLATION_BARE_CR, what);
    if (facts->bare_lf)
        violate(s, VIOLATION_BARE_LF, what);
    if (facts->long_line)
        violate(s, VIOLATION_LONG_LINE, what);
    if (facts->undoubled_dot)
        violate(s, VIOLATION_UNDOUBLED_DOT, what);
    if (facts->eight_bit && !s->body_8bit)
        violate(s, VIOLATION_8BIT, what);
}

static void log_message(struct session *s, uint64_t size)
{
    struct world *world = s->world;
    char digest[DATA_DIGEST_MAX];
    data_digest(s->data, digest);
    struct delivery delivery = {.time_ms = world->loop.now.wall_ms,
                                .host = s->host->name,
                                .connection = s->number,
                                .helo = buf_str(&s->helo),
                                .from = buf_str(&s->from),
                                .size = size,
                                .digest = digest,
                                .tls = s->encrypted};
    struct str rest = buf_str(&s->rcpts);
    while (rest.n > 0) {
        size_t end = str_find(rest, '\n', 0);
        delivery_log_add(&world->log, &delivery, str_make(rest.p, end));
        rest = str_make(rest.p + end + 1, rest.n - end - 1);
    }
}

static void record_message(struct session *s, uint64_t size)
{
    struct data_parts parts = data_parts(s->data);
    struct record_slot slot = {.delivered_ns = (uint64_t)clock_now().mono_ns,
                               .head_digest = parts.head,
                               .body_digest = parts.body,
                               .size = size < UINT32_MAX ? (uint32_t)size : UINT32_MAX};
    recorder_add(&s->world->recorder, (const uint64_t *)(void *)s->numbers.data, s->recipients, &slot);
}

static void accept_message(struct session *s, uint64_t size)
{
    counts_message(&s->host->counts, s->world->loop.now.mono_ns, s->recipients, size, s->chunked);
    if (delivery_log_on(&s->world->log))
        log_message(s, size);
    if (recorder_on(&s->world->recorder) && data_has(s->data, DATA_PARTS))
        record_message(s, size);
}

bool message_came(struct session *s)
{
    const struct character *character = s->host->character;
    const struct rule *words;
    struct data_facts facts = data_facts(s->data);
    judge_data(s, &facts);
    s->messages++;
    if (!stage_pass(s, STAGE_DOT, first_recipient(s), &words))
        return false;
    if (!character->no_size && character->size && facts.size > character->size) {
        say(s, 552, "5.3.4", "The message is larger than is accepted here");
        return false;
    }
    accept_message(s, facts.size);
    if ((words && words->action == ACTION_LOSE_REPLY) || stage_chance(s, character->lose_reply_odds)) {
        for (struct counts *counts = &s->host->counts; counts; counts = counts->up)
            counts->lost_replies++;
        s->end = END_NOW;
        return true;
    }
    say_good(s, words, 250, "2.0.0", "Accepted");
    return true;
}
