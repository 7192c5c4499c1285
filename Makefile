# DeepKD for Darknet: fetches Darknet, applies patches/, adds plugin/, and builds it in build/.
#
#   make             build build/darknet          make deps       install the packages that it needs
#   make demo        train, distill and compare   make demo-yolo  the same with a YOLO detector
#   make data        write Fashion-MNIST as images, and scenes of its garments for detectors
#   make table       docs/results.md's tables: of classifiers; of students that were trained
#                    before: make table-tuned; of detectors: make table-yolo; of
#                    detectors of a single class: make table-one-class; of many classes: make
#                    table-glyphs, characters that make glyphs draws from Debian's fonts
#   make table-cifar10 PHOTOS=FOLDER   the same of real photographs, which you bring: FOLDER has
#   make table-bccd PHOTOS=FOLDER      their archives; without it, this says where they are
#   make bench       the timings of tests/bench/README.md
#   make check       the unit tests alone, which take half a minute
#   make test        every test                   make test-asan  again, with sanitizers
#   make test-tsan   those with threads, under ThreadSanitizer (clang)
#   make test T='resume rows'  these alone, by the names of their files in tests/
#   make test-kernels   those that train, under the code that other processors run
#   make fuzz TIME=60   each reader of outside input fed with noise for so many seconds (clang)
#   make gpu-test    the tests that need a GPU; with no package but a CUDA toolkit
#   make install     the program, its manual page and a script, into PREFIX=/usr/local; DESTDIR=
#                    before that
#   make deb         a Debian package of both, build/deb/darknet-deepkd_*.deb
#   make clean       remove what was compiled (weights and data sets stay)
#   make help        this text
#
# Switches, as in `make BLAS=0`; after a change of one, make rebuilds what it must:
#   GPU CUDNN OPENCV DEBUG ARCH   Darknet's own
#   CUDA=/usr/local/cuda   where CUDA and cuDNN are (GPU=1)
#   BLAS=1       matrix products by OpenBLAS; 0: by Darknet's loops
#   OPENMP=1     distill on all cores; 0: on one
#   DNNL=1       its convolutions by oneDNN; 0: by matrix products
#   CJSON=1      0: without cJSON; detectors can't be given annotations= then
#   SQLITE=1     0: without SQLite; a teacher's logits can't be kept in a file then
#   MPI=0        1: distill on several processes and machines, by mpirun
#   ORT=0        1: with ONNX Runtime, for teachers that are ONNX files
#   ONNXRUNTIME= the folder with its include and lib (ORT=1); default: the system's
#   IMAGES=1     0: without libjpeg, libpng and stb: no image file can be read then
#   PLUGIN=1     0: Darknet with its patches, without DeepKD
#   SANITIZE=0   1: address and undefined-behaviour sanitizers
#   BUILD=build  the run folder: cd build && ./darknet distill cfg/deepkd.data ...
#   DARKNET_SRC= Darknet's source; default: the submodule, else Debian's source package

GPU      = 0
CUDNN    = 0
OPENCV   = 0
OPENMP   = 1
DEBUG    = 0
ARCH     =
CUDA     =
BLAS     = 1
CJSON    = 1
DNNL     = 1
IMAGES   = 1
MPI      = 0
SQLITE   = 1
ORT      = 0
ONNXRUNTIME =
PLUGIN   = 1
SANITIZE = 0
PHOTOS   =
BUILD   ?= build
PREFIX  ?= /usr/local
PYTHON  ?= /usr/bin/python3

ROOT    := $(CURDIR)
# The way from BUILD to here, which never has a space: to make a space is the end of a name
HERE    := .root
ifneq ($(words $(BUILD)),1)
$(error BUILD=$(BUILD): found a space, expected a folder without one; a link to it will do)
endif
# Darknet as published: fetched once, read by every BUILD
SOURCE  := build/source
export BUILD PYTHON ROOT DARKNET_SRC

$(foreach s,GPU CUDNN OPENCV OPENMP DEBUG BLAS CJSON DNNL IMAGES MPI SQLITE ORT PLUGIN $(if \
    $(filter fuzz thread,$(SANITIZE)),,SANITIZE),$(if \
    $(filter x0 x1,x$(subst $() ,_,$($s))),,$(error $s=$($s): expected 0 or 1)))

