/* config_read.c - walks the nodes of the files along the table of options.
 *
 * Flow: config_load puts the defaults in place, reads the main file and then the files it includes, moves the
 * lists into the configuration, has config_check.c complete and check it, and hands it out if nothing was
 * reported. An error never stops the reading: all of them are shown in one run. */
#include "engine/config_table.h"
#include "engine/config_yaml.h"

#include <glob.h>
#include <stdio.h>
#include <stdlib.h>

/* Where an option that exists once was first given. */
struct config_mark {
    struct config_mark *next;
    const struct option *option;
    const char *file;
    struct fy_node *key;
};

static void read_section(struct config_reading *reading, const struct section *section, struct fy_node *map,
                         char *base, struct config_item *item);

/* ---- values ---- */

static void read_scalar(struct config_reading *reading, const struct option *option,
                        const struct yaml_pair *pair, char *base)
{
    struct value_error error;
    if (yaml_kind(pair->value) != YAML_TEXT)
        snprintf(error.expected, sizeof error.expected, "%s", value_kind_text(option->kind));
    else if (value_parse(reading->config, option, yaml_text(pair->value), base + option->offset, &error))
        return;
    config_expected(reading, pair, pair->value, error.expected);
}

/* ---- defaults ---- */

static void set_presets(struct config_reading *reading, const struct section *section, char *base)
{
    for (size_t i = 0; i < section->count; i++) {
        const struct option *option = &section->options[i];
        const char *unset = "";
        struct value_error error;
        if (option->kind == KIND_GROUP)
            set_presets(reading, option->section, base + option->offset);
        else if (option->preset != NULL)
            reading->out_of_memory |=
                !value_parse(reading->config, option, str_of(option->preset), base + option->offset, &error);
        else if (option->kind <= KIND_PATTERN)
            memcpy(base + option->offset, &unset, sizeof unset);
    }
}

/* ---- lists of maps ---- */

static bool list_make_room(struct config_list *list, size_t size)
{
    if (list->count < list->room)
        return true;
    size_t room = list->room ? list->room * 2 : 8;
    char *elements = realloc(list->elements, room * size);
    if (elements != NULL)
        list->elements = elements;
    struct config_item *items = realloc(list->items, room * sizeof *items);
    if (items != NULL)
        list->items = items;
    if (elements == NULL || items == NULL)
        return false;
    list->room = room;
    return true;
}

static void check_required(struct config_reading *reading, const struct section *section,
                           const struct config_item *item)
{
    for (size_t i = 0; i < section->count; i++)
        if (section->options[i].required && !(item->set & (1u << i)))
            yaml_report(reading->yaml, item->node, "this entry of %s needs '%s': %s", section->name,
                        section->options[i].name, value_kind_text(section->options[i].kind));
}

static void read_list(struct config_reading *reading, const struct option *option,
                      const struct yaml_pair *pair)
{
    struct config_list *list = &reading->lists[option - config_top.options];
    if (yaml_kind(pair->value) == YAML_EMPTY)
        return;
    if (yaml_kind(pair->value) != YAML_LIST) {
        config_expected(reading, pair, pair->value, "a list: each entry begins with '-'");
        return;
    }
    void *at = NULL;
    for (struct fy_node *node; (node = yaml_next_item(pair->value, &at)) != NULL;) {
        if (yaml_kind(node) != YAML_MAP) {
            config_expected(reading, pair, node, "a map of options such as {name: ...}");
            continue;
        }
        if (!list_make_room(list, option->section->size)) {
            reading->out_of_memory = true;
            return;
        }
        char *element = list->elements + list->count * option->section->size;
        struct config_item *item = &list->items[list->count];
        memset(element, 0, option->section->size);
        *item = (struct config_item){.node = node, .file = reading->file};
        set_presets(reading, option->section, element);
        read_section(reading, option->section, node, element, item);
        check_required(reading, option->section, item);
        list->count++;
    }
}

/* ---- options ---- */

static void read_value(struct config_reading *reading, const struct option *option,
                       const struct yaml_pair *pair, char *base)
{
    switch (option->kind) {
    case KIND_GROUP:
        if (yaml_kind(pair->value) == YAML_MAP)
            read_section(reading, option->section, pair->value, base + option->offset, NULL);
        else if (yaml_kind(pair->value) != YAML_EMPTY)
            config_expected(reading, pair, pair->value, value_kind_text(KIND_GROUP));
        break;
    case KIND_LIST:
        read_list(reading, option, pair);
        break;
    case KIND_GLOBS: {
        size_t count;
        if (reading->included)
            yaml_report(reading->yaml, pair->key, "'include' is for the main file only");
        else if (config_is_scalars(reading, option, pair, &count))
            reading->includes = pair->value;
        break;
    }
    case KIND_PATTERNS:
    case KIND_SERVERS:
    case KIND_TARGETS:
    case KIND_NETWORKS:
    case KIND_NAMES:
    case KIND_EVENTS:
    case KIND_SCHEDULE:
    case KIND_WEIGHTS:
    case KIND_UIDS:
    case KIND_CODES:
    case KIND_STATUSES:
    case KIND_STEPS:
        config_read_several(reading, option, pair, base);
        break;
    default:
        read_scalar(reading, option, pair, base);
    }
}

