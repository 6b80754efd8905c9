/* The HTTP server: routes, bodies in pieces with a client held back, streams, clients that leave, sockets. */
#include "engine/admin/http.h"
#include "engine/limits.h"
#include "tests/unit/http_client.h"
#include "tests/unit/temporary.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

static char directory[TEMPORARY_PATH], jobs_path[TEMPORARY_PATH + 20], control_path[TEMPORARY_PATH + 20];
static struct http *http;
static atomic_uint begun, released, streams_begun, streams_released;
static atomic_bool stream_may_go, stopped_seen;

/* ---- handlers to test with ---- */

static void answer_text(struct http_request *request, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static void answer_text(struct http_request *request, const char *format, ...)
{
    struct buf body;
    va_list args;
    buf_init(&body, 100000);
    va_start(args, format);
    buf_vprintf(&body, format, args);
    va_end(args);
    http_answer(request, 200, "text/plain", &body);
    buf_free(&body);
}

static void say_hello(struct http_request *request, struct now now, void *user)
{
    struct str name = http_parameter(request, "name");
    uint32_t uid = 12345;
    (void)now;
    bool known = http_peer_uid(request, &uid);
    answer_text(request, "%s %.*s %.*s %d %u listener %u body %.*s", (const char *)user,
                STR_ARG(http_segment(request, 0)), STR_ARG(name), name.p != NULL, known ? uid : 0,
                http_listener_index(request), STR_ARG(http_body(request)));
}

static void say_nothing(struct http_request *request, struct now now, void *user)
{
    (void)request;
    (void)now;
    (void)user;
}

static void say_figures(struct http_request *request, struct now now, void *user)
{
    struct http_figures figures;
    (void)now;
    (void)user;
    http_figures(request, &figures);
    answer_text(request, "%llu", (unsigned long long)figures.requests);
}

/* An upload that sums its bytes, takes at most `most` at once, and waits now and then for another thread. */
struct sum {
    struct http_request *request;
    uint64_t bytes, hash;
    unsigned calls;
    bool waited_at_end, all_at_once;
};

static void *resume_later(void *user)
{
    usleep(200);
    http_resume(user);
    return NULL;
}

static void wait_a_little(struct sum *sum)
{
    pthread_t thread;
    pthread_attr_t detached;
    http_suspend(sum->request);
    if (sum->calls % 2 == 0) {
        http_resume(sum->request); /* before the callback returns */
        return;
    }
    pthread_attr_init(&detached);
    pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
    if (pthread_create(&thread, &detached, resume_later, sum->request) != 0)
        http_resume(sum->request);
    pthread_attr_destroy(&detached);
}

static void *sum_begin(struct http_request *request, struct now now, void *user)
{
    struct str refuse = http_parameter(request, "refuse");
    (void)now;
    (void)user;
    if (str_eq(refuse, STR("begin"))) {
        http_fail(request, 409, "in_progress", "not now");
        return NULL;
    }
    struct sum *sum = calloc(1, sizeof *sum);
    assert_non_null(sum);
    atomic_fetch_add(&begun, 1);
    sum->request = request;
    sum->hash = 1469598103934665603u;
    sum->all_at_once = str_eq(refuse, STR("never"));
    return sum;
}

static void sum_data(void *user, struct str *data, struct now now)
{
    struct sum *sum = user;
    size_t most = sum->all_at_once ? SIZE_MAX : 1 + sum->calls * 37 % 5000;
    (void)now;
    size_t n = data->n < most ? data->n : most;
    for (size_t i = 0; i < n; i++)
        sum->hash = (sum->hash ^ (unsigned char)data->p[i]) * 1099511628211u;
    sum->bytes += n;
    *data = str_make(data->p + n, data->n - n);
    sum->calls++;
    if (str_eq(http_parameter(sum->request, "refuse"), STR("data")) && sum->bytes > 1000)
        http_fail(sum->request, 413, "too_large", "over 1000");
    else if (data->n > 0 || (!sum->all_at_once && sum->calls % 3 == 0))
        wait_a_little(sum);
}

static void sum_end(void *user, struct now now)
{
    struct sum *sum = user;
    (void)now;
    if (!sum->waited_at_end) {
        sum->waited_at_end = true;
        wait_a_little(sum);
        return;
    }
    answer_text(sum->request, "%llu %llx", (unsigned long long)sum->bytes, (unsigned long long)sum->hash);
}

static void sum_release(void *user)
{
    atomic_fetch_add(&released, 1);
    free(user);
}

static const struct http_upload_ops sum_ops = {sum_begin, sum_data, sum_end, sum_release};

/* A stream of lines; with "follow" it waits for stream_may_go between them. */
struct counter {
    struct http_stream stream;
    unsigned next, lines;
    bool follow, broken;
};

static enum http_fill count_fill(struct http_stream *stream, struct buf *out, struct now now)
{
    struct counter *counter = (struct counter *)stream;
    (void)now;
    if (http_stopping(stream->request))
        atomic_store(&stopped_seen, true);
    if (counter->broken && counter->next == 3)
        return HTTP_FILL_BROKEN;
    if (counter->next == counter->lines)
        return HTTP_FILL_END;
    if (counter->follow && !atomic_exchange(&stream_may_go, false))
        return HTTP_FILL_WAIT;
    for (unsigned i = 0; i < 100 && counter->next < counter->lines; i++) {
        buf_printf(out, "{\"line\":%u}\n", counter->next++);
        if (counter->follow || counter->broken)
            break;
    }
    return counter->next == counter->lines ? HTTP_FILL_END : HTTP_FILL_MORE;
}

static bool count_ready(struct http_stream *stream)
{
    (void)stream;
    return atomic_load(&stream_may_go);
}

static void count_release(struct http_stream *stream)
{
    atomic_fetch_add(&streams_released, 1);
    free(stream);
}

static void count(struct http_request *request, struct now now, void *user)
{
    struct counter *counter = calloc(1, sizeof *counter);
    (void)now;
    (void)user;
    assert_non_null(counter);
    atomic_fetch_add(&streams_begun, 1);
    counter->stream =
        (struct http_stream){.fill = count_fill, .ready = count_ready, .release = count_release};
    counter->lines = (unsigned)strtoul(http_segment(request, 0).p, NULL, 10);
    counter->follow = http_parameter(request, "follow").p != NULL;
    counter->broken = http_parameter(request, "broken").p != NULL;
    http_answer_stream(request, 200, "application/x-ndjson", &counter->stream);
}

static const struct http_route routes[] = {
    {HTTP_POST | HTTP_PUT, "/sum", "refuse", NULL, &sum_ops, 3},
    {HTTP_GET | HTTP_POST, "/hello/*", "name other", say_hello, NULL, 3},
    {HTTP_GET, "/figures", "", say_figures, NULL, 3},
    {HTTP_GET, "/hello/*/there", "", say_hello, NULL, 3},
    {HTTP_GET, "/nothing", "", say_nothing, NULL, 3},
    {HTTP_GET, "/count/*", "follow broken", count, NULL, 3},
    {HTTP_GET, "/secret", "", say_hello, NULL, 2},
};

/* ---- tests ---- */

static void expect(const char *method, const char *url, const char *body, unsigned status, const char *text)
{
    struct http_reply reply;
    http_call(jobs_path, method, url, "", str_of(body), &reply);
    if (reply.status != status || strstr(reply.body.data, text) == NULL)
        fail_msg("%s %s: %u %s, expected %u %s", method, url, reply.status, reply.body.data, status, text);
    http_reply_free(&reply);
}

static void test_routes(void **state)
{
    (void)state;
    char expected[128];
    snprintf(expected, sizeof expected, "user ada x y 1 %u listener 0 body ", (unsigned)getuid());
    expect("GET", "/hello/ada?name=x%20y", "", 200, expected);
    expect("POST", "/hello/a%20b?name=x+y&other=", "the body", 200, "user a b x y 1 ");
    expect("POST", "/hello/ada", "the body", 200, "body the body");
    expect("GET", "/hello/ada/there", "", 200, "user ada  0 ");
    expect("GET", "/nosuch", "", 404, "\"code\":\"not_found\",\"reason\":\"there is nothing at /nosuch\"");
    expect("GET", "/hello", "", 404, "not_found");
    expect("GET", "/hello/", "", 404, "not_found");
    expect("GET", "/hello/a/b", "", 404, "not_found");
    expect("POST", "/nosuch", "a body that nobody wants", 404, "not_found");
    expect("PUT", "/hello/ada", "x", 405, "/hello/ada does not know PUT, but GET, HEAD, POST");
    expect("DELETE", "/sum", "", 405, "does not know DELETE, but POST, PUT");
    expect("GET", "/hello/ada?nmae=x", "", 400, "unknown parameter \\\"nmae\\\": this call knows name other");
    expect("GET", "/hello/ada?name=x&name=y", "", 400, "the parameter \\\"name\\\" is there twice");
    expect("GET", "/hello/ada?nam=x", "", 400, "unknown parameter");
    expect("GET", "/nothing", "", 500, "no answer was made");
    expect("GET", "/secret", "", 403, "served on the control socket only");

    struct http_reply reply;
    http_call(control_path, "GET", "/secret", "", STR(""), &reply);
    assert_int_equal(reply.status, 200);
    assert_non_null(strstr(reply.body.data, "listener 1"));
    http_reply_free(&reply);
    http_call(jobs_path, "DELETE", "/sum", "", STR(""), &reply);
    assert_non_null(strstr(reply.header, "Allow: POST, PUT\r\n"));
    http_reply_free(&reply);
    http_call(jobs_path, "HEAD", "/hello/ada", "Connection: close\r\n", STR(""), &reply);
    assert_int_equal(reply.status, 200);
    assert_true(reply.cut); /* no body comes */
    http_reply_free(&reply);
}

static void test_body_too_large(void **state)
{
    (void)state;
    char *body = malloc(HTTP_BODY_MAX + 2);
    assert_non_null(body);
    memset(body, 'x', HTTP_BODY_MAX + 1);
    body[HTTP_BODY_MAX + 1] = '\0';
    expect("POST", "/hello/ada", body, 413, "too_large");
    body[HTTP_BODY_MAX] = '\0';
    expect("POST", "/hello/ada", body, 200, "body xxx");
    free(body);
}

static uint64_t hash_of(struct str text)
{
    uint64_t hash = 1469598103934665603u;
    for (size_t i = 0; i < text.n; i++)
        hash = (hash ^ (unsigned char)text.p[i]) * 1099511628211u;
    return hash;
}

static char *test_text(size_t n)
{
    char *text = malloc(n + 1);
    assert_non_null(text);
    for (size_t i = 0; i < n; i++)
        text[i] = (char)('a' + (i * 7 + i / 251) % 26);
    text[n] = '\0';
    return text;
}

/* Whatever was begun is over, within some seconds. */
static void wait_for_release(atomic_uint *first, atomic_uint *last)
{
    for (int i = 0; i < 5000 && atomic_load(last) != atomic_load(first); i++)
        usleep(1000);
    assert_int_equal(atomic_load(last), atomic_load(first));
}

/* Every byte arrives once and in order, whatever the pieces, with suspensions between them. */
static void test_upload(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, 1, 2, 3, 100, 5000, 70000, 300000};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        char *text = test_text(sizes[i]), expected[64];
        snprintf(expected, sizeof expected, "%zu %llx", sizes[i],
                 (unsigned long long)hash_of(str_make(text, sizes[i])));
        expect("POST", "/sum", text, 200, expected);
        expect("PUT", "/sum?refuse=never", text, 200, expected);
        for (size_t step = 1; step <= sizes[i]; step = step * 5 + 1) {
            struct http_client client;
            struct http_reply reply;
            if (sizes[i] / step > 2000)
                continue;
            client_open(&client, jobs_path);
            assert_true(client_send_z(&client,
                                      "POST /sum HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"));
            for (size_t at = 0; at < sizes[i]; at += step) {
                size_t n = sizes[i] - at < step ? sizes[i] - at : step;
                assert_true(client_send_chunk(&client, str_make(text + at, n)));
            }
            assert_true(client_send_chunk(&client, STR("")));
            client_read(&client, &reply);
            assert_int_equal(reply.status, 200);
            assert_string_equal(reply.body.data, expected);
            http_reply_free(&reply);
            client_close(&client);
        }
        free(text);
    }
    wait_for_release(&begun, &released);
}

