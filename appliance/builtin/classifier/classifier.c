/* The built-in classifier: a reactor guest that says what each frame shows.
 *
 * For every frame it emits one JSON object: the best class, and the five best under "top".
 *
 *     {"label":"espresso","score":0.912300,"index":967,"top":[{"label":..,"score":..},..]}
 *
 * The model is named by the environment variable MODEL. The host does what depends on the model:
 * frame_set_input makes its input tensor, label knows its classes. So this file fits every image
 * classifier with one image input and one f32 output.
 *
 * Rules:
 *   - Every failed call is logged once, by the name of the call, and its errno is returned.
 *   - The model is loaded at the first frame, and loaded again after a failure: whatever went wrong
 *     (a model replaced, a device gone), the next frame starts afresh.
 *   - No memory is taken per frame. The output buffer grows to the model's output and stays.
 */
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "appliance.h"
#include "wasi_nn.h"

enum {
    TOP = 5,
    LABEL_SIZE = 256,                 /* chosen, not measured: a label is a few words */
    ENTRY_SIZE = 6 * LABEL_SIZE + 96, /* a byte may become \u00xx; 96 for keys and numbers */
    JSON_SIZE = (TOP + 1) * ENTRY_SIZE,
    MESSAGE_SIZE = 256
};

static const char DEFAULT_MODEL[] = "efficientnet-lite0";

/* One class of the output. */
struct entry {
    uint32_t index;
    float score;
    char label[LABEL_SIZE];
    uint32_t label_len;
};

/* Text in a fixed buffer. What does not fit is dropped, and is_cut says so. */
struct text {
    char *buf;
    uint32_t size;
    uint32_t len;
    bool is_cut;
};

/* What stays between frames. 0 is a good handle, hence the two flags. */
static struct {
    bool has_graph;
    bool has_context;
    wasi_nn_graph graph;
    wasi_nn_context context;
    float *output;
    uint32_t output_size; /* bytes */
} model;

/* ---- text ------------------------------------------------------------------------------------ */

static void put_bytes(struct text *text, const char *bytes, uint32_t len) {
    if (len > text->size - text->len) {
        text->is_cut = true;
        return;
    }
    memcpy(text->buf + text->len, bytes, len);
    text->len += len;
}

static void put(struct text *text, const char *string) {
    put_bytes(text, string, (uint32_t)strlen(string));
}

static void put_uint(struct text *text, uint64_t number) {
    char digits[20];
    uint32_t at = sizeof digits;
    do {
        digits[--at] = (char)('0' + number % 10);
        number /= 10;
    } while (number != 0);
    put_bytes(text, digits + at, sizeof digits - at);
}

/* Six decimals, by hand: printf of a double makes this module 29 KB instead of 10. */
static void put_float(struct text *text, double number) {
    uint32_t exponent = 0;
    if (number < 0) {
        put(text, "-");
        number = -number;
    }
    for (; number >= 1e12; exponent++) { /* 1e12 * 1e6 still fits 64 bits; f32 goes to 3.4e38 */
        number /= 10;
    }
    const uint64_t millionths = (uint64_t)(number * 1e6 + 0.5);
    put_uint(text, millionths / 1000000);
    put(text, ".");
    for (uint64_t unit = 100000; unit > 0; unit /= 10) {
        put_uint(text, millionths / unit % 10);
    }
    if (exponent > 0) {
        put(text, "e");
        put_uint(text, exponent);
    }
}

/* A JSON string. UTF-8 goes through as it is; only what JSON forbids is escaped (RFC 8259, 7). */
static void put_json_string(struct text *text, const char *bytes, uint32_t len) {
    static const char hex[] = "0123456789abcdef";
    put(text, "\"");
    for (uint32_t i = 0; i < len; i++) {
        const unsigned char byte = (unsigned char)bytes[i];
        if (byte == '"' || byte == '\\') {
            put(text, "\\");
        }
        if (byte < 0x20) {
            const char escape[] = {'\\', 'u', '0', '0', hex[byte >> 4], hex[byte & 15]};
            put_bytes(text, escape, sizeof escape);
        } else {
            put_bytes(text, bytes + i, 1);
        }
    }
    put(text, "\"");
}

/* ---- errors ---------------------------------------------------------------------------------- */

static void log_text(uint32_t level, const struct text *text) {
    (void)appliance_log(level, text->buf, text->len); /* there is nowhere left to complain to */
}

/* Log `what: why` as an error and return the errno that says the same. */
static int32_t fail(int32_t code, const char *what, const char *why) {
    char buf[MESSAGE_SIZE];
    struct text text = {.buf = buf, .size = sizeof buf};
    put(&text, what);
    put(&text, ": ");
    put(&text, why);
    log_text(APPLIANCE_LOG_ERROR, &text);
    return code;
}