SWITCHES = GPU=$(GPU) CUDNN=$(CUDNN) OPENCV=$(OPENCV) OPENMP=$(OPENMP) DEBUG=$(DEBUG) \
           BLAS=$(BLAS) CJSON=$(CJSON) DNNL=$(DNNL) IMAGES=$(IMAGES) MPI=$(MPI) \
           SQLITE=$(SQLITE) ORT=$(ORT) PLUGIN=$(PLUGIN) SANITIZE=$(SANITIZE)
PACKAGES = build
ifneq ($(strip $(ARCH)),)
SWITCHES += 'ARCH=$(ARCH)'
endif
# A folder's, absolute, since the linker's rpath has it
folder = $(if $(word 2,$(ROOT)),$(1:%=$(if $(1:/%=),$(HERE)/)%),$(abspath $(1)))
ifneq ($(strip $(CUDA)),)
SWITCHES += CUDA=$(call folder,$(CUDA))
endif
ifneq ($(strip $(ONNXRUNTIME)),)
SWITCHES += ONNXRUNTIME=$(call folder,$(ONNXRUNTIME))
endif
CUDA_DIR = $(or $(CUDA),/usr/local/cuda)
ifeq ($(SANITIZE),1)
SWITCHES += 'OPTS=-O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined'
endif
ifeq ($(SANITIZE),fuzz)
SWITCHES += CC=clang CPP=clang++ \
            'OPTS=-O1 -g -fno-omit-frame-pointer -fsanitize=fuzzer-no-link,address,undefined'
endif
ifeq ($(SANITIZE),thread)
SWITCHES += CC=clang CPP=clang++ \
            'OPTS=-O1 -g -fno-omit-frame-pointer -fsanitize=thread -DTHREAD_SANITIZER'
endif
ifeq ($(BLAS),1)
PACKAGES += blas
endif
ifeq ($(CJSON),1)
PACKAGES += cjson
endif
ifeq ($(DNNL),1)
PACKAGES += dnnl
endif
ifeq ($(IMAGES),1)
PACKAGES += images
endif
ifeq ($(MPI),1)
PACKAGES += $(if $(shell command -v $(or $(MPICC),mpicc)),,mpi)
endif
ifeq ($(SQLITE),1)
PACKAGES += sqlite
endif
ifeq ($(ORT)$(strip $(ONNXRUNTIME)),1)
PACKAGES += ort
endif
ifeq ($(OPENCV),1)
PACKAGES += opencv
endif

# Darknet's own Makefile, patched to include plugin/plugin.mk, does the compiling
IN_BUILD = --no-print-directory -C $(BUILD) $(SWITCHES) \
           PLUGIN_DIR=$(HERE)/plugin PLUGIN_MK=$(HERE)/plugin/plugin.mk

# Keeps a file's time where nothing in it is new
IF_NEW = if cmp -s $@.new $@; then rm $@.new; else mv $@.new $@; fi
# Of this clone; a packager without one can say it
DEEPKD_COMMIT ?= $(shell { [ -e .git ] && git describe --always --dirty --tags 2>/dev/null; } || \
                 echo unknown)

all: packages $(BUILD)/.patched $(BUILD)/.switches $(BUILD)/.version
	@ln -sfnr . $(BUILD)/$(HERE)
	@find -L $(BUILD)/cfg -type l -delete
	@ln -sfnr $(wildcard cfg/*) $(BUILD)/cfg/
	@$(MAKE) $(IN_BUILD)

packages:
	@scripts/deps.sh check $(PACKAGES)
ifeq ($(GPU),1)
	@PATH=$(CUDA_DIR)/bin:$$PATH command -v nvcc >/dev/null || { echo "GPU=1: found no nvcc in \
	$(CUDA_DIR)/bin or on the PATH: expected CUDA=, the folder of the CUDA Toolkit" >&2; exit 1; }
endif
ifeq ($(GPU)$(CUDNN),11)
	@echo '#include <cudnn.h>' | $(CC) -fsyntax-only -I$(CUDA_DIR)/include -x c - 2>/dev/null || \
	    { echo "CUDNN=1: found no cudnn.h: expected cuDNN in CUDA=$(CUDA_DIR)" >&2; exit 1; }
endif

$(SOURCE)/Makefile: $(if $(DARKNET_SRC),FORCE) | packages
	@scripts/darknet-source.sh $(SOURCE)

$(BUILD)/.patched: $(SOURCE)/Makefile patches/series $(wildcard patches/*/*.patch) | packages
	@mkdir -p $(BUILD)/obj $(BUILD)/backup $(BUILD)/results
	@rm -rf $(BUILD)/src $(BUILD)/include $(BUILD)/examples
	@cp -a --remove-destination $(SOURCE)/. $(BUILD)/
	@for patch in $$(sed 's/#.*//' patches/series); do \
	    echo "applying patches/$$patch"; \
	    patch -d $(BUILD) -p1 --fuzz=0 --force --silent --no-backup-if-mismatch \
	        <patches/$$patch || { echo "make: patches/$$patch failed" >&2; exit 1; }; \
	done
	@touch $@

