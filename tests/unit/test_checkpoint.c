/*
 * Proves what a run keeps in files and takes from them:
 *   - checkpoint.c: a state comes back bit for bit, and the run goes on as if
 *     it had not stopped; a state of another run, or a damaged one, is an
 *     error that changes nothing;
 *   - parameters.c: a number that is not finite is found wherever it stands
 *     (under the build's -Ofast); weights files of any wrong length are errors;
 *   - loader.c: batches follow from seed and position alone, however many threads load how
 *     far ahead, and also when their images come from memory;
 *   - evaluate.c: accuracy and loss are those of one image at a time.
 *
 * To add a damaged state: a length in test_damaged_states. To add a wrong
 * weights file: a line in `lengths` of test_weights_files_of_every_length.
 */
#include "nets.h"

#include "data/loader.h"
#include "run/cfg_text.h"
#include "run/checkpoint.h"
#include "run/evaluate.h"

#include <float.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

#define NET "[net]\nbatch=4\nheight=8\nwidth=8\nchannels=3\nmax_batches=50\nlearning_rate=.02\n"
#define LAYERS                                                                                 \
    "[convolutional]\nfilters=4\nsize=3\npad=1\nbatch_normalize=1\nactivation=leaky\n"         \
    "[maxpool]\nsize=2\nstride=2\n"                                                            \
    "[convolutional]\nfilters=3\nsize=3\npad=1\nactivation=leaky\n"                            \
    "[connected]\noutput=7\nbatch_normalize=1\nactivation=leaky\n"                             \
    "[connected]\noutput=5\nactivation=linear\n[softmax]\n"
#define STUDENT NET LAYERS "[teacher]\n[deepkd_loss]\nmethod=dkd\nbeta=1\n"

/* ---- checkpoints ------------------------------------------------------- */

#define CFG_TEXT "[net]\nbatch=4\n"

static const run_state a_state = {.cfg = CFG_TEXT,
                                  .teacher_hash = 22,
                                  .train_hash = 33,
                                  .seed = 44,
                                  .metric = METRIC_LOSS,
                                  .seen = 12,
                                  .evaluated = 2,
                                  .best_batch = 1,
                                  .best = -.625,
                                  .average = 1.5};

/* What a run that is to go on expects; seed 0: any. */
static run_state same_run(uint64_t seed)
{
    return (run_state){.cfg = CFG_TEXT,
                       .teacher_hash = 22,
                       .train_hash = 33,
                       .seed = seed,
                       .metric = METRIC_LOSS};
}

static void train(deepkd *kd, int from, int to)
{
    for (int i = from; i < to; ++i) {
        fill_batch(kd->net, 500 + i);
        train_network_datum(kd->net);
        assert_false(kd->broken);
    }
}

static uint64_t hash_run(deepkd *kd)
{
    kd_arrays buffers = group_arrays(kd);
    uint64_t hash = hash_net(kd->net) ^ (hash_arrays(buffers) << 1);
    kd_free_arrays(buffers);
    return hash;
}

static void test_a_run_goes_on_bit_for_bit(void)
{
    char *file = nets_file("run.state");
    deepkd *first = make_pair(STUDENT, NET LAYERS, 1),
           *second = make_pair(STUDENT, NET LAYERS, 1);
    assert_int_equal(first->groups->n, 3);
    train(first, 0, 3);
    save_checkpoint(file, &a_state, first);
    train(second, 40, 45);
    assert_true(hash_run(first) != hash_run(second));

    run_state found = same_run(44);
    load_checkpoint(file, &found, second);
    assert_memory_equal(&found, &a_state, sizeof(found));
    assert_int_equal(*second->net->seen, 12);
    assert_true(hash_run(first) == hash_run(second));
    train(first, 3, 6);
    train(second, 3, 6);
    assert_true(hash_run(first) == hash_run(second));
    assert_int_not_equal(access(join(file, ".tmp", ""), F_OK), 0);
    free_pair(first), free_pair(second), free(file);
}

/* -resume without -seed takes the state's. */
static void test_no_seed_is_any_seed(void)
{
    char *file = nets_file("seed.state");
    deepkd *kd = make_pair(STUDENT, NET LAYERS, 2);
    save_checkpoint(file, &a_state, kd);
    run_state found = same_run(0);
    load_checkpoint(file, &found, kd);
    assert_int_equal(found.seed, 44);
    free_pair(kd), free(file);
}

typedef struct {
    char *file;
    run_state expected;
    deepkd *kd;
} loading;

static loading *loaded; /* for the child's last look */
static uint64_t hash_before;

static void complain_of_changes(void)
{
    if (hash_run(loaded->kd) != hash_before || *loaded->kd->net->seen)
        fprintf(stderr, "something has changed\n");
}

static void load_in_child(void *argument)
{
    loaded = argument;
    hash_before = hash_run(loaded->kd);
    atexit(complain_of_changes);
    load_checkpoint(loaded->file, &loaded->expected, loaded->kd);
}

static char *read_bytes(const char *file, size_t *n)
{
    struct stat info;
    FILE *fp = fopen(file, "rb");
    assert_non_null(fp);
    assert_int_equal(fstat(fileno(fp), &info), 0);
    *n = info.st_size;
    char *bytes = kd_calloc(*n + 16, 1);
    assert_int_equal(fread(bytes, 1, *n, fp), *n);
    fclose(fp);
    return bytes;
}

