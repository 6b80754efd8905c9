/* js.h - the few things that everybody who makes JSON with jansson needs.
 *
 * Values are new references, for json_object_set_new and the like, which accept NULL (no memory) as a failure
 * of theirs. Any thread. */
#ifndef POSTRIDER_BASE_JS_H
#define POSTRIDER_BASE_JS_H

#include "engine/base/buf.h"

#include <jansson.h>

/* Once, before anything of jansson is used: it waits for memory (reserve.h) instead of doing without, for it
 * loses bytes of a text whose buffer cannot grow, and then reads beyond it (2.14, lex_save). */
void js_set_up(void);
/* A string; each byte that is not part of valid UTF-8 becomes U+FFFD. */
json_t *js_text(struct str s);
/* The same written at once, with its quotes, for what is made too often for a tree. */
bool js_add_text(struct buf *out, struct str s);
/* RFC 3339, or null for 0. */
json_t *js_time(int64_t wall_ms);
/* A number as a string: ids. */
json_t *js_id(uint64_t id);
/* Text that is JSON already, such as metadata; {} when it is empty or not. */
json_t *js_parsed(struct str text);
/* Appends the compact text and drops the reference. False: no memory, or `root` was NULL. */
bool js_write(struct buf *out, json_t *root);
/* Sets a member; a failure (no memory) is ignored, the member is then missing. */
void js_set(json_t *object, const char *name, json_t *value);
void js_set_int(json_t *object, const char *name, uint64_t value);
/* A member's text, "" where it is missing or none; a number, or 0. Views into the object. */
const char *js_get_text(const json_t *object, const char *name);
long long js_get_int(const json_t *object, const char *name);

#endif