$(BUILD)/.switches: FORCE
	@mkdir -p $(BUILD)
	@printf '%s\n' $(SWITCHES) >$@.new
	@$(IF_NEW)

# For `deepkd version`, whose object alone depends on it
$(BUILD)/.version: FORCE
	@mkdir -p $(BUILD)
	@printf '#define KD_COMMIT "%s"\n#define KD_DARKNET_COMMIT "%s"\n' "$(DEEPKD_COMMIT)" \
	    "$$(sed -n 's/^COMMIT=//p' scripts/darknet-source.sh)" >$@.new
	@$(IF_NEW)

# A target installs what itself needs, and no more
SOURCE_PACKAGES = $(if $(wildcard $(SOURCE)/Makefile),,source)

deps:
	@scripts/deps.sh install $(PACKAGES) $(SOURCE_PACKAGES)

demo-deps:
	@scripts/deps.sh install $(PACKAGES) $(SOURCE_PACKAGES) demo

built: demo-deps
	@$(MAKE) --no-print-directory all

data: fashion-mnist scenes

fashion-mnist: demo-deps
	@test -e $(BUILD)/data/fashion-mnist/train.list || \
	    $(PYTHON) scripts/fashion_mnist.py $(BUILD)/data/fashion-mnist

scenes: demo-deps
	@test -e $(BUILD)/data/scenes/val.list || \
	    $(PYTHON) scripts/make_scenes.py $(BUILD)/data/scenes

glyphs:
	@scripts/deps.sh install glyphs
	@test -e $(BUILD)/data/glyphs/valid.list || \
	    $(PYTHON) scripts/make_glyphs.py $(BUILD)/data/glyphs

demo: built fashion-mnist
	@TASK=fmnist scripts/demo.sh

demo-yolo: built scenes
	@TASK=scenes scripts/demo.sh

table: built fashion-mnist
	@$(PYTHON) scripts/table.py

# A student that was trained alone, distilled for a tenth of that
table-tuned: built fashion-mnist
	@$(PYTHON) scripts/table.py --start docs/tables/fmnist-alone.weights --batches 375 --seeds 8 \
	    --rows alone,kd,deepkd,deepkd-gsnr,deepkd-dtm --out $(BUILD)/table-tuned

table-yolo: built scenes
	@$(PYTHON) scripts/table.py --task scenes

table-glyphs: built
	@$(MAKE) --no-print-directory glyphs
	@$(PYTHON) scripts/table.py --task glyphs

table-one-class: built scenes
	@test -e $(BUILD)/data/one-class/one-class-teacher.weights || \
	    scripts/train-teacher.sh one-class
	@$(PYTHON) scripts/table.py --task one-class

# Data sets that are not ours to hand out: whether they are there is said before anything is built
HAS_PHOTOS = ls $(BUILD)/data/$(1)/valid.list $(BUILD)/data/$(1)/test.list 2>/dev/null | \
    grep -q . || PHOTOS='$(PHOTOS)' scripts/photos.sh $(1)

photos-cifar10 photos-bccd: photos-%:
	@$(call HAS_PHOTOS,$*) --check

table-cifar10: photos-cifar10 built
	@$(call HAS_PHOTOS,cifar10)
	@$(PYTHON) scripts/table.py --task cifar10

table-bccd: photos-bccd built
	@$(call HAS_PHOTOS,bccd)
	@$(PYTHON) scripts/table.py --task bccd

