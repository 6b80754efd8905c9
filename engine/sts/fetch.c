/* fetch.c - see fetch.h. */
#include "engine/sts/fetch.h"

#include "engine/base/buf.h"

#include <curl/curl.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

struct fetcher {
    const struct fetch_settings *settings;
    CURLM *multi;
    unsigned count;
    struct fetch *list;
};

struct fetch {
    struct fetcher *fetcher;
    struct fetch *next;
    CURL *curl;
    struct curl_slist *resolve;
    void *user;
    struct buf body;
    CURLcode code;
    char words[CURL_ERROR_SIZE];
};

bool fetch_prepare(struct err *err)
{
    CURLcode code = curl_global_init(CURL_GLOBAL_DEFAULT);
    return code == CURLE_OK || err_set(err, 0, "libcurl cannot start: %s", curl_easy_strerror(code));
}

struct fetcher *fetcher_create(const struct fetch_settings *settings, struct err *err)
{
    struct fetcher *fetcher = calloc(1, sizeof *fetcher);
    if (fetcher == NULL || (fetcher->multi = curl_multi_init()) == NULL) {
        err_set(err, ENOMEM, "no memory to fetch policies of MTA-STS");
        free(fetcher);
        return NULL;
    }
    fetcher->settings = settings;
    return fetcher;
}

void fetcher_destroy(struct fetcher *fetcher)
{
    if (fetcher == NULL)
        return;
    while (fetcher->list != NULL)
        fetch_free(fetcher->list);
    curl_multi_cleanup(fetcher->multi);
    free(fetcher);
}

static size_t on_body(char *data, size_t size, size_t count, void *user)
{
    struct fetch *fetch = user;
    return buf_add(&fetch->body, data, size * count) ? size * count : 0; /* else curl ends the transfer */
}

static bool prepare(struct fetch *fetch, const char *domain, const char *addresses)
{
    const struct fetch_settings *settings = fetch->fetcher->settings;
    CURL *curl = fetch->curl;
    char url[DOMAIN_MAX + 64];
    struct buf resolve;
    buf_init(&resolve, 4096);
    snprintf(url, sizeof url, "https://mta-sts.%s:%u/.well-known/mta-sts.txt", domain, settings->port);
    /* The plus: for this time; else curl knows the addresses of each domain for ever. */
    buf_printf(&resolve, "+mta-sts.%s:%u:%s", domain, settings->port, addresses);
    bool good = buf_add_char(&resolve, '\0') && (fetch->resolve = curl_slist_append(NULL, resolve.data));
    buf_free(&resolve);
    if (!good)
        return false;
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_RESOLVE, fetch->resolve);
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "https");
    curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(curl, CURLOPT_PROXY, ""); /* whatever the environment says */
    curl_easy_setopt(curl, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    curl_easy_setopt(curl, CURLOPT_USERAGENT, "postrider/" POSTRIDER_VERSION);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long)settings->timeout_ms);
    curl_easy_setopt(curl, CURLOPT_FORBID_REUSE, 1L); /* a host is asked once a day */
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, fetch);
    curl_easy_setopt(curl, CURLOPT_PRIVATE, fetch);
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, fetch->words);
    if (settings->ca_file[0] != '\0') {
        curl_easy_setopt(curl, CURLOPT_CAINFO, settings->ca_file);
        curl_easy_setopt(curl, CURLOPT_CAPATH, NULL);
    }
    return curl_easy_setopt(curl, CURLOPT_URL, url) == CURLE_OK;
}

bool fetcher_begin(struct fetcher *fetcher, const char *domain, const char *addresses, void *user,
                   struct err *err)
{
    struct fetch *fetch = calloc(1, sizeof *fetch);
    if (fetch == NULL)
        return err_set(err, ENOMEM, "no memory to fetch a policy of MTA-STS");
    buf_init(&fetch->body, STS_BODY_MAX);
    fetch->fetcher = fetcher;
    fetch->user = user;
    fetch->next = fetcher->list;
    fetcher->list = fetch;
    fetcher->count++;
    fetch->curl = curl_easy_init();
    if (fetch->curl != NULL && prepare(fetch, domain, addresses) &&
        curl_multi_add_handle(fetcher->multi, fetch->curl) == CURLM_OK)
        return true;
    fetch_free(fetch);
    return err_set(err, ENOMEM, "no memory to fetch a policy of MTA-STS");
}

void fetch_free(struct fetch *fetch)
{
    struct fetcher *fetcher = fetch->fetcher;
    struct fetch **link = &fetcher->list;
    while (*link != fetch)
        link = &(*link)->next;
    *link = fetch->next;
    fetcher->count--;
    if (fetch->curl != NULL) {
        curl_multi_remove_handle(fetcher->multi, fetch->curl);
        curl_easy_cleanup(fetch->curl);
    }
    curl_slist_free_all(fetch->resolve);
    buf_free(&fetch->body);
    free(fetch);
}

unsigned fetcher_count(const struct fetcher *fetcher)
{
    return fetcher->count;
}

struct fetch *fetcher_next(struct fetcher *fetcher)
{
    int running, left;
    curl_multi_perform(fetcher->multi, &running);
    for (const CURLMsg *message; (message = curl_multi_info_read(fetcher->multi, &left)) != NULL;) {
        char *fetch = NULL;
        if (message->msg != CURLMSG_DONE ||
            curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &fetch) != CURLE_OK)
            continue;
        ((struct fetch *)(void *)fetch)->code = message->data.result;
        return (struct fetch *)(void *)fetch;
    }
    return NULL;
}

void *fetch_user(const struct fetch *fetch)
{
    return fetch->user;
}

/* "text/plain", perhaps with parameters. */
static bool is_plain_text(const char *type)
{
    struct str text = str_of(type);
    size_t end = str_find(text, ';', 0);
    return str_eq_nocase(str_trim(str_make(text.p, end == SIZE_MAX ? text.n : end)), STR("text/plain"));
}

enum fetch_result fetch_result(const struct fetch *fetch, struct str *body, struct err *err)
{
    long status = 0;
    const char *type = NULL;
    *body = buf_str(&fetch->body);
    curl_easy_getinfo(fetch->curl, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_getinfo(fetch->curl, CURLINFO_CONTENT_TYPE, &type);
    switch (fetch->code) {
    case CURLE_OK:
        break;
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_ISSUER_ERROR:
        err_set(err, 0, "%s", fetch->words[0] ? fetch->words : curl_easy_strerror(fetch->code));
        return FETCH_UNTRUSTED;
    default:
        err_set(err, 0, "%s", fetch->words[0] ? fetch->words : curl_easy_strerror(fetch->code));
        return FETCH_ERROR;
    }
    if (status == 200 && type != NULL && is_plain_text(type))
        return FETCH_FINE;
    if (status != 200)
        err_set(err, 0, "the server answered %ld", status);
    else
        err_set(err, 0, "the server sent %s, not text/plain", type ? type : "something unnamed");
    return FETCH_ERROR;
}

void fetcher_wait(struct fetcher *fetcher, int fd, int timeout_ms)
{
    struct curl_waitfd also = {.fd = fd, .events = CURL_WAIT_POLLIN};
    curl_multi_poll(fetcher->multi, &also, 1, timeout_ms, NULL);
}

void fetcher_wake(struct fetcher *fetcher)
{
    curl_multi_wakeup(fetcher->multi);
}
