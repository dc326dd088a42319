/* classify: a plain WASI command that classifies one image with WASI-NN.
 *
 * It knows nothing of any particular runtime: it calls only the functions that every host of
 * `wasi_ephemeral_nn` has. It reads the image from stdin, as raw RGB pixels of the right size or
 * as a ready f32 tensor, and prints the five best classes. See USAGE below.
 *
 * It does not decode or resize pictures: that is up to whoever feeds it; see ../README.md.
 *
 * Exit codes: 0 fine; 1 it did not work, and stderr says what; 2 wrong usage.
 */
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "wasi_nn.h"

enum {
    TOP = 5,
    CHANNELS = 3,
    DEFAULT_SIZE = 224,
    MAX_SIZE = 4096,                 /* pixels a side; a tensor of that is 192 MiB */
    FIRST_OUTPUT_SIZE = 16 << 10,    /* bytes: 4096 classes; grows if the runtime says too_large */
    LARGEST_OUTPUT_SIZE = 256 << 20, /* bytes: where growing without an answer must end */
    PIECE_SIZE = 1 << 20,            /* bytes read at once; chosen, not measured */
    EXIT_USAGE = 2
};

/* What EfficientNet-Lite and its kin were trained with: (x - MEAN) / SPREAD. */
static const float MEAN = 127.0f;
static const float SPREAD = 128.0f;

enum layout { LAYOUT_NCHW, LAYOUT_NHWC, LAYOUT_UNSAID };

static const char USAGE[] =
    "usage: classify [options] MODEL [FILE] < image\n"
    "\n"
    "  MODEL            the name of a model the runtime has preloaded, or a file:\n"
    "                   .onnx, .tflite, or .xml with FILE naming its .bin\n"
    "  --layout L       nchw or nhwc: the order of the model's input\n"
    "                   (default: nhwc for a .tflite, else nchw)\n"
    "  --size N         the model takes N x N pixels (default: 224)\n"
    "  --labels FILE    one label a line, the first is class 0\n"
    "  --target T       cpu, gpu or tpu (default: cpu); a preloaded model keeps its own\n"
    "  --probabilities  the model's output needs no softmax\n"
    "  --json           print one line of JSON\n"
    "  --help           print this\n"
    "\n"
    "stdin: N*N*3 bytes of RGB pixels, row by row, which become (x - 127) / 128;\n"
    "       or four times as many bytes: the f32 tensor, in the layout, used as it is.\n";

struct options {
    const char *model;
    const char *file;   /* the .bin of an .xml, or NULL */
    const char *labels; /* or NULL */
    enum layout layout;
    uint32_t size;
    uint32_t target;
    uint32_t encoding; /* of a model in files */
    bool is_preloaded;
    bool is_probabilities;
    bool is_json;
};

struct bytes {
    uint8_t *at;
    size_t len;
};

struct scores {
    float *at;
    uint32_t count;
};

/* One class of the output. */
struct entry {
    uint32_t index;
    float score;
    struct bytes label; /* points into the labels file, or at `number` */
    char number[11];
};

/* ---- ends ------------------------------------------------------------------------------------ */

/* End with a message on stderr. */
__attribute__((noreturn, format(printf, 2, 3)))
static void die(int exit_code, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fputs("classify: ", stderr);
    vfprintf(stderr, format, arguments);
    fputs("\n", stderr);
    va_end(arguments);
    if (exit_code == EXIT_USAGE) {
        fputs("classify: --help explains the usage\n", stderr);
    }
    exit(exit_code);
}

/* End with a message unless a WASI-NN call on the model went well. */
static void check(int32_t code, const char *call, const char *model) {
    if (code != WASI_NN_ERRNO_SUCCESS) {
        die(EXIT_FAILURE, "%s: %s failed: errno %d (%s)", model, call, (int)code,
            wasi_nn_errno_name(code));
    }
}

static void *allocate(size_t size) {
    void *memory = malloc(size > 0 ? size : 1);
    if (memory == NULL) {
        die(EXIT_FAILURE, "out of memory: wanted %zu bytes more", size);
    }
    return memory;
}

/* ---- command line ---------------------------------------------------------------------------- */

static bool is_word(const char *word, const char *other) {
    return strcmp(word, other) == 0;
}

static bool ends_with(const char *string, const char *end) {
    const size_t string_len = strlen(string);
    const size_t end_len = strlen(end);
    return string_len >= end_len && is_word(string + string_len - end_len, end);
}