bench: $(if $(filter 1,$(GPU)),has-gpu) built
	@tests/bench/bench.sh

# What it runs besides darknet; it calls this itself
bench-programs:
	@$(MAKE) $(IN_BUILD) -f $(HERE)/tests/Makefile bench

has-gpu:
	@$(PYTHON) -B tests/bench/gpu.py >/dev/null

# A GPU=1 build and the programs of tests/gpu, for a GPU or for the emulator
gpu-programs: all
	@$(MAKE) $(IN_BUILD) -f $(HERE)/tests/Makefile gpu-tests

gpu-test:
	@MAKE='$(MAKE)' tests/gpu/run.sh $(MAKEOVERRIDES)

# The same programs for the CPU, which emulates a GPU
emulated:
	@$(MAKE) --no-print-directory -C tests/emulator all lib64/selftest
	@$(MAKE) --no-print-directory gpu-programs GPU=1 CUDA=tests/emulator BUILD=$(BUILD)/emulated

# C programs and scripts alike speak TAP; two run at once, so threads that wait must sleep
PROVE = LC_ALL=C.UTF-8 OMP_WAIT_POLICY=passive DARKNET='$(abspath $(BUILD))/darknet' prove -j2 --exec ''

# The names of tests; a T of the environment is something else
ifneq ($(origin T),command line)
T =
endif
TESTS := $(wildcard tests/cli/*.t tests/gpu/*.t tests/emulator/*.t tests/unit/test_*.c \
             tests/gpu/test_*.c)
# Those of one name: a file's, or what follows its test_
tests_named = $(filter %/$(1).t %/$(1).c %/test_$(1).c,$(TESTS))
CHOSEN = $(if $(T),$(foreach t,$(T),$(or $(call tests_named,$(basename $(notdir $t))),$(error T=$t: \
    found no such test, expected a file's name in tests/cli, tests/unit, tests/gpu or \
    tests/emulator, as in T=resume for resume.t or T=rows for test_rows.c))),$(TESTS))
# What prove runs for them
programs = $(filter %.t,$(1)) \
           $(patsubst tests/unit/%.c,$(BUILD)/tests/%,$(filter tests/unit/%,$(1))) \
           $(patsubst tests/gpu/%.c,$(BUILD)/emulated/tests/gpu/%,$(filter tests/gpu/%.c,$(1)))
EMULATED = tests/gpu/% tests/emulator/% tests/cli/gpu.t

# Without these no test can run; what else is missing and can't be installed is named, and the
# tests that need it are skipped
test-packages:
	@scripts/deps.sh install $(PACKAGES) $(SOURCE_PACKAGES) prove python
	@scripts/deps.sh try test demo coco onnx tensorboard

check-deps:
	@scripts/deps.sh install $(PACKAGES) $(SOURCE_PACKAGES) prove

unit-programs: all
	@$(MAKE) $(IN_BUILD) -f $(HERE)/tests/Makefile

check: check-deps
	@$(MAKE) --no-print-directory unit-programs
	@$(PROVE) $(call programs,$(filter tests/unit/%,$(TESTS)))

test: $(if $(CHOSEN),test-packages)
	@$(MAKE) --no-print-directory $(if $(filter tests/unit/%,$(CHOSEN)),unit-programs,all)
	@$(if $(filter $(EMULATED),$(CHOSEN)),$(MAKE) --no-print-directory emulated)
	@$(PROVE) $(call programs,$(CHOSEN))

# Without what does not train, and GPU code on the CPU, which takes long and has its own arithmetic
NOT_TRAINING = $(EMULATED) $(patsubst %,tests/cli/%.t,badinput bench build gpu_build help house \
               patches peer yolo_badinput)
test-kernels: test-packages
	@$(MAKE) --no-print-directory unit-programs
	@LC_ALL=C.UTF-8 OMP_WAIT_POLICY=passive DARKNET='$(abspath $(BUILD))/darknet' tests/kernels.sh \
	    prove -j2 --exec '' $(call programs,$(filter-out $(NOT_TRAINING),$(CHOSEN)))

# Darknet never frees its networks, so leaks are not looked for. Without what takes minutes and is
# about scripts
OF_SCRIPTS = pairs imagenet onnx report glyphs peer
test-asan:
	@ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 \
	    $(MAKE) --no-print-directory test BUILD=build-asan SANITIZE=1 \
	    T='$(or $(T),$(sort $(filter-out $(OF_SCRIPTS),$(patsubst test_%,%,$(basename $(notdir $(TESTS)))))))'

# By clang, whose OpenMP tells the sanitizer who waits for whom; without oneDNN, which has gcc's.
# The sanitizer does not know all layouts of today's kernels: setarch -R. It breaks under limits to
# files, and in forked tests, so resume.t and test_checkpoint are not among them
THREADED = cores box_loader distill yolo cache
test-tsan:
	@scripts/deps.sh try tsan
	@command -v clang >/dev/null || { echo 'test-tsan: skipped: found no clang'; exit 0; }; \
	    OMP_TOOL_LIBRARIES=$$(find /usr/lib/llvm-*/lib -name libarcher.so | sort -V | tail -n 1) \
	    TSAN_OPTIONS=ignore_noninstrumented_modules=1:report_thread_leaks=0 OMP_NUM_THREADS=2 \
	    setarch -R $(MAKE) --no-print-directory test BUILD=build-tsan SANITIZE=thread DNNL=0 \
	    T='$(or $(T),$(THREADED))'

