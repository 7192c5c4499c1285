/*
 * Proves the momenta that change as a run goes on:
 *   - the usual momenta are the paper's at .9 and below, and above .9 below 1, of windows in
 * the same proportion;
 *   - the warm-up is its formula, ends where it says, and is nothing at c = 0;
 *   - signal and noise of synthetic gradients of known mean and noise come out unbiased, within
 *     the error of their mean; so do those of a momentum buffer;
 *   - momentum_rule=gsnr grows with the GSNR, keeps its bounds, leaves equals alone;
 *   - in a network: each batch's buffer is mu(t) v + gradient; what a sample says is what the
 * two halves' gradients say; measuring changes no bit of what is learnt;
 *   - wrong options are named.
 */
#include "distil/gsnr.h"
#include "nets.h"

#define NET                                                                                    \
    "[net]\nbatch=4\nheight=8\nwidth=8\nchannels=3\nmax_batches=100\nlearning_rate=.01\n"
#define CONV "[convolutional]\nsize=3\npad=1\nfilters=4\nactivation=tanh\n"
#define HEAD "[connected]\noutput=6\nactivation=linear\n[softmax]\n"
#define LOSS "[teacher]\n[deepkd_loss]\ntopk_schedule=off\n"
#define STUDENT NET CONV HEAD LOSS

/* ---- usual momenta ------------------------------------------------------ */

static void test_usual_momenta(void)
{
    static const double deltas[] = {-.075, .05, .075};
    for (int i = 0; i < COUNT(deltas); ++i) {
        double d = deltas[i], last = -1;
        for (double base = .1; base < 1; base += .001) {
            double mu = kd_usual_momentum(base, d);
            check(mu > last && mu < 1, "base %g, delta %g: %g", base, d, mu);
            if (base <= .9 || d < 0)
                check(fabs(mu - base - d) < 1e-12, "base %g: %g", base, mu);
            else
                check(fabs((1 - base) / (1 - mu) - .1 / (.1 - d)) < 1e-9, "base %g: %g", base,
                      mu);
            last = mu;
        }
    }
    check(fabs(kd_usual_momentum(.949, .075) - .98725) < 1e-12, "yolov4's");
}

/* ---- warm-up ----------------------------------------------------------- */

static void test_warm_up(void)
{
    static const double momenta[] = {0, .5, .825, .9, .975, .9999}, rates[] = {.01, .05, .3, 7};
    for (int i = 0; i < COUNT(momenta); ++i) {
        double mu = momenta[i];
        check(kd_warm_momentum(mu, 0, 1) == mu && kd_warm_end(mu, 0) == 1, "c = 0, mu %g", mu);
        for (int k = 0; k < COUNT(rates); ++k) {
            double c = rates[k];
            long end = kd_warm_end(mu, c);
            for (long t = 1; t < 50; ++t)
                check(fabs(kd_warm_momentum(mu, c, t) - fmin(mu, c * t / (1 + c * t))) < 1e-15,
                      "mu %g, c %g, batch %ld", mu, c, t);
            check(fabs(kd_warm_momentum(mu, c, end) - mu) < 1e-6, "mu %g, c %g: end", mu, c);
            check(end == 1 || kd_warm_momentum(mu, c, end - 1) < mu, "mu %g, c %g: early", mu,
                  c);
        }
    }
    assert_int_equal(kd_warm_end(.975, .05), 780);
}

/* ---- signal and noise -------------------------------------------------- */

#define NUMBERS 50
#define TRIALS 4000

static double normal(void)
{
    double u = (rand() + 1.) / (RAND_MAX + 2.), v = rand() / (RAND_MAX + 1.);
    return sqrt(-2 * log(u)) * cos(2 * M_PI * v);
}

/* Mean and its standard error over trials */
typedef struct {
    double sum, squares;
} statistic;

static void add(statistic *s, double x)
{
    s->sum += x;
    s->squares += x * x;
}

static void check_unbiased(statistic s, double expected, const char *what)
{
    double mean = s.sum / TRIALS, error = sqrt((s.squares / TRIALS - mean * mean) / TRIALS);
    check(fabs(mean - expected) < 4 * error, "%s: %g +- %g, expected %g", what, mean, error,
          expected);
}

