/* token.h - the secret that a client of the admin API over TCP must know: "Authorization: Bearer TOKEN".
 *
 * It is the first line of a file that others on this machine cannot read, lies in a page of its own that no
 * core dump has, and is compared in a time that does not tell how much of a guess was right. Read once, at
 * the start. Any thread may compare. */
#ifndef POSTRIDER_ADMIN_TOKEN_H
#define POSTRIDER_ADMIN_TOKEN_H

#include "engine/base/err.h"
#include "engine/base/str.h"

#define TOKEN_MIN 16
#define TOKEN_MAX 256

struct token;

/* NULL: err says what is wrong with the file: not there, open to others, no token in it, too short. */
struct token *token_load(const char *path, struct err *err);
void token_free(struct token *token); /* NULL is fine; nothing of it stays */
/* Whether the value of an Authorization field bears it. p NULL: there is none. */
bool token_admits(const struct token *token, struct str authorization);

#endif
