/* fuzz_request.c - the head of a request on the jobs socket, as far as it is read without the library: what
 * is taken for plain has one host and one length, says nothing else about how to read on, and is read the
 * same whatever follows it. */
#include "engine/admin/http_plain.h"
#include "tests/fuzz/fuzz.h"

static bool is_text(struct str text)
{
    for (size_t i = 0; i < text.n; i++)
        if (((unsigned char)text.p[i] < ' ' && text.p[i] != '\t') || text.p[i] == 0x7f)
            return false;
    return true;
}

static unsigned count(const struct plain_head *head, struct str name)
{
    unsigned n = 0;
    for (unsigned i = 0; i < head->field_count; i++)
        n += str_eq_nocase(head->fields[i].name, name);
    return n;
}

static void judge(const char *bytes, const struct plain_head *head)
{
    struct str path = head->path;
    CLAIM(str_eq(head->method, STR("POST")) || str_eq(head->method, STR("PUT")));
    CLAIM(path.n > 0 && path.p[0] == '/' && is_text(path));
    CLAIM(str_find(path, '?', 0) == SIZE_MAX && str_find(path, '%', 0) == SIZE_MAX);
    CLAIM(head->size <= HTTP_PLAIN_HEAD_MAX && head->size >= 4);
    CLAIM(memcmp(bytes + head->size - 4, "\r\n\r\n", 4) == 0);
    for (size_t i = 0; i < head->size; i++)
        CLAIM((bytes[i] == '\n') == (i > 0 && bytes[i - 1] == '\r'));
    CLAIM(count(head, STR("Host")) == 1 && count(head, STR("Content-Length")) == 1);
    CLAIM(count(head, STR("Transfer-Encoding")) + count(head, STR("Expect")) + count(head, STR("Upgrade")) ==
          0);
    for (unsigned i = 0; i < head->field_count; i++)
        CLAIM(head->fields[i].name.n > 0 && is_text(head->fields[i].name) && is_text(head->fields[i].value));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct plain_head head, alone;
    char *copy = fuzz_copy(fuzz_rest(data, size));
    if (plain_head_read(str_make(copy, size), &head)) {
        judge(copy, &head);
        CLAIM(plain_head_read(str_make(copy, head.size), &alone));
        CLAIM(alone.size == head.size && alone.body == head.body && alone.field_count == head.field_count);
        CLAIM(!plain_head_read(str_make(copy, head.size - 1), &alone));
    }
    free(copy);
    return 0;
}
