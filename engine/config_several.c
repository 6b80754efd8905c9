/* config_several.c - options that hold several scalars: lists of patterns and servers, schedules, weights,
 * user ids, conditions of reply rules; and how a wrong value is reported. */
#include "engine/config_table.h"
#include "engine/config_yaml.h"

#include <stdio.h>

static const char *found(struct fy_node *node, char text[96])
{
    static const char *const kinds[] = {"nothing", "", "a map", "a list",
                                        "an alias (write the value itself)"};
    enum yaml_kind kind = yaml_kind(node);
    if (kind != YAML_TEXT) {
        snprintf(text, 96, "%s", kinds[kind]);
        return text;
    }
    struct str value = yaml_text(node);
    bool is_long = value.n > 60;
    snprintf(text, 96, "'%.*s%s'", is_long ? 60 : (int)value.n, value.p, is_long ? "..." : "");
    return text;
}

void config_expected(struct config_reading *reading, const struct yaml_pair *pair, struct fy_node *node,
                     const char *expected)
{
    char text[96];
    struct str key = yaml_text(pair->key);
    struct fy_node *at = yaml_kind(node) == YAML_EMPTY ? pair->key : node;
    yaml_report(reading->yaml, at, "%.*s: expected %s, found %s", STR_ARG(key), expected, found(node, text));
}

void *config_allocate(struct config_reading *reading, size_t size)
{
    void *memory = config_alloc(reading->config, size);
    if (memory == NULL)
        reading->out_of_memory = true;
    return memory;
}

/* The items of a list of scalars; a single scalar stands for a list of one. */
struct fy_node *config_next_scalar(struct fy_node *value, void **at)
{
    if (yaml_kind(value) == YAML_LIST)
        return yaml_next_item(value, at);
    if (*at != NULL)
        return NULL;
    *at = value;
    return value;
}

bool config_is_scalars(struct config_reading *reading, const struct option *option,
                       const struct yaml_pair *pair, size_t *count)
{
    enum yaml_kind kind = yaml_kind(pair->value);
    *count = 0;
    if (kind != YAML_LIST && kind != YAML_TEXT) {
        config_expected(reading, pair, pair->value, value_kind_text(option->kind));
        return false;
    }
    bool good = true;
    void *at = NULL;
    for (struct fy_node *node; (node = config_next_scalar(pair->value, &at)) != NULL; ++*count) {
        if (yaml_kind(node) == YAML_TEXT)
            continue;
        config_expected(reading, pair, node, value_kind_text(option->kind));
        good = false;
    }
    return good;
}

static bool check_string(enum option_kind kind, struct str text, struct value_error *error)
{
    struct str host;
    uint16_t port, preference;
    switch (kind) {
    case KIND_SERVERS:
        return value_server(text, error);
    case KIND_NETWORKS:
        return value_network(text, error);
    case KIND_NAMES:
        return value_name(text, error);
    case KIND_TARGETS:
        return value_target(text, &host, &port, &preference, error);
    default:
        return value_pattern(text, true, error);
    }
}

static void read_strings(struct config_reading *reading, const struct option *option,
                         const struct yaml_pair *pair, char *base)
{
    size_t count;
    if (!config_is_scalars(reading, option, pair, &count))
        return;
    if (count == 0 && (option->kind == KIND_PATTERNS || option->kind == KIND_TARGETS))
        config_expected(reading, pair, pair->value,
                        option->kind == KIND_TARGETS ? "at least one host" : "at least one pattern");
    if (count > MX_HOSTS_MAX && option->kind == KIND_TARGETS)
        config_expected(reading, pair, pair->value, "fewer hosts");
    struct config_strings strings = {config_allocate(reading, (count + 1) * sizeof(char *)), 0};
    void *at = NULL;
    for (struct fy_node *node; strings.list && (node = config_next_scalar(pair->value, &at)) != NULL;) {
        struct value_error error;
        struct str text = yaml_text(node);
        if (!check_string(option->kind, text, &error))
            config_expected(reading, pair, node, error.expected);
        else if ((strings.list[strings.count] = config_copy(reading->config, text)) != NULL)
            strings.count++;
        else
            reading->out_of_memory = true;
    }
    memcpy(base + option->offset, &strings, sizeof strings);
}

