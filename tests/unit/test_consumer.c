/* The parts of a consumer: signatures, what an answer means, waits, the file that is put aside, gathering. */
#include "engine/report/backoff.h"
#include "engine/report/consumer.h"
#include "engine/report/event_file.h"
#include "engine/report/event_json.h"
#include "engine/report/gather.h"
#include "engine/report/webhook.h"
#include "engine/tls/digest.h"
#include "tests/unit/store_world.h"

#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <sys/resource.h>

static const char *hex(const uint8_t digest[DIGEST_SIZE])
{
    static char text[2 * DIGEST_SIZE + 1];
    for (size_t i = 0; i < DIGEST_SIZE; i++)
        snprintf(text + 2 * i, 3, "%02x", digest[i]);
    return text;
}

/* RFC 4231, cases 2 and 6. */
static void hmac(void **state)
{
    uint8_t digest[DIGEST_SIZE], key[131];
    (void)state;
    struct digest_piece pieces[] = {{"what do ya want ", 16}, {"for nothing?", 12}};
    digest_hmac("Jefe", 4, pieces, 2, digest);
    assert_string_equal(hex(digest), "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    memset(key, 0xaa, sizeof key);
    pieces[0] = (struct digest_piece){"Test Using Larger Than Block-Size Key - Hash Key First", 54};
    digest_hmac(key, sizeof key, pieces, 1, digest);
    assert_string_equal(hex(digest), "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
}

/* The example that libraries for Standard Webhooks check themselves with; the secret is decoded here. */
static void signature(void **state)
{
    static const char secret[] =
        "\x31\xf2\x90\xf6\xbf\x06\x29\x8a\xab\x4f\x08\xd4\x3c\x3f\x08\x2c\xf6\x48\xa3"
        "\x62\xda\x2d\xa4\xb0";
    char text[WEBHOOK_SIGNATURE_MAX];
    (void)state;
    size_t n = webhook_sign(str_make(secret, sizeof secret - 1), "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330,
                            STR("{\"test\": 2432232314}"), text);
    assert_string_equal(text, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    assert_int_equal(n, strlen(text));
}

static void answers(void **state)
{
    (void)state;
    for (unsigned status = 0; status < 1000; status++) {
        bool taken = status / 100 == 2;
        bool again = status == 408 || status == 425 || status == 429;
        enum webhook_result want = taken                         ? WEBHOOK_TAKEN
                                   : status / 100 == 4 && !again ? WEBHOOK_REFUSED
                                                                 : WEBHOOK_LATER;
        assert_int_equal(webhook_judge(status), want);
    }
}

static void waits(void **state)
{
    struct prng prng = {1};
    (void)state;
    for (unsigned failures = 1; failures < 60; failures++) {
        int64_t plain = failures < 10 ? INT64_C(1000) << (failures - 1) : 300000;
        if (plain > 300000)
            plain = 300000;
        int64_t wait = backoff_ms(failures, 1000, 300000, 0, &prng);
        assert_in_range(wait, plain * 75 / 100, plain * 125 / 100);
        assert_int_equal(backoff_ms(failures, 1000, 300000, 400000, &prng), 400000);
    }
    int64_t first = backoff_ms(1, 1000, 300000, 0, &prng);
    bool differs = false;
    for (unsigned n = 0; n < 20; n++)
        differs |= backoff_ms(1, 1000, 300000, 0, &prng) != first;
    assert_true(differs);
}

static void totals(void **state)
{
    struct consumer_totals in = {.sent = UINT64_MAX, .dropped = 300, .dead = 0}, out = {0};
    char row[CONSUMER_ROW_MAX];
    (void)state;
    size_t n = consumer_totals_encode(&in, row);
    assert_true(consumer_totals_decode(str_make(row, n), &out));
    assert_true(in.sent == out.sent && in.dropped == out.dropped && in.dead == out.dead);
    assert_false(consumer_totals_decode(str_make(row, n - 1), &out));
    row[0] = 99; /* of another version */
    assert_false(consumer_totals_decode(str_make(row, n), &out));
}

/* ---- the file ---- */

struct place {
    char directory[128], path[160];
    struct event_file file;
    struct now now;
};

static void place_make(struct place *p, uint64_t rotate_size, int64_t rotate_age_ms, unsigned keep)
{
    *p = (struct place){.now = clock_now()};
    assert_true(temporary_directory(p->directory));
    snprintf(p->path, sizeof p->path, "%s/events", p->directory);
    struct event_file_settings settings = {p->path, rotate_size, rotate_age_ms, keep};
    event_file_init(&p->file, &settings);
}

static void place_end(struct place *p)
{
    event_file_close(&p->file);
    temporary_remove(p->directory);
}

static void append(struct place *p, const char *lines)
{
    struct err err;
    if (!event_file_append(&p->file, str_of(lines), p->now, &err))
        fail_msg("%s", err.text);
}

static void expect(const struct place *p, const char *suffix, const char *content)
{
    char path[200], text[4096] = "";
    snprintf(path, sizeof path, "%s%s", p->path, suffix);
    int fd = open(path, O_RDONLY);
    if (content == NULL) {
        assert_int_equal(fd, -1);
        return;
    }
    assert_int_not_equal(fd, -1);
    assert_true(read(fd, text, sizeof text - 1) >= 0);
    close(fd);
    assert_string_equal(text, content);
}

static void file_by_size(void **state)
{
    struct place p;
    (void)state;
    place_make(&p, 10, 0, 2);
    append(&p, "aaaa\n");
    append(&p, "bbbb\n"); /* just fits */
    append(&p, "cccc\n");
    append(&p, "longer than a file may be\n"); /* whole all the same */
    append(&p, "dddd\n");
    expect(&p, "", "dddd\n");
    expect(&p, ".1", "longer than a file may be\n");
    expect(&p, ".2", "cccc\n"); /* the first two are gone: two are kept */
    expect(&p, ".3", NULL);
    place_end(&p);
}

static void file_by_age(void **state)
{
    struct place p;
    (void)state;
    place_make(&p, 0, 60000, 1);
    append(&p, "a\n");
    p.now.wall_ms += 59000;
    append(&p, "b\n");
    p.now.wall_ms += 2000;
    append(&p, "c\n");
    expect(&p, "", "c\n");
    expect(&p, ".1", "a\nb\n");
    place_end(&p);
}

static void file_cut_short(void **state)
{
    struct place p;
    char *zeros = calloc(1, 200000);
    (void)state;
    assert_non_null(zeros);
    place_make(&p, 0, 0, 1);
    append(&p, "a\nb\n");
    event_file_close(&p.file);
    int fd = open(p.path, O_WRONLY | O_APPEND);
    assert_int_equal(write(fd, zeros, 200000), 200000); /* as a power cut may leave it */
    close(fd);
    append(&p, "c\n");
    expect(&p, "", "a\nb\nc\n");
    event_file_close(&p.file);
    fd = open(p.path, O_WRONLY | O_TRUNC);
    assert_int_equal(write(fd, "no line at all", 14), 14);
    close(fd);
    append(&p, "d\n");
    expect(&p, "", "d\n");
    free(zeros);
    place_end(&p);
}

static void file_failures(void **state)
{
    struct place p;
    struct err err;
    (void)state;
    place_make(&p, 0, 0, 1);
    assert_int_equal(mkdir(p.path, 0700), 0);
    assert_false(event_file_append(&p.file, STR("a\n"), p.now, &err));
    assert_non_null(strstr(err.text, p.path));
    assert_int_equal(rmdir(p.path), 0);
    assert_int_equal(mkfifo(p.path, 0600), 0);
    assert_false(event_file_append(&p.file, STR("a\n"), p.now, &err)); /* and does not wait for a reader */
    assert_non_null(strstr(err.text, "no ordinary file"));
    assert_int_equal(unlink(p.path), 0);
    append(&p, "a\n");
    expect(&p, "", "a\n");
    assert_int_equal(unlink(p.path), 0);
    append(&p, "b\n");
    expect(&p, "", "b\n");
    place_end(&p);
}

/* A disk that is full in the middle of a line: nothing of it counts or stays; what comes next is whole. */
static void file_on_a_full_disk(void **state)
{
    struct place p;
    struct err err;
    struct rlimit before, limit;
    char large[4096];
    (void)state;
    place_make(&p, 0, 0, 1);
    append(&p, "a\n");
    memset(large, 'x', sizeof large - 1);
    large[sizeof large - 1] = '\n';
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    limit = (struct rlimit){1000, before.rlim_max};
    sigaction(SIGXFSZ, &(struct sigaction){.sa_handler = SIG_IGN}, NULL);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    bool appended = event_file_append(&p.file, str_make(large, sizeof large), p.now, &err);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    sigaction(SIGXFSZ, &(struct sigaction){.sa_handler = SIG_DFL}, NULL);
    assert_false(appended);
    assert_non_null(strstr(err.text, "write to it"));
    expect(&p, "", "a\n");
    append(&p, "b\n");
    expect(&p, "", "a\nb\n");
    place_end(&p);
}

/* Something in the way of a file that is put aside: it is told, nothing is lost, and it goes on after. */
static void file_that_cannot_be_put_aside(void **state)
{
    struct place p;
    struct err err;
    char aside[200];
    (void)state;
    place_make(&p, 3, 0, 1);
    append(&p, "aa\n");
    snprintf(aside, sizeof aside, "%s.1", p.path);
    assert_int_equal(mkdir(aside, 0700), 0);
    assert_false(event_file_append(&p.file, STR("bb\n"), p.now, &err));
    assert_non_null(strstr(err.text, "put it aside"));
    expect(&p, "", "aa\n");
    assert_int_equal(rmdir(aside), 0);
    append(&p, "bb\n");
    expect(&p, "", "bb\n");
    expect(&p, ".1", "aa\n");
    place_end(&p);
}

/* ---- gathering ---- */

static bool gather_all(struct gather *gather, struct store *store)
{
    while (gather_more(gather, store))
        if (gather_full(gather))
            return true;
    return false;
}

static void expect_seq(struct gather *gather, size_t n, uint64_t seq)
{
    struct str text = gather_texts(gather)[n];
    json_t *event = json_loadb(text.p, text.n, 0, NULL);
    assert_non_null(event);
    assert_int_equal(json_integer_value(json_object_get(event, "seq")), seq);
    assert_int_equal(gather->records[n].seq, seq);
    json_decref(event);
}

/* Batches go on in the middle of an event of many recipients. */
static void batches(void **state)
{
    struct world w;
    struct gather gather;
    struct config_consumer wanted = {.name = "crm", .batch = 7};
    (void)state;
    world_make(&w, NULL);
    world_small_job(&w, 20, 3); /* one item of 20 events */
    world_run(&w);
    world_settle(&w, OUTCOME_DELIVERED);
    assert_true(gather_init(&gather, &wanted, "mta.test", 3));
    for (uint64_t seq = 4; seq <= 40;) {
        gather_all(&gather, w.store);
        size_t n = gather.count;
        assert_int_equal(n, seq + 7 <= 41 ? 7 : 41 - seq);
        for (size_t i = 0; i < n; i++)
            expect_seq(&gather, i, seq + i);
        assert_int_equal(gather_read(&gather, 2), seq + 1);
        gather_drop(&gather, 2);
        if (gather.count > 0)
            expect_seq(&gather, 0, seq + 2);
        assert_int_equal(gather_read(&gather, gather.count), seq + n - 1);
        gather_drop(&gather, gather.count);
        seq += n;
    }
    assert_int_equal(gather.missed, 0);
    assert_false(gather_more(&gather, w.store));
    gather_free(&gather);
    world_end(&w);
}

/* Rare events: what lies between is read, too. */
static void filters(void **state)
{
    static const char *const tenants[] = {"acme"};
    struct world w;
    struct gather gather;
    struct config_consumer wanted = {.name = "crm", .batch = 100, .events = 1U << EVENT_BOUNCED};
    struct job_spec spec = world_spec("hello");
    (void)state;
    world_make(&w, NULL);
    for (unsigned n = 0; n < 2; n++) {
        spec.tenant = n == 0 ? STR("acme") : STR("other");
        world_job(&w, &spec, 5, 3);
        world_run(&w);
        world_settle(&w, n == 0 ? OUTCOME_BOUNCED : OUTCOME_DELIVERED);
        world_job(&w, &spec, 5, 3);
        world_run(&w);
        world_settle(&w, n == 0 ? OUTCOME_DELIVERED : OUTCOME_BOUNCED);
    }
    assert_true(gather_init(&gather, &wanted, "mta.test", 0));
    gather_all(&gather, w.store);
    assert_int_equal(gather.count, 10);
    assert_int_equal(gather.read, 40);
    assert_int_equal(gather.missed, 0);
    gather_free(&gather);
    wanted.tenants = (struct config_strings){(const char **)(uintptr_t)tenants, 1};
    assert_true(gather_init(&gather, &wanted, "mta.test", 0));
    gather_all(&gather, w.store);
    assert_int_equal(gather.count, 5);
    assert_int_equal(gather.read, 40);
    gather_free(&gather);
    world_end(&w);
}

/* What was dropped at the log's bound is seen as a gap. */
static void gaps(void **state)
{
    struct world w;
    struct gather gather;
    struct config_consumer wanted = {.name = "crm", .batch = 100};
    (void)state;
    world_make(&w, NULL);
    world_small_job(&w, 5, 3);
    world_run(&w);
    world_settle(&w, OUTCOME_DELIVERED);
    assert_true(gather_init(&gather, &wanted, "mta.test", 2));
    world_pass(&w, w.settings.retain_ms); /* no cursor holds them */
    world_pass(&w, 120000);
    world_small_job(&w, 5, 3);
    world_run(&w);
    world_settle(&w, OUTCOME_DELIVERED);
    gather_all(&gather, w.store);
    assert_int_equal(gather.missed, 8);
    assert_int_equal(gather.count, 10);
    expect_seq(&gather, 0, 11);
    gather_free(&gather);
    world_end(&w);
}

/* ---- an event as JSON ---- */

static void json(void **state)
{
    struct event event = {.seq = 7,
                          .time_ms = 1700000000123,
                          .type = EVENT_BOUNCED_LATE,
                          .rid = {17, 0, 42},
                          .tenant = STR("acme"),
                          .to = STR("a\"\\\x01\x7f\xc3\xa4\xff@x.example"),
                          .reply = STR("550 5.1.1 no\r\nsuch"),
                          .code = 550,
                          .status = STATUS(5, 1, 1),
                          .delay_ms = -5};
    struct buf out;
    (void)state;
    buf_init(&out, 4096);
    assert_true(event_json(&event, &out));
    assert_string_equal(
        (buf_add_char(&out, '\0'), out.data),
        "{\"seq\":7,\"time\":\"2023-11-14T22:13:20.123Z\",\"type\":\"bounced\",\"rid\":\"17-0-42\",\"job\":"
        "\"17\","
        "\"tenant\":\"acme\",\"campaign\":\"\",\"id\":\"\",\"to\":"
        "\"a\\\"\\\\\\u0001\\u007f\xc3\xa4\xef\xbf\xbd@"
        "x.example\",\"domain\":\"\",\"site\":\"\",\"source\":\"\",\"mx\":\"\",\"attempt\":0,\"code\":550,"
        "\"status\":\"5.1.1\",\"reply\":\"550 5.1.1 no\\u000d\\u000asuch\",\"tls\":\"\",\"delay_ms\":-5,"
        "\"next\":null,\"category\":\"bad-mailbox\",\"late\":true}");
    buf_free(&out);
    event =
        (struct event){.seq = UINT64_MAX, .type = EVENT_ALERT, .site = STR("gmail"), .delay_ms = INT32_MIN};
    buf_init(&out, 4096);
    assert_true(event_json(&event, &out));
    json_t *root = json_loadb(out.data, out.len, JSON_DECODE_INT_AS_REAL, NULL);
    assert_non_null(root);
    assert_true(json_is_null(json_object_get(root, "rid")) && json_is_null(json_object_get(root, "job")));
    assert_true(json_is_null(json_object_get(root, "status")) && json_is_null(json_object_get(root, "time")));
    assert_true(json_is_null(json_object_get(root, "category")));
    json_decref(root);
    buf_free(&out);
    buf_init(&out, 100);
    assert_false(event_json(&event, &out)); /* no room */
    buf_free(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hmac),
        cmocka_unit_test(signature),
        cmocka_unit_test(answers),
        cmocka_unit_test(waits),
        cmocka_unit_test(totals),
        cmocka_unit_test(file_by_size),
        cmocka_unit_test(file_by_age),
        cmocka_unit_test(file_cut_short),
        cmocka_unit_test(file_failures),
        cmocka_unit_test(file_on_a_full_disk),
        cmocka_unit_test(file_that_cannot_be_put_aside),
        cmocka_unit_test(batches),
        cmocka_unit_test(filters),
        cmocka_unit_test(gaps),
        cmocka_unit_test(json),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
