/* Reply rules: reactions and conditions as text, the order of matching, receivers, hostile expressions. */
#include "engine/base/clock.h"
#include "engine/limits.h"
#include "engine/rules/rules.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <string.h>

/* ---- reactions ---- */

static struct reaction reaction_of(const char *text)
{
    struct reaction reaction;
    const char *why;
    if (!reaction_parse(str_of(text), &reaction, &why))
        fail_msg("'%s': expected %s", text, why);
    return reaction;
}

static void assert_formats(const char *text)
{
    struct reaction reaction = reaction_of(text);
    struct buf out;
    buf_init(&out, 4096);
    reaction_format(&reaction, &out);
    buf_add_char(&out, '\0');
    assert_string_equal(out.data, text);
    buf_clear(&out);
    reaction_describe(&reaction, &out);
    assert_true(out.len > 10 && !out.failed);
    buf_free(&out);
}

static void assert_describes(const char *text, const char *words)
{
    struct reaction reaction = reaction_of(text);
    struct buf out;
    buf_init(&out, 4096);
    reaction_describe(&reaction, &out);
    buf_add_char(&out, '\0');
    if (strstr(out.data, words) != out.data)
        fail_msg("'%s': \"%s\" does not begin with \"%s\"", text, out.data, words);
    buf_free(&out);
}

static void test_words_name_what_is_held(void **state)
{
    (void)state;
    assert_describes("fix", "hold the sender domain at this site, from every source, until an operator");
    assert_describes("fix, path", "hold the path (this source to this site) until an operator");
    assert_describes("slow", "slow the path (this source to this site) down;");
    assert_describes("slow, sender", "slow the sender domain at this site, from every source, down;");
    assert_describes("slow, pause 1h, sender",
                     "hold the sender domain at this site, from every source, for 1h, and slow it down;");
}

static void test_reactions_read_and_write(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "slow",
        "slow 1/min",
        "cap",
        "cap 25",
        "slow 1/min, cap 1, for 1h30m",
        "pause",
        "slow, pause 1h",
        "stop",
        "fix",
        "job",
        "rcpt",
        "rcpt 5m",
        "fail",
        "suppress",
        "suppress after 2",
        "reconnect",
        "reconnect after 20",
        "split",
        "tls",
        "slow, cap, pause 15m",
        "slow, stop",
        "stop, sender",
        "fix, path",
        "slow, pause 1h, sender",
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        assert_formats(texts[i]);
    struct reaction both = reaction_of(" slow ,pause  90m ");
    assert_int_equal(both.kind, REACTION_PAUSE);
    assert_true(both.slow && !both.cap);
    assert_int_equal(both.wait_ms, 90 * 60 * 1000);
    assert_int_equal(reaction_of("cap, slow").kind, REACTION_SLOW);
    assert_int_equal(reaction_of("suppress").count, 1);
}

static void test_a_reaction_says_what_becomes_of_the_recipient(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum reaction_fate fate;
        enum reaction_reach reach;
        bool alert;
    } rows[] = {
        {"slow", FATE_KEEP, REACH_PATH, false},        {"stop", FATE_KEEP, REACH_PATH, true},
        {"fix", FATE_KEEP, REACH_SENDER, true},        {"job", FATE_JOB, REACH_JOB, true},
        {"rcpt", FATE_RETRY, REACH_RECIPIENT, false},  {"suppress", FATE_FAIL, REACH_RECIPIENT, false},
        {"split", FATE_KEEP, REACH_CONNECTION, false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct reaction reaction = reaction_of(rows[i].text);
        assert_int_equal(reaction.fate, rows[i].fate);
        assert_int_equal(reaction.reach, rows[i].reach);
        assert_int_equal(reaction.alert, rows[i].alert);
    }
}

static void test_a_reach_stays_within_the_kind(void **state)
{
    (void)state;
    assert_int_equal(reaction_of("slow").reach, REACH_PATH);
    assert_int_equal(reaction_of("slow, pause 1h, sender").reach, REACH_SENDER);
    assert_int_equal(reaction_of("fix, path").reach, REACH_PATH);
}

