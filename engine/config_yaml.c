/* config_yaml.c - the room of libfyaml: see config_yaml.h.
 *
 * libfyaml reads lines that are not UTF-8 or hold a NUL only up to that byte, and documents after the first
 * not at all; both are refused here, so that nothing an operator wrote is passed over in silence. Aliases are
 * refused too: a report about what one stands for would point nowhere. */
#include "engine/config_yaml.h"

#include <errno.h>
#include <libfyaml.h>
#include <stdio.h>
#include <stdlib.h>

struct yaml {
    struct buf *out;
    struct fy_diag *diag;
    unsigned errors;
    const char *file; /* read last */
    struct fy_parser **parsers;
    struct fy_document **documents; /* two a file at most: the second is an error, kept for its report */
    size_t parser_count, document_count;
};

static void yaml_output(struct fy_diag *diag, void *user, const char *text, size_t n)
{
    struct yaml *yaml = user;
    (void)diag;
    if (yaml->errors <= YAML_ERRORS_MAX)
        buf_add(yaml->out, text, n);
}

struct yaml *yaml_create(struct buf *out)
{
    struct yaml *yaml = calloc(1, sizeof *yaml);
    if (yaml == NULL)
        return NULL;
    struct fy_diag_cfg settings;
    fy_diag_cfg_default(&settings);
    settings.fp = NULL;
    settings.output_fn = yaml_output;
    settings.user = yaml;
    settings.level = FYET_ERROR;
    settings.colorize = settings.show_source = settings.show_position = settings.show_type =
        settings.show_module = false;
    yaml->out = out;
    yaml->diag = fy_diag_create(&settings);
    yaml->parsers = calloc(YAML_FILES_MAX, sizeof(struct fy_parser *));
    yaml->documents = calloc(YAML_FILES_MAX * 2, sizeof(struct fy_document *));
    if (yaml->diag == NULL || yaml->parsers == NULL || yaml->documents == NULL) {
        yaml_destroy(yaml);
        return NULL;
    }
    return yaml;
}

void yaml_destroy(struct yaml *yaml)
{
    if (yaml == NULL)
        return;
    for (size_t i = 0; yaml->documents != NULL && i < yaml->document_count; i++)
        fy_document_destroy(yaml->documents[i]);
    for (size_t i = 0; yaml->parsers != NULL && i < yaml->parser_count; i++)
        fy_parser_destroy(yaml->parsers[i]);
    free(yaml->documents);
    free(yaml->parsers);
    fy_diag_destroy(yaml->diag);
    free(yaml);
}

unsigned yaml_errors(const struct yaml *yaml)
{
    return yaml->errors;
}

/* True while errors may still be written; the one after the last says that there are more. */
static bool may_report(struct yaml *yaml)
{
    if (yaml->errors++ == YAML_ERRORS_MAX)
        buf_printf(yaml->out, "more than %d errors: the rest is not shown\n", YAML_ERRORS_MAX);
    return yaml->errors <= YAML_ERRORS_MAX;
}

/* yaml_report about a file as a whole. */
static void __attribute__((format(printf, 3, 4)))
report_file(struct yaml *yaml, const char *path, const char *format, ...)
{
    if (!may_report(yaml))
        return;
    va_list args;
    va_start(args, format);
    buf_printf(yaml->out, "%s: error: ", path);
    buf_vprintf(yaml->out, format, args);
    buf_add_char(yaml->out, '\n');
    va_end(args);
}

/* A map or list would be quoted over all its lines: its first scalar stands for it. */
static struct fy_node *first_scalar(struct fy_node *node)
{
    for (;;) {
        void *at = NULL;
        struct fy_node *inside = NULL;
        if (fy_node_is_mapping(node)) {
            struct fy_node_pair *pair = fy_node_mapping_iterate(node, &at);
            inside = pair ? fy_node_pair_key(pair) : NULL;
        } else if (fy_node_is_sequence(node)) {
            inside = fy_node_sequence_iterate(node, &at);
        }
        if (inside == NULL)
            return node;
        node = inside;
    }
}

