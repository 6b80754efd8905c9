/* fuzz_submission.c - an SMTP client that says anything: the input's first byte says who it is, and how what
 * it says is cut into pieces, the rest is said. However it is cut, the replies and what is taken are the
 * same; each line of the replies begins with a code; no message that is taken holds a CR or LF alone unless
 * it is BINARYMIME, or comes from somebody who may not send it. */
#include "engine/submission/dialogue.h"
#include "tests/fuzz/fuzz.h"

static const char *const returns[] = {"bounce.test"};
static const struct config_submission config = {.max_size = 3000,
                                                .max_connections = 1,
                                                .max_recipients = 5,
                                                .max_errors = 30,
                                                .max_commands = 100,
                                                .return_domains = {(const char **)(uintptr_t)returns, 1}};
static const struct dialogue_rules rules = {"mx.test", &config, true, true};
static const struct now now = {1, INT64_C(1700000000000)};

static void judge_message(const struct dialogue *dialogue)
{
    const struct parcel *parcel = &dialogue->parcel;
    struct str text = buf_str(&parcel->message);
    struct rcpt_spec rcpt;
    size_t at = 0;
    unsigned count = 0;
    CLAIM(parcel->begun && text.n <= config.max_size);
    while (parcel_next_rcpt(parcel, &at, &rcpt)) {
        count++;
        CLAIM(rcpt.to.n > 0 && rcpt.domain.n > 0 && str_find(rcpt.to, '\r', 0) == SIZE_MAX);
        CLAIM(dialogue_authorised(dialogue) || str_eq(rcpt.domain, STR("bounce.test")));
    }
    CLAIM(count == parcel->rcpt_count && count > 0 && count <= config.max_recipients);
    for (size_t i = 0; parcel->body != PARCEL_BINARY && i < text.n; i++) {
        CLAIM(text.p[i] != '\n' || (i > 0 && text.p[i - 1] == '\r'));
        CLAIM(text.p[i] != '\r' || (i + 1 < text.n && text.p[i + 1] == '\n'));
    }
}

static void judge_replies(struct str out)
{
    while (out.n > 0) {
        size_t lf = str_find(out, '\n', 0);
        CLAIM(lf != SIZE_MAX && lf >= 4 && out.p[lf - 1] == '\r' && lf < 512);
        CLAIM(out.p[0] >= '2' && out.p[0] <= '5' && (out.p[3] == ' ' || out.p[3] == '-'));
        for (size_t i = 0; i + 1 < lf; i++)
            CLAIM(out.p[i] >= ' ' && out.p[i] < 0x7f);
        out = str_make(out.p + lf + 1, out.n - lf - 1);
    }
}

/* What the owner does. True: it goes on. */
static bool act(struct dialogue *dialogue, enum dialogue_event event, struct buf *out, struct buf *taken)
{
    switch (event) {
    case DIALOGUE_MORE:
        return true;
    case DIALOGUE_TLS:
        dialogue_secured(dialogue);
        return true;
    case DIALOGUE_LOGIN:
        event = dialogue_login(dialogue, dialogue->login->user[0] == 'a' ? LOGIN_GOOD : LOGIN_WRONG, out);
        return event == DIALOGUE_MORE;
    case DIALOGUE_RETRY:
        return dialogue_retried(dialogue, true, out) == DIALOGUE_MORE;
    case DIALOGUE_MESSAGE:
        judge_message(dialogue);
        buf_add_str(taken, buf_str(&dialogue->parcel.message));
        return dialogue_taken(dialogue, true, "250 2.0.0 queued", out) == DIALOGUE_MORE;
    case DIALOGUE_CLOSE:
        break;
    }
    return false;
}

static void run(struct str text, size_t piece, unsigned how, struct buf *all, struct buf *taken)
{
    struct dialogue dialogue;
    struct buf out;
    bool on = true;
    buf_init(&out, 1 << 20);
    dialogue_begin(&dialogue, &rules, how & 1, how & 2, &out);
    while (on && text.n > 0) {
        struct str part = fuzz_piece(&text, piece);
        char *copy = fuzz_copy(part);
        struct str rest = str_make(copy, part.n);
        while (on && rest.n > 0) {
            enum dialogue_event event = dialogue_feed(&dialogue, &rest, &out, now);
            if (event == DIALOGUE_TLS && rest.n + text.n > 0)
                on = false; /* a handshake would come now */
            on = on && act(&dialogue, event, &out, taken);
            buf_add_str(all, buf_str(&out));
            buf_clear(&out);
        }
        free(copy);
    }
    dialogue_end(&dialogue, "421 4.3.2 the end", &out);
    buf_add_str(all, buf_str(&out));
    judge_replies(buf_str(all));
    dialogue_free(&dialogue);
    buf_free(&out);
}

/* What follows it within its piece counts: there all must be one. */
static bool has_starttls(struct str text)
{
    for (size_t i = 0; i < text.n; i++)
        if (str_starts_nocase(str_make(text.p + i, text.n - i), STR("STARTTLS")))
            return true;
    return false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str text = fuzz_rest(data, size);
    uint8_t how = fuzz_byte(&text);
    struct buf replies[2], taken[2];
    bool whole = has_starttls(text);
    for (size_t i = 0; i < 2; i++) {
        buf_init(&replies[i], 1 << 24);
        buf_init(&taken[i], 1 << 24);
        run(text, i == 0 || whole ? size + 1 : 1U + (how >> 2), how, &replies[i], &taken[i]);
    }
    CLAIM(str_eq(buf_str(&replies[0]), buf_str(&replies[1])));
    CLAIM(str_eq(buf_str(&taken[0]), buf_str(&taken[1])));
    for (size_t i = 0; i < 2; i++) {
        buf_free(&replies[i]);
        buf_free(&taken[i]);
    }
    return 0;
}
