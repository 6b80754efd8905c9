/* options.h - the command line of load's verbs and of raw: one table drives parsing, checks and --help.
 *
 * Views point into argv. */
#ifndef POSTRIDER_LOAD_OPTIONS_H
#define POSTRIDER_LOAD_OPTIONS_H

#include "bench/load/address.h"
#include "bench/load/content.h"

enum verb { VERB_BULK = 1, VERB_JOBS = 2, VERB_SMTP = 4, VERB_CHECK = 8, VERB_RAW = 16 };

struct options {
    enum verb verb;
    const char *socket, *connect, *record, *accepts;
    const char *tenant, *class_name, *bounces, *kind_name, *domains_name;
    uint64_t first, count, size, connections, per_upload, per_transaction, rate, timeout_s, seconds_from;
    bool unmerged, body_only, allow_twice, allow_missing, stagger, bdat;
    enum content_kind kind; /* from kind_name or `unmerged`, by verb */
    struct domains domains;
};

enum options_end { OPTIONS_RUN, OPTIONS_HELP, OPTIONS_WRONG };

/* argv[0] is the program's name for messages ("load jobs"). OPTIONS_HELP: the help is on stdout;
 * OPTIONS_WRONG: what is wrong is on stderr. */
enum options_end options_read(struct options *options, enum verb verb, int argc, char **argv);

#endif
