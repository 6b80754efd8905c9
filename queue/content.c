/* content.c - see content.h. */
#include "queue/content.h"

#include "queue/store_internal.h"

static bool head_get(struct change *c, const uint8_t hash[32], struct content_row *content)
{
    uint8_t key[KEY_CONTENT];
    struct str row;
    key_content(hash, 0, key);
    return change_get(c, T_CONTENT, key, sizeof key, &row) && content_row_decode(row, content);
}

static void head_put(struct change *c, const uint8_t hash[32], const struct content_row *content)
{
    uint8_t key[KEY_CONTENT];
    key_content(hash, 0, key);
    content_row_encode(content, &c->scratch);
    change_put_scratch(c, T_CONTENT, key, sizeof key);
}

bool content_is_shared(struct change *c, const uint8_t hash[32])
{
    struct content_row content;
    uint64_t word;
    memcpy(&word, hash, sizeof word);
    uint64_t *seen = &c->store->writer.contents_seen[word % CONTENTS_SEEN];
    bool again = *seen == word;
    *seen = word;
    return again || head_get(c, hash, &content);
}

bool content_reference(struct change *c, const uint8_t hash[32], uint64_t size)
{
    struct content_row content = {.size = size};
    head_get(c, hash, &content);
    content.references++;
    if (size == 0)
        content.complete = true;
    head_put(c, hash, &content);
    return content.complete;
}

bool content_write(struct change *c, const uint8_t name[32], const void *content, uint64_t size,
                   uint32_t *part)
{
    uint8_t key[KEY_CONTENT];
    struct content_row head;
    for (uint64_t at = (uint64_t)*part * CONTENT_PART_SIZE; at < size; at += CONTENT_PART_SIZE) {
        if (change_spent(c))
            return false;
        uint64_t n = size - at < CONTENT_PART_SIZE ? size - at : CONTENT_PART_SIZE;
        key_content(name, ++*part, key);
        change_put(c, T_CONTENT, key, sizeof key, (const char *)content + at, n);
    }
    if (head_get(c, name, &head)) {
        head.complete = true;
        head_put(c, name, &head);
    }
    return true;
}

void content_release(struct change *c, const uint8_t hash[32])
{
    struct content_row content;
    if (!head_get(c, hash, &content) || content.references == 0)
        return;
    if (--content.references == 0)
        content.complete = false; /* parts go from now on */
    head_put(c, hash, &content);
}

bool content_delete(struct change *c, const uint8_t name[32])
{
    struct content_row content;
    struct str row;
    if (head_get(c, name, &content) && content.references > 0)
        return true; /* named again since */
    for (;;) {
        uint8_t key[KEY_MAX];
        size_t size = KEY_CONTENT;
        if (change_spent(c))
            return false;
        key_content(name, 1, key); /* the head last: it tells that parts are left */
        if (!change_seek(c, T_CONTENT, key, &size, &row) || size != KEY_CONTENT || memcmp(key, name, 32) != 0)
            break;
        change_del(c, T_CONTENT, key, size);
    }
    uint8_t key[KEY_CONTENT];
    key_content(name, 0, key);
    change_del(c, T_CONTENT, key, sizeof key);
    return true;
}
