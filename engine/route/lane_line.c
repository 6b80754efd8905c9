/* lane_line.c - see lane_line.h. In `turns` stands one lane of each tenant, its *leader*; the tenant's others
 * follow it in a list that it carries, and the first of them leads when it leaves. */
#include "engine/route/lane_line.h"

void lane_line_init(struct lane_line *line)
{
    TAILQ_INIT(&line->turns[CLASS_BULK]);
    TAILQ_INIT(&line->turns[CLASS_TRANSACTIONAL]);
}

bool lane_line_waits(const struct lane_line *line, enum job_class class_)
{
    return !TAILQ_EMPTY(&line->turns[CLASS_TRANSACTIONAL]) ||
           (class_ == CLASS_BULK && !TAILQ_EMPTY(&line->turns[CLASS_BULK]));
}

struct lane *lane_line_first(const struct lane_line *line)
{
    struct lane *lane = TAILQ_FIRST(&line->turns[CLASS_TRANSACTIONAL]);
    return lane ? lane : TAILQ_FIRST(&line->turns[CLASS_BULK]);
}

/* NULL: no other lane of the tenant waits. */
static struct lane *leader_of(struct lane_list *turns, const struct lane *lane)
{
    struct lane *leader;
    TAILQ_FOREACH(leader, turns, wait)
    if (leader->waits_for == lane->waits_for)
        return leader;
    return NULL;
}

static void lead(struct lane_list *turns, struct lane *lane)
{
    lane->leads = true;
    TAILQ_INIT(&lane->followers);
    TAILQ_INSERT_TAIL(turns, lane, wait);
}

void lane_line_join(struct lane_line *line, struct lane *lane)
{
    struct lane_list *turns = &line->turns[lane->class_];
    lane->line = line;
    lane->waits_for = lane->tenant; /* which a reload may change meanwhile */
    struct lane *leader = leader_of(turns, lane);
    if (leader == NULL)
        lead(turns, lane);
    else
        TAILQ_INSERT_TAIL(&leader->followers, lane, wait);
}

void lane_line_leave(struct lane *lane)
{
    if (lane->line == NULL)
        return;
    struct lane_list *turns = &lane->line->turns[lane->class_];
    struct lane *next = lane->leads ? TAILQ_FIRST(&lane->followers) : NULL;
    if (!lane->leads) {
        TAILQ_REMOVE(&leader_of(turns, lane)->followers, lane, wait);
    } else {
        TAILQ_REMOVE(turns, lane, wait);
        if (next != NULL) {
            TAILQ_REMOVE(&lane->followers, next, wait);
            lead(turns, next);
            TAILQ_CONCAT(&next->followers, &lane->followers, wait);
        }
    }
    lane->leads = false;
    lane->line = NULL;
}
