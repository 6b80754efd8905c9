/* webhook.c - see webhook.h. */
#include "engine/report/webhook.h"

#include "engine/base/buf.h"
#include "engine/base/secret.h"
#include "engine/message/decode.h"
#include "engine/message/encode.h"
#include "engine/tls/digest.h"

#include <curl/curl.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <zlib.h>

#define SECRET_MAX     4096
#define CONNECT_MAX_MS 10000
#define WAIT_MS        1000      /* at most, until curl is asked again */
#define GZIP_WINDOW    (15 + 16) /* deflateInit2: the largest, in gzip's frame */
#define SECRET_ENCODED "whsec_"
#define ANSWER_SHOWN   200 /* bytes of what a webhook answered, in the error */

struct webhook {
    const struct config_consumer *consumer;
    CURL *curl;
    CURLM *multi;
    struct buf secret, password, packed;
    z_stream gzip;
    bool can_gzip;
    char answer[CONSUMER_ANSWER_MAX]; /* the beginning of what came back */
    size_t answer_n;
    char words[CURL_ERROR_SIZE];
};

bool webhook_prepare(struct err *err)
{
    CURLcode code = curl_global_init(CURL_GLOBAL_DEFAULT);
    return code == CURLE_OK || err_set(err, 0, "libcurl cannot start: %s", curl_easy_strerror(code));
}

/* As it stands, or decoded where its prefix says so. */
static bool read_secret(const char *path, struct buf *out, struct err *err)
{
    struct buf line;
    buf_init(&line, SECRET_MAX);
    bool good = secret_read(path, &line, err);
    struct str text = buf_str(&line);
    if (good && str_starts(text, str_of(SECRET_ENCODED)))
        base64_decode(str_make(text.p + strlen(SECRET_ENCODED), text.n - strlen(SECRET_ENCODED)), out);
    else if (good)
        buf_add_str(out, text);
    secret_free(&line);
    if (!good)
        return false;
    return (out->len > 0 && !out->failed) || err_set(err, EINVAL, "%s: it holds no secret", path);
}

static size_t on_body(char *data, size_t size, size_t count, void *user)
{
    struct webhook *webhook = user;
    size_t n = size * count, room = sizeof webhook->answer - webhook->answer_n;
    memcpy(webhook->answer + webhook->answer_n, data, n < room ? n : room);
    webhook->answer_n += n < room ? n : room;
    return n;
}

/* What holds for all of its requests. */
static bool curl_prepare(struct webhook *webhook)
{
    const struct config_consumer *consumer = webhook->consumer;
    CURL *curl = webhook->curl;
    long timeout_ms = (long)consumer->timeout_ms;
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_URL, consumer->webhook);
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(curl, CURLOPT_POST, 1L);
    curl_easy_setopt(curl, CURLOPT_USERAGENT, "postrider/" POSTRIDER_VERSION);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, timeout_ms);
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS,
                     timeout_ms < CONNECT_MAX_MS ? timeout_ms : CONNECT_MAX_MS);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, webhook);
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, webhook->words);
    if (consumer->ca_file[0] != '\0') {
        curl_easy_setopt(curl, CURLOPT_CAINFO, consumer->ca_file);
        curl_easy_setopt(curl, CURLOPT_CAPATH, NULL);
    }
    if (consumer->user[0] == '\0')
        return true;
    curl_easy_setopt(curl, CURLOPT_HTTPAUTH, (long)CURLAUTH_BASIC);
    return curl_easy_setopt(curl, CURLOPT_USERNAME, consumer->user) == CURLE_OK &&
           buf_add_char(&webhook->password, '\0') &&
           curl_easy_setopt(curl, CURLOPT_PASSWORD, webhook->password.data) == CURLE_OK;
}

static bool prepare(struct webhook *webhook, struct err *err)
{
    const struct config_consumer *consumer = webhook->consumer;
    if (consumer->secret_file[0] != '\0' && !read_secret(consumer->secret_file, &webhook->secret, err))
        return false;
    if (consumer->password_file[0] != '\0' && !read_secret(consumer->password_file, &webhook->password, err))
        return false;
    webhook->can_gzip = consumer->gzip && deflateInit2(&webhook->gzip, Z_DEFAULT_COMPRESSION, Z_DEFLATED,
                                                       GZIP_WINDOW, 8, Z_DEFAULT_STRATEGY) == Z_OK;
    webhook->curl = curl_easy_init();
    webhook->multi = curl_multi_init();
    if ((consumer->gzip && !webhook->can_gzip) || webhook->curl == NULL || webhook->multi == NULL ||
        !curl_prepare(webhook))
        return err_set(err, ENOMEM, "no memory for the webhook of the consumer \"%s\"", consumer->name);
    return true;
}

