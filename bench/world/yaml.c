/* yaml.c - see yaml.h. The only file here that knows libfyaml. */
#include "bench/world/yaml.h"

#include "bench/world/limits.h"

#include <errno.h>
#include <libfyaml.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static struct yaml *yaml_new(const char *file, int line)
{
    struct yaml *node = calloc(1, sizeof *node);
    if (node) {
        node->file = file;
        node->line = line;
    }
    return node;
}

static char *copy_scalar(struct fy_node *fyn)
{
    size_t n = 0;
    const char *text = fyn ? fy_node_get_scalar(fyn, &n) : NULL;
    return str_dup(str_make(text, text ? n : 0));
}

static int line_of(struct fy_node *fyn, int otherwise)
{
    struct fy_token *token = fyn && fy_node_is_scalar(fyn) ? fy_node_get_scalar_token(fyn) : NULL;
    const struct fy_mark *mark = token ? fy_token_start_mark(token) : NULL;
    return mark ? mark->line + 1 : otherwise;
}

/* Lists and maps carry no mark in libfyaml; they are as far up as their first scalar. */
static int first_line(struct fy_node *fyn, int otherwise)
{
    void *at = NULL;
    if (fyn == NULL || fy_node_is_scalar(fyn))
        return line_of(fyn, otherwise);
    if (fy_node_is_sequence(fyn))
        return first_line(fy_node_sequence_iterate(fyn, &at), otherwise);
    struct fy_node_pair *pair = fy_node_mapping_iterate(fyn, &at);
    return pair ? line_of(fy_node_pair_key(pair), otherwise) : otherwise;
}

static struct yaml *convert(struct fy_node *fyn, const char *file, int line);

static bool convert_children(struct yaml *node, struct fy_node *fyn)
{
    struct yaml **tail = &node->first;
    void *at = NULL;
    for (;;) {
        struct fy_node *value, *key = NULL;
        if (node->kind == YAML_LIST) {
            value = fy_node_sequence_iterate(fyn, &at);
            if (value == NULL)
                return true;
        } else {
            struct fy_node_pair *pair = fy_node_mapping_iterate(fyn, &at);
            if (pair == NULL)
                return true;
            key = fy_node_pair_key(pair);
            value = fy_node_pair_value(pair);
        }
        struct yaml *child = convert(value, node->file, key ? line_of(key, node->line) : node->line);
        if (child == NULL)
            return false;
        *tail = child;
        tail = &child->next;
        if (key) {
            child->key = copy_scalar(key);
            child->line = line_of(key, child->line);
            if (child->key == NULL)
                return false;
        }
    }
}

static struct yaml *convert(struct fy_node *fyn, const char *file, int line)
{
    struct yaml *node = yaml_new(file, first_line(fyn, line));
    if (node == NULL)
        return NULL;
    bool ok = true;
    if (fyn == NULL || fy_node_is_scalar(fyn)) {
        node->kind = YAML_SCALAR;
        node->text = copy_scalar(fyn);
        ok = node->text != NULL;
    } else {
        node->kind = fy_node_is_sequence(fyn) ? YAML_LIST : YAML_MAP;
        ok = convert_children(node, fyn);
    }
    if (!ok) {
        yaml_free(node);
        return NULL;
    }
    return node;
}

/* Errors are collected and said by us; libfyaml prints some besides. */
static void discard(struct fy_diag *diag, void *user, const char *text, size_t n)
{
    (void)diag;
    (void)user;
    (void)text;
    (void)n;
}

static void say_parse_error(struct fy_diag *diag, const char *file, struct err *err)
{
    void *at = NULL;
    struct fy_diag_error *first = fy_diag_errors_iterate(diag, &at);
    if (first)
        err_set(err, EINVAL, "%s:%d: %s", file, first->line, first->msg);
    else
        err_set(err, EINVAL, "%s: holds no YAML", file);
}

