/* upload_flight.c - see upload_flight.h.
 *
 * Who waits puts into the word down to which number it waits, and whoever counts down to it resumes: the word
 * alone decides, since the upload may be gone as soon as another has resumed it. */
#include "engine/admin/upload_flight.h"

#include "engine/admin/upload_parts.h"

#include <stdlib.h>

#define COUNT_BITS 12
#define COUNT      ((1u << COUNT_BITS) - 1)
#define REST(n)    ((unsigned)(n) << COUNT_BITS)
#define WAITS      (1u << 30)
#define LEFT       (1u << 31)
_Static_assert(UPLOAD_FLYING_MAX <= COUNT && 2 * COUNT_BITS < 30, "the count and the rest fit");
/* An upload that is held to one at a time has that one, whatever others have: two sockets' worth. */
_Static_assert(2 * HTTP_CONNECTIONS_MAX + INTAKE_FLYING_MAX <= ADMIT_IN_FLIGHT_MAX,
               "the store never refuses for too many");

#define FLIGHT_BYTES 2048 /* what a job with the store takes besides its message and lines, about */

void flights_init(struct flights *flights)
{
    flights->tail = &flights->head;
}

/* On the store's thread: may be quick only. The flight is the lander's once it is done. */
static void on_flight_done(struct admit *admit, enum admit_result result, void *user)
{
    struct flight *flight = user;
    struct upload *upload = flight->upload;
    (void)admit;
    flight->result = result;
    atomic_store_explicit(&flight->done, true, memory_order_release);
    unsigned word = atomic_fetch_sub(&upload->flights.word, 1) - 1;
    if ((word & WAITS) != 0 && (word & COUNT) == (word >> COUNT_BITS & COUNT))
        http_resume(upload->request);
    else if (word == LEFT)
        upload_free(upload);
}

bool upload_launch(struct upload *upload)
{
    struct flights *flights = &upload->flights;
    struct admit *admit = upload->job.admit;
    struct flight *flight = calloc(1, sizeof *flight);
    if (flight == NULL)
        return false;
    flight->upload = upload;
    flight->bytes = FLIGHT_BYTES + upload->job.line.content.len + upload->job_bytes;
    flights->bytes += flight->bytes;
    *flights->tail = flight;
    flights->tail = &flight->next;
    atomic_fetch_add_explicit(&upload->intake->flying, 1, memory_order_relaxed);
    if (admit == NULL) { /* dry, or answered from what was kept */
        upload_job_hand_over(&upload->job, &flight->job);
        atomic_store_explicit(&flight->done, true, memory_order_relaxed);
        return true;
    }
    atomic_fetch_add(&flights->word, 1);
    struct admit_key key = upload->job.admit_key;
    bool keyed = upload->job.has_key;
    upload_job_hand_over(&upload->job, &flight->job); /* the key's answer goes with it */
    admit_commit(admit, keyed ? &key : NULL, NULL, on_flight_done, flight);
    return true;
}

static unsigned flying(struct upload *upload)
{
    return atomic_load_explicit(&upload->flights.word, memory_order_relaxed) & COUNT;
}

static void wait_until(struct upload *upload, unsigned rest)
{
    if (flying(upload) <= rest)
        return;
    upload->waiting = WAIT_FLIGHTS;
    http_suspend(upload->request);
    unsigned word = atomic_fetch_or(&upload->flights.word, REST(rest) | WAITS);
    if ((word & COUNT) <= rest) /* meanwhile: nobody else has seen the mark at that number */
        http_resume(upload->request);
}

void upload_make_room(struct upload *upload)
{
    unsigned now = flying(upload);
    if (atomic_load_explicit(&upload->intake->flying, memory_order_relaxed) > INTAKE_FLYING_MAX)
        wait_until(upload, 0);
    else if (now >= UPLOAD_FLYING_MAX || upload->flights.bytes >= UPLOAD_FLYING_BYTES)
        wait_until(upload, now / 2);
}

void upload_wait_for_all(struct upload *upload)
{
    wait_until(upload, 0);
}

void upload_waited(struct upload *upload)
{
    atomic_fetch_and(&upload->flights.word, COUNT);
}

/* An answer to a list: after a failure with its line, which says what lies between. */
static void note_answer(struct buf *list, struct str answer, uint64_t line)
{
    if (list->len > 0)
        buf_add_char(list, ',');
    if (line > 0) {
        buf_printf(list, "{\"line\":%llu,", (unsigned long long)line);
        answer = str_make(answer.p + 1, answer.n - 1);
    }
    buf_add_str(list, answer);
}

static void land(struct upload *upload, struct flight *flight)
{
    struct intake *intake = upload->intake;
    struct upload_done *job = &flight->job;
    if (flight->result != ADMIT_OK) {
        if (!upload->lost)
            upload_note_result(upload, flight->result, job->line_number);
        upload->lost = true;
    } else {
        note_answer(upload->lost ? &upload->later : &upload->done, buf_str(&job->answer),
                    upload->lost ? job->line_number : 0);
        if (job->admit != NULL) {
            atomic_fetch_add_explicit(&intake->jobs, 1, memory_order_relaxed);
            atomic_fetch_add_explicit(&intake->recipients, job->accepted, memory_order_relaxed);
            atomic_fetch_add_explicit(&intake->rejected, job->rejected, memory_order_relaxed);
        }
    }
    upload->flights.bytes -= flight->bytes;
    upload_done_free(job, intake->keys);
    free(flight);
    atomic_fetch_sub_explicit(&intake->flying, 1, memory_order_release); /* the last: intake may go */
}

void upload_land(struct upload *upload)
{
    struct flights *flights = &upload->flights;
    struct flight *flight;
    while ((flight = flights->head) != NULL && atomic_load_explicit(&flight->done, memory_order_acquire)) {
        flights->head = flight->next;
        if (flights->head == NULL)
            flights->tail = &flights->head;
        land(upload, flight);
    }
}

bool upload_leave_behind(struct upload *upload)
{
    return (atomic_fetch_or(&upload->flights.word, LEFT) & COUNT) == 0;
}