static void test_states_of_other_runs(void)
{
    run_state own = same_run(44);
    loading l = {nets_file("other.state"), own, make_pair(STUDENT, NET LAYERS, 3)};
    save_checkpoint(l.file, &a_state, l.kd);
    l.expected.cfg = "[net]\nbatch=8\n";
    ASSERT_FAILS(load_in_child, &l, l.file, "student cfg", "[net] batch=4", "[net] batch=8");
    l.expected = own, l.expected.teacher_cfg_hash = 1;
    ASSERT_FAILS(load_in_child, &l, l.file, "teacher's cfg");
    l.expected = own, l.expected.teacher_hash = 1;
    ASSERT_FAILS(load_in_child, &l, l.file, "teacher's weights");
    l.expected = own, l.expected.train_hash = 1;
    ASSERT_FAILS(load_in_child, &l, l.file, "training images");
    l.expected = own, l.expected.seed = 1;
    ASSERT_FAILS(load_in_child, &l, l.file, "seed");
    l.expected = own, l.expected.metric = METRIC_MAP;
    ASSERT_FAILS(load_in_child, &l, l.file, "without -map");
    free_pair(l.kd);

    l.expected = own; /* as many weights, but fewer groups */
    l.kd = make_pair(join(STUDENT, "trainer=dot\n", ""), NET LAYERS, 3);
    ASSERT_FAILS(load_in_child, &l, l.file, "bytes", "momentum groups");
    free_pair(l.kd), free(l.file);
}

static void test_damaged_states(void)
{
    size_t n;
    run_state own = same_run(44);
    loading l = {nets_file("whole.state"), own, make_pair(STUDENT, NET LAYERS, 4)};
    save_checkpoint(l.file, &a_state, l.kd);
    char *bytes = read_bytes(l.file, &n);
    free(l.file);
    const size_t lengths[] = {n - 1, n - 4, n + 1, n / 2, 8 + sizeof(run_state)};
    for (int i = 0; i < COUNT(lengths); ++i) {
        l.file = write_bytes("damaged.state", bytes, lengths[i]);
        ASSERT_FAILS(load_in_child, &l, l.file, "damaged state");
        free(l.file);
    }
    const size_t heads[] = {0, 5};
    for (int i = 0; i < COUNT(heads); ++i) {
        l.file = write_bytes("damaged.state", bytes, heads[i]);
        ASSERT_FAILS(load_in_child, &l, l.file, "another kind of file");
        free(l.file);
    }
    bytes[7] ^= 1;
    l.file = write_bytes("damaged.state", bytes, n);
    ASSERT_FAILS(load_in_child, &l, l.file, "another version");
    unlink(l.file);
    ASSERT_FAILS(load_in_child, &l, l.file);
    free(l.file), free(bytes), free_pair(l.kd);
}

static void save_in_child(void *argument)
{
    loading *l = argument;
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &(struct rlimit){100, 100});
    save_checkpoint(l->file, &a_state, l->kd);
}

static state_kind kind_of(const char *bytes, size_t n)
{
    run_state state;
    char *file = write_bytes("flipped.state", bytes, n);
    state_kind kind = find_state(file, &state);
    free(file);
    return kind;
}

/* In every byte of the head and of the cfg, and here and there in the numbers and the checksum
 */
static void test_every_flipped_bit_is_found(void)
{
    size_t n;
    char *file = nets_file("flipped.state");
    deepkd *kd = make_pair(STUDENT, NET LAYERS, 4);
    save_checkpoint(file, &a_state, kd);
    char *bytes = read_bytes(file, &n);
    assert_int_equal(kind_of(bytes, n), STATE_WHOLE);
    for (size_t i = 0; i < n; i += i < 8 + sizeof(run_state) + sizeof(CFG_TEXT) ? 1 : 97)
        for (int bit = 0; bit < 8; ++bit) {
            bytes[i] ^= 1 << bit;
            if (kind_of(bytes, n) == STATE_WHOLE) fail_msg("byte %zu, bit %d", i, bit);
            bytes[i] ^= 1 << bit;
        }
    for (size_t i = n - 8; i < n; ++i) {
        bytes[i] ^= 1;
        assert_int_equal(kind_of(bytes, n), STATE_DAMAGED);
        bytes[i] ^= 1;
    }
    free(bytes), free(file), free_pair(kd);
}

/* The last state and the one before it; the first has none. */
static void test_the_state_before(void)
{
    run_state later = a_state, found;
    char *file = nets_file("twice.state"), *previous = nets_file("twice_previous.state");
    deepkd *kd = make_pair(STUDENT, NET LAYERS, 4);
    for (later.seen = 1; later.seen < 4; ++later.seen) {
        keep_checkpoint(file, previous);
        save_checkpoint(file, &later, kd);
        assert_int_equal(find_state(file, &found), STATE_WHOLE);
        assert_int_equal(found.seen, later.seen);
        state_kind before = find_state(previous, &found);
        assert_int_equal(before, later.seen == 1 ? STATE_MISSING : STATE_WHOLE);
        if (before == STATE_WHOLE) assert_int_equal(found.seen, later.seen - 1);
    }
    free(file), free(previous), free_pair(kd);
}

