/* calls_rules.c - reply rules: all of them, and which one a reply meets. */
#include "engine/admin/calls.h"
#include "engine/rule_json.h"
#include "engine/setup.h"

static void answer_rules(struct http_request *request, json_t *root, const struct err *err)
{
    if (root != NULL)
        answer_json(request, 200, root);
    else
        http_fail(request, err->code ? 500 : 400, err->code ? "failed" : "bad_parameter", "%s", err->text);
}

void call_rules(struct http_request *request, struct now now, void *user)
{
    struct api *api = user;
    struct err err;
    (void)now;
    if (!for_operators(api, request))
        return;
    struct setup *setup = setups_get(api->context.setups);
    answer_rules(request, rule_list_json(setup->config, http_parameter(request, "site"), &err), &err);
    setup_unref(setup);
}

void call_rules_test(struct http_request *request, struct now now, void *user)
{
    struct api *api = user;
    struct err err;
    (void)now;
    struct rule_asked asked = {.reply = http_parameter(request, "reply"),
                               .site = http_parameter(request, "site"),
                               .mx = http_parameter(request, "mx"),
                               .at = http_parameter(request, "at")};
    if (!for_operators(api, request))
        return;
    struct setup *setup = setups_get(api->context.setups);
    answer_rules(request, rule_test_json(setup->config, &asked, &err), &err);
    setup_unref(setup);
}
