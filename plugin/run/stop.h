/* Signals that end a run between two batches, with everything saved. */
#ifndef KD_STOP_H
#define KD_STOP_H

#include <signal.h>

extern volatile sig_atomic_t stop_signal; /* the first one's number, 0 before */

/*
 * From now on the first SIGINT or SIGTERM is kept in stop_signal, and a second one kills as
 * usual; so are SIGHUP and SIGPIPE, which may come more than once. Those two stay ignored where
 * they were, as under nohup.
 */
void catch_signals(void);

#endif
