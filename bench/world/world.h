/* world.h - everything of one running world, handed to all its parts. One thread. */
#ifndef POSTRIDER_WORLD_WORLD_H
#define POSTRIDER_WORLD_WORLD_H

#include "bench/world/address_book.h"
#include "bench/world/delivery_log.h"
#include "bench/world/dns_server.h"
#include "bench/world/loop.h"
#include "bench/world/memory.h"
#include "bench/world/recorder.h"
#include "bench/world/scenario.h"
#include "bench/world/tls.h"
#include "engine/base/prng.h"

struct control;
struct session;

struct world {
    struct loop loop;
    struct scenario scenario;
    struct listener shared; /* with one_listener */
    struct address_book address_book;
    struct dns_server *dns;
    struct tls_context *tls;
    struct counts total;
    struct prng prng;
    struct memory memory;
    struct delivery_log log;
    struct recorder recorder;
    struct session *sessions, *arrivals;
    struct control *control; /* or NULL */
    struct watch signals;
    struct wheel_timer log_timer;
    int64_t started_ns;       /* or when the counts were reset */
    uint64_t connections;     /* so far; numbers them */
    uint64_t accept_failures; /* for want of descriptors or memory */
    char in[WORLD_READ_MAX];  /* what a session just read */
    struct buf out;           /* what it is about to be answered */
};

#endif
