/* Registers the sections and the commands with Darknet. */
#include "deepkd.h"

#include "cli/distill.h"
#include "cli/habits.h"
#include "cli/tools.h"
#include "distil/deepkd_loss.h"
#include "distil/teacher.h"

#include "plugin.h"

void deepkd_init(void)
{
    register_layer((plugin_layer){"[teacher]", parse_teacher});
    register_layer((plugin_layer){"[deepkd_loss]", parse_deepkd_loss});
    register_command((plugin_command){"distill", run_distill});
    register_command((plugin_command){"deepkd", run_deepkd});
    register_command((plugin_command){"detector map", run_detector_habit});
    register_command((plugin_command){"detector calc_anchors", run_detector_habit});
}