/* Sums of `images` gradients of mean i / 10 and deviation 2, in each of two halves */
static void test_unbiased(void)
{
    enum { IMAGES = 3, PARTS = 5 };
    statistic signal = {0}, noise = {0};
    double square = 0;
    srand(3);
    for (int i = 0; i < NUMBERS; ++i) square += i * i / 100.;
    for (int t = 0; t < TRIALS; ++t) {
        double sum2 = 0, difference2 = 0;
        for (int i = 0; i < NUMBERS; ++i) {
            double half[2] = {0};
            for (int k = 0; k < 2 * IMAGES; ++k) half[k % 2] += i / 10. + 2 * normal();
            sum2 += (half[0] + half[1]) * (half[0] + half[1]);
            difference2 += (half[0] - half[1]) * (half[0] - half[1]);
        }
        kd_snr s = kd_signal_noise(sum2, difference2, IMAGES, PARTS);
        add(&signal, s.signal);
        add(&noise, s.noise);
    }
    check_unbiased(signal, square, "signal");
    check_unbiased(noise, NUMBERS * 4. / (2 * IMAGES * PARTS), "noise of the whole batch");
}

static void test_buffer(void)
{
    enum { BATCHES = 12 };
    const double mu = .8;
    statistic signal = {0}, noise = {0};
    double mean = 0;
    srand(4);
    for (int t = 0; t < BATCHES; ++t) mean = mu * mean + .5;
    for (int trial = 0; trial < TRIALS; ++trial) {
        double square = 0, around = 0;
        for (int i = 0; i < NUMBERS; ++i) {
            double v = 0;
            for (int t = 0; t < BATCHES; ++t) v = mu * v + .5 + 1.5 * normal();
            square += v * v;
            around += (v - mean) * (v - mean);
        }
        kd_snr s = kd_buffer_snr(square, (kd_snr){0, NUMBERS * 2.25}, mu, BATCHES);
        add(&signal, s.signal);
        add(&noise, around - s.noise);
    }
    check_unbiased(signal, NUMBERS * mean * mean, "a buffer's signal");
    check_unbiased(noise, 0, "a buffer's noise");
}

/* ---- the rule ---------------------------------------------------------- */

static void test_rule(void)
{
    static const int all[] = {1, 1, 1}, two[] = {1, 0, 1};
    static const double nine[] = {.9, .9, .9}, most[] = {.99999, .99999, .99999}, none[3],
                        own[] = {.975, .8, .95};
    double m[KD_COMPONENTS] = {7, 7, 7};
    kd_gsnr_momenta(nine, (kd_snr[]){{2, 4}, {1, 2}, {3, 6}}, all, m);
    for (int c = 0; c < KD_COMPONENTS; ++c) check(fabs(m[c] - .9) < 1e-12, "equals: %g", m[c]);
    kd_gsnr_momenta(nine, (kd_snr[]){{.1, 1}, {.5, 1}, {2, 1}}, all, m);
    check(m[0] < m[1] && m[1] < m[2], "grows with the GSNR: %g %g %g", m[0], m[1], m[2]);
    /* f = 1/11, 1/3, 2/3; their mean 4/11 */
    check(fabs(m[0] - (1 - .1 / .25)) < 1e-12, "a quarter at least: %g", m[0]);
    check(fabs(m[1] - (1 - .1 / (11. / 12))) < 1e-12, "in between: %g", m[1]);
    kd_gsnr_momenta(nine, (kd_snr[]){{-1, 1}, {-.1, 1}, {0, 1}}, all, m);
    for (int c = 0; c < KD_COMPONENTS; ++c) check(m[c] == .9, "no signal: %g", m[c]);
    kd_gsnr_momenta(nine, (kd_snr[]){{1, 0}, {-1, 1}, {-1, 1}}, all, m);
    check(fabs(m[0] - (1 - .1 / 3)) < 1e-9, "all the signal: %g", m[0]);
    m[1] = 7;
    kd_gsnr_momenta(nine, (kd_snr[]){{1, 1}, {1, 0}, {1, 1}}, two, m);
    check(m[1] == 7 && fabs(m[0] - .9) < 1e-12, "one is not active: %g %g", m[0], m[1]);
    kd_gsnr_momenta(own, (kd_snr[]){{.1, 1}, {.5, 1}, {2, 1}}, all, m);
    check(fabs(m[1] - (1 - .2 / (11. / 12))) < 1e-12, "of its own: %g", m[1]);
    check(fabs(m[2] - (1 - .05 / (11. / 6))) < 1e-12, "of its own, longer: %g", m[2]);
    kd_gsnr_momenta(own, (kd_snr[]){{2, 4}, {1, 2}, {3, 6}}, all, m);
    check(fabs(m[0] - .975) < 1e-12 && fabs(m[1] - .8) < 1e-12, "equals of their own");
    kd_gsnr_momenta(most, (kd_snr[]){{1, 1}, {1, 1}, {1, 1}}, all, m);
    check(m[0] == KD_MOST_MOMENTUM, "at most: %g", m[0]);
    kd_gsnr_momenta(none, (kd_snr[]){{.1, 1}, {1, 1}, {9, 1}}, all, m);
    check(m[0] == 0 && m[2] > 0, "of none: %g %g", m[0], m[2]);
}

