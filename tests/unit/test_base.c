/* test_base.c - str, buf, codec, prng, err, network, secret. */
#include "engine/base/buf.h"
#include "engine/base/codec.h"
#include "engine/base/err.h"
#include "engine/base/network.h"
#include "engine/base/prng.h"
#include "engine/base/secret.h"
#include "engine/base/str.h"
#include "tests/unit/temporary.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
/* cmocka wants the above */
#include <cmocka.h>

static void test_str_compare(void **state)
{
    (void)state;
    struct str none = {NULL, 0};
    assert_true(str_eq(none, STR("")));
    assert_true(str_eq_nocase(none, STR("")));
    assert_true(str_eq(STR("ab"), str_make("abc", 2)));
    assert_false(str_eq(STR("ab"), STR("abc")));
    assert_true(str_eq_nocase(STR("ExAmple"), STR("eXaMPLE")));
    assert_false(str_eq_nocase(STR("\xc3\x84"), STR("\xc3\xa4"))); /* ASCII only */
    assert_false(str_eq_nocase(STR("[a"), STR("{a")));
    assert_true(str_starts(STR("abc"), STR("ab")) && str_starts(STR("abc"), STR("")));
    assert_false(str_starts(STR("a"), STR("ab")));
    assert_true(str_starts_nocase(STR("EHLO x"), STR("ehlo ")));
    assert_true(str_ends_nocase(STR("mx.Google.COM"), STR(".google.com")));
    assert_false(str_ends_nocase(STR("com"), STR(".google.com")));
    assert_true(str_cmp(STR("a"), STR("ab")) < 0 && str_cmp(STR("b"), STR("ab")) > 0);
    assert_int_equal(str_cmp(none, STR("")), 0);
    assert_true(str_cmp(STR("\xff"), STR("a")) > 0); /* bytes are unsigned */
    assert_true(str_hash(STR("a")) != str_hash(STR("b")));
    assert_int_equal(str_hash(STR("ab")), str_hash(str_make("abc", 2)));
}

static void test_str_find_trim_dup(void **state)
{
    (void)state;
    assert_int_equal(str_find(STR("a@b@c"), '@', 0), 1);
    assert_int_equal(str_find(STR("a@b@c"), '@', 2), 3);
    assert_true(str_find(STR("a@b@c"), '@', 4) == SIZE_MAX);
    assert_true(str_find(STR("a"), 'a', 9) == SIZE_MAX);
    assert_true(str_eq(str_trim(STR(" \t\r\na b\n ")), STR("a b")));
    assert_int_equal(str_trim(STR(" \t ")).n, 0);
    assert_int_equal(str_trim((struct str){NULL, 0}).n, 0);
    char *copy = str_dup(str_make("abc", 2));
    assert_string_equal(copy, "ab");
    free(copy);
    copy = str_dup((struct str){NULL, 0});
    assert_string_equal(copy, "");
    free(copy);
}