/* A state that can't be written costs none that is there. */
static void test_a_failed_save(void)
{
    size_t n;
    loading l = {nets_file("kept.state"), {0}, make_pair(STUDENT, NET LAYERS, 5)};
    save_checkpoint(l.file, &a_state, l.kd);
    char *before = read_bytes(l.file, &n);
    train(l.kd, 0, 1);
    ASSERT_FAILS(save_in_child, &l, l.file);
    char *bytes = read_bytes(l.file, &n);
    assert_memory_equal(bytes, before, n);
    free(bytes), free(before), free(l.file), free_pair(l.kd);
}

static uint64_t hash_text(const char *text)
{
    char *file = write_text("hash.cfg", text);
    uint64_t hash = hash_cfg(file);
    free(file);
    return hash;
}

/* Where one of them, of a damaged state, ends inside a line */
static void test_where_cfgs_part(void)
{
    static const char *const texts[] = {
        "", "[net]", "[net]\n", "[net]\nbatch=4", "[net]\nbatch=4\n", "\n"};
    for (size_t i = 0; i < COUNT(texts); ++i)
        for (size_t j = 0; j < COUNT(texts); ++j) {
            char *a = kd_copy(texts[i]), *b = kd_copy(texts[j]), one[64], other[64];
            find_difference(a, b, one, other, sizeof(one)); /* reads neither beyond its end */
            assert_true(*one && *other);
            free(a), free(b);
        }
}

static void test_hash_of_a_cfg(void)
{
    uint64_t hash = hash_text("[net]\nbatch=4\n[softmax]\n");
    static const char *const same[] = {
        "[net]\n\n  batch = 4\n\n[softmax]\n", "# a title\n[net]\nbatch=4\n[softmax]\n",
        "[net]\nbatch=4 # a word\n[softmax]", "[net]\r\nbatch=4\r\n[softmax]\r\n",
        "; a\n[net]\n\tbatch=4\n# b\n[softmax]\n"};
    static const char *const others[] = {"[net]\nbatch=8\n[softmax]\n", "[net]\n[softmax]\n",
                                         "[net]\nbatch=4\n[softmax]\ngroups=1\n", "",
                                         "[net]batch=4\n[softmax]\n"};
    for (int i = 0; i < COUNT(same); ++i)
        if (hash_text(same[i]) != hash) fail_msg("another hash: %s", same[i]);
    for (int i = 0; i < COUNT(others); ++i)
        if (hash_text(others[i]) == hash) fail_msg("the same hash: %s", others[i]);
}

/* ---- parameters -------------------------------------------------------- */

static void test_all_finite(void)
{
    const float bad[] = {NAN, -NAN, INFINITY, -INFINITY};
    network *net = make_net(NET LAYERS, 6);
    kd_arrays list = network_arrays(net);
    assert_int_equal(list.n, 2 * 5 + 2 * 2);
    assert_true(all_finite(list));
    for (int i = 0; i < list.n; ++i) {
        for (size_t j = 0; j < list.arrays[i].n; ++j) {
            float *x = list.arrays[i].data + j, before = *x;
            *x = bad[j % COUNT(bad)];
            if (all_finite(list)) fail_msg("array %d: [%zu]=%g is not seen", i, j, *x);
            *x = before;
        }
    }
    for (int i = 0; i < list.n; ++i) list.arrays[i].data[0] = i % 2 ? FLT_MAX : -FLT_MAX;
    list.arrays[1].data[0] = FLT_MIN / 8;
    assert_true(all_finite(list));
    kd_free_arrays(list);
    free_network(net);
}

/* By hand, from the cfg. */
static void test_counts(void)
{
    network *net = make_net(NET LAYERS, 7);
    size_t weights = 4 * 27 + 3 * 36 + 7 * 48 + 5 * 7, biases = 4 + 3 + 7 + 5, scales = 4 + 7;
    assert_int_equal(count_parameters(net), weights + biases + scales);
    double operations = 2. * (4 * 27 * 64 + 3 * 36 * 16 + 7 * 48 + 5 * 7);
    assert_float_equal(count_bflops(net) * 1e9, operations, 1e-3);
    free_network(net);
}

typedef struct {
    network *net;
    char *file;
    int allow_partial;
} weights_file;

static void load_weights_in_child(void *argument)
{
    weights_file *w = argument;
    dup2(2, 1); /* its lines are looked at too */
    load_whole_weights(w->net, w->file, w->allow_partial);
}

/* Floats of the layers' parts: 2 with batch norm, and without. */
enum { HEADER = 20, LAYER0 = 4 * 4 + 4 * 27, LAYER2 = 3 + 3 * 36, LAYER3 = 7 * 4 + 7 * 48 };

