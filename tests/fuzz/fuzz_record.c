/* fuzz_record.c - a stored message and stored variables that the disk has damaged: refused, or rendered
 * within bounds. */
#include "engine/message/template.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str rest = fuzz_rest(data, size);
    struct str blob = fuzz_piece(&rest, fuzz_byte(&rest));
    char *vars = fuzz_copy(blob), *record = fuzz_copy(rest);
    struct template template;
    struct rendition rendition = {0};
    struct err err = {0};
    struct str name, value;
    struct reader r = vars_reader(str_make(vars, blob.n));
    while (vars_next(&r, &name, &value))
        CLAIM(name.p >= vars && value.p + value.n <= vars + blob.n);
    if (template_open(record, rest.n, &template, &err)) {
        struct render_args args = {.vars = str_make(vars, blob.n), .to = STR("ada@example.com")};
        template_missing(&template, args.vars, &name);
        if (template_render(&template, &args, &rendition, &err)) {
            size_t sum = 0;
            for (size_t i = 0; i < rendition.count; i++)
                sum += rendition.parts[i].iov_len;
            CLAIM(sum == rendition.size && sum <= RENDITION_MAX);
        }
    }
    rendition_free(&rendition);
    free(vars);
    free(record);
    return 0;
}