/* Pass an errno through, logging it if it is one. `about` may be empty. */
static int32_t check(int32_t code, const char *call, const char *about) {
    if (code == WASI_NN_ERRNO_SUCCESS) {
        return code;
    }
    char buf[MESSAGE_SIZE];
    struct text text = {.buf = buf, .size = sizeof buf};
    put(&text, call);
    put(&text, " failed: errno ");
    put_uint(&text, (uint32_t)code);
    put(&text, " (");
    put(&text, wasi_nn_errno_name(code));
    put(&text, ")");
    if (*about != '\0') {
        put(&text, ", model ");
        put(&text, about); /* last, so that an absurdly long name drops itself and nothing else */
    }
    log_text(APPLIANCE_LOG_ERROR, &text);
    return code;
}

/* ---- the model ------------------------------------------------------------------------------- */

static const char *model_name(void) {
    const char *name = getenv("MODEL");
    return name != NULL && *name != '\0' ? name : DEFAULT_MODEL;
}

/* Give back whatever is loaded. Errnos are ignored: a handle that is gone already is gone. */
static void close_model(void) {
    if (model.has_context) {
        (void)wasi_nn_finalize_execution_context(model.context);
    }
    if (model.has_graph) {
        (void)wasi_nn_unload(model.graph);
    }
    model.has_context = false;
    model.has_graph = false;
}

static int32_t load_graph(const char *name) {
    if (model.has_graph) {
        return WASI_NN_ERRNO_SUCCESS;
    }
    const int32_t code = wasi_nn_load_by_name(name, (uint32_t)strlen(name), &model.graph);
    model.has_graph = code == WASI_NN_ERRNO_SUCCESS;
    return check(code, "load_by_name", name);
}

static int32_t make_context(const char *name) {
    if (model.has_context) {
        return WASI_NN_ERRNO_SUCCESS;
    }
    const int32_t code = wasi_nn_init_execution_context(model.graph, &model.context);
    model.has_context = code == WASI_NN_ERRNO_SUCCESS;
    return check(code, "init_execution_context", name);
}

/* Each step is skipped if it is done: a box too busy for the second leaves the first standing. */
static int32_t open_model(void) {
    const char *name = model_name();
    const int32_t code = load_graph(name);
    return code == WASI_NN_ERRNO_SUCCESS ? make_context(name) : code;
}

static int32_t grow_output(uint32_t size) {
    if (size <= model.output_size) {
        return WASI_NN_ERRNO_SUCCESS;
    }
    float *bigger = realloc(model.output, size);
    if (bigger == NULL) {
        return fail(WASI_NN_ERRNO_TOO_LARGE, "output 0",
                    "it does not fit this app's memory limit");
    }
    model.output = bigger;
    model.output_size = size;
    return WASI_NN_ERRNO_SUCCESS;
}

/* Run the model on a frame. On success model.output holds *count scores, which *info describes. */
static int32_t run_model(uint32_t frame, struct appliance_output_info *info, uint32_t *count) {
    int32_t code = check(appliance_frame_set_input(frame, model.context, 0), "frame_set_input", "");
    if (code == WASI_NN_ERRNO_SUCCESS) {
        code = check(wasi_nn_compute(model.context), "compute", "");
    }
    if (code == WASI_NN_ERRNO_SUCCESS) { /* after compute: only then is a dynamic size known */
        code = check(appliance_output_info(model.context, 0, info), "output_info", "");
    }
    if (code == WASI_NN_ERRNO_SUCCESS && info->type != WASI_NN_TYPE_F32) {
        code = fail(WASI_NN_ERRNO_UNSUPPORTED_OPERATION, "output 0",
                    "not f32; this app needs a model whose scores are f32");
    }
    if (code == WASI_NN_ERRNO_SUCCESS) {
        code = grow_output(info->size_bytes);
    }
    uint32_t written = 0;
    if (code == WASI_NN_ERRNO_SUCCESS) {
        code = wasi_nn_get_output(model.context, 0, model.output, model.output_size, &written);
        code = check(code, "get_output", "");
    }
    *count = written / sizeof(float);
    return code;
}

/* ---- scores ---------------------------------------------------------------------------------- */

/* Turn logits into probabilities, in place. The maximum is taken off first, so that no exp can
 * overflow. A NaN or +inf among the logits turns every score into NaN. */
