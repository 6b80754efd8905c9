/* What is said to proxies, to the byte: the PROXY protocol's header, version 2, and SOCKS5 (RFC 1928). */
#include "engine/smtp/proxy.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static struct sockaddr_storage address(const char *text, uint16_t port)
{
    struct sockaddr_storage storage = {.ss_family = strchr(text, ':') ? AF_INET6 : AF_INET};
    struct sockaddr_in *v4 = (struct sockaddr_in *)&storage;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&storage;
    void *to = storage.ss_family == AF_INET ? (void *)&v4->sin_addr : (void *)&v6->sin6_addr;
    assert_int_equal(inet_pton(storage.ss_family, text, to), 1);
    v4->sin_port = htons(port); /* at the same place in both */
    return storage;
}

static void same(struct buf *out, const char *bytes, size_t n)
{
    assert_int_equal(out->len, n);
    assert_memory_equal(out->data, bytes, n);
    buf_free(out);
}

#define SAME(out, literal) same(out, literal, sizeof(literal) - 1)
#define SIGNATURE          "\x0d\x0a\x0d\x0a\x00\x0d\x0a\x51\x55\x49\x54\x0a"

static bool header(struct buf *out, const char *source, const char *peer)
{
    struct sockaddr_storage from = address(source, 0), to = address(peer, 25);
    buf_init(out, 512);
    return proxy_add_header(out, (struct sockaddr *)&from, (struct sockaddr *)&to);
}

static void test_header(void **state)
{
    (void)state;
    struct buf out;
    assert_true(header(&out, "192.0.2.10", "198.51.100.7"));
    SAME(&out, SIGNATURE "\x21\x11\x00\x0c\xc0\x00\x02\x0a\xc6\x33\x64\x07\x00\x00\x00\x19");
    assert_true(header(&out, "2001:db8::1", "2001:db8::2"));
    SAME(&out, SIGNATURE "\x21\x21\x00\x24"
                         "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01"
                         "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x02\x00\x00\x00\x19");
    assert_false(header(&out, "192.0.2.10", "2001:db8::2"));
    buf_free(&out);
}

static void test_socks_requests(void **state)
{
    (void)state;
    struct buf out;
    struct sockaddr_storage v4 = address("198.51.100.7", 25), v6 = address("2001:db8::2", 2525);
    struct sockaddr local = {.sa_family = AF_UNIX};
    static const char long_text[256] = {'x'};
    buf_init(&out, 512);
    socks_add_hello(&out, false);
    SAME(&out, "\x05\x01\x00");
    socks_add_hello(&out, true);
    SAME(&out, "\x05\x02\x00\x02");
    assert_true(socks_add_login(&out, STR("tim"), STR("pw")));
    SAME(&out, "\x01\x03tim\x02pw");
    assert_false(socks_add_login(&out, STR(""), STR("pw")));
    assert_false(socks_add_login(&out, STR("tim"), str_make(long_text, 256)));
    assert_true(socks_add_connect(&out, (struct sockaddr *)&v4));
    SAME(&out, "\x05\x01\x00\x01\xc6\x33\x64\x07\x00\x19");
    assert_true(socks_add_connect(&out, (struct sockaddr *)&v6));
    SAME(&out, "\x05\x01\x00\x04\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x02\x09\xdd");
    assert_false(socks_add_connect(&out, &local));
    buf_free(&out);
}

#define IN(literal) literal, sizeof(literal) - 1

static void test_socks_replies(void **state)
{
    (void)state;
    static const struct {
        enum socks_step step;
        const char *in;
        size_t n;
        enum socks_reply reply;
        size_t used;
    } rows[] = {
        {SOCKS_HELLO, IN("\x05\x00"), SOCKS_GOOD, 2},
        {SOCKS_HELLO, IN("\x05\x02"), SOCKS_ASKS, 2},
        {SOCKS_HELLO, IN("\x05\xff"), SOCKS_FAILED, 2},
        {SOCKS_HELLO, IN("\x05\x01"), SOCKS_FAILED, 2},
        {SOCKS_HELLO, IN("22"), SOCKS_FAILED, 2}, /* a mail host, it seems */
        {SOCKS_LOGIN, IN("\x01\x00"), SOCKS_GOOD, 2},
        {SOCKS_LOGIN, IN("\x01\x01"), SOCKS_FAILED, 2},
        {SOCKS_CONNECT,
         IN("\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x19"
            "220"),
         SOCKS_GOOD, 10},
        {SOCKS_CONNECT,
         IN("\x05\x00\x00\x04"
            "0123456789abcdef"
            "\x00\x19"),
         SOCKS_GOOD, 22},
        {SOCKS_CONNECT,
         IN("\x05\x00\x00\x03\x02"
            "ab"
            "\x00\x19"),
         SOCKS_GOOD, 9},
        {SOCKS_CONNECT, IN("\x05\x00\x00\x02\x02\x00\x00"), SOCKS_FAILED, 2},
        {SOCKS_CONNECT, IN("\x05\x01"), SOCKS_FAILED, 2},
        {SOCKS_CONNECT, IN("\x05\x02"), SOCKS_FAILED, 2},
        {SOCKS_CONNECT, IN("\x05\x03\x00\x01\x00\x00\x00\x00\x00\x00"), SOCKS_NO_HOST, 2},
        {SOCKS_CONNECT, IN("\x05\x04"), SOCKS_NO_HOST, 2},
        {SOCKS_CONNECT, IN("\x05\x05"), SOCKS_NO_HOST, 2},
        {SOCKS_CONNECT, IN("\x05\x06"), SOCKS_NO_HOST, 2},
        {SOCKS_CONNECT, IN("\x05\x09"), SOCKS_FAILED, 2},
        {SOCKS_CONNECT, IN("\x05\xff"), SOCKS_FAILED, 2},
        {SOCKS_CONNECT, IN("\x04\x00"), SOCKS_FAILED, 2},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        size_t used;
        const char *why;
        assert_int_equal(socks_read(rows[i].step, str_make(rows[i].in, rows[i].n), &used, &why),
                         rows[i].reply);
        assert_int_equal((why[0] != '\0'), rows[i].reply == SOCKS_FAILED || rows[i].reply == SOCKS_NO_HOST);
        assert_true(rows[i].reply != SOCKS_GOOD || used == rows[i].used);
        for (size_t n = 0; rows[i].reply == SOCKS_GOOD && n < rows[i].used; n++)
            assert_int_equal(socks_read(rows[i].step, str_make(rows[i].in, n), &used, &why), SOCKS_MORE);
    }
    /* The longest there is fits. */
    char longest[SOCKS_REPLY_MAX] = "\x05\x00\x00\x03\xff";
    size_t used;
    const char *why;
    assert_int_equal(socks_read(SOCKS_CONNECT, str_make(longest, sizeof longest), &used, &why), SOCKS_GOOD);
    assert_int_equal(used, sizeof longest);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_header),
        cmocka_unit_test(test_socks_requests),
        cmocka_unit_test(test_socks_replies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
