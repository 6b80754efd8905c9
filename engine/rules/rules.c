/* rules.c - see rules.h. The room of PCRE2. */
#include "engine/rules/rules.h"

#include "engine/limits.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <errno.h>
#include <pcre2.h>
#include <stdio.h>
#include <stdlib.h>

/* Bytes, not characters: replies hold any. */
#define EXPRESSION_OPTIONS (PCRE2_CASELESS | PCRE2_NEVER_UTF | PCRE2_NEVER_UCP | PCRE2_NEVER_BACKSLASH_C)

#define NO_RECEIVER SIZE_MAX

/* What a rule needs besides what it shows. */
struct compiled {
    pcre2_code *code; /* NULL: any words */
    size_t receiver;  /* that its site names, in the order of all of them; NO_RECEIVER: none */
};

struct rules {
    struct rule *list;
    struct compiled *compiled;
    char (*names)[RULE_NAME_MADE_MAX]; /* of the operator's that have none */
    size_t count;
    const struct rule_receiver **receivers; /* the operator's first */
    size_t receiver_count;
    pcre2_match_context *context;
};

/* ---- creation ---- */

static pcre2_code *compile(struct str expression, size_t *at, struct err *err)
{
    int code;
    PCRE2_SIZE offset = 0;
    pcre2_code *compiled = pcre2_compile((PCRE2_SPTR)(expression.p ? expression.p : ""), expression.n,
                                         EXPRESSION_OPTIONS, &code, &offset, NULL);
    if (compiled == NULL) {
        PCRE2_UCHAR text[128] = "";
        pcre2_get_error_message(code, text, sizeof text);
        err_set(err, 0, "%s", (const char *)text);
        *at = offset < expression.n ? offset : expression.n;
        return NULL;
    }
    pcre2_jit_compile(compiled, PCRE2_JIT_COMPLETE); /* where there is none the interpreter serves */
    return compiled;
}

bool rules_check_match(struct str expression, size_t *at, struct err *err)
{
    pcre2_code *code = compile(expression, at, err);
    pcre2_code_free(code);
    return code != NULL;
}

/* Receivers of one name are one: the first stands for all. */
static size_t receiver_named(const struct rules *rules, struct str name)
{
    for (size_t i = 0; i < rules->receiver_count; i++)
        if (str_eq(str_of(rules->receivers[i]->name), name))
            return i;
    return NO_RECEIVER;
}

static size_t receiver_of(const struct rules *rules, struct str mx)
{
    for (size_t i = 0; i < rules->receiver_count; i++)
        for (size_t j = 0; j < rules->receivers[i]->mx_count; j++)
            if (str_glob_nocase(str_of(rules->receivers[i]->mx[j]), mx))
                return receiver_named(rules, str_of(rules->receivers[i]->name));
    return NO_RECEIVER;
}

static bool add_rule(struct rules *rules, const struct rule *from, bool built_in, struct err *err)
{
    unsigned index = (unsigned)rules->count++;
    struct rule *rule = &rules->list[index];
    struct compiled *compiled = &rules->compiled[index];
    *rule = *from;
    rule->index = index;
    rule->built_in = built_in;
    compiled->receiver = receiver_named(rules, str_of(rule->site));
    if (rule->name[0] == '\0') {
        snprintf(rules->names[index], RULE_NAME_MADE_MAX, "replies.%u", index + 1);
        rule->name = rules->names[index];
    }
    if (rule->match[0] == '\0')
        return true;
    size_t at;
    compiled->code = compile(str_of(rule->match), &at, err);
    return compiled->code != NULL || err_prefix(err, "%s: match, at byte %zu", rule->where, at);
}

static bool add_lists(struct rules *rules, const struct rule_list *const lists[2], struct err *err)
{
    for (int i = 0; i < 2; i++)
        for (size_t j = 0; lists[i] != NULL && j < lists[i]->receiver_count; j++)
            rules->receivers[rules->receiver_count++] = &lists[i]->receivers[j];
    for (int i = 0; i < 2; i++)
        for (size_t j = 0; lists[i] != NULL && j < lists[i]->rule_count; j++)
            if (!add_rule(rules, &lists[i]->rules[j], i == 1, err))
                return false;
    return true;
}

struct rules *rules_create(const struct rule_list *operators, const struct rule_list *built_in,
                           struct err *err)
{
    const struct rule_list *const lists[2] = {operators, built_in};
    size_t room = 1, receivers = 1;
    for (int i = 0; i < 2; i++) {
        room += lists[i] ? lists[i]->rule_count : 0;
        receivers += lists[i] ? lists[i]->receiver_count : 0;
    }
    struct rules *rules = calloc(1, sizeof *rules);
    if (rules != NULL) {
        rules->list = calloc(room, sizeof *rules->list);
        rules->compiled = calloc(room, sizeof *rules->compiled);
        rules->names = calloc(room, sizeof *rules->names);
        rules->receivers = calloc(receivers, sizeof *rules->receivers);
        rules->context = pcre2_match_context_create(NULL);
    }
    if (rules == NULL || rules->list == NULL || rules->compiled == NULL || rules->names == NULL ||
        rules->receivers == NULL || rules->context == NULL) {
        err_set(err, ENOMEM, "memory is out");
    } else {
        pcre2_set_match_limit(rules->context, RULE_MATCH_MAX);
        pcre2_set_depth_limit(rules->context, RULE_MATCH_MAX);
        pcre2_set_heap_limit(rules->context, RULE_HEAP_MAX / 1024);
        if (add_lists(rules, lists, err))
            return rules;
    }
    rules_destroy(rules);
    return NULL;
}

