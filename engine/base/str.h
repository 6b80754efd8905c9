/* str.h - a view of bytes that somebody else owns, and the few operations on it.
 *
 * A `str` never owns its bytes and is not NUL-terminated. Whoever hands one out says how long it stays
 * valid. All comparisons of "nocase" kind fold ASCII letters only, as SMTP and DNS ask. Any thread. */
#ifndef POSTRIDER_BASE_STR_H
#define POSTRIDER_BASE_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct str {
    const char *p; /* may be NULL only when n is 0 */
    size_t n;
};

#define STR(literal) ((struct str){"" literal, sizeof(literal) - 1})
/* For printf's "%.*s". */
#define STR_ARG(s) (int)(s).n, ((s).p ? (s).p : "")

static inline struct str str_of(const char *z)
{
    return (struct str){z, z ? strlen(z) : 0};
}

static inline struct str str_make(const char *p, size_t n)
{
    return (struct str){p, n};
}

static inline bool str_eq(struct str a, struct str b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

bool str_eq_nocase(struct str a, struct str b);
bool str_starts(struct str s, struct str prefix);
bool str_starts_nocase(struct str s, struct str prefix);
bool str_ends_nocase(struct str s, struct str suffix);
/* First position of c at or after `from`, or SIZE_MAX. */
size_t str_find(struct str s, char c, size_t from);
/* The domain of an address: behind its last @; empty (but not NULL) where there is none. */
struct str str_domain(struct str address);
/* Without the ASCII white space at both ends. */
struct str str_trim(struct str s);
/* Parses decimal digits only, no sign; false on anything else or above max. */
bool str_u64(struct str s, uint64_t max, uint64_t *out);
/* Writes n in decimal, without a NUL, and returns how many digits it took. Many times faster than printf,
 * where numbers are written once a message. */
#define STR_U64_MAX 20
size_t str_put_u64(char *out, uint64_t n);
/* Orders by bytes, then by length: <0, 0, >0. */
int str_cmp(struct str a, struct str b);
/* A malloc'ed NUL-terminated copy; NULL only when memory is out. */
char *str_dup(struct str s);
/* 64-bit hash (XXH3, libxxhash), not for adversarial keys that persist. */
uint64_t str_hash(struct str s);
/* The same from a seed, such as one that nobody else knows. */
uint64_t str_hash_seeded(struct str s, uint64_t seed);
/* Shell-like pattern with '*' and '?', ASCII case folded; used for `mx: ["*.google.com"]`. */
bool str_glob_nocase(struct str pattern, struct str s);

static inline bool str_is_ascii(struct str s)
{
    uint64_t eight, seen = 0;
    size_t i = 0;
    for (; i + sizeof eight <= s.n; i += sizeof eight) {
        memcpy(&eight, s.p + i, sizeof eight);
        seen |= eight;
    }
    for (; i < s.n; i++)
        seen |= (uint8_t)s.p[i];
    return (seen & UINT64_C(0x8080808080808080)) == 0;
}

static inline char ascii_lower(char c)
{
    return (c >= 'A' && c <= 'Z') ? (char)(c + ('a' - 'A')) : c;
}

/* Writes s with its ASCII letters in lower case; out may be s.p. */
static inline void str_lower(struct str s, char *out)
{
    for (size_t i = 0; i < s.n; i++)
        out[i] = ascii_lower(s.p[i]);
}

#endif
