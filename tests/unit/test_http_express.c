/* Uploads that come in plain requests: connections that change hands, requests ahead of their turn, bodies in
 * pieces, clients that are slow or leave. */
#include "engine/admin/http.h"
#include "engine/limits.h"
#include "tests/unit/http_client.h"
#include "tests/unit/temporary.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

#define LARGE (8 * 1024 * 1024) /* an answer that no socket takes at once */

static char directory[TEMPORARY_PATH], path[TEMPORARY_PATH + 20];
static struct http *http;
static atomic_uint begun, released;
static _Atomic(struct http_request *) held; /* its upload waits in the end */

struct upload {
    struct http_request *request;
    char type[64];
    size_t bytes;
    bool waits, ended;
};

static void *upload_begin(struct http_request *request, struct now now, void *user)
{
    const char *type = http_header(request, "content-type");
    (void)now;
    (void)user;
    if (http_header(request, "X-Refuse") != NULL) {
        http_fail(request, 409, "in_progress", "not now");
        return NULL;
    }
    struct upload *upload = calloc(1, sizeof *upload);
    assert_non_null(upload);
    upload->request = request;
    snprintf(upload->type, sizeof upload->type, "%s", type ? type : "none");
    atomic_fetch_add(&begun, 1);
    return upload;
}

static void upload_data(void *user, struct str *data, struct now now)
{
    struct upload *upload = user;
    (void)now;
    if (upload->bytes == 0)
        upload->waits = data->n > 0 && data->p[0] == 'w';
    upload->bytes += data->n;
    *data = str_make(data->p + data->n, 0);
}

static void upload_end(void *user, struct now now)
{
    struct upload *upload = user;
    struct buf body;
    (void)now;
    if (upload->waits && !upload->ended) {
        upload->ended = true;
        http_suspend(upload->request);
        atomic_store(&held, upload->request);
        return;
    }
    buf_init(&body, LARGE);
    buf_printf(&body, "%zu bytes of %s", upload->bytes, upload->type);
    while (strcmp(upload->type, "large") == 0 && buf_add_char(&body, '.'))
        ;
    body.failed = false;
    http_answer(upload->request, 202, "text/plain", &body);
}

static void upload_release(void *user)
{
    atomic_fetch_add(&released, 1);
    free(user);
}

static void say_hello(struct http_request *request, struct now now, void *user)
{
    struct http_figures figures;
    struct buf body;
    (void)now;
    (void)user;
    http_figures(request, &figures);
    buf_init(&body, 1000);
    buf_printf(&body, "hello, one of %u", figures.connections);
    http_answer(request, 200, "text/plain", &body);
}

static const struct http_upload_ops ops = {upload_begin, upload_data, upload_end, upload_release};
static const struct http_route routes[] = {
    {HTTP_POST | HTTP_PUT, "/up", "", NULL, &ops, 1},
    {HTTP_GET | HTTP_POST, "/hello", "", say_hello, NULL, 1},
};

static void wait_for_release(void)
{
    for (int i = 0; i < 5000 && atomic_load(&released) != atomic_load(&begun); i++)
        usleep(1000);
    assert_int_equal(atomic_load(&released), atomic_load(&begun));
}

static struct http_request *wait_for_held(void)
{
    struct http_request *request = NULL;
    for (int i = 0; i < 10000 && (request = atomic_exchange(&held, NULL)) == NULL; i++)
        usleep(1000);
    assert_non_null(request);
    return request;
}

static void expect(struct http_client *client, unsigned status, const char *text)
{
    struct http_reply reply;
    client_read(client, &reply);
    if (reply.status != status || reply.cut || strstr(reply.body.data, text) == NULL)
        fail_msg("%u %.200s, expected %u %s", reply.status, reply.body.data, status, text);
    http_reply_free(&reply);
}

#define POST(fields, length) "POST /up HTTP/1.1\r\nHost: x\r\n" fields "Content-Length: " length "\r\n\r\n"
#define HELLO                "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n"

static void test_answer(void **state)
{
    struct http_client client;
    struct http_reply reply;
    (void)state;
    client_open(&client, path);
    assert_true(client_send_z(&client, POST("Content-Type: a/b\r\n", "3") "abc"));
    client_read(&client, &reply);
    assert_int_equal(reply.status, 202);
    assert_non_null(strstr(reply.header, "HTTP/1.1 202 Accepted\r\nDate: "));
    assert_non_null(strstr(reply.header, " GMT\r\nContent-Type: text/plain\r\nContent-Length: 14\r\n"));
    assert_string_equal(reply.body.data, "3 bytes of a/b");
    http_reply_free(&reply);
    assert_true(client_send_z(&client, POST("X-Refuse: 1\r\n", "3") "abc"));
    expect(&client, 409, "not now");
    assert_true(client_send_z(&client, POST("", "0")));
    expect(&client, 202, "0 bytes of none");
    client_close(&client);
    wait_for_release();
}