static enum layout parse_layout(const char *word) {
    if (is_word(word, "nchw")) {
        return LAYOUT_NCHW;
    }
    if (is_word(word, "nhwc")) {
        return LAYOUT_NHWC;
    }
    die(EXIT_USAGE, "--layout: got %s, wanted nchw or nhwc", word);
}

static uint32_t parse_target(const char *word) {
    if (is_word(word, "cpu")) {
        return WASI_NN_TARGET_CPU;
    }
    if (is_word(word, "gpu")) {
        return WASI_NN_TARGET_GPU;
    }
    if (is_word(word, "tpu")) {
        return WASI_NN_TARGET_TPU;
    }
    die(EXIT_USAGE, "--target: got %s, wanted cpu, gpu or tpu", word);
}

static uint32_t parse_size(const char *word) {
    char *end = NULL;
    const unsigned long size = strtoul(word, &end, 10);
    /* strtoul would take a sign or a space; a size begins with a digit. */
    if (word[0] < '0' || word[0] > '9' || *end != '\0' || size < 1 || size > MAX_SIZE) {
        die(EXIT_USAGE, "--size: got %s, wanted a number from 1 to %d", word, MAX_SIZE);
    }
    return (uint32_t)size;
}

/* Take an option that stands alone. Returns false if the word is none. */
static bool take_flag(struct options *options, const char *word) {
    if (is_word(word, "--help")) {
        fputs(USAGE, stdout);
        exit(EXIT_SUCCESS);
    }
    if (is_word(word, "--json")) {
        options->is_json = true;
    } else if (is_word(word, "--probabilities")) {
        options->is_probabilities = true;
    } else {
        return false;
    }
    return true;
}

/* Take an option with its value, NULL if there was none. */
static void take_value(struct options *options, const char *word, const char *value) {
    const bool is_layout = is_word(word, "--layout");
    const bool is_size = is_word(word, "--size");
    const bool is_target = is_word(word, "--target");
    if (!is_layout && !is_size && !is_target && !is_word(word, "--labels")) {
        die(EXIT_USAGE, "%s: no such option", word);
    }
    if (value == NULL) {
        die(EXIT_USAGE, "%s: its value is missing", word);
    }
    if (is_layout) {
        options->layout = parse_layout(value);
    } else if (is_size) {
        options->size = parse_size(value);
    } else if (is_target) {
        options->target = parse_target(value);
    } else {
        options->labels = value;
    }
}

static void take_argument(struct options *options, const char *word) {
    if (options->model == NULL) {
        options->model = word;
    } else if (options->file == NULL) {
        options->file = word;
    } else {
        die(EXIT_USAGE, "%s: one argument too many", word);
    }
}

/* Fill in what the model's name says: where it comes from, its encoding and its layout. */
static void look_at_model(struct options *options) {
    const bool is_openvino = ends_with(options->model, ".xml");
    const bool is_onnx = ends_with(options->model, ".onnx");
    const bool is_tflite = ends_with(options->model, ".tflite");
    options->is_preloaded = !is_openvino && !is_onnx && !is_tflite;
    options->encoding = is_onnx     ? WASI_NN_ENCODING_ONNX
                        : is_tflite ? WASI_NN_ENCODING_TENSORFLOWLITE
                                    : WASI_NN_ENCODING_OPENVINO;
    if (options->layout == LAYOUT_UNSAID) {
        options->layout = is_tflite ? LAYOUT_NHWC : LAYOUT_NCHW;
    }
    if (is_openvino && options->file == NULL) {
        die(EXIT_USAGE, "%s: an .xml needs its .bin as FILE", options->model);
    }
    if (!is_openvino && options->file != NULL) {
        die(EXIT_USAGE, "%s: got FILE %s, which only an .xml has", options->model, options->file);
    }
}

static struct options parse(int argc, char **argv) {
    struct options options = {.layout = LAYOUT_UNSAID, .size = DEFAULT_SIZE};
    for (int i = 1; i < argc; i++) {
        if (strncmp(argv[i], "--", 2) != 0) {
            take_argument(&options, argv[i]);
        } else if (!take_flag(&options, argv[i])) {
            take_value(&options, argv[i], argv[i + 1]); /* argv ends with a NULL */
            i++;
        }
    }
    if (options.model == NULL) {
        die(EXIT_USAGE, "MODEL is missing");
    }
    look_at_model(&options);
    return options;
}

/* ---- input ----------------------------------------------------------------------------------- */

