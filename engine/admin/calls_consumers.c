/* calls_consumers.c - who reads the event log, and how far behind each is. */
#include "engine/admin/calls.h"
#include "engine/report/consumers.h"

#include <inttypes.h>

static json_t *consumer_json(const struct consumer_info *info)
{
    const struct config_consumer *config = info->config;
    bool is_webhook = config->webhook[0] != '\0';
    json_t *root = json_object();
    js_set(root, "consumer", json_string(config->name));
    js_set(root, "kind", json_string(is_webhook ? "webhook" : "file"));
    js_set(root, "target", js_text(str_of(is_webhook ? config->webhook : config->file)));
    js_set(root, "shape", json_string(config_shape_name(config->shape)));
    js_set(root, "on_full", json_string(config->on_full == CONFIG_ON_FULL_DROP ? "drop" : "stop"));
    js_set_int(root, "cursor", info->cursor);
    js_set_int(root, "lag", info->lag_events);
    js_set_int(root, "lag_ms", (uint64_t)info->lag_ms);
    js_set_int(root, "sent", info->totals.sent);
    js_set_int(root, "dropped", info->totals.dropped);
    js_set_int(root, "dead_lettered", info->totals.dead);
    js_set_int(root, "failures", info->failures);
    js_set(root, "error", info->error_ms != 0 ? js_text(str_of(info->error.text)) : json_null());
    js_set(root, "error_time", js_time(info->error_ms));
    js_set(root, "next", js_time(info->next_ms));
    return root;
}

void call_consumers(struct http_request *request, struct now now, void *user)
{
    struct api *api = user;
    const struct consumers *consumers = api->context.consumers;
    json_t *root = json_object(), *list = json_array();
    if (!for_operators(api, request)) {
        json_decref(root);
        json_decref(list);
        return;
    }
    for (size_t i = 0; consumers != NULL && i < consumers_count(consumers); i++) {
        struct consumer_info info;
        consumers_info(consumers, i, now, &info);
        json_array_append_new(list, consumer_json(&info));
    }
    js_set_int(root, "last", store_event_seq(api->context.store));
    js_set(root, "consumers", list);
    answer_json(request, 200, root);
}

/* ---- Prometheus ---- */

static uint64_t lag_events(const struct consumer_info *info)
{
    return info->lag_events;
}

static uint64_t lag_seconds(const struct consumer_info *info)
{
    return (uint64_t)(info->lag_ms / MS_PER_S);
}

static uint64_t sent(const struct consumer_info *info)
{
    return info->totals.sent;
}

static uint64_t dropped(const struct consumer_info *info)
{
    return info->totals.dropped;
}

static uint64_t dead(const struct consumer_info *info)
{
    return info->totals.dead;
}

static uint64_t failing(const struct consumer_info *info)
{
    return info->failures > 0;
}

void consumer_metrics(const struct consumers *consumers, struct now now, struct buf *out)
{
    static const struct {
        const char *name, *type, *help;
        uint64_t (*value)(const struct consumer_info *info);
    } figures[] = {
        {"lag_events", "gauge", "Events it has not read.", lag_events},
        {"lag_seconds", "gauge", "How old the oldest of them is.", lag_seconds},
        {"events_total", "counter", "Events handed to it.", sent},
        {"dropped_total", "counter", "Events it missed, for the log was full.", dropped},
        {"dead_lettered_total", "counter", "Events its webhook refused.", dead},
        {"failing", "gauge", "1 while it is tried again after a failure.", failing},
    };
    size_t count = consumers != NULL ? consumers_count(consumers) : 0;
    for (size_t f = 0; count > 0 && f < sizeof figures / sizeof *figures; f++) {
        buf_printf(out, "# HELP postrider_consumer_%s %s\n# TYPE postrider_consumer_%s %s\n", figures[f].name,
                   figures[f].help, figures[f].name, figures[f].type);
        for (size_t i = 0; i < count; i++) {
            struct consumer_info info;
            consumers_info(consumers, i, now, &info);
            buf_printf(out, "postrider_consumer_%s{consumer=\"%s\"} %" PRIu64 "\n", figures[f].name,
                       info.config->name, figures[f].value(&info));
        }
    }
}
