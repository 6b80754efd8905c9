/* merge.h - the grammar of variables in text: {{x}}, {{{x}}}, {{x|default}}, {{x|url}}, {{x|url|default}},
 * and Mailgun's %recipient.x% and %recipient%, which are {{x}} and {{to}}. Private to message/. */
#ifndef POSTRIDER_MESSAGE_MERGE_H
#define POSTRIDER_MESSAGE_MERGE_H

#include "engine/base/str.h"

struct merge_variable {
    struct str name;
    struct str fallback; /* p is NULL when there is none */
    bool unescaped;      /* of the form {{{x}}} */
    bool url;            /* percent-encoded */
    size_t start, end;   /* of the whole, in the text */
};

enum merge_found { MERGE_NONE, MERGE_VARIABLE, MERGE_MALFORMED };

/* The first variable at or after `from`. Malformed: `start` is where, *why a phrase that says what is wrong.
 * What begins as Mailgun's and is not is only text. */
enum merge_found merge_next(struct str text, size_t from, struct merge_variable *variable, const char **why);
/* Whether text holds a `{{`, or a variable in Mailgun's way. */
bool merge_has_any(struct str text);

#endif