static void test_str_numbers(void **state)
{
    (void)state;
    uint64_t value = 7;
    assert_true(str_u64(STR("0"), 0, &value) && value == 0);
    assert_true(str_u64(STR("18446744073709551615"), UINT64_MAX, &value) && value == UINT64_MAX);
    static const char *const bad[] = {
        "", "-1", "+1", " 1", "1 ", "1x", "0x1", "18446744073709551616", "99999999999999999999999"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(str_u64(str_of(bad[i]), UINT64_MAX, &value));
    assert_false(str_u64(STR("101"), 100, &value));
    assert_true(value == UINT64_MAX); /* untouched */
}

static void test_str_glob(void **state)
{
    (void)state;
    assert_true(str_glob_nocase(STR("*.google.com"), STR("ASPMX.L.google.COM")));
    assert_false(str_glob_nocase(STR("*.google.com"), STR("google.com")));
    assert_false(str_glob_nocase(STR("*.google.com"), STR("mx.google.com.evil.example")));
    assert_true(str_glob_nocase(STR("mx?.*"), STR("mx1.example")));
    assert_false(str_glob_nocase(STR("mx?.*"), STR("mx.example")));
    assert_true(str_glob_nocase(STR("*"), STR("")));
    assert_true(str_glob_nocase(STR("**"), STR("x")));
    assert_true(str_glob_nocase(STR(""), STR("")));
    assert_false(str_glob_nocase(STR(""), STR("x")));
    assert_false(str_glob_nocase(STR("?"), STR("")));
    assert_true(str_glob_nocase(STR("a*b*c"), STR("aXbXbXc")));
    assert_false(str_glob_nocase(STR("a*b*c"), STR("aXbXbX")));
}

static void test_buf_bounds(void **state)
{
    (void)state;
    struct buf buf;
    buf_init(&buf, 10);
    assert_true(buf_add_z(&buf, "12345") && buf_add_char(&buf, '6') && buf_add_str(&buf, STR("789")));
    assert_false(buf_add_z(&buf, "xy")); /* would pass the maximum: content stays */
    assert_true(buf.failed);
    assert_true(str_eq(buf_str(&buf), STR("123456789")));
    assert_false(buf_add_char(&buf, 'x')); /* failed stays */
    assert_false(buf_add(&buf, NULL, 0));
    buf_clear(&buf);
    assert_true(buf_add(&buf, NULL, 0));
    assert_true(buf_add_z(&buf, "0123456789"));
    buf_clear(&buf);
    assert_true(buf_add_u64(&buf, 0) && buf_add_u64(&buf, 12345));
    assert_true(str_eq(buf_str(&buf), STR("012345")));
    assert_false(buf_add_u64(&buf, UINT64_MAX));
    buf_clear(&buf);
    assert_true(buf_add_z(&buf, "0123456789"));
    assert_int_equal(buf.len, 10);
    assert_true(buf.cap <= 10);
    buf_shift(&buf, 4);
    assert_true(str_eq(buf_str(&buf), STR("456789")));
    buf_shift(&buf, 99);
    assert_int_equal(buf.len, 0);
    assert_null(buf_room(&buf, SIZE_MAX));
    buf_free(&buf);
    assert_true(buf.data == NULL && buf.max == 10);
}

/* What is too large is told apart from what there is no memory for. */
static void test_buf_lacked(void **state)
{
    struct buf buf;
    (void)state;
    (void)buf_lacked();
    buf_init(&buf, 8);
    assert_null(buf_room(&buf, 9));
    assert_false(buf_lacked());
    buf_free(&buf);
    buf_init(&buf, SIZE_MAX);
#if !defined(__SANITIZE_ADDRESS__) &&                                                                        \
    !defined(__SANITIZE_THREAD__) /* they end a program that asks for so much */
    assert_null(buf_room(&buf, SIZE_MAX / 4));
    assert_true(buf.failed && buf_lacked());
    assert_false(buf_lacked());
#endif
    buf_free(&buf);
}

static void test_buf_grows(void **state)
{
    (void)state;
    struct buf buf;
    buf_init(&buf, 100000);
    for (int i = 0; i < 100000; i++)
        assert_true(buf_add_char(&buf, (char)i));
    for (int i = 0; i < 100000; i++)
        assert_int_equal(buf.data[i], (char)i);
    assert_false(buf_add_char(&buf, 'x'));
    buf_clear(&buf);
    assert_true(buf_printf(&buf, "%s-%d", "a", 42));
    assert_true(str_eq(buf_str(&buf), STR("a-42")));
    char *room = buf_room(&buf, 3);
    room[0] = 'x', room[1] = 'y', room[2] = 'z';
    buf.len += 3;
    assert_true(str_eq(buf_str(&buf), STR("a-42xyz")));
    buf_free(&buf);
    buf_init(&buf, 4);
    assert_false(buf_printf(&buf, "%s", "12345"));
    assert_int_equal(buf.len, 0);
    buf_free(&buf);
}

static void test_codec_fixed(void **state)
{
    (void)state;
    uint8_t a[8], b[8];
    put_be64(a, UINT64_C(0x0102030405060708));
    assert_memory_equal(a, "\1\2\3\4\5\6\7\10", 8);
    assert_true(get_be64(a) == UINT64_C(0x0102030405060708));
    assert_int_equal(get_be32(a), 0x01020304);
    assert_int_equal(get_be16(a), 0x0102);
    put_be16(a, 0xffff);
    assert_int_equal(get_be16(a), 0xffff);
    put_be32(a, 0xfffefdfc);
    assert_true(get_be32(a) == 0xfffefdfc);
    struct prng prng = {1};
    for (int i = 0; i < 1000; i++) { /* bytes order as numbers do */
        uint64_t x = prng_next(&prng) >> prng_below(&prng, 64), y = prng_next(&prng) >> prng_below(&prng, 64);
        put_be64(a, x);
        put_be64(b, y);
        assert_int_equal(memcmp(a, b, 8) < 0, x < y);
    }
}

static void test_codec_round_trip(void **state)
{
    (void)state;
    struct prng prng = {2};
    struct buf buf;
    buf_init(&buf, 1 << 16);
    uint64_t values[500];
    for (size_t i = 0; i < 500; i++) {
        values[i] = prng_next(&prng) >> prng_below(&prng, 64);
        if (i < 4)
            values[i] = (uint64_t[]){0, 127, 128, UINT64_MAX}[i];
        assert_true(buf_add_varint(&buf, values[i]));
        assert_true(buf_add_field(&buf, str_make("abcdefghijklmnopqrstuvwxyz", values[i] % 27)));
    }
    struct reader reader = reader_of(buf.data, buf.len);
    for (size_t i = 0; i < 500; i++) {
        assert_true(read_varint(&reader) == values[i]);
        struct str field = read_field(&reader);
        assert_true(str_eq(field, str_make("abcdefghijklmnopqrstuvwxyz", values[i] % 27)));
    }
    assert_false(reader.bad);
    assert_ptr_equal(reader.at, reader.end);
    buf_free(&buf);
}

/* Whatever the bytes, a reader stays inside them, and a short row is seen. */
static void test_codec_bad_input(void **state)
{
    (void)state;
    struct reader reader = reader_of("\x80\x80", 2);
    assert_int_equal(read_varint(&reader), 0);
    assert_true(reader.bad);
    assert_int_equal(read_u8(&reader), 0);
    reader = reader_of("\005ABCD", 5);
    assert_int_equal(read_field(&reader).n, 0);
    assert_true(reader.bad);
    reader = reader_of("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 12);
    read_varint(&reader);
    assert_true(reader.bad);
    reader = reader_of("", 0);
    assert_int_equal(read_u8(&reader), 0);
    assert_true(reader.bad);
    struct prng prng = {3};
    for (int round = 0; round < 2000; round++) {
        size_t n = 1 + prng_below(&prng, 40);
        uint8_t *bytes = malloc(n); /* on the heap, so that ASan sees a step beyond */
        for (size_t i = 0; i < n; i++)
            bytes[i] = (uint8_t)prng_next(&prng);
        reader = reader_of(bytes, n);
        for (int i = 0; i < 20; i++) {
            struct str field = read_field(&reader);
            assert_true(field.n <= n);
            read_u8(&reader);
            assert_true(reader.at <= reader.end);
        }
        assert_true(reader.bad);
        free(bytes);
    }
}

static void test_prng(void **state)
{
    (void)state;
    struct prng a = {42}, b = {42};
    for (int i = 0; i < 100; i++)
        assert_true(prng_next(&a) == prng_next(&b));
    unsigned seen[7] = {0};
    for (int i = 0; i < 70000; i++)
        seen[prng_below(&a, 7)]++;
    for (int i = 0; i < 7; i++) /* 10,000 each, seven deviations allowed */
        assert_in_range(seen[i], 9300, 10700);
    assert_true(prng_below(&a, 1) == 0);
    bool low = false, high = false;
    for (int i = 0; i < 10000; i++) {
        int64_t jittered = prng_jitter(&a, 1000, 20);
        assert_in_range(jittered, 800, 1200);
        low |= jittered < 850;
        high |= jittered > 1150;
    }
    assert_true(low && high);
    assert_int_equal(prng_jitter(&a, 0, 20), 0);
    assert_int_equal(prng_jitter(&a, -5, 20), 0);
    assert_int_equal(prng_jitter(&a, 3, 20), 3);
    assert_true(prng_jitter(&a, 1000, 100) >= 0);
    assert_true(prng_seed() != prng_seed());
}

static void test_err(void **state)
{
    (void)state;
    struct err err;
    assert_false(err_set(&err, 5, "cannot open %s", "/x"));
    assert_int_equal(err.code, 5);
    assert_string_equal(err.text, "cannot open /x");
    assert_false(err_prefix(&err, "line %d", 3));
    assert_string_equal(err.text, "line 3: cannot open /x");
    assert_int_equal(err.code, 5);
    char big[2 * ERR_TEXT_MAX];
    memset(big, 'x', sizeof big - 1);
    big[sizeof big - 1] = '\0';
    err_set(&err, 0, "%s", big);
    assert_int_equal(strlen(err.text), ERR_TEXT_MAX - 1);
    err_prefix(&err, "front");
    assert_int_equal(strlen(err.text), ERR_TEXT_MAX - 1);
    assert_memory_equal(err.text, "front: xxx", 10);
    for (size_t n = ERR_TEXT_MAX - 6; n < ERR_TEXT_MAX + 2; n++) { /* a prefix that leaves no room */
        err_set(&err, 0, "old");
        err_prefix(&err, "%.*s", (int)n, big);
        assert_true(strlen(err.text) < ERR_TEXT_MAX);
        assert_memory_equal(err.text, "xxxx", 4);
    }
}

static bool has(const char *network, const char *address)
{
    struct network parsed;
    struct sockaddr_storage storage = {0};
    struct sockaddr_in *v4 = (struct sockaddr_in *)&storage;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&storage;
    assert_true(network_parse(str_of(network), &parsed));
    v4->sin_family = AF_INET;
    if (inet_pton(AF_INET, address, &v4->sin_addr) != 1) {
        v6->sin6_family = AF_INET6;
        assert_int_equal(inet_pton(AF_INET6, address, &v6->sin6_addr), 1);
    }
    return network_has(&parsed, (const struct sockaddr *)&storage);
}

static void test_network(void **state)
{
    (void)state;
    static const char *const wrong[] = {"",           "x",           "10.0.0.0/33", "10.0.0.1/8", "10.0.0.0/",
                                        "10.0.0.0/x", "2001:db8/32", "::1/127",     "::/129",     "10.0.0/8"};
    struct network network;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_false(network_parse(str_of(wrong[i]), &network));
    assert_true(has("127.0.0.0/8", "127.255.0.1") && !has("127.0.0.0/8", "128.0.0.1"));
    assert_true(has("192.0.2.128/25", "192.0.2.129") && !has("192.0.2.128/25", "192.0.2.127"));
    assert_true(has("192.0.2.1", "192.0.2.1") && !has("192.0.2.1", "192.0.2.2"));
    assert_true(has("0.0.0.0/0", "8.8.8.8") && !has("0.0.0.0/0", "::1") && has("::/0", "::1"));
    assert_true(has("2001:db8::/33", "2001:db8:7fff::1") && !has("2001:db8::/33", "2001:db8:8000::1"));
    assert_true(has("192.0.2.0/24", "::ffff:192.0.2.7") && !has("::/0", "::ffff:192.0.2.7"));
}

static const char *secret_of(const char *path, struct str text, size_t most)
{
    static char said[300];
    struct buf secret;
    struct err err;
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0 && write(fd, text.p, text.n) == (ssize_t)text.n);
    close(fd);
    buf_init(&secret, most);
    if (secret_read(path, &secret, &err))
        snprintf(said, sizeof said, "%.*s", (int)secret.len, secret.data);
    else
        snprintf(said, sizeof said, "no: %s", err.text + strlen(path) + 2);
    secret_free(&secret);
    return said;
}

/* A worker reads them at each login: whatever stands there, it must not wait. */
static void test_secret(void **state)
{
    (void)state;
    char directory[TEMPORARY_PATH], path[TEMPORARY_PATH + 20];
    static char large[40000];
    struct buf secret;
    struct err err;
    assert_true(temporary_directory(directory));
    snprintf(path, sizeof path, "%s/secret", directory);
    assert_string_equal(secret_of(path, STR(" two words\t\r\nand more"), 100), "two words");
    assert_string_equal(secret_of(path, STR("alone"), 5), "alone");
    assert_string_equal(secret_of(path, STR("alone"), 4), "no: its first line is too long");
    assert_string_equal(secret_of(path, STR(""), 100), "no: its first line is empty");
    assert_string_equal(secret_of(path, STR("\nx"), 100), "no: its first line is empty");
    memset(large, 'x', sizeof large);
    assert_string_equal(secret_of(path, str_make(large, sizeof large), sizeof large),
                        "no: its first line is too long");
    large[9] = '\n';
    assert_string_equal(secret_of(path, str_make(large, sizeof large), 100), "xxxxxxxxx");
    unlink(path);
    buf_init(&secret, 100);
    assert_false(secret_read(path, &secret, &err));
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_false(secret_read(path, &secret, &err));
    assert_non_null(strstr(err.text, "no ordinary file"));
    assert_false(secret_read(directory, &secret, &err));
    assert_int_equal(secret.len, 0);
    unlink(path);
    rmdir(directory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_str_compare),
        cmocka_unit_test(test_str_find_trim_dup),
        cmocka_unit_test(test_str_numbers),
        cmocka_unit_test(test_str_glob),
        cmocka_unit_test(test_buf_bounds),
        cmocka_unit_test(test_buf_grows),
        cmocka_unit_test(test_buf_lacked),
        cmocka_unit_test(test_codec_fixed),
        cmocka_unit_test(test_codec_round_trip),
        cmocka_unit_test(test_codec_bad_input),
        cmocka_unit_test(test_prng),
        cmocka_unit_test(test_secret),
        cmocka_unit_test(test_err),
        cmocka_unit_test(test_network),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
