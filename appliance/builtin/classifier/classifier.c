/* The built-in classifier: a reactor guest that says what each frame shows.
 *
 * For every frame it emits the best class and the five best, as JSON; see top_put_json in top.h.
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
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "appliance.h"
#include "text.h"
#include "top.h"
#include "wasi_nn.h"

enum {
    TOP = 5,
    LABEL_SIZE = 256, /* chosen, not measured: a label is a few words */
    MESSAGE_SIZE = 256
};

static const char DEFAULT_MODEL[] = "efficientnet-lite0";

/* What stays between frames. 0 is a good handle, hence the two flags. */
static struct {
    bool has_graph;
    bool has_context;
    wasi_nn_graph graph;
    wasi_nn_context context;
    float *output;
    uint32_t output_size; /* bytes */
} model;

/* ---- errors ---------------------------------------------------------------------------------- */

static void log_error(const struct text *text) {
    /* The errno is ignored: there is nowhere left to complain to. */
    (void)appliance_log(APPLIANCE_LOG_ERROR, text->buf, text->len);
}

/* Log `what: why` as an error and return the errno that says the same. */
static int32_t fail(int32_t code, const char *what, const char *why) {
    char buf[MESSAGE_SIZE];
    struct text text = {.buf = buf, .size = sizeof buf};
    text_put(&text, what);
    text_put(&text, ": ");
    text_put(&text, why);
    log_error(&text);
    return code;
}

/* Pass an errno through, logging it if it is one. `about` may be empty. */
static int32_t check(int32_t code, const char *call, const char *about) {
    if (code == WASI_NN_ERRNO_SUCCESS) {
        return code;
    }
    char buf[MESSAGE_SIZE];
    struct text text = {.buf = buf, .size = sizeof buf};
    text_put(&text, call);
    text_put(&text, " failed: errno ");
    text_put_uint(&text, (uint32_t)code);
    text_put(&text, " (");
    text_put(&text, wasi_nn_errno_name(code));
    text_put(&text, ")");
    if (*about != '\0') { /* last, so that an absurdly long name drops itself and nothing else */
        text_put(&text, ", model ");
        text_put(&text, about);
    }
    log_error(&text);
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

/* Load the model and make its context. Each step is skipped if it is done: a box too busy for the
 * second leaves the first standing. */
static int32_t open_model(void) {
    const char *name = model_name();
    int32_t code = WASI_NN_ERRNO_SUCCESS;
    if (!model.has_graph) {
        code = wasi_nn_load_by_name(name, (uint32_t)strlen(name), &model.graph);
        code = check(code, "load_by_name", name);
        model.has_graph = code == WASI_NN_ERRNO_SUCCESS;
    }
    if (model.has_graph && !model.has_context) {
        code = wasi_nn_init_execution_context(model.graph, &model.context);
        code = check(code, "init_execution_context", name);
        model.has_context = code == WASI_NN_ERRNO_SUCCESS;
    }
    return code;
}

static int32_t grow_output(uint32_t size) {
    if (size <= model.output_size) {
        return WASI_NN_ERRNO_SUCCESS;
    }
    float *bigger = realloc(model.output, size);
    if (bigger == NULL) {
        return fail(WASI_NN_ERRNO_TOO_LARGE, "output 0", "it does not fit this app's memory");
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

/* ---- the prediction -------------------------------------------------------------------------- */

/* Ask the host for the label of a class. One without a label, or with one too long to be a label,
 * goes by its index. */
static int32_t find_label(struct top_class *class, char label[LABEL_SIZE], uint32_t label_count) {
    if (class->index >= label_count) {
        return WASI_NN_ERRNO_SUCCESS;
    }
    uint32_t len = 0;
    const int32_t code = appliance_label(model.context, 0, class->index, label, LABEL_SIZE, &len);
    if (code == WASI_NN_ERRNO_TOO_LARGE) {
        return WASI_NN_ERRNO_SUCCESS;
    }
    class->label = label;
    class->label_len = len;
    return check(code, "label", "");
}

static int32_t emit(const struct top_class *best, uint32_t found) {
    static char json[TOP_JSON_SIZE(TOP, LABEL_SIZE)]; /* 10 KB: a lot for a stack of 128 KB */
    struct text text = {.buf = json, .size = sizeof json};
    top_put_json(&text, best, found);
    if (text.is_cut) { /* the size is of the worst case, so this is a bug in it; never emit half */
        return fail(WASI_NN_ERRNO_TOO_LARGE, "emit", "the prediction does not fit its buffer");
    }
    return check(appliance_emit(text.buf, text.len), "emit", "");
}

/* ---- the frame ------------------------------------------------------------------------------- */

static int32_t classify(uint32_t frame) {
    static char labels[TOP][LABEL_SIZE];
    struct top_class best[TOP];
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
        top_softmax(model.output, count);
    }
    if (!top_is_sound(model.output, count)) {
        return fail(WASI_NN_ERRNO_RUNTIME_ERROR, "output 0", "empty, or a score is not a number");
    }
    const uint32_t found = top_find(model.output, count, best, TOP);
    for (uint32_t i = 0; i < found && code == WASI_NN_ERRNO_SUCCESS; i++) {
        code = find_label(&best[i], labels[i], info.label_count);
    }
    return code == WASI_NN_ERRNO_SUCCESS ? emit(best, found) : code;
}

APPLIANCE_ON_FRAME int32_t appliance_on_frame(uint32_t frame) {
    const int32_t code = classify(frame);
    if (code != WASI_NN_ERRNO_SUCCESS && code != WASI_NN_ERRNO_BUSY) {
        close_model(); /* busy says that the box is, not that the model is bad: keep it */
    }
    return code;
}
