# Included by Darknet's Makefile (see patches/hooks/01), which runs in the build folder: compiles
# every *.c in plugin/ and its folders, with GPU=1 every *.cu and with OPENCV=1 every *.cpp into
# Darknet's obj/, and links it into ./darknet, not into the libraries. No two share a name.
# Only what Darknet itself calls, in plugin/darknet, is in the libraries, and there with PLUGIN=0.
# PLUGIN_DIR, PLUGIN and the files .switches, .patched and .version come from the top Makefile.

.DEFAULT_GOAL := all

# a changed switch or patch rebuilds every object
DEPS += .switches .patched

# -isystem: no warnings about the headers of Darknet and CUDA
PLUGIN_CFLAGS := -Wall -Wextra -isystem include -isystem src -I$(PLUGIN_DIR) -MMD -MP
# under Darknet's -Ofast alone, isnan() is always 0 and sums are taken in any order
PLUGIN_CFLAGS += -fno-fast-math -fopenmp-simd

objects = $(patsubst %,$(OBJDIR)%.o,$(basename $(notdir $(1))))
DARKNET_C := $(wildcard $(PLUGIN_DIR)/darknet/*.c)
ifeq ($(IMAGES),1)
COMMON   += -DIMAGE_LIBRARIES
LDFLAGS  += -ljpeg -lpng
else
DARKNET_C := $(filter-out $(PLUGIN_DIR)/darknet/decode_%,$(DARKNET_C))
endif
COMMON  += -I$(PLUGIN_DIR)/darknet
CHECKED := -include checked_memory.h
DEPS    += $(wildcard $(PLUGIN_DIR)/darknet/*.h)
OBJ     += $(notdir $(call objects,$(DARKNET_C)))
VPATH   := $(VPATH):$(PLUGIN_DIR)/darknet
$(call objects,$(DARKNET_C)): CFLAGS += -std=gnu11 $(PLUGIN_CFLAGS)
# an image that is too large is an error of its own
$(call objects,checked_memory.c $(filter %/decode.c %/decode_%,$(DARKNET_C))): CHECKED =
# stb multiplies what a file says before it looks at it
$(call objects,decode_others.c): CFLAGS += -fwrapv
-include $(patsubst %.o,%.d,$(call objects,$(DARKNET_C)))

ifeq ($(PLUGIN),1)
VERSION_SWITCHES := GPU CUDNN OPENCV OPENMP BLAS CJSON DNNL IMAGES MPI SQLITE ORT DEBUG SANITIZE
sources = $(wildcard $(PLUGIN_DIR)/*.$(1) $(PLUGIN_DIR)/*/*.$(1))
PLUGIN_C := $(filter-out $(PLUGIN_DIR)/darknet/%,$(call sources,c))
ifeq ($(GPU),1)
PLUGIN_CFLAGS += -isystem $(CUDA)/include
PLUGIN_CU := $(call sources,cu)
endif
ifeq ($(OPENCV),1)
PLUGIN_CPP := $(call sources,cpp)
endif
PLUGIN_OBJ := $(call objects,$(PLUGIN_C) $(PLUGIN_CU) $(PLUGIN_CPP))

EXECOBJA += $(notdir $(PLUGIN_OBJ))
VPATH    := $(VPATH):$(PLUGIN_DIR):$(subst / ,:,$(wildcard $(PLUGIN_DIR)/*/))
COMMON   += -DPLUGIN_INIT=deepkd_init
ifeq ($(CJSON),1)
COMMON += -DCJSON
$(EXEC) tests/%: LDFLAGS += -lcjson
endif
ifeq ($(MPI),1)
# as Open MPI and MPICH both say it: gcc -I... -L... -l...
MPICC ?= mpicc
MPI_FLAGS := $(shell $(MPICC) -show)
COMMON += -DMPI
$(call objects,ranks.c): CFLAGS += $(patsubst -I%,-isystem %,$(filter -I%,$(MPI_FLAGS)))
$(EXEC) tests/%: LDFLAGS += $(filter -L% -l% -Wl%,$(MPI_FLAGS))
endif
ifeq ($(SQLITE),1)
COMMON += -DSQLITE
$(EXEC) tests/%: LDFLAGS += -lsqlite3
endif
ifeq ($(ORT),1)
comma  := ,
COMMON += -DORT -isystem $(if $(ONNXRUNTIME),$(ONNXRUNTIME)/include,/usr/include/onnxruntime)
$(EXEC) tests/%: LDFLAGS += $(if $(ONNXRUNTIME),-L$(ONNXRUNTIME)/lib -Wl$(comma)-rpath$(comma)$(ONNXRUNTIME)/lib) \
    -lonnxruntime
endif
ifeq ($(DNNL),1)
COMMON += -DDNNL
$(EXEC) tests/%: LDFLAGS += -ldnnl -lgomp
endif

$(call objects,$(PLUGIN_C)): CFLAGS += -std=gnu11 $(PLUGIN_CFLAGS)
$(call objects,$(PLUGIN_C)): CHECKED =
$(call objects,$(PLUGIN_CPP)): CFLAGS += -std=gnu++17 $(PLUGIN_CFLAGS)
# what `deepkd version` says of the build; .version has the commits
$(call objects,version.c): .version
$(call objects,version.c): CFLAGS += -include .version \
    -DKD_SWITCHES='$(foreach s,$(VERSION_SWITCHES),{"$(s)","$(or $($(s)),0)"},)'
# nvcc searches its own headers before any -isystem, and they have a cuda.h too
$(call objects,$(PLUGIN_CU)): NVCCFLAGS += -std=c++17 -I$(PLUGIN_DIR) -MMD -MP
$(call objects,$(PLUGIN_CU)): CFLAGS += -Wall -Wextra -fno-fast-math
-include $(PLUGIN_OBJ:.o=.d)
endif