/* ---- in a network ------------------------------------------------------ */

static deepkd *kd;

static void start(const char *options)
{
    char *text = join(STUDENT, options, "");
    kd = make_pair(text, NET CONV HEAD, 7);
    attach_gsnr(kd, "student.cfg");
    free(text);
}

static void stop(void)
{
    release_gsnr(kd);
    free_pair(kd);
}

static void train(int batches)
{
    silence();
    for (int i = 0; i < batches; ++i) {
        fill_batch(kd->net, 40 + *kd->net->seen);
        train_network_datum(kd->net);
    }
    speak();
    assert_false(kd->broken);
}

/* The gradient of a batch that is always the same, with a rate of 0: v is a sum of powers. */
static void test_update(void)
{
    start("momentum_warmup=.3\nmomentum_tog=.7\nmomentum_tcg=.6\nmomentum_ncg=.5\n");
    kd->net->learning_rate = kd->net->decay = 0;
    const float *v = kd->groups->group[0].buffers[0].weights;
    double gradient = 0, expected = 0;
    fill_batch(kd->net, 5);
    for (int t = 1; t <= 20; ++t) {
        train_network_datum(kd->net);
        if (t == 1) gradient = v[3] / fmin(.7, .6 / 1.6); /* it is ready for batch 2 */
        expected = (expected + gradient) * fmin(.7, .3 * (t + 1) / (1 + .3 * (t + 1)));
        check(fabs(v[3] - expected) < 1e-5 * fabs(expected), "batch %d: %g, expected %g", t,
              v[3], expected);
    }
    stop();
}

/* Each half's gradient by itself, from a student whose other half has no deltas */
static void gradient_of(int first, int n, float *to)
{
    momentum_groups *probe = make_groups(kd, 1);
    allocate_group_deltas(kd->net, probe);
    backward_images(kd, probe, first, n);
    memcpy(to, probe->momenta, probe->n * probe->size * sizeof(float));
    free_groups(kd->net, probe);
}

static double dot(const float *a, const float *b, size_t n, double sign)
{
    double sum = 0;
    for (size_t i = 0; i < n; ++i) sum += (a[i] + sign * b[i]) * (a[i] + sign * b[i]);
    return sum;
}