# TIME seconds each of the readers of outside input, or of F='cfg image' alone
TIME = 60
F    =
fuzz:
	@scripts/deps.sh try fuzz
	@command -v clang >/dev/null || { echo "fuzz: skipped: found no clang"; exit 0; }; \
	    $(MAKE) --no-print-directory fuzz-program BUILD=build-fuzz SANITIZE=fuzz OPENMP=0 \
	    && tests/fuzz/run.sh $(TIME) $(F)

fuzz-program: all
	@$(MAKE) $(IN_BUILD) -f $(HERE)/tests/Makefile tests/fuzz

install: all
	@mkdir -p '$(DESTDIR)$(PREFIX)/bin' '$(DESTDIR)$(PREFIX)/share/man/man1' \
	    '$(DESTDIR)$(PREFIX)/share/darknet-deepkd'
	@scripts/man-page.sh $(BUILD)/darknet >$(BUILD)/darknet-distill.1
	install $(BUILD)/darknet '$(DESTDIR)$(PREFIX)/bin/'
	install -m 644 $(BUILD)/darknet-distill.1 '$(DESTDIR)$(PREFIX)/share/man/man1/'
	install -m 644 scripts/export_onnx.py scripts/oneline.py '$(DESTDIR)$(PREFIX)/share/darknet-deepkd/'

# In a copy, so that no object of another configuration gets into it
deb:
	@scripts/deps.sh install $(PACKAGES) $(SOURCE_PACKAGES) deb
	@$(MAKE) --no-print-directory $(SOURCE)/Makefile
	@rm -rf $(BUILD)/deb && mkdir -p $(BUILD)/deb/tree/build
	@cp -a Makefile LICENSE CHANGELOG.md scripts plugin patches cfg docs debian $(BUILD)/deb/tree
	@cp -a $(SOURCE) $(BUILD)/deb/tree/build
	@cd $(BUILD)/deb/tree && unset BUILD ROOT && DEEPKD_COMMIT=$(DEEPKD_COMMIT) MAKEFLAGS= \
	    dpkg-buildpackage --build=binary --no-sign
	@rm -r $(BUILD)/deb/tree && ls $(BUILD)/deb/*.deb

clean:
	@rm -rf build-asan build-fuzz build-gpu tests/emulator/lib64 $(addprefix $(BUILD)/, \
	    emulated obj tests darknet libdarknet.a libdarknet.so .patched .switches .version)

help:
	@sed -n '/^#/!q; s/^# \{0,1\}//p' Makefile

FORCE:
.PHONY: all packages deps demo-deps check-deps built data fashion-mnist scenes glyphs \
    photos-cifar10 photos-bccd demo demo-yolo table table-tuned table-yolo table-glyphs \
    table-one-class table-cifar10 table-bccd bench bench-programs has-gpu gpu-programs gpu-test emulated \
    test-packages unit-programs check test test-kernels test-asan fuzz fuzz-program install deb \
    clean help FORCE
.DELETE_ON_ERROR:
