/* See version.h. KD_COMMIT, KD_DARKNET_COMMIT (the build folder's .version) and KD_SWITCHES
 * come from make, for this file alone: a new commit compiles nothing else again. */
#include "cli/version.h"
#include "cli/version_gpu.h"
#include "cli/version_opencv.h"
#include "cpu/cores.h"
#include "deepkd.h"

#include <stdio.h>

#ifdef BLAS
#include <cblas.h>
#endif
#ifdef CJSON
#include <cjson/cJSON.h>
#endif
#ifdef DNNL
#include <dnnl.h>
#endif
#ifdef IMAGE_LIBRARIES
#include <jpeglib.h>
#include <png.h>
#endif
#ifdef SQLITE
#include <sqlite3.h>
#endif
#ifdef ORT
#include <onnxruntime_c_api.h>
#endif

const command version_command = {"deepkd version",
                                 "Prints the versions of this program and of its libraries.",
                                 (const word[]){{0}}};

static const char *const switches[][2] = {KD_SWITCHES};

#define TEXT(macro) #macro
#define TEXT_OF(macro) TEXT(macro)

static void print_libraries(void)
{
#ifdef BLAS
    printf("%s\n", openblas_get_config()); /* "OpenBLAS 0.3.21 ... Zen MAX_THREADS=64" */
#endif
#ifdef DNNL
    const dnnl_version_t *v = dnnl_version();
    printf("oneDNN %d.%d.%d\n", v->major, v->minor, v->patch);
#endif
#ifdef CJSON
    printf("cJSON %s\n", cJSON_Version());
#endif
#ifdef SQLITE
    printf("SQLite %s\n", sqlite3_libversion());
#endif
#ifdef ORT
    printf("ONNXRuntime %s\n", OrtGetApiBase()->GetVersionString());
#endif
#ifdef IMAGE_LIBRARIES
    printf("libjpeg-turbo " TEXT_OF(LIBJPEG_TURBO_VERSION) "\nlibpng %s\n",
           png_get_libpng_ver(0));
#endif
}

int run_version(int argc, char **argv)
{
    read_command(&version_command, argc, argv, 3, 0);
    printf("deepkd " DEEPKD_VERSION "\ncommit " KD_COMMIT "\ndarknet " KD_DARKNET_COMMIT "\n");
    for (size_t i = 0; i < sizeof(switches) / sizeof(*switches); ++i)
        printf("%s %s\n", switches[i][0], switches[i][1]);
    print_libraries();
    print_gpu_libraries();
    print_opencv();
    printf("cores %d\n", count_cores());
    return 0;
}
