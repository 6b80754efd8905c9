/* fuzz_job.c - a job line and a recipient's line, the one input that anybody with the socket may send: a
 * sentence or a job, nothing of which can break out of a command or a header. */
#include "engine/base/js_scan.h"
#include "engine/intake/job_line.h"
#include "engine/intake/rcpt_scan.h"
#include "tests/fuzz/fuzz.h"

static struct config *config;
static struct repeats repeats;

static void no_controls(struct str text)
{
    for (size_t i = 0; i < text.n; i++)
        CLAIM((unsigned char)text.p[i] >= ' ' && text.p[i] != 0x7f);
}

static void job_read(struct str line)
{
    static const struct now now = {1000, INT64_C(1700000000000)};
    struct job_line job = {0};
    struct job_rules rules = {config, NULL, STR(""), &repeats};
    struct err err = {0};
    json_error_t error;
    json_t *root = js_load(line, &error);
    if (!json_is_object(root)) {
        json_decref(root);
        job_line_resembles_text(line);
        return;
    }
    job_line_resembles(root);
    if (job_line_read(&job, root, &rules, now, &err)) {
        no_controls(job.spec.from);
        no_controls(job.spec.tenant);
        no_controls(job.spec.campaign);
        no_controls(job.spec.pool);
        no_controls(job.spec.envid);
        CLAIM(job.spec.from.n <= ADDRESS_MAX + 64);
        CLAIM(job.spec.content_size > 0 && job.spec.content_size <= CONTENT_MAX);
    } else {
        CLAIM(err.text[0] != '\0');
        no_controls(str_of(err.text));
    }
    job_line_free(&job);
}

static void rcpt_same(struct str line)
{
    static struct rcpt_reader scanner, reader;
    static bool ready;
    struct rcpt_spec is, expected;
    struct err err = {0};
    json_error_t error;
    if (!ready) {
        rcpt_reader_init(&scanner);
        rcpt_reader_init(&reader);
        ready = true;
    }
    bool taken = rcpt_scan(&scanner, line, &is);
    json_t *root = js_load(line, &error);
    bool good = json_is_object(root) && rcpt_read(&reader, root, &expected, &err);
    CLAIM(!taken || good);
    if (taken)
        CLAIM(str_eq(is.to, expected.to) && str_eq(is.domain, expected.domain) &&
              str_eq(is.id, expected.id) && str_eq(is.vars, expected.vars));
    if (good) {
        no_controls(expected.to);
        CLAIM(expected.to.n <= ADDRESS_MAX && expected.domain.n > 0 && expected.domain.n <= DOMAIN_MAX);
        CLAIM(vars_valid(expected.vars));
    }
    json_decref(root);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (config == NULL) {
        config = fuzz_config();
        repeats_init(&repeats);
    }
    char *copy = fuzz_copy(fuzz_rest(data, size));
    job_read(str_make(copy, size));
    rcpt_same(str_make(copy, size));
    free(copy);
    return 0;
}
