/* options.c - see options.h. */
#include "bench/load/options.h"

#include "engine/base/units.h"

#include <stddef.h>
#include <stdio.h>

#define ANY     (VERB_BULK | VERB_JOBS | VERB_SMTP | VERB_CHECK | VERB_RAW)
#define INJECTS (VERB_BULK | VERB_JOBS | VERB_SMTP)
#define HTTP    (VERB_BULK | VERB_JOBS)

enum option_type { TYPE_TEXT, TYPE_NUMBER, TYPE_SIZE, TYPE_FLAG };

struct option_row {
    const char *name;
    unsigned verbs, needed_by;
    enum option_type type;
    size_t offset;
    uint64_t least, most;
    const char *value, *help;
};

#define AT(member) offsetof(struct options, member)

/* clang-format off */
static const struct option_row rows[] = {
    {"socket", HTTP, HTTP, TYPE_TEXT, AT(socket), 0, 0, "FILE", "the job API's Unix socket"},
    {"connect", VERB_SMTP, VERB_SMTP, TYPE_TEXT, AT(connect), 0, 0, "ADDRESS:PORT", "where SMTP is spoken"},
    {"connect", VERB_RAW, VERB_RAW, TYPE_TEXT, AT(connect), 0, 0, "FIRST[..COUNT]:PORT",
     "receivers: an IPv4 address, or COUNT of them from FIRST on, in turn"},
    {"record", VERB_CHECK, VERB_CHECK, TYPE_TEXT, AT(record), 0, 0, "FILE", "what `world --record` wrote"},
    {"recipients", VERB_BULK | VERB_CHECK, VERB_BULK | VERB_CHECK, TYPE_NUMBER, AT(count), 1, ADDRESS_NUMBERS, "N",
     "how many, numbered from --first on"},
    {"jobs", VERB_JOBS, VERB_JOBS, TYPE_NUMBER, AT(count), 1, ADDRESS_NUMBERS, "N",
     "single-recipient jobs, numbered from --first on"},
    {"messages", VERB_SMTP | VERB_RAW, VERB_SMTP | VERB_RAW, TYPE_NUMBER, AT(count), 1, ADDRESS_NUMBERS, "N",
     "transactions in all"},
    {"connections", VERB_JOBS | VERB_SMTP | VERB_RAW, 0, TYPE_NUMBER, AT(connections), 1, 60000, "N",
     "at once (16)"},
    {"per-upload", VERB_JOBS, 0, TYPE_NUMBER, AT(per_upload), 1, 100000, "N", "jobs in one POST (1)"},
    {"per-transaction", VERB_RAW, 0, TYPE_NUMBER, AT(per_transaction), 1, 1000, "N", "recipients of each message (1)"},
    {"rate", VERB_JOBS, 0, TYPE_NUMBER, AT(rate), 1, 100000000, "N",
     "jobs a second, sent when due if a connection is free; without: each sends its next when answered"},
    {"kind", VERB_CHECK | VERB_RAW, VERB_CHECK, TYPE_TEXT, AT(kind_name), 0, 0, "KIND",
     "what the messages are: merged, unmerged or distinct"},
    {"unmerged", VERB_BULK | VERB_SMTP, 0, TYPE_FLAG, AT(unmerged), 0, 0, NULL,
     "the same bytes for all, instead of variables or of messages of their own"},
    {"domains", ANY, 0, TYPE_TEXT, AT(domains_name), 0, 0, "PATTERN",
     "of addresses: number n is in the (n mod count)th (d{0..999}.test)"},
    {"size", ANY, 0, TYPE_SIZE, AT(size), CONTENT_SIZE_MIN, CONTENT_SIZE_MAX, "BYTES", "of a whole message (4096)"},
    {"first", ANY, 0, TYPE_NUMBER, AT(first), 0, ADDRESS_NUMBERS, "N", "number of the first recipient (0)"},
    {"tenant", HTTP, 0, TYPE_TEXT, AT(tenant), 0, 0, "NAME", "of the jobs"},
    {"class", HTTP, 0, TYPE_TEXT, AT(class_name), 0, 0, "CLASS", "of the jobs: bulk or transactional"},
    {"bounces", HTTP, 0, TYPE_TEXT, AT(bounces), 0, 0, "HOW", "of the jobs: dsn, report or none"},
    {"accepts", INJECTS | VERB_CHECK, 0, TYPE_TEXT, AT(accepts), 0, 0, "FILE",
     "when each number was accepted; made or extended"},
    {"body-only", VERB_CHECK, 0, TYPE_FLAG, AT(body_only), 0, 0, NULL,
     "do not compare heads: the engine adds header lines"},
    {"seconds-from", VERB_CHECK, 0, TYPE_NUMBER, AT(seconds_from), 1, UINT64_MAX, "NS",
     "count seconds from this time (CLOCK_MONOTONIC), not from the first delivery"},
    {"allow-twice", VERB_CHECK, 0, TYPE_FLAG, AT(allow_twice), 0, 0, NULL, "what came more than once is no failure"},
    {"allow-missing", VERB_CHECK, 0, TYPE_FLAG, AT(allow_missing), 0, 0, NULL, "what did not come is no failure"},
    {"stagger", VERB_RAW, 0, TYPE_FLAG, AT(stagger), 0, 0, NULL, "open connections one after another, not all at once"},
    {"bdat", VERB_RAW, 0, TYPE_FLAG, AT(bdat), 0, 0, NULL, "messages go by BDAT, each in one write with its envelope"},
    {"timeout", INJECTS | VERB_RAW, 0, TYPE_NUMBER, AT(timeout_s), 1, 86400, "SECONDS",
     "give up when nothing moves for so long (120)"},
};
/* clang-format on */