static void test_wrong_reactions_say_what_was_expected(void **state)
{
    (void)state;
    static const char *const texts[][2] = {
        {"", "slow, cap, pause"},         {"paws 1h", "slow, cap, pause"},
        {"pause 1", "a duration"},        {"pause 500ms", "a duration"},
        {"pause 60d", "a duration"},      {"pause 1h, stop", "one of"},
        {"stop 1h", "a comma"},           {"slow none", "a rate"},
        {"slow, slow", "once"},           {"cap 0", "a number of connections"},
        {"suppress 3", "'after'"},        {"suppress after 0", "'after'"},
        {"slow, for 1h", "'for' only"},   {"slow, fail", "slow and cap alone"},
        {"slow,", "slow, cap, pause"},    {"cap, sender", "'sender' only"},
        {"job, sender", "'sender' only"}, {"stop, path", "'path' only"},
        {"sender", "what to do"},
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct reaction reaction;
        const char *why;
        assert_false(reaction_parse(str_of(texts[i][0]), &reaction, &why));
        if (strstr(why, texts[i][1]) == NULL)
            fail_msg("'%s': %s", texts[i][0], why);
    }
}

/* ---- conditions ---- */

static void test_codes(void **state)
{
    (void)state;
    struct rule_codes codes = {0};
    assert_true(rule_codes_match(&codes, 550) && !rule_codes_match(&codes, 0));
    assert_true(rule_code_add(&codes, STR("421")) && rule_code_add(&codes, STR("45X")) == false);
    assert_true(rule_code_add(&codes, STR("550-554")) && rule_code_add(&codes, STR("closed")));
    assert_true(rule_codes_match(&codes, 421) && rule_codes_match(&codes, 0) &&
                rule_codes_match(&codes, 552));
    assert_false(rule_codes_match(&codes, 422) || rule_codes_match(&codes, 555));
    struct rule_codes all = {0};
    assert_true(rule_code_add(&all, STR("4xx")));
    assert_true(rule_codes_match(&all, 400) && rule_codes_match(&all, 499) && !rule_codes_match(&all, 500));
    static const char *const wrong[] = {"", "42", "600", "199", "4210", "554-550", "4x1", "-", "550-"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_false(rule_code_add(&all, str_of(wrong[i])));
    struct buf out;
    buf_init(&out, 256);
    rule_codes_format(&codes, &out);
    assert_true(str_eq(buf_str(&out), STR("421, 550-554, closed")));
    buf_free(&out);
}

static bool status_fits(const char *pattern, struct status status)
{
    struct rule_statuses statuses = {0};
    assert_true(rule_status_add(&statuses, str_of(pattern)));
    return rule_statuses_match(&statuses, status);
}

static void test_statuses(void **state)
{
    (void)state;
    assert_true(status_fits("4.7.500-699", STATUS(4, 7, 500)) &&
                status_fits("4.7.500-699", STATUS(4, 7, 699)));
    assert_false(status_fits("4.7.500-699", STATUS(4, 7, 499)) ||
                 status_fits("4.7.500-699", STATUS(5, 7, 600)));
    assert_true(status_fits("x.7.24", STATUS(4, 7, 24)) && status_fits("*.7.24", STATUS(5, 7, 24)));
    assert_false(status_fits("x.7.24", STATUS(0, 0, 0)) || status_fits("x", STATUS(0, 0, 0)));
    assert_true(status_fits("none", STATUS(0, 0, 0)) && !status_fits("none", STATUS(5, 0, 0)));
    assert_true(status_fits("4.7", STATUS(4, 7, 1)) && status_fits("5", STATUS(5, 1, 1)));
    static const char *const wrong[] = {"",        "4.",      "3.1.1", "2.0.0",   "4.7.5-4",
                                        "4.7.1.2", "4.7.x-5", "a",     "4.7.1000"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct rule_statuses statuses = {0};
        if (rule_status_add(&statuses, str_of(wrong[i])))
            fail_msg("'%s' was taken for a status", wrong[i]);
    }
    struct rule_statuses statuses = {0};
    assert_true(rule_status_add(&statuses, STR("x.7.24")) && rule_status_add(&statuses, STR("4.7.650-659")));
    assert_true(rule_status_add(&statuses, STR("none")) && rule_status_add(&statuses, STR("5")));
    struct buf out;
    buf_init(&out, 256);
    rule_statuses_format(&statuses, &out);
    assert_true(str_eq(buf_str(&out), STR("x.7.24, 4.7.650-659, none, 5.x.x")));
    buf_free(&out);
}

/* ---- matching ---- */

static const char *const big_mx[] = {"*.big.example", "mx?.big.test"};
static const char *const other_mx[] = {"*.other.example"};
static const struct rule_receiver receivers[] = {{"big", big_mx, 2}, {"other", other_mx, 1}};

static struct rule rule_of(const char *name, const char *site, const char *match)
{
    return (struct rule){.name = name, .where = "here:1", .site = site, .match = match};
}

static const struct rule *ask(const struct rules *rules, const char *site, const char *mx, unsigned code,
                              const char *text)
{
    struct rule_question question = {str_of(site), str_of(mx), RULE_AT_RCPT, code, str_of(text)};
    return rules_match(rules, &question);
}

static void assert_rule(const struct rule *rule, const char *name)
{
    assert_non_null(rule);
    assert_string_equal(rule->name, name);
}

static void test_the_first_wins_and_the_operators_come_first(void **state)
{
    (void)state;
    struct rule mine[] = {rule_of("", "big", "rate"), rule_of("late", "", "never seen before")};
    struct rule built[] = {rule_of("big-rate", "big", "unusual rate"), rule_of("big-any", "big", ""),
                           rule_of("any-rate", "", "rate")};
    struct rule_list operators = {mine, 2, NULL, 0}, built_in = {built, 3, receivers, 2};
    struct err err;
    struct rules *rules = rules_create(&operators, &built_in, &err);
    assert_non_null(rules);
    assert_int_equal(rules_count(rules), 5);
    const struct rule *rule = ask(rules, "big", "a.big.example", 421, "4.7.28 An unusual rate of mail");
    assert_rule(rule, "replies.1");
    assert_true(!rule->built_in && rule->index == 0);
    assert_rule(ask(rules, "big.test", "mx1.big.test", 421, "4.7.28 An UNUSUAL RATE of mail"), "replies.1");
    assert_rule(ask(rules, "big.test", "mx1.big.test", 421, "4.7.28 too busy"), "big-any");
    assert_true(ask(rules, "big.test", "mx1.big.test", 421, "")->built_in);
    assert_rule(ask(rules, "x.example", "mx.x.example", 450, "rate exceeded"), "any-rate");
    assert_null(ask(rules, "x.example", "mx.x.example", 450, "busy"));
    assert_null(ask(NULL, "x.example", "mx.x.example", 450, "busy"));
    rules_destroy(rules);
}

static void test_a_built_in_rule_is_for_the_hosts_of_its_receiver_alone(void **state)
{
    (void)state;
    struct rule built[] = {rule_of("big-any", "big", "")};
    struct rule mine[] = {rule_of("mine", "bi*", "word")};
    struct rule_list operators = {mine, 1, NULL, 0}, built_in = {built, 1, receivers, 2};
    struct err err;
    struct rules *rules = rules_create(&operators, &built_in, &err);
    assert_null(ask(rules, "big", "mx.elsewhere.example", 550, "no"));
    assert_null(ask(rules, "big", "", 550, "no"));
    assert_null(ask(rules, "other", "mx.other.example", 550, "word"));
    assert_rule(ask(rules, "big", "mx.elsewhere.example", 550, "a word"), "mine");
    assert_rule(ask(rules, "whatever", "MX.BIG.EXAMPLE", 550, "no"), "big-any");
    assert_string_equal(rules_receiver_of(rules, STR("mx7.big.test")), "big");
    assert_null(rules_receiver_of(rules, STR("mx77.big.test")));
    char host[DOMAIN_MAX];
    size_t n = rules_host_of(rules, STR("other"), host, sizeof host);
    assert_true(str_eq(str_make(host, n), STR("mx.other.example")));
    assert_int_equal(rules_host_of(rules, STR("nobody"), host, sizeof host), 0);
    assert_int_equal(rules_host_of(rules, STR("other"), host, 5), 0);
    rules_destroy(rules);
}

static void test_every_condition_counts_and_says_which_failed(void **state)
{
    (void)state;
    struct rule one = rule_of("one", "big", "^slow down");
    one.steps = RULE_AT_RCPT | RULE_AT_DATA;
    assert_true(rule_code_add(&one.codes, STR("4xx")) && rule_status_add(&one.statuses, STR("4.7.28")));
    struct rule_list built_in = {&one, 1, receivers, 2};
    struct err err;
    struct rules *rules = rules_create(NULL, &built_in, &err);
    static const struct {
        const char *mx;
        unsigned step, code;
        const char *text;
        enum rule_miss miss;
    } rows[] = {
        {"a.big.example", RULE_AT_RCPT, 421, "4.7.28 Slow down, please", RULE_MATCHES},
        {"a.big.example", 0, 421, "#4.7.28 Slow down, please", RULE_MATCHES},
        {"a.other.example", RULE_AT_RCPT, 421, "4.7.28 Slow down, please", RULE_OTHER_SITE},
        {"a.big.example", RULE_AT_RCPT, 421, "4.7.28 Do slow down", RULE_OTHER_WORDS},
        {"a.big.example", RULE_AT_MAIL, 421, "4.7.28 Slow down", RULE_OTHER_STEP},
        {"a.big.example", RULE_AT_DATA, 550, "4.7.28 Slow down", RULE_OTHER_CODE},
        {"a.big.example", RULE_AT_DATA, 450, "4.7.2 Slow down", RULE_OTHER_STATUS},
        {"a.big.example", RULE_AT_DATA, 450, "Slow down", RULE_OTHER_STATUS},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct rule_question question = {STR("big"), str_of(rows[i].mx), rows[i].step, rows[i].code,
                                         str_of(rows[i].text)};
        assert_int_equal(rules_compare(rules, rules_at(rules, 0), &question, NULL), rows[i].miss);
        assert_int_equal(rules_match(rules, &question) != NULL, rows[i].miss == RULE_MATCHES);
    }
    rules_destroy(rules);
}

static void test_a_hostile_reply_takes_no_time(void **state)
{
    (void)state;
    struct rule rows[] = {rule_of("a", "", "^(a+)+$"), rule_of("b", "", "(x+x+)+y"),
                          rule_of("c", "", "(.*)*\\1z")};
    struct rule_list operators = {rows, 3, NULL, 0};
    struct err err;
    struct rules *rules = rules_create(&operators, NULL, &err);
    static char text[2 * REPLY_TEXT_MAX];
    memset(text, 'a', sizeof text - 1);
    text[REPLY_TEXT_MAX / 2] = '!';
    memset(text + REPLY_TEXT_MAX / 2 + 1, 'x', REPLY_TEXT_MAX / 2 - 1);
    int64_t start = clock_now().mono_ns;
    for (int i = 0; i < 10; i++)
        assert_null(ask(rules, "s", "m", 550, text));
    assert_true(clock_now().mono_ns - start < INT64_C(5000000000));
    assert_rule(ask(rules, "s", "m", 550, "aaaa"), "a");
    rules_destroy(rules);
}

static void test_a_wrong_expression_says_where(void **state)
{
    (void)state;
    struct err err;
    size_t at = 99;
    assert_true(rules_check_match(STR("a|b"), &at, &err));
    assert_false(rules_check_match(STR("unusual (rate"), &at, &err));
    assert_int_equal(at, 13);
    assert_non_null(strstr(err.text, "parenthesis"));
    struct rule one = rule_of("one", "", "[");
    struct rule_list operators = {&one, 1, NULL, 0};
    assert_null(rules_create(&operators, NULL, &err));
    assert_non_null(strstr(err.text, "here:1"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_words_name_what_is_held),
        cmocka_unit_test(test_reactions_read_and_write),
        cmocka_unit_test(test_a_reaction_says_what_becomes_of_the_recipient),
        cmocka_unit_test(test_a_reach_stays_within_the_kind),
        cmocka_unit_test(test_wrong_reactions_say_what_was_expected),
        cmocka_unit_test(test_codes),
        cmocka_unit_test(test_statuses),
        cmocka_unit_test(test_the_first_wins_and_the_operators_come_first),
        cmocka_unit_test(test_a_built_in_rule_is_for_the_hosts_of_its_receiver_alone),
        cmocka_unit_test(test_every_condition_counts_and_says_which_failed),
        cmocka_unit_test(test_a_hostile_reply_takes_no_time),
        cmocka_unit_test(test_a_wrong_expression_says_where),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
