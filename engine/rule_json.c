/* rule_json.c - see rule_json.h. */
#include "engine/rule_json.h"

#include "engine/base/near.h"
#include "engine/dns/dns.h"
#include "engine/limits.h"
#include "engine/report/status_json.h"
#include "engine/smtp/reply.h"

#include <errno.h>
#include <stdio.h>

static json_t *out_of_memory(json_t *root, struct err *err)
{
    if (root == NULL)
        err_set(err, ENOMEM, "memory is out");
    return root;
}

/* ---- one rule ---- */

/* What `write` appends, as a string. */
static json_t *written(const void *what, void (*write)(const void *what, struct buf *out))
{
    struct buf out;
    buf_init(&out, RULE_TEXT_MAX);
    write(what, &out);
    json_t *text = out.failed ? NULL : js_text(buf_str(&out));
    buf_free(&out);
    return text;
}

static void write_codes(const void *what, struct buf *out)
{
    rule_codes_format(what, out);
}

static void write_statuses(const void *what, struct buf *out)
{
    rule_statuses_format(what, out);
}

static void write_action(const void *what, struct buf *out)
{
    reaction_format(what, out);
}

static void write_deed(const void *what, struct buf *out)
{
    reaction_describe(what, out);
}

static json_t *rule_json(const struct rule *rule)
{
    json_t *root = json_object(), *at = json_array();
    for (unsigned step = RULE_AT_GREETING; step <= RULE_AT_DATA; step *= 2)
        if (rule->steps & step)
            json_array_append_new(at, json_string(rule_step_name(step)));
    js_set(root, "name", js_text(str_of(rule->name)));
    js_set(root, "where", js_text(str_of(rule->where)));
    js_set(root, "built_in", json_boolean(rule->built_in));
    js_set(root, "site", js_text(str_of(rule->site)));
    js_set(root, "at", at);
    js_set(root, "code", written(&rule->codes, write_codes));
    js_set(root, "status", written(&rule->statuses, write_statuses));
    js_set(root, "match", js_text(str_of(rule->match)));
    js_set(root, "action", written(&rule->reaction, write_action));
    js_set(root, "kind", json_string(reaction_kind_name(rule->reaction.kind)));
    js_set(root, "reach", json_string(reaction_reach_name(rule->reaction.reach)));
    js_set(root, "does", written(&rule->reaction, write_deed));
    return root;
}

/* ---- whose replies ---- */

struct place {
    char site[DOMAIN_MAX + NAME_MAX_BYTES], mx[DOMAIN_MAX + 1];
};

static void copy_text(char *to, size_t room, struct str text)
{
    size_t n = text.n < room ? text.n : room - 1;
    if (n > 0)
        memcpy(to, text.p, n);
    to[n] = '\0';
}

static const struct config_site *site_named(const struct config *config, struct str name)
{
    for (size_t i = 0; i < config->site_count; i++)
        if (str_eq(str_of(config->sites[i].name), name))
            return &config->sites[i];
    return NULL;
}

static void try_receivers(const struct config *config, struct near_name *near)
{
    for (size_t i = 0; config != NULL && i < config->receiver_count; i++)
        near_name_try(near, config->receivers[i].name);
}

static bool nobody(const struct config *config, struct str name, struct err *err)
{
    struct near_name near = near_name_of(name);
    char hint[NEAR_TEXT_MAX];
    for (size_t i = 0; i < config->site_count; i++)
        near_name_try(&near, config->sites[i].name);
    try_receivers(config, &near);
    try_receivers(config->built_in, &near);
    return err_set(err, 0, "no site or receiver is called '%.*s'%s", (int)(name.n < 100 ? name.n : 100),
                   name.p, near_name_text(&near, hint));
}

/* As the router names it: the site whose pattern matches, else the registrable domain. */
static void name_site(const struct config *config, struct place *place)
{
    const struct config_site *site = config_site_of_host(config, str_of(place->mx));
    copy_text(place->site, sizeof place->site,
              site ? str_of(site->name) : dns_registrable(str_of(place->mx)));
}