/* Fill a buffer from a file; returns fewer bytes than `size` only at its end or on an error. By the
 * piece, because fread hands a large read to the runtime whole, and wasmtime 50 refuses one of
 * 128 MiB as "out of memory". */
static size_t read_pieces(uint8_t *buf, size_t size, FILE *file) {
    size_t got = 0;
    size_t piece = 0;
    do {
        const size_t wanted = size - got < PIECE_SIZE ? size - got : PIECE_SIZE;
        piece = fread(buf + got, 1, wanted, file);
        got += piece;
    } while (piece > 0);
    return got;
}

static struct bytes read_file(const char *path) {
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        die(EXIT_FAILURE, "%s: cannot open: %s; is its folder preopened?", path, strerror(errno));
    }
    const long len = fseek(file, 0, SEEK_END) == 0 ? ftell(file) : -1;
    if (len < 0 || fseek(file, 0, SEEK_SET) != 0) {
        die(EXIT_FAILURE, "%s: cannot seek: %s", path, strerror(errno));
    }
    struct bytes bytes = {.at = allocate((size_t)len), .len = (size_t)len};
    if (read_pieces(bytes.at, bytes.len, file) != bytes.len) {
        die(EXIT_FAILURE, "%s: cannot read: %s", path, strerror(errno));
    }
    fclose(file);
    return bytes;
}

/* Read stdin to its end, keeping the first `size` bytes. Returns how many bytes there were: all of
 * them are counted, because that number is what tells the user which picture it was. */
static size_t read_stdin(uint8_t *buf, size_t size) {
    uint8_t rest[4096];
    size_t got = read_pieces(buf, size, stdin);
    size_t more = got == size ? fread(rest, 1, sizeof rest, stdin) : 0;
    while (more > 0) {
        got += more;
        more = fread(rest, 1, sizeof rest, stdin);
    }
    if (ferror(stdin)) {
        die(EXIT_FAILURE, "stdin: cannot read: %s", strerror(errno));
    }
    return got;
}

static bool looks_encoded(const uint8_t *bytes, size_t len) {
    return len > 4 && (memcmp(bytes, "\xff\xd8\xff", 3) == 0 || memcmp(bytes, "\x89PNG", 4) == 0);
}

static float *normalise(const uint8_t *rgb, size_t pixels, enum layout layout) {
    float *tensor = allocate(pixels * CHANNELS * sizeof(float));
    for (size_t pixel = 0; pixel < pixels; pixel++) {
        for (size_t channel = 0; channel < CHANNELS; channel++) {
            const size_t from = pixel * CHANNELS + channel;
            const size_t to = layout == LAYOUT_NHWC ? from : channel * pixels + pixel;
            tensor[to] = ((float)rgb[from] - MEAN) / SPREAD;
        }
    }
    return tensor;
}

/* The model's input from stdin. Which of the two forms it has, its size says. */
static float *read_tensor(const struct options *options) {
    const size_t pixels = (size_t)options->size * options->size;
    const size_t rgb_size = pixels * CHANNELS;
    const size_t tensor_size = rgb_size * sizeof(float);
    uint8_t *buf = allocate(tensor_size);
    const size_t got = read_stdin(buf, tensor_size);
    if (got == tensor_size) {
        return (float *)(void *)buf; /* malloc's memory is aligned for it */
    }
    if (got != rgb_size) {
        die(EXIT_FAILURE,
            "stdin: got %zu bytes%s, wanted %zu (%ux%u RGB pixels) or %zu (the f32 tensor of that)",
            got, looks_encoded(buf, got) ? " that look like a JPEG or PNG file" : "", rgb_size,
            (unsigned)options->size, (unsigned)options->size, tensor_size);
    }
    float *tensor = normalise(buf, pixels, options->layout);
    free(buf);
    return tensor;
}

/* ---- WASI-NN --------------------------------------------------------------------------------- */

static wasi_nn_graph load(const struct options *options) {
    wasi_nn_graph graph = 0;
    if (options->is_preloaded) {
        const uint32_t name_len = (uint32_t)strlen(options->model);
        const int32_t code = wasi_nn_load_by_name(options->model, name_len, &graph);
        check(code, "load_by_name", options->model);
        return graph;
    }
    const struct bytes model = read_file(options->model);
    const struct bytes weights =
        options->file != NULL ? read_file(options->file) : (struct bytes){NULL, 0};
    const wasi_nn_graph_builder builders[] = {
        {.buf = model.at, .len = (uint32_t)model.len},
        {.buf = weights.at, .len = (uint32_t)weights.len},
    };
    const uint32_t builders_len = options->file != NULL ? 2 : 1;
    const int32_t code =
        wasi_nn_load(builders, builders_len, options->encoding, options->target, &graph);
    check(code, "load", options->model);
    free(model.at);
    free(weights.at);
    return graph;
}

