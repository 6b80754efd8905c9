/* http_plain.c - see http_plain.h. */
#include "engine/admin/http_plain.h"

#include <string.h>

/* Up to the next CRLF, which goes too. False: there is none, or a CR or LF stands alone. */
static bool next_line(struct str *bytes, struct str *line)
{
    const char *end = bytes->n > 0 ? memchr(bytes->p, '\n', bytes->n) : NULL;
    if (end == NULL || end == bytes->p || end[-1] != '\r')
        return false;
    size_t n = (size_t)(end - bytes->p);
    *line = str_make(bytes->p, n - 1);
    *bytes = str_make(end + 1, bytes->n - n - 1);
    return n == 1 || memchr(line->p, '\r', line->n) == NULL;
}

static bool is_alnum(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

/* Letters and digits, and these others. */
static bool made_of(struct str s, const char *others)
{
    for (size_t i = 0; i < s.n; i++)
        if (!is_alnum(s.p[i]) && (s.p[i] == '\0' || strchr(others, s.p[i]) == NULL))
            return false;
    return s.n > 0;
}

/* RFC 9110 5.5: no control characters but the tab. */
static bool value_is_clean(struct str value)
{
    for (size_t i = 0; i < value.n; i++)
        if (((unsigned char)value.p[i] < ' ' && value.p[i] != '\t') || value.p[i] == 0x7f)
            return false;
    return true;
}

static bool read_request_line(struct str line, struct plain_head *head)
{
    size_t first = str_find(line, ' ', 0);
    size_t second = first == SIZE_MAX ? SIZE_MAX : str_find(line, ' ', first + 1);
    if (second == SIZE_MAX)
        return false;
    head->method = str_make(line.p, first);
    head->path = str_make(line.p + first + 1, second - first - 1);
    struct str version = str_make(line.p + second + 1, line.n - second - 1);
    return (str_eq(head->method, STR("POST")) || str_eq(head->method, STR("PUT"))) && head->path.n > 0 &&
           head->path.p[0] == '/' && made_of(head->path, "/-_.") && str_eq(version, STR("HTTP/1.1"));
}

static bool read_field(struct str line, struct plain_field *field)
{
    size_t colon = str_find(line, ':', 0);
    if (colon == SIZE_MAX)
        return false;
    field->name = str_make(line.p, colon);
    field->value = str_trim(str_make(line.p + colon + 1, line.n - colon - 1));
    return made_of(field->name, "!#$%&'*+-.^_`|~") && value_is_clean(field->value);
}

/* What the field means for the reading of the request; false: more than is plain. */
static bool weigh(const struct plain_field *field, struct plain_head *head, unsigned *hosts,
                  unsigned *lengths)
{
    static const struct str strange[] = {
        {"Transfer-Encoding", 17}, {"Expect", 6}, {"Upgrade", 7}, {"TE", 2}, {"Trailer", 7},
    };
    for (size_t i = 0; i < sizeof strange / sizeof *strange; i++)
        if (str_eq_nocase(field->name, strange[i]))
            return false;
    if (str_eq_nocase(field->name, STR("Connection")))
        return str_eq_nocase(field->value, STR("keep-alive"));
    if (str_eq_nocase(field->name, STR("Content-Length")))
        return ++*lengths == 1 && str_u64(field->value, UINT32_MAX, &head->body);
    if (str_eq_nocase(field->name, STR("Host")))
        return ++*hosts == 1;
    return true;
}

bool plain_head_read(struct str bytes, struct plain_head *head)
{
    struct str line, rest = bytes;
    unsigned hosts = 0, lengths = 0;
    head->field_count = 0;
    if (rest.n > HTTP_PLAIN_HEAD_MAX)
        rest.n = HTTP_PLAIN_HEAD_MAX;
    if (!next_line(&rest, &line) || !read_request_line(line, head))
        return false;
    for (;;) {
        if (!next_line(&rest, &line))
            return false;
        if (line.n == 0)
            break;
        if (head->field_count == HTTP_PLAIN_FIELDS)
            return false;
        struct plain_field *field = &head->fields[head->field_count++];
        if (!read_field(line, field) || !weigh(field, head, &hosts, &lengths))
            return false;
    }
    head->size = (size_t)(rest.p - bytes.p);
    return hosts == 1 && lengths == 1;
}