static void softmax(float *scores, uint32_t count) {
    float top = -INFINITY;
    for (uint32_t i = 0; i < count; i++) {
        top = fmaxf(top, scores[i]);
    }
    float sum = 0;
    for (uint32_t i = 0; i < count; i++) {
        scores[i] = expf(scores[i] - top);
        sum += scores[i];
    }
    for (uint32_t i = 0; i < count; i++) {
        scores[i] /= sum;
    }
}

/* False if there is no score, or one that is no number: JSON has no word for it, and it means that
 * the model or the device is broken. */
static bool is_sound(const float *scores, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        if (!isfinite(scores[i])) {
            return false;
        }
    }
    return count > 0;
}

/* The best classes, best first; of equal scores the lower index first. Returns how many. */
static uint32_t find_top(const float *scores, uint32_t count, struct entry top[TOP]) {
    uint32_t found = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t at = found;
        while (at > 0 && scores[i] > top[at - 1].score) {
            at--;
        }
        if (at == TOP) {
            continue;
        }
        found += found < TOP;
        for (uint32_t k = found - 1; k > at; k--) {
            top[k].index = top[k - 1].index;
            top[k].score = top[k - 1].score;
        }
        top[at].index = i;
        top[at].score = scores[i];
    }
    return found;
}

/* ---- labels and JSON ------------------------------------------------------------------------- */

/* Fill in an entry's label. Its number stands in where the model has no label for it, or one too
 * long to be a label: a prediction without a nice name is worth more than none. */
static int32_t name_entry(struct entry *entry, uint32_t label_count) {
    if (entry->index < label_count) {
        const int32_t code = appliance_label(model.context, 0, entry->index, entry->label,
                                             sizeof entry->label, &entry->label_len);
        if (code != WASI_NN_ERRNO_TOO_LARGE) {
            return check(code, "label", "");
        }
    }
    struct text text = {.buf = entry->label, .size = sizeof entry->label};
    put_uint(&text, entry->index);
    entry->label_len = text.len;
    return WASI_NN_ERRNO_SUCCESS;
}

/* "label":...,"score":...,"index":... without braces: the best entry stands in the outer object. */
static void put_entry(struct text *text, const struct entry *entry) {
    put(text, "\"label\":");
    put_json_string(text, entry->label, entry->label_len);
    put(text, ",\"score\":");
    put_float(text, (double)entry->score);
    put(text, ",\"index\":");
    put_uint(text, entry->index);
}

static int32_t emit(const struct entry *top, uint32_t found) {
    static char json[JSON_SIZE]; /* 9 KB: too much of a 128 KB stack for comfort */
    struct text text = {.buf = json, .size = sizeof json};
    put(&text, "{");
    put_entry(&text, &top[0]);
    put(&text, ",\"top\":[");
    for (uint32_t i = 0; i < found; i++) {
        put(&text, i == 0 ? "{" : ",{");
        put_entry(&text, &top[i]);
        put(&text, "}");
    }
    put(&text, "]}");
    if (text.is_cut) { /* JSON_SIZE is the worst case, so this is a bug in it; never emit half */
        return fail(WASI_NN_ERRNO_TOO_LARGE, "emit", "the prediction does not fit its buffer");
    }
    return check(appliance_emit(text.buf, text.len), "emit", "");
}

/* ---- the frame ------------------------------------------------------------------------------- */

static int32_t classify(uint32_t frame) {
    static struct entry top[TOP];
    struct appliance_output_info info;
    uint32_t count = 0;
    int32_t code = open_model();
    if (code == WASI_NN_ERRNO_SUCCESS) {
        code = run_model(frame, &info, &count);
    }
    if (code != WASI_NN_ERRNO_SUCCESS) {
        return code;
    }
    if (info.kind == APPLIANCE_OUTPUT_LOGITS) {
        softmax(model.output, count);
    }
    if (!is_sound(model.output, count)) {
        return fail(WASI_NN_ERRNO_RUNTIME_ERROR, "output 0", "empty, or a score is not a number");
    }
    const uint32_t found = find_top(model.output, count, top);
    for (uint32_t i = 0; i < found && code == WASI_NN_ERRNO_SUCCESS; i++) {
        code = name_entry(&top[i], info.label_count);
    }
    return code == WASI_NN_ERRNO_SUCCESS ? emit(top, found) : code;
}

APPLIANCE_ON_FRAME int32_t appliance_on_frame(uint32_t frame) {
    const int32_t code = classify(frame);
    if (code != WASI_NN_ERRNO_SUCCESS && code != WASI_NN_ERRNO_BUSY) {
        close_model(); /* busy says that the box is, not that the model is bad: keep it */
    }
    return code;
}
