/* post.c - see post.h. */
#include "engine/tlsrpt/post.h"

#include "engine/limits.h"

#include <curl/curl.h>
#include <errno.h>

static size_t on_body(char *data, size_t size, size_t count, void *user)
{
    (void)data;
    (void)user;
    return size * count; /* only the status matters */
}

static int on_progress(void *user, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
    (void)a, (void)b, (void)c, (void)d;
    return atomic_load((const _Atomic bool *)user);
}

static bool prepare(CURL *curl, const char *ca_file, const _Atomic bool *stop)
{
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "https");
    curl_easy_setopt(curl, CURLOPT_USERAGENT, "postrider/" POSTRIDER_VERSION);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long)RPT_POST_MS);
    curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, on_progress);
    curl_easy_setopt(curl, CURLOPT_XFERINFODATA, (void *)(uintptr_t)stop);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
    if (ca_file[0] == '\0')
        return true;
    curl_easy_setopt(curl, CURLOPT_CAPATH, NULL);
    return curl_easy_setopt(curl, CURLOPT_CAINFO, ca_file) == CURLE_OK;
}

bool rpt_post(const char *url, const char *ca_file, struct str packed, const _Atomic bool *stop,
              struct err *err)
{
    CURL *curl = curl_easy_init();
    struct curl_slist *headers = curl_slist_append(NULL, "Content-Type: application/tlsrpt+gzip");
    CURLcode code = CURLE_OUT_OF_MEMORY;
    long status = 0;
    if (curl != NULL && headers != NULL && prepare(curl, ca_file, stop) &&
        curl_easy_setopt(curl, CURLOPT_URL, url) == CURLE_OK) {
        curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
        curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)packed.n);
        curl_easy_setopt(curl, CURLOPT_POSTFIELDS, packed.p);
        code = curl_easy_perform(curl);
        curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    }
    curl_slist_free_all(headers);
    curl_easy_cleanup(curl);
    if (code != CURLE_OK)
        return err_set(err, 0, "%s: %s", url, curl_easy_strerror(code));
    return (status >= 200 && status < 300) || err_set(err, 0, "%s answered %ld", url, status);
}