/* A refusal is told after the body was dropped, and the connection goes on. */
static void test_upload_refused(void **state)
{
    (void)state;
    char *text = test_text(500000);
    expect("POST", "/sum?refuse=begin", text, 409, "in_progress");
    expect("POST", "/sum?refuse=data", text, 413, "too_large");
    struct http_client client;
    struct http_reply reply;
    client_open(&client, jobs_path);
    for (int i = 0; i < 3; i++) {
        assert_true(client_send_z(
            &client, "POST /sum?refuse=data HTTP/1.1\r\nHost: x\r\nContent-Length: 500000\r\n\r\n"));
        assert_true(client_send(&client, text, 500000));
        client_read(&client, &reply);
        assert_int_equal(reply.status, 413);
        http_reply_free(&reply);
    }
    client_close(&client);
    free(text);
}

static void test_client_vanishes(void **state)
{
    (void)state;
    struct http_client client;
    client_open(&client, jobs_path);
    assert_true(client_send_z(&client, "POST /sum HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nabc"));
    usleep(50000);
    client_close(&client);
    wait_for_release(&begun, &released);
    client_open(&client, jobs_path);
    assert_true(client_send_z(
        &client, "POST /sum HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n"));
    usleep(50000);
    client_close(&client);
    wait_for_release(&begun, &released);
}

