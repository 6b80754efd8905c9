/* config_table.h - the table of options, and what the parts of config share. Internal to config*.c.
 *
 * Flow: config_yaml.c turns files into nodes and reports errors at them; config_read.c walks nodes along the
 * table (config_table.c) and converts each value by its kind (config_value.c); config_check.c completes and
 * checks what concerns several options, config_routes.c and config_replies.c what concerns routes and reply
 * rules; config_show.c writes the
 * table or its values. */
#ifndef POSTRIDER_CONFIG_TABLE_H
#define POSTRIDER_CONFIG_TABLE_H

#include "engine/base/near.h"
#include "engine/config.h"
#include "engine/limits.h"

enum option_kind {
    KIND_PATH,       /* const char *: absolute, short enough for a socket where max says so */
    KIND_FILE,       /* const char *: the same, or relative to the file it stands in */
    KIND_LISTEN,     /* const char *: address:port, or unix: and a path */
    KIND_NAME,       /* const char *: letters, digits and ._- */
    KIND_HOST,       /* const char *: a host name or address literal for EHLO */
    KIND_ADDRESS,    /* const char *: an IP address */
    KIND_FEEDBACK,   /* const char *: a pattern of a Feedback-ID */
    KIND_MAILBOX,    /* const char *: a mail address */
    KIND_URL,        /* const char *: http:// or https:// */
    KIND_PROXY,      /* const char *: socks5://address:port or haproxy://address:port */
    KIND_USER,       /* const char *: a user to log in as */
    KIND_EXPRESSION, /* const char *: a regular expression */
    KIND_PATTERN,    /* const char *: a domain, with * and ? */
    KIND_PATTERNS,   /* struct config_strings of them */
    KIND_SERVERS,    /* struct config_strings of address[:port] */
    KIND_TARGETS,    /* struct config_strings of [PREFERENCE ]HOST[:PORT] */
    KIND_NETWORKS,   /* struct config_strings of addresses with a prefix length */
    KIND_NAMES,      /* struct config_strings of names */
    KIND_EVENTS,     /* unsigned: a bit a type of event (queue/query.h), 0: all */
    KIND_GLOBS,      /* file names with * and ?; stored nowhere: read_includes */
    KIND_NUMBER,     /* unsigned */
    KIND_PORT,       /* uint16_t */
    KIND_SWITCH,     /* bool: yes, no, true, false */
    KIND_MODE,       /* unsigned: octal permissions */
    KIND_DURATION,   /* int64_t: ms */
    KIND_SIZE,       /* uint64_t: bytes */
    KIND_RATE,       /* struct rate */
    KIND_TLS,        /* enum tls_policy */
    KIND_ROUTE_TLS,  /* unsigned: the same, or CONFIG_TLS_SITE */
    KIND_PROTOCOL,   /* enum config_protocol */
    KIND_LENDING,    /* enum config_lending */
    KIND_DNSSEC,     /* enum config_dnssec */
    KIND_SHAPE,      /* enum config_shape */
    KIND_START,      /* enum config_start */
    KIND_ON_FULL,    /* enum config_on_full */
    KIND_STATUS,     /* struct status_pattern */
    KIND_SCHEDULE,   /* count and delays_ms of struct retry_rule; the offset is that of count */
    KIND_WEIGHTS,    /* struct config_pool's sources: name to weight */
    KIND_UIDS,       /* struct config_jobs's tenants: uid to name */
    KIND_CODES,      /* struct rule_codes */
    KIND_STATUSES,   /* struct rule_statuses */
    KIND_STEPS,      /* unsigned: RULE_AT_ bits */
    KIND_ACTION,     /* struct reaction */
    KIND_GROUP,      /* a map of options: the section's */
    KIND_LIST,       /* a list of such maps */
};

struct section;

struct option {
    const char *name;
    enum option_kind kind;
    size_t offset;       /* in the section's struct */
    size_t count_offset; /* KIND_LIST: of the size_t beside the pointer */
    const char *preset;  /* default, as an operator would write it; NULL: unset, or required */
    bool required;
    bool live;         /* a reload applies it; of a group or list: all of it */
    uint64_t min, max; /* numbers, sizes and durations (ms); KIND_PATH: longest text */
    const struct section *section;
    const char *help; /* one line */
};

struct section {
    const char *name;
    size_t size;              /* of its struct */
    const struct option *key; /* what names an element of a list: no two are equal; NULL: they may be */
    const struct option *options;
    size_t count;
};

extern const struct section config_top;
extern const struct section config_site_section;

#define OPTIONS_MAX 32 /* in a section: a bit each in config_item.set */

