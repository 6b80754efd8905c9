/* event_json.c - see event_json.h. Written at once, without a tree: consumers write every event there is. */
#include "engine/report/event_json.h"

#include "engine/base/js.h"
#include "engine/base/units.h"

static void add_name(struct buf *out, const char *name)
{
    buf_add_z(out, ",\"");
    buf_add_z(out, name);
    buf_add_z(out, "\":");
}

static void add_number(struct buf *out, const char *name, uint64_t n)
{
    char digits[STR_U64_MAX];
    add_name(out, name);
    buf_add(out, digits, str_put_u64(digits, n));
}

static void add_text(struct buf *out, const char *name, struct str text)
{
    add_name(out, name);
    js_add_text(out, text);
}

static void add_time(struct buf *out, const char *name, int64_t wall_ms)
{
    char text[UNITS_TEXT_MAX];
    if (wall_ms != 0) {
        add_text(out, name, str_make(text, time_format(wall_ms, text)));
    } else {
        add_name(out, name);
        buf_add_z(out, "null");
    }
}

/* A text that may be absent: null then. */
static void add_optional(struct buf *out, const char *name, struct str text)
{
    if (text.n > 0) {
        add_text(out, name, text);
    } else {
        add_name(out, name);
        buf_add_z(out, "null");
    }
}

enum bounce_category event_category(const struct event *event)
{
    struct bounce bounce = {.status = event->status,
                            .code = event->code,
                            .reply = event->reply,
                            .expired = event->type == EVENT_EXPIRED,
                            .by_mail = event->type == EVENT_BOUNCED_LATE};
    return bounce_category(&bounce);
}

static void add_rid(struct buf *out, const struct event *event)
{
    char rid[RID_TEXT_MAX], job[STR_U64_MAX];
    bool known = event->rid.job != 0;
    size_t rid_n = known ? rid_format(event->rid, rid) : 0;
    size_t job_n = known ? str_put_u64(job, event->rid.job) : 0;
    add_optional(out, "rid", str_make(rid, rid_n));
    add_optional(out, "job", str_make(job, job_n));
}

bool event_json(const struct event *event, struct buf *out)
{
    char digits[STR_U64_MAX], status[STATUS_TEXT_MAX];
    size_t status_n = event->status.class_ != 0 ? status_format(event->status, status) : 0;
    int64_t delay_ms = event->delay_ms;
    buf_add_z(out, "{\"seq\":");
    buf_add(out, digits, str_put_u64(digits, event->seq));
    add_time(out, "time", event->time_ms);
    add_text(out, "type", str_of(event_type_name(event->type)));
    add_rid(out, event);
    add_text(out, "tenant", event->tenant);
    add_text(out, "campaign", event->campaign);
    add_text(out, "id", event->id);
    add_text(out, "to", event->to);
    add_text(out, "domain", event->domain);
    add_text(out, "site", event->site);
    add_text(out, "source", event->source);
    add_text(out, "mx", event->mx);
    add_number(out, "attempt", event->attempt);
    add_number(out, "code", event->code);
    add_optional(out, "status", str_make(status, status_n));
    add_text(out, "reply", event->reply);
    add_text(out, "tls", event->tls);
    add_name(out, "delay_ms");
    if (delay_ms < 0)
        buf_add_char(out, '-');
    buf_add(out, digits, str_put_u64(digits, (uint64_t)(delay_ms < 0 ? -delay_ms : delay_ms)));
    add_time(out, "next", event->next_ms);
    add_optional(out, "category",
                 str_of(event_is_failure(event) ? bounce_category_name(event_category(event)) : NULL));
    if (event->type == EVENT_BOUNCED_LATE)
        buf_add_z(out, ",\"late\":true");
    return buf_add_char(out, '}');
}
