/* stage.c - see stage.h. */
#include "bench/world/stage.h"

#include <stdio.h>

/* "250 2.1.5 text", or "250-2.1.5 text" where more follows. */
static void say_line(struct buf *out, unsigned code, char before, struct str status, struct str text)
{
    char *p = buf_room(out, 4 + status.n + 1 + text.n + 2);
    if (p == NULL)
        return; /* out->failed ends the session */
    char *const from = p;
    *p++ = (char)('0' + code / 100 % 10);
    *p++ = (char)('0' + code / 10 % 10);
    *p++ = (char)('0' + code % 10);
    *p++ = before;
    if (status.p && status.n) {
        memcpy(p, status.p, status.n);
        p += status.n;
        *p++ = ' ';
    }
    if (text.p)
        memcpy(p, text.p, text.n);
    p += text.n;
    *p++ = '\r';
    *p++ = '\n';
    out->len += (size_t)(p - from);
}

static void say_lines(struct session *s, unsigned code, const char *status, struct str text)
{
    struct str enhanced = s->host->character->no_enhanced ? STR("") : str_of(status);
    for (;;) {
        size_t end = str_find(text, '\n', 0);
        struct str line = str_make(text.p, end == SIZE_MAX ? text.n : end);
        say_line(&s->world->out, code, end == SIZE_MAX ? ' ' : '-', enhanced, line);
        if (end == SIZE_MAX)
            break;
        text = str_make(text.p + end + 1, text.n - end - 1);
    }
    s->pause_ns = (int64_t)s->host->character->reply_delay_ms * NS_PER_MS;
    if (code >= 400)
        counts_refused(&s->host->counts, code);
    if (code == 421)
        s->end = END_LINGER;
}

void violate(struct session *s, enum violation violation, struct str what)
{
    char text[128];
    snprintf(text, sizeof text, "%.*s", (int)(what.n < 120 ? what.n : 120), what.p ? what.p : "");
    counts_violation(&s->host->counts, violation, s->host->name, s->number, text);
}

void say(struct session *s, unsigned code, const char *status, const char *text)
{
    say_lines(s, code, status, str_of(text));
}

void say_good(struct session *s, const struct rule *words, unsigned code, const char *status,
              const char *text)
{
    if (words)
        say_lines(s, words->code, "", str_of(words->text));
    else
        say_lines(s, code, status, str_of(text));
}

struct str local_part(struct str address)
{
    size_t at = address.n;
    while (at > 0 && address.p[at - 1] != '@')
        at--;
    return at > 0 ? str_make(address.p, at - 1) : address;
}

static uint64_t address_key(struct str address)
{
    char lower[WORLD_ADDRESS_MAX];
    size_t n = address.n < sizeof lower ? address.n : sizeof lower;
    for (size_t i = 0; i < n; i++)
        lower[i] = ascii_lower(address.p[i]);
    return str_hash(str_make(lower, n));
}

bool stage_drawn(const struct session *s, uint32_t odds, uint64_t salt, struct str address)
{
    if (odds == 0 || odds == ODDS_ALWAYS)
        return odds != 0;
    uint64_t key = mix(mix(s->host->identity, salt + s->world->scenario.seed), address_key(address));
    return (uint32_t)(key >> 32) < odds;
}

bool stage_chance(struct session *s, uint32_t odds)
{
    return odds == ODDS_ALWAYS || (odds && (uint32_t)(prng_next(&s->world->prng) >> 32) < odds);
}

/* Counts the use of a rule that holds a number of times only. */
static bool times_left(struct session *s, const struct rule *rule, uint64_t salt, struct str address)
{
    if (rule->times == 0)
        return true;
    int64_t *used = memory_at(&s->world->memory, mix(mix(s->host->identity, ~salt), address_key(address)));
    if (used == NULL || *used >= rule->times)
        return false;
    ++*used;
    return true;
}

static const struct rule *find_rule(struct session *s, enum stage stage, struct str address)
{
    const struct character *character = s->host->character;
    for (uint32_t i = 0; i < character->rules_used; i++) {
        const struct rule *rule = &character->rules[i];
        if (rule->at != stage || (rule->match && !str_glob_nocase(str_of(rule->match), local_part(address))))
            continue;
        if (!(rule->by_recipient ? stage_drawn(s, rule->odds, i + 16, address) : stage_chance(s, rule->odds)))
            continue;
        if (times_left(s, rule, i, address))
            return rule;
    }
    return NULL;
}

static void reject(struct session *s, enum stage stage)
{
    if (stage == STAGE_CONNECT) {
        say(s, 554, "5.7.1", "No mail is accepted here");
        s->end = END_LINGER;
    } else if (stage == STAGE_EHLO) {
        say(s, 550, "5.7.1", "No mail is accepted from you");
    } else {
        say(s, 550, "5.7.1", "Rejected");
    }
}

bool stage_pass(struct session *s, enum stage stage, struct str address, const struct rule **words)
{
    const struct character *character = s->host->character;
    *words = NULL;
    if (character->silent_at == stage) {
        s->state = SESSION_SILENT;
        return false;
    }
    if (character->close_at == stage && stage_chance(s, character->close_odds)) {
        s->end = END_NOW;
        return false;
    }
    if (character->reject_at == stage) {
        reject(s, stage);
        return false;
    }
    const struct rule *rule = find_rule(s, stage, address);
    if (rule == NULL)
        return true;
    switch (rule->action) {
    case ACTION_REPLY:
        if (rule->code < 400) {
            *words = rule;
            return true;
        }
        say_lines(s, rule->code, "", str_of(rule->text));
        if (stage == STAGE_CONNECT)
            s->end = END_LINGER;
        return false;
    case ACTION_CLOSE:
        s->end = END_NOW;
        return false;
    case ACTION_LOSE_REPLY:
        *words = rule;
        return true;
    case ACTION_SILENCE:
        s->state = SESSION_SILENT;
        return false;
    }
    return true;
}