static void test_stream(void **state)
{
    (void)state;
    struct http_reply reply;
    struct buf expected;
    buf_init(&expected, 1 << 20);
    for (unsigned i = 0; i < 12345; i++)
        buf_printf(&expected, "{\"line\":%u}\n", i);
    buf_add_char(&expected, '\0');
    http_call(jobs_path, "GET", "/count/12345", "", STR(""), &reply);
    assert_int_equal(reply.status, 200);
    assert_false(reply.cut);
    assert_string_equal(reply.body.data, expected.data);
    http_reply_free(&reply);
    wait_for_release(&streams_begun, &streams_released);
    http_call(jobs_path, "GET", "/count/0", "", STR(""), &reply);
    assert_int_equal(reply.body.len, 0);
    assert_false(reply.cut);
    http_reply_free(&reply);
    http_call(jobs_path, "GET", "/count/9?broken", "", STR(""), &reply);
    assert_true(reply.cut);
    assert_string_equal(reply.body.data, "{\"line\":0}\n{\"line\":1}\n{\"line\":2}\n");
    http_reply_free(&reply);
    buf_free(&expected);
}

static void test_follow(void **state)
{
    (void)state;
    struct http_client client;
    struct http_reply reply;
    struct buf line;
    buf_init(&line, 1000);
    atomic_store(&stream_may_go, false);
    client_open(&client, jobs_path);
    assert_true(client_send_z(&client, "GET /count/100?follow=1 HTTP/1.1\r\nHost: x\r\n\r\n"));
    client_read_header(&client, &reply);
    assert_false(client_read_line(&client, &line, 150));
    for (unsigned i = 0; i < 3; i++) {
        char text[32];
        snprintf(text, sizeof text, "{\"line\":%u}", i);
        atomic_store(&stream_may_go, true);
        assert_true(client_read_line(&client, &line, 5000));
        assert_string_equal(line.data, text);
    }
    assert_false(client_read_line(&client, &line, 150));
    client_close(&client); /* nothing is ready, and yet it is noticed */
    wait_for_release(&streams_begun, &streams_released);
    http_reply_free(&reply);
    buf_free(&line);
}

