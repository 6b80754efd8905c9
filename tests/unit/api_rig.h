/* api_rig.h - a store with its threads, the API on real sockets, and a worker that decides by the address:
 * ok… is delivered, bad… bounces (550 5.1.1), full… is deferred for an hour (452 4.2.2), anything else is
 * kept in hand until the end. The fleet is made up: one site "site.example" with one held path. */
#ifndef POSTRIDER_TESTS_API_RIG_H
#define POSTRIDER_TESTS_API_RIG_H

#include "engine/admin/api.h"
#include "tests/unit/http_client.h"
#include "tests/unit/temporary.h"

#include <pthread.h>
#include <stdatomic.h>

struct api_rig {
    char directory[TEMPORARY_PATH], socket[TEMPORARY_PATH + 20], control[TEMPORARY_PATH + 20];
    struct config *config; /* of the setup */
    struct setups *setups;
    struct store *store;
    struct inbox *inbox;
    struct inbound *inbound;
    struct api *api;
    pthread_t worker;
    atomic_bool over;
    struct taken *kept;
};

/* yaml: more lines of configuration, or "". The control socket is made when yaml names it as @control@. */
void api_rig_open(struct api_rig *rig, const char *yaml);
/* Ends the API, then the store, as main does. */
void api_rig_close(struct api_rig *rig);

/* One call on the jobs socket; fails the test on another status. The answer's JSON is the caller's, NULL when
 * it has no body. */
json_t *api_rig_call(struct api_rig *rig, const char *method, const char *url, const char *body,
                     unsigned status);
/* The text of an answer, NUL-terminated; the caller frees reply. */
const char *api_rig_get(struct api_rig *rig, const char *url, struct http_reply *reply);
/* Waits until the job's count by that name is n. */
void api_rig_wait(struct api_rig *rig, const char *job, const char *count, json_int_t n);

/* Members by a path of names with dots, "jobs.0.job"; fails the test where there is none. */
const json_t *at(const json_t *root, const char *path);
const char *text_at(const json_t *root, const char *path);
json_int_t int_at(const json_t *root, const char *path);

#endif