struct yaml *yaml_load_text(const char *name, struct str text, struct err *err)
{
    struct fy_diag_cfg quiet;
    fy_diag_cfg_default(&quiet);
    quiet.fp = NULL;
    quiet.output_fn = discard;
    struct fy_diag *diag = fy_diag_create(&quiet);
    if (diag == NULL) {
        err_set(err, ENOMEM, "%s: out of memory", name);
        return NULL;
    }
    fy_diag_set_collect_errors(diag, true);
    struct fy_parse_cfg cfg = {.flags = FYPCF_QUIET | FYPCF_DEFAULT_PARSE | FYPCF_RESOLVE_DOCUMENT,
                               .diag = diag};
    struct fy_document *document = fy_document_build_from_string(&cfg, text.p, text.n);
    struct yaml *root = NULL;
    if (document == NULL || fy_document_root(document) == NULL) {
        say_parse_error(diag, name, err);
    } else {
        root = convert(fy_document_root(document), name, 1);
        if (root == NULL)
            err_set(err, ENOMEM, "%s: out of memory", name);
    }
    fy_document_destroy(document);
    fy_diag_destroy(diag);
    return root;
}

struct yaml *yaml_load_file(const char *path, struct err *err)
{
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        err_set(err, errno, "cannot read the scenario %s: %s", path, strerror(errno));
        return NULL;
    }
    struct yaml *root = NULL;
    char *text = malloc(WORLD_SCENARIO_MAX);
    size_t n = text ? fread(text, 1, WORLD_SCENARIO_MAX, file) : 0;
    if (text == NULL)
        err_set(err, ENOMEM, "%s: out of memory", path);
    else if (ferror(file))
        err_set(err, errno, "cannot read the scenario %s: %s", path, strerror(errno));
    else if (n == WORLD_SCENARIO_MAX)
        err_set(err, EFBIG, "%s: is larger than %d bytes; use {n..m} in names", path, WORLD_SCENARIO_MAX);
    else
        root = yaml_load_text(path, str_make(text, n), err);
    free(text);
    fclose(file);
    return root;
}

void yaml_free(struct yaml *root)
{
    while (root) {
        struct yaml *next = root->next;
        yaml_free(root->first);
        free(root->key);
        free(root->text);
        free(root);
        root = next;
    }
}

bool yaml_error(const struct yaml *node, struct err *err, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    char text[ERR_TEXT_MAX];
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return err_set(err, EINVAL, "%s:%d: %s", node->file, node->line, text);
}

bool yaml_is(const struct yaml *node, const char *key)
{
    return node->key && strcmp(node->key, key) == 0;
}

bool yaml_want(const struct yaml *node, enum yaml_kind kind, struct err *err)
{
    static const char *const names[] = {"one value", "a list", "keys with values"};
    if (node->kind == kind)
        return true;
    return yaml_error(node, err, "%s wants %s, not %s", node->key ? node->key : "this place", names[kind],
                      names[node->kind]);
}

bool yaml_bool(const struct yaml *node, bool *out, struct err *err)
{
    if (!yaml_want(node, YAML_SCALAR, err))
        return false;
    struct str s = str_of(node->text);
    if (str_eq_nocase(s, STR("true")) || str_eq_nocase(s, STR("yes")) || str_eq_nocase(s, STR("on")))
        *out = true;
    else if (str_eq_nocase(s, STR("false")) || str_eq_nocase(s, STR("no")) || str_eq_nocase(s, STR("off")))
        *out = false;
    else
        return yaml_error(node, err, "%s wants true or false, not '%s'", node->key, node->text);
    return true;
}

bool yaml_u32(const struct yaml *node, uint32_t max, uint32_t *out, struct err *err)
{
    uint64_t value = 0;
    if (!yaml_want(node, YAML_SCALAR, err))
        return false;
    if (!str_u64(str_of(node->text), max, &value))
        return yaml_error(node, err, "%s wants a number from 0 to %u, not '%s'",
                          node->key ? node->key : "this place", max, node->text);
    *out = (uint32_t)value;
    return true;
}

bool yaml_number(const struct yaml *node, double max, double *out, struct err *err)
{
    if (!yaml_want(node, YAML_SCALAR, err))
        return false;
    char *end;
    double value = strtod(node->text, &end);
    if (end == node->text || *end != '\0' || !(value >= 0 && value <= max))
        return yaml_error(node, err, "%s wants a number from 0 to %g, not '%s'", node->key, max, node->text);
    *out = value;
    return true;
}

bool yaml_copy(const struct yaml *node, char **out, struct err *err)
{
    if (!yaml_want(node, YAML_SCALAR, err))
        return false;
    char *copy = str_dup(str_of(node->text));
    if (copy == NULL)
        return yaml_error(node, err, "out of memory");
    free(*out);
    *out = copy;
    return true;
}
