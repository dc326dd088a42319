/* classify: a plain WASI command that classifies one image with WASI-NN.
 *
 * It calls only functions that every host of `wasi_ephemeral_nn` has, so it runs in any of them. It
 * reads the image from stdin, as raw RGB pixels of the right size or as a ready f32 tensor, and
 * prints the five best classes; see USAGE. To decode and resize a picture is the caller's part.
 * Nothing is freed, because a command's memory ends with it.
 *
 * Exit codes: 0 fine; 1 it did not work, and stderr says what; 2 wrong usage.
 */
#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "text.h"
#include "top.h"
#include "wasi_nn.h"

enum {
    TOP = 5,
    CHANNELS = 3,
    DEFAULT_SIZE = 224,
    MAX_SIZE = 4096,       /* pixels a side; a tensor of that is 192 MiB */
    MAX_CLASSES = 1 << 16, /* chosen: three times what the largest ImageNet has */
    LABEL_SIZE = 1 << 10,  /* bytes, for --json; chosen, not measured */
    PIECE_SIZE = 1 << 20,  /* bytes read at once; chosen, not measured */
    EXIT_USAGE = 2
};

/* What EfficientNet-Lite and its kin were trained with: (x - MEAN) / SPREAD. */
static const float MEAN = 127.0f;
static const float SPREAD = 128.0f;

static const char USAGE[] =
    "usage: classify [options] MODEL [FILE] < image\n\n"
    "  MODEL            the name of a model the runtime has preloaded, or a file:\n"
    "                   .onnx, .tflite, or .xml with FILE naming its .bin\n"
    "  --layout L       nchw or nhwc: the order of the model's input\n"
    "                   (default: nhwc for a .tflite, else nchw)\n"
    "  --size N         the model takes N x N pixels (default: 224)\n"
    "  --labels FILE    one label a line, the first is class 0\n"
    "  --target T       cpu, gpu or tpu (default: cpu); a preloaded model keeps its own\n"
    "  --probabilities  the model's output needs no softmax\n"
    "  --json           print one line of JSON\n"
    "  --help           print this\n\n"
    "stdin: N*N*3 bytes of RGB pixels, row by row, which become (x - 127) / 128;\n"
    "       or four times as many bytes: the f32 tensor, in the layout, used as it is.\n";

/* What the end of MODEL says about it. */
static const struct form {
    const char *ending;
    uint32_t encoding;
    uint32_t files; /* 0: the runtime has them */
    const char *layout;
} FORMS[] = {
    {".onnx", WASI_NN_ENCODING_ONNX, 1, "nchw"},
    {".tflite", WASI_NN_ENCODING_TENSORFLOWLITE, 1, "nhwc"},
    {".xml", WASI_NN_ENCODING_OPENVINO, 2, "nchw"},
    {NULL, 0, 0, "nchw"}, /* any other: a name */
};

struct options {
    const char *model;
    const char *weights; /* FILE, or NULL */
    const struct form *form;
    const char *labels; /* or NULL */
    const char *layout; /* or NULL */
    uint32_t size;
    uint32_t target;
    bool is_nhwc;
    bool is_probabilities;
    bool is_json;
};

/* ---- ends ------------------------------------------------------------------------------------ */

/* End with a message on stderr. */
__attribute__((noreturn, format(printf, 2, 3)))
static void die(int exit_code, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fputs("classify: ", stderr);
    vfprintf(stderr, format, arguments);
    fputs(exit_code == EXIT_USAGE ? "; --help explains the usage\n" : "\n", stderr);
    va_end(arguments);
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
    void *memory = malloc(size);
    if (memory == NULL) {
        die(EXIT_FAILURE, "out of memory: wanted %zu bytes more", size);
    }
    return memory;
}

/* ---- command line ---------------------------------------------------------------------------- */

static uint32_t parse_size(const char *word) {
    char *end = NULL;
    const long size = strtol(word, &end, 10);
    if (*end != '\0' || size < 1 || size > MAX_SIZE) {
        die(EXIT_USAGE, "--size: got %s, wanted a number from 1 to %d", word, MAX_SIZE);
    }
    return (uint32_t)size;
}

static uint32_t parse_target(const char *word) {
    static const char *const TARGETS[] = {"cpu", "gpu", "tpu"}; /* as enum wasi_nn_target */
    for (uint32_t i = 0; i < sizeof TARGETS / sizeof TARGETS[0]; i++) {
        if (strcmp(word, TARGETS[i]) == 0) {
            return i;
        }
    }
    die(EXIT_USAGE, "--target: got %s, wanted cpu, gpu or tpu", word);
}