static void test_weights_files_of_every_length(void)
{
    size_t n;
    char *file = nets_file("saved.weights"), text[1 << 14];
    network *net = make_net(NET LAYERS, 8), *other = make_net(NET LAYERS, 9);
    *net->seen = 77;
    save_net(net, file);
    silence();
    load_whole_weights(other, file, 0);
    speak();
    assert_true(hash_net(net) == hash_net(other));
    assert_int_equal(*other->seen, 77);

    char *bytes = read_bytes(file, &n);
    const struct {
        long length;
        int is_end; /* of a layer */
    } lengths[] = {
        {n - 1, 0},
        {n - 4, 0},
        {n + 1, 0},
        {n + 4, 0},
        {HEADER + 4 * LAYER0, 1},
        {HEADER + 4 * LAYER0 - 4, 0},
        {HEADER + 4 * LAYER0 + 4, 0},
        {HEADER + 4 * (LAYER0 + LAYER2), 1},
        {HEADER + 4 * (LAYER0 + LAYER2 + LAYER3), 1},
        {HEADER, 0},
        {HEADER - 1, 0},
        {11, 0},
        {0, 0},
    };
    for (int i = 0; i < COUNT(lengths); ++i) {
        weights_file w = {other, write_bytes("cut.weights", bytes, lengths[i].length), 0};
        ASSERT_FAILS(load_weights_in_child, &w, w.file, "expected");
        w.allow_partial = 1;
        if (lengths[i].is_end) {
            assert_int_equal(run_child(load_weights_in_child, &w, text, sizeof(text)), 0);
            assert_non_null(strstr(text, "partial"));
        } else ASSERT_FAILS(load_weights_in_child, &w, w.file, "expected");
        free(w.file);
    }
    free_network(net), free_network(other), free(file), free(bytes);
}

static void test_partial_weights_fill_the_first_layers(void)
{
    size_t n;
    char *file = nets_file("saved.weights");
    network *net = make_net(NET LAYERS, 10), *other = make_net(NET LAYERS, 11),
            *before = make_net(NET LAYERS, 11);
    save_net(net, file);
    char *bytes = read_bytes(file, &n);
    char *cut = write_bytes("cut.weights", bytes, HEADER + 4 * (LAYER0 + LAYER2));
    silence();
    load_whole_weights(other, cut, 1); /* says so on stdout */
    speak();
    kd_arrays from = network_arrays(net), to = network_arrays(other),
              old = network_arrays(before);
    for (int i = 0; i < to.n; ++i) {
        const kd_array *want = i < 5 + 2 ? from.arrays + i : old.arrays + i;
        assert_memory_equal(to.arrays[i].data, want->data, want->n * sizeof(float));
    }
    kd_free_arrays(from), kd_free_arrays(to), kd_free_arrays(old);
    free_network(net), free_network(other), free_network(before);
    free(file), free(cut), free(bytes);
}

/* Files that are no weights at all. */
static void test_strange_weights_files(void)
{
    network *net = make_net(NET LAYERS, 12);
    weights_file w = {net, write_text("strange", "[net] this is a cfg file and no weights\n"),
                      1};
    ASSERT_FAILS(load_weights_in_child, &w, w.file, "expected");
    free(w.file);
    w.file = nets_folder;
    ASSERT_FAILS(load_weights_in_child, &w, w.file);
    w.file = nets_file("missing.weights");
    ASSERT_FAILS(load_weights_in_child, &w, w.file);
    free(w.file);
    free_network(net);
}

/* ---- seeds ------------------------------------------------------------- */

static int by_value(const void *a, const void *b)
{
    unsigned int x = *(const unsigned int *)a, y = *(const unsigned int *)b;
    return (x > y) - (x < y);
}

/* Neighbouring seeds and positions give numbers as if drawn at random. */
static void test_derived_seeds(void)
{
    enum { SEEDS = 64, NUMBERS = 1024, ALL = SEEDS * NUMBERS };
    static unsigned int all[ALL];
    int bits[32] = {0}, same = 0;
    for (int i = 0; i < ALL; ++i) {
        all[i] = derive_seed(i / NUMBERS, i % NUMBERS);
        for (int b = 0; b < 32; ++b) bits[b] += all[i] >> b & 1;
    }
    for (int b = 0; b < 32; ++b)
        assert_true(abs(bits[b] - ALL / 2) < 5 * 128); /* 5 standard deviations */
    qsort(all, ALL, sizeof(all[0]), by_value);
    for (int i = 1; i < ALL; ++i) same += all[i] == all[i - 1];
    assert_true(same < 6); /* half a one is to be expected */
    assert_true(derive_seed(5, 6) == derive_seed(5, 6));
}

/* ---- the loader -------------------------------------------------------- */

#define IMAGES 7
#define AUGMENTED                                                                              \
    "[net]\nbatch=3\nheight=8\nwidth=8\nchannels=3\nmin_crop=8\nmax_crop=14\nangle=10\n"       \
    "aspect=.75\nhue=.1\nsaturation=.75\nexposure=.75\n"                                       \
    "[avgpool]\n[connected]\noutput=7\nactivation=linear\n[softmax]\n"

/* A binary PPM of width x height whose pixels follow from its number. */
static void write_ppm(const char *name, int number, int width, int height)
{
    unsigned char bytes[4096];
    int n = sprintf((char *)bytes, "P6\n%d %d\n255\n", width, height);
    srand(number);
    for (int i = 0; i < width * height * 3; ++i) bytes[n++] = (number * 36 + rand() % 40) % 256;
    free(write_bytes(name, bytes, n));
}

/* IMAGES images of several sizes, each of a class of its own; with `classes` lines of labels.
 */
static image_list make_images(void)
{
    char list[2048] = "", labels[256] = "", name[32];
    for (int i = 0; i < IMAGES; ++i) {
        sprintf(name, "image_%d_.ppm", i);
        write_ppm(name, i, 9 + i, 14 - i);
        char *path = nets_file(name);
        strcat(strcat(list, path), "\n");
        sprintf(name, "_%d_\n", i);
        strcat(labels, name);
        free(path);
    }
    char *list_file = write_text("images.list", list),
         *label_file = write_text("labels", labels);
    image_list images = read_image_list(list_file, label_file, IMAGES);
    free(list_file), free(label_file);
    return images;
}

