/* fuzz_notice.c - mail that strangers send as a bounce or complaint. Whatever it holds, what is found keeps
 * its bounds and lies where it says, on one line where that is promised. */
#include "engine/inbound/notice.h"
#include "tests/fuzz/fuzz.h"

/* Reads every byte, for the sanitizers. */
static void judge_text(struct str text, size_t max)
{
    CLAIM(text.n <= max);
    CLAIM(text.n == 0 || memchr(text.p, '\n', text.n) == NULL || memchr(text.p, '\r', text.n) == NULL);
    CLAIM(str_find(text, '\0', 0) == SIZE_MAX);
}

static void judge_list(const struct str *list, size_t count, size_t count_max, size_t max)
{
    CLAIM(count <= count_max);
    for (size_t i = 0; i < count; i++)
        judge_text(list[i], max);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct notice notice;
    struct str rest = fuzz_rest(data, size);
    char *message = fuzz_copy(rest);
    CLAIM(notice_read(str_make(message, rest.n), STR("bounce-17-0-42@news.example"), &notice));
    CLAIM(notice.to_count > 0 && notice.rcpt_count <= NOTICE_RCPTS_MAX);
    CLAIM(notice.rcpt_count == 0 || notice.kind == notice.rcpts[0].kind);
    judge_list(notice.to, notice.to_count, NOTICE_TO_MAX, LOCAL_PART_MAX + 1 + DOMAIN_MAX);
    judge_list(notice.named, notice.named_count, NOTICE_TO_MAX, LOCAL_PART_MAX + 1 + DOMAIN_MAX);
    judge_list(notice.traces, notice.trace_count, NOTICE_TRACES_MAX, NOTICE_FIELD_MAX);
    for (size_t i = 0; i < notice.rcpt_count; i++) {
        const struct notice_rcpt *rcpt = &notice.rcpts[i];
        CLAIM(rcpt->code == 0 || (rcpt->code >= 400 && rcpt->code < 600));
        judge_text(rcpt->reply, STORED_REPLY_MAX);
        judge_text(rcpt->address, NOTICE_FIELD_MAX);
        judge_text(rcpt->original, NOTICE_FIELD_MAX);
        judge_text(rcpt->mx, NOTICE_FIELD_MAX);
    }
    notice_free(&notice);
    free(message);
    return 0;
}