/* Where else an option of this name would be known; NULL: nowhere. */
static const char *section_that_knows(struct str name)
{
    for (size_t i = 0; i < config_top.count; i++) {
        const struct section *section = config_top.options[i].section;
        if (str_eq(name, str_of(config_top.options[i].name)))
            return "the top level";
        for (size_t j = 0; section != NULL && j < section->count; j++)
            if (str_eq(name, str_of(section->options[j].name)))
                return section->name;
    }
    return NULL;
}

static void report_unknown(struct config_reading *reading, const struct section *section, struct fy_node *key)
{
    struct str name = yaml_text(key);
    struct near_name near = near_name_of(name);
    const char *elsewhere = section_that_knows(name);
    char hint[NEAR_TEXT_MAX];
    for (size_t i = 0; i < section->count; i++)
        near_name_try(&near, section->options[i].name);
    near_name_text(&near, hint);
    if (hint[0] == '\0' && elsewhere != NULL)
        snprintf(hint, sizeof hint, ": it belongs to %s", elsewhere);
    yaml_report(reading->yaml, key, "unknown option '%.*s'%s%s%s", STR_ARG(name),
                section->name[0] ? " in " : "", section->name, hint);
}

/* An option that exists once may be given once, over all files; a list once in each. True if this one may
 * stand. */
static bool mark_option(struct config_reading *reading, const struct option *option, struct fy_node *key)
{
    bool is_list = option->kind == KIND_LIST || option->kind == KIND_GROUP;
    if (option->kind == KIND_GLOBS && reading->included)
        return true; /* refused for another reason */
    for (struct config_mark *mark = reading->marks; mark != NULL; mark = mark->next) {
        if (mark->option != option || (is_list && mark->file != reading->file))
            continue;
        yaml_report(reading->yaml, key, "'%s' is given twice, first in %s:%d", option->name, mark->file,
                    yaml_line(mark->key));
        return false;
    }
    struct config_mark *mark = config_allocate(reading, sizeof *mark);
    if (mark == NULL)
        return false;
    *mark = (struct config_mark){reading->marks, option, reading->file, key};
    reading->marks = mark;
    return true;
}

static bool mark_in_element(struct config_reading *reading, const struct section *section, size_t index,
                            struct fy_node *key, struct config_item *item)
{
    if (item->set & (1u << index)) {
        yaml_report(reading->yaml, key, "'%s' is given twice in this entry", section->options[index].name);
        return false;
    }
    item->set |= 1u << index;
    return true;
}

static void read_section(struct config_reading *reading, const struct section *section, struct fy_node *map,
                         char *base, struct config_item *item)
{
    void *at = NULL;
    struct yaml_pair pair;
    while (yaml_next_pair(map, &at, &pair)) {
        if (yaml_kind(pair.key) != YAML_TEXT) {
            bool nothing = yaml_kind(pair.key) == YAML_EMPTY && pair.value != NULL;
            yaml_report(reading->yaml, nothing ? pair.value : pair.key, "expected the name of an option");
            continue;
        }
        size_t i = 0;
        while (i < section->count && !str_eq(yaml_text(pair.key), str_of(section->options[i].name)))
            i++;
        if (i == section->count)
            report_unknown(reading, section, pair.key);
        else if (item != NULL ? mark_in_element(reading, section, i, pair.key, item)
                              : mark_option(reading, &section->options[i], pair.key))
            read_value(reading, &section->options[i], &pair, base);
    }
}

/* ---- files ---- */

/* text.p is NULL: what the file holds. */
static void read_file(struct config_reading *reading, const char *path, struct str text)
{
    struct fy_node *root;
    reading->file = config_copy(reading->config, str_of(path));
    if (reading->file == NULL) {
        reading->out_of_memory = true;
        return;
    }
    bool good = text.p != NULL ? yaml_load_text(reading->yaml, reading->file, text, &root)
                               : yaml_load(reading->yaml, reading->file, &root);
    if (!good || root == NULL)
        return;
    if (yaml_kind(root) == YAML_MAP)
        read_section(reading, &config_top, root, (char *)reading->config, NULL);
    else
        yaml_report(reading->yaml, root, "expected options as 'name: value'");
}