static void free_list_of(image_list list)
{
    for (int i = 0; i < list.n; ++i) free(list.paths[i]);
    free(list.paths), free(list.targets);
}

/* The class of a truth that is 1 there and 0 elsewhere. */
static int target_of(const float *truth)
{
    int target = -1;
    for (int j = 0; j < IMAGES; ++j) {
        if (!truth[j]) continue;
        assert_true(truth[j] == 1 && target < 0);
        target = j;
    }
    assert_true(target >= 0);
    return target;
}

/*
 * `batches` batches from `position` on, with up to `ahead` of them begun at a time. Each image
 * of the list has the class of its own index.
 */
static void load_ahead(loader *l, int ahead, int batch, int inputs, uint64_t position,
                       int batches, float *images, int *targets)
{
    for (int i = 0; i < ahead && i < batches; ++i) start_loading(l, position + i * batch, 8, 8);
    for (int i = 0; i < batches; ++i) {
        image_batch x = finish_loading(l);
        if (i + ahead < batches) start_loading(l, position + (i + ahead) * batch, 8, 8);
        memcpy(images + (size_t)i * batch * inputs, x.images,
               (size_t)batch * inputs * sizeof(float));
        for (int b = 0; b < batch; ++b) {
            targets[i * batch + b] = target_of(x.truths + b * IMAGES);
            assert_int_equal(x.indices[b], targets[i * batch + b]);
            assert_int_equal(x.sizes[2 * b], 9 + x.indices[b]);
            assert_int_equal(x.sizes[2 * b + 1], 14 - x.indices[b]);
        }
    }
}

/* One behind the other */
static void load(loader *l, int batch, int inputs, uint64_t position, int batches,
                 float *images, int *targets)
{
    load_ahead(l, 1, batch, inputs, position, batches, images, targets);
}

#define INPUTS (3 * 8 * 8)
#define LOADED (3 * 14) /* 14 batches of 3: 6 epochs */

static void test_threads_change_nothing(void)
{
    static float images[LOADED * INPUTS], found[LOADED * INPUTS];
    int targets[LOADED], found_targets[LOADED];
    const int threads[] = {1, 2, 5};
    image_list list = make_images();
    network *net = make_net(AUGMENTED, 13);
    loader *l = make_loader(&list, net, 3, 1, 1, 99);
    load(l, 3, INPUTS, 0, LOADED / 3, images, targets);
    free_loader(l);
    for (int i = 0; i < COUNT(threads); ++i)
        for (int ahead = 1; ahead <= LOADER_AHEAD; ++ahead) {
            l = make_loader(&list, net, 3, 1, threads[i], 99);
            load_ahead(l, ahead, 3, INPUTS, 0, LOADED / 3, found, found_targets);
            free_loader(l);
            assert_memory_equal(found, images, sizeof(images));
            assert_memory_equal(found_targets, targets, sizeof(targets));
        }
    free_network(net);
    free_list_of(list);
}

/*
 * Once the files are gone, the images still come, and are those that a new loader decodes for
 * each epoch.
 */
static void test_images_are_decoded_once(void)
{
    static float images[LOADED * INPUTS], found[LOADED * INPUTS];
    int targets[LOADED], found_targets[LOADED];
    const int threads[] = {1, 2, 5};
    network *net = make_net(AUGMENTED, 21);
    for (int i = 0; i < COUNT(threads); ++i) {
        image_list list = make_images();
        for (int at = 0; at < LOADED; at += IMAGES) {
            loader *l = make_loader(&list, net, IMAGES, 1, threads[i], 99);
            load(l, IMAGES, INPUTS, at, 1, images + at * INPUTS, targets + at);
            free_loader(l);
        }
        loader *l = make_loader(&list, net, IMAGES, 1, threads[i], 99);
        load(l, IMAGES, INPUTS, 0, 1, found, found_targets);
        for (int k = 0; k < IMAGES; ++k) assert_int_equal(remove(list.paths[k]), 0);
        load_ahead(l, LOADER_AHEAD, IMAGES, INPUTS, 0, LOADED / IMAGES, found, found_targets);
        assert_memory_equal(found, images, sizeof(images));
        assert_memory_equal(found_targets, targets, sizeof(targets));
        free_loader(l);
        free_list_of(list);
    }
    free_network(net);
}

/* 1 - eps of the image's class, eps of the others together; in training alone */
static void test_smoothed_labels(void)
{
    image_list list = make_images();
    network *net = make_net(AUGMENTED, 13);
    net->label_smooth_eps = .2;
    list.unlabelled = 2;
    for (int augment = 0; augment < 2; ++augment) {
        loader *l = make_loader(&list, net, IMAGES, augment, 2, 99);
        start_loading(l, 0, 8, 8);
        image_batch x = finish_loading(l);
        for (int k = 0; k < IMAGES * IMAGES; ++k) {
            int is_known = x.indices[k / IMAGES] < IMAGES - 2;
            int is_class = x.indices[k / IMAGES] == k % IMAGES;
            float one = augment ? .8f : 1, others = augment ? .2f / (IMAGES - 1) : 0;
            assert_float_equal(x.truths[k], is_known * (is_class ? one : others), 1e-7);
        }
        free_loader(l);
    }
    free_network(net);
    free_list_of(list);
}