static bool find_place(const struct config *config, struct str site, struct str mx, struct place *place,
                       struct err *err)
{
    *place = (struct place){.site = ""};
    copy_text(place->mx, sizeof place->mx, mx);
    const struct config_site *configured = site.n > 0 ? site_named(config, site) : NULL;
    if (mx.n == 0 && configured != NULL) {
        rules_example_host(str_of(configured->mx.list[0]), place->mx, sizeof place->mx);
    } else if (mx.n == 0 && site.n > 0 && !rules_host_of(config->rules, site, place->mx, sizeof place->mx)) {
        if (str_find(site, '.', 0) == SIZE_MAX)
            return nobody(config, site, err);
        snprintf(place->mx, sizeof place->mx, "mx.%.*s", (int)(site.n < 200 ? site.n : 200), site.p);
    }
    if (configured != NULL)
        copy_text(place->site, sizeof place->site, site);
    else if (place->mx[0] != '\0')
        name_site(config, place);
    return true;
}

/* ---- all of them ---- */

static json_t *receivers_json(const struct config *config, json_t *list)
{
    for (size_t i = 0; i < config->receiver_count; i++) {
        json_t *one = json_object(), *mx = json_array();
        for (size_t j = 0; j < config->receivers[i].mx.count; j++)
            json_array_append_new(mx, js_text(str_of(config->receivers[i].mx.list[j])));
        js_set(one, "name", js_text(str_of(config->receivers[i].name)));
        js_set(one, "mx", mx);
        json_array_append_new(list, one);
    }
    return list;
}

json_t *rule_list_json(const struct config *config, struct str site, struct err *err)
{
    struct place place;
    if (!find_place(config, site, str_make("", 0), &place, err))
        return NULL;
    struct rule_question question = {.site = str_of(place.site), .mx = str_of(place.mx)};
    json_t *root = json_object(), *list = json_array();
    for (size_t i = 0; i < rules_count(config->rules); i++) {
        const struct rule *rule = rules_at(config->rules, i);
        if (site.n == 0 || rules_compare(config->rules, rule, &question, NULL) != RULE_OTHER_SITE)
            json_array_append_new(list, rule_json(rule));
    }
    js_set(root, "default_replies", json_boolean(config->default_replies));
    js_set(root, "rules", list);
    js_set(root, "receivers", receivers_json(config->built_in, receivers_json(config, json_array())));
    return out_of_memory(root, err);
}

/* ---- a reply ---- */

/* A reply, read from bytes that it holds on to. */
struct heard {
    struct buf bytes;
    struct reply reply;
};

static void forget(struct heard *heard)
{
    reply_free(&heard->reply);
    buf_free(&heard->bytes);
}

static bool hear(struct heard *heard, struct str text, struct err *err)
{
    buf_init(&heard->bytes, RULE_REPLY_MAX);
    reply_init(&heard->reply);
    buf_add_str(&heard->bytes, str_trim(text));
    buf_add_char(&heard->bytes, '\n');
    if (heard->bytes.failed)
        return err_set(err, 0, "the reply is longer than %d bytes", RULE_REPLY_MAX);
    struct str left = buf_str(&heard->bytes);
    enum reply_result result = REPLY_MORE;
    while (left.n > 0 && (result == REPLY_MORE || result == REPLY_LINE))
        result = reply_feed(&heard->reply, &left);
    if (result == REPLY_BAD)
        return err_set(err, 0, "it is no SMTP reply: %s", heard->reply.why);
    if (result != REPLY_DONE)
        return err_set(err, 0, "the reply is not complete: its last line has a blank after the code");
    return left.n == 0 ||
           err_set(err, 0, "it is more than one reply: all lines but the last have '-' after the code");
}

static void write_why_not(const struct rule *rule, enum rule_miss miss, struct buf *out)
{
    switch (miss) {
    case RULE_MATCHES:
        buf_printf(out, "it would match at %s", rule->site);
        break;
    case RULE_OTHER_SITE:
        buf_printf(out, "it is for %s", rule->site);
        break;
    case RULE_OTHER_WORDS:
        buf_add_z(out, "its words are not there");
        break;
    case RULE_OTHER_STEP:
        buf_add_z(out, "it is for another step of the dialogue");
        break;
    case RULE_OTHER_CODE:
        buf_add_z(out, "it is for code ");
        rule_codes_format(&rule->codes, out);
        break;
    case RULE_OTHER_STATUS:
        buf_add_z(out, "it is for status ");
        rule_statuses_format(&rule->statuses, out);
        break;
    }
}