/* False: libfyaml wrote nothing, as for a key or value that is empty. */
static bool report_at(struct yaml *yaml, struct fy_node *node, const char *message)
{
    size_t before = yaml->out->len;
    fy_diag_node_report(yaml->diag, first_scalar(node), FYET_ERROR, "%s", message);
    return yaml->out->len > before || yaml->out->failed;
}

void yaml_report(struct yaml *yaml, struct fy_node *node, const char *format, ...)
{
    char message[1024];
    va_list args;
    if (!may_report(yaml))
        return;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    while (node != NULL && !report_at(yaml, node, message))
        node = fy_node_get_parent(node); /* the nearest place that there is to see */
    if (node == NULL)
        buf_printf(yaml->out, "%s: error: %s\n", yaml->file, message);
}

/* How many bytes of a valid UTF-8 character (no NUL, no surrogate, shortest form) begin here; 0: none. */
static size_t utf8_length(const unsigned char *p, size_t left)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    if (p[0] < 0x80)
        return p[0] != 0;
    size_t n = p[0] >= 0xf0 && p[0] < 0xf8   ? 4
               : p[0] >= 0xe0 && p[0] < 0xf0 ? 3
               : p[0] >= 0xc0 && p[0] < 0xe0 ? 2
                                             : 0;
    if (n == 0 || n > left)
        return 0;
    uint32_t c = p[0] & (0x7fu >> n);
    for (size_t i = 1; i < n; i++) {
        if ((p[i] & 0xc0) != 0x80)
            return 0;
        c = c << 6 | (p[i] & 0x3f);
    }
    return c >= least[n] && c <= 0x10ffff && (c < 0xd800 || c > 0xdfff) ? n : 0;
}

static bool check_bytes(struct yaml *yaml, const char *path, const char *text, size_t n)
{
    unsigned line = 1, column = 1;
    for (size_t i = 0, length; i < n; i += length) {
        length = utf8_length((const unsigned char *)text + i, n - i);
        if (length == 0) {
            if (may_report(yaml))
                buf_printf(yaml->out, "%s:%u:%u: error: expected text in UTF-8, found the byte 0x%02x\n",
                           path, line, column, (unsigned char)text[i]);
            return false;
        }
        column++;
        if (text[i] == '\n') {
            line++;
            column = 1;
        }
    }
    return true;
}

/* NULL: it cannot be read, or is not small enough. */
static char *read_text(struct yaml *yaml, const char *path, size_t *n)
{
    FILE *file = fopen(path, "re");
    bool good = false;
    if (file == NULL) {
        report_file(yaml, path, "cannot be read: %s", strerror(errno));
        return NULL;
    }
    char *text = malloc(YAML_FILE_MAX + 1);
    *n = text != NULL ? fread(text, 1, YAML_FILE_MAX + 1, file) : 0;
    if (text == NULL)
        report_file(yaml, path, "cannot be read: memory is out");
    else if (ferror(file))
        report_file(yaml, path, "cannot be read: %s", strerror(errno));
    else if (*n > YAML_FILE_MAX)
        report_file(yaml, path, "is longer than %d MiB", YAML_FILE_MAX >> 20);
    else
        good = true;
    fclose(file);
    if (good)
        return text;
    free(text);
    return NULL;
}

static struct fy_document *next_document(struct yaml *yaml, struct fy_parser *parser)
{
    struct fy_document *document = fy_parse_load_document(parser);
    if (document != NULL)
        yaml->documents[yaml->document_count++] = document;
    return document;
}

static struct fy_parser *next_parser(struct yaml *yaml, const char *name)
{
    if (yaml->parser_count == YAML_FILES_MAX) {
        report_file(yaml, name, "is one file too many: at most %d are read", YAML_FILES_MAX);
        return NULL;
    }
    struct fy_parse_cfg settings = {
        .search_path = "", .flags = FYPCF_ALLOW_DUPLICATE_KEYS, .diag = yaml->diag};
    struct fy_parser *parser = fy_parser_create(&settings);
    if (parser == NULL)
        report_file(yaml, name, "cannot be read: memory is out");
    else
        yaml->parsers[yaml->parser_count++] = parser;
    return parser;
}

