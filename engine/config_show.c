/* config_show.c - the table of options as text: the effective configuration as YAML, and the options as roff.
 */
#include "engine/base/roff.h"
#include "engine/config_table.h"

#include <stdio.h>

/* ---- YAML ---- */

/* Plain where YAML reads it back as the same text, else in double quotes. */
static void show_text(struct buf *out, const char *text)
{
    static const char safe[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-";
    if (text[0] != '\0' && text[0] != '-' && text[strspn(text, safe)] == '\0' && strcmp(text, "null") != 0) {
        buf_add_z(out, text);
        return;
    }
    buf_add_char(out, '"');
    for (const char *p = text; *p != '\0'; p++) {
        if ((unsigned char)*p < 0x20)
            buf_printf(out, "\\x%02x", (unsigned)*p);
        else
            buf_printf(out, *p == '"' || *p == '\\' ? "\\%c" : "%c", *p);
    }
    buf_add_char(out, '"');
}

static void show_strings(struct buf *out, const struct config_strings *strings)
{
    buf_add_char(out, '[');
    for (size_t i = 0; i < strings->count; i++) {
        buf_add_z(out, i ? ", " : "");
        show_text(out, strings->list[i]);
    }
    buf_add_char(out, ']');
}

static void show_events(struct buf *out, unsigned bits)
{
    const char *before = "[";
    for (unsigned i = 0; i < EVENT_TYPES; i++) {
        unsigned same = 0;
        value_event(str_of(event_type_name((enum event_type)i)), &same);
        if (!(bits & 1u << i) || (same & ((1u << i) - 1)) != 0)
            continue; /* or named before */
        buf_printf(out, "%s%s", before, event_type_name((enum event_type)i));
        before = ", ";
    }
    buf_add_char(out, ']');
}

static void show_schedule(struct buf *out, const struct retry_rule *rule)
{
    for (unsigned i = 0; i < rule->count; i++) {
        char text[UNITS_TEXT_MAX];
        duration_format(rule->delays_ms[i], text);
        buf_printf(out, "%s%s", i ? ", " : "[", text);
    }
    buf_add_char(out, ']');
}

static void show_steps(struct buf *out, unsigned steps)
{
    const char *comma = "";
    for (unsigned step = RULE_AT_GREETING; step <= RULE_AT_DATA; step *= 2)
        if (steps & step) {
            buf_printf(out, "%s%s", comma, rule_step_name(step));
            comma = ", ";
        }
}

/* A condition of a reply rule as a list; nothing where there is none. */
static void show_condition(struct buf *out, const struct option *option, const char *from)
{
    buf_add_char(out, '[');
    size_t start = out->len;
    if (option->kind == KIND_CODES)
        rule_codes_format((const struct rule_codes *)(const void *)from, out);
    else if (option->kind == KIND_STATUSES)
        rule_statuses_format((const struct rule_statuses *)(const void *)from, out);
    else
        show_steps(out, *(const unsigned *)(const void *)from);
    if (out->len == start)
        out->len--;
    else
        buf_add_char(out, ']');
}

static void show_action(struct buf *out, const struct reaction *reaction)
{
    buf_add_char(out, '"');
    reaction_format(reaction, out);
    buf_add_char(out, '"');
}

static void show_weights(struct buf *out, const struct config_pool *pool)
{
    for (size_t i = 0; i < pool->source_count; i++) {
        buf_add_z(out, i ? ", " : "{");
        show_text(out, pool->sources[i].name);
        buf_printf(out, ": %u", pool->sources[i].weight);
    }
    buf_add_char(out, '}');
}

static void show_uids(struct buf *out, const struct config_jobs *jobs)
{
    for (size_t i = 0; i < jobs->tenant_count; i++) {
        buf_printf(out, "%s%u: ", i ? ", " : "{", jobs->tenants[i].uid);
        show_text(out, jobs->tenants[i].tenant);
    }
    buf_add_char(out, '}');
}

/* The value after "name: "; nothing where the option is unset. */
static void show_value(struct buf *out, const struct option *option, const char *base)
{
    const char *from = base + option->offset;
    switch (option->kind) {
    case KIND_PATH:
    case KIND_FILE:
    case KIND_LISTEN:
    case KIND_NAME:
    case KIND_HOST:
    case KIND_ADDRESS:
    case KIND_MAILBOX:
    case KIND_URL:
    case KIND_USER:
    case KIND_PROXY:
    case KIND_EXPRESSION:
    case KIND_FEEDBACK:
    case KIND_PATTERN:
        if ((*(const char *const *)(const void *)from)[0] != '\0')
            show_text(out, *(const char *const *)(const void *)from);
        break;
    case KIND_EVENTS:
        if (*(const unsigned *)(const void *)from != 0)
            show_events(out, *(const unsigned *)(const void *)from);
        break;
    case KIND_PATTERNS:
    case KIND_SERVERS:
    case KIND_TARGETS:
    case KIND_NETWORKS:
    case KIND_NAMES:
        if (((const struct config_strings *)(const void *)from)->count > 0)
            show_strings(out, (const struct config_strings *)(const void *)from);
        break;
    case KIND_SCHEDULE:
        show_schedule(out, (const struct retry_rule *)(const void *)base);
        break;
    case KIND_WEIGHTS:
        show_weights(out, (const struct config_pool *)(const void *)base);
        break;
    case KIND_UIDS:
        if (((const struct config_jobs *)(const void *)base)->tenant_count > 0)
            show_uids(out, (const struct config_jobs *)(const void *)base);
        break;
    case KIND_CODES:
    case KIND_STATUSES:
    case KIND_STEPS:
        show_condition(out, option, from);
        break;
    case KIND_ACTION:
        show_action(out, (const struct reaction *)(const void *)from);
        break;
    default:
        value_format(option, from, out);
    }
}

/* The options of one section, each on a line after `indent` (the first after `first`). */
static void show_section(struct buf *out, const struct section *section, const char *base, const char *first,
                         const char *indent)
{
    const char *before = first;
    for (size_t i = 0; i < section->count; i++) {
        size_t start = out->len;
        buf_printf(out, "%s%s: ", before, section->options[i].name);
        size_t named = out->len;
        show_value(out, &section->options[i], base);
        if (out->len == named) { /* unset: take the name back */
            out->len = start;
            continue;
        }
        buf_add_char(out, '\n');
        before = indent;
    }
}

static void show_list(struct buf *out, const struct option *option, const char *elements, size_t count)
{
    for (size_t i = 0; i < count; i++)
        show_section(out, option->section, elements + i * option->section->size, "  - ", "    ");
}

static void show_top(struct buf *out, const struct config *config, const struct option *option)
{
    const char *base = (const char *)config;
    if (option->kind == KIND_GROUP) {
        buf_printf(out, "%s:\n", option->name);
        show_section(out, option->section, base + option->offset, "  ", "  ");
    } else if (option->kind == KIND_LIST) {
        const char *elements;
        size_t count;
        memcpy(&elements, base + option->offset, sizeof elements);
        memcpy(&count, base + option->count_offset, sizeof count);
        bool is_sites = option->section == &config_site_section;
        if (count == 0 && !is_sites)
            return;
        buf_printf(out, "%s:\n", option->name);
        if (is_sites)
            show_list(out, option, (const char *)&config->site_default, 1);
        show_list(out, option, elements, count);
    } else if (option->kind != KIND_GLOBS) {
        size_t start = out->len;
        buf_printf(out, "%s: ", option->name);
        size_t named = out->len;
        show_value(out, option, base);
        if (out->len == named) /* unset */
            out->len = start;
        else
            buf_add_char(out, '\n');
    }
}

void config_show(const struct config *config, struct buf *out)
{
    for (size_t i = 0; i < config_top.count; i++)
        show_top(out, config, &config_top.options[i]);
}

/* ---- what differs ---- */

/* The same text shown is the same option. */
static bool differs(const struct option *option, const char *before, const char *after,
                    void (*show)(struct buf *out, const struct option *option, const char *base))
{
    struct buf a, b;
    buf_init(&a, CONFIG_TEXT_MAX);
    buf_init(&b, CONFIG_TEXT_MAX);
    show(&a, option, before);
    show(&b, option, after);
    bool differ = a.failed || b.failed || !str_eq(buf_str(&a), buf_str(&b));
    buf_free(&a);
    buf_free(&b);
    return differ;
}

static void show_one(struct buf *out, const struct option *option, const char *base)
{
    show_value(out, option, base);
}

static void show_any(struct buf *out, const struct option *option, const char *base)
{
    show_top(out, (const struct config *)(const void *)base, option);
}

void config_compare(const struct config *before, const struct config *after, config_change *change,
                    void *user)
{
    const char *a = (const char *)before, *b = (const char *)after;
    for (size_t i = 0; i < config_top.count; i++) {
        const struct option *top = &config_top.options[i];
        if (!differs(top, a, b, show_any))
            continue;
        if (top->kind != KIND_GROUP) {
            change(top->name, top->live, user);
            continue;
        }
        for (size_t k = 0; k < top->section->count; k++) {
            const struct option *option = &top->section->options[k];
            char name[128];
            snprintf(name, sizeof name, "%s.%s", top->name, option->name);
            if (differs(option, a + top->offset, b + top->offset, show_one))
                change(name, top->live || option->live, user);
        }
    }
}

/* ---- roff ---- */

static void man_bounds(struct buf *out, const struct option *option)
{
    char low[UNITS_TEXT_MAX], high[UNITS_TEXT_MAX], text[2 * UNITS_TEXT_MAX + 16];
    switch (option->kind) {
    case KIND_NUMBER:
    case KIND_PORT:
    case KIND_WEIGHTS:
        snprintf(low, sizeof low, "%llu", (unsigned long long)option->min);
        snprintf(high, sizeof high, "%llu", (unsigned long long)option->max);
        break;
    case KIND_DURATION:
    case KIND_SCHEDULE:
        duration_format((int64_t)option->min, low);
        duration_format((int64_t)option->max, high);
        break;
    case KIND_SIZE:
        size_format(option->min, low);
        size_format(option->max, high);
        break;
    default:
        return;
    }
    snprintf(text, sizeof text, "From %s to %s.", low, high);
    roff_line(out, text);
}

static void man_option(struct buf *out, const struct option *option)
{
    buf_printf(out, ".It Ic %s\n", option->name);
    roff_line(out, option->help);
    if (option->live)
        roff_line(out, "A reload applies it.");
    if (option->kind == KIND_GROUP || option->kind == KIND_LIST)
        return;
    char text[192];
    snprintf(text, sizeof text, "Takes %s.", value_kind_text(option->kind));
    roff_line(out, text);
    man_bounds(out, option);
    if (option->required || option->preset != NULL) {
        snprintf(text, sizeof text, "Default: %s.", option->preset);
        roff_line(out, option->required ? "Required." : text);
    }
}

static void man_section(struct buf *out, const struct section *section)
{
    buf_add_z(out, ".Bl -tag -width Ds\n");
    for (size_t i = 0; i < section->count; i++)
        man_option(out, &section->options[i]);
    buf_add_z(out, ".El\n");
}

void config_man(struct buf *out)
{
    man_section(out, &config_top);
    for (size_t i = 0; i < config_top.count; i++) {
        const struct option *option = &config_top.options[i];
        if (option->section == NULL)
            continue;
        buf_printf(out, ".Ss %s\n", option->name);
        buf_add_z(out, option->kind == KIND_LIST ? "Each entry of the list:\n" : "In this map:\n");
        man_section(out, option->section);
    }
}
