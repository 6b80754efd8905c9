/* preview.c - shows a recipient's message as it would be sent, from a job's file; no daemon is needed.
 *
 * The job is read by the same code as in the daemon. What only the daemon knows is made up: the recipient's
 * id (0-0-0) and, unless a configuration is named, the hostname and the DKIM keys. */
#include "engine/base/clock.h"
#include "engine/intake/job_line.h"
#include "engine/intake/rcpt_line.h"
#include "engine/message/template.h"
#include "tools/commands.h"
#include "tools/local.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct cli_option preview_options[] = {
    {"to", "ADDRESS", "the recipient; without it, the first"},
    {"config", "FILE", "the configuration, for its hostname and DKIM keys"},
};

struct preview {
    const char *to; /* NULL: whoever is first */
    struct config *config;
    struct dkim *dkim;
    struct repeats repeats; /* of no use here */
    bool has_job;
    struct job_line job;
    struct rcpt_reader reader;
    struct err err;
};

static bool read_job(struct preview *preview, json_t *root)
{
    const struct job_rules rules = {preview->config, preview->dkim, STR(""), &preview->repeats};
    if (preview->has_job)
        job_line_free(&preview->job);
    preview->has_job = true;
    return job_line_read(&preview->job, root, &rules, clock_now(), &preview->err);
}

static bool sign(struct preview *preview, struct render_args *args, struct rendition *message,
                 struct buf *fields)
{
    char from[DOMAIN_MAX + 1];
    uint8_t hash[DIGEST_SIZE];
    const struct dkim_domain *domain = rendition_from_domain(message, from) == TEMPLATE_FROM_FIXED
                                           ? dkim_find(preview->dkim, str_of(from))
                                           : NULL;
    if (domain == NULL)
        return true;
    struct dkim_signer *signer = dkim_signer_create(preview->dkim);
    bool good = signer != NULL && dkim_body_hash(message, NULL, hash, &preview->err) &&
                dkim_sign(signer, domain, message, hash, clock_now().wall_ms, fields, &preview->err);
    dkim_signer_destroy(signer);
    args->first = buf_str(fields);
    return good;
}

/* On a terminal without the CRs. */
static void print(const struct rendition *message)
{
    bool plain = isatty(STDOUT_FILENO);
    for (size_t i = 0; i < message->count; i++) {
        const char *p = message->parts[i].iov_base;
        for (size_t k = 0; k < message->parts[i].iov_len; k++)
            if (!plain || p[k] != '\r')
                putchar(p[k]);
    }
}

static void print_warnings(struct buf *warnings)
{
    struct buf list;
    size_t i;
    json_t *one;
    buf_init(&list, JOB_WARNINGS_MAX + 8);
    buf_printf(&list, "[%.*s]", STR_ARG(buf_str(warnings)));
    json_t *all = json_loadb(list.data ? list.data : "", list.len, 0, NULL);
    json_array_foreach(all, i, one) fprintf(stderr, "postrider: warning: %s\n", json_string_value(one));
    json_decref(all);
    buf_free(&list);
}

static int show(struct preview *preview, const json_t *object)
{
    struct rendition message = {0};
    struct rcpt_spec rcpt;
    struct buf fields;
    struct str missing;
    const struct template *template = &preview->job.template;
    if (!rcpt_read(&preview->reader, object, &rcpt, &preview->err))
        return cli_fail("%s", preview->err.text);
    if (template_missing(template, rcpt.vars, &missing))
        return cli_fail("the message needs the variable \"%.*s\"", STR_ARG(missing));
    struct render_args args = {.vars = rcpt.vars,
                               .to = rcpt.to,
                               .rid = STR("0-0-0"),
                               .id = rcpt.id,
                               .job = STR("0"),
                               .unstuffed = true};
    buf_init(&fields, RENDITION_MAX);
    bool good = template_render(template, &args, &message, &preview->err) &&
                sign(preview, &args, &message, &fields) &&
                template_render(template, &args, &message, &preview->err);
    if (good)
        print(&message);
    if (good)
        print_warnings(&preview->job.warnings);
    rendition_free(&message);
    buf_free(&fields);
    return good ? 0 : cli_fail("%s", preview->err.text);
}