/* One connection: ours, the library's from the first other request on. */
static void test_hand_over(void **state)
{
    struct http_client client;
    (void)state;
    client_open(&client, path);
    for (unsigned n = 0; n < 3; n++) {
        assert_true(client_send_z(&client, POST("", "3") "abc"));
        expect(&client, 202, "3 bytes");
    }
    /* Handed over, it counts once; those of earlier tests may be about to end. */
    bool alone = false;
    for (unsigned n = 0; n < 500 && !alone; n++) {
        struct http_reply reply;
        assert_true(client_send_z(&client, HELLO));
        client_read(&client, &reply);
        alone = strcmp(reply.body.data, "hello, one of 1") == 0;
        http_reply_free(&reply);
        usleep(alone ? 0 : 10000);
    }
    assert_true(alone);
    assert_true(client_send_z(&client, POST("", "4") "abcd"));
    expect(&client, 202, "4 bytes");
    assert_true(client_send_z(&client, "POST /hello HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\na"));
    expect(&client, 200, "hello");
    client_close(&client);

    static const char *const first[] = {HELLO,
                                        "POST /hello HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"};
    for (size_t n = 0; n < 2; n++) {
        client_open(&client, path);
        assert_true(client_send_z(&client, first[n]));
        expect(&client, 200, "hello");
        client_close(&client);
    }
    client_open(&client, path);
    assert_true(client_send_z(&client, POST("Expect: 100-continue\r\n", "3")));
    client_read_header(&client, &(struct http_reply){0});
    client_close(&client);
    client_open(&client, path);
    assert_true(client_send_z(&client, "POST /up HTTP/1.1\r\n"));
    usleep(20000);
    assert_true(client_send_z(&client, "Host: x\r\nContent-Length: 3\r\n\r\nabc"));
    expect(&client, 202, "3 bytes");
    client_close(&client);
    wait_for_release();
}

/* Several requests in one write, plain ones and others, are answered in order. */
static void test_ahead(void **state)
{
    struct http_client client;
    (void)state;
    client_open(&client, path);
    assert_true(client_send_z(&client, POST("", "1") "a" POST("", "2") "ab" POST("", "3") "wbc"));
    expect(&client, 202, "1 bytes");
    expect(&client, 202, "2 bytes");
    struct http_request *request = wait_for_held();
    assert_true(client_send_z(&client, POST("", "4") "abcd" HELLO)); /* while that one is with others */
    usleep(50000);
    http_resume(request);
    expect(&client, 202, "3 bytes");
    expect(&client, 202, "4 bytes");
    expect(&client, 200, "hello");
    client_close(&client);
    wait_for_release();
}

static void test_pieces(void **state)
{
    struct http_client client;
    char *body = malloc(HTTP_PLAIN_BODY_MAX + 1);
    char head[128];
    (void)state;
    assert_non_null(body);
    memset(body, 'a', HTTP_PLAIN_BODY_MAX + 1);
    for (size_t n = HTTP_PLAIN_BODY_MAX - 1; n <= HTTP_PLAIN_BODY_MAX + 1;
         n++) { /* the last: the library's */
        client_open(&client, path);
        snprintf(head, sizeof head, "POST /up HTTP/1.1\r\nHost: x\r\nContent-Length: %zu\r\n\r\n", n);
        assert_true(client_send_z(&client, head));
        for (size_t at = 0, step = 1; at < n; at += step, step = 7001) {
            usleep(2000);
            step = n - at < step ? n - at : step;
            assert_true(client_send(&client, body + at, step));
        }
        snprintf(head, sizeof head, "%zu bytes", n);
        expect(&client, 202, head);
        client_close(&client);
    }
    free(body);
    wait_for_release();
}

/* So many are open, that of the question among them, at once or within some seconds. */
static void wait_for_connections(unsigned n)
{
    struct http_client client;
    struct http_reply reply;
    char text[64];
    bool good = false;
    snprintf(text, sizeof text, "hello, one of %u", n);
    for (unsigned i = 0; i < 500 && !good; i++) {
        client_open(&client, path);
        assert_true(client_send_z(&client, HELLO));
        client_read(&client, &reply);
        good = strcmp(reply.body.data, text) == 0;
        http_reply_free(&reply);
        client_close(&client);
        usleep(good ? 0 : 10000);
    }
    assert_true(good);
}

/* It goes at every moment: before, within and after its request, and while that is with others. */
static void test_leaves(void **state)
{
    static const char text[] = POST("Content-Type: large\r\n", "3") "wbc";
    struct http_client client;
    (void)state;
    for (size_t n = 0; n < sizeof text; n += 7) {
        client_open(&client, path);
        assert_true(client_send(&client, text, n < sizeof text - 1 ? n : sizeof text - 1));
        client_close(&client);
    }
    client_open(&client, path);
    assert_true(client_send_z(&client, text));
    struct http_request *request = wait_for_held();
    client_close(&client);
    usleep(50000);
    http_resume(request);
    wait_for_release();
    client_open(&client, path); /* with an answer that nobody reads */
    assert_true(client_send_z(&client, text));
    http_resume(wait_for_held());
    usleep(50000);
    client_close(&client);
    wait_for_release();
    wait_for_connections(1);
}