/* Whether there is anything to say of a rule that does not decide, and which condition failed. */
static bool is_near(const struct config *config, const struct rule *rule, struct rule_question question,
                    enum rule_miss *miss)
{
    char host[DOMAIN_MAX + 1];
    *miss = rules_compare(config->rules, rule, &question, NULL);
    if (*miss == RULE_OTHER_SITE && question.mx.n == 0 && question.site.n == 0) {
        /* Nobody said whose reply it is: would it match at its own receiver? */
        question.site = str_of(rule->site);
        size_t n = rules_host_of(config->rules, str_of(rule->site), host, sizeof host);
        question.mx = str_make(host, n);
        *miss = rules_compare(config->rules, rule, &question, NULL);
        return *miss == RULE_MATCHES;
    }
    return rule->match[0] != '\0' && *miss >= RULE_OTHER_STEP;
}

static json_t *near_json(const struct config *config, const struct rule_question *question, size_t end)
{
    json_t *list = json_array();
    for (size_t i = 0; i < end && json_array_size(list) < RULE_NEAR_MAX; i++) {
        const struct rule *rule = rules_at(config->rules, i);
        enum rule_miss miss;
        struct buf why;
        if (!is_near(config, rule, *question, &miss))
            continue;
        buf_init(&why, RULE_TEXT_MAX);
        write_why_not(rule, miss, &why);
        json_t *one = json_object();
        js_set(one, "name", js_text(str_of(rule->name)));
        js_set(one, "where", js_text(str_of(rule->where)));
        js_set(one, "action", written(&rule->reaction, write_action));
        js_set(one, "why", js_text(buf_str(&why)));
        json_array_append_new(list, one);
        buf_free(&why);
    }
    return list;
}

static json_t *why_json(const struct rule *rule, struct str found)
{
    struct buf out;
    buf_init(&out, RULE_TEXT_MAX);
    if (rule == NULL) {
        buf_add_z(&out, "no rule matches: its code and enhanced status decide");
    } else {
        buf_printf(&out, "it is for %s", rule->site[0] ? rule->site : "every site");
        if (rule->codes.count > 0) {
            buf_add_z(&out, ", code ");
            rule_codes_format(&rule->codes, &out);
        }
        if (rule->statuses.count > 0) {
            buf_add_z(&out, ", status ");
            rule_statuses_format(&rule->statuses, &out);
        }
        if (found.n > 0)
            buf_printf(&out, ", and finds '%.*s'", STR_ARG(found));
    }
    json_t *text = js_text(buf_str(&out));
    buf_free(&out);
    return text;
}

static json_t *answer(const struct config *config, const struct rule_question *question, unsigned lines)
{
    const struct rule *rule = rules_match(config->rules, question);
    const char *receiver = rules_receiver_of(config->rules, question->mx);
    struct status status;
    struct str found = str_make("", 0);
    size_t used;
    status_parse(question->text, &status, &used);
    if (rule != NULL)
        rules_compare(config->rules, rule, question, &found);
    json_t *root = json_object();
    js_set_int(root, "code", question->code);
    js_set(root, "status", js_status(status));
    js_set(root, "text", js_text(question->text));
    js_set_int(root, "lines", lines);
    js_set(root, "site", js_text(question->site));
    js_set(root, "mx", js_text(question->mx));
    js_set(root, "receiver", receiver ? js_text(str_of(receiver)) : json_null());
    js_set(root, "rule", rule ? rule_json(rule) : json_null());
    js_set(root, "found", js_text(found));
    js_set(root, "why", why_json(rule, found));
    js_set(root, "near", near_json(config, question, rule ? rule->index : rules_count(config->rules)));
    return root;
}

json_t *rule_test_json(const struct config *config, const struct rule_asked *asked, struct err *err)
{
    struct place place;
    struct rule_question question = {.step = rule_step_of(asked->at)};
    if (asked->at.n > 0 && question.step == 0) {
        err_set(err, 0, "at: expected greeting, mail, rcpt or data, not '%.*s'",
                (int)(asked->at.n < 100 ? asked->at.n : 100), asked->at.p);
        return NULL;
    }
    if (!find_place(config, asked->site, asked->mx, &place, err))
        return NULL;
    struct heard heard = {.bytes = {0}};
    bool closed = str_eq(str_trim(asked->reply), STR("closed"));
    json_t *root = NULL;
    if (closed || hear(&heard, asked->reply, err)) {
        question.site = str_of(place.site);
        question.mx = str_of(place.mx);
        question.code = heard.reply.code;
        question.text = heard.reply.text;
        root = out_of_memory(answer(config, &question, heard.reply.lines), err);
    }
    forget(&heard);
    return root;
}