/* Fill in what the model's name says. */
static void look_at_model(struct options *options) {
    const struct form *form = FORMS;
    const char *ending = strrchr(options->model, '.');
    while (form->ending != NULL && (ending == NULL || strcmp(ending, form->ending) != 0)) {
        form++;
    }
    if ((options->weights != NULL) != (form->files == 2)) {
        die(EXIT_USAGE, "%s: got %s FILE; an .xml needs its .bin there, others have none",
            options->model, options->weights != NULL ? options->weights : "no");
    }
    const char *layout = options->layout != NULL ? options->layout : form->layout;
    options->form = form;
    options->is_nhwc = strcmp(layout, "nhwc") == 0;
    if (!options->is_nhwc && strcmp(layout, "nchw") != 0) {
        die(EXIT_USAGE, "--layout: got %s, wanted nchw or nhwc", layout);
    }
}

static struct options parse(int argc, char **argv) {
    static const struct option KNOWN[] = { /* the letters are for the switch, not for typing */
        {"layout", required_argument, NULL, 'y'},  {"size", required_argument, NULL, 's'},
        {"labels", required_argument, NULL, 'l'},  {"target", required_argument, NULL, 't'},
        {"probabilities", no_argument, NULL, 'p'}, {"json", no_argument, NULL, 'j'},
        {"help", no_argument, NULL, 'h'},          {NULL, 0, NULL, 0},
    };
    struct options options = {.size = DEFAULT_SIZE};
    for (int option; (option = getopt_long(argc, argv, "", KNOWN, NULL)) != -1;) {
        switch (option) {
        case 'y': options.layout = optarg; break;
        case 's': options.size = parse_size(optarg); break;
        case 'l': options.labels = optarg; break;
        case 't': options.target = parse_target(optarg); break;
        case 'p': options.is_probabilities = true; break;
        case 'j': options.is_json = true; break;
        case 'h': fputs(USAGE, stdout); exit(EXIT_SUCCESS);
        default: die(EXIT_USAGE, "wrong option"); /* getopt_long has told which */
        }
    }
    if (argc - optind < 1 || argc - optind > 2) {
        die(EXIT_USAGE, "got %d arguments, wanted MODEL or MODEL FILE", argc - optind);
    }
    options.model = argv[optind];
    options.weights = argv[optind + 1]; /* argv ends with a NULL */
    look_at_model(&options);
    return options;
}

/* ---- input ----------------------------------------------------------------------------------- */

/* Fill a buffer from a file; returns fewer bytes than `size` only at its end or on an error. By the
 * piece, because fread hands a large read to the runtime whole, and wasmtime 50 refuses one of
 * 128 MiB as "out of memory". */
static size_t read_pieces(uint8_t *buf, size_t size, FILE *file) {
    size_t got = 0;
    for (size_t piece = 1; piece > 0; got += piece) {
        piece = fread(buf + got, 1, size - got < PIECE_SIZE ? size - got : PIECE_SIZE, file);
    }
    return got;
}

/* Read a whole file, and put a NUL behind it. */
static wasi_nn_graph_builder read_file(const char *path) {
    FILE *file = fopen(path, "rb");
    const long len = file != NULL && fseek(file, 0, SEEK_END) == 0 ? ftell(file) : -1;
    if (len < 0) {
        die(EXIT_FAILURE, "%s: cannot open: %s; is its folder preopened?", path, strerror(errno));
    }
    rewind(file);
    uint8_t *buf = allocate((size_t)len + 1);
    if (read_pieces(buf, (size_t)len, file) != (size_t)len) {
        die(EXIT_FAILURE, "%s: cannot read: %s", path, strerror(errno));
    }
    fclose(file);
    buf[len] = '\0';
    return (wasi_nn_graph_builder){.buf = buf, .len = (uint32_t)len};
}

static float *normalise(const uint8_t *rgb, size_t pixels, bool is_nhwc) {
    float *tensor = allocate(pixels * CHANNELS * sizeof(float));
    for (size_t i = 0; i < pixels * CHANNELS; i++) {
        const size_t to = is_nhwc ? i : i % CHANNELS * pixels + i / CHANNELS;
        tensor[to] = ((float)rgb[i] - MEAN) / SPREAD;
    }
    return tensor;
}

/* Read the model's input from stdin. Which of the two forms it has, its size says. */
static float *read_input(const struct options *options) {
    const size_t pixels = (size_t)options->size * options->size;
    const size_t rgb_size = pixels * CHANNELS;
    const size_t tensor_size = rgb_size * sizeof(float);
    float *tensor = allocate(tensor_size);
    uint8_t *rgb = (uint8_t *)tensor;
    size_t got = read_pieces(rgb, tensor_size, stdin);
    while (got >= tensor_size && getchar() != EOF) {
        got++; /* too much: the true number tells the user which picture it was */
    }
    if (got != rgb_size && got != tensor_size) {
        die(EXIT_FAILURE,
            "stdin: got %zu bytes, wanted %zu (%ux%u RGB pixels, no JPEG) or %zu (f32 tensor)",
            got, rgb_size, (unsigned)options->size, (unsigned)options->size, tensor_size);
    }
    return got == rgb_size ? normalise(rgb, pixels, options->is_nhwc) : tensor;
}