static void test_slow_reader(void **state)
{
    struct http_client client;
    struct http_reply reply;
    (void)state;
    client_open(&client, path);
    assert_true(client_send_z(&client, POST("Content-Type: large\r\n", "3") "abc" POST("", "1") "a"));
    usleep(100000);
    client_read(&client, &reply);
    assert_int_equal(reply.status, 202);
    assert_false(reply.cut);
    assert_int_equal(reply.body.len, LARGE);
    http_reply_free(&reply);
    expect(&client, 202, "1 bytes");
    client_close(&client);
    wait_for_release();
}

/* More than there is room for: they wait, and have their turn. */
static void test_room(void **state)
{
    enum { MORE = LISTEN_BACKLOG < 20 ? LISTEN_BACKLOG : 20 };
    static struct http_client clients[HTTP_CONNECTIONS_MAX + MORE];
    struct rlimit files;
    (void)state;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    if (files.rlim_max < 2 * (HTTP_CONNECTIONS_MAX + MORE) + 100 || setrlimit(RLIMIT_NOFILE, &files) != 0)
        skip(); /* both ends are here */
    wait_for_connections(1);
    for (unsigned i = 0; i < HTTP_CONNECTIONS_MAX + MORE; i++) {
        client_open(&clients[i], path);
        assert_true(client_send_z(&clients[i], i % 7 == 0 ? HELLO : POST("", "1") "a"));
        if (i < HTTP_CONNECTIONS_MAX)
            expect(&clients[i], i % 7 == 0 ? 200 : 202, i % 7 == 0 ? "hello" : "1 bytes");
    }
    for (unsigned i = 0; i < MORE; i++)
        client_close(&clients[i]);
    for (unsigned i = MORE; i < HTTP_CONNECTIONS_MAX + MORE; i++) {
        if (i >= HTTP_CONNECTIONS_MAX)
            expect(&clients[i], i % 7 == 0 ? 200 : 202, "");
        client_close(&clients[i]);
    }
    wait_for_release();
}

/* No descriptor is left for who comes: they wait for one, and nobody turns in circles meanwhile. */
static void test_descriptors(void **state)
{
    struct http_client client;
    struct rlimit files, none;
    struct rusage before, after;
    (void)state;
    wait_for_connections(1);
    getrlimit(RLIMIT_NOFILE, &files);
    int fd = dup(0);
    none = (struct rlimit){(rlim_t)fd + 1, files.rlim_max};
    assert_true(fd >= 0 && setrlimit(RLIMIT_NOFILE, &none) == 0);
    close(fd);
    client_open(&client, path); /* has the last one */
    getrusage(RUSAGE_SELF, &before);
    usleep(400000);
    getrusage(RUSAGE_SELF, &after);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &files), 0);
    assert_true(client_send_z(&client, POST("", "1") "a"));
    expect(&client, 202, "1 bytes");
    client_close(&client);
    wait_for_release();
    int64_t used_us = (after.ru_stime.tv_sec - before.ru_stime.tv_sec) * 1000000 +
                      (after.ru_stime.tv_usec - before.ru_stime.tv_usec);
    assert_in_range(used_us, 0, 100000);
}

/* The end finds connections in every state. */
static void test_stop(void **state)
{
    struct http_client idle, reading, busy;
    (void)state;
    client_open(&idle, path);
    assert_true(client_send_z(&idle, POST("", "1") "a"));
    expect(&idle, 202, "1 bytes");
    client_open(&reading, path);
    assert_true(client_send_z(&reading, POST("", "100") "a"));
    client_open(&busy, path);
    assert_true(client_send_z(&busy, POST("", "1") "w"));
    struct http_request *request = wait_for_held();
    http_stop(http);
    http_resume(request);
    expect(&busy, 202, "1 bytes");
    assert_true(http_destroy(http));
    http = NULL;
    wait_for_release();
    client_close(&idle);
    client_close(&reading);
    client_close(&busy);
}

static int set_up(void **state)
{
    static struct http_listener listener;
    struct http_settings settings = {routes, sizeof routes / sizeof *routes, &listener, 1, NULL};
    struct err err;
    (void)state;
    if (!temporary_directory(directory))
        return -1;
    snprintf(path, sizeof path, "%s/jobs.sock", directory);
    listener = (struct http_listener){.path = path, .mode = 0600, .group = "", .threads = 2};
    http = http_create(&settings, &err);
    if (http == NULL)
        fprintf(stderr, "%s\n", err.text);
    return http != NULL ? 0 : -1;
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
        cmocka_unit_test(test_answer), cmocka_unit_test(test_hand_over),   cmocka_unit_test(test_ahead),
        cmocka_unit_test(test_pieces), cmocka_unit_test(test_leaves),      cmocka_unit_test(test_slow_reader),
        cmocka_unit_test(test_room),   cmocka_unit_test(test_descriptors), cmocka_unit_test(test_stop),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
