/* yaml.h - a YAML text as a small tree with line numbers, and the conversions a scenario needs.
 *
 * The tree owns its strings and is freed whole from the root. Every conversion fails with
 * "FILE:LINE: KEY wants …", so that a scenario's author finds the place. One thread. */
#ifndef POSTRIDER_WORLD_YAML_H
#define POSTRIDER_WORLD_YAML_H

#include "engine/base/err.h"
#include "engine/base/str.h"

enum yaml_kind { YAML_SCALAR, YAML_LIST, YAML_MAP };

struct yaml {
    enum yaml_kind kind;
    int line;
    const char *file; /* the caller's string; outlives the tree */
    char *key;        /* of a map's child, else NULL */
    char *text;       /* of a scalar, else NULL */
    struct yaml *first, *next;
};

struct yaml *yaml_load_file(const char *path, struct err *err);
/* `name` stands where the file's name would in errors. */
struct yaml *yaml_load_text(const char *name, struct str text, struct err *err);
void yaml_free(struct yaml *root);

/* "FILE:LINE: " and the message; returns false. */
bool yaml_error(const struct yaml *node, struct err *err, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
bool yaml_is(const struct yaml *node, const char *key);
bool yaml_want(const struct yaml *node, enum yaml_kind kind, struct err *err);
bool yaml_bool(const struct yaml *node, bool *out, struct err *err);
bool yaml_u32(const struct yaml *node, uint32_t max, uint32_t *out, struct err *err);
/* A number with decimals between 0 and max. */
bool yaml_number(const struct yaml *node, double max, double *out, struct err *err);
/* A copy in *out, whose old value is freed. */
bool yaml_copy(const struct yaml *node, char **out, struct err *err);

#endif
