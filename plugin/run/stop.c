/* See stop.h. */
#include "run/stop.h"

volatile sig_atomic_t stop_signal;

static void on_signal(int number)
{
    if (!stop_signal) stop_signal = number;
}

static void catch_unless_ignored(int number, const struct sigaction *action)
{
    struct sigaction before;
    if (!sigaction(number, 0, &before) && before.sa_handler != SIG_IGN)
        sigaction(number, action, 0);
}

void catch_signals(void)
{
    struct sigaction action = {0};
    action.sa_handler = on_signal;
    action.sa_flags = SA_RESETHAND | SA_RESTART;
    sigaction(SIGINT, &action, 0);
    sigaction(SIGTERM, &action, 0);
    action.sa_flags = SA_RESTART;
    catch_unless_ignored(SIGHUP, &action);
    catch_unless_ignored(SIGPIPE, &action);
}