/* Memory that lives as long as the configuration; zeroed. NULL only when memory is out. */
void *config_alloc(struct config *config, size_t size);
const char *config_copy(struct config *config, struct str text);

/* ---- config_value.c and config_address.c: one scalar at a time ---- */

/* Completes the sentence "expected …". */
struct value_error {
    char expected[192];
};
/* Stores what text says at `to`; false and *error if it is not right. */
bool value_parse(struct config *config, const struct option *option, struct str text, void *to,
                 struct value_error *error);
/* The scalars of list kinds, and an address in its binary form (port 0). */
bool value_duration(const struct option *option, struct str text, int64_t *ms, struct value_error *error);
bool value_address(struct str text, struct sockaddr_storage *address, socklen_t *len);
bool value_is_address(struct str text);
bool value_proxy(struct str text, struct proxy *proxy, struct value_error *error);
bool value_pattern(struct str text, bool with_wildcards, struct value_error *error);
bool value_server(struct str text, struct value_error *error);
bool value_network(struct str text, struct value_error *error);
/* The address of a listener; len 0 for a Unix socket. */
bool value_listen(struct str text, struct sockaddr_storage *address, socklen_t *len,
                  struct value_error *error);
bool value_name(struct str text, struct value_error *error);
bool value_is_printable(struct str text);
/* Completes the sentence; false. */
bool value_wrong(struct value_error *error, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* One of a route's hosts: a name or an address to connect to. What it does not name is 0. */
bool value_target(struct str text, struct str *host, uint16_t *port, uint16_t *preference,
                  struct value_error *error);
/* What a kind takes, for people: "a duration such as 30s, 5m or 4d12h". */
const char *value_kind_text(enum option_kind kind);
/* One type of event by its name, into the bits of KIND_EVENTS. */
bool value_event(struct str text, unsigned *bits);
/* How large the stored value is. */
size_t value_size(enum option_kind kind);
/* The value as an operator would write it; "" where it is unset. Scalars and schedules only. */
void value_format(const struct option *option, const void *from, struct buf *out);

/* ---- config_read.c ---- */

struct fy_node;
struct yaml;

struct config_item {
    struct fy_node *node; /* the element's map */
    const char *file;
    uint32_t set; /* which of its options the operator gave */
};

/* The elements of one top-level list while files are read; they move into the configuration at the end, and
 * the items stay for the checks. */
struct config_list {
    char *elements;
    struct config_item *items;
    size_t count, room;
};

struct config_mark;

struct config_reading {
    struct config *config;
    struct yaml *yaml;
    struct buf *errors;
    const char *file; /* being read */
    bool included;    /* it is not the main file */
    struct config_mark *marks;
    struct config_list lists[OPTIONS_MAX]; /* by index in config_top */
    struct fy_node *includes;
    bool out_of_memory;
};

/* Allocates, or remembers that memory is out. */
void *config_allocate(struct config_reading *reading, size_t size);
/* "KEY: expected …, found …" at the node. */
struct yaml_pair;
void config_expected(struct config_reading *reading, const struct yaml_pair *pair, struct fy_node *node,
                     const char *expected);
/* Steps through a list of scalars, *at being NULL at first; a single scalar stands for a list of one. */
struct fy_node *config_next_scalar(struct fy_node *value, void **at);
/* True if it is such a list; else reported. */
bool config_is_scalars(struct config_reading *reading, const struct option *option,
                       const struct yaml_pair *pair, size_t *count);
/* Reads an option of a kind that holds several scalars into the section's struct at base. */
void config_read_several(struct config_reading *reading, const struct option *option,
                         const struct yaml_pair *pair, char *base);

/* The key of an option that exists once, where it was given; NULL where it was not. */
struct fy_node *config_given(const struct config_reading *reading, const char *group, const char *name);
/* The node of an element's option, or the element itself. */
struct fy_node *config_item_node(const struct config_item *item, const char *option);
struct config_list *config_list_of(struct config_reading *reading, const char *name);
/* The line on which an element begins. */
int config_item_line(const struct config_item *item);
/* Reads a text like a file of the configuration, for its lists alone; NULL: memory is out, or it was
 * reported. */
struct config *config_load_text(const char *name, struct str text, struct buf *errors);
/* ---- config_check.c: what concerns several options; reports through the reading ---- */
void config_check(struct config_reading *reading);
/* ---- config_routes.c ---- */
void config_check_routes(struct config_reading *reading);

/* ---- config_submission.c: listeners; the same ---- */
void config_submissions(struct config_reading *reading);
/* ---- config_replies.c: reply rules, the built-in ones too; reports through the reading ---- */
void config_replies(struct config_reading *reading);
/* Says of each where it was written. */
void config_place_replies(struct config_reading *reading);

#endif
