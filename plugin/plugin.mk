# Included by Darknet's Makefile (see patches/0001), which runs in the build folder: compiles
# every plugin/*.c into Darknet's obj/ and links it into ./darknet, not into the libraries.
# PLUGIN_DIR, PLUGIN and the files .switches and .patched come from the top Makefile.

.DEFAULT_GOAL := all

# a changed switch or patch rebuilds every object
DEPS += .switches .patched

# -isystem: no warnings about Darknet's headers
PLUGIN_CFLAGS := -std=gnu11 -Wall -Wextra -isystem include -isystem src -I$(PLUGIN_DIR) -MMD -MP
# under Darknet's -Ofast alone, isnan() is always 0 and sums are taken in any order
PLUGIN_CFLAGS += -fno-fast-math

ifeq ($(PLUGIN),1)
PLUGIN_OBJ := $(patsubst $(PLUGIN_DIR)/%.c,$(OBJDIR)%.o,$(wildcard $(PLUGIN_DIR)/*.c))
EXECOBJA   += $(notdir $(PLUGIN_OBJ))
VPATH      := $(VPATH):$(PLUGIN_DIR)
COMMON     += -DPLUGIN_INIT=deepkd_init
$(EXEC) tests/%: LDFLAGS += -lcjson

$(PLUGIN_OBJ): CFLAGS += $(PLUGIN_CFLAGS)
-include $(PLUGIN_OBJ:.o=.d)
endif