/* Many at once, mixed, over few threads. */
static void *hammer(void *user)
{
    char *text = user;
    for (unsigned i = 0; i < 30; i++) {
        struct http_reply reply;
        size_t n = 1 + i * 1013;
        http_call(jobs_path, "POST", i % 2 ? "/sum" : "/sum?refuse=never", "", str_make(text, n), &reply);
        assert_int_equal(reply.status, 200);
        assert_int_equal(strtoul(reply.body.data, NULL, 10), n);
        http_reply_free(&reply);
        http_call(jobs_path, "GET", "/count/500", "", STR(""), &reply);
        assert_true(reply.status == 200 && !reply.cut);
        http_reply_free(&reply);
    }
    return NULL;
}

static void test_many(void **state)
{
    (void)state;
    pthread_t threads[8];
    char *text = test_text(40000);
    struct http_reply reply;
    for (size_t i = 0; i < 8; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, hammer, text), 0);
    for (size_t i = 0; i < 8; i++)
        pthread_join(threads[i], NULL);
    http_call(jobs_path, "GET", "/figures", "", STR(""), &reply);
    assert_true(strtoul(reply.body.data, NULL, 10) >= 8 * 60);
    http_reply_free(&reply);
    free(text);
}

static bool serve(struct http **out, struct err *err)
{
    static struct http_listener listeners[2];
    listeners[0] = (struct http_listener){.path = jobs_path, .mode = 0660, .group = "", .threads = 2};
    listeners[1] = (struct http_listener){.path = control_path, .mode = 0600, .group = "", .threads = 1};
    struct http_settings settings = {routes, sizeof routes / sizeof *routes, listeners, 2, "user"};
    *out = http_create(&settings, err);
    return *out != NULL;
}

