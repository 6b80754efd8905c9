/* suppress_line.c - see suppress_line.h. */
#include "engine/intake/suppress_line.h"

#include "engine/base/csv.h"
#include "engine/base/units.h"
#include "engine/intake/members.h"
#include "engine/message/address.h"

enum { ADDRESS, SCOPE, REASON, SOURCE, TIME, COLUMNS };
static const char *const names[COLUMNS] = {"address", "scope", "reason", "source", "time"};

void suppress_reader_init(struct suppress_reader *reader, const struct suppression *standard, bool bound)
{
    *reader = (struct suppress_reader){.standard = *standard, .bound = bound};
    buf_init(&reader->scratch, SUPPRESS_LINE_MAX + 1);
    for (unsigned i = 0; i < COLUMNS; i++)
        reader->place[i] = i;
}

void suppress_reader_free(struct suppress_reader *reader)
{
    json_decref(reader->root);
    buf_free(&reader->scratch);
}

bool suppress_address(struct str text, char room[ADDRESS_MAX + 1], struct str *address, struct err *err)
{
    struct address parsed;
    if (!address_parse(text, &parsed, err))
        return false;
    *address = text;
    if (parsed.idn) {
        size_t local = parsed.local.n;
        if (local + 1 + parsed.domain_n > ADDRESS_MAX)
            return err_set(err, 0, "the address is too long");
        memcpy(room, parsed.local.p, local);
        room[local] = '@';
        memcpy(room + local + 1, parsed.domain, parsed.domain_n);
        *address = str_make(room, local + 1 + parsed.domain_n);
    }
    return address->n <= ADDRESS_MAX || err_set(err, 0, "the address is too long");
}

static bool check_text(const char *name, struct str text, size_t max, struct err *err)
{
    if (text.n > max)
        return err_set(err, 0, "the %s has %zu bytes; at most %zu are possible", name, text.n, max);
    for (size_t i = 0; i < text.n; i++)
        if ((uint8_t)text.p[i] < ' ' || text.p[i] == 0x7f)
            return err_set(err, 0, "the %s holds a control character", name);
    return true;
}

/* From the texts of a line; p NULL: not said. */
static bool make(struct suppress_reader *reader, const struct str said[COLUMNS], struct suppression *out,
                 struct err *err)
{
    *out = reader->standard;
    if (said[ADDRESS].n == 0)
        return err_set(err, 0, "the address is missing");
    if (!suppress_address(said[ADDRESS], reader->address, &out->address, err))
        return false;
    if (said[SCOPE].n > 0)
        out->scope = said[SCOPE];
    if (said[REASON].n > 0)
        out->reason = said[REASON];
    if (said[SOURCE].n > 0)
        out->source = said[SOURCE];
    if (said[TIME].n > 0 && !time_parse(said[TIME], &out->added_ms))
        return err_set(err, 0, "the time must be such as 2026-01-31T12:00:00Z, not \"%.*s\"",
                       STR_ARG(str_make(said[TIME].p, said[TIME].n < 40 ? said[TIME].n : 40)));
    if (reader->bound && !str_eq(out->scope, reader->standard.scope))
        return err_set(err, 0, "the scope must be %.*s, for this user is bound to that tenant",
                       STR_ARG(reader->standard.scope));
    return check_text("scope", out->scope, NAME_MAX_BYTES, err) &&
           check_text("reason", out->reason, SUPPRESSION_REASON_MAX, err) &&
           check_text("source", out->source, NAME_MAX_BYTES, err);
}

static bool read_json(struct suppress_reader *reader, struct str line, struct suppression *out,
                      struct err *err)
{
    struct str said[COLUMNS] = {0};
    const char *name;
    json_t *value;
    json_error_t error;
    char number[MEMBER_NUMBER_MAX];
    json_decref(reader->root);
    reader->root = json_loadb(line.p, line.n, JSON_REJECT_DUPLICATES, &error);
    if (!json_is_object(reader->root))
        return err_set(err, 0, "not a JSON object: %s", error.text);
    json_object_foreach(reader->root, name, value)
    {
        unsigned i = 0;
        while (i < COLUMNS && strcmp(name, names[i]) != 0)
            i++;
        if (i == COLUMNS)
            return err_set(err, 0, "unknown field \"%.100s\": it has address, scope, reason, source and time",
                           name);
        if (i == TIME && member_scalar(value, number, &said[i].n))
            said[i].p = number;
        else if (json_is_string(value))
            said[i] = str_make(json_string_value(value), json_string_length(value));
        else
            return member_wrong_type(name, "a string", value, err);
    }
    return make(reader, said, out, err);
}

static bool names_address(struct str value)
{
    return str_eq_nocase(value, STR("address")) || str_eq_nocase(value, STR("email")) ||
           str_eq_nocase(value, STR("recipient"));
}

/* Is this first record a header? Then it says where the columns are. */
static bool take_header(struct suppress_reader *reader, const struct str *values, unsigned n)
{
    unsigned address = 0;
    while (address < n && !names_address(values[address]))
        address++;
    if (address == n)
        return false;
    reader->place[ADDRESS] = address;
    for (unsigned i = SCOPE; i < COLUMNS; i++) {
        unsigned at = 0;
        while (at < n && !str_eq_nocase(values[at], str_of(names[i])))
            at++;
        reader->place[i] = at < n ? at : SUPPRESS_COLUMNS;
    }
    return true;
}

enum suppress_line suppress_line_read(struct suppress_reader *reader, struct str line,
                                      struct suppression *out, struct err *err)
{
    struct str values[SUPPRESS_COLUMNS], said[COLUMNS] = {0};
    unsigned n;
    line = str_trim(line);
    if (line.n > 0 && line.p[0] == '{') {
        reader->begun = true;
        return read_json(reader, line, out, err) ? SUPPRESS_GIVEN : SUPPRESS_BAD;
    }
    enum csv_result result = csv_split(line, values, SUPPRESS_COLUMNS, &n, &reader->scratch);
    if (result != CSV_GOOD) {
        err_set(err, 0, result == CSV_MANY ? "more than 64 columns" : "a quote that begins does not end");
        return SUPPRESS_BAD;
    }
    bool first = !reader->begun;
    reader->begun = true;
    if (first && take_header(reader, values, n))
        return SUPPRESS_HEADER;
    for (unsigned i = 0; i < COLUMNS; i++)
        if (reader->place[i] < n)
            said[i] = values[reader->place[i]];
    return make(reader, said, out, err) ? SUPPRESS_GIVEN : SUPPRESS_BAD;
}