/* ---- WASI-NN --------------------------------------------------------------------------------- */

static wasi_nn_graph load(const struct options *options) {
    const struct form *form = options->form;
    const char *model = options->model;
    wasi_nn_graph graph = 0;
    if (form->files == 0) {
        check(wasi_nn_load_by_name(model, (uint32_t)strlen(model), &graph), "load_by_name", model);
        return graph;
    }
    wasi_nn_graph_builder parts[2] = {read_file(model)};
    if (form->files == 2) {
        parts[1] = read_file(options->weights);
    }
    const int32_t code = wasi_nn_load(parts, form->files, form->encoding, options->target, &graph);
    check(code, "load", model);
    return graph;
}

static void set_input(wasi_nn_context context, const struct options *options, const float *input) {
    const uint32_t size = options->size;
    const uint32_t nchw[] = {1, CHANNELS, size, size};
    const uint32_t nhwc[] = {1, size, size, CHANNELS};
    const wasi_nn_tensor tensor = {
        .dims = options->is_nhwc ? nhwc : nchw,
        .dims_len = 4,
        .type = WASI_NN_TYPE_F32,
        .data = (const uint8_t *)input,
        .data_len = size * size * CHANNELS * (uint32_t)sizeof(float),
    };
    check(wasi_nn_set_input(context, 0, &tensor), "set_input", options->model);
}

/* Run the model on what stdin holds. Returns how many scores output 0 has. */
static uint32_t run(const struct options *options, float scores[MAX_CLASSES]) {
    float *input = read_input(options);
    const wasi_nn_graph graph = load(options);
    wasi_nn_context context = 0;
    uint32_t size = 0; /* bytes */
    int32_t code = wasi_nn_init_execution_context(graph, &context);
    check(code, "init_execution_context", options->model);
    set_input(context, options, input);
    check(wasi_nn_compute(context), "compute", options->model);
    code = wasi_nn_get_output(context, 0, scores, MAX_CLASSES * sizeof *scores, &size);
    check(code, "get_output", options->model);
    return size / (uint32_t)sizeof *scores;
}

/* ---- the prediction -------------------------------------------------------------------------- */

/* Point a class at its line of the labels, a string; at an empty one if they have no such line. */
static void find_label(struct top_class *class, const char *labels) {
    for (uint32_t i = 0; i < class->index && *labels != '\0'; i++) {
        labels += strcspn(labels, "\n");
        labels += *labels == '\n';
    }
    class->label = labels;
    class->label_len = (uint32_t)strcspn(labels, "\r\n");
}

static void print_json(const struct top_class *best, uint32_t found) {
    static char json[TOP_JSON_SIZE(TOP, LABEL_SIZE)];
    struct text text = {.buf = json, .size = sizeof json};
    top_put_json(&text, best, found);
    if (text.is_cut) {
        die(EXIT_FAILURE, "labels: got a line too long for JSON, wanted %d bytes", LABEL_SIZE);
    }
    printf("%.*s\n", (int)text.len, text.buf);
}

static void print_lines(const struct top_class *best, uint32_t found) {
    for (uint32_t i = 0; i < found; i++) {
        const struct top_class *one = &best[i];
        printf("%u. [%u] (%.4f)%s%.*s\n", (unsigned)i + 1, (unsigned)one->index, (double)one->score,
               one->label_len > 0 ? " " : "", (int)one->label_len, one->label);
    }
}

int main(int argc, char **argv) {
    static float scores[MAX_CLASSES]; /* 256 KiB, more than the stack has */
    struct top_class best[TOP];
    const struct options options = parse(argc, argv);
    const char *labels = options.labels != NULL ? (const char *)read_file(options.labels).buf : "";
    const uint32_t count = run(&options, scores);
    if (!options.is_probabilities) {
        top_softmax(scores, count);
    }
    if (!top_is_sound(scores, count)) {
        die(EXIT_FAILURE, "output 0: empty, or a score is not a number");
    }
    const uint32_t found = top_find(scores, count, best, TOP);
    for (uint32_t i = 0; i < found; i++) {
        find_label(&best[i], labels);
    }
    (options.is_json ? print_json : print_lines)(best, found);
    if (fflush(stdout) != 0 || ferror(stdout)) {
        die(EXIT_FAILURE, "stdout: cannot write: %s", strerror(errno));
    }
    return EXIT_SUCCESS;
}