/* A batch has the same image ten times: several threads decode it at once. */
static void test_one_image_in_a_batch(void)
{
    static float images[30 * INPUTS], found[30 * INPUTS];
    int targets[30], found_targets[30];
    image_list list = make_images(), one = list;
    network *net = make_net(AUGMENTED, 22);
    one.n = 1;
    loader *l = make_loader(&one, net, 1, 1, 1, 99);
    load(l, 1, INPUTS, 0, 30, images, targets);
    free_loader(l);
    for (int i = 0; i < 10; ++i) {
        l = make_loader(&one, net, 10, 1, 5, 99);
        load_ahead(l, LOADER_AHEAD, 10, INPUTS, 0, 3, found, found_targets);
        assert_memory_equal(found, images, sizeof(images));
        free_loader(l);
    }
    free_network(net);
    free_list_of(list);
}

static void assert_permutation(const int *targets)
{
    int seen[IMAGES] = {0};
    for (int i = 0; i < IMAGES; ++i) ++seen[targets[i]];
    for (int i = 0; i < IMAGES; ++i) assert_int_equal(seen[i], 1);
}

/* Batches of 3 and of 10 (more than the list has) straddle the epochs' ends. */
static void test_each_epoch_is_a_permutation(void)
{
    static float images[70 * INPUTS];
    int targets[70], differ = 0;
    const int batches[] = {3, 10};
    image_list list = make_images();
    network *net = make_net(AUGMENTED, 14);
    for (int i = 0; i < COUNT(batches); ++i) {
        loader *l = make_loader(&list, net, batches[i], 1, 2, 99);
        load(l, batches[i], INPUTS, 0, 70 / batches[i], images, targets);
        free_loader(l);
        for (int e = 0; e < 6; ++e) {
            assert_permutation(targets + e * IMAGES);
            differ += !!memcmp(targets, targets + e * IMAGES, sizeof(int) * IMAGES);
        }
    }
    assert_true(differ >= 8); /* of 10 */
    free_network(net);
    free_list_of(list);
}

/* What stands at a position does not depend on where loading began, nor on the batch. */
static void test_positions_can_be_repeated(void)
{
    static float all[LOADED * INPUTS], some[LOADED * INPUTS];
    int targets[LOADED], some_targets[LOADED];
    image_list list = make_images();
    network *net = make_net(AUGMENTED, 15);
    loader *l = make_loader(&list, net, 3, 1, 2, 99);
    load(l, 3, INPUTS, 0, LOADED / 3, all, targets);
    load(l, 3, INPUTS, 12, 4, some, some_targets); /* back again, with the same loader */
    assert_memory_equal(some, all + 12 * INPUTS, 12 * INPUTS * sizeof(float));
    free_loader(l);
    l = make_loader(&list, net, 5, 1, 1, 99);
    load(l, 5, INPUTS, 19, 4, some, some_targets);
    assert_memory_equal(some, all + 19 * INPUTS, 20 * INPUTS * sizeof(float));
    assert_memory_equal(some_targets, targets + 19, 20 * sizeof(int));
    free_loader(l);
    l = make_loader(&list, net, 3, 1, 2, 100);
    load(l, 3, INPUTS, 0, LOADED / 3, some, some_targets);
    assert_memory_not_equal(some, all, sizeof(all));
    assert_memory_not_equal(some_targets, targets, sizeof(targets));
    free_loader(l);
    free_network(net);
    free_list_of(list);
}

/* The same image is augmented anew each time: all crops differ. */
static void test_augmentation(void)
{
    static float images[LOADED * INPUTS];
    int targets[LOADED];
    image_list list = make_images();
    network *net = make_net(AUGMENTED, 16);
    loader *l = make_loader(&list, net, 3, 1, 2, 99);
    load(l, 3, INPUTS, 0, LOADED / 3, images, targets);
    for (int i = 0; i < LOADED; ++i)
        for (int j = 0; j < i; ++j)
            assert_memory_not_equal(images + i * INPUTS, images + j * INPUTS,
                                    INPUTS * sizeof(float));
    free_loader(l);
    free_network(net);
    free_list_of(list);
}

/* Without augmentation: the list's order, and what `classifier valid` shows the network. */
static void test_images_for_evaluation(void)
{
    static float images[9 * INPUTS];
    int targets[9];
    image_list list = make_images();
    network *net = make_net(AUGMENTED, 17);
    loader *l = make_loader(&list, net, 3, 0, 2, 99);
    load(l, 3, INPUTS, 0, 3, images, targets);
    for (int i = 0; i < 9; ++i) {
        image im = load_image_color(list.paths[i % IMAGES], 0, 0);
        image crop = center_crop_image(im, 8, 8);
        assert_int_equal(targets[i], i % IMAGES);
        assert_true(distance_of(images + i * INPUTS, crop.data, INPUTS) < 1e-6);
        free_image(im), free_image(crop);
    }
    free_loader(l);
    free_network(net);
    free_list_of(list);
}

