/* config_replies.c - reply rules: the built-in ones, where each was written, and all of them compiled.
 *
 * deploy/replies.yaml stands in the program as it is, byte for byte, and is read like any other file of the
 * configuration: what an operator may look at and what counts can't differ. */
#include "engine/config_table.h"
#include "engine/config_yaml.h"

#include <stdio.h>

#define BUILT_IN_NAME "built-in replies.yaml"

/* The file, put in by the assembler; the Makefile says that the object depends on it. */
__asm__(".pushsection .rodata\n"
        ".globl config_built_in, config_built_in_size\n"
        "config_built_in:\n"
        ".incbin \"deploy/replies.yaml\"\n"
        "1: .balign 8\n"
        "config_built_in_size:\n"
        ".quad 1b - config_built_in\n"
        ".popsection\n");
extern const char config_built_in[];
extern const uint64_t config_built_in_size;

void config_place_replies(struct config_reading *reading)
{
    const struct config_list *list = config_list_of(reading, "replies");
    for (size_t i = 0; i < reading->config->reply_count; i++) {
        struct buf where;
        buf_init(&where, PLACE_MAX);
        buf_printf(&where, "%s:%d", list->items[i].file, config_item_line(&list->items[i]));
        reading->config->replies[i].where = config_copy(reading->config, buf_str(&where));
        reading->out_of_memory |= where.failed || reading->config->replies[i].where == NULL;
        buf_free(&where);
    }
}

/* ---- checks ---- */

static bool try_receivers(const struct config *config, const char *name, struct near_name *near)
{
    bool known = false;
    for (size_t i = 0; config != NULL && i < config->receiver_count; i++) {
        known |= strcmp(config->receivers[i].name, name) == 0;
        near_name_try(near, config->receivers[i].name);
    }
    return known;
}

/* A name without a dot is no site by its domain: somebody must have given it. */
static void check_site(struct config_reading *reading, const struct rule *rule,
                       const struct config_item *item)
{
    const struct config *config = reading->config;
    struct near_name near = near_name_of(str_of(rule->site));
    char hint[NEAR_TEXT_MAX];
    bool known = try_receivers(config, rule->site, &near);
    known |= try_receivers(config->built_in, rule->site, &near);
    for (size_t i = 0; i < config->site_count; i++) {
        known |= strcmp(config->sites[i].name, rule->site) == 0;
        near_name_try(&near, config->sites[i].name);
    }
    if (!known && strpbrk(rule->site, ".*?") == NULL)
        yaml_report(reading->yaml, config_item_node(item, "site"), "no site or receiver is called '%s'%s",
                    rule->site, near_name_text(&near, hint));
}

/* Whether the option is there, right or wrong. */
static bool is_given(const struct config_item *item, const char *option)
{
    return config_item_node(item, option) != item->node;
}

static void check_replies(struct config_reading *reading)
{
    const struct config_list *list = config_list_of(reading, "replies");
    for (size_t i = 0; i < reading->config->reply_count; i++) {
        const struct rule *rule = &reading->config->replies[i];
        const struct config_item *item = &list->items[i];
        if (rule->site[0] != '\0')
            check_site(reading, rule, item);
        if (!is_given(item, "code") && !is_given(item, "status") && !is_given(item, "match"))
            yaml_report(reading->yaml, item->node,
                        "this entry of replies needs 'code', 'status' or 'match': it is for every reply");
    }
}

/* ---- all of it ---- */

static struct rule_list rules_of(struct config_reading *reading, const struct config *from, bool with_rules)
{
    struct rule_receiver *receivers =
        config_allocate(reading, (from->receiver_count + 1) * sizeof *receivers);
    for (size_t i = 0; receivers != NULL && i < from->receiver_count; i++)
        receivers[i] = (struct rule_receiver){from->receivers[i].name, from->receivers[i].mx.list,
                                              from->receivers[i].mx.count};
    return (struct rule_list){from->replies, with_rules ? from->reply_count : 0, receivers,
                              receivers ? from->receiver_count : 0};
}

void config_replies(struct config_reading *reading)
{
    struct config *config = reading->config;
    struct err err;
    struct str text = str_make(config_built_in, config_built_in_size);
    config->built_in = config_load_text(BUILT_IN_NAME, text, reading->errors);
    if (config->built_in == NULL) {
        reading->out_of_memory = true;
        return;
    }
    config_place_replies(reading);
    check_replies(reading);
    if (reading->out_of_memory || yaml_errors(reading->yaml) > 0)
        return;
    struct rule_list operators = rules_of(reading, config, true);
    struct rule_list built_in = rules_of(reading, config->built_in, config->default_replies);
    if (!reading->out_of_memory)
        reading->out_of_memory = (config->rules = rules_create(&operators, &built_in, &err)) == NULL;
}
