/* Logging in: the exchanges of RFC 7677 3 and others to the byte, and hosts that do not play by the rules. */
#include "engine/smtp/auth.h"

#include "engine/message/decode.h"
#include "engine/message/encode.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define NONCE    "rOprNGfwEbeRWgbNEkqO"
#define COMBINED "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
#define FIRST    "r=" COMBINED ",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
#define FINAL    "c=biws,r=" COMBINED ",p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
#define VERIFIED "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="

static struct buf line;

static void setup(void)
{
    buf_init(&line, AUTH_LINE_MAX);
}

/* In base64, as it comes behind a 334. */
static struct str encoded(const char *text)
{
    static char room[1024];
    char *end = base64_encode(room, str_of(text));
    return str_make(room, (size_t)(end - room));
}

/* What `line` says behind `before`, decoded; and it ends with CRLF. */
static void said(const char *before, const char *text)
{
    struct buf plain;
    buf_init(&plain, AUTH_LINE_MAX);
    assert_true(str_starts(buf_str(&line), str_of(before)));
    assert_true(line.len >= 2 && memcmp(line.data + line.len - 2, "\r\n", 2) == 0);
    size_t n = strlen(before);
    assert_true(base64_decode(str_make(line.data + n, line.len - 2 - n), &plain));
    assert_int_equal(plain.len, strlen(text));
    assert_memory_equal(plain.data, text, plain.len);
    buf_free(&plain);
    buf_clear(&line);
}

static struct auth *scram(struct auth_keys *keys)
{
    setup();
    struct auth *auth = auth_begin(AUTH_SCRAM_SHA_256, STR("user"), STR("pencil"), STR(NONCE), keys, &line);
    assert_non_null(auth);
    said("AUTH SCRAM-SHA-256 ", "n,,n=user,r=" NONCE);
    assert_false(auth_is_complete(auth));
    return auth;
}

static void over(struct auth *auth)
{
    auth_free(auth);
    buf_free(&line);
}

/* RFC 7677 3; the second time with the key that was kept. */
static void test_scram(void **state)
{
    (void)state;
    struct auth_keys keys = {.there = false};
    for (unsigned i = 0; i < 3; i++) {
        struct err err;
        struct auth *auth = scram(i < 2 ? &keys : NULL);
        assert_true(auth_answer(auth, encoded(FIRST), &line, &err));
        said("", FINAL);
        assert_true(keys.there);
        assert_false(auth_is_complete(auth));
        assert_true(auth_answer(auth, encoded(VERIFIED), &line, &err));
        said("", "");
        assert_true(auth_is_complete(auth));
        assert_false(auth_answer(auth, encoded(""), &line, &err));
        over(auth);
    }
}

static void test_scram_with_another_secret(void **state)
{
    (void)state;
    struct auth_keys keys = {.there = false};
    struct err err;
    struct auth *auth = scram(&keys);
    assert_true(auth_answer(auth, encoded(FIRST), &line, &err));
    over(auth);
    setup();
    auth = auth_begin(AUTH_SCRAM_SHA_256, STR("user"), STR("pencils"), STR(NONCE), &keys, &line);
    buf_clear(&line);
    assert_true(auth_answer(auth, encoded(FIRST), &line, &err));
    assert_false(str_eq(buf_str(&line), encoded(FINAL)));
    over(auth);
}

static void test_scram_refuses(void **state)
{
    (void)state;
    static const char *const firsts[] = {
        "",
        "r=",
        "r=" NONCE ",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096", /* adds nothing of its own */
        "r=other" COMBINED ",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
        "r=" COMBINED ",s=,i=4096",
        "r=" COMBINED ",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=0",
        "r=" COMBINED ",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=-1",
        "r=" COMBINED ",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4294967297",
        "r=" COMBINED ",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=100001",
        "m=x,r=" COMBINED ",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
        "s=W22ZaJ0SNY7soEsUEjb6gQ==,r=" COMBINED ",i=4096",
        "e=other-error",
    };
    struct err err;
    for (size_t i = 0; i < sizeof firsts / sizeof *firsts; i++) {
        struct auth *auth = scram(NULL);
        assert_false(auth_answer(auth, encoded(firsts[i]), &line, &err));
        assert_true(err.text[0] != '\0' && line.len == 0);
        over(auth);
    }
    static const char *const lasts[] = {
        "", "v=", "v=7rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=", "e=invalid-proof", "v=AAAA"};
    for (size_t i = 0; i < sizeof lasts / sizeof *lasts; i++) {
        struct auth *auth = scram(NULL);
        assert_true(auth_answer(auth, encoded(FIRST), &line, &err));
        assert_false(auth_answer(auth, encoded(lasts[i]), &line, &err));
        assert_false(auth_is_complete(auth));
        over(auth);
    }
}

static void test_scram_name(void **state)
{
    (void)state;
    setup();
    struct auth *auth = auth_begin(AUTH_SCRAM_SHA_256, STR("a=b,c"), STR("x"), STR("n"), NULL, &line);
    said("AUTH SCRAM-SHA-256 ", "n,,n=a=3Db=2Cc,r=n");
    over(auth);
}

static void test_xoauth2(void **state)
{
    (void)state;
    struct err err;
    setup();
    struct auth *auth =
        auth_begin(AUTH_XOAUTH2, STR("someuser@example.com"),
                   STR("ya29.vF9dft4qmTc2Nvb3RlckBhdHRhdmlzdGEuY29tCg"), STR("n"), NULL, &line);
    assert_true(auth_is_complete(auth));
    assert_string_equal(
        (buf_add_char(&line, '\0'), line.data),
        "AUTH XOAUTH2 "
        "dXNlcj1zb21ldXNlckBleGFtcGxlLmNvbQFhdXRoPUJlYXJlciB5YTI5LnZGOWRmdDRxbVRjMk52YjNSbGNrQmhk"
        "SFJoZG1semRHRXVZMjl0Q2cBAQ==\r\n");
    buf_clear(&line);
    /* The error, and an empty answer, after which comes the 535. */
    assert_true(auth_answer(auth, STR("eyJzdGF0dXMiOiI0MDEifQ=="), &line, &err));
    said("", "");
    assert_false(auth_answer(auth, STR(""), &line, &err));
    over(auth);
}

static void test_names(void **state)
{
    (void)state;
    assert_int_equal(auth_mechanisms(STR("PLAIN LOGIN")), 1u << AUTH_PLAIN | 1u << AUTH_LOGIN);
    assert_int_equal(auth_mechanisms(STR("scram-sha-256  GSSAPI xoauth2 ")),
                     1u << AUTH_SCRAM_SHA_256 | 1u << AUTH_XOAUTH2);
    assert_int_equal(auth_mechanisms(STR("SCRAM-SHA-256-PLUS SCRAM-SHA-1 PLAINER CRAM-MD5")), 0);
    assert_int_equal(auth_mechanisms(STR("")), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scram),         cmocka_unit_test(test_scram_with_another_secret),
        cmocka_unit_test(test_scram_refuses), cmocka_unit_test(test_scram_name),
        cmocka_unit_test(test_xoauth2),       cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