struct webhook *webhook_create(const struct config_consumer *consumer, struct err *err)
{
    struct webhook *webhook = calloc(1, sizeof *webhook);
    if (webhook == NULL) {
        err_set(err, ENOMEM, "no memory for the webhook of the consumer \"%s\"", consumer->name);
        return NULL;
    }
    webhook->consumer = consumer;
    buf_init(&webhook->secret, SECRET_MAX);
    buf_init(&webhook->password, SECRET_MAX);
    buf_init(&webhook->packed, 2 * (size_t)CONSUMER_BYTES_MAX);
    if (prepare(webhook, err))
        return webhook;
    webhook_free(webhook);
    return NULL;
}

void webhook_free(struct webhook *webhook)
{
    if (webhook == NULL)
        return;
    if (webhook->can_gzip)
        deflateEnd(&webhook->gzip);
    curl_easy_cleanup(webhook->curl);
    curl_multi_cleanup(webhook->multi);
    secret_free(&webhook->secret);
    secret_free(&webhook->password);
    buf_free(&webhook->packed);
    free(webhook);
}

struct str webhook_secret(const struct webhook *webhook)
{
    return buf_str(&webhook->secret);
}

/* ---- the request ---- */

size_t webhook_sign(struct str secret, const char *id, int64_t seconds, struct str body,
                    char signature[WEBHOOK_SIGNATURE_MAX])
{
    char middle[32];
    uint8_t digest[DIGEST_SIZE];
    int n = snprintf(middle, sizeof middle, ".%" PRId64 ".", seconds);
    struct digest_piece pieces[] = {{id, strlen(id)}, {middle, (size_t)n}, {body.p, body.n}};
    digest_hmac(secret.p, secret.n, pieces, 3, digest);
    memcpy(signature, "v1,", 3);
    char *end = base64_encode(signature + 3, str_make((const char *)digest, sizeof digest));
    *end = '\0';
    return (size_t)(end - signature);
}

/* Into `packed`. False: no memory. */
static bool pack(struct webhook *webhook, struct str body)
{
    struct buf *out = &webhook->packed;
    buf_clear(out);
    deflateReset(&webhook->gzip);
    size_t most = deflateBound(&webhook->gzip, body.n);
    char *room = buf_room(out, most);
    if (room == NULL)
        return false;
    union {
        const char *in;
        Bytef *out;
    } bytes = {.in = body.p}; /* zlib does not write to it */
    webhook->gzip.next_in = bytes.out;
    webhook->gzip.avail_in = (uInt)body.n;
    webhook->gzip.next_out = (Bytef *)room;
    webhook->gzip.avail_out = (uInt)most;
    bool done = deflate(&webhook->gzip, Z_FINISH) == Z_STREAM_END;
    out->len = most - webhook->gzip.avail_out;
    return done;
}

struct headers {
    struct curl_slist *list;
    bool failed;
};

static void add_header(struct headers *headers, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void add_header(struct headers *headers, const char *format, ...)
{
    char line[512];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    struct curl_slist *longer = curl_slist_append(headers->list, line);
    if (longer != NULL)
        headers->list = longer;
    headers->failed |= longer == NULL;
}

static struct headers headers_of(const struct webhook *webhook, const struct webhook_request *request,
                                 struct now now)
{
    struct headers headers = {0};
    char signature[WEBHOOK_SIGNATURE_MAX];
    int64_t seconds = now.wall_ms / MS_PER_S;
    for (unsigned i = 0; i < request->header_count; i++)
        add_header(&headers, "%s", request->headers[i]);
    add_header(&headers, "Expect:"); /* its delay of a second pays for large bodies only */
    if (webhook->can_gzip)
        add_header(&headers, "Content-Encoding: gzip");
    add_header(&headers, "webhook-id: %s", request->id);
    add_header(&headers, "webhook-timestamp: %" PRId64, seconds);
    if (webhook->secret.len > 0) {
        webhook_sign(buf_str(&webhook->secret), request->id, seconds, request->body, signature);
        add_header(&headers, "webhook-signature: %s", signature);
    }
    return headers;
}

enum webhook_result webhook_judge(unsigned status)
{
    if (status >= 200 && status < 300)
        return WEBHOOK_TAKEN;
    if (status >= 400 && status < 500 && status != 408 && status != 425 && status != 429)
        return WEBHOOK_REFUSED;
    return WEBHOOK_LATER;
}

/* One line of what came back, for people. */
static int answer_line(struct webhook *webhook)
{
    size_t n = webhook->answer_n < ANSWER_SHOWN ? webhook->answer_n : ANSWER_SHOWN;
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)webhook->answer[i] < ' ' || webhook->answer[i] == 0x7f)
            webhook->answer[i] = ' ';
    return (int)n;
}

