/* stage.h - what a host's character does at one point of the dialogue, and the words it uses.
 *
 * Replies are gathered in world.out. Everything here may end or silence the session (s->end, s->state). */
#ifndef POSTRIDER_WORLD_STAGE_H
#define POSTRIDER_WORLD_STAGE_H

#include "bench/world/session.h"

/* Counts what the client did wrong, and says so in the report. */
void violate(struct session *s, enum violation violation, struct str what);
/* One reply; the enhanced status is left out where the host has none, and where it is "". */
void say(struct session *s, unsigned code, const char *status, const char *text);
/* As the character asks at this stage for this address ("" where there is none). False: the stage is over,
 * with a refusal, a close or silence. True: go on; *words is the rule whose text replaces the good reply, or
 * NULL. */
bool stage_pass(struct session *s, enum stage stage, struct str address, const struct rule **words);
/* The good reply, in the rule's words or ours. */
void say_good(struct session *s, const struct rule *words, unsigned code, const char *status,
              const char *text);
/* The same for the same address at the same host or group, lower or upper case; of 2^32. */
bool stage_drawn(const struct session *s, uint32_t odds, uint64_t salt, struct str address);
/* Drawn anew each time; of 2^32. */
bool stage_chance(struct session *s, uint32_t odds);
struct str local_part(struct str address);

#endif