/* The next batches load elsewhere than where this one is trained on. */
static void test_buffers(void)
{
    static float copy[3 * INPUTS];
    float truths[3 * IMAGES];
    int indices[3], sizes[6];
    image_list list = make_images();
    network *net = make_net(AUGMENTED, 18);
    loader *l = make_loader(&list, net, 3, 1, 2, 99);
    start_loading(l, 0, 8, 8);
    image_batch now = finish_loading(l);
    memcpy(copy, now.images, sizeof(copy));
    memcpy(truths, now.truths, sizeof(truths));
    memcpy(indices, now.indices, sizeof(indices));
    memcpy(sizes, now.sizes, sizeof(sizes));
    for (int i = 1; i <= LOADER_AHEAD; ++i) start_loading(l, 3 * i, 8, 8);
    for (int i = 1; i <= LOADER_AHEAD; ++i) {
        image_batch next = finish_loading(l);
        assert_memory_equal(now.images, copy, sizeof(copy));
        assert_memory_equal(now.truths, truths, sizeof(truths));
        assert_memory_equal(now.indices, indices, sizeof(indices));
        assert_memory_equal(now.sizes, sizes, sizeof(sizes));
        assert_ptr_not_equal(now.images, next.images);
        assert_ptr_not_equal(now.truths, next.truths);
        assert_memory_not_equal(next.indices, indices, sizeof(indices));
    }
    free_loader(l);
    free_network(net);
    free_list_of(list);
}

typedef struct {
    const char *list, *labels;
    int classes;
} list_files;

static void read_list_in_child(void *argument)
{
    list_files *f = argument;
    read_image_list((char *)f->list, (char *)f->labels, f->classes);
}

static void test_wrong_lists(void)
{
    free_list_of(make_images());
    char *image = nets_file("image_1_.ppm"), *missing = nets_file("image_9_.ppm");
    char *empty_image = write_text("empty_1_.ppm", "");
    char *labels = write_text("labels", "_1_\nimage\n_2_\n"),
         *two = write_text("two", "_1_\n_2_\n");
    char *blank = write_text("blank", "_1_\n\n"), *empty = write_text("empty", "");
    char *good = write_text("good.list", join(image, "\n", "")),
         *other = nets_file("image_3_.ppm");
    char *absent = write_text("absent.list", join(missing, "\n", ""));
    char *unlabelled = write_text("none.list", join(other, "\n", ""));
    char *nothing = write_text("nothing.list", join(empty_image, "\n", ""));
    ASSERT_FAILS(read_list_in_child, (&(list_files){good, labels, 3}), good, image, "_1_",
                 "image");
    ASSERT_FAILS(read_list_in_child, (&(list_files){good, labels, 2}), labels, "3", "2");
    ASSERT_FAILS(read_list_in_child, (&(list_files){good, blank, 2}), blank, "line 2");
    ASSERT_FAILS(read_list_in_child, (&(list_files){unlabelled, two, 2}), unlabelled,
                 "no label");
    ASSERT_FAILS(read_list_in_child, (&(list_files){absent, two, 2}), absent, missing);
    ASSERT_FAILS(read_list_in_child, (&(list_files){nothing, two, 2}), nothing, empty_image);
    ASSERT_FAILS(read_list_in_child, (&(list_files){empty, two, 2}), empty);
    ASSERT_FAILS(read_list_in_child, (&(list_files){"/nowhere/x.list", two, 2}),
                 "/nowhere/x.list");
    free(image), free(missing), free(empty_image), free(labels), free(two), free(blank);
    free(empty), free(good), free(other), free(absent), free(unlabelled), free(nothing);
}

static void load_broken_image(void *argument)
{
    loader *l = make_loader(argument, make_net(AUGMENTED, 19), 3, 1, 2, 99);
    for (int i = 0; i < IMAGES; ++i) {
        start_loading(l, 3 * i, 8, 8);
        finish_loading(l);
    }
}

/* No image at all; a JPEG that ends; the beginning of a PPM, which stb takes for 0 x 0 pixels.
 */
static void test_images_that_are_none(void)
{
    static const char *const texts[] = {"this is no image", "\xff\xd8\xff\xe0",
                                        "P6\nthis is no image"};
    image_list list = make_images();
    for (int i = 0; i < COUNT(texts); ++i) {
        free(write_text("image_4_.ppm", texts[i]));
        ASSERT_FAILS(load_broken_image, &list, "image_4_.ppm", "decoded");
    }
    free_list_of(list);
}

typedef struct {
    const image_list *list;
    int fetched;
} batches_ahead;

static void fetch_batches(void *argument)
{
    batches_ahead *b = argument;
    network *net = make_net(AUGMENTED, 23);
    loader *l = make_loader(b->list, net, 3, 0, 5, 99);
    for (int i = 0; i < LOADER_AHEAD; ++i) start_loading(l, 3 * i, 8, 8);
    for (int i = 0; i < b->fetched; ++i) assert_int_equal(finish_loading(l).indices[0], 3 * i);
    free_loader(l);
    free_network(net);
}

/* An image of the second batch is missed when that is fetched: the first of several. */
static void test_a_broken_image_ahead(void)
{
    image_list list = make_images();
    free(write_text("image_4_.ppm", "this is no image"));
    free(write_text("image_5_.ppm", "nor is this"));
    for (int i = 0; i < 20; ++i) fetch_batches(&(batches_ahead){&list, i % 2}); /* drops them */
    ASSERT_FAILS(fetch_batches, (&(batches_ahead){&list, 2}), "image_4_.ppm", "decoded");
    free_list_of(list);
}

