/* dns_wire.h - builds DNS messages for the resolver's tests, right ones and wrong ones. */
#ifndef POSTRIDER_TESTS_DNS_WIRE_H
#define POSTRIDER_TESTS_DNS_WIRE_H

#include "engine/base/codec.h"

#include <arpa/inet.h>
#include <assert.h>

enum wire_section { WIRE_ANSWER = 6, WIRE_AUTHORITY = 8 }; /* where its counter is */
enum { WIRE_CNAME = 5, WIRE_SOA = 6, WIRE_NS = 2 };

struct wire {
    size_t n;
    uint8_t bytes[8192];
};

static inline void wire_add(struct wire *wire, const void *bytes, size_t n)
{
    assert(wire->n + n <= sizeof wire->bytes);
    memcpy(wire->bytes + wire->n, bytes, n);
    wire->n += n;
}

static inline void wire_u16(struct wire *wire, unsigned value)
{
    uint8_t bytes[2];
    put_be16(bytes, (uint16_t)value);
    wire_add(wire, bytes, 2);
}

static inline void wire_u32(struct wire *wire, uint32_t value)
{
    uint8_t bytes[4];
    put_be32(bytes, value);
    wire_add(wire, bytes, 4);
}

/* No compression, no escapes. */
static inline void wire_name(struct wire *wire, const char *name)
{
    while (*name != '\0') {
        size_t n = strcspn(name, ".");
        uint8_t len = (uint8_t)n;
        wire_add(wire, &len, 1);
        wire_add(wire, name, n);
        name += n + (name[n] == '.');
    }
    wire_add(wire, "", 1);
}

/* A response with its question; flags as 0x8180 (an answer, recursion desired and available), rcode in them.
 */
static inline void wire_begin(struct wire *wire, unsigned id, unsigned flags, const char *name, unsigned type)
{
    wire->n = 0;
    wire_u16(wire, id);
    wire_u16(wire, flags);
    wire_u16(wire, 1);
    wire_add(wire, "\0\0\0\0\0\0", 6);
    wire_name(wire, name);
    wire_u16(wire, type);
    wire_u16(wire, 1);
}

static inline void wire_record(struct wire *wire, enum wire_section section, const char *owner, unsigned type,
                               uint32_t ttl, const void *data, size_t n)
{
    put_be16(wire->bytes + section, (uint16_t)(get_be16(wire->bytes + section) + 1));
    wire_name(wire, owner);
    wire_u16(wire, type);
    wire_u16(wire, 1);
    wire_u32(wire, ttl);
    wire_u16(wire, (unsigned)n);
    wire_add(wire, data, n);
}

static inline void wire_cname(struct wire *wire, const char *owner, uint32_t ttl, const char *target)
{
    struct wire data = {.n = 0};
    wire_name(&data, target);
    wire_record(wire, WIRE_ANSWER, owner, WIRE_CNAME, ttl, data.bytes, data.n);
}

static inline void wire_mx(struct wire *wire, const char *owner, uint32_t ttl, unsigned preference,
                           const char *host)
{
    struct wire data = {.n = 0};
    wire_u16(&data, preference);
    wire_name(&data, host);
    wire_record(wire, WIRE_ANSWER, owner, 15, ttl, data.bytes, data.n);
}

static inline void wire_a(struct wire *wire, const char *owner, uint32_t ttl, const char *address)
{
    struct in_addr in;
    inet_pton(AF_INET, address, &in);
    wire_record(wire, WIRE_ANSWER, owner, 1, ttl, &in, 4);
}

static inline void wire_aaaa(struct wire *wire, const char *owner, uint32_t ttl, const char *address)
{
    struct in6_addr in6;
    inet_pton(AF_INET6, address, &in6);
    wire_record(wire, WIRE_ANSWER, owner, 28, ttl, &in6, 16);
}

static inline void wire_soa(struct wire *wire, const char *zone, uint32_t ttl, uint32_t minimum)
{
    struct wire data = {.n = 0};
    wire_name(&data, "ns.example");
    wire_name(&data, "admin.example");
    for (int i = 0; i < 4; i++)
        wire_u32(&data, 3600);
    wire_u32(&data, minimum);
    wire_record(wire, WIRE_AUTHORITY, zone, WIRE_SOA, ttl, data.bytes, data.n);
}

#endif
