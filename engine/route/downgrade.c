/* downgrade.c - see downgrade.h. */
#include "engine/route/downgrade.h"

#include <errno.h>

/* The message as one text, unstuffed and unsigned. */
static bool collect(const struct template *template, const struct render_args *args,
                    struct rendition *message, struct buf *out, struct err *err)
{
    struct render_args plain = *args;
    plain.unstuffed = true;
    plain.first = (struct str){NULL, 0};
    if (!template_render(template, &plain, message, err))
        return false;
    for (size_t i = 0; i < message->count; i++)
        buf_add(out, message->parts[i].iov_base, message->parts[i].iov_len);
    return !out->failed ||
           err_set(err, ENOMEM, "no memory to encode the message for a host without 8BITMIME");
}

static bool sign(struct router *router, struct downgrade *down, const struct opened *opened,
                 struct rendition *message, struct err *err)
{
    char from[DOMAIN_MAX + 1];
    uint8_t hash[DIGEST_SIZE];
    const struct dkim_domain *domain = opened_domain(opened, router->dkim);
    if (router->signer == NULL && (router->signer = dkim_signer_create(router->dkim)) == NULL)
        return err_set(err, ENOMEM, "no memory to sign the message");
    if (!template_render(&down->template, &(struct render_args){.unstuffed = true}, message, err))
        return false;
    if (domain == NULL && rendition_from_domain(message, from) == TEMPLATE_FROM_FIXED)
        domain = dkim_find(router->dkim, str_of(from));
    return domain == NULL ||
           (dkim_body_hash(message, NULL, hash, err) &&
            dkim_sign(router->signer, domain, message, hash, router->now.wall_ms, &down->fields, err));
}

bool downgrade_render(struct router *router, struct downgrade *down, const struct opened *opened,
                      const struct render_args *args, struct rendition *message, struct err *err)
{
    struct buf whole;
    buf_init(&whole, RENDITION_MAX);
    buf_init(&down->record, CONTENT_MAX);
    buf_init(&down->fields, RENDITION_MAX);
    bool good = collect(&opened->template, args, message, &whole, err);
    struct message_spec spec = {.raw = buf_str(&whole), .merge = MESSAGE_MERGE_NO, .seven_bit = true};
    good = good && template_compile(&spec, &down->record, err) &&
           template_open(down->record.data, down->record.len, &down->template, err);
    buf_free(&whole);
    if (!good || (opened->wants_signature && !sign(router, down, opened, message, err)))
        return false;
    struct render_args last = {.first = buf_str(&down->fields), .unstuffed = args->unstuffed};
    return template_render(&down->template, &last, message, err);
}

void downgrade_free(struct downgrade *down)
{
    if (down->record.max == 0)
        return; /* of nearly every message */
    buf_free(&down->record);
    buf_free(&down->fields);
    *down = (struct downgrade){0};
}