/* ---- evaluation -------------------------------------------------------- */

/* The same, image by image. */
static evaluation evaluate_by_hand(network *net, const image_list *list, int k)
{
    evaluation v = {METRIC_TOP1, 0, {0, 0}, k};
    for (int i = 0; i < list->n; ++i) {
        int best[IMAGES];
        image im = load_image_color(list->paths[i], 0, 0), crop = center_crop_image(im, 8, 8);
        for (int b = 0; b < net->batch; ++b)
            memcpy(net->input + b * INPUTS, crop.data, INPUTS * sizeof(float));
        float *p = network_predict(net, net->input);
        top_k(p, IMAGES, k, best);
        v.score[0] += best[0] == list->targets[i];
        for (int j = 0; j < k; ++j) v.score[1] += best[j] == list->targets[i];
        v.loss -= log(p[list->targets[i]]);
        free_image(im), free_image(crop);
    }
    double n = list->n;
    return (evaluation){METRIC_TOP1, v.loss / n, {v.score[0] / n, v.score[1] / n}, k};
}

static void assert_same_evaluation(evaluation found, evaluation want)
{
    assert_int_equal(found.by, want.by);
    assert_true(fabs(found.score[0] - want.score[0]) < 1e-12);
    assert_true(fabs(found.score[1] - want.score[1]) < 1e-12);
    assert_true(fabs(found.loss - want.loss) < 1e-5);
    assert_int_equal(found.k, want.k);
    assert_true(merit(&found) == found.score[0]);
}

/* 7 images in batches of 3: the last batch is not counted to its end. */
static void test_evaluation(void)
{
    volatile sig_atomic_t no_stop = 0;
    evaluation found;
    double sum = 0;
    image_list list = make_images();
    for (int seed = 20; seed < 40; ++seed) {
        network *net = make_net(AUGMENTED, seed);
        net_outputs outputs = find_outputs(net, "net.cfg");
        int k = 1 + seed % IMAGES;
        assert_int_equal(
            evaluate_classifier(net, &outputs, &list, k, 1 + seed % 3, &no_stop, &found, 0), 1);
        assert_same_evaluation(found, evaluate_by_hand(net, &list, k));
        sum += found.score[0];
        free_network(net), free(outputs.layer);
    }
    assert_true(sum > 0);
    free_list_of(list);
}

/* All logits equal: class j has rank j. */
static void test_ties_in_evaluation(void)
{
    volatile sig_atomic_t no_stop = 0;
    evaluation found;
    image_list list = make_images();
    network *net = make_net(AUGMENTED, 21);
    net_outputs outputs = find_outputs(net, "net.cfg");
    layer last = net->layers[net->n - 2];
    memset(last.weights, 0, last.inputs * last.outputs * sizeof(float));
    fill_cpu(last.outputs, .5, last.biases, 1);
    for (int k = 1; k <= IMAGES; ++k) {
        evaluate_classifier(net, &outputs, &list, k, 2, &no_stop, &found, 0);
        assert_same_evaluation(
            found, (evaluation){METRIC_TOP1, log(IMAGES), {1. / IMAGES, k / 7.}, k});
    }
    free_network(net), free(outputs.layer);
    free_list_of(list);
}

static void test_a_stopped_evaluation(void)
{
    volatile sig_atomic_t stop = 1;
    evaluation untouched = {METRIC_MAP, 1, {2, 3}, 4}, found = untouched;
    image_list list = make_images();
    network *net = make_net(AUGMENTED, 22);
    net_outputs outputs = find_outputs(net, "net.cfg");
    assert_int_equal(evaluate_classifier(net, &outputs, &list, 2, 2, &stop, &found, 0), 0);
    assert_memory_equal(&found, &untouched, sizeof(found));
    free_network(net), free(outputs.layer);
    free_list_of(list);
}

int main(void)
{
    static const test_case tests[] = {
        TEST(test_a_run_goes_on_bit_for_bit),
        TEST(test_no_seed_is_any_seed),
        TEST(test_states_of_other_runs),
        TEST(test_damaged_states),
        TEST(test_every_flipped_bit_is_found),
        TEST(test_the_state_before),
        TEST(test_a_failed_save),
        TEST(test_where_cfgs_part),
        TEST(test_hash_of_a_cfg),
        TEST(test_all_finite),
        TEST(test_counts),
        TEST(test_weights_files_of_every_length),
        TEST(test_partial_weights_fill_the_first_layers),
        TEST(test_strange_weights_files),
        TEST(test_derived_seeds),
        TEST(test_threads_change_nothing),
        TEST(test_images_are_decoded_once),
        TEST(test_one_image_in_a_batch),
        TEST(test_each_epoch_is_a_permutation),
        TEST(test_positions_can_be_repeated),
        TEST(test_augmentation),
        TEST(test_smoothed_labels),
        TEST(test_images_for_evaluation),
        TEST(test_buffers),
        TEST(test_wrong_lists),
        TEST(test_images_that_are_none),
        TEST(test_a_broken_image_ahead),
        TEST(test_evaluation),
        TEST(test_ties_in_evaluation),
        TEST(test_a_stopped_evaluation),
    };
    start_nets();
    run_tests(tests, COUNT(tests));
    return finish();
}