/* ready: the parser has its input. */
static bool read_document(struct yaml *yaml, const char *path, struct fy_parser *parser, bool ready,
                          struct fy_node **root)
{
    size_t before = yaml->out->len;
    struct fy_document *document = ready ? next_document(yaml, parser) : NULL;
    struct fy_document *second = document != NULL ? next_document(yaml, parser) : NULL;
    if (second != NULL && fy_document_root(second) != NULL) {
        yaml_report(yaml, fy_document_root(second), "expected one document, found a second one");
        return false;
    }
    if (fy_parser_get_stream_error(parser)) {
        if (yaml->out->len == before)
            report_file(yaml, path, "is not YAML");
        else
            yaml->errors++; /* the parser has reported it */
        return false;
    }
    *root = document != NULL ? fy_document_root(document) : NULL;
    if (*root != NULL && yaml_kind(*root) == YAML_EMPTY)
        *root = NULL;
    return true;
}

/* As a stream, which it copies. Left to read the file itself it would map it, and a file that is cut short
 * then, as by an editor that writes in place, would end the process with SIGBUS. */
static bool read_stream(struct yaml *yaml, const char *path, char *text, size_t n, struct fy_node **root)
{
    FILE *stream = fmemopen(text, n, "r");
    struct fy_parser *parser = stream != NULL ? next_parser(yaml, path) : NULL;
    if (stream == NULL)
        report_file(yaml, path, "cannot be read: memory is out");
    bool good = parser != NULL &&
                read_document(yaml, path, parser, fy_parser_set_input_fp(parser, path, stream) == 0, root);
    if (stream != NULL)
        fclose(stream);
    return good;
}

bool yaml_load(struct yaml *yaml, const char *path, struct fy_node **root)
{
    size_t n;
    *root = NULL;
    yaml->file = path;
    char *text = read_text(yaml, path, &n);
    bool good = text != NULL && check_bytes(yaml, path, text, n) &&
                (n == 0 || read_stream(yaml, path, text, n, root));
    free(text);
    return good;
}

bool yaml_load_text(struct yaml *yaml, const char *name, struct str text, struct fy_node **root)
{
    *root = NULL;
    yaml->file = name;
    if (!check_bytes(yaml, name, text.p, text.n))
        return false;
    struct fy_parser *parser = next_parser(yaml, name);
    return parser != NULL &&
           read_document(yaml, name, parser, fy_parser_set_string(parser, text.p, text.n) == 0, root);
}

enum yaml_kind yaml_kind(struct fy_node *node)
{
    if (node == NULL)
        return YAML_EMPTY;
    if (fy_node_is_alias(node))
        return YAML_ALIAS;
    if (fy_node_is_mapping(node))
        return YAML_MAP;
    if (fy_node_is_sequence(node))
        return YAML_LIST;
    size_t n;
    const char *text = fy_node_get_scalar(node, &n);
    bool plain = fy_node_get_style(node) == FYNS_PLAIN;
    struct str s = str_make(text, text ? n : 0);
    return plain && (s.n == 0 || str_eq(s, STR("~")) || str_eq(s, STR("null"))) ? YAML_EMPTY : YAML_TEXT;
}

struct str yaml_text(struct fy_node *node)
{
    size_t n;
    const char *text = fy_node_get_scalar(node, &n);
    return str_make(text, text ? n : 0);
}

int yaml_line(struct fy_node *node)
{
    struct fy_token *token = fy_node_get_scalar_token(node);
    const struct fy_mark *mark = token ? fy_token_start_mark(token) : NULL;
    return mark ? mark->line + 1 : 0;
}

bool yaml_next_pair(struct fy_node *map, void **at, struct yaml_pair *pair)
{
    struct fy_node_pair *next = fy_node_mapping_iterate(map, at);
    if (next == NULL)
        return false;
    *pair = (struct yaml_pair){fy_node_pair_key(next), fy_node_pair_value(next)};
    return true;
}

struct fy_node *yaml_next_item(struct fy_node *list, void **at)
{
    return fy_node_sequence_iterate(list, at);
}
