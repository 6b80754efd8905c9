/* upload.c - see upload.h. */
#include "bench/load/upload.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

bool upload_job(struct buf *to, const struct options *options, const char *default_class)
{
    const char *class_name = options->class_name ? options->class_name : default_class;
    json_t *job = json_pack("{s:s, s:s, s:s*, s:s*}", "from", CONTENT_SENDER, "class", class_name, "tenant",
                            options->tenant, "bounces", options->bounces);
    char *text = job ? json_dumps(job, JSON_COMPACT) : NULL;
    bool ok = text && buf_add(to, text, strlen(text) - 1) && buf_add_z(to, ",\"message\":{\"raw\":\"");
    free(text);
    json_decref(job);
    return ok;
}

size_t upload_head(char to[UPLOAD_HEAD_MAX], const uint64_t *length)
{
    static const char head[] =
        "POST /v1/jobs HTTP/1.1\r\nHost: postrider\r\nContent-Type: application/x-ndjson\r\n";
    int n = length ? snprintf(to, UPLOAD_HEAD_MAX, "%sContent-Length: %llu\r\n\r\n", head,
                              (unsigned long long)*length)
                   : snprintf(to, UPLOAD_HEAD_MAX, "%sTransfer-Encoding: chunked\r\n\r\n", head);
    return (size_t)n;
}

size_t upload_chunk(char to[UPLOAD_HEAD_MAX], size_t n)
{
    return (size_t)snprintf(to, UPLOAD_HEAD_MAX, "%zx\r\n", n);
}