static bool is_wanted(const struct preview *preview, const json_t *rcpt)
{
    const json_t *to = json_object_get(rcpt, "to");
    return preview->to == NULL ||
           (json_is_string(to) && str_eq_nocase(str_of(json_string_value(to)), str_of(preview->to)));
}

static int not_found(const struct preview *preview)
{
    if (!preview->has_job)
        return cli_fail("there is no job in it: a job is a line with \"message\"");
    return preview->to ? cli_fail("%s is no recipient of its jobs", preview->to)
                       : cli_fail("the job has no recipients");
}

/* Line after line, until the recipient comes. */
static int show_lines(struct preview *preview, FILE *file)
{
    char *line = NULL;
    size_t room = 0;
    ssize_t n;
    int code = -1;
    for (unsigned long number = 1; code < 0 && (n = getline(&line, &room, file)) > 0; number++) {
        json_error_t error;
        if (str_trim(str_make(line, (size_t)n)).n == 0)
            continue;
        json_t *object = json_loadb(line, (size_t)n, JSON_REJECT_DUPLICATES, &error);
        if (object == NULL || !json_is_object(object))
            code = cli_fail("line %lu is no JSON object: %s", number, object ? "another value" : error.text);
        else if (json_object_get(object, "message") != NULL && !read_job(preview, json_incref(object)))
            code = cli_fail("line %lu: %s", number, preview->err.text);
        else if (preview->has_job && json_object_get(object, "to") != NULL && is_wanted(preview, object))
            code = show(preview, object);
        json_decref(object);
    }
    free(line);
    return code < 0 ? not_found(preview) : code;
}

/* One job with its recipients inside. */
static int show_whole(struct preview *preview, FILE *file)
{
    json_error_t error;
    json_t *root = json_loadf(file, JSON_REJECT_DUPLICATES, &error), *rcpt;
    json_t *list = json_incref(json_object_get(root, "recipients"));
    size_t i;
    int code = -1;
    if (!json_is_object(root))
        code = cli_fail("it is no JSON object: line %d: %s", error.line, error.text);
    json_object_del(root, "recipients");
    if (code < 0 && !read_job(preview, json_incref(root)))
        code = cli_fail("%s", preview->err.text);
    json_array_foreach(list, i, rcpt) if (code < 0 && is_wanted(preview, rcpt)) code = show(preview, rcpt);
    json_decref(list);
    json_decref(root);
    return code < 0 ? not_found(preview) : code;
}

static int run_preview(struct cli *cli)
{
    const char *name = cli->args[0], *path = cli_value(cli, "config");
    struct preview preview = {.to = cli_value(cli, "to"), .config = local_config(path)};
    if (preview.config == NULL)
        return cli_fail("%s is no good configuration", path ? path : "the built-in one");
    if (path != NULL && (preview.dkim = dkim_create(preview.config, &preview.err)) == NULL) {
        config_free(preview.config);
        return cli_fail("%s", preview.err.text);
    }
    repeats_init(&preview.repeats);
    FILE *file = strcmp(name, "-") == 0 ? stdin : fopen(name, "re");
    int code = 1;
    rcpt_reader_init(&preview.reader);
    if (file == NULL)
        cli_fail("cannot open %s: %s", name, strerror(errno));
    else if (str_ends_nocase(str_of(name), STR(".json")))
        code = show_whole(&preview, file);
    else
        code = show_lines(&preview, file);
    if (file != NULL && file != stdin)
        fclose(file);
    if (preview.has_job)
        job_line_free(&preview.job);
    rcpt_reader_free(&preview.reader);
    dkim_destroy(preview.dkim);
    config_free(preview.config);
    return code;
}

const struct command command_preview = {
    .name = "preview",
    .args = "FILE|-",
    .help = "Show a recipient's message as it would be sent, from a file of jobs as submit takes it.",
    .run = run_preview,
    .min_args = 1,
    .max_args = 1,
    OPTIONS(preview_options),
};
