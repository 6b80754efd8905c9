/* fuzz_reply.c - what a receiver sends: replies in pieces of any size, the lines of its EHLO, what a reply
 * means. The same bytes cut differently are the same replies, and nothing but a 2xx is a delivery. */
#include "engine/smtp/ehlo.h"
#include "engine/smtp/reply.h"
#include "engine/smtp/verdict.h"
#include "tests/fuzz/fuzz.h"

#define REPLIES_MAX 64

struct heard {
    unsigned n, codes[REPLIES_MAX];
    size_t sizes[REPLIES_MAX];
    bool bad;
};

static void judge(const struct reply *reply, enum smtp_step step)
{
    static struct verdict verdict;
    verdict_of_reply(&verdict, step, reply->code, reply->text);
    CLAIM(verdict.text_size > 0 && verdict.text_size <= STORED_REPLY_MAX);
    CLAIM(memchr(verdict.text, '\r', verdict.text_size) == NULL);
    CLAIM(memchr(verdict.text, '\n', verdict.text_size) == NULL);
    CLAIM(memchr(verdict.text, '\0', verdict.text_size) == NULL);
    CLAIM(verdict.outcome != VERDICT_DELIVERED || (step == STEP_END && reply->code < 300));
    CLAIM(verdict.outcome != VERDICT_FAILED || reply->code >= 500);
    CLAIM(verdict.outcome != VERDICT_DEFERRED || verdict.status.class_ == 4);
    CLAIM(verdict.wait_s <= WAIT_NAMED_MAX_S);
}

static void hear(struct str all, uint8_t cut, enum smtp_step step, struct heard *heard)
{
    struct reply reply;
    struct session_offers offers = {0};
    reply_init(&reply);
    while (all.n > 0 && !heard->bad && heard->n < REPLIES_MAX) {
        struct str piece = fuzz_piece(&all, cut > 0 ? cut : all.n);
        char *copy = fuzz_copy(piece);
        struct str data = str_make(copy, piece.n);
        while (data.n > 0 && !heard->bad && heard->n < REPLIES_MAX) {
            enum reply_result result = reply_feed(&reply, &data);
            if (result == REPLY_BAD) {
                CLAIM(reply.why != NULL);
                heard->bad = true;
            } else if (result != REPLY_MORE) {
                CLAIM(reply.code >= 200 && reply.code <= 599);
                CLAIM(reply.line.n <= REPLY_LINE_MAX);
                ehlo_line(&offers, reply.line);
            }
            if (result == REPLY_DONE) {
                CLAIM(reply.text.n <= REPLY_TEXT_MAX);
                judge(&reply, step);
                heard->codes[heard->n] = reply.code;
                heard->sizes[heard->n++] = reply.text.n;
            }
        }
        free(copy);
    }
    reply_free(&reply);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct heard whole = {0}, cut = {0};
    struct str rest = fuzz_rest(data, size);
    uint8_t by = fuzz_byte(&rest);
    enum smtp_step step = (enum smtp_step)(fuzz_byte(&rest) % (STEP_QUIT + 1));
    hear(rest, 0, step, &whole);
    hear(rest, by, step, &cut);
    CLAIM(whole.bad == cut.bad && whole.n == cut.n);
    CLAIM(memcmp(whole.codes, cut.codes, sizeof cut.codes) == 0);
    CLAIM(memcmp(whole.sizes, cut.sizes, sizeof cut.sizes) == 0);
    return 0;
}
