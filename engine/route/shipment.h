/* shipment.h - recipients and their rendered message on the way through one transaction. */
#ifndef POSTRIDER_ROUTE_SHIPMENT_H
#define POSTRIDER_ROUTE_SHIPMENT_H

#include "engine/route/model.h"

/* The next transaction for a session of this pool, rendered for what its host offers, or NULL. host is for
 * the record and outlives the shipment. */
struct session_transaction *shipment_next(struct pool *pool, const char *host, const struct session *session);
/* Its recipients have their verdicts: settles them or gives them back to their lane. */
void shipment_done(struct session_transaction *transaction, struct pool *pool);
/* How many recipients of this lane are on their way in the pool's sessions: a walk, for who asks. */
unsigned shipment_count_lane(const struct pool *pool, uint32_t lane);
/* Adds up its messages on their way, and of them those of this sender domain: another walk. */
void shipment_count_sender(const struct pool *pool, struct str sender, unsigned *all, unsigned *own);
/* Whose message it is. */
/* The domain of its recipients. */
struct str shipment_domain(const struct session_transaction *transaction);
const struct store_job *shipment_job(const struct session_transaction *transaction);
/* The job is paused or cancelled: what is on its way and is not answered is not tried again from here. */
void shipment_drop_job(struct router *router, uint64_t job);
void shipment_free_spares(struct router *router);

#endif
