/* status_json.h - how a status and a category stand in JSON. Any thread. */
#ifndef POSTRIDER_REPORT_STATUS_JSON_H
#define POSTRIDER_REPORT_STATUS_JSON_H

#include "engine/base/js.h"
#include "engine/report/category.h"
#include "engine/report/registry.h"
#include "queue/query.h"

/* "4.7.1", or null where there is none. */
static inline json_t *js_status(struct status status)
{
    char text[STATUS_TEXT_MAX];
    if (status.class_ == 0)
        return json_null();
    size_t n = status_format(status, text);
    return json_stringn_nocheck(text, n);
}

/* Of a recipient that bounced or expired. */
static inline enum bounce_category failure_category(const struct rcpt_info *info)
{
    struct bounce bounce = {info->status, info->code, info->reply, info->state == RCPT_EXPIRED, false};
    return bounce_category(&bounce);
}

#endif
