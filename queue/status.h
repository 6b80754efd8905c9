/* status.h - enhanced status codes (RFC 3463) as a value: class, subject, detail. Any thread. */
#ifndef POSTRIDER_QUEUE_STATUS_H
#define POSTRIDER_QUEUE_STATUS_H

#include "engine/base/str.h"

struct status {
    uint8_t class_; /* 2, 4, 5; 0: none */
    uint16_t subject, detail;
};

#define STATUS(c, s, d) ((struct status){(c), (s), (d)})
#define STATUS_TEXT_MAX 16
/* A pattern matches by parts: "4.7.*", "4.7", "4", "*", "4.7.1". */
struct status_pattern {
    int class_, subject, detail; /* -1: any */
};

size_t status_format(struct status status, char text[STATUS_TEXT_MAX]);
/* Reads "4.7.1" at the start of text; *used is its length. False (and a zero status) where there is none. */
bool status_parse(struct str text, struct status *status, size_t *used);
bool status_pattern_parse(struct str text, struct status_pattern *pattern);
bool status_matches(struct status_pattern pattern, struct status status);
/* One number that sorts as the parts do; for keys and tables. */
static inline uint32_t status_number(struct status s)
{
    return (uint32_t)s.class_ << 24 | (uint32_t)(s.subject & 0xfff) << 12 | (s.detail & 0xfff);
}
static inline struct status status_of_number(uint32_t n)
{
    return (struct status){(uint8_t)(n >> 24), (uint16_t)(n >> 12 & 0xfff), (uint16_t)(n & 0xfff)};
}

#endif
