/* users.h - who may log in: a file of hashed passwords, and whether one is right (libcrypt, crypt(5)).
 *
 * A line is NAME:HASH or NAME:HASH:TENANT; blank lines and those that begin with # don't count. HASH is what
 * crypt(3) makes: mkpasswd -m yescrypt, openssl passwd -6. The file is read again when it has changed.
 *
 * A good hash takes tens of milliseconds and MiBs to check, which no worker can spend: users_verify is for a
 * desk. What was right is remembered for SUBMISSION_KNOWN_MS, under a key that never leaves memory, for those
 * who log in for every message. An unknown user takes as long as a known one. Any thread. */
#ifndef POSTRIDER_SUBMISSION_USERS_H
#define POSTRIDER_SUBMISSION_USERS_H

#include "engine/base/clock.h"
#include "engine/base/err.h"
#include "engine/limits.h"
#include "engine/submission/dialogue.h"

struct users;

/* Reads the file: NULL and err where that fails, with the line that is wrong. */
struct users *users_create(const char *path, struct err *err);
void users_destroy(struct users *users);
/* tenant: the one the user is bound to, or "". */
enum login_result users_verify(struct users *users, const struct dialogue_login *login, struct now now,
                               char tenant[NAME_MAX_BYTES + 1]);

#endif
