/* character.c - see character.h. */
#include "bench/world/character.h"

#include "bench/world/limits.h"
#include "engine/base/wrap.h"

#include <stddef.h>
#include <stdlib.h>

enum key_type {
    KEY_BOOL,
    KEY_NOT,
    KEY_U32,
    KEY_SECONDS,
    KEY_ODDS,
    KEY_TEXT,
    KEY_ENUM,
    KEY_SIZE,
    KEY_RULES,
    KEY_PROMPT
};

static const char *const stage_names[] = {"none", "connect", "ehlo", "starttls", "mail", "rcpt",
                                          "data", "dot",     "rset", "quit",     NULL};
static const char *const starttls_names[] = {"absent", "good", "broken", "refused", NULL};
static const char *const over_cap_names[] = {"reply", "close", NULL};
static const char *const action_names[] = {"reply", "close", "lose_reply", "silence", NULL};

struct key {
    const char *name;
    enum key_type type;
    size_t at;
    const char *const *names;
    const char *help;
};

#define AT(field) offsetof(struct character, field)

static const struct key keys[] = {
    {"prompt", KEY_PROMPT, 0, NULL, "true: forget everything set before; a good and prompt host"},
    {"reply_delay_ms", KEY_U32, AT(reply_delay_ms), NULL,
     "each reply comes this much later, one after the other"},
    {"latency_ms", KEY_U32, AT(latency_ms), NULL, "what answers one group of commands comes this much later"},
    {"banner_delay_ms", KEY_U32, AT(banner_delay_ms), NULL, "the greeting comes this much later"},
    {"greylist", KEY_SECONDS, AT(greylist_ms), NULL,
     "seconds a new (client, sender, recipient) gets 451 4.7.1"},
    {"unknown", KEY_TEXT, AT(unknown), NULL, "local parts (glob) that get 550 5.1.1"},
    {"unknown_odds", KEY_ODDS, AT(unknown_odds), NULL,
     "share of recipients that get 550 5.1.1, by their hash"},
    {"full", KEY_TEXT, AT(full), NULL, "local parts (glob) that get 452 4.2.2"},
    {"full_odds", KEY_ODDS, AT(full_odds), NULL, "share of recipients that get 452 4.2.2, by their hash"},
    {"messages_per_connection", KEY_U32, AT(messages_per_connection), NULL, "421 at MAIL after this many"},
    {"max_connections", KEY_U32, AT(max_connections), NULL, "421 4.7.0 above it (of the group, if in one)"},
    {"over_connections", KEY_ENUM, AT(over_cap), over_cap_names, "what happens above it"},
    {"max_rate", KEY_U32, AT(max_rate), NULL,
     "421 4.7.28 above this many MAIL within a second (of the group)"},
    {"max_recipients", KEY_U32, AT(max_recipients), NULL, "452 4.5.3 above it in one transaction"},
    {"reject_at", KEY_ENUM, AT(reject_at), stage_names, "everything gets 5xx there"},
    {"close_at", KEY_ENUM, AT(close_at), stage_names, "the connection ends there without a reply"},
    {"close_odds", KEY_ODDS, AT(close_odds), NULL, "how often close_at happens (default 1)"},
    {"lose_reply_odds", KEY_ODDS, AT(lose_reply_odds), NULL, "how often an accepted message's reply is lost"},
    {"silent_at", KEY_ENUM, AT(silent_at), stage_names, "from there on nothing is said"},
    {"pipelining", KEY_NOT, AT(no_pipelining), NULL, "offered unless false"},
    {"ehlo", KEY_NOT, AT(no_ehlo), NULL, "false: EHLO gets 502, HELO works"},
    {"8bitmime", KEY_NOT, AT(no_8bitmime), NULL, "offered unless false"},
    {"chunking", KEY_BOOL, AT(chunking), NULL, "true: offered, and BDAT taken"},
    {"binarymime", KEY_BOOL, AT(binary), NULL, "true: offered where chunking is"},
    {"size", KEY_SIZE, AT(size), NULL, "a number, or none: not offered"},
    {"enhanced", KEY_NOT, AT(no_enhanced), NULL, "false: no enhanced status codes"},
    {"starttls", KEY_ENUM, AT(starttls), starttls_names, "default absent"},
    {"resumption", KEY_NOT, AT(no_resumption), NULL, "false: every TLS handshake is a full one"},
    {"refuse", KEY_BOOL, AT(refuse), NULL, "true: nothing listens"},
    {"banner", KEY_TEXT, AT(banner), NULL, "what follows the name in the greeting"},
    {"replies", KEY_RULES, 0, NULL,
     "[{at, odds, match, code, text, times, sticky, action}], the first that matches; action is reply, "
     "close, "
     "lose_reply or silence"},
};

