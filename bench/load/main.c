/* main.c - load: the bench's load generator and its checker. See --help, bench/load/options.c.
 *
 * It shares no code with the daemon but engine/base, so that a bug of the one can't hide one of the other. */
#include "bench/load/verbs.h"

#include <signal.h>
#include <stdio.h>

static const struct {
    const char *name, *program, *help;
    enum verb verb;
    int (*run)(const struct options *options, struct err *err);
} verbs[] = {
    {"bulk", "load bulk", "one job for many recipients, in one streamed upload", VERB_BULK, load_bulk},
    {"jobs", "load jobs", "single-recipient jobs of distinct content", VERB_JOBS, load_jobs},
    {"smtp", "load smtp", "the same messages, injected by SMTP", VERB_SMTP, load_smtp},
    {"check", "load check", "compares what receivers recorded with what was meant", VERB_CHECK, load_check},
};

static void help(FILE *out)
{
    fputs("usage: load VERB [OPTION…]   (load VERB --help lists the options)\n\n", out);
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++)
        fprintf(out, "  %-8s%s\n", verbs[i].name, verbs[i].help);
}

static int run(size_t which, int argc, char **argv)
{
    struct options options;
    struct err err = {0};
    char *program = (char *)(uintptr_t)verbs[which].program;
    argv[0] = program;
    switch (options_read(&options, verbs[which].verb, argc, argv)) {
    case OPTIONS_HELP:
        return 0;
    case OPTIONS_WRONG:
        return 2;
    case OPTIONS_RUN:
        break;
    }
    signal(SIGPIPE, SIG_IGN);
    int code = verbs[which].run(&options, &err);
    if (*err.text)
        fprintf(stderr, "%s: %s\n", program, err.text);
    return code;
}

int main(int argc, char **argv)
{
    struct str name = str_of(argc > 1 ? argv[1] : NULL);
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++)
        if (str_eq(name, str_of(verbs[i].name)))
            return run(i, argc - 1, argv + 1);
    bool asked = str_eq(name, STR("--help")) || str_eq(name, STR("-h"));
    help(asked ? stdout : stderr);
    return asked ? 0 : 2;
}
