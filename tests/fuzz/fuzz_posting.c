/* fuzz_posting.c - a message handed in over SMTP whose header says anything, to a job: the input's first byte
 * says with which envelope it comes, the rest is the message. It becomes a job or a reply of one line, and
 * nothing of the header leaves the place that it was given: no control character gets into a name, an address
 * or an id, what is too long is refused, and no field that is for the engine stays in the message. */
#include "engine/submission/posting.h"
#include "queue/admit.h"
#include "tests/fuzz/fuzz.h"

static struct config *config;
static struct repeats repeats;
static struct store store;

static void no_controls(struct str text, size_t most)
{
    CLAIM(text.n <= most);
    for (size_t i = 0; i < text.n; i++)
        CLAIM((unsigned char)text.p[i] >= ' ' && text.p[i] != 0x7f);
}

static void judge_job(const struct admit *admit)
{
    struct str content = str_make(admit->content, admit->row.content_size);
    no_controls(admit->row.tenant, NAME_MAX_BYTES);
    no_controls(admit->row.campaign, NAME_MAX_BYTES);
    no_controls(admit->row.pool, NAME_MAX_BYTES);
    no_controls(admit->row.from, ADDRESS_MAX + RID_TEXT_MAX);
    no_controls(admit->row.envid, ENVID_MAX);
    no_controls(admit->row.metadata, METADATA_MAX);
    CLAIM(content.n > 0);
    for (size_t i = 1; i < content.n && !str_starts(str_make(content.p + i, content.n - i), STR("\r\n\r\n"));
         i++)
        CLAIM(content.p[i - 1] != '\n' ||
              !str_starts_nocase(str_make(content.p + i, content.n - i), STR("X-Postrider-")));
}

static void judge_reply(const char *reply)
{
    CLAIM((reply[0] == '4' || reply[0] == '5') && reply[1] == '5' && reply[3] == ' ');
    CLAIM(strlen(reply) < ANSWER_MAX && strchr(reply, '\n') == NULL);
}

static void post(const struct parcel *parcel)
{
    static const struct now now = {1000, INT64_C(1700000000000)};
    const struct posting_origin origin = {"mx.test", "client (a\"b", "[192.0.2.1]", "", true, false};
    const struct job_rules rules = {config, NULL, STR(""), &repeats};
    struct posting posting = {0};
    char reply[ANSWER_MAX] = "";
    bool more;
    if (posting_begin(&posting, &store, &rules, parcel, &origin, now, reply)) {
        judge_job(posting.admit);
        no_controls(buf_str(&posting.id), RCPT_ID_MAX);
        if (posting_fill(&posting, parcel, &more, reply))
            CLAIM(!more && admit_count(posting.admit) == parcel->rcpt_count);
        else
            judge_reply(reply);
    } else {
        judge_reply(reply);
    }
    posting_free(&posting);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str text = fuzz_rest(data, size);
    uint8_t how = fuzz_byte(&text);
    struct parcel parcel = {.begun = true, .way = PARCEL_RELAY};
    struct rcpt_spec rcpt = {.to = STR("a@b.test"), .domain = STR("b.test")};
    if (config == NULL) {
        config = fuzz_config();
        repeats_init(&repeats);
    }
    parcel_init(&parcel, 1 << 20);
    parcel.utf8 = how & 1;
    parcel.body = (enum parcel_body)((how >> 1 & 3) % 3);
    parcel.priority = how & 8 ? 3 : 0;
    snprintf(parcel.from, sizeof parcel.from, "%s", how & 16 ? "" : "bounce-{{rid}}@news.test");
    CLAIM(parcel_add_rcpt(&parcel, &rcpt));
    char *copy = fuzz_copy(text);
    buf_add_str(&parcel.message, str_make(copy, text.n));
    free(copy);
    post(&parcel);
    parcel_reset(&parcel);
    return 0;
}