static const struct key *find_key(const char *name)
{
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (strcmp(keys[i].name, name) == 0)
            return &keys[i];
    return NULL;
}

bool character_knows(const char *key)
{
    return find_key(key) != NULL;
}

void character_help(FILE *out)
{
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        char text[256];
        size_t n = (size_t)snprintf(text, sizeof text, "%s", keys[i].help);
        for (const char *const *name = keys[i].names; name && *name && n < sizeof text; name++)
            n += (size_t)snprintf(text + n, sizeof text - n, "%s%s", name == keys[i].names ? ": " : " ",
                                  *name);
        wrap_print(out, (size_t)fprintf(out, "  %-24s ", keys[i].name), 27, text);
    }
}

struct character *character_create(void)
{
    struct character *character = calloc(1, sizeof *character);
    if (character) {
        character->references = 1;
        character->close_odds = ODDS_ALWAYS;
        character->size = 35651584;
    }
    return character;
}

struct character *character_share(struct character *character)
{
    character->references++;
    return character;
}

static void drop_rules(struct rule *rules, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        free(rules[i].match);
        free(rules[i].text);
    }
    free(rules);
}

void character_drop(struct character *character)
{
    if (character == NULL || --character->references > 0)
        return;
    drop_rules(character->rules, character->rules_used);
    free(character->full);
    free(character->unknown);
    free(character->banner);
    free(character);
}

static bool copy_text(char **text)
{
    if (*text == NULL)
        return true;
    *text = str_dup(str_of(*text));
    return *text != NULL;
}

struct character *character_copy(const struct character *from)
{
    struct character *copy = malloc(sizeof *copy);
    if (copy == NULL)
        return NULL;
    *copy = *from;
    copy->references = 1;
    bool ok = copy_text(&copy->full);
    ok = copy_text(&copy->unknown) && ok;
    ok = copy_text(&copy->banner) && ok;
    copy->rules = from->rules_used ? calloc(from->rules_used, sizeof *copy->rules) : NULL;
    if (copy->rules == NULL)
        copy->rules_used = 0;
    for (uint32_t i = 0; i < copy->rules_used; i++) {
        copy->rules[i] = from->rules[i];
        ok = copy_text(&copy->rules[i].match) && ok;
        ok = copy_text(&copy->rules[i].text) && ok;
    }
    if (ok && copy->rules_used == from->rules_used)
        return copy;
    character_drop(copy);
    return NULL;
}

static bool read_enum(const struct yaml *node, const char *const *names, uint32_t *out, struct err *err)
{
    char known[160] = "";
    if (!yaml_want(node, YAML_SCALAR, err))
        return false;
    for (uint32_t i = 0; names[i]; i++) {
        if (strcmp(names[i], node->text) == 0) {
            *out = i;
            return true;
        }
        size_t n = strlen(known);
        snprintf(known + n, sizeof known - n, "%s%s", i ? ", " : "", names[i]);
    }
    return yaml_error(node, err, "%s wants one of %s, not '%s'", node->key, known, node->text);
}

static bool read_odds(const struct yaml *node, uint32_t *out, struct err *err)
{
    double value;
    if (!yaml_number(node, 1, &value, err))
        return false;
    *out = value >= 1 ? ODDS_ALWAYS : (uint32_t)(value * (double)UINT32_MAX);
    return true;
}

static bool read_rule_key(struct rule *rule, const struct yaml *node, struct err *err)
{
    uint32_t value = 0;
    if (yaml_is(node, "at")) {
        if (!read_enum(node, stage_names, &value, err))
            return false;
        rule->at = (enum stage)value;
        return true;
    }
    if (yaml_is(node, "action")) {
        if (!read_enum(node, action_names, &value, err))
            return false;
        rule->action = (enum rule_action)value;
        return true;
    }
    if (yaml_is(node, "odds"))
        return read_odds(node, &rule->odds, err);
    if (yaml_is(node, "match"))
        return yaml_copy(node, &rule->match, err);
    if (yaml_is(node, "text"))
        return yaml_copy(node, &rule->text, err);
    if (yaml_is(node, "code"))
        return yaml_u32(node, 599, &rule->code, err);
    if (yaml_is(node, "times"))
        return yaml_u32(node, UINT32_MAX, &rule->times, err);
    if (yaml_is(node, "sticky"))
        return yaml_bool(node, &rule->by_recipient, err);
    return yaml_error(node, err,
                      "unknown key '%s' in a reply; known are at, odds, match, code, text, times, sticky, "
                      "action",
                      node->key);
}