static void set_input(wasi_nn_context context, const struct options *options, const float *input) {
    const uint32_t size = options->size;
    const uint32_t nchw[] = {1, CHANNELS, size, size};
    const uint32_t nhwc[] = {1, size, size, CHANNELS};
    const wasi_nn_tensor tensor = {
        .dims = options->layout == LAYOUT_NHWC ? nhwc : nchw,
        .dims_len = 4,
        .type = WASI_NN_TYPE_F32,
        .data = (const uint8_t *)input,
        .data_len = size * size * CHANNELS * (uint32_t)sizeof(float),
    };
    check(wasi_nn_set_input(context, 0, &tensor), "set_input", options->model);
}

/* Read output 0. No call of core WASI-NN tells its size: try, and grow. WasmEdge and this appliance
 * tell the size with errno too_large; wasmtime does not, hence the doubling. */
static struct scores get_output(wasi_nn_context context, const char *model) {
    uint32_t size = FIRST_OUTPUT_SIZE;
    for (;;) {
        uint32_t written = 0;
        float *scores = allocate(size);
        const int32_t code = wasi_nn_get_output(context, 0, scores, size, &written);
        if (code != WASI_NN_ERRNO_TOO_LARGE || size >= LARGEST_OUTPUT_SIZE) {
            check(code, "get_output", model);
            if (written == 0 || written % sizeof(float) != 0) {
                die(EXIT_FAILURE, "output 0: got %u bytes, wanted f32 scores", (unsigned)written);
            }
            return (struct scores){.at = scores, .count = written / (uint32_t)sizeof(float)};
        }
        free(scores);
        size = written > size ? written : size * 2;
    }
}

static struct scores run(const struct options *options) {
    float *input = read_tensor(options);
    const wasi_nn_graph graph = load(options);
    wasi_nn_context context = 0;
    const int32_t code = wasi_nn_init_execution_context(graph, &context);
    check(code, "init_execution_context", options->model);
    set_input(context, options, input);
    check(wasi_nn_compute(context), "compute", options->model);
    free(input); /* not earlier: some runtimes read it only in compute */
    return get_output(context, options->model);
}

/* ---- scores ---------------------------------------------------------------------------------- */

/* Turn logits into probabilities, in place. The maximum is taken off first, so that no exp can
 * overflow. A NaN or +inf among the logits turns every score into NaN. */
static void softmax(struct scores scores) {
    float top = -INFINITY;
    for (uint32_t i = 0; i < scores.count; i++) {
        top = fmaxf(top, scores.at[i]);
    }
    float sum = 0;
    for (uint32_t i = 0; i < scores.count; i++) {
        scores.at[i] = expf(scores.at[i] - top);
        sum += scores.at[i];
    }
    for (uint32_t i = 0; i < scores.count; i++) {
        scores.at[i] /= sum;
    }
}

/* End if a score is no number: JSON has no word for it, and it means that the model is broken. */
static void check_scores(struct scores scores) {
    for (uint32_t i = 0; i < scores.count; i++) {
        if (!isfinite(scores.at[i])) {
            die(EXIT_FAILURE, "output 0: score %u is not a number", (unsigned)i);
        }
    }
}

/* The best classes, best first; of equal scores the lower index first. Returns how many. */
static uint32_t find_top(struct scores scores, struct entry top[TOP]) {
    uint32_t found = 0;
    for (uint32_t i = 0; i < scores.count; i++) {
        uint32_t at = found;
        while (at > 0 && scores.at[i] > top[at - 1].score) {
            at--;
        }
        if (at == TOP) {
            continue;
        }
        found += found < TOP;
        memmove(&top[at + 1], &top[at], (found - 1 - at) * sizeof top[0]);
        top[at] = (struct entry){.index = i, .score = scores.at[i]};
    }
    return found;
}

/* ---- labels and printing --------------------------------------------------------------------- */