static void read_answer(struct webhook *webhook, CURLcode code, struct webhook_answer *answer)
{
    long status = 0;
    curl_off_t after_s = 0;
    curl_easy_getinfo(webhook->curl, CURLINFO_RESPONSE_CODE, &status);
    if (code != CURLE_OK) {
        err_set(&answer->err, 0, "%s: %s", webhook->consumer->webhook,
                webhook->words[0] != '\0' ? webhook->words : curl_easy_strerror(code));
        return;
    }
    answer->status = (unsigned)status;
    answer->result = webhook_judge(answer->status);
    curl_easy_getinfo(webhook->curl, CURLINFO_RETRY_AFTER, &after_s);
    answer->retry_after_ms = (int64_t)(after_s < WAIT_NAMED_MAX_S ? after_s : WAIT_NAMED_MAX_S) * MS_PER_S;
    if (answer->result != WEBHOOK_TAKEN)
        err_set(&answer->err, 0, "%s answered %ld%s%.*s", webhook->consumer->webhook, status,
                webhook->answer_n > 0 ? ": " : "", answer_line(webhook), webhook->answer);
}

/* Until the transfer has ended; false: given up. */
static bool perform(struct webhook *webhook, webhook_stop *stop, void *user, CURLcode *code)
{
    int running = 1;
    while (running > 0) {
        if (stop(user))
            return false;
        CURLMcode done = curl_multi_perform(webhook->multi, &running);
        if (done == CURLM_OK && running > 0)
            done = curl_multi_poll(webhook->multi, NULL, 0, WAIT_MS, NULL);
        if (done != CURLM_OK) {
            *code = CURLE_OUT_OF_MEMORY;
            return true;
        }
    }
    int left;
    const CURLMsg *message = curl_multi_info_read(webhook->multi, &left);
    *code = message != NULL ? message->data.result : CURLE_RECV_ERROR;
    return true;
}

void webhook_post(struct webhook *webhook, const struct webhook_request *request, struct now now,
                  webhook_stop *stop, void *user, struct webhook_answer *answer)
{
    CURLcode code = CURLE_OUT_OF_MEMORY;
    *answer = (struct webhook_answer){.result = WEBHOOK_LATER};
    struct headers headers = headers_of(webhook, request, now);
    struct str body = request->body;
    bool ready = !headers.failed && (!webhook->can_gzip || pack(webhook, body));
    if (webhook->can_gzip)
        body = buf_str(&webhook->packed);
    webhook->answer_n = 0;
    webhook->words[0] = '\0';
    curl_easy_setopt(webhook->curl, CURLOPT_HTTPHEADER, headers.list);
    curl_easy_setopt(webhook->curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)body.n);
    curl_easy_setopt(webhook->curl, CURLOPT_POSTFIELDS, body.p);
    if (ready && curl_multi_add_handle(webhook->multi, webhook->curl) == CURLM_OK) {
        if (!perform(webhook, stop, user, &code))
            err_set(&answer->err, 0, "%s: given up, for the daemon stops", webhook->consumer->webhook);
        else
            read_answer(webhook, code, answer);
        curl_multi_remove_handle(webhook->multi, webhook->curl);
    } else {
        err_set(&answer->err, ENOMEM, "no memory for the request");
    }
    curl_easy_setopt(webhook->curl, CURLOPT_HTTPHEADER, NULL);
    curl_slist_free_all(headers.list);
}

void webhook_wake(struct webhook *webhook)
{
    curl_multi_wakeup(webhook->multi);
}