struct early {
    const char *first, *last;
    bool answered, last_was_there; /* by then */
};

/* Asks as soon as somebody listens. */
static void *ask_early(void *user)
{
    struct early *early = user;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct http_reply reply;
    struct stat info;
    memcpy(address.sun_path, early->first, strlen(early->first) + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    for (unsigned n = 0; connect(fd, (struct sockaddr *)&address, sizeof address) != 0 && n < 100000; n++)
        usleep(20);
    close(fd);
    http_call(early->first, "GET", "/figures", "", STR(""), &reply);
    early->last_was_there = stat(early->last, &info) == 0;
    early->answered = reply.status == 200;
    http_reply_free(&reply);
    return NULL;
}

/* Who is answered on the first socket finds the last one there. */
static void test_asked_before_it_is_up(void **state)
{
    enum { N = 8 };
    char paths[N][96];
    struct http_listener listeners[N];
    struct http_settings settings = {routes, sizeof routes / sizeof *routes, listeners, N, NULL};
    struct early early = {.first = paths[0], .last = paths[N - 1]};
    struct err err;
    pthread_t thread;
    (void)state;
    for (unsigned i = 0; i < N; i++) {
        snprintf(paths[i], sizeof paths[i], "%s/%u.sock", directory, i);
        listeners[i] = (struct http_listener){.path = paths[i], .mode = 0600, .group = "", .threads = 2};
    }
    assert_int_equal(pthread_create(&thread, NULL, ask_early, &early), 0);
    struct http *own = http_create(&settings, &err);
    assert_non_null(own);
    pthread_join(thread, NULL);
    assert_true(early.answered);
    assert_true(early.last_was_there);
    assert_true(http_destroy(own));
}

static void test_sockets(void **state)
{
    (void)state;
    struct http *second;
    struct err err;
    struct stat info;
    assert_int_equal(stat(jobs_path, &info), 0);
    assert_int_equal(info.st_mode & 07777, 0660);
    assert_int_equal(stat(control_path, &info), 0);
    assert_int_equal(info.st_mode & 07777, 0600);
    assert_false(serve(&second, &err));
    assert_non_null(strstr(err.text, "another process listens on"));
    assert_non_null(strstr(err.text, jobs_path));
    expect("GET", "/hello/ada", "", 200, "user ada"); /* the first one was not harmed */

    char path[128];
    struct http_listener listener = {.path = path, .mode = 0600, .group = "", .threads = 1};
    struct http_settings settings = {routes, 1, &listener, 1, NULL};
    snprintf(path, sizeof path, "%s/file", directory);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fclose(file);
    assert_null(http_create(&settings, &err));
    assert_non_null(strstr(err.text, "is not a socket"));
    remove(path);
    snprintf(path, sizeof path, "%s/nosuch/jobs.sock", directory);
    assert_null(http_create(&settings, &err));
    assert_non_null(strstr(err.text, "create its directory first"));
    snprintf(path, sizeof path, "%s/group.sock", directory);
    listener.group = "no-such-group-here";
    assert_null(http_create(&settings, &err));
    assert_non_null(strstr(err.text, "there is no group no-such-group-here"));
    assert_int_not_equal(stat(path, &info), 0);
    listener.group = "";
    memset(path, 'x', sizeof path - 1);
    path[sizeof path - 1] = '\0';
    assert_null(http_create(&settings, &err));
    assert_non_null(strstr(err.text, "too long"));

    /* What a killed process left behind is replaced. */
    snprintf(path, sizeof path, "%s/stale.sock", directory);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    memcpy(address.sun_path, path, strlen(path) + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    close(fd);
    struct http *third = http_create(&settings, &err);
    assert_non_null(third);
    assert_true(http_destroy(third));
    assert_int_not_equal(stat(path, &info), 0);
}

/* At the end: followers are let go, uploads that wait too, sockets vanish. */
static void test_stop(void **state)
{
    (void)state;
    struct http_client follower, uploader;
    struct http_reply reply;
    struct stat info;
    atomic_store(&stream_may_go, false);
    client_open(&follower, jobs_path);
    assert_true(client_send_z(&follower, "GET /count/100?follow=1 HTTP/1.1\r\nHost: x\r\n\r\n"));
    client_read_header(&follower, &reply);
    http_reply_free(&reply);
    client_open(&uploader, jobs_path);
    assert_true(client_send_z(&uploader, "POST /sum HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nabc"));
    usleep(100000);
    http_stop(http);
    struct buf line;
    buf_init(&line, 100);
    assert_false(client_read_line(&follower, &line, 2000));
    buf_free(&line);
    assert_true(atomic_load(&stopped_seen));
    expect("GET", "/hello/ada", "", 200, "user ada"); /* reading goes on */
    assert_true(http_destroy(http));
    http = NULL;
    assert_int_not_equal(stat(jobs_path, &info), 0);
    client_close(&follower);
    client_close(&uploader);
}

static int set_up(void **state)
{
    (void)state;
    struct err err;
    if (!temporary_directory(directory))
        return -1;
    snprintf(jobs_path, sizeof jobs_path, "%s/jobs.sock", directory);
    snprintf(control_path, sizeof control_path, "%s/control.sock", directory);
    if (serve(&http, &err))
        return 0;
    fprintf(stderr, "%s\n", err.text);
    return -1;
}

static int tear_down(void **state)
{
    (void)state;
    if (http != NULL)
        http_destroy(http);
    return rmdir(directory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_routes),
        cmocka_unit_test(test_body_too_large),
        cmocka_unit_test(test_upload),
        cmocka_unit_test(test_upload_refused),
        cmocka_unit_test(test_client_vanishes),
        cmocka_unit_test(test_stream),
        cmocka_unit_test(test_follow),
        cmocka_unit_test(test_many),
        cmocka_unit_test(test_sockets),
        cmocka_unit_test(test_stop),
        cmocka_unit_test(test_asked_before_it_is_up),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