void rules_destroy(struct rules *rules)
{
    if (rules == NULL)
        return;
    for (size_t i = 0; i < rules->count; i++)
        pcre2_code_free(rules->compiled[i].code);
    pcre2_match_context_free(rules->context);
    free(rules->receivers);
    free(rules->names);
    free(rules->compiled);
    free(rules->list);
    free(rules);
}

size_t rules_count(const struct rules *rules)
{
    return rules->count;
}

const struct rule *rules_at(const struct rules *rules, size_t index)
{
    return &rules->list[index];
}

/* ---- matching ---- */

/* A question, looked at once for all rules. */
struct inquiry {
    const struct rule_question *question;
    struct status status;
    struct str words;
    size_t receiver;
    pcre2_match_data *data; /* NULL: memory is out, and no rule with words matches */
};

static struct inquiry inquire(const struct rules *rules, const struct rule_question *question)
{
    struct inquiry inquiry = {.question = question, .receiver = receiver_of(rules, question->mx)};
    struct str text = str_trim(question->text);
    size_t used;
    struct str at = text.n > 0 && text.p[0] == '#' ? str_make(text.p + 1, text.n - 1) : text;
    if (status_parse(at, &inquiry.status, &used))
        text = str_trim(str_make(at.p + used, at.n - used));
    inquiry.words = str_make(text.p ? text.p : "", text.n < REPLY_TEXT_MAX ? text.n : REPLY_TEXT_MAX);
    inquiry.data = pcre2_match_data_create(1, NULL);
    return inquiry;
}

static bool site_is(const struct rules *rules, const struct rule *rule, const struct inquiry *inquiry)
{
    size_t receiver = rules->compiled[rule->index].receiver;
    if (rule->site[0] == '\0' || (receiver != NO_RECEIVER && receiver == inquiry->receiver))
        return true;
    return !rule->built_in && str_glob_nocase(str_of(rule->site), inquiry->question->site);
}

static bool words_are(const struct rules *rules, const struct rule *rule, const struct inquiry *inquiry)
{
    const pcre2_code *code = rules->compiled[rule->index].code;
    if (code == NULL)
        return true;
    return inquiry->data != NULL && pcre2_match(code, (PCRE2_SPTR)inquiry->words.p, inquiry->words.n, 0, 0,
                                                inquiry->data, rules->context) >= 0;
}

static bool step_is(const struct rule *rule, unsigned step)
{
    return rule->steps == 0 || step == 0 || (rule->steps & step) != 0;
}

static bool matches(const struct rules *rules, const struct rule *rule, const struct inquiry *inquiry)
{
    const struct rule_question *question = inquiry->question;
    return rule_codes_match(&rule->codes, question->code) && site_is(rules, rule, inquiry) &&
           step_is(rule, question->step) && rule_statuses_match(&rule->statuses, inquiry->status) &&
           words_are(rules, rule, inquiry);
}

const struct rule *rules_match(const struct rules *rules, const struct rule_question *question)
{
    const struct rule *found = NULL;
    if (rules == NULL)
        return NULL;
    struct inquiry inquiry = inquire(rules, question);
    for (size_t i = 0; found == NULL && i < rules->count; i++)
        if (matches(rules, &rules->list[i], &inquiry))
            found = &rules->list[i];
    pcre2_match_data_free(inquiry.data);
    return found;
}

static enum rule_miss compare(const struct rules *rules, const struct rule *rule,
                              const struct inquiry *inquiry)
{
    if (!site_is(rules, rule, inquiry))
        return RULE_OTHER_SITE;
    if (!words_are(rules, rule, inquiry))
        return RULE_OTHER_WORDS;
    if (!step_is(rule, inquiry->question->step))
        return RULE_OTHER_STEP;
    if (!rule_codes_match(&rule->codes, inquiry->question->code))
        return RULE_OTHER_CODE;
    return rule_statuses_match(&rule->statuses, inquiry->status) ? RULE_MATCHES : RULE_OTHER_STATUS;
}

enum rule_miss rules_compare(const struct rules *rules, const struct rule *rule,
                             const struct rule_question *question, struct str *found)
{
    struct inquiry inquiry = inquire(rules, question);
    enum rule_miss miss = compare(rules, rule, &inquiry);
    if (found != NULL) {
        const PCRE2_SIZE *at = inquiry.data ? pcre2_get_ovector_pointer(inquiry.data) : NULL;
        bool there =
            at != NULL && rule->match[0] != '\0' && miss != RULE_OTHER_SITE && miss != RULE_OTHER_WORDS;
        *found = there ? str_make(inquiry.words.p + at[0], at[1] - at[0]) : str_make("", 0);
    }
    pcre2_match_data_free(inquiry.data);
    return miss;
}

/* ---- receivers ---- */

const char *rules_receiver_of(const struct rules *rules, struct str mx)
{
    size_t receiver = receiver_of(rules, mx);
    return receiver == NO_RECEIVER ? NULL : rules->receivers[receiver]->name;
}

size_t rules_example_host(struct str pattern, char *host, size_t room)
{
    size_t n = 0;
    for (size_t i = 0; i < pattern.n; i++) {
        struct str put = pattern.p[i] == '*'   ? STR("mx")
                         : pattern.p[i] == '?' ? STR("1")
                                               : str_make(pattern.p + i, 1);
        if (n + put.n >= room)
            return 0;
        memcpy(host + n, put.p, put.n);
        n += put.n;
    }
    host[n] = '\0';
    return n;
}

size_t rules_host_of(const struct rules *rules, struct str name, char *host, size_t room)
{
    size_t receiver = receiver_named(rules, name);
    if (receiver == NO_RECEIVER || rules->receivers[receiver]->mx_count == 0)
        return 0;
    return rules_example_host(str_of(rules->receivers[receiver]->mx[0]), host, room);
}
