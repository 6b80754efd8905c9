/* rule_json.h - reply rules told as JSON: all of them, and which one a reply meets and why. For the admin
 * API, and for the command line where no daemon runs. Pure; any thread. */
#ifndef POSTRIDER_RULE_JSON_H
#define POSTRIDER_RULE_JSON_H

#include "engine/base/js.h"
#include "engine/config.h"

#define RULE_NEAR_MAX  10   /* rules told of that nearly matched */
#define RULE_REPLY_MAX 4096 /* of a reply that is tested: it fits into a query */

/* {"default_replies":bool,"rules":[RULE…],"receivers":[{"name","mx":["*.example.com"…]}…]} in the order of
 * matching; RULE = {"name","where","built_in","site","at":["rcpt"…],"code":"421, 4xx","status","match",
 * "action","kind","reach","does"}, "" or empty for a condition that is not there; `does` is the action in
 * words. Of
 * `site` alone where it is not empty: a site's name or a receiver's, the rules for everybody included. NULL
 * with err: nobody has that name, or memory is out. */
json_t *rule_list_json(const struct config *config, struct str site, struct err *err);

struct rule_asked {
    struct str reply; /* whole, as received: "421-4.7.28 …\n421 4.7.28 …"; "closed": none came */
    struct str site;  /* a site or receiver; empty: the one of mx */
    struct str mx;    /* the host that spoke; empty: one of the site's */
    struct str at;    /* greeting, mail, rcpt, data; empty: anywhere */
};
/* {"code","status","text","lines","site","mx","receiver"|null,"rule":RULE|null,"found":"unusual rate","why",
 * "near":[{"name","where","action","why"}…]}; near are rules before it whose words are there but whose other
 * conditions fail. NULL with err: it is no reply, nobody has that name, or memory is out. */
json_t *rule_test_json(const struct config *config, const struct rule_asked *asked, struct err *err);

#endif