/* Line `index` of a text, without its line end; empty if there is no such line. */
static struct bytes find_line(struct bytes text, uint32_t index) {
    for (uint32_t i = 0; text.len > 0; i++) {
        const uint8_t *newline = memchr(text.at, '\n', text.len);
        const size_t len = newline != NULL ? (size_t)(newline - text.at) : text.len;
        if (i == index) {
            const bool has_return = len > 0 && text.at[len - 1] == '\r';
            return (struct bytes){.at = text.at, .len = has_return ? len - 1 : len};
        }
        const size_t step = newline != NULL ? len + 1 : len;
        text.at += step;
        text.len -= step;
    }
    return text;
}

/* Fill in an entry's label; without one, the class's number stands in. */
static void name_entry(struct entry *entry, struct bytes labels) {
    entry->label = find_line(labels, entry->index);
    if (entry->label.len == 0) {
        snprintf(entry->number, sizeof entry->number, "%u", (unsigned)entry->index);
        entry->label.at = (uint8_t *)entry->number;
        entry->label.len = strlen(entry->number);
    }
}

/* The length of the UTF-8 character that begins here, or 0 if none does (RFC 3629, section 4). */
static size_t utf8_len(struct bytes text) {
    const uint8_t *at = text.at;
    const size_t len = at[0] < 0x80 ? 1 : at[0] < 0xe0 ? 2 : at[0] < 0xf0 ? 3 : 4;
    const bool is_lead = at[0] < 0x80 || (at[0] >= 0xc2 && at[0] <= 0xf4);
    if (!is_lead || len > text.len) {
        return 0;
    }
    for (size_t i = 1; i < len; i++) {
        if ((at[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    const bool is_overlong = (at[0] == 0xe0 && at[1] < 0xa0) || (at[0] == 0xf0 && at[1] < 0x90);
    const bool is_surrogate = at[0] == 0xed && at[1] >= 0xa0;
    const bool is_beyond = at[0] == 0xf4 && at[1] >= 0x90;
    return is_overlong || is_surrogate || is_beyond ? 0 : len;
}

/* Print a JSON string. A labels file may be in any encoding; what is not UTF-8 becomes U+FFFD, so
 * that the line is JSON whatever the file was. */
static void print_json_string(struct bytes text) {
    putchar('"');
    while (text.len > 0) {
        const size_t len = utf8_len(text);
        if (len == 0) {
            fputs("\\ufffd", stdout);
        } else if (text.at[0] < 0x20) {
            printf("\\u%04x", text.at[0]);
        } else {
            if (text.at[0] == '"' || text.at[0] == '\\') {
                putchar('\\');
            }
            fwrite(text.at, 1, len, stdout);
        }
        const size_t step = len > 0 ? len : 1;
        text.at += step;
        text.len -= step;
    }
    putchar('"');
}

/* "label":...,"score":...,"index":... without braces: the best entry stands in the outer object. */
static void print_json_entry(const struct entry *entry) {
    fputs("\"label\":", stdout);
    print_json_string(entry->label);
    printf(",\"score\":%.6f,\"index\":%u", (double)entry->score, (unsigned)entry->index);
}

static void print_json(const struct entry *top, uint32_t found) {
    putchar('{');
    print_json_entry(&top[0]);
    fputs(",\"top\":[", stdout);
    for (uint32_t i = 0; i < found; i++) {
        fputs(i == 0 ? "{" : ",{", stdout);
        print_json_entry(&top[i]);
        putchar('}');
    }
    fputs("]}\n", stdout);
}

static void print_lines(const struct entry *top, uint32_t found) {
    for (uint32_t i = 0; i < found; i++) {
        printf("%u. [%u] (%.4f) ", (unsigned)i + 1, (unsigned)top[i].index, (double)top[i].score);
        fwrite(top[i].label.at, 1, top[i].label.len, stdout);
        putchar('\n');
    }
}

int main(int argc, char **argv) {
    struct entry top[TOP];
    const struct options options = parse(argc, argv);
    const struct bytes labels =
        options.labels != NULL ? read_file(options.labels) : (struct bytes){NULL, 0};
    const struct scores scores = run(&options);
    if (!options.is_probabilities) {
        softmax(scores);
    }
    check_scores(scores);
    const uint32_t found = find_top(scores, top);
    for (uint32_t i = 0; i < found; i++) {
        name_entry(&top[i], labels);
    }
    (options.is_json ? print_json : print_lines)(top, found);
    if (fflush(stdout) != 0 || ferror(stdout)) {
        die(EXIT_FAILURE, "stdout: cannot write: %s", strerror(errno));
    }
    return EXIT_SUCCESS;
}