static const struct option_row *row_find(enum verb verb, struct str name)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if ((rows[i].verbs & verb) && str_eq(name, str_of(rows[i].name)))
            return &rows[i];
    return NULL;
}

static void help(enum verb verb, const char *program)
{
    printf("usage: %s [OPTION…]\nPrints one JSON object. Exit: 0 done, 1 what was meant was not reached, 2 "
           "usage.\n\n",
           program);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (!(rows[i].verbs & verb))
            continue;
        char left[64];
        snprintf(left, sizeof left, "--%s%s%s", rows[i].name, rows[i].value ? " " : "",
                 rows[i].value ? rows[i].value : "");
        printf("  %-28s %s%s\n", left, rows[i].help, rows[i].needed_by & verb ? " (needed)" : "");
    }
}

static bool value_set(struct options *options, const struct option_row *row, const char *value)
{
    char *member = (char *)options + row->offset;
    uint64_t number;
    if (row->type == TYPE_TEXT) {
        memcpy(member, &value, sizeof value);
        return *value != '\0';
    }
    bool ok = row->type == TYPE_SIZE ? size_parse(str_of(value), &number)
                                     : str_u64(str_of(value), UINT64_MAX, &number);
    if (!ok || number < row->least || number > row->most)
        return false;
    memcpy(member, &number, sizeof number);
    return true;
}

/* How many arguments it took, 0 where it is wrong. */
static int option_read(struct options *options, const char *program, char **argv)
{
    struct str name = str_of(argv[0]);
    size_t equals = str_find(name, '=', 0);
    if (!str_starts(name, STR("--"))) {
        fprintf(stderr, "%s: '%s' is no option\n", program, argv[0]);
        return 0;
    }
    name = str_make(name.p + 2, (equals == SIZE_MAX ? name.n : equals) - 2);
    const struct option_row *row = row_find(options->verb, name);
    if (row == NULL || (row->type == TYPE_FLAG && equals != SIZE_MAX)) {
        fprintf(stderr, "%s: unknown option '%s' (see --help)\n", program, argv[0]);
        return 0;
    }
    if (row->type == TYPE_FLAG) {
        *((bool *)(void *)((char *)options + row->offset)) = true;
        return 1;
    }
    const char *value = equals == SIZE_MAX ? argv[1] : argv[0] + equals + 1;
    if (value && value_set(options, row, value))
        return equals == SIZE_MAX ? 2 : 1;
    if (row->type == TYPE_TEXT || value == NULL)
        fprintf(stderr, "%s: --%s wants a value\n", program, row->name);
    else
        fprintf(stderr, "%s: --%s: '%s' is not between %llu and %llu\n", program, row->name, value,
                (unsigned long long)row->least, (unsigned long long)row->most);
    return 0;
}

static bool kind_set(struct options *options, struct err *err)
{
    options->kind = options->unmerged            ? CONTENT_UNMERGED
                    : options->verb == VERB_BULK ? CONTENT_MERGED
                                                 : CONTENT_DISTINCT;
    return options->kind_name == NULL || content_kind_parse(options->kind_name, &options->kind, err);
}

/* What one option alone does not show. */
static bool options_check(struct options *options, const bool *given, struct err *err)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if ((rows[i].needed_by & options->verb) && !given[i])
            return err_set(err, 0, "--%s is needed (see --help)", rows[i].name);
    uint64_t recipients = options->count * options->per_transaction;
    if (recipients > ADDRESS_NUMBERS || options->first + recipients > ADDRESS_NUMBERS)
        return err_set(err, 0, "numbers of recipients end at %llu", (unsigned long long)ADDRESS_NUMBERS);
    if (!kind_set(options, err) || !domains_parse(&options->domains, options->domains_name, err))
        return false;
    if (options->per_transaction > 1 && options->kind != CONTENT_UNMERGED)
        return err_set(err, 0, "several recipients share a message only where it is --kind unmerged");
    return true;
}

enum options_end options_read(struct options *options, enum verb verb, int argc, char **argv)
{
    *options = (struct options){.verb = verb,
                                .domains_name = "d{0..999}.test",
                                .size = 4096,
                                .connections = 16,
                                .per_upload = 1,
                                .per_transaction = 1,
                                .timeout_s = 120};
    bool given[sizeof rows / sizeof *rows] = {false};
    struct err err;
    for (int i = 1, took; i < argc; i += took) {
        if (strcmp(argv[i], "--help") == 0) {
            help(verb, argv[0]);
            return OPTIONS_HELP;
        }
        took = option_read(options, argv[0], argv + i);
        if (took == 0)
            return OPTIONS_WRONG;
        struct str name = str_of(argv[i] + 2);
        size_t equals = str_find(name, '=', 0);
        given[row_find(verb, str_make(name.p, equals == SIZE_MAX ? name.n : equals)) - rows] = true;
    }
    if (options_check(options, given, &err))
        return OPTIONS_RUN;
    fprintf(stderr, "%s: %s\n", argv[0], err.text);
    return OPTIONS_WRONG;
}
