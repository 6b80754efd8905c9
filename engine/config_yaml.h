/* config_yaml.h - YAML files as nodes, and errors reported at them as a compiler would.
 *
 * One `struct yaml` a load: it keeps the files until yaml_destroy, so that an error found later can still
 * point into any of them. config_yaml.c is the only file that includes libfyaml.h. Internal to config*.c; one
 * thread. */
#ifndef POSTRIDER_CONFIG_YAML_H
#define POSTRIDER_CONFIG_YAML_H

#include "engine/base/buf.h"

#define YAML_FILE_MAX   (16 * 1024 * 1024)
#define YAML_FILES_MAX  1000
#define YAML_ERRORS_MAX 50

struct yaml;
struct fy_node;

/* Errors are appended to `out`, which must outlive it. NULL: no memory. */
struct yaml *yaml_create(struct buf *out);
void yaml_destroy(struct yaml *yaml);
unsigned yaml_errors(const struct yaml *yaml);

/* Reads a file of one document; path must live as long as the yaml. False: reported. *root is NULL where the
 * file says nothing. */
bool yaml_load(struct yaml *yaml, const char *path, struct fy_node **root);
/* The same of a text, which is named in reports; both must live as long as the yaml. */
bool yaml_load_text(struct yaml *yaml, const char *name, struct str text, struct fy_node **root);

enum yaml_kind { YAML_EMPTY, YAML_TEXT, YAML_MAP, YAML_LIST, YAML_ALIAS };
enum yaml_kind yaml_kind(struct fy_node *node);
/* Of a YAML_TEXT; valid as long as the yaml is. */
struct str yaml_text(struct fy_node *node);
int yaml_line(struct fy_node *node);
struct yaml_pair {
    struct fy_node *key, *value; /* value may be YAML_EMPTY */
};
/* Steps through a map or a list; *at is NULL at first. */
bool yaml_next_pair(struct fy_node *map, void **at, struct yaml_pair *pair);
struct fy_node *yaml_next_item(struct fy_node *list, void **at);

/* file:line:column: error: …, the line, and a mark under the node. After YAML_ERRORS_MAX it says so and is
 * silent. */
void yaml_report(struct yaml *yaml, struct fy_node *node, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