static void read_glob(struct config_reading *reading, const char *main_file, struct fy_node *node)
{
    struct str pattern = yaml_text(node);
    const char *slash = strrchr(main_file, '/');
    char path[4096];
    glob_t names;
    bool is_absolute = pattern.n > 0 && pattern.p[0] == '/';
    snprintf(path, sizeof path, "%.*s%.*s", slash && !is_absolute ? (int)(slash - main_file + 1) : 0,
             main_file, STR_ARG(pattern));
    int result = glob(path, 0, NULL, &names);
    for (size_t i = 0; result == 0 && i < names.gl_pathc; i++)
        read_file(reading, names.gl_pathv[i], str_make(NULL, 0));
    if (result == 0)
        globfree(&names);
    else if (result != GLOB_NOMATCH)
        yaml_report(reading->yaml, node, "cannot read the files '%s'", path);
    else if (strpbrk(path, "*?[") == NULL)
        yaml_report(reading->yaml, node, "there is no file '%s'", path);
}

static void read_all(struct config_reading *reading, const char *path)
{
    read_file(reading, path, str_make(NULL, 0));
    reading->included = true;
    void *at = NULL;
    struct fy_node *node;
    while (reading->includes != NULL && (node = config_next_scalar(reading->includes, &at)) != NULL)
        read_glob(reading, path, node);
}

static void move_lists(struct config_reading *reading)
{
    for (size_t i = 0; i < config_top.count; i++) {
        const struct option *option = &config_top.options[i];
        struct config_list *list = &reading->lists[i];
        if (option->kind != KIND_LIST)
            continue;
        size_t bytes = list->count * option->section->size;
        /* Room for one more: what config_check adds where the operator has no default of a kind. */
        char *elements = config_allocate(reading, bytes + option->section->size);
        if (elements == NULL)
            return;
        if (bytes > 0)
            memcpy(elements, list->elements, bytes);
        memcpy((char *)reading->config + option->offset, &elements, sizeof elements);
        memcpy((char *)reading->config + option->count_offset, &list->count, sizeof list->count);
        set_presets(reading, option->section, elements + bytes);
    }
}

struct fy_node *config_given(const struct config_reading *reading, const char *group, const char *name)
{
    const struct section *section = &config_top;
    for (size_t i = 0; group[0] && i < config_top.count; i++)
        if (strcmp(config_top.options[i].name, group) == 0)
            section = config_top.options[i].section;
    for (const struct config_mark *mark = reading->marks; mark != NULL; mark = mark->next)
        if (mark->option >= section->options && mark->option < section->options + section->count &&
            strcmp(mark->option->name, name) == 0)
            return mark->key;
    return NULL;
}

struct fy_node *config_item_node(const struct config_item *item, const char *name)
{
    void *at = NULL;
    struct yaml_pair pair;
    while (yaml_next_pair(item->node, &at, &pair))
        if (yaml_kind(pair.key) == YAML_TEXT && str_eq(yaml_text(pair.key), str_of(name)))
            return yaml_kind(pair.value) == YAML_EMPTY ? pair.key : pair.value;
    return item->node;
}

int config_item_line(const struct config_item *item)
{
    void *at = NULL;
    struct yaml_pair first;
    return yaml_next_pair(item->node, &at, &first) ? yaml_line(first.key) : 0;
}

struct config_list *config_list_of(struct config_reading *reading, const char *name)
{
    size_t i = 0;
    while (strcmp(config_top.options[i].name, name) != 0)
        i++;
    return &reading->lists[i];
}

static void begin(struct config_reading *reading, struct buf *errors)
{
    *reading = (struct config_reading){
        .config = calloc(1, sizeof(struct config)), .yaml = yaml_create(errors), .errors = errors};
    reading->out_of_memory = reading->config == NULL || reading->yaml == NULL;
    if (!reading->out_of_memory)
        set_presets(reading, &config_top, (char *)reading->config);
}

/* What was read, or NULL if something was reported. */
static struct config *finish(struct config_reading *reading, const char *name)
{
    if (reading->out_of_memory)
        buf_printf(reading->errors, "%s: error: memory is out\n", name);
    bool good = !reading->out_of_memory && yaml_errors(reading->yaml) == 0;
    for (size_t i = 0; i < OPTIONS_MAX; i++) {
        free(reading->lists[i].elements);
        free(reading->lists[i].items);
    }
    yaml_destroy(reading->yaml);
    if (good)
        return reading->config;
    config_free(reading->config);
    return NULL;
}

bool config_load(const char *path, struct config **config, struct buf *errors)
{
    struct config_reading reading;
    begin(&reading, errors);
    if (!reading.out_of_memory && path != NULL)
        read_all(&reading, path);
    if (!reading.out_of_memory)
        move_lists(&reading);
    if (!reading.out_of_memory)
        config_check(&reading);
    if (!reading.out_of_memory)
        config_submissions(&reading);
    if (!reading.out_of_memory)
        config_replies(&reading);
    *config = finish(&reading, path ? path : "configuration");
    return *config != NULL;
}

struct config *config_load_text(const char *name, struct str text, struct buf *errors)
{
    struct config_reading reading;
    begin(&reading, errors);
    if (!reading.out_of_memory)
        read_file(&reading, name, text);
    if (!reading.out_of_memory)
        move_lists(&reading);
    if (!reading.out_of_memory)
        config_place_replies(&reading);
    return finish(&reading, name);
}
