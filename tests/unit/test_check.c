/*
 * Proves that a test which fails is seen to fail (check.h): a program of tests, some of which
 * fail on purpose, runs in a child, and its verdicts, reasons and exit status are looked at.
 */
#include "nets.h"

/* ---- the program -------------------------------------------------------- */

static int prepared;

static void test_good(void)
{
    assert_int_equal(prepared, 0);
    assert_string_equal("a", "a");
    assert_in_range(3, 3, 3);
    assert_memory_not_equal("ab", "ac", 2);
}

static void test_bad_fact(void)
{
    check(prepared == 1, "prepared is %d", prepared);
    check(0, "a bad fact");
    check(0, "another");
}

static void test_bad_number(void)
{
    assert_int_equal(1 + 1, 3);
    check(0, "never said");
}

static void test_bad_float(void)
{
    assert_float_equal(NAN, 1, 10);
}

static void test_bad_bytes(void)
{
    silence();
    assert_memory_equal("abc", "abd", 3);
}

static void exit_well(void *unused)
{
    (void)unused;
}

static void fail_in_child(void *unused)
{
    (void)unused;
    assert_true(!prepared && prepared);
}

static void test_child_that_exits_well(void)
{
    ASSERT_FAILS(exit_well, 0, "");
}

static void test_child_that_fails(void)
{
    ASSERT_FAILS(fail_in_child, 0, "");
}

static void test_skipped(void)
{
    skip_test("no reason");
}

static void prepare(void)
{
    ++prepared;
}

static const struct {
    test_case test;
    const char *verdict, *reason;
} cases[] = {
    {TEST(test_good), "ok 1 - test_good", 0},
    {TEST_AFTER(prepare, test_bad_fact), "not ok 2 - test_bad_fact",
     "test_bad_fact: another (test_check.c:"},
    {TEST(test_bad_number), "not ok 3 - test_bad_number", "1 + 1: found 2, expected 3"},
    {TEST(test_bad_float), "not ok 4 - test_bad_float", "found nan, expected 1 within 10"},
    {TEST(test_bad_bytes), "not ok 5 - test_bad_bytes", "differ at byte 2 of 3"},
    {TEST(test_child_that_exits_well), "not ok 6 - ", "found exit status 0, expected 1"},
    {TEST(test_child_that_fails), "not ok 7 - ", "not true: !prepared && prepared"},
    {TEST(test_skipped), "ok 8 - test_skipped # SKIP no reason", 0},
};

static void run_bad_program(void *unused)
{
    (void)unused;
    worst_case far = {0}, none = {0};
    memset(&check_state, 0, sizeof(check_state));
    dup2(2, 1);
    nets_loud = 0;
    for (int i = 0; i < COUNT(cases); ++i) run_tests(&cases[i].test, 1);
    ok(0, "a bad verdict");
    compare_one(&far, 1, 2, 2, 7, "a number");
    near(&far, .1, "far numbers");
    near(&none, 1, "no numbers");
    exit(finish());
}

/* ---- the tests ----------------------------------------------------------- */

static void test_what_a_program_says(void)
{
    static char text[1 << 16];
    assert_int_equal(run_child(run_bad_program, 0, text, sizeof(text)), 1);
    for (int i = 0; i < COUNT(cases); ++i) {
        const char *verdict = cases[i].verdict, *reason = cases[i].reason;
        check(strstr(text, verdict), "found no \"%s\" in:\n%s", verdict, text);
        if (reason) check(strstr(text, reason), "found no \"%s\" in:\n%s", reason, text);
    }
    const char *others[] = {"# test_check.c: not ok 9 - a bad verdict\n",
                            "not ok 9 - a bad",
                            "not ok 10 - far numbers: within 0.1\n",
                            "worst 0.5: 1, expected 2 at a number[7]\n",
                            "not ok 11 - no numbers: within 1\n",
                            "1..11\n"};
    for (int i = 0; i < COUNT(others); ++i)
        check(strstr(text, others[i]), "found no \"%s\" in:\n%s", others[i], text);
    check(!strstr(text, "never said"), "a test went on after it had failed:\n%s", text);
}

static void fail_outside(void *unused)
{
    (void)unused;
    memset(&check_state, 0, sizeof(check_state));
    fail_msg("outside a table");
}

static void test_outside_a_table(void)
{
    ASSERT_FAILS(fail_outside, 0, "test_check.c: outside a table (test_check.c:");
}

static void run_nothing(void *unused)
{
    (void)unused;
    memset(&check_state, 0, sizeof(check_state));
    dup2(2, 1);
    exit(finish());
}

static void test_no_verdict_is_a_failure(void)
{
    char text[64];
    assert_int_equal(run_child(run_nothing, 0, text, sizeof(text)), 1);
}

int main(void)
{
    static const test_case tests[] = {
        TEST(test_what_a_program_says),
        TEST(test_outside_a_table),
        TEST(test_no_verdict_is_a_failure),
    };
    start_nets();
    run_tests(tests, COUNT(tests));
    return finish();
}