static void read_events(struct config_reading *reading, const struct option *option,
                        const struct yaml_pair *pair, char *base)
{
    size_t count;
    unsigned bits = 0;
    if (!config_is_scalars(reading, option, pair, &count))
        return;
    void *at = NULL;
    for (struct fy_node *node; (node = config_next_scalar(pair->value, &at)) != NULL;) {
        struct near_name near = near_name_of(yaml_text(node));
        char hint[NEAR_TEXT_MAX];
        if (value_event(yaml_text(node), &bits))
            continue;
        for (unsigned i = 0; i < EVENT_TYPES; i++)
            near_name_try(&near, event_type_name((enum event_type)i));
        yaml_report(reading->yaml, node, "unknown type of event '%.*s'%s", STR_ARG(yaml_text(node)),
                    near_name_text(&near, hint));
    }
    memcpy(base + option->offset, &bits, sizeof bits);
}

static void read_schedule(struct config_reading *reading, const struct option *option,
                          const struct yaml_pair *pair, char *base)
{
    size_t count;
    struct retry_rule *rule = (struct retry_rule *)(void *)base;
    if (!config_is_scalars(reading, option, pair, &count))
        return;
    if (count == 0 || count > RETRY_DELAYS_MAX) {
        struct value_error error;
        snprintf(error.expected, sizeof error.expected, "1 to %d durations", RETRY_DELAYS_MAX);
        config_expected(reading, pair, pair->value, error.expected);
        return;
    }
    void *at = NULL;
    for (struct fy_node *node; (node = config_next_scalar(pair->value, &at)) != NULL;) {
        struct value_error error;
        if (!value_duration(option, yaml_text(node), &rule->delays_ms[rule->count], &error))
            config_expected(reading, pair, node, error.expected);
        rule->count++;
    }
}

static bool is_map(struct config_reading *reading, const struct option *option, const struct yaml_pair *pair,
                   size_t *count)
{
    if (yaml_kind(pair->value) != YAML_MAP) {
        config_expected(reading, pair, pair->value, value_kind_text(option->kind));
        return false;
    }
    void *at = NULL;
    struct yaml_pair each;
    for (*count = 0; yaml_next_pair(pair->value, &at, &each);)
        ++*count;
    return true;
}

/* Has this key stood before in the map? */
static bool is_repeated(struct config_reading *reading, struct fy_node *map, const struct yaml_pair *pair)
{
    void *at = NULL;
    struct yaml_pair each;
    while (yaml_next_pair(map, &at, &each) && each.key != pair->key) {
        if (yaml_kind(each.key) != YAML_TEXT || !str_eq(yaml_text(each.key), yaml_text(pair->key)))
            continue;
        struct str key = yaml_text(pair->key);
        yaml_report(reading->yaml, pair->key, "'%.*s' is given twice, first in line %d", STR_ARG(key),
                    yaml_line(each.key));
        return true;
    }
    return false;
}