static bool read_rule(struct rule *rule, const struct yaml *node, struct err *err)
{
    bool sticky_set = false;
    *rule = (struct rule){.odds = ODDS_ALWAYS};
    if (!yaml_want(node, YAML_MAP, err))
        return false;
    for (const struct yaml *key = node->first; key; key = key->next) {
        sticky_set = sticky_set || yaml_is(key, "sticky");
        if (!read_rule_key(rule, key, err))
            return false;
    }
    if (!sticky_set) /* a permanent answer stays what it is when asked again */
        rule->by_recipient = rule->code >= 500 && (rule->at == STAGE_RCPT || rule->at == STAGE_DOT);
    if (rule->at == STAGE_NONE)
        return yaml_error(node, err, "a reply wants 'at'");
    if (rule->action == ACTION_REPLY && (rule->code < 200 || rule->text == NULL))
        return yaml_error(node, err, "a reply wants 'code' (200 to 599) and 'text', or another 'action'");
    if (rule->action == ACTION_LOSE_REPLY && rule->at != STAGE_DOT)
        return yaml_error(node, err, "action lose_reply is for 'at: dot'");
    return true;
}

static bool read_rules(struct character *character, const struct yaml *list, struct err *err)
{
    if (!yaml_want(list, YAML_LIST, err))
        return false;
    struct rule *rules = calloc(WORLD_RULES_MAX, sizeof *rules);
    uint32_t used = 0;
    bool ok = true;
    if (rules == NULL)
        return yaml_error(list, err, "out of memory");
    for (const struct yaml *node = list->first; ok && node; node = node->next) {
        if (used == WORLD_RULES_MAX)
            ok = yaml_error(node, err, "more than %d replies", WORLD_RULES_MAX);
        else
            ok = read_rule(&rules[used++], node, err);
    }
    if (!ok) {
        drop_rules(rules, used);
        return false;
    }
    drop_rules(character->rules, character->rules_used);
    character->rules = rules;
    character->rules_used = used;
    return true;
}

static bool become_prompt(struct character *character, const struct yaml *node, struct err *err)
{
    bool wanted = false;
    if (!yaml_bool(node, &wanted, err))
        return false;
    if (!wanted)
        return yaml_error(node, err, "prompt is true or absent; set another key instead");
    struct character *fresh = character_create();
    if (fresh == NULL)
        return yaml_error(node, err, "out of memory");
    struct character old = *character;
    *character = *fresh;
    character->references = old.references;
    *fresh = old;
    fresh->references = 1;
    character_drop(fresh);
    return true;
}

bool character_set(struct character *character, const struct yaml *node, struct err *err)
{
    const struct key *key = find_key(node->key);
    void *field = (char *)character + key->at;
    double seconds;
    switch (key->type) {
    case KEY_BOOL:
        return yaml_bool(node, field, err);
    case KEY_NOT: {
        bool offered = false;
        if (!yaml_bool(node, &offered, err))
            return false;
        *(bool *)field = !offered;
        return true;
    }
    case KEY_U32:
        return yaml_u32(node, UINT32_MAX, field, err);
    case KEY_SECONDS:
        if (!yaml_number(node, 86400, &seconds, err))
            return false;
        *(uint32_t *)field = (uint32_t)(seconds * 1000);
        return true;
    case KEY_ODDS:
        return read_odds(node, field, err);
    case KEY_TEXT:
        return yaml_copy(node, field, err);
    case KEY_ENUM:
        return read_enum(node, key->names, field, err);
    case KEY_SIZE:
        character->no_size = node->kind == YAML_SCALAR && strcmp(node->text, "none") == 0;
        return character->no_size || yaml_u32(node, UINT32_MAX, field, err);
    case KEY_RULES:
        return read_rules(character, node, err);
    case KEY_PROMPT:
        return become_prompt(character, node, err);
    }
    return false;
}