static void test_sample(void)
{
    start("gsnr_interval=3\ngsnr_layers=1\n");
    size_t size = kd->groups->size;
    train(2);
    assert_int_equal(kd->sampler->batch, 0);
    float *half[2], *all = kd_calloc(3 * size, sizeof(float));
    fill_batch(kd->net, 9);
    *kd->net->seen += 4;
    kd->net->train = 1;
    forward_network(kd->net);
    save_task_deltas(kd);
    for (int k = 0; k < 2; ++k) {
        half[k] = kd_calloc(3 * size, sizeof(float));
        gradient_of(2 * k, 2, half[k]);
    }
    gradient_of(0, 4, all);
    check(dot(half[0], half[1], 3 * size, 1) > 0, "there is a gradient");
    for (size_t i = 0; i < 3 * size; ++i)
        check(fabs(half[0][i] + half[1][i] - all[i]) < 1e-5 * (1 + fabs(all[i])),
              "the halves are the whole: %zu", i);
    *kd->net->seen -= 4;
    fill_batch(kd->net, 9);
    train_network_datum(kd->net);
    const sampler *s = kd->sampler;
    assert_int_equal(s->batch, 3);
    assert_int_equal(s->n, 3);
    double layers = 0;
    for (int c = 0; c < KD_COMPONENTS; ++c) {
        const float *a = half[0] + c * size, *b = half[1] + c * size;
        kd_snr want = kd_signal_noise(dot(a, b, size, 1), dot(a, b, size, -1), 2, 1);
        kd_snr found = s->samples[0].gradient[c];
        check(fabs(found.signal - want.signal) < 1e-4 * fabs(want.signal) + 1e-9, "signal %d",
              c);
        check(fabs(found.noise - want.noise) < 1e-4 * want.noise, "noise %d", c);
        layers = s->samples[1].gradient[c].noise + s->samples[2].gradient[c].noise;
        check(fabs(found.noise - layers) < 1e-9 + 1e-6 * found.noise, "layers add up");
        check(fabs(s->samples[0].cosine[c]) <= 1 + 1e-9, "a cosine");
    }
    free(half[0]), free(half[1]), free(all);
    stop();
}

static uint64_t train_and_hash(const char *options)
{
    start(options);
    train(7);
    uint64_t hash = hash_net(kd->net);
    stop();
    return hash;
}

static void test_measuring_changes_nothing(void)
{
    check(train_and_hash("") == train_and_hash("gsnr_interval=2\ngsnr_layers=1\n"),
          "measuring changes the weights");
    check(train_and_hash("") != train_and_hash("momentum_warmup=0\n"),
          "the warm-up does nothing");
}

static void test_rule_in_a_network(void)
{
    static const double planned[] = {.975, .6, .95};
    start("momentum_rule=gsnr\ngsnr_interval=2\nmomentum_tog=.975\nmomentum_tcg=.6\n"
          "momentum_ncg=.95\n");
    assert_int_equal(kd->groups->n, KD_COMPONENTS);
    for (int c = 0; c < KD_COMPONENTS; ++c)
        check(component_momentum(kd, c) == planned[c], "before the first sample");
    train(4);
    assert_int_equal(kd->gsnr.samples, 2);
    double momentum[KD_COMPONENTS];
    kd_gsnr_momenta(planned, kd->gsnr.snr, (int[]){1, 1, 1}, momentum);
    for (int c = 0; c < KD_COMPONENTS; ++c)
        check(component_momentum(kd, c) == momentum[c], "component %d does not follow", c);
    stop();
}

static void start_in_child(void *options)
{
    start(options);
}

static void test_wrong_options(void)
{
    static const char *const wrong[][3] = {
        {"momentum_warmup=-1\n", "momentum_warmup=-1:", "from 0 to 100"},
        {"momentum_rule=best\n", "momentum_rule=best:", "fixed|gsnr"},
        {"momentum_rule=gsnr\ntrainer=sgd\n", "momentum_rule=gsnr", "trainer=deepkd"},
        {"momentum_rule=gsnr\ngsnr_interval=0\n", "gsnr_interval=0", "1 or more"},
        {"gsnr_interval=1.5\n", "gsnr_interval=1.5:", "a whole number"},
        {"gsnr_layers=2\n", "gsnr_layers=2:", "from 0 to 1"},
    };
    for (int i = 0; i < COUNT(wrong); ++i)
        ASSERT_FAILS(start_in_child, (char *)wrong[i][0], wrong[i][1], wrong[i][2]);
}

int main(void)
{
    static const test_case tests[] = {
        TEST(test_usual_momenta),
        TEST(test_warm_up),
        TEST(test_unbiased),
        TEST(test_buffer),
        TEST(test_rule),
        TEST(test_update),
        TEST(test_sample),
        TEST(test_measuring_changes_nothing),
        TEST(test_rule_in_a_network),
        TEST(test_wrong_options),
    };
    start_nets();
    run_tests(tests, COUNT(tests));
    return finish();
}