static void read_weights(struct config_reading *reading, const struct option *option,
                         const struct yaml_pair *pair, char *base)
{
    size_t count = 0, used = 0;
    if (!is_map(reading, option, pair, &count))
        return;
    if (count == 0)
        config_expected(reading, pair, pair->value, "at least one source");
    struct config_weight *list = config_allocate(reading, (count + 1) * sizeof *list);
    struct option weight = {.kind = KIND_NUMBER, .min = option->min, .max = option->max};
    void *at = NULL;
    struct yaml_pair each;
    while (list != NULL && yaml_next_pair(pair->value, &at, &each)) {
        struct value_error error = {""};
        if (yaml_kind(each.key) != YAML_TEXT || !value_name(yaml_text(each.key), &error))
            config_expected(reading, pair, each.key, value_kind_text(KIND_NAME));
        else if (is_repeated(reading, pair->value, &each))
            continue;
        else if (yaml_kind(each.value) != YAML_TEXT ||
                 !value_parse(reading->config, &weight, yaml_text(each.value), &list[used].weight, &error))
            config_expected(reading, &each, each.value, error.expected[0] ? error.expected : "a weight");
        else if ((list[used++].name = config_copy(reading->config, yaml_text(each.key))) == NULL)
            reading->out_of_memory = true;
    }
    memcpy(base + option->offset, &list, sizeof list);
    memcpy(base + option->count_offset, &used, sizeof used);
}

static void read_uids(struct config_reading *reading, const struct option *option,
                      const struct yaml_pair *pair, char *base)
{
    size_t count = 0, used = 0;
    if (!is_map(reading, option, pair, &count))
        return;
    struct config_uid *list = config_allocate(reading, (count + 1) * sizeof *list);
    void *at = NULL;
    struct yaml_pair each;
    while (list != NULL && yaml_next_pair(pair->value, &at, &each)) {
        uint64_t uid;
        struct value_error error;
        if (yaml_kind(each.key) != YAML_TEXT || !str_u64(yaml_text(each.key), UINT32_MAX - 1, &uid))
            config_expected(reading, pair, each.key, "a user id (a number)");
        else if (is_repeated(reading, pair->value, &each))
            continue;
        else if (yaml_kind(each.value) != YAML_TEXT || !value_name(yaml_text(each.value), &error))
            config_expected(reading, &each, each.value, "the name of a tenant");
        else {
            list[used].uid = (uint32_t)uid;
            list[used].tenant = config_copy(reading->config, yaml_text(each.value));
            reading->out_of_memory |= list[used++].tenant == NULL;
        }
    }
    memcpy(base + option->offset, &list, sizeof list);
    memcpy(base + option->count_offset, &used, sizeof used);
}

static bool add_to_rule(const struct option *option, struct str text, char *to)
{
    if (option->kind == KIND_CODES)
        return rule_code_add((struct rule_codes *)(void *)to, text);
    if (option->kind == KIND_STATUSES)
        return rule_status_add((struct rule_statuses *)(void *)to, text);
    unsigned step = rule_step_of(text);
    *(unsigned *)(void *)to |= step;
    return step != 0;
}

/* Codes, statuses and steps of a reply rule. */
static void read_conditions(struct config_reading *reading, const struct option *option,
                            const struct yaml_pair *pair, char *base)
{
    struct value_error error;
    size_t count;
    if (!config_is_scalars(reading, option, pair, &count))
        return;
    if (count == 0 || count > option->max) {
        snprintf(error.expected, sizeof error.expected, "1 to %llu of them", (unsigned long long)option->max);
        config_expected(reading, pair, pair->value, error.expected);
        return;
    }
    void *at = NULL;
    for (struct fy_node *node; (node = config_next_scalar(pair->value, &at)) != NULL;)
        if (!add_to_rule(option, yaml_text(node), base + option->offset))
            config_expected(reading, pair, node, value_kind_text(option->kind));
}

void config_read_several(struct config_reading *reading, const struct option *option,
                         const struct yaml_pair *pair, char *base)
{
    switch (option->kind) {
    case KIND_SCHEDULE:
        read_schedule(reading, option, pair, base);
        break;
    case KIND_WEIGHTS:
        read_weights(reading, option, pair, base);
        break;
    case KIND_EVENTS:
        read_events(reading, option, pair, base);
        break;
    case KIND_UIDS:
        read_uids(reading, option, pair, base);
        break;
    case KIND_CODES:
    case KIND_STATUSES:
    case KIND_STEPS:
        read_conditions(reading, option, pair, base);
        break;
    default:
        read_strings(reading, option, pair, base);
    }
}
