/* event_json.h - an event of the log as JSON, the one form of it: for GET /v1/events and for consumers.
 *
 * {"seq","time","type","rid","job","tenant","campaign","id","to","domain","site","source","mx","attempt",
 * "code","status","reply","tls","delay_ms","next","category"}, in this order; see postrider-api(7). A bounce
 * that came by mail later has "late":true besides; an alert, which is of no recipient, has rid and job null.
 * Any thread. */
#ifndef POSTRIDER_REPORT_EVENT_JSON_H
#define POSTRIDER_REPORT_EVENT_JSON_H

#include "engine/base/buf.h"
#include "engine/report/category.h"
#include "queue/query.h"

/* Appends the object, without a line's end. False: the buf has no room. */
bool event_json(const struct event *event, struct buf *out);

/* It says that a recipient will not get its message: bounced, also later by mail, or expired. */
static inline bool event_is_failure(const struct event *event)
{
    return event->type == EVENT_BOUNCED || event->type == EVENT_BOUNCED_LATE || event->type == EVENT_EXPIRED;
}
/* Of such a one. */
enum bounce_category event_category(const struct event *event);

#endif
